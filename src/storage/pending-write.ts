import type { NeedleId } from '../base/ids.ts'
import type { PreparedNeedle } from '../format/needle.ts'
import type { DiskFile } from '../runtime/disk.ts'

export interface PutResult {
  /** Raw CRC-32C of the data. */
  readonly checksum: number
  readonly dataBytes: number
  /** The same bytes were there already; nothing was written. */
  readonly isUnchanged: boolean
}

export interface DeleteResult {
  /** False when the needle was not there, or deleted before: nothing was written. */
  readonly wasLive: boolean
  /** Bytes of `.dat` that became garbage. */
  readonly freedBytes: number
}

interface Waiting<Result> {
  readonly signal: AbortSignal
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

export interface PendingPut extends Waiting<PutResult> {
  readonly kind: 'put'
  readonly id: NeedleId
  readonly needle: PreparedNeedle
  /** Where the data lies when it is not in `needle.data`. */
  readonly spool: DiskFile | undefined
  /** Comes from another copy: goes over whatever is here, but never over a deletion. */
  readonly isHeal: boolean
}

export interface PendingDelete extends Waiting<DeleteResult> {
  readonly kind: 'delete'
  readonly id: NeedleId
  /** Checked against the needle's; undefined deletes whatever is there. */
  readonly cookie: number | undefined
}

export type PendingWrite = PendingPut | PendingDelete

/** A write that was checked against the volume and will be appended. */
export type BatchEntry =
  | { readonly kind: 'put'; readonly write: PendingPut; readonly recordBytes: number }
  | {
      readonly kind: 'delete'
      readonly write: PendingDelete
      readonly recordBytes: number
      /** Cookie and checksum of the needle it deletes. */
      readonly cookie: number
      readonly checksum: number
      readonly freedBytes: number
    }
