import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import {
  encodeNeedleHead,
  encodeNeedleTail,
  NEEDLE_DATA_AT,
  needleTailBytes,
} from '../format/needle.ts'
import { type DiskFile, writeFully } from '../runtime/disk.ts'
import type { Generation } from './generation.ts'
import type { PendingPut } from './pending-write.ts'

/**
 * Appends a needle larger than a batch, piece by piece; its data may lie in a spool file. The head
 * is synced first: if power fails in the middle, the scan at the next start finds a record that
 * runs past the end or does not match its checksum, and knows that it is one unfinished needle
 * however much of it is there.
 */
export async function appendLargeNeedle(
  generation: Generation,
  put: PendingPut,
  sync: () => Promise<void>,
): Promise<void> {
  const { needle } = put
  const { dat, checksums } = generation
  let at = generation.endBytes
  const append = async (bytes: Uint8Array): Promise<void> => {
    const writing = writeFully(dat, [bytes], at)
    checksums.extend(bytes)
    await writing
    at += bytes.length
  }
  const head = Buffer.allocUnsafe(NEEDLE_DATA_AT)
  encodeNeedleHead(needle, head, 0)
  await append(head)
  await sync()
  for (let done = 0; done < needle.dataBytes; ) {
    const piece = await readPiece(put, done)
    await append(piece)
    done += piece.length
  }
  const tail = Buffer.allocUnsafe(needleTailBytes(needle))
  encodeNeedleTail(needle, generation.clock.tick(), tail, 0)
  await append(tail)
}

async function readPiece(put: PendingPut, done: number): Promise<Uint8Array> {
  const { needle, spool } = put
  const length = Math.min(LIMITS.streamPiece.value, needle.dataBytes - done)
  if (spool === undefined) return needle.data.subarray(done, done + length)
  const piece = Buffer.allocUnsafe(length)
  const got = await spool.read(piece, 0, length, done)
  if (got !== length) throw new StoreError('DISK_FAILED', `the spool file ended at ${done + got}`)
  return piece
}

/** One `writev` for a batch; what fits the page cache quickly is written on this thread. */
export async function writeAt(
  file: DiskFile,
  buffers: readonly Uint8Array[],
  totalBytes: number,
  position: number,
): Promise<void> {
  if (totalBytes > LIMITS.syncWriteMax.value) return writeFully(file, buffers, position)
  const written = file.writevSync(buffers, position)
  if (written === totalBytes) return
  await writeFully(file, [Buffer.concat(buffers).subarray(written)], position + written)
}
