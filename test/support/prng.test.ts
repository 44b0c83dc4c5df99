import { afterEach, expect, test, vi } from 'vitest'
import { Prng, seeds } from './prng.ts'

afterEach(() => vi.unstubAllEnvs())

test('the same seed gives the same numbers, neighbours give others', () => {
  const draw = (seed: number) => Array.from({ length: 8 }, bindU32(new Prng(seed)))
  expect(draw(7)).toEqual(draw(7))
  const first = new Set([0, 1, 2, 3, -1, 2 ** 31].map((seed) => draw(seed).join()))
  expect(first.size).toBe(6)
})

test('choices are even: 100,000 draws among 10 stay within 5 % of each other', () => {
  const prng = new Prng(1)
  const counts = new Array<number>(10).fill(0)
  for (let draw = 0; draw < 100_000; draw++) {
    const choice = prng.below(10)
    counts[choice] = (counts[choice] ?? 0) + 1
  }
  expect(Math.min(...counts)).toBeGreaterThan(9_500)
  expect(Math.max(...counts)).toBeLessThan(10_500)
})

test('bounds belong to the range; a chance of 0 never happens, of 1 always', () => {
  const prng = new Prng(2)
  const drawn = new Set(Array.from({ length: 200 }, () => prng.between(3, 5)))
  expect([...drawn].sort()).toEqual([3, 4, 5])
  for (let draw = 0; draw < 200; draw++) {
    expect(prng.below(1)).toBe(0)
    expect(prng.chance(0)).toBe(false)
    expect(prng.chance(1)).toBe(true)
  }
})

test.each([0, 1, 3, 4, 5, 100])('bytes(%d) has that length', (count) => {
  expect(new Prng(3).bytes(count).length).toBe(count)
})

test('shuffle keeps the items and leaves its argument alone', () => {
  const items = [1, 2, 3, 4, 5, 6, 7, 8]
  const shuffled = new Prng(4).shuffle(items)
  expect(shuffled).not.toEqual(items)
  expect([...shuffled].sort()).toEqual(items)
})

test('SEED replays one seed, nothing else does', () => {
  vi.stubEnv('SEED', '')
  expect(seeds(3)).toEqual([1, 2, 3])
  vi.stubEnv('SEED', '17')
  expect(seeds(3)).toEqual([17])
  vi.stubEnv('SEED', 'x')
  expect(() => seeds(3)).toThrow('SEED=x')
})

function bindU32(prng: Prng): () => number {
  return () => prng.u32()
}
