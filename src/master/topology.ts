import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { DiskReport, Heartbeat, NodeLocation, VolumeReport } from '../net/master-api.ts'
import { DirectoryClaims, type IgnoredDirectory } from './directory-claims.ts'

export type NodeState = 'up' | 'leaving' | 'down'

/** A volume server as its heartbeats describe it. */
export interface NodeView {
  readonly location: NodeLocation
  readonly state: NodeState
  readonly lastHeardMs: number
  /** Those that count, see `DirectoryClaims`. */
  readonly disks: readonly DiskReport[]
  readonly reportedDisks: readonly DiskReport[]
  /** All it reports, in directories that do not count as well. */
  readonly volumes: ReadonlyMap<VolumeId, VolumeReport>
  readonly inFlightCount: number
}

export interface VolumeCopy {
  readonly node: NodeView
  readonly report: VolumeReport
}

/** What a change touched: volumes whose figures are new, and those that are found elsewhere now. */
export interface TopologyChange {
  readonly volumeIds: ReadonlySet<VolumeId>
  readonly movedVolumeIds: ReadonlySet<VolumeId>
}

interface NodeRecord extends NodeView {
  location: NodeLocation
  state: NodeState
  lastHeardMs: number
  disks: readonly DiskReport[]
  reportedDisks: readonly DiskReport[]
  readonly volumes: Map<VolumeId, VolumeReport>
  inFlightCount: number
}

/** Collects the ids while a change is applied. */
class Changes implements TopologyChange {
  readonly volumeIds = new Set<VolumeId>()
  readonly movedVolumeIds = new Set<VolumeId>()

  addMoved(volumeId: VolumeId): void {
    this.volumeIds.add(volumeId)
    this.movedVolumeIds.add(volumeId)
  }
}

/**
 * Which servers there are, and which copies of which volumes they hold: in memory, told by
 * heartbeats, without any clock or I/O of its own.
 *
 * A volume is known exactly while some server, up or down, holds a copy of it: both maps below say
 * the same, by server and by volume. A server that is down keeps its volumes, out of reach. Which
 * of these copies count is not known here: see `VolumeSets`.
 */
export class ClusterTopology {
  readonly #nodes = new Map<string, NodeRecord>()
  readonly #holders = new Map<VolumeId, Map<string, NodeRecord>>()
  readonly #claims: DirectoryClaims

  constructor(options: { readonly clusterId: string } = { clusterId: '' }) {
    const isUp = (url: string) => (this.#nodes.get(url)?.state ?? 'down') !== 'down'
    this.#claims = new DirectoryClaims(options, isUp)
  }

  get nodes(): Iterable<NodeView> {
    return this.#nodes.values()
  }

  get nodeCount(): number {
    return this.#nodes.size
  }

  get volumeIds(): Iterable<VolumeId> {
    return this.#holders.keys()
  }

  get volumeCount(): number {
    return this.#holders.size
  }

  node(url: string): NodeView | undefined {
    return this.#nodes.get(url)
  }

  hasVolume(volumeId: VolumeId): boolean {
    return this.#holders.has(volumeId)
  }

  /**
   * Copies in directories that count, on all servers that hold one, those that are down included,
   * in the order of urls.
   */
  copies(volumeId: VolumeId): VolumeCopy[] {
    const copies: VolumeCopy[] = []
    for (const node of this.#holders.get(volumeId)?.values() ?? []) {
      const report = node.volumes.get(volumeId)
      if (report === undefined) continue
      if (!this.#claims.isIgnored(node.location.url, report.directoryId)) {
        copies.push({ node, report })
      }
    }
    if (copies.length < 2) return copies
    return copies.sort((a, b) => (a.node.location.url < b.node.location.url ? -1 : 1))
  }

  /** The server whose copies in this directory count; undefined: nobody lists it. */
  ownerOf(directoryId: string): NodeView | undefined {
    const url = this.#claims.owner(directoryId)
    return url === undefined ? undefined : this.#nodes.get(url)
  }

  /** Directories on servers that are up which do not count there. */
  ignoredDirectories(): IgnoredDirectory[] {
    return this.#claims.ignored()
  }

  /** @throws {StoreError} OVERLOADED: the server is new, and there are as many as we can know. */
  apply(beat: Heartbeat, atMs: number): TopologyChange {
    const changes = new Changes()
    const { url } = beat.node
    const known = this.#nodes.get(url)
    const node = known ?? this.#newNode(beat)
    const state = beat.isLeaving ? 'leaving' : 'up'
    const isMoved = node.state === 'down' || !isSameLocation(node.location, beat.node)
    const isChanged = isMoved || node.state !== state
    node.location = beat.node
    node.state = state
    node.lastHeardMs = atMs
    node.reportedDisks = beat.disks
    node.inFlightCount = beat.inFlightCount
    const claimed = this.#claims.onDisks(url, beat.disks)

    if (beat.isFull) {
      const reported = new Set(beat.volumes.map((report) => report.volumeId))
      for (const volumeId of [...node.volumes.keys()]) {
        if (!reported.has(volumeId)) this.#removeCopy(node, volumeId, changes)
      }
    }
    for (const volumeId of beat.removedVolumeIds) this.#removeCopy(node, volumeId, changes)
    for (const report of beat.volumes) this.#putCopy(node, report, changes)
    if (isChanged) touchAll(node, isMoved, changes)
    this.#spreadClaims(claimed, changes)
    node.disks = this.#countingDisks(node)
    return changes
  }

  /** The server cannot be reached. What it holds is not lost, only away. */
  markDown(url: string): TopologyChange {
    const changes = new Changes()
    const node = this.#nodes.get(url)
    if (node === undefined || node.state === 'down') return changes
    node.state = 'down'
    touchAll(node, true, changes)
    this.#spreadClaims(this.#claims.onState(url), changes)
    return changes
  }

  /** The server is gone for good, and its copies with it. */
  forgetNode(url: string): TopologyChange {
    const changes = new Changes()
    const node = this.#nodes.get(url)
    if (node === undefined) return changes
    for (const volumeId of [...node.volumes.keys()]) this.#removeCopy(node, volumeId, changes)
    this.#nodes.delete(url)
    this.#spreadClaims(this.#claims.forget(url), changes)
    return changes
  }

  /** A copy we know of before the server reports it. One that was reported already is kept. */
  addCopy(url: string, report: VolumeReport): TopologyChange {
    const changes = new Changes()
    const node = this.#nodes.get(url)
    if (node === undefined || node.volumes.has(report.volumeId)) return changes
    this.#putCopy(node, report, changes)
    return changes
  }

  removeCopy(url: string, volumeId: VolumeId): TopologyChange {
    const changes = new Changes()
    const node = this.#nodes.get(url)
    if (node !== undefined) this.#removeCopy(node, volumeId, changes)
    return changes
  }

  #newNode(beat: Heartbeat): NodeRecord {
    const { url } = beat.node
    if (this.#nodes.size >= LIMITS.nodesMax.value) {
      throw new StoreError(
        'OVERLOADED',
        `${quote(url)} would be one more than the ${this.#nodes.size} volume servers known`,
      )
    }
    const node: NodeRecord = {
      location: beat.node,
      state: 'down',
      lastHeardMs: 0,
      disks: [],
      reportedDisks: [],
      volumes: new Map(),
      inFlightCount: 0,
    }
    this.#nodes.set(url, node)
    return node
  }

