import { isStoreError, type StoreError } from '../base/store-error.ts'
import { roomBytes } from './assigned-bytes.ts'
import type { ClusterState } from './cluster-state.ts'
import type { PlacementServer } from './placement.ts'
import type { ShardServer } from './shard-placement.ts'
import type { NodeView } from './topology.ts'

/** A server that is up and can be given something new. */
export function takesVolumes(state: ClusterState, node: NodeView): boolean {
  return node.state === 'up' && !state.standings.isSpared(node.location.url)
}

/** Whether servers that come and go too often are meant as well. */
export type Steadiness = 'steady' | 'any'

/** As `takesVolumes`, for servers of this kind. */
export function isMeant(state: ClusterState, node: NodeView, steadiness: Steadiness): boolean {
  if (steadiness === 'steady') return takesVolumes(state, node)
  return node.state === 'up' && !state.standings.isDraining(node.location.url)
}

/** Whether a choice failed for want of servers or of room on them. */
export function isFull(error: unknown): error is StoreError {
  return isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')
}

/** With servers that come and go too often only if it cannot be without them. */
export function steadyFirst<Choice>(choose: (steadiness: Steadiness) => Choice): Choice {
  try {
    return choose('steady')
  } catch (error) {
    if (!isFull(error)) throw error
    return choose('any')
  }
}

/**
 * Servers that can take a copy of an existing volume. Load is the number of volumes for each disk.
 * A disk with less room than `roomMinBytes`, what the copy needs, does not count.
 */
export function placementServers(
  state: ClusterState,
  options: { readonly roomMinBytes: number; readonly steadiness: Steadiness },
): PlacementServer[] {
  const servers: PlacementServer[] = []
  for (const node of state.topology.nodes) {
    if (!isMeant(state, node, options.steadiness)) continue
    const { url } = node.location
    let most = 0
    let room = 0
    for (const disk of node.disks) {
      most = Math.max(most, roomBytes(disk))
      room += roomBytes(disk)
    }
    const left = Math.max(0, room - state.assigned.ofNode(url))
    servers.push({
      location: node.location,
      roomBytes: most >= options.roomMinBytes ? left : 0,
      load: Math.floor(node.volumes.size / Math.max(1, node.disks.length)),
    })
  }
  return servers
}

/** Servers that can take shards. Load is the number of shards for each disk. */
export function shardServers(state: ClusterState, steadiness: Steadiness): ShardServer[] {
  const servers: ShardServer[] = []
  for (const node of state.topology.nodes) {
    if (!isMeant(state, node, steadiness)) continue
    const roomOf = (disk: NodeView['disks'][number]) =>
      Math.max(0, state.assigned.diskRoomBytes(node, disk.directoryId))
    const shards = [...node.shards.values()].flat().flatMap((report) => report.shards)
    servers.push({
      location: node.location,
      diskRoomsBytes: node.disks.map(roomOf),
      load: shards.length / Math.max(1, node.disks.length),
    })
  }
  return servers
}
