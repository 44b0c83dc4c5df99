import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { StripeOrder } from '../../src/master/stripe-members.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { VolumeFacts } from '../../src/net/jobs-api.ts'
import type { LocationsUpdate } from '../../src/net/master-api.ts'
import { EMPTY_SHARDS, FakeVolumeServer } from '../support/fake-volume-server.ts'
import type { SimClock } from '../support/sim-clock.ts'
import { NO_SIGNAL } from '../support/test-master.ts'
import { CLUSTER_ID, TestState } from '../support/test-state.ts'

const ID = volumeId(7)
const TWO = parseReplicaPlacement('001')
const RUN = EMPTY_SHARDS.runId
const KEY = { collection: '', replication: TWO, ttl: TTL_NONE }

/** Six servers, of which each has the shard of its number. */
function sixServers(): FakeVolumeServer[] {
  return Array.from({ length: 6 }, (_, shard) => {
    const server = new FakeVolumeServer(`s${shard}:1`)
    server.putShards(ID, { shards: [shard], replication: TWO })
    return server
  })
}

function orderOf(servers: readonly FakeVolumeServer[], setVersion: number): StripeOrder {
  const shards = servers.map(({ location, directoryId }, shard) => {
    return { shard, url: location.url, directoryId }
  })
  return { volumeId: ID, setVersion, runId: RUN, dataShards: 4, parityShards: 2, shards }
}

/** A volume with copies at the first two of six servers, and a shard at each. */
async function replicated(store = new MemoryStore()) {
  const sim = await TestState.open({ store })
  const servers = sixServers()
  for (const server of servers.slice(0, 2)) server.addVolume({ volumeId: ID, replication: TWO })
  for (const server of servers) sim.apply(server.beat(true))
  return { sim, servers, ...sim.cluster }
}

async function coded(store = new MemoryStore()) {
  const made = await replicated(store)
  const facts = await made.sets.changeStripe(orderOf(made.servers, 1), NO_SIGNAL)
  return { ...made, facts }
}

async function settle<Result>(clock: SimClock, promise: Promise<Result>): Promise<Result> {
  const ended = promise.then(
    () => undefined,
    () => undefined,
  )
  let isOver = false
  void ended.then(() => {
    isOver = true
  })
  for (let ms = 0; ms < 2000 && !isOver; ms += 25) await clock.advance(25)
  return await promise
}

function at(servers: readonly FakeVolumeServer[], index: number): FakeVolumeServer {
  return servers[index] ?? expect.fail(`no server ${index}`)
}

function placesOf(facts: VolumeFacts | undefined): string[] {
  return (facts?.stripe?.shards ?? []).map((shard) => {
    const { isUp, isLost, isBad, report, location } = shard
    const how = [!isUp && 'down', isLost && 'lost', isBad && 'bad', report === undefined && 'none']
    return [location.url, ...how.filter((word) => word !== false)].join(' ')
  })
}

function straysOf(facts: VolumeFacts | undefined): string[] {
  return (facts?.strayShards ?? []).map(({ location, runId, shards, isUp }) => {
    return `${location.url} ${runId}: ${shards.join(' ')}${isUp ? '' : ' down'}`
  })
}

async function reopened(sim: TestState): Promise<TestState> {
  await sim[Symbol.asyncDispose]()
  return await TestState.open({ store: sim.store, clock: sim.clock })
}

