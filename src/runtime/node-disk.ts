import * as fs from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { tryLock } from 'fs-native-extensions'
import { assert } from '../base/assert.ts'
import { StoreError } from '../base/store-error.ts'
import {
  type DirectoryEntry,
  type Disk,
  type DiskFile,
  type DiskSpace,
  diskError,
  type FileStat,
  type OpenMode,
} from './disk.ts'

/** What a new file may be used for, before the user's mask takes some of it away. */
const PUBLIC_MODE = 0o666
const PRIVATE_MODE = 0o600

/** Linux refuses more buffers than this in one call; the rest is a short write. */
const BUFFERS_PER_CALL_MAX = 1000

const OPEN_FLAGS = {
  read: fs.constants.O_RDONLY,
  write: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT,
  'create-new': fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
  'create-private': fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
} as const satisfies Record<OpenMode, number>

/** The real file system. Stateless: the files it opens belong to whoever opened them. */
export class NodeDisk implements Disk {
  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    const rights = mode === 'create-private' ? PRIVATE_MODE : PUBLIC_MODE
    return new NodeFile(path, await openDescriptor(path, OPEN_FLAGS[mode], rights))
  }

  async rename(source: string, target: string): Promise<void> {
    await guard('rename', source, fs.promises.rename(source, target))
  }

  async unlink(path: string): Promise<void> {
    await guard('unlink', path, fs.promises.unlink(path))
  }

  async syncDirectory(path: string): Promise<void> {
    const flags = fs.constants.O_RDONLY | fs.constants.O_DIRECTORY
    await using directory = new NodeFile(path, await openDescriptor(path, flags))
    await directory.sync()
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    const names = await guard('readdir', path, fs.promises.readdir(path))
    const entries: DirectoryEntry[] = []
    for (const name of names.sort(compareNames)) {
      // A file may go between readdir and stat; then it was not there.
      const stat = await this.stat(join(path, name))
      if (stat !== undefined) entries.push({ name, ...stat })
    }
    return entries
  }

  async createDirectory(path: string): Promise<void> {
    const first = await guard('mkdir', path, fs.promises.mkdir(path, { recursive: true }))
    if (first === undefined) return
    // Each new directory is a name in its parent: sync them from the innermost up.
    const outermost = dirname(resolve(first))
    let parent = dirname(resolve(path))
    for (;;) {
      await this.syncDirectory(parent)
      if (parent === outermost || parent === dirname(parent)) return
      parent = dirname(parent)
    }
  }

  async removeDirectory(path: string): Promise<void> {
    await guard('rmdir', path, fs.promises.rmdir(path))
  }

  async stat(path: string): Promise<FileStat | undefined> {
    try {
      const stat = await fs.promises.stat(path)
      return { sizeBytes: stat.size, isDirectory: stat.isDirectory() }
    } catch (cause) {
      const error = diskError('stat', path, cause)
      if (error.code === 'PATH_NOT_FOUND') return undefined
      throw error
    }
  }

  async space(path: string): Promise<DiskSpace> {
    const stat = await guard('statfs', path, fs.promises.statfs(path))
    return { totalBytes: stat.bsize * stat.blocks, freeBytes: stat.bsize * stat.bavail }
  }

  /**
   * The lock belongs to the open file description, not to the process: a second `lock` in the same
   * process is refused too, and closing some other descriptor of the file does not drop it.
   */
  async lock(path: string): Promise<AsyncDisposable> {
    const fd = await openDescriptor(path, OPEN_FLAGS.create)
    const file = new NodeFile(path, fd)
    let isLocked: boolean
    try {
      isLocked = tryLock(fd)
    } catch (cause) {
      await file.close()
      throw diskError('lock', path, cause)
    }
    if (isLocked) return file
    await file.close()
    throw new StoreError('DIRECTORY_LOCKED', `${path} is locked by another Hayloft`)
  }
}

