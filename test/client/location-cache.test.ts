import { describe, expect, test } from 'vitest'
import { type VolumeId, volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { LocationCache } from '../../src/client/location-cache.ts'
import type { VolumeLocations } from '../../src/net/master-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { FakeCluster, locationOf } from '../support/client-cluster.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const NEVER = new AbortController().signal
const ONE = volumeId(1)
const TWO = volumeId(2)

function volumeAt(id: VolumeId, url: string): VolumeLocations {
  return { volumeId: id, collection: '', writePolicy: 'all', locations: [locationOf(url)] }
}

async function openCache(options: { readonly isWatching: boolean }) {
  const cluster = new FakeCluster({ servers: 3, volumes: 3 })
  const clock = new SimClock()
  const { master } = cluster
  const cache = new LocationCache({ master, clock, random: new Prng(1), logger: silentLogger })
  if (options.isWatching) {
    cache.start()
    await clock.advance(0)
  }
  const urlsOf = (id = ONE) => cache.peek(id)?.map(({ url }) => url)
  return { cache, clock, cluster, master, urlsOf }
}

describe('with the stream of changes', () => {
  test('everything is known without asking, for as long as the stream is up', async () => {
    const { cache, clock, cluster, urlsOf } = await openCache({ isWatching: true })
    await using _cache = cache
    expect([urlsOf(ONE), urlsOf(TWO)]).toEqual([['a:8080'], ['b:8080']])
    await clock.advance(3_600_000)
    expect(urlsOf()).toEqual(['a:8080'])
    expect(cluster.count('lookup')).toBe(0)
  })

  test('changes and removals are folded in, and a snapshot replaces all', async () => {
    const { cache, clock, cluster, master, urlsOf } = await openCache({ isWatching: true })
    await using _cache = cache
    cluster.move(ONE, 'a:8080', 'c:8080')
    await clock.advance(0)
    expect(urlsOf()).toEqual(['c:8080'])
    master.tell({ isSnapshot: false, volumes: [], removedVolumeIds: [TWO] })
    await clock.advance(0)
    expect(urlsOf(TWO)).toBeUndefined()
    const volumes = [volumeAt(TWO, 'z:1')]
    master.tell({ isSnapshot: true, volumes, removedVolumeIds: [] })
    await clock.advance(0)
    expect([urlsOf(ONE), urlsOf(TWO)]).toEqual([undefined, ['z:1']])
  })

  test('an invalidated volume is looked up once', async () => {
    const { cache, cluster, urlsOf } = await openCache({ isWatching: true })
    await using _cache = cache
    cache.invalidate(ONE)
    expect(urlsOf()).toBeUndefined()
    await Promise.all([cache.find(ONE, NEVER), cache.find(ONE, NEVER)])
    expect(cluster.count('lookup')).toBe(1)
    expect(urlsOf()).toEqual(['a:8080'])
  })

  test('what the stream says while a lookup is on its way wins', async () => {
    const { cache, clock, master, urlsOf } = await openCache({ isWatching: true })
    await using _cache = cache
    cache.invalidate(ONE)
    const { lookup } = master
    master.lookup = async (...args) => {
      const answer = await lookup.apply(master, args)
      const volumes = [volumeAt(ONE, 'z:1')]
      master.tell({ isSnapshot: false, volumes, removedVolumeIds: [] })
      await clock.advance(0)
      return answer
    }
    expect((await cache.find(ONE, NEVER)).map(({ url }) => url)).toEqual(['z:1'])
    expect(urlsOf()).toEqual(['z:1'])
  })

  test('a broken stream is opened again, and its snapshot makes up for what was missed', async () => {
    const { cache, clock, cluster, master, urlsOf } = await openCache({ isWatching: true })
    await using _cache = cache
    master.isWatchDown = true
    master.breakWatches()
    await clock.advance(0)
    expect(cache.isWatching).toBe(false)
    cluster.move(ONE, 'a:8080', 'c:8080')
    await clock.advance(4999)
    expect(urlsOf()).toEqual(['a:8080'])
    await clock.advance(1)
    // Nobody knows any more: it is looked up.
    expect(urlsOf()).toBeUndefined()
    master.isWatchDown = false
    await clock.advance(10_000)
    expect(cache.isWatching).toBe(true)
    expect(urlsOf()).toEqual(['c:8080'])
  })

  test('attempts to open it come further and further apart, up to 5 s', async () => {
    const { cache, clock, master } = await openCache({ isWatching: true })
    await using _cache = cache
    let attempts = 0
    const { watch } = master
    master.watch = (signal) => {
      attempts++
      return watch.call(master, signal)
    }
    master.isWatchDown = true
    master.breakWatches()
    await clock.advance(60_000)
    expect(attempts).toBeGreaterThanOrEqual(12)
    expect(attempts).toBeLessThanOrEqual(32)
  })
})

describe('without it', () => {
  test('what was looked up counts for 5 s', async () => {
    const { cache, clock, cluster, urlsOf } = await openCache({ isWatching: false })
    await using _cache = cache
    await cache.find(ONE, NEVER)
    await clock.advance(LIMITS.locationStaleMs.value - 1)
    await cache.find(ONE, NEVER)
    expect(cluster.count('lookup')).toBe(1)
    await clock.advance(1)
    expect(urlsOf()).toBeUndefined()
    await cache.find(ONE, NEVER)
    expect(cluster.count('lookup')).toBe(2)
  })

  test('volumes asked for in one turn are one call', async () => {
    const { cache, cluster } = await openCache({ isWatching: false })
    await using _cache = cache
    const found = await Promise.all([1, 2, 3].map((id) => cache.find(volumeId(id), NEVER)))
    expect(found.map(([location]) => location?.url)).toEqual(['a:8080', 'b:8080', 'c:8080'])
    expect(cluster.count('lookup')).toBe(1)
  })

  test('a volume the master does not know is VOLUME_NOT_FOUND, and others are not hurt', async () => {
    const { cache } = await openCache({ isWatching: false })
    await using _cache = cache
    const lookups = [cache.find(volumeId(99), NEVER), cache.find(ONE, NEVER)]
    await expect(lookups[0]).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    expect(await lookups[1]).toHaveLength(1)
  })

  test('old knowledge is used while no master answers', async () => {
    const { cache, clock, cluster } = await openCache({ isWatching: false })
    await using _cache = cache
    await cache.find(ONE, NEVER)
    cluster.fault = () => ({ when: 'before', code: 'UNAVAILABLE' })
    await clock.advance(3_600_000)
    cache.invalidate(ONE)
    expect((await cache.find(ONE, NEVER))[0]?.url).toBe('a:8080')
    await expect(cache.find(TWO, NEVER)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('a wait may be given up; the lookup goes on for others', async () => {
    const { cache } = await openCache({ isWatching: false })
    await using _cache = cache
    const caller = new AbortController()
    const waits = [cache.find(ONE, caller.signal), cache.find(ONE, NEVER)]
    caller.abort()
    await expect(waits[0]).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(await waits[1]).toHaveLength(1)
  })
})

test(`no more than ${LIMITS.locationsMax.value} volumes are remembered`, async () => {
  const { cache, clock, master } = await openCache({ isWatching: true })
  await using _cache = cache
  const count = LIMITS.locationsMax.value + 10
  const volumes = Array.from({ length: count }, (_, index) => ({
    volumeId: volumeId(index + 1),
    collection: '',
    writePolicy: 'all' as const,
    locations: [],
  }))
  master.tell({ isSnapshot: true, volumes, removedVolumeIds: [] })
  await clock.advance(0)
  expect(cache.size).toBe(LIMITS.locationsMax.value)
  expect(cache.peek(volumeId(10))).toBeUndefined()
  expect(cache.peek(volumeId(11))).toEqual([])
})
