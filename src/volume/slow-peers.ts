import { LRUCache } from 'lru-cache'
import { LIMITS } from '../base/limits.ts'
import type { Clock } from '../runtime/clock.ts'

interface Slow {
  readonly untilMs: number
  /** One write is finding out whether it answers again. */
  isTried: boolean
}

/**
 * Servers that did not answer in time lately. Writes that need one fail at once instead of waiting
 * as long as the first did; after `LIMITS.slowPeerMs` one of them tries it, alone.
 */
export class SlowPeers {
  readonly #clock: Clock
  readonly #slow = new LRUCache<string, Slow>({ max: LIMITS.volumeConnectionsMax.value })

  constructor(parts: { readonly clock: Clock }) {
    this.#clock = parts.clock
  }

  isAvoided(url: string): boolean {
    const slow = this.#slow.get(url)
    return slow !== undefined && (slow.isTried || this.#clock.monotonicMs() < slow.untilMs)
  }

  /** To be followed by `end`. */
  begin(url: string): void {
    const slow = this.#slow.get(url)
    if (slow !== undefined) slow.isTried = true
  }

  end(url: string, hasTimedOut: boolean): void {
    if (!hasTimedOut) {
      this.#slow.delete(url)
      return
    }
    const untilMs = this.#clock.monotonicMs() + LIMITS.slowPeerMs.value
    this.#slow.set(url, { untilMs, isTried: false })
  }
}
