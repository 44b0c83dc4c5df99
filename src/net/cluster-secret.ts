import { hkdfSync } from 'node:crypto'
import { join } from 'node:path'
import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'
import { type Disk, readFile, unlinkIfThere, writeFully } from '../runtime/disk.ts'
import type { Random } from '../runtime/random.ts'

export const CLUSTER_SECRET_FILE = 'cluster.secret'
export const CLUSTER_SECRET_BYTES = 32

/** 64 digits and a line end, and patience for editors that add blanks. */
const FILE_BYTES_MAX = 1024

/**
 * The secret that all servers of a cluster share: 64 hex digits in a file.
 *
 * @throws {StoreError} CONFIG_INVALID: there is no such file, or it holds something else. Its
 * content is not in the message.
 */
export async function readClusterSecret(disk: Disk, path: string): Promise<Buffer> {
  let bytes: Buffer
  try {
    bytes = await readFile(disk, path, FILE_BYTES_MAX)
  } catch (cause) {
    throw new StoreError('CONFIG_INVALID', `no cluster secret can be read from ${path}`, { cause })
  }
  const text = bytes.toString('latin1').trim()
  if (!/^[0-9a-f]{64}$/i.test(text)) {
    throw new StoreError('CONFIG_INVALID', `${path} does not hold 64 hex digits`)
  }
  return Buffer.from(text, 'hex')
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
  if ((await disk.stat(path)) !== undefined) return readClusterSecret(disk, path)
  const secret = Buffer.alloc(CLUSTER_SECRET_BYTES)
  for (let at = 0; at < secret.length; at += 4) secret.writeUInt32LE(random.u32(), at)
  const draft = `${path}.tmp`
  await unlinkIfThere(disk, draft)
  {
    await using file = await disk.open(draft, 'create-private')
    await writeFully(file, [Buffer.from(`${secret.toString('hex')}\n`)], 0)
    await file.datasync()
  }
  await disk.rename(draft, path)
  await disk.syncDirectory(directory)
  return secret
}

/** A key for one purpose. Who learns it learns neither the secret nor another key. */
export function deriveKey(secret: Buffer, purpose: string): Buffer {
  assert(secret.length === CLUSTER_SECRET_BYTES, `a cluster secret of ${secret.length} bytes`)
  const key = hkdfSync('sha256', secret, '', `hayloft ${purpose}`, CLUSTER_SECRET_BYTES)
  return Buffer.from(key)
}
