import { posix } from 'node:path'
import { assert } from '../../src/base/assert.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type {
  DirectoryEntry,
  Disk,
  DiskFile,
  DiskSpace,
  FileStat,
  OpenMode,
} from '../../src/runtime/disk.ts'
import { type CallKind, type FaultCode, FaultPlan, systemFailure } from './fault-plan.ts'
import { MemFile } from './mem-file.ts'
import { MemInode } from './mem-inode.ts'
import type { Prng } from './prng.ts'

const DEFAULT_CAPACITY_BYTES = 2 ** 40

type NameChange =
  | { readonly kind: 'link'; readonly path: string; readonly inode: MemInode }
  | { readonly kind: 'unlink'; readonly path: string }
  | {
      readonly kind: 'rename'
      readonly path: string
      readonly target: string
      readonly inode: MemInode
    }
  /** Of an empty directory. */
  | { readonly kind: 'rmdir'; readonly path: string }

/**
 * A disk in memory that can lose power, fail, fill up and rot. What it may do to the code under
 * test, the budget of the crash model:
 *
 * - A power cut keeps what was datasynced. Of later writes and truncates of a file it keeps, by
 *   chance: nothing; everything; the first ones, the next torn at a sector (512 bytes) or at any
 *   byte; or any of their sectors, in no order. Lost bytes are the old ones, or zeros in a new part
 *   of the file; the size may have grown over bytes that were lost.
 * - Of creations, renames and removals not covered by `syncDirectory` a random first part is kept,
 *   or any of them, per directory. So a removed file may come back, a renamed one may have its old
 *   name, and a new file may be gone with all its synced bytes: `datasync` does not keep a name. A
 *   removed directory may come back, and then its files may or may not, as if it had stayed.
 * - A sync may have done its work, or not, when the power goes in the middle of it. A sync covers
 *   the changes made before it was called, none made while it runs.
 * - A failing `datasync` loses the unsynced bytes for good. Reads go on showing them (until
 *   `evictCaches`); a later `datasync` succeeds and does not bring them back.
 * - A failing write may have written a first part. A full disk writes short, then DISK_FULL. A
 *   removed file that is still open takes room until it is closed. Holes take room as data does.
 * - A bit flips where a test asks for it. Calls take effect a random few turns after they are made.
 *
 * It does not: lie about a successful sync, damage synced bytes or neighbours of a torn sector,
 * show another file's old bytes in a hole, tear directories, lose directories made by
 * `createDirectory`, or rename across directories. A process that dies while the machine stays up
 * (`killProcess`) loses nothing that was written.
 *
 * Let the calls under way settle before `restart`: a process cannot outlive the power.
 */
export class MemDisk implements Disk {
  /** May be changed at any time; below what is used, every growth fails. */
  capacityBytes = DEFAULT_CAPACITY_BYTES
  readonly #plan: FaultPlan
  readonly #prng: Prng
  readonly #directories = new Set(['.', '/'])
  /** Removed, and their parent was not synced since. */
  readonly #removedDirectories = new Set<string>()
  readonly #names = new Map<string, MemInode>()
  #durableNames = new Map<string, MemInode>()
  /** By directory, in the order in which they were made. */
  readonly #unsyncedNames = new Map<string, NameChange[]>()
  readonly #openFiles = new Set<MemFile>()
  readonly #lockedPaths = new Set<string>()

  constructor(prng: Prng) {
    this.#prng = prng
    this.#plan = new FaultPlan(prng)
  }

  /** Files and locks not closed yet. */
  get openFiles(): number {
    return this.#openFiles.size + this.#lockedPaths.size
  }

  /** Calls that did something since the disk was made, by kind; failed ones count too. */
  get calls(): Readonly<Record<CallKind, number>> {
    return this.#plan.calls
  }

  get isPowerOff(): boolean {
    return this.#plan.isPowerOff
  }

  /** Faults of `failCall` that have not struck yet. */
  get armedFaults(): number {
    return this.#plan.armedCount
  }

