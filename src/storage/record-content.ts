import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import {
  dataExtent,
  matchesChecksum,
  NEEDLE_DATA_AT,
  NEEDLE_HEADER_BYTES,
  type NeedleVersion,
  viewOf,
} from '../format/needle.ts'
import { decodeAttributes, type NeedleAttributes } from '../format/needle-attributes.ts'
import { type DiskFile, readFully } from '../runtime/disk.ts'
import type { ScannedRecord } from './record-scanner.ts'

export interface RecordContent {
  /** Where the data starts in `.dat`. */
  readonly dataAt: number
  readonly dataBytes: number
  readonly attributes: NeedleAttributes
}

/**
 * What a record says beside its data. Nothing of the data is read, however long it is.
 *
 * @throws {StoreError} NEEDLE_CORRUPT: its lengths contradict each other, or its pairs are no JSON.
 */
export async function readRecordContent(
  dat: DiskFile,
  record: ScannedRecord,
  version: NeedleVersion,
): Promise<RecordContent> {
  const { sizeBytes } = record.header
  const { offsetBytes } = record
  if (version === 1 || sizeBytes === 0) {
    const dataAt = offsetBytes + NEEDLE_HEADER_BYTES
    return { dataAt, dataBytes: sizeBytes, attributes: {} }
  }
  const bodyEnd = NEEDLE_HEADER_BYTES + sizeBytes
  const head = record.bytes ?? (await readFully(dat, NEEDLE_DATA_AT, offsetBytes))
  const { dataAt, dataEnd } = dataExtent(viewOf(head), NEEDLE_HEADER_BYTES, sizeBytes, version)
  const tail =
    record.bytes?.subarray(dataEnd, bodyEnd) ??
    (await readFully(dat, bodyEnd - dataEnd, offsetBytes + dataEnd))
  return {
    dataAt: offsetBytes + dataAt,
    dataBytes: dataEnd - dataAt,
    attributes: decodeAttributes(tail, 0, tail.length),
  }
}

/**
 * The data of a record in pieces. The last one is handed out only when the whole has matched its
 * checksum, so nobody ever holds a complete wrong copy.
 *
 * @throws {StoreError} NEEDLE_CORRUPT, DISK_FAILED, CANCELLED.
 */
export async function* readRecordData(
  dat: DiskFile,
  record: ScannedRecord,
  content: RecordContent,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const { dataAt, dataBytes } = content
  let crc = 0
  for (let done = 0; done < dataBytes; ) {
    if (signal.aborted) throw new StoreError('CANCELLED', 'cancelled while reading a needle')
    const length = Math.min(LIMITS.streamPiece.value, dataBytes - done)
    const piece = await readFully(dat, length, dataAt + done)
    if (piece.length < length) throw new StoreError('NEEDLE_CORRUPT', '.dat ends within a needle')
    crc = crc32c(piece, crc)
    done += length
    if (done === dataBytes) checkData(record, crc)
    yield piece
  }
  if (dataBytes === 0 && record.header.sizeBytes > 0) checkData(record, crc)
}

function checkData(record: ScannedRecord, crc: number): void {
  if (matchesChecksum(crc, record.checksum)) return
  throw new StoreError('NEEDLE_CORRUPT', 'the data does not match its checksum')
}