describe('changeStripe', () => {
  test('makes the shards count and the copies strays, durably; places are told', async () => {
    const { sim, sets, state, places, facts } = await coded()
    expect(facts).toMatchObject({ setVersion: 2, members: [], replication: TWO })
    expect(placesOf(facts)).toEqual(['s0:1', 's1:1', 's2:1', 's3:1', 's4:1', 's5:1'])
    expect(facts.strays.map(({ location }) => location.url)).toEqual(['s0:1', 's1:1'])
    expect(facts.strayShards).toBeUndefined()
    expect(state.copies(ID)).toEqual([])
    expect([...state.layouts]).toEqual([])
    const found = places.locationsOf(ID)
    expect(found?.locations).toHaveLength(6)
    expect(found?.stripe).toMatchObject({ runId: RUN, dataShards: 4, parityShards: 2 })
    expect(found?.stripe?.shards.map(({ shard }) => shard)).toEqual([0, 1, 2, 3, 4, 5])
    const again = await reopened(sim)
    expect(placesOf(again.cluster.sets.facts(ID))).toHaveLength(6)
    expect(again.cluster.sets.record(ID)).toEqual(sets.record(ID))
  })

  test('before it, shards are strays and nothing is read from them', async () => {
    const { sets, places } = await replicated()
    expect(straysOf(sets.facts(ID))).toHaveLength(6)
    expect(places.locationsOf(ID)?.locations).toHaveLength(2)
    expect(places.locationsOf(ID)?.stripe).toBeUndefined()
  })

  test.each<[string, (order: StripeOrder) => StripeOrder, string]>([
    ['another version', (order) => ({ ...order, setVersion: 0 }), 'METADATA_CONFLICT'],
    ['one too few', (order) => ({ ...order, shards: order.shards.slice(1) }), 'REQUEST_INVALID'],
    [
      'one twice',
      (order) => ({ ...order, shards: order.shards.map((each) => ({ ...each, shard: 0 })) }),
      'REQUEST_INVALID',
    ],
    ['no parity', (order) => ({ ...order, dataShards: 6, parityShards: 0 }), 'REQUEST_INVALID'],
    [
      'another scheme',
      (order) => ({ ...order, dataShards: 3, parityShards: 3 }),
      'METADATA_CONFLICT',
    ],
    ['a run that is no number', (order) => ({ ...order, runId: 'x' }), 'REQUEST_INVALID'],
    ['a run nobody has', (order) => ({ ...order, runId: '5' }), 'METADATA_CONFLICT'],
    ['a deleted volume', (order) => ({ ...order, volumeId: volumeId(8) }), 'VOLUME_NOT_FOUND'],
  ])('refuses %s, and nothing is changed', async (_, alter, code) => {
    const { sim, servers, sets } = await replicated()
    const before = sets.record(ID)
    const change = sets.changeStripe(alter(orderOf(servers, 1)), NO_SIGNAL)
    await expect(settle(sim.clock, change)).rejects.toMatchObject({ code })
    expect(sets.record(ID)).toBe(before)
  })

  test('waits a second for a shard to be reported, not for one on a server that is down', async () => {
    const { sim, servers, sets } = await replicated()
    const late = at(servers, 5)
    late.putShards(ID, { shards: [] })
    sim.apply(late.beat(false))
    const changing = settle(sim.clock, sets.changeStripe(orderOf(servers, 1), NO_SIGNAL))
    await sim.clock.advance(900)
    late.putShards(ID, { shards: [5] })
    sim.apply(late.beat(false))
    expect((await changing).setVersion).toBe(2)
    const { sim: other, servers: others, sets: otherSets } = await replicated()
    other.markDown('s5:1')
    const startMs = other.clock.monotonicMs()
    const failing = otherSets.changeStripe(orderOf(others, 1), NO_SIGNAL)
    await expect(settle(other.clock, failing)).rejects.toMatchObject({ code: 'METADATA_CONFLICT' })
    expect(other.clock.monotonicMs() - startMs).toBeLessThanOrEqual(50)
  })

  test('takes no shard with bad blocks, and none in another directory', async () => {
    const { sim, servers, sets } = await replicated()
    at(servers, 2).putShards(ID, { shards: [2], badShards: [2] })
    sim.apply(at(servers, 2).beat(false))
    const bad = sets.changeStripe(orderOf(servers, 1), NO_SIGNAL)
    await expect(settle(sim.clock, bad)).rejects.toMatchObject({ code: 'METADATA_CONFLICT' })
    at(servers, 2).putShards(ID, { shards: [2], badShards: [] })
    sim.apply(at(servers, 2).beat(false))
    const order = orderOf(servers, 1)
    const elsewhere = order.shards.map((each) => ({ ...each, directoryId: 'other' }))
    const moved = sets.changeStripe({ ...order, shards: elsewhere }, NO_SIGNAL)
    await expect(settle(sim.clock, moved)).rejects.toMatchObject({ code: 'METADATA_CONFLICT' })
  })

  test('within a run lets what is down stay, and takes one that was made anew', async () => {
    const { sim, servers, sets } = await coded()
    sim.markDown('s0:1')
    sim.markDown('s5:1')
    const spare = new FakeVolumeServer('spare:1')
    spare.putShards(ID, { shards: [5], replication: TWO })
    sim.apply(spare.beat(true))
    const order = orderOf([...servers.slice(0, 5), spare], 2)
    const facts = await sets.changeStripe(order, NO_SIGNAL)
    expect(placesOf(facts)).toEqual(['s0:1 down', 's1:1', 's2:1', 's3:1', 's4:1', 'spare:1'])
    expect(straysOf(facts)).toEqual([`s5:1 ${RUN}: 5 down`])
  })

  test('to another run needs all of its shards; the old ones are strays then', async () => {
    const { sim, servers, sets } = await coded()
    for (const [shard, server] of servers.entries()) {
      server.putShards(ID, { runId: '1800000000000000000', shards: [shard], replication: TWO })
      sim.apply(server.beat(false))
    }
    sim.markDown('s4:1')
    const order = { ...orderOf(servers, 2), runId: '1800000000000000000' }
    await expect(settle(sim.clock, sets.changeStripe(order, NO_SIGNAL))).rejects.toMatchObject({
      code: 'METADATA_CONFLICT',
    })
    sim.apply(at(servers, 4).beat(true))
    const facts = await sets.changeStripe(order, NO_SIGNAL)
    expect(facts.stripe?.runId).toBe('1800000000000000000')
    expect(straysOf(facts)).toHaveLength(6)
  })

  test('that cannot be written changes nothing', async () => {
    const store = new MemoryStore()
    const { sim, servers, sets, places } = await replicated(store)
    const { commit } = store
    store.commit = async () => {
      throw new StoreError('DISK_FULL', 'full')
    }
    const change = sets.changeStripe(orderOf(servers, 1), NO_SIGNAL)
    await expect(change).rejects.toMatchObject({ code: 'DISK_FULL' })
    store.commit = commit
    expect(sets.facts(ID)?.members).toHaveLength(2)
    expect(places.locationsOf(ID)?.stripe).toBeUndefined()
    const again = await reopened(sim)
    expect(again.cluster.sets.facts(ID)?.members).toHaveLength(2)
  })
})

