import { StoreError } from '../base/store-error.ts'
import type { BufferShelf, LentBytes } from './buffer-shelf.ts'
import type { DiskFile } from './disk.ts'

/**
 * The bytes of a file from `fromBytes` up to `toBytes`, in memory that is used again, a piece
 * ahead: whoever takes a piece releases it once its bytes are on their way. Those that nobody takes
 * are released here.
 *
 * @throws {StoreError} DISK_FAILED: the file ends before, or cannot be read.
 */
export async function* readAhead(
  file: DiskFile,
  { fromBytes, toBytes }: { readonly fromBytes: number; readonly toBytes: number },
  shelf: BufferShelf,
): AsyncGenerator<LentBytes, void, undefined> {
  const readAt = (at: number): Promise<LentBytes> | undefined => {
    if (at >= toBytes) return undefined
    const reading = readInto(file, shelf.take(Math.min(shelf.sizeBytes, toBytes - at)), at)
    reading.catch(() => 'it is awaited when it is its turn')
    return reading
  }
  let at = fromBytes
  let ahead = readAt(at)
  try {
    while (ahead !== undefined) {
      const piece: LentBytes = await ahead
      at += piece.bytes.length
      ahead = readAt(at)
      yield piece
    }
  } finally {
    // The disk may still write into it.
    const unused = await ahead?.catch(() => undefined)
    unused?.release()
  }
}

async function readInto(file: DiskFile, piece: LentBytes, at: number): Promise<LentBytes> {
  const { length } = piece.bytes
  const got = await file.read(piece.bytes, 0, length, at)
  if (got === length) return piece
  piece.release()
  throw new StoreError(
    'DISK_FAILED',
    `the file ends at byte ${at + got}, within what was asked for`,
  )
}
