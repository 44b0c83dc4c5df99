import { crc32c } from '../base/crc32c.ts'
import type { NeedleId } from '../base/ids.ts'
import { isStoreError } from '../base/store-error.ts'
import { encodeIndexEntry, INDEX_ENTRY_BYTES, INDEX_TOMBSTONE_SIZE } from '../format/index-entry.ts'
import { type DiskFile, writeFully } from '../runtime/disk.ts'

const BUFFERED_ROWS = 1024

/**
 * The `.idx` file being appended to. Rows wait in memory and are written many at a time: the index
 * is a cache of `.dat`, so losing unwritten rows costs a scan of the tail, never a needle.
 * `crc` covers exactly the first `lengthBytes` bytes of the file.
 */
export class IndexLog {
  readonly file: DiskFile
  /** The file on disk is to stay as it is: foreign row form, or evidence of damage. */
  readonly isReadOnly: boolean
  #lengthBytes: number
  #crc: number
  #rows = Buffer.allocUnsafe(BUFFERED_ROWS * INDEX_ENTRY_BYTES)
  #waitingBytes = 0
  #lastFlush: Promise<void> = Promise.resolve()

  constructor(
    file: DiskFile,
    written: { readonly lengthBytes: number; readonly crc: number; readonly isReadOnly?: boolean },
  ) {
    this.file = file
    this.isReadOnly = written.isReadOnly ?? false
    this.#lengthBytes = written.lengthBytes
    this.#crc = written.crc
  }

  get lengthBytes(): number {
    return this.#lengthBytes
  }

  get crc(): number {
    return this.#crc
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  get isFull(): boolean {
    return this.#waitingBytes >= this.#rows.length
  }

  put(id: NeedleId, offsetBytes: number, sizeBytes: number): void {
    if (this.#waitingBytes === this.#rows.length) this.#grow()
    encodeIndexEntry({ id, offsetBytes, sizeBytes }, this.#rows, this.#waitingBytes)
    this.#waitingBytes += INDEX_ENTRY_BYTES
  }

  delete(id: NeedleId, tombstoneOffsetBytes: number): void {
    this.put(id, tombstoneOffsetBytes, INDEX_TOMBSTONE_SIZE)
  }

  /**
   * Writes the waiting rows; they are durable only after `file.datasync()`. When the write fails
   * the rows go on waiting and nothing is counted as written.
   */
  flush(): Promise<void> {
    const run = (): Promise<void> => this.#flushNow()
    this.#lastFlush = this.#lastFlush.then(run, run)
    return this.#lastFlush
  }

  /** False: there are rows that cannot be written, since it is read-only or the disk is full. */
  async tryFlush(): Promise<boolean> {
    if (this.isReadOnly) return false
    try {
      await this.flush()
      return true
    } catch (error) {
      if (!isStoreError(error)) throw error
      return false
    }
  }

  async #flushNow(): Promise<void> {
    if (this.#waitingBytes === 0) return
    const rows = this.#rows.subarray(0, this.#waitingBytes)
    // The next rows go to a fresh buffer: a write in flight must not see them.
    this.#rows = Buffer.allocUnsafe(BUFFERED_ROWS * INDEX_ENTRY_BYTES)
    this.#waitingBytes = 0
    try {
      await writeFully(this.file, [rows], this.#lengthBytes)
    } catch (error) {
      const later = this.#rows.subarray(0, this.#waitingBytes)
      const capacity = 2 * (rows.length + this.#rows.length)
      const bytes = Buffer.concat([rows, later], capacity)
      this.#waitingBytes += rows.length
      this.#rows = bytes
      throw error
    }
    this.#lengthBytes += rows.length
    this.#crc = crc32c(rows, this.#crc)
  }

  #grow(): void {
    const larger = Buffer.allocUnsafe(this.#rows.length * 2)
    larger.set(this.#rows)
    this.#rows = larger
  }
}
