import { type FileId, formatFileId } from '../base/file-id.ts'
import { isStoreError } from '../base/store-error.ts'
import { needlesBehind } from '../client/file-needles.ts'
import type { ByteRange, NeedleContent } from '../net/volume-api.ts'
import { mapBounded } from '../runtime/map-bounded.ts'

export interface DeleteFileParts {
  readonly read: (
    fileId: FileId,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ) => Promise<NeedleContent>
  /** No error when it is not there. */
  readonly deleteNeedle: (fileId: FileId, signal: AbortSignal) => Promise<void>
}

/** Enough to keep a few servers busy. */
const NEEDLES_AT_ONCE = 8

/**
 * Deletes a file with all its chunks and shards, those first: what is cut short can be deleted
 * again.
 *
 * @throws {StoreError} As `read` and `deleteNeedle`.
 */
export async function deleteFile(
  parts: DeleteFileParts,
  fileId: FileId,
  signal: AbortSignal,
): Promise<void> {
  const { deleteNeedle, read } = parts
  let needles: readonly FileId[] = []
  try {
    const readIt = (range: ByteRange | undefined) => read(fileId, range, signal)
    needles = await needlesBehind(readIt, formatFileId(fileId))
  } catch (error) {
    // Deleted before, or overwritten by somebody who had another cookie.
    if (!isStoreError(error, 'NEEDLE_NOT_FOUND', 'COOKIE_MISMATCH')) throw error
  }
  await mapBounded(needles, NEEDLES_AT_ONCE, (needle) => deleteNeedle(needle, signal), signal)
  await deleteNeedle(fileId, signal)
}
