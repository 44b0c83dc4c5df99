import { StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ShardPlace, StripeSpread } from '../net/stripe-facts.ts'
import type { Random } from '../runtime/random.ts'

/** A server that can be given shards. */
export interface ShardServer {
  readonly location: NodeLocation
  /** Bytes that each of its disks can still take beyond its reserve. */
  readonly diskRoomsBytes: readonly number[]
  /** How much it has to do: among equals the one with less comes first. */
  readonly load: number
}

export interface ShardChoice {
  /** Where shards of the stripe are that stay. */
  readonly kept: readonly NodeLocation[]
  /** Numbers of the shards that need a place. */
  readonly wanted: readonly number[]
  readonly shardBytes: number
}

/** How many shards each failure domain has: data centres, racks, servers. */
export class DomainCounts {
  readonly #levels: readonly Map<string, number>[] = [new Map(), new Map(), new Map()]

  constructor(locations: Iterable<NodeLocation> = []) {
    for (const location of locations) this.add(location)
  }

  add(location: NodeLocation): void {
    this.#change(location, 1)
  }

  remove(location: NodeLocation): void {
    this.#change(location, -1)
  }

  /** Of the data centre, the rack and the server at this place. */
  at(location: NodeLocation): readonly number[] {
    return this.of(domainsOf(location))
  }

  /** Of the domains with these names; see `domainsOf`. */
  of(names: readonly string[]): readonly number[] {
    return this.#levels.map((counts, level) => counts.get(names[level] ?? '') ?? 0)
  }

  /** Of the fullest data centre, the fullest rack and the fullest server. */
  get worst(): readonly number[] {
    return this.#levels.map((counts) => Math.max(0, ...counts.values()))
  }

  #change(location: NodeLocation, by: number): void {
    const names = domainsOf(location)
    for (const [level, counts] of this.#levels.entries()) {
      const name = names[level] ?? ''
      counts.set(name, (counts.get(name) ?? 0) + by)
    }
  }
}

/** How many shards at these places fall with the worst domain of each kind. */
export function spreadOf(locations: Iterable<NodeLocation>): StripeSpread {
  const [worstDataCenter = 0, worstRack = 0, worstServer = 0] = new DomainCounts(locations).worst
  return { worstDataCenter, worstRack, worstServer }
}

/** Names of the data centre, rack and server; those of two kinds are never compared. */
export function domainsOf({ dataCenter, rack, url }: NodeLocation): readonly string[] {
  return [dataCenter, `${dataCenter}\0${rack}`, url]
}

/** Shards of this size that fit on its disks. */
export function shardsThatFit({ diskRoomsBytes }: ShardServer, shardBytes: number): number {
  const bytes = Math.max(1, shardBytes)
  return diskRoomsBytes.reduce((sum, roomBytes) => sum + Math.floor(roomBytes / bytes), 0)
}

/**
 * A place for each wanted shard: so that as few as can be fall with one data centre, then with one
 * rack, then with one server. Within that they are spread evenly, and go where most room is, then
 * where least is to do; among equals chance decides.
 *
 * The least that the worst domain of each kind can have is found first, one kind after the other.
 * Below these limits places are taken one by one, each where the fewest shards are: domains lie
 * within each other, so whatever is taken within the limits, the rest still finds a place.
 *
 * @throws {StoreError} NO_WRITABLE_VOLUME: there is not room enough for all.
 */
export function chooseShards(
  servers: readonly ShardServer[],
  choice: ShardChoice,
  random: Random,
): ShardPlace[] {
  const { kept, wanted, shardBytes } = choice
  const candidates = servers.map((server) => ({
    location: server.location,
    load: server.load,
    left: shardsThatFit(server, shardBytes),
    roomBytes: server.diskRoomsBytes.reduce((sum, bytes) => sum + bytes, 0),
    rank: random.u32(),
  }))
  const counts = new DomainCounts(kept)
  const limits = findLimits(candidates, counts, wanted.length)
  if (limits === undefined) {
    const what = `${wanted.length} shards of ${shardBytes} bytes`
    const why = `${servers.length} volume servers that take any have not room enough`
    throw new StoreError('NO_WRITABLE_VOLUME', `${what}: ${why}`)
  }
  return wanted.map((shard) => {
    let best: { readonly candidate: Candidate; readonly key: readonly number[] } | undefined
    for (const candidate of candidates) {
      const at = counts.at(candidate.location)
      const isBelow = at.every((count, level) => count < (limits[level] ?? 0))
      if (candidate.left === 0 || !isBelow) continue
      const key = [...at, -candidate.roomBytes, candidate.load, candidate.rank]
      if (best === undefined || compareKeys(key, best.key) < 0) best = { candidate, key }
    }
    if (best === undefined) throw new StoreError('NO_WRITABLE_VOLUME', 'no place is left')
    const { candidate } = best
    candidate.left--
    candidate.roomBytes -= shardBytes
    counts.add(candidate.location)
    return { shard, location: candidate.location }
  })
}

interface Candidate {
  readonly location: NodeLocation
  readonly load: number
  readonly rank: number
  /** Shards that it can still take. */
  left: number
  roomBytes: number
}

/** A domain, or the whole cluster: what it has already, and what is inside of it. */
interface DomainTree {
  readonly count: number
  readonly inner: readonly DomainTree[]
  /** Of a server: shards it can take. */
  readonly left: number
}

/**
 * The least that a data centre, rack and server may have so that all shards find a place, each as
 * low as the ones before it let it be. Undefined: there is no room for them.
 */
function findLimits(
  candidates: readonly Candidate[],
  counts: DomainCounts,
  wantedCount: number,
): readonly number[] | undefined {
  const tree = treeOf(candidates, counts, 0)
  const most = Math.max(...counts.worst) + wantedCount
  const limits = [most, most, most]
  const fits = () => capacityOf(tree, [Number.POSITIVE_INFINITY, ...limits]) >= wantedCount
  if (!fits()) return undefined
  for (const level of limits.keys()) {
    // What stays may have more already: then that is as low as it can be.
    limits[level] = Math.max(counts.worst[level] ?? 0, 1)
    while (!fits()) limits[level] = (limits[level] ?? 0) + 1
  }
  return limits
}

function treeOf(candidates: readonly Candidate[], counts: DomainCounts, level: number): DomainTree {
  const groups = new Map<string, Candidate[]>()
  for (const candidate of candidates) {
    const name = domainsOf(candidate.location)[level] ?? ''
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [candidate])
    else group.push(candidate)
  }
  const inner = [...groups.values()].map((group): DomainTree => {
    const [first] = group
    const count = first === undefined ? 0 : (counts.at(first.location)[level] ?? 0)
    const left = group.reduce((sum, candidate) => sum + candidate.left, 0)
    const isServer = level === 2
    return { count, left, inner: isServer ? [] : treeOf(group, counts, level + 1).inner }
  })
  return { count: 0, left: 0, inner }
}

/** Shards that can still be put there; `limits` are of this kind of domain and those within. */
function capacityOf({ count, inner, left }: DomainTree, limits: readonly number[]): number {
  const [limit = 0, ...rest] = limits
  const below = rest.length === 0 ? left : sum(inner.map((each) => capacityOf(each, rest)))
  return Math.max(0, Math.min(limit - count, below))
}

function compareKeys(a: readonly number[], b: readonly number[]): number {
  for (let at = 0; at < a.length; at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
