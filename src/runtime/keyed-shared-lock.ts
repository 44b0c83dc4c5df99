import { StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from './abort.ts'

interface Waiter {
  readonly isExclusive: boolean
  readonly enter: () => void
}

interface Lock {
  sharedCount: number
  isExclusive: boolean
  /** In the order of arrival. */
  readonly line: Waiter[]
}

/**
 * One lock per key that many may share or one may have alone, served in the order of arrival, so
 * that neither side can starve the other. Keys nobody holds take no memory. `waitersMax` bounds the
 * lines of all keys together.
 */
export class KeyedSharedLock<Key> {
  readonly #waitersMax: number
  readonly #locks = new Map<Key, Lock>()
  #waitingCount = 0

  constructor(options: { readonly waitersMax: number }) {
    this.#waitersMax = options.waitersMax
  }

  /** Keys that are held. */
  get heldCount(): number {
    return this.#locks.size
  }

  get waitingCount(): number {
    return this.#waitingCount
  }

  /**
   * Held beside others until the result is disposed.
   *
   * @throws {StoreError} OVERLOADED: the lines are full. CANCELLED: `signal` aborted first.
   */
  share(key: Key, signal: AbortSignal): Promise<Disposable> {
    return this.#acquire(key, false, signal)
  }

  /** Held alone until the result is disposed. Errors as `share`. */
  exclude(key: Key, signal: AbortSignal): Promise<Disposable> {
    return this.#acquire(key, true, signal)
  }

  async #acquire(key: Key, isExclusive: boolean, signal: AbortSignal): Promise<Disposable> {
    if (signal.aborted) throw cancelledError(signal, 'before taking a lock')
    const lock = this.#locks.get(key) ?? { sharedCount: 0, isExclusive: false, line: [] }
    this.#locks.set(key, lock)
    if (lock.line.length === 0 && canEnter(lock, isExclusive)) {
      enter(lock, isExclusive)
    } else {
      await this.#wait(lock, isExclusive, signal)
    }
    return this.#hold(key, lock, isExclusive)
  }

  #wait(lock: Lock, isExclusive: boolean, signal: AbortSignal): Promise<void> {
    if (this.#waitingCount >= this.#waitersMax) {
      const message = `${this.#waitingCount} are already waiting`
      return Promise.reject(new StoreError('OVERLOADED', message))
    }
    this.#waitingCount++
    return new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        isExclusive,
        enter: () => {
          aborting[Symbol.dispose]()
          this.#waitingCount--
          enter(lock, isExclusive)
          resolve()
        },
      }
      const aborting = onAbort(signal, () => {
        lock.line.splice(lock.line.indexOf(waiter), 1)
        this.#waitingCount--
        // Those behind may have waited for this one only.
        admit(lock)
        reject(cancelledError(signal, 'while waiting for a lock'))
      })
      lock.line.push(waiter)
    })
  }

  #hold(key: Key, lock: Lock, isExclusive: boolean): Disposable {
    let isHeld = true
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return
        isHeld = false
        if (isExclusive) lock.isExclusive = false
        else lock.sharedCount--
        admit(lock)
        if (lock.sharedCount === 0 && !lock.isExclusive) this.#locks.delete(key)
      },
    }
  }
}

function canEnter(lock: Lock, isExclusive: boolean): boolean {
  return !lock.isExclusive && (!isExclusive || lock.sharedCount === 0)
}

function enter(lock: Lock, isExclusive: boolean): void {
  if (isExclusive) lock.isExclusive = true
  else lock.sharedCount++
}

function admit(lock: Lock): void {
  for (;;) {
    const [first] = lock.line
    if (first === undefined || !canEnter(lock, first.isExclusive)) return
    lock.line.shift()
    first.enter()
  }
}
