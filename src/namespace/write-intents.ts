import { parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedSharedLock } from '../runtime/keyed-shared-lock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { GatewaySessions } from './gateway-sessions.ts'
import { decodeDirtyRow, decodeWriteIntent, dirtyRow, encodeWriteIntent } from './intent-record.ts'
import { checkLimit } from './page.ts'
import type { Plan, RowChanges, RowCommits } from './row-changes.ts'
import {
  DIRTY_KEYS_END,
  DIRTY_KEYS_START,
  dirtyKey,
  parseObjectKey,
  WRITE_INTENTS_END,
  WRITE_INTENTS_START,
  writeIntentKey,
} from './row-keys.ts'
import { isVersionId } from './version-id.ts'
import type {
  DirtyObject,
  DirtyPage,
  IntentPage,
  ListedIntent,
  ListIntentsRequest,
  PutIntentRequest,
  UndoIntentRequest,
} from './write-intents-api.ts'

export interface WriteIntentsParts {
  readonly store: MetadataStore
  readonly commits: RowCommits
  readonly newChanges: () => RowChanges
  readonly sessions: GatewaySessions
  readonly clock: Clock
  readonly logger: Logger
}

const SESSION_TEXT_MAX = 128

/** The rows behind `WriteIntentsApi`. */
export class WriteIntents {
  readonly #parts: WriteIntentsParts
  readonly #locks = new KeyedSharedLock<string>({ waitersMax: LIMITS.nameWritersMax.value })

  constructor(parts: WriteIntentsParts) {
    this.#parts = parts
  }

  async put(request: PutIntentRequest, signal: AbortSignal): Promise<void> {
    const { bucket, id, isMore, session } = request
    const key = parseObjectKey(request.key)
    checkId(id)
    checkSession(session)
    const fileIds = request.fileIds.map((text) => {
      parseFileId(text)
      return text
    })
    using _lock = await this.#locks.exclude(id, signal)
    await this.#change(id, signal, (found, row, changes) => {
      if (found === undefined && isMore) throw intentLost()
      const before = found?.fileIds ?? []
      const known = new Set(before)
      // A repetition names nothing new.
      const added = fileIds.filter((fileId) => !known.has(fileId))
      if (found !== undefined && added.length === 0) return false
      const all = [...before, ...added]
      if (all.length > LIMITS.intentFilesMax.value) {
        throw new StoreError('REQUEST_INVALID', `an intent cannot name ${all.length} files`)
      }
      const startedAtMs = found?.startedAtMs ?? this.#parts.clock.nowMs()
      const intent = { id, session, bucket, key, fileIds: all, startedAtMs }
      changes.expect(writeIntentKey(id), row)
      changes.put(writeIntentKey(id), encodeWriteIntent(intent))
      return true
    })
  }

  async list({ after, limit }: ListIntentsRequest, signal: AbortSignal): Promise<IntentPage> {
    checkLimit(limit)
    const { sessions, store } = this.#parts
    const gte = after === '' ? WRITE_INTENTS_START : `${writeIntentKey(after)}\0`
    const intents: ListedIntent[] = []
    let count = 0
    let next: string | undefined
    for await (const row of store.scan({ gte, lt: WRITE_INTENTS_END, limit }, signal)) {
      count++
      next = row.key.slice(WRITE_INTENTS_START.length)
      const intent = this.#readable(row.key, () => decodeWriteIntent(next ?? '', row.value))
      if (intent === undefined) continue
      const { fileIds, ...listed } = intent
      const isOrphaned = !sessions.isAlive(intent.session)
      intents.push({ ...listed, fileCount: fileIds.length, isOrphaned })
    }
    return { intents, next: count === limit ? next : undefined }
  }

  async undo({ id, isOnlyIfOrphaned }: UndoIntentRequest, signal: AbortSignal): Promise<boolean> {
    checkId(id)
    using _lock = await this.#locks.exclude(id, signal)
    return await this.#change(id, signal, (found, row, changes) => {
      if (found === undefined) return false
      if (isOnlyIfOrphaned && this.#parts.sessions.isAlive(found.session)) return false
      changes.expect(writeIntentKey(id), row)
      changes.delete(writeIntentKey(id))
      // Nobody reads them; but some may be on their way to a volume server yet.
      for (const fileId of found.fileIds) changes.dropFile(fileId, 0)
      return true
    })
  }

  async listDirty({ after, limit }: ListIntentsRequest, signal: AbortSignal): Promise<DirtyPage> {
    checkLimit(limit)
    const gte = after > DIRTY_KEYS_START ? `${after}\0` : DIRTY_KEYS_START
    const objects: DirtyObject[] = []
    let count = 0
    let next: string | undefined
    for await (const row of this.#parts.store.scan({ gte, lt: DIRTY_KEYS_END, limit }, signal)) {
      count++
      next = row.key
      const object = this.#readable(row.key, () => decodeDirtyRow(row.key, row.value))
      if (object !== undefined) objects.push(object)
    }
    return { objects, next: count === limit ? next : undefined }
  }

  async settleDirty(object: DirtyObject, signal: AbortSignal): Promise<void> {
    const { commits, newChanges, store } = this.#parts
    const row = dirtyKey(object.bucket.id, parseObjectKey(object.key))
    const plan = async (): Promise<Plan<undefined>> => {
      const value = await store.get(row, signal)
      // Another version that lacks something took its place: that one is not settled.
      const isSame = value !== undefined && dirtyRow(object).value.equals(value)
      if (!isSame) return { result: undefined }
      const changes = newChanges()
      changes.expect(row, value)
      changes.delete(row)
      return { result: undefined, changes }
    }
    await commits.commit(plan, signal)
  }

  async #change(
    id: string,
    signal: AbortSignal,
    decide: (
      found: ReturnType<typeof decodeWriteIntent> | undefined,
      row: Uint8Array | undefined,
      changes: RowChanges,
    ) => boolean,
  ): Promise<boolean> {
    const { commits, newChanges, store } = this.#parts
    const plan = async (): Promise<Plan<boolean>> => {
      const row = await store.get(writeIntentKey(id), signal)
      const found = row && decodeWriteIntent(id, row)
      const changes = newChanges()
      return decide(found, row, changes) ? { result: true, changes } : { result: false }
    }
    return (await commits.commit(plan, signal)).result
  }

  /** One row that cannot be read must not keep anybody from all others. */
  #readable<Value>(key: string, read: () => Value): Value | undefined {
    try {
      return read()
    } catch (error) {
      if (!isStoreError(error, 'METADATA_CORRUPT')) throw error
      this.#parts.logger.error('intents.row_unreadable', { key, error })
      return undefined
    }
  }
}

/** What the change that names the files of an intent does with it. */
export async function endIntent(
  store: MetadataStore,
  id: string,
  changes: RowChanges,
  signal: AbortSignal,
): Promise<void> {
  checkId(id)
  const row = await store.get(writeIntentKey(id), signal)
  if (row === undefined) throw intentLost()
  changes.expect(writeIntentKey(id), row)
  changes.delete(writeIntentKey(id))
}

export function checkSession(session: string): void {
  if (session !== '' && session.length <= SESSION_TEXT_MAX) return
  throw new StoreError('REQUEST_INVALID', 'a session has a name of 1 to 128 characters')
}

function checkId(id: string): void {
  if (!isVersionId(id)) throw new StoreError('REQUEST_INVALID', `${id} is no id of an intent`)
}

function intentLost(): StoreError {
  return new StoreError('INTENT_LOST', 'the write was given up meanwhile; try it again')
}
