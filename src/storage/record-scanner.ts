import { crc32c } from '../base/crc32c.ts'
import {
  dataExtent,
  decodeNeedleHeader,
  matchesChecksum,
  NEEDLE_CHECKSUM_BYTES,
  NEEDLE_DATA_AT,
  NEEDLE_HEADER_BYTES,
  NEEDLE_TIMESTAMP_BYTES,
  type NeedleHeader,
  type NeedleVersion,
  recordBytes,
  viewOf,
} from '../format/needle.ts'
import type { DiskFile } from '../runtime/disk.ts'
import type { BlockChecksums } from './block-checksums.ts'

const WINDOW_BYTES = 4 * 1024 * 1024

export interface ScannedRecord {
  readonly offsetBytes: number
  readonly recordBytes: number
  readonly header: NeedleHeader
  /** The data matches its checksum, and the sizes inside the record agree. */
  readonly isIntact: boolean
  /** Checksum as stored: raw or masked. */
  readonly checksum: number
  /** CRC-32C of the data as it is, raw; 0 when there is none. */
  readonly dataChecksum: number
  readonly appendAtNs: bigint
  /**
   * The whole record, a view valid until the next record; undefined when larger than the window.
   */
  readonly bytes: Buffer | undefined
}

/**
 * Why a scan ended: at `toBytes` exactly; at zeros where a header should be; at a header that
 * cannot be one; or at a record that runs past the end.
 */
export type ScanEnd = 'end' | 'zeros' | 'bad-header' | 'cut-short'

export interface ScanOptions {
  readonly version: NeedleVersion
  readonly fromBytes: number
  readonly toBytes: number
  /** Fed with the bytes of each accepted record, in order. */
  readonly checksums?: BlockChecksums
  /** Awaited after each piece of a record larger than the window. */
  readonly onPiece?: () => Promise<void>
}

/**
 * Walks the records of a `.dat` file by their lengths, reading it sequentially through one window.
 * It follows the length chain only and never searches for something that looks like a header:
 * user data may look like one.
 */
export class RecordScanner {
  readonly #file: DiskFile
  readonly #options: ScanOptions
  readonly #window = Buffer.allocUnsafe(WINDOW_BYTES)
  #windowAt = 0
  #windowBytes = 0
  #position: number
  #end: ScanEnd | undefined

  constructor(file: DiskFile, options: ScanOptions) {
    this.#file = file
    this.#options = options
    this.#position = options.fromBytes
  }

  /** End of the last record returned. */
  get positionBytes(): number {
    return this.#position
  }

  get end(): ScanEnd | undefined {
    return this.#end
  }

  /** Goes on at another place, for callers that know where the next record starts. */
  seek(positionBytes: number): void {
    this.#position = positionBytes
    this.#end = undefined
  }

