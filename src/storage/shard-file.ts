import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { readSpan, type ShardSlices, spanBytesOf } from '../erasure/shard-slices.ts'
import type { Clock } from '../runtime/clock.ts'
import type { DiskFile } from '../runtime/disk.ts'
import { SyncReads } from './sync-reads.ts'
import { WarmExtents } from './warm-extents.ts'

/** The open file of a shard, of a known length. What is read is not verified. */
export class ShardFile {
  readonly file: DiskFile
  readonly #shardBytes: number
  readonly #warm = new WarmExtents()
  readonly #sync: SyncReads

  constructor(parts: { readonly clock: Clock }, file: DiskFile, shardBytes: number) {
    this.file = file
    this.#shardBytes = shardBytes
    this.#sync = new SyncReads(parts.clock)
  }

  /** Fills `into`. @throws {StoreError} RANGE_INVALID: it is not within the shard. DISK_FAILED. */
  async read(into: Buffer, at: number): Promise<void> {
    this.#checkRange(at, into.length)
    if (this.#isQuick(into.length, at, at + into.length)) return this.#readSync(into, at)
    const got = await this.file.read(into, 0, into.length, at)
    if (got !== into.length) throw this.#endsEarly(at + got)
    this.#warm.warm(at, at + into.length)
  }

  /** Fills `into` with the slices, one after the other. @throws {StoreError} as `read`. */
  async readSlices(into: Buffer, slices: ShardSlices): Promise<void> {
    const { at, lengthBytes, count, strideBytes } = slices
    const spanBytes = spanBytesOf(slices)
    this.#checkRange(at, spanBytes)
    if (!this.#isQuick(into.length, at, at + spanBytes)) {
      return await readSpan(slices, (span, from) => this.read(span, from), into)
    }
    for (let slice = 0; slice < count; slice++) {
      const part = into.subarray(slice * lengthBytes, (slice + 1) * lengthBytes)
      this.#readSync(part, at + slice * strideBytes)
    }
  }

  async close(): Promise<void> {
    await this.file.close()
  }

  /** Whether so many bytes are read faster on this thread than the thread pool could be asked. */
  #isQuick(bytes: number, from: number, to: number): boolean {
    return bytes <= LIMITS.syncReadMax.value && this.#warm.isWarm(from, to)
  }

  #readSync(into: Buffer, at: number): void {
    const got = this.#sync.read(this.file, this.#warm, into, 0, into.length, at)
    if (got !== into.length) throw this.#endsEarly(at + got)
  }

  #checkRange(at: number, bytes: number): void {
    if (at >= 0 && bytes >= 0 && at + bytes <= this.#shardBytes) return
    const why = `bytes ${at} to ${at + bytes} of a shard with ${this.#shardBytes}`
    throw new StoreError('RANGE_INVALID', why)
  }

  #endsEarly(at: number): StoreError {
    return new StoreError('DISK_FAILED', `${this.file.path} ends at byte ${at}`)
  }
}
