import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import type {
  FoundKey,
  NewUser,
  NewUserKey,
  User,
  UserKey,
  UserKeyWithSecret,
} from '../base/user.ts'
import type { MetadataBatch, MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedMutex } from '../runtime/keyed-mutex.ts'
import type { Logger } from '../runtime/logger.ts'
import { drawBytes, type Random } from '../runtime/random.ts'
import { KeyFinder } from './key-finder.ts'
import { resealKeys } from './reseal-keys.ts'
import type { SecretBox } from './secret-box.ts'
import {
  accessKeyRowKey,
  canonicalIdRowKey,
  decodeAccessKey,
  decodeUser,
  decodeUserReference,
  drawKey,
  emailRowKey,
  encodeAccessKey,
  encodeUser,
  encodeUserReference,
  openAccessKey,
  parseAccessKeyId,
  parseDisplayName,
  parseEmail,
  parseSecretKey,
  parseUserName,
  USER_ROWS,
  type UserRow,
  userNameOfRowKey,
  userRowKey,
  withoutKeys,
} from './user-record.ts'

export interface UsersParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Seals the secrets of access keys. */
  readonly box: SecretBox
  /** Asked before every change. It throws where rows must not be changed now. */
  readonly checkWritable: () => void
  /** It throws a `StoreError` for what is no policy of a user. */
  readonly checkPolicy: (policy: string) => void
}

export const ROOT_USER = 'root'

/** A list of all of them is one answer: with policies of the largest size it has 100 MB. */
const USERS_MAX = 5000
/** Two are used while one replaces the other; the rest is for applications that share a user. */
const KEYS_PER_USER_MAX = 100
/** As large as a policy of a bucket may be. */
const POLICY_BYTES_MAX = 20_480
/** Changes that wait: people make them. */
const CHANGES_WAITING_MAX = 1000
/** Tries of one change that others got ahead of: more than one process would be needed for two. */
const CHANGE_TRIES_MAX = 8
const CANONICAL_ID_BYTES = 32

/** Whoever adds a user holds this lock: no user has the name. */
const ADD_LOCK = ''

/**
 * The users of S3 and their access keys. Each change is one conditional batch of these rows:
 *
 *     users/{name}                 the user, with the ids of its keys
 *     user-keys/{access key id}    a key: whose it is, and its secret, sealed
 *     user-ids/{canonical id}      whose it is
 *     user-emails/{address}        whose it is
 *
 * - A key is there exactly while its user lists it: both rows change together.
 * - What `findKey` keeps in memory is forgotten with every change before the change is answered.
 */
export class Users {
  readonly #parts: UsersParts
  readonly #locks = new KeyedMutex<string>({ waitersMax: CHANGES_WAITING_MAX })
  readonly #finder: KeyFinder

  private constructor(parts: UsersParts) {
    this.#parts = parts
    this.#finder = new KeyFinder(parts)
  }

  /**
   * Secrets that an older key sealed are sealed anew with the current one. The store stays the
   * caller's. Errors as those of the store.
   */
  static async open(parts: UsersParts, signal: AbortSignal): Promise<Users> {
    await resealKeys(parts, signal)
    return new Users(parts)
  }

  /** @throws {StoreError} REQUEST_INVALID; USER_EXISTS: the name or the address is taken. */
  async add(request: NewUser, signal: AbortSignal): Promise<User> {
    return await this.#add({ ...request, isRoot: false }, undefined, signal)
  }

  /**
   * The user for whom everything is allowed, with its first key: both or none.
   *
   * @throws {StoreError} USER_EXISTS: it was made before.
   */
  async addRoot(key: Omit<NewUserKey, 'userName'>, signal: AbortSignal): Promise<User> {
    return await this.#add({ name: ROOT_USER, isRoot: true }, key, signal)
  }

  async has(name: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#parts.store.get(userRowKey(name), signal)) !== undefined
  }

