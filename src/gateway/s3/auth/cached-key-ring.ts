import { LRUCache } from 'lru-cache'
import { StoreError } from '../../../base/store-error.ts'
import { isAccessKeyId } from '../../../namespace/user-record.ts'
import type { UsersApi } from '../../../net/users-api.ts'
import type { Clock } from '../../../runtime/clock.ts'
import type { AccessKey, KeyRing } from './identity.ts'

export interface CachedKeyRingParts {
  readonly users: Pick<UsersApi, 'findKey'>
  readonly clock: Clock
}

interface Entry {
  /** Undefined: there is no such key. */
  readonly key: AccessKey | undefined
  /** The answer is not older than from then. */
  readonly askedAtMs: number
}

/** A key that was switched off, or another policy, counts here after this time at the latest. */
const FOUND_MS = 5000
/** A new key is good after this time at the latest. */
const MISSING_MS = 1000
/** A few MB, unless policies are very long. */
const ENTRIES_MAX = 2000
/** Strangers who make up keys cannot keep a master busy with more than these. */
const ASKING_MAX = 256

/**
 * Access keys that a master elsewhere knows: asked for once by all who need one at the same time,
 * and kept for a few seconds. What fails is not kept, and what is older is not used instead: while
 * no master answers, nobody gets in.
 */
export class CachedKeyRing implements KeyRing, Disposable {
  readonly #users: Pick<UsersApi, 'findKey'>
  readonly #clock: Clock
  readonly #entries = new LRUCache<string, Entry>({ max: ENTRIES_MAX })
  readonly #asking = new Map<string, Promise<AccessKey | undefined>>()
  readonly #closing = new AbortController()

  constructor({ users, clock }: CachedKeyRingParts) {
    this.#users = users
    this.#clock = clock
  }

  /** @throws {StoreError} OVERLOADED; CLOSED; the errors of the call of the master. */
  async findKey(accessKeyId: string): Promise<AccessKey | undefined> {
    if (this.#closing.signal.aborted) throw new StoreError('CLOSED', 'the key ring was closed')
    // No user can have it, and memory for it would be the stranger's to fill.
    if (!isAccessKeyId(accessKeyId)) return undefined
    const entry = this.#entries.get(accessKeyId)
    if (entry !== undefined && this.#isFresh(entry)) return entry.key
    return await (this.#asking.get(accessKeyId) ?? this.#ask(accessKeyId))
  }

  /** Gives up the calls under way. Twice is harmless. */
  [Symbol.dispose](): void {
    this.#closing.abort()
  }

  #isFresh({ key, askedAtMs }: Entry): boolean {
    const ageMs = this.#clock.monotonicMs() - askedAtMs
    return ageMs < (key === undefined ? MISSING_MS : FOUND_MS)
  }

  #ask(accessKeyId: string): Promise<AccessKey | undefined> {
    if (this.#asking.size >= ASKING_MAX) {
      const message = `${ASKING_MAX} access keys are being asked for already`
      return Promise.reject(new StoreError('OVERLOADED', message))
    }
    const asking = this.#answer(accessKeyId).finally(() => this.#asking.delete(accessKeyId))
    this.#asking.set(accessKeyId, asking)
    return asking
  }

  async #answer(accessKeyId: string): Promise<AccessKey | undefined> {
    const askedAtMs = this.#clock.monotonicMs()
    const key = await this.#users.findKey(accessKeyId, this.#closing.signal)
    this.#entries.set(accessKeyId, { key, askedAtMs })
    return key
  }
}
