import { dirname } from 'node:path'
import { StoreError } from '../base/store-error.ts'
import { type Disk, readFile, unlinkIfThere, writeFully } from './disk.ts'
import { drawBytes, type Random } from './random.ts'

export const SECRET_BYTES = 32

/** A handful of secrets, and patience for editors that add blanks. */
const FILE_BYTES_MAX = 1024

/**
 * The secrets in a file, in their order: 64 hex digits a line, at least one line. `what` is what
 * messages call them.
 *
 * @throws {StoreError} CONFIG_INVALID: there is no such file, or it holds something else. Its
 * content is not in the message.
 */
export async function readSecretFile(
  disk: Disk,
  path: string,
  what: string,
): Promise<readonly Buffer[]> {
  let bytes: Buffer
  try {
    bytes = await readFile(disk, path, FILE_BYTES_MAX)
  } catch (cause) {
    throw new StoreError('CONFIG_INVALID', `no ${what} can be read from ${path}`, { cause })
  }
  const lines = bytes.toString('latin1').trim().split(/\s+/)
  if (!lines.every((line) => /^[0-9a-f]{64}$/i.test(line))) {
    throw new StoreError('CONFIG_INVALID', `${path} does not hold 64 hex digits`)
  }
  return lines.map((line) => Buffer.from(line, 'hex'))
}

/**
 * As `readSecretFile`; makes the file with one random secret if there is none: readable by its
 * owner only, and durable when this returns. A power cut in between leaves none or a whole one.
 *
 * @throws {StoreError} CONFIG_INVALID: a file is there, but holds no secret.
 */
export async function ensureSecretFile(
  { disk, random }: { readonly disk: Disk; readonly random: Random },
  path: string,
  what: string,
): Promise<readonly Buffer[]> {
  if ((await disk.stat(path)) !== undefined) return await readSecretFile(disk, path, what)
  const secret = drawBytes(random, SECRET_BYTES)
  await writePrivateFile(disk, path, `${secret.toString('hex')}\n`)
  return [secret]
}

/**
 * Puts `text` at `path` for its owner only, in the place of what was there. Durable when this
 * returns; a power cut in between leaves the old file, or the new one, whole.
 */
export async function writePrivateFile(disk: Disk, path: string, text: string): Promise<void> {
  const draft = `${path}.tmp`
  await unlinkIfThere(disk, draft)
  {
    await using file = await disk.open(draft, 'create-private')
    await writeFully(file, [Buffer.from(text)], 0)
    await file.datasync()
  }
  await disk.rename(draft, path)
  await disk.syncDirectory(dirname(path))
}
