import type { NodeLocation } from '../net/master-api.ts'
import type { ShardFacts, ShardMove } from '../net/stripe-facts.ts'
import { DomainCounts, domainsOf, type ShardServer, shardsThatFit } from './shard-placement.ts'

export interface ShardMoveParts {
  /** Those that can be given something new. */
  readonly servers: readonly ShardServer[]
  /** Whether the server at this url is being emptied. */
  readonly isDraining: (url: string) => boolean
  /** Whether the one cannot read from the other just now. */
  readonly isCut: (url: string, otherUrl: string) => boolean
}

/** A data centre, rack and server, and how many shards each of them has. */
interface Spot {
  readonly location: NodeLocation
  readonly names: readonly string[]
  readonly counts: readonly number[]
}

interface FreeServer {
  readonly server: ShardServer
  readonly names: readonly string[]
  readonly roomBytes: number
}

type Source = Spot & { readonly facts: ShardFacts }
type Target = Spot & FreeServer

/** Higher is better, what comes first counts most; undefined: it must not be. */
type Rating = (from: Spot, to: Spot) => readonly number[] | undefined

/**
 * Servers of a rack that have nothing of a stripe are all the same to it but for their room: so
 * many of them are looked at, in case that some cannot be reached.
 */
const SPARE_PER_RACK = 3

/** Plans moves of shards for many stripes, with servers as they are at one moment. */
export class ShardMovePlanner {
  readonly #parts: ShardMoveParts
  /** Of each rack, those with most room in front. */
  readonly #racks: readonly (readonly FreeServer[])[]
  readonly #byUrl = new Map<string, FreeServer>()

  constructor(parts: ShardMoveParts) {
    this.#parts = parts
    const racks = new Map<string, FreeServer[]>()
    for (const server of parts.servers) {
      if (parts.isDraining(server.location.url)) continue
      const names = domainsOf(server.location)
      const roomBytes = server.diskRoomsBytes.reduce((sum, bytes) => sum + bytes, 0)
      const rack = racks.get(names[1] ?? '') ?? []
      const free = { server, names, roomBytes }
      rack.push(free)
      this.#byUrl.set(server.location.url, free)
      racks.set(names[1] ?? '', rack)
    }
    const byRoom = (a: FreeServer, b: FreeServer) =>
      b.roomBytes - a.roomBytes || a.server.load - b.server.load
    this.#racks = [...racks.values()].map((rack) => rack.sort(byRoom))
  }

  /**
   * The next move that makes the layout of a stripe better: away from a server that is being
   * emptied, to wherever it does least harm; else from a domain with at least two shards more than
   * the other has, data centres before racks before servers, so that no worst domain gets any
   * worse. Each such move makes the counts of shards more even, so that repeating it comes to an
   * end. Undefined: there is none.
   */
  plan(shards: readonly ShardFacts[], shardBytes: number): ShardMove | undefined {
    const { isDraining, isCut } = this.#parts
    const here = shards.filter(({ isLost }) => !isLost)
    const locations = here.map(({ location }) => location)
    const counts = new DomainCounts(locations)
    const { worst } = counts
    const sources = here
      .filter(({ isUp, isBad, report }) => isUp && !isBad && report !== undefined)
      .map((facts): Source => ({ ...spotOf(counts, facts.location), facts }))
    const targets = this.#targets(locations, counts, shardBytes)
    const leaving = sources.filter(({ location }) => isDraining(location.url))
    const isApart = ({ location }: Spot, from: Spot) => isCut(location.url, from.location.url)
    return (
      best(leaving, targets, isApart, (from, to) => harmOf(locations, from, to)) ??
      best(sources, targets, isApart, (from, to) => gainOf(worst, from, to))
    )
  }

  #targets(locations: readonly NodeLocation[], counts: DomainCounts, shardBytes: number): Target[] {
    const targets = new Map<string, Target>()
    const add = (free: FreeServer) => {
      const { location } = free.server
      if (shardsThatFit(free.server, shardBytes) === 0) return
      targets.set(location.url, { ...free, location, counts: counts.of(free.names) })
    }
    const holders = new Set(locations.map(({ url }) => url))
    for (const url of holders) {
      const free = this.#byUrl.get(url)
      if (free !== undefined) add(free)
    }
    for (const rack of this.#racks) {
      const wanted = targets.size + SPARE_PER_RACK
      for (const free of rack) {
        if (targets.size === wanted) break
        if (!holders.has(free.server.location.url)) add(free)
      }
    }
    return [...targets.values()]
  }
}

/** The move with the highest rating; among equals to where most room and least load is. */
function best(
  sources: readonly Source[],
  targets: readonly Target[],
  isCut: (to: Spot, from: Spot) => boolean,
  rate: Rating,
): ShardMove | undefined {
  let found: { readonly from: Source; readonly to: Target } | undefined
  let highest: readonly number[] = []
  for (const from of sources) {
    for (const to of targets) {
      if (to.location.url === from.location.url) continue
      const rated = rate(from, to)
      if (rated === undefined || isCut(to, from)) continue
      const rating = [...rated, to.roomBytes, -to.server.load]
      if (found !== undefined && !isHigher(rating, highest)) continue
      found = { from, to }
      highest = rating
    }
  }
  if (found === undefined) return undefined
  const { facts } = found.from
  const { shard, location: from, directoryId: fromDirectoryId } = facts
  return { shard, from, fromDirectoryId, to: found.to.location }
}

/** What the worst domains have afterwards, and those that it goes to. */
function harmOf(locations: readonly NodeLocation[], from: Spot, to: Spot): readonly number[] {
  const after = new DomainCounts([...locations, to.location])
  after.remove(from.location)
  return [...after.worst, ...after.at(to.location)].map((count) => -count)
}

/** How much more even each kind of domain becomes; undefined: it is not worth it, or harmful. */
function gainOf(worst: readonly number[], from: Spot, to: Spot): readonly number[] | undefined {
  const gains = from.names.map((name, level) => {
    const isSame = name === to.names[level]
    return isSame ? 0 : (from.counts[level] ?? 0) - (to.counts[level] ?? 0) - 1
  })
  const isHarmful = to.names.some((name, level) => {
    return name !== from.names[level] && (to.counts[level] ?? 0) >= (worst[level] ?? 0)
  })
  const first = gains.find((gain) => gain !== 0) ?? 0
  return isHarmful || first <= 0 ? undefined : gains
}

function isHigher(a: readonly number[], b: readonly number[]): boolean {
  for (const [at, value] of a.entries()) {
    const difference = value - (b[at] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return false
}

function spotOf(counts: DomainCounts, location: NodeLocation): Spot {
  return { location, names: domainsOf(location), counts: counts.at(location) }
}
