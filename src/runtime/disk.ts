import { dirname } from 'node:path'
import { assert } from '../base/assert.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'

/**
 * The only door to a file system. Everything above it runs unchanged on a real disk (`NodeDisk`)
 * and on the tests' crash model.
 *
 * What a power cut keeps, and nothing else: bytes (and the size) of a file as of its last
 * `datasync`; names (creations, renames, removals) as of the last `syncDirectory` of their
 * directory; directories made by `createDirectory`. One that was removed may come back, with the
 * names it durably had, until its parent is synced.
 *
 * Every failure of the system is a `StoreError`: DISK_FULL, PATH_NOT_FOUND, TARGET_EXISTS,
 * DIRECTORY_UNUSABLE (no permission, read-only, not a directory), otherwise DISK_FAILED; the
 * system's own error is the `cause`. A call on a closed file throws CLOSED.
 */
export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>
  /** Replaces `target` in one step if it is there. */
  rename(source: string, target: string): Promise<void>
  /** @throws {StoreError} PATH_NOT_FOUND: there is no such file. */
  unlink(path: string): Promise<void>
  /** Makes the creations, renames and removals so far in this directory survive a power cut. */
  syncDirectory(path: string): Promise<void>
  /** Files and directories directly below `path`, sorted by name. */
  list(path: string): Promise<DirectoryEntry[]>
  /** Makes the directory and its parents; fine if there. Durable when it returns. */
  createDirectory(path: string): Promise<void>
  /** @throws {StoreError} PATH_NOT_FOUND; TARGET_EXISTS: something is in it. */
  removeDirectory(path: string): Promise<void>
  /** Undefined when nothing has this name. */
  stat(path: string): Promise<FileStat | undefined>
  /** Room on the file system that holds `path`; free is what an ordinary user may still fill. */
  space(path: string): Promise<DiskSpace>
  /**
   * Holds `path` (a file, made if missing and left behind) exclusively until disposed. The system
   * lets go of it when the process dies, however it dies.
   *
   * @throws {StoreError} DIRECTORY_LOCKED: someone else holds it, in this process or another.
   */
  lock(path: string): Promise<AsyncDisposable>
}

/**
 * `read`: read-only. `write`: an existing file, read and write. `create`: as `write`, made empty if
 * missing. `create-new`: TARGET_EXISTS if it is there. `create-private`: as `create-new`, and
 * nobody but its owner may read or write it.
 */
export type OpenMode = 'read' | 'write' | 'create' | 'create-new' | 'create-private'

/**
 * An open file. The `Sync` forms block the event loop: for extents known to be in memory, and
 * for offline tools. Closing twice is harmless; closing waits for the calls under way.
 */
export interface DiskFile extends AsyncDisposable {
  readonly path: string
  /** Bytes read; fewer than `length` only at the end of the file. */
  readSync(target: Buffer, targetAt: number, length: number, position: number): number
  read(target: Buffer, targetAt: number, length: number, position: number): Promise<number>
  /** Bytes written: possibly fewer than given, as with the system call. See `writeFully`. */
  writevSync(buffers: readonly Uint8Array[], position: number): number
  /** As `writevSync`. The buffers must stay untouched until the promise settles. */
  writev(buffers: readonly Uint8Array[], position: number): Promise<number>
  /**
   * Every write and truncate that finished before this call survives a power cut once it returns.
   * After a failure those bytes may be gone for good, even if a later call succeeds and reads
   * still show them: the file must not be trusted with writes again.
   */
  datasync(): Promise<void>
  /** Cuts the file, or grows it with zeros. */
  truncate(sizeBytes: number): Promise<void>
  sizeBytes(): Promise<number>
  close(): Promise<void>
}

export interface FileStat {
  readonly sizeBytes: number
  readonly isDirectory: boolean
}

export interface DirectoryEntry extends FileStat {
  readonly name: string
}

export interface DiskSpace {
  readonly totalBytes: number
  readonly freeBytes: number
}

/** Reads `length` bytes at `position`; fewer only at the end of the file. */
export async function readFully(file: DiskFile, length: number, position: number): Promise<Buffer> {
  const target = Buffer.allocUnsafe(length)
  const bytesRead = await file.read(target, 0, length, position)
  return bytesRead === length ? target : target.subarray(0, bytesRead)
}

