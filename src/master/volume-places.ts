import type { VolumeId } from '../base/ids.ts'
import type { VolumeLocations } from '../net/master-api.ts'
import type { ClusterState } from './cluster-state.ts'
import type { Collections } from './collections.ts'
import type { LocationsSource } from './locations-feed.ts'
import { stripeLocations, stripeServers } from './stripe-members.ts'

/** Where volumes are, for lookups and watchers: copies and shards that count, in reach. */
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
    const known = { volumeId, collection, writePolicy }
    const facts = this.#state.stripe(volumeId)
    if (facts === undefined) return { ...known, locations: this.#state.locations(volumeId) }
    const stripe = stripeLocations(facts)
    return { ...known, locations: stripeServers(stripe), stripe }
  }
}
