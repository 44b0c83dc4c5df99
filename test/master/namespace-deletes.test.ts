import { expect, test } from 'vitest'
import { formatFileId } from '../../src/base/file-id.ts'
import { cookie } from '../../src/base/ids.ts'
import { LeadingStore } from '../../src/master/leading-store.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { NEW_VERSION } from '../support/fake-namespace-api.ts'
import { Prng } from '../support/prng.ts'
import { NO_SIGNAL, TestMaster } from '../support/test-master.ts'
import { expectCode } from '../support/test-volume.ts'

const PLAIN = { retention: undefined, isLegalHold: false, recordFileId: undefined }

/** A bucket of a master with one server, and files that lie there. */
async function openBucket() {
  const cluster = await TestMaster.open()
  const server = await cluster.add('a:1')
  const { namespace } = cluster.master
  const random = new Prng(1)
  const { ownerId = '' } = NEW_VERSION
  const made = { name: 'photos', ownerId, isLockEnabled: false, documents: {} }
  const bucket = await cluster.settle(namespace.createBucket(made, NO_SIGNAL))
  return {
    cluster,
    server,
    namespace,
    bucket,
    /** Puts an object of one file; what the server will call it when it goes. */
    async put(key: string): Promise<string> {
      const { volumeId, firstNeedleId } = await cluster.assign()
      const fileId = { volumeId, needleId: firstNeedleId, cookie: cookie(1) }
      const parts = [{ fileId: formatFileId(fileId), sizeBytes: 1 }]
      const id = newVersionId(random, cluster.clock.nowMs())
      const version = { ...NEW_VERSION, ...PLAIN, id, sizeBytes: 1, parts }
      await cluster.settle(namespace.putObject({ bucket, key, version }, NO_SIGNAL))
      return `${volumeId}:${firstNeedleId.lo}`
    },
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  }
}

test('the file of a deleted object is deleted 10 s later, on a server that holds it', async () => {
  await using opened = await openBucket()
  const { bucket, cluster, namespace, put, server } = opened
  const needle = await put('a')
  await put('b')
  await cluster.settle(namespace.deleteObject({ bucket, key: 'a' }, NO_SIGNAL))
  await cluster.beat(5000)
  expect(server.deleted).toEqual([])
  await cluster.beat(6000)
  expect(server.deleted).toEqual([needle])
  expect(cluster.master.gauges.nameDeletesDone).toBe(1)
})

test('so is that of one that was replaced; a name and an object share what deletes them', async () => {
  await using opened = await openBucket()
  const { cluster, put, server } = opened
  const old = await put('a')
  await put('a')
  const { volumeId, firstNeedleId } = await cluster.assign()
  const fileId = { volumeId, needleId: firstNeedleId, cookie: cookie(1) }
  const link = { name: 'n', fileId, dataBytes: 1 }
  await cluster.settle(cluster.master.linkName(link, NO_SIGNAL))
  await cluster.settle(cluster.master.unlinkName('n', NO_SIGNAL))
  await cluster.beat(11_000)
  await cluster.beat(1000)
  expect(server.deleted.toSorted()).toEqual([old, `${volumeId}:${firstNeedleId.lo}`].toSorted())
})

test('a master that does not lead reads rows and changes none', async () => {
  const store = new MemoryStore()
  const coordinator = { isLeading: true, leader: 'a:1', isLeader: () => coordinator.isLeading }
  const leading = new LeadingStore(store, coordinator)
  const value = Uint8Array.of(1)
  await leading.commit({ puts: [{ key: 'a', value }] }, NO_SIGNAL)
  coordinator.isLeading = false
  await expectCode(leading.commit({ deletes: ['a'] }, NO_SIGNAL), 'NOT_LEADER')
  expect(await leading.get('a', NO_SIGNAL)).toEqual(value)
  expect(await leading.getMany(['a', 'b'], NO_SIGNAL)).toEqual([value, undefined])
  const keys: string[] = []
  for await (const { key } of leading.scan({}, NO_SIGNAL)) keys.push(key)
  expect(keys).toEqual(['a'])
  await leading[Symbol.asyncDispose]()
  expect(await store.get('a', NO_SIGNAL)).toEqual(value)
})
