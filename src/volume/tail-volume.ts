import { cookie, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import {
  dataExtent,
  decodeNeedle,
  NEEDLE_DATA_AT,
  NEEDLE_HEADER_BYTES,
  viewOf,
} from '../format/needle.ts'
import type { TailRecord, TailRequest } from '../net/volume-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { ScannedRecord } from '../storage/record-scanner.ts'
import type { VolumeSnapshot } from '../storage/volume-snapshot.ts'

const RECORDS_PER_TURN = 512

/**
 * The records of a snapshot that `request` asks for, in their order.
 *
 * @throws {StoreError} VOLUME_CHANGED: the snapshot ends before `after`. NEEDLE_CORRUPT: a record
 * does not match its checksum. VOLUME_DAMAGED: the chain of records is broken. NEEDLE_TOO_LARGE:
 * one of over 8 MiB, which is to be read by its id, without `after`.
 */
export async function* tailSnapshot(
  snapshot: VolumeSnapshot,
  request: TailRequest,
  signal: AbortSignal,
): AsyncGenerator<TailRecord, void, undefined> {
  const { sinceNs, after } = request
  const scanner = snapshot.scan(after?.datBytes)
  let count = 0
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    if (++count % RECORDS_PER_TURN === 0) await yieldTurn()
    if (signal.aborted) throw cancelledError(signal, 'while reading the tail of a volume')
    if (record.appendAtNs >= sinceNs) yield await tailRecord(snapshot, request, record)
  }
  if (scanner.end === 'end') return
  throw new StoreError('VOLUME_DAMAGED', `no readable record at byte ${scanner.positionBytes}`)
}

async function tailRecord(
  snapshot: VolumeSnapshot,
  request: TailRequest,
  record: ScannedRecord,
): Promise<TailRecord> {
  const { header, appendAtNs, offsetBytes, recordBytes, isIntact } = record
  if (!isIntact) {
    const why = `the record at byte ${offsetBytes} does not match its checksum`
    throw new StoreError('NEEDLE_CORRUPT', why)
  }
  const where = {
    fileId: fileIdOf(request.volumeId, record),
    appendAtNs,
    endBytes: offsetBytes + recordBytes,
  }
  if (header.sizeBytes === 0) {
    const nothing = { data: Buffer.alloc(0), dataBytes: 0, checksum: 0, metadata: {} }
    return { ...where, isTombstone: true, ...nothing }
  }
  const { checksum } = record
  if (recordBytes > LIMITS.wholeReadMax.value) {
    if (request.after === undefined) {
      const why = `the record at byte ${offsetBytes} has ${recordBytes} bytes: read it by its id`
      throw new StoreError('NEEDLE_TOO_LARGE', why)
    }
    const dataBytes = await largeDataBytes(snapshot, record)
    return {
      ...where,
      isTombstone: false,
      data: Buffer.alloc(0),
      dataBytes,
      checksum,
      metadata: {},
    }
  }
  // What lies in the scanner's window is overwritten when it goes on.
  const bytes =
    record.bytes === undefined
      ? await snapshot.readDat(recordBytes, offsetBytes)
      : Buffer.from(record.bytes)
  const needle = decodeNeedle(bytes, 0, snapshot.version)
  const { data } = needle
  const metadata = needle.attributes()
  return { ...where, isTombstone: false, data, dataBytes: data.length, checksum, metadata }
}

async function largeDataBytes(snapshot: VolumeSnapshot, record: ScannedRecord): Promise<number> {
  const { offsetBytes, header } = record
  const head = await snapshot.readDat(NEEDLE_DATA_AT, offsetBytes)
  const view = viewOf(head)
  const extent = dataExtent(view, NEEDLE_HEADER_BYTES, header.sizeBytes, snapshot.version)
  return extent.dataEnd - extent.dataAt
}

function fileIdOf(volumeId: VolumeId, { header }: ScannedRecord) {
  return { volumeId, needleId: header.id, cookie: cookie(header.cookie) }
}
