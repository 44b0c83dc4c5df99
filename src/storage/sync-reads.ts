import { LIMITS } from '../base/limits.ts'
import type { Clock } from '../runtime/clock.ts'
import type { DiskFile } from '../runtime/disk.ts'
import type { WarmExtents } from './warm-extents.ts'

/** Looking at the clock costs a tenth of a small read. */
const READS_PER_TIMED_READ = 4

/**
 * Reads on this thread of what is warm. Now and then it looks at the clock: a slow read means that
 * the extent was not in memory after all. Two in a row mean that memory is short, so its neighbours
 * are doubted.
 */
export class SyncReads {
  readonly #clock: Clock
  #readCount = 0
  #wasSlow = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Bytes read, as `DiskFile.readSync`. */
  read(
    file: DiskFile,
    warm: WarmExtents,
    target: Buffer,
    at: number,
    length: number,
    offset: number,
  ): number {
    if (++this.#readCount % READS_PER_TIMED_READ !== 0) {
      return file.readSync(target, at, length, offset)
    }
    const startedMs = this.#clock.monotonicMs()
    const got = file.readSync(target, at, length, offset)
    const isSlow = this.#clock.monotonicMs() - startedMs > LIMITS.slowReadMs.value
    if (isSlow) warm.chill(offset, offset + length, this.#wasSlow ? 8 : 0)
    this.#wasSlow = isSlow
    return got
  }
}
