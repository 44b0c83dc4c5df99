import crypto, { createHash } from 'node:crypto'

export type HashName = 'md5' | 'sha1' | 'sha256'

/** `crypto.hash` makes no object per call, which a small body notices; Node has it since 20.12. */
const hasOneShot = typeof crypto.hash === 'function'

export function hashBytes(name: HashName, bytes: Uint8Array): Buffer {
  if (hasOneShot) return crypto.hash(name, bytes, 'buffer')
  return createHash(name).update(bytes).digest()
}

/** Of Latin-1 characters that stand for bytes, in lower-case hex. */
export function hashLatin1Hex(name: HashName, text: string): string {
  // A string is hashed as UTF-8: the same bytes, unless there are others than ASCII.
  if (hasOneShot && !/[\u0080-\u00ff]/.test(text)) return crypto.hash(name, text, 'hex')
  return createHash(name).update(text, 'latin1').digest('hex')
}

/** In lower-case hex. */
export function hashHex(name: HashName, bytes: Uint8Array): string {
  if (hasOneShot) return crypto.hash(name, bytes, 'hex')
  return createHash(name).update(bytes).digest('hex')
}
