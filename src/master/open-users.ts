import { join } from 'node:path'
import { StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import { SecretBox } from '../namespace/secret-box.ts'
import { drawKey } from '../namespace/user-record.ts'
import { ROOT_USER, Users } from '../namespace/users.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { ensureSecretFile, writePrivateFile } from '../runtime/secret-file.ts'
import { checkLeader } from './check-leader.ts'

/** Seals the secrets of access keys: one line a key, the last one is in use. */
export const USERS_KEY_FILE = 's3.key'
/** The first access key of the root user. */
export const ROOT_KEY_FILE = 's3-root.json'

export interface OpenUsersParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly store: MetadataStore
  readonly coordinator: Pick<Coordinator, 'isLeader' | 'leader'>
  /** Throws a `StoreError` for what is no policy of a user. Undefined: any JSON object is one. */
  readonly checkPolicy?: ((policy: string) => void) | undefined
}

export interface RootKey {
  readonly accessKeyId: string
  readonly secret: string
}

export interface OpenUsersConfig {
  readonly dir: string
  /** An access key that the root user has beside its others. */
  readonly rootKey: RootKey | undefined
}

/**
 * The users of S3. The first start makes the key for their secrets, the root user and an access key
 * for it, which `s3-root.json` tells whoever may read the directory.
 *
 * @throws {StoreError} CONFIG_INVALID: `s3.key` cannot be used. ACCESS_KEY_EXISTS: the root key of
 * `config` is another user's. The errors of disk and store.
 */
export async function openUsers(
  parts: OpenUsersParts,
  config: OpenUsersConfig,
  signal: AbortSignal,
): Promise<Users> {
  const { coordinator, checkPolicy = checkIsObject } = parts
  const { dir, rootKey } = config
  const secrets = await ensureSecretFile(parts, join(dir, USERS_KEY_FILE), 'key for S3 users')
  const box = new SecretBox(parts, secrets)
  const checkWritable = () => checkLeader(coordinator)
  const users = await Users.open({ ...parts, box, checkWritable, checkPolicy }, signal)
  if (!(await users.has(ROOT_USER, signal))) {
    const key = drawKey(parts.random)
    // First: a key that is in the file and in no row is made anew at the next start.
    await writePrivateFile(parts.disk, join(dir, ROOT_KEY_FILE), rootKeyText(key))
    await users.addRoot(key, signal)
  }
  if (rootKey !== undefined) await users.ensureKey({ userName: ROOT_USER, ...rootKey }, signal)
  return users
}

function rootKeyText({ accessKeyId, secret }: RootKey): string {
  return `${JSON.stringify({ accessKeyId, secretAccessKey: secret }, undefined, 2)}\n`
}

function checkIsObject(policy: string): void {
  let value: unknown
  try {
    value = JSON.parse(policy)
  } catch (cause) {
    throw new StoreError('REQUEST_INVALID', 'a policy that is no JSON', { cause })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return
  throw new StoreError('REQUEST_INVALID', 'a policy that is no JSON object')
}
