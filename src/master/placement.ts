import { formatReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { Random } from '../runtime/random.ts'
import { formatPlace, isInPlace, type PlaceFilter } from './layout-key.ts'

/** A server that could take a copy. */
export interface PlacementServer {
  readonly location: NodeLocation
  /** Bytes it can still take beyond its reserve; 0: none. */
  readonly roomBytes: number
  /** How busy it is with volumes of this layout: a server with less comes first. */
  readonly load: number
}

/**
 * Servers for all copies of a new volume, the main one first: as many other data centres, racks and
 * servers as `replication` says, never one server twice, and the main one in `place`. Servers with
 * less load come first; among equals chance decides, weighted by room.
 *
 * @throws {StoreError} PLACEMENT_IMPOSSIBLE: there are not enough data centres, racks or servers.
 * NO_WRITABLE_VOLUME: there are, but some have no room.
 */
export function choosePlacement(
  servers: readonly PlacementServer[],
  replication: ReplicaPlacement,
  place: PlaceFilter,
  random: Random,
): PlacementServer[] {
  const roomy = servers.filter((server) => server.roomBytes > 0)
  const order = shuffleByWeight(roomy, random)
  for (const main of order) {
    if (!isInPlace(main.location, place)) continue
    const chosen = placeAround(main, order, replication)
    if (chosen !== undefined) return chosen
  }
  const missing = whatIsMissing(servers, replication, place)
  const wanted = `replication ${formatReplicaPlacement(replication)} in ${formatPlace(place)}`
  if (missing !== undefined) throw new StoreError('PLACEMENT_IMPOSSIBLE', `${wanted}: ${missing}`)
  const full = servers.length - roomy.length
  throw new StoreError(
    'NO_WRITABLE_VOLUME',
    `${wanted}: ${full} of ${servers.length} volume servers have no room left`,
  )
}

/** All copies if the main one is on this server; undefined when it does not work out. */
function placeAround(
  main: PlacementServer,
  order: readonly PlacementServer[],
  replication: ReplicaPlacement,
): PlacementServer[] | undefined {
  const { dataCenter, rack, url } = main.location
  const here = order.filter((server) => server.location.dataCenter === dataCenter)
  const sameRack = here.filter(({ location }) => location.rack === rack && location.url !== url)
  const racks = firstOfEach(here, (location) => location.rack, rack)
  const centres = firstOfEach(order, (location) => location.dataCenter, dataCenter)
  const { otherServers, otherRacks, otherDataCenters } = replication
  if (sameRack.length < otherServers) return undefined
  if (racks.length < otherRacks || centres.length < otherDataCenters) return undefined
  return [
    main,
    ...sameRack.slice(0, otherServers),
    ...racks.slice(0, otherRacks),
    ...centres.slice(0, otherDataCenters),
  ]
}

/** The first server with each label but one. */
function firstOfEach(
  servers: readonly PlacementServer[],
  labelOf: (location: NodeLocation) => string,
  except: string,
): PlacementServer[] {
  const found = new Map<string, PlacementServer>()
  for (const server of servers) {
    const label = labelOf(server.location)
    if (label !== except && !found.has(label)) found.set(label, server)
  }
  return [...found.values()]
}

/** By load; among equal loads each server's chance to come first is its share of their room. */
function shuffleByWeight(servers: readonly PlacementServer[], random: Random): PlacementServer[] {
  const keyed = servers.map((server) => {
    const chance = (random.u32() + 1) / 2 ** 32
    return { server, rank: -Math.log(chance) / server.roomBytes }
  })
  return keyed
    .sort((a, b) => a.server.load - b.server.load || a.rank - b.rank)
    .map(({ server }) => server)
}

/** In words; undefined when only room is missing. */
function whatIsMissing(
  servers: readonly PlacementServer[],
  replication: ReplicaPlacement,
  place: PlaceFilter,
): string | undefined {
  const mains = servers.filter((server) => isInPlace(server.location, place))
  if (mains.length === 0) return 'no volume server is up there'
  if (mains.some((main) => placeAround(main, servers, replication) !== undefined)) return undefined
  const { otherDataCenters, otherRacks, otherServers } = replication
  const centres = new Set(servers.map(({ location }) => location.dataCenter))
  if (centres.size <= otherDataCenters) {
    return `${otherDataCenters + 1} data centres are needed, servers are up in ${centres.size}`
  }
  const racksMost = Math.max(...mains.map((main) => racksAround(main, servers)))
  if (racksMost <= otherRacks) {
    const needed = `${otherRacks + 1} racks in one data centre are needed`
    return `${needed}, at most ${racksMost} have servers up`
  }
  const needed = `${otherServers + 1} servers in one rack are needed`
  if (otherRacks === 0) return `${needed}, no rack has them up`
  return `${needed}, in a data centre with ${otherRacks + 1} racks`
}

function racksAround(main: PlacementServer, servers: readonly PlacementServer[]): number {
  const here = servers.filter(({ location }) => location.dataCenter === main.location.dataCenter)
  return new Set(here.map(({ location }) => location.rack)).size
}
