import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { DiskReport, Heartbeat, NodeLocation, VolumeReport } from '../net/master-api.ts'
import type { ShardReport } from '../net/stripe-facts.ts'
import { DirectoryClaims, type IgnoredDirectory } from './directory-claims.ts'
import { Holders } from './holders.ts'
import {
  byPlace,
  missingFrom,
  putShards,
  type ShardCopy,
  type ShardReports,
} from './shard-reports.ts'

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
  /** Likewise of shards: one for each run and directory. */
  readonly shards: ReadonlyMap<VolumeId, readonly ShardReport[]>
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
  readonly shards: ShardReports
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
 * Which servers there are, and which copies and shards of which volumes they hold: in memory, told
 * by heartbeats, without any clock or I/O of its own.
 *
 * A volume is known exactly while some server, up or down, holds a copy or a shard of it: the maps
 * below say the same, by server and by volume. A server that is down keeps what it has, out of
 * reach. Which of these copies and shards count is not known here: see `VolumeSets`.
 */
export class ClusterTopology {
  readonly #nodes = new Map<string, NodeRecord>()
  readonly #copies = new Holders<NodeRecord>()
  readonly #shards = new Holders<NodeRecord>()
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
    return this.#volumeIds()
  }

  node(url: string): NodeView | undefined {
    return this.#nodes.get(url)
  }

  hasVolume(volumeId: VolumeId): boolean {
    return this.#copies.has(volumeId) || this.#shards.has(volumeId)
  }

  /**
   * Copies in directories that count, on all servers that hold one, those that are down included,
   * in the order of urls.
   */
  copies(volumeId: VolumeId): VolumeCopy[] {
    const copies: VolumeCopy[] = []
    for (const node of this.#copies.of(volumeId)) {
      const report = node.volumes.get(volumeId)
      if (report === undefined) continue
      if (!this.#claims.isIgnored(node.location.url, report.directoryId)) {
        copies.push({ node, report })
      }
    }
    if (copies.length < 2) return copies
    return copies.sort((a, b) => (a.node.location.url < b.node.location.url ? -1 : 1))
  }

  /** As `copies`, of shards of all runs. */
  shards(volumeId: VolumeId): ShardCopy[] {
    const found: ShardCopy[] = []
    for (const node of this.#shards.of(volumeId)) {
      for (const report of node.shards.get(volumeId) ?? []) {
        if (this.#claims.isIgnored(node.location.url, report.directoryId)) continue
        found.push({ node, report })
      }
    }
    return found.sort(byPlace)
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
    this.#takeReports(node, beat, changes)
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

  /** The server is gone for good, and what it held with it. */
  forgetNode(url: string): TopologyChange {
    const changes = new Changes()
    const node = this.#nodes.get(url)
    if (node === undefined) return changes
    for (const volumeId of [...node.volumes.keys()]) this.#removeCopy(node, volumeId, changes)
    for (const report of missingFrom(node.shards, [])) this.#putShards(node, report, changes)
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

  /** The server has deleted what it had of this run. */
  removeShards(url: string, volumeId: VolumeId, runId: string): TopologyChange {
    const changes = new Changes()
    const node = this.#nodes.get(url)
    for (const report of node?.shards.get(volumeId) ?? []) {
      if (node === undefined || report.runId !== runId) continue
      this.#putShards(node, { ...report, shards: [], badShards: [] }, changes)
    }
    return changes
  }

  *#volumeIds(): Iterable<VolumeId> {
    yield* this.#copies.volumeIds
    for (const volumeId of this.#shards.volumeIds) {
      if (!this.#copies.has(volumeId)) yield volumeId
    }
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
      shards: new Map(),
      inFlightCount: 0,
    }
    this.#nodes.set(url, node)
    return node
  }

  #takeReports(node: NodeRecord, beat: Heartbeat, changes: Changes): void {
    const { isFull, volumes, removedVolumeIds, shards = [] } = beat
    if (isFull) {
      const reported = new Set(volumes.map((report) => report.volumeId))
      for (const volumeId of [...node.volumes.keys()]) {
        if (!reported.has(volumeId)) this.#removeCopy(node, volumeId, changes)
      }
      for (const report of missingFrom(node.shards, shards)) {
        this.#putShards(node, report, changes)
      }
    }
    for (const volumeId of removedVolumeIds) this.#removeCopy(node, volumeId, changes)
    for (const report of volumes) this.#putCopy(node, report, changes)
    for (const report of shards) this.#putShards(node, report, changes)
  }

  /** What is in these directories counts elsewhere now, on every server that lists them. */
  #spreadClaims(directoryIds: ReadonlySet<string>, changes: Changes): void {
    for (const directoryId of directoryIds) {
      for (const url of this.#claims.servers(directoryId)) {
        const node = this.#nodes.get(url)
        if (node === undefined) continue
        node.disks = this.#countingDisks(node)
        for (const report of node.volumes.values()) {
          if (report.directoryId === directoryId) changes.addMoved(report.volumeId)
        }
        for (const [volumeId, reports] of node.shards) {
          const isHere = reports.some((report) => report.directoryId === directoryId)
          if (isHere) changes.addMoved(volumeId)
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
    this.#copies.add(volumeId, node.location.url, node)
  }

  #removeCopy(node: NodeRecord, volumeId: VolumeId, changes: Changes): void {
    if (!node.volumes.delete(volumeId)) return
    this.#copies.remove(volumeId, node.location.url)
    changes.addMoved(volumeId)
  }

  #putShards(node: NodeRecord, report: ShardReport, changes: Changes): void {
    const { volumeId } = report
    const { url } = node.location
    const change = putShards(node.shards, report)
    if (change === 'same') return
    changes.volumeIds.add(volumeId)
    if (change === 'moved') changes.addMoved(volumeId)
    if (node.shards.has(volumeId)) this.#shards.add(volumeId, url, node)
    else this.#shards.remove(volumeId, url)
  }
}

function touchAll(node: NodeRecord, isMoved: boolean, changes: Changes): void {
  for (const volumeId of [...node.volumes.keys(), ...node.shards.keys()]) {
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
