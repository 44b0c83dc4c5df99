import { join } from 'node:path'
import { expect, test } from 'vitest'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { RemoteNamespace } from '../../src/gateway/remote-namespace.ts'
import { readMasterConfig } from '../../src/master/config.ts'
import { MasterServer } from '../../src/master/master-server.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import type { VolumeApi } from '../../src/net/volume-api.ts'
import { type Clock, systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { NEW_VERSION } from '../support/fake-namespace-api.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { NO_SIGNAL } from '../support/test-master.ts'
import { expectCode } from '../support/test-volume.ts'

/** A master and a volume server on real disks; the master's wall clock can be put forward. */
async function openCluster(path: string) {
  await using opening = new DisposeStack()
  const parts = { disk: new NodeDisk(), random: cryptoRandom, logger: silentLogger }
  let aheadMs = 0
  const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs }
  const late: { volume?: VolumeApi } = {}
  const connect = () => late.volume ?? expect.fail('there is no volume server yet')
  const masterConfig = readMasterConfig({ dir: join(path, 'm'), port: 0, warmUpMaxMs: 0 })
  const master = opening.use(
    await MasterServer.open({ ...parts, clock, connect }, masterConfig, NO_SIGNAL),
  )
  const { api, location, secret } = master
  const directories = [join(path, 'v')]
  const volumeConfig = readVolumeServerConfig({ directories, port: 0, secret })
  const volumeParts = { ...parts, clock: systemClock, master: api, connect }
  const volume = opening.use(await VolumeServer.open(volumeParts, volumeConfig, NO_SIGNAL))
  late.volume = volume.api
  while (!volume.isReady) await systemClock.sleep(5, NO_SIGNAL)
  const clientParts = { ...parts, clock: systemClock, master: api, connect, tokens: undefined }
  const client = opening.use(HayloftClient.over(clientParts))
  const namespace = opening.use(
    await RemoteNamespace.open(
      { ...parts, clock: systemClock },
      { addresses: [location.grpcAddress], secret, timeoutMs: 5000 },
    ),
  )
  const owned = opening.move()
  return {
    client,
    namespace,
    master,
    putForward(ms: number): void {
      aheadMs += ms
    },
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  }
}

test('the bytes of an object that a gateway elsewhere deletes go from the disks', async () => {
  await using temp = await openTempDirectory()
  await using cluster = await openCluster(temp.path)
  const { client, master, namespace } = cluster
  const { ownerId = '' } = NEW_VERSION
  const made = { name: 'photos', ownerId, isLockEnabled: false, documents: {} }
  const bucket = await namespace.createBucket(made, NO_SIGNAL)
  const { fileId } = await client.put('the bytes of the object')
  const kept = await client.put('the bytes of another')
  for (const file of [
    { key: 'a', fileId },
    { key: 'b', fileId: kept.fileId },
  ]) {
    const parts = [{ fileId: file.fileId, sizeBytes: 23 }]
    const id = newVersionId(cryptoRandom, systemClock.nowMs())
    const plain = { retention: undefined, isLegalHold: false, recordFileId: undefined }
    const version = { ...NEW_VERSION, ...plain, id, sizeBytes: 23, parts }
    const put = await namespace.putObject({ bucket, key: file.key, version }, NO_SIGNAL)
    expect(await master.api.namespace.findObject({ bucket, key: file.key }, NO_SIGNAL)).toEqual(put)
  }
  await namespace.deleteObject({ bucket, key: 'a' }, NO_SIGNAL)
  expect(await namespace.findObject({ bucket, key: 'a' }, NO_SIGNAL)).toBeUndefined()
  const dropped = await namespace.listDropped({ after: '', limit: 10 }, NO_SIGNAL)
  expect(dropped.fileIds).toEqual([fileId])
  expect((await client.get(fileId)).data.toString()).toBe('the bytes of the object')
  cluster.putForward(10_000)
  while (master.api.gauges.nameDeletesDone === 0) await systemClock.sleep(20, NO_SIGNAL)
  await expectCode(client.get(fileId), 'NEEDLE_NOT_FOUND')
  expect((await client.get(kept.fileId)).data.toString()).toBe('the bytes of another')
  expect(await namespace.listDropped({ after: '', limit: 10 }, NO_SIGNAL)).toMatchObject({
    fileIds: [],
  })
})
