import crypto, { createHash } from 'node:crypto'

export type HashName = 'md5' | 'sha1' | 'sha256'

/** `crypto.hash` makes no object per call, which a small body notices; Node has it since 20.12. */
const hasOneShot = typeof crypto.hash === 'function'

export function hashBytes(name: HashName, bytes: Uint8Array): Buffer {
  if (hasOneShot) return crypto.hash(name, bytes, 'buffer')
  return createHash(name).update(bytes).digest()
}

/** In lower-case hex. */
export function hashHex(name: HashName, bytes: Uint8Array): string {
  if (hasOneShot) return crypto.hash(name, bytes, 'hex')
  return createHash(name).update(bytes).digest('hex')
}
