import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import type { Heartbeat, VolumeReport } from '../net/master-api.ts'
import { AssignedBytes } from './assigned-bytes.ts'
import { formatLayoutKey, type LayoutKey } from './layout-key.ts'
import type { LocationsFeed } from './locations-feed.ts'
import { ClusterTopology, type TopologyChange, type VolumeCopy } from './topology.ts'
import { VolumeLayout } from './volume-layout.ts'

export interface ClusterStateOptions {
  readonly volumeSizeMaxBytes: number
}

/**
 * All that is known about the cluster now, kept consistent: every change of the topology reaches
 * the layouts and the feed of locations before the call that made it returns.
 *
 * A volume belongs to the layout its first copy names. Copies that name different ones make it not
 * writable, in that layout.
 */
export class ClusterState {
  readonly topology = new ClusterTopology()
  readonly assigned = new AssignedBytes()
  readonly #feed: Pick<LocationsFeed, 'onMoved'>
  readonly #options: ClusterStateOptions
  readonly #layouts = new Map<string, VolumeLayout>()
  readonly #layoutOf = new Map<VolumeId, string>()
  readonly #datBytes = new Map<VolumeId, number>()
  readonly #held = new Set<VolumeId>()

  constructor(
    parts: { readonly feed: Pick<LocationsFeed, 'onMoved'> },
    options: ClusterStateOptions,
  ) {
    this.#feed = parts.feed
    this.#options = options
  }

  get layouts(): Iterable<VolumeLayout> {
    return this.#layouts.values()
  }

  layout(key: LayoutKey): VolumeLayout | undefined {
    return this.#layouts.get(formatLayoutKey(key))
  }

  applyHeartbeat(beat: Heartbeat, atMs: number): void {
    const change = this.topology.apply(beat, atMs)
    this.#spread(change)
    this.assigned.onHeartbeat(beat.node.url)
  }

  markDown(url: string): void {
    this.#spread(this.topology.markDown(url))
  }

  forgetNode(url: string): void {
    this.#spread(this.topology.forgetNode(url))
  }

  addCopy(url: string, report: VolumeReport): void {
    this.#spread(this.topology.addCopy(url, report))
  }

  removeCopy(url: string, volumeId: VolumeId): void {
    this.#spread(this.topology.removeCopy(url, volumeId))
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

  #spread(change: TopologyChange): void {
    for (const volumeId of change.volumeIds) this.#refresh(volumeId)
    if (change.movedVolumeIds.size > 0) this.#feed.onMoved(change.movedVolumeIds)
  }

  #refresh(volumeId: VolumeId): void {
    const copies = this.topology.copies(volumeId)
    const [first] = copies
    const before = this.#layoutOf.get(volumeId)
    if (first === undefined) {
      this.assigned.forget(volumeId)
      this.#datBytes.delete(volumeId)
      this.#leaveLayout(volumeId, before)
      return
    }
    const key = formatLayoutKey(first.report)
    if (before !== undefined && before !== key) this.#leaveLayout(volumeId, before)
    this.#noteGrowth(volumeId, copies)
    const isUnclear = copies.some((copy) => formatLayoutKey(copy.report) !== key)
    const layout = this.#layouts.get(key) ?? this.#newLayout(key, first.report)
    layout.put(volumeId, copies, isUnclear || this.#held.has(volumeId))
    this.#layoutOf.set(volumeId, key)
  }

  #noteGrowth(volumeId: VolumeId, copies: readonly VolumeCopy[]): void {
    const datBytes = Math.max(...copies.map((copy) => copy.report.datBytes))
    const before = this.#datBytes.get(volumeId) ?? datBytes
    if (datBytes > before) this.assigned.onGrown(volumeId, datBytes - before)
    this.#datBytes.set(volumeId, datBytes)
  }

  #newLayout(text: string, { collection, replication, ttl }: LayoutKey): VolumeLayout {
    const layout = new VolumeLayout(
      { collection, replication, ttl },
      { assigned: this.assigned },
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