/**
 * Writes all of the buffers, in order, going on after short writes.
 *
 * @throws {StoreError} DISK_FULL: the disk took nothing more. Some bytes may have been written.
 */
export async function writeFully(
  file: DiskFile,
  buffers: readonly Uint8Array[],
  position: number,
): Promise<void> {
  let waiting = buffers
  let at = position
  let waitingBytes = totalBytes(buffers)
  while (waitingBytes > 0) {
    const written = await file.writev(waiting, at)
    assert(written <= waitingBytes, `${written} of ${waitingBytes} bytes reported as written`)
    if (written === waitingBytes) return
    if (written === 0) {
      throw new StoreError('DISK_FULL', `writev to ${file.path} took none of ${waitingBytes} bytes`)
    }
    waiting = dropBytes(waiting, written)
    at += written
    waitingBytes -= written
  }
}

/**
 * Puts `bytes` at `path` so that a power cut leaves either the old file or the new one, whole.
 * The new one is durable when this returns. A leftover `${path}.tmp` is overwritten.
 */
export async function replaceFile(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const draft = `${path}.tmp`
  {
    await using file = await disk.open(draft, 'create')
    await file.truncate(0)
    await writeFully(file, [bytes], 0)
    await file.datasync()
  }
  await disk.rename(draft, path)
  await disk.syncDirectory(dirname(path))
}

/** Removes a file; one that is not there is no error. */
export async function unlinkIfThere(disk: Disk, path: string): Promise<void> {
  await unlessGone(disk.unlink(path))
}

/** Renames a file if it is there; for the steps of a switch that may have been taken before. */
export async function renameIfThere(disk: Disk, source: string, target: string): Promise<void> {
  await unlessGone(disk.rename(source, target))
}

async function unlessGone(change: Promise<void>): Promise<void> {
  try {
    await change
  } catch (error) {
    if (!isStoreError(error, 'PATH_NOT_FOUND')) throw error
  }
}

/**
 * The whole of a small file.
 *
 * @throws {StoreError} PATH_NOT_FOUND: no such file. DISK_FAILED: it is larger than `bytesMax`, so
 * it is not the file the caller takes it for.
 */
export async function readFile(disk: Disk, path: string, bytesMax: number): Promise<Buffer> {
  await using file = await disk.open(path, 'read')
  const sizeBytes = await file.sizeBytes()
  if (sizeBytes > bytesMax) {
    throw new StoreError('DISK_FAILED', `${path} has ${sizeBytes} bytes, ${bytesMax} at most`)
  }
  // Awaited here: the file is closed on the way out.
  return await readFully(file, sizeBytes, 0)
}

const CODE_BY_ERRNO: ReadonlyMap<string, ErrorCode> = new Map([
  ['ENOSPC', 'DISK_FULL'],
  ['EDQUOT', 'DISK_FULL'],
  ['ENOENT', 'PATH_NOT_FOUND'],
  ['EEXIST', 'TARGET_EXISTS'],
  ['ENOTEMPTY', 'TARGET_EXISTS'],
  ['EACCES', 'DIRECTORY_UNUSABLE'],
  ['EPERM', 'DIRECTORY_UNUSABLE'],
  ['EROFS', 'DIRECTORY_UNUSABLE'],
  ['ENOTDIR', 'DIRECTORY_UNUSABLE'],
])

/** Wraps what a system call threw; an error that is no system error counts as DISK_FAILED. */
export function diskError(call: string, path: string, cause: unknown): StoreError {
  const errno = errnoOf(cause)
  const code = CODE_BY_ERRNO.get(errno) ?? 'DISK_FAILED'
  return new StoreError(code, `${call} of ${path} failed: ${errno}`, { cause })
}

function errnoOf(cause: unknown): string {
  if (typeof cause !== 'object' || cause === null) return String(cause)
  if ('code' in cause && typeof cause.code === 'string') return cause.code
  return cause instanceof Error ? cause.message : 'unknown'
}

function totalBytes(buffers: readonly Uint8Array[]): number {
  let total = 0
  for (const buffer of buffers) total += buffer.length
  return total
}

function dropBytes(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count
  let index = 0
  for (const buffer of buffers) {
    if (buffer.length > left) break
    left -= buffer.length
    index++
  }
  const rest = buffers.slice(index)
  const first = rest[0]
  if (first !== undefined && left > 0) rest[0] = first.subarray(left)
  return rest
}