/**
 * A file descriptor and the calls under way on it. The descriptor is closed only when none is left:
 * its number is given to the next file opened, and a late read or write would reach that one.
 */
class NodeFile implements DiskFile {
  readonly path: string
  readonly #fd: number
  #pending = 0
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined

  constructor(path: string, fd: number) {
    this.path = path
    this.#fd = fd
  }

  readSync(target: Buffer, targetAt: number, length: number, position: number): number {
    this.#assertOpen()
    checkRange(target, targetAt, length)
    let done = 0
    try {
      while (done < length) {
        const left = length - done
        const count = fs.readSync(this.#fd, target, targetAt + done, left, position + done)
        if (count === 0) break
        done += count
      }
    } catch (cause) {
      throw diskError('read', this.path, cause)
    }
    return done
  }

  async read(target: Buffer, targetAt: number, length: number, position: number): Promise<number> {
    checkRange(target, targetAt, length)
    let done = 0
    // One call nearly always; the system may stop early at 2 GiB, or at the end of the file.
    while (done < length) {
      const count = await this.#call<number>('read', (fd, settle) => {
        fs.read(fd, target, targetAt + done, length - done, position + done, settle)
      })
      if (count === 0) break
      done += count
    }
    return done
  }

  writevSync(buffers: readonly Uint8Array[], position: number): number {
    this.#assertOpen()
    try {
      return fs.writevSync(this.#fd, firstBuffers(buffers), position)
    } catch (cause) {
      throw diskError('writev', this.path, cause)
    }
  }

  writev(buffers: readonly Uint8Array[], position: number): Promise<number> {
    return this.#call('writev', (fd, settle) => {
      fs.writev(fd, firstBuffers(buffers), position, settle)
    })
  }

  datasync(): Promise<void> {
    return this.#call('datasync', (fd, settle) => fs.fdatasync(fd, settle))
  }

  /** For directories: fdatasync would do on Linux, but only fsync is promised to. */
  sync(): Promise<void> {
    return this.#call('sync', (fd, settle) => fs.fsync(fd, settle))
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#call('truncate', (fd, settle) => fs.ftruncate(fd, sizeBytes, settle))
  }

  async sizeBytes(): Promise<number> {
    const stat = await this.#call<fs.Stats>('fstat', (fd, settle) => fs.fstat(fd, settle))
    return stat.size
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    if (this.#pending > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    await new Promise<void>((resolve, reject) => {
      fs.close(this.#fd, (cause) => {
        if (cause) reject(diskError('close', this.path, cause))
        else resolve()
      })
    })
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new StoreError('CLOSED', `${this.path} is closed`)
  }

  /** Runs one asynchronous system call; callbacks cost half of what `fs.promises` does. */
  #call<Result = void>(
    call: string,
    start: (fd: number, settle: (cause: Error | null, result?: Result) => void) => void,
  ): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      this.#assertOpen()
      this.#pending++
      start(this.#fd, (cause, result) => {
        this.#pending--
        if (this.#pending === 0) this.#onIdle?.()
        if (cause) reject(diskError(call, this.path, cause))
        else resolve(result as Result)
      })
    })
  }
}

function openDescriptor(path: string, flags: number, rights = PUBLIC_MODE): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, rights, (cause, fd) => {
      if (cause) reject(diskError('open', path, cause))
      else resolve(fd)
    })
  })
}

async function guard<Result>(
  call: string,
  path: string,
  running: Promise<Result>,
): Promise<Result> {
  try {
    return await running
  } catch (cause) {
    throw diskError(call, path, cause)
  }
}

function firstBuffers(buffers: readonly Uint8Array[]): Uint8Array[] {
  return buffers.slice(0, BUFFERS_PER_CALL_MAX)
}

function checkRange(target: Buffer, targetAt: number, length: number): void {
  assert(targetAt >= 0 && targetAt + length <= target.length, 'a read overruns its buffer')
}

function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
