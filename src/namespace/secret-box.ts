import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'
import { drawBytes, type Random } from '../runtime/random.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const CIPHER = 'aes-256-gcm'

/** What a sealed text is longer than the text in UTF-8. */
const SEAL_BYTES = 1 + NONCE_BYTES + TAG_BYTES

/**
 * Encrypts texts for rows. What was sealed with any of the keys is opened; the last key seals.
 *
 *     0          1            13                     -16
 *     | key u8   | nonce      | AES-256-GCM          | tag      |
 *
 * The first byte tells by which key, and is derived from it. Nonces are random: chance that two of
 * 2^32 seals under one key have the same is below 2^-32. What a text belongs to (`bound`) is
 * authenticated with it, so that it cannot be moved to another place.
 * Source: NIST SP 800-38D.
 */
export class SecretBox {
  readonly #random: Random
  readonly #keys = new Map<number, Buffer>()
  readonly #current: number

  /**
   * `secrets` of 32 bytes each.
   *
   * @throws {StoreError} CONFIG_INVALID: there is none, or two that the first byte cannot tell
   * apart. The chance of that is 1 in 256 for each two.
   */
  constructor({ random }: { readonly random: Random }, secrets: readonly Buffer[]) {
    this.#random = random
    let current: number | undefined
    for (const secret of secrets) {
      assert(secret.length === KEY_BYTES, `a secret of ${secret.length} bytes`)
      current = derive(secret, 'hayloft s3 key id v1').readUInt8(0)
      if (this.#keys.has(current)) {
        throw new StoreError('CONFIG_INVALID', 'two keys have the same number; make another one')
      }
      this.#keys.set(current, derive(secret, 'hayloft s3 secrets v1'))
    }
    if (current === undefined) throw new StoreError('CONFIG_INVALID', 'there is no key')
    this.#current = current
  }

  seal(text: string, bound: Uint8Array): Buffer {
    const key = this.#keys.get(this.#current)
    assert(key !== undefined, 'the current key is one of the keys')
    const nonce = drawBytes(this.#random, NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, key, nonce).setAAD(bound)
    const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    return Buffer.concat([Buffer.of(this.#current), nonce, body, cipher.getAuthTag()])
  }

  /** Undefined: it was sealed with another key, for another place, or is damaged. */
  open(sealed: Buffer, bound: Uint8Array): string | undefined {
    const key = this.#keys.get(sealed[0] ?? -1)
    if (key === undefined || sealed.length < SEAL_BYTES) return undefined
    const tagAt = sealed.length - TAG_BYTES
    const nonce = sealed.subarray(1, 1 + NONCE_BYTES)
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(bound).setAuthTag(sealed.subarray(tagAt))
    try {
      const body = decipher.update(sealed.subarray(1 + NONCE_BYTES, tagAt))
      return Buffer.concat([body, decipher.final()]).toString('utf8')
    } catch {
      return undefined // The library's word for a tag that does not fit.
    }
  }

  /** Sealed with the key that seals now, whether or not it can be opened. */
  isCurrent(sealed: Buffer): boolean {
    return sealed[0] === this.#current
  }
}

function derive(secret: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', purpose, KEY_BYTES))
}
