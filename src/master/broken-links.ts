import { LIMITS } from '../base/limits.ts'
import type { Clock } from '../runtime/clock.ts'

export interface BrokenLink {
  readonly from: string
  readonly to: string
  /** By the wall clock: since when it has been reported again and again. */
  readonly sinceMs: number
}

interface LinkRecord extends BrokenLink {
  lastReportedMs: number
}

/** A link that was not reported for so long is believed to be whole. */
const REMEMBER_MS = 60_000

/**
 * Pairs of volume servers of which one could not reach the other lately, although the master
 * reaches both: the fault of a network, which only they can see. In memory: after a restart they
 * tell again.
 */
export class BrokenLinks {
  readonly #clock: Clock
  /** In the order of the last report: the first is the first to be forgotten. */
  readonly #links = new Map<string, LinkRecord>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get count(): number {
    this.#forgetOld()
    return this.#links.size
  }

  note(from: string, unreached: readonly string[]): void {
    this.#forgetOld()
    for (const to of unreached) {
      if (to === from || to === '') continue
      const key = linkKey(from, to)
      const sinceMs = this.#links.get(key)?.sinceMs ?? this.#clock.nowMs()
      this.#links.delete(key)
      this.#links.set(key, { from, to, sinceMs, lastReportedMs: this.#clock.monotonicMs() })
    }
    for (const oldest of this.#links.keys()) {
      if (this.#links.size <= LIMITS.brokenLinksMax.value) break
      this.#links.delete(oldest)
    }
  }

  /** In either direction. */
  isCut(url: string, otherUrl: string): boolean {
    if (this.#links.size === 0) return false
    this.#forgetOld()
    return this.#links.has(linkKey(url, otherUrl)) || this.#links.has(linkKey(otherUrl, url))
  }

  /** Whether two of these cannot reach each other. */
  isAnyCut(urls: readonly string[]): boolean {
    if (this.#links.size === 0) return false
    return urls.some((url, at) => urls.slice(at + 1).some((other) => this.isCut(url, other)))
  }

  /** The server has just started, or is back: what others found before says nothing any more. */
  onJoined(url: string): void {
    for (const [key, link] of this.#links) {
      if (link.from === url || link.to === url) this.#links.delete(key)
    }
  }

  list(): BrokenLink[] {
    this.#forgetOld()
    return Array.from(this.#links.values(), ({ from, to, sinceMs }) => ({ from, to, sinceMs }))
  }

  #forgetOld(): void {
    const untilMs = this.#clock.monotonicMs() - REMEMBER_MS
    for (const [key, { lastReportedMs }] of this.#links) {
      if (lastReportedMs > untilMs) return
      this.#links.delete(key)
    }
  }
}

function linkKey(from: string, to: string): string {
  return `${from} ${to}`
}
