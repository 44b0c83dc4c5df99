import type { Disk, DiskFile, DiskSpace, OpenMode } from '../../src/runtime/disk.ts'

export type HookedKind =
  | 'open'
  | 'read'
  | 'writev'
  | 'datasync'
  | 'truncate'
  | 'sizeBytes'
  | 'rename'
  | 'unlink'
  | 'syncDirectory'
  | 'list'
  | 'createDirectory'
  | 'removeDirectory'
  | 'stat'
  | 'space'
  | 'lock'

export interface HookedCall {
  readonly kind: HookedKind
  readonly path: string
}

/**
 * A disk with a test looking over its shoulder: it sees every call before it is passed on, may hold
 * it up or fail it, may make writes short, and keeps a record. The `Sync` forms count as `read`
 * and `writev`; what the hook returns is not waited for there.
 */
export class HookDisk implements Disk {
  before: ((call: HookedCall) => unknown) | undefined
  after: ((call: HookedCall) => unknown) | undefined
  /** A write takes at most this many bytes. */
  writeMaxBytes = Number.POSITIVE_INFINITY
  /** What `space` and `sizeBytes` answer, when a test wants another answer than the truth. */
  spaceIs: DiskSpace | undefined
  sizeIs: ((path: string) => number | undefined) | undefined
  calls: HookedCall[] = []
  readonly #disk: Disk

  constructor(disk: Disk) {
    this.#disk = disk
  }

  count(kind: HookedKind, ending = ''): number {
    return this.calls.filter((call) => call.kind === kind && call.path.endsWith(ending)).length
  }

  async run<Result>(call: HookedCall, pass: () => Promise<Result>): Promise<Result> {
    this.calls.push(call)
    await this.before?.(call)
    const result = await pass()
    await this.after?.(call)
    return result
  }

  runSync<Result>(call: HookedCall, pass: () => Result): Result {
    this.calls.push(call)
    void this.before?.(call)
    const result = pass()
    void this.after?.(call)
    return result
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    const file = await this.run({ kind: 'open', path }, () => this.#disk.open(path, mode))
    return new HookFile(this, file)
  }

  rename(source: string, target: string): Promise<void> {
    return this.run({ kind: 'rename', path: source }, () => this.#disk.rename(source, target))
  }

  unlink(path: string): Promise<void> {
    return this.run({ kind: 'unlink', path }, () => this.#disk.unlink(path))
  }

  syncDirectory(path: string): Promise<void> {
    return this.run({ kind: 'syncDirectory', path }, () => this.#disk.syncDirectory(path))
  }

  list(path: string) {
    return this.run({ kind: 'list', path }, () => this.#disk.list(path))
  }

  createDirectory(path: string): Promise<void> {
    return this.run({ kind: 'createDirectory', path }, () => this.#disk.createDirectory(path))
  }

  removeDirectory(path: string): Promise<void> {
    return this.run({ kind: 'removeDirectory', path }, () => this.#disk.removeDirectory(path))
  }

  stat(path: string) {
    return this.run({ kind: 'stat', path }, () => this.#disk.stat(path))
  }

  async space(path: string): Promise<DiskSpace> {
    const truth = await this.run({ kind: 'space', path }, () => this.#disk.space(path))
    return this.spaceIs ?? truth
  }

  lock(path: string): Promise<AsyncDisposable> {
    return this.run({ kind: 'lock', path }, () => this.#disk.lock(path))
  }
}

class HookFile implements DiskFile {
  readonly path: string
  readonly #disk: HookDisk
  readonly #file: DiskFile
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(disk: HookDisk, file: DiskFile) {
    this.#disk = disk
    this.#file = file
    this.path = file.path
  }

  readSync(target: Buffer, targetAt: number, length: number, position: number): number {
    const pass = () => this.#file.readSync(target, targetAt, length, position)
    return this.#disk.runSync({ kind: 'read', path: this.path }, pass)
  }

  read(target: Buffer, targetAt: number, length: number, position: number): Promise<number> {
    const pass = () => this.#file.read(target, targetAt, length, position)
    return this.#run('read', pass)
  }

  writevSync(buffers: readonly Uint8Array[], position: number): number {
    const pass = () => this.#file.writevSync(this.#short(buffers), position)
    return this.#disk.runSync({ kind: 'writev', path: this.path }, pass)
  }

  writev(buffers: readonly Uint8Array[], position: number): Promise<number> {
    const pass = () => this.#file.writev(this.#short(buffers), position)
    return this.#run('writev', pass)
  }

  datasync(): Promise<void> {
    return this.#run('datasync', () => this.#file.datasync())
  }

  truncate(sizeBytes: number): Promise<void> {
    const pass = () => this.#file.truncate(sizeBytes)
    return this.#run('truncate', pass)
  }

  async sizeBytes(): Promise<number> {
    const truth = await this.#run('sizeBytes', () => this.#file.sizeBytes())
    return this.#disk.sizeIs?.(this.path) ?? truth
  }

  /** Waits for the calls under way, as `DiskFile` promises. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay)
    await this.#file.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #run<Result>(kind: HookedKind, pass: () => Promise<Result>): Promise<Result> {
    const running = this.#disk.run({ kind, path: this.path }, pass)
    this.#underWay.add(running)
    try {
      return await running
    } finally {
      this.#underWay.delete(running)
    }
  }

  #short(buffers: readonly Uint8Array[]): readonly Uint8Array[] {
    const { writeMaxBytes } = this.#disk
    const total = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
    return total <= writeMaxBytes ? buffers : [Buffer.concat(buffers).subarray(0, writeMaxBytes)]
  }
}
