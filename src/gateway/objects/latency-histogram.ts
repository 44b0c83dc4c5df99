/** Each bucket ends 2 % above where it begins: what is read from it is at most 1 % off. */
const GROWTH = 1.02
const LOG_GROWTH = Math.log(GROWTH)
const FIRST_MS = 0.001
const LAST_MS = 3_600_000
const BUCKETS = Math.ceil(Math.log(LAST_MS / FIRST_MS) / LOG_GROWTH) + 1

export interface LatencySummary {
  readonly minMs: number
  readonly meanMs: number
  readonly medianMs: number
  readonly p95Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

const NOTHING: LatencySummary = {
  minMs: 0,
  meanMs: 0,
  medianMs: 0,
  p95Ms: 0,
  p99Ms: 0,
  maxMs: 0,
}

/**
 * Times from a microsecond to an hour, in ms: a fixed number of counters, however many there are.
 * Least, mean and most are exact; quantiles are off by 1 % at most.
 */
export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS)
  #count = 0
  #sumMs = 0
  #minMs = Number.POSITIVE_INFINITY
  #maxMs = 0

  get count(): number {
    return this.#count
  }

  get sumMs(): number {
    return this.#sumMs
  }

  record(ms: number): void {
    const bucket = Math.floor(Math.log(Math.max(FIRST_MS, ms) / FIRST_MS) / LOG_GROWTH)
    const index = Math.min(BUCKETS - 1, bucket)
    this.#counts[index] = (this.#counts[index] ?? 0) + 1
    this.#count++
    this.#sumMs += ms
    this.#minMs = Math.min(this.#minMs, ms)
    this.#maxMs = Math.max(this.#maxMs, ms)
  }

  /** All 0 when nothing was recorded. */
  summary(): LatencySummary {
    if (this.#count === 0) return NOTHING
    return {
      minMs: this.#minMs,
      meanMs: this.#sumMs / this.#count,
      medianMs: this.#quantile(0.5),
      p95Ms: this.#quantile(0.95),
      p99Ms: this.#quantile(0.99),
      maxMs: this.#maxMs,
    }
  }

  /** By nearest rank. */
  #quantile(share: number): number {
    const rank = Math.ceil(share * this.#count)
    let seen = 0
    for (let index = 0; index < BUCKETS; index++) {
      seen += this.#counts[index] ?? 0
      if (seen < rank) continue
      const middleMs = FIRST_MS * GROWTH ** (index + 0.5)
      return Math.min(this.#maxMs, Math.max(this.#minMs, middleMs))
    }
    return this.#maxMs
  }
}
