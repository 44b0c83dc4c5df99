import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import { BeatStream, FakeVolumeServer } from '../support/fake-volume-server.ts'
import { ANY_ASSIGN, NO_SIGNAL, TestMaster } from '../support/test-master.ts'

async function stateOf(cluster: TestMaster, url: string): Promise<string | undefined> {
  const { nodes } = await cluster.master.topology()
  return nodes.find((node) => node.location.url === url)?.state
}

describe('a volume server', () => {
  test('is answered leader, epoch, interval and volume size', async () => {
    await using cluster = await TestMaster.open({ config: { volumeSizeMaxBytes: '1GiB' } })
    const server = new FakeVolumeServer('a:1')
    const stream = server.join(cluster.master, NO_SIGNAL)
    await cluster.settle(cluster.master.assign(ANY_ASSIGN, NO_SIGNAL).catch(() => undefined))
    expect(stream.answers).toEqual([
      {
        isLeader: true,
        leader: 'master:9333',
        epoch: 1,
        intervalMs: 5000,
        volumeSizeMaxBytes: 2 ** 30,
        clusterId: (await cluster.master.status()).clusterId,
      },
    ])
    server.leave()
  })

  test('is down after three intervals of silence, not before; its volumes are not lost', async () => {
    await using cluster = await TestMaster.open()
    const server = await cluster.add('a:1')
    const lease = await cluster.assign()
    server.sendBeat()
    await cluster.clock.advance(0)
    await cluster.clock.advance(14_999)
    expect(await stateOf(cluster, 'a:1')).toBe('up')
    await cluster.clock.advance(1)
    expect(await stateOf(cluster, 'a:1')).toBe('down')
    expect(await cluster.master.lookup([lease.volumeId])).toEqual([
      { volumeId: lease.volumeId, collection: '', writePolicy: 'all', locations: [] },
    ])
    await expect(cluster.assign()).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
  })

  test('is down at once when its stream ends, and up again with all it has when it is back', async () => {
    await using cluster = await TestMaster.open()
    const server = await cluster.add('a:1')
    const lease = await cluster.assign()
    server.leave()
    await cluster.clock.advance(0)
    expect(await stateOf(cluster, 'a:1')).toBe('down')
    server.join(cluster.master, NO_SIGNAL)
    for (let turn = 0; turn < 5; turn++) await cluster.clock.advance(0)
    const again = await cluster.assign()
    expect(await stateOf(cluster, 'a:1')).toBe('up')
    expect(again.locations).toEqual(lease.locations)
  })

  test('that is leaving gets nothing new, but is still found', async () => {
    await using cluster = await TestMaster.open()
    const leaving = await cluster.add('a:1')
    await cluster.add('b:1')
    const { volumeId: old } = await cluster.assign({ node: 'a:1' })
    leaving.isLeaving = true
    await cluster.beat()
    for (let round = 0; round < 20; round++) {
      expect((await cluster.assign()).locations[0]?.url).toBe('b:1')
    }
    const [found] = await cluster.master.lookup([old])
    expect(found?.locations).toEqual([leaving.location])
  })

  test('that comes a second time under one name replaces the first session', async () => {
    await using cluster = await TestMaster.open()
    const first = await cluster.add('a:1')
    first.addVolume({ volumeId: volumeId(7) })
    first.sendBeat()
    await cluster.clock.advance(0)
    const second = await cluster.add('a:1')
    second.addVolume({ volumeId: volumeId(8) })
    second.sendBeat()
    await cluster.clock.advance(0)
    expect(first.isConnected).toBe(false)
    expect(cluster.master.gauges.sessions).toBe(1)
    const { nodes } = await cluster.master.topology()
    expect(nodes.map((node) => [node.state, node.volumes.map((each) => each.volumeId)])).toEqual([
      ['up', [8]],
    ])
  })

  test.each([
    ['no full heartbeat first', { isFull: false }],
    ['no name', { isFull: true, node: { ...new FakeVolumeServer('').location, url: '' } }],
  ])('with %s is refused', async (_what, change) => {
    await using cluster = await TestMaster.open()
    const stream = new BeatStream()
    stream.push({ ...new FakeVolumeServer('a:1').beat(true), ...change })
    const answers = cluster.master.heartbeat(stream, NO_SIGNAL)[Symbol.asyncIterator]()
    await expect(answers.next()).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    expect(cluster.master.gauges.sessions).toBe(0)
  })

  test('stays up while the master cannot write down that it is there', async () => {
    const store = new MemoryStore()
    await using cluster = await TestMaster.open({ store })
    store.commit = () => Promise.reject(new StoreError('DISK_FULL', 'no room'))
    const server = await cluster.add('a:1')
    expect(server.isConnected).toBe(true)
    expect(await stateOf(cluster, 'a:1')).toBe('up')
  })

  test('down for more than 7 days is forgotten, not before; the last copies count for ever', async () => {
    await using cluster = await TestMaster.open()
    const gone = await cluster.add('a:1')
    gone.addVolume({ volumeId: volumeId(7) })
    await cluster.beat(0)
    gone.leave()
    await cluster.add('b:1')
    await cluster.beat(3_600_000)
    cluster.clock.jumpWallClock(7 * 86_400_000 - 3_600_000)
    await cluster.add('b:1')
    await cluster.beat(0)
    expect(await cluster.master.lookup([volumeId(7)])).toHaveLength(1)
    cluster.clock.jumpWallClock(60_000)
    await cluster.clock.advance(3_600_000)
    await cluster.add('b:1')
    await cluster.beat(0)
    expect(await stateOf(cluster, 'a:1')).toBeUndefined()
    const [found] = await cluster.master.lookup([volumeId(7)])
    expect(found?.locations).toEqual([])
    gone.join(cluster.master, NO_SIGNAL)
    await cluster.beat(0)
    const [back] = await cluster.master.lookup([volumeId(7)])
    expect(back?.locations).toEqual([gone.location])
  })

  test('one copy of two down: the volume leaves the write set, the other copy is found', async () => {
    await using cluster = await TestMaster.open()
    const a = await cluster.add('a:1')
    await cluster.add('b:1')
    const replication = parseReplicaPlacement('001')
    const { volumeId: id } = await cluster.assign({ replication })
    a.leave()
    await cluster.clock.advance(0)
    const { layouts } = await cluster.master.topology()
    expect(layouts.flatMap((layout) => layout.writableVolumeIds)).toEqual([])
    const [found] = await cluster.master.lookup([id])
    expect(found?.locations.map(({ url }) => url)).toEqual(['b:1'])
    expect(await cluster.master.statistics()).toMatchObject({ nodeCount: 2, nodesUp: 1 })
    expect((await cluster.master.statistics()).volumesAtRisk).toBeGreaterThan(0)
  })
})

