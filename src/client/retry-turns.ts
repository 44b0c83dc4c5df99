import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, StoreError } from '../base/store-error.ts'
import { RETRY } from '../net/retry.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'

export interface RetryParts {
  readonly clock: Clock
  readonly random: Random
}

const FIRST_DELAY_MS = 50
const DELAY_MS_MAX = 2000

/**
 * The attempts of one operation: counted, timed, and further apart each time. Delays are half
 * chance, so that clients that failed together do not come back together.
 */
export class RetryTurns {
  readonly #parts: RetryParts
  readonly #signal: AbortSignal
  readonly #untilMs: number
  #failedCount = 0

  constructor(
    parts: RetryParts,
    signal: AbortSignal,
    retryMs: number = LIMITS.clientRetryMs.value,
  ) {
    this.#parts = parts
    this.#signal = signal
    this.#untilMs = parts.clock.monotonicMs() + retryMs
  }

  /**
   * Returns when it is time for the next attempt, and says where it makes sense. The first attempt
   * elsewhere comes at once.
   *
   * @throws {StoreError} `error` when trying again is of no use; its code when attempts or time are
   * used up; CANCELLED: the signal aborted. Anything that is no `StoreError`: itself.
   */
  async next(error: unknown): Promise<'same-node' | 'other-node'> {
    const retry = retryOf(error)
    if (retry === 'never' || !(error instanceof StoreError)) throw error
    await this.pause(error, retry === 'other-node')
    return retry
  }

  /** As `next`, for a failure that the caller knows is worth another attempt. */
  async pause(error: StoreError, isElsewhere: boolean): Promise<void> {
    if (this.#signal.aborted) throw cancelledError(this.#signal, 'between two attempts')
    this.#failedCount++
    const { clock } = this.#parts
    const delayMs = this.#delayMs(isElsewhere)
    const isSpent = clock.monotonicMs() + delayMs > this.#untilMs
    if (isSpent || this.#failedCount >= LIMITS.clientAttemptsMax.value) {
      const times = `${this.#failedCount} ${this.#failedCount === 1 ? 'attempt' : 'attempts'}`
      throw new StoreError(error.code, `gave up after ${times}: ${error.message}`, { cause: error })
    }
    if (delayMs > 0) await clock.sleep(delayMs, this.#signal)
  }

  #delayMs(isElsewhere: boolean): number {
    if (isElsewhere && this.#failedCount === 1) return 0
    const fullMs = Math.min(DELAY_MS_MAX, FIRST_DELAY_MS * 2 ** (this.#failedCount - 1))
    return fullMs / 2 + (fullMs / 2) * (this.#parts.random.u32() / 2 ** 32)
  }
}

/** A call of the master, again and again while its failure may pass. */
export async function retryMaster<Result>(
  parts: RetryParts,
  call: () => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  let turns: RetryTurns | undefined
  for (;;) {
    try {
      return await call()
    } catch (error) {
      turns ??= new RetryTurns(parts, signal)
      await turns.next(error)
    }
  }
}

export function retryOf(error: unknown): 'never' | 'same-node' | 'other-node' {
  return error instanceof StoreError ? RETRY[error.code] : 'never'
}

/** After these a write may have been stored all the same. */
const UNSETTLED: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CANCELLED',
  'CHECKSUM_MISMATCH',
  'CLOSED',
  'DISK_FAILED',
  'PEER_FAILED',
  'REPLICATION_FAILED',
  'TIMEOUT',
  'UNAVAILABLE',
  'VOLUME_FAILED',
])

export function isUnsettled(error: unknown): boolean {
  return error instanceof StoreError && UNSETTLED.has(error.code)
}
