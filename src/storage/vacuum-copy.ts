import { compareNeedleIds, type NeedleId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import {
  decodeNeedle,
  encodeNeedleHead,
  encodeNeedleTail,
  encodeTombstone,
  type Needle,
  prepareNeedle,
  TOMBSTONE_BYTES,
} from '../format/needle.ts'
import { expiresAtMs } from '../format/needle-checks.ts'
import { type DiskFile, readFully, writeFully } from '../runtime/disk.ts'
import type { Generation } from './generation.ts'
import type { NeedleLocation } from './needle-map.ts'
import { readRecordContent } from './record-content.ts'
import { RecordScanner, type ScannedRecord } from './record-scanner.ts'
import { WorkWindow } from './work-pace.ts'

const BUFFER_BYTES = 4 * 1024 * 1024

/** What a tombstone says. */
export interface DeletedNeedle {
  readonly id: NeedleId
  readonly cookie: number
  /** As stored with the needle. */
  readonly checksum: number
}

export interface CopyOptions {
  /** Carry tombstones over, for other copies of the volume that may not have seen them. */
  readonly keepTombstones: boolean
  readonly onProgress: (doneBytes: number) => void
  readonly nowMs: number
  readonly signal: AbortSignal
}

/**
 * Copies what lives of one generation into the next, in the order it was appended, so that stamps
 * go on increasing along the file. Called again for what was appended meanwhile, it catches up:
 * newer records and tombstones take effect in the copy as they did in the original.
 */
export class VacuumCopier {
  readonly #old: Generation
  readonly #next: Generation
  readonly #options: CopyOptions
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  readonly #firstBytes: number
  /** Needles left behind because their time was over, with their place in the old generation. */
  readonly #expired: { readonly id: NeedleId; readonly offsetBytes: number }[] = []
  #bufferedBytes = 0
  #copiedTo: number

  constructor(old: Generation, next: Generation, fromBytes: number, options: CopyOptions) {
    this.#old = old
    this.#next = next
    this.#options = options
    this.#firstBytes = old.endBytes
    this.#copiedTo = fromBytes
  }

  /** Everything of the old generation below this has been carried over. */
  get copiedToBytes(): number {
    return this.#copiedTo
  }

  /**
   * Calls `rest` after each window of work.
   *
   * @throws {StoreError} NEEDLE_CORRUPT: a live needle cannot be read. VOLUME_DAMAGED: the chain of
   * records is broken. CANCELLED. DISK_FULL.
   */
  async copyUpTo(endBytes: number, rest: () => Promise<void>): Promise<void> {
    const scanner = new RecordScanner(this.#old.dat, {
      version: this.#old.version,
      fromBytes: this.#copiedTo,
      toBytes: endBytes,
      onPiece: rest,
    })
    const window = new WorkWindow(rest)
    for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
      await this.#copy(record)
      if (window.isFull(record.recordBytes)) {
        this.#options.onProgress(scanner.positionBytes)
        await window.rest()
      }
      if (this.#options.signal.aborted) throw new StoreError('CANCELLED', 'vacuum was cancelled')
    }
    if (scanner.end !== 'end') {
      const why = `no readable record at byte ${scanner.positionBytes} (${scanner.end})`
      throw new StoreError('VOLUME_DAMAGED', why)
    }
    await this.#flush()
    this.#copiedTo = endBytes
    this.#options.onProgress(endBytes)
  }

  /** Carries one record over, if it is a needle that lives. For those not come to by `copyUpTo`. */
  async copyLive(record: ScannedRecord): Promise<void> {
    const location = newLocation()
    if (!this.#old.map.lookup(record.header.id, location) || location.isDeleted) return
    if (location.offsetBytes === record.offsetBytes) await this.#copyLive(record, location)
  }

  /** Carries a deletion over that may have no readable record. */
  async copyDeletion(deleted: DeletedNeedle): Promise<void> {
    const location = newLocation()
    const isKnown = this.#old.map.lookup(deleted.id, location)
    if (isKnown && location.isDeleted) await this.#deleteInCopy(deleted)
  }

  /** All below `endBytes` has been carried over, one by one. */
  async finishUpTo(endBytes: number): Promise<void> {
    await this.#flush()
    this.#copiedTo = endBytes
    this.#options.onProgress(endBytes)
  }

  /** How many of the needles left behind are still the current ones of their ids. */
  countExpired(): number {
    const location = newLocation()
    const isCurrent = (entry: { id: NeedleId; offsetBytes: number }): boolean =>
      this.#old.map.lookup(entry.id, location) &&
      !location.isDeleted &&
      location.offsetBytes === entry.offsetBytes
    return this.#expired.filter(isCurrent).length
  }

  async #copy(record: ScannedRecord): Promise<void> {
    const { id } = record.header
    const location = newLocation()
    if (!this.#old.map.lookup(id, location)) return
    const isLiveHere = !location.isDeleted && location.offsetBytes === record.offsetBytes
    if (isLiveHere) await this.#copyLive(record, location)
    else if (location.isDeleted && record.header.sizeBytes === 0) await this.#copyTombstone(record)
  }

  async #copyLive(record: ScannedRecord, location: NeedleLocation): Promise<void> {
    const { id } = record.header
    if (!record.isIntact || record.header.sizeBytes !== location.sizeBytes) {
      const where = `the record at byte ${record.offsetBytes} does not match its checksum`
      throw new StoreError('NEEDLE_CORRUPT', `${where}; nothing was changed`)
    }
    // An earlier state that was copied must not show through: then the dead one follows it.
    if (!this.#isLiveInCopy(id) && (await this.#isExpired(record))) {
      this.#expired.push({ id, offsetBytes: record.offsetBytes })
      return
    }
    const at = this.#endBytes
    const sizeBytes = await this.#appendRecord(record)
    this.#next.map.put(id, at, sizeBytes)
    this.#next.log.put(id, at, sizeBytes)
    if (this.#next.log.isFull) await this.#next.log.flush()
  }

  async #copyTombstone(record: ScannedRecord): Promise<void> {
    const { id } = record.header
    const isCatchingUp = record.offsetBytes >= this.#firstBytes
    const isCopied = this.#isLiveInCopy(id)
    // The needle was copied before it was deleted: the copy needs the deletion in any case.
    if (!(isCatchingUp && isCopied) && !this.#options.keepTombstones) return
    if (this.#old.version !== 3) {
      await this.#deleteInCopy({ ...record.header, checksum: record.checksum })
      return
    }
    const at = this.#endBytes
    await this.#appendRecord(record)
    this.#next.map.delete(id, at)
    this.#next.log.delete(id, at)
  }

  async #deleteInCopy(deleted: DeletedNeedle): Promise<void> {
    const at = this.#endBytes
    const target = Buffer.alloc(TOMBSTONE_BYTES)
    encodeTombstone(deleted, this.#next.clock.tick(), target, 0)
    await this.#append(target)
    this.#next.map.delete(deleted.id, at)
    this.#next.log.delete(deleted.id, at)
    if (this.#next.log.isFull) await this.#next.log.flush()
  }

  get #endBytes(): number {
    return this.#next.endBytes + this.#bufferedBytes
  }

  #isLiveInCopy(id: NeedleId): boolean {
    const location = newLocation()
    return this.#next.map.lookup(id, location) && !location.isDeleted
  }

  async #isExpired(record: ScannedRecord): Promise<boolean> {
    const { superBlock } = this.#old
    if (record.header.sizeBytes === 0) return false
    const { attributes } = await readRecordContent(this.#old.dat, record, this.#old.version)
    const expiry = expiresAtMs(attributes, superBlock.ttl)
    return expiry !== undefined && expiry <= this.#options.nowMs
  }

  /** Returns the Size field of the record in the copy. */
  async #appendRecord(record: ScannedRecord): Promise<number> {
    const { header } = record
    this.#next.clock.raiseTo(record.appendAtNs)
    if (this.#old.version !== 3) return this.#appendConverted(record)
    if (record.bytes !== undefined) await this.#append(record.bytes)
    else await this.#appendPieces(this.#old.dat, record)
    return header.sizeBytes
  }

  async #appendPieces(source: DiskFile, record: ScannedRecord): Promise<void> {
    for (let done = 0; done < record.recordBytes; ) {
      const length = Math.min(BUFFER_BYTES, record.recordBytes - done)
      await this.#append(await readFully(source, length, record.offsetBytes + done))
      done += length
    }
  }

  /** Old format versions are rewritten as version 3, stamped now. */
  async #appendConverted(record: ScannedRecord): Promise<number> {
    const needle = await this.#decode(record)
    const { id, cookie, data } = needle
    const prepared = prepareNeedle({ id, cookie, data, attributes: needle.attributes() })
    const target = Buffer.alloc(prepared.recordBytes)
    const dataAt = encodeNeedleHead(prepared, target, 0)
    target.set(data, dataAt)
    encodeNeedleTail(prepared, this.#next.clock.tick(), target, dataAt + data.length)
    await this.#append(target)
    return prepared.sizeBytes
  }

  async #decode(record: ScannedRecord): Promise<Needle> {
    const { offsetBytes, recordBytes } = record
    const bytes = record.bytes ?? (await readFully(this.#old.dat, recordBytes, offsetBytes))
    const needle = decodeNeedle(bytes, 0, this.#old.version)
    if (compareNeedleIds(needle.id, record.header.id) === 0) return needle
    throw new StoreError('NEEDLE_CORRUPT', `the record at byte ${offsetBytes} changed while read`)
  }

  async #append(bytes: Buffer): Promise<void> {
    if (this.#bufferedBytes + bytes.length > BUFFER_BYTES) await this.#flush()
    if (bytes.length > BUFFER_BYTES) {
      await this.#write(bytes)
      return
    }
    this.#buffer.set(bytes, this.#bufferedBytes)
    this.#bufferedBytes += bytes.length
  }

  async #flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#bufferedBytes)
    this.#bufferedBytes = 0
    if (bytes.length > 0) await this.#write(bytes)
  }

  async #write(bytes: Buffer): Promise<void> {
    const next = this.#next
    await writeFully(next.dat, [bytes], next.endBytes)
    next.checksums.extend(bytes)
    next.endBytes += bytes.length
  }
}

function newLocation(): NeedleLocation {
  return { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
}
