import { describe, expect, test } from 'vitest'
import { formatReplicaPlacement, parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { NO_SIGNAL, TestMaster } from '../support/test-master.ts'

describe('a collection', () => {
  test('keeps the replication it was first asked for, also after a restart', async () => {
    const before = await TestMaster.open()
    const { store, clock, servers } = before
    await before.add('a:1')
    await before.add('b:1')
    const replication = parseReplicaPlacement('001')
    expect((await before.assign({ collection: 'twice', replication })).locations).toHaveLength(2)
    expect((await before.assign({ collection: 'once' })).locations).toHaveLength(1)
    await before[Symbol.asyncDispose]()

    await using after = await TestMaster.open({ store, clock, servers })
    for (const server of servers) server.join(after.master, NO_SIGNAL)
    expect((await after.assign({ collection: 'twice' })).locations).toHaveLength(2)
    expect((await after.assign({ collection: 'once' })).locations).toHaveLength(1)
  })

  test('counts each needle once, and the bytes of every copy', async () => {
    await using cluster = await TestMaster.open()
    const a = await cluster.add('a:1')
    const b = await cluster.add('b:1')
    const replication = parseReplicaPlacement('001')
    const { volumeId } = await cluster.assign({ collection: 'photos', replication })
    for (const server of [a, b]) server.write(volumeId, 1000)
    await cluster.beat()
    const reports = await cluster.master.collections()
    const photos = reports.find(({ collection }) => collection === 'photos')
    expect(photos).toMatchObject({ liveNeedles: 1, liveBytes: 1000 })
    expect(photos?.datBytes).toBeGreaterThanOrEqual(2000)
  })

  test('is deleted on every server, and nothing else is', async () => {
    await using cluster = await TestMaster.open()
    const a = await cluster.add('a:1')
    const b = await cluster.add('b:1')
    const { volumeId: kept } = await cluster.assign({ collection: 'kept' })
    const replication = parseReplicaPlacement('001')
    await cluster.assign({ collection: 'gone', replication })
    await cluster.settle(cluster.master.deleteCollection('gone', NO_SIGNAL))
    await cluster.beat()
    const left = [...a.volumes.values(), ...b.volumes.values()]
    expect(left.filter(({ collection }) => collection === 'gone')).toEqual([])
    expect(left.map((report) => report.volumeId)).toContain(kept)
    expect((await cluster.master.collections()).map(({ collection }) => collection)).toEqual([
      'kept',
    ])
    await expect(cluster.master.deleteCollection('gone', NO_SIGNAL)).rejects.toMatchObject({
      code: 'COLLECTION_NOT_FOUND',
    })
    const again = await cluster.assign({ collection: 'gone' })
    expect(again.locations).toHaveLength(1)
  })

  test('with a server down is not touched: UNAVAILABLE, and nothing is forgotten', async () => {
    await using cluster = await TestMaster.open()
    const a = await cluster.add('a:1')
    const b = await cluster.add('b:1')
    await cluster.assign({ collection: 'some', node: 'a:1' })
    await cluster.assign({ collection: 'some', node: 'b:1' })
    await cluster.clock.advance(1000)
    const count = a.volumes.size
    b.leave()
    await cluster.clock.advance(0)
    await expect(cluster.master.deleteCollection('some', NO_SIGNAL)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
    expect(a.volumes.size).toBe(count)
    b.join(cluster.master, NO_SIGNAL)
    for (let turn = 0; turn < 5; turn++) await cluster.clock.advance(0)
    b.fault = 'fails'
    await expect(cluster.master.deleteCollection('some', NO_SIGNAL)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
    expect(await cluster.master.collections()).toHaveLength(1)
    b.fault = 'none'
    await cluster.settle(cluster.master.deleteCollection('some', NO_SIGNAL))
    expect(a.volumes.size + b.volumes.size).toBe(0)
    expect(await cluster.master.collections()).toEqual([])
  })

  test('is not believed deleted while a server has not been heard of since the start', async () => {
    const before = await TestMaster.open()
    const { store, clock, servers } = before
    await before.add('a:1')
    await before.add('b:1')
    await before.assign({ collection: 'some', node: 'b:1' })
    await before[Symbol.asyncDispose]()

    await using after = await TestMaster.open({ store, clock, servers })
    servers[0]?.join(after.master, NO_SIGNAL)
    await after.clock.advance(31_000)
    await expect(after.master.deleteCollection('some', NO_SIGNAL)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
  })

  test('deleted half-way is gone for readers, known by name, and deleted by the next try', async () => {
    const before = await TestMaster.open({ config: { defaultReplication: '001' } })
    const { store, clock, servers } = before
    const a = await before.add('a:1')
    const b = await before.add('b:1')
    const { volumeId } = await before.assign({ collection: 'half' })
    b.fault = 'fails'
    await expect(
      before.settle(before.master.deleteCollection('half', NO_SIGNAL)),
    ).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(await before.master.lookup([volumeId])).toEqual([])
    expect((await before.master.collections()).map((report) => report.volumeCount)).toEqual([0])
    await before[Symbol.asyncDispose]()

    b.fault = 'none'
    await using after = await TestMaster.open({ store, clock, servers })
    for (const server of servers) server.join(after.master, NO_SIGNAL)
    for (let round = 0; round < 4; round++) await after.beat()
    expect(await after.master.lookup([volumeId])).toEqual([])
    expect(b.volumes.size).toBeGreaterThan(0)
    await after.settle(after.master.deleteCollection('half', NO_SIGNAL))
    expect([a.volumes.size, b.volumes.size]).toEqual([0, 0])
    expect(await after.master.collections()).toEqual([])
  })

  test.each(['Big', 'a b', '../x', 'x'.repeat(64)])('cannot be named %s', async (collection) => {
    await using cluster = await TestMaster.open()
    await cluster.add('a:1')
    await expect(cluster.assign({ collection })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    expect(await cluster.master.collections()).toEqual([])
  })

  test('layouts carry their replication', async () => {
    await using cluster = await TestMaster.open({ config: { defaultReplication: '001' } })
    await cluster.add('a:1')
    await cluster.add('b:1')
    await cluster.assign({ collection: 'c' })
    const { layouts } = await cluster.master.topology()
    expect(layouts.map((layout) => formatReplicaPlacement(layout.replication))).toEqual(['001'])
  })
})
