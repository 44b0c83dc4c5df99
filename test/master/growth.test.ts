import { describe, expect, test } from 'vitest'
import { needleIdToBigInt } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { MIB } from '../../src/base/units.ts'
import { Prng, seeds } from '../support/prng.ts'
import { ANY_ASSIGN, NO_SIGNAL, TestMaster } from '../support/test-master.ts'

describe('growth', () => {
  // Goal: many assigns at once make few volumes, and every lease is the caller's alone. Method: 200
  // assigns at once on an empty cluster of random size.
  test.each(seeds(20))(
    '200 assigns at once share the volumes they wait for (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      const count = prng.between(1, 6)
      await using cluster = await TestMaster.open({ seed })
      for (let index = 0; index < count; index++) await cluster.add(`s${index}:1`)
      const asking = Array.from({ length: 200 }, () =>
        cluster.master.assign({ ...ANY_ASSIGN, count: prng.between(1, 100) }, NO_SIGNAL),
      )
      const leases = await cluster.settle(Promise.all(asking))
      await cluster.beat()
      const ranges = leases
        .map(({ firstNeedleId, count }) => ({ first: needleIdToBigInt(firstNeedleId), count }))
        .sort((a, b) => (a.first < b.first ? -1 : 1))
      let end = 0n
      for (const { first, count: length } of ranges) {
        expect(first).toBeGreaterThanOrEqual(end)
        end = first + BigInt(length)
      }
      const made = cluster.servers.reduce((sum, server) => sum + server.allocateCount, 0)
      expect(made).toBe(Math.max(2, count))
    },
  )

  test('keeps one volume on each of 5 disks, and uses a server that joins later', async () => {
    await using cluster = await TestMaster.open()
    for (let index = 0; index < 5; index++) await cluster.add(`s${index}:1`)
    await cluster.assign()
    await cluster.clock.advance(100)
    expect(cluster.servers.map((server) => server.volumes.size)).toEqual([1, 1, 1, 1, 1])
    const late = await cluster.add('late:1')
    await cluster.assign()
    await cluster.clock.advance(1000)
    expect(late.volumes.size).toBe(1)
  })

  test('a second server is used although the first has volumes enough', async () => {
    await using cluster = await TestMaster.open()
    const first = await cluster.add('a:1')
    await cluster.assign()
    await cluster.clock.advance(100)
    expect(first.volumes.size).toBe(2)
    const second = await cluster.add('b:1')
    await cluster.clock.advance(200)
    await cluster.assign()
    await cluster.clock.advance(200)
    expect(second.volumes.size).toBe(1)
  })

  test('makes a successor before a volume is full, in the background', async () => {
    await using cluster = await TestMaster.open({ config: { volumeSizeMaxBytes: 100 * MIB } })
    const server = await cluster.add('a:1')
    const { volumeId } = await cluster.assign()
    await cluster.clock.advance(100)
    const before = server.volumes.size
    for (let written = 0; written < 91; written++) server.write(volumeId, MIB)
    await cluster.beat()
    await cluster.clock.advance(5000)
    expect(server.volumes.size).toBe(before + 1)
  })

  test('of a layout nobody has asked for in 10 minutes rests', async () => {
    await using cluster = await TestMaster.open({
      config: { volumeSizeMaxBytes: 100 * MIB, heartbeatMs: 600_000 },
    })
    const server = await cluster.add('a:1')
    await cluster.assign()
    await cluster.clock.advance(601_000)
    const ids = [...server.volumes.keys()]
    for (const id of ids) for (let written = 0; written < 99; written++) server.write(id, MIB)
    await cluster.beat(10_000)
    await cluster.clock.advance(10_000)
    expect([...server.volumes.keys()]).toEqual(ids)
    expect((await cluster.assign()).count).toBe(1)
    expect(server.volumes.size).toBeGreaterThan(ids.length)
  })

  test('half made leaves no volume to write to, on any server', async () => {
    await using cluster = await TestMaster.open({ config: { heartbeatMs: 600_000 } })
    const a = await cluster.add('a:1')
    const b = await cluster.add('b:1')
    const replication = parseReplicaPlacement('001')
    b.fault = 'fails'
    await expect(cluster.assign({ replication })).rejects.toMatchObject({
      code: 'NO_WRITABLE_VOLUME',
    })
    expect((await cluster.master.topology()).layouts).toEqual([])
    b.fault = 'none'
    await cluster.beat()
    await cluster.beat()
    expect([...a.volumes.keys()]).toEqual([])
    expect((await cluster.assign({ replication })).locations).toHaveLength(2)
  })

  test('lets nobody write to a volume whose making was not acknowledged, though it is reported', async () => {
    await using cluster = await TestMaster.open({ config: { heartbeatMs: 600_000 } })
    const server = await cluster.add('a:1')
    server.fault = 'does-and-hangs'
    const waiting = cluster.master.assign(ANY_ASSIGN, NO_SIGNAL).catch((error: unknown) => error)
    await cluster.clock.advance(10)
    expect(server.volumes.size).toBe(1)
    await cluster.beat(10)
    expect((await cluster.master.topology()).layouts).toEqual([])
    expect(await cluster.settle(waiting)).toMatchObject({ code: 'NO_WRITABLE_VOLUME' })
  })

  test('asks a server that fails once, and says that it failed', async () => {
    await using cluster = await TestMaster.open()
    const server = await cluster.add('a:1')
    server.fault = 'does-and-fails'
    await expect(
      cluster.settle(cluster.master.grow({ ...ANY_ASSIGN, count: 1 }, NO_SIGNAL)),
    ).rejects.toMatchObject({ code: 'UNAVAILABLE', cause: { code: 'TIMEOUT' } })
    expect(server.allocateCount).toBe(1)
  })

  test('goes on for an assign that waits, until the server is well again', async () => {
    await using cluster = await TestMaster.open()
    const server = await cluster.add('a:1')
    server.fault = 'fails'
    const waiting = cluster.master.assign(ANY_ASSIGN, NO_SIGNAL)
    await cluster.clock.advance(3000)
    server.fault = 'none'
    expect((await cluster.settle(waiting, 3000)).count).toBe(1)
  })

  test('is not waited for any longer when the only server has gone', async () => {
    await using cluster = await TestMaster.open()
    const server = await cluster.add('a:1')
    server.fault = 'fails'
    const waiting = cluster.master.assign(ANY_ASSIGN, NO_SIGNAL).catch((error: unknown) => error)
    await cluster.clock.advance(1000)
    server.leave()
    expect(await cluster.settle(waiting, 2500)).toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
  })

  test('on request makes as many as asked for, where asked for', async () => {
    await using cluster = await TestMaster.open()
    const a = await cluster.add('a:1', { dataCenter: 'x' })
    await cluster.add('b:1', { dataCenter: 'y' })
    const request = { ...ANY_ASSIGN, count: 3, dataCenter: 'x' }
    const made = await cluster.settle(cluster.master.grow(request, NO_SIGNAL))
    expect(new Set(made).size).toBe(3)
    expect([...a.volumes.keys()]).toEqual(expect.arrayContaining([...made]))
    await expect(cluster.master.grow({ ...request, count: 0 }, NO_SIGNAL)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
    await expect(
      cluster.master.grow({ ...request, replication: parseReplicaPlacement('002') }, NO_SIGNAL),
    ).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
  })

  test('never takes a volume id that a server reports, not even the next one', async () => {
    await using cluster = await TestMaster.open()
    const server = await cluster.add('a:1')
    for (const id of [1, 2, 3, 500, 4_000_000_000]) {
      server.addVolume({ volumeId: id as never, state: 'sealed' })
    }
    server.sendBeat()
    await cluster.clock.advance(0)
    const { volumeId } = await cluster.assign()
    expect(volumeId).toBe(501)
  })

  test('stops on a server where every volume fails at once', async () => {
    await using cluster = await TestMaster.open()
    const server = await cluster.add('a:1')
    for (let round = 0; round < 60; round++) {
      await cluster.assign().catch(() => undefined)
      for (const report of [...server.volumes.values()]) {
        server.addVolume({ ...report, state: 'failed' })
      }
      await cluster.beat()
    }
    expect(server.volumes.size).toBeLessThan(12)
  })
})

describe('the ring strategy', () => {
  test('sends a key to the same server again, and few keys to others when one joins', async () => {
    await using cluster = await TestMaster.open({ config: { strategy: 'ring' } })
    for (let index = 0; index < 4; index++) await cluster.add(`s${index}:1`)
    await cluster.assign()
    await cluster.clock.advance(200)
    const keys = Array.from({ length: 500 }, (_, index) => `name-${index}`)
    const ask = async () => {
      const found: string[] = []
      for (const key of keys) {
        const lease = await cluster.master.assign({ ...ANY_ASSIGN, key }, NO_SIGNAL)
        found.push(lease.locations[0]?.url ?? '')
      }
      return found
    }
    const before = await ask()
    expect(await ask()).toEqual(before)
    await cluster.add('s4:1')
    await cluster.assign()
    await cluster.clock.advance(1000)
    const after = await ask()
    const moved = after.filter((url, index) => url !== before[index])
    expect(new Set(moved)).toEqual(new Set(['s4:1']))
    expect(moved.length / keys.length).toBeLessThanOrEqual(1.3 / 5)
  })
})
