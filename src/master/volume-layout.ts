import type { VolumeId } from '../base/ids.ts'
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

/** `whole`: all copies that there should be can be written to. `partial`: some of them. */
export type Writability = 'whole' | 'partial' | 'none'

/**
 * How well a volume can be written to. `spared`: a server of it shall be given nothing new if there
 * is another choice. `cut`: two servers of it cannot reach each other just now. `partial`: some
 * copies are missing, or copies differ; good enough only where a write may reach some of them.
 */
export type Grade = 'good' | 'spared' | 'cut' | 'partial'

export const ALL_GRADES: readonly Grade[] = ['good', 'spared', 'cut', 'partial']

export interface VolumeLayoutParts {
  readonly assigned: AssignedBytes
  /** Of a volume with all its copies; changes without notice. */
  readonly gradeOf: (volumeId: VolumeId, copies: readonly VolumeCopy[]) => Grade
}

interface LayoutVolume {
  copies: readonly VolumeCopy[]
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
 * Writable: all copies that count, and no fewer than the replication wants, are up, on servers that
 * stay, each in the state `writable` and of this layout, none at the size limit. Room on the disks,
 * and what speaks against a volume for the moment, is looked at only when somebody asks.
 */
export class VolumeLayout {
  readonly key: LayoutKey
  readonly #sizeMaxBytes: number
  readonly #assigned: AssignedBytes
  readonly #parts: VolumeLayoutParts
  readonly #volumes = new Map<VolumeId, LayoutVolume>()
  readonly #writable = new Set<VolumeId>()
  readonly #partial = new Set<VolumeId>()
  #liveBytes = 0
  #liveNeedles = 0

  constructor(
    key: LayoutKey,
    parts: VolumeLayoutParts,
    options: { readonly sizeMaxBytes: number },
  ) {
    this.key = key
    this.#parts = parts
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
    return [...this.#writable].filter(
      (volumeId) => this.#gradeOf(volumeId) !== 'partial' && this.#remainingBytes(volumeId) > 0,
    )
  }

  /** Of the grade `good`, and not yet so full that a successor should be ready. */
  roomyVolumeCount(crowdedShare: number): number {
    const needed = this.#sizeMaxBytes * (1 - crowdedShare)
    let count = 0
    for (const volumeId of this.#writable) {
      if (this.#gradeOf(volumeId) !== 'good') continue
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

  /** Of any of these grades, with room. */
  candidates(
    place: PlaceFilter,
    excluded: ReadonlySet<VolumeId>,
    grades: readonly Grade[] = ['good'],
  ): Candidate[] {
    const candidates: Candidate[] = []
    const add = (volumeId: VolumeId, copies: readonly VolumeCopy[]) => {
      if (excluded.has(volumeId)) return
      if (!copies.some((copy) => isInPlace(copy.node.location, place))) return
      const remainingBytes = this.#remainingBytes(volumeId)
      const sizeLeftBytes = this.#usableBytes(volumeId)
      if (remainingBytes > 0) candidates.push({ volumeId, remainingBytes, sizeLeftBytes, copies })
    }
    for (const volumeId of this.#writable) {
      if (grades.includes(this.#gradeOf(volumeId))) add(volumeId, this.#copies(volumeId))
    }
    if (!grades.includes('partial')) return candidates
    for (const volumeId of this.#partial) {
      add(volumeId, this.#copies(volumeId).filter(canTakeWrites))
    }
    return candidates
  }

  /**
   * Volumes with all their copies that have room if nothing of what was assigned is written, which
   * may then take more than they should.
   */
  candidatesOnReports(
    place: PlaceFilter,
    grades: readonly Grade[] = ['good', 'spared', 'cut'],
  ): Candidate[] {
    const candidates: Candidate[] = []
    for (const volumeId of this.#writable) {
      const copies = this.#copies(volumeId)
      if (!copies.some((copy) => isInPlace(copy.node.location, place))) continue
      if (!grades.includes(this.#gradeOf(volumeId))) continue
      const remainingBytes = this.#reportedRoomBytes(volumeId)
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

  put(volumeId: VolumeId, copies: readonly VolumeCopy[], writability: Writability): void {
    this.#forgetLive(volumeId)
    const reports = copies.map((copy) => copy.report)
    const datBytes = Math.max(...reports.map((report) => report.datBytes))
    const liveNeedles = Math.max(...reports.map((report) => report.liveNeedles))
    const liveBytes = Math.max(...reports.map((report) => report.liveBytes))
    this.#liveNeedles += liveNeedles
    this.#liveBytes += liveBytes
    this.#volumes.set(volumeId, { copies, datBytes, liveBytes, liveNeedles })
    const has = datBytes < this.#sizeMaxBytes ? writability : 'none'
    if (has === 'whole') this.#writable.add(volumeId)
    else this.#writable.delete(volumeId)
    if (has === 'partial') this.#partial.add(volumeId)
    else this.#partial.delete(volumeId)
  }

  remove(volumeId: VolumeId): void {
    this.#forgetLive(volumeId)
    this.#volumes.delete(volumeId)
    this.#writable.delete(volumeId)
    this.#partial.delete(volumeId)
  }

  #forgetLive(volumeId: VolumeId): void {
    const volume = this.#volumes.get(volumeId)
    if (volume === undefined) return
    this.#liveBytes -= volume.liveBytes
    this.#liveNeedles -= volume.liveNeedles
  }

  #copies(volumeId: VolumeId): readonly VolumeCopy[] {
    return this.#volumes.get(volumeId)?.copies ?? []
  }

  #gradeOf(volumeId: VolumeId): Grade {
    return this.#parts.gradeOf(volumeId, this.#copies(volumeId))
  }

  #sizeLeftBytes(volumeId: VolumeId): number {
    const datBytes = this.#volumes.get(volumeId)?.datBytes ?? this.#sizeMaxBytes
    return this.#sizeMaxBytes - datBytes - this.#assigned.ofVolume(volumeId)
  }

  #usableBytes(volumeId: VolumeId): number {
    return this.#sizeLeftBytes(volumeId) - marginOf(this.#sizeMaxBytes)
  }

  #remainingBytes(volumeId: VolumeId): number {
    let left = this.#usableBytes(volumeId)
    for (const { node, report } of this.#copies(volumeId)) {
      // What cannot be reached is not written to.
      if (node.state === 'down') continue
      left = Math.min(left, this.#assigned.diskRoomBytes(node, report.directoryId))
    }
    return Math.floor(left)
  }

  #reportedRoomBytes(volumeId: VolumeId): number {
    let left = this.#usableBytes(volumeId) + this.#assigned.ofVolume(volumeId)
    for (const { node } of this.#copies(volumeId)) {
      left = Math.min(left, Math.max(0, ...node.disks.map(roomBytes)))
    }
    return left
  }
}

function canTakeWrites({ node, report }: VolumeCopy): boolean {
  return node.state === 'up' && report.state === 'writable'
}
