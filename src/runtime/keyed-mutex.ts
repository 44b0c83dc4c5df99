import { StoreError } from '../base/store-error.ts'
import { Semaphore } from './semaphore.ts'

/**
 * One lock per key, each with its own line, served in the order of arrival. Keys nobody holds take
 * no memory. `waitersMax` bounds the lines of all keys together.
 */
export class KeyedMutex<Key> {
  readonly waitersMax: number
  /** A key is here exactly while its lock is held. */
  readonly #locks = new Map<Key, Semaphore>()
  #waitingCount = 0

  constructor(options: { readonly waitersMax: number }) {
    this.waitersMax = options.waitersMax
  }

  get heldCount(): number {
    return this.#locks.size
  }

  get waitingCount(): number {
    return this.#waitingCount
  }

  isHeld(key: Key): boolean {
    return this.#locks.has(key)
  }

  /**
   * The lock is held until the result is disposed; disposing twice is harmless.
   *
   * @throws {StoreError} OVERLOADED: the lines are full. CANCELLED: `signal` aborted first.
   */
  async acquire(key: Key, signal: AbortSignal): Promise<Disposable> {
    const held = this.#locks.get(key)
    if (held !== undefined) return this.#wait(key, held, signal)
    const lock = new Semaphore({ slots: 1, waitersMax: this.waitersMax })
    const slot = lock.acquire(signal) // Takes the free slot before it first yields.
    if (lock.heldCount > 0) this.#locks.set(key, lock)
    return this.#hold(key, lock, await slot)
  }

  async #wait(key: Key, lock: Semaphore, signal: AbortSignal): Promise<Disposable> {
    if (this.#waitingCount >= this.waitersMax) {
      throw new StoreError('OVERLOADED', `${this.#waitingCount} are already waiting`)
    }
    this.#waitingCount++
    try {
      return this.#hold(key, lock, await lock.acquire(signal))
    } finally {
      this.#waitingCount--
    }
  }

  #hold(key: Key, lock: Semaphore, slot: Disposable): Disposable {
    return {
      [Symbol.dispose]: () => {
        slot[Symbol.dispose]()
        // After a second dispose the key may have a new lock, which is not ours to forget.
        if (lock.heldCount === 0 && this.#locks.get(key) === lock) this.#locks.delete(key)
      },
    }
  }
}
