import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { CreateBucketCommand, PutBucketVersioningCommand, S3Client } from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { Prng } from '../support/prng.ts'
import { S3ModelClient } from '../support/s3-model-client.ts'
import { ClusterProcesses, freePorts, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const run = promisify(execFile)
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const SEED = Number(process.env['SEED'] ?? 1)
const KILLS = 10
const CLIENTS = 6
const KEYS = 4
const KEY = { accessKeyId: 'MODELROOTKEY', secretAccessKey: 'a-secret-of-the-model' }

// Goal: whatever process dies between any two steps, nothing acknowledged is lost, nothing is seen
// half-written, and lists say what reads say.
// Method: clients write keys of their own through S3 while gateway, master and volume servers are
// killed in turn; each client knows all that its keys may hold. Replay: SEED=17.
test(`S3 keeps what it acknowledged through ${KILLS} kills of its processes (seed ${SEED})`, async () => {
  const prng = new Prng(SEED)
  await using owned = new DisposeStack()
  const directory = owned.use(await openTempDirectory())
  const rootKey = [
    ...['--s3-root-access-key', KEY.accessKeyId],
    ...['--s3-root-secret-key', KEY.secretAccessKey],
  ]
  const cluster = owned.use(
    await ClusterProcesses.start({
      directory: directory.path,
      volumeServers: 3,
      masterFlags: ['--replication', '001', '--volume-size', '64MiB', ...rootKey],
      volumeFlags: ['--volume-size', '64MiB'],
    }),
  )
  const [port = 0] = await freePorts(1)
  const gateway = owned.use(
    await ServerProcess.start({
      args: [
        ...['gateway', '--s3-port', String(port)],
        ...['--master', cluster.masterAddress, '--secret-file', cluster.secretFile],
      ],
      readyUrl: `http://127.0.0.1:${port}/`,
      readyStatus: 403,
    }),
  )
  const sdk = new S3Client({
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: KEY,
    maxAttempts: 1,
  })
  owned.defer(async () => sdk.destroy())
  await sdk.send(new CreateBucketCommand({ Bucket: 'plain' }))
  await sdk.send(new CreateBucketCommand({ Bucket: 'versioned' }))
  const VersioningConfiguration = { Status: 'Enabled' } as const
  await sdk.send(new PutBucketVersioningCommand({ Bucket: 'versioned', VersioningConfiguration }))
  const clients = Array.from({ length: CLIENTS }, (_, number) => {
    const keys = Array.from({ length: KEYS }, (__, index) => `client ${number}/key+${index}`)
    const isVersioned = number % 2 === 1
    const bucket = isVersioned ? 'versioned' : 'plain'
    return new S3ModelClient(sdk, new Prng(100 * SEED + number), { bucket, keys, isVersioned })
  })
  const state = { isStopping: false }
  const runs = clients.map(async (client) => {
    while (!state.isStopping) {
      const isAnswered = await client.step()
      await sleep(isAnswered ? 1 : 50)
    }
  })
  for (let kill = 0; kill < KILLS; kill++) {
    await sleep(200 + prng.below(1200))
    const all = [gateway, cluster.master, ...cluster.volumes]
    const victim = all[kill % all.length]
    await victim?.kill()
    await sleep(prng.below(300))
    await victim?.restart()
  }
  await sleep(1500)
  state.isStopping = true
  await Promise.all(runs)
  for (const client of clients) await client.checkAll()
  const done = clients.reduce((sum, client) => sum + client.doneCount, 0)
  const lost = clients.reduce((sum, client) => sum + client.lostCount, 0)
  console.log(`${done} steps done, ${lost} without an answer`)
  expect(clients.flatMap(({ faults }) => faults)).toEqual([])
  // It fails when a row names bytes that are not all there.
  const where = ['--master', cluster.masterAddress, '--secret-file', cluster.secretFile]
  const { stdout } = await run(process.execPath, [MAIN, 'namespace', 'check', ...where])
  console.log(stdout)
  expect(done).toBeGreaterThan(200)
}, 180_000)
