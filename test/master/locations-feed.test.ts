import { describe, expect, test } from 'vitest'
import { type VolumeId, volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import type { ClusterState } from '../../src/master/cluster-state.ts'
import type { LocationsFeed } from '../../src/master/locations-feed.ts'
import { EMPTY_REPORT, FakeVolumeServer } from '../support/fake-volume-server.ts'
import { Prng, seeds } from '../support/prng.ts'
import { NO_SIGNAL } from '../support/test-master.ts'
import { TestState } from '../support/test-state.ts'

async function openFeed(closing: AbortSignal = NO_SIGNAL) {
  const sim = await TestState.open({ closing })
  const { feed, state } = sim.cluster
  return { sim, feed, state }
}

function truthOf(state: ClusterState): Map<VolumeId, string[]> {
  const ids = [...state.volumeIds].sort((a, b) => a - b)
  return new Map(
    ids.map((id) => [
      id,
      state
        .locations(id)
        .map(({ url }) => url)
        .sort(),
    ]),
  )
}

async function takeAll(
  updates: ReturnType<LocationsFeed['watch']>,
  feed: LocationsFeed,
  view: Map<VolumeId, string[]>,
): Promise<void> {
  while (feed.backlogMax > 0 || view.size === 0) {
    const next = await updates.next()
    if (next.done === true) return
    const { value } = next
    if (value.isSnapshot) view.clear()
    for (const id of value.removedVolumeIds) view.delete(id)
    for (const { volumeId: id, locations } of value.volumes) {
      view.set(id, locations.map(({ url }) => url).sort())
    }
  }
}

describe('a watcher', () => {
  // Goal: snapshot and deltas folded over each other are what the topology says, however seldom the
  // watcher reads. Method: random heartbeats, silences and removals; read now and then; compare.
  test.each(seeds(100))('knows after each read where volumes are (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const { feed, state, sim } = await openFeed()
    const servers = ['a', 'b', 'c'].map((url) => new FakeVolumeServer(url))
    for (const server of servers) {
      server.addVolume({ ...EMPTY_REPORT, volumeId: volumeId(1) })
      sim.apply(server.beat(true))
    }
    const updates = feed.watch(NO_SIGNAL)
    const view = new Map<VolumeId, string[]>()
    await takeAll(updates, feed, view)
    for (let step = 0; step < 100; step++) {
      const server = prng.pick(servers)
      const id = volumeId(prng.between(1, 12))
      const choice = prng.below(4)
      if (choice === 0) server.volumes.delete(id)
      else if (choice === 1) server.addVolume({ ...EMPTY_REPORT, volumeId: id })
      if (choice === 2) sim.markDown(server.location.url)
      else sim.apply(server.beat(prng.chance(0.2)))
      if (!prng.chance(0.3)) continue
      await takeAll(updates, feed, view)
      expect(new Map([...view].sort(([x], [y]) => x - y))).toEqual(truthOf(state))
    }
    await updates.return(undefined)
    expect(feed.watcherCount).toBe(0)
  })

  test('gets a snapshot of 5000 volumes in pieces of 4096', async () => {
    const { feed, sim } = await openFeed()
    const server = new FakeVolumeServer('a')
    for (let id = 1; id <= 5000; id++) server.addVolume({ ...EMPTY_REPORT, volumeId: volumeId(id) })
    sim.apply(server.beat(true))
    const updates = feed.watch(NO_SIGNAL)
    const first = await updates.next()
    expect(first.value).toMatchObject({ isSnapshot: true })
    expect(first.value?.volumes).toHaveLength(4096)
    const second = await updates.next()
    expect(second.value).toMatchObject({ isSnapshot: false })
    expect(second.value?.volumes).toHaveLength(904)
    await updates.return(undefined)
  })

  test('is not told of figures that change, only of places', async () => {
    const { feed, sim } = await openFeed()
    const server = new FakeVolumeServer('a')
    server.addVolume({ ...EMPTY_REPORT, volumeId: volumeId(1) })
    sim.apply(server.beat(true))
    const { version } = feed
    server.write(volumeId(1), 1000)
    sim.apply(server.beat(false))
    expect(feed.version).toBe(version)
  })

  test('ends with CANCELLED, and with UNAVAILABLE when the master closes', async () => {
    const closing = new AbortController()
    const { feed } = await openFeed(closing.signal)
    const gone = new AbortController()
    const first = feed.watch(gone.signal)
    const second = feed.watch(NO_SIGNAL)
    await first.next()
    await second.next()
    const waiting = first.next()
    gone.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' })
    const other = second.next()
    closing.abort()
    await expect(other).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(feed.watcherCount).toBe(0)
  })

  test(`is refused beyond ${LIMITS.watchersMax.value}`, async () => {
    const { feed } = await openFeed()
    const watching = Array.from({ length: LIMITS.watchersMax.value }, () => feed.watch(NO_SIGNAL))
    for (const updates of watching) await updates.next()
    await expect(feed.watch(NO_SIGNAL).next()).rejects.toMatchObject({ code: 'OVERLOADED' })
    for (const updates of watching) await updates.return(undefined)
  })

  test('that does not read while a million volumes change ends with OVERLOADED', async () => {
    const { feed } = await openFeed()
    const updates = feed.watch(NO_SIGNAL)
    await updates.next()
    const many = new Set<VolumeId>()
    for (let id = 1; id <= LIMITS.watchBacklogMax.value + 1; id++) many.add(volumeId(id))
    feed.onMoved(many)
    await expect(updates.next()).rejects.toMatchObject({ code: 'OVERLOADED' })
  })
})