describe('a shard', () => {
  test('is lost when its server is up without it for two heartbeats, or down for too long', async () => {
    const { sim, servers, sets } = await coded()
    await sim.clock.advance(20_000)
    at(servers, 1).putShards(ID, { shards: [] })
    sim.apply(at(servers, 1).beat(false))
    expect(placesOf(sets.facts(ID))[1]).toBe('s1:1 none')
    await sim.clock.advance(9999)
    expect(placesOf(sets.facts(ID))[1]).toBe('s1:1 none')
    await sim.clock.advance(1)
    expect(placesOf(sets.facts(ID))[1]).toBe('s1:1 lost none')
    at(servers, 1).putShards(ID, { shards: [1] })
    sim.apply(at(servers, 1).beat(false))
    expect(placesOf(sets.facts(ID))[1]).toBe('s1:1')
    sim.markDown('s2:1')
    expect(placesOf(sets.facts(ID))[2]).toBe('s2:1 down')
    await sim.clock.advance(900_000)
    expect(placesOf(sets.facts(ID))[2]).toBe('s2:1 down lost')
  })

  test('is missed from when it was gone first, whatever else its server says meanwhile', async () => {
    const { sim, servers, sets } = await coded()
    await sim.clock.advance(20_000)
    for (const seconds of [0, 4, 8]) {
      at(servers, 1).putShards(ID, { shards: [], runId: RUN })
      at(servers, 1).putShards(ID, { shards: [seconds / 4], runId: '5' })
      sim.apply(at(servers, 1).beat(true))
      await sim.clock.advance(4000)
    }
    expect(placesOf(sets.facts(ID))[1]).toBe('s1:1 lost none')
  })

  test('is missed alone when its server has others of the stripe, in two directories', async () => {
    const sim = await TestState.open()
    const { sets } = sim.cluster
    const server = new FakeVolumeServer('a:1')
    server.putShards(ID, { shards: [0, 1, 2] })
    server.putShards(ID, { shards: [3, 4, 5], directoryId: 'second' })
    sim.apply(server.beat(true))
    await sim.clock.advance(10_000)
    sim.apply(server.beat(false))
    expect(placesOf(sets.facts(ID))).toEqual(Array.from({ length: 6 }, () => 'a:1'))
    server.putShards(ID, { shards: [3, 5], badShards: [3], directoryId: 'second' })
    sim.apply(server.beat(false))
    await sim.clock.advance(10_000)
    const wanted = ['a:1', 'a:1', 'a:1', 'a:1 bad', 'a:1 lost none', 'a:1']
    expect(placesOf(sets.facts(ID))).toEqual(wanted)
  })

  test('is its directory: it is found where that is served now, also after a restart', async () => {
    const { sim, servers, sets, places } = await coded()
    sim.markDown('s3:1')
    const renamed = new FakeVolumeServer('new:1', { directoryId: at(servers, 3).directoryId })
    renamed.putShards(ID, { shards: [3], replication: TWO })
    sim.apply(renamed.beat(true))
    expect(placesOf(sets.facts(ID))[3]).toBe('new:1')
    expect(places.locationsOf(ID)?.stripe?.shards[3]?.location.url).toBe('new:1')
    const again = await reopened(sim)
    expect(placesOf(again.cluster.sets.facts(ID))[3]).toBe('new:1 down none')
    expect([...again.cluster.sets.memberUrls()]).toContain('new:1')
  })

  test('in a directory of another cluster, or a twin of one, does not count', async () => {
    const { sim, sets } = await coded()
    const twin = new FakeVolumeServer('twin:1', { directoryId: 'disk-s3:1' })
    twin.putShards(ID, { shards: [3] })
    sim.apply(twin.beat(true))
    const foreign = new FakeVolumeServer('foreign:1', { clusterId: 'f'.repeat(32) })
    foreign.putShards(ID, { shards: [4] })
    sim.apply(foreign.beat(true))
    expect(CLUSTER_ID).not.toBe('f'.repeat(32))
    expect(placesOf(sets.facts(ID))[3]).toBe('s3:1')
    expect(straysOf(sets.facts(ID))).toEqual([])
  })

  test('in a directory that was foreign counts from when it is not any more', async () => {
    const sim = await TestState.open()
    const server = new FakeVolumeServer('a:1', { clusterId: 'f'.repeat(32) })
    server.putShards(ID, { shards: [0] })
    sim.apply(server.beat(true))
    expect(sim.cluster.sets.hasVolume(ID)).toBe(false)
    const beat = server.beat(false)
    sim.apply({ ...beat, disks: beat.disks.map((disk) => ({ ...disk, clusterId: '' })) })
    expect(sim.cluster.sets.hasVolume(ID)).toBe(true)
  })

  test('of another number, run or directory is a stray', async () => {
    const { sim, servers, sets } = await coded()
    at(servers, 0).putShards(ID, { shards: [0, 4] })
    at(servers, 0).putShards(ID, { shards: [2], runId: '5' })
    at(servers, 0).putShards(ID, { shards: [0], directoryId: 'second' })
    sim.apply(at(servers, 0).beat(false))
    const wanted = [`s0:1 5: 2`, `s0:1 ${RUN}: 0`, `s0:1 ${RUN}: 4`]
    expect(straysOf(sets.facts(ID)).sort()).toEqual(wanted.sort())
    expect(placesOf(sets.facts(ID))[0]).toBe('s0:1')
  })
})

