import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { copyCount } from '../base/replica-placement.ts'
import type { Heartbeat, NodeLocation, VolumeReport } from '../net/master-api.ts'
import type { StripeFacts } from '../net/stripe-facts.ts'
import { AssignedBytes } from './assigned-bytes.ts'
import type { BrokenLinks } from './broken-links.ts'
import type { DirtyNeedles } from './dirty-needles.ts'
import { formatLayoutKey, type LayoutKey } from './layout-key.ts'
import type { LocationsFeed } from './locations-feed.ts'
import type { NodeStandings } from './node-standings.ts'
import { layoutOfShards, stripeLocations, stripeServers } from './stripe-members.ts'
import type { ClusterTopology, TopologyChange, VolumeCopy } from './topology.ts'
import { type Grade, VolumeLayout, type Writability } from './volume-layout.ts'
import { isSameTtl } from './volume-members.ts'
import type { VolumeSets } from './volume-sets.ts'

export interface ClusterStateParts {
  readonly feed: Pick<LocationsFeed, 'onMoved'>
  readonly topology: ClusterTopology
  readonly sets: VolumeSets
  readonly standings: NodeStandings
  readonly links: BrokenLinks
  readonly dirty: Pick<DirtyNeedles, 'countOf'>
}

export interface ClusterStateOptions {
  readonly volumeSizeMaxBytes: number
}

/**
 * All that is known about the cluster now, kept consistent: every change of the topology or of the
 * members of volumes reaches the layouts and the feed of locations before the call that made it
 * returns.
 *
 * Layouts and locations know only of copies and shards that count. A volume belongs to the layout
 * its record names, or while it has none, its first copy; a coded volume belongs to none.
 */
export class ClusterState {
  readonly topology: ClusterTopology
  readonly standings: NodeStandings
  readonly assigned = new AssignedBytes()
  readonly #parts: ClusterStateParts
  readonly #options: ClusterStateOptions
  readonly #layouts = new Map<string, VolumeLayout>()
  readonly #layoutOf = new Map<VolumeId, string>()
  readonly #datBytes = new Map<VolumeId, number>()
  readonly #held = new Set<VolumeId>()