  /**
   * The power goes in the middle of the n-th call from now that changes or syncs something. That
   * call and all later ones throw `PowerCut`, until `restart`. 0: at once.
   */
  cutPowerAfter(callCount: number): void {
    this.#plan.cutPowerAfter(callCount)
  }

  /** The n-th call from now fails, counting only those of `kinds`. */
  failCall(callCount: number, code: FaultCode, kinds?: readonly CallKind[]): void {
    this.#plan.failCall(callCount, code, kinds)
  }

  /** The machine comes up again after losing power, now if it had not lost it before. */
  restart(): void {
    this.#forgetProcess()
    for (const changes of this.#unsyncedNames.values()) {
      for (const change of this.#keptChanges(changes)) this.#makeDurable(change)
    }
    for (const directory of this.#removedDirectories) this.#directories.add(directory)
    this.#removedDirectories.clear()
    this.#unsyncedNames.clear()
    this.#names.clear()
    for (const [path, inode] of this.#durableNames) this.#names.set(path, inode)
    for (const inode of this.#names.values()) inode.losePower(this.#prng)
  }

  /** The process dies, the machine stays up: open files and locks are gone, nothing else. */
  killProcess(): void {
    this.#forgetProcess()
  }

  /** From now on reads show the medium wherever a failed sync lost bytes. */
  evictCaches(): void {
    for (const inode of this.#names.values()) inode.evict()
  }

  flipBit(path: string, byteIndex: number, bit: number): void {
    this.#inode(path).flipBit(byteIndex, bit)
  }

  /** Puts a file there as if it had always been: durable, its directory too. */
  put(path: string, bytes: Uint8Array): void {
    const name = posix.normalize(path)
    this.#addDirectories(posix.dirname(name))
    const inode = new MemInode()
    inode.write(Buffer.from(bytes), 0)
    inode.sync(inode.mark())
    this.#names.set(name, inode)
    this.#durableNames.set(name, inode)
  }

  /** What a reader sees. A copy. */
  contents(path: string): Buffer {
    return this.#inode(path).contents()
  }

  /** Names and bytes that every power cut keeps. Copies. */
  durableFiles(): Map<string, Buffer> {
    const files = new Map<string, Buffer>()
    for (const [path, inode] of this.#durableNames) files.set(path, inode.durableContents())
    return files
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    const name = await this.#begin(path)
    const isNew = mode === 'create-new' || mode === 'create-private'
    const isCreating = mode === 'create' || isNew
    if (this.#directories.has(name)) throw systemFailure('open', name, 'EISDIR')
    this.#checkParent('open', name)
    const found = this.#names.get(name)
    if (found !== undefined && isNew) throw systemFailure('open', name, 'EEXIST')
    if (found === undefined && !isCreating) throw systemFailure('open', name, 'ENOENT')

    const inode = this.#plan.perform(
      { kind: found === undefined ? 'create' : 'open', path: name, boot: this.#plan.boot },
      () => found ?? this.#create(name),
      (fault) => {
        if (fault === 'power-cut') this.#create(name)
      },
    )
    const file = new MemFile(
      {
        plan: this.#plan,
        inode,
        roomBytes: () => this.#freeBytes(),
        onClose: (closed) => this.#openFiles.delete(closed),
      },
      { path, isWritable: mode !== 'read' },
    )
    this.#openFiles.add(file)
    return file
  }

  async rename(source: string, target: string): Promise<void> {
    const from = await this.#begin(source)
    const to = posix.normalize(target)
    assert(posix.dirname(from) === posix.dirname(to), 'a rename stays in its directory')
    const inode = this.#existing('rename', from)
    if (this.#directories.has(to)) throw systemFailure('rename', to, 'EISDIR')
    this.#changeName('rename', { kind: 'rename', path: from, target: to, inode })
  }

  async unlink(path: string): Promise<void> {
    const name = await this.#begin(path)
    this.#existing('unlink', name)
    this.#changeName('unlink', { kind: 'unlink', path: name })
  }

  async syncDirectory(path: string): Promise<void> {
    const name = await this.#begin(path)
    this.#checkDirectory('open', name)
    const apply = () => {
      for (const change of this.#unsyncedNames.get(name) ?? []) this.#makeDurable(change)
      this.#unsyncedNames.delete(name)
    }
    const call = { kind: 'syncDirectory', path: name, boot: this.#plan.boot } as const
    this.#plan.perform(call, apply, (fault) => {
      if (fault === 'power-cut' && this.#prng.chance(0.5)) apply()
    })
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    const name = await this.#begin(path)
    this.#checkDirectory('readdir', name)
    return this.#observe('list', name, () => {
      const entries: DirectoryEntry[] = []
      for (const directory of this.#directories) {
        if (directory === name || posix.dirname(directory) !== name) continue
        if (directory === '/' || directory === '.') continue
        entries.push({ name: posix.basename(directory), isDirectory: true, sizeBytes: 0 })
      }
      for (const [file, { sizeBytes }] of this.#names) {
        if (posix.dirname(file) !== name) continue
        entries.push({ name: posix.basename(file), isDirectory: false, sizeBytes })
      }
      return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    })
  }

  async createDirectory(path: string): Promise<void> {
    const name = await this.#begin(path)
    this.#observe('createDirectory', name, () => {
      if (this.#names.has(name)) throw systemFailure('mkdir', name, 'EEXIST')
      this.#addDirectories(name)
    })
  }

  async removeDirectory(path: string): Promise<void> {
    const name = await this.#begin(path)
    this.#checkDirectory('rmdir', name)
    const apply = () => {
      const isIn = (other: string) => other !== name && posix.dirname(other) === name
      const inside = [...this.#names.keys(), ...this.#directories]
      if (inside.some(isIn)) throw systemFailure('rmdir', name, 'ENOTEMPTY')
      this.#directories.delete(name)
      this.#removedDirectories.add(name)
      this.#recordName({ kind: 'rmdir', path: name })
    }
    const call = { kind: 'removeDirectory', path: name, boot: this.#plan.boot } as const
    this.#plan.perform(call, apply, (fault) => {
      if (fault === 'power-cut') apply()
    })
  }

  async stat(path: string): Promise<FileStat | undefined> {
    const name = await this.#begin(path)
    return this.#observe('stat', name, () => {
      if (this.#directories.has(name)) return { sizeBytes: 0, isDirectory: true }
      this.#checkNoFileAbove('stat', name)
      const inode = this.#names.get(name)
      return inode && { sizeBytes: inode.sizeBytes, isDirectory: false }
    })
  }

  async space(path: string): Promise<DiskSpace> {
    const name = await this.#begin(path)
    if (!this.#names.has(name)) this.#checkDirectory('statfs', name)
    return this.#observe('space', name, () => ({
      totalBytes: this.capacityBytes,
      freeBytes: this.#freeBytes(),
    }))
  }

  async lock(path: string): Promise<AsyncDisposable> {
    const name = await this.#begin(path)
    this.#checkParent('open', name)
    const { boot } = this.#plan
    this.#observe('lock', name, () => {
      if (this.#lockedPaths.has(name)) {
        throw new StoreError('DIRECTORY_LOCKED', `${path} is locked by another Hayloft`)
      }
      if (!this.#names.has(name)) this.#create(name)
      this.#lockedPaths.add(name)
    })
    let isHeld = true
    const release = async () => {
      // A lock that a restart released may have been taken by someone else.
      if (isHeld && boot === this.#plan.boot) this.#lockedPaths.delete(name)
      isHeld = false
    }
    return { [Symbol.asyncDispose]: release }
  }

  async #begin(path: string): Promise<string> {
    const { boot } = this.#plan
    this.#plan.checkPower(boot)
    await this.#plan.pause()
    this.#plan.checkPower(boot)
    const name = posix.normalize(path)
    return name.length > 1 && name.endsWith('/') ? name.slice(0, -1) : name
  }

  #observe<Result>(kind: CallKind, path: string, apply: () => Result): Result {
    return this.#plan.perform({ kind, path, boot: this.#plan.boot }, apply)
  }

  #changeName(kind: 'rename' | 'unlink', change: NameChange): void {
    const apply = () => this.#recordName(change)
    this.#plan.perform({ kind, path: change.path, boot: this.#plan.boot }, apply, (fault) => {
      if (fault === 'power-cut') apply()
    })
  }

  #create(path: string): MemInode {
    const inode = new MemInode()
    this.#recordName({ kind: 'link', path, inode })
    return inode
  }

  /** A journal keeps the order of changes; nothing promises it to a program. */
  #keptChanges(changes: readonly NameChange[]): readonly NameChange[] {
    if (this.#prng.chance(0.5)) return changes.filter(() => this.#prng.chance(0.5))
    return changes.slice(0, this.#prng.between(0, changes.length))
  }

  /** The removal of a directory takes along whatever was durable in it. */
  #makeDurable(change: NameChange): void {
    applyName(this.#durableNames, change)
    if (change.kind !== 'rmdir') return
    this.#removedDirectories.delete(change.path)
    this.#unsyncedNames.delete(change.path)
    for (const name of this.#durableNames.keys()) {
      if (posix.dirname(name) === change.path) this.#durableNames.delete(name)
    }
  }

  #recordName(change: NameChange): void {
    applyName(this.#names, change)
    const directory = posix.dirname(change.path)
    const changes = this.#unsyncedNames.get(directory)
    if (changes === undefined) this.#unsyncedNames.set(directory, [change])
    else changes.push(change)
  }

  #addDirectories(path: string): void {
    this.#checkNoFileAbove('mkdir', path)
    for (let name = path; !this.#directories.has(name); name = posix.dirname(name)) {
      this.#directories.add(name)
      // The parent is synced with the new directory, and so is that the old one is gone.
      if (this.#removedDirectories.has(name)) this.#settleRemoval(name)
    }
  }

  #settleRemoval(path: string): void {
    const changes = this.#unsyncedNames.get(posix.dirname(path)) ?? []
    const others = changes.filter((change) => change.kind !== 'rmdir' || change.path !== path)
    this.#unsyncedNames.set(posix.dirname(path), others)
    this.#makeDurable({ kind: 'rmdir', path })
  }

  #checkParent(call: string, path: string): void {
    this.#checkNoFileAbove(call, path)
    if (!this.#directories.has(posix.dirname(path))) throw systemFailure(call, path, 'ENOENT')
  }

  #checkDirectory(call: string, path: string): void {
    if (this.#directories.has(path)) return
    this.#checkNoFileAbove(call, path)
    throw systemFailure(call, path, this.#names.has(path) ? 'ENOTDIR' : 'ENOENT')
  }

  #checkNoFileAbove(call: string, path: string): void {
    for (let name = posix.dirname(path); !this.#directories.has(name); name = posix.dirname(name)) {
      if (this.#names.has(name)) throw systemFailure(call, path, 'ENOTDIR')
    }
  }

  #existing(call: string, path: string): MemInode {
    if (this.#directories.has(path)) throw systemFailure(call, path, 'EISDIR')
    this.#checkNoFileAbove(call, path)
    const inode = this.#names.get(path)
    if (inode === undefined) throw systemFailure(call, path, 'ENOENT')
    return inode
  }

  #inode(path: string): MemInode {
    const inode = this.#names.get(posix.normalize(path))
    assert(inode !== undefined, `the test names ${path}, which is not there`)
    return inode
  }

  /** Removed files take room while they are open. */
  #freeBytes(): number {
    const inodes = new Set(this.#names.values())
    for (const file of this.#openFiles) inodes.add(file.inode)
    let usedBytes = 0
    for (const inode of inodes) usedBytes += inode.sizeBytes
    return Math.max(0, this.capacityBytes - usedBytes)
  }

  #forgetProcess(): void {
    this.#plan.restart()
    this.#openFiles.clear()
    this.#lockedPaths.clear()
  }
}

function applyName(names: Map<string, MemInode>, change: NameChange): void {
  if (change.kind === 'link') {
    names.set(change.path, change.inode)
  } else if (change.kind !== 'rmdir') {
    names.delete(change.path)
    if (change.kind === 'rename') names.set(change.target, change.inode)
  }
}
