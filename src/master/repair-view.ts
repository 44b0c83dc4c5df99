import type { VolumeId } from '../base/ids.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { BrokenLinks } from './broken-links.ts'
import type { ClusterState } from './cluster-state.ts'
import type { Membership } from './membership.ts'
import type { PlacementServer } from './placement.ts'
import { placementServers, type Steadiness, shardServers } from './placement-servers.ts'
import type { ShardServer } from './shard-placement.ts'
import type { VolumeSets } from './volume-sets.ts'

/** A volume server of the cluster, heard of since the start or known from before. */
export interface RepairNode {
  readonly location: NodeLocation
  readonly isUp: boolean
  /** Given nothing new: it comes and goes, is being emptied, or shuts down. */
  readonly isSpared: boolean
  readonly isDraining: boolean
  /** Copies or shards that count lie there, or did when it was last heard of. */
  readonly hasMembers: boolean
  /** By the wall clock; 0: not since the start. */
  readonly lastHeardMs: number
  /** 0: it is up. */
  readonly downForMs: number
  /** Of all volumes and shards on it, whether they count or not. */
  readonly usedBytes: number
  /** Bytes it can still take beyond its reserve. */
  readonly roomBytes: number
  readonly requestsPerS: number
}

/** All that repair needs to know of the cluster, as of the moment it asks. */
export interface RepairView {
  /** In no particular order. */
  nodes(): readonly RepairNode[]
  /** So many servers are down at once that nothing is to be copied because of it. */
  isMassGone(): boolean
  /** Undefined: it is not known, or not yet ours. */
  facts(volumeId: VolumeId): VolumeFacts | undefined
  /** Of all volumes that are known, deleted ones only while there are copies of them. */
  allFacts(): Iterable<VolumeFacts>
  /** Those that can be given a copy of so many bytes have room. */
  servers(bytes: number, steadiness: Steadiness): PlacementServer[]
  /** Those that can be given shards. */
  shardServers(steadiness: Steadiness): ShardServer[]
  isCut(url: string, otherUrl: string): boolean
}

export interface ClusterViewParts {
  readonly state: ClusterState
  readonly sets: Pick<VolumeSets, 'facts' | 'allFacts'>
  readonly membership: Pick<Membership, 'nodes' | 'isMassGone'>
  readonly links: Pick<BrokenLinks, 'isCut'>
}

/** What heartbeats and rows say. */
export class ClusterView implements RepairView {
  readonly #parts: ClusterViewParts

  constructor(parts: ClusterViewParts) {
    this.#parts = parts
  }

  nodes(): readonly RepairNode[] {
    const { state, membership } = this.#parts
    return membership.nodes().map((standing) => {
      const { location, isDraining, isFlapping, hasMembers, downForMs } = standing
      const node = state.topology.node(location.url)
      const reports = [...(node?.volumes.values() ?? [])]
      const shards = [...(node?.shards.values() ?? [])].flat()
      const shardBytes = shards.map((report) => report.shards.length * report.shardBytes)
      const rooms = (node?.disks ?? []).map((disk) =>
        Math.max(0, disk.freeBytes - disk.reserveBytes),
      )
      return {
        location,
        isUp: standing.state !== 'down',
        isSpared: standing.state === 'leaving' || isDraining || isFlapping,
        isDraining,
        hasMembers,
        lastHeardMs: node?.lastHeardMs ?? 0,
        downForMs,
        usedBytes: sum(reports.map(({ datBytes }) => datBytes)) + sum(shardBytes),
        roomBytes: sum(rooms),
        requestsPerS: sum([...reports, ...shards].map(({ requestsPerS }) => requestsPerS)),
      }
    })
  }

  isMassGone(): boolean {
    return this.#parts.membership.isMassGone()
  }

  facts(volumeId: VolumeId): VolumeFacts | undefined {
    return this.#parts.sets.facts(volumeId)
  }

  allFacts(): Iterable<VolumeFacts> {
    return this.#parts.sets.allFacts()
  }

  servers(bytes: number, steadiness: Steadiness): PlacementServer[] {
    return placementServers(this.#parts.state, { roomMinBytes: bytes, steadiness })
  }

  shardServers(steadiness: Steadiness): ShardServer[] {
    return shardServers(this.#parts.state, steadiness)
  }

  isCut(url: string, otherUrl: string): boolean {
    return this.#parts.links.isCut(url, otherUrl)
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
