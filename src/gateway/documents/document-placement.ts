import { copyCount, parseReplicaPlacement } from '../../base/replica-placement.ts'
import { StoreError } from '../../base/store-error.ts'
import type { TopologyNode } from '../../net/master-api.ts'
import { TopologyView, type TopologyViewParts } from '../topology-view.ts'

export interface PlacementOptions {
  /** Undefined: three copies as the servers allow. */
  readonly replication: string | undefined
  readonly codedPolicy: string
  readonly shardCount: number
}

export interface DocumentPlacement {
  /** Three digits. */
  readonly replication: string
  readonly copies: number
  /** Servers enough for all copies are up. */
  readonly isPossibleNow: boolean
  /** With fewer and fewer copies, on servers that are up now; at least the one with one copy. */
  readonly fallbacks: readonly { readonly replication: string; readonly copies: number }[]
  /** Undefined: there are too few servers for its shards. */
  readonly codedPolicy: string | undefined
}

const COPIES = 3
const FRESH_MS = 3000
/** Beside the first copy, as `ReplicaPlacement`: what needs the fewest places comes first. */
const CODES = ['002', '011', '020', '101', '110', '200', '001', '010', '100', '000'] as const

type Node = Pick<TopologyNode, 'location' | 'state' | 'isDraining'>

/** Where documents are stored, as the servers of the cluster allow just now. */
export type Placements = TopologyView<DocumentPlacement>

export function openPlacements(parts: TopologyViewParts, options: PlacementOptions): Placements {
  const derive = (nodes: readonly TopologyNode[]) => placementOn(nodes, options)
  return new TopologyView(parts, { derive, freshMs: FRESH_MS })
}

/**
 * Servers that are away still count: they come back, and what is written meanwhile is not to have
 * fewer copies for ever because of that.
 */
export function placementOn(
  nodes: readonly Node[],
  { codedPolicy, replication, shardCount }: PlacementOptions,
): DocumentPlacement {
  const known = nodes.filter(({ isDraining }) => !isDraining)
  const up = known.filter(({ state }) => state === 'up')
  const code = replication ?? codeFor(known, COPIES)
  const copies = copyCount(parseReplicaPlacement(code))
  const fallbacks: { replication: string; copies: number }[] = []
  for (let fewer = copies - 1; fewer > 0; fewer--) {
    const fitting = fittingCode(up, fewer)
    if (fitting !== undefined) fallbacks.push({ replication: fitting, copies: fewer })
  }
  return {
    replication: code,
    copies,
    isPossibleNow: isFitting(code, placesOf(up)),
    fallbacks,
    codedPolicy: known.length >= shardCount ? codedPolicy : undefined,
  }
}

/** @throws {StoreError} UNAVAILABLE: there is no server at all. */
function codeFor(nodes: readonly Node[], copiesMax: number): string {
  for (let copies = copiesMax; copies > 0; copies--) {
    const code = fittingCode(nodes, copies)
    if (code !== undefined) return code
  }
  throw new StoreError('UNAVAILABLE', 'no volume server is known yet')
}

function fittingCode(nodes: readonly Node[], copies: number): string | undefined {
  const places = placesOf(nodes)
  return CODES.find((code) => {
    return copyCount(parseReplicaPlacement(code)) === copies && isFitting(code, places)
  })
}

/** Servers of each rack of each data centre. */
type Places = ReadonlyMap<string, ReadonlyMap<string, number>>

function placesOf(nodes: readonly Node[]): Places {
  const places = new Map<string, Map<string, number>>()
  for (const { location } of nodes) {
    const racks = places.get(location.dataCenter) ?? new Map<string, number>()
    places.set(location.dataCenter, racks)
    racks.set(location.rack, (racks.get(location.rack) ?? 0) + 1)
  }
  return places
}

function isFitting(code: string, places: Places): boolean {
  const { otherDataCenters, otherRacks, otherServers } = parseReplicaPlacement(code)
  const hasRoom = (racks: ReadonlyMap<string, number>) =>
    racks.size > otherRacks && [...racks.values()].some((count) => count > otherServers)
  return places.size > otherDataCenters && [...places.values()].some(hasRoom)
}
