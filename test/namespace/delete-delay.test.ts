import { describe, expect, test } from 'vitest'
import { NAMING_MS } from '../../src/gateway/remote-namespace.ts'
import { DELETE_DELAY_MS, readingMs } from '../../src/namespace/delete-delay.ts'
import { never, openTestNamespace, type TestNamespace } from '../support/test-namespace.ts'

const KIB = 1024
const MIB = 1024 * KIB
const HOUR_MS = 3_600_000
const READ_RATE = 256 * KIB

describe('the bytes of a version outlive it', () => {
  test.each([
    [0, 0],
    [1, 0],
    [MIB, 0],
    [MIB + 1, 4_001],
    [3 * MIB, 12_000],
    [800 * MIB, 3_200_000],
    [1024 * MIB, HOUR_MS - DELETE_DELAY_MS],
    [Number.MAX_SAFE_INTEGER, HOUR_MS - DELETE_DELAY_MS],
  ])('of %d bytes by 10 s and %d ms', (sizeBytes, ms) => {
    expect(readingMs(sizeBytes)).toBe(ms)
  })

  test('by at most an hour, and never by less than a repeated put may take', () => {
    for (let sizeBytes = 1; sizeBytes < 2 ** 50; sizeBytes = sizeBytes * 2 + 1) {
      const delayMs = DELETE_DELAY_MS + readingMs(sizeBytes)
      expect(delayMs).toBeLessThanOrEqual(HOUR_MS)
      expect(delayMs).toBeGreaterThan(NAMING_MS)
      // A reader that is just fast enough gets to the end, unless that takes an hour.
      const slowestMs = (sizeBytes / READ_RATE) * 1000
      if (sizeBytes > MIB) expect(delayMs).toBeGreaterThan(Math.min(slowestMs, HOUR_MS - 1))
    }
  })
})

/** When each file is deleted, from now on, in the order in which they come due. */
async function dueOf({ clock, store }: TestNamespace): Promise<[string, number][]> {
  const keys = await store.keys('name-intents/')
  return keys.map((key) => {
    const [, due = '', fileId = ''] = key.split('/')
    return [fileId, Number.parseInt(due, 16) - clock.nowMs()]
  })
}

const LARGE_MS = DELETE_DELAY_MS + readingMs(3 * MIB)

describe('the time in the row of an intent', () => {
  test.each([
    ['overwritten', MIB, DELETE_DELAY_MS],
    ['overwritten', 3 * MIB, LARGE_MS],
    ['deleted', MIB, DELETE_DELAY_MS],
    ['deleted', 3 * MIB, LARGE_MS],
    ['moved', 3 * MIB, LARGE_MS],
  ])('of an object that is %s, of %d bytes, is %d ms away', async (how, sizeBytes, ms) => {
    const opened = openTestNamespace()
    const { namespace } = opened
    const bucket = await opened.bucket()
    const key = 'k'
    const file = opened.newFile()
    await opened.put(bucket, key, { sizeBytes, fileIds: [file] })
    if (how === 'overwritten') await opened.put(bucket, key)
    if (how === 'deleted') await namespace.deleteObject({ bucket, key }, never)
    if (how === 'moved') {
      const parts = [{ fileId: opened.newFile(), sizeBytes }]
      const change = { moved: { parts, storageClass: 'STANDARD_IA' as const } }
      await namespace.changeObject({ bucket, key, change }, never)
    }
    expect(await dueOf(opened)).toEqual([[file, ms]])
  })

  test('of each part of an object counts the whole: the last one is read last', async () => {
    const opened = openTestNamespace()
    const bucket = await opened.bucket()
    const fileIds = [opened.newFile(), opened.newFile(), opened.newFile()]
    await opened.put(bucket, 'k', { sizeBytes: MIB, fileIds })
    await opened.put(bucket, 'k')
    expect(await dueOf(opened)).toEqual(fileIds.map((fileId) => [fileId, LARGE_MS]))
  })

  test('of a part that is in no object is 10 s away, whatever its size', async () => {
    const opened = openTestNamespace()
    const { namespace } = opened
    const upload = await opened.upload(await opened.bucket(), 'k')
    const [replaced, aborted] = [opened.newFile(), opened.newFile()]
    for (const fileId of [replaced, aborted]) {
      const part = { ...opened.newPart(1, fileId), sizeBytes: 64 * MIB }
      await namespace.putPart({ ...upload, part }, never)
    }
    await namespace.abortUpload(upload, never)
    expect(await dueOf(opened)).toEqual([
      [replaced, DELETE_DELAY_MS],
      [aborted, DELETE_DELAY_MS],
    ])
  })
})
