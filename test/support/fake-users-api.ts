import { StoreError } from '../../src/base/store-error.ts'
import type {
  FoundKey,
  NewUser,
  NewUserKey,
  User,
  UserKey,
  UserKeyWithSecret,
} from '../../src/base/user.ts'
import type { UsersApi } from '../../src/net/users-api.ts'

export const USER: User = {
  name: 'alice',
  canonicalId: 'ab'.repeat(32),
  displayName: 'Alice Ä.',
  email: 'alice@example.com',
  isRoot: false,
  policy: '{"Statement":[]}',
  createdAtMs: 2 ** 41,
}

export const PLAIN_USER: User = { ...USER, email: undefined, policy: undefined, isRoot: true }

export const KEY: UserKeyWithSecret = {
  accessKeyId: 'HLKEY',
  userName: 'alice',
  createdAtMs: 2 ** 41,
  isEnabled: true,
  secret: 'the/secret+of=alice',
}

/** Answers with constants, and writes down what it was asked. */
export class FakeUsers implements UsersApi {
  readonly calls: string[] = []
  readonly requests: unknown[] = []
  isLeader = true
  userCount = 2
  /** What is found; undefined: nothing is. */
  found: User | undefined = USER
  beforeCall: (name: string) => Promise<void> = async () => undefined

  async add(request: NewUser): Promise<User> {
    return await this.#answer('add', request, PLAIN_USER)
  }

  async get(name: string): Promise<User> {
    return await this.#answer('get', name, USER)
  }

  async list(): Promise<readonly User[]> {
    const users = Array.from({ length: this.userCount }, (_, at) => ({ ...USER, name: `u${at}` }))
    return await this.#answer('list', undefined, users)
  }

  async remove(name: string): Promise<void> {
    await this.#answer('remove', name, undefined)
  }

  async setPolicy(name: string, policy: string | undefined): Promise<User> {
    return await this.#answer('setPolicy', { name, policy }, { ...USER, policy })
  }

  async addKey(request: NewUserKey): Promise<UserKeyWithSecret> {
    return await this.#answer('addKey', request, KEY)
  }

  async listKeys(userName: string): Promise<readonly UserKey[]> {
    const { secret: _, ...view } = KEY
    return await this.#answer('listKeys', userName, [view, { ...view, isEnabled: false }])
  }

  async removeKey(accessKeyId: string): Promise<void> {
    await this.#answer('removeKey', accessKeyId, undefined)
  }

  async setKeyEnabled(accessKeyId: string, isEnabled: boolean): Promise<void> {
    await this.#answer('setKeyEnabled', { accessKeyId, isEnabled }, undefined)
  }

  async findKey(accessKeyId: string): Promise<FoundKey | undefined> {
    const { found } = this
    const key = found && { accessKeyId, secret: KEY.secret, user: found }
    return await this.#answer('findKey', accessKeyId, key)
  }

  async findByCanonicalId(canonicalId: string): Promise<User | undefined> {
    return await this.#answer('findByCanonicalId', canonicalId, this.found)
  }

  async findByEmail(email: string): Promise<User | undefined> {
    return await this.#answer('findByEmail', email, this.found)
  }

  async #answer<Answer>(name: string, request: unknown, answer: Answer): Promise<Answer> {
    if (!this.isLeader) throw new StoreError('NOT_LEADER', 'somebody else leads')
    this.calls.push(name)
    this.requests.push(request)
    await this.beforeCall(name)
    return answer
  }
}
