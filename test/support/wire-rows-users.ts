import fc from 'fast-check'
import * as users from '../../src/net/wire-users.ts'
import { bool, maybe, type Row, row, someText, u64 } from './wire-rows.ts'

const canonicalId = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => {
  return Buffer.from(bytes).toString('hex')
})
const user = fc.record({
  name: someText,
  canonicalId,
  displayName: fc.string({ unit: 'grapheme' }),
  email: maybe(someText),
  isRoot: bool,
  policy: maybe(someText),
  createdAtMs: u64,
})
const key = { accessKeyId: someText, userName: someText, createdAtMs: u64, isEnabled: bool }

export const USER_ROWS: readonly Row[] = [
  row('User', user, users.userToWire, users.userFromWire),
  row(
    'AddUserRequest',
    fc.record({
      name: someText,
      displayName: maybe(someText),
      email: maybe(someText),
      policy: maybe(someText),
    }),
    users.newUserToWire,
    users.newUserFromWire,
  ),
  row(
    'AddKeyRequest',
    fc.record({ userName: someText, accessKeyId: maybe(someText), secret: maybe(someText) }),
    users.newKeyToWire,
    users.newKeyFromWire,
  ),
  row('UserKey', fc.record(key), users.userKeyToWire, users.userKeyFromWire),
  row(
    'UserKeyWithSecret',
    fc.record({ ...key, secret: someText }),
    users.keyWithSecretToWire,
    users.keyWithSecretFromWire,
  ),
  row(
    'FoundKey',
    fc.record({ accessKeyId: someText, secret: someText, user }),
    users.foundKeyToWire,
    users.foundKeyFromWire,
  ),
  row(
    'FindUserRequest',
    fc.oneof(fc.record({ canonicalId }), fc.record({ email: someText })),
    users.findUserToWire,
    users.findUserFromWire,
  ),
]

/** Messages that hold others, or a value or two, and are made where they are used. */
export const PLAIN_USERS: Readonly<Record<string, readonly string[]>> = {
  GetUserRequest: ['name'],
  ListUsersRequest: [],
  UserList: ['users'],
  RemoveUserRequest: ['name'],
  RemoveUserResponse: [],
  SetUserPolicyRequest: ['name', 'policy'],
  ListKeysRequest: ['userName'],
  UserKeyList: ['keys'],
  RemoveKeyRequest: ['accessKeyId'],
  RemoveKeyResponse: [],
  SetKeyEnabledRequest: ['accessKeyId', 'isEnabled'],
  SetKeyEnabledResponse: [],
  FindKeyRequest: ['accessKeyId'],
  FindKeyResponse: ['found'],
  FindUserResponse: ['user'],
}

const WIRE_USER = {
  name: 'a',
  canonicalId: 'ab'.repeat(32),
  displayName: '',
  email: '',
  isRoot: false,
  policy: '',
  createdAtMs: 0,
}
const WIRE_KEY = { accessKeyId: 'KEY', userName: 'a', createdAtMs: 0, isEnabled: true }

export const HOSTILE_USERS: readonly [string, 'REQUEST_INVALID', () => unknown][] = [
  ['a user without a name', () => users.userFromWire({ ...WIRE_USER, name: '' })],
  [
    'a canonical id of 63 digits',
    () => users.userFromWire({ ...WIRE_USER, canonicalId: 'a'.repeat(63) }),
  ],
  [
    'a canonical id in capitals',
    () => users.userFromWire({ ...WIRE_USER, canonicalId: 'AB'.repeat(32) }),
  ],
  ['a user from 2^53', () => users.userFromWire({ ...WIRE_USER, createdAtMs: 2 ** 53 })],
  ['an access key without an id', () => users.userKeyFromWire({ ...WIRE_KEY, accessKeyId: '' })],
  ['an access key of nobody', () => users.userKeyFromWire({ ...WIRE_KEY, userName: '' })],
  ['a new key that is missing', () => users.keyWithSecretFromWire({ key: null, secret: 'x' })],
  [
    'a new key with an empty secret',
    () => users.keyWithSecretFromWire({ key: WIRE_KEY, secret: '' }),
  ],
  [
    'a key that is found with an empty secret',
    () => users.foundKeyFromWire({ accessKeyId: 'KEY', secret: '', user: WIRE_USER }),
  ],
  [
    'a key that is found without an id',
    () => users.foundKeyFromWire({ accessKeyId: '', secret: 'x', user: WIRE_USER }),
  ],
  [
    'a key that is found without a user',
    () => users.foundKeyFromWire({ accessKeyId: 'KEY', secret: 'x', user: null }),
  ],
  ['nobody to be found', () => users.findUserFromWire({ canonicalId: '', email: '' })],
  ['two to be found at once', () => users.findUserFromWire({ canonicalId: 'a', email: 'b' })],
].map(([title, run]) => [title as string, 'REQUEST_INVALID', run as () => unknown])