  /** @throws {StoreError} USER_NOT_FOUND */
  async get(name: string, signal: AbortSignal): Promise<User> {
    return withoutKeys((await this.#row(name, signal)).row)
  }

  /** In the order of their names. */
  async list(signal: AbortSignal): Promise<readonly User[]> {
    const users: User[] = []
    for await (const { key, value } of this.#parts.store.scan(USER_ROWS, signal)) {
      users.push(withoutKeys(decodeUser(userNameOfRowKey(key), value)))
    }
    return users
  }

  /** With its keys. @throws {StoreError} USER_NOT_FOUND; REQUEST_INVALID: it is the root user. */
  async remove(name: string, signal: AbortSignal): Promise<void> {
    const plan = async () => {
      const { row, bytes } = await this.#row(name, signal)
      if (row.isRoot) throw invalid('the root user cannot be removed')
      const { canonicalId, email, accessKeyIds } = row
      const deletes = [
        userRowKey(name),
        canonicalIdRowKey(canonicalId),
        ...(email === undefined ? [] : [emailRowKey(email)]),
        ...accessKeyIds.map(accessKeyRowKey),
      ]
      const conditions = [{ key: userRowKey(name), value: bytes }]
      return { result: undefined, batch: { deletes, conditions } }
    }
    await this.#change(name, plan, signal)
  }

  /** Undefined: from now on it has none. @throws {StoreError} USER_NOT_FOUND; REQUEST_INVALID. */
  async setPolicy(name: string, policy: string | undefined, signal: AbortSignal): Promise<User> {
    if (policy !== undefined) this.#checkPolicy(policy)
    const plan = async () => {
      const { row, bytes } = await this.#row(name, signal)
      const changed = { ...row, policy }
      const puts = [{ key: userRowKey(name), value: encodeUser(changed) }]
      const conditions = [{ key: userRowKey(name), value: bytes }]
      return { result: withoutKeys(changed), batch: { puts, conditions } }
    }
    return await this.#change(name, plan, signal)
  }

  /**
   * The only answer with the secret but `findKey`.
   *
   * @throws {StoreError} USER_NOT_FOUND; ACCESS_KEY_EXISTS; REQUEST_INVALID: id or secret is none,
   * or the user has too many keys.
   */
  async addKey(request: NewUserKey, signal: AbortSignal): Promise<UserKeyWithSecret> {
    const { userName, accessKeyId: given, secret } = request
    const plan = async () => {
      const { row, bytes } = await this.#row(userName, signal)
      if (row.accessKeyIds.length >= KEYS_PER_USER_MAX) {
        throw invalid(`${userName} has ${KEYS_PER_USER_MAX} keys, and can have no more`)
      }
      const key = this.#newKey({ userName, accessKeyId: given, secret })
      const { accessKeyId } = key
      const keyRowKey = accessKeyRowKey(accessKeyId)
      const taken = await this.#parts.store.get(keyRowKey, signal)
      if (taken !== undefined && given !== undefined) throw keyExists(accessKeyId)
      const listed = { ...row, accessKeyIds: [...row.accessKeyIds, accessKeyId] }
      const batch = {
        puts: [
          { key: userRowKey(userName), value: encodeUser(listed) },
          { key: keyRowKey, value: encodeAccessKey(key, this.#parts.box) },
        ],
        conditions: [
          { key: userRowKey(userName), value: bytes },
          { key: keyRowKey, value: undefined },
        ],
      }
      return { result: key, batch }
    }
    return await this.#change(userName, plan, signal)
  }

  /** Without their secrets, in the order in which they were made. @throws USER_NOT_FOUND */
  async listKeys(userName: string, signal: AbortSignal): Promise<readonly UserKey[]> {
    const { accessKeyIds } = (await this.#row(userName, signal)).row
    const rows = await this.#parts.store.getMany(accessKeyIds.map(accessKeyRowKey), signal)
    return accessKeyIds.flatMap((id, index) => {
      const bytes = rows[index]
      // Removed since its user was read.
      if (bytes === undefined) return []
      const { sealed: _, bound: __, ...view } = decodeAccessKey(id, bytes)
      return [view]
    })
  }

  /** @throws {StoreError} ACCESS_KEY_NOT_FOUND */
  async removeKey(accessKeyId: string, signal: AbortSignal): Promise<void> {
    const { userName } = (await this.#keyRow(accessKeyId, signal)).key
    const plan = async () => {
      const { bytes } = await this.#keyRow(accessKeyId, signal)
      const user = await this.#row(userName, signal)
      const accessKeyIds = user.row.accessKeyIds.filter((id) => id !== accessKeyId)
      const value = encodeUser({ ...user.row, accessKeyIds })
      const batch = {
        puts: [{ key: userRowKey(userName), value }],
        deletes: [accessKeyRowKey(accessKeyId)],
        conditions: [
          { key: userRowKey(userName), value: user.bytes },
          { key: accessKeyRowKey(accessKeyId), value: bytes },
        ],
      }
      return { result: undefined, batch }
    }
    await this.#change(userName, plan, signal)
  }

  /**
   * One that is switched off stays, and opens nothing.
   *
   * @throws {StoreError} ACCESS_KEY_NOT_FOUND; METADATA_CORRUPT: its secret cannot be read.
   */
  async setKeyEnabled(accessKeyId: string, isEnabled: boolean, signal: AbortSignal): Promise<void> {
    await this.#replaceKey(accessKeyId, (key) => ({ ...key(), isEnabled }), signal)
  }

  /**
   * The user has this key with this secret from now on, and it is switched on. Without a change if
   * that is so already.
   *
   * @throws {StoreError} USER_NOT_FOUND; ACCESS_KEY_EXISTS: it is another user's; REQUEST_INVALID.
   */
  async ensureKey(
    request: Required<Omit<UserKeyWithSecret, 'createdAtMs' | 'isEnabled'>>,
    signal: AbortSignal,
  ): Promise<void> {
    const { accessKeyId, userName } = request
    const secret = parseSecretKey(request.secret)
    const found = await this.#parts.store.get(
      accessKeyRowKey(parseAccessKeyId(accessKeyId)),
      signal,
    )
    if (found === undefined) {
      await this.addKey(request, signal)
      return
    }
    const known = decodeAccessKey(accessKeyId, found)
    if (known.userName !== userName) throw keyExists(accessKeyId)
    const isSame = (await this.findKey(accessKeyId).catch(asUnreadable))?.secret === secret
    if (isSame) return
    const { createdAtMs } = known
    const key = { accessKeyId, userName, secret, createdAtMs, isEnabled: true }
    await this.#replaceKey(accessKeyId, () => key, signal)
  }

  /**
   * Undefined: there is no such key, or it was switched off.
   *
   * @throws {StoreError} METADATA_CORRUPT: its row was changed, or its secret was sealed with a key
   * that is not here.
   */
  async findKey(accessKeyId: string): Promise<FoundKey | undefined> {
    return await this.#finder.find(accessKeyId)
  }

  async findByCanonicalId(canonicalId: string, signal: AbortSignal): Promise<User | undefined> {
    if (!/^[0-9a-f]{64}$/.test(canonicalId)) return undefined
    const user = await this.#findReferred(canonicalIdRowKey(canonicalId), signal)
    return user?.canonicalId === canonicalId ? user : undefined
  }

  /** In any case. @throws {StoreError} REQUEST_INVALID: this is no address. */
  async findByEmail(text: string, signal: AbortSignal): Promise<User | undefined> {
    const email = parseEmail(text)
    const user = await this.#findReferred(emailRowKey(email), signal)
    return user?.email === email ? user : undefined
  }

  async #add(
    request: NewUser & { readonly isRoot: boolean },
    firstKey: Omit<NewUserKey, 'userName'> | undefined,
    signal: AbortSignal,
  ): Promise<User> {
    const { isRoot, policy } = request
    const name = parseUserName(request.name)
    const displayName = parseDisplayName(request.displayName ?? name)
    const email = request.email === undefined ? undefined : parseEmail(request.email)
    if (policy !== undefined) this.#checkPolicy(policy)
    const plan = async () => {
      await this.#checkRoom(name, email, signal)
      const key = firstKey && this.#newKey({ userName: name, ...firstKey })
      const canonicalId = drawBytes(this.#parts.random, CANONICAL_ID_BYTES).toString('hex')
      const createdAtMs = this.#parts.clock.nowMs()
      const user = { name, canonicalId, displayName, email, isRoot, policy, createdAtMs }
      const reference = encodeUserReference(name)
      const accessKeyIds = key === undefined ? [] : [key.accessKeyId]
      const puts = [
        { key: userRowKey(name), value: encodeUser({ ...user, accessKeyIds }) },
        { key: canonicalIdRowKey(canonicalId), value: reference },
      ]
      if (email !== undefined) puts.push({ key: emailRowKey(email), value: reference })
      if (key !== undefined) {
        const value = encodeAccessKey(key, this.#parts.box)
        puts.push({ key: accessKeyRowKey(key.accessKeyId), value })
      }
      const conditions = puts.map((row) => ({ key: row.key, value: undefined }))
      return { result: user, batch: { puts, conditions } }
    }
    return await this.#change(ADD_LOCK, plan, signal)
  }

  /** @throws {StoreError} USER_EXISTS; REQUEST_INVALID: there are as many as there may be. */
  async #checkRoom(name: string, email: string | undefined, signal: AbortSignal): Promise<void> {
    const { store } = this.#parts
    const keys = [userRowKey(name), ...(email === undefined ? [] : [emailRowKey(email)])]
    const [user, address] = await store.getMany(keys, signal)
    if (user !== undefined) throw new StoreError('USER_EXISTS', `there is a user ${name} already`)
    if (address !== undefined) {
      throw new StoreError('USER_EXISTS', `another user has the address ${quote(email ?? '')}`)
    }
    let count = 0
    for await (const _ of store.scan(USER_ROWS, signal)) count++
    if (count >= USERS_MAX) throw invalid(`there are ${USERS_MAX} users, and can be no more`)
  }

  #newKey({ userName, ...given }: NewUserKey): UserKeyWithSecret {
    const { clock, random } = this.#parts
    const drawn = drawKey(random)
    return {
      accessKeyId: parseAccessKeyId(given.accessKeyId ?? drawn.accessKeyId),
      secret: parseSecretKey(given.secret ?? drawn.secret),
      userName,
      createdAtMs: clock.nowMs(),
      isEnabled: true,
    }
  }

  async #replaceKey(
    accessKeyId: string,
    make: (open: () => UserKeyWithSecret) => UserKeyWithSecret,
    signal: AbortSignal,
  ): Promise<void> {
    const { box } = this.#parts
    const { userName } = (await this.#keyRow(accessKeyId, signal)).key
    const plan = async () => {
      const { key, bytes } = await this.#keyRow(accessKeyId, signal)
      const value = encodeAccessKey(
        make(() => openAccessKey(key, box)),
        box,
      )
      const rowKey = accessKeyRowKey(accessKeyId)
      const batch = {
        puts: [{ key: rowKey, value }],
        conditions: [{ key: rowKey, value: bytes }],
      }
      return { result: undefined, batch }
    }
    await this.#change(userName, plan, signal)
  }

  /** @throws {StoreError} REQUEST_INVALID: it is too long; whatever `checkPolicy` throws. */
  #checkPolicy(policy: string): void {
    const sizeBytes = Buffer.byteLength(policy)
    if (sizeBytes > POLICY_BYTES_MAX) {
      throw invalid(`a policy of ${sizeBytes} bytes: ${POLICY_BYTES_MAX} at most`)
    }
    this.#parts.checkPolicy(policy)
  }

  /** @throws {StoreError} USER_NOT_FOUND */
  async #row(name: string, signal: AbortSignal): Promise<{ row: UserRow; bytes: Uint8Array }> {
    const bytes = await this.#parts.store.get(userRowKey(parseUserName(name)), signal)
    if (bytes === undefined) throw new StoreError('USER_NOT_FOUND', `there is no user ${name}`)
    return { row: decodeUser(name, bytes), bytes }
  }

  /** @throws {StoreError} ACCESS_KEY_NOT_FOUND */
  async #keyRow(accessKeyId: string, signal: AbortSignal) {
    const bytes = await this.#parts.store.get(
      accessKeyRowKey(parseAccessKeyId(accessKeyId)),
      signal,
    )
    if (bytes === undefined) {
      throw new StoreError('ACCESS_KEY_NOT_FOUND', `there is no access key ${accessKeyId}`)
    }
    return { key: decodeAccessKey(accessKeyId, bytes), bytes }
  }

