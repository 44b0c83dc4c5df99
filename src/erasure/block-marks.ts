import { LIMITS } from '../base/limits.ts'
import type { Clock } from '../runtime/clock.ts'

/** What a reader has learnt of the blocks of its shards; at most an entry for each. */
export class BlockMarks {
  readonly #clock: Clock
  readonly #blockCount: number
  readonly #sound = new Set<number>()
  /** Until when each counts as bad. */
  readonly #badUntilMs = new Map<number, number>()
  /** Blocks of which bytes were made from others, of whatever shard, and not verified. */
  readonly #unverified = new Set<number>()

  constructor(clock: Clock, blockCount: number) {
    this.#clock = clock
    this.#blockCount = blockCount
  }

  isSound(shard: number, block: number): boolean {
    return this.#sound.has(this.#keyOf(shard, block))
  }

  /** It was read straight from its shard, and matched. */
  noteSound(shard: number, block: number): void {
    const key = this.#keyOf(shard, block)
    this.#badUntilMs.delete(key)
    // Somebody may be about to read what was made of others meanwhile.
    if (!this.#unverified.has(block)) this.#sound.add(key)
  }

  /** For a while: it may be written anew. */
  isBad(shard: number, block: number): boolean {
    if (this.#badUntilMs.size === 0) return false
    const key = this.#keyOf(shard, block)
    const untilMs = this.#badUntilMs.get(key)
    if (untilMs === undefined) return false
    if (this.#clock.monotonicMs() < untilMs) return true
    this.#badUntilMs.delete(key)
    return false
  }

  noteBad(shard: number, block: number): void {
    const key = this.#keyOf(shard, block)
    this.#sound.delete(key)
    this.#badUntilMs.set(key, this.#clock.monotonicMs() + LIMITS.shardDoubtMs.value)
  }

  /** Bytes of it may now come from other shards, whatever was found of its own. */
  noteUnverified(shard: number, block: number): void {
    this.#sound.delete(this.#keyOf(shard, block))
    this.#unverified.add(block)
  }

  /** Whether there were any. */
  forgetUnverified(block: number): boolean {
    return this.#unverified.delete(block)
  }

  #keyOf(shard: number, block: number): number {
    return shard * this.#blockCount + block
  }
}
