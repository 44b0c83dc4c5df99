import type {
  FoundKey,
  NewUser,
  NewUserKey,
  User,
  UserKey,
  UserKeyWithSecret,
} from '../base/user.ts'

/**
 * The users of S3 and their keys, in a master's process or over gRPC. Changes are durable when they
 * are answered.
 *
 * Every method throws METADATA_CORRUPT for a row that cannot be read. Changes throw NOT_LEADER,
 * OVERLOADED and the errors of a disk, too.
 */
export interface UsersApi {
  /** @throws {StoreError} REQUEST_INVALID; USER_EXISTS: the name or the address is taken. */
  add(request: NewUser, signal: AbortSignal): Promise<User>

  /** @throws {StoreError} USER_NOT_FOUND */
  get(name: string, signal: AbortSignal): Promise<User>

  /** In the order of their names. */
  list(signal: AbortSignal): Promise<readonly User[]>

  /** With its keys. @throws {StoreError} USER_NOT_FOUND; REQUEST_INVALID: it is the root user. */
  remove(name: string, signal: AbortSignal): Promise<void>

  /** Undefined: from now on it has none. @throws {StoreError} USER_NOT_FOUND; REQUEST_INVALID. */
  setPolicy(name: string, policy: string | undefined, signal: AbortSignal): Promise<User>

  /** @throws {StoreError} USER_NOT_FOUND; ACCESS_KEY_EXISTS; REQUEST_INVALID. */
  addKey(request: NewUserKey, signal: AbortSignal): Promise<UserKeyWithSecret>

  /** In the order in which they were made. @throws {StoreError} USER_NOT_FOUND */
  listKeys(userName: string, signal: AbortSignal): Promise<readonly UserKey[]>

  /** @throws {StoreError} ACCESS_KEY_NOT_FOUND */
  removeKey(accessKeyId: string, signal: AbortSignal): Promise<void>

  /** @throws {StoreError} ACCESS_KEY_NOT_FOUND */
  setKeyEnabled(accessKeyId: string, isEnabled: boolean, signal: AbortSignal): Promise<void>

  /** Undefined: there is no such key, or it was switched off. */
  findKey(accessKeyId: string, signal: AbortSignal): Promise<FoundKey | undefined>

  findByCanonicalId(canonicalId: string, signal: AbortSignal): Promise<User | undefined>

  /** In any case. @throws {StoreError} REQUEST_INVALID: this is no address. */
  findByEmail(email: string, signal: AbortSignal): Promise<User | undefined>
}
