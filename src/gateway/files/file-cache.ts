import { LRUCache } from 'lru-cache'
import type { ObjectVersion } from '../../namespace/object-version.ts'
import type { Metrics, Tally } from '../../runtime/metrics.ts'

/** A file that is being read, on its way into the cache. */
export interface Filling extends Disposable {
  /** Copies the bytes. */
  add(piece: Uint8Array): void
}

type Version = Pick<ObjectVersion, 'id' | 'sizeBytes'>

/** A larger file would drive out too many others. */
const FILE_SHARE = 8
/** Files under way into the cache may take so much beside it. */
const FILLING_SHARE = 4
/** What an entry takes beside its bytes. */
const ENTRY_BYTES = 256

/**
 * The bytes of files that were read lately, by version: a version never changes, so nothing here is
 * ever out of date. All entries together are no larger than the cache; the one that was not read
 * for the longest time goes first.
 */
export class FileCache {
  readonly #entries: LRUCache<string, Buffer> | undefined
  readonly #bytesMax: number
  readonly #filling = new Set<string>()
  readonly #hits: Tally | undefined
  readonly #misses: Tally | undefined
  #fillingBytes = 0

  /** `bytesMax` 0: nothing is kept. */
  constructor(
    { metrics }: { readonly metrics: Metrics | undefined },
    { bytesMax }: { readonly bytesMax: number },
  ) {
    this.#bytesMax = bytesMax
    if (bytesMax > 0) {
      const sizeCalculation = (data: Buffer) => data.length + ENTRY_BYTES
      this.#entries = new LRUCache({ maxSize: bytesMax, sizeCalculation })
    }
    this.#hits = metrics
      ?.tallies({ name: 'gateway_files_cache_hits_total', help: 'Files read from memory.' })
      .of({})
    this.#misses = metrics
      ?.tallies({ name: 'gateway_files_cache_misses_total', help: 'Files read from volumes.' })
      .of({})
    metrics?.gauge({ name: 'gateway_files_cache_bytes', help: 'Bytes of files kept.' }, (gauge) =>
      gauge.set(this.sizeBytes),
    )
  }

  get sizeBytes(): number {
    return this.#entries?.calculatedSize ?? 0
  }

  /** All of its bytes, to be read only. A miss counts as one. */
  get({ id }: Version): Buffer | undefined {
    const found = this.#entries?.get(id)
    if (found === undefined) this.#misses?.add(1)
    else this.#hits?.add(1)
    return found
  }

  /** It is in the cache once all of its bytes were added. Undefined: it is not going to be. */
  tryFill({ id, sizeBytes }: Version): Filling | undefined {
    const entries = this.#entries
    if (entries === undefined || sizeBytes > this.#bytesMax / FILE_SHARE) return undefined
    const isFull = this.#fillingBytes + sizeBytes > this.#bytesMax / FILLING_SHARE
    if (isFull || this.#filling.has(id)) return undefined
    this.#filling.add(id)
    this.#fillingBytes += sizeBytes
    const data = Buffer.allocUnsafeSlow(sizeBytes)
    let at = 0
    let isOver = false
    return {
      add: (piece) => {
        if (isOver || at + piece.length > sizeBytes) return
        data.set(piece, at)
        at += piece.length
        if (at === sizeBytes) entries.set(id, data)
      },
      [Symbol.dispose]: () => {
        if (isOver) return
        isOver = true
        this.#filling.delete(id)
        this.#fillingBytes -= sizeBytes
      },
    }
  }

  /** It is not there any more: the room is for others. */
  forget(id: string): void {
    this.#entries?.delete(id)
  }
}
