import { LIMITS } from '../base/limits.ts'
import {
  encodeNeedleHead,
  encodeNeedleTail,
  encodeTombstone,
  NEEDLE_DATA_AT,
  needleTailBytes,
} from '../format/needle.ts'
import type { AppendClock } from './append-clock.ts'
import type { BatchEntry } from './pending-write.ts'

const FIRST_BYTES = 64 * 1024

/**
 * Lays the records of a batch out for one `writev`. Small records are copied into one buffer that
 * is used again for the next batch, which cannot begin before this one is on disk; large data stays
 * where it is, between its head and its tail.
 */
export class BatchBuffer {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES)

  encode(
    batch: readonly BatchEntry[],
    clock: AppendClock,
  ): { readonly buffers: readonly Uint8Array[]; readonly totalBytes: number } {
    this.#reserve(batch)
    const target = this.#bytes
    const buffers: Uint8Array[] = []
    let totalBytes = 0
    let from = 0
    let at = 0
    for (const entry of batch) {
      totalBytes += entry.recordBytes
      const stamp = clock.tick()
      if (entry.kind === 'delete') {
        const { cookie, checksum } = entry
        at = encodeTombstone({ id: entry.write.id, cookie, checksum }, stamp, target, at)
        continue
      }
      const { needle } = entry.write
      at = encodeNeedleHead(needle, target, at)
      if (isCopied(entry)) {
        target.set(needle.data, at)
        at += needle.dataBytes
      } else {
        buffers.push(target.subarray(from, at), needle.data)
        from = at
      }
      at = encodeNeedleTail(needle, stamp, target, at)
    }
    buffers.push(target.subarray(from, at))
    return { buffers, totalBytes }
  }

  #reserve(batch: readonly BatchEntry[]): void {
    let needed = 0
    for (const entry of batch) {
      if (isCopied(entry)) needed += entry.recordBytes
      else if (entry.kind === 'put') needed += NEEDLE_DATA_AT + needleTailBytes(entry.write.needle)
    }
    if (needed <= this.#bytes.length) return
    let capacity = this.#bytes.length
    while (capacity < needed) capacity *= 2
    this.#bytes = Buffer.allocUnsafeSlow(capacity)
  }
}

function isCopied(entry: BatchEntry): boolean {
  return entry.kind === 'delete' || entry.recordBytes <= LIMITS.batchCopyMax.value
}
