import { type ErasureScheme, formatErasureScheme } from '../base/erasure-scheme.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import type { ShardSpread } from '../format/manifest-erasure.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { Random } from '../runtime/random.ts'
import type { ShardServer, ShardServers } from './topology-cache.ts'

export interface ShardPlacement {
  readonly scheme: ErasureScheme
  readonly spread: ShardSpread
  /** Shards to find servers for. */
  readonly count: number
  /** Where there are not enough, so many will do; all unless given. */
  readonly countMin?: number | undefined
  /** Where shards of the stripe are already. */
  readonly kept: readonly NodeLocation[]
  /** Servers to use only where there are not enough others. */
  readonly isAvoided: (url: string) => boolean
}

const BYTE_MAX = 255

interface Candidate extends ShardServer {
  /** Lower is better; among equals the spread decides, then chance, weighted by room. */
  readonly tier: number
  readonly rank: number
}

/**
 * Servers for shards of one stripe, none of them twice: over as many data centres, then racks, as
 * there are. With the spreads `racks` and `data-centers` no rack or centre has more than m, those
 * kept included, so that losing it loses nothing.
 *
 * @throws {StoreError} PLACEMENT_IMPOSSIBLE, with the numbers.
 */
export function chooseShardServers(
  servers: ShardServers,
  placement: ShardPlacement,
  random: Random,
): NodeLocation[] {
  const { count, kept } = placement
  const rest = candidatesOf(servers.usable, placement, random)
  const used = [...kept]
  const chosen: NodeLocation[] = []
  while (chosen.length < count) {
    const next = bestOf(rest, used, placement)
    if (next === undefined) {
      if (chosen.length >= (placement.countMin ?? count)) break
      throw impossible(servers, placement, chosen.length)
    }
    rest.splice(rest.indexOf(next), 1)
    used.push(next.location)
    chosen.push(next.location)
  }
  return chosen
}

/** Of shards that are stored, those too many on their server, or in their rack or data centre. */
export function misplacedOf<Shard extends { readonly location: NodeLocation | undefined }>(
  shards: readonly Shard[],
  rule: { readonly spread: ShardSpread; readonly perPlaceMax: number },
): readonly Shard[] {
  const { perPlaceMax, spread } = rule
  const urls = new Set<string>()
  const counts = new Map<string, number>()
  return shards.filter(({ location }) => {
    if (location === undefined) return false
    const place = spread === 'data-centers' ? centerOf(location) : rackOf(location)
    const count = counts.get(place) ?? 0
    if (urls.has(location.url) || (spread !== 'servers' && count >= perPlaceMax)) return true
    urls.add(location.url)
    counts.set(place, count + 1)
    return false
  })
}

/**
 * The placement of a needle that is to outlive `losses` servers, and data centres and racks as far
 * as there are some: so many copies more than one, or as many as there can be.
 */
export function survivingReplication({ usable }: ShardServers, losses: number): ReplicaPlacement {
  const locations = usable.map(({ location }) => location)
  for (let others = losses; others > 0; others--) {
    for (let otherDataCenters = others; otherDataCenters >= 0; otherDataCenters--) {
      for (let otherRacks = others - otherDataCenters; otherRacks >= 0; otherRacks--) {
        const otherServers = others - otherDataCenters - otherRacks
        const placement = { otherDataCenters, otherRacks, otherServers }
        if (fitsByte(placement) && isFeasible(placement, locations)) return placement
      }
    }
  }
  return { otherDataCenters: 0, otherRacks: 0, otherServers: 0 }
}

function candidatesOf(
  servers: readonly ShardServer[],
  { isAvoided, kept }: ShardPlacement,
  random: Random,
): Candidate[] {
  const taken = new Set(kept.map(({ url }) => url))
  const free = servers.filter(({ location }) => !taken.has(location.url))
  return free.map((server) => {
    const chance = (random.u32() + 1) / 2 ** 32
    const tier = (isAvoided(server.location.url) ? 2 : 0) + (server.isFlapping ? 1 : 0)
    return { ...server, tier, rank: -Math.log(chance) / server.roomBytes }
  })
}

function bestOf(
  candidates: readonly Candidate[],
  used: readonly NodeLocation[],
  { scheme, spread }: ShardPlacement,
): Candidate | undefined {
  const centers = countBy(used, centerOf)
  const racks = countBy(used, rackOf)
  let best: { readonly candidate: Candidate; readonly costs: readonly number[] } | undefined
  for (const candidate of candidates) {
    const inCenter = centers.get(centerOf(candidate.location)) ?? 0
    const inRack = racks.get(rackOf(candidate.location)) ?? 0
    const inPlace = { servers: 0, racks: inRack, 'data-centers': inCenter }[spread]
    if (inPlace >= scheme.parityShards) continue
    const costs = [candidate.tier, inCenter, inRack, candidate.rank]
    if (best === undefined || isLess(costs, best.costs)) best = { candidate, costs }
  }
  return best?.candidate
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0
    if (value !== other) return value < other
  }
  return false
}

function impossible(
  { others, usable }: ShardServers,
  { count, kept, scheme, spread }: ShardPlacement,
  foundCount: number,
): StoreError {
  const { parityShards } = scheme
  const needed = kept.length + count
  const what = `${formatErasureScheme(scheme)} needs ${needed} servers`
  const there = `${usable.length} can be used${others === '' ? '' : ` (${others})`}`
  if (spread === 'servers' || usable.length < needed) {
    return new StoreError('PLACEMENT_IMPOSSIBLE', `${what} that are up and have room; ${there}`)
  }
  const locations = usable.map(({ location }) => location)
  const isRacks = spread === 'racks'
  const places = countBy(locations, isRacks ? rackOf : centerOf).size
  const most = `no more than ${parityShards} of them in one ${isRacks ? 'rack' : 'data centre'}`
  const where = `in ${places} ${isRacks ? 'racks' : 'data centres'}`
  const why = `${what}, ${most}; ${there}, ${where}: room for ${kept.length + foundCount}`
  return new StoreError('PLACEMENT_IMPOSSIBLE', why)
}

function isFeasible(placement: ReplicaPlacement, locations: readonly NodeLocation[]): boolean {
  const { otherDataCenters, otherRacks, otherServers } = placement
  const centers = countBy(locations, centerOf).size
  return locations.some((main) => {
    const here = locations.filter(({ dataCenter }) => dataCenter === main.dataCenter)
    const racks = countBy(here, rackOf)
    const inRack = racks.get(rackOf(main)) ?? 0
    return centers > otherDataCenters && racks.size > otherRacks && inRack > otherServers
  })
}

/** All three digits together are one byte, read as a decimal number. */
function fitsByte({ otherDataCenters, otherRacks, otherServers }: ReplicaPlacement): boolean {
  const value = otherDataCenters * 100 + otherRacks * 10 + otherServers
  return Math.max(otherDataCenters, otherRacks, otherServers) <= 9 && value <= BYTE_MAX
}

function countBy(
  locations: readonly NodeLocation[],
  keyOf: (location: NodeLocation) => string,
): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const location of locations) {
    const key = keyOf(location)
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

function centerOf({ dataCenter }: NodeLocation): string {
  return dataCenter
}

function rackOf({ dataCenter, rack }: NodeLocation): string {
  return `${dataCenter}/${rack}`
}
