import { assert } from '../base/assert.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { User, UserKey, UserKeyWithSecret } from '../base/user.ts'
import { drawBytes, type Random } from '../runtime/random.ts'
import { RowReader, RowWriter } from './row-bytes.ts'
import type { SecretBox } from './secret-box.ts'

/** A user as stored: its keys are removed with it, in one batch. */
export interface UserRow extends User {
  readonly accessKeyIds: readonly string[]
}

const VERSION = 1

/** As long as the names of users of S3's own service may be. */
const USER_NAME = /^[A-Za-z0-9_.@+=,-]{1,64}$/
const ACCESS_KEY_ID = /^[A-Za-z0-9_-]{3,128}$/
const CANONICAL_ID = /^[0-9a-f]{64}$/
/** Printable, and nothing that gets lost in a shell or a configuration file. */
const SECRET = /^[\x21-\x7e]{8,128}$/
const EMAIL = /^[\x21-\x3f\x41-\x7e]{1,64}@[\x21-\x3f\x41-\x7e]{1,189}$/
const DISPLAY_NAME = /^[^\p{C}]{1,128}$/u

const DRAWN_SECRET_BYTES = 30
const ACCESS_KEY_PREFIX = 'HL'
const ACCESS_KEY_RANDOM_COUNT = 18
const ACCESS_KEY_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

const USER_PREFIX = 'users/'
const KEY_PREFIX = 'user-keys/'

/** Every key that begins with `users/` is below `users0`: `0` follows `/`. */
export const USER_ROWS = { gte: USER_PREFIX, lt: 'users0' }
export const KEY_ROWS = { gte: KEY_PREFIX, lt: 'user-keys0' }

export function userRowKey(name: string): string {
  return USER_PREFIX + name
}

export function userNameOfRowKey(key: string): string {
  return key.slice(USER_PREFIX.length)
}

export function accessKeyRowKey(accessKeyId: string): string {
  return KEY_PREFIX + accessKeyId
}

export function accessKeyIdOfRowKey(key: string): string {
  return key.slice(KEY_PREFIX.length)
}

/** Of the row that says whose canonical id it is; so is the next one of email addresses. */
export function canonicalIdRowKey(canonicalId: string): string {
  return `user-ids/${canonicalId}`
}

export function emailRowKey(email: string): string {
  return `user-emails/${email}`
}

/** @throws {StoreError} REQUEST_INVALID */
export function parseUserName(text: string): string {
  if (USER_NAME.test(text)) return text
  throw invalid(`${quote(text)} is no user name: 1 to 64 letters, digits and _.@+=,-`)
}

/** @throws {StoreError} REQUEST_INVALID */
export function parseDisplayName(text: string): string {
  if (DISPLAY_NAME.test(text)) return text
  throw invalid(`${quote(text)} is no display name: 1 to 128 characters in one line`)
}

/** In lower case: two addresses that differ in case only are one. @throws REQUEST_INVALID */
export function parseEmail(text: string): string {
  if (EMAIL.test(text)) return text.toLowerCase()
  throw invalid(`${quote(text)} is no email address`)
}

export function isAccessKeyId(text: string): boolean {
  return ACCESS_KEY_ID.test(text)
}

/** @throws {StoreError} REQUEST_INVALID */
export function parseAccessKeyId(text: string): string {
  if (isAccessKeyId(text)) return text
  throw invalid(`${quote(text)} is no access key: 3 to 128 letters, digits, _ and -`)
}

/** @throws {StoreError} REQUEST_INVALID: the message does not show the text. */
export function parseSecretKey(text: string): string {
  if (SECRET.test(text)) return text
  throw invalid('a secret key has 8 to 128 printable characters, and no blanks')
}

/** An access key that nobody can guess: 40 characters of base64url for the secret. */
export function drawKey(random: Random): {
  readonly accessKeyId: string
  readonly secret: string
} {
  const secret = drawBytes(random, DRAWN_SECRET_BYTES).toString('base64url')
  return { accessKeyId: drawAccessKeyId(random), secret }
}

/** 90 random bits behind the prefix. */
function drawAccessKeyId(random: Random): string {
  let id = ACCESS_KEY_PREFIX
  for (let count = 0; count < ACCESS_KEY_RANDOM_COUNT; count++) {
    id += ACCESS_KEY_ALPHABET.charAt(random.u32() & 31)
  }
  return id
}

export function withoutKeys({ accessKeyIds: _, ...user }: UserRow): User {
  return user
}

