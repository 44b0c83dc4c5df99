import { assert } from '../base/assert.ts'
import { compareNeedleIds, type NeedleId } from '../base/ids.ts'
import { INDEX_ENTRY_BYTES, type OffsetBytes } from '../format/index-entry.ts'
import { NEEDLE_ALIGN_BYTES, type NeedleVersion, recordBytes } from '../format/needle.ts'
import { AscendingRun } from './ascending-run.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import {
  type EntryVisitor,
  isRecordOffset,
  isRecordSize,
  type NeedleLocation,
  type NeedleMap,
} from './needle-map.ts'
import type { SharedNeedleMap } from './shared-needle-map.ts'

/** Rows out of order that are always put up with, and then one row in so many. */
const DISORDER_MIN = 1024
const DISORDER_SHARE = 8

/**
 * The map of a volume that was opened from its index. Ids are given out in ascending order, so most
 * rows are ascending: those go into a run of 12 bytes an entry, which is filled many times faster
 * than a hash table. Overwritten and deleted needles change in place; ids that came out of order,
 * and all new ones, are in a hash map above. If too many rows are out of order, the run is given up
 * and everything is in the hash map.
 */
export class LayeredNeedleMap implements NeedleMap {
  readonly #version: NeedleVersion
  readonly #expectedCount: number
  #run: AscendingRun
  #recent: HashNeedleMap
  #isRunning: boolean
  /** Until the run takes no more: after that an id above all others may be in the hash map. */
  #isAppending = true
  #rowCount = 0
  #disorderCount = 0
  #runLiveCount = 0
  #runLiveBytes = 0

  constructor(options: { readonly version: NeedleVersion; readonly expectedCount: number }) {
    this.#version = options.version
    this.#expectedCount = options.expectedCount
    this.#run = new AscendingRun(options.expectedCount)
    this.#recent = new HashNeedleMap({ version: options.version })
    this.#isRunning = true
  }

  get entryCount(): number {
    return this.#run.count + this.#recent.entryCount
  }

  get liveCount(): number {
    return this.#runLiveCount + this.#recent.liveCount
  }

  get liveBytes(): number {
    return this.#runLiveBytes + this.#recent.liveBytes
  }

  get memoryBytes(): number {
    return this.#run.memoryBytes + this.#recent.memoryBytes
  }

  get highestId(): NeedleId {
    const ids = [this.#run.highestId, this.#recent.highestId] as const
    return compareNeedleIds(...ids) > 0 ? ids[0] : ids[1]
  }

  /** As `HashNeedleMap.loadRows`. */
  loadRows(rows: Buffer, byteLength: number, offsetBytes: OffsetBytes): void {
    if (!this.#isRunning || offsetBytes !== 4) {
      this.#dissolve()
      this.#recent.loadRows(rows, byteLength, offsetBytes)
      return
    }
    const view = new DataView(rows.buffer, rows.byteOffset, byteLength)
    let liveBytes = 0
    let appended = 0
    for (let at = 0; at < byteLength; at += INDEX_ENTRY_BYTES) {
      const hi = view.getUint32(at)
      const lo = view.getUint32(at + 4)
      const units = view.getUint32(at + 8)
      const size = view.getInt32(at + 12)
      const isPut = units !== 0 && size >= 0
      if (this.#isAppending && units !== 0 && this.#run.isAbove(hi, lo)) {
        // An id above all others is in no layer yet: whatever its first row says goes here.
        this.#isAppending = this.#run.append(hi, lo, units, isPut ? size : ~0)
        if (this.#isAppending && isPut) {
          appended++
          liveBytes += recordBytes(size, this.#version)
        }
        if (this.#isAppending) continue
      }
      this.#disorderCount++
      if (isPut) this.put({ hi, lo }, units * NEEDLE_ALIGN_BYTES, size)
      else this.delete({ hi, lo }, units * NEEDLE_ALIGN_BYTES)
    }
    this.#runLiveCount += appended
    this.#runLiveBytes += liveBytes
    this.#rowCount += byteLength / INDEX_ENTRY_BYTES
    const disorderMax = Math.max(DISORDER_MIN, this.#rowCount / DISORDER_SHARE)
    if (this.#disorderCount > disorderMax) this.#dissolve()
  }

  lookup(id: NeedleId, into: NeedleLocation): boolean {
    const index = this.#run.find(id.hi, id.lo)
    if (index < 0) return this.#recent.lookup(id, into)
    this.#run.readEntry(index, into)
    return true
  }

  /** Once all rows are loaded: from then on the run changes in place only. */
  share(): SharedNeedleMap {
    return { kind: 'layered', run: this.#run.share(), recent: this.#recent.sharedState() }
  }

  put(id: NeedleId, offsetBytes: number, sizeBytes: number): void {
    const index = this.#run.find(id.hi, id.lo)
    if (index < 0) {
      this.#recent.put(id, offsetBytes, sizeBytes)
      return
    }
    assert(isRecordOffset(offsetBytes), 'a needle lies at a multiple of 8 from 8 to 32 GiB')
    assert(isRecordSize(sizeBytes), 'the size of a needle is 0 to 2^31 - 1')
    this.#uncount(this.#run.size(index))
    this.#run.setOffsetUnits(index, offsetBytes / NEEDLE_ALIGN_BYTES)
    this.#run.setSize(index, sizeBytes)
    this.#runLiveCount++
    this.#runLiveBytes += recordBytes(sizeBytes, this.#version)
  }

  delete(id: NeedleId, tombstoneOffsetBytes: number): boolean {
    const index = this.#run.find(id.hi, id.lo)
    if (index < 0) return this.#recent.delete(id, tombstoneOffsetBytes)
    const size = this.#run.size(index)
    if (size < 0) return false
    this.#uncount(size)
    this.#run.setSize(index, ~size)
    return true
  }

  visit(each: EntryVisitor): void {
    this.#visitRun(0, this.#run.count, each)
    this.#recent.visit(each)
  }

  /** The cursor is the index of the next entry of the run; behind the last one, the hash map's. */
  visitSome(cursor: number, limit: number, each: EntryVisitor): number | undefined {
    assert(cursor >= 0 && limit > 0, 'a cursor is an index, a limit above 0')
    const { count } = this.#run
    if (cursor < count) {
      const end = Math.min(cursor + limit, count)
      this.#visitRun(cursor, end, each)
      return end < count || this.#recent.entryCount > 0 ? end : undefined
    }
    const next = this.#recent.visitSome(cursor - count, limit, each)
    return next === undefined ? undefined : count + next
  }

  #visitRun(start: number, end: number, each: EntryVisitor): void {
    this.#run.visit(start, end, (hi, lo, units, size) => {
      each(hi, lo, units * NEEDLE_ALIGN_BYTES, size < 0 ? ~size : size, size < 0)
    })
  }

  #uncount(size: number): void {
    if (size < 0) return
    this.#runLiveCount--
    this.#runLiveBytes -= recordBytes(size, this.#version)
  }

  /** From here on everything is in the hash map, which then loads rows in bulk. */
  #dissolve(): void {
    if (!this.#isRunning) return
    this.#isRunning = false
    const whole = new HashNeedleMap({ version: this.#version, expectedCount: this.#expectedCount })
    this.visit((hi, lo, offsetBytes, sizeBytes, isDeleted) => {
      whole.put({ hi, lo }, offsetBytes, sizeBytes)
      if (isDeleted) whole.delete({ hi, lo }, offsetBytes)
    })
    this.#recent = whole
    this.#run = new AscendingRun(0)
    this.#runLiveCount = 0
    this.#runLiveBytes = 0
  }
}
