import { expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import type { StripeOrder } from '../../src/master/stripe-members.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { Prng, seeds } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { NO_SIGNAL } from '../support/test-master.ts'
import { TestState } from '../support/test-state.ts'

const ID = volumeId(7)
const RUNS = ['1000', '2000']
const SCHEME = { dataShards: 2, parityShards: 1 }
const SHARDS = [0, 1, 2]

/** What a directory has, by run. */
interface Directory {
  readonly id: string
  readonly shards: Map<string, Map<number, 'good' | 'bad'>>
  url: string
  isUp: boolean
}

interface Truth {
  setVersion: number
  /** Undefined: the copy counts. */
  runId: string | undefined
  places: readonly string[]
}

/** A master, and all that there is on the disks of its servers. */
class Model {
  readonly prng: Prng
  readonly store = new MemoryStore()
  readonly clock = new SimClock()
  readonly directories: Directory[]
  readonly truth: Truth = { setVersion: 1, runId: undefined, places: [] }
  readonly #commit = this.store.commit.bind(this.store)
  state: TestState | undefined
  #urlCount = 0

  constructor(prng: Prng) {
    this.prng = prng
    this.directories = Array.from({ length: 5 }, (_, at) => ({
      id: `disk-${at}`,
      shards: new Map(RUNS.map((runId) => [runId, new Map()])),
      url: `s${at}:1`,
      isUp: true,
    }))
  }

  async open(): Promise<TestState> {
    const { store, clock } = this
    await this.state?.[Symbol.asyncDispose]()
    this.state = await TestState.open({ store, clock })
    for (const each of this.directories) if (each.isUp) this.beat(each)
    return this.state
  }

  beat(directory: Directory): void {
    const server = new FakeVolumeServer(directory.url, { directoryId: directory.id })
    if (directory.id === 'disk-0') server.addVolume({ volumeId: ID })
    for (const [runId, shards] of directory.shards) {
      const badShards = [...shards].filter(([, how]) => how === 'bad').map(([shard]) => shard)
      const report = { ...SCHEME, runId, badShards: badShards.sort() }
      server.putShards(ID, { ...report, shards: [...shards.keys()].sort() })
    }
    this.state?.apply(server.beat(true))
  }

  /** One thing happens on the disk of a server, or to the server. */
  disturb(): void {
    const { prng } = this
    const directory = prng.pick(this.directories)
    const shards = directory.shards.get(prng.pick(RUNS))
    const choice = prng.below(10)
    if (choice === 0 && directory.isUp) {
      directory.isUp = false
      this.state?.markDown(directory.url)
    } else if (choice === 1 && !directory.isUp) {
      // The disk has found another server.
      directory.url = `new${this.#urlCount++}:1`
      directory.isUp = true
    } else if (choice === 2) {
      directory.isUp = true
    } else if (choice === 3) {
      shards?.delete(prng.pick(SHARDS))
    } else if (choice === 4) {
      shards?.set(prng.pick(SHARDS), 'bad')
    } else {
      shards?.set(prng.pick(SHARDS), 'good')
    }
    if (directory.isUp) this.beat(directory)
  }

  order(): StripeOrder {
    const { prng, truth } = this
    const runId = prng.pick(RUNS)
    const shards = SHARDS.map((shard) => {
      const kept = truth.runId === runId ? this.#directory(truth.places[shard]) : undefined
      const holders = this.directories.filter((each) => this.#isGood(each, runId, shard))
      const any = prng.chance(0.1) || holders.length === 0 ? this.directories : holders
      const { url, id: directoryId } = (prng.chance(0.5) ? kept : undefined) ?? prng.pick(any)
      return { shard, url, directoryId }
    })
    const { setVersion } = truth
    const isStale = prng.chance(0.1)
    return { volumeId: ID, runId, ...SCHEME, shards, setVersion: setVersion - (isStale ? 1 : 0) }
  }

  async change(order: StripeOrder, willFail: boolean): Promise<void> {
    const { truth, clock, store } = this
    const isFresh = order.setVersion === truth.setVersion
    const isThere = order.shards.every(({ shard, directoryId }) => {
      const isKept = truth.runId === order.runId && truth.places[shard] === directoryId
      const directory = this.#directory(directoryId)
      return isKept || (directory !== undefined && this.#isGood(directory, order.runId, shard))
    })
    if (willFail) {
      store.commit = async () => {
        throw new StoreError('DISK_FULL', 'no room')
      }
    }
    const changing = this.state?.cluster.sets.changeStripe(order, NO_SIGNAL).then(
      () => 'done',
      (error: unknown) => (isStoreError(error) ? error.code : String(error)),
    )
    for (let step = 0; step < 60; step++) await clock.advance(25)
    const outcome = await changing
    store.commit = this.#commit
    const isRight = isFresh && isThere
    expect(outcome).toBe(isRight ? (willFail ? 'DISK_FULL' : 'done') : 'METADATA_CONFLICT')
    if (outcome !== 'done') return
    truth.setVersion++
    truth.runId = order.runId
    truth.places = order.shards.map(({ directoryId }) => directoryId)
  }

  check(): void {
    const { truth } = this
    const { sets, places } = this.state?.cluster ?? expect.fail('no master')
    const facts = sets.facts(ID) ?? expect.fail('the volume is known')
    expect(facts.setVersion).toBe(truth.setVersion)
    expect(facts.stripe?.runId).toBe(truth.runId)
    expect(facts.members.length).toBe(truth.runId === undefined ? 1 : 0)
    const inReach: string[] = []
    for (const { shard, directoryId, isUp, isBad, report, location } of facts.stripe?.shards ??
      []) {
      expect(directoryId).toBe(truth.places[shard])
      const directory = this.#directory(directoryId) ?? expect.fail('a directory')
      const has = directory.shards.get(truth.runId ?? '')?.get(shard)
      expect(isUp).toBe(directory.isUp)
      if (!directory.isUp) continue
      expect(location.url).toBe(directory.url)
      expect(report !== undefined).toBe(has !== undefined)
      expect(isBad).toBe(has === 'bad')
      if (has !== undefined) inReach.push(`${shard} ${location.url}`)
    }
    const found = places.locationsOf(ID)
    const told = found?.stripe?.shards.map(({ shard, location }) => `${shard} ${location.url}`)
    expect(told ?? []).toEqual(inReach)
    const strays = (facts.strayShards ?? [])
      .filter(({ isUp }) => isUp)
      .flatMap(({ directoryId, runId, shards }) =>
        shards.map((each) => `${directoryId} ${runId} ${each}`),
      )
    expect(strays.sort()).toEqual(this.#strays().sort())
  }

  #strays(): string[] {
    const { truth } = this
    const strays: string[] = []
    for (const { id, isUp, shards } of this.directories) {
      if (!isUp) continue
      for (const [runId, here] of shards) {
        for (const shard of here.keys()) {
          const doesCount = runId === truth.runId && truth.places[shard] === id
          if (!doesCount) strays.push(`${id} ${runId} ${shard}`)
        }
      }
    }
    return strays
  }

  #directory(id: string | undefined): Directory | undefined {
    return this.directories.find((each) => each.id === id)
  }

  #isGood({ isUp, shards }: Directory, runId: string, shard: number): boolean {
    return isUp && shards.get(runId)?.get(shard) === 'good'
  }
}

// Goal: what counts is what the last change said that was answered, and nothing else, wherever the
// directories are served; a change counts wholly or not at all, exactly if all that is new in it is
// there and good. Method: random disks and servers, changes, failures of the store and restarts,
// compared with a model after each.
test.each(seeds(60))('the stripe is what the last change said (seed %d)', async (seed) => {
  const model = new Model(new Prng(seed))
  const { prng } = model
  const state = await model.open()
  state.cluster.state.adoptPending()
  let changes = 0
  for (let step = 0; step < 60; step++) {
    for (let count = prng.below(6); count > 0; count--) model.disturb()
    model.check()
    if (prng.chance(0.7)) {
      await model.change(model.order(), prng.chance(0.1))
      changes++
      model.check()
    }
    if (prng.chance(0.1)) {
      await model.open()
      model.check()
    }
  }
  expect(changes).toBeGreaterThan(10)
  expect(model.truth.setVersion).toBeGreaterThan(2)
})
