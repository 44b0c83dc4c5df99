import { expect, test } from 'vitest'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { Namespace } from '../../src/namespace/namespace.ts'
import { NO_ATTRIBUTES } from '../../src/namespace/object-version.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const SIGNAL = new AbortController().signal
const RECORD = '9,01637037d6'
const PART = '3,01637037d6'

async function completed() {
  const clock = new SimClock()
  const random = new Prng(1)
  const parts = { store: new MemoryStore(), clock, random }
  const namespace = new Namespace(parts, { deleteDelayMs: 10_000 })
  const request = { name: 'photos', ownerId: 'ab'.repeat(32), isLockEnabled: false, documents: {} }
  const bucket = await namespace.createBucket(request, SIGNAL)
  const uploadId = newVersionId(random, clock.nowMs())
  const ref = { bucket, key: 'k', uploadId }
  const unset = { ownerId: undefined, checksumAlgorithm: undefined, checksumType: undefined }
  const upload = {
    ...NO_ATTRIBUTES,
    ...unset,
    key: 'k',
    uploadId,
    storageClass: 'STANDARD' as const,
  }
  await namespace.createUpload({ bucket, upload }, SIGNAL)
  const md5 = '0'.repeat(32)
  const part = { partNumber: 1, fileId: PART, sizeBytes: 5, md5, checksum: undefined }
  await namespace.putPart({ ...ref, part }, SIGNAL)
  const complete = (recordFileId: string) => {
    const named = { parts: [{ partNumber: 1, fileId: PART }], etag: `${md5}-1`, recordFileId }
    return namespace.completeUpload({ ...ref, ...named, checksum: undefined }, SIGNAL)
  }
  const dropped = async () =>
    (await namespace.listDropped({ after: '', limit: 10 }, SIGNAL)).fileIds
  return { namespace, ref, complete, dropped }
}

test('the record of an upload is with the version, and no part of it', async () => {
  const { complete, namespace, ref } = await completed()
  expect(await complete(RECORD)).toMatchObject({ recordFileId: RECORD, sizeBytes: 5 })
  const found = await namespace.findObject({ bucket: ref.bucket, key: 'k' }, SIGNAL)
  expect(found).toMatchObject({ recordFileId: RECORD, parts: [{ fileId: PART }] })
})

test('to complete it again gives the version with the first record', async () => {
  const { complete, dropped } = await completed()
  await complete(RECORD)
  expect(await complete('9,02637037d6')).toMatchObject({ recordFileId: RECORD })
  expect(await dropped()).toEqual([])
})

test('the record is deleted with the version', async () => {
  const { complete, dropped, namespace, ref } = await completed()
  await complete(RECORD)
  await namespace.deleteObject({ bucket: ref.bucket, key: 'k' }, SIGNAL)
  expect([...(await dropped())].sort()).toEqual([PART, RECORD])
})

test('files that lost their name are listed in pages', async () => {
  const { complete, namespace, ref } = await completed()
  await complete(RECORD)
  await namespace.deleteObject({ bucket: ref.bucket, key: 'k' }, SIGNAL)
  const found: string[] = []
  for (let after: string | undefined = ''; after !== undefined; ) {
    const request: { after: string; limit: number } = { after, limit: 1 }
    const page = await namespace.listDropped(request, SIGNAL)
    found.push(...page.fileIds)
    after = page.next
  }
  expect(found.sort()).toEqual([PART, RECORD])
  await expect(namespace.listDropped({ after: '', limit: 0 }, SIGNAL)).rejects.toMatchObject({
    code: 'REQUEST_INVALID',
  })
})
