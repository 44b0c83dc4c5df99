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
import type { Replicas } from './replicas.ts'
import { RetryTurns, retryOf } from './retry-turns.ts'
import { chooseShardServers, type ShardPlacement } from './shard-placement.ts'
import type { TopologyCache } from './topology-cache.ts'
import { forwardAbort } from './unless-aborted.ts'
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
}

export interface StoredShard {
  readonly fileId: FileId
  readonly location: NodeLocation
}

const ONE_COPY = { otherDataCenters: 0, otherRacks: 0, otherServers: 0 }
/** Ids asked for at first: for so many bytes on a server, as far as they are between these. */
const LEASE_BYTES = 16 * MIB
const SHARD_IDS_MIN = { least: 8, most: 64 }
const SHARD_IDS_MAX = 256

/** Stores the shards of stripes, each on a server of its own, once. */
export class ShardWriter {
  readonly #parts: ShardWriterParts

  constructor(parts: ShardWriterParts) {
    this.#parts = parts
  }

  /**
   * Durable when it returns; undefined for those that are empty, which are not stored. A shard that
   * one server does not take goes to another one without a shard of the stripe; where there is
   * none, to the same one again.
   *
   * @throws {StoreError} PLACEMENT_IMPOSSIBLE: there are too few servers. What the last try of a
   * shard failed with. CANCELLED.
   */
  async store(work: ShardsToStore, signal: AbortSignal): Promise<(StoredShard | undefined)[]> {
    const session = new StoreSession(this.#parts, work)
    return await session.run(signal)
  }
}

/** The placing and storing of the shards of one stripe. */
class StoreSession {
  readonly #parts: ShardWriterParts
  readonly #work: ShardsToStore
  /** Where each shard is, or is going; undefined: it is empty. */
  readonly #places: (NodeLocation | undefined)[] = []
  readonly #failedUrls = new Set<string>()
  #failure: { readonly error: unknown } | undefined

  constructor(parts: ShardWriterParts, work: ShardsToStore) {
    this.#parts = parts
    this.#work = work
  }

  async run(signal: AbortSignal): Promise<(StoredShard | undefined)[]> {
    const { shards } = this.#work
    const count = shards.filter(({ data }) => data.length > 0).length
    const chosen = await this.#choose(count, [], signal)
    for (const { data } of shards) this.#places.push(data.length > 0 ? chosen.shift() : undefined)
    const stopping = new AbortController()
    using _abort = forwardAbort(signal, stopping)
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
      return await allEnded(storing)
    } catch (error) {
      // The others were told to stop: that is not what went wrong.
      throw this.#failure?.error ?? error
    }
  }

  async #storeOne(index: number, signal: AbortSignal): Promise<StoredShard | undefined> {
    if (this.#places[index] === undefined) return undefined
    const turns = new RetryTurns(this.#parts, signal)
    for (;;) {
      const place = this.#places[index]
      assert(place !== undefined, 'a shard that is stored has a place')
      let isMaster = false
      try {
        const grant = await this.#grant(index, place, signal).catch((error: unknown) => {
          isMaster = !isStoreError(error, ...NOT_THERE)
          throw error
        })
        const fileId = await this.#put(index, grant, signal)
        this.#work.onStored(fileId)
        return { fileId, location: place }
      } catch (error) {
        if (!isStoreError(error) || !mayPass(error)) throw error
        if (!isMaster) this.#failedUrls.add(place.url)
        // Without the master no other server has an id for us either.
        const next = isMaster ? place : await this.#replace(index, signal)
        await turns.pause(error, next.url !== place.url)
      }
    }
  }

  async #put(index: number, grant: Grant, signal: AbortSignal): Promise<FileId> {
    const { clock, replicas, writer } = this.#parts
    const { metadata, onFailure, shards } = this.#work
    const { checksum, data } = shards[index] as EncodedShard
    const { url } = grant.block
    const ms = LIMITS.shardPutMs.value + Math.ceil(data.length / MIB) * 1000
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
    const [next] = this.#chooseFrom(servers, 1, others as NodeLocation[])
    assert(next !== undefined, 'one server was asked for')
    this.#places[index] = next
    return next
  }

  async #choose(count: number, others: readonly NodeLocation[], signal: AbortSignal) {
    return this.#chooseFrom(await this.#parts.topology.servers(signal), count, others)
  }

  #chooseFrom(
    servers: Awaited<ReturnType<TopologyCache['servers']>>,
    count: number,
    others: readonly NodeLocation[],
  ): NodeLocation[] {
    const { random, replicas } = this.#parts
    const { kept, scheme, spread } = this.#work.placement
    const isAvoided = (url: string) => this.#failedUrls.has(url) || replicas.isSuspect(url)
    const placement = { scheme, spread, count, kept: [...kept, ...others], isAvoided }
    return chooseShardServers(servers, placement, random)
  }
}

/** What the master says of one server, not of itself. */
const NOT_THERE = ['NO_WRITABLE_VOLUME', 'PLACEMENT_IMPOSSIBLE', 'NODE_NOT_FOUND'] as const

function mayPass(error: StoreError): boolean {
  return retryOf(error) !== 'never' || isStoreError(error, ...NOT_THERE)
}
