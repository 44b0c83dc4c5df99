import { describe, expect, test } from 'vitest'
import { type ErrorCode, StoreError } from '../../../../src/base/store-error.ts'
import type { PutOptions } from '../../../../src/client/client-api.ts'
import {
  nameStored,
  storePieces,
  storeRecord,
} from '../../../../src/gateway/s3/handlers/store-body.ts'
import type { ExchangeParts } from '../../../../src/gateway/s3/s3-exchange.ts'
import { versionPairs } from '../../../../src/namespace/needle-pairs.ts'
import { NO_ATTRIBUTES } from '../../../../src/namespace/object-version.ts'
import { silentLogger } from '../../../../src/runtime/logger.ts'

const HOUR_MS = 3_600_000
const OWNER = { bucket: 'photos', key: 'k', version: '0198c0ffee0012345678901234567890' }
const FILE_ID = '3,01637037d6'

function partsTaking(tookMs: number) {
  const puts: PutOptions[] = []
  const deletes: string[] = []
  let nowMs = 0
  const client = {
    put: async (_data: unknown, options: PutOptions) => {
      puts.push(options)
      nowMs += tookMs
      return { fileId: FILE_ID, sizeBytes: 1, eTag: '' }
    },
    delete: async (fileId: string) => deletes.push(fileId),
  }
  const closing = new AbortController().signal
  const known = { client, closing, clock: { nowMs: () => nowMs }, logger: silentLogger }
  // What is not here is not asked for.
  return { parts: known as unknown as ExchangeParts, puts, deletes }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

describe('bytes that are stored', () => {
  test.each([0, 20 * HOUR_MS])('in %d ms are kept', async (tookMs) => {
    const { deletes, parts } = partsTaking(tookMs)
    const stored = await storePieces(parts, nothing(), 1, OWNER, 'STANDARD')
    expect(stored).toEqual({ fileId: FILE_ID, sizeBytes: 1 })
    expect(deletes).toEqual([])
  })

  test('in more than 20 h are given up: they may be collected as orphans by then', async () => {
    const { deletes, parts } = partsTaking(20 * HOUR_MS + 1)
    await expect(storePieces(parts, nothing(), 1, OWNER, 'STANDARD')).rejects.toMatchObject({
      code: 'RequestTimeout',
    })
    expect(deletes).toEqual([FILE_ID])
  })

  test('say of themselves what they are, also a record', async () => {
    const { parts, puts } = partsTaking(0)
    const told = versionPairs({
      ...NO_ATTRIBUTES,
      sizeBytes: 5,
      etag: '0'.repeat(32),
      checksum: undefined,
      ownerId: undefined,
      storageClass: 'STANDARD_IA',
      isNull: false,
      isRecord: true,
    })
    await storeRecord(parts, Buffer.from('{}'), OWNER, told)
    const [options] = puts
    const owner = { 'S3-Bucket': 'photos', 'S3-Key': 'k', 'S3-Version': OWNER.version }
    expect(options).toMatchObject({ collection: 's3', pairs: owner, chunkPairs: owner })
    expect(options?.pairsAtEnd?.()).toEqual(told)
  })
})

describe('stored bytes whose name was refused', () => {
  test.each<[ErrorCode, boolean]>([
    ['OBJECT_LOCKED', true],
    ['BUCKET_NOT_FOUND', true],
    ['OBJECT_NOT_FOUND', true],
    ['PART_INVALID', true],
    ['PRECONDITION_FAILED', true],
    ['QUOTA_EXCEEDED', true],
    ['NAME_INVALID', true],
    ['REQUEST_INVALID', true],
    ['UPLOAD_NOT_FOUND', false],
    ['UNAVAILABLE', false],
    ['TIMEOUT', false],
    ['DISK_FULL', false],
  ])('with %s are deleted at once: %s', async (code, isDeleted) => {
    const { deletes, parts } = partsTaking(0)
    const refused = async () => {
      throw new StoreError(code, 'no')
    }
    const naming = nameStored(parts, { fileId: FILE_ID, sizeBytes: 1 }, refused)
    await expect(naming).rejects.toMatchObject({ code })
    expect(deletes).toEqual(isDeleted ? [FILE_ID] : [])
  })
})
