import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { NEEDLE_DATA_AT } from '../../src/format/needle.ts'
import { NEEDLE_FLAG, type NeedleAttributes } from '../../src/format/needle-attributes.ts'
import { SUPER_BLOCK_BYTES } from '../../src/format/super-block.ts'
import { ReadBuffer } from '../../src/storage/read-buffer.ts'
import { cookieOf, expectCode, PATHS, TestVolume, toId } from '../support/test-volume.ts'

const REQUEST = { id: toId(1), cookie: cookieOf(1) }
const TEXT = Buffer.alloc(500, 'some text ')
const PACKED = gzipSync(TEXT)
const MANIFEST = Buffer.from('{"name":"a","size":1,"chunks":[]}')

/** Bit 0 of a byte is its lowest. */
const BIT = {
  compressed: Math.log2(NEEDLE_FLAG.compressed),
  manifest: Math.log2(NEEDLE_FLAG.chunkManifest),
}

function flipFlag({ disk }: TestVolume, data: Buffer, bit: number): void {
  disk.flipBit(PATHS.dat, SUPER_BLOCK_BYTES + NEEDLE_DATA_AT + data.length, bit)
}

async function readCount(volume: TestVolume): Promise<number> {
  const before = volume.disk.calls.read
  const needle = await volume.volume.read(REQUEST)
  expect('data' in needle).toBe(true)
  return volume.disk.calls.read - before
}

describe('a flag that contradicts the data', () => {
  test.each<[string, Buffer, NeedleAttributes, number]>([
    ['plain data said to be compressed', TEXT, {}, BIT.compressed],
    ['compressed data said to be plain', PACKED, { isCompressed: true }, BIT.compressed],
    ['plain data said to be a manifest', TEXT, {}, BIT.manifest],
  ])('%s is NEEDLE_CORRUPT, when a flip did it', async (_what, data, attributes, bit) => {
    await using volume = await TestVolume.create()
    // Its flags are there however few attributes there are.
    await volume.put(1, data, { name: 'n', ...attributes })
    expect((await volume.volume.read(REQUEST)).attributes).toBeDefined()
    flipFlag(volume, data, bit)
    expect(volume.volume.readWarm(REQUEST, new ReadBuffer(4096))).toBeUndefined()
    await expectCode(volume.volume.read(REQUEST), 'NEEDLE_CORRUPT')
    flipFlag(volume, data, bit)
    await volume.volume.read(REQUEST)
  })

  test.each<[string, Buffer, NeedleAttributes]>([
    ['a gzip file, stored as it is', PACKED, {}],
    ['what only its user calls compressed', TEXT, { isCompressed: true }],
    ['a manifest that is none', TEXT, { isChunkManifest: true }],
  ])('%s is read as it was stored', async (_what, data, attributes) => {
    await using volume = await TestVolume.create()
    await volume.put(1, data, { name: 'n', ...attributes })
    expect((await volume.read(1))?.equals(data)).toBe(true)
    expect(await volume.attributesOf(1)).toMatchObject(attributes)
  })

  test('costs the read of a block, once for each whole block', async () => {
    await using volume = await TestVolume.create()
    await volume.put(1, PACKED, { name: 'n' })
    expect(await readCount(volume)).toBe(2)
    await volume.put(2, Buffer.alloc(2 ** 20))
    expect([await readCount(volume), await readCount(volume)]).toEqual([2, 1])
  })

  test('is not looked for where flags and data agree', async () => {
    await using volume = await TestVolume.create()
    await volume.put(1, PACKED, { isCompressed: true })
    expect(await readCount(volume)).toBe(1)
    await volume.put(1, MANIFEST, { isChunkManifest: true })
    expect(await readCount(volume)).toBe(1)
  })
})
