import { expect, test } from 'vitest'
import { LevelStore } from '../../src/metadata/level/level-store.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { never, TestNamespace } from '../support/test-namespace.ts'

const ALL = { prefix: '', delimiter: '/', after: '', limit: 1000 }
const KEYS = ['a/1', 'a/2', 'b', '\uffff', '\u{1f600}']

function openStore(directory: string): Promise<LevelStore> {
  return LevelStore.open(
    { clock: systemClock, disk: new NodeDisk(), logger: silentLogger },
    { directory },
    never,
  )
}

test('over LevelDB all of it is there after the store was opened anew', async () => {
  await using directory = await openTempDirectory()
  let expected: unknown
  const read = async (opened: TestNamespace<LevelStore>) => {
    const bucket = await opened.namespace.findBucket('one', never)
    if (bucket === undefined) throw new Error('the bucket is not there')
    const request = { bucket, ...ALL }
    return {
      bucket,
      objects: await opened.namespace.listObjects(request, never),
      versions: await opened.namespace.listVersions(
        { ...request, afterVersionId: undefined },
        never,
      ),
      uploads: await opened.namespace.listUploads({ ...request, afterUploadId: undefined }, never),
      usage: await opened.namespace.bucketUsage(bucket, never),
      found: await Promise.all(KEYS.map((key) => opened.find(bucket, key))),
    }
  }
  {
    await using store = await openStore(directory.path)
    const opened = new TestNamespace(store)
    const plain = await opened.bucket()
    await Promise.all(KEYS.map((key) => opened.put(plain, key)))
    const bucket = await opened.setVersioning(plain, 'enabled')
    const put = await opened.put(bucket, 'b')
    await opened.delete(bucket, 'a/2')
    const upload = await opened.upload(bucket, 'a/3')
    const parts = [1, 2].map((number) => opened.newPart(number))
    await Promise.all(parts.map((part) => opened.namespace.putPart({ ...upload, part }, never)))
    const [part] = parts
    if (part === undefined) throw new Error('the part is not there')
    const request = { ...upload, parts: [part], etag: 'd'.repeat(32), checksum: undefined }
    await opened.namespace.completeUpload(request, never)
    await opened.upload(bucket, 'u')
    expect(await opened.find(bucket, 'b', put.id)).toEqual(put)
    expect(await opened.find(bucket, 'b', 'null')).toMatchObject({ isNull: true })
    expected = await read(opened)
    expect(expected).toMatchObject({
      objects: { commonPrefixes: ['a/'], next: undefined },
      usage: { bytes: 35, objects: 8 },
    })
  }
  await using store = await openStore(directory.path)
  expect(await read(new TestNamespace(store))).toEqual(expected)
})
