import { type NeedleId, needleId } from '../base/ids.ts'
import { INDEX_TOMBSTONE_SIZE, indexEntryBytes, type OffsetBytes } from '../format/index-entry.ts'
import { NEEDLE_ALIGN_BYTES, type NeedleHeader, type NeedleVersion } from '../format/needle.ts'
import type { DiskFile } from '../runtime/disk.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import { readIndexRows } from './index-loader.ts'
import { isRecordOffset, isRecordSize } from './needle-map.ts'

export interface IndexRow {
  /** Counted from 0 at the start of the file. */
  readonly rowIndex: number
  readonly id: NeedleId
  readonly offsetBytes: number
  readonly sizeBytes: number
}

/**
 * All rows of an `.idx` file, to be compared with the records of `.dat`. Positions count the rows
 * that name a place in `.dat`, in the order of these places, whatever their order in the file:
 * other systems also write the index sorted by key. 24 bytes of memory a row.
 */
export class IndexSnapshot {
  /** Bytes at the end of the file that are no whole row. */
  readonly leftoverBytes: number
  /** Rows stand in the order in which their records do, as an append-only log has them. */
  readonly isInOffsetOrder: boolean
  readonly rowCount: number
  readonly #hi: Uint32Array
  readonly #lo: Uint32Array
  readonly #units: Float64Array
  readonly #sizes: Int32Array
  /** Row at each position. */
  readonly #order: Uint32Array

  private constructor(columns: Columns, leftoverBytes: number) {
    this.rowCount = columns.sizes.length
    this.leftoverBytes = leftoverBytes
    this.#hi = columns.hi
    this.#lo = columns.lo
    this.#units = columns.units
    this.#sizes = columns.sizes
    const { order, isSorted } = orderByOffset(columns.units)
    this.#order = order
    this.isInOffsetOrder = isSorted
  }

  /** @throws {StoreError} DISK_FAILED. */
  static async load(
    file: DiskFile,
    lengthBytes: number,
    offsetBytes: OffsetBytes,
  ): Promise<IndexSnapshot> {
    const rowBytes = indexEntryBytes(offsetBytes)
    const count = Math.floor(lengthBytes / rowBytes)
    const hi = new Uint32Array(count)
    const lo = new Uint32Array(count)
    const units = new Float64Array(count)
    const sizes = new Int32Array(count)
    let row = 0
    await readIndexRows(file, lengthBytes, offsetBytes, (rows, byteLength) => {
      for (let at = 0; at < byteLength; at += rowBytes, row++) {
        hi[row] = rows.readUInt32BE(at)
        lo[row] = rows.readUInt32BE(at + 4)
        const high = offsetBytes === 5 ? rows.readUInt8(at + 12) * 2 ** 32 : 0
        units[row] = rows.readUInt32BE(at + 8) + high
        sizes[row] = rows.readInt32BE(at + rowBytes - 4)
      }
    })
    return new IndexSnapshot({ hi, lo, units, sizes }, lengthBytes % rowBytes)
  }

  /** Rows that name a place in `.dat`. */
  get placedCount(): number {
    return this.#order.length
  }

  /** The highest id of all rows; undefined without rows. */
  get maxId(): NeedleId | undefined {
    let max = 0
    for (let row = 1; row < this.rowCount; row++) {
      const hi = this.#hi[row] ?? 0
      const maxHi = this.#hi[max] ?? 0
      if (hi > maxHi || (hi === maxHi && (this.#lo[row] ?? 0) > (this.#lo[max] ?? 0))) max = row
    }
    return this.rowCount === 0 ? undefined : this.#row(max).id
  }

  at(position: number): IndexRow {
    return this.#row(this.#order[position] ?? 0)
  }

  offsetBytesAt(position: number): number {
    return (this.#units[this.#order[position] ?? 0] ?? 0) * NEEDLE_ALIGN_BYTES
  }

  sizeBytesAt(position: number): number {
    return this.#sizes[this.#order[position] ?? 0] ?? 0
  }

  /** Whether the row says of its place what a header there says. */
  describes(position: number, header: NeedleHeader): boolean {
    const row = this.#order[position] ?? 0
    if (this.#hi[row] !== header.id.hi || this.#lo[row] !== header.id.lo) return false
    const size = this.#sizes[row]
    return size === header.sizeBytes || (size === INDEX_TOMBSTONE_SIZE && header.sizeBytes === 0)
  }

  /** Rows without a place. Those of size -1 delete a needle that has no tombstone in `.dat`. */
  *unplaced(): Generator<IndexRow> {
    if (this.placedCount === this.rowCount) return
    for (let row = 0; row < this.rowCount; row++) if (this.#units[row] === 0) yield this.#row(row)
  }

  /** What the index says after all its rows; rows that no map can hold are left out. */
  replay(version: NeedleVersion): HashNeedleMap {
    const map = new HashNeedleMap({ version, expectedCount: this.rowCount })
    for (let row = 0; row < this.rowCount; row++) {
      const { id, offsetBytes, sizeBytes } = this.#row(row)
      const isPlaced = isRecordOffset(offsetBytes)
      if (isPlaced && isRecordSize(sizeBytes)) map.put(id, offsetBytes, sizeBytes)
      else if (isPlaced || offsetBytes === 0) map.delete(id, offsetBytes)
    }
    return map
  }

  #row(rowIndex: number): IndexRow {
    return {
      rowIndex,
      id: needleId(this.#hi[rowIndex] ?? 0, this.#lo[rowIndex] ?? 0),
      offsetBytes: (this.#units[rowIndex] ?? 0) * NEEDLE_ALIGN_BYTES,
      sizeBytes: this.#sizes[rowIndex] ?? 0,
    }
  }
}

interface Columns {
  readonly hi: Uint32Array
  readonly lo: Uint32Array
  readonly units: Float64Array
  readonly sizes: Int32Array
}

function orderByOffset(units: Float64Array): { order: Uint32Array; isSorted: boolean } {
  const order = new Uint32Array(units.length)
  let count = 0
  let last = 0
  let isSorted = true
  for (let row = 0; row < units.length; row++) {
    const unit = units[row] ?? 0
    if (unit === 0) continue
    isSorted &&= unit >= last
    last = unit
    order[count++] = row
  }
  const placed = order.subarray(0, count)
  // Rows of one place stay in file order: the later one counts.
  if (!isSorted) placed.sort((a, b) => (units[a] ?? 0) - (units[b] ?? 0) || a - b)
  return { order: placed, isSorted }
}
