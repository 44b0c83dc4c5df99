import { LRUCache } from 'lru-cache'
import { shardCountOf } from '../base/erasure-scheme.ts'
import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { type CodedLargeNeedle, readCodedNeedle } from '../erasure/coded-needles.ts'
import { RebuildPool } from '../erasure/rebuild-pool.ts'
import type { ShardSlices } from '../erasure/shard-slices.ts'
import { type SlicedSource, StripeReader } from '../erasure/stripe-reader.ts'
import type { Needle } from '../format/needle.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Tally } from '../runtime/metrics.ts'
import type { ShardRun } from '../storage/shard-run.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { Store } from '../storage/store.ts'
import type { DirtyRecords } from './dirty-records.ts'
import { runHop } from './hop.ts'
import type { LocationCache, Whereabouts } from './location-cache.ts'
import {
  inMessages,
  localSource,
  type PlaceOfShard,
  type RunName,
  readRemote,
} from './shard-sources.ts'
import { SlowPeers } from './slow-peers.ts'

export interface CodedVolumesParts {
  readonly store: Store
  readonly clock: Clock
  /** Undefined: this server is alone. */
  readonly cluster: CodedCluster | undefined
  readonly counts: CodedCounts
  /** Aborts when this server closes. */
  readonly stop: AbortSignal
}

export interface CodedCluster {
  readonly locations: LocationCache
  readonly connect: ConnectVolume
  readonly ownUrl: () => string
  readonly dirty: DirtyRecords
}

export interface CodedCounts {
  readonly reads: Tally
  /** Runs of bytes that had to be made from other shards. */
  readonly rebuilt: Tally
}

/** The master is not asked more often where the shards of a volume are, however often one fails. */
const ASK_EVERY_MS = 1_000
/** A removed set makes way for another one while a needle is read; that may happen again. */
const READS_TRIED_MAX = 3

/**
 * Needles of the erasure-coded volumes of which shards are here. What is not here comes from other
 * servers, or is made from what is there.
 */
