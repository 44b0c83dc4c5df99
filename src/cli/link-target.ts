import { StoreError } from '../base/store-error.ts'
import type { ExportEntry } from './export-volume.ts'

/** As long as a path can be. */
const TARGET_MAX_BYTES = 4096

/**
 * Where a symbolic link is to point, as it was packed: bytes, since it need not be UTF-8.
 *
 * @throws {StoreError} NEEDLE_INVALID: nothing a link could point to. NEEDLE_CORRUPT.
 */
export async function readLinkTarget(entry: ExportEntry): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of entry.read()) {
    bytes += piece.length
    if (bytes <= TARGET_MAX_BYTES) pieces.push(piece)
  }
  const target = Buffer.concat(pieces)
  if (bytes > 0 && bytes <= TARGET_MAX_BYTES && !target.includes(0)) return target
  throw new StoreError('NEEDLE_INVALID', `${bytes} bytes that are no target of a symbolic link`)
}