  /** Whether the chain leads from here to a record with data that matches its checksum. */
  async hasIntactRecordAhead(): Promise<boolean> {
    const { version, toBytes } = this.#options
    const ahead = new RecordScanner(this.#file, { version, fromBytes: this.#position, toBytes })
    for (let record = await ahead.next(); record !== undefined; record = await ahead.next()) {
      if (record.isIntact && record.header.sizeBytes > 0) return true
    }
    return false
  }

  /** @throws {StoreError} DISK_FAILED: the file cannot be read. */
  async next(): Promise<ScannedRecord | undefined> {
    if (this.#end !== undefined) return undefined
    const header = await this.#readHeader()
    if (header === undefined) return undefined
    const offsetBytes = this.#position
    const length = recordBytes(header.sizeBytes, this.#options.version)
    if (offsetBytes + length > this.#options.toBytes) {
      this.#end = 'cut-short'
      return undefined
    }
    this.#position = offsetBytes + length
    return length <= WINDOW_BYTES
      ? await this.#readSmall(header, offsetBytes, length)
      : await this.#readLarge(header, offsetBytes, length)
  }

  async #readHeader(): Promise<NeedleHeader | undefined> {
    const left = this.#options.toBytes - this.#position
    if (left === 0) this.#end = 'end'
    else if (left < NEEDLE_HEADER_BYTES) this.#end = 'cut-short'
    if (this.#end !== undefined) return undefined
    const at = await this.#fill(this.#position, NEEDLE_HEADER_BYTES)
    if (isZero(this.#window, at, at + NEEDLE_HEADER_BYTES)) this.#end = 'zeros'
    else if (this.#window.readInt32BE(at + 12) < 0) this.#end = 'bad-header'
    return this.#end === undefined ? decodeNeedleHeader(this.#window, at) : undefined
  }

  async #readSmall(
    header: NeedleHeader,
    offsetBytes: number,
    length: number,
  ): Promise<ScannedRecord> {
    const at = await this.#fill(offsetBytes, length)
    const bytes = this.#window.subarray(at, at + length)
    this.#options.checksums?.extend(bytes)
    const crcAt = NEEDLE_HEADER_BYTES + header.sizeBytes
    const checksum = bytes.readUInt32BE(crcAt)
    let isIntact = header.sizeBytes === 0
    let dataChecksum = 0
    const extent = this.#extent(bytes, header.sizeBytes)
    if (extent !== undefined && !isIntact) {
      dataChecksum = crc32c(bytes.subarray(extent.dataAt, extent.dataEnd))
      isIntact = matchesChecksum(dataChecksum, checksum)
    }
    const appendAtNs = this.#appendAtNs(bytes, crcAt + NEEDLE_CHECKSUM_BYTES)
    const sums = { checksum, dataChecksum }
    return { offsetBytes, recordBytes: length, header, isIntact, ...sums, appendAtNs, bytes }
  }

  /** Checks a record larger than the window piece by piece. */
  async #readLarge(
    header: NeedleHeader,
    offsetBytes: number,
    length: number,
  ): Promise<ScannedRecord> {
    const tailAt = NEEDLE_HEADER_BYTES + header.sizeBytes
    let extent = { dataAt: 0, dataEnd: 0 }
    let isIntact = true
    let computed = 0
    let done = 0
    while (done < length) {
      const wanted = Math.min(WINDOW_BYTES, length - done)
      const at = await this.#fill(offsetBytes + done, wanted)
      const piece = this.#window.subarray(at, at + wanted)
      if (done === 0) {
        const found = this.#extent(piece, header.sizeBytes)
        isIntact = found !== undefined
        extent = found ?? extent
      }
      const from = Math.max(extent.dataAt - done, 0)
      const to = Math.min(extent.dataEnd - done, wanted)
      if (from < to) computed = crc32c(piece.subarray(from, to), computed)
      this.#options.checksums?.extend(piece)
      done += wanted
      await this.#options.onPiece?.()
    }
    const stampBytes = this.#options.version === 3 ? NEEDLE_TIMESTAMP_BYTES : 0
    const tailBytes = NEEDLE_CHECKSUM_BYTES + stampBytes
    const at = await this.#fill(offsetBytes + tailAt, tailBytes)
    const checksum = this.#window.readUInt32BE(at)
    const appendAtNs = this.#appendAtNs(this.#window, at + NEEDLE_CHECKSUM_BYTES)
    isIntact = isIntact && matchesChecksum(computed, checksum)
    return {
      offsetBytes,
      recordBytes: length,
      header,
      isIntact,
      checksum,
      dataChecksum: computed,
      appendAtNs,
      bytes: undefined,
    }
  }

  #extent(record: Buffer, sizeBytes: number): { dataAt: number; dataEnd: number } | undefined {
    const { version } = this.#options
    if (sizeBytes === 0) return undefined
    if (version === 1) return dataExtent(viewOf(record), NEEDLE_HEADER_BYTES, sizeBytes, version)
    const dataBytes = record.readUInt32BE(NEEDLE_HEADER_BYTES)
    if (dataBytes + NEEDLE_DATA_AT > NEEDLE_HEADER_BYTES + sizeBytes) return undefined
    return dataExtent(viewOf(record), NEEDLE_HEADER_BYTES, sizeBytes, version)
  }

  #appendAtNs(source: Buffer, at: number): bigint {
    return this.#options.version === 3 ? source.readBigUInt64BE(at) : 0n
  }

  /** Brings `length` bytes at `position` into the window; returns where they start in it. */
  async #fill(position: number, length: number): Promise<number> {
    const at = position - this.#windowAt
    if (at >= 0 && at + length <= this.#windowBytes) return at
    const wanted = Math.min(WINDOW_BYTES, this.#options.toBytes - position)
    this.#windowAt = position
    this.#windowBytes = await this.#file.read(this.#window, 0, wanted, position)
    if (this.#windowBytes < length) this.#window.fill(0, this.#windowBytes, length)
    return 0
  }
}

function isZero(source: Buffer, at: number, end: number): boolean {
  for (let index = at; index < end; index++) if (source[index] !== 0) return false
  return true
}
