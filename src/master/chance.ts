import { assert } from '../base/assert.ts'
import type { Random } from '../runtime/random.ts'

export const TWO_32 = 2 ** 32

/** 0 up to, not including, `total`. */
export function randomBelow(random: Random, total: number): number {
  return (random.u32() / TWO_32) * total
}

/** One of the items, each as likely as its weight says. Undefined when there are none. */
export function pickWeighted<Item>(
  items: readonly Item[],
  weightOf: (item: Item) => number,
  random: Random,
): Item | undefined {
  let total = 0
  for (const item of items) total += weightOf(item)
  assert(total > 0 || items.length === 0, 'a choice among weights that are all 0')
  let left = randomBelow(random, total)
  for (const item of items) {
    left -= weightOf(item)
    if (left < 0) return item
  }
  return items.at(-1)
}
