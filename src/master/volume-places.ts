import type { VolumeId } from '../base/ids.ts'
import type { VolumeLocations } from '../net/master-api.ts'
import type { ClusterState } from './cluster-state.ts'
import type { Collections } from './collections.ts'
import type { LocationsSource } from './locations-feed.ts'

/** Where volumes are, for lookups and watchers: copies that count, on servers in reach. */
export class VolumePlaces implements LocationsSource {
  readonly #state: ClusterState
  readonly #collections: Pick<Collections, 'writePolicyOf'>

  constructor(parts: {
    readonly state: ClusterState
    readonly collections: Pick<Collections, 'writePolicyOf'>
  }) {
    this.#state = parts.state
    this.#collections = parts.collections
  }

  get volumeIds(): Iterable<VolumeId> {
    return this.#state.volumeIds
  }

  /** Undefined: there is no such volume. */
  locationsOf(volumeId: VolumeId): VolumeLocations | undefined {
    const collection = this.#state.collectionOf(volumeId)
    if (collection === undefined) return undefined
    const writePolicy = this.#collections.writePolicyOf(collection)
    return { volumeId, collection, writePolicy, locations: this.#state.locations(volumeId) }
  }
}
