import { assert } from '../../src/base/assert.ts'
import type { Random } from '../../src/runtime/random.ts'

/**
 * Repeatable chance: one seed, one sequence, on every machine. Marsaglia's xorshift with 128 bits
 * of state, started from four mixed words of the seed. For tests, never for secrets.
 */
export class Prng implements Random {
  #a: number
  #b: number
  #c: number
  #d: number

  constructor(seed: number) {
    this.#a = mix(seed)
    this.#b = mix(seed + 0x9e3779b9)
    this.#c = mix(this.#a ^ this.#b)
    this.#d = mix(this.#c) | 1 // The state must not be all zero.
  }

  u32(): number {
    const t = this.#a ^ (this.#a << 11)
    this.#a = this.#b
    this.#b = this.#c
    this.#c = this.#d
    this.#d = this.#d ^ (this.#d >>> 19) ^ t ^ (t >>> 8)
    return this.#d >>> 0
  }

  /** 0 … count - 1. */
  below(count: number): number {
    assert(Number.isInteger(count) && count > 0 && count <= 2 ** 32, `a choice among ${count}`)
    return Math.floor((this.u32() / 2 ** 32) * count)
  }

  /** first … last, both possible. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1)
  }

  chance(probability: number): boolean {
    return this.u32() < probability * 2 ** 32
  }

  bytes(count: number): Buffer {
    const bytes = Buffer.allocUnsafe(count)
    let at = 0
    for (; at + 4 <= count; at += 4) bytes.writeUInt32LE(this.u32(), at)
    for (; at < count; at++) bytes[at] = this.u32() & 0xff
    return bytes
  }

  pick<Item>(items: readonly Item[]): Item {
    assert(items.length > 0, 'a choice among nothing')
    return items[this.below(items.length)] as Item
  }

  /** The items in a random order; a copy. */
  shuffle<Item>(items: readonly Item[]): Item[] {
    const shuffled = [...items]
    for (let last = shuffled.length - 1; last > 0; last--) {
      const other = this.below(last + 1)
      const item = shuffled[last] as Item
      shuffled[last] = shuffled[other] as Item
      shuffled[other] = item
    }
    return shuffled
  }
}

/** `npm run model:all`: many more lives of every model, for whoever has changed what they model. */
export const IS_MODEL_LANE = process.env['HAYLOFT_MODEL_LANE'] === 'all'

/** Seeds for `test.each`: 1 … count, or the single one that SEED names, to replay a failure. */
export function seeds(count: number): number[] {
  const { SEED: replay } = process.env
  if (replay !== undefined && replay !== '') {
    const seed = Number(replay)
    assert(Number.isInteger(seed), `SEED=${replay} is not a whole number`)
    return [seed]
  }
  return Array.from({ length: count }, (_, index) => index + 1)
}

/** Spreads every bit of the seed over 32 bits, so that neighbouring seeds share nothing. */
function mix(seed: number): number {
  let bits = seed | 0
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return bits ^ (bits >>> 16)
}
