import { expect, test } from 'vitest'
import { type FileId, formatFileId, parseFileId } from '../../src/base/file-id.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { encodeChunkManifest } from '../../src/format/chunk-manifest.ts'
import { deleteFile } from '../../src/jobs/delete-file.ts'
import type { NeedleContent, NeedleMetadata } from '../../src/net/volume-api.ts'

const NEVER = new AbortController().signal
const FILE = parseFileId('1,0100000001')

const MANIFEST = encodeChunkManifest({
  name: '',
  mime: '',
  sizeBytes: 60,
  chunks: [{ fileId: parseFileId('2,0200000002'), offsetBytes: 0, sizeBytes: 60 }],
  erasure: {
    scheme: { dataShards: 1, parityShards: 1 },
    codec: 'c',
    spread: 'servers',
    stripes: [
      {
        sizeBytes: 60,
        shardBytes: 64,
        shards: [
          { fileId: parseFileId('2,0200000002'), storedBytes: 60, checksum: 1 },
          { fileId: parseFileId('3,0300000003'), storedBytes: 64, checksum: 2 },
        ],
      },
    ],
  },
})

function content(data: Buffer, metadata: NeedleMetadata): NeedleContent {
  return {
    metadata,
    checksum: 0,
    dataBytes: data.length,
    data: (async function* () {
      yield data
    })(),
    [Symbol.asyncDispose]: async () => undefined,
  }
}

async function deletedOf(
  read: () => NeedleContent,
  failing: readonly string[] = [],
): Promise<readonly string[]> {
  const deleted: string[] = []
  const deleteNeedle = async (fileId: FileId): Promise<void> => {
    const text = formatFileId(fileId)
    if (failing.includes(text)) throw new StoreError('UNAVAILABLE', text)
    deleted.push(text)
  }
  const deleting = deleteFile({ read: async () => read(), deleteNeedle }, FILE, NEVER)
  await deleting.catch((error: unknown) => deleted.push(String(error)))
  return deleted
}

const manifest = () => content(MANIFEST, { isChunkManifest: true })

test('a file of one needle is that needle', async () => {
  expect(await deletedOf(() => content(Buffer.from('a'), {}))).toEqual(['1,0100000001'])
})

test('chunks and parity shards go first, the manifest last', async () => {
  expect(await deletedOf(manifest)).toEqual(['2,0200000002', '3,0300000003', '1,0100000001'])
})

test('the manifest stays as long as one of them cannot be deleted', async () => {
  const deleted = await deletedOf(manifest, ['3,0300000003'])
  expect(deleted).not.toContain('1,0100000001')
  expect(deleted.at(-1)).toContain('3,0300000003')
})

test.each([
  ['NEEDLE_NOT_FOUND', ['1,0100000001']],
  ['COOKIE_MISMATCH', ['1,0100000001']],
  ['NEEDLE_CORRUPT', ['1,0100000001']],
  ['UNAVAILABLE', [expect.stringContaining('not now')]],
] as const)('a needle that is %s', async (code, expected) => {
  const deleted = await deletedOf(() => {
    throw new StoreError(code, 'not now')
  })
  expect(deleted).toEqual(expected)
})

test('what is no manifest, though it says so, is one needle', async () => {
  const broken = () => content(Buffer.from('{'), { isChunkManifest: true })
  expect(await deletedOf(broken)).toEqual(['1,0100000001'])
})
