import { cookie, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { decodeNeedle } from '../format/needle.ts'
import type { TailRecord } from '../net/volume-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { ScannedRecord } from '../storage/record-scanner.ts'
import type { VolumeSnapshot } from '../storage/volume-snapshot.ts'

const RECORDS_PER_TURN = 512

/**
 * The records of a snapshot that were appended at or after `sinceNs`, in their order.
 *
 * @throws {StoreError} NEEDLE_CORRUPT: one does not match its checksum. VOLUME_DAMAGED: the chain
 * of records is broken. NEEDLE_TOO_LARGE: one of over 8 MiB, which is to be read by its id.
 */
export async function* tailSnapshot(
  snapshot: VolumeSnapshot,
  options: { readonly volumeId: VolumeId; readonly sinceNs: bigint },
  signal: AbortSignal,
): AsyncGenerator<TailRecord, void, undefined> {
  const { volumeId, sinceNs } = options
  const scanner = snapshot.scan()
  let count = 0
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    if (++count % RECORDS_PER_TURN === 0) await yieldTurn()
    if (signal.aborted) throw cancelledError(signal, 'while reading the tail of a volume')
    if (record.appendAtNs >= sinceNs) yield await tailRecord(snapshot, volumeId, record)
  }
  if (scanner.end === 'end') return
  throw new StoreError('VOLUME_DAMAGED', `no readable record at byte ${scanner.positionBytes}`)
}

async function tailRecord(
  snapshot: VolumeSnapshot,
  volumeId: VolumeId,
  record: ScannedRecord,
): Promise<TailRecord> {
  const { header, appendAtNs, offsetBytes, recordBytes, isIntact } = record
  const fileId = { volumeId, needleId: header.id, cookie: cookie(header.cookie) }
  if (!isIntact) {
    const why = `the record at byte ${offsetBytes} does not match its checksum`
    throw new StoreError('NEEDLE_CORRUPT', why)
  }
  if (header.sizeBytes === 0) {
    return { fileId, appendAtNs, isTombstone: true, data: Buffer.alloc(0), metadata: {} }
  }
  if (recordBytes > LIMITS.wholeReadMax.value) {
    const why = `the record at byte ${offsetBytes} has ${recordBytes} bytes: read it by its id`
    throw new StoreError('NEEDLE_TOO_LARGE', why)
  }
  // What lies in the scanner's window is overwritten when it goes on.
  const bytes =
    record.bytes === undefined
      ? await snapshot.readDat(recordBytes, offsetBytes)
      : Buffer.from(record.bytes)
  const needle = decodeNeedle(bytes, 0, snapshot.version)
  const { data } = needle
  return { fileId, appendAtNs, isTombstone: false, data, metadata: needle.attributes() }
}
