import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { isStoreError } from '../../src/base/store-error.ts'
import type { HayloftClient } from '../../src/client/hayloft-client.ts'
import { Prng } from './prng.ts'

export interface LoadOptions {
  readonly seed: number
  readonly readers?: number
  readonly writers?: number
  readonly deleters?: number
}

const PAUSE_AFTER_FAILURE_MS = 20
/** The load shall be there, not fill the machine: repairs share it. */
const PAUSE_MS = 2

export function digestOf(data: Uint8Array): string {
  return createHash('sha1').update(data).digest('base64')
}

/** What a cluster has acknowledged, and what must therefore be true of it. */
export class Ledger {
  /** Stored and not deleted, with the digest of the bytes. */
  readonly live = new Map<string, string>()
  /** Acknowledged as deleted: never to be read again. */
  readonly deleted = new Set<string>()
  readonly #ids: string[] = []
  readonly #places = new Map<string, number>()

  add(fileId: string, digest: string): void {
    if (this.live.has(fileId) || this.deleted.has(fileId)) {
      throw new Error(`${fileId} was given out twice`)
    }
    this.live.set(fileId, digest)
    this.#places.set(fileId, this.#ids.push(fileId) - 1)
  }

  /** Before the delete is sent: from now on nobody knows. */
  beginDelete(fileId: string): void {
    this.live.delete(fileId)
    const at = this.#places.get(fileId)
    const last = this.#ids.pop()
    this.#places.delete(fileId)
    if (at === undefined || last === undefined || last === fileId) return
    this.#ids[at] = last
    this.#places.set(last, at)
  }

  pick(prng: Prng): string | undefined {
    return this.#ids[prng.below(Math.max(1, this.#ids.length))]
  }
}

/** Clients that read, write and delete at the same time, and remember what went wrong. */
export class MixedLoad {
  readonly ledger: Ledger
  readonly readFailures: string[] = []
  readonly resurrected: string[] = []
  readCount = 0
  writeCount = 0
  writeFailureCount = 0
  deleteCount = 0
  deleteFailureCount = 0
  #longestWriteGapMs = 0
  #lastWriteMs = Date.now()
  readonly #client: HayloftClient
  readonly #options: LoadOptions
  readonly #stop = new AbortController()
  readonly #running: Promise<unknown>

  constructor(client: HayloftClient, ledger: Ledger, options: LoadOptions) {
    this.#client = client
    this.ledger = ledger
    this.#options = options
    const { readers = 6, writers = 4, deleters = 1 } = options
    this.#running = Promise.all([
      ...Array.from({ length: readers }, (_, index) => this.#read(index)),
      ...Array.from({ length: writers }, (_, index) => this.#write(index)),
      ...Array.from({ length: deleters }, (_, index) => this.#delete(index)),
    ])
  }

  /** Between two acknowledged writes, or since the last one. */
  get longestWriteGapMs(): number {
    return Math.max(this.#longestWriteGapMs, Date.now() - this.#lastWriteMs)
  }

  /** From now on, for the next fault. */
  resetGap(): void {
    this.#longestWriteGapMs = 0
    this.#lastWriteMs = Date.now()
  }

  async stop(): Promise<void> {
    this.#longestWriteGapMs = this.longestWriteGapMs
    this.#stop.abort()
    await this.#running
    this.#lastWriteMs = Date.now()
  }

  get summary(): string {
    return (
      `${this.readCount} reads, ${this.readFailures.length} failed; ` +
      `${this.writeCount} writes, ${this.writeFailureCount} refused, longest gap ` +
      `${Math.round(this.longestWriteGapMs)} ms; ${this.deleteCount} deletes, ` +
      `${this.deleteFailureCount} refused`
    )
  }

  async #read(index: number): Promise<void> {
    const prng = new Prng(this.#options.seed * 1000 + index)
    while (!this.#stop.signal.aborted) {
      const fileId = this.ledger.pick(prng)
      const digest = fileId && this.ledger.live.get(fileId)
      if (fileId === undefined || digest === undefined) {
        await sleep(PAUSE_MS)
        continue
      }
      const error = await checkRead(this.#client, fileId, digest)
      this.readCount++
      // Deleted while it was read: then either answer is right.
      if (error !== undefined && this.ledger.live.has(fileId)) this.readFailures.push(error)
      await sleep(PAUSE_MS)
    }
  }

  async #write(index: number): Promise<void> {
    const prng = new Prng(this.#options.seed * 1000 + 100 + index)
    while (!this.#stop.signal.aborted) {
      const data = Buffer.alloc(prng.between(4, 16_384), prng.below(256))
      data.writeUInt32LE(prng.below(2 ** 32), 0)
      try {
        const { fileId } = await this.#client.put(data, {})
        this.ledger.add(fileId, digestOf(data))
        const nowMs = Date.now()
        this.#longestWriteGapMs = Math.max(this.#longestWriteGapMs, nowMs - this.#lastWriteMs)
        this.#lastWriteMs = nowMs
        this.writeCount++
        await sleep(PAUSE_MS * 2)
      } catch (error) {
        if (!isStoreError(error)) throw error
        this.writeFailureCount++
        await sleep(PAUSE_AFTER_FAILURE_MS)
      }
    }
  }

  async #delete(index: number): Promise<void> {
    const prng = new Prng(this.#options.seed * 1000 + 200 + index)
    while (!this.#stop.signal.aborted) {
      const fileId = this.ledger.pick(prng)
      if (fileId !== undefined) {
        this.ledger.beginDelete(fileId)
        try {
          await this.#client.delete(fileId, { isSingleNeedle: true })
          this.ledger.deleted.add(fileId)
          this.deleteCount++
        } catch (error) {
          if (!isStoreError(error)) throw error
          // It may have been deleted on some copies, or later: nothing is promised.
          this.deleteFailureCount++
          await sleep(PAUSE_AFTER_FAILURE_MS)
        }
      }
      await sleep(PAUSE_MS * 5)
    }
  }
}

/** Undefined: the bytes are right. */
export async function checkRead(
  client: HayloftClient,
  fileId: string,
  digest: string,
): Promise<string | undefined> {
  try {
    const { data } = await client.get(fileId)
    return digestOf(data) === digest ? undefined : `${fileId}: WRONG BYTES`
  } catch (error) {
    return `${fileId}: ${isStoreError(error) ? `${error.code}: ${error.message}` : String(error)}`
  }
}