  constructor(parts: ClusterStateParts, options: ClusterStateOptions) {
    this.#parts = parts
    this.#options = options
    this.topology = parts.topology
    this.standings = parts.standings
    parts.sets.attach({ onSetsChanged: (ids) => this.#refreshMoved(ids) })
  }

  get layouts(): Iterable<VolumeLayout> {
    return this.#layouts.values()
  }

  /** Of all volumes there are, those that nobody has reported since the start included. */
  get volumeIds(): Iterable<VolumeId> {
    return this.#parts.sets.volumeIds
  }

  layout(key: LayoutKey): VolumeLayout | undefined {
    return this.#layouts.get(formatLayoutKey(key))
  }

  hasVolume(volumeId: VolumeId): boolean {
    return this.#parts.sets.hasVolume(volumeId)
  }

  /** Undefined: there is no such volume. */
  collectionOf(volumeId: VolumeId): string | undefined {
    return this.hasVolume(volumeId) ? this.layoutKeyOf(volumeId)?.collection : undefined
  }

  /** What the volume shall be, by its record or, while it has none, by its first copy or shard. */
  layoutKeyOf(volumeId: VolumeId): LayoutKey | undefined {
    const key = this.#parts.sets.record(volumeId) ?? this.copies(volumeId)[0]?.report
    return key ?? layoutOfShards(this.topology.shards(volumeId))
  }

  /** Copies that count, on servers that are down as well, in the order of urls. None if coded. */
  copies(volumeId: VolumeId): VolumeCopy[] {
    return this.#parts.sets.copies(volumeId)
  }

  /** Of a coded volume: its shards that count, and how they are. */
  stripe(volumeId: VolumeId): StripeFacts | undefined {
    return this.#parts.sets.stripe(volumeId)
  }

  /** Servers in reach with a copy or shard that counts. */
  locations(volumeId: VolumeId): NodeLocation[] {
    const stripe = this.stripe(volumeId)
    if (stripe !== undefined) return stripeServers(stripeLocations(stripe))
    return this.copies(volumeId)
      .filter((copy) => copy.node.state !== 'down')
      .map((copy) => copy.node.location)
  }

  applyHeartbeat(beat: Heartbeat, atMs: number): void {
    this.#spread(beat.node.url, this.topology.apply(beat, atMs))
    this.assigned.onHeartbeat(beat.node.url)
    this.adoptPending()
  }

  /** See `VolumeSets.adoptPending`. */
  adoptPending(): void {
    const adopted = this.#parts.sets.adoptPending((id) => this.#held.has(id))
    if (adopted.length > 0) this.#refreshMoved(new Set(adopted))
  }

  markDown(url: string): void {
    this.#spread(url, this.topology.markDown(url))
  }

  forgetNode(url: string): void {
    this.#spread(url, this.topology.forgetNode(url))
  }

  addCopy(url: string, report: VolumeReport): void {
    this.#spread(url, this.topology.addCopy(url, report))
  }

  removeCopy(url: string, volumeId: VolumeId): void {
    this.#spread(url, this.topology.removeCopy(url, volumeId))
  }

  removeShards(url: string, volumeId: VolumeId, runId: string): void {
    this.#spread(url, this.topology.removeShards(url, volumeId, runId))
  }

  /** Volumes of the collection are to be looked up anew. */
  onPolicyChanged(collection: string): void {
    const moved = new Set<VolumeId>()
    for (const id of this.volumeIds) if (this.collectionOf(id) === collection) moved.add(id)
    if (moved.size > 0) this.#parts.feed.onMoved(moved)
  }

  /** Nothing is assigned to the volume until `release`, whatever servers report. */
  hold(volumeId: VolumeId): void {
    for (const oldest of this.#held) {
      if (this.#held.size < LIMITS.heldVolumesMax.value) break
      this.release(oldest)
    }
    this.#held.add(volumeId)
    this.#refresh(volumeId)
  }

  release(volumeId: VolumeId): void {
    this.#held.delete(volumeId)
    this.#refresh(volumeId)
  }

  #spread(url: string, change: TopologyChange): void {
    this.#parts.sets.onTopology(url, change, (id) => this.#held.has(id))
    for (const volumeId of change.volumeIds) this.#refresh(volumeId)
    if (change.movedVolumeIds.size > 0) this.#parts.feed.onMoved(change.movedVolumeIds)
  }

  #refreshMoved(volumeIds: ReadonlySet<VolumeId>): void {
    for (const volumeId of volumeIds) this.#refresh(volumeId)
    this.#parts.feed.onMoved(volumeIds)
  }

  #refresh(volumeId: VolumeId): void {
    const copies = this.copies(volumeId)
    const key = copies.length === 0 ? undefined : this.layoutKeyOf(volumeId)
    const before = this.#layoutOf.get(volumeId)
    if (key === undefined) {
      this.assigned.forget(volumeId)
      this.#datBytes.delete(volumeId)
      this.#leaveLayout(volumeId, before)
      return
    }
    const text = formatLayoutKey(key)
    if (before !== undefined && before !== text) this.#leaveLayout(volumeId, before)
    this.#noteGrowth(volumeId, copies)
    const layout = this.#layouts.get(text) ?? this.#newLayout(text, key)
    layout.put(volumeId, copies, this.#writability(volumeId, copies))
    this.#layoutOf.set(volumeId, text)
  }

  /** What its members say; whether there is room in it is the layout's to see. */
  #writability(volumeId: VolumeId, copies: readonly VolumeCopy[]): Writability {
    const record = this.#parts.sets.record(volumeId)
    if (record === undefined || record.deletedAtMs > 0 || this.#held.has(volumeId)) return 'none'
    const good = copies.filter(({ node, report }) => {
      const isOfLayout =
        report.collection === record.collection && isSameTtl(report.ttl, record.ttl)
      return isOfLayout && node.state === 'up' && report.state === 'writable'
    })
    if (good.length === 0) return 'none'
    const wanted = Math.max(record.members.length, copyCount(record.replication))
    return good.length === wanted ? 'whole' : 'partial'
  }

  #gradeOf(volumeId: VolumeId, copies: readonly VolumeCopy[]): Grade {
    const { dirty, links, standings } = this.#parts
    if (dirty.countOf(volumeId) > 0) return 'partial'
    if (links.count > 0 && links.isAnyCut(copies.map(urlOf))) return 'cut'
    if (copies.some((copy) => standings.isSpared(urlOf(copy)))) return 'spared'
    return 'good'
  }

  #noteGrowth(volumeId: VolumeId, copies: readonly VolumeCopy[]): void {
    const datBytes = Math.max(...copies.map((copy) => copy.report.datBytes))
    const before = this.#datBytes.get(volumeId) ?? datBytes
    if (datBytes > before) this.assigned.onGrown(volumeId, datBytes - before)
    this.#datBytes.set(volumeId, datBytes)
  }

  #newLayout(text: string, { collection, replication, ttl }: LayoutKey): VolumeLayout {
    const gradeOf = (volumeId: VolumeId, copies: readonly VolumeCopy[]) =>
      this.#gradeOf(volumeId, copies)
    const layout = new VolumeLayout(
      { collection, replication, ttl },
      { assigned: this.assigned, gradeOf },
      { sizeMaxBytes: this.#options.volumeSizeMaxBytes },
    )
    this.#layouts.set(text, layout)
    return layout
  }

  #leaveLayout(volumeId: VolumeId, key: string | undefined): void {
    if (key === undefined) return
    const layout = this.#layouts.get(key)
    layout?.remove(volumeId)
    if (layout?.volumeCount === 0) this.#layouts.delete(key)
    this.#layoutOf.delete(volumeId)
  }
}

function urlOf(copy: VolumeCopy): string {
  return copy.node.location.url
}
