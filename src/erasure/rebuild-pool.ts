import { LRUCache } from 'lru-cache'
import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import { type CodecPackets, findPackets } from './codec-packets.ts'
import { type ErasureCodec, newColumn, type ShardColumn, unitOf } from './erasure-codec.ts'

/** Memory for coding that is kept for the next one, of each kind of stripe. */
const COLUMNS_KEPT = 2
/** What an entry takes beside its bytes: key, objects, the links of the list. */
const ENTRY_OVERHEAD_BYTES = 512

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
  readonly #kept: LRUCache<string, Buffer>
  readonly #columns = new Map<string, ShardColumn[]>()
  readonly #packets = new Map<string, Promise<CodecPackets>>()
  #readerCount = 0

  constructor(options: RebuildPoolOptions = OPTIONS) {
    const { slots, waitersMax, bytesMax } = options
    this.#slots = new Semaphore({ slots, waitersMax })
    this.#kept = new LRUCache({ maxSize: bytesMax, maxEntrySize: bytesMax })
  }

  /** False: whoever could do without making bytes anew should. */
  get hasRoom(): boolean {
    return this.#slots.heldCount * 2 < this.#slots.slots
  }

  get bytes(): number {
    return this.#kept.calculatedSize
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

  /** Bytes that were made lately. Nobody writes to them. */
  kept(key: string): Buffer | undefined {
    return this.#kept.get(key)
  }

  keep(key: string, bytes: Buffer): void {
    this.#kept.set(key, bytes, { size: bytes.length + ENTRY_OVERHEAD_BYTES })
  }

  forget(key: string): void {
    this.#kept.delete(key)
  }

  /** As `findPackets`, once for each kind of stripe. */
  async packetsOf(codec: ErasureCodec): Promise<CodecPackets> {
    const kind = kindOf(codec)
    const found = this.#packets.get(kind) ?? findPackets(codec)
    this.#packets.set(kind, found)
    try {
      return await found
    } catch (error) {
      // The next one may have more luck, as with memory.
      this.#packets.delete(kind)
      throw error
    }
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

  #columnsOf(codec: ErasureCodec): ShardColumn[] {
    const kind = kindOf(codec)
    const columns = this.#columns.get(kind) ?? []
    this.#columns.set(kind, columns)
    return columns
  }
}

function kindOf({ id, dataShards, parityShards, unitBytes }: ErasureCodec): string {
  return `${id} ${dataShards}+${parityShards}/${unitBytes}`
}
