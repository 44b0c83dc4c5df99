import { describe, expect, test } from 'vitest'
import { needleIdFromNumber, type VolumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { LocationsUpdate } from '../../src/net/master-api.ts'
import type { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { NO_SIGNAL, TestMaster, type TestMasterOptions } from '../support/test-master.ts'

const TWO = parseReplicaPlacement('001')
const EFFORT = { collection: 'effort', replication: TWO, writePolicy: 'best-effort' as const }

async function withServers(count: number, options: TestMasterOptions = {}) {
  const cluster = await TestMaster.open({ config: { defaultReplication: '001' }, ...options })
  for (let index = 0; index < count; index++) await cluster.add(`s${index}:1`)
  return cluster
}

function dirty(volumeId: VolumeId, unreached: readonly string[] = [], reportedBy = 's0:1') {
  const needleId = needleIdFromNumber(1)
  return [{ volumeId, needleId, kind: 'put' as const, reportedBy, unreached }]
}

async function settleBeats(cluster: TestMaster): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await cluster.clock.advance(200)
}

describe('a volume with needles that may differ', () => {
  test('is given to nobody, and a new one is made; it is found as before', async () => {
    await using cluster = await withServers(2)
    const { volumeId } = await cluster.assign()
    await settleBeats(cluster)
    const { layouts } = await cluster.master.topology()
    const ids = layouts.flatMap((layout) => layout.volumeIds)
    for (const id of ids) await cluster.master.recordDirty(dirty(id), NO_SIGNAL)
    const lease = await cluster.assign()
    expect(ids).not.toContain(lease.volumeId)
    expect(lease.locations).toHaveLength(2)
    const [found] = await cluster.master.lookup([volumeId])
    expect(found?.locations).toHaveLength(2)
    const after = (await cluster.master.topology()).layouts.flatMap(
      (each) => each.writableVolumeIds,
    )
    expect(after.filter((id) => ids.includes(id))).toEqual([])
  })

  test('is so after a restart of the master', async () => {
    const store = new MemoryStore()
    const before = await withServers(2, { store })
    await before.assign()
    await settleBeats(before)
    const { layouts } = await before.master.topology()
    const ids = layouts.flatMap((layout) => layout.volumeIds)
    for (const id of ids) await before.master.recordDirty(dirty(id), NO_SIGNAL)
    const { servers, clock } = before
    await before[Symbol.asyncDispose]()
    const config = { defaultReplication: '001' }
    await using after = await TestMaster.open({ store, servers, clock, config })
    for (const server of servers) server.join(after.master, NO_SIGNAL)
    expect(ids).not.toContain((await after.assign()).volumeId)
  })

  test('is no reason to make volumes without end', async () => {
    const config = { defaultReplication: '001', growth: { writableMax: 5 } }
    await using cluster = await withServers(2, { config })
    let failure: unknown
    for (let round = 0; round < 20; round++) {
      try {
        const { volumeId } = await cluster.assign()
        await cluster.master.recordDirty(dirty(volumeId), NO_SIGNAL)
      } catch (error) {
        failure = error
      }
    }
    expect(failure).toMatchObject({ code: 'NO_WRITABLE_VOLUME' })
    const made = cluster.servers[0] as FakeVolumeServer
    expect(made.volumes.size).toBeLessThanOrEqual(6)
  })
})

describe('two servers that cannot reach each other', () => {
  test('get no volume together, and are given no writes to those they have', async () => {
    await using cluster = await withServers(3)
    await cluster.assign()
    await settleBeats(cluster)
    await cluster.master.recordDirty(dirty(4_000_000_000 as VolumeId, ['s1:1'], 's0:1'), NO_SIGNAL)
    for (let round = 0; round < 20; round++) {
      const { locations } = await cluster.assign()
      const urls = locations.map(({ url }) => url)
      expect(urls.includes('s0:1') && urls.includes('s1:1')).toBe(false)
      await cluster.clock.advance(100)
    }
  })

  test('are used where there are no others, and no more volumes are made on them', async () => {
    await using cluster = await withServers(2)
    await cluster.assign()
    await settleBeats(cluster)
    const count = cluster.servers[0]?.volumes.size
    await cluster.master.recordDirty(dirty(4_000_000_000 as VolumeId, ['s1:1']), NO_SIGNAL)
    expect((await cluster.assign()).locations).toHaveLength(2)
    await settleBeats(cluster)
    expect(cluster.servers[0]?.volumes.size).toBe(count)
  })
})

describe('a server that comes and goes', () => {
  test('is given no new volumes, and no writes while others take them', async () => {
    await using cluster = await withServers(3)
    const flapping = cluster.servers[0] as FakeVolumeServer
    await cluster.assign()
    await settleBeats(cluster)
    for (let round = 0; round < 3; round++) {
      flapping.leave()
      await cluster.clock.advance(10)
      flapping.join(cluster.master, NO_SIGNAL)
      await cluster.clock.advance(10)
    }
    const count = flapping.volumes.size
    const { nodes } = await cluster.master.topology()
    expect(nodes.map(({ isFlapping }) => isFlapping)).toEqual([true, false, false])
    for (let round = 0; round < 20; round++) {
      const { locations } = await cluster.assign()
      expect(locations.map(({ url }) => url)).not.toContain('s0:1')
      await cluster.beat(500)
    }
    expect(flapping.volumes.size).toBe(count)
    for (let round = 0; round < 70; round++) await cluster.beat()
    expect((await cluster.master.topology()).nodes[0]?.isFlapping).toBe(false)
  })

  test('is used where it is the only one', async () => {
    await using cluster = await withServers(1, { config: {} })
    const only = cluster.servers[0] as FakeVolumeServer
    await cluster.assign()
    await settleBeats(cluster)
    const count = only.volumes.size
    for (let round = 0; round < 3; round++) {
      only.leave()
      await cluster.clock.advance(10)
      only.join(cluster.master, NO_SIGNAL)
      await cluster.clock.advance(10)
    }
    expect((await cluster.assign()).locations).toHaveLength(1)
    await settleBeats(cluster)
    expect(only.volumes.size).toBe(count)
    expect((await cluster.assign({ collection: 'fresh' })).locations).toHaveLength(1)
  })
})

describe('a best-effort collection', () => {
  test('is written to with one of two servers, as watchers are told; others are not', async () => {
    await using cluster = await withServers(2)
    await cluster.master.configureCollection(EFFORT, NO_SIGNAL)
    const { volumeId } = await cluster.assign({ collection: 'effort' })
    await cluster.assign()
    await settleBeats(cluster)
    cluster.servers[0]?.leave()
    await cluster.clock.advance(0)
    const lease = await cluster.assign({ collection: 'effort' })
    expect(lease.locations.map(({ url }) => url)).toEqual(['s1:1'])
    await expect(cluster.assign()).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
    // What was written to one copy is recorded, and more can be written.
    await cluster.master.recordDirty(dirty(volumeId, [], 's1:1'), NO_SIGNAL)
    expect((await cluster.assign({ collection: 'effort' })).locations).toHaveLength(1)
    const [found] = await cluster.master.lookup([volumeId])
    expect(found).toMatchObject({ writePolicy: 'best-effort', collection: 'effort' })
  })

  test('has its complete volumes used as long as there are any', async () => {
    await using cluster = await withServers(3)
    await cluster.master.configureCollection(EFFORT, NO_SIGNAL)
    await cluster.assign({ collection: 'effort' })
    await settleBeats(cluster)
    cluster.servers[0]?.leave()
    await cluster.clock.advance(0)
    for (let round = 0; round < 20; round++) {
      expect((await cluster.assign({ collection: 'effort' })).locations).toHaveLength(2)
    }
  })

  test('keeps what it was told through a restart, and tells watchers of a change', async () => {
    const store = new MemoryStore()
    const before = await withServers(2, { store })
    const { volumeId } = await before.assign({ collection: 'effort' })
    const updates: LocationsUpdate[] = []
    const watching = new AbortController()
    const watched = collect(before.master.watch(watching.signal), updates)
    await before.clock.advance(0)
    await before.master.configureCollection(
      { collection: 'effort', replication: undefined, writePolicy: 'best-effort' },
      NO_SIGNAL,
    )
    await before.master.configureCollection(
      { collection: 'effort', replication: TWO, writePolicy: undefined },
      NO_SIGNAL,
    )
    await before.clock.advance(0)
    const last = updates.at(-1)?.volumes.find((each) => each.volumeId === volumeId)
    expect(last?.writePolicy).toBe('best-effort')
    watching.abort()
    await watched
    await before[Symbol.asyncDispose]()
    const { clock, servers } = before
    await using after = await TestMaster.open({ store, servers, clock })
    const [report] = await after.master.collections()
    expect(report).toMatchObject({ replication: TWO, writePolicy: 'best-effort' })
    await expect(
      after.master.configureCollection({ ...EFFORT, collection: 'No Name' }, NO_SIGNAL),
    ).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('may be the default one', async () => {
    await using cluster = await withServers(2)
    const settings = { collection: '', replication: undefined, writePolicy: 'best-effort' as const }
    await cluster.master.configureCollection(settings, NO_SIGNAL)
    await cluster.assign()
    await settleBeats(cluster)
    cluster.servers[0]?.leave()
    await cluster.clock.advance(0)
    expect((await cluster.assign()).locations).toHaveLength(1)
  })
})

describe('a volume that failed to come to be', () => {
  test('is deleted, also for the next master, whatever is left of it', async () => {
    const before = await withServers(2)
    const { servers, clock, store } = before
    for (const server of servers) server.fault = 'does-and-hangs'
    const asking = before.assign().catch((error: unknown) => error)
    await clock.advance(100)
    for (const server of servers) server.fault = 'fails'
    expect(await asking).toMatchObject({ code: 'NO_WRITABLE_VOLUME' })
    expect(servers.map((server) => server.volumes.size)).toEqual([1, 1])
    await before[Symbol.asyncDispose]()
    await using after = await TestMaster.open({ store, servers, clock })
    for (const server of servers) server.join(after.master, NO_SIGNAL)
    await settleBeats(after)
    for (let round = 0; round < 4; round++) await after.beat()
    expect((await after.master.topology()).layouts).toEqual([])
    const [id] = servers[0]?.volumes.keys() ?? []
    expect(await after.master.lookup(id === undefined ? [] : [id])).toEqual([])
  })

  test('because its row could not be written is assigned to nobody, and removed', async () => {
    const store = new MemoryStore()
    await using cluster = await withServers(2, { store })
    const commit = store.commit.bind(store)
    store.commit = async (batch, signal) => {
      const isVolume = batch.puts?.some(({ key }) => key.startsWith('master/volumes/'))
      if (isVolume === true) throw new StoreError('DISK_FULL', 'no room')
      await commit(batch, signal)
    }
    await expect(cluster.assign()).rejects.toMatchObject({ code: 'DISK_FULL' })
    await cluster.beat()
    await cluster.beat()
    expect((await cluster.master.topology()).layouts).toEqual([])
    expect(cluster.servers.map((server) => server.volumes.size)).toEqual([0, 0])
    store.commit = commit
    expect((await cluster.assign()).locations).toHaveLength(2)
  })
})

async function collect(
  updates: AsyncIterable<LocationsUpdate>,
  into: LocationsUpdate[],
): Promise<void> {
  try {
    for await (const update of updates) into.push(update)
  } catch (error) {
    expect(error).toMatchObject({ code: 'CANCELLED' })
  }
}
