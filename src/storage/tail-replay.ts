import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import {
  matchesChecksum,
  NEEDLE_DATA_AT,
  NEEDLE_HEADER_BYTES,
  type NeedleVersion,
} from '../format/needle.ts'
import { decodeAttributes } from '../format/needle-attributes.ts'
import type { AppendClock } from './append-clock.ts'
import type { BlockChecksums } from './block-checksums.ts'
import type { IndexHints } from './index-loader.ts'
import type { IndexLog } from './index-log.ts'
import type { NeedleMap } from './needle-map.ts'
import type { RecordScanner, ScannedRecord } from './record-scanner.ts'

export interface ReplayTarget {
  readonly map: NeedleMap
  readonly log: IndexLog
  readonly clock: AppendClock
  readonly checksums: BlockChecksums
}

export interface ReplayOptions {
  readonly hints: IndexHints
  readonly version: NeedleVersion
  readonly datBytes: number
  /**
   * Bytes below this were synced and acknowledged: what is wrong there is damage, never a torn
   * tail.
   */
  readonly watermarkBytes: number
  /** The volume syncs before it acknowledges, so a torn tail is at most one batch long. */
  readonly isSynced: boolean
  /** False: the volume comes from elsewhere, or lost its `.sum`; nothing says what was synced. */
  readonly hasSidecar: boolean
}

export interface ReplayResult {
  readonly needles: number
  readonly corruptNeedles: number
  /** End of the last record that counts. Whatever lies behind is a torn tail, or damage. */
  readonly endBytes: number
  readonly isTailTorn: boolean
  /** What is wrong with the bytes at `endBytes`, when they may not be cut. */
  readonly damage: string | undefined
}

/**
 * Indexes the records a scanner finds, in order, and decides where the volume ends.
 *
 * A record whose data does not match its checksum is bit rot when it was acknowledged: it is
 * indexed, so that reads report it and nothing older shows through. It is the torn tail of an
 * unacknowledged batch when nothing vouches for it: it and all behind it do not count. A record
 * is vouched for by the watermark, or by an index row, which is written only after the sync.
 */
export async function replayRecords(
  scanner: RecordScanner,
  target: ReplayTarget,
  options: ReplayOptions,
): Promise<ReplayResult> {
  let needles = 0
  let corruptNeedles = 0
  let endBytes = scanner.positionBytes
  let mark = target.checksums.mark()
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    if (!record.isIntact || isUnfinished(record, target, options)) {
      if (mayBeTorn(record, options) && !(await isInTheMiddle(scanner, options))) {
        target.checksums.rollBack(mark)
        return { needles, corruptNeedles, endBytes, isTailTorn: true, damage: undefined }
      }
      if (!record.isIntact) corruptNeedles++
    }
    indexRecord(record, target, options.hints)
    if (target.log.isFull) await target.log.flush()
    needles++
    endBytes = scanner.positionBytes
    mark = target.checksums.mark()
  }
  const leftBytes = options.datBytes - endBytes
  if (scanner.end === 'end' || leftBytes === 0) {
    return { needles, corruptNeedles, endBytes, isTailTorn: false, damage: undefined }
  }
  const damage = damageAt(endBytes, scanner, options)
  return { needles, corruptNeedles, endBytes, isTailTorn: damage === undefined, damage }
}

/**
 * Whether this may be what is left of an append whose sectors did not all reach the disk. Lost ones
 * read as zeros, and zeros match the checksum of no data: only the stamp and the attributes tell.
 */
function isUnfinished(
  record: ScannedRecord,
  target: ReplayTarget,
  options: ReplayOptions,
): boolean {
  const { appendAtNs, header, bytes, offsetBytes } = record
  if (options.version !== 3 || offsetBytes < options.watermarkBytes) return false
  // Behind a watermark only we have appended, and our stamps increase.
  const lastNs = options.watermarkBytes > 0 ? target.clock.lastNs : 0n
  if (appendAtNs <= lastNs) return true
  if (bytes === undefined || header.sizeBytes === 0 || !record.isIntact) return false
  const bodyEnd = NEEDLE_HEADER_BYTES + header.sizeBytes
  const dataEnd = NEEDLE_DATA_AT + bytes.readUInt32BE(NEEDLE_HEADER_BYTES)
  // A needle may have no attributes at all, but then it has no room for any.
  if (bodyEnd - dataEnd > 1 && bytes[dataEnd] === 0) return true
  try {
    decodeAttributes(bytes, dataEnd, bodyEnd)
    return false
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_CORRUPT')) return true
    throw error
  }
}

function mayBeTorn(record: ScannedRecord, options: ReplayOptions): boolean {
  const { offsetBytes } = record
  if (offsetBytes < options.watermarkBytes || options.hints.recorded.has(offsetBytes)) return false
  if (!options.isSynced) return true
  // A needle larger than a batch is alone in its batch, so it ends the file.
  const leftBytes = options.datBytes - offsetBytes
  return leftBytes <= LIMITS.tornTailMax.value || leftBytes === record.recordBytes
}

/**
 * Where nothing tells what was acknowledged, a bad record with a good one behind it counts as rot,
 * so that one bad byte does not take what follows with it.
 */
async function isInTheMiddle(scanner: RecordScanner, options: ReplayOptions): Promise<boolean> {
  return !options.hasSidecar && (await scanner.hasIntactRecordAhead())
}

function damageAt(
  endBytes: number,
  scanner: RecordScanner,
  options: ReplayOptions,
): string | undefined {
  const leftBytes = options.datBytes - endBytes
  const where = `no readable record at byte ${endBytes} (${scanner.end})`
  const what = `${where}, ${leftBytes} bytes behind it`
  if (endBytes < options.watermarkBytes) return `${what}, below the durable watermark`
  if (options.hints.recorded.has(endBytes)) return `${what}, although the index names one`
  if (!options.isSynced || leftBytes <= LIMITS.tornTailMax.value) return undefined
  if (scanner.end === 'cut-short' && options.hasSidecar) return undefined
  return `${what}, more than one unacknowledged batch can leave`
}

function indexRecord(record: ScannedRecord, target: ReplayTarget, hints: IndexHints): void {
  const { header, offsetBytes } = record
  // The tombstone of a needle with data carries its checksum: a torn row must not bring it back.
  const mayBeEmpty = hints.emptyFiles.has(offsetBytes) && matchesChecksum(0, record.checksum)
  if (header.sizeBytes > 0 || mayBeEmpty) {
    target.map.put(header.id, offsetBytes, header.sizeBytes)
    target.log.put(header.id, offsetBytes, header.sizeBytes)
  } else {
    target.map.delete(header.id, offsetBytes)
    target.log.delete(header.id, offsetBytes)
  }
  target.clock.raiseTo(record.appendAtNs)
}
