import {
  copyCount,
  formatReplicaPlacement,
  type ReplicaPlacement,
} from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { Random } from '../runtime/random.ts'
import { ANYWHERE, formatPlace, isInPlace, type PlaceFilter } from './layout-key.ts'

/** A server that could take a copy. */
export interface PlacementServer {
  readonly location: NodeLocation
  /** Bytes it can still take beyond its reserve; 0: none. */
  readonly roomBytes: number
  /** How busy it is with volumes of this layout: a server with less comes first. */
  readonly load: number
}

/** Whether two servers, by their urls, cannot reach each other just now. */
export type BrokenLinkTest = (url: string, otherUrl: string) => boolean

const NO_BROKEN_LINKS: BrokenLinkTest = () => false

/**
 * Servers for all copies of a new volume, the main one first: as many other data centres, racks and
 * servers as `replication` says, never one server twice, and the main one in `place`. Servers with
 * less load come first; among equals chance decides, weighted by room. Servers that cannot reach
 * each other do not come together.
 *
 * @throws {StoreError} PLACEMENT_IMPOSSIBLE: there are not enough data centres, racks or servers.
 * NO_WRITABLE_VOLUME: there are, but some have no room.
 */
export function choosePlacement(
  servers: readonly PlacementServer[],
  replication: ReplicaPlacement,
  place: PlaceFilter,
  random: Random,
  isBroken: BrokenLinkTest = NO_BROKEN_LINKS,
): PlacementServer[] {
  const roomy = servers.filter((server) => server.roomBytes > 0)
  const order = shuffleByWeight(roomy, random)
  for (const main of order) {
    if (!isInPlace(main.location, place)) continue
    const chosen = placeAround(main, order, replication, isBroken)
    if (chosen !== undefined) return chosen
  }
  const missing = whatIsMissing(servers, replication, place)
  const wanted = `replication ${formatReplicaPlacement(replication)} in ${formatPlace(place)}`
  if (missing !== undefined) throw new StoreError('PLACEMENT_IMPOSSIBLE', `${wanted}: ${missing}`)
  const full = servers.length - roomy.length
  const why =
    full > 0
      ? `${full} of ${servers.length} volume servers have no room left`
      : 'servers that would do cannot reach each other'
  throw new StoreError('NO_WRITABLE_VOLUME', `${wanted}: ${why}`)
}

/**
 * A server for one more copy of a volume that keeps those at `kept`: so that data centres, racks
 * and servers are what `replication` says, or can still become so; if that cannot be, the copy that
 * serves it best. Never a server that has one. Among equals as in `choosePlacement`.
 *
 * @throws {StoreError} PLACEMENT_IMPOSSIBLE: no server is left. NO_WRITABLE_VOLUME: none has room.
 */
export function chooseTarget(
  kept: readonly NodeLocation[],
  servers: readonly PlacementServer[],
  options: {
    readonly replication: ReplicaPlacement
    readonly excluded: ReadonlySet<string>
    readonly isBroken?: BrokenLinkTest
  },
  random: Random,
): PlacementServer {
  const { replication, excluded, isBroken = NO_BROKEN_LINKS } = options
  const taken = new Set(kept.map(({ url }) => url))
  const free = servers.filter(({ location: { url } }) => !taken.has(url) && !excluded.has(url))
  const roomy = free.filter((server) => server.roomBytes > 0)
  const pool = roomy.map(({ location }) => location)
  let best: { readonly server: PlacementServer; readonly rank: number } | undefined
  for (const server of shuffleByWeight(roomy, random)) {
    const copies = [...kept, server.location]
    const isCut = kept.some(({ url }) => isBroken(url, server.location.url))
    const rank =
      (canBecome(copies, pool, replication) ? 100 : 0) +
      (isCut ? 0 : 50) +
      slotsFilled(copies, replication)
    if (best === undefined || rank > best.rank) best = { server, rank }
  }
  if (best !== undefined) return best.server
  const wanted = `one more copy with replication ${formatReplicaPlacement(replication)}`
  if (free.length === 0) {
    const why = `${servers.length} volume servers are up, and each has a copy or is left out`
    throw new StoreError('PLACEMENT_IMPOSSIBLE', `${wanted}: ${why}`)
  }
  throw new StoreError('NO_WRITABLE_VOLUME', `${wanted}: ${free.length} servers have no room left`)
}