describe('places of a coded volume', () => {
  test('follow its servers, told to whoever watches', async () => {
    const { sim, servers, places, feed } = await coded()
    const watching = new AbortController()
    const updates: LocationsUpdate[] = []
    const watched = (async () => {
      for await (const update of feed.watch(watching.signal)) updates.push(update)
    })().catch(() => undefined)
    await sim.clock.advance(0)
    expect(updates[0]?.volumes[0]?.stripe?.shards).toHaveLength(6)
    sim.markDown('s0:1')
    await sim.clock.advance(0)
    expect(updates.at(-1)?.volumes[0]?.stripe?.shards).toHaveLength(5)
    at(servers, 2).putShards(ID, { shards: [] })
    sim.apply(at(servers, 2).beat(false))
    await sim.clock.advance(0)
    expect(updates.at(-1)?.volumes[0]?.locations).toHaveLength(4)
    watching.abort()
    await watched
    at(servers, 1).putShards(ID, { shards: [1, 2] })
    sim.apply(at(servers, 1).beat(false))
    expect(places.locationsOf(ID)?.locations).toHaveLength(4)
  })

  test('figures that change move nothing', async () => {
    const { sim, servers, feed } = await coded()
    const before = feed.version
    at(servers, 1).putShards(ID, { shards: [1], liveNeedles: 9 })
    sim.apply(at(servers, 1).beat(false))
    expect(feed.version).toBe(before)
  })
})

