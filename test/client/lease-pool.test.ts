import { describe, expect, test } from 'vitest'
import { formatFileId } from '../../src/base/file-id.ts'
import { cookie, volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import type { LeaseLane } from '../../src/client/lease-lane.ts'
import { type Layout, LeasePool, NEEDLE_LEASES } from '../../src/client/lease-pool.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { FakeCluster } from '../support/client-cluster.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const LAYOUT: Layout = { collection: '', replication: undefined, ttl: TTL_NONE }
const NEVER = new AbortController().signal

function openPool(volumes = 2) {
  const cluster = new FakeCluster({ servers: 2, volumes })
  const clock = new SimClock()
  const { connect, master } = cluster
  const parts = { master, connect, clock, random: new Prng(1), logger: silentLogger }
  const pool = new LeasePool(parts, LAYOUT)
  return { cluster, clock, pool, lane: pool.defaultLane, requests: master.requests }
}

function takeNow(lane: LeaseLane): string | undefined {
  const block = lane.take()
  return block === undefined ? undefined : formatFileId(block.takeFileId(cookie(0)))
}

describe('a lease', () => {
  test('is asked for once, however many wait, and gives each an id of its own', async () => {
    const { lane, pool, requests } = openPool()
    await using _pool = pool
    const grants = await Promise.all(Array.from({ length: 100 }, () => lane.wait(NEVER)))
    expect(requests.map(({ count }) => count)).toEqual([LIMITS.leaseIdsMin.value])
    expect(new Set(grants.map(({ fileId }) => fileId.needleId.lo)).size).toBe(100)
  })

  test('is as large as the line, up to 1024 ids; the rest of the line is served next', async () => {
    const { lane, pool, requests } = openPool()
    await using _pool = pool
    const first = lane.wait(NEVER)
    const rest = Array.from({ length: 1500 }, () => lane.wait(NEVER))
    const grants = await Promise.all([first, ...rest])
    expect(new Set(grants.map(({ fileId }) => fileId.needleId.lo)).size).toBe(1501)
    const counts = requests.map(({ count }) => count)
    expect(Math.max(...counts)).toBeLessThanOrEqual(LIMITS.leaseIdsMax.value)
    expect(counts.length).toBeLessThanOrEqual(5)
  })

  test('is followed by one in advance when half of it is used: takers never wait', async () => {
    const { clock, lane, pool, requests } = openPool()
    await using _pool = pool
    await lane.wait(NEVER)
    const seen = new Set<string>()
    for (let taken = 1; taken < 5000; taken++) {
      const fileId = takeNow(lane)
      expect(fileId).toBeDefined()
      seen.add(fileId ?? '')
      if (taken % 100 === 0) await clock.advance(1)
    }
    expect(seen.size).toBe(4999)
    // Each was used up within a second, so they grew: 256, 512, then 1024.
    expect(requests.map(({ count }) => count).slice(0, 4)).toEqual([256, 512, 1024, 1024])
  })

  test('of a slow writer stays small', async () => {
    const { clock, lane, pool, requests } = openPool()
    await using _pool = pool
    for (let round = 0; round < 5; round++) {
      await lane.wait(NEVER)
      await clock.advance(60_000)
    }
    expect(requests.map(({ count }) => count)).toEqual([256, 256, 256, 256, 256])
  })

  test('is not used after its 10 s, and renewed ahead after three quarters of them', async () => {
    const { clock, lane, pool, requests } = openPool()
    await using _pool = pool
    await lane.wait(NEVER)
    await clock.advance(7499)
    expect(takeNow(lane)).toBeDefined()
    expect(requests.length).toBe(1)
    await clock.advance(1)
    expect(takeNow(lane)).toBeDefined()
    await clock.advance(10)
    expect(requests.length).toBe(2)
    await clock.advance(2490)
    // The first has expired; the second goes on where it started.
    expect(takeNow(lane)).toBe('1,010100000000')
    await clock.advance(10_000)
    expect(lane.take()).toBeUndefined()
  })

  test('that had expired when it arrived is a TIMEOUT', async () => {
    const { cluster, lane, pool } = openPool()
    await using _pool = pool
    cluster.master.validMs = 0
    await expect(lane.wait(NEVER)).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  test('that goes past 64 bits, or is empty, is refused', async () => {
    const { cluster, lane, pool } = openPool()
    await using _pool = pool
    const { assign } = cluster.master
    cluster.master.assign = async (...args) => {
      const lease = await assign.apply(cluster.master, args)
      return { ...lease, firstNeedleId: { hi: 0xffff_ffff, lo: 0xffff_ffff }, count: 2 }
    }
    await expect(lane.wait(NEVER)).rejects.toMatchObject({ code: 'FILE_ID_INVALID' })
    cluster.master.assign = async (...args) => {
      return { ...(await assign.apply(cluster.master, args)), count: 0 }
    }
    await expect(lane.wait(NEVER)).rejects.toMatchObject({ code: 'PEER_FAILED' })
  })

  test('counts its ids across the 32-bit boundary', async () => {
    const { cluster, lane, pool } = openPool()
    await using _pool = pool
    const { assign } = cluster.master
    cluster.master.assign = async (...args) => {
      const lease = await assign.apply(cluster.master, args)
      return { ...lease, firstNeedleId: { hi: 0, lo: 0xffff_ffff } }
    }
    const ids = [await lane.wait(NEVER), await lane.wait(NEVER), await lane.wait(NEVER)]
    const needleIds = ids.map(({ fileId }) => fileId.needleId)
    expect(needleIds).toEqual([
      { hi: 0, lo: 0xffff_ffff },
      { hi: 1, lo: 0 },
      { hi: 1, lo: 1 },
    ])
  })
})

describe('a volume that failed', () => {
  test('gives no more ids, and is left out of requests for 30 s', async () => {
    const { clock, lane, pool, requests } = openPool()
    await using _pool = pool
    expect((await lane.wait(NEVER)).block.volumeId).toBe(1)
    pool.dropVolume(volumeId(1))
    expect(lane.take()).toBeUndefined()
    expect((await lane.wait(NEVER)).block.volumeId).toBe(2)
    expect(requests.at(-1)?.excludedVolumeIds).toEqual([1])
    await clock.advance(30_000)
    await lane.wait(NEVER)
    expect(requests.at(-1)?.excludedVolumeIds).toEqual([])
  })

  test('is used again, with new ids, when there is no other', async () => {
    const { lane, pool } = openPool(1)
    await using _pool = pool
    const first = await lane.wait(NEVER)
    pool.dropVolume(volumeId(1))
    const second = await lane.wait(NEVER)
    expect(second.block.volumeId).toBe(1)
    expect(second.fileId.needleId.lo).toBeGreaterThan(first.fileId.needleId.lo + 200)
  })

  test(`is forgotten when ${LIMITS.failedVolumesMax.value} others have failed since`, async () => {
    const { lane, pool, requests } = openPool()
    await using _pool = pool
    for (let id = 1; id <= LIMITS.failedVolumesMax.value + 1; id++) pool.dropVolume(volumeId(id))
    await lane.wait(NEVER)
    expect(requests[0]?.excludedVolumeIds.length).toBe(LIMITS.failedVolumesMax.value)
    expect(requests[0]?.excludedVolumeIds).not.toContain(1)
  })
})

describe('who waits for an id', () => {
  test('gets the error of the master, and may ask again', async () => {
    const { cluster, lane, pool } = openPool()
    await using _pool = pool
    cluster.fault = () => ({ when: 'before', code: 'WARMING_UP' })
    const failed = [lane.wait(NEVER), lane.wait(NEVER)]
    for (const wait of failed) await expect(wait).rejects.toMatchObject({ code: 'WARMING_UP' })
    cluster.fault = () => undefined
    expect((await lane.wait(NEVER)).block.volumeId).toBe(1)
  })

  test('may give up; the others do not notice', async () => {
    const { lane, pool } = openPool()
    await using _pool = pool
    const caller = new AbortController()
    const waits = [lane.wait(caller.signal), lane.wait(NEVER)]
    caller.abort()
    await expect(waits[0]).rejects.toMatchObject({ code: 'CANCELLED' })
    expect((await waits[1])?.fileId.needleId.lo).toBe(1)
    expect(lane.waitingCount).toBe(0)
  })

  test(`is refused when ${LIMITS.leaseWaitersMax.value} wait already`, async () => {
    const { lane, pool } = openPool()
    await using _pool = pool
    const waits = Array.from({ length: LIMITS.leaseWaitersMax.value }, () => lane.wait(NEVER))
    await expect(lane.wait(NEVER)).rejects.toMatchObject({ code: 'OVERLOADED' })
    const grants = await Promise.all(waits)
    expect(new Set(grants.map(({ fileId }) => fileId.needleId.lo)).size).toBe(waits.length)
  })

  test('is told when the pool closes', async () => {
    const { lane, pool } = openPool()
    const wait = lane.wait(NEVER)
    const failed = expect(wait).resolves.toBeDefined()
    await pool[Symbol.asyncDispose]()
    await failed
    const late = lane.wait(NEVER)
    await expect(late.then(() => lane.wait(NEVER))).resolves.toBeDefined()
  })
})

test(`lanes are remembered up to ${LIMITS.leaseLanesMax.value}, those used last`, async () => {
  const { pool } = openPool()
  await using _pool = pool
  const lane = (collection: string) => pool.lane({ ...LAYOUT, collection }, NEEDLE_LEASES)
  const first = lane('c0')
  const second = lane('c1')
  for (let i = 2; i < LIMITS.leaseLanesMax.value; i++) lane(`c${i}`)
  expect(lane('c0')).toBe(first)
  lane('one more')
  expect(lane('c0')).toBe(first)
  expect(lane('c1')).not.toBe(second)
})