/**
 * What is missing at these servers for the replication, in words; undefined: nothing. More copies
 * than needed are no harm.
 */
export function unmetPlacement(
  locations: readonly NodeLocation[],
  replication: ReplicaPlacement,
): string | undefined {
  const wanted = copyCount(replication)
  if (slotsFilled(locations, replication) === wanted) return undefined
  if (locations.length < wanted) return `${locations.length} of ${wanted} copies`
  const missing = whatIsMissing(locations.map(anyRoom), replication, ANYWHERE)
  return missing ?? `${wanted} copies that are not as far apart as they should be`
}

function anyRoom(location: NodeLocation): PlacementServer {
  return { location, roomBytes: 1, load: 0 }
}

/** How many of the copies that `replication` asks for these servers can be, with the best main. */
function slotsFilled(locations: readonly NodeLocation[], replication: ReplicaPlacement): number {
  const { otherServers, otherRacks, otherDataCenters } = replication
  let most = 0
  for (const main of locations) {
    const { sameRack, racks, centres } = around(main, locations)
    const filled =
      Math.min(sameRack, otherServers) +
      Math.min(racks.size, otherRacks) +
      Math.min(centres.size, otherDataCenters)
    most = Math.max(most, 1 + filled)
  }
  return most
}

/** What lies around a main copy: servers of its rack, other racks of its centre, other centres. */
function around(main: NodeLocation, locations: readonly NodeLocation[]) {
  const racks = new Map<string, number>()
  const centres = new Map<string, number>()
  let sameRack = 0
  for (const { url, rack, dataCenter } of locations) {
    if (dataCenter !== main.dataCenter) centres.set(dataCenter, (centres.get(dataCenter) ?? 0) + 1)
    else if (rack !== main.rack) racks.set(rack, (racks.get(rack) ?? 0) + 1)
    else if (url !== main.url) sameRack++
  }
  return { sameRack, racks, centres }
}

/** Whether servers of `pool` can complete these copies, all of which have a place in the whole. */
function canBecome(
  copies: readonly NodeLocation[],
  pool: readonly NodeLocation[],
  replication: ReplicaPlacement,
): boolean {
  const { otherServers, otherRacks, otherDataCenters } = replication
  const taken = new Set(copies.map(({ url }) => url))
  const all = [...copies, ...pool.filter(({ url }) => !taken.has(url))]
  if (copies.length > copyCount(replication)) return false
  return all.some((main) => {
    const isNew = !taken.has(main.url)
    if (isNew && copies.length === copyCount(replication)) return false
    const now = around(main, copies)
    const isDistinct = [...now.racks.values(), ...now.centres.values()].every((n) => n === 1)
    const hasPlace =
      now.sameRack <= otherServers &&
      now.racks.size <= otherRacks &&
      now.centres.size <= otherDataCenters
    if (!isDistinct || !hasPlace) return false
    const later = around(main, all)
    return (
      later.sameRack >= otherServers &&
      later.racks.size >= otherRacks &&
      later.centres.size >= otherDataCenters
    )
  })
}

/** All copies if the main one is on this server; undefined when it does not work out. */
function placeAround(
  main: PlacementServer,
  order: readonly PlacementServer[],
  replication: ReplicaPlacement,
  isBroken: BrokenLinkTest = NO_BROKEN_LINKS,
): PlacementServer[] | undefined {
  const { dataCenter, rack, url } = main.location
  const reached = order.filter(({ location }) => !isBroken(url, location.url))
  const here = reached.filter((server) => server.location.dataCenter === dataCenter)
  const sameRack = here.filter(({ location }) => location.rack === rack && location.url !== url)
  const racks = firstOfEach(here, (location) => location.rack, rack)
  const centres = firstOfEach(reached, (location) => location.dataCenter, dataCenter)
  const { otherServers, otherRacks, otherDataCenters } = replication
  if (sameRack.length < otherServers) return undefined
  if (racks.length < otherRacks || centres.length < otherDataCenters) return undefined
  const chosen = [
    main,
    ...sameRack.slice(0, otherServers),
    ...racks.slice(0, otherRacks),
    ...centres.slice(0, otherDataCenters),
  ]
  const urls = chosen.map(({ location }) => location.url)
  const isCut = urls.some((a, at) => urls.slice(at + 1).some((b) => isBroken(a, b)))
  return isCut ? undefined : chosen
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
