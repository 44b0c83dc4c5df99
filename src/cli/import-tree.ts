import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, isStoreError, type StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import { type FileTree, system, type TreeEntry } from './file-tree.ts'
import type { Journal } from './journal.ts'
import type { NamedStore } from './named-store.ts'
import { attributesOf, readData } from './pack-tree.ts'

export interface ImportParts {
  readonly store: NamedStore
  readonly journal: Journal
}

export interface ImportOptions {
  readonly root: string
  /** Without a slash at its end. */
  readonly prefix: string
  readonly concurrency: number
  readonly onProgress: (done: ImportResult) => void
  /** A file was not imported. */
  readonly onFailure: (message: string) => Promise<void>
}

export interface ImportResult {
  readonly files: number
  readonly bytes: number
  /** There already, unchanged since the run that put them there. */
  readonly unchanged: number
  readonly failures: number
}

/** Files from here on wait for one of a few places: each holds a chunk or two in memory. */
const HEAVY_BYTES = MIB
const HEAVY_AT_ONCE = 4

/** Faults of one file. Any other would meet the next file too, so it ends the import. */
const FILE_FAULTS: readonly ErrorCode[] = [
  'PATH_NOT_FOUND',
  'DIRECTORY_UNUSABLE',
  'DISK_FAILED',
  'NAME_INVALID',
  'NEEDLE_INVALID',
  'NEEDLE_TOO_LARGE',
]

/**
 * Makes each entry of a tree a named file, `prefix/path`. What is in the journal, has the size and
 * time it had then, and is still what the cluster knows by that name, is left alone.
 *
 * @throws {StoreError} what kept it from going on; the journal knows what was done until then.
 */
export async function importTree(
  { store, journal }: ImportParts,
  tree: FileTree,
  options: ImportOptions,
  signal: AbortSignal,
): Promise<ImportResult> {
  const known = await findUnchanged({ store, journal }, tree, options.prefix, signal)
  const heavy = new Semaphore({ slots: HEAVY_AT_ONCE, waitersMax: options.concurrency })
  let files = 0
  let bytes = 0
  let unchanged = 0
  let failures = 0
  const result = (): ImportResult => ({ files, bytes, unchanged, failures })
  const importOne = async (entry: TreeEntry): Promise<void> => {
    if (known.has(entry.path)) unchanged++
    else {
      using _slot = entry.sizeBytes >= HEAVY_BYTES ? await heavy.acquire(signal) : undefined
      try {
        const fileId = await putEntry(store, entry, options, signal)
        const { path, sizeBytes, mtimeMs } = entry
        await journal.append({ key: path, fileId, sizeBytes, mtimeMs })
        files++
        bytes += entry.sizeBytes
      } catch (error) {
        if (!isFileFault(error)) throw error
        failures++
        await options.onFailure(
          `${error.code}: ${join(options.root, entry.path)}: ${error.message}`,
        )
      }
    }
    options.onProgress(result())
  }
  await mapBounded(tree.entries, options.concurrency, importOne, signal)
  return result()
}

export function importName(prefix: string, path: string): string {
  return prefix === '' ? path : `${prefix}/${path}`
}

/** Paths that need no work. */
async function findUnchanged(
  { store, journal }: ImportParts,
  tree: FileTree,
  prefix: string,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const candidates = new Map<string, { readonly path: string; readonly fileId: string }>()
  for (const { path, sizeBytes, mtimeMs } of tree.entries) {
    const entry = journal.entries.get(path)
    if (entry?.sizeBytes !== sizeBytes || entry.mtimeMs !== mtimeMs) continue
    candidates.set(importName(prefix, path), { path, fileId: entry.fileId })
  }
  const unchanged = new Set<string>()
  if (candidates.size === 0) return unchanged
  for await (const { name, fileId } of store.listNames(importName(prefix, ''), signal)) {
    const candidate = candidates.get(name)
    if (candidate?.fileId === fileId) unchanged.add(candidate.path)
  }
  return unchanged
}

async function putEntry(
  store: NamedStore,
  entry: TreeEntry,
  { root, prefix }: ImportOptions,
  signal: AbortSignal,
): Promise<string> {
  const path = join(root, entry.path)
  const name = importName(prefix, entry.path)
  const attributes = attributesOf(entry)
  // The path within the tree: what an export with this prefix makes again.
  const put = async (data: Uint8Array | AsyncIterable<Uint8Array>): Promise<string> =>
    await store.putNamed(name, data, attributes, signal)
  if (entry.kind === 'file' && entry.sizeBytes > LIMITS.wholeReadMax.value) {
    const stream = createReadStream(path, { highWaterMark: LIMITS.streamPiece.value })
    return await system('read', path, () => put(stream))
  }
  return await put(await system('read', path, () => readData(entry, path)))
}

function isFileFault(error: unknown): error is StoreError {
  return isStoreError(error, ...FILE_FAULTS)
}