describe('a warm-up', () => {
  test('on an empty cluster ends with the first server; an assign waits 3 s for it', async () => {
    await using cluster = await TestMaster.open()
    const early = cluster.assign().catch((error: unknown) => error)
    expect(await early).toMatchObject({ code: 'WARMING_UP' })
    const waiting = cluster.master.assign(ANY_ASSIGN, NO_SIGNAL)
    await cluster.add('a:1')
    expect((await cluster.settle(waiting)).count).toBe(1)
  })

  // 90 % of 10 servers are 9; of 3 all 3, since 2 are too few.
  test.each([
    [10, 9],
    [3, 3],
    [1, 1],
  ])('after a restart of %d servers ends when %d are back', async (count, needed) => {
    const servers = Array.from({ length: count }, (_, index) => new FakeVolumeServer(`s${index}`))
    const before = await TestMaster.open({ servers })
    const { store, clock } = before
    for (const server of servers) server.join(before.master, NO_SIGNAL)
    for (let turn = 0; turn < 20; turn++) await clock.advance(0)
    await before[Symbol.asyncDispose]()

    await using after = await TestMaster.open({ servers, store, clock })
    for (const server of servers.slice(0, needed - 1)) server.join(after.master, NO_SIGNAL)
    for (let turn = 0; turn < 20; turn++) await clock.advance(0)
    expect((await after.master.status()).isWarming).toBe(true)
    await expect(after.master.grow({ ...ANY_ASSIGN, count: 1 }, NO_SIGNAL)).rejects.toMatchObject({
      code: 'WARMING_UP',
    })
    servers[needed - 1]?.join(after.master, NO_SIGNAL)
    for (let turn = 0; turn < 20; turn++) await clock.advance(0)
    expect((await after.master.status()).isWarming).toBe(false)
  })

  test('ends after 30 s whoever is missing; a server not heard of for 7 days is not waited for', async () => {
    const servers = [new FakeVolumeServer('a:1')]
    const before = await TestMaster.open({ servers })
    const { store, clock } = before
    servers[0]?.join(before.master, NO_SIGNAL)
    for (let turn = 0; turn < 5; turn++) await clock.advance(0)
    await before[Symbol.asyncDispose]()

    const second = await TestMaster.open({ servers, store, clock })
    await clock.advance(29_999)
    expect((await second.master.status()).isWarming).toBe(true)
    await clock.advance(1)
    expect((await second.master.status()).isWarming).toBe(false)
    await second[Symbol.asyncDispose]()

    clock.jumpWallClock(8 * 86_400_000)
    await using third = await TestMaster.open({ servers, store, clock })
    await third.add('b:1')
    expect((await third.master.status()).isWarming).toBe(false)
  })
})
