import { describe, expect, test } from 'vitest'
import { copyCount, parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import { Prng, seeds } from '../support/prng.ts'
import { ModelClients } from './model-clients.ts'
import { ModelCluster, type ModelVolume } from './model-cluster.ts'
import { ModelFaults } from './model-faults.ts'
import { ModelJob, runModelJob } from './model-run.ts'
import type { ModelSession } from './model-session.ts'

const URLS = ['a', 'b', 'c', 'd', 'e']
const ATTEMPTS_MAX = 40
const REPAIRS_MAX = 12

/** Calls of a job after which it is checked that no promised needle lost a copy by them. */
const MUTATING = ['changeMembers', 'deleteVolume', 'copyVolume', 'vacuumVolume', 'healNeedles']

/** Calls between the moment in which a copy was compared and the one in which it counts. */
const SWITCHING = ['reportJob', 'freezeVolume', 'changeMembers']

class Scenario {
  readonly prng: Prng
  readonly cluster = new ModelCluster()
  readonly volume: ModelVolume
  readonly clients: ModelClients
  readonly faults: ModelFaults
  readonly violations: string[] = []
  isCalm = false
  #before = new Map<number, number>()

  constructor(seed: number) {
    this.prng = new Prng(seed)
    const replication = this.prng.pick(['000', '001', '001', '002'])
    for (const url of URLS) this.cluster.addNode(url)
    const count = copyCount(parseReplicaPlacement(replication))
    this.volume = this.cluster.addVolume(7, replication, URLS.slice(0, count))
    this.clients = new ModelClients(this.cluster, this.volume, this.prng)
    this.faults = new ModelFaults(this.cluster, this.volume, this.clients, this.prng)
  }

  live(name: string): void {
    if (this.prng.chance(0.5)) this.clients.act()
    // A copy that is lost in the moment between being compared and counting helps nobody.
    if (SWITCHING.includes(name)) return
    if (this.prng.chance(0.04)) this.faults.strike()
  }

  watch(session: ModelSession): void {
    session.beforeCall = (name) => {
      if (!this.isCalm) this.live(name)
      if (MUTATING.includes(name)) this.#before = this.#counts()
    }
    session.afterCall = (name) => {
      if (MUTATING.includes(name)) this.#compare(name)
    }
  }

  #counts(): Map<number, number> {
    const needles = this.clients.promisedNeedles
    return new Map(needles.map((needle) => [needle, this.clients.holders(needle).length]))
  }

  #compare(name: string): void {
    const wanted = copyCount(this.volume.replication)
    for (const [needle, before] of this.#before) {
      const after = this.clients.holders(needle).length
      if (after >= Math.min(before, wanted)) continue
      this.violations.push(`${name}: needle ${needle} had ${before} copies, now ${after}`)
    }
  }

  pickJob(): { readonly kind: JobKind; readonly target: JobTarget } {
    const { volumeId } = this.volume
    const kind = this.prng.pick<JobKind>([
      'replica-repair',
      'replica-repair',
      'move',
      'vacuum',
      'scrub',
    ])
    if (kind === 'move') {
      const node = this.prng.pick(this.volume.members).url
      return { kind, target: { volumeId, node } }
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
      // Somebody cancels it; but not a move whose old copy is still to be looked through.
      const isSwitched = job.cursor.includes('sourceDirectoryId')
      if (!isSwitched && this.prng.chance(0.2)) return
    }
  }

  /** What the scheduler would do until all is well. */
  async repair(): Promise<unknown> {
    this.isCalm = true
    this.faults.calm()
    for (const [id, view] of this.cluster.jobs) {
      this.cluster.jobs.set(id, { ...view, endedAtMs: 1 })
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
      last = (await runModelJob(this.cluster, 'replica-repair', target, { prepare })).error
    }
    return last
  }
}

// Goal: whatever happens to servers and workers while jobs run, no acked needle is lost, none that
// was deleted comes back, no step of a job leaves fewer good copies than it found, and in the end
// the volume is as it shall be.
// Method: random writes, faults and deaths of workers at every call of random jobs; then calm, and
// repairs as a scheduler would queue them. Replay: SEED=17 npx vitest run test/jobs/model.test.ts
describe('jobs on a model of a cluster', () => {
  test.each(seeds(2000))('keep every promise (seed %d)', async (seed) => {
    const scenario = new Scenario(seed)
    const { clients, cluster, volume, prng } = scenario
    for (let count = prng.between(0, 30); count > 0; count--) clients.act()
    for (let count = prng.between(1, 4); count > 0; count--) {
      for (let strikes = prng.below(4); strikes > 0; strikes--) scenario.faults.strike()
      const { kind, target } = scenario.pickJob()
      await scenario.runWithKills(kind, target)
    }
    const error = await scenario.repair()
    expect(scenario.violations).toEqual([])
    expect([cluster.fault(volume), error]).toEqual([undefined, undefined])
    expect(clients.broken()).toBeUndefined()
  })
})
