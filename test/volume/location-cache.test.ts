import { describe, expect, test } from 'vitest'
import type { VolumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type { LocationsUpdate, NodeLocation } from '../../src/net/master-api.ts'
import { cancelledError, onAbort } from '../../src/runtime/abort.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { LocationCache } from '../../src/volume/location-cache.ts'
import { SimClock } from '../support/sim-clock.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { FakeMaster } from './fake-master.ts'
import { nodeAt } from './local-node.ts'

/** Tells of changes when the test says so. */
class WatchedMaster extends FakeMaster {
  #tell: ((update: LocationsUpdate) => void) | undefined
  #end: ((error: StoreError) => void) | undefined

  override async *watch(signal: AbortSignal): AsyncGenerator<LocationsUpdate> {
    for (;;) {
      yield await new Promise<LocationsUpdate>((resolve, reject) => {
        this.#tell = resolve
        this.#end = reject
        onAbort(signal, () => reject(cancelledError(signal, 'while watching')))
      })
    }
  }

  async tell(update: Partial<LocationsUpdate>): Promise<void> {
    this.#tell?.({ isSnapshot: false, volumes: [], removedVolumeIds: [], ...update })
    await new Promise((resolve) => setImmediate(resolve))
  }

  end(): void {
    this.#end?.(new StoreError('UNAVAILABLE', 'gone'))
  }
}

const held = (volumeId: VolumeId, locations: readonly NodeLocation[]) => ({
  volumeId,
  collection: '',
  writePolicy: 'all' as const,
  locations,
})

async function openCache() {
  const clock = new SimClock()
  const master = new WatchedMaster()
  const cache = new LocationCache({ master, clock, logger: silentLogger })
  const locate = async (id: number) => (await cache.locate(vid(id), SIGNAL)).map(({ url }) => url)
  await clock.advance(0)
  return { clock, master, cache, locate, [Symbol.asyncDispose]: () => cache[Symbol.asyncDispose]() }
}

describe('LocationCache', () => {
  test('asks once for what it was not told, and again after 10 s', async () => {
    await using test = await openCache()
    const { clock, master, locate } = test
    master.known.set(vid(3), [nodeAt(1)])
    expect(await Promise.all([locate(3), locate(3)])).toEqual([['node:1'], ['node:1']])
    await clock.advance(9_999)
    await locate(3)
    expect(master.lookupCount).toBe(1)
    await clock.advance(1)
    await locate(3)
    expect(master.lookupCount).toBe(2)
  })

  test('asks at most once a second for a volume that nobody has', async () => {
    await using test = await openCache()
    const { clock, master, locate } = test
    for (let asked = 0; asked < 10; asked++) expect(await locate(3)).toEqual([])
    expect(master.lookupCount).toBe(1)
    await clock.advance(1000)
    await locate(3)
    expect(master.lookupCount).toBe(2)
  })

  test('follows what the master tells: found, moved, removed', async () => {
    await using test = await openCache()
    const { clock, master, locate } = test
    await master.tell({ isSnapshot: true, volumes: [held(vid(3), [nodeAt(1)])] })
    expect(await locate(3)).toEqual(['node:1'])
    await clock.advance(60_000)
    await master.tell({ volumes: [held(vid(3), [nodeAt(2), nodeAt(1)])] })
    expect(await locate(3)).toEqual(['node:2', 'node:1'])
    expect(master.lookupCount).toBe(0)
    await master.tell({ removedVolumeIds: [vid(3)] })
    expect(await locate(3)).toEqual([])
  })

  test('a new snapshot replaces all that was known', async () => {
    await using test = await openCache()
    const { master, locate } = test
    await master.tell({ isSnapshot: true, volumes: [held(vid(3), [nodeAt(1)])] })
    await master.tell({ isSnapshot: true, volumes: [held(vid(4), [nodeAt(1)])] })
    expect(await locate(3)).toEqual([])
    expect(master.lookupCount).toBe(1)
  })

  test('uses what was known last while the master is away', async () => {
    await using test = await openCache()
    const { clock, master, locate } = test
    await master.tell({ isSnapshot: true, volumes: [held(vid(3), [nodeAt(1)])] })
    master.end()
    master.failure = new StoreError('UNAVAILABLE', 'gone')
    await clock.advance(60_000)
    expect(await locate(3)).toEqual(['node:1'])
    await expect(locate(4)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('one who gives up does not spoil the answer for others', async () => {
    await using test = await openCache()
    const { master, cache, locate } = test
    master.known.set(vid(3), [nodeAt(1)])
    const impatient = new AbortController()
    const given = cache.locate(vid(3), impatient.signal)
    const patient = locate(3)
    impatient.abort()
    await expect(given).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(await patient).toEqual(['node:1'])
  })

  test('what has expired is asked for again, and an answer that was on its way counts no more', async () => {
    await using test = await openCache()
    const { master, cache, locate } = test
    await master.tell({ isSnapshot: true, volumes: [held(vid(3), [nodeAt(1)])] })
    cache.expire(vid(3))
    const lookup = master.lookup.bind(master)
    let answer: () => void = () => undefined
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    master.known.set(vid(3), [nodeAt(1)])
    master.lookup = async (ids) => {
      const old = await lookup(ids)
      await answered
      return old
    }
    const early = locate(3)
    master.lookup = lookup
    master.known.set(vid(3), [nodeAt(1), nodeAt(2)])
    cache.expire(vid(3))
    expect(await locate(3)).toEqual(['node:1', 'node:2'])
    answer()
    expect(await early).toEqual(['node:1'])
    expect(await locate(3)).toEqual(['node:1', 'node:2'])
    expect(master.lookupCount).toBe(2)
  })

  test('an expired place is used on while the master is away', async () => {
    await using test = await openCache()
    const { master, cache, locate } = test
    await master.tell({ isSnapshot: true, volumes: [held(vid(3), [nodeAt(1)])] })
    cache.expire(vid(3))
    master.failure = new StoreError('UNAVAILABLE', 'gone')
    expect(await locate(3)).toEqual(['node:1'])
    master.failure = undefined
    master.known.set(vid(3), [nodeAt(2)])
    expect(await locate(3)).toEqual(['node:2'])
  })

  test('knows the stripe of a coded volume, and when that may be out of date', async () => {
    await using test = await openCache()
    const { master, cache, clock } = test
    const stripe = (port: number) => ({
      dataShards: 2,
      parityShards: 1,
      runId: '5',
      shards: [0, 1, 2].map((shard) => ({ shard, location: nodeAt(port + shard) })),
    })
    expect(cache.peek(vid(3))).toBeUndefined()
    expect(cache.isExpired(vid(3))).toBe(false)
    master.stripes.set(vid(3), stripe(1))
    expect((await cache.find(vid(3), SIGNAL)).stripe).toEqual(stripe(1))
    expect((await cache.locate(vid(3), SIGNAL)).map(({ url }) => url)).toHaveLength(3)
    await master.tell({ volumes: [{ ...held(vid(3), [nodeAt(4)]), stripe: stripe(4) }] })
    expect(cache.peek(vid(3))?.stripe).toEqual(stripe(4))
    cache.expire(vid(3))
    expect(cache.peek(vid(3))?.stripe).toEqual(stripe(4))
    expect(cache.isExpired(vid(3))).toBe(true)
    expect((await cache.find(vid(3), SIGNAL)).stripe).toEqual(stripe(1))
    expect(cache.isExpired(vid(3))).toBe(false)
    // Decoded: its copies have no stripe.
    await master.tell({ volumes: [held(vid(3), [nodeAt(4)])] })
    expect(cache.peek(vid(3))).toMatchObject({ stripe: undefined, locations: [nodeAt(4)] })
    await clock.advance(0)
  })
})
