import type { VolumeId } from '../base/ids.ts'
import { KIB } from '../base/units.ts'
import type { DiskReport } from '../net/master-api.ts'
import type { NodeView, VolumeCopy } from './topology.ts'

interface Pending {
  bytes: number
  /** Disks it is counted on; the first one's server lets it decay. */
  readonly places: readonly Place[]
}

interface Place {
  readonly url: string
  readonly directoryId: string
}

/** Less than this is no estimate any more. */
const NEGLIGIBLE_BYTES = 64 * KIB

/**
 * What was assigned and has not been reported as written: an estimate, by volume and by disk. It
 * shrinks by what a volume is reported to have grown, and by half with each heartbeat, since leases
 * may be given up unused.
 */
export class AssignedBytes {
  readonly #byVolume = new Map<VolumeId, Pending>()
  readonly #byDisk = new Map<string, number>()
  readonly #byNode = new Map<string, number>()

  ofVolume(volumeId: VolumeId): number {
    return this.#byVolume.get(volumeId)?.bytes ?? 0
  }

  /** What can still be put on the disk of a volume, or on the emptiest one if that is not known. */
  diskRoomBytes(node: NodeView, directoryId: string): number {
    const disk = node.disks.find((candidate) => candidate.directoryId === directoryId)
    if (disk !== undefined) return roomBytes(disk) - this.#ofDisk(node.location.url, directoryId)
    const unplaced = this.#ofDisk(node.location.url, '')
    const rooms = node.disks.map(
      (other) => roomBytes(other) - this.#ofDisk(node.location.url, other.directoryId),
    )
    return Math.max(0, ...rooms) - unplaced
  }

  /** On all disks of a server. */
  ofNode(url: string): number {
    return this.#byNode.get(url) ?? 0
  }

  add(volumeId: VolumeId, copies: readonly VolumeCopy[], bytes: number): void {
    const before = this.ofVolume(volumeId)
    this.forget(volumeId)
    const places = copies.map(({ node, report }) => ({
      url: node.location.url,
      directoryId: report.directoryId,
    }))
    this.#byVolume.set(volumeId, { bytes: 0, places })
    this.#set(volumeId, before + bytes)
  }

  /** The volume was reported larger by `bytes`. */
  onGrown(volumeId: VolumeId, bytes: number): void {
    this.#set(volumeId, this.ofVolume(volumeId) - bytes)
  }

  onHeartbeat(url: string): void {
    for (const [volumeId, pending] of [...this.#byVolume]) {
      if (pending.places[0]?.url === url) this.#set(volumeId, Math.floor(pending.bytes / 2))
    }
  }

  forget(volumeId: VolumeId): void {
    this.#set(volumeId, 0)
  }

  #ofDisk(url: string, directoryId: string): number {
    return this.#byDisk.get(diskKey({ url, directoryId })) ?? 0
  }

  #set(volumeId: VolumeId, wantedBytes: number): void {
    const pending = this.#byVolume.get(volumeId)
    if (pending === undefined) return
    const bytes = wantedBytes < NEGLIGIBLE_BYTES ? 0 : wantedBytes
    for (const place of pending.places) {
      addTo(this.#byDisk, diskKey(place), bytes - pending.bytes)
      addTo(this.#byNode, place.url, bytes - pending.bytes)
    }
    pending.bytes = bytes
    if (bytes === 0) this.#byVolume.delete(volumeId)
  }
}

/** What may be put on a disk before it refuses. */
export function roomBytes(disk: DiskReport): number {
  return Math.max(0, disk.freeBytes - disk.reserveBytes)
}

function addTo(sums: Map<string, number>, key: string, bytes: number): void {
  const sum = (sums.get(key) ?? 0) + bytes
  if (sum > 0) sums.set(key, sum)
  else sums.delete(key)
}

function diskKey(place: Place): string {
  return `${place.directoryId}@${place.url}`
}
