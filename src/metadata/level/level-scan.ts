import { LIMITS } from '../../base/limits.ts'
import type { StoreError } from '../../base/store-error.ts'
import { cancelledError } from '../../runtime/abort.ts'
import type { MetadataRow } from '../metadata-store.ts'

/** Of LevelDB's own iterator, what a scan needs. */
export interface LevelRows {
  nextv(count: number): Promise<[key: string, value: Uint8Array][]>
  close(): Promise<void>
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

/**
 * Rows that come from the database in pieces and are given out one by one. Written by hand: an
 * async generator costs more for each row than all else that is done with it.
 */
export class LevelScan implements AsyncIterator<MetadataRow, undefined, undefined> {
  readonly #open: () => Promise<LevelRows>
  readonly #onError: (error: unknown) => StoreError
  readonly #signal: AbortSignal
  #source: LevelRows | undefined
  #rows: [key: string, value: Uint8Array][] = []
  #at = 0
  #isEnded = false

  constructor(
    open: () => Promise<LevelRows>,
    onError: (error: unknown) => StoreError,
    signal: AbortSignal,
  ) {
    this.#open = open
    this.#onError = onError
    this.#signal = signal
  }

  /** One at a time, as `for await` does. */
  next(): Promise<IteratorResult<MetadataRow, undefined>> {
    const row = this.#rows[this.#at]
    if (row === undefined) return this.#nextPiece()
    if (this.#signal.aborted) return this.#fail(cancelledError(this.#signal, 'during a scan'))
    this.#at++
    return Promise.resolve({ done: false, value: { key: row[0], value: row[1] } })
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#isEnded = true
    this.#rows = []
    const source = this.#source
    this.#source = undefined
    await source?.close()
    return DONE
  }

  async #nextPiece(): Promise<IteratorResult<MetadataRow, undefined>> {
    if (this.#isEnded) return DONE
    try {
      this.#source ??= await this.#open()
      this.#rows = await this.#source.nextv(LIMITS.metadataScanRows.value)
      this.#at = 0
    } catch (error) {
      return await this.#fail(error)
    }
    return this.#rows.length === 0 ? await this.return() : await this.next()
  }

  async #fail(error: unknown): Promise<never> {
    await this.return()
    throw this.#onError(error)
  }
}
