import { describe, expect, test } from 'vitest'
import { needleIdToBigInt, type VolumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { GIB, MIB } from '../../src/base/units.ts'
import { TestMaster } from '../support/test-master.ts'

describe('an assign', () => {
  test('makes a volume when there is none, and names its servers', async () => {
    await using cluster = await TestMaster.open()
    const server = await cluster.add('a:1')
    const lease = await cluster.assign({ count: 10 })
    expect(lease.locations).toEqual([server.location])
    expect(lease.count).toBe(10)
    expect(lease.writeToken).toBe('')
    expect(server.volumes.has(lease.volumeId)).toBe(true)
    const again = await cluster.assign()
    expect(needleIdToBigInt(again.firstNeedleId)).toBe(needleIdToBigInt(lease.firstNeedleId) + 10n)
  })

  test('with replication 001 waits for both copies, on two servers', async () => {
    await using cluster = await TestMaster.open()
    await cluster.add('a:1')
    await cluster.add('b:1')
    const lease = await cluster.assign({ replication: parseReplicaPlacement('001') })
    expect(lease.locations.map(({ url }) => url).sort()).toEqual(['a:1', 'b:1'])
  })

  test('says which label is missing', async () => {
    await using cluster = await TestMaster.open()
    await cluster.add('a:1')
    const impossible = cluster.assign({ replication: parseReplicaPlacement('100') })
    await expect(impossible).rejects.toMatchObject({
      code: 'PLACEMENT_IMPOSSIBLE',
      message: expect.stringContaining('2 data centres are needed'),
    })
  })

  test('honours filters and exclusions', async () => {
    await using cluster = await TestMaster.open()
    await cluster.add('a:1', { dataCenter: 'east', rack: 'e1' })
    await cluster.add('b:1', { dataCenter: 'west', rack: 'w1' })
    for (let round = 0; round < 10; round++) {
      expect((await cluster.assign({ dataCenter: 'west' })).locations[0]?.url).toBe('b:1')
      expect((await cluster.assign({ rack: 'e1' })).locations[0]?.url).toBe('a:1')
      expect((await cluster.assign({ node: 'a:1' })).locations[0]?.url).toBe('a:1')
    }
    const { volumeId } = await cluster.assign({ node: 'a:1' })
    const other = await cluster.assign({ node: 'a:1', excludedVolumeIds: [volumeId] })
    expect(other.volumeId).not.toBe(volumeId)
    await expect(cluster.assign({ rack: 'nowhere' })).rejects.toMatchObject({
      code: 'NODE_NOT_FOUND',
    })
  })

  test('leaves a volume before it is full, and has the next one ready', async () => {
    await using cluster = await TestMaster.open({ config: { volumeSizeMaxBytes: 64 * MIB } })
    const server = await cluster.add('a:1')
    const filled = new Map<number, number>()
    for (let round = 0; round < 300; round++) {
      const { volumeId } = await cluster.assign({ dataBytes: MIB })
      expect(server.write(volumeId, MIB)).toBe(true)
      filled.set(volumeId, (filled.get(volumeId) ?? 0) + MIB)
      if (round % 10 === 9) await cluster.beat()
    }
    for (const bytes of filled.values()) expect(bytes).toBeLessThanOrEqual(64 * MIB)
    expect(filled.size).toBeLessThan(12)
  })

  test('does not overrun a volume between two heartbeats', async () => {
    await using cluster = await TestMaster.open({ config: { volumeSizeMaxBytes: GIB } })
    await cluster.add('a:1')
    const given = new Map<number, number>()
    for (let round = 0; round < 100; round++) {
      const { volumeId } = await cluster.assign({ count: 100, dataBytes: MIB })
      given.set(volumeId, (given.get(volumeId) ?? 0) + 100 * MIB)
    }
    for (const bytes of given.values()) expect(bytes).toBeLessThanOrEqual(GIB)
  })

  test('that excludes or announces too much makes no more than writableMax volumes', async () => {
    await using cluster = await TestMaster.open({ config: { growth: { writableMax: 6 } } })
    const server = await cluster.add('a:1')
    const excludedVolumeIds: VolumeId[] = []
    for (let round = 0; round < 5; round++) {
      excludedVolumeIds.push((await cluster.assign({ excludedVolumeIds })).volumeId)
    }
    for (let round = 0; round < 100; round++) {
      await cluster.assign({ count: 10_000, dataBytes: GIB })
      await cluster.assign({ excludedVolumeIds })
    }
    excludedVolumeIds.push(...server.volumes.keys())
    await expect(cluster.assign({ excludedVolumeIds })).rejects.toMatchObject({
      code: 'NO_WRITABLE_VOLUME',
    })
    expect(server.volumes.size).toBe(6)
  })

  test('is refused for 0 and for 10001 ids', async () => {
    await using cluster = await TestMaster.open()
    await cluster.add('a:1')
    await expect(cluster.assign({ count: 0 })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    await expect(cluster.assign({ count: 10_001 })).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
    expect((await cluster.assign({ count: 10_000 })).count).toBe(10_000)
  })

  test('waits out a server that fails to make a volume, and uses another', async () => {
    await using cluster = await TestMaster.open()
    const a = await cluster.add('a:1')
    await cluster.add('b:1')
    a.fault = 'fails'
    for (let round = 0; round < 5; round++) {
      expect((await cluster.assign()).locations[0]?.url).toBe('b:1')
    }
  })

  test('waits out a server that hangs, and leaves nothing of its volume behind', async () => {
    await using cluster = await TestMaster.open({ config: { heartbeatMs: 600_000 } })
    const a = await cluster.add('a:1')
    const b = await cluster.add('b:1')
    a.fault = 'does-and-fails'
    for (let round = 0; round < 5; round++) {
      expect((await cluster.assign()).locations[0]?.url).toBe('b:1')
    }
    a.fault = 'none'
    await cluster.beat(10_000)
    await cluster.beat(10_000)
    expect(cluster.master.gauges.growthRemains).toBe(0)
    const made = new Set([...a.volumes.keys(), ...b.volumes.keys()])
    const { layouts } = await cluster.master.topology()
    expect(new Set(layouts.flatMap((layout) => layout.writableVolumeIds))).toEqual(made)
  })

  test('gives up with NO_WRITABLE_VOLUME when no server makes a volume in time', async () => {
    await using cluster = await TestMaster.open({ config: { heartbeatMs: 600_000 } })
    const server = await cluster.add('a:1')
    server.fault = 'hangs'
    await expect(cluster.assign()).rejects.toMatchObject({ code: 'NO_WRITABLE_VOLUME' })
    server.fault = 'none'
    expect((await cluster.assign()).count).toBe(1)
  })
})
