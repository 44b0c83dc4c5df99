import type { ErasureScheme } from '../../src/base/erasure-scheme.ts'
import { copyCount, parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { JobPhase } from '../../src/jobs/job.ts'
import type { JobKind, JobTarget, VolumeFacts } from '../../src/net/jobs-api.ts'
import type { ShardFacts } from '../../src/net/stripe-facts.ts'
import type { CodecWatch } from '../support/codec-watch.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { CodedClient } from './coded-client.ts'
import { PoweredNode } from './powered-node.ts'
import { attemptJob, type RealJobResult } from './real-job.ts'
import { RealMaster } from './real-master.ts'

export const VOLUME = vid(7)
const REPLICATION = '001'
/** Put before the volume is coded, and one more if it is large; see `CodedClient`. */
const NEEDLES = 42
/** Those up to this are deleted by then. */
const DELETED = 3
/** So many turns in which nothing happens: everybody waits for time to pass. */
const IDLE_TURNS = 40
const PASS_MS = 500
const PASSES_MAX = 1_000
const HEARTBEAT_MS = 2_500

/** What servers have on their disks. */
interface Template {
  readonly disks: readonly ReadonlyMap<string, Buffer>[]
}

export interface CodedRealOptions {
  readonly watch: CodecWatch
  /** As many as there are shards, and one more. */
  readonly scheme: ErasureScheme
  readonly isCoded: boolean
  /** Some shards have several blocks then. */
  readonly isLarge?: boolean
  readonly seed: number
}

const templates = new Map<string, Promise<Template>>()

/**
 * Real volume servers on simulated disks whose power may go at any moment, with one volume and its
 * shards, and all of a real master that knows of volumes and decides about them.
 */
export class CodedRealNodes implements AsyncDisposable {
  readonly clock = new SimClock()
  readonly nodes: PoweredNode[] = []
  readonly client: CodedClient
  readonly prng: Prng
  readonly scheme: ErasureScheme
  readonly isLarge: boolean
  readonly #watch: CodecWatch
  #master: RealMaster | undefined
  #jobCount = 0

  private constructor({ watch, scheme, isLarge = false, seed }: CodedRealOptions) {
    this.#watch = watch
    this.scheme = scheme
    this.isLarge = isLarge
    this.prng = new Prng(seed)
    this.client = new CodedClient(this, this.prng)
  }

  /** A volume with two copies, or the shards of one, as other servers left it on their disks. */
  static async open(options: CodedRealOptions): Promise<CodedRealNodes> {
    const { scheme, isCoded, isLarge = false } = options
    const name = `${scheme.dataShards}+${scheme.parityShards} ${isCoded} ${isLarge}`
    const template = templates.get(name) ?? makeTemplate(options)
    templates.set(name, template)
    const real = new CodedRealNodes(options)
    await real.#start(options.seed, (await template).disks)
    await real.clock.advance(15_000)
    real.master.hear()
    real.client.know(DELETED + 1, real.needleCount)
    return real
  }

  /** With an empty volume. */
  static async openNew(options: CodedRealOptions): Promise<CodedRealNodes> {
    const real = new CodedRealNodes(options)
    await real.#start(options.seed, [])
    const allocate = {
      epoch: 1,
      volumeId: VOLUME,
      collection: '',
      replication: parseReplicaPlacement(REPLICATION),
      ttl: TTL_NONE,
    }
    for (const { api } of real.nodes.slice(0, copyCount(allocate.replication))) {
      await api.allocateVolume(allocate, SIGNAL)
    }
    real.master.hear()
    return real
  }

  get master(): RealMaster {
    if (this.#master === undefined) throw new Error('the master is not open')
    return this.#master
  }

  get needleCount(): number {
    return this.isLarge ? NEEDLES + 1 : NEEDLES
  }

  get facts(): VolumeFacts {
    return this.master.facts(VOLUME)
  }

  get shards(): readonly ShardFacts[] {
    return this.facts.stripe?.shards ?? []
  }

  /** Servers with a copy or a shard that counts, each once. */
  get holders(): readonly PoweredNode[] {
    const { members, stripe } = this.facts
    const urls = new Set(
      [...members, ...(stripe?.shards ?? [])].map(({ location }) => location.url),
    )
    return this.nodes.filter(({ url }) => urls.has(url))
  }

  at(url: string): PoweredNode {
    const node = this.nodes.find((candidate) => candidate.url === url)
    if (node === undefined) throw new StoreError('UNAVAILABLE', `no server ${url}`)
    return node
  }

  /** One attempt of a worker; the same `id` is the same job again. */
  async attempt(
    request: {
      readonly kind: JobKind
      readonly target?: JobTarget
      readonly id?: number
      readonly attempts?: number
      readonly cursor?: string
      readonly isDeadAt?: (phase: JobPhase) => boolean
    },
    onTurn?: () => Promise<void>,
  ): Promise<RealJobResult> {
    const { kind, target = {}, id = ++this.#jobCount, cursor = '', attempts = 1 } = request
    const { isDeadAt = () => false } = request
    const parts = {
      jobs: this.master.jobs,
      connect: ({ url }: { readonly url: string }) => this.at(url).api,
      clock: this.clock,
    }
    this.master.noteJob(id, kind, VOLUME)
    const job = { id, attempts, kind, target: { volumeId: VOLUME, ...target }, cursor, isDeadAt }
    const result = await this.settle(attemptJob(parts, job), onTurn)
    if (result.outcome === 'done') this.master.open.delete(kind)
    return result
  }

  newJobId(): number {
    return ++this.#jobCount
  }

  /** Lets everything go on until `work` has ended. Time passes only when nothing else happens. */
  async settle<Result>(
    work: Promise<Result>,
    onTurn: () => Promise<void> = async () => undefined,
  ): Promise<Result> {
    let isSettled = false
    const note = () => {
      isSettled = true
    }
    work.then(note, note)
    let idleTurns = 0
    let passes = 0
    while (!isSettled) {
      const before = this.#activity
      await new Promise(setImmediate)
      await this.#watch.idle()
      await onTurn()
      for (const node of this.nodes) node.notice()
      idleTurns = this.#activity === before ? idleTurns + 1 : 0
      if (idleTurns < IDLE_TURNS || isSettled) continue
      if (++passes > PASSES_MAX) throw new Error('nothing comes of it, however long it takes')
      idleTurns = 0
      await this.clock.advance(PASS_MS)
    }
    return await work
  }

  /** Everything that waits for others gives up waiting. */
  async pass(ms: number): Promise<void> {
    let passedMs = 0
    for (; passedMs < ms; passedMs += HEARTBEAT_MS) {
      await this.clock.advance(HEARTBEAT_MS)
      await this.#watch.idle()
      this.master.hear()
    }
  }

  async startAll(): Promise<void> {
    for (const node of this.nodes) if (!node.isUp) await node.start()
    this.master.hear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { node } of this.nodes) await node[Symbol.asyncDispose]()
    await this.#master?.[Symbol.asyncDispose]()
  }

  /** Calls of disks and between servers. */
  get #activity(): number {
    return this.nodes.reduce((sum, node) => sum + node.callCount + node.node.hooks.calls.length, 0)
  }

  async #start(seed: number, disks: Template['disks']): Promise<void> {
    const { clock } = this
    const { dataShards, parityShards } = this.scheme
    // Later than whatever the servers before have written.
    clock.jumpWallClock(3_600_000)
    const master = () => this.master
    const around = {
      clock,
      get master() {
        return master()
      },
      at: ({ url }: { readonly url: string }) => this.at(url),
    }
    for (let port = 1; port <= dataShards + parityShards + 1; port++) {
      this.nodes.push(new PoweredNode(around, port, seed * 100 + port))
    }
    this.#master = await RealMaster.open(clock, this.nodes, seed)
    for (const [index, { node }] of this.nodes.entries()) {
      const uuid = `00000000-0000-4000-8000-00000000000${index + 1}`
      node.disk.put('/a/vol_dir.uuid', Buffer.from(uuid))
      for (const [path, bytes] of disks[index] ?? []) node.disk.put(path, bytes)
      await node.open()
    }
    this.master.hear()
  }
}

async function makeTemplate(options: CodedRealOptions): Promise<Template> {
  const real = await CodedRealNodes.openNew({ ...options, seed: 1 })
  await real.client.put(real.needleCount)
  for (let id = 1; id <= DELETED; id++) await real.client.delete(id)
  if (options.isCoded) {
    const target = { erasure: options.scheme }
    const { error } = await real.attempt({ kind: 'ec-encode', target })
    if (error !== undefined) throw error
  }
  for (const { node } of real.nodes) await node.close()
  const disks = real.nodes.map(({ node }) => node.disk.durableFiles())
  await real[Symbol.asyncDispose]()
  return { disks }
}
