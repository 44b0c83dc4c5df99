/**
 * Keys are text without lone surrogates, 1 to `LIMITS.metadataKeyMax` bytes, ordered by the bytes
 * of their UTF-8. That is the order of code points, which is not the order of `<` on strings.
 */
export interface MetadataRow {
  readonly key: string
  readonly value: Uint8Array
}

/** What must be stored for a change to happen; undefined: nothing. */
export interface MetadataCondition {
  readonly key: string
  readonly value: Uint8Array | undefined
}

/** Deletes come after puts. A key stands at most once among both. */
export interface MetadataBatch {
  readonly puts?: readonly MetadataRow[]
  /** One that is not there is fine. */
  readonly deletes?: readonly string[]
  /** All are checked before anything is changed, against what stood before the batch. */
  readonly conditions?: readonly MetadataCondition[]
}

export interface MetadataScan {
  /** First key. Undefined: from the lowest. */
  readonly gte?: string
  /** All keys are below this one. Undefined: to the highest. */
  readonly lt?: string
  /** Rows at most. Undefined: all. */
  readonly limit?: number
  /** From the highest key down. */
  readonly reverse?: boolean
}

/**
 * Rows in the order of their keys, changed in atomic batches. Values handed in must not be changed
 * afterwards, values handed out are the caller's. Every engine passes
 * `test/conformance/metadata-store.ts`.
 *
 * Every method throws METADATA_CORRUPT and DISK_FAILED when the engine's files are damaged or
 * cannot be read, and CLOSED once it was disposed.
 */
export interface MetadataStore extends AsyncDisposable {
  /** Undefined: no row has this key. @throws {StoreError} CANCELLED: `signal` aborted first. */
  get(key: string, signal: AbortSignal): Promise<Uint8Array | undefined>

  /** One value for each key, in their order, all as of one moment. Errors as `get`. */
  getMany(
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (Uint8Array | undefined)[]>

  /** The rows as of the moment the first one is asked for. Errors as `get`. */
  scan(range: MetadataScan, signal: AbortSignal): AsyncIterable<MetadataRow>

  /**
   * All of the batch or nothing; a power cut loses nothing of it once this has returned. Batches
   * that wait at the same time share a sync; each sees those that came before it.
   *
   * A commit that fails with DISK_FULL or DISK_FAILED may still be found to have happened after the
   * store was opened anew.
   *
   * @throws {StoreError} METADATA_CONFLICT: a condition does not hold; nothing was changed.
   * OVERLOADED: too many commits are waiting; nothing was changed. CANCELLED: `signal` aborted
   * before the batch's turn came; nothing was changed. DISK_FULL.
   */
  commit(batch: MetadataBatch, signal: AbortSignal): Promise<void>
}
