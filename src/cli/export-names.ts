import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import { cancelledError } from '../runtime/abort.ts'
import { isSafePath } from './export-path.ts'
import { type ExportEntry, type ExportTarget, kindOf, permissionsOf } from './export-volume.ts'
import type { Journal } from './journal.ts'
import type { NamedEntry, NamedStore } from './named-store.ts'

export interface ExportNamesParts {
  readonly store: NamedStore
  readonly journal: Journal
  readonly target: ExportTarget
}

export interface ExportNamesOptions {
  /** Directory of the target. */
  readonly root: string
  /** Empty, or with a slash at its end. */
  readonly prefix: string
  readonly concurrency: number
  readonly onProgress: (done: ExportNamesResult) => void
  readonly onFailure: (message: string) => Promise<void>
}

export interface ExportNamesResult {
  readonly files: number
  readonly bytes: number
  /** Written by an earlier run that did not finish, and as it left them. */
  readonly unchanged: number
  readonly failures: number
}

/** Faults of one file; any other ends the export. */
const FILE_FAULTS = [
  'NAME_INVALID',
  'NAME_NOT_FOUND',
  'NEEDLE_NOT_FOUND',
  'NEEDLE_CORRUPT',
  'NEEDLE_INVALID',
  'MANIFEST_CORRUPT',
  'COOKIE_MISMATCH',
  'TARGET_EXISTS',
  'VOLUME_NOT_FOUND',
] as const

/**
 * Writes every file whose name starts with `prefix` into the target, under its name without the
 * prefix. What cannot be exported is told and left out.
 *
 * @throws {StoreError} what kept it from going on; the journal knows what was done until then.
 */
export async function exportNames(
  parts: ExportNamesParts,
  options: ExportNamesOptions,
  signal: AbortSignal,
): Promise<ExportNamesResult> {
  let files = 0
  let bytes = 0
  let unchanged = 0
  let failures = 0
  const result = (): ExportNamesResult => ({ files, bytes, unchanged, failures })
  const fail = async (message: string): Promise<void> => {
    failures++
    await options.onFailure(message)
  }
  const exportOne = async (file: NamedEntry): Promise<void> => {
    try {
      const done = await exportFile(parts, file, options, signal)
      if (done === undefined) unchanged++
      else {
        files++
        bytes += done
      }
    } catch (error) {
      if (!isStoreError(error, ...FILE_FAULTS)) throw error
      await fail(`${error.code}: ${quote(file.name)}: ${error.message}`)
    }
    options.onProgress(result())
  }
  const names = parts.store.listNames(options.prefix, signal)
  await drain(names, options.concurrency, exportOne, signal)
  for (const { code, message } of await parts.target.finish()) await fail(`${code}: ${message}`)
  return result()
}

/** Bytes written; undefined when an earlier run had done it. */
async function exportFile(
  { store, journal, target }: ExportNamesParts,
  file: NamedEntry,
  { root, prefix }: ExportNamesOptions,
  signal: AbortSignal,
): Promise<number | undefined> {
  const path = pathOf(file.name, prefix)
  const before = journal.entries.get(path)
  if (before?.fileId === file.fileId && (await isAsWritten(join(root, path), before))) {
    return undefined
  }
  const { pairs, lastModifiedMs, data } = await store.readFile(file, signal)
  const { kind, mode, mtimeMs } = pairs
  const mtime = Number(mtimeMs ?? lastModifiedMs ?? Number.NaN)
  const entry: ExportEntry = {
    path,
    kind: kindOf(kind),
    mode: permissionsOf(mode),
    mtimeMs: Number.isFinite(mtime) ? mtime : undefined,
    read: () => buffersOf(data),
  }
  const bytes = await target.write(entry)
  // Links and modes of directories are set at the end, so an unfinished run has not done them.
  if (entry.kind === 'file') {
    const stat = await lstat(join(root, path)).catch(() => undefined)
    const { fileId } = file
    const mtimeNow = Math.trunc(stat?.mtimeMs ?? 0)
    await journal.append({ key: path, fileId, sizeBytes: bytes, mtimeMs: mtimeNow })
  }
  return bytes
}

/** @throws {StoreError} NAME_INVALID: the name leads out of the target. */
function pathOf(name: string, prefix: string): string {
  const path = name.slice(prefix.length)
  if (isSafePath(path)) return path
  throw new StoreError('NAME_INVALID', `the path ${quote(path)} leads out of the target`)
}

async function isAsWritten(
  path: string,
  before: { readonly sizeBytes: number; readonly mtimeMs: number },
): Promise<boolean> {
  const stat = await lstat(path).catch(() => undefined)
  if (stat?.isFile() !== true) return false
  return stat.size === before.sizeBytes && Math.trunc(stat.mtimeMs) === before.mtimeMs
}

async function* buffersOf(
  data: AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const piece of data) {
    yield Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
  }
}

/** As `mapBounded`, for items that arrive one after the other. */
async function drain<Item>(
  items: AsyncIterable<Item>,
  concurrency: number,
  run: (item: Item) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const iterator = items[Symbol.asyncIterator]()
  let failure: { readonly error: unknown } | undefined
  // Workers ask one after the other: an async generator lines the calls up itself.
  const work = async (): Promise<void> => {
    while (failure === undefined) {
      try {
        const next = await iterator.next()
        if (next.done === true) return
        if (signal.aborted) throw cancelledError(signal, 'with files left')
        await run(next.value)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
  await iterator.return?.()
  if (failure !== undefined) throw failure.error
}
