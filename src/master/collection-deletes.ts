import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ShardReport } from '../net/stripe-facts.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { ClusterState } from './cluster-state.ts'
import type { Collections } from './collections.ts'
import { Deadline } from './deadline.ts'
import type { Growth } from './growth.ts'
import type { GrowthAhead } from './growth-ahead.ts'
import type { KnownNodes } from './known-nodes.ts'
import type { VolumeSets } from './volume-sets.ts'

export interface CollectionDeletesParts {
  readonly collections: Collections
  readonly sets: Pick<VolumeSets, 'volumesOf' | 'collectionOf' | 'forgetVolumes'>
  readonly state: ClusterState
  readonly growth: Pick<Growth, 'freeze'>
  readonly ahead: Pick<GrowthAhead, 'forget'>
  readonly known: Pick<KnownNodes, 'urls'>
  readonly coordinator: Pick<Coordinator, 'epoch'>
  readonly connect: ConnectVolume
  readonly clock: Clock
  readonly logger: Logger
}

interface Copy {
  readonly volumeId: VolumeId
  readonly location: NodeLocation
}

/** All that a server has of one run of the encoder. */
interface Run extends Copy {
  readonly runId: string
  readonly shards: readonly number[]
}

/** Deletes collections with all that is in them. */
export class CollectionDeletes {
  readonly #parts: CollectionDeletesParts
  readonly #deleteMs: number

  /** A server has `deleteMs` to delete a copy, or its shards of a volume. */
  constructor(parts: CollectionDeletesParts, options: { readonly deleteMs: number }) {
    this.#parts = parts
    this.#deleteMs = options.deleteMs
  }

  /**
   * Writes down durably that every volume of the collection is deleted, then deletes the copies
   * and shards, then forgets the collection. From the first on there is no way back: when it fails
   * half-way the collection is still known, without its volumes, and whatever is left of them is
   * removed when it turns up. Run it again to forget it.
   *
   * @throws {StoreError} COLLECTION_NOT_FOUND. REQUEST_INVALID: the default collection.
   * UNAVAILABLE: nothing was deleted, since a server is down that holds some of it, or has not been
   * heard of since the start; or a server failed on the way.
   */
  async delete(collection: string, signal: AbortSignal): Promise<void> {
    const { collections, sets, growth, ahead, logger } = this.#parts
    if (collection === '') {
      throw new StoreError('REQUEST_INVALID', 'the default collection cannot be deleted')
    }
    const isKnown = collections.has(collection) || sets.volumesOf(collection).length > 0
    const isEmpty = this.#copiesOf(collection).length + this.#runsOf(collection).length === 0
    if (!isKnown && isEmpty) {
      throw new StoreError('COLLECTION_NOT_FOUND', `no collection is named ${quote(collection)}`)
    }
    using _frozen = await growth.freeze(collection, signal)
    this.#checkReachable(collection)
    ahead.forget(collection)
    const copies = this.#copiesOf(collection)
    const runs = this.#runsOf(collection)
    const reported = [...copies, ...runs].map(({ volumeId }) => volumeId)
    await sets.forgetVolumes([...new Set([...sets.volumesOf(collection), ...reported])], signal)
    const atOnce = LIMITS.volumeCommandsAtOnce.value
    await mapBounded(copies, atOnce, (copy) => this.#deleteCopy(copy, signal), signal)
    await mapBounded(runs, atOnce, (run) => this.#deleteRun(run, signal), signal)
    await collections.forget(collection, signal)
    const counts = { copies: copies.length, runs: runs.length }
    logger.info('master.collection_deleted', { collection, ...counts })
  }

  /**
   * Copies in directories of other clusters are not ours to delete. A volume is of the collection
   * it was made for, whatever its copies say.
   */
  #copiesOf(collection: string): Copy[] {
    const { state, sets } = this.#parts
    const copies: Copy[] = []
    for (const volumeId of state.topology.volumeIds) {
      const own = sets.collectionOf(volumeId)
      for (const { node, report } of state.topology.copies(volumeId)) {
        if ((own ?? report.collection) !== collection) continue
        copies.push({ volumeId, location: node.location })
      }
    }
    return copies
  }

  /** As `#copiesOf`, of shards of all runs. */
  #runsOf(collection: string): Run[] {
    const { state, sets } = this.#parts
    const runs: Run[] = []
    for (const volumeId of state.topology.volumeIds) {
      const own = sets.collectionOf(volumeId)
      const ofServers = new Map<string, { location: NodeLocation; reports: ShardReport[] }>()
      for (const { node, report } of state.topology.shards(volumeId)) {
        if ((own ?? report.collection) !== collection) continue
        const { location } = node
        const key = `${report.runId} ${location.url}`
        const found = ofServers.get(key) ?? { location, reports: [] }
        found.reports.push(report)
        ofServers.set(key, found)
      }
      for (const { location, reports } of ofServers.values()) {
        const runId = reports[0]?.runId ?? ''
        const shards = [...new Set(reports.flatMap((report) => report.shards))]
        runs.push({ volumeId, location, runId, shards })
      }
    }
    return runs
  }

  #checkReachable(collection: string): void {
    const { state, known } = this.#parts
    const away = new Set<string>()
    for (const node of state.topology.nodes) {
      if (node.state !== 'down') continue
      for (const report of [...node.volumes.values(), ...[...node.shards.values()].flat()]) {
        if (report.collection === collection) away.add(node.location.url)
      }
    }
    for (const url of known.urls) if (state.topology.node(url) === undefined) away.add(url)
    if (away.size === 0) return
    throw new StoreError(
      'UNAVAILABLE',
      `nothing was deleted: ${[...away].slice(0, 5).join(', ')} may hold some of ${collection} ` +
        'and cannot be reached',
    )
  }

  async #deleteCopy({ volumeId, location }: Copy, signal: AbortSignal): Promise<void> {
    const { connect, coordinator, state } = this.#parts
    const command = { epoch: coordinator.epoch, volumeId }
    const run = (within: AbortSignal) => connect(location).deleteVolume(command, within)
    await this.#command({ volumeId, location }, run, signal)
    state.removeCopy(location.url, volumeId)
  }

  async #deleteRun({ volumeId, location, runId, shards }: Run, signal: AbortSignal): Promise<void> {
    const { connect, coordinator, state } = this.#parts
    const command = { epoch: coordinator.epoch, volumeId, runId, shards }
    const run = (within: AbortSignal) => connect(location).shards.deleteShards(command, within)
    await this.#command({ volumeId, location }, run, signal)
    state.removeShards(location.url, volumeId, runId)
  }

  /** That it is not there is as good. @throws {StoreError} UNAVAILABLE, CANCELLED. */
  async #command(
    { volumeId, location }: Copy,
    run: (signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    using deadline = new Deadline(this.#parts.clock, this.#deleteMs, signal)
    try {
      await deadline.race(run(deadline.signal))
    } catch (cause) {
      if (isStoreError(cause, 'CANCELLED')) throw cause
      if (isStoreError(cause, 'VOLUME_NOT_FOUND')) return
      throw new StoreError(
        'UNAVAILABLE',
        `volume ${volumeId} could not be deleted on ${location.url}; run it again`,
        { cause },
      )
    }
  }
}
