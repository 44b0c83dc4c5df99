import { copyCount, parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import { Prng } from '../support/prng.ts'
import { ModelClients } from './model-clients.ts'
import { ModelCluster, type ModelVolume } from './model-cluster.ts'
import { ModelFaults } from './model-faults.ts'
import { ModelJob, runModelJob } from './model-run.ts'
import type { ModelSession } from './model-session.ts'

const ATTEMPTS_MAX = 40
const REPAIRS_MAX = 12

/** Calls of a job after which it is checked that no promised needle lost a copy by them. */
const MUTATING = [
  'changeMembers',
  'changeStripe',
  'deleteVolume',
  'copyVolume',
  'vacuumVolume',
  'healNeedles',
  'encodeVolume',
  'decodeVolume',
  'copyShards',
  'rebuildShards',
  'healShards',
  'deleteShards',
]

/** In the cursor of a job that has to look something through before others may remove it. */
const LEFT = ['sourceDirectoryId', '"left":[{', '"left":{', '"leftRun":{']

/** Calls between the moment in which a copy was compared and the one in which it counts. */
const SWITCHING = ['reportJob', 'freezeVolume', 'changeMembers', 'changeStripe']

const CODED_KINDS: readonly JobKind[] = [
  'ec-repair',
  'ec-repair',
  'ec-balance',
  'ec-vacuum',
  'ec-decode',
  'scrub',
  'replica-repair',
  'move',
  'vacuum',
]

export interface ScenarioOptions {
  readonly urls: readonly string[]
  readonly kinds: readonly JobKind[]
  readonly faultChance: number
  /** Of an answer, to a call that was done. */
  readonly lossChance: number
}

/** A volume, those who write to it, what befalls its servers, and workers that die. */
export class Scenario {
  readonly prng: Prng
  readonly cluster = new ModelCluster()
  readonly volume: ModelVolume
  readonly clients: ModelClients
  readonly faults: ModelFaults
  readonly violations: string[] = []
  isCalm = false
  readonly #options: ScenarioOptions
  /** Jobs that somebody will take up again. */
  readonly open: { readonly job: ModelJob; readonly kind: JobKind; readonly target: JobTarget }[] =
    []
  #before = new Map<number, number>()
  #wasCoded = false
  #cameBack = new Set<number>()

  constructor(seed: number, options: ScenarioOptions) {
    this.#options = options
    this.prng = new Prng(seed)
    const replication = this.prng.pick(['000', '001', '001', '002'])
    for (const url of options.urls) this.cluster.addNode(url)
    const count = copyCount(parseReplicaPlacement(replication))
    this.volume = this.cluster.addVolume(7, replication, options.urls.slice(0, count))
    this.clients = new ModelClients(this.cluster, this.volume, this.prng)
    this.faults = new ModelFaults(this.cluster, this.volume, this.clients, this.prng)
  }

  live(name: string): void {
    if (this.prng.chance(0.5)) this.clients.act()
    // A copy that is lost in the moment between being compared and counting helps nobody.
    if (SWITCHING.includes(name)) return
    // Long enough for what is held back to go on by itself.
    if (this.prng.chance(this.#options.faultChance / 2)) this.cluster.clock.pass(12_000)
    if (this.prng.chance(this.#options.faultChance)) this.faults.strike()
  }

  watch(session: ModelSession): void {
    session.beforeCall = (name) => {
      if (!this.isCalm) this.live(name)
      if (MUTATING.includes(name)) this.#before = this.#counts()
    }
    session.afterCall = (name) => {
      if (MUTATING.includes(name)) this.#compare(name)
      if (this.isCalm || !this.prng.chance(this.#options.lossChance)) return
      throw new StoreError('TIMEOUT', `${name} was done, and the answer is lost`)
    }
  }

  #counts(): Map<number, number> {
    this.#wasCoded = this.volume.stripe !== undefined
    this.#cameBack = new Set(this.clients.returnedNeedles)
    const needles = this.clients.promisedNeedles
    return new Map(needles.map((needle) => [needle, this.clients.holders(needle).length]))
  }

  #compare(name: string): void {
    const { stripe, replication } = this.volume
    const { parityShards } = stripe ?? { parityShards: 0 }
    const isCoded = stripe !== undefined
    const wanted = isCoded ? parityShards + 1 : copyCount(replication)
    for (const needle of this.clients.returnedNeedles) {
      if (!this.#cameBack.has(needle)) this.violations.push(`${name}: needle ${needle} came back`)
    }
    for (const [needle, before] of this.#before) {
      const after = this.clients.holders(needle).length
      // What takes the place of something else may be worth less, but is there.
      const least = this.#wasCoded === isCoded ? Math.min(before, wanted) : 1
      if (after >= least) continue
      this.violations.push(`${name}: needle ${needle} had ${before} copies, now ${after}`)
    }
  }

  pickJob(): { readonly kind: JobKind; readonly target: JobTarget } {
    const { volumeId, members, stripe } = this.volume
    const kind = this.prng.pick<JobKind>(stripe === undefined ? this.#options.kinds : CODED_KINDS)
    if (kind === 'move') {
      const node = stripe === undefined ? this.prng.pick(members).url : 'a'
      return { kind, target: { volumeId, node } }
    }
    if (kind === 'ec-encode') {
      const erasure = { dataShards: 2, parityShards: this.prng.between(1, 2) }
      return { kind, target: { volumeId, erasure } }
    }
    if (kind === 'ec-balance') {
      this.cluster.drained.clear()
      this.cluster.drained.add(this.prng.pick(this.#options.urls))
    }
    return { kind, target: { volumeId, isDeep: this.prng.chance(0.3) } }
  }

  /** Workers die at any call, before or after it has done its work; others go on. */
  async runWithKills(kind: JobKind, target: JobTarget): Promise<void> {
    const job = new ModelJob(this.cluster, kind, target)
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const killAt = this.prng.chance(0.7) ? this.prng.between(1, 60) : Number.POSITIVE_INFINITY
      const isAfter = this.prng.chance(0.5)
      const prepare = (session: ModelSession) => {
        this.watch(session)
        const { beforeCall, afterCall } = session
        session.beforeCall = (name) => {
          beforeCall(name)
          if (!isAfter && session.callCount === killAt) session.isDead = true
        }
        session.afterCall = (name) => {
          afterCall(name)
          if (isAfter && session.callCount === killAt) session.isDead = true
        }
      }
      const { outcome, error } = await job.attempt({ kind, target, prepare })
      if (!isStoreError(error) && error !== undefined) throw error
      if (outcome === 'done') return
      if (outcome === 'killed' && this.prng.chance(0.5)) job.keepLatest()
      for (let count = this.prng.below(4); count > 0; count--) this.clients.act()
      // Somebody cancels it; but not one whose old state is still to be looked through.
      const isSwitched = LEFT.some((name) => job.cursor.includes(name))
      if (!isSwitched && this.prng.chance(0.2)) {
        this.#end(job)
        return
      }
    }
    this.open.push({ job, kind, target })
  }

  #end({ id }: ModelJob): void {
    const view = this.cluster.jobs.get(id)
    if (view !== undefined) this.cluster.jobs.set(id, { ...view, endedAtMs: 1 })
  }

  async #takeUp(prepare: (session: ModelSession) => void): Promise<void> {
    for (const { job, kind, target } of this.open.splice(0)) {
      const { outcome, error } = await job.attempt({ kind, target, prepare })
      if (!isStoreError(error) && error !== undefined) throw error
      const isLeft = LEFT.some((name) => job.cursor.includes(name))
      if (outcome !== 'done' && isLeft) this.open.push({ job, kind, target })
      else this.#end(job)
    }
  }

  /** Shards in the place of the copies, which have to be equal. */
  code(): void {
    const parityShards = this.prng.between(1, 2)
    const runId = String(this.cluster.clock.stampNs())
    const { urls } = this.#options
    const count = this.prng.between(2, urls.length)
    const run = { runId, dataShards: 2, parityShards }
    this.cluster.code(this.volume, run, urls.slice(0, count))
  }

  /** All is well for a moment, and what was wrong is repaired. */
  async mend(): Promise<void> {
    await this.repair()
    this.isCalm = false
  }

  /** What the scheduler would do until all is well. */
  async repair(): Promise<unknown> {
    this.isCalm = true
    this.faults.calm()
    const openIds = this.open.map(({ job }) => job.id)
    for (const [id, view] of this.cluster.jobs) {
      if (!openIds.includes(id)) this.cluster.jobs.set(id, { ...view, endedAtMs: 1 })
    }
    let last: unknown
    for (let round = 0; round < REPAIRS_MAX; round++) {
      const { volumeId } = this.volume
      const prepare = (session: ModelSession) => this.watch(session)
      const isDeep = round % 2 === 1
      if (round > 1 && this.cluster.fault(this.volume) === undefined) return undefined
      // What reads or a scrub would find: all copies are read.
      await runModelJob(this.cluster, 'scrub', { volumeId }, { prepare })
      const target = { volumeId, isDeep }
      const kind = this.volume.stripe === undefined ? 'replica-repair' : 'ec-repair'
      last = (await runModelJob(this.cluster, kind, target, { prepare })).error
      if (this.cluster.strayShards(this.volume).length > 0) {
        last = (await runModelJob(this.cluster, 'ec-repair', target, { prepare })).error
      }
      await this.#takeUp(prepare)
    }
    return last
  }
}
