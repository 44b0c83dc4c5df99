import { hex8 } from '../base/ids.ts'
import type { NeedleEntries } from '../storage/needle-map.ts'

/** About a tenth of a millisecond. */
const ENTRIES_PER_TURN = 2048

/**
 * One number for the needles that live in a volume, by id and size: 16 hex digits. Two copies with
 * the same needles have the same digest in whatever order they were written. Gives way to other
 * work after every few entries; what is put or deleted meanwhile may or may not be counted.
 *
 * @throws whatever `yieldTurn` throws, which is how a caller ends it.
 */
export async function digestEntries(
  entries: NeedleEntries,
  yieldTurn: () => Promise<void>,
): Promise<string> {
  // Two sums of 32 bits, of two unrelated hashes.
  let a = 0
  let b = 0
  const add = (hi: number, lo: number, _at: number, size: number, isDeleted: boolean): void => {
    if (isDeleted) return
    a = (a + mix(lo ^ mix(hi ^ mix(size ^ 0x9e3779b9)))) | 0
    b = (b + mix(size ^ mix(lo ^ mix(hi ^ 0x7f4a7c15)))) | 0
  }
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = entries.visitSome(cursor, ENTRIES_PER_TURN, add)
    await yieldTurn()
  }
  return hex8(a >>> 0) + hex8(b >>> 0)
}

/** Every bit of the word depends on every bit before. */
function mix(word: number): number {
  let bits = word
  bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d)
  bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b)
  return bits ^ (bits >>> 16)
}
