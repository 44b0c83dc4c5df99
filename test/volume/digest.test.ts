import { describe, expect, test } from 'vitest'
import { HashNeedleMap } from '../../src/storage/hash-needle-map.ts'
import { PackedNeedleMap } from '../../src/storage/packed-needle-map.ts'
import { digestEntries } from '../../src/volume/digest.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL, toId } from '../support/volume-model.ts'
import { collect, LocalCluster, LocalNode, nodeAt, vacuumCommand } from './local-node.ts'

const yieldTurn = async (): Promise<void> => undefined

interface Entry {
  readonly needle: number
  readonly sizeBytes: number
}

function mapOf(entries: readonly Entry[]): HashNeedleMap {
  const map = new HashNeedleMap({ version: 3 })
  for (const [index, { needle, sizeBytes }] of entries.entries()) {
    map.put(toId(needle), 8 * (index + 1), sizeBytes)
  }
  return map
}

/** In small steps: the work that a timer sets off takes turns of the event loop. */
async function passSeconds(cluster: LocalCluster, seconds: number): Promise<void> {
  for (let passed = 0; passed < seconds; passed++) await cluster.clock.advance(1000)
  await cluster.clock.advance(0)
}

const digestOf = (entries: readonly Entry[]) => digestEntries(mapOf(entries), yieldTurn)

describe('digestEntries', () => {
  test('of nothing is 16 zeros', async () => {
    expect(await digestOf([])).toBe('0000000000000000')
  })

  // Goal: equal sets have equal digests in any order and form; any single difference shows.
  test.each(seeds(20))(
    'depends on ids and sizes, not on order or places (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      const entries = Array.from({ length: prng.between(2, 5000) }, (_, index) => ({
        needle: index * 3 + 1,
        sizeBytes: prng.between(0, 10_000),
      }))
      const digest = await digestOf(entries)
      const shuffled = mapOf(prng.shuffle(entries))
      expect(await digestEntries(shuffled, yieldTurn)).toBe(digest)
      const packed = await PackedNeedleMap.build(shuffled, { version: 3, yieldTurn })
      expect(await digestEntries(packed, yieldTurn)).toBe(digest)

      const one = prng.pick(entries)
      const others = entries.filter((entry) => entry !== one)
      expect(await digestOf(others)).not.toBe(digest)
      expect(await digestOf([...others, { ...one, sizeBytes: one.sizeBytes + 1 }])).not.toBe(digest)
      expect(await digestOf([...others, { ...one, needle: one.needle + 1 }])).not.toBe(digest)
      packed.delete(toId(one.needle), 8)
      expect(await digestEntries(packed, yieldTurn)).toBe(await digestOf(others))
    },
  )

  test('two needles that swap their sizes show', async () => {
    const digest = await digestOf([
      { needle: 1, sizeBytes: 10 },
      { needle: 2, sizeBytes: 20 },
    ])
    const swapped = await digestOf([
      { needle: 1, sizeBytes: 20 },
      { needle: 2, sizeBytes: 10 },
    ])
    expect(swapped).not.toBe(digest)
  })
})

describe('the digest of a volume', () => {
  test('is known 6 s after the last write, empty before, and the same in both copies', async () => {
    const cluster = new LocalCluster()
    await using a = await LocalNode.open(cluster, 1)
    await using b = await LocalNode.open(cluster, 2)
    cluster.master.known.set(vid(3), [nodeAt(1), nodeAt(2)])
    await a.allocate(3, '001')
    await b.allocate(3, '001')
    await passSeconds(cluster, 2)
    for (let needle = 1; needle <= 30; needle++) {
      // Each is the first to take some of them, so that the order differs.
      await Promise.all([a.put(3, needle, `a ${needle}`), b.put(3, 100 + needle, `b ${needle}`)])
    }
    await b.delete(3, 9)
    const digests = async () => [
      (await a.api.volumeStatus(vid(3), SIGNAL)).digest,
      (await b.api.volumeStatus(vid(3), SIGNAL)).digest,
    ]
    expect(await digests()).toEqual(['', ''])
    await passSeconds(cluster, 7)
    const [first, second] = await digests()
    expect(first).toMatch(/^[0-9a-f]{16}$/)
    expect(second).toBe(first)

    await a.put(3, 200, 'one more')
    expect(await digests()).toEqual(['', ''])
    await passSeconds(cluster, 7)
    expect((await digests())[0]).not.toBe(first)
  })

  test('survives a vacuum, which changes no needle', async () => {
    const cluster = new LocalCluster()
    await using node = await LocalNode.open(cluster, 1)
    await node.allocate(3)
    for (let needle = 1; needle <= 10; needle++) await node.put(3, needle, 'x')
    await node.delete(3, 4)
    await passSeconds(cluster, 7)
    const { digest } = await node.api.volumeStatus(vid(3), SIGNAL)
    await collect(node.api.vacuumVolume(vacuumCommand(3), SIGNAL))
    expect((await node.api.volumeStatus(vid(3), SIGNAL)).digest).toBe('')
    await passSeconds(cluster, 7)
    expect((await node.api.volumeStatus(vid(3), SIGNAL)).digest).toBe(digest)
    expect(digest).not.toBe('')
  })
})
