import { describe, expect, test } from 'vitest'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { GatewaySession } from '../../src/gateway/gateway-session.ts'
import { writeObject } from '../../src/gateway/object-writer.ts'
import { RemoteNamespace } from '../../src/gateway/remote-namespace.ts'
import { readClusterSecret } from '../../src/net/cluster-secret.ts'
import type { JobView } from '../../src/net/jobs-api.ts'
import { RemoteJobs } from '../../src/net/remote-jobs.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { Prng } from '../support/prng.ts'
import { ClusterProcesses, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const NEVER = new AbortController().signal
const OWNER = '0'.repeat(64)
const GRPC_OFFSET = 10_000
const TAKEN_OVER_MS_MAX = 10_000
const WAIT_MS_MAX = 90_000

/** No pass before it is asked for; one that reads files rests long after the first of them. */
const MASTER_FLAGS = ['--workers', '0', '--heal-interval', 'off', '--politeness', '100']

async function openCluster() {
  await using opening = new DisposeStack()
  const directory = opening.use(await openTempDirectory()).path
  const options = { directory, volumeServers: 3, masterFlags: MASTER_FLAGS }
  const processes = opening.use(await ClusterProcesses.start(options))
  const { masterAddress, masterPort, secretFile } = processes
  const secret = await readClusterSecret(new NodeDisk(), secretFile)
  const shared = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
  const addresses = [`127.0.0.1:${masterPort + GRPC_OFFSET}`]
  const config = { addresses, secret, timeoutMs: 10_000 }
  const jobs = opening.use(await RemoteJobs.open(shared, config))
  const namespace = opening.use(await RemoteNamespace.open(shared, config))
  const client = opening.use(await HayloftClient.connect({ masters: masterAddress }))
  const session = opening.use(new GatewaySession({ ...shared, namespace }))
  const workers = new Map<string, ServerProcess>()
  for (const name of ['first', 'second']) {
    const place = ['--master', masterAddress, '--secret-file', secretFile]
    const args = ['worker', '--name', name, '--kinds', 'heal', ...place]
    const readyUrl = `http://127.0.0.1:${masterPort}/healthz`
    workers.set(name, opening.use(await ServerProcess.start({ args, readyUrl })))
  }
  const owned = opening.move()
  const gateway = { ...shared, namespace, client, session, closing: NEVER }
  return { jobs, gateway, workers, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}

async function until<Value>(
  what: string,
  look: () => Promise<Value | undefined>,
  msMax = WAIT_MS_MAX,
): Promise<Value> {
  const untilMs = performance.now() + msMax
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > untilMs) throw new Error(`${what}: not within ${msMax} ms`)
    await systemClock.sleep(50, NEVER)
  }
}

describe('the healer', () => {
  test('is another worker within ten seconds when the one that is dies', async () => {
    await using cluster = await openCluster()
    const { gateway, jobs, workers } = cluster
    const request = { name: 'bee', ownerId: OWNER, isLockEnabled: false, documents: {} }
    const bucket = await gateway.namespace.createBucket(request, NEVER)
    const storage = { collection: 'objects-coded', policy: 'ec:2+1' }
    const prng = new Prng(1)
    for (let index = 0; index < 60; index++) {
      const object = { bucket, key: `k${index}`, data: prng.bytes(3000), storage }
      await writeObject(gateway, object, NEVER)
    }
    const { id } = await jobs.runJob({ kind: 'heal', target: {}, reason: 'test' }, NEVER)
    const jobNow = async (): Promise<JobView | undefined> => {
      const views = await jobs.listJobs({ kind: 'heal', withEnded: true }, NEVER)
      return views.find((job) => job.id === id)
    }
    const running = await until('it reads files', async () => {
      const job = await jobNow()
      return job?.state === 'running' && job.progress.phase === 'verified' ? job : undefined
    })
    await workers.get(running.worker)?.kill()
    const other = running.worker === 'first' ? 'second' : 'first'
    await until(
      'the other one has it',
      async () => ((await jobNow())?.worker === other ? other : undefined),
      TAKEN_OVER_MS_MAX,
    )
    const done = await until('it ends', async () => {
      const job = await jobNow()
      return job?.state === 'done' ? job : undefined
    })
    expect([done.worker, done.attempts, done.error]).toEqual([other, 2, ''])
    expect(done.counts?.['filesVerified']).toBeGreaterThanOrEqual(60)
    expect(done.counts?.['failures']).toBe(0)
  })
})
