import { type FileId, formatFileId } from '../base/file-id.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { PutOptions } from './client-api.ts'

/**
 * The needles of one file, told to the caller before they are sent. One call is under way at a
 * time; ids that come meanwhile are told together by the next one. After a call that failed all
 * others fail with the same error.
 */
export class PlannedIds {
  readonly #onPlanned: NonNullable<PutOptions['onPlanned']>
  #waiting: string[] = []
  #next: Promise<void> | undefined
  /** The last call; never rejects. */
  #last: Promise<void> = Promise.resolve()
  #failure: { readonly error: unknown } | undefined

  constructor(onPlanned: NonNullable<PutOptions['onPlanned']>) {
    this.#onPlanned = onPlanned
  }

  /** What the caller's function threw: nothing more is to be sent. */
  get failure(): { readonly error: unknown } | undefined {
    return this.#failure
  }

  /**
   * Returns when the caller knows of them. Throws what the caller's function threw.
   *
   * @throws {StoreError} CANCELLED: `signal` aborted.
   */
  async tell(fileIds: readonly FileId[], signal: AbortSignal): Promise<void> {
    for (const fileId of fileIds) this.#waiting.push(formatFileId(fileId))
    if (this.#next === undefined) {
      this.#next = this.#last.then(() => this.#call())
      this.#last = this.#next.catch(() => undefined)
    }
    await this.#next
    if (signal.aborted) throw cancelledError(signal, 'after needles were planned')
  }

  /** Resolves when no call is under way. */
  async settled(): Promise<void> {
    await this.#last
  }

  async #call(): Promise<void> {
    const fileIds = this.#waiting
    this.#waiting = []
    this.#next = undefined
    if (this.#failure !== undefined) throw this.#failure.error
    try {
      await this.#onPlanned(fileIds)
    } catch (error) {
      this.#failure = { error }
      throw error
    }
  }
}

/** The first id of each shard of a stripe: they wait for each other, and are told together. */
export class FirstIds {
  readonly #tell: (fileIds: readonly (FileId | undefined)[]) => Promise<void>
  readonly #fileIds: (FileId | undefined)[]
  readonly #done: Promise<void>
  readonly #missing: Set<number>
  #onDone: (told: Promise<void>) => void = () => undefined

  /** `indexes`: the shards that are to have one, of `count`. */
  constructor(
    count: number,
    indexes: Iterable<number>,
    tell: (fileIds: readonly (FileId | undefined)[]) => Promise<void>,
  ) {
    this.#tell = tell
    this.#fileIds = new Array(count)
    this.#missing = new Set(indexes)
    this.#done = new Promise((resolve) => {
      this.#onDone = resolve
    })
    this.#done.catch(() => undefined) // Those who wait for it may be gone.
  }

  /** Undefined: there is none for it. Resolves when all that there are have been told. */
  set(index: number, fileId: FileId | undefined): Promise<void> {
    this.#fileIds[index] = fileId
    if (this.#missing.delete(index) && this.#missing.size === 0) {
      this.#onDone(this.#tell(this.#fileIds))
    }
    return this.#done
  }

  /** It had none yet. */
  isAwaited(index: number): boolean {
    return this.#missing.has(index)
  }
}
