import { describe, expect, test } from 'vitest'
import { HashRing, type RingMember } from '../../src/master/hash-ring.ts'
import { Prng, seeds } from '../support/prng.ts'

const KEYS = Array.from({ length: 20_000 }, (_, index) => `file-${index}`)

function owners(members: readonly RingMember[]): string[] {
  const ring = new HashRing(members)
  return KEYS.map((key) => ring.walk(key).next().value ?? '')
}

describe('the ring', () => {
  // Goal: one more server takes about its share of the keys, and no key moves between the others.
  test.each(seeds(20))('moves about 1/(n+1) of the keys to a new server (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const count = prng.between(1, 12)
    const members = Array.from({ length: count + 1 }, (_, index) => ({
      name: `10.0.${seed}.${index}:8080`,
      points: 160,
    }))
    const before = owners(members.slice(0, count))
    const after = owners(members)
    const moved = KEYS.filter((_, index) => before[index] !== after[index]).length
    for (const [index] of KEYS.entries()) {
      if (before[index] !== after[index]) expect(after[index]).toBe(members[count]?.name)
    }
    // 160 points put the share of a server within a quarter of what it should be.
    expect(moved / KEYS.length).toBeLessThanOrEqual(1.3 / (count + 1))
    expect(moved / KEYS.length).toBeGreaterThan(0.7 / (count + 1))
  })

  test('gives a member with 3 times the points 3 times the keys, within a fifth', () => {
    const found = owners([
      { name: 'small', points: 160 },
      { name: 'large', points: 480 },
    ])
    const share = found.filter((owner) => owner === 'large').length / KEYS.length
    expect(share).toBeGreaterThan(0.75 * 0.8)
    expect(share).toBeLessThan(0.75 * 1.2)
  })

  test('does not depend on the order in which members came', () => {
    const members = ['a', 'b', 'c'].map((name) => ({ name, points: 160 }))
    expect(owners(members)).toEqual(owners([...members].reverse()))
  })

  test('names every member once on the way round, and none when it is empty', () => {
    const members = ['a', 'b', 'c', 'd'].map((name) => ({ name, points: 7 }))
    for (const key of KEYS.slice(0, 50)) {
      expect([...new HashRing(members).walk(key)].sort()).toEqual(['a', 'b', 'c', 'd'])
    }
    expect([...new HashRing([]).walk('x')]).toEqual([])
  })
})
