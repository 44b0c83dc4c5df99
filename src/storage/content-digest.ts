import { hex8 } from '../base/ids.ts'
import type { NeedleStat } from './needle-stat.ts'

/** What two copies of a needle have in common: all that a reader can see of it but times. */
export type NeedleContentKey = Pick<
  NeedleStat,
  'needleId' | 'cookie' | 'checksum' | 'dataBytes' | 'attributesHash'
>

/**
 * One number for the needles that live in a volume, with all they say: the same for two copies with
 * the same needles, whatever their order.
 */
export class ContentDigest {
  // Two sums of 32 bits, of two unrelated hashes.
  #a = 0
  #b = 0

  add(needle: NeedleContentKey): void {
    const { needleId, cookie, checksum, dataBytes, attributesHash } = needle
    const words = [needleId.hi, needleId.lo, cookie, checksum, dataBytes, attributesHash]
    let a = 0x9e37_79b9
    let b = 0x7f4a_7c15
    for (const word of words) {
      a = mix(a ^ word)
      b = mix((b + word) | 0)
    }
    this.#a = (this.#a + a) | 0
    this.#b = (this.#b + b) | 0
  }

  /** 16 hex digits. */
  get value(): string {
    return hex8(this.#a >>> 0) + hex8(this.#b >>> 0)
  }
}

/** Every bit of the result depends on every bit of the word. */
export function mix(word: number): number {
  let bits = word
  bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d)
  bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b)
  return bits ^ (bits >>> 16)
}
