import type { NeedleId } from '../base/ids.ts'
import { CONTROL, type HashSharedState } from './growing-table.ts'
import type { NeedleLocation } from './needle-map.ts'
import { hashNeedleId, readEntry, type SlotTable } from './slot-table.ts'

/**
 * Looks ids up in a `HashNeedleMap` that another thread owns and may be writing. An answer is one
 * the map could have given at some moment during the call, except that the offset and size of a
 * needle overwritten in that moment may not belong together: the record at the offset tells.
 */
export class HashNeedleMapView {
  readonly #control: Int32Array
  readonly #pieceLists: readonly [Int32Array, Int32Array]
  readonly #pieces: readonly Int32Array[]
  readonly #generation: number
  #layout = -1
  #current: SlotTable = { slots: 0, pieces: [] }
  #next: SlotTable = this.#current

  constructor(state: HashSharedState) {
    this.#control = new Int32Array(state.control)
    const [current, next] = state.pieceLists
    this.#pieceLists = [new Int32Array(current), new Int32Array(next)]
    this.#pieces = state.pieces.map((piece) => new Int32Array(piece))
    this.#generation = state.generation
  }

  /** The map has memory this view does not know: its owner must hand out its state again. */
  get isStale(): boolean {
    return Atomics.load(this.#control, CONTROL.generation) !== this.#generation
  }

  /**
   * As `NeedleMap.lookup`; undefined when the view is stale and cannot tell. Waits, at most for the
   * few instructions in which the owner moves the border between its two tables.
   */
  lookup(id: NeedleId, into: NeedleLocation): boolean | undefined {
    const hash = hashNeedleId(id.hi, id.lo)
    for (;;) {
      const version = Atomics.load(this.#control, CONTROL.version)
      if (version % 2 !== 0) continue
      if (this.isStale) return undefined
      this.#followLayout()
      const frontier = Atomics.load(this.#control, CONTROL.frontier) >>> 0
      const table = hash < frontier ? this.#next : this.#current
      const isFound = readEntry(table, hash, id, into)
      // Pieces that were given up are used again: what was read there means nothing.
      if (Atomics.load(this.#control, CONTROL.version) === version) return isFound
    }
  }

  #followLayout(): void {
    const layout = Atomics.load(this.#control, CONTROL.layout)
    if (layout === this.#layout) return
    this.#current = this.#readTable(this.#pieceLists[0], CONTROL.slots)
    this.#next = this.#readTable(this.#pieceLists[1], CONTROL.slotsNext)
    this.#layout = layout
  }

  #readTable(pieceList: Int32Array, slotsAt: number): SlotTable {
    const pieces: (Int32Array | undefined)[] = []
    for (let i = 0; i < pieceList.length; i++) {
      const number = Atomics.load(pieceList, i)
      if (number < 0) break
      pieces.push(this.#pieces[number])
    }
    return { slots: Atomics.load(this.#control, slotsAt), pieces }
  }
}