export class CodedVolumes {
  readonly #parts: CodedVolumesParts
  readonly #slow: SlowPeers
  readonly #pool = new RebuildPool()
  /** A set lives shorter than its server: what nobody uses any more goes with it. */
  readonly #readers = new WeakMap<ShardSet, StripeReader>()
  /** Bounded by size: with `max` all of its memory would be taken at every start. */
  readonly #askedMs = new LRUCache<VolumeId, number>({
    maxSize: LIMITS.locationsCachedMax.value,
    sizeCalculation: () => 1,
  })

  constructor(parts: CodedVolumesParts) {
    this.#parts = parts
    this.#slow = new SlowPeers(parts)
  }

  /** Whether there are shards of it here, of whatever run. */
  isHere(volumeId: VolumeId): boolean {
    return this.#parts.store.shardSets(volumeId).length > 0
  }

  /** As far as is known without asking anybody. */
  mayBeCoded(volumeId: VolumeId): boolean {
    if (this.isHere(volumeId)) return true
    return this.#parts.cluster?.locations.peek(volumeId)?.stripe !== undefined
  }

  /** As the master says now. Undefined: there is none, or no answer. */
  async whereabouts(volumeId: VolumeId, signal: AbortSignal): Promise<Whereabouts | undefined> {
    const { cluster } = this.#parts
    if (cluster === undefined) return undefined
    try {
      return await cluster.locations.find(volumeId, signal)
    } catch (error) {
      if (isStoreError(error) && error.code !== 'CANCELLED') return undefined
      throw error
    }
  }

  /** Whether the master says so; if it says nothing, whether there is no copy here, but shards. */
  async isCoded(volumeId: VolumeId, signal: AbortSignal): Promise<boolean> {
    let known = await this.whereabouts(volumeId, signal)
    const hasCopy = this.#parts.store.find(volumeId) !== undefined
    if (known?.stripe === undefined && !hasCopy && (await this.#askAgain(volumeId, signal))) {
      known = await this.whereabouts(volumeId, signal)
    }
    if (known?.stripe !== undefined) return true
    const isReplicated = known !== undefined && known.locations.length > 0
    return !isReplicated && !hasCopy && this.isHere(volumeId)
  }

  /**
   * The shards here of the run that counts. If nobody can say which one does, it is the newest.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND: those here do not count. CANCELLED.
   */
  async current(volumeId: VolumeId, signal: AbortSignal): Promise<ShardSet> {
    const { cluster, stop } = this.#parts
    const known = cluster?.locations.peek(volumeId)
    const isUsable = known?.stripe !== undefined && cluster?.locations.isExpired(volumeId) === false
    if (cluster !== undefined && isUsable) {
      const found = this.#choose(volumeId, known)
      // A read does not wait for a master that is away: what was learnt once is used on.
      cluster.locations.find(volumeId, stop).catch(() => 'it is asked again by the next one')
      if (found !== undefined) return found
    }
    // The shards here may have come to count since, or no longer do.
    await this.#askAgain(volumeId, signal)
    const found = this.#choose(volumeId, cluster?.locations.peek(volumeId))
    if (found !== undefined) return found
    throw new StoreError('VOLUME_NOT_FOUND', `no shards here are those of volume ${volumeId}`)
  }

  /**
   * @throws {StoreError} NEEDLE_NOT_FOUND: never stored, deleted, or its time is over.
   * COOKIE_MISMATCH; NEEDLE_CORRUPT: it was bad when the volume was coded. VOLUME_NOT_FOUND,
   * SHARDS_LOST, CODEC_UNAVAILABLE, DISK_FAILED, CANCELLED.
   */
  async read(fileId: FileId): Promise<Needle | CodedLargeNeedle> {
    const { stop, counts } = this.#parts
    const { needleId: id, cookie } = fileId
    for (let tried = 1; ; tried++) {
      const set = await this.current(fileId.volumeId, stop)
      set.noteRequest()
      try {
        const wholeBytesMax = LIMITS.answeredWholeMax.value
        const reader = this.readerOf(set)
        const found = await readCodedNeedle(reader, set.index, { id, cookie }, wholeBytesMax, stop)
        counts.reads.add(1)
        return found
      } catch (error) {
        const isGone = !this.#sets(set.run).includes(set)
        if (!isGone || !isStoreError(error) || tried === READS_TRIED_MAX) throw error
      }
    }
  }

  /** Reads the volume as it was coded, from whatever shards there are. */
  readerOf(set: ShardSet): StripeReader {
    const { clock, counts } = this.#parts
    let reader = this.#readers.get(set)
    if (reader === undefined) {
      const { run, geometry, checksums } = set
      const sources = {
        local: (shard: number) => this.#localSource(run, shard),
        remote: (shard: number) => this.#remoteSource(run, shard),
      }
      const onBad = (shard: number, block: number): void => this.#onBad(set, shard, block)
      reader = new StripeReader({
        geometry,
        codec: () => set.codec(),
        checksums,
        sources,
        onBad,
        onRebuilt: () => counts.rebuilt.add(1),
        clock,
        pool: this.#pool,
      })
      this.#readers.set(set, reader)
    }
    return reader
  }

  #choose(volumeId: VolumeId, known: Whereabouts | undefined): ShardSet | undefined {
    const sets = this.#parts.store.shardSets(volumeId)
    if (known?.stripe !== undefined) {
      const { runId } = known.stripe
      return sets.find(({ run }) => run.runId === runId)
    }
    // A volume that has copies has no shards that count.
    if (known !== undefined && known.locations.length > 0) return undefined
    return [...sets].sort(newestFirst)[0]
  }

  #sets({ volumeId, runId }: RunName): readonly ShardSet[] {
    return this.#parts.store.shardSet(volumeId, runId)
  }

  #localSource(run: RunName, shard: number): SlicedSource | undefined {
    const set = this.#sets(run).find((candidate) => candidate.has(shard))
    return set && localSource(set, shard)
  }

  #remoteSource(run: ShardRun, shard: number): SlicedSource | undefined {
    const location = this.#locationOf(run, shard)
    if (location === undefined) return undefined
    if (this.#slow.isAvoided(location.url) && this.#canAvoid(run)) return undefined
    return inMessages(shard, (into, slices, signal) =>
      this.#readRemote({ ...run, shard }, location, into, slices, signal),
    )
  }

  /** Whether enough shards are left without those on servers that hang. */
  #canAvoid(run: ShardRun): boolean {
    let count = 0
    for (let shard = 0; shard < shardCountOf(run); shard++) {
      const url = this.#locationOf(run, shard)?.url
      const isGood = url !== undefined && !this.#slow.isAvoided(url)
      if (isGood || this.#localSource(run, shard) !== undefined) count++
    }
    return count >= run.dataShards
  }

  #locationOf({ volumeId, runId }: RunName, shard: number): NodeLocation | undefined {
    const { cluster } = this.#parts
    const stripe = cluster?.locations.peek(volumeId)?.stripe
    if (cluster === undefined || stripe?.runId !== runId) return undefined
    const place = stripe.shards.find((candidate) => candidate.shard === shard)
    return place?.location.url === cluster.ownUrl() ? undefined : place?.location
  }

  async #readRemote(
    place: PlaceOfShard,
    location: NodeLocation,
    into: Buffer,
    slices: ShardSlices,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await this.#readAt(place, location, into, slices, signal)
    } catch (error) {
      if (!isStoreError(error, ...PERHAPS_MOVED)) throw error
      if (!(await this.#askAgain(place.volumeId, signal))) throw error
      const now = this.#locationOf(place, place.shard)
      if (now === undefined || now.url === location.url) throw error
      await this.#readAt(place, now, into, slices, signal)
    }
  }

  async #readAt(
    { volumeId, runId, shard }: PlaceOfShard,
    location: NodeLocation,
    into: Buffer,
    slices: ShardSlices,
    outer: AbortSignal,
  ): Promise<void> {
    const { cluster, clock } = this.#parts
    const { url } = location
    const hop = { ms: LIMITS.readElsewhereMs.value, outer, what: `reading a shard from ${url}` }
    this.#slow.begin(url)
    let hasTimedOut = false
    try {
      await runHop(clock, hop, async ({ signal }) => {
        if (cluster === undefined) return
        const peer = () => cluster.connect(location).shards
        await readRemote(peer, { volumeId, runId, shard }, into, slices, signal)
      })
    } catch (error) {
      hasTimedOut = isStoreError(error, 'TIMEOUT')
      throw error
    } finally {
      this.#slow.end(url, hasTimedOut)
    }
  }

  /** False: that was done just now, or there is no answer. Many who ask at once share one. */
  async #askAgain(volumeId: VolumeId, signal: AbortSignal): Promise<boolean> {
    const { cluster, clock } = this.#parts
    const askedMs = this.#askedMs.get(volumeId)
    if (cluster === undefined) return false
    if (askedMs !== undefined && clock.monotonicMs() - askedMs < ASK_EVERY_MS) return false
    try {
      await cluster.locations.refresh(volumeId, signal)
      return true
    } catch (error) {
      if (isStoreError(error) && error.code !== 'CANCELLED') return false
      throw error
    } finally {
      this.#askedMs.set(volumeId, clock.monotonicMs())
    }
  }

  #onBad(set: ShardSet, shard: number, block: number): void {
    this.#sets(set.run)
      .find((candidate) => candidate.has(shard))
      ?.noteBad(shard, block)
    // The master is told of a needle; all of a volume are in the same stripe.
    const [first] = set.index.live()
    const { volumeId } = set.run
    if (first === undefined) return
    this.#parts.cluster?.dirty.recordLater({
      volumeId,
      needleId: first.id,
      kind: 'check',
      unreached: [],
    })
  }
}

const PERHAPS_MOVED = ['SHARD_NOT_FOUND', 'VOLUME_NOT_FOUND', 'UNAVAILABLE', 'CLOSED'] as const

function newestFirst({ run: a }: ShardSet, { run: b }: ShardSet): number {
  const [first, second] = [BigInt(a.runId), BigInt(b.runId)]
  return first === second ? 0 : first > second ? -1 : 1
}
