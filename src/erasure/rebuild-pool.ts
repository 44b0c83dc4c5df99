import { LRUCache } from 'lru-cache'
import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import { type ErasureCodec, newColumn, type ShardColumn, unitOf } from './erasure-codec.ts'

/** Memory for coding that is kept for the next one, of each kind of stripe. */
const COLUMNS_KEPT = 2
/** What an entry takes beside its bytes: key, objects, the links of the list. */
const ENTRY_OVERHEAD_BYTES = 512

/** One codec unit of a shard, made from those of others. */
export interface RebuiltUnit {
  /** Never written to again. */
  readonly bytes: Buffer
  /** The block it is of matched its checksum when it was made. */
  readonly isVerified: boolean
}

export interface RebuildPoolOptions {
  readonly slots: number
  readonly waitersMax: number
  readonly bytesMax: number
}

const OPTIONS: RebuildPoolOptions = {
  slots: LIMITS.rebuildsMax.value,
  waitersMax: LIMITS.rebuildWaitersMax.value,
  bytesMax: LIMITS.rebuiltBytesMax.value,
}

/**
 * What all readers of coded volumes of a server share: how many of them make lost bytes at once,
 * the memory for that, and what was made lately.
 */
export class RebuildPool {
  readonly #slots: Semaphore
  readonly #units: LRUCache<string, RebuiltUnit>
  readonly #columns = new Map<string, ShardColumn[]>()
  #readerCount = 0

  constructor(options: RebuildPoolOptions = OPTIONS) {
    const { slots, waitersMax, bytesMax } = options
    this.#slots = new Semaphore({ slots, waitersMax })
    this.#units = new LRUCache({ maxSize: bytesMax, maxEntrySize: bytesMax })
  }

  /** False: whoever could do without making bytes anew should. */
  get hasRoom(): boolean {
    return this.#slots.heldCount * 2 < this.#slots.slots
  }

  get bytes(): number {
    return this.#units.calculatedSize
  }

  get underWayCount(): number {
    return this.#slots.heldCount
  }

  /** What the keys of one reader begin with. */
  newPrefix(): string {
    this.#readerCount++
    return `${this.#readerCount}`
  }

  /** To be held while lost bytes are made. @throws {StoreError} OVERLOADED, CANCELLED. */
  enter(signal: AbortSignal): Promise<Disposable> {
    return this.#slots.acquire(signal)
  }

  unit(key: string): RebuiltUnit | undefined {
    return this.#units.get(key)
  }

  keep(key: string, unit: RebuiltUnit): void {
    this.#units.set(key, unit, { size: unit.bytes.length + ENTRY_OVERHEAD_BYTES })
  }

  forget(key: string): void {
    this.#units.delete(key)
  }

  /**
   * The units of the shard `wanted`, from the same bytes of k others. Those are not changed.
   *
   * The codec gets copies: it may write wherever no source lies, and a source that was given up may
   * write into its own memory at any time.
   */
  async rebuild(
    codec: ErasureCodec,
    present: ReadonlyMap<number, Buffer>,
    wanted: number,
  ): Promise<Buffer[]> {
    assert(present.size === codec.dataShards && !present.has(wanted), 'k other shards')
    const { unitBytes } = codec
    const [bytes = 0] = Array.from(present.values(), ({ length }) => length)
    const units: Buffer[] = []
    const columns = this.#columnsOf(codec)
    const column = columns.pop() ?? newColumn(codec)
    for (let at = 0; at < bytes; at += unitBytes) {
      for (const [shard, source] of present) {
        source.copy(unitOf(codec, column, shard), 0, at, at + unitBytes)
      }
      await codec.rebuild(column, [...present.keys()], [wanted])
      const unit = Buffer.allocUnsafeSlow(unitBytes)
      unitOf(codec, column, wanted).copy(unit)
      units.push(unit)
    }
    if (columns.length < COLUMNS_KEPT) columns.push(column)
    return units
  }

  #columnsOf({ dataShards, parityShards, unitBytes }: ErasureCodec): ShardColumn[] {
    const kind = `${dataShards}+${parityShards}/${unitBytes}`
    const columns = this.#columns.get(kind) ?? []
    this.#columns.set(kind, columns)
    return columns
  }
}
