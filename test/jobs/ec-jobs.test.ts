import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { JobKind } from '../../src/net/jobs-api.ts'
import { Bench, DONE, failedWith, NEEDLES } from './ec-bench.ts'
import type { RunOptions } from './model-run.ts'
import { viewOf } from './model-session.ts'
import { ModelShardSet } from './model-shards.ts'

describe('ec-encode', () => {
  test('puts one shard on each of four servers, and no copy is left', async () => {
    const bench = new Bench()
    expect(await bench.encode()).toMatchObject({ ...DONE, summary: 'erasure-coded as 2+2' })
    const urls = bench.volume.stripe?.shards.map(({ url }) => url)
    expect([new Set(urls).size, bench.fault]).toEqual([4, undefined])
  })

  test.each<[string, string, (bench: Bench) => void]>([
    ['UNAVAILABLE', 'a copy is away', (bench) => bench.down('b', false)],
    ['VOLUME_DAMAGED', 'a copy is lost', (bench) => bench.down('b', true)],
    [
      'VOLUME_DAMAGED',
      'a copy is bad',
      (bench) => {
        bench.copy('b').state = 'damaged'
      },
    ],
    ['VOLUME_DAMAGED', 'copies differ', (bench) => bench.copy('b').delete(1, 1n)],
    [
      'VOLUME_BUSY',
      'a needle is dirty',
      (bench) => bench.cluster.recordDirty(bench.volume, 1, 'check'),
    ],
    [
      'NO_WRITABLE_VOLUME',
      'no server has room for shards',
      (bench) => {
        for (const { location } of bench.cluster.nodes.values()) {
          bench.cluster.node(location.url).isFull = location.url !== 'a'
        }
      },
    ],
  ])('fails with %s when %s, and changes nothing that counts', async (code, _when, spoil) => {
    const bench = new Bench()
    spoil(bench)
    const prepare: RunOptions['prepare'] = (session) => {
      // The disk of the encoder fills up once it has made the shards.
      session.afterCall = (name) => {
        if (name !== 'encodeVolume' || code !== 'NO_WRITABLE_VOLUME') return
        const node = bench.cluster.node('a')
        node.isFull = node.setsOf(bench.volume.volumeId).length > 0
      }
    }
    expect(await bench.encode({ prepare })).toMatchObject(failedWith(code))
    expect([bench.volume.setVersion, bench.volume.members.length]).toEqual([1, 2])
  })

  test('makes nothing count of which a shard is bad when it is read back', async () => {
    const bench = new Bench()
    const onPhase = (phase: string) => {
      if (phase !== 'spread') return
      const [stray] = bench.cluster.strayShards(bench.volume)
      const shard = stray?.shards[0] ?? 0
      for (const url of 'abcdef') {
        for (const set of bench.cluster.node(url).setsOf(bench.volume.volumeId)) {
          if (set.shards.has(shard)) set.flipped.add(shard)
        }
      }
    }
    expect(await bench.encode({ onPhase })).toMatchObject(failedWith('SHARD_CORRUPT'))
    expect(bench.volume.setVersion).toBe(1)
  })

  test('does not code a volume with a time to live', async () => {
    const bench = new Bench('001', 'ab', '3m')
    expect(await bench.encode()).toMatchObject(failedWith('REQUEST_INVALID'))
    expect(bench.copy('a').state).toBe('writable')
  })

  test('takes other servers for shards that a full one refuses', async () => {
    const bench = new Bench()
    let isFilled = false
    const prepare: RunOptions['prepare'] = (session) => {
      session.afterCall = (name) => {
        if (name !== 'chooseShards' || isFilled) return
        isFilled = true
        for (const url of 'cd') bench.cluster.node(url).isFull = true
      }
    }
    expect(await bench.encode({ prepare })).toMatchObject(DONE)
    expect(bench.fault).toBeUndefined()
    expect(bench.shards).not.toMatch(/[cd]/)
  })

  test('codes anew what was healed while shards were made', async () => {
    const bench = new Bench()
    let healedAt = 0
    const onPhase = (phase: string) => {
      if (phase !== 'spread' || healedAt++ > 0) return
      for (const url of 'ab') bench.copy(url).put(1, 99, 5, bench.cluster.clock.stampNs())
    }
    expect(await bench.encode({ onPhase })).toMatchObject(DONE)
    expect(healedAt).toBe(2)
    expect(bench.cluster.liveShards(bench.volume)[0]?.set.image.needles.get(1)?.content).toBe(99)
    expect(bench.fault).toBeUndefined()
  })

  test('keeps the copies when a shard is lost as soon as it counts, until it is back', async () => {
    const bench = new Bench()
    const { volumeId } = bench.volume
    const onPhase = (phase: string) => {
      if (phase !== 'switched') return
      const [first] = bench.volume.stripe?.shards ?? []
      bench.cluster.node(first?.url ?? '').sets.delete(volumeId)
    }
    expect(await bench.encode({ onPhase })).toMatchObject(failedWith('UNAVAILABLE'))
    expect(['a', 'b'].every((url) => bench.cluster.node(url).copies.has(volumeId))).toBe(true)
  })

  test('asks what counts when the answer to the switch is lost', async () => {
    const bench = new Bench()
    const prepare: RunOptions['prepare'] = (session) => {
      session.afterCall = (name) => {
        if (name === 'changeStripe') throw new StoreError('TIMEOUT', 'nobody knows')
      }
    }
    expect(await bench.encode({ prepare })).toMatchObject(DONE)
    expect(bench.fault).toBeUndefined()
  })
})

