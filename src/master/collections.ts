import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { CollectionReport, NodeLocation } from '../net/master-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { ClusterState } from './cluster-state.ts'
import { Deadline } from './deadline.ts'
import type { Growth } from './growth.ts'
import type { GrowthAhead } from './growth-ahead.ts'
import type { KnownNodes } from './known-nodes.ts'
import {
  COLLECTION_PREFIX,
  type CollectionRecord,
  decodeCollection,
  encodeCollection,
  endOf,
} from './master-rows.ts'

export interface CollectionsParts {
  readonly store: MetadataStore
  readonly state: ClusterState
  readonly growth: Pick<Growth, 'freeze'>
  readonly ahead: Pick<GrowthAhead, 'forget'>
  readonly known: Pick<KnownNodes, 'urls'>
  readonly coordinator: Pick<Coordinator, 'epoch'>
  readonly connect: ConnectVolume
  readonly clock: Clock
  readonly logger: Logger
}

const COLLECTION = /^[a-z0-9][a-z0-9_-]*$/

interface Copy {
  readonly volumeId: VolumeId
  readonly location: NodeLocation
}

/**
 * The collections there are: those a volume was asked for once, durably, and those that volumes
 * name. A row is written before the first volume is made, and removed after the last copy.
 */
export class Collections {
  readonly #parts: CollectionsParts
  readonly #deleteMs: number
  readonly #records: Map<string, CollectionRecord>

  private constructor(
    parts: CollectionsParts,
    options: { readonly deleteMs: number },
    records: Map<string, CollectionRecord>,
  ) {
    this.#parts = parts
    this.#deleteMs = options.deleteMs
    this.#records = records
  }

  /** `deleteMs`: a server has so long to delete a volume. @throws {StoreError} METADATA_CORRUPT. */
  static async open(
    parts: CollectionsParts,
    options: { readonly deleteMs: number },
    signal: AbortSignal,
  ): Promise<Collections> {
    const records = new Map<string, CollectionRecord>()
    const range = { gte: COLLECTION_PREFIX, lt: endOf(COLLECTION_PREFIX) }
    for await (const { key, value } of parts.store.scan(range, signal)) {
      records.set(key.slice(COLLECTION_PREFIX.length), decodeCollection(key, value))
    }
    return new Collections(parts, options, records)
  }

  /** What was asked for when the collection was first used; undefined: nothing. */
  replicationOf(collection: string): ReplicaPlacement | undefined {
    return this.#records.get(collection)?.replication
  }

