import type { VolumeId } from '../base/ids.ts'
import { copyCount } from '../base/replica-placement.ts'
import { KIB } from '../base/units.ts'
import { type AssignedBytes, roomBytes } from './assigned-bytes.ts'
import { isInPlace, type LayoutKey, type PlaceFilter } from './layout-key.ts'
import type { VolumeCopy } from './topology.ts'

/** A volume that can take a write now. */
export interface Candidate {
  readonly volumeId: VolumeId
  /** Above 0: until the volume is full, or the fullest of its disks. */
  readonly remainingBytes: number
  /** Until the volume is full, whatever its disks can take. */
  readonly sizeLeftBytes: number
  readonly copies: readonly VolumeCopy[]
}

export type RoomBasis = 'reported-and-assigned' | 'reported'

interface LayoutVolume {
  copies: readonly VolumeCopy[]
  isWritable: boolean
  /** Of the largest copy. */
  datBytes: number
  liveBytes: number
  liveNeedles: number
}

/** Assumed of a needle while nothing is known of the layout's needles. */
const NEEDLE_BYTES_ASSUMED = 64 * KIB

/**
 * A volume is left this share of its size before it is full: what was assigned and not yet written
 * still finds room. 120 MiB of 30 GiB.
 */
const MARGIN_SHARE = 1 / 256

/** What can be assigned of a volume that was just made. */
export function freshVolumeBytes(sizeMaxBytes: number): number {
  return sizeMaxBytes - marginOf(sizeMaxBytes)
}

function marginOf(sizeMaxBytes: number): number {
  return Math.ceil(sizeMaxBytes * MARGIN_SHARE)
}

/**
 * The volumes of one collection, replication and TTL, and which of them can be written to.
 *
 * Writable: as many copies are up as the replication wants, on servers that stay, each in the state
 * `writable` and of this layout, none at the size limit. Room on the disks is looked at only when
 * somebody asks, since it changes with every assignment.
 */
export class VolumeLayout {
  readonly key: LayoutKey
  readonly #sizeMaxBytes: number
  readonly #assigned: AssignedBytes
  readonly #volumes = new Map<VolumeId, LayoutVolume>()
  readonly #writable = new Set<VolumeId>()
  #liveBytes = 0
  #liveNeedles = 0

  constructor(
    key: LayoutKey,
    parts: { readonly assigned: AssignedBytes },
    options: { readonly sizeMaxBytes: number },
  ) {
    this.key = key
    this.#assigned = parts.assigned
    this.#sizeMaxBytes = options.sizeMaxBytes
  }

  get volumeIds(): Iterable<VolumeId> {
    return this.#volumes.keys()
  }

  get volumeCount(): number {
    return this.#volumes.size
  }

  /** Those with room on their disks. */
  writableVolumeIds(): VolumeId[] {
    return [...this.#writable].filter((volumeId) => this.#remainingBytes(volumeId) > 0)
  }

  /** Writable, and not yet so full that a successor should be ready. */
  roomyVolumeCount(crowdedShare: number): number {
    const needed = this.#sizeMaxBytes * (1 - crowdedShare)
    let count = 0
    for (const volumeId of this.#writable) {
      if (this.#remainingBytes(volumeId) > 0 && this.#sizeLeftBytes(volumeId) > needed) count++
    }
    return count
  }

  /** Writable volumes by the url of a server that has a copy. */
  writableCountByNode(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const volumeId of this.#writable) {
      if (this.#remainingBytes(volumeId) <= 0) continue
      for (const { node } of this.#volumes.get(volumeId)?.copies ?? []) {
        counts.set(node.location.url, (counts.get(node.location.url) ?? 0) + 1)
      }
    }
    return counts
  }

  /** On the basis of what was reported alone, a volume may take more than it should. */
  candidates(
    place: PlaceFilter,
    excluded: ReadonlySet<VolumeId>,
    basis: RoomBasis = 'reported-and-assigned',
  ): Candidate[] {
    const candidates: Candidate[] = []
    for (const volumeId of this.#writable) {
      if (excluded.has(volumeId)) continue
      const copies = this.#volumes.get(volumeId)?.copies ?? []
      if (!copies.some((copy) => isInPlace(copy.node.location, place))) continue
      const remainingBytes = this.#remainingBytes(volumeId, basis)
      const sizeLeftBytes = this.#usableBytes(volumeId)
      if (remainingBytes > 0) candidates.push({ volumeId, remainingBytes, sizeLeftBytes, copies })
    }
    return candidates
  }

  /** What a needle of this layout takes, on the average of those that are there. */
  needleBytesMean(): number {
    if (this.#liveNeedles === 0) return NEEDLE_BYTES_ASSUMED
    return Math.ceil(this.#liveBytes / this.#liveNeedles)
  }

  /** `isHeld`: not to be written to, whatever it looks like. */
  put(volumeId: VolumeId, copies: readonly VolumeCopy[], isHeld: boolean): void {
    this.#forgetLive(volumeId)
    const reports = copies.map((copy) => copy.report)
    const datBytes = Math.max(...reports.map((report) => report.datBytes))
    const liveNeedles = Math.max(...reports.map((report) => report.liveNeedles))
    const liveBytes = Math.max(...reports.map((report) => report.liveBytes))
    this.#liveNeedles += liveNeedles
    this.#liveBytes += liveBytes
    const isWritable = !isHeld && this.#isWritable(copies) && datBytes < this.#sizeMaxBytes
    this.#volumes.set(volumeId, { copies, isWritable, datBytes, liveBytes, liveNeedles })
    if (isWritable) this.#writable.add(volumeId)
    else this.#writable.delete(volumeId)
  }

  remove(volumeId: VolumeId): void {
    this.#forgetLive(volumeId)
    this.#volumes.delete(volumeId)
    this.#writable.delete(volumeId)
  }

  #forgetLive(volumeId: VolumeId): void {
    const volume = this.#volumes.get(volumeId)
    if (volume === undefined) return
    this.#liveBytes -= volume.liveBytes
    this.#liveNeedles -= volume.liveNeedles
  }

  #isWritable(copies: readonly VolumeCopy[]): boolean {
    if (copies.length !== copyCount(this.key.replication)) return false
    return copies.every(({ node, report }) => node.state === 'up' && report.state === 'writable')
  }

  #sizeLeftBytes(volumeId: VolumeId): number {
    const datBytes = this.#volumes.get(volumeId)?.datBytes ?? this.#sizeMaxBytes
    return this.#sizeMaxBytes - datBytes - this.#assigned.ofVolume(volumeId)
  }

  #usableBytes(volumeId: VolumeId): number {
    return this.#sizeLeftBytes(volumeId) - marginOf(this.#sizeMaxBytes)
  }

  #remainingBytes(volumeId: VolumeId, basis: RoomBasis = 'reported-and-assigned'): number {
    let left = this.#usableBytes(volumeId)
    if (basis === 'reported') {
      left += this.#assigned.ofVolume(volumeId)
      for (const { node } of this.#volumes.get(volumeId)?.copies ?? []) {
        left = Math.min(left, Math.max(0, ...node.disks.map(roomBytes)))
      }
      return left
    }
    for (const { node, report } of this.#volumes.get(volumeId)?.copies ?? []) {
      left = Math.min(left, this.#assigned.diskRoomBytes(node, report.directoryId))
    }
    return Math.floor(left)
  }
}
