import type { Clock } from '../runtime/clock.ts'

/** A session that was not renewed for so long has ended; a gateway renews it every second. */
export const SESSION_MS = 4000

/** Of a master that has just begun nobody's session is known: gateways get so long to tell. */
const GRACE_MS = 10_000

/** Which gateways are alive. In memory only: after a restart all have the time to say so again. */
export class GatewaySessions {
  readonly #clock: Clock
  readonly #startedMs: number
  /** By the monotonic clock. */
  readonly #validUntilMs = new Map<string, number>()
  /** Of those that ended since the start, as long as the grace would keep them alive. */
  readonly #ended = new Set<string>()
  readonly #onEnd: ((session: string) => void)[] = []

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock
    this.#startedMs = clock.monotonicMs()
  }

  /** Runs `run` when a session that was alive is not any more; see `expire`. */
  onEnd(run: (session: string) => void): void {
    this.#onEnd.push(run)
  }

  renew(session: string): void {
    this.#ended.delete(session)
    this.#validUntilMs.set(session, this.#clock.monotonicMs() + SESSION_MS)
  }

  end(session: string): void {
    // Told even if it was not known: it may have been forgotten by a restart.
    this.#validUntilMs.delete(session)
    if (this.#isGrace()) this.#ended.add(session)
    else this.#ended.clear()
    for (const run of this.#onEnd) run(session)
  }

  isAlive(session: string): boolean {
    const untilMs = this.#validUntilMs.get(session)
    if (untilMs !== undefined) return this.#clock.monotonicMs() < untilMs
    return this.#isGrace() && !this.#ended.has(session)
  }

  /** Ends those that were not renewed. To be called every now and then. */
  expire(): void {
    const nowMs = this.#clock.monotonicMs()
    for (const [session, untilMs] of this.#validUntilMs) {
      if (nowMs >= untilMs) this.end(session)
    }
  }

  #isGrace(): boolean {
    return this.#clock.monotonicMs() < this.#startedMs + GRACE_MS
  }
}
