import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { copyCount, parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { isSameOrLater } from '../../src/master/volume-rows.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { VolumeFacts } from '../../src/net/jobs-api.ts'
import type { VolumeReport } from '../../src/net/master-api.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { NO_SIGNAL } from '../support/test-master.ts'
import { TestState } from '../support/test-state.ts'

const ONE = parseReplicaPlacement('000')
const TWO = parseReplicaPlacement('001')
const ID = volumeId(7)
const KEY = { collection: '', replication: TWO, ttl: TTL_NONE }

/** A volume with these copies, one on each server, adopted. */
async function adopted(urls: readonly string[], report: Partial<VolumeReport> = {}) {
  const sim = await TestState.open({ isWarm: false })
  const servers = urls.map((url) => new FakeVolumeServer(url))
  for (const server of servers) {
    server.addVolume({ volumeId: ID, replication: TWO, ...report })
    sim.apply(server.beat(true))
  }
  sim.cluster.warmUp.onFullHeartbeat('a:1')
  sim.cluster.state.adoptPending()
  return { sim, servers, ...sim.cluster }
}

function add(server: FakeVolumeServer) {
  return { url: server.location.url, directoryId: server.directoryId }
}

function membersOf(facts: VolumeFacts | undefined): string[] {
  return (facts?.members ?? []).map((member) => `${member.location.url} ${member.directoryId}`)
}

function straysOf(facts: VolumeFacts | undefined): string[] {
  return (facts?.strays ?? []).map((stray) => `${stray.location.url} ${stray.directoryId}`)
}

async function reopened(sim: TestState): Promise<TestState> {
  await sim[Symbol.asyncDispose]()
  return await TestState.open({ store: sim.store, clock: sim.clock })
}

describe('a volume nobody has heard of', () => {
  test('is not adopted during a warm-up: read from all copies, written to nowhere', async () => {
    const sim = await TestState.open({ isWarm: false })
    const { sets, state, places } = sim.cluster
    for (const url of ['a:1', 'b:1']) {
      const server = new FakeVolumeServer(url)
      server.addVolume({ volumeId: ID, replication: TWO })
      sim.apply(server.beat(true))
    }
    expect(sets.facts(ID)).toBeUndefined()
    expect(places.locationsOf(ID)?.locations.map(({ url }) => url)).toEqual(['a:1', 'b:1'])
    const layout = state.layout(KEY)
    expect(layout?.writableVolumeIds()).toEqual([])
    sim.cluster.warmUp.onFullHeartbeat('a:1')
    await sim.clock.advance(0)
    expect(membersOf(sets.facts(ID))).toEqual(['a:1 disk-a:1', 'b:1 disk-b:1'])
    expect(layout?.writableVolumeIds()).toEqual([ID])
  })

  test('with a copy missing waits two heartbeats for it; one that comes later is a stray', async () => {
    const sim = await TestState.open()
    const { sets } = sim.cluster
    const [a, b] = [new FakeVolumeServer('a:1'), new FakeVolumeServer('b:1')]
    for (const server of [a, b]) server.addVolume({ volumeId: ID, replication: TWO })
    sim.apply(a.beat(true))
    await sim.clock.advance(9999)
    sim.apply(a.beat(false))
    expect(sets.facts(ID)).toBeUndefined()
    await sim.clock.advance(1)
    sim.apply(a.beat(false))
    expect(membersOf(sets.facts(ID))).toEqual(['a:1 disk-a:1'])
    sim.apply(b.beat(true))
    expect(straysOf(sets.facts(ID))).toEqual(['b:1 disk-b:1'])
    expect(sim.cluster.places.locationsOf(ID)?.locations).toEqual([a.location])
  })

  test('once adopted is remembered: what comes back first after a restart is not all there is', async () => {
    const { sim, servers } = await adopted(['a:1', 'b:1'])
    const again = await reopened(sim)
    const { sets, places } = again.cluster
    expect(membersOf(sets.facts(ID))).toEqual(['a:1 disk-a:1', 'b:1 disk-b:1'])
    expect(places.locationsOf(ID)?.locations).toEqual([])
    again.apply(servers[1]?.beat(true) ?? expect.fail())
    expect(places.locationsOf(ID)?.locations.map(({ url }) => url)).toEqual(['b:1'])
  })
})

describe('a member', () => {
  test('is its directory: swapped and renamed servers stay members, also after a restart', async () => {
    const { sim, servers, sets, places } = await adopted(['a:1', 'b:1'])
    const [a, b] = servers as [FakeVolumeServer, FakeVolumeServer]
    // The disks of a and b change places, and b gets another name.
    sim.markDown('a:1')
    sim.markDown('b:1')
    const newB = new FakeVolumeServer('new-b:1', { directoryId: a.directoryId })
    const newA = new FakeVolumeServer('a:1', { directoryId: b.directoryId })
    for (const server of [newA, newB]) {
      server.addVolume({ volumeId: ID, replication: TWO })
      sim.apply(server.beat(true))
    }
    const members = ['new-b:1 disk-a:1', 'a:1 disk-b:1']
    expect(membersOf(sets.facts(ID))).toEqual(members)
    expect(sets.facts(ID)?.strays).toEqual([])
    expect(places.locationsOf(ID)?.locations).toHaveLength(2)
    const again = await reopened(sim)
    expect(membersOf(again.cluster.sets.facts(ID))).toEqual(members)
  })

  test('that is not what it was when it was vacuumed last is a stray, with an alert', async () => {
    const { sim, servers, sets, state } = await adopted(['a:1', 'b:1'], { compactionRevision: 3 })
    await sets.noteVacuum(
      { volumeId: ID, directoryId: 'disk-a:1', compactionRevision: 5 },
      NO_SIGNAL,
    )
    expect(state.locations(ID).map(({ url }) => url)).toEqual(['b:1'])
    expect(straysOf(sets.facts(ID))).toEqual(['a:1 disk-a:1'])
    expect(sets.outdatedCopies().map(({ node }) => node.location.url)).toEqual(['a:1'])
    servers[0]?.addVolume({ volumeId: ID, replication: TWO, compactionRevision: 5 })
    sim.apply(servers[0]?.beat(false) ?? expect.fail())
    expect(state.locations(ID)).toHaveLength(2)
    expect(sets.outdatedCopies()).toEqual([])
  })

  test.each([
    [0, 0, true],
    [5, 3, true],
    [3, 5, false],
    [0, 0xffff, true],
    [0x7fff, 0, true],
    [0x8000, 0, false],
    [0xffff, 0, false],
  ])('of revision %d where %d is noted counts: %s', (revision, noted, isLater) => {
    expect(isSameOrLater(revision, noted)).toBe(isLater)
  })

  test('vacuumed 70,000 times, with nothing noted, never seems older than it was', async () => {
    const { sim, servers, state } = await adopted(['a:1', 'b:1'])
    for (let revision = 0; revision < 70_000; revision += 1000) {
      for (const server of servers) {
        const compactionRevision = revision & 0xffff
        server.addVolume({ volumeId: ID, replication: TWO, compactionRevision })
        sim.apply(server.beat(false))
      }
      expect(state.locations(ID)).toHaveLength(2)
    }
  })

  test('a late copy elsewhere is a stray: never found, nothing assigned because of it', async () => {
    const { sim, sets, state, places } = await adopted(['a:1', 'b:1'])
    const late = new FakeVolumeServer('c:1')
    late.addVolume({ volumeId: ID, replication: TWO, liveNeedles: 1000, datBytes: 5000 })
    sim.apply(late.beat(true))
    expect(straysOf(sets.facts(ID))).toEqual(['c:1 disk-c:1'])
    expect(places.locationsOf(ID)?.locations.map(({ url }) => url)).toEqual(['a:1', 'b:1'])
    const candidates = state
      .layout(KEY)
      ?.candidatesOnReports({ dataCenter: '', rack: '', node: '' })
    expect(candidates?.[0]?.copies.map(({ node }) => node.location.url)).toEqual(['a:1', 'b:1'])
  })
})

describe('a volume that was made', () => {
  test('has its servers as members before they report it, and their directories after', async () => {
    const sim = await TestState.open()
    const { sets } = sim.cluster
    const servers = ['a:1', 'b:1'].map((url) => new FakeVolumeServer(url))
    for (const server of servers) sim.apply(server.beat(true))
    await sets.create(
      ID,
      KEY,
      servers.map(({ location }) => location),
      NO_SIGNAL,
    )
    expect(membersOf(sets.facts(ID))).toEqual(['a:1 ?a:1', 'b:1 ?b:1'])
    for (const server of servers) {
      server.addVolume({ volumeId: ID, replication: TWO })
      sim.apply(server.beat(false))
    }
    expect(membersOf(sets.facts(ID))).toEqual(['a:1 disk-a:1', 'b:1 disk-b:1'])
    // The same name of a directory that came later does not count.
    const again = await reopened(sim)
    const other = new FakeVolumeServer('a:1', { directoryId: 'other' })
    other.addVolume({ volumeId: ID, replication: TWO })
    again.apply(other.beat(true))
    expect(straysOf(again.cluster.sets.facts(ID))).toEqual(['a:1 other'])
  })

  test('writes what it learns of 3000 volumes in a few commits, and again after a failure', async () => {
    const store = new MemoryStore()
    const sim = await TestState.open({ store })
    const { sets } = sim.cluster
    const server = new FakeVolumeServer('a:1')
    sim.apply(server.beat(true))
    const key = { ...KEY, replication: ONE }
    for (let id = 1; id <= 3000; id++) {
      await sets.create(volumeId(id), key, [server.location], NO_SIGNAL)
      server.addVolume({ volumeId: volumeId(id) })
    }
    const commit = store.commit.bind(store)
    let commits = 0
    store.commit = async () => {
      commits++
      throw new StoreError('DISK_FULL', 'no room')
    }
    sim.apply(server.beat(false))
    expect(commits).toBe(0)
    await sim.clock.advance(1000)
    expect(commits).toBe(1)
    store.commit = async (batch, signal) => {
      commits++
      await commit(batch, signal)
    }
    await sim.clock.advance(10_000)
    expect(commits).toBe(4)
    const again = await TestState.open({ store })
    expect(membersOf(again.cluster.sets.facts(volumeId(3000)))).toEqual(['a:1 disk-a:1'])
  })
})

describe('a change of members', () => {
  test('is durable, raises the version, and moves what is looked up', async () => {
    const { sim, servers, sets, feed, places } = await adopted(['a:1', 'b:1'])
    const c = new FakeVolumeServer('c:1')
    c.addVolume({ volumeId: ID, replication: TWO })
    sim.apply(c.beat(true))
    const { version } = feed
    const before = sets.facts(ID)?.setVersion ?? 0
    const facts = await sets.changeMembers(
      { volumeId: ID, setVersion: before, add: [add(c)], removeDirectoryIds: ['disk-a:1'] },
      NO_SIGNAL,
    )
    expect(membersOf(facts)).toEqual(['b:1 disk-b:1', 'c:1 disk-c:1'])
    expect(straysOf(facts)).toEqual(['a:1 disk-a:1'])
    expect(facts.setVersion).toBe(before + 1)
    expect(feed.version).toBeGreaterThan(version)
    expect(places.locationsOf(ID)?.locations.map(({ url }) => url)).toEqual(['b:1', 'c:1'])
    const again = await reopened(sim)
    expect(membersOf(again.cluster.sets.facts(ID))).toEqual(membersOf(facts))
    expect(servers).toHaveLength(2)
  })

  test('on an old version, of a copy nobody reports, or of a deleted volume is refused', async () => {
    const { sim, sets } = await adopted(['a:1', 'b:1'])
    const change = { volumeId: ID, setVersion: 1, add: [], removeDirectoryIds: [] }
    const old = { ...change, setVersion: 0 }
    await expect(sets.changeMembers(old, NO_SIGNAL)).rejects.toMatchObject({
      code: 'METADATA_CONFLICT',
    })
    const unreported = { ...change, add: [{ url: 'c:1', directoryId: 'x' }] }
    const waiting = sets.changeMembers(unreported, NO_SIGNAL).catch((error: unknown) => error)
    await sim.clock.advance(2000)
    expect(await waiting).toMatchObject({ code: 'METADATA_CONFLICT' })
    expect(sets.facts(ID)?.setVersion).toBe(1)
    await sets.forgetVolume(ID, NO_SIGNAL)
    await expect(sets.changeMembers(change, NO_SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    })
  })

  test('waits a second for the report of a copy that is added', async () => {
    const { sim, sets } = await adopted(['a:1'], { replication: ONE })
    const c = new FakeVolumeServer('c:1')
    sim.apply(c.beat(true))
    const change = { volumeId: ID, setVersion: 1, add: [add(c)], removeDirectoryIds: [] }
    const waiting = sets.changeMembers(change, NO_SIGNAL)
    await sim.clock.advance(500)
    c.addVolume({ volumeId: ID })
    sim.apply(c.beat(false))
    await sim.clock.advance(25)
    expect(membersOf(await waiting)).toEqual(['a:1 disk-a:1', 'c:1 disk-c:1'])
  })

  test.each([
    ['no member', [], ['disk-a:1', 'disk-b:1']],
    ['no healthy one', ['bad:1'], ['disk-a:1', 'disk-b:1']],
    ['two on one server', ['a:1'], []],
  ])('that would leave %s is refused', async (_what, urls, removeDirectoryIds) => {
    const { sim, sets } = await adopted(['a:1', 'b:1'])
    for (const url of urls) {
      const server = new FakeVolumeServer(url, { directoryId: `other-${url}` })
      // A second directory of a server that has a member, too.
      const before = url === 'a:1' ? [new FakeVolumeServer('a:1').beat(true).disks[0]] : []
      server.addVolume({ volumeId: ID, replication: TWO, state: 'damaged' })
      const beat = server.beat(true)
      const disks = [...beat.disks, ...before.flatMap((disk) => disk ?? [])]
      sim.apply({ ...beat, disks })
    }
    const added = urls.map((url) => ({ url, directoryId: `other-${url}` }))
    const change = { volumeId: ID, setVersion: 1, add: added, removeDirectoryIds }
    await expect(sets.changeMembers(change, NO_SIGNAL)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
    expect(membersOf(sets.facts(ID))).toHaveLength(2)
  })

  test('may put a new copy into the directory of a bad one, of whatever generation', async () => {
    const { sim, servers, sets, state } = await adopted(['a:1', 'b:1'], { compactionRevision: 9 })
    const b = servers[1] ?? expect.fail()
    await sets.noteVacuum(
      { volumeId: ID, directoryId: 'disk-b:1', compactionRevision: 9 },
      NO_SIGNAL,
    )
    b.addVolume({ volumeId: ID, replication: TWO, compactionRevision: 4 })
    sim.apply(b.beat(false))
    expect(state.locations(ID)).toHaveLength(1)
    const change = {
      volumeId: ID,
      setVersion: 1,
      add: [add(b)],
      removeDirectoryIds: ['disk-b:1'],
    }
    const facts = await sets.changeMembers(change, NO_SIGNAL)
    expect(membersOf(facts)).toEqual(['a:1 disk-a:1', 'b:1 disk-b:1'])
    expect(state.locations(ID)).toHaveLength(2)
  })

  test('that cannot be written changes nothing', async () => {
    const { sim, sets } = await adopted(['a:1', 'b:1'])
    await sim.clock.advance(1000)
    const commit = sim.store.commit.bind(sim.store)
    sim.store.commit = () => Promise.reject(new StoreError('DISK_FULL', 'no room'))
    const change = { volumeId: ID, setVersion: 1, add: [], removeDirectoryIds: ['disk-a:1'] }
    await expect(sets.changeMembers(change, NO_SIGNAL)).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(membersOf(sets.facts(ID))).toHaveLength(2)
    sim.store.commit = commit
    const again = await reopened(sim)
    expect(membersOf(again.cluster.sets.facts(ID))).toHaveLength(2)
  })
})

describe('a deleted volume', () => {
  test('stays deleted: copies that turn up are strays, for ever', async () => {
    const { sim, servers, sets, places, state, dirty } = await adopted(['a:1', 'b:1'])
    const needle = { volumeId: ID, needleId: { hi: 0, lo: 1 }, kind: 'put' as const }
    await dirty.record([{ ...needle, reportedBy: 'a:1', unreached: [] }], NO_SIGNAL)
    await sets.forgetVolume(ID, NO_SIGNAL)
    expect(places.locationsOf(ID)).toBeUndefined()
    expect(state.layout(KEY)).toBeUndefined()
    expect(sets.facts(ID)).toMatchObject({ isDeleted: true, members: [], dirtyCount: 0 })
    await dirty.record([{ ...needle, reportedBy: 'a:1', unreached: [] }], NO_SIGNAL)
    expect(dirty.count).toBe(0)
    const again = await reopened(sim)
    expect([...again.cluster.sets.allFacts()]).toEqual([])
    again.apply(servers[0]?.beat(true) ?? expect.fail())
    await again.clock.advance(60_000)
    again.cluster.state.adoptPending()
    expect([...again.cluster.sets.allFacts()]).toHaveLength(1)
    expect(straysOf(again.cluster.sets.facts(ID))).toEqual(['a:1 disk-a:1'])
    expect(again.cluster.places.locationsOf(ID)).toBeUndefined()
    expect([...again.cluster.state.volumeIds]).toEqual([])
  })
})

describe('a copy', () => {
  test('is lost when its server is up without it for two heartbeats, not before', async () => {
    const { sim, servers, sets } = await adopted(['a:1', 'b:1'])
    const isLost = () => sets.facts(ID)?.members[0]?.isLost
    await sim.clock.advance(60_000)
    servers[0]?.volumes.clear()
    sim.apply(servers[0]?.beat(false) ?? expect.fail())
    expect([isLost(), sets.facts(ID)?.members[0]?.report]).toEqual([false, undefined])
    await sim.clock.advance(9999)
    expect(isLost()).toBe(false)
    await sim.clock.advance(1)
    expect(isLost()).toBe(true)
  })

  test('of a server that comes back empty is lost after two heartbeats', async () => {
    const { sim, sets } = await adopted(['a:1', 'b:1'])
    sim.markDown('a:1')
    await sim.clock.advance(60_000)
    sim.apply(new FakeVolumeServer('a:1', { directoryId: 'empty' }).beat(true))
    expect(sets.facts(ID)?.members[0]).toMatchObject({ isUp: true, isLost: false })
    await sim.clock.advance(10_000)
    expect(sets.facts(ID)?.members[0]).toMatchObject({ isUp: true, isLost: true })
  })

  test('on a server that is down is lost after the repair delay, and found again with it', async () => {
    const { sim, servers, sets } = await adopted(['a:1', 'b:1'])
    const lost = () => sets.facts(ID)?.members.map((member) => member.isLost)
    await sim.clock.advance(60_000)
    sim.markDown('a:1')
    await sim.clock.advance(899_999)
    expect(lost()).toEqual([false, false])
    await sim.clock.advance(1)
    expect(lost()).toEqual([true, false])
    sim.apply(servers[0]?.beat(true) ?? expect.fail())
    expect(lost()).toEqual([false, false])
  })

  test('on a server not heard of since the start is down since the start, and is placed', async () => {
    const { sim, servers } = await adopted(['a:1'], { replication: ONE })
    await sim.cluster.known.note(
      { ...(servers[0]?.location ?? expect.fail()), rack: 'r9' },
      NO_SIGNAL,
    )
    await sim.clock.advance(3_600_000)
    const again = await reopened(sim)
    const { sets } = again.cluster
    expect(sets.facts(ID)?.members[0]).toMatchObject({ isUp: false, isLost: false })
    expect(sets.facts(ID)?.members[0]?.location.rack).toBe('r9')
    await again.clock.advance(900_000)
    expect(sets.facts(ID)?.members[0]?.isLost).toBe(true)
  })
})

test('members of forgotten servers go where a healthy one is left, and nowhere else', async () => {
  const { sim, servers, sets, state } = await adopted(['a:1', 'b:1', 'c:1'])
  const out = (...urls: string[]) => {
    for (const url of urls) {
      sim.markDown(url)
      state.forgetNode(url)
    }
    return sets.dropMembersOf((url) => urls.includes(url), NO_SIGNAL)
  }
  expect(await out('a:1')).toBe(1)
  expect(membersOf(sets.facts(ID))).toEqual(['b:1 disk-b:1', 'c:1 disk-c:1'])
  expect(await out('b:1', 'c:1')).toBe(0)
  expect(membersOf(sets.facts(ID))).toEqual(['b:1 disk-b:1', 'c:1 disk-c:1'])
  sim.apply(servers[2]?.beat(true) ?? expect.fail())
  sim.apply(servers[0]?.beat(true) ?? expect.fail())
  expect(straysOf(sets.facts(ID))).toEqual(['a:1 disk-a:1'])
  expect(state.locations(ID).map(({ url }) => url)).toEqual(['c:1'])
  expect(copyCount(sets.facts(ID)?.replication ?? ONE)).toBe(2)
})

test('a new replication is durable, and decides where new writes go', async () => {
  const { sim, sets, state } = await adopted(['a:1', 'b:1'])
  await sets.setReplication(ID, parseReplicaPlacement('002'), NO_SIGNAL)
  expect(state.layout(KEY)).toBeUndefined()
  const layout = state.layout({ ...KEY, replication: parseReplicaPlacement('002') })
  expect([...(layout?.volumeIds ?? [])]).toEqual([ID])
  expect(layout?.writableVolumeIds()).toEqual([])
  const again = await reopened(sim)
  expect(again.cluster.sets.facts(ID)?.replication).toEqual(parseReplicaPlacement('002'))
})
