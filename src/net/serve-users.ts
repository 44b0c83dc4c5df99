import type { User } from '../base/user.ts'
import { type GrpcMethod, type GrpcService, serverStream, unary } from './grpc-service.ts'
import { USERS_PROTO, USERS_SERVICE } from './proto-loading.ts'
import type { UsersApi } from './users-api.ts'
import {
  findUserFromWire,
  foundKeyToWire,
  keyWithSecretToWire,
  newKeyFromWire,
  newUserFromWire,
  userKeyToWire,
  userToWire,
  type WireFindUser,
  type WireNewKey,
  type WireNewUser,
  type WireUsers,
} from './wire-users.ts'

/** 2 MiB at most, with policies of the largest size. */
const USERS_PER_MESSAGE = 100

interface WireNamed {
  readonly name: string
}

interface WireKeyNamed {
  readonly accessKeyId: string
}

/**
 * The users of S3 as a service of a `GrpcServer`. Nothing of it is public: whoever learns a secret
 * can sign as its user.
 */
export function usersService(api: UsersApi): GrpcService {
  return {
    name: USERS_SERVICE,
    definition: USERS_PROTO,
    methods: { ...userMethods(api), ...keyMethods(api), ...findMethods(api) },
  }
}

function userMethods(api: UsersApi): Record<string, GrpcMethod> {
  return {
    AddUser: unary('cluster', async (wire: WireNewUser, { signal }) =>
      userToWire(await api.add(newUserFromWire(wire), signal)),
    ),
    GetUser: unary('cluster', async (wire: WireNamed, { signal }) =>
      userToWire(await api.get(wire.name, signal)),
    ),
    ListUsers: serverStream('cluster', async function* (_, { signal }) {
      yield* inPages(await api.list(signal))
    }),
    RemoveUser: unary('cluster', async (wire: WireNamed, { signal }) => {
      await api.remove(wire.name, signal)
      return {}
    }),
    SetUserPolicy: unary(
      'cluster',
      async (wire: WireNamed & { readonly policy: string }, { signal }) => {
        const policy = wire.policy === '' ? undefined : wire.policy
        return userToWire(await api.setPolicy(wire.name, policy, signal))
      },
    ),
  }
}

function* inPages(users: readonly User[]): Generator<WireUsers> {
  for (let at = 0; at < users.length; at += USERS_PER_MESSAGE) {
    yield { users: users.slice(at, at + USERS_PER_MESSAGE).map(userToWire) }
  }
}

function keyMethods(api: UsersApi): Record<string, GrpcMethod> {
  return {
    AddKey: unary('cluster', async (wire: WireNewKey, { signal }) =>
      keyWithSecretToWire(await api.addKey(newKeyFromWire(wire), signal)),
    ),
    ListKeys: unary('cluster', async (wire: { readonly userName: string }, { signal }) => {
      const keys = await api.listKeys(wire.userName, signal)
      return { keys: keys.map(userKeyToWire) }
    }),
    RemoveKey: unary('cluster', async (wire: WireKeyNamed, { signal }) => {
      await api.removeKey(wire.accessKeyId, signal)
      return {}
    }),
    SetKeyEnabled: unary(
      'cluster',
      async (wire: WireKeyNamed & { readonly isEnabled: boolean }, { signal }) => {
        await api.setKeyEnabled(wire.accessKeyId, wire.isEnabled, signal)
        return {}
      },
    ),
  }
}

function findMethods(api: UsersApi): Record<string, GrpcMethod> {
  return {
    FindKey: unary('cluster', async (wire: WireKeyNamed, { signal }) => {
      const found = await api.findKey(wire.accessKeyId, signal)
      return { found: found === undefined ? null : foundKeyToWire(found) }
    }),
    FindUser: unary('cluster', async (wire: WireFindUser, { signal }) => {
      const { canonicalId, email } = findUserFromWire(wire)
      const user =
        canonicalId === undefined
          ? await api.findByEmail(email, signal)
          : await api.findByCanonicalId(canonicalId, signal)
      return { user: user === undefined ? null : userToWire(user) }
    }),
  }
}
