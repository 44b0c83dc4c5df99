import type { VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { unmetPlacement } from './placement.ts'

/** A server as rebalancing sees it. */
export interface BalanceNode {
  readonly location: NodeLocation
  /** Bytes of the volumes it holds. */
  readonly usedBytes: number
  /** Bytes it can still take beyond its reserve. */
  readonly roomBytes: number
  /** Reads and writes of its volumes. */
  readonly requestsPerS: number
}

/** A volume all of whose copies are there and healthy. */
export interface BalanceVolume {
  readonly volumeId: VolumeId
  readonly replication: ReplicaPlacement
  readonly sizeBytes: number
  readonly requestsPerS: number
  /** Where its copies are. */
  readonly members: readonly NodeLocation[]
}

export interface PlannedMove {
  readonly volumeId: VolumeId
  readonly from: NodeLocation
  readonly to: NodeLocation
}

/** A server with that many times the mean of requests is hot, if they are enough to matter. */
const HOT_FACTOR = 1.5
const HOT_REQUESTS_PER_S = 100

/** A move has to leave at most this share of a difference. */
const WORTH_SHARE = 0.9

/**
 * The next move that makes servers more alike: first in the share of their disks that volumes fill,
 * when the fullest and the emptiest are further apart than `spread` times the mean; then, while
 * that holds, in requests, so that hot volumes do not share a server while others idle. No move
 * breaks the placement of a volume or puts two copies on one server, and each makes a difference
 * smaller, so that repeating it comes to an end. Undefined: nothing to do.
 */
export function planNextMove(
  nodes: readonly BalanceNode[],
  volumes: readonly BalanceVolume[],
  options: { readonly spread: number },
): PlannedMove | undefined {
  if (nodes.length < 2) return undefined
  return (
    planByBytes(nodes, volumes, options.spread) ?? planByRequests(nodes, volumes, options.spread)
  )
}

/** Bytes between what the fullest and the emptiest server hold, beyond what `spread` allows. */
export function imbalanceBytes(nodes: readonly BalanceNode[], spread: number): number {
  const mean = meanShare(nodes)
  let most = 0
  for (const full of nodes) {
    for (const empty of nodes) {
      const gap = shareOf(full) - shareOf(empty)
      if (gap <= spread * mean) continue
      most = Math.max(most, gap * Math.min(capacityOf(full), capacityOf(empty)))
    }
  }
  return Math.floor(most)
}

function planByBytes(
  nodes: readonly BalanceNode[],
  volumes: readonly BalanceVolume[],
  spread: number,
): PlannedMove | undefined {
  const tolerance = spread * meanShare(nodes)
  const byShare = [...nodes].sort((a, b) => shareOf(b) - shareOf(a))
  for (const from of byShare) {
    const here = volumesOn(volumes, from).sort((a, b) => b.sizeBytes - a.sizeBytes)
    for (const to of [...byShare].reverse()) {
      const gap = shareOf(from) - shareOf(to)
      if (gap <= tolerance) break
      const found = here.find((volume) => {
        const { sizeBytes } = volume
        if (sizeBytes === 0 || sizeBytes > to.roomBytes) return false
        // Afterwards they are clearly closer to each other, whichever is ahead.
        const after = gap - sizeBytes / capacityOf(from) - sizeBytes / capacityOf(to)
        return Math.abs(after) < gap * WORTH_SHARE && mayMove(volume, from.location, to.location)
      })
      if (found !== undefined) {
        return { volumeId: found.volumeId, from: from.location, to: to.location }
      }
    }
  }
  return undefined
}

function planByRequests(
  nodes: readonly BalanceNode[],
  volumes: readonly BalanceVolume[],
  spread: number,
): PlannedMove | undefined {
  const mean = nodes.reduce((sum, node) => sum + node.requestsPerS, 0) / nodes.length
  const byLoad = [...nodes].sort((a, b) => b.requestsPerS - a.requestsPerS)
  const [from] = byLoad
  if (from === undefined || from.requestsPerS < Math.max(HOT_REQUESTS_PER_S, mean * HOT_FACTOR)) {
    return undefined
  }
  const hot = volumesOn(volumes, from).sort((a, b) => b.requestsPerS - a.requestsPerS)
  for (const to of [...byLoad].reverse()) {
    const gap = from.requestsPerS - to.requestsPerS
    if (gap <= mean * (HOT_FACTOR - 1)) break
    const found = hot.find(
      (volume) =>
        volume.requestsPerS > 0 &&
        // A volume that is most of the gap would only make the other server the hot one.
        Math.abs(gap - 2 * volume.requestsPerS) <= gap * WORTH_SHARE &&
        volume.sizeBytes <= to.roomBytes &&
        staysEven(nodes, spread, { from, to, sizeBytes: volume.sizeBytes }) &&
        mayMove(volume, from.location, to.location),
    )
    if (found !== undefined) {
      return { volumeId: found.volumeId, from: from.location, to: to.location }
    }
  }
  return undefined
}

/** Otherwise the next move would be back again, for the sake of bytes. */
function staysEven(
  nodes: readonly BalanceNode[],
  spread: number,
  move: { readonly from: BalanceNode; readonly to: BalanceNode; readonly sizeBytes: number },
): boolean {
  const shares = nodes.map((node) => {
    const change = node === move.to ? 1 : node === move.from ? -1 : 0
    return shareOf(node) + (change * move.sizeBytes) / capacityOf(node)
  })
  return Math.max(...shares) - Math.min(...shares) <= spread * meanShare(nodes)
}

function volumesOn(volumes: readonly BalanceVolume[], node: BalanceNode): BalanceVolume[] {
  const { url } = node.location
  return volumes.filter(({ members }) => members.some((member) => member.url === url))
}

/** Its placement is what it should be afterwards, or is no worse off than it was. */
function mayMove(volume: BalanceVolume, from: NodeLocation, to: NodeLocation): boolean {
  if (volume.members.some(({ url }) => url === to.url)) return false
  const after = volume.members.map((member) => (member.url === from.url ? to : member))
  if (unmetPlacement(after, volume.replication) === undefined) return true
  return unmetPlacement(volume.members, volume.replication) !== undefined
}

function capacityOf({ usedBytes, roomBytes }: BalanceNode): number {
  return Math.max(1, usedBytes + roomBytes)
}

function shareOf(node: BalanceNode): number {
  return node.usedBytes / capacityOf(node)
}

function meanShare(nodes: readonly BalanceNode[]): number {
  let used = 0
  let capacity = 0
  for (const node of nodes) {
    used += node.usedBytes
    capacity += capacityOf(node)
  }
  return capacity === 0 ? 0 : used / capacity
}