describe('ec-repair', () => {
  test('makes two lost shards anew in one go, from k of the others', async () => {
    const bench = Bench.coded()
    for (const url of 'cd') bench.down(url, true)
    expect(await bench.run('ec-repair')).toMatchObject({ ...DONE, summary: '2 shards rebuilt' })
    expect([bench.shards.split(' ').length, bench.fault]).toEqual([4, undefined])
  })

  test('takes back what a server brings again, instead of making it anew', async () => {
    const bench = Bench.coded()
    const { volume, cluster } = bench
    const other = bench.set('d')
    cluster.node('d').sets.delete(volume.volumeId)
    cluster.node('e').sets.set(volume.volumeId, [other])
    expect(await bench.run('ec-repair')).toMatchObject({ ...DONE, summary: '1 shards taken back' })
    expect(bench.shards).toBe('a0 b1 c2 e3')
  })

  test('does not take back what has rotted meanwhile', async () => {
    const bench = Bench.coded()
    const { volume, cluster } = bench
    const other = bench.set('d')
    other.flipped.add(3)
    cluster.node('d').sets.delete(volume.volumeId)
    cluster.node('e').sets.set(volume.volumeId, [other])
    expect(await bench.run('ec-repair')).toMatchObject(DONE)
    expect([bench.shards.split(' ').length, bench.fault]).toEqual([4, undefined])
  })

  test.each([
    ['SHARDS_LOST', true],
    ['UNAVAILABLE', false],
  ])('says %s when more shards than parity are gone for good: %s', async (code, isLost) => {
    const bench = Bench.coded()
    bench.down('b', true)
    for (const url of 'cd') bench.down(url, isLost)
    expect(await bench.run('ec-repair')).toMatchObject(failedWith(code))
  })

  test('waits for a server that may come back, and keeps the dirty records', async () => {
    const bench = Bench.coded()
    bench.down('d', false)
    bench.delete(1, 'abc')
    bench.cluster.recordDirty(bench.volume, 1, 'delete')
    expect(await bench.run('ec-repair')).toMatchObject({ ...DONE, summary: 'waits for d' })
    expect(bench.volume.dirty.size).toBe(1)
    bench.cluster.node('d').isUp = true
    expect(await bench.run('ec-repair')).toMatchObject(DONE)
    expect([bench.set('d').journal.has(1), bench.fault]).toEqual([true, undefined])
  })

  test('does a delete everywhere of which only the master still knows', async () => {
    const bench = Bench.coded()
    bench.cluster.recordDirty(bench.volume, 3, 'delete')
    expect(await bench.run('ec-repair')).toMatchObject(DONE)
    expect([...'abcd'].map((url) => bench.set(url).journal.has(3))).not.toContain(false)
    expect(bench.fault).toBeUndefined()
  })

  test('removes nothing while a server is away', async () => {
    const bench = Bench.coded()
    bench.cluster.makeCopy(bench.volume, 'e', 'e/0')
    bench.down('d', false)
    expect(await bench.run('ec-repair')).toMatchObject(DONE)
    expect(bench.cluster.node('e').copies.size).toBe(1)
  })

  test('replaces shards whose server takes no deletes any more', async () => {
    const bench = Bench.coded()
    bench.delete(1, 'abc')
    bench.set('d').isFailed = true
    expect(await bench.run('ec-repair')).toMatchObject(DONE)
    expect(bench.shards).toMatch(/^a0 b1 c2 [ef]3$/)
    expect(bench.fault).toBeUndefined()
  })

  test('reads all shards for a needle that was bad somewhere, and heals the block', async () => {
    const bench = Bench.coded()
    bench.set('c').flipped.add(2)
    bench.cluster.recordDirty(bench.volume, 1, 'check')
    const result = await bench.run('ec-repair')
    expect(result).toMatchObject({ ...DONE, summary: '1 blocks healed, 1 dirty needles resolved' })
    expect(bench.fault).toBeUndefined()
  })

  test.each([
    ['after it was coded', 1_000, true],
    ['long before', -3_600_000, false],
  ])('a copy that turns up knows of a delete %s', async (_when, ms, isBelieved) => {
    const bench = Bench.coded()
    const { cluster, volume } = bench
    const codedAtNs = BigInt(volume.stripe?.runId ?? 0)
    const copy = cluster.makeCopy(volume, 'e', 'e/0')
    copy.put(1, 11, 5, 1n)
    copy.delete(1, codedAtNs + BigInt(ms) * 1_000_000n)
    expect(await bench.run('ec-repair')).toMatchObject(DONE)
    expect([bench.set('a').journal.has(1), bench.fault]).toEqual([isBelieved, undefined])
  })

  test.each<JobKind>(['ec-encode', 'ec-vacuum', 'ec-decode'])(
    'leaves alone what does not count while %s of the volume is queued',
    async (kind) => {
      const bench = Bench.coded()
      const { cluster, volume } = bench
      cluster.makeCopy(volume, 'e', 'e/0')
      const job = viewOf(99, { kind, target: { volumeId: volume.volumeId }, reason: '' })
      cluster.jobs.set(99, job)
      await bench.run('ec-repair')
      expect(cluster.node('e').copies.size).toBe(1)
      cluster.jobs.set(99, { ...job, endedAtMs: 1 })
      await bench.run('ec-repair')
      expect(cluster.node('e').copies.size).toBe(0)
    },
  )

  test('removes shards of a volume that has its copies, and of a deleted one all there is', async () => {
    const abandoned = Bench.coded()
    const { cluster, volume } = abandoned
    volume.stripe = undefined
    for (const url of 'ab') cluster.makeCopy(volume, url, `${url}/0`)
    volume.members = [...'ab'].map((url) => ({ url, directoryId: `${url}/0`, revisionMin: 0 }))
    abandoned.down('b', false)
    await abandoned.run('ec-repair')
    expect(cluster.strayShards(volume).length).toBe(3)
    cluster.node('b').isUp = true
    await abandoned.run('ec-repair')
    expect(abandoned.fault).toBeUndefined()

    const deleted = Bench.coded()
    Object.assign(deleted.volume, { isDeleted: true, stripe: undefined })
    deleted.cluster.makeCopy(deleted.volume, 'e', 'e/0')
    const result = await deleted.run('ec-repair')
    expect(result.summary).toBe('4 shards removed, 1 copies removed')
    expect(deleted.fault).toBeUndefined()
  })

  test('moves a shard elsewhere of which one server has two, and removes both', async () => {
    const bench = Bench.coded()
    const { cluster, volume } = bench
    const { image, replication } = bench.set('d')
    const facts = { directoryId: 'd/1', replication, journal: [], nowMs: 0 }
    const twin = new ModelShardSet(image, facts)
    twin.shards.add(3)
    cluster.node('d').sets.set(volume.volumeId, [bench.set('d'), twin])
    expect(await bench.run('ec-repair')).toMatchObject(DONE)
    expect(bench.shards).toMatch(/^a0 b1 c2 [ef]3$/)
    expect(bench.fault).toBeUndefined()
  })

  test('says that no server has room, and sees to the rest all the same', async () => {
    const bench = Bench.coded()
    bench.down('d', true)
    for (const url of 'abcef') bench.cluster.node(url).isFull = true
    bench.delete(1, 'a')
    expect(await bench.run('ec-repair')).toMatchObject(failedWith('NO_WRITABLE_VOLUME'))
    expect(bench.set('c').journal.has(1)).toBe(true)
  })
})

