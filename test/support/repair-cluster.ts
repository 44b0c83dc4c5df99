import { open, readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { request } from 'undici'
import { parseFileId } from '../../src/base/file-id.ts'
import type { VolumeId } from '../../src/base/ids.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { readClusterSecret } from '../../src/net/cluster-secret.ts'
import type { ClusterHealth, JobView } from '../../src/net/jobs-api.ts'
import { RemoteJobs } from '../../src/net/remote-jobs.ts'
import { RemoteMaster } from '../../src/net/remote-master.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { digestOf, type Ledger } from './mixed-load.ts'
import type { Prng } from './prng.ts'
import { ClusterProcesses, type ServerProcess } from './server-process.ts'

const GRPC_OFFSET = 10_000
const CALL_MS = 10_000
const POLL_MS = 200
const NEVER = new AbortController().signal

export interface RepairClusterOptions {
  readonly directory: string
  readonly masterFlags: readonly string[]
  readonly volumeFlags?: readonly string[]
  readonly volumeDirectory?: (index: number) => string | undefined
  /** Flags of each volume server; six in three data centres of two racks each unless given. */
  readonly servers?: readonly Readonly<Record<string, string>>[]
}

const SIX_SERVERS = Array.from({ length: 6 }, (_, index) => ({
  'data-center': `dc${(index % 3) + 1}`,
  rack: `rack${index < 3 ? 1 : 2}`,
}))

interface Parts {
  readonly client: HayloftClient
  readonly master: RemoteMaster
  readonly jobs: RemoteJobs
}

/** A cluster as tests of repair ask it. */
export class RepairCluster implements AsyncDisposable {
  readonly client: HayloftClient
  readonly master: RemoteMaster
  readonly jobs: RemoteJobs
  /** Of a cluster that was started here. */
  readonly processes: ClusterProcesses | undefined
  readonly #owned: DisposeStack
  readonly #directoryOf: (index: number) => string

  private constructor(
    { client, master, jobs }: Parts,
    owned: DisposeStack,
    started?: {
      readonly processes: ClusterProcesses
      readonly directoryOf: (index: number) => string
    },
  ) {
    this.client = client
    this.master = master
    this.jobs = jobs
    this.#owned = owned
    this.processes = started?.processes
    this.#directoryOf = started?.directoryOf ?? (() => '')
  }

  static async start(options: RepairClusterOptions): Promise<RepairCluster> {
    await using opening = new DisposeStack()
    const { directory, masterFlags, volumeFlags, volumeDirectory } = options
    const { servers = SIX_SERVERS } = options
    const processes = opening.use(
      await ClusterProcesses.start({
        directory,
        masterFlags,
        volumeServers: 0,
        ...(volumeFlags && { volumeFlags }),
        ...(volumeDirectory && { volumeDirectory }),
      }),
    )
    for (const labels of servers) {
      const flags = Object.entries(labels).flatMap(([name, value]) => [`--${name}`, value])
      await processes.addVolumeServer(flags)
    }
    const { masterAddress, secretFile } = processes
    const parts = await connectParts({ masterAddress, secretFile }, opening)
    const directoryOf = (index: number): string =>
      volumeDirectory?.(index) ?? join(directory, `volume-${index + 1}`)
    return new RepairCluster(parts, opening.move(), { processes, directoryOf })
  }

  /** One that runs already. */
  static async connect(address: ClusterAddress): Promise<RepairCluster> {
    await using opening = new DisposeStack()
    const parts = await connectParts(address, opening)
    return new RepairCluster(parts, opening.move())
  }

  server(index: number): ServerProcess {
    const server = this.processes?.volumes[index]
    if (server === undefined) throw new Error(`there is no volume server ${index}`)
    return server
  }

  directoryOf(index: number): string {
    return this.#directoryOf(index)
  }

  health(): Promise<ClusterHealth> {
    return this.jobs.health(NEVER)
  }

  /** Polls until the health is as wanted; how long that took. */
  async waitHealth(
    what: string,
    isAsWanted: (health: ClusterHealth) => boolean,
    withinMs: number,
  ): Promise<number> {
    const startedMs = Date.now()
    let health: ClusterHealth | undefined
    while (Date.now() - startedMs < withinMs) {
      health = await this.health().catch(() => undefined)
      if (health !== undefined && isAsWanted(health)) return Date.now() - startedMs
      await sleep(POLL_MS)
    }
    const shown = JSON.stringify(health, undefined, 1)
    const jobs = await this.jobs.listJobs({ withEnded: false }, NEVER).catch(() => [])
    throw new Error(`${what}: not within ${withinMs} ms:\n${shown}\n${JSON.stringify(jobs)}`)
  }

  /** First it is noticed that something is missing, then it is all there again. */
  async waitRepaired(withinMs: number): Promise<{ noticedMs: number; repairedMs: number }> {
    const noticedMs = await this.waitHealth('noticed', (now) => !now.isFullyRedundant, 30_000)
    const repairedMs = await this.waitHealth('repaired', (now) => now.isFullyRedundant, withinMs)
    return { noticedMs, repairedMs }
  }

  /** Runs a job and waits for its end. @throws when it fails. */
  async runJob(...[request]: [Parameters<RemoteJobs['runJob']>[0]]): Promise<JobView> {
    const { id } = await this.jobs.runJob(request, NEVER)
    for (;;) {
      const all = await this.jobs.listJobs({ withEnded: true }, NEVER)
      const job = all.find((each) => each.id === id)
      if (job === undefined) throw new Error(`job ${id} is not known any more`)
      if (job.state === 'done') return job
      if (job.state === 'failed' || job.state === 'cancelled') throw new Error(JSON.stringify(job))
      await sleep(POLL_MS)
    }
  }

  /**
   * Nothing is written any more: waits until every member of every volume has told its digest.
   * What is wrong with them, in words.
   */
  async unlikeVolumes(copyCount: number, withinMs = 60_000): Promise<readonly string[]> {
    const deadlineMs = Date.now() + withinMs
    for (;;) {
      const wrong: string[] = []
      for (const volumeId of await this.jobs.listVolumes(undefined, NEVER)) {
        const facts = await this.jobs.volumeFacts(volumeId, NEVER)
        if (facts.isDeleted) continue
        const reports = facts.members.map(({ report, isUp }) => (isUp ? report : undefined))
        const digests = reports.map((report) => report?.digest ?? 'none')
        const isWhole = digests.length === copyCount && !digests.includes('none')
        const isEqual = new Set(digests).size === 1 && digests[0] !== ''
        const hasStrays = facts.strays.length > 0
        if (isWhole && isEqual && !hasStrays && facts.dirtyCount === 0) continue
        wrong.push(
          `volume ${volumeId}: ${digests.join(' ')}, ${facts.dirtyCount} dirty, strays: ` +
            `${JSON.stringify(facts.strays)}, jobs: ${await this.#jobsOf(volumeId)}`,
        )
      }
      if (wrong.length === 0 || Date.now() > deadlineMs) return wrong
      await sleep(500)
    }
  }

  /** For whoever wonders. */
  async #jobsOf(volumeId: VolumeId): Promise<string> {
    const jobs = await this.jobs.listJobs({ withEnded: true }, NEVER)
    const log = this.processes?.master.said.split('\n') ?? []
    const lines = log.filter((line) => line.includes(`"volumeId":${volumeId},`)).slice(-20)
    const recent = jobs.filter(({ target }) => target.volumeId === volumeId).slice(-3)
    return `${JSON.stringify(recent)}\n${lines.join('\n')}`
  }

  /** Reads every file of the ledger from every server that has it, by plain HTTP. */
  async wrongCopies(ledger: Ledger): Promise<readonly string[]> {
    const wrong: string[] = []
    const locations = new Map<number, readonly string[]>()
    const ids = [...ledger.live]
    const check = async ([fileId, digest]: [string, string]): Promise<void> => {
      const volumeId = Number(fileId.split(',')[0])
      for (const url of locations.get(volumeId) ?? []) {
        const { status, data } = await readOver(url, fileId)
        if (status !== 200 || digestOf(data) !== digest) {
          wrong.push(`${fileId} at ${url}: ${status}, ${data.length} bytes`)
        }
      }
    }
    for (const volumeId of await this.jobs.listVolumes(undefined, NEVER)) {
      const { members } = await this.jobs.volumeFacts(volumeId, NEVER)
      locations.set(
        volumeId,
        members.map(({ location }) => location.url),
      )
    }
    for (let at = 0; at < ids.length; at += 32) {
      await Promise.all(ids.slice(at, at + 32).map(check))
    }
    return wrong
  }

  /** Those of the deleted files that somebody still gives out. */
  async resurrected(ledger: Ledger): Promise<readonly string[]> {
    const back: string[] = []
    const ids = [...ledger.deleted]
    const locations = new Map<VolumeId, readonly string[]>()
    for (const volumeId of new Set(ids.map((fileId) => parseFileId(fileId).volumeId))) {
      const [found] = await this.master.lookup([volumeId], NEVER)
      locations.set(volumeId, found?.locations.map(({ url }) => url) ?? [])
    }
    const check = async (fileId: string): Promise<void> => {
      for (const url of locations.get(parseFileId(fileId).volumeId) ?? []) {
        const { status } = await readOver(url, fileId)
        if (status !== 404) back.push(`${fileId} at ${url}: ${status}`)
      }
    }
    for (let at = 0; at < ids.length; at += 32) {
      await Promise.all(ids.slice(at, at + 32).map(check))
    }
    return back
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

/** By plain HTTP: tens of thousands of such reads cost a third of what `fetch` takes for them. */
export async function readOver(
  server: string,
  fileId: string,
): Promise<{ readonly status: number; readonly data: Buffer }> {
  const answer = await request(`http://${server}/${fileId}`)
  return { status: answer.statusCode, data: Buffer.from(await answer.body.arrayBuffer()) }
}

interface ClusterAddress {
  /** host:port of HTTP. */
  readonly masterAddress: string
  readonly secretFile: string
}

async function connectParts(address: ClusterAddress, owned: DisposeStack): Promise<Parts> {
  const parts = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
  const secret = await readClusterSecret(new NodeDisk(), address.secretFile)
  const [host, port] = address.masterAddress.split(':')
  const addresses = [`${host}:${Number(port) + GRPC_OFFSET}`]
  const config = { addresses, secret, timeoutMs: CALL_MS }
  const master = owned.use(await RemoteMaster.open(parts, config))
  const jobs = owned.use(await RemoteJobs.open(parts, config))
  const client = owned.use(await HayloftClient.connect({ masters: address.masterAddress }))
  return { client, master, jobs }
}

export interface Flip {
  readonly path: string
  readonly at: number
}

/**
 * Flips one bit in each of `count` random places of the `.dat` files of these directories. Of each
 * volume at most `copiesMax` copies are hit: a needle that is bad in every copy nobody can heal.
 */
export async function flipBytes(
  directories: readonly string[],
  count: number,
  prng: Prng,
  { names = /\.dat$/, copiesMax = 2 } = {},
): Promise<readonly Flip[]> {
  const files: { readonly path: string; readonly bytes: number }[] = []
  for (const directory of directories) {
    for (const name of await readdir(directory)) {
      if (!names.test(name)) continue
      const path = join(directory, name)
      const { size } = await stat(path)
      // An empty volume has its super block only.
      if (size > 4096) files.push({ path, bytes: size })
    }
  }
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const flips: Flip[] = []
  const hit = new Map<string, Set<string>>()
  while (flips.length < count) {
    let place = Math.floor((prng.below(2 ** 32) / 2 ** 32) * total)
    const file = files.find(({ bytes }) => {
      if (place < bytes) return true
      place -= bytes
      return false
    })
    if (file === undefined) throw new Error('nothing to flip')
    const copies = hit.get(basename(file.path)) ?? new Set<string>()
    hit.set(basename(file.path), copies)
    if (!copies.has(file.path) && copies.size === copiesMax) continue
    copies.add(file.path)
    await using handle = await open(file.path, 'r+')
    const byte = Buffer.alloc(1)
    await handle.read(byte, 0, 1, place)
    byte.writeUInt8(byte.readUInt8(0) ^ (1 << prng.below(8)), 0)
    await handle.write(byte, 0, 1, place)
    flips.push({ path: file.path, at: place })
  }
  return flips
}

export async function readTree(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

/** Stores every file; the ledger knows them afterwards. */
export async function storeFiles(
  client: HayloftClient,
  paths: readonly string[],
  ledger: Ledger,
): Promise<void> {
  let next = 0
  const store = async (): Promise<void> => {
    for (let at = next++; at < paths.length; at = next++) {
      const path = paths[at] ?? ''
      const data = await readFile(path)
      const { fileId } = await client.put(data, {})
      ledger.add(fileId, digestOf(data))
    }
  }
  await Promise.all(Array.from({ length: 24 }, store))
}