describe('a coded volume', () => {
  test('becomes replicated when members are added that are healthy, never without', async () => {
    const { sim, servers, sets, state } = await coded()
    const damaged = new FakeVolumeServer('d:1')
    damaged.addVolume({ volumeId: ID, replication: TWO, state: 'damaged' })
    sim.apply(damaged.beat(true))
    const add = (server: FakeVolumeServer) => ({
      url: server.location.url,
      directoryId: server.directoryId,
    })
    const change = { volumeId: ID, setVersion: 2, removeDirectoryIds: [] }
    const none = sets.changeMembers({ ...change, add: [] }, NO_SIGNAL)
    await expect(none).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    const bad = sets.changeMembers({ ...change, add: [add(damaged)] }, NO_SIGNAL)
    await expect(bad).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    expect(sets.facts(ID)?.stripe).toBeDefined()
    const both = [add(at(servers, 0)), add(at(servers, 1))]
    const facts = await sets.changeMembers({ ...change, add: both }, NO_SIGNAL)
    expect(facts.stripe).toBeUndefined()
    expect(facts).toMatchObject({ setVersion: 3 })
    expect(facts.members).toHaveLength(2)
    expect(straysOf(facts)).toHaveLength(6)
    expect(state.layout(KEY)?.writableVolumeIds()).toEqual([ID])
    const again = await reopened(sim)
    expect(again.cluster.sets.facts(ID)?.members).toHaveLength(2)
  })

  test('that is deleted is a tombstone whose shards are strays, until they are gone', async () => {
    const { sim, servers, sets, places } = await coded()
    await sets.forgetVolume(ID, NO_SIGNAL)
    expect(sets.facts(ID)).toMatchObject({ isDeleted: true, members: [] })
    expect(sets.facts(ID)?.stripe).toBeUndefined()
    expect(straysOf(sets.facts(ID))).toHaveLength(6)
    expect(places.locationsOf(ID)).toBeUndefined()
    for (const [shard, server] of servers.entries()) {
      server.volumes.clear()
      server.putShards(ID, { shards: [] })
      sim.apply(server.beat(shard % 2 === 0))
    }
    expect([...sets.allFacts()]).toEqual([])
    expect([...sim.cluster.state.topology.volumeIds]).toEqual([])
  })

  test('keeps shards on servers that were forgotten: they are lost, and have their numbers', async () => {
    const { sim, sets, state } = await coded()
    sim.markDown('s2:1')
    sim.cluster.standings.forget('s2:1')
    state.forgetNode('s2:1')
    expect(await sets.dropMembersOf((url) => url === 's2:1', NO_SIGNAL)).toBe(0)
    expect(placesOf(sets.facts(ID))[2]).toBe('s2:1 down lost none')
  })

  test('counts towards the servers that hold something', async () => {
    const { sets } = await coded()
    expect([...sets.memberUrls()].sort()).toEqual(['s0:1', 's1:1', 's2:1', 's3:1', 's4:1', 's5:1'])
  })
})

