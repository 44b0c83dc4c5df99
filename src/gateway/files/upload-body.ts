import { createHash } from 'node:crypto'
import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'
import type { NewFile, StorePart } from '../../net/files-api.ts'
import { storePartFromWire, type WireStorePart } from '../../net/wire-files.ts'
import { invalid } from '../../net/wire-values.ts'
import type { Clock } from '../../runtime/clock.ts'

/**
 * The messages of one upload: its head, then its bytes, read once and in order. The bytes end
 * without an error only if all came that were announced, and they are what the sender says. Since a
 * call that is cut off can look like one that ended, one of the two must be there.
 */
export class UploadBody implements AsyncIterable<Uint8Array> {
  readonly head: NewFile
  readonly #next: () => Promise<StorePart | undefined>

  private constructor(head: NewFile, next: () => Promise<StorePart | undefined>) {
    this.head = head
    this.#next = next
  }

  /** @throws {StoreError} REQUEST_INVALID: the first message is no head. As the iteration. */
  static async open(
    { clock }: { readonly clock: Clock },
    messages: AsyncIterable<WireStorePart>,
  ): Promise<UploadBody> {
    const iterator = messages[Symbol.asyncIterator]()
    const next = async () => {
      const found = await within(clock, LIMITS.fileUploadSilenceMs.value, iterator.next())
      return found.done === true ? undefined : storePartFromWire(found.value)
    }
    const first = await next()
    if (first === undefined || !('head' in first)) throw invalid('an upload begins with its head')
    return new UploadBody(first.head, next)
  }

  /**
   * @throws {StoreError} REQUEST_INVALID: more or fewer bytes than announced, or messages out of
   * order. CHECKSUM_MISMATCH. TIMEOUT: the sender is silent. What reading a message throws.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const { sizeBytes: announced } = this.head
    const hash = createHash('sha256')
    let sizeBytes = 0
    let sha256: Uint8Array | undefined
    for (let part = await this.#next(); part !== undefined; part = await this.#next()) {
      if ('head' in part || sha256 !== undefined) {
        throw invalid('an upload is one head, then data, then at most one SHA-256')
      }
      if ('sha256' in part) {
        sha256 = part.sha256
        continue
      }
      const { data } = part
      sizeBytes += data.length
      if (announced !== undefined && sizeBytes > announced) {
        throw invalid(`more than the ${announced} bytes that were announced`)
      }
      hash.update(data)
      if (data.length > 0) yield data
    }
    if (announced !== undefined && sizeBytes < announced) {
      throw invalid(`${sizeBytes} bytes came, ${announced} were announced`)
    }
    if (announced === undefined && sha256 === undefined) {
      throw invalid('it was not said how many bytes there are, nor what their SHA-256 is')
    }
    if (sha256 !== undefined && !hash.digest().equals(sha256)) {
      throw new StoreError('CHECKSUM_MISMATCH', `the SHA-256 of ${sizeBytes} bytes is another`)
    }
  }
}

/** @throws {StoreError} TIMEOUT: `waiting` took longer. Otherwise as `waiting`. */
function within<Value>(clock: Clock, ms: number, waiting: Promise<Value>): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => {
      reject(new StoreError('TIMEOUT', `nothing of the upload came for ${ms} ms`))
    })
    waiting.then(resolve, reject).finally(() => timer[Symbol.dispose]())
  })
}
