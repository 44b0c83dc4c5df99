import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import type { VolumeId } from '../../src/base/ids.ts'
import { readClusterSecret } from '../../src/net/cluster-secret.ts'
import type { JobKind, JobTarget, JobView, VolumeFacts } from '../../src/net/jobs-api.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type { VolumeApi } from '../../src/net/volume-api.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { digestOf } from './mixed-load.ts'
import { RepairCluster } from './repair-cluster.ts'
import { ClusterProcesses } from './server-process.ts'
import { openTempDirectory } from './temp-directory.ts'

const NEVER = new AbortController().signal
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const PHASE_WORKER = fileURLToPath(new URL('../crash/phase-worker.mjs', import.meta.url))
const FILES = 40
const GRPC_OFFSET = 10_000
const KILLED_MS_MAX = 30_000
const DONE_MS_MAX = 60_000

/** A volume with something to do for a job, and what must stay true of it. */
export interface Scene {
  readonly volumeId: VolumeId
  /** The files in it, with the digest of their bytes. */
  readonly files: Map<string, string>
  readonly target: JobTarget
  /** Copies that the volume shall have. */
  wantedCount: number
}

/** A cluster in which nothing is done that no test asks for, two copies of each volume. */
export class JobScenes implements AsyncDisposable {
  readonly processes: ClusterProcesses
  readonly cluster: RepairCluster
  readonly directory: string
  readonly #connections: VolumeConnections
  readonly #owned: DisposeStack
  #sceneCount = 0

  private constructor(
    parts: {
      readonly processes: ClusterProcesses
      readonly cluster: RepairCluster
      readonly connections: VolumeConnections
      readonly directory: string
    },
    owned: DisposeStack,
  ) {
    this.processes = parts.processes
    this.cluster = parts.cluster
    this.directory = parts.directory
    this.#connections = parts.connections
    this.#owned = owned
  }

  static async start(volumeServers: number): Promise<JobScenes> {
    await using opening = new DisposeStack()
    const directory = opening.use(await openTempDirectory()).path
    const quiet = ['--check', '1h', '--workers', '0', '--job-lease', '1s', '--heartbeat', '500ms']
    const processes = opening.use(
      await ClusterProcesses.start({
        directory,
        volumeServers,
        masterFlags: ['--replication', '001', ...quiet],
        volumeFlags: ['--read-mode', 'local'],
      }),
    )
    const { masterAddress, secretFile } = processes
    const cluster = opening.use(await RepairCluster.connect({ masterAddress, secretFile }))
    const secret = await readClusterSecret(new NodeDisk(), secretFile)
    const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
    const connections = opening.use(await VolumeConnections.open(parts, { secret }))
    return new JobScenes({ processes, cluster, connections, directory }, opening.move())
  }

  at(location: NodeLocation): VolumeApi {
    return this.#connections.connect(location)
  }

  async command(volumeId: VolumeId) {
    const { epoch } = await this.cluster.master.status(NEVER)
    return { epoch, volumeId }
  }

  facts(volumeId: VolumeId): Promise<VolumeFacts> {
    return this.cluster.jobs.volumeFacts(volumeId, NEVER)
  }

  /** Files of one collection, one volume of which becomes the scene. */
  async newScene(options: { readonly ttl?: string } = {}): Promise<Scene> {
    const collection = `scene${++this.#sceneCount}`
    const byVolume = new Map<VolumeId, Map<string, string>>()
    for (let index = 0; index < FILES; index++) {
      const data = randomBytes(2000 + index * 100)
      const { fileId } = await this.cluster.client.put(data, { collection, ...options })
      const { volumeId } = parseFileId(fileId)
      const files = byVolume.get(volumeId) ?? new Map<string, string>()
      byVolume.set(volumeId, files.set(fileId, digestOf(data)))
    }
    const [fullest] = [...byVolume].sort((a, b) => b[1].size - a[1].size)
    if (fullest === undefined) throw new Error('no volume')
    const [volumeId, files] = fullest
    await this.waitUntil('the members are known', async () => {
      const { members } = await this.facts(volumeId)
      return members.length === 2 && members.every(({ report }) => report !== undefined)
    })
    return { volumeId, files, target: { volumeId }, wantedCount: 2 }
  }

