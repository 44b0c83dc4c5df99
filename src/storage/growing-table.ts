import { assert } from '../base/assert.ts'
import {
  copyClusters,
  findEmptySlot,
  firstHashAt,
  NO_SLOT,
  PIECES_MAX,
  SLOTS_PER_PIECE,
  type SlotTable,
  WORDS_PER_SLOT,
} from './slot-table.ts'

/** What a reader in another thread needs; see `HashNeedleMapView`. */
export interface HashSharedState {
  readonly control: SharedArrayBuffer
  /** For each of the two tables, the numbers of its pieces, in order. */
  readonly pieceLists: readonly [SharedArrayBuffer, SharedArrayBuffer]
  readonly pieces: readonly SharedArrayBuffer[]
  readonly generation: number
}

/** Words of the control block. The version is odd while the others change. */
export const CONTROL = {
  version: 0,
  /** Differs from that of a shared state when the state lacks memory that is in use now. */
  generation: 1,
  /** Counts pieces added. */
  layout: 2,
  /** Hashes below are in the next table. As u32; 2^32 never stays. */
  frontier: 3,
  slots: 4,
  slotsNext: 5,
} as const
const CONTROL_WORDS = 6

const SLOTS_MIN = 16
/** Pages of 4 KiB: the system counts only those that were written. */
const SLOTS_ALIGN = 256
/**
 * Linear probing gets slow beyond 0.88 full; 1.2 times the slots then make it 0.733. So a large map
 * takes 18.2 to 21.8 bytes an entry. Tables within one piece double, to have less to throw away.
 */
const LOAD_MAX = 0.88
const GROWTH = 1.2
const LOAD_EXPECTED = 0.76
/**
 * While the table grows, 64 slots move for each insert: it has grown before it is 0.9 full. They
 * move in steps of 1024 (about 10 us) because a step must find the end of a cluster.
 */
const INSERTS_PER_STEP = 16
const STEP_SLOTS = 1024
/** A piece for what a cluster pushes past the end of a small table. */
const SPILL_SLOTS = 256

export interface GrowableTable extends SlotTable {
  /** Numbers of the pieces, in shared memory for readers; -1 behind the last. */
  pieceList: Int32Array
}

/**
 * A slot table that grows a little with every insert. Growing goes through the hashes in order:
 * those below the frontier are in the next, larger table, the others still in the current one. What
 * the current table has given up, the next one takes, so both together are never larger than the
 * next one alone (and a piece or two).
 *
 * Invariants: an entry is in exactly the table that `tableOf` its hash names; the slot before the
 * one to be moved next was empty when it was passed, so no cluster reaches across.
 */
export class GrowingTable {
  #current: GrowableTable
  #next: GrowableTable | undefined
  #frontier = 0
  #entriesMax: number
  #insertsToStep = INSERTS_PER_STEP
  /** Where moving goes on: piece of the current table, and word in it. */
  #moveIndex = 0
  #moveAt = 0
  readonly #control = sharedWords(CONTROL_WORDS)
  /** Every piece ever made, by its number; undefined when it was thrown away. */
  readonly #pieces: (Int32Array | undefined)[] = []
  readonly #piecesFree: number[] = []

