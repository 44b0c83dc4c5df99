import { LRUCache } from 'lru-cache'
import { type FileId, formatFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import type { MetadataBatch, MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedMutex } from '../runtime/keyed-mutex.ts'
import type { Logger } from '../runtime/logger.ts'
import { DeleteIntents } from './delete-intents.ts'
import { parseFileName } from './file-name.ts'
import {
  decodeNamedFile,
  encodeIntent,
  encodeNamedFile,
  encodeOwner,
  intentKey,
  NAME_KEYS_END,
  type NamedFile,
  nameKey,
  nameOfKey,
  ownerKey,
} from './named-file-record.ts'

/** Deletes the needle of a file on every server that holds it. Runs again after a failure. */
export type DeleteFile = (fileId: FileId, signal: AbortSignal) => Promise<void>

export interface NamedFilesParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly logger: Logger
  /** NEEDLE_NOT_FOUND counts as done. */
  readonly deleteFile: DeleteFile
}

export interface NamedFilesConfig {
  /**
   * How long the bytes of a file outlive its name: whoever was sent to them a moment ago still gets
   * them, and a `link` that arrives again this late is recognised.
   */
  readonly deleteDelayMs: number
}

export interface NamedFilesPage {
  readonly prefix: string
  readonly after: string
  readonly limit: number
}

/** Tries of one change that others got ahead of: more than one process would be needed for two. */
const CHANGE_TRIES_MAX = 8

/**
 * Which file a name means. Each change is one conditional batch of these rows:
 *
 *     names/{name}                  the file it means now
 *     name-files/{file id}          the name the file belongs to, until the file is deleted
 *     name-intents/{due}/{file id}  the file is to be deleted
 *
 * - A file belongs to one name, for ever: to link it to another, or again after that name came to
 *   mean something else, is refused. So no name can be left with a file that another one deletes.
 * - Linking a file to the name it has is a repetition and changes nothing.
 * - When a name stops meaning a file, the intent to delete it is written with the same batch.
 */
export class NamedFiles implements AsyncDisposable {
  readonly #store: MetadataStore
  readonly #clock: Clock
  readonly #deleteDelayMs: number
  readonly #intents: DeleteIntents
  readonly #locks = new KeyedMutex<string>({ waitersMax: LIMITS.nameWritersMax.value })
  readonly #cache = new LRUCache<string, NamedFile>({ max: LIMITS.nameCacheMax.value })
  /** Reads under way: one that a change overtook is forgotten here, and must not be cached. */
  readonly #reads = new Map<string, Promise<NamedFile | undefined>>()
  #isClosed = false

  private constructor(parts: NamedFilesParts, config: NamedFilesConfig) {
    this.#store = parts.store
    this.#clock = parts.clock
    this.#deleteDelayMs = config.deleteDelayMs
    this.#intents = new DeleteIntents(parts)
  }

  /** Begins to delete what is due, also from before this start. The store stays the caller's. */
  static async open(parts: NamedFilesParts, config: NamedFilesConfig): Promise<NamedFiles> {
    const files = new NamedFiles(parts, config)
    files.#intents.start()
    return files
  }

  get deletesDone(): number {
    return this.#intents.doneCount
  }

  get deletesFailed(): number {
    return this.#intents.failedCount
  }

