import type { BucketRef } from './namespace-api.ts'

/** Files that are about to be stored, and by whom, for an object that nobody can see yet. */
export interface WriteIntent {
  /** Of the version that is to be. */
  readonly id: string
  /** Of the gateway that writes it. */
  readonly session: string
  /** For people. */
  readonly bucket: string
  readonly key: string
  readonly fileIds: readonly string[]
  readonly startedAtMs: number
}

export interface PutIntentRequest {
  readonly id: string
  readonly session: string
  readonly bucket: string
  readonly key: string
  /** Added to those that it names already. */
  readonly fileIds: readonly string[]
  /** There was an intent with this id: without it the write was given up. */
  readonly isMore: boolean
}

export interface ListIntentsRequest {
  /** As `next` said; empty: from the start. */
  readonly after: string
  readonly limit: number
}

export interface ListedIntent extends Omit<WriteIntent, 'fileIds'> {
  readonly fileCount: number
  /** The session of whoever wrote it has ended: it neither becomes an object nor goes by itself. */
  readonly isOrphaned: boolean
}

export interface IntentPage {
  readonly intents: readonly ListedIntent[]
  /** Undefined: nothing follows. */
  readonly next: string | undefined
}

export interface UndoIntentRequest {
  readonly id: string
  /** It stays while its session is alive. */
  readonly isOnlyIfOrphaned: boolean
}

/** An object that was stored with fewer copies or shards than it is to have. */
export interface DirtyObject {
  readonly bucket: BucketRef
  readonly key: string
  /** Of the version; when the key has another one by now, there is nothing left to do. */
  readonly id: string
}

export interface DirtyPage {
  readonly objects: readonly DirtyObject[]
  /** Undefined: nothing follows. */
  readonly next: string | undefined
}

/**
 * The write-ahead side of a namespace. Before the first of several needles of an object is sent, an
 * intent names them durably; the change that makes the object visible takes the intent away
 * (`PutObjectRequest.intentId`). What a gateway leaves behind when it dies is therefore known:
 * every file of every intent whose session has ended, and no other.
 *
 * Methods throw the errors of the metadata store, OVERLOADED, CANCELLED and CLOSED.
 */
export interface WriteIntentsApi {
  /** The session is alive from now on, for `SESSION_MS` at least. */
  renewSession(session: string, signal: AbortSignal): Promise<void>
  /** It is not any more: its intents are orphaned at once. */
  endSession(session: string, signal: AbortSignal): Promise<void>
  /**
   * Durable when it returns.
   *
   * @throws {StoreError} INTENT_LOST: `isMore`, and it is gone. FILE_ID_INVALID, REQUEST_INVALID.
   */
  putIntent(request: PutIntentRequest, signal: AbortSignal): Promise<void>
  listIntents(request: ListIntentsRequest, signal: AbortSignal): Promise<IntentPage>
  /**
   * Gives a write up: in one change the intent goes and its files are to be deleted, so that it can
   * never become an object any more. False: it is not there, or stays.
   */
  undoIntent(request: UndoIntentRequest, signal: AbortSignal): Promise<boolean>
  /** Objects that were put with `isDirty`. */
  listDirty(request: ListIntentsRequest, signal: AbortSignal): Promise<DirtyPage>
  /** It has all it is to have, or is gone. */
  settleDirty(object: DirtyObject, signal: AbortSignal): Promise<void>
}