describe('ec-balance', () => {
  test('moves one shard after the other away from a server that is to be emptied', async () => {
    const bench = Bench.coded()
    bench.cluster.drained.add('b')
    expect(await bench.run('ec-balance')).toMatchObject({ ...DONE, summary: '1 shards moved' })
    expect(bench.shards).toMatch(/^a0 [ef]1 c2 d3$/)
    expect(bench.fault).toBeUndefined()
  })

  test('brings the new place the deletes that came while it was copied', async () => {
    const bench = Bench.coded()
    bench.cluster.drained.add('b')
    const onPhase = (phase: string) => {
      if (phase === 'copied') bench.delete(1, 'abcd')
    }
    expect(await bench.run('ec-balance', {}, { onPhase })).toMatchObject(DONE)
    expect(bench.fault).toBeUndefined()
    expect(bench.cluster.liveShards(bench.volume).every(({ set }) => set.journal.has(1))).toBe(true)
  })

  test('waits until what is lost is repaired', async () => {
    const bench = Bench.coded()
    bench.cluster.drained.add('b')
    bench.down('d', false)
    expect(await bench.run('ec-balance')).toMatchObject(failedWith('SHARDS_LOST'))
  })
})

describe('ec-vacuum', () => {
  test('forgets a volume in which nothing lives any more', async () => {
    const bench = Bench.coded()
    for (const needle of NEEDLES) bench.delete(needle, 'abcd')
    expect(await bench.run('ec-vacuum')).toMatchObject(DONE)
    expect([bench.volume.isDeleted, bench.fault]).toEqual([true, undefined])
  })

  test('forgets it also when some server has missed some of the deletes', async () => {
    const bench = Bench.coded()
    for (const needle of NEEDLES) bench.delete(needle, needle === 6 ? 'a' : 'abcd')
    expect(await bench.run('ec-vacuum')).toMatchObject(DONE)
    expect([bench.volume.isDeleted, bench.fault]).toEqual([true, undefined])
  })

  test('waits until what is lost is repaired, and dirty needles are settled', async () => {
    const bench = Bench.coded()
    bench.cluster.recordDirty(bench.volume, 1, 'delete')
    expect(await bench.run('ec-vacuum')).toMatchObject(failedWith('VOLUME_BUSY'))
    bench.down('d', true)
    expect(await bench.run('ec-vacuum')).toMatchObject(failedWith('SHARDS_LOST'))
    expect(bench.volume.setVersion).toBe(2)
  })

  test('keeps the old run when a new shard is lost as soon as it counts', async () => {
    const bench = Bench.coded()
    bench.delete(1, 'abcd')
    const { cluster, volume } = bench
    const before = volume.stripe?.runId
    const isOld = (set: ModelShardSet) => set.runId === before
    const onPhase = (phase: string) => {
      if (phase !== 'switched') return
      const node = cluster.node(volume.stripe?.shards[0]?.url ?? '')
      node.sets.set(volume.volumeId, node.setsOf(volume.volumeId).filter(isOld))
    }
    expect(await bench.run('ec-vacuum', {}, { onPhase })).toMatchObject(failedWith('UNAVAILABLE'))
    const old = [...'abcd'].flatMap((url) => cluster.node(url).setsOf(volume.volumeId))
    expect(old.filter(isOld).length).toBe(4)
  })

  test('keeps a volume with one needle that lives', async () => {
    const bench = Bench.coded()
    for (const needle of NEEDLES.slice(1)) bench.delete(needle, 'abcd')
    expect(await bench.run('ec-vacuum')).toMatchObject(DONE)
    expect([bench.volume.isDeleted, bench.fault]).toEqual([false, undefined])
    expect(bench.cluster.liveShards(bench.volume)[0]?.set.isLive(1)).toBe(true)
  })

  test.each(['decoded', 'encoded', 'spread', 'verified', 'frozen'])(
    'a delete just after the phase "%s" is not forgotten',
    async (when) => {
      const bench = Bench.coded()
      bench.delete(1, 'abcd')
      const before = bench.volume.stripe?.runId
      const onPhase = (phase: string) => {
        if (phase !== when) return
        const old = [...'abcdef'].flatMap((url) =>
          bench.cluster.node(url).setsOf(bench.volume.volumeId),
        )
        for (const set of old) if (set.runId === before) set.delete(2, bench.cluster.clock.nowMs())
      }
      expect(await bench.run('ec-vacuum', {}, { onPhase })).toMatchObject(DONE)
      expect(bench.volume.stripe?.runId).not.toBe(before)
      const sets = bench.cluster.liveShards(bench.volume).map(({ set }) => set)
      expect(sets.map((set) => [set.isLive(1), set.isLive(2), set.isLive(3)])).toEqual(
        sets.map(() => [false, false, true]),
      )
      expect(bench.fault).toBeUndefined()
    },
  )
})

