import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'

interface Waiter {
  readonly bytes: number
  readonly onTurn: () => void
}

/**
 * Bytes that may be in memory at once for requests under way. Whoever finds no room waits in line,
 * for a minute at most, and is served in the order of arrival:
 *
 *     take → [ heldBytes ≤ bytesMax ]
 *          → [ line, httpBytesWaitersMax ] → room, or OVERLOADED after httpBytesWaitMs
 *          → OVERLOADED
 *
 * More than the whole budget is counted as the whole budget: such a request runs alone.
 */
export class ByteBudget {
  readonly #clock: Clock
  readonly #bytesMax: number
  #heldBytes = 0
  readonly #line = new Set<Waiter>()

  constructor(parts: { readonly clock: Clock }, bytesMax: number) {
    this.#clock = parts.clock
    this.#bytesMax = bytesMax
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  get waitingCount(): number {
    return this.#line.size
  }

  /** False: there is no room now. Otherwise `release` the same number later. */
  tryTake(bytes: number): boolean {
    const counted = Math.min(bytes, this.#bytesMax)
    if (this.#line.size > 0 || this.#heldBytes + counted > this.#bytesMax) return false
    this.#heldBytes += counted
    return true
  }

  /** @throws {StoreError} OVERLOADED: no room in time, or too many wait. CANCELLED. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.tryTake(bytes)) return
    if (this.#line.size >= LIMITS.httpBytesWaitersMax.value) {
      throw new StoreError('OVERLOADED', `${this.#line.size} requests wait for memory already`)
    }
    await this.#waitInLine(Math.min(bytes, this.#bytesMax), signal)
  }

  release(bytes: number): void {
    this.#heldBytes -= Math.min(bytes, this.#bytesMax)
    this.#serveLine()
  }

  #waitInLine(bytes: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#line.delete(waiter)
        aborting[Symbol.dispose]()
        timer[Symbol.dispose]()
      }
      const waiter: Waiter = {
        bytes,
        onTurn: () => {
          leave()
          resolve()
        },
      }
      const giveUp = (code: 'CANCELLED' | 'OVERLOADED', why: string): void => {
        leave()
        reject(new StoreError(code, why))
        this.#serveLine() // Somebody smaller may stand behind.
      }
      const timer = this.#clock.after(LIMITS.httpBytesWaitMs.value, () => {
        giveUp('OVERLOADED', 'too many bytes are on their way already')
      })
      const aborting = onAbort(signal, () => giveUp('CANCELLED', 'cancelled while waiting'))
      this.#line.add(waiter)
    })
  }

  #serveLine(): void {
    for (const waiter of this.#line) {
      if (this.#heldBytes + waiter.bytes > this.#bytesMax) return
      this.#heldBytes += waiter.bytes
      waiter.onTurn()
    }
  }
}
