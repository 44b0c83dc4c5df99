import { expect, test } from 'vitest'
import { type VolumeId, volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { Prng, seeds } from '../support/prng.ts'
import { NO_SIGNAL } from '../support/test-master.ts'
import { TestState } from '../support/test-state.ts'

const TWO = parseReplicaPlacement('001')
const KEY = { collection: '', replication: TWO, ttl: TTL_NONE }
const IDS = [1, 2, 3, 4].map(volumeId)

/** What was promised of a volume: directories that count, and from which generation on. */
interface Promised {
  readonly revisions: Map<string, number>
  isDeleted: boolean
}

/** The cluster, and what it must say. */
class Model {
  readonly prng: Prng
  readonly store = new MemoryStore()
  readonly volumes = new Map<VolumeId, Promised>()
  readonly servers: FakeVolumeServer[]
  readonly up = new Set<FakeVolumeServer>()
  sim: TestState
  #failing = false

  constructor(prng: Prng, sim: (store: MemoryStore) => TestState) {
    this.prng = prng
    this.servers = Array.from({ length: 5 }, (_, index) => new FakeVolumeServer(`s${index}:1`))
    const commit = this.store.commit.bind(this.store)
    this.store.commit = async (batch, signal) => {
      if (this.#failing && this.prng.chance(0.5)) await commit(batch, signal)
      if (this.#failing) throw new StoreError('DISK_FAILED', 'perhaps it is on disk')
      await commit(batch, signal)
    }
    this.sim = sim(this.store)
  }

  get sets() {
    return this.sim.cluster.sets
  }

  async step(): Promise<void> {
    const { prng } = this
    const id = prng.pick(IDS)
    const server = prng.pick(this.servers)
    const choice = prng.below(12)
    if (choice === 0) await this.#create(id)
    else if (choice <= 2) await this.#change(id)
    else if (choice === 3) await this.#vacuum(id, server)
    else if (choice === 4 && prng.chance(0.2)) await this.#delete(id)
    else if (choice === 5) this.#stop(server)
    else if (choice === 6) this.#swap(server, prng.pick(this.servers))
    else if (choice === 7) server.volumes.delete(id)
    else if (choice === 8) server.addVolume({ volumeId: id, replication: TWO })
    else if (choice === 9 && prng.chance(0.3)) await this.#crash()
    else this.#beat(server)
    await this.sim.clock.advance(prng.below(1500))
  }

  check(): void {
    for (const [id, { revisions, isDeleted }] of this.volumes) {
      const facts = this.sets.facts(id)
      expect(facts?.isDeleted, `volume ${id}`).toBe(isDeleted)
      const members = facts?.members.map((member) => member.directoryId).sort()
      expect(members, `volume ${id}`).toEqual(isDeleted ? [] : [...revisions.keys()].sort())
      for (const { report, node } of this.sim.cluster.state.copies(id)) {
        expect(isDeleted).toBe(false)
        const least = revisions.get(report.directoryId) ?? expect.fail('a stray counts')
        expect(report.compactionRevision).toBeGreaterThanOrEqual(least)
        expect(node.volumes.has(id)).toBe(true)
      }
    }
  }

  #beat(server: FakeVolumeServer): void {
    this.sim.apply(server.beat(!this.up.has(server)))
    this.up.add(server)
  }

  #stop(server: FakeVolumeServer): void {
    if (!this.up.delete(server)) return
    this.sim.markDown(server.location.url)
  }

  /** Disks change places, volumes and all, between servers that are not running. */
  #swap(a: FakeVolumeServer, b: FakeVolumeServer): void {
    if (a === b) return
    this.#stop(a)
    this.#stop(b)
    const [fromA, fromB] = [[...a.volumes.values()], [...b.volumes.values()]]
    const directoryId = a.directoryId
    a.directoryId = b.directoryId
    b.directoryId = directoryId
    a.volumes.clear()
    b.volumes.clear()
    for (const report of fromA) b.addVolume(report)
    for (const report of fromB) a.addVolume(report)
  }

  async #create(id: VolumeId): Promise<void> {
    if (this.volumes.has(id) || this.up.size < 2) return
    const [a, b] = [...this.up]
    if (a === undefined || b === undefined) return
    for (const server of this.servers) server.volumes.delete(id)
    for (const server of this.up) this.#beat(server)
    for (const server of [a, b]) server.addVolume({ volumeId: id, replication: TWO })
    await this.sets.create(id, KEY, [a.location, b.location], NO_SIGNAL)
    for (const server of [a, b]) this.#beat(server)
    const revisions = new Map([a, b].map((server) => [server.directoryId, 0]))
    this.volumes.set(id, { revisions, isDeleted: false })
  }

  async #change(id: VolumeId): Promise<void> {
    const promised = this.volumes.get(id)
    const facts = this.sets.facts(id)
    if (promised === undefined || facts === undefined) return
    const target = this.prng.pick(this.servers)
    const add = this.prng.chance(0.6)
      ? [{ url: target.location.url, directoryId: target.directoryId }]
      : []
    const members = facts.members.map((member) => member.directoryId)
    const removeDirectoryIds = members.filter(() => this.prng.chance(0.4))
    this.#failing = this.prng.chance(0.2)
    const hadHealthy = facts.members.some(({ isUp, report }) => isUp && report !== undefined)
    try {
      const change = { volumeId: id, setVersion: facts.setVersion, add, removeDirectoryIds }
      const changing = this.sets.changeMembers(change, NO_SIGNAL)
      changing.catch(() => undefined)
      await this.sim.clock.advance(1100)
      const after = await changing
      for (const directoryId of removeDirectoryIds) promised.revisions.delete(directoryId)
      for (const { directoryId } of add) {
        const report = target.volumes.get(id) ?? expect.fail('added unseen')
        promised.revisions.set(directoryId, report.compactionRevision)
      }
      expect(after.members.length).toBeGreaterThan(0)
      const hasHealthy = after.members.some(({ isUp, report }) => isUp && report !== undefined)
      expect(hasHealthy || !hadHealthy).toBe(true)
    } catch (error) {
      if (!isStoreError(error)) throw error
    }
    this.#failing = false
    // What could not be written is written again before anything else may be decided.
    await this.sim.clock.advance(11_000)
  }

  async #vacuum(id: VolumeId, server: FakeVolumeServer): Promise<void> {
    const promised = this.volumes.get(id)
    const report = server.volumes.get(id)
    if (promised === undefined || promised.isDeleted || report === undefined) return
    const compactionRevision = report.compactionRevision + 1
    server.addVolume({ ...report, compactionRevision })
    await this.sets.noteVacuum(
      { volumeId: id, directoryId: server.directoryId, compactionRevision },
      NO_SIGNAL,
    )
    const before = promised.revisions.get(server.directoryId)
    if (before === undefined) return
    promised.revisions.set(server.directoryId, Math.max(before, compactionRevision))
    if (this.up.has(server)) this.#beat(server)
  }

  async #delete(id: VolumeId): Promise<void> {
    const promised = this.volumes.get(id)
    if (promised === undefined) return
    await this.sets.forgetVolume(id, NO_SIGNAL)
    promised.isDeleted = true
  }

  /** The master dies, without a word, a second after anything it may have learnt. */
  async #crash(): Promise<void> {
    await this.sim.clock.advance(1000)
    this.sim = await TestState.open({ store: this.store, clock: this.sim.clock })
    this.up.clear()
  }
}

// Goal: what counts is what was decided, durably: no stray, no older generation and no deleted
// volume ever counts again, no volume ends up without a member, whatever disks move, servers die
// and commits fail. Method: random steps against a map of directories and generations.
test.each(seeds(60))('the members of volumes are those decided upon (seed %d)', async (seed) => {
  const first = await TestState.open()
  const model = new Model(new Prng(seed), () => first)
  model.sim = await TestState.open({ store: model.store, clock: first.clock })
  for (let step = 0; step < 150; step++) {
    await model.step()
    model.check()
  }
  expect(model.volumes.size).toBeGreaterThan(0)
})
