import { copyCount, type ReplicaPlacement } from '../base/replica-placement.ts'
import type { NodeLocation } from '../net/master-api.ts'

/** Copies that stand too close to others for `placement`, or are missing; 0: all is as wanted. */
export function unmetCount(
  locations: readonly NodeLocation[],
  placement: ReplicaPlacement,
): number {
  const racks = new Map<string, Map<string, number>>()
  for (const { dataCenter, rack } of locations) {
    const counts = racks.get(dataCenter) ?? new Map<string, number>()
    counts.set(rack, (counts.get(rack) ?? 0) + 1)
    racks.set(dataCenter, counts)
  }
  const wanted = copyCount(placement)
  let unmet = wanted
  for (const counts of racks.values()) {
    const centers = Math.min(placement.otherDataCenters, racks.size - 1)
    const others = Math.min(placement.otherRacks, counts.size - 1)
    for (const servers of counts.values()) {
      const same = Math.min(placement.otherServers + 1, servers)
      unmet = Math.min(unmet, wanted - centers - others - same)
    }
  }
  return unmet
}

/** The one of `copies` that is needed least; of equals the last by url, so that all agree. */
export function leastNeeded<Copy extends { readonly location: NodeLocation }>(
  copies: readonly Copy[],
  placement: ReplicaPlacement,
): Copy | undefined {
  const sorted = copies.toSorted((a, b) => (a.location.url < b.location.url ? 1 : -1))
  let least: Copy | undefined
  let leastUnmet = Number.POSITIVE_INFINITY
  for (const copy of sorted) {
    const rest = copies.filter((other) => other !== copy).map(({ location }) => location)
    const unmet = unmetCount(rest, placement)
    if (unmet < leastUnmet) {
      least = copy
      leastUnmet = unmet
    }
  }
  return least
}
