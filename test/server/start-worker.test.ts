import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { readMasterConfig } from '../../src/master/config.ts'
import { readClusterSecret } from '../../src/net/cluster-secret.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { startMaster } from '../../src/server/start-master.ts'
import { startServer } from '../../src/server/start-server.ts'
import { startWorker } from '../../src/server/start-worker.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
const never = new AbortController().signal

test('a worker elsewhere does over the net what the cluster has no worker for', async () => {
  await using temp = await openTempDirectory()
  const ports = { port: 0, volumePort: 0, volumeSize: '64MiB' }
  const repair = { workers: 0, politeness: 0 }
  await using server = await startServer({ dir: temp.path, ...ports, repair })
  const { fileId } = await server.client.put('to be checked')
  const target = { volumeId: parseFileId(fileId).volumeId }
  const job = await server.jobs.runJob({ kind: 'scrub', target, reason: 'a test' }, never)
  expect(job).toMatchObject({ state: 'waiting', attempts: 0 })
  const config = {
    masters: [server.masterGrpcAddress],
    secret: await readClusterSecret(new NodeDisk(), server.secretFile),
    tls: undefined,
  }
  const options = { name: 'w1', queue: '', kinds: ['scrub'] as const, width: 1 }
  await using _worker = await startWorker(parts, config, options)
  for await (const { id, state, worker } of server.jobs.watchJobs(never)) {
    if (id !== job.id || state !== 'done') continue
    expect(worker).toBe('w1')
    break
  }
})

test('a master closes with the worker beside it, and the same directory starts again', async () => {
  await using temp = await openTempDirectory()
  const config = readMasterConfig({ dir: join(temp.path, 'master'), port: 0 })
  const masterParts = { ...parts, disk: new NodeDisk() }
  for (let start = 0; start < 2; start++) {
    await using master = await startMaster(masterParts, config, never)
    expect(master.location.grpcAddress).toMatch(/^127\.0\.0\.1:\d+$/)
  }
})
