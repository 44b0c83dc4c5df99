import { isStoreError } from '../base/store-error.ts'
import type { ShardSink } from '../erasure/encode-shards.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { ShardSetFiles } from '../storage/shard-set-files.ts'
import type { Store } from '../storage/store.ts'

/** Writes a shard from its first byte to its last. */
export type FillShard = (sink: ShardSink) => Promise<void>

/**
 * Takes shards of one run into this server: onto as many of its disks as there are, so that as few
 * as possible fall with one. A set in which no shard arrived is removed again.
 */
export class ShardPlaces {
  readonly #store: Store
  readonly #files: ShardSetFiles
  readonly #shardBytes: number
  /** Shards on their way into each set. */
  readonly #arriving = new Map<ShardSet, number>()

  constructor(store: Store, files: ShardSetFiles, shardBytes: number) {
    this.#store = store
    this.#files = files
    this.#shardBytes = shardBytes
  }

  /**
   * Nothing is written if the shard is there after all: one that was set aside comes back with the
   * files that were missing beside it.
   *
   * @throws {StoreError} as `Store.createShardSet` and `ShardSet.addShard`.
   */
  async add(shard: number, fill: FillShard): Promise<void> {
    const set = await this.#place()
    const { volumeId, runId } = set.run
    if (this.#store.shardSet(volumeId, runId).some((other) => other.has(shard))) return
    this.#arriving.set(set, (this.#arriving.get(set) ?? 0) + 1)
    try {
      await set.addShard(shard, fill)
    } finally {
      this.#arriving.set(set, (this.#arriving.get(set) ?? 1) - 1)
      await this.#removeEmpty(set)
    }
  }

  /**
   * As `add`, of several shards that are written at the same time: `fill` gets a sink for each that
   * is not there. If it fails, those that were whole by then stay.
   */
  async addAll(
    shards: readonly number[],
    fill: (sinks: ReadonlyMap<number, ShardSink>) => Promise<void>,
  ): Promise<void> {
    const sinks = new Map<number, ShardSink>()
    const addFrom = async (at: number): Promise<void> => {
      const shard = shards[at]
      if (shard === undefined) return sinks.size > 0 ? await fill(sinks) : undefined
      let isAdded = false
      await this.add(shard, async (sink) => {
        isAdded = true
        sinks.set(shard, sink)
        await addFrom(at + 1)
      })
      if (!isAdded) await addFrom(at + 1)
    }
    await addFrom(0)
  }

  /** A disk that has none of the run yet, or else the set with the fewest shards. */
  async #place(): Promise<ShardSet> {
    const { run } = this.#files
    const sets = this.#store.shardSet(run.volumeId, run.runId)
    const [fewest] = [...sets].sort((a, b) => this.#countOf(a) - this.#countOf(b))
    const isOnAll = sets.length >= this.#store.locations.length
    if (fewest !== undefined && (isOnAll || this.#countOf(fewest) === 0)) return fewest
    try {
      const where = { spreadOver: true }
      const set = await this.#store.createShardSet(this.#files, this.#shardBytes, where)
      // What was deleted while it was made.
      for (const other of sets) await set.deleteNeedles(other.journal())
      return set
    } catch (error) {
      const isNoRoom = isStoreError(error, 'DISK_FULL', 'VOLUME_EXISTS')
      if (fewest === undefined || !isNoRoom) throw error
      return fewest
    }
  }

  async #removeEmpty(set: ShardSet): Promise<void> {
    const { volumeId, runId } = set.run
    const isLeft = this.#store.shardSet(volumeId, runId).includes(set)
    if (this.#countOf(set) > 0 || !isLeft) return
    try {
      await this.#store.removeShardSet(set)
    } catch (error) {
      // The next start removes it; what went wrong before matters more.
      if (!isStoreError(error)) throw error
    }
  }

  #countOf(set: ShardSet): number {
    return set.shards.length + (this.#arriving.get(set) ?? 0)
  }
}
