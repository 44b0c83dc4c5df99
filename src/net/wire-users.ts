import type {
  FoundKey,
  NewUser,
  NewUserKey,
  User,
  UserKey,
  UserKeyWithSecret,
} from '../base/user.ts'
import { invalid, present, wireNumber } from './wire-values.ts'

/** Messages of users.proto, as the loader shows them, and back. Empty text: it is left out. */

export interface WireUser {
  readonly name: string
  readonly canonicalId: string
  readonly displayName: string
  readonly email: string
  readonly isRoot: boolean
  readonly policy: string
  readonly createdAtMs: number
}

export interface WireUsers {
  readonly users: readonly WireUser[]
}

export interface WireNewUser {
  readonly name: string
  readonly displayName: string
  readonly email: string
  readonly policy: string
}

export interface WireUserKey {
  readonly accessKeyId: string
  readonly userName: string
  readonly createdAtMs: number
  readonly isEnabled: boolean
}

export interface WireUserKeys {
  readonly keys: readonly WireUserKey[]
}

export interface WireNewKey {
  readonly userName: string
  readonly accessKeyId: string
  readonly secret: string
}

export interface WireKeyWithSecret {
  readonly key: WireUserKey | null
  readonly secret: string
}

export interface WireFoundKey {
  readonly accessKeyId: string
  readonly secret: string
  readonly user: WireUser | null
}

export interface WireFindKeyAnswer {
  readonly found: WireFoundKey | null
}

export interface WireFindUser {
  readonly canonicalId: string
  readonly email: string
}

export interface WireFindUserAnswer {
  readonly user: WireUser | null
}

/** Who is looked for: one of the two is there. */
export type FindUserRequest =
  | { readonly canonicalId: string; readonly email?: undefined }
  | { readonly email: string; readonly canonicalId?: undefined }

export function userToWire({ email = '', policy = '', ...user }: User): WireUser {
  return { ...user, email, policy }
}

/** @throws {StoreError} REQUEST_INVALID */
export function userFromWire(wire: WireUser): User {
  const { name, canonicalId, displayName, isRoot } = wire
  if (name === '') throw invalid('the name of a user is missing')
  if (!/^[0-9a-f]{64}$/.test(canonicalId)) throw invalid('a canonical id is not 64 hex digits')
  const createdAtMs = wireNumber(wire.createdAtMs, 'the time of a user')
  const [email, policy] = [filled(wire.email), filled(wire.policy)]
  return { name, canonicalId, displayName, email, isRoot, policy, createdAtMs }
}

export function newUserToWire(request: NewUser): WireNewUser {
  const { name, displayName = '', email = '', policy = '' } = request
  return { name, displayName, email, policy }
}

export function newUserFromWire({ name, displayName, email, policy }: WireNewUser): NewUser {
  const [displayed, address] = [filled(displayName), filled(email)]
  return { name, displayName: displayed, email: address, policy: filled(policy) }
}

export function newKeyToWire({ userName, accessKeyId = '', secret = '' }: NewUserKey): WireNewKey {
  return { userName, accessKeyId, secret }
}

export function newKeyFromWire({ userName, accessKeyId, secret }: WireNewKey): NewUserKey {
  return { userName, accessKeyId: filled(accessKeyId), secret: filled(secret) }
}

export function userKeyToWire(key: UserKey): WireUserKey {
  const { accessKeyId, userName, createdAtMs, isEnabled } = key
  return { accessKeyId, userName, createdAtMs, isEnabled }
}

/** @throws {StoreError} REQUEST_INVALID */
export function userKeyFromWire(wire: WireUserKey): UserKey {
  const { accessKeyId, userName, isEnabled } = wire
  if (accessKeyId === '') throw invalid('the id of an access key is missing')
  if (userName === '') throw invalid('the user of an access key is missing')
  const createdAtMs = wireNumber(wire.createdAtMs, 'the time of an access key')
  return { accessKeyId, userName, createdAtMs, isEnabled }
}

export function keyWithSecretToWire(key: UserKeyWithSecret): WireKeyWithSecret {
  return { key: userKeyToWire(key), secret: key.secret }
}

/** @throws {StoreError} REQUEST_INVALID */
export function keyWithSecretFromWire({ key, secret }: WireKeyWithSecret): UserKeyWithSecret {
  return { ...userKeyFromWire(present(key, 'an access key')), secret: secretFromWire(secret) }
}

export function foundKeyToWire({ accessKeyId, secret, user }: FoundKey): WireFoundKey {
  return { accessKeyId, secret, user: userToWire(user) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function foundKeyFromWire({ accessKeyId, secret, user }: WireFoundKey): FoundKey {
  if (accessKeyId === '') throw invalid('the id of an access key is missing')
  const owner = userFromWire(present(user, 'the user of an access key'))
  return { accessKeyId, secret: secretFromWire(secret), user: owner }
}

export function findUserToWire({ canonicalId = '', email = '' }: FindUserRequest): WireFindUser {
  return { canonicalId, email }
}

/** @throws {StoreError} REQUEST_INVALID: neither of the two, or both. */
export function findUserFromWire({ canonicalId, email }: WireFindUser): FindUserRequest {
  if ((canonicalId === '') === (email === '')) {
    throw invalid('a user is found by a canonical id or by an email address')
  }
  return canonicalId === '' ? { email } : { canonicalId }
}

/** An empty one would let everybody sign as this user. */
function secretFromWire(secret: string): string {
  if (secret === '') throw invalid('the secret of an access key is missing')
  return secret
}

function filled(text: string): string | undefined {
  return text === '' ? undefined : text
}
