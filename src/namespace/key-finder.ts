import { LRUCache } from 'lru-cache'
import type { FoundKey } from '../base/user.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { SecretBox } from './secret-box.ts'
import {
  accessKeyRowKey,
  decodeAccessKey,
  decodeUser,
  isAccessKeyId,
  openAccessKey,
  userRowKey,
  withoutKeys,
} from './user-record.ts'

/** Keys in use at the same time; any other costs two reads of the store. */
const KEY_CACHE_MAX = 2000

/** Reads access keys with their users, and keeps those asked for last until `forget`. */
export class KeyFinder {
  readonly #store: MetadataStore
  readonly #box: SecretBox
  readonly #cache = new LRUCache<string, FoundKey>({ max: KEY_CACHE_MAX })
  /** Reads under way: one that a change overtook is forgotten here, and must not be cached. */
  readonly #reads = new Map<string, Promise<FoundKey | undefined>>()
  /** Reads are shared, so nobody's signal ends them. */
  readonly #unending = new AbortController().signal

  constructor(parts: { readonly store: MetadataStore; readonly box: SecretBox }) {
    this.#store = parts.store
    this.#box = parts.box
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  async find(accessKeyId: string): Promise<FoundKey | undefined> {
    const cached = this.#cache.get(accessKeyId)
    if (cached !== undefined) return cached
    if (!isAccessKeyId(accessKeyId)) return undefined
    return await (this.#reads.get(accessKeyId) ?? this.#read(accessKeyId))
  }

  /** What is found from now on was read after this. Changes are rare: all is read anew. */
  forget(): void {
    this.#cache.clear()
    this.#reads.clear()
  }

  #read(accessKeyId: string): Promise<FoundKey | undefined> {
    const reading = this.#load(accessKeyId)
    this.#reads.set(accessKeyId, reading)
    const isCurrent = () => this.#reads.get(accessKeyId) === reading
    return reading
      .then((found) => {
        if (found !== undefined && isCurrent()) this.#cache.set(accessKeyId, found)
        return found
      })
      .finally(() => {
        if (isCurrent()) this.#reads.delete(accessKeyId)
      })
  }

  async #load(accessKeyId: string): Promise<FoundKey | undefined> {
    const bytes = await this.#store.get(accessKeyRowKey(accessKeyId), this.#unending)
    if (bytes === undefined) return undefined
    const key = openAccessKey(decodeAccessKey(accessKeyId, bytes), this.#box)
    const { userName, isEnabled, secret } = key
    if (!isEnabled) return undefined
    const userBytes = await this.#store.get(userRowKey(userName), this.#unending)
    const user = userBytes && decodeUser(userName, userBytes)
    // Removed between the two reads, and perhaps somebody else has the name now.
    if (!user?.accessKeyIds.includes(accessKeyId)) return undefined
    return { accessKeyId, secret, user: withoutKeys(user) }
  }
}
