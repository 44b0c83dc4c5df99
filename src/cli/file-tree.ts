import { constants } from 'node:fs'
import { access, lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { formatBytes } from '../base/units.ts'
import { diskError } from '../runtime/disk.ts'

export type TreeKind = 'file' | 'symlink' | 'directory'

export interface TreeEntry {
  /** From the root of the tree, parts joined by `/`. */
  readonly path: string
  readonly kind: TreeKind
  readonly sizeBytes: number
  /** Permission bits. */
  readonly mode: number
  readonly mtimeMs: number
}

export interface FileTree {
  /** Files, symbolic links and empty directories; the same tree gives the same order. */
  readonly entries: readonly TreeEntry[]
  /** Sockets, pipes and devices: these have no content to keep. */
  readonly skipped: readonly string[]
  readonly totalBytes: number
}

/**
 * Lists a tree whole before anything is done with it, so that what cannot be packed is known first.
 * Symbolic links are not followed.
 *
 * @throws {StoreError} PATH_NOT_FOUND, DIRECTORY_UNUSABLE: `root` is no directory, or something in
 * it cannot be read. NEEDLE_TOO_LARGE: a file above the limit. NEEDLE_INVALID: a name that is not
 * UTF-8.
 */
export async function readTree(
  root: string,
  signal: AbortSignal,
  sizeMaxBytes: number = LIMITS.needleDataMax.value,
): Promise<FileTree> {
  const entries: TreeEntry[] = []
  const skipped: string[] = []
  let totalBytes = 0
  const waiting = ['']
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (signal.aborted) throw new StoreError('CANCELLED', 'cancelled while listing the tree')
    const names = await listNames(root, path)
    if (names.length === 0 && path !== '') {
      entries.push(await readEntry(root, path, 'directory', sizeMaxBytes))
    }
    const directories: string[] = []
    for (const { name, kind } of names) {
      const child = path === '' ? name : `${path}/${name}`
      if (kind === 'directory') directories.push(child)
      else if (kind === undefined) skipped.push(child)
      else {
        const entry = await readEntry(root, child, kind, sizeMaxBytes)
        totalBytes += entry.sizeBytes
        entries.push(entry)
      }
    }
    // The first directory comes off the stack first.
    waiting.push(...directories.reverse())
  }
  return { entries, skipped, totalBytes }
}

interface ListedName {
  readonly name: string
  readonly kind: TreeKind | undefined
}

async function listNames(root: string, path: string): Promise<ListedName[]> {
  const directory = join(root, path)
  const found = await system('readdir', directory, () =>
    readdir(directory, { encoding: 'buffer', withFileTypes: true }),
  )
  const listed = found.map((entry) => {
    const name = entry.name.toString('utf8')
    // Such a file could not be opened by what we would write down as its name.
    if (!Buffer.from(name, 'utf8').equals(entry.name)) {
      throw new StoreError('NEEDLE_INVALID', `${quote(join(path, name))} is no UTF-8 file name`)
    }
    const kind: TreeKind | undefined = entry.isFile()
      ? 'file'
      : entry.isSymbolicLink()
        ? 'symlink'
        : entry.isDirectory()
          ? 'directory'
          : undefined
    return { name, kind }
  })
  return listed.sort((a, b) => (a.name < b.name ? -1 : 1))
}

async function readEntry(
  root: string,
  path: string,
  kind: TreeKind,
  sizeMaxBytes: number,
): Promise<TreeEntry> {
  const full = join(root, path)
  const stat = await system('lstat', full, () => lstat(full))
  if (kind === 'file') {
    if (stat.size > sizeMaxBytes) {
      const why = `has ${formatBytes(stat.size)}, a needle holds at most ${sizeMaxBytes} bytes`
      throw new StoreError('NEEDLE_TOO_LARGE', `${full} ${why}`)
    }
    await system('access', full, () => access(full, constants.R_OK))
  }
  const sizeBytes = kind === 'directory' ? 0 : stat.size
  const mtimeMs = Math.trunc(stat.mtimeMs)
  return { path, kind, sizeBytes, mode: stat.mode & 0o7777, mtimeMs }
}

/** File trees lie outside the engine, but their failures have the same codes. */
export async function system<Result>(
  call: string,
  path: string,
  run: () => Promise<Result>,
): Promise<Result> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof StoreError) throw error
    throw diskError(call, path, error)
  }
}
