import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from './abort.ts'

/**
 * A fixed number of slots and a bounded line of waiters, served in the order they came. A freed
 * slot goes straight to the first in line: nobody who arrives later can take it.
 *
 *     acquire → [ free slot ]            held by at most `slots`
 *             → [ line, waitersMax ]     → slot, or CANCELLED
 *             → OVERLOADED
 */
export class Semaphore {
  readonly slots: number
  readonly waitersMax: number
  #heldCount = 0
  /** A set keeps the order of arrival and forgets a cancelled waiter at once. */
  readonly #line = new Set<() => void>()

  constructor(options: { readonly slots: number; readonly waitersMax: number }) {
    assert(Number.isInteger(options.slots) && options.slots > 0, `semaphore of ${options.slots}`)
    assert(options.waitersMax >= 0, `line of ${options.waitersMax} waiters`)
    this.slots = options.slots
    this.waitersMax = options.waitersMax
  }

  get heldCount(): number {
    return this.#heldCount
  }

  get waitingCount(): number {
    return this.#line.size
  }

  /**
   * The slot is held until the result is disposed; disposing twice is harmless.
   *
   * @throws {StoreError} OVERLOADED: the line is full. CANCELLED: `signal` aborted first.
   */
  async acquire(signal: AbortSignal): Promise<Disposable> {
    if (signal.aborted) throw cancelledError(signal, 'before waiting')
    if (this.#heldCount < this.slots) {
      this.#heldCount++
    } else {
      if (this.#line.size >= this.waitersMax) {
        throw new StoreError('OVERLOADED', `${this.#line.size} are already waiting`)
      }
      await this.#waitInLine(signal)
    }
    return this.#slot()
  }

  /** A slot at once, for whoever can do without one; undefined: none is free. */
  tryAcquire(): Disposable | undefined {
    if (this.#heldCount >= this.slots) return undefined
    this.#heldCount++
    return this.#slot()
  }

  #waitInLine(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onTurn = () => {
        aborting[Symbol.dispose]()
        resolve()
      }
      const aborting = onAbort(signal, () => {
        this.#line.delete(onTurn)
        reject(cancelledError(signal, 'while waiting'))
      })
      this.#line.add(onTurn)
    })
  }

  #slot(): Disposable {
    let isHeld = true
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return
        isHeld = false
        this.#release()
      },
    }
  }

  #release(): void {
    assert(this.#heldCount > 0, 'a slot was released that nobody held')
    for (const onTurn of this.#line) {
      this.#line.delete(onTurn)
      onTurn() // The slot changes hands: heldCount stays.
      return
    }
    this.#heldCount--
  }
}
