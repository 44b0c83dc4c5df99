import { type FileId, formatFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedMutex } from '../runtime/keyed-mutex.ts'
import type { Logger } from '../runtime/logger.ts'
import { DeleteIntents } from './delete-intents.ts'
import { parseFileName } from './file-name.ts'
import {
  decodeNamedFile,
  encodeNamedFile,
  encodeOwner,
  NAME_KEYS_END,
  type NamedFile,
  nameKey,
  nameOfKey,
  ownerKey,
} from './named-file-record.ts'
import { checkLimit } from './page.ts'
import { RowCache } from './row-cache.ts'
import { type Plan, RowChanges, RowCommits } from './row-changes.ts'
import { compareUtf8 } from './utf8-order.ts'

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
   * How long the bytes of a small file outlive its name (see `readingMs`): whoever was sent to them
   * a moment ago still gets them, and a `link` that arrives again this late is recognised.
   */
  readonly deleteDelayMs: number
}

export interface NamedFilesPage {
  readonly prefix: string
  readonly after: string
  readonly limit: number
}

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
  readonly #commits: RowCommits
  readonly #cache: RowCache<NamedFile>
  #isClosed = false

  private constructor(parts: NamedFilesParts, config: NamedFilesConfig) {
    this.#store = parts.store
    this.#clock = parts.clock
    this.#deleteDelayMs = config.deleteDelayMs
    this.#intents = new DeleteIntents(parts)
    this.#commits = new RowCommits(parts.store)
    this.#cache = new RowCache({ commits: this.#commits }, { max: LIMITS.nameCacheMax.value })
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
    const plan = async (changes: RowChanges) => {
      const [row, owner] = await this.#store.getMany([nameKey(name), owned], signal)
      const before = row === undefined ? undefined : decodeNamedFile(name, row)
      if (owner !== undefined) return { result: sameFile(before, file) }
      const { fileId, dataBytes } = file
      const result = { name, fileId, dataBytes, modifiedAtMs: this.#clock.nowMs() }
      changes.expect(nameKey(name), row)
      changes.expect(owned, undefined)
      changes.put(nameKey(name), encodeNamedFile(result))
      changes.put(owned, encodeOwner(name))
      if (before !== undefined) dropNamed(changes, before)
      return { result, changes }
    }
    return await this.#change(name, signal, plan, (linked) => this.#cache.set(name, linked))
  }

  /** @throws {StoreError} NAME_INVALID, NAME_NOT_FOUND. */
  async resolve(name: string, _signal: AbortSignal): Promise<NamedFile> {
    this.#checkOpen()
    const cached = this.#cache.peek(name)
    if (cached !== undefined) return cached
    parseFileName(name)
    const file = await this.#cache.get(name, () => this.#load(name))
    if (file === undefined) throw notFound(name)
    return file
  }

  /** @throws {StoreError} NAME_INVALID, NAME_NOT_FOUND; OVERLOADED; the errors of the store. */
  async unlink(name: string, signal: AbortSignal): Promise<NamedFile> {
    parseFileName(name)
    return await this.#change(name, signal, async (changes) => {
      const row = await this.#store.get(nameKey(name), signal)
      if (row === undefined) throw notFound(name)
      const file = decodeNamedFile(name, row)
      changes.expect(nameKey(name), row)
      changes.delete(nameKey(name))
      dropNamed(changes, file)
      return { result: file, changes }
    })
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
    checkLimit(limit)
    checkListText(prefix)
    checkListText(after)
    const files: NamedFile[] = []
    // The next name above any other is the same with a NUL added, which no name has.
    const first = compareUtf8(after, prefix) < 0 || after === '' ? prefix : `${after}\0`
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

  async #change(
    name: string,
    signal: AbortSignal,
    plan: (changes: RowChanges) => Promise<Plan<NamedFile>>,
    onDone?: (file: NamedFile) => void,
  ): Promise<NamedFile> {
    this.#checkOpen()
    using _lock = await this.#locks.acquire(name, signal)
    const planned = () => plan(new RowChanges(this.#clock.nowMs() + this.#deleteDelayMs))
    const result = await this.#commit(name, planned, signal)
    onDone?.(result)
    return result
  }

  async #commit(
    name: string,
    plan: () => Promise<Plan<NamedFile>>,
    signal: AbortSignal,
  ): Promise<NamedFile> {
    using _change = this.#cache.change(name)
    return (await this.#commits.commit(plan, signal)).result
  }

  async #load(name: string): Promise<NamedFile | undefined> {
    // One read serves all who ask meanwhile: no caller's signal may end it.
    const row = await this.#store.get(nameKey(name), new AbortController().signal)
    return row && decodeNamedFile(name, row)
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new StoreError('CLOSED', 'the named files were closed')
  }
}

function dropNamed(changes: RowChanges, { dataBytes, fileId, name }: NamedFile): void {
  changes.dropFile(formatFileId(fileId), dataBytes, name)
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

function notFound(name: string): StoreError {
  return new StoreError('NAME_NOT_FOUND', `no file has the name ${quote(name)}`)
}