  /**
   * Makes the collection known, durably, before volumes are made for it.
   *
   * @throws {StoreError} REQUEST_INVALID: no collection can have this name. OVERLOADED: there are
   * too many.
   */
  async ensure(
    collection: string,
    replication: ReplicaPlacement | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (collection === '' || this.#records.has(collection)) return
    if (collection.length > LIMITS.collectionNameMax.value || !COLLECTION.test(collection)) {
      throw new StoreError(
        'REQUEST_INVALID',
        `${quote(collection)} is not a collection name: at most ` +
          `${LIMITS.collectionNameMax.value} small letters, digits, - and _`,
      )
    }
    if (this.#records.size >= LIMITS.collectionsMax.value) {
      throw new StoreError('OVERLOADED', `there are ${this.#records.size} collections already`)
    }
    const record = { replication, createdAtMs: this.#parts.clock.nowMs() }
    const row = { key: COLLECTION_PREFIX + collection, value: encodeCollection(record) }
    await this.#parts.store.commit({ puts: [row] }, signal)
    if (!this.#records.has(collection)) this.#records.set(collection, record)
  }

  report(): CollectionReport[] {
    const { topology } = this.#parts.state
    const sums = new Map<string, CollectionSum>()
    for (const collection of this.#records.keys()) sums.set(collection, newSum(collection))
    for (const volumeId of topology.volumeIds) {
      const reports = topology.copies(volumeId).map((copy) => copy.report)
      const collection = reports[0]?.collection ?? ''
      const sum = sums.get(collection) ?? newSum(collection)
      sums.set(collection, sum)
      sum.volumeCount++
      sum.liveNeedles += Math.max(...reports.map((report) => report.liveNeedles))
      sum.liveBytes += Math.max(...reports.map((report) => report.liveBytes))
      for (const report of reports) sum.datBytes += report.datBytes
    }
    return [...sums.values()].sort((a, b) => (a.collection < b.collection ? -1 : 1))
  }

  /**
   * Deletes every copy of every volume of the collection, then forgets it. When that fails half-way
   * the collection is still known, with what is left of it; run it again.
   *
   * @throws {StoreError} COLLECTION_NOT_FOUND. REQUEST_INVALID: the default collection.
   * UNAVAILABLE: nothing was deleted, since a server is down that holds some of it, or has not been
   * heard of since the start; or a server failed on the way.
   */
  async delete(collection: string, signal: AbortSignal): Promise<void> {
    if (collection === '') {
      throw new StoreError('REQUEST_INVALID', 'the default collection cannot be deleted')
    }
    if (!this.#records.has(collection) && this.#copiesOf(collection).length === 0) {
      throw new StoreError('COLLECTION_NOT_FOUND', `no collection is named ${quote(collection)}`)
    }
    const { growth, ahead, state, store, logger } = this.#parts
    using _frozen = await growth.freeze(collection, signal)
    this.#checkReachable(collection)
    ahead.forget(collection)
    const copies = this.#copiesOf(collection)
    for (const { volumeId } of copies) state.hold(volumeId)
    try {
      await mapBounded(
        copies,
        LIMITS.volumeCommandsAtOnce.value,
        (copy) => this.#deleteCopy(copy, signal),
        signal,
      )
    } finally {
      for (const { volumeId } of copies) state.release(volumeId)
    }
    await store.commit({ deletes: [COLLECTION_PREFIX + collection] }, signal)
    this.#records.delete(collection)
    logger.info('master.collection_deleted', { collection, copies: copies.length })
  }

  #copiesOf(collection: string): Copy[] {
    const copies: Copy[] = []
    for (const node of this.#parts.state.topology.nodes) {
      for (const report of node.volumes.values()) {
        if (report.collection !== collection) continue
        copies.push({ volumeId: report.volumeId, location: node.location })
      }
    }
    return copies
  }

  #checkReachable(collection: string): void {
    const { state, known } = this.#parts
    const away: string[] = []
    for (const node of state.topology.nodes) {
      if (node.state !== 'down') continue
      for (const report of node.volumes.values()) {
        if (report.collection !== collection) continue
        away.push(node.location.url)
        break
      }
    }
    for (const url of known.urls) if (state.topology.node(url) === undefined) away.push(url)
    if (away.length === 0) return
    throw new StoreError(
      'UNAVAILABLE',
      `nothing was deleted: ${away.slice(0, 5).join(', ')} may hold some of ${collection} and ` +
        'cannot be reached',
    )
  }

  async #deleteCopy({ volumeId, location }: Copy, signal: AbortSignal): Promise<void> {
    const { connect, coordinator, clock, state } = this.#parts
    using deadline = new Deadline(clock, this.#deleteMs, signal)
    try {
      const command = { epoch: coordinator.epoch, volumeId }
      await deadline.race(connect(location).deleteVolume(command, deadline.signal))
    } catch (cause) {
      if (isStoreError(cause, 'CANCELLED')) throw cause
      if (!isStoreError(cause, 'VOLUME_NOT_FOUND')) {
        throw new StoreError(
          'UNAVAILABLE',
          `volume ${volumeId} could not be deleted on ${location.url}; run it again`,
          { cause },
        )
      }
    }
    state.removeCopy(location.url, volumeId)
  }
}

interface CollectionSum extends CollectionReport {
  volumeCount: number
  liveNeedles: number
  liveBytes: number
  datBytes: number
}

function newSum(collection: string): CollectionSum {
  return { collection, volumeCount: 0, liveNeedles: 0, liveBytes: 0, datBytes: 0 }
}