describe('ec-decode', () => {
  test('makes as many copies as are wanted, each in a rack of its own', async () => {
    const bench = Bench.coded()
    const { cluster, volume } = bench
    cluster.nodes.clear()
    const racks = { a: 'r1', b: 'r1', c: 'r1', d: 'r1', e: 'r2', f: 'r3' }
    const sets = Bench.coded()
    for (const [url, rack] of Object.entries(racks)) {
      const node = cluster.addNode(url, 'dc1', rack)
      const [set] = sets.cluster.node(url).setsOf(volume.volumeId)
      if (set !== undefined) node.sets.set(volume.volumeId, [set])
    }
    volume.replication = { otherDataCenters: 0, otherRacks: 2, otherServers: 0 }
    expect(await bench.run('ec-decode')).toMatchObject({ ...DONE, summary: 'decoded, 3 copies' })
    const used = volume.members.map(({ url }) => cluster.node(url).location.rack)
    expect([used.sort(), bench.fault]).toEqual([['r1', 'r2', 'r3'], undefined])
  })

  test('takes another server when the first has no room', async () => {
    const bench = Bench.coded()
    let isFilled = false
    const prepare: RunOptions['prepare'] = (session) => {
      session.beforeCall = (name) => {
        if (name !== 'decodeVolume' || isFilled) return
        isFilled = true
        for (const url of 'ef') bench.cluster.node(url).isFull = true
      }
    }
    expect(await bench.run('ec-decode', {}, { prepare })).toMatchObject(DONE)
    expect(bench.fault).toBeUndefined()
  })

  test('waits until dirty needles are settled', async () => {
    const bench = Bench.coded()
    bench.cluster.recordDirty(bench.volume, 1, 'delete')
    expect(await bench.run('ec-decode')).toMatchObject(failedWith('VOLUME_BUSY'))
  })

  test('keeps the shards when a copy is lost as soon as it counts', async () => {
    const bench = Bench.coded()
    const { cluster, volume } = bench
    const onPhase = (phase: string) => {
      if (phase !== 'switched') return
      cluster.node(volume.members[0]?.url ?? '').copies.delete(volume.volumeId)
    }
    expect(await bench.run('ec-decode', {}, { onPhase })).toMatchObject(failedWith('UNAVAILABLE'))
    expect(cluster.strayShards(volume).length).toBe(4)
  })

  test('decodes with two of four shards left, but not with one out of reach', async () => {
    const bench = Bench.coded()
    bench.down('a', true)
    bench.down('b', false)
    expect(await bench.run('ec-decode')).toMatchObject(failedWith('UNAVAILABLE'))
    bench.down('b', true)
    expect(await bench.run('ec-decode')).toMatchObject(DONE)
    expect(bench.volume.stripe).toBeUndefined()
  })
})
