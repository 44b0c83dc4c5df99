const NS_PER_MS = 1_000_000n
const LOW_32 = 0xffff_ffffn

/**
 * The `appendAtNs` stamps of one volume: wall-clock nanoseconds, strictly increasing even when the
 * clock stands still or steps back. Held as two 32-bit halves so that a stamp costs an addition.
 */
export class AppendClock {
  hi = 0
  lo = 0

  constructor(lastNs: bigint) {
    this.#set(lastNs)
  }

  /** Moves up to the wall clock if that is ahead. Once per batch. */
  advanceTo(nowMs: number): void {
    this.raiseTo(BigInt(Math.floor(nowMs)) * NS_PER_MS)
  }

  /** A record with this stamp exists. */
  raiseTo(ns: bigint): void {
    if (ns > this.lastNs) this.#set(ns)
  }

  /** Steps to the next stamp; read it from `hi` and `lo`. */
  tick(): this {
    this.lo = (this.lo + 1) >>> 0
    if (this.lo === 0) this.hi++
    return this
  }

  get lastNs(): bigint {
    return (BigInt(this.hi) << 32n) | BigInt(this.lo)
  }

  #set(ns: bigint): void {
    this.hi = Number(ns >> 32n)
    this.lo = Number(ns & LOW_32)
  }
}
