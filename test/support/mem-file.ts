import { assert } from '../../src/base/assert.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type { DiskFile } from '../../src/runtime/disk.ts'
import { type CallKind, type DiskCall, type FaultPlan, systemFailure } from './fault-plan.ts'
import type { MemInode } from './mem-inode.ts'

export interface MemFileParts {
  readonly plan: FaultPlan
  readonly inode: MemInode
  /** How many bytes the files of the disk may still grow. */
  readonly roomBytes: () => number
  readonly onClose: (file: MemFile) => void
}

/** An open file of the crash model. It belongs to one boot of the machine. */
export class MemFile implements DiskFile {
  readonly path: string
  readonly inode: MemInode
  readonly #parts: MemFileParts
  readonly #isWritable: boolean
  readonly #boot: number
  #isClosed = false

  constructor(
    parts: MemFileParts,
    options: { readonly path: string; readonly isWritable: boolean },
  ) {
    this.path = options.path
    this.inode = parts.inode
    this.#parts = parts
    this.#isWritable = options.isWritable
    this.#boot = parts.plan.boot
  }

  readSync(target: Buffer, targetAt: number, length: number, position: number): number {
    this.#check()
    return this.#read(target, targetAt, length, position)
  }

  async read(target: Buffer, targetAt: number, length: number, position: number): Promise<number> {
    await this.#begin()
    return this.#read(target, targetAt, length, position)
  }

  writevSync(buffers: readonly Uint8Array[], position: number): number {
    this.#check()
    return this.#write(buffers, position)
  }

  async writev(buffers: readonly Uint8Array[], position: number): Promise<number> {
    await this.#begin()
    return this.#write(buffers, position)
  }

  async datasync(): Promise<void> {
    const mark = this.inode.mark()
    await this.#begin()
    this.#parts.plan.perform(
      this.#call('datasync'),
      () => this.inode.sync(mark),
      (fault) => {
        if (fault !== 'power-cut') this.inode.dropUnsynced(mark)
        else if (this.#parts.plan.prng.chance(0.5)) this.inode.sync(mark)
      },
    )
  }

  async truncate(sizeBytes: number): Promise<void> {
    assert(sizeBytes >= 0, `truncate to ${sizeBytes}`)
    await this.#begin()
    const apply = () => {
      this.#checkWritable('truncate')
      const growthBytes = sizeBytes - this.inode.sizeBytes
      if (growthBytes > 0 && growthBytes > this.#parts.roomBytes()) {
        throw systemFailure('truncate', this.path, 'ENOSPC')
      }
      this.inode.truncate(sizeBytes)
    }
    this.#parts.plan.perform(this.#call('truncate'), apply, (fault) => {
      if (fault === 'power-cut') apply()
    })
  }

  async sizeBytes(): Promise<number> {
    await this.#begin()
    return this.#parts.plan.perform(this.#call('sizeBytes'), () => this.inode.sizeBytes)
  }

  /** Works without power too, so that a test can see which files were left open. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#parts.onClose(this)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #read(target: Buffer, targetAt: number, length: number, position: number): number {
    assert(targetAt >= 0 && targetAt + length <= target.length, 'a read overruns its buffer')
    return this.#parts.plan.perform(this.#call('read'), () =>
      this.inode.read(target, targetAt, length, position),
    )
  }

  #write(buffers: readonly Uint8Array[], position: number): number {
    const { plan } = this.#parts
    // The bytes are taken only now: a buffer reused too early shows up as wrong data.
    const bytes = Buffer.concat(buffers)
    return plan.perform(
      this.#call('writev'),
      () => this.#writeWithinRoom(bytes, position),
      (fault) => {
        // Without power the whole write waits in the cache, and the restart tears it.
        const isWhole = fault === 'power-cut'
        const keptBytes = isWhole ? bytes.length : plan.prng.between(0, bytes.length)
        const room = this.#roomAt(position)
        this.inode.write(bytes.subarray(0, Math.min(keptBytes, room)), position)
      },
    )
  }

  #writeWithinRoom(bytes: Buffer, position: number): number {
    this.#checkWritable('writev')
    const room = this.#roomAt(position)
    if (bytes.length <= room) {
      this.inode.write(bytes, position)
      return bytes.length
    }
    if (room === 0) throw systemFailure('writev', this.path, 'ENOSPC')
    this.inode.write(bytes.subarray(0, room), position)
    return room
  }

  /** Bytes that can be written at `position`: those already there, and the disk's free ones. */
  #roomAt(position: number): number {
    return Math.max(0, this.inode.sizeBytes - position + this.#parts.roomBytes())
  }

  async #begin(): Promise<void> {
    this.#check()
    await this.#parts.plan.pause()
  }

  #check(): void {
    this.#parts.plan.checkPower(this.#boot)
    if (this.#isClosed) throw new StoreError('CLOSED', `${this.path} is closed`)
  }

  #checkWritable(call: string): void {
    if (!this.#isWritable) throw systemFailure(call, this.path, 'EBADF')
  }

  #call(kind: CallKind): DiskCall {
    return { kind, path: this.path, boot: this.#boot }
  }
}
