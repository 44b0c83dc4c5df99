import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { GrowthConfig } from './config.ts'
import { orCancelled } from './deadline.ts'
import type { Growth } from './growth.ts'
import { formatLayoutKey, type LayoutKey } from './layout-key.ts'
import type { WarmUp } from './warm-up.ts'

export interface GrowthAheadParts {
  readonly growth: Pick<Growth, 'one' | 'neededPlace' | 'startCleaning'>
  readonly warmUp: Pick<WarmUp, 'over'>
  readonly clock: Clock
  readonly logger: Logger
}

interface Demand {
  readonly key: LayoutKey
  lastAskedMs: number
  lastLookedMs: number
  retryAtMs: number
  backoffMs: number
}

/** An assign looks whether its layout runs short at most this often. */
const LOOK_EVERY_MS = 100
const BACKOFF_FIRST_MS = 1000
const BACKOFF_MAX_MS = 60_000

/**
 * Makes volumes before they are missed, for layouts that somebody writes to: in the background, as
 * soon as one falls short, and looking at all of them now and then.
 */
export class GrowthAhead {
  readonly #parts: GrowthAheadParts
  readonly #config: GrowthConfig
  /** In the order in which they were last new: the first is the one to forget. */
  readonly #demands = new Map<string, Demand>()
  #wake: () => void = () => undefined
  #isWoken = false

  constructor(parts: GrowthAheadParts, config: GrowthConfig) {
    this.#parts = parts
    this.#config = config
  }

  get layoutCount(): number {
    return this.#demands.size
  }

  /** Somebody writes to this layout. */
  note(key: LayoutKey): void {
    const nowMs = this.#parts.clock.monotonicMs()
    const text = formatLayoutKey(key)
    let demand = this.#demands.get(text)
    if (demand === undefined) {
      demand = { key, lastAskedMs: nowMs, lastLookedMs: -1, retryAtMs: 0, backoffMs: 0 }
      this.#demands.set(text, demand)
      this.#forgetOldest()
    }
    demand.lastAskedMs = nowMs
    const isDue = demand.lastLookedMs < 0 || nowMs - demand.lastLookedMs >= LOOK_EVERY_MS
    if (!isDue) return
    demand.lastLookedMs = nowMs
    if (demand.retryAtMs <= nowMs && this.#parts.growth.neededPlace(key)) this.#wakeUp()
  }

  /** The collection is being deleted: nobody writes to it any more. */
  forget(collection: string): void {
    for (const [text, { key }] of this.#demands) {
      if (key.collection === collection) this.#demands.delete(text)
    }
  }

  /** There may be room where there was none. */
  onServersChanged(): void {
    for (const demand of this.#demands.values()) {
      demand.retryAtMs = 0
      demand.backoffMs = 0
    }
    this.#wakeUp()
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { warmUp, growth, clock } = this.#parts
    await orCancelled(warmUp.over, signal).catch(() => undefined)
    while (!signal.aborted) {
      this.#isWoken = false
      growth.startCleaning()
      await mapBounded(
        this.#due(),
        LIMITS.layoutsGrownAtOnce.value,
        (demand) => this.#relieve(demand, signal),
        signal,
      ).catch(() => undefined) // Only the signal ends it early: each failure is seen to inside.
      if (this.#isWoken || signal.aborted) continue
      await new Promise<void>((resolve) => {
        const timer = clock.after(this.#config.checkMs, resolve)
        this.#wake = () => {
          timer[Symbol.dispose]()
          resolve()
        }
      })
    }
  }

  /** Ends a pause of `run`, which then sees that its signal aborted. */
  stop(): void {
    this.#wakeUp()
  }

  #wakeUp(): void {
    this.#isWoken = true
    this.#wake()
  }

  #due(): Demand[] {
    const nowMs = this.#parts.clock.monotonicMs()
    const due: Demand[] = []
    for (const [text, demand] of this.#demands) {
      if (nowMs - demand.lastAskedMs > this.#config.idleMs) this.#demands.delete(text)
      else if (demand.retryAtMs <= nowMs) due.push(demand)
    }
    return due
  }

  async #relieve(demand: Demand, signal: AbortSignal): Promise<void> {
    const { growth, clock, logger } = this.#parts
    const { key } = demand
    try {
      // Bounded: what is made and does not count after all is not made for ever.
      for (let made = 0; made < this.#config.writableMax; made++) {
        const place = growth.neededPlace(key)
        if (place === undefined) break
        await growth.one(key, place, signal)
      }
      demand.backoffMs = 0
    } catch (error) {
      if (signal.aborted) return
      const next = demand.backoffMs === 0 ? BACKOFF_FIRST_MS : demand.backoffMs * 2
      demand.backoffMs = Math.min(BACKOFF_MAX_MS, next)
      demand.retryAtMs = clock.monotonicMs() + demand.backoffMs
      const isExpected = isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')
      const fields = { layout: formatLayoutKey(key), retryMs: demand.backoffMs, error }
      if (isExpected) logger.debug('master.growth_impossible', fields)
      else logger.warn('master.growth_failed', fields)
    }
  }

  #forgetOldest(): void {
    for (const oldest of this.#demands.keys()) {
      if (this.#demands.size <= LIMITS.layoutsWatchedMax.value) return
      this.#demands.delete(oldest)
    }
  }
}
