import { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { Deadline, orCancelled } from './deadline.ts'

export interface WarmUpParts {
  readonly clock: Clock
  readonly logger: Logger
}

export interface WarmUpOptions {
  /** Servers known from before the start. */
  readonly knownUrls: Iterable<string>
  readonly maxMs: number
}

const SHARE_NEEDED = 0.9

/**
 * The time after a start in which the master does not know what volumes there are: it must not take
 * what has not been reported for lost, nor make new volumes beside those that will be. It is over
 * when nine of ten servers known from before (or the first one ever) have reported everything they
 * have, or after `maxMs`.
 */
export class WarmUp implements Disposable {
  readonly #parts: WarmUpParts
  readonly #missing: Set<string>
  readonly #missingMax: number
  readonly #timer: Disposable
  readonly #over: Promise<void>
  #finish: () => void = () => undefined
  #isWarming = true

  constructor(parts: WarmUpParts, options: WarmUpOptions) {
    this.#parts = parts
    this.#missing = new Set(options.knownUrls)
    const knownCount = this.#missing.size
    this.#missingMax = knownCount - Math.max(1, Math.ceil(knownCount * SHARE_NEEDED))
    this.#over = new Promise((resolve) => {
      this.#finish = resolve
    })
    this.#timer = parts.clock.after(options.maxMs, () => this.#end('master.warm_up_timed_out'))
  }

  get isWarming(): boolean {
    return this.#isWarming
  }

  /** Resolves when it is over. */
  get over(): Promise<void> {
    return this.#over
  }

  /** Servers that are not back. */
  get missingCount(): number {
    return this.#missing.size
  }

  onFullHeartbeat(url: string): void {
    if (!this.#isWarming) return
    this.#missing.delete(url)
    if (this.#missing.size <= Math.max(0, this.#missingMax)) this.#end('master.warm_up_done')
  }

  /** @throws {StoreError} WARMING_UP: it is not over after `waitMs`. CANCELLED. */
  async wait(waitMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#isWarming) return
    using deadline = new Deadline(this.#parts.clock, waitMs, signal)
    try {
      await orCancelled(this.#over, deadline.signal)
    } catch (error) {
      if (deadline.hasPassed) throw this.#error()
      throw error
    }
  }

  /** @throws {StoreError} WARMING_UP */
  check(): void {
    if (this.#isWarming) throw this.#error()
  }

  #error(): StoreError {
    const missing = this.#missing.size
    const what = missing === 0 ? 'a volume server' : `${missing} volume servers known from before`
    return new StoreError('WARMING_UP', `this master has just started and waits for ${what}`)
  }

  #end(event: string): void {
    this.#isWarming = false
    this.#timer[Symbol.dispose]()
    this.#parts.logger.info(event, { missing: [...this.#missing] })
    this.#finish()
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]()
  }
}