  async #findReferred(rowKey: string, signal: AbortSignal): Promise<User | undefined> {
    const { store } = this.#parts
    const reference = await store.get(rowKey, signal)
    if (reference === undefined) return undefined
    const name = decodeUserReference(rowKey, reference)
    // Removed since: then its reference is gone too.
    const bytes = await store.get(userRowKey(name), signal)
    return bytes === undefined ? undefined : withoutKeys(decodeUser(name, bytes))
  }

  /** Commits what `plan` makes of the rows as they are now; anew if they changed meanwhile. */
  async #change<Result>(
    lock: string,
    plan: () => Promise<{ readonly result: Result; readonly batch: MetadataBatch }>,
    signal: AbortSignal,
  ): Promise<Result> {
    this.#parts.checkWritable()
    using _lock = await this.#locks.acquire(lock, signal)
    for (let tries = 1; ; tries++) {
      const { result, batch } = await plan()
      try {
        await this.#parts.store.commit(batch, signal)
        return result
      } catch (error) {
        if (!isStoreError(error, 'METADATA_CONFLICT')) throw error
        if (tries < CHANGE_TRIES_MAX) continue
        const message = `users were changed by others ${tries} times`
        throw new StoreError('OVERLOADED', message, { cause: error })
      } finally {
        // After a failure too: whether it happened is not always known.
        this.#finder.forget()
      }
    }
  }
}

/** A key whose secret cannot be read is replaced by what its owner says. */
function asUnreadable(error: unknown): undefined {
  if (!isStoreError(error, 'METADATA_CORRUPT')) throw error
  return undefined
}

function keyExists(accessKeyId: string): StoreError {
  return new StoreError('ACCESS_KEY_EXISTS', `there is an access key ${accessKeyId} already`)
}

function invalid(message: string): StoreError {
  return new StoreError('REQUEST_INVALID', message)
}
