import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'

/**
 * The parts rows are made of.
 *
 *     varint   7 bits in each byte, lowest first, the top bit set in all but the last; up to 2^53-1
 *     bytes    varint length, then the bytes
 *     text     bytes in UTF-8
 */
export class RowWriter {
  #buffer: Buffer
  #at = 0

  constructor(sizeBytes: number) {
    this.#buffer = Buffer.allocUnsafe(sizeBytes)
  }

  u8(value: number): this {
    this.#reserve(1)
    this.#at = this.#buffer.writeUInt8(value, this.#at)
    return this
  }

  u16(value: number): this {
    this.#reserve(2)
    this.#at = this.#buffer.writeUInt16BE(value, this.#at)
    return this
  }

  u32(value: number): this {
    this.#reserve(4)
    this.#at = this.#buffer.writeUInt32BE(value, this.#at)
    return this
  }

  varint(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, `${value} in a row`)
    this.#reserve(8)
    let rest = value
    while (rest >= 0x80) {
      this.#buffer[this.#at++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#buffer[this.#at++] = rest
    return this
  }

  /** Without its length. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#at)
    this.#at += bytes.length
    return this
  }

  bytes(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes)
  }

  text(text: string): this {
    const sizeBytes = Buffer.byteLength(text)
    this.varint(sizeBytes)
    this.#reserve(sizeBytes)
    this.#at += this.#buffer.write(text, this.#at, 'utf8')
    return this
  }

  /** Two digits a byte, without a length. */
  hex(digits: string): this {
    assert(digits.length % 2 === 0 && /^[0-9a-f]*$/.test(digits), `${digits} is no hex`)
    this.#reserve(digits.length / 2)
    this.#at += this.#buffer.write(digits, this.#at, 'hex')
    return this
  }

  /** What was written; the writer is not used any more. */
  end(): Buffer {
    return this.#buffer.subarray(0, this.#at)
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes
    if (needed <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length))
    this.#buffer.copy(larger, 0, 0, this.#at)
    this.#buffer = larger
  }
}

const SHORT_ROW_BYTES = 512
const BEYOND_ASCII = /[\u0080-\u00ff]/

/** Reads what a `RowWriter` wrote. Every method throws METADATA_CORRUPT where a row ends early. */
export class RowReader {
  readonly #buffer: Buffer
  readonly #key: string
  /** All of the row, when any of it was asked for: of a short row that costs as much as a part. */
  #digits: string | undefined
  #latin1: string | undefined
  #at = 0

  /** `key` is for messages. */
  constructor(bytes: Uint8Array, key: string) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#key = key
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#take(1))
  }

  u16(): number {
    return this.#buffer.readUInt16BE(this.#take(2))
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#take(4))
  }

  varint(): number {
    let value = 0
    let scale = 1
    for (let count = 0; count < 8; count++) {
      const byte = this.#buffer[this.#take(1)] ?? 0
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) throw this.corrupt('a number is too large')
        return value
      }
      scale *= 0x80
    }
    throw this.corrupt('a number has no end')
  }

  raw(sizeBytes: number): Buffer {
    const at = this.#take(sizeBytes)
    return this.#buffer.subarray(at, at + sizeBytes)
  }

  bytes(): Buffer {
    return this.raw(this.varint())
  }

  text(): string {
    const sizeBytes = this.varint()
    const at = this.#take(sizeBytes)
    const end = at + sizeBytes
    if (this.#isShort) {
      this.#latin1 ??= this.#buffer.toString('latin1')
      const text = this.#latin1.slice(at, end)
      if (!BEYOND_ASCII.test(text)) return text
    }
    return this.#buffer.toString('utf8', at, end)
  }

  hex(sizeBytes: number): string {
    const at = this.#take(sizeBytes)
    const end = at + sizeBytes
    if (!this.#isShort) return this.#buffer.toString('hex', at, end)
    this.#digits ??= this.#buffer.toString('hex')
    return this.#digits.slice(2 * at, 2 * end)
  }

  /** A text that is cut out keeps the whole it was cut out of in memory. */
  get #isShort(): boolean {
    return this.#buffer.length <= SHORT_ROW_BYTES
  }

  /** @throws {StoreError} METADATA_CORRUPT: something follows. */
  end(): void {
    if (this.#at !== this.#buffer.length) throw this.corrupt('it goes on after its end')
  }

  corrupt(why: string, cause?: unknown): StoreError {
    const message = `the row ${this.#key} cannot be read: ${why}`
    return new StoreError('METADATA_CORRUPT', message, { cause })
  }

  #take(bytes: number): number {
    const at = this.#at
    if (bytes > this.#buffer.length - at) throw this.corrupt('it ends too early')
    this.#at += bytes
    return at
  }
}

/** A plain object with nothing but texts, in JSON that was read. */
export function isTexts(value: unknown): value is Readonly<Record<string, string>> {
  return isObject(value) && Object.values(value).every((text) => typeof text === 'string')
}

/** A list of texts, in JSON that was read. */
export function isTextList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string')
}

/** An object that is neither null nor an array, in JSON that was read. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
