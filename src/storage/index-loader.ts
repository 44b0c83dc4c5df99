import { crc32c } from '../base/crc32c.ts'
import { indexEntryBytes, type OffsetBytes } from '../format/index-entry.ts'
import { NEEDLE_ALIGN_BYTES } from '../format/needle.ts'
import type { DiskFile } from '../runtime/disk.ts'

const CHUNK_ROWS = 256 * 1024

/** Where an index says a Size-0 record is a live empty file rather than a tombstone. */
export interface IndexHints {
  /** Offsets of rows that put an empty file. */
  readonly emptyFiles: ReadonlySet<number>
  /** Offsets named by any row at or after `from`. */
  readonly recorded: ReadonlySet<number>
  /** Ids deleted without a tombstone in `.dat` (rows with offset 0). */
  readonly deletedElsewhere: readonly { readonly hi: number; readonly lo: number }[]
  /** The largest offset of all: what lies behind it came after every row. */
  readonly lastOffsetBytes: number
}

/**
 * Reads the first `lengthBytes` of an `.idx` file in chunks of whole rows; returns their CRC-32C.
 * A partial last row is covered by the checksum but not visited.
 */
export async function readIndexRows(
  file: DiskFile,
  lengthBytes: number,
  offsetBytes: OffsetBytes,
  visit: (rows: Buffer, byteLength: number) => void,
): Promise<number> {
  const rowBytes = indexEntryBytes(offsetBytes)
  const chunk = Buffer.allocUnsafe(Math.min(lengthBytes, CHUNK_ROWS * rowBytes))
  let crc = 0
  for (let at = 0; at < lengthBytes; ) {
    const got = await file.read(chunk, 0, Math.min(chunk.length, lengthBytes - at), at)
    if (got === 0) break
    const bytes = chunk.subarray(0, got)
    crc = crc32c(bytes, crc)
    visit(bytes, got - (got % rowBytes))
    at += got
  }
  return crc
}

/** Collects from an index that is not trusted what `.dat` alone cannot tell. */
export async function collectIndexHints(
  file: DiskFile,
  range: { readonly fromRow: number; readonly lengthBytes: number; readonly recordedFrom: number },
  offsetBytes: OffsetBytes,
): Promise<IndexHints> {
  const emptyFiles = new Set<number>()
  const recorded = new Set<number>()
  const deletedElsewhere: { hi: number; lo: number }[] = []
  const rowBytes = indexEntryBytes(offsetBytes)
  let row = 0
  let lastOffsetBytes = 0
  await readIndexRows(file, range.lengthBytes, offsetBytes, (rows, byteLength) => {
    const view = new DataView(rows.buffer, rows.byteOffset, byteLength)
    for (let at = 0; at < byteLength; at += rowBytes, row++) {
      if (row < range.fromRow) continue
      const high = offsetBytes === 5 ? view.getUint8(at + 12) * 2 ** 32 : 0
      const offset = (view.getUint32(at + 8) + high) * NEEDLE_ALIGN_BYTES
      const size = view.getInt32(at + rowBytes - 4)
      const isDeletion = offset === 0 && size < 0
      if (isDeletion) deletedElsewhere.push({ hi: view.getUint32(at), lo: view.getUint32(at + 4) })
      else if (size === 0 && offset > 0) emptyFiles.add(offset)
      if (offset >= range.recordedFrom) recorded.add(offset)
      if (offset > lastOffsetBytes) lastOffsetBytes = offset
    }
  })
  return { emptyFiles, recorded, deletedElsewhere, lastOffsetBytes }
}

/** The smallest record offset above `positionBytes` that the index knows. */
export async function nextRecordedOffset(
  file: DiskFile,
  lengthBytes: number,
  offsetBytes: OffsetBytes,
  positionBytes: number,
): Promise<number | undefined> {
  let next = Number.POSITIVE_INFINITY
  const rowBytes = indexEntryBytes(offsetBytes)
  await readIndexRows(file, lengthBytes, offsetBytes, (rows, byteLength) => {
    const view = new DataView(rows.buffer, rows.byteOffset, byteLength)
    for (let at = 0; at < byteLength; at += rowBytes) {
      const high = offsetBytes === 5 ? view.getUint8(at + 12) * 2 ** 32 : 0
      const offset = (view.getUint32(at + 8) + high) * NEEDLE_ALIGN_BYTES
      if (offset > positionBytes && offset < next) next = offset
    }
  })
  return Number.isFinite(next) ? next : undefined
}
