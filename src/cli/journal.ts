import { createReadStream } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { quote, StoreError } from '../base/store-error.ts'
import { system } from './file-tree.ts'

/** One thing done: what it was, and how it looked then. */
export interface JournalEntry {
  /** Path below the directory, or name; of two entries with one key the later counts. */
  readonly key: string
  /** Where the cluster keeps it. */
  readonly fileId: string
  readonly sizeBytes: number
  readonly mtimeMs: number
}

const FORMAT = 'hayloft-journal-1'

/**
 * What a long command has done, one line of JSON each, so that the next run goes on from there. Not
 * synced: what a power cut takes from it is done again.
 */
export class Journal implements AsyncDisposable {
  readonly path: string
  readonly #file: FileHandle
  readonly #entries: Map<string, JournalEntry>

  private constructor(path: string, file: FileHandle, entries: Map<string, JournalEntry>) {
    this.path = path
    this.#file = file
    this.#entries = entries
  }

  /**
   * `subject` says what the run is about: a journal about something else must not be used.
   *
   * @throws {StoreError} CONFIG_INVALID: the file is no journal, or about something else.
   * DIRECTORY_UNUSABLE, DISK_FAILED.
   */
  static async open(path: string, subject: string): Promise<Journal> {
    const file = await system('open', path, () => open(path, 'a+'))
    try {
      const entries = await readEntries(path, subject)
      // A run that was killed leaves half a line: what follows must not become part of it.
      const isNew = entries === undefined
      const start = isNew ? `${JSON.stringify({ format: FORMAT, subject })}\n` : '\n'
      await system('write', path, () => file.write(start))
      return new Journal(path, file, entries ?? new Map())
    } catch (error) {
      await file.close()
      throw error
    }
  }

  get entries(): ReadonlyMap<string, JournalEntry> {
    return this.#entries
  }

  async append(entry: JournalEntry): Promise<void> {
    await system('write', this.path, () => this.#file.write(`${JSON.stringify(entry)}\n`))
  }

  async remove(): Promise<void> {
    await this[Symbol.asyncDispose]()
    await rm(this.path, { force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }
}

/** Undefined: there is nothing yet. */
async function readEntries(
  path: string,
  subject: string,
): Promise<Map<string, JournalEntry> | undefined> {
  const entries = new Map<string, JournalEntry>()
  const input = createReadStream(path)
  let isFirst = true
  await system('read', path, async () => {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (isFirst) checkHeader(path, line, subject)
      const entry = isFirst ? undefined : parseEntry(line)
      isFirst = false
      if (entry !== undefined) entries.set(entry.key, entry)
    }
  })
  return isFirst ? undefined : entries
}

function checkHeader(path: string, line: string, subject: string): void {
  const { format, subject: found } = parseObject(line) ?? {}
  if (format !== FORMAT) {
    throw new StoreError('CONFIG_INVALID', `${path} is there and no journal of hayloft`)
  }
  if (found !== subject) {
    const other = quote(String(found))
    throw new StoreError('CONFIG_INVALID', `${path} is about ${other}, not about ${quote(subject)}`)
  }
}

/** Undefined for a line that was not written whole. */
function parseEntry(line: string): JournalEntry | undefined {
  const { key, fileId, sizeBytes, mtimeMs } = parseObject(line) ?? {}
  const isEntry =
    typeof key === 'string' &&
    typeof fileId === 'string' &&
    typeof sizeBytes === 'number' &&
    typeof mtimeMs === 'number'
  return isEntry ? { key, fileId, sizeBytes, mtimeMs } : undefined
}

function parseObject(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}
