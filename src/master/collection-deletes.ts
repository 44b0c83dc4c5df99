import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { NodeLocation } from '../net/master-api.ts'
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

/** Deletes collections with all that is in them. */
export class CollectionDeletes {
  readonly #parts: CollectionDeletesParts
  readonly #deleteMs: number

  /** A server has `deleteMs` to delete a copy. */
  constructor(parts: CollectionDeletesParts, options: { readonly deleteMs: number }) {
    this.#parts = parts
    this.#deleteMs = options.deleteMs
  }

  /**
   * Writes down durably that every volume of the collection is deleted, then deletes the copies,
   * then forgets the collection. From the first on there is no way back: when it fails half-way the
   * collection is still known, without its volumes, and whatever copies are left are removed when
   * they turn up. Run it again to forget it.
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
    if (!isKnown && this.#copiesOf(collection).length === 0) {
      throw new StoreError('COLLECTION_NOT_FOUND', `no collection is named ${quote(collection)}`)
    }
    using _frozen = await growth.freeze(collection, signal)
    this.#checkReachable(collection)
    ahead.forget(collection)
    const copies = this.#copiesOf(collection)
    const ids = new Set([...sets.volumesOf(collection), ...copies.map((copy) => copy.volumeId)])
    await sets.forgetVolumes([...ids], signal)
    await mapBounded(
      copies,
      LIMITS.volumeCommandsAtOnce.value,
      (copy) => this.#deleteCopy(copy, signal),
      signal,
    )
    await collections.forget(collection, signal)
    logger.info('master.collection_deleted', { collection, copies: copies.length })
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

  #checkReachable(collection: string): void {
    const { state, known } = this.#parts
    const away = new Set<string>()
    for (const node of state.topology.nodes) {
      if (node.state !== 'down') continue
      for (const report of node.volumes.values()) {
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
