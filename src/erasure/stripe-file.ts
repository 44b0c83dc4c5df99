import { AssertionFailure } from '../base/assert.ts'
import type { DiskFile } from '../runtime/disk.ts'
import type { StripeReader } from './stripe-reader.ts'

/** A coded volume as the file it was made from, every byte verified. Nothing can be written. */
export class StripeFile implements DiskFile {
  readonly path: string
  readonly #reader: StripeReader
  readonly #signal: AbortSignal

  constructor(reader: StripeReader, path: string, signal: AbortSignal) {
    this.#reader = reader
    this.path = path
    this.#signal = signal
  }

  /** @throws {StoreError} as `StripeReader.readVerified`. */
  async read(target: Buffer, targetAt: number, length: number, position: number): Promise<number> {
    const bytes = Math.min(length, Math.max(this.#reader.datBytes - position, 0))
    if (bytes === 0) return 0
    const read = await this.#reader.readVerified(position, bytes, this.#signal)
    return read.copy(target, targetAt)
  }

  async sizeBytes(): Promise<number> {
    return this.#reader.datBytes
  }

  readSync(): number {
    return neverDone('read at once')
  }

  writevSync(): number {
    return neverDone('written to')
  }

  async writev(): Promise<number> {
    return neverDone('written to')
  }

  async truncate(): Promise<void> {
    neverDone('cut')
  }

  async datasync(): Promise<void> {
    neverDone('synced')
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}

function neverDone(what: string): never {
  throw new AssertionFailure(`a coded volume is not ${what}`)
}
