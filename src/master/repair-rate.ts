import type { Clock } from '../runtime/clock.ts'

const BUCKET_MS = 1000
const BUCKETS = 30

/** Bytes a second, of the last half minute. */
export class RepairRate {
  readonly #clock: Clock
  readonly #bytes = new Array<number>(BUCKETS).fill(0)
  /** Number of the second that the newest bucket stands for. */
  #second = 0
  #sinceSecond = -1

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(bytes: number): void {
    if (!(bytes > 0)) return
    this.#turn()
    if (this.#sinceSecond < 0) this.#sinceSecond = this.#second
    const at = this.#second % BUCKETS
    this.#bytes[at] = (this.#bytes[at] ?? 0) + bytes
  }

  /** 0: nothing was copied lately. */
  get bytesPerS(): number {
    this.#turn()
    const total = this.#bytes.reduce((sum, bytes) => sum + bytes, 0)
    if (total === 0) return 0
    const seconds = Math.min(BUCKETS, this.#second - this.#sinceSecond + 1)
    return Math.round(total / seconds)
  }

  #turn(): void {
    const second = Math.floor(this.#clock.monotonicMs() / BUCKET_MS)
    const passed = Math.min(BUCKETS, second - this.#second)
    for (let step = 1; step <= passed; step++) this.#bytes[(second - passed + step) % BUCKETS] = 0
    this.#second = second
    // After a pause the mean is that of the work since.
    if (passed === BUCKETS) this.#sinceSecond = -1
  }
}
