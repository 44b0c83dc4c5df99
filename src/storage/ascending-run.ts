import type { NeedleId } from '../base/ids.ts'
import { NEEDLE_ALIGN_BYTES } from '../format/needle.ts'
import type { NeedleLocation } from './needle-map.ts'

const WORDS_PER_ENTRY = 3
const OFFSET = 1
const SIZE = 2
/** So many neighbours of the estimated place are tried before the rest is cut in halves. */
const NEIGHBOURS_MAX = 6
/** Ids whose upper half changes more often than this are better off in a hash map. */
const ENTRIES_PER_GROUP_MIN = 64

/** What a reader in another thread needs; see `AscendingRun.over`. */
export interface SharedRun {
  readonly words: SharedArrayBuffer
  readonly count: number
  readonly groupHi: readonly number[]
  readonly groupStart: readonly number[]
}

/**
 * Entries in ascending order of their ids, 12 bytes each: the lower half of the id, offset in
 * units, size (its complement when deleted). Entries whose ids share the upper half form a group.
 * Only appended to; offset and size of an entry may change later.
 */
export class AscendingRun {
  #words: Int32Array
  readonly #capacity: number
  /** Upper half of the ids of each group, and where it starts. */
  #groupHi: number[] = []
  #groupStart: number[] = []
  #count = 0
  #lastHi = -1
  #lastLo = -1

  constructor(capacity: number) {
    this.#capacity = capacity
    this.#words = new Int32Array(new SharedArrayBuffer(capacity * WORDS_PER_ENTRY * 4))
  }

  /** The same entries, for reading in another thread. Appending to either ends that. */
  static over(shared: SharedRun): AscendingRun {
    const run = new AscendingRun(0)
    run.#words = new Int32Array(shared.words)
    run.#count = shared.count
    run.#groupHi = [...shared.groupHi]
    run.#groupStart = [...shared.groupStart]
    run.#lastHi = shared.groupHi.at(-1) ?? -1
    run.#lastLo = shared.count === 0 ? -1 : run.#loAt(shared.count - 1)
    return run
  }

  share(): SharedRun {
    return {
      words: this.#words.buffer as SharedArrayBuffer,
      count: this.#count,
      groupHi: this.#groupHi,
      groupStart: this.#groupStart,
    }
  }

  get count(): number {
    return this.#count
  }

  /** 0 when there is none. */
  get highestId(): NeedleId {
    return { hi: Math.max(this.#lastHi, 0), lo: Math.max(this.#lastLo, 0) }
  }

  get memoryBytes(): number {
    return this.#count * WORDS_PER_ENTRY * 4 + this.#groupHi.length * 16
  }

  /** True for an id above all others, which therefore is nowhere yet. */
  isAbove(hi: number, lo: number): boolean {
    return hi > this.#lastHi || (hi === this.#lastHi && lo > this.#lastLo)
  }

  /** False when the id is not above all others, or there is no room. Halves are unsigned. */
  append(hi: number, lo: number, offsetUnits: number, size: number): boolean {
    if (!this.isAbove(hi, lo)) return false
    const index = this.#count
    if (index === this.#capacity) return false
    if (hi !== this.#lastHi && !this.#beginGroup(hi)) return false
    const at = index * WORDS_PER_ENTRY
    this.#words[at] = lo
    this.#words[at + OFFSET] = offsetUnits
    this.#words[at + SIZE] = size
    this.#lastLo = lo
    this.#count = index + 1
    return true
  }

  /** Index of the entry of an id, or -1. */
  find(hi: number, lo: number): number {
    if (this.isAbove(hi, lo)) return -1
    const group = this.#groupOf(hi)
    if (group < 0) return -1
    const words = this.#words
    let low = this.#groupStart[group] as number
    let high = (this.#groupStart[group + 1] ?? this.#count) - 1
    const lowLo = (words[low * WORDS_PER_ENTRY] as number) >>> 0
    const highLo = (words[high * WORDS_PER_ENTRY] as number) >>> 0
    if (lo < lowLo || lo > highLo) return -1
    const share = highLo === lowLo ? 0 : (lo - lowLo) / (highLo - lowLo)
    let index = low + Math.floor(share * (high - low))
    for (let tried = 0; low <= high; tried++) {
      const entryLo = (words[index * WORDS_PER_ENTRY] as number) >>> 0
      if (entryLo === lo) return index
      if (entryLo < lo) low = index + 1
      else high = index - 1
      if (tried >= NEIGHBOURS_MAX) index = (low + high) >>> 1
      else index = entryLo < lo ? low : high
    }
    return -1
  }

  /** The entry at `index`, as `NeedleMap.lookup` shows it. */
  readEntry(index: number, into: NeedleLocation): void {
    const size = this.size(index)
    into.offsetBytes = this.offsetUnits(index) * NEEDLE_ALIGN_BYTES
    into.sizeBytes = size < 0 ? ~size : size
    into.isDeleted = size < 0
  }

  offsetUnits(index: number): number {
    return (this.#words[index * WORDS_PER_ENTRY + OFFSET] as number) >>> 0
  }

  /** Below zero, as the complement, when the entry is deleted. */
  size(index: number): number {
    return this.#words[index * WORDS_PER_ENTRY + SIZE] as number
  }

  setOffsetUnits(index: number, offsetUnits: number): void {
    this.#words[index * WORDS_PER_ENTRY + OFFSET] = offsetUnits
  }

  setSize(index: number, size: number): void {
    this.#words[index * WORDS_PER_ENTRY + SIZE] = size
  }

  /** Shows entries from `start` up to `end`, in order. */
  visit(
    start: number,
    end: number,
    each: (hi: number, lo: number, offsetUnits: number, size: number) => void,
  ): void {
    let group = 0
    for (let index = start; index < end; index++) {
      while ((this.#groupStart[group + 1] ?? this.#count) <= index) group++
      const lo = (this.#words[index * WORDS_PER_ENTRY] as number) >>> 0
      each(this.#groupHi[group] as number, lo, this.offsetUnits(index), this.size(index))
    }
  }

  #loAt(index: number): number {
    return (this.#words[index * WORDS_PER_ENTRY] as number) >>> 0
  }

  #beginGroup(hi: number): boolean {
    const isTooMany = this.#groupHi.length > 16 + this.#count / ENTRIES_PER_GROUP_MIN
    if (isTooMany) return false
    this.#groupHi.push(hi)
    this.#groupStart.push(this.#count)
    this.#lastHi = hi
    return true
  }

  #groupOf(hi: number): number {
    const groups = this.#groupHi
    let low = 0
    let high = groups.length - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      const groupHi = groups[middle] as number
      if (groupHi === hi) return middle
      if (groupHi < hi) low = middle + 1
      else high = middle - 1
    }
    return -1
  }
}
