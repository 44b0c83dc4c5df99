import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import type { VolumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { JOB_PHASES } from '../../src/jobs/job.ts'
import { readClusterSecret } from '../../src/net/cluster-secret.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type { VolumeApi } from '../../src/net/volume-api.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { digestOf } from '../support/mixed-load.ts'
import { Prng } from '../support/prng.ts'
import { flipBytes, RepairCluster } from '../support/repair-cluster.ts'
import { ClusterProcesses } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const NEVER = new AbortController().signal
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const PHASE_WORKER = fileURLToPath(new URL('./phase-worker.mjs', import.meta.url))
const FILES = 40
const SERVERS = 4
const GRPC_OFFSET = 10_000
const KILLED_MS_MAX = 30_000
const DONE_MS_MAX = 60_000

/** A volume with something to do for a job, and what must stay true of it. */
interface Scene {
  readonly volumeId: VolumeId
  /** The files in it, with the digest of their bytes. */
  readonly files: Map<string, string>
  readonly target: JobTarget
  /** Copies that the volume shall have. */
  wantedCount: number
}

type Prepare = (scene: Scene) => Promise<JobTarget | undefined>

let owned: DisposeStack
let directory: string
let processes: ClusterProcesses
let cluster: RepairCluster
let connections: VolumeConnections
let sceneCount = 0

beforeAll(async () => {
  owned = new DisposeStack()
  directory = owned.use(await openTempDirectory()).path
  // Nothing is done that no test asks for.
  const quiet = ['--check', '1h', '--workers', '0', '--job-lease', '1s', '--heartbeat', '500ms']
  processes = owned.use(
    await ClusterProcesses.start({
      directory,
      volumeServers: SERVERS,
      masterFlags: ['--replication', '001', ...quiet],
      volumeFlags: ['--read-mode', 'local'],
    }),
  )
  const { masterAddress, secretFile } = processes
  cluster = owned.use(await RepairCluster.connect({ masterAddress, secretFile }))
  const secret = await readClusterSecret(new NodeDisk(), secretFile)
  const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
  connections = owned.use(await VolumeConnections.open(parts, { secret }))
}, 120_000)

afterAll(async () => {
  await owned?.[Symbol.asyncDispose]()
})

function at(location: NodeLocation): VolumeApi {
  return connections.connect(location)
}

async function command(volumeId: VolumeId) {
  const { epoch } = await cluster.master.status(NEVER)
  return { epoch, volumeId }
}

/** Files of one collection, one volume of which becomes the scene. */
async function newScene(options: { readonly ttl?: string } = {}): Promise<Scene> {
  const collection = `scene${++sceneCount}`
  const byVolume = new Map<VolumeId, Map<string, string>>()
  for (let index = 0; index < FILES; index++) {
    const data = randomBytes(2000 + index * 100)
    const { fileId } = await cluster.client.put(data, { collection, ...options })
    const { volumeId } = parseFileId(fileId)
    const files = byVolume.get(volumeId) ?? new Map<string, string>()
    byVolume.set(volumeId, files.set(fileId, digestOf(data)))
  }
  const [fullest] = [...byVolume].sort((a, b) => b[1].size - a[1].size)
  if (fullest === undefined) throw new Error('no volume')
  const [volumeId, files] = fullest
  await waitUntil('the members are known', async () => {
    const { members } = await cluster.jobs.volumeFacts(volumeId, NEVER)
    return members.length === 2 && members.every(({ report }) => report !== undefined)
  })
  return { volumeId, files, target: { volumeId }, wantedCount: 2 }
}

async function waitUntil(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = Date.now() + DONE_MS_MAX
  while (!(await isSo())) {
    if (Date.now() > deadlineMs) throw new Error(`${what}: not within ${DONE_MS_MAX} ms`)
    await sleep(50)
  }
}

async function membersOf(volumeId: VolumeId): Promise<readonly NodeLocation[]> {
  const { members } = await cluster.jobs.volumeFacts(volumeId, NEVER)
  return members.map(({ location }) => location)
}

async function freeServer(volumeId: VolumeId): Promise<NodeLocation> {
  const { members, strays } = await cluster.jobs.volumeFacts(volumeId, NEVER)
  const taken = new Set([...members, ...strays].map(({ location }) => location.url))
  const { nodes } = await cluster.master.topology(NEVER)
  const free = nodes.find(({ location, isDraining }) => !taken.has(location.url) && !isDraining)
  if (free === undefined) throw new Error('every server has a copy')
  return free.location
}

/** Servers, members or not, that have every file of the volume with the right bytes. */
async function wholeCopies({ volumeId, files }: Scene): Promise<number> {
  const { nodes } = await cluster.master.topology(NEVER)
  let whole = 0
  for (const { location } of nodes) {
    const status = await at(location)
      .volumeStatus(volumeId, NEVER)
      .catch(() => undefined)
    if (status === undefined) continue
    const reads = [...files].map(async ([fileId, digest]) => {
      const answer = await fetch(`http://${location.url}/${fileId}`)
      return digestOf(Buffer.from(await answer.arrayBuffer())) === digest
    })
    // A flipped flag may say of plain data that it is compressed: that cannot be read at all.
    const isWhole = (await Promise.allSettled(reads)).every((read) => {
      return read.status === 'fulfilled' && read.value
    })
    if (isWhole) whole++
  }
  return whole
}

async function expectReadable({ files }: Scene): Promise<void> {
  for (const [fileId, digest] of files) {
    expect(digestOf((await cluster.client.get(fileId)).data), fileId).toBe(digest)
  }
}

/** A child process, and whether it ends within a time. */
class Child {
  readonly process: ChildProcess
  readonly #ended: Promise<unknown>

  constructor(args: readonly string[]) {
    this.process = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    this.#ended = once(this.process, 'exit')
  }

  async endsWithin(ms: number): Promise<boolean> {
    const isLate = sleep(ms, 'late', { ref: false })
    return (await Promise.race([this.#ended, isLate])) !== 'late'
  }

  async stop(): Promise<void> {
    this.process.kill('SIGTERM')
    if (!(await this.endsWithin(10_000))) this.process.kill('SIGKILL')
    await this.#ended
  }
}

/** True: the worker came to that phase, and died there. False: the job ended without it. */
async function killAtPhase(kind: JobKind, phase: string, jobId: number): Promise<boolean> {
  const master = `127.0.0.1:${processes.masterPort + GRPC_OFFSET}`
  const json = JSON.stringify({ master, secretFile: processes.secretFile, kind, phase })
  const child = new Child([PHASE_WORKER, json])
  const deadlineMs = Date.now() + KILLED_MS_MAX
  try {
    while (Date.now() < deadlineMs) {
      if (await child.endsWithin(100)) return child.process.signalCode === 'SIGKILL'
      const job = await jobOf(jobId)
      if (job?.state === 'done' || job?.state === 'failed') return false
    }
    throw new Error(`${kind} came to no end: ${JSON.stringify(await jobOf(jobId))}`)
  } finally {
    await child.stop()
  }
}

async function jobOf(jobId: number) {
  const jobs = await cluster.jobs.listJobs({ withEnded: true }, NEVER)
  return jobs.find(({ id }) => id === jobId)
}

/** An ordinary worker goes on where the killed one was. */
async function finish(jobId: number): Promise<void> {
  const place = ['--master', processes.masterAddress, '--secret-file', processes.secretFile]
  const child = new Child([MAIN, 'worker', '--log-level', 'error', ...place])
  try {
    await waitUntil(`job ${jobId} is done`, async () => {
      const job = await jobOf(jobId)
      if (job?.state === 'failed') throw new Error(JSON.stringify(job))
      return job?.state === 'done'
    })
  } finally {
    await child.stop()
  }
}

async function loseCopy({ volumeId }: Scene): Promise<undefined> {
  const [, second] = await membersOf(volumeId)
  if (second === undefined) throw new Error('no second copy')
  await at(second).deleteVolume(await command(volumeId), NEVER)
  await waitUntil('the copy is known to be lost', async () => {
    const { members } = await cluster.jobs.volumeFacts(volumeId, NEVER)
    return members.some(({ isLost }) => isLost)
  })
  return undefined
}

/** A put that only the first copy got, and a delete that only the second one got. */
async function drift(scene: Scene): Promise<undefined> {
  const { volumeId, files } = scene
  const [first, second] = await membersOf(volumeId)
  if (first === undefined || second === undefined) throw new Error('two copies are needed')
  const [deleted, overtaken] = files.keys()
  if (deleted === undefined || overtaken === undefined) throw new Error('no files')
  const { needleId } = parseFileId(deleted)
  const needles = { ...(await command(volumeId)), needleIds: [needleId] }
  await at(second).deleteNeedles(needles, NEVER)
  files.delete(deleted)
  // The same id with another size, as an overwrite that failed half-way leaves it.
  const data = randomBytes(500)
  const put = { fileId: parseFileId(overtaken), data, metadata: {}, writeToken: '' }
  await at(first).put({ ...put, isReplica: true }, NEVER)
  files.set(overtaken, digestOf(data))
  return undefined
}

async function driftKnown(scene: Scene): Promise<undefined> {
  await drift(scene)
  const { volumeId, files } = scene
  const records = [...files.keys()].slice(0, 5).map((fileId) => ({
    volumeId,
    needleId: parseFileId(fileId).needleId,
    kind: 'put' as const,
    reportedBy: 'test',
    unreached: [],
  }))
  await cluster.master.recordDirty(records, NEVER)
  return undefined
}

async function addStray({ volumeId }: Scene): Promise<undefined> {
  const [source] = await membersOf(volumeId)
  const target = await freeServer(volumeId)
  if (source === undefined) throw new Error('no copy')
  const { collection } = await cluster.jobs.volumeFacts(volumeId, NEVER)
  const copy = { ...(await command(volumeId)), collection, source, politeness: 0 }
  for await (const _ of at(target).copyVolume({ ...copy, replacesBad: false }, NEVER));
  await waitUntil('the stray is known', async () => {
    const { strays } = await cluster.jobs.volumeFacts(volumeId, NEVER)
    return strays.length > 0
  })
  return undefined
}

async function wantFewer(scene: Scene): Promise<undefined> {
  await cluster.jobs.setReplication(scene.volumeId, parseReplicaPlacement('000'), NEVER)
  scene.wantedCount = 1
  return undefined
}

async function planMove({ volumeId }: Scene): Promise<JobTarget> {
  const [from] = await membersOf(volumeId)
  const to = await freeServer(volumeId)
  return { volumeId, node: from?.url, toNode: to.url }
}

async function makeGarbage({ files }: Scene): Promise<undefined> {
  for (const fileId of [...files.keys()].slice(0, Math.floor(files.size / 2))) {
    await cluster.client.delete(fileId)
    files.delete(fileId)
  }
  return undefined
}

async function rot({ volumeId }: Scene): Promise<undefined> {
  const [member] = await membersOf(volumeId)
  const index = processes.volumePorts.findIndex((port) => member?.url.endsWith(`:${port}`))
  const only = new RegExp(`(^|_)${volumeId}\\.dat$`)
  await flipBytes([`${directory}/volume-${index + 1}`], 20, new Prng(volumeId), { names: only })
  return undefined
}

async function wantMore({ volumeId }: Scene): Promise<JobTarget> {
  const { collection } = await cluster.jobs.volumeFacts(volumeId, NEVER)
  return { collection, replication: parseReplicaPlacement('002') }
}

/** How to give a job of each kind something to do; the first that leads to a phase is taken. */
const PREPARE: Readonly<Record<Exclude<JobKind, 'expire'>, readonly Prepare[]>> = {
  // First, while there are few volumes to move.
  rebalance: [
    async () => {
      await processes.addVolumeServer(['--read-mode', 'local'])
      return {}
    },
  ],
  evacuate: [
    async ({ volumeId }) => {
      const [node] = await membersOf(volumeId)
      await processes.addVolumeServer(['--read-mode', 'local'])
      return { node: node?.url }
    },
  ],
  'replica-repair': [loseCopy, driftKnown, addStray, drift, wantFewer],
  move: [planMove],
  vacuum: [makeGarbage],
  scrub: [rot],
  'set-replication': [wantMore],
}

async function runScene(kind: JobKind, phase: string, scene: Scene, target: JobTarget) {
  // More than are wanted may go.
  const before = Math.min(scene.wantedCount, await wholeCopies(scene))
  const job = await cluster.jobs.runJob({ kind, target, reason: 'test' }, NEVER)
  const wasKilled = await killAtPhase(kind, phase, job.id)
  await expectReadable(scene)
  expect(await wholeCopies(scene), 'copies that have everything').toBeGreaterThanOrEqual(before)
  await finish(job.id)
  await expectReadable(scene)
  expect(await wholeCopies(scene)).toBeGreaterThanOrEqual(before)
  return wasKilled
}

describe('a worker killed at a phase leaves the old state or the new one, for another to end', () => {
  const cases = Object.entries(PREPARE).flatMap(([kind, ways]) =>
    JOB_PHASES[kind as JobKind].map((phase) => ({ kind: kind as JobKind, phase, ways })),
  )
  test.each(cases)('$kind at "$phase"', async ({ kind, phase, ways }) => {
    for (const prepare of ways) {
      const scene = await newScene()
      const target = (await prepare(scene)) ?? scene.target
      if (!(await runScene(kind, phase, scene, target))) continue
      if (kind === 'rebalance' || kind === 'evacuate' || kind === 'set-replication') return
      const { wantedCount } = scene
      expect(await wholeCopies(scene)).toBe(wantedCount)
      const { members, strays, dirtyCount } = await cluster.jobs.volumeFacts(scene.volumeId, NEVER)
      expect([members.length, strays.length]).toEqual([wantedCount, 0])
      // The reads of this test told of needles they found bad: the next repair looks at them.
      if (kind !== 'scrub') expect(dirtyCount).toBe(0)
      return
    }
    throw new Error(`no job came to ${phase}`)
  })

  // Together, since each has to wait until its files have expired.
  test('expire at each phase', async () => {
    const scenes = await Promise.all(
      JOB_PHASES.expire.map(async (phase) => ({ phase, scene: await newScene({ ttl: '1m' }) })),
    )
    await sleep(75_000)
    for (const { phase, scene } of scenes) {
      const { volumeId } = scene
      const request = { kind: 'expire', target: { volumeId }, reason: 'test' } as const
      const { id } = await cluster.jobs.runJob(request, NEVER)
      expect(await killAtPhase('expire', phase, id), phase).toBe(true)
      await finish(id)
      for (const { location } of (await cluster.master.topology(NEVER)).nodes) {
        const found = at(location).volumeStatus(volumeId, NEVER)
        await expect(found).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
      }
    }
  })
})
