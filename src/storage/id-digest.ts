import { hex8, type NeedleId } from '../base/ids.ts'
import { mix } from './content-digest.ts'

/** One number for a set of needle ids: the same in whatever order they are added, each once. */
export class IdDigest {
  // Two sums of 32 bits, of two unrelated hashes.
  #a = 0
  #b = 0

  add({ hi, lo }: NeedleId): void {
    this.#a = (this.#a + mix(lo ^ mix(hi ^ 0x9e37_79b9))) | 0
    this.#b = (this.#b + mix(hi ^ mix(lo ^ 0x7f4a_7c15))) | 0
  }

  /** 16 hex digits. */
  get value(): string {
    return hex8(this.#a >>> 0) + hex8(this.#b >>> 0)
  }
}
