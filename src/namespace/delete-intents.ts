import { type FileId, parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import {
  decodeIntent,
  encodeIntent,
  fileIdTextOfIntent,
  INTENT_KEYS_END,
  INTENT_KEYS_START,
  intentKey,
  intentKeyStart,
  ownerKey,
} from './named-file-record.ts'
import type { DeleteFile } from './named-files.ts'
import type { DroppedPage, ListDroppedRequest } from './namespace-api.ts'
import { checkLimit } from './page.ts'

export interface DeleteIntentsParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly logger: Logger
  readonly deleteFile: DeleteFile
}

interface Intent {
  readonly fileId: FileId
  /** Tries that failed. */
  readonly attempts: number
}

/** How often it is looked whether anything has come due: one small scan each time. */
const POLL_MS = 1000
const FIRST_RETRY_MS = 1000

/** Where rows go that cannot be read: reported once, and kept for whoever repairs. */
const UNREADABLE_PREFIX = 'unreadable/'

/**
 * Deletes the files that are due to be deleted, a bounded number at a time, in the order in which
 * they came due. Rows are all it knows: a file whose delete failed is moved to a later time, so a
 * restart goes on where the last run ended, and a server that is away holds up nothing else.
 */
export class DeleteIntents implements AsyncDisposable {
  readonly #parts: DeleteIntentsParts
  readonly #stopping = new AbortController()
  #running: Promise<void> | undefined
  #doneCount = 0
  #failedCount = 0

  constructor(parts: DeleteIntentsParts) {
    this.#parts = parts
  }

  /** Files deleted, or found to be gone, since the start. */
  get doneCount(): number {
    return this.#doneCount
  }

  /** Tries that failed since the start. */
  get failedCount(): number {
    return this.#failedCount
  }

  start(): void {
    this.#running ??= this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#parts
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        const isMore = await this.#deleteDue(signal)
        if (!isMore) await clock.sleep(POLL_MS, signal)
      } catch (error) {
        if (signal.aborted) return
        logger.error('names.deletes_halted', { error })
        // The store itself fails: it is not asked faster than when all is well.
        await clock.sleep(POLL_MS, signal).catch(() => undefined)
      }
    }
  }

  /** Tries what is due now, up to one scan of it; true when there may be more. */
  async #deleteDue(signal: AbortSignal): Promise<boolean> {
    const limit = LIMITS.nameDeletesPerScan.value
    const lt = intentKeyStart(this.#parts.clock.nowMs() + 1)
    const rows: MetadataRow[] = []
    const range = { gte: INTENT_KEYS_START, lt, limit }
    for await (const row of this.#parts.store.scan(range, signal)) rows.push(row)
    const atOnce = LIMITS.nameDeletesAtOnce.value
    await mapBounded(rows, atOnce, (row) => this.#deleteOne(row, signal), signal)
    return rows.length === limit
  }

  async #deleteOne(row: MetadataRow, signal: AbortSignal): Promise<void> {
    const intent = readIntent(row)
    if (intent === undefined) return await this.#setAside(row, signal)
    const { fileId, attempts } = intent
    try {
      await this.#parts.deleteFile(fileId, signal)
    } catch (error) {
      if (signal.aborted) throw error
      if (!isStoreError(error, 'NEEDLE_NOT_FOUND')) {
        return await this.#postpone(row, { ...intent, error }, signal)
      }
    }
    await this.#parts.store.commit({ deletes: [row.key, ownerKey(fileId)] }, signal)
    this.#doneCount++
    if (attempts > 0) {
      this.#parts.logger.info('names.delete_done', { file: fileIdTextOfIntent(row.key), attempts })
    }
  }

  async #postpone(
    row: MetadataRow,
    failed: Intent & { readonly error: unknown },
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, logger, store } = this.#parts
    const attempts = failed.attempts + 1
    const waitMs = retryMs(attempts)
    this.#failedCount++
    logger.warn('names.delete_failed', {
      file: fileIdTextOfIntent(row.key),
      attempts,
      waitMs,
      error: failed.error,
    })
    const later = intentKey(clock.nowMs() + waitMs, failed.fileId)
    await store.commit(
      { puts: [{ key: later, value: encodeIntent(attempts) }], deletes: [row.key] },
      signal,
    )
  }

  async #setAside(row: MetadataRow, signal: AbortSignal): Promise<void> {
    this.#parts.logger.error('names.intent_unreadable', { key: row.key })
    const kept = { key: UNREADABLE_PREFIX + row.key, value: row.value }
    await this.#parts.store.commit({ puts: [kept], deletes: [row.key] }, signal)
  }
}

/** @throws {StoreError} REQUEST_INVALID: the page. The errors of the store. */
export async function listDropped(
  store: MetadataStore,
  { after, limit }: ListDroppedRequest,
  signal: AbortSignal,
): Promise<DroppedPage> {
  checkLimit(limit)
  const gte = after > INTENT_KEYS_START ? `${after}\0` : INTENT_KEYS_START
  const fileIds: string[] = []
  let next: string | undefined
  for await (const { key } of store.scan({ gte, lt: INTENT_KEYS_END, limit }, signal)) {
    fileIds.push(fileIdTextOfIntent(key))
    next = key
  }
  return { fileIds, next: fileIds.length === limit ? next : undefined }
}

function readIntent(row: MetadataRow): Intent | undefined {
  try {
    const attempts = decodeIntent(row.key, row.value)
    return { attempts, fileId: parseFileId(fileIdTextOfIntent(row.key)) }
  } catch (error) {
    if (isStoreError(error, 'METADATA_CORRUPT', 'FILE_ID_INVALID')) return undefined
    throw error
  }
}

function retryMs(attempts: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** Math.min(attempts - 1, 20), LIMITS.nameDeleteRetryMs.value)
}