  /**
   * The name means this file from now on; durable when it returns. Of two at the same time either
   * may win, and the other's file is deleted.
   *
   * @throws {StoreError} NAME_INVALID. REQUEST_INVALID: the file belongs to another name, or was
   * replaced or deleted already. OVERLOADED; the errors of the store.
   */
  async link(
    file: Pick<NamedFile, 'name' | 'fileId' | 'dataBytes'>,
    signal: AbortSignal,
  ): Promise<NamedFile> {
    const name = parseFileName(file.name)
    const owned = ownerKey(file.fileId)
    return await this.#change(
      name,
      async () => {
        const [row, owner] = await this.#store.getMany([nameKey(name), owned], signal)
        const before = row === undefined ? undefined : decodeNamedFile(name, row)
        if (owner !== undefined) return { file: sameFile(before, file) }
        const { fileId, dataBytes } = file
        const linked = { name, fileId, dataBytes, modifiedAtMs: this.#clock.nowMs() }
        const batch = {
          puts: [
            { key: nameKey(name), value: encodeNamedFile(linked) },
            { key: owned, value: encodeOwner(name) },
            ...(before === undefined ? [] : [this.#intentOf(before)]),
          ],
          conditions: [
            { key: nameKey(name), value: row },
            { key: owned, value: undefined },
          ],
        }
        return { file: linked, batch }
      },
      signal,
    )
  }

  /** @throws {StoreError} NAME_INVALID, NAME_NOT_FOUND. */
  async resolve(name: string, signal: AbortSignal): Promise<NamedFile> {
    this.#checkOpen()
    const cached = this.#cache.get(name)
    if (cached !== undefined) return cached
    parseFileName(name)
    const file = await (this.#reads.get(name) ?? this.#read(name, signal))
    if (file === undefined) throw notFound(name)
    return file
  }

  /** @throws {StoreError} NAME_INVALID, NAME_NOT_FOUND; OVERLOADED; the errors of the store. */
  async unlink(name: string, signal: AbortSignal): Promise<NamedFile> {
    parseFileName(name)
    return await this.#change(
      name,
      async () => {
        const row = await this.#store.get(nameKey(name), signal)
        if (row === undefined) throw notFound(name)
        const file = decodeNamedFile(name, row)
        const batch = {
          puts: [this.#intentOf(file)],
          deletes: [nameKey(name)],
          conditions: [{ key: nameKey(name), value: row }],
        }
        return { file, batch, isUnlinked: true }
      },
      signal,
    )
  }

  /**
   * Names that begin with `prefix` and are above `after`, in the order of their UTF-8 bytes.
   *
   * @throws {StoreError} REQUEST_INVALID: the limit is out of range, or a text is longer than a
   * name or not proper Unicode.
   */
  async list(page: NamedFilesPage, signal: AbortSignal): Promise<readonly NamedFile[]> {
    this.#checkOpen()
    const { prefix, after, limit } = page
    const limitMax = LIMITS.listNamesMax.value
    if (!Number.isInteger(limit) || limit < 1 || limit > limitMax) {
      throw new StoreError('REQUEST_INVALID', `a page of ${limit} names: 1 to ${limitMax}`)
    }
    checkListText(prefix)
    checkListText(after)
    const files: NamedFile[] = []
    // The next name above any other is the same with a NUL added, which no name has.
    const first = isBelow(after, prefix) || after === '' ? prefix : `${after}\0`
    const range = { gte: nameKey(first), lt: NAME_KEYS_END, limit }
    for await (const row of this.#store.scan(range, signal)) {
      const name = nameOfKey(row.key)
      if (!name.startsWith(prefix)) break
      files.push(decodeNamedFile(name, row.value))
    }
    return files
  }

  /** Waits for the deletes under way, which are given up where they can be. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    await this.#intents[Symbol.asyncDispose]()
  }

  /**
   * Commits what `plan` makes of the rows as they are now, and plans again if they changed
   * meanwhile. Without a batch there is nothing to change.
   */
  async #change(
    name: string,
    plan: () => Promise<{ file: NamedFile; batch?: MetadataBatch; isUnlinked?: boolean }>,
    signal: AbortSignal,
  ): Promise<NamedFile> {
    this.#checkOpen()
    using _lock = await this.#locks.acquire(name, signal)
    for (let tries = 1; ; tries++) {
      const { file, batch, isUnlinked = false } = await plan()
      if (batch === undefined) return file
      try {
        await this.#store.commit(batch, signal)
      } catch (error) {
        // Whether it happened is not always known: what is cached may be out of date.
        this.#forget(name)
        if (!isStoreError(error, 'METADATA_CONFLICT')) throw error
        if (tries < CHANGE_TRIES_MAX) continue
        const message = `${quote(name)} was changed by others ${tries} times`
        throw new StoreError('OVERLOADED', message, { cause: error })
      }
      this.#forget(name)
      if (!isUnlinked) this.#cache.set(name, file)
      return file
    }
  }

  #forget(name: string): void {
    this.#cache.delete(name)
    this.#reads.delete(name)
  }

  /** One read for all who ask meanwhile; so no caller's signal can end it. */
  #read(name: string, signal: AbortSignal): Promise<NamedFile | undefined> {
    const reading = this.#store
      .get(nameKey(name), signal)
      .then((row) => (row === undefined ? undefined : decodeNamedFile(name, row)))
    this.#reads.set(name, reading)
    const isCurrent = () => this.#reads.get(name) === reading
    return reading
      .then((file) => {
        if (file !== undefined && isCurrent()) this.#cache.set(name, file)
        return file
      })
      .finally(() => {
        if (isCurrent()) this.#reads.delete(name)
      })
  }

  #intentOf(file: NamedFile): { readonly key: string; readonly value: Uint8Array } {
    const key = intentKey(this.#clock.nowMs() + this.#deleteDelayMs, file.fileId)
    return { key, value: encodeIntent(0) }
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new StoreError('CLOSED', 'the named files were closed')
  }
}

/** The file as it is linked already, if this is a repetition. */
function sameFile(
  before: NamedFile | undefined,
  file: Pick<NamedFile, 'name' | 'fileId'>,
): NamedFile {
  const id = formatFileId(file.fileId)
  if (before !== undefined && formatFileId(before.fileId) === id) return before
  throw new StoreError(
    'REQUEST_INVALID',
    `file ${id} belongs to another name, or is no longer what ${quote(file.name)} means`,
  )
}

function checkListText(text: string): void {
  const bytesMax = LIMITS.fileNameMax.value
  if (/\p{Surrogate}/u.test(text) || Buffer.byteLength(text) > bytesMax) {
    throw new StoreError('REQUEST_INVALID', `${quote(text)} is not text of ${bytesMax} bytes`)
  }
}

function isBelow(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0
}

function notFound(name: string): StoreError {
  return new StoreError('NAME_NOT_FOUND', `no file has the name ${quote(name)}`)
}