/** The row of a user: v u8, then JSON. */
export function encodeUser({ name, ...members }: UserRow): Uint8Array {
  assert(USER_NAME.test(name), 'the name of a user was checked')
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(JSON.stringify(members))])
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeUser(name: string, bytes: Uint8Array): UserRow {
  const key = userRowKey(name)
  const members = membersOf(bytes.subarray(1), key)
  const { canonicalId, displayName, email, isRoot, policy, createdAtMs, accessKeyIds } = members
  if (
    bytes[0] !== VERSION ||
    !isMatch(CANONICAL_ID, canonicalId) ||
    !isMatch(DISPLAY_NAME, displayName) ||
    !(email === undefined || isMatch(EMAIL, email)) ||
    typeof isRoot !== 'boolean' ||
    !(policy === undefined || typeof policy === 'string') ||
    !isTime(createdAtMs) ||
    !Array.isArray(accessKeyIds) ||
    !accessKeyIds.every((id) => isMatch(ACCESS_KEY_ID, id))
  ) {
    throw corrupt(key)
  }
  return { name, canonicalId, displayName, email, isRoot, policy, createdAtMs, accessKeyIds }
}

/** The row of an access key, its secret still sealed. */
export interface SealedKey extends UserKey {
  readonly sealed: Buffer
  /** What the secret is sealed to: the row's key and all of the row before it. */
  readonly bound: Buffer
}

/**
 * The row of an access key. Its secret is sealed together with the key of the row and all that
 * stands before it, so that neither can be changed or moved without being found out.
 *
 *     0        1                                                                 end
 *     | v u8   | JSON text: userName, createdAtMs, isEnabled | bytes: see SecretBox |
 */
export function encodeAccessKey(key: UserKeyWithSecret, box: SecretBox): Uint8Array {
  const { accessKeyId, secret, userName, createdAtMs, isEnabled } = key
  assert(SECRET.test(secret), 'the secret of an access key was checked')
  const head = headOf(JSON.stringify({ userName, createdAtMs, isEnabled }))
  const sealed = box.seal(secret, boundTo(accessKeyRowKey(accessKeyId), head))
  return new RowWriter(head.length + sealed.length + 2).raw(head).bytes(sealed).end()
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeAccessKey(accessKeyId: string, bytes: Uint8Array): SealedKey {
  const key = accessKeyRowKey(accessKeyId)
  const row = new RowReader(bytes, key)
  if (row.u8() !== VERSION) throw row.corrupt('it has an unknown version')
  const json = row.text()
  const sealed = row.bytes()
  row.end()
  const { userName, createdAtMs, isEnabled } = membersOf(Buffer.from(json), key)
  if (!isMatch(USER_NAME, userName) || !isTime(createdAtMs) || typeof isEnabled !== 'boolean') {
    throw corrupt(key)
  }
  const bound = boundTo(key, headOf(json))
  return { accessKeyId, userName, createdAtMs, isEnabled, sealed, bound }
}

/** @throws {StoreError} METADATA_CORRUPT: another key sealed it, or somebody changed the row. */
export function openAccessKey(key: SealedKey, box: SecretBox): UserKeyWithSecret {
  const { sealed, bound, ...view } = key
  const secret = box.open(sealed, bound)
  if (secret !== undefined && SECRET.test(secret)) return { ...view, secret }
  const rowKey = accessKeyRowKey(key.accessKeyId)
  const why = 'it was sealed with another s3.key, or changed'
  throw new StoreError('METADATA_CORRUPT', `the secret in the row ${rowKey} cannot be read: ${why}`)
}

/** The row of a canonical id or an email address: v u8, then the user's name. */
export function encodeUserReference(name: string): Uint8Array {
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(name)])
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeUserReference(key: string, bytes: Uint8Array): string {
  const name = Buffer.from(bytes.subarray(1)).toString('utf8')
  if (bytes[0] !== VERSION || !USER_NAME.test(name)) throw corrupt(key)
  return name
}

function headOf(json: string): Buffer {
  return new RowWriter(json.length + 4).u8(VERSION).text(json).end()
}

/** The NUL, which no key has, keeps the two apart. */
function boundTo(rowKey: string, head: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${rowKey}\0`), head])
}

function membersOf(json: Uint8Array, key: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(json).toString('utf8'))
  } catch (cause) {
    throw corrupt(key, cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw corrupt(key)
  return { ...value }
}

function isMatch(pattern: RegExp, value: unknown): value is string {
  return typeof value === 'string' && pattern.test(value)
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function corrupt(key: string, cause?: unknown): StoreError {
  return new StoreError('METADATA_CORRUPT', `the row ${key} cannot be read`, { cause })
}

function invalid(message: string): StoreError {
  return new StoreError('REQUEST_INVALID', message)
}
