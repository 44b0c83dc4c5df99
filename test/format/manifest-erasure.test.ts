import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import {
  type ChunkManifest,
  decodeChunkManifest,
  encodeChunkManifest,
  needlesOfManifest,
} from '../../src/format/chunk-manifest.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { Prng, seeds } from '../support/prng.ts'

const TEXT =
  '{"name":"a","size":130,"chunks":[' +
  '{"fid":"1,0100000001","offset":0,"size":64},{"fid":"2,0200000002","offset":64,"size":36},' +
  '{"fid":"3,0300000003","offset":100,"size":30}],' +
  '"erasure":{"scheme":"2+1","codec":"ronomon-cauchy","stripes":[' +
  '{"size":100,"shardSize":64,"crcs":["9a71bb4c","00000001","ffffffff"],' +
  '"parity":["4,0400000004"]},{"size":30,"shardSize":64,' +
  '"crcs":["00000002","00000000","00000003"],"parity":["5,0500000005"]}]}}'

const shard = (id: string, storedBytes: number, checksum: number) => ({
  fileId: parseFileId(id),
  storedBytes,
  checksum,
})

const MANIFEST: ChunkManifest = {
  name: 'a',
  mime: '',
  sizeBytes: 130,
  chunks: [
    { fileId: parseFileId('1,0100000001'), offsetBytes: 0, sizeBytes: 64 },
    { fileId: parseFileId('2,0200000002'), offsetBytes: 64, sizeBytes: 36 },
    { fileId: parseFileId('3,0300000003'), offsetBytes: 100, sizeBytes: 30 },
  ],
  erasure: {
    scheme: { dataShards: 2, parityShards: 1 },
    codec: 'ronomon-cauchy',
    spread: 'servers',
    stripes: [
      {
        sizeBytes: 100,
        shardBytes: 64,
        shards: [
          shard('1,0100000001', 64, 0x9a71bb4c),
          shard('2,0200000002', 36, 1),
          shard('4,0400000004', 64, 0xffffffff),
        ],
      },
      {
        sizeBytes: 30,
        shardBytes: 64,
        shards: [
          shard('3,0300000003', 30, 2),
          { fileId: undefined, storedBytes: 0, checksum: 0 },
          shard('5,0500000005', 64, 3),
        ],
      },
    ],
  },
}

interface Json {
  size: number
  chunks: object[]
  erasure: Record<string, unknown> & { stripes: Record<string, unknown>[] }
}

function changed(change: (json: Json) => void): Buffer {
  const json = JSON.parse(TEXT) as Json
  change(json)
  return Buffer.from(JSON.stringify(json))
}

function withStripe(members: object): Buffer {
  return changed(({ erasure }) => Object.assign(erasure.stripes[0] ?? {}, members))
}

describe('the stripes of a chunk manifest', () => {
  test('are this JSON, and come back as they were', () => {
    expect(encodeChunkManifest(MANIFEST).toString()).toBe(TEXT)
    expect(decodeChunkManifest(Buffer.from(TEXT))).toEqual(MANIFEST)
  })

  test('keep how they are spread', () => {
    const spread = 'racks' as const
    const erasure = { ...MANIFEST.erasure, spread } as NonNullable<ChunkManifest['erasure']>
    const bytes = encodeChunkManifest({ ...MANIFEST, erasure })
    expect(bytes.toString()).toContain('"codec":"ronomon-cauchy","spread":"racks","stripes"')
    expect(decodeChunkManifest(bytes).erasure).toEqual(erasure)
  })

  test('are no matter to whoever does not know them: all of the file is in its chunks', () => {
    const { erasure: _, ...json } = JSON.parse(TEXT)
    const { erasure: __, ...plain } = MANIFEST
    expect(decodeChunkManifest(Buffer.from(JSON.stringify(json)))).toEqual(plain)
    expect(decodeChunkManifest(changed((all) => Object.assign(all, { erasure: null })))).toEqual(
      plain,
    )
  })

  test('have their needles among those of the file', () => {
    const ids = needlesOfManifest(MANIFEST).map(({ volumeId }) => volumeId)
    expect(ids).toEqual([1, 2, 3, 4, 5])
  })

  test.each([
    ['a list in their place', changed((json) => Object.assign(json, { erasure: [] }))],
    ['no scheme', changed(({ erasure }) => Object.assign(erasure, { scheme: '2+' }))],
    [
      'more shards than there can be',
      changed(({ erasure }) => Object.assign(erasure, { scheme: '25+1' })),
    ],
    ['no codec', changed(({ erasure }) => Object.assign(erasure, { codec: 5 }))],
    ['an unknown spread', changed(({ erasure }) => Object.assign(erasure, { spread: 'planets' }))],
    ['no list of stripes', changed(({ erasure }) => Object.assign(erasure, { stripes: {} }))],
    ['one stripe too few', changed(({ erasure }) => erasure.stripes.pop())],
    [
      'one stripe too many',
      changed(({ erasure }) => erasure.stripes.push({ ...erasure.stripes[1] })),
    ],
    ['a chunk of another size', withStripe({ shardSize: 72 })],
    ['a shard size that is no multiple of 8', withStripe({ shardSize: 60 })],
    ['shards that nobody could hold', withStripe({ shardSize: 2 ** 26, size: 2 ** 27 })],
    ['a stripe without bytes', withStripe({ size: 0 })],
    ['more bytes than the shards have', withStripe({ size: 129 })],
    ['too few checksums', withStripe({ crcs: ['00000000', '00000000'] })],
    ['a checksum that is none', withStripe({ crcs: ['0', '00000000', '00000000'] })],
    ['too few parity shards', withStripe({ parity: [] })],
    ['a parity shard without a file id', withStripe({ parity: ['4;04'] })],
    [
      'a stripe that is a text',
      changed(({ erasure }) => Object.assign(erasure, { stripes: ['x'] })),
    ],
  ])('are refused with %s', (_what, bytes) => {
    expectStoreError(() => decodeChunkManifest(bytes), 'MANIFEST_CORRUPT')
  })

  test.each(seeds(20))('with changed bytes are refused or fit the chunks (seed %d)', (seed) => {
    const prng = new Prng(seed)
    for (let round = 0; round < 50; round++) {
      const bytes = Buffer.from(TEXT)
      bytes[prng.below(bytes.length)] = prng.below(256)
      const found = expectStoreErrorOrValue(() => decodeChunkManifest(bytes), 'MANIFEST_CORRUPT')
      const { chunks = [], erasure } = found ?? {}
      if (erasure === undefined) continue
      const stored = erasure.stripes.flatMap(({ shards }) =>
        shards.slice(0, erasure.scheme.dataShards).filter(({ fileId }) => fileId !== undefined),
      )
      expect(stored.map(({ storedBytes }) => storedBytes)).toEqual(
        chunks.map(({ sizeBytes }) => sizeBytes),
      )
    }
  })
})
