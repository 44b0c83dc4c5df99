import { assert } from '../base/assert.ts'
import type { FileId } from '../base/file-id.ts'
import { parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import type { EncodedShard } from '../erasure/object-stripe.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { NeedleMetadata } from '../net/volume-api.ts'
import { allEnded } from '../runtime/all-ended.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import type { Grant } from './lease-lane.ts'
import type { Layout, LeasePool, LeaseSizes } from './lease-pool.ts'
import type { NeedleWriter } from './needle-writer.ts'
import { FirstIds, type PlannedIds } from './planned-ids.ts'
import { isServerDown, type Replicas } from './replicas.ts'
import { RetryTurns, retryOf } from './retry-turns.ts'
import { chooseShardServers, type ShardPlacement } from './shard-placement.ts'
import type { TopologyCache } from './topology-cache.ts'
import { forwardAbort, unlessAborted } from './unless-aborted.ts'
import { withinTime } from './within-time.ts'

export interface ShardWriterParts {
  readonly writer: NeedleWriter
  readonly leases: LeasePool
  readonly replicas: Replicas
  readonly topology: TopologyCache
  readonly clock: Clock
  readonly random: Random
}

/** Shards of one stripe that are to be stored. */
export interface ShardsToStore {
  readonly shards: readonly EncodedShard[]
  readonly placement: Pick<ShardPlacement, 'scheme' | 'spread' | 'kept'>
  readonly layout: Pick<Layout, 'collection' | 'ttl'>
  readonly metadata: NeedleMetadata
  /** Each that is durable, also when others fail after it. */
  readonly onStored: (fileId: FileId) => void
  /** After a failed try, somebody may still hold on to the bytes. */
  readonly onFailure: () => void
  readonly planning?: ShardPlanning | undefined
  /** As many as give the stripe back are enough. */
  readonly isBestEffort?: boolean | undefined
}

/** Who is to know of the ids of shards before they are sent. */
export interface ShardPlanning {
  readonly planned: PlannedIds
  /** To be told with the first ones; asked for when these are there. */
  readonly others: () => Promise<readonly FileId[]>
  /** They have been told, one for each shard; undefined: it is not stored, or there is none yet. */
  readonly onTold: (fileIds: readonly (FileId | undefined)[]) => void
}

export interface StoredShard {
  readonly fileId: FileId
  readonly location: NodeLocation
  /** The id is that of no needle, and never will be: the stripe does without this shard. */
  readonly isMissing: boolean
}

const ONE_COPY = { otherDataCenters: 0, otherRacks: 0, otherServers: 0 }
/** Ids asked for at first: for so many bytes on a server, as far as they are between these. */
const LEASE_BYTES = 16 * MIB
const SHARD_IDS_MIN = { least: 8, most: 64 }
const SHARD_IDS_MAX = 256
/** A server that is down is asked so often for the sake of a shard that may be missing. */
const DOWN_TRIES_MAX = 2

/** Stores the shards of stripes, each on a server of its own, once. */
export class ShardWriter {
  readonly #parts: ShardWriterParts

  constructor(parts: ShardWriterParts) {
    this.#parts = parts
  }

  /**
   * Durable when it returns; undefined for those that are empty, which are not stored. A shard that
   * one server does not take goes to another one without a shard of the stripe; where there is
   * none, to the same one again. With best effort it is given up after `bestEffortMs` or two
   * failures of a server that is down, as long as the others are enough.
   *
   * @throws {StoreError} PLACEMENT_IMPOSSIBLE: there are too few servers. What the last try of a
   * shard failed with. CANCELLED.
   */
  async store(work: ShardsToStore, signal: AbortSignal): Promise<(StoredShard | undefined)[]> {
    const session = new StoreSession(this.#parts, work)
    return await session.run(signal)
  }
}

/** A try that failed. */
interface Failure {
  readonly index: number
  readonly place: NodeLocation
  readonly error: unknown
  /** It was the master that failed. */
  readonly isMaster: boolean
}

/** The placing and storing of the shards of one stripe. */
class StoreSession {
  readonly #parts: ShardWriterParts
  readonly #work: ShardsToStore
  /** Where each shard is, or is going; undefined: it is empty, or the stripe does without it. */
  readonly #places: (NodeLocation | undefined)[] = []
  /** How often a try on a server failed, by its url. */
  readonly #failures = new Map<string, number>()
  readonly #missing = new Set<number>()
  /** How many may be missing. */
  readonly #missingMax: number
  readonly #startMs: number
  #firstIds: FirstIds | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(parts: ShardWriterParts, work: ShardsToStore) {
    this.#parts = parts
    this.#work = work
    const { parityShards } = work.placement.scheme
    // Data shards that are empty are as good as stored, and never missing.
    this.#missingMax = work.isBestEffort === true ? parityShards : 0
    this.#startMs = parts.clock.monotonicMs()
  }

  async run(signal: AbortSignal): Promise<(StoredShard | undefined)[]> {
    const { shards } = this.#work
    const stopping = new AbortController()
    using _abort = forwardAbort(signal, stopping)
    await this.#placeAll(stopping.signal)
    const storing = shards.map(async (_, index) => {
      try {
        return await this.#storeOne(index, stopping.signal)
      } catch (error) {
        this.#failure ??= { error }
        stopping.abort()
        throw error
      }
    })
    try {
      const stored = await allEnded(storing)
      if (this.#missing.size === 0) return stored
      return await allEnded(
        stored.map(async (shard, index) => {
          return this.#missing.has(index) ? await this.#standIn(index, stored, signal) : shard
        }),
      )
    } catch (error) {
      // The others were told to stop: that is not what went wrong.
      throw this.#failure?.error ?? error
    }
  }

  async #placeAll(signal: AbortSignal): Promise<void> {
    const { planning, shards } = this.#work
    const wanted = shards.flatMap(({ data }, index) => (data.length > 0 ? [index] : []))
    const chosen = await this.#choose(wanted.length, signal)
    for (const [index, { data }] of shards.entries()) {
      this.#places.push(data.length > 0 ? chosen.shift() : undefined)
      if (data.length > 0 && this.#places[index] === undefined) this.#missing.add(index)
    }
    if (planning === undefined) return
    const { onTold, others, planned } = planning
    const placed = wanted.filter((index) => !this.#missing.has(index))
    this.#firstIds = new FirstIds(shards.length, placed, async (fileIds) => {
      const known = Array.from(fileIds).filter((fileId) => fileId !== undefined)
      await planned.tell([...known, ...(await others())], signal)
      onTold(fileIds)
    })
  }

  async #storeOne(index: number, signal: AbortSignal): Promise<StoredShard | undefined> {
    const turns = new RetryTurns(this.#parts, signal)
    for (;;) {
      const place = this.#places[index]
      if (place === undefined) return undefined
      let isMaster = false
      try {
        const grant = await this.#grant(index, place, signal).catch((error: unknown) => {
          isMaster = !isStoreError(error, ...NOT_THERE)
          throw error
        })
        await this.#tell(index, grant.fileId, signal)
        const fileId = await this.#put(index, grant, signal)
        this.#work.onStored(fileId)
        return { fileId, location: place, isMissing: false }
      } catch (error) {
        const hook = this.#work.planning?.planned.failure
        if (hook !== undefined) throw hook.error
        await this.#afterFailure({ index, place, error, isMaster }, turns, signal)
      }
    }
  }

  /** With the first ids of the other shards, if it is the first of this one. */
  async #tell(index: number, fileId: FileId, signal: AbortSignal): Promise<void> {
    const { planning } = this.#work
    if (planning === undefined || this.#firstIds === undefined) return
    if (!this.#firstIds.isAwaited(index)) return await planning.planned.tell([fileId], signal)
    await unlessAborted(this.#firstIds.set(index, fileId), signal, 'telling of planned shards')
  }

  /** Returns when it is time for the next try, or when the stripe is to do without the shard. */
  async #afterFailure(failed: Failure, turns: RetryTurns, signal: AbortSignal): Promise<void> {
    const { error, index, isMaster, place } = failed
    if (!isStoreError(error) || !mayPass(error)) throw error
    if (!isMaster) this.#failures.set(place.url, (this.#failures.get(place.url) ?? 0) + 1)
    try {
      // Without the master no other server has an id for us either.
      const next = isMaster ? place : await this.#replace(index, signal)
      if (!isMaster && this.#isHopeless(error, next) && this.#giveUp(index)) return
      await turns.pause(error, next.url !== place.url)
    } catch (last) {
      if (signal.aborted || !isStoreError(last) || !this.#giveUp(index)) throw last
    }
  }

  #isHopeless(error: StoreError, next: NodeLocation): boolean {
    const { clock } = this.#parts
    if (clock.monotonicMs() - this.#startMs >= LIMITS.bestEffortMs.value) return true
    // One that hangs is not waited for twice.
    const triesMax = error.code === 'TIMEOUT' ? 1 : DOWN_TRIES_MAX
    return isServerDown(error) && (this.#failures.get(next.url) ?? 0) >= triesMax
  }

  /** False: the stripe cannot do without it. */
  #giveUp(index: number): boolean {
    if (this.#missing.size >= this.#missingMax) return false
    this.#missing.add(index)
    this.#places[index] = undefined
    if (this.#firstIds?.isAwaited(index) === true) void this.#firstIds.set(index, undefined)
    return true
  }

  /**
   * An id for a shard that is missing, on a server that took another one: whoever looks for it
   * there hears at once that there is none.
   */
  async #standIn(
    index: number,
    stored: readonly (StoredShard | undefined)[],
    signal: AbortSignal,
  ): Promise<StoredShard> {
    let failure: unknown
    for (const shard of stored) {
      if (shard === undefined) continue
      const { location } = shard
      try {
        const { fileId } = await this.#grant(index, location, signal)
        return { fileId, location, isMissing: true }
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  async #put(index: number, grant: Grant, signal: AbortSignal): Promise<FileId> {
    const { clock, replicas, writer } = this.#parts
    const { metadata, onFailure, shards } = this.#work
    const { checksum, data } = shards[index] as EncodedShard
    const { url } = grant.block
    const ms = this.#waitMs(url) + Math.ceil(data.length / MIB) * 1000
    const what = `storing a shard on ${url}`
    const put = (stop: AbortSignal) => writer.writeOnce(grant, { data, metadata, checksum }, stop)
    try {
      return parseFileId((await withinTime(clock, { ms, what }, put, signal)).fileId)
    } catch (error) {
      onFailure()
      replicas.note(url, error)
      throw error
    }
  }

  #waitMs(url: string): number {
    if (this.#missing.size >= this.#missingMax) return LIMITS.shardPutMs.value
    const isSuspect = this.#parts.replicas.isSuspect(url)
    return isSuspect ? LIMITS.objectShardSlowMs.value : LIMITS.bestEffortMs.value
  }

  /** An id on a volume of this server. */
  async #grant(index: number, place: NodeLocation, signal: AbortSignal): Promise<Grant> {
    const { layout, shards } = this.#work
    const { collection, ttl } = layout
    // The next power of two: one lane for shards of about the same size.
    const dataBytes = 2 ** Math.ceil(Math.log2(shards[index]?.data.length ?? 1))
    const { least, most } = SHARD_IDS_MIN
    const idsMin = Math.min(most, Math.max(least, LEASE_BYTES / dataBytes))
    const sizes: LeaseSizes = { idsMin, idsMax: SHARD_IDS_MAX, dataBytes }
    const wanted = { collection, ttl, replication: ONE_COPY }
    const lane = this.#parts.leases.lane(wanted, sizes, { node: place.url })
    const grant = await lane.wait(signal)
    if (grant.block.url === place.url) return grant
    const why = `a lease for a volume on ${place.url} is for one on ${grant.block.url}`
    throw new StoreError('PEER_FAILED', why)
  }

  /** Another server for a shard, if there is one; one that failed is better than none. */
  async #replace(index: number, signal: AbortSignal): Promise<NodeLocation> {
    this.#parts.topology.expire()
    // In one turn from here on: others may be looking for a place too.
    const servers = await this.#parts.topology.servers(signal)
    const others = this.#places.filter((place, at) => at !== index && place !== undefined)
    const [next] = this.#chooseFrom(servers, { count: 1 }, others as NodeLocation[])
    assert(next !== undefined, 'one server was asked for')
    this.#places[index] = next
    return next
  }

  async #choose(count: number, signal: AbortSignal): Promise<NodeLocation[]> {
    const countMin = Math.max(1, count - this.#missingMax)
    const { topology } = this.#parts
    try {
      return this.#chooseFrom(await topology.servers(signal), { count, countMin }, [])
    } catch (error) {
      if (!isStoreError(error, 'PLACEMENT_IMPOSSIBLE')) throw error
      // A server may have come back since the master was asked.
      topology.expire()
      return this.#chooseFrom(await topology.servers(signal), { count, countMin }, [])
    }
  }

  #chooseFrom(
    servers: Awaited<ReturnType<TopologyCache['servers']>>,
    counts: Pick<ShardPlacement, 'count' | 'countMin'>,
    others: readonly NodeLocation[],
  ): NodeLocation[] {
    const { random, replicas } = this.#parts
    const { kept, scheme, spread } = this.#work.placement
    const isAvoided = (url: string) => this.#failures.has(url) || replicas.isSuspect(url)
    const placement = { scheme, spread, ...counts, kept: [...kept, ...others], isAvoided }
    return chooseShardServers(servers, placement, random)
  }
}

/** What the master says of one server, not of itself. */
const NOT_THERE = ['NO_WRITABLE_VOLUME', 'PLACEMENT_IMPOSSIBLE', 'NODE_NOT_FOUND'] as const

/** The next try may do better. */
export function mayPass(error: StoreError): boolean {
  return retryOf(error) !== 'never' || isStoreError(error, ...NOT_THERE)
}
