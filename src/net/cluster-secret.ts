import { hkdfSync } from 'node:crypto'
import { join } from 'node:path'
import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'
import type { Disk } from '../runtime/disk.ts'
import type { Random } from '../runtime/random.ts'
import { ensureSecretFile, readSecretFile, SECRET_BYTES } from '../runtime/secret-file.ts'

export const CLUSTER_SECRET_FILE = 'cluster.secret'
export const CLUSTER_SECRET_BYTES = SECRET_BYTES

const WHAT = 'cluster secret'

/**
 * The secret that all servers of a cluster share: 64 hex digits in a file.
 *
 * @throws {StoreError} CONFIG_INVALID: there is no such file, or it holds something else. Its
 * content is not in the message.
 */
export async function readClusterSecret(disk: Disk, path: string): Promise<Buffer> {
  return onlyOne(await readSecretFile(disk, path, WHAT), path)
}

/**
 * The secret in this directory, made if there is none: readable by its owner only, and durable when
 * this returns. A power cut in between leaves none or a whole one.
 *
 * @throws {StoreError} CONFIG_INVALID: a file is there, but holds no secret.
 */
export async function ensureClusterSecret(
  disk: Disk,
  random: Random,
  directory: string,
): Promise<Buffer> {
  const path = join(directory, CLUSTER_SECRET_FILE)
  return onlyOne(await ensureSecretFile({ disk, random }, path, WHAT), path)
}

function onlyOne(secrets: readonly Buffer[], path: string): Buffer {
  const [secret, second] = secrets
  if (secret !== undefined && second === undefined) return secret
  throw new StoreError('CONFIG_INVALID', `${path} does not hold one secret of 64 hex digits`)
}

/** A key for one purpose. Who learns it learns neither the secret nor another key. */
export function deriveKey(secret: Buffer, purpose: string): Buffer {
  assert(secret.length === CLUSTER_SECRET_BYTES, `a cluster secret of ${secret.length} bytes`)
  const key = hkdfSync('sha256', secret, '', `hayloft ${purpose}`, CLUSTER_SECRET_BYTES)
  return Buffer.from(key)
}