  async waitUntil(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const deadlineMs = Date.now() + DONE_MS_MAX
    while (!(await isSo())) {
      if (Date.now() > deadlineMs) throw new Error(`${what}: not within ${DONE_MS_MAX} ms`)
      await sleep(50)
    }
  }

  async locations(): Promise<readonly NodeLocation[]> {
    const { nodes } = await this.cluster.master.topology(NEVER)
    return nodes.map(({ location }) => location)
  }

  /** Whether a server has every file of the scene with the right bytes. */
  async hasAll({ url }: NodeLocation, { files }: Scene): Promise<boolean> {
    const reads = [...files].map(async ([fileId, digest]) => {
      const answer = await fetch(`http://${url}/${fileId}`)
      return digestOf(Buffer.from(await answer.arrayBuffer())) === digest
    })
    // A flipped flag may say of plain data that it is compressed: that cannot be read at all.
    return (await Promise.allSettled(reads)).every((read) => {
      return read.status === 'fulfilled' && read.value
    })
  }

  /** Servers, members or not, that have every file of the volume with the right bytes. */
  async wholeCopies(scene: Scene): Promise<number> {
    let whole = 0
    for (const location of await this.locations()) {
      const status = await this.at(location)
        .volumeStatus(scene.volumeId, NEVER)
        .catch(() => undefined)
      if (status !== undefined && (await this.hasAll(location, scene))) whole++
    }
    return whole
  }

  async expectReadable({ files }: Scene): Promise<void> {
    for (const [fileId, digest] of files) {
      expect(digestOf((await this.cluster.client.get(fileId)).data), fileId).toBe(digest)
    }
  }

  async runJob(kind: JobKind, target: JobTarget): Promise<JobView> {
    return await this.cluster.jobs.runJob({ kind, target, reason: 'test' }, NEVER)
  }

  async jobOf(jobId: number): Promise<JobView | undefined> {
    const jobs = await this.cluster.jobs.listJobs({ withEnded: true }, NEVER)
    return jobs.find(({ id }) => id === jobId)
  }

  /** True: the worker came to that phase, and died there. False: the job ended without it. */
  async killAtPhase(kind: JobKind, phase: string, jobId: number): Promise<boolean> {
    const master = `127.0.0.1:${this.processes.masterPort + GRPC_OFFSET}`
    const json = JSON.stringify({ master, secretFile: this.processes.secretFile, kind, phase })
    const child = new Child([PHASE_WORKER, json])
    const deadlineMs = Date.now() + KILLED_MS_MAX
    try {
      while (Date.now() < deadlineMs) {
        if (await child.endsWithin(100)) return child.process.signalCode === 'SIGKILL'
        const job = await this.jobOf(jobId)
        if (job?.state === 'done' || job?.state === 'failed') return false
      }
      throw new Error(`${kind} came to no end: ${JSON.stringify(await this.jobOf(jobId))}`)
    } finally {
      await child.stop()
    }
  }

  /** An ordinary worker goes on where the killed one was. */
  async finish(jobId: number): Promise<JobView> {
    const { masterAddress, secretFile } = this.processes
    const place = ['--master', masterAddress, '--secret-file', secretFile]
    const child = new Child([MAIN, 'worker', '--log-level', 'error', ...place])
    try {
      let ended: JobView | undefined
      await this.waitUntil(`job ${jobId} is done`, async () => {
        const job = await this.jobOf(jobId)
        if (job?.state === 'failed') throw new Error(JSON.stringify(job))
        ended = job
        return job?.state === 'done'
      })
      if (ended === undefined) throw new Error(`job ${jobId} is not known`)
      return ended
    } finally {
      await child.stop()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
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
