import { describe, expect, test } from 'vitest'
import { KIB } from '../../src/base/units.ts'
import { ReadBuffer } from '../../src/storage/read-buffer.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { collect, fid, LocalCluster, LocalNode, vacuumCommand } from './local-node.ts'

const into = new ReadBuffer(64 * KIB)

async function openCached(cacheBytes = 64 * KIB) {
  const cluster = new LocalCluster()
  const node = await LocalNode.open(cluster, 1, { cacheBytes })
  await node.allocate(3)
  return { cluster, node }
}

/** As the HTTP side reads: on the spot if possible, else through the thread pool. */
async function readHot(node: LocalNode, needle: number, secret = 7): Promise<string> {
  const found = node.opened.needles.readWarm(fid(3, needle, secret), false, into)
  return found === undefined ? await readCold(node, needle, secret) : found.data.toString()
}

/** Through the thread pool, as what lies on a cold disk: only such reads fill the cache. */
async function readCold(node: LocalNode, needle: number, secret = 7): Promise<string> {
  const read = await node.opened.needles.read(fid(3, needle, secret), false)
  return 'data' in read ? read.data.toString() : 'large'
}

describe('the read cache', () => {
  test('answers a needle that was read before without the disk, also a cold one', async () => {
    const { node } = await openCached()
    await using _node = node
    await node.put(3, 1, 'hot')
    await node.close()
    await node.open()
    expect(node.opened.needles.readWarm(fid(3, 1), false, into)).toBeUndefined()
    expect(await node.read(3, 1)).toBe('hot')
    node.hooks.calls = []
    expect(node.opened.needles.readWarm(fid(3, 1), false, into)?.data.toString()).toBe('hot')
    expect(node.hooks.count('read')).toBe(0)
  })

  test('checks the cookie of what it has', async () => {
    const { node } = await openCached()
    await using _node = node
    await node.put(3, 1, 'hot')
    await readCold(node, 1)
    await expect(readHot(node, 1, 8)).rejects.toMatchObject({ code: 'COOKIE_MISMATCH' })
  })

  test('does not take a needle of a removed volume for that at the same place in a new one', async () => {
    const { node } = await openCached()
    await using _node = node
    await node.put(3, 1, 'old')
    await readCold(node, 1)
    await node.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    await node.allocate(3)
    await node.put(3, 1, 'new')
    expect(await readHot(node, 1)).toBe('new')
  })

  test('forgets a needle when its time is over', async () => {
    const { cluster, node } = await openCached()
    await using _node = node
    const ttl = { count: 1, unit: 'minute' as const }
    const request = { fileId: fid(3, 1), data: Buffer.from('x'), metadata: { ttl }, writeToken: '' }
    await node.api.put({ ...request, isReplica: false }, SIGNAL)
    expect(await readCold(node, 1)).toBe('x')
    await cluster.clock.advance(61_000)
    await expect(readHot(node, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
  })

  test('stays within its memory, and keeps nothing larger than 64 KiB', async () => {
    const { node } = await openCached(20 * KIB)
    await using _node = node
    for (let needle = 1; needle <= 30; needle++) {
      await node.put(3, needle, 'x'.repeat(2000))
      await readCold(node, needle)
    }
    const { cache } = node.opened
    expect(cache?.bytes).toBeLessThanOrEqual(20 * KIB)
    expect(cache?.count).toBeGreaterThan(3)
    const { count } = cache ?? {}
    await node.put(3, 99, 'y'.repeat(64 * KIB + 1))
    await readCold(node, 99)
    expect(cache?.count).toBe(count)
  })

  // Goal: whatever the cache answers is what the volume holds, and nothing outlives its deletion.
  // Method: random puts, overwrites, deletes, reads, vacuums, restarts and removals of a few
  // needles beside a plain map; some reads are under way while the next change is made.
  test.each(seeds(60))('answers as a plain map would (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const { node } = await openCached(prng.between(1, 8) * KIB)
    await using _node = node
    const model = new Map<number, string>()
    let reading: Promise<unknown> = Promise.resolve()
    for (let step = 0; step < 150; step++) {
      const needle = prng.between(1, 6)
      const choice = prng.below(100)
      if (choice < 25) {
        const text = `step ${step} ${'x'.repeat(prng.below(600))}`
        await node.put(3, needle, text)
        model.set(needle, text)
      } else if (choice < 40) {
        await node.delete(3, needle)
        model.delete(needle)
      } else if (choice < 44) {
        await collect(node.api.vacuumVolume(vacuumCommand(3), SIGNAL))
      } else if (choice < 46) {
        await reading
        await node.close()
        await node.open()
      } else if (choice < 48) {
        await reading
        await node.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
        await node.allocate(3)
        model.clear()
      } else if (choice < 60) {
        reading = readCold(node, needle).catch(() => 'it may be gone')
      } else {
        const expected = model.get(needle)
        if (expected !== undefined) expect(await readHot(node, needle)).toBe(expected)
        else await expect(readHot(node, needle)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
      }
    }
    await reading
  })
})
