import type {
  FoundKey,
  NewUser,
  NewUserKey,
  User,
  UserKey,
  UserKeyWithSecret,
} from '../base/user.ts'
import {
  MasterChannels,
  type MasterChannelsConfig,
  type MasterChannelsParts,
} from './master-channels.ts'
import { USERS_PROTO } from './proto-loading.ts'
import type { UsersApi } from './users-api.ts'
import {
  findUserToWire,
  foundKeyFromWire,
  keyWithSecretFromWire,
  newKeyToWire,
  newUserToWire,
  userFromWire,
  userKeyFromWire,
  type WireFindKeyAnswer,
  type WireFindUserAnswer,
  type WireKeyWithSecret,
  type WireUser,
  type WireUserKeys,
  type WireUsers,
} from './wire-users.ts'

/**
 * The users of S3 of the masters of a cluster over gRPC; see `MasterChannels`. What adds or removes
 * is sent once, to a master that has just said it is the leader; all else does no harm when it is
 * sent again.
 */
export class RemoteUsers implements UsersApi, AsyncDisposable {
  readonly #channels: MasterChannels

  private constructor(channels: MasterChannels) {
    this.#channels = channels
  }

  /**
   * Connects when it is first used.
   *
   * @throws {StoreError} CONFIG_INVALID: no address, or `tls` cannot be used.
   */
  static async open(
    parts: MasterChannelsParts,
    config: MasterChannelsConfig,
  ): Promise<RemoteUsers> {
    return new RemoteUsers(new MasterChannels(parts, config, USERS_PROTO))
  }

  add(request: NewUser, signal: AbortSignal): Promise<User> {
    const options = { signal, isOnce: true }
    return this.#channels.call('AddUser', newUserToWire(request), toUser, options)
  }

  get(name: string, signal: AbortSignal): Promise<User> {
    return this.#channels.call('GetUser', { name }, toUser, { signal })
  }

  list(signal: AbortSignal): Promise<readonly User[]> {
    const convert = ({ users }: WireUsers) => users.map(userFromWire)
    return this.#channels.gather('ListUsers', {}, convert, { signal })
  }

  remove(name: string, signal: AbortSignal): Promise<void> {
    return this.#channels.call('RemoveUser', { name }, nothing, { signal, isOnce: true })
  }

  setPolicy(name: string, policy: string | undefined, signal: AbortSignal): Promise<User> {
    return this.#channels.call('SetUserPolicy', { name, policy }, toUser, { signal })
  }

  addKey(request: NewUserKey, signal: AbortSignal): Promise<UserKeyWithSecret> {
    const convert = (wire: WireKeyWithSecret) => keyWithSecretFromWire(wire)
    const options = { signal, isOnce: true }
    return this.#channels.call('AddKey', newKeyToWire(request), convert, options)
  }

  listKeys(userName: string, signal: AbortSignal): Promise<readonly UserKey[]> {
    const convert = ({ keys }: WireUserKeys) => keys.map(userKeyFromWire)
    return this.#channels.call('ListKeys', { userName }, convert, { signal })
  }

  removeKey(accessKeyId: string, signal: AbortSignal): Promise<void> {
    const options = { signal, isOnce: true }
    return this.#channels.call('RemoveKey', { accessKeyId }, nothing, options)
  }

  setKeyEnabled(accessKeyId: string, isEnabled: boolean, signal: AbortSignal): Promise<void> {
    const request = { accessKeyId, isEnabled }
    return this.#channels.call('SetKeyEnabled', request, nothing, { signal })
  }

  findKey(accessKeyId: string, signal: AbortSignal): Promise<FoundKey | undefined> {
    const convert = ({ found }: WireFindKeyAnswer) =>
      found === null ? undefined : foundKeyFromWire(found)
    return this.#channels.call('FindKey', { accessKeyId }, convert, { signal })
  }

  findByCanonicalId(canonicalId: string, signal: AbortSignal): Promise<User | undefined> {
    return this.#channels.call('FindUser', findUserToWire({ canonicalId }), toFound, { signal })
  }

  findByEmail(email: string, signal: AbortSignal): Promise<User | undefined> {
    return this.#channels.call('FindUser', findUserToWire({ email }), toFound, { signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#channels[Symbol.asyncDispose]()
  }
}

function toUser(wire: WireUser): User {
  return userFromWire(wire)
}

function toFound({ user }: WireFindUserAnswer): User | undefined {
  return user === null ? undefined : userFromWire(user)
}

function nothing(): void {}