  /** Copies in these directories count elsewhere now, on every server that lists them. */
  #spreadClaims(directoryIds: ReadonlySet<string>, changes: Changes): void {
    for (const directoryId of directoryIds) {
      for (const url of this.#claims.servers(directoryId)) {
        const node = this.#nodes.get(url)
        if (node === undefined) continue
        node.disks = this.#countingDisks(node)
        for (const report of node.volumes.values()) {
          if (report.directoryId === directoryId) changes.addMoved(report.volumeId)
        }
      }
    }
  }

  #countingDisks(node: NodeRecord): readonly DiskReport[] {
    const { url } = node.location
    return node.reportedDisks.filter((disk) => !this.#claims.isIgnored(url, disk.directoryId))
  }

  #putCopy(node: NodeRecord, report: VolumeReport, changes: Changes): void {
    const { volumeId } = report
    const before = node.volumes.get(volumeId)
    node.volumes.set(volumeId, report)
    changes.volumeIds.add(volumeId)
    const isSamePlace = before?.directoryId === report.directoryId
    const isSameRevision = before?.compactionRevision === report.compactionRevision
    if (before?.collection === report.collection && isSamePlace && isSameRevision) return
    changes.addMoved(volumeId)
    const holders = this.#holders.get(volumeId)
    if (holders === undefined) {
      this.#holders.set(volumeId, new Map([[node.location.url, node]]))
    } else {
      holders.set(node.location.url, node)
    }
  }

  #removeCopy(node: NodeRecord, volumeId: VolumeId, changes: Changes): void {
    if (!node.volumes.delete(volumeId)) return
    const holders = this.#holders.get(volumeId)
    holders?.delete(node.location.url)
    if (holders?.size === 0) this.#holders.delete(volumeId)
    changes.addMoved(volumeId)
  }
}

function touchAll(node: NodeRecord, isMoved: boolean, changes: Changes): void {
  for (const volumeId of node.volumes.keys()) {
    changes.volumeIds.add(volumeId)
    if (isMoved) changes.movedVolumeIds.add(volumeId)
  }
}

export function isSameLocation(a: NodeLocation | undefined, b: NodeLocation): boolean {
  return (
    a?.url === b.url &&
    a.publicUrl === b.publicUrl &&
    a.grpcAddress === b.grpcAddress &&
    a.dataCenter === b.dataCenter &&
    a.rack === b.rack
  )
}