  constructor(expectedCount: number) {
    const slots = Math.ceil(expectedCount / LOAD_EXPECTED)
    this.#current = newTable(slots < SLOTS_PER_PIECE ? powerOfTwo(slots) : alignSlots(slots))
    this.#entriesMax = Math.floor(this.#current.slots * LOAD_MAX)
    const pieces = Math.ceil(this.#current.slots / SLOTS_PER_PIECE)
    for (let i = 0; i < pieces; i++) this.addPiece(this.#current)
    this.#publish()
  }

  get memoryBytes(): number {
    let words = this.#current.pieceList.length + (this.#next?.pieceList.length ?? 0)
    for (const piece of this.#pieces) words += piece?.length ?? 0
    return words * Int32Array.BYTES_PER_ELEMENT
  }

  /** Hashes below are in another table than those from here on. */
  get frontier(): number {
    return this.#frontier
  }

  /** The table all ids are in, if `count` more fit it as it is; undefined while it grows. */
  roomFor(count: number, entryCount: number): GrowableTable | undefined {
    const isRoomy = this.#next === undefined && entryCount + count < this.#entriesMax
    return isRoomy ? this.#current : undefined
  }

  /** The table where an id with this hash is, or goes. Good until the next insert. */
  tableOf(hash: number): GrowableTable {
    return hash < this.#frontier ? (this.#next as GrowableTable) : this.#current
  }

  /** To be called after an empty slot was filled. Entries may have moved afterwards. */
  noteInsert(entryCount: number): void {
    if (this.#next === undefined) {
      if (entryCount >= this.#entriesMax) this.#startGrowing()
      return
    }
    this.#insertsToStep--
    if (this.#insertsToStep > 0) return
    this.#insertsToStep = INSERTS_PER_STEP
    this.#moveSome(this.#next)
  }

  /** Position of an empty slot behind the end of the pieces, where `findSlot` gave `NO_SLOT`. */
  addSlot(table: GrowableTable, hash: number, lo: number): number {
    for (;;) {
      this.addPiece(table)
      const position = findEmptySlot(table, hash, lo)
      if (position !== NO_SLOT) return position
    }
  }

  /** Adds room behind the last piece. */
  addPiece(table: GrowableTable): void {
    const number = this.#takePiece(table)
    const index = table.pieces.push(this.#pieces[number]) - 1
    assert(index < PIECES_MAX, 'a needle map of 8 GiB')
    if (index === table.pieceList.length) {
      table.pieceList = copyList(table.pieceList, index * 2)
      Atomics.add(this.#control, CONTROL.generation, 1)
    }
    Atomics.store(table.pieceList, index, number)
    Atomics.add(this.#control, CONTROL.layout, 1)
  }

  sharedState(): HashSharedState {
    const next = this.#next ?? this.#current
    return {
      control: this.#control.buffer as SharedArrayBuffer,
      pieceLists: [
        this.#current.pieceList.buffer as SharedArrayBuffer,
        next.pieceList.buffer as SharedArrayBuffer,
      ],
      pieces: this.#pieces.map((piece) => (piece ?? NO_WORDS).buffer as SharedArrayBuffer),
      generation: Atomics.load(this.#control, CONTROL.generation),
    }
  }

  /** Number of an empty piece as the table needs it next. */
  #takePiece(table: GrowableTable): number {
    const isSmall = table.slots < SLOTS_PER_PIECE
    const free = isSmall ? undefined : this.#piecesFree.pop()
    if (free !== undefined) {
      this.#pieces[free]?.fill(0)
      return free
    }
    const slotsSmall = table.pieces.length === 0 ? table.slots : SPILL_SLOTS
    Atomics.add(this.#control, CONTROL.generation, 1)
    return this.#pieces.push(newPiece(isSmall ? slotsSmall : SLOTS_PER_PIECE)) - 1
  }

  #startGrowing(): void {
    const { slots } = this.#current
    const slotsNext = slots < SLOTS_PER_PIECE ? slots * 2 : alignSlots(slots * GROWTH)
    this.#next = newTable(slotsNext)
    this.#moveIndex = 0
    this.#moveAt = 0
    this.#insertsToStep = INSERTS_PER_STEP
    Atomics.add(this.#control, CONTROL.generation, 1)
    this.#publish()
  }

  /** Moves whole clusters, of at least 1024 slots together, to the next table. */
  #moveSome(next: GrowableTable): void {
    const { pieces, slots } = this.#current
    const indexBefore = this.#moveIndex
    let words = pieces[indexBefore] as Int32Array
    let at = this.#move(words, this.#moveAt, next, STEP_SLOTS)
    // A cluster may go on in the next piece, where no more slots than needed are to be moved.
    while (at === words.length && this.#moveIndex < pieces.length - 1) {
      this.#moveIndex++
      words = pieces[this.#moveIndex] as Int32Array
      at = this.#move(words, 0, next, 0)
    }
    this.#moveAt = at
    const slot = this.#moveIndex * SLOTS_PER_PIECE + at / WORDS_PER_SLOT
    if (at === words.length || slot >= slots) {
      this.#moveRest(next)
      return
    }
    this.#frontier = firstHashAt(slots, slot)
    this.#publish()
    for (let gone = indexBefore; gone < this.#moveIndex; gone++) this.#dropPiece(gone)
  }

  /** Moves what lies behind the last home slot and makes the next table the current one. */
  #moveRest(next: GrowableTable): void {
    const gone = this.#current
    for (let at = this.#moveAt; this.#moveIndex < gone.pieces.length; this.#moveIndex++) {
      const words = gone.pieces[this.#moveIndex] as Int32Array
      while (at < words.length) at = this.#move(words, at, next, SLOTS_PER_PIECE)
      at = 0
    }
    this.#current = next
    this.#next = undefined
    this.#frontier = 0
    this.#entriesMax = Math.floor(next.slots * LOAD_MAX)
    Atomics.add(this.#control, CONTROL.generation, 1)
    this.#publish()
    for (let i = 0; i < gone.pieces.length; i++) this.#dropPiece(i, gone)
  }

  /** As `copyClusters`, with room made in the next table as needed. */
  #move(words: Int32Array, start: number, next: GrowableTable, slotsMin: number): number {
    let at = copyClusters(words, start, next, slotsMin)
    while (at < 0) {
      this.addPiece(next)
      at = copyClusters(words, ~at, next, Math.max(slotsMin - (~at - start) / WORDS_PER_SLOT, 0))
    }
    return at
  }

  /** A piece that no reader can need any more goes to the next table, or away if it is short. */
  #dropPiece(index: number, table: GrowableTable = this.#current): void {
    const piece = table.pieces[index]
    if (piece === undefined) return
    table.pieces[index] = undefined
    const number = table.pieceList[index] as number
    if (piece.length === SLOTS_PER_PIECE * WORDS_PER_SLOT) this.#piecesFree.push(number)
    else this.#pieces[number] = undefined
  }

  /** A reader that looked meanwhile, or while pieces dropped now were in use, looks again. */
  #publish(): void {
    const control = this.#control
    Atomics.add(control, CONTROL.version, 1)
    Atomics.store(control, CONTROL.frontier, this.#frontier | 0)
    Atomics.store(control, CONTROL.slots, this.#current.slots)
    Atomics.store(control, CONTROL.slotsNext, (this.#next ?? this.#current).slots)
    Atomics.add(control, CONTROL.version, 1)
  }
}

const NO_WORDS = sharedWords(0)

function newTable(slots: number): GrowableTable {
  const pieceList = sharedWords(Math.ceil(slots / SLOTS_PER_PIECE) + 2).fill(-1)
  return { slots, pieces: [], pieceList }
}

function newPiece(slots: number): Int32Array {
  return sharedWords(slots * WORDS_PER_SLOT)
}

function copyList(list: Int32Array, length: number): Int32Array {
  const copy = sharedWords(length).fill(-1)
  copy.set(list)
  return copy
}

function sharedWords(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT))
}

function alignSlots(slots: number): number {
  return Math.ceil(slots / SLOTS_ALIGN) * SLOTS_ALIGN
}

function powerOfTwo(slots: number): number {
  let power = SLOTS_MIN
  while (power < slots) power *= 2
  return power
}
