import { LRUCache } from 'lru-cache'
import type { User } from '../../base/user.ts'
import type { UsersApi } from '../../net/users-api.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { UserDirectory } from './access/acl.ts'
import type { Owner } from './bucket-settings.ts'

export interface CachedUsersParts {
  readonly users: Pick<UsersApi, 'findByCanonicalId' | 'findByEmail'>
  readonly clock: Clock
  readonly closing: AbortSignal
}

interface Entry {
  readonly owner: Owner | undefined
  readonly askedAtMs: number
}

/** Another display name is shown after this time at the latest. */
const FRESH_MS = 5000
const ENTRIES_MAX = 10_000

/** The users that own or are granted something, as they are shown in answers. */
export class CachedUsers implements UserDirectory {
  readonly #parts: CachedUsersParts
  readonly #entries = new LRUCache<string, Entry>({ max: ENTRIES_MAX })

  constructor(parts: CachedUsersParts) {
    this.#parts = parts
  }

  findById(id: string): Promise<Owner | undefined> | Owner | undefined {
    const entry = this.#entries.get(id)
    const nowMs = this.#parts.clock.monotonicMs()
    if (entry !== undefined && nowMs - entry.askedAtMs < FRESH_MS) return entry.owner
    return this.#ask(id, nowMs)
  }

  async findByEmail(email: string): Promise<Owner | undefined> {
    const { closing, users } = this.#parts
    // What cannot be an address is nobody's.
    return ownerOf(await users.findByEmail(email, closing).catch(() => undefined))
  }

  async #ask(id: string, askedAtMs: number): Promise<Owner | undefined> {
    const { closing, users } = this.#parts
    const owner = ownerOf(await users.findByCanonicalId(id, closing))
    this.#entries.set(id, { owner, askedAtMs })
    return owner
  }
}

function ownerOf(user: User | undefined): Owner | undefined {
  return user && { id: user.canonicalId, displayName: user.displayName }
}
