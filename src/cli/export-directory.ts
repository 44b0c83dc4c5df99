import { constants } from 'node:fs'
import { chmod, lstat, mkdir, open, readdir, rename, rm, symlink, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ExportEntry, ExportTarget } from './export-volume.ts'
import { system } from './file-tree.ts'
import { readLinkTarget } from './link-target.ts'

/** With a number behind it where several files are written at once. */
const DRAFT_NAME = '.hayloft-export.tmp'

/** Failures that are about one path, not about the disk. */
const PATH_ERRNOS: readonly unknown[] = ['EISDIR', 'ENOTEMPTY', 'ENAMETOOLONG', 'ELOOP', 'EINVAL']

/**
 * Writes entries as files below a directory, and nowhere else: no part of a path may be a symbolic
 * link, and each file is made under a name of our own and then renamed. Links are made last.
 * Entries of different paths may be written at the same time.
 */
export class DirectoryTarget implements ExportTarget {
  readonly #root: string
  /** Numbers of the drafts being written. */
  readonly #drafts = new Set<number>()
  /** Known to be directories, not links to some; or being made. */
  readonly #directories = new Map<string, Promise<void>>()
  /** By path, with what they point to. A link made at once could lead later files astray. */
  readonly #links = new Map<string, Buffer>()
  /** Mode and time are set at the end: a read-only one takes no files, and files change it. */
  readonly #emptyDirectories: ExportEntry[] = []

  private constructor(root: string) {
    this.#root = root
  }

  /**
   * @throws {StoreError} TARGET_EXISTS: the directory is not empty and may not be written into.
   * DIRECTORY_UNUSABLE.
   */
  static async open(
    root: string,
    options: { readonly mayOverwrite: boolean },
  ): Promise<DirectoryTarget> {
    const stat = await lstat(root).catch(() => undefined)
    if (stat?.isFile() === true) {
      throw new StoreError('DIRECTORY_UNUSABLE', `${root} is a file, not a directory`)
    }
    await system('mkdir', root, () => mkdir(root, { recursive: true }))
    const names = await system('readdir', root, () => readdir(root))
    if (names.length > 0 && !options.mayOverwrite) {
      throw new StoreError('TARGET_EXISTS', `${root} is not empty; --overwrite writes into it`)
    }
    return new DirectoryTarget(root)
  }

  async write(entry: ExportEntry): Promise<number> {
    if (entry.kind === 'symlink') {
      this.#links.set(entry.path, await readLinkTarget(entry))
      return 0
    }
    this.#links.delete(entry.path)
    if (entry.kind === 'directory') {
      await this.#ensureDirectory(entry.path)
      this.#emptyDirectories.push(entry)
      return 0
    }
    await this.#ensureDirectory(dirname(entry.path))
    return await this.#drafted(async (draft) => {
      const bytes = await writeDraft(draft, entry)
      await this.#putInPlace(draft, entry.path)
      return bytes
    })
  }

  async finish(): Promise<readonly StoreError[]> {
    const failures: StoreError[] = []
    for (const [path, target] of this.#links) {
      try {
        await this.#link(path, target)
      } catch (error) {
        if (!isStoreError(error)) throw error
        failures.push(error)
      }
    }
    // Longest first: with its mode set, a directory may no longer let us reach what is in it.
    const byDepth = this.#emptyDirectories.sort((a, b) => b.path.length - a.path.length)
    for (const { path, mode, mtimeMs } of byDepth) {
      const full = join(this.#root, path)
      const seconds = toSeconds(mtimeMs ?? 0)
      if (mtimeMs !== undefined) await system('utimes', full, () => utimes(full, seconds, seconds))
      if (mode !== undefined) await system('chmod', full, () => chmod(full, mode))
    }
    return failures
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#draftPath(0), { force: true })
  }

  async #link(path: string, target: Buffer): Promise<void> {
    await this.#ensureDirectory(dirname(path))
    await this.#drafted(async (draft) => {
      await system('symlink', path, () => symlink(target, draft))
      await this.#putInPlace(draft, path)
    })
  }

  /** Lends the path of a draft: nothing is there before, and nothing stays. */
  async #drafted<Result>(run: (draft: string) => Promise<Result>): Promise<Result> {
    let number = 0
    while (this.#drafts.has(number)) number++
    this.#drafts.add(number)
    const draft = this.#draftPath(number)
    await rm(draft, { force: true })
    try {
      return await run(draft)
    } finally {
      await rm(draft, { force: true })
      this.#drafts.delete(number)
    }
  }

  #draftPath(number: number): string {
    return join(this.#root, number === 0 ? DRAFT_NAME : `${DRAFT_NAME}.${number}`)
  }

  /** A rename replaces a link, it never follows one. */
  async #putInPlace(draft: string, path: string): Promise<void> {
    const full = join(this.#root, path)
    await onPath(full, () => rename(draft, full))
  }

  /** @throws {StoreError} TARGET_EXISTS: a part of the path is there and no directory. */
  async #ensureDirectory(path: string): Promise<void> {
    if (path === '.') return
    // Files written at once often share a directory: the first of them makes it.
    const known = this.#directories.get(path) ?? this.#makeDirectory(path)
    this.#directories.set(path, known)
    try {
      await known
    } catch (error) {
      this.#directories.delete(path)
      throw error
    }
  }

  async #makeDirectory(path: string): Promise<void> {
    await this.#ensureDirectory(dirname(path))
    const full = join(this.#root, path)
    // Whatever keeps lstat from looking keeps mkdir from making, which then says so.
    const stat = await lstat(full).catch(() => undefined)
    if (stat === undefined) await onPath(full, () => mkdir(full))
    else if (!stat.isDirectory()) {
      throw new StoreError('TARGET_EXISTS', `${full} is there and no directory`)
    }
  }
}

async function writeDraft(draft: string, entry: ExportEntry): Promise<number> {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | constants.O_WRONLY
  const file = await system('open', draft, () => open(draft, flags, 0o600))
  let bytes = 0
  try {
    for await (const piece of entry.read()) {
      await system('write', draft, () => file.writeFile(piece))
      bytes += piece.length
    }
    await system('chmod', draft, () => file.chmod(entry.mode ?? 0o644))
    const seconds = toSeconds(entry.mtimeMs ?? 0)
    if (entry.mtimeMs !== undefined) {
      await system('utimes', draft, () => file.utimes(seconds, seconds))
    }
  } finally {
    await file.close()
  }
  return bytes
}

/** For `utimes`, which cuts off what is left of a microsecond: .892 must not become .891999. */
function toSeconds(ms: number): number {
  return (ms + 0.001) / 1000
}

/** A call whose failure may be the fault of this one path. */
async function onPath(path: string, run: () => Promise<unknown>): Promise<void> {
  try {
    await run()
  } catch (cause) {
    const errno = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (!PATH_ERRNOS.includes(errno))
      return await system('rename', path, () => Promise.reject(cause))
    const why = `${path} cannot be made: ${String(errno)}`
    throw new StoreError('TARGET_EXISTS', why, { cause })
  }
}
