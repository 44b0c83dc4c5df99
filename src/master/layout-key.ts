import { formatReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { formatTtl, type Ttl } from '../base/ttl.ts'
import type { NodeLocation } from '../net/master-api.ts'

/** What all volumes of a layout have in common. */
export interface LayoutKey {
  readonly collection: string
  readonly replication: ReplicaPlacement
  readonly ttl: Ttl
}

/** The same text for equal keys; no collection has a slash in its name. */
export function formatLayoutKey(key: LayoutKey): string {
  return `${key.collection}/${formatReplicaPlacement(key.replication)}/${formatTtl(key.ttl)}`
}

/** Where at least one copy has to be; empty text: anywhere. */
export interface PlaceFilter {
  readonly dataCenter: string
  readonly rack: string
  /** The `url` of a server. */
  readonly node: string
}

export const ANYWHERE: PlaceFilter = { dataCenter: '', rack: '', node: '' }

export function isInPlace(location: NodeLocation, place: PlaceFilter): boolean {
  return (
    (place.dataCenter === '' || location.dataCenter === place.dataCenter) &&
    (place.rack === '' || location.rack === place.rack) &&
    (place.node === '' || location.url === place.node)
  )
}

export function formatPlace(place: PlaceFilter): string {
  const parts = [
    place.dataCenter && `data centre ${place.dataCenter}`,
    place.rack && `rack ${place.rack}`,
    place.node && `server ${place.node}`,
  ].filter((part) => part !== '')
  return parts.length === 0 ? 'the cluster' : parts.join(', ')
}
