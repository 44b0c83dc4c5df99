import crypto, { createHmac } from 'node:crypto'

const BLOCK_BYTES = 64
const HASH_BYTES = 32
/** What Version 4 signs of a request has some 140 characters. */
const SHORT_MAX = 1024
/** `crypto.hash` makes no object per call; Node has it since 20.12. */
const hasOneShot = typeof crypto.hash === 'function'

/** Shared: nothing waits between filling it and hashing it. */
const inner = Buffer.alloc(BLOCK_BYTES + SHORT_MAX)
const outer = Buffer.alloc(BLOCK_BYTES + HASH_BYTES)

/**
 * A key that signs many short texts: two hashes at once cost half of what an `Hmac` object does.
 *
 * Source: RFC 2104.
 */
export class HmacSha256 {
  readonly #key: Buffer
  readonly #innerPad: Buffer
  readonly #outerPad: Buffer

  constructor(key: Buffer) {
    this.#key = key
    const block = Buffer.alloc(BLOCK_BYTES)
    block.set(key.length > BLOCK_BYTES ? crypto.createHash('sha256').update(key).digest() : key)
    this.#innerPad = block.map((byte) => byte ^ 0x36) as Buffer
    this.#outerPad = block.map((byte) => byte ^ 0x5c) as Buffer
  }

  /** In lower-case hex. `text` is Latin-1 characters that stand for bytes. */
  sign(text: string): string {
    if (!hasOneShot || text.length > SHORT_MAX) {
      return createHmac('sha256', this.#key).update(text, 'latin1').digest('hex')
    }
    inner.set(this.#innerPad)
    const end = BLOCK_BYTES + inner.write(text, BLOCK_BYTES, 'latin1')
    outer.set(this.#outerPad)
    outer.write(crypto.hash('sha256', inner.subarray(0, end), 'binary'), BLOCK_BYTES, 'latin1')
    return crypto.hash('sha256', outer, 'hex')
  }
}