describe('shards of a volume that nobody has a record of', () => {
  test('are adopted once enough are reported and two heartbeats have passed', async () => {
    const sim = await TestState.open()
    const { sets, places } = sim.cluster
    const servers = sixServers()
    for (const server of servers.slice(0, 3)) sim.apply(server.beat(true))
    await sim.clock.advance(60_000)
    sim.cluster.state.adoptPending()
    expect(sets.facts(ID)).toBeUndefined()
    // What is there is read from meanwhile.
    expect(places.locationsOf(ID)?.stripe?.shards).toHaveLength(3)
    sim.apply(at(servers, 4).beat(true))
    expect(sets.facts(ID)).toMatchObject({ replication: TWO, collection: '', setVersion: 1 })
    expect(placesOf(sets.facts(ID))[3]).toBe(' down lost none')
    expect(placesOf(sets.facts(ID))[4]).toBe('s4:1')
    // Those that come later have their place still.
    sim.apply(at(servers, 3).beat(true))
    expect(placesOf(sets.facts(ID))[3]).toBe('s3:1')
    expect(sets.facts(ID)?.strayShards).toBeUndefined()
    const again = await reopened(sim)
    expect(placesOf(again.cluster.sets.facts(ID))[3]).toBe('s3:1 down none')
  })

  test('of the run with most of them, the newest of several as good', async () => {
    const sim = await TestState.open()
    const { sets } = sim.cluster
    const servers = sixServers()
    for (const [shard, server] of servers.entries()) {
      server.putShards(ID, { runId: '999', shards: [shard] })
      server.putShards(ID, { runId: '1900000000000000000', shards: [shard] })
    }
    at(servers, 5).putShards(ID, { runId: '2000000000000000000', shards: [0, 1, 2, 3, 5] })
    for (const server of servers) sim.apply(server.beat(true))
    expect(sets.facts(ID)).toBeUndefined()
    await sim.clock.advance(10_000)
    sim.cluster.state.adoptPending()
    expect(sets.facts(ID)?.stripe?.runId).toBe('1900000000000000000')
    expect(straysOf(sets.facts(ID))).toHaveLength(13)
  })

  test('of two with one number the good one counts', async () => {
    const sim = await TestState.open()
    const servers = sixServers()
    at(servers, 0).putShards(ID, { shards: [0, 3], badShards: [3] })
    for (const server of servers) sim.apply(server.beat(true))
    await sim.clock.advance(10_000)
    sim.cluster.state.adoptPending()
    expect(placesOf(sim.cluster.sets.facts(ID))[3]).toBe('s3:1')
    expect(straysOf(sim.cluster.sets.facts(ID))).toEqual([`s0:1 ${RUN}: 3`])
  })

  test('are nothing beside all its copies, and all beside too few', async () => {
    const whole = await replicated()
    expect(whole.sets.facts(ID)?.members).toHaveLength(2)
    const sim = await TestState.open()
    const servers = sixServers()
    at(servers, 0).addVolume({ volumeId: ID, replication: TWO })
    for (const server of servers) sim.apply(server.beat(true))
    await sim.clock.advance(10_000)
    sim.cluster.state.adoptPending()
    expect(placesOf(sim.cluster.sets.facts(ID))).toHaveLength(6)
    expect(sim.cluster.sets.facts(ID)?.strays).toHaveLength(1)
  })

  test('too few of them do not keep a copy from being adopted, and are not waited for', async () => {
    const sim = await TestState.open()
    const servers = sixServers()
    at(servers, 0).addVolume({ volumeId: ID, replication: TWO })
    for (const server of servers.slice(0, 3)) sim.apply(server.beat(true))
    await sim.clock.advance(10_000)
    sim.cluster.state.adoptPending()
    expect(sim.cluster.sets.facts(ID)?.members).toHaveLength(1)
    const gone = new FakeVolumeServer('gone:1')
    gone.putShards(9, { shards: [0] })
    sim.apply(gone.beat(true))
    expect(sim.cluster.sets.hasVolume(volumeId(9))).toBe(true)
    gone.putShards(9, { shards: [] })
    sim.apply(gone.beat(false))
    expect(sim.cluster.sets.hasVolume(volumeId(9))).toBe(false)
  })

  test('wait for the end of the warm-up, however many there are', async () => {
    const sim = await TestState.open({ isWarm: false })
    for (const server of sixServers()) sim.apply(server.beat(true))
    await sim.clock.advance(20_000)
    sim.cluster.state.adoptPending()
    expect(sim.cluster.sets.facts(ID)).toBeUndefined()
    expect(sim.cluster.places.locationsOf(ID)?.locations).toHaveLength(6)
    sim.cluster.warmUp.onFullHeartbeat('s0:1')
    await sim.clock.advance(0)
    expect(placesOf(sim.cluster.sets.facts(ID))).toHaveLength(6)
  })
})
