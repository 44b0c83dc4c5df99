import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'
import type { Clock } from '../../runtime/clock.ts'

/** Nonces by the second in which they were signed. */
interface KeyNonces {
  readonly seconds: Map<number, Set<string>>
  count: number
  /** What was signed before this second may have been seen, and is not remembered. */
  floorS: number
}

const SECOND_MS = 1000

/**
 * The nonces of calls that were let in, for as long as their signatures are good: none is good
 * twice. Of each access key so many are remembered as one client can need; a key that is used more
 * often has its oldest ones forgotten, and whatever is as old as those is refused.
 *
 *     |- refused: too old -|- forgotten, refused -|- remembered ------- now ----- skew -|
 */
export class SeenNonces {
  readonly #clock: Clock
  readonly #skewMs: number
  readonly #keys = new Map<string, KeyNonces>()
  #sweptAtS = 0
  #count = 0

  constructor({ clock }: { readonly clock: Clock }, options: { readonly skewMs: number }) {
    this.#clock = clock
    this.#skewMs = options.skewMs
  }

  /** Nonces that are remembered, of all keys. */
  get count(): number {
    return this.#count
  }

  /**
   * Of a call that was found to be signed with the secret of the key, within the skew.
   *
   * @throws {StoreError} UNAUTHENTICATED: it was here before, or may have been. OVERLOADED.
   */
  add(accessKeyId: string, nonce: string, signedAtMs: number): void {
    this.#sweep()
    const key = this.#keyOf(accessKeyId)
    const second = Math.floor(signedAtMs / SECOND_MS)
    const seen = key.seconds.get(second)
    if (second < key.floorS || seen?.has(nonce) === true) {
      throw new StoreError('UNAUTHENTICATED', 'the call was made before; sign each one anew')
    }
    if (this.#count >= LIMITS.userNoncesAllMax.value) {
      throw new StoreError('OVERLOADED', `${this.#count} calls were made within minutes`)
    }
    if (seen === undefined) key.seconds.set(second, new Set([nonce]))
    else seen.add(nonce)
    key.count++
    this.#count++
    while (key.count > LIMITS.userNoncesMax.value) this.#count -= dropOldest(key)
  }

  #keyOf(accessKeyId: string): KeyNonces {
    const known = this.#keys.get(accessKeyId)
    if (known !== undefined) return known
    const made = { seconds: new Map<number, Set<string>>(), count: 0, floorS: 0 }
    this.#keys.set(accessKeyId, made)
    return made
  }

  /** Once a second: what is too old by now would be refused anyway. */
  #sweep(): void {
    const nowS = Math.floor(this.#clock.nowMs() / SECOND_MS)
    if (nowS === this.#sweptAtS) return
    this.#sweptAtS = nowS
    const oldestS = Math.floor((this.#clock.nowMs() - this.#skewMs) / SECOND_MS)
    for (const [accessKeyId, key] of this.#keys) {
      for (const [second, nonces] of key.seconds) {
        if (second >= oldestS) continue
        key.seconds.delete(second)
        key.count -= nonces.size
        this.#count -= nonces.size
      }
      // Its floor counts for as long as what was forgotten would still be good.
      if (key.count === 0 && key.floorS <= oldestS) this.#keys.delete(accessKeyId)
    }
  }
}

/** How many there were. */
function dropOldest(key: KeyNonces): number {
  const oldestS = Math.min(...key.seconds.keys())
  const count = key.seconds.get(oldestS)?.size ?? 0
  key.count -= count
  key.seconds.delete(oldestS)
  key.floorS = Math.max(key.floorS, oldestS + 1)
  return count
}
