import type { ErasureScheme } from '../../base/erasure-scheme.ts'
import type { ErasurePolicy } from '../../client/storage-policy.ts'
import type { NodeLocation, TopologyNode } from '../../net/master-api.ts'
import { TopologyView, type TopologyViewParts } from '../topology-view.ts'

type Spread = ErasurePolicy['spread']

const FRESH_MS = 10_000

/** The widest spread that the servers of the cluster allow just now. */
export function autoSpread(parts: TopologyViewParts, scheme: ErasureScheme): TopologyView<Spread> {
  const derive = (nodes: readonly TopologyNode[]) => widestSpread(nodes, scheme)
  return new TopologyView(parts, { derive, freshMs: FRESH_MS })
}

/**
 * By data centres, else by racks, if a stripe fits there with no more shards in one place than may
 * be lost; else by servers.
 */
export function widestSpread(
  nodes: readonly Pick<TopologyNode, 'location' | 'state' | 'isDraining'>[],
  scheme: ErasureScheme,
): Spread {
  const usable = nodes.filter(({ isDraining, state }) => state === 'up' && !isDraining)
  const locations = usable.map(({ location }) => location)
  if (fits(locations, scheme, ({ dataCenter }) => dataCenter)) return 'data-centers'
  if (fits(locations, scheme, ({ dataCenter, rack }) => `${dataCenter}/${rack}`)) return 'racks'
  return 'servers'
}

function fits(
  locations: readonly NodeLocation[],
  { dataShards, parityShards }: ErasureScheme,
  placeOf: (location: NodeLocation) => string,
): boolean {
  const counts = new Map<string, number>()
  for (const location of locations) {
    const place = placeOf(location)
    counts.set(place, Math.min(parityShards, (counts.get(place) ?? 0) + 1))
  }
  const room = [...counts.values()].reduce((sum, count) => sum + count, 0)
  return room >= dataShards + parityShards
}
