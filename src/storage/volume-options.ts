import type { NeedleId } from '../base/ids.ts'
import type { StoreError } from '../base/store-error.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'

/**
 * What an acknowledged write has survived. `fsync`: a power cut. `interval`: a power cut, unless it
 * came within that many ms. `none`: the end of the process only.
 */
export type Durability =
  | { readonly mode: 'fsync' }
  | { readonly mode: 'interval'; readonly intervalMs: number }
  | { readonly mode: 'none' }

/** Watches the room on the disk a volume lies on. */
export interface SpaceGuard {
  /** Why a record of this many bytes may not be put; deletes are never asked about. */
  refusePut(recordBytes: number): StoreError | undefined
  onAppended(bytes: number): void
  /** The disk is full and deletes wait: gives up held space. False when there is none. */
  makeRoom(): Promise<boolean>
}

/** For a volume on its own: the disk itself says when it is full. */
export const UNGUARDED_SPACE: SpaceGuard = {
  refusePut: () => undefined,
  onAppended: () => undefined,
  makeRoom: async () => false,
}

export interface VolumeParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly logger: Logger
  readonly space: SpaceGuard
}

export interface VolumeOptions {
  readonly durability: Durability
  /** Puts are refused once `.dat` has reached this. */
  readonly sizeMaxBytes: number
}

/** How far a volume goes: two equal ones mean that nothing was appended or vacuumed in between. */
export interface VolumeExtent {
  readonly datBytes: number
  readonly compactionRevision: number
}

/**
 * writable: takes puts and deletes. sealed: takes deletes. read-only: an old format version; a
 * vacuum makes it writable. failed: a sync failed; what it still serves is checked, and a vacuum
 * or a copy elsewhere saves it. damaged: acknowledged bytes are missing or wrong; it serves what
 * is intact.
 */
export type VolumeState = 'writable' | 'sealed' | 'read-only' | 'failed' | 'damaged' | 'closed'

export interface VolumeStats {
  readonly state: VolumeState
  /** Why it is failed or damaged. */
  readonly reason: string | undefined
  readonly liveNeedles: number
  /** Bytes of `.dat` that live needles occupy, with headers and padding. */
  readonly liveBytes: number
  /** Bytes of `.dat` a vacuum would give back (kept tombstones aside). */
  readonly garbageBytes: number
  readonly datBytes: number
  readonly indexMemoryBytes: number
  readonly compactionRevision: number
  /** When something was last appended; 0: never. */
  readonly modifiedAtS: number
  /** No needle here, live or deleted, has a higher id. */
  readonly highestNeedleId: NeedleId
  /** Writes that wait for the next batch. */
  readonly queueDepth: number
  /** Batches appended since it was opened. */
  readonly batchCount: number
  /** Reads and writes asked for since it was opened; those of other threads are not known here. */
  readonly requestCount: number
}
