import { formatNeedleId, type NeedleId } from '../base/ids.ts'
import type { ErrorCode } from '../base/store-error.ts'

/** A code of `StoreError`, or TAIL_TORN: an unfinished append that the next start cuts off. */
export type FindingCode = ErrorCode | 'TAIL_TORN'

export interface Finding {
  readonly code: FindingCode
  readonly offsetBytes?: number
  /** Hex, as in a file id. */
  readonly needleId?: string
  readonly message: string
}

export interface VolumeCheck {
  /** The `.dat` file. */
  readonly path: string
  /** No findings. */
  readonly ok: boolean
  /** Records that store something, whether it still lives or not. */
  readonly needles: number
  readonly liveNeedles: number
  /** Needles whose last state is deleted. */
  readonly deleted: number
  readonly bytes: number
  /** What is wrong, the first `FINDINGS_MAX` of it. */
  readonly findings: readonly Finding[]
  readonly findingCount: number
  /** What is worth knowing and not wrong. */
  readonly notes: readonly string[]
  readonly details: CheckDetails
}

/** What `fixVolume` decides by. */
export interface CheckDetails {
  /** `.sum` covers every byte of `.dat` and `.idx`. */
  readonly isCovered: boolean
  /** Places where acknowledged bytes hold no readable record. */
  readonly gaps: number
  /** Bytes of `.dat` contradict a checksum, or are missing. */
  readonly isDatDamaged: boolean
  /** `.sum` vouches for an `.idx` that contradicts `.dat`. */
  readonly isIndexContradicted: boolean
  /** Records of Size 0 that no index row explains: taken for deletions. */
  readonly unexplainedEmpty: number
  /** Bytes of the torn tail. */
  readonly tornBytes: number
}

/** More of one volume would be read by nobody. */
export const FINDINGS_MAX = 1000

/** Collects findings, keeping the first `FINDINGS_MAX`. */
export class FindingLog {
  readonly findings: Finding[] = []
  readonly notes: string[] = []
  count = 0

  add(
    code: FindingCode,
    message: string,
    where: { readonly offsetBytes?: number; readonly id?: NeedleId } = {},
  ): void {
    this.count++
    if (this.findings.length >= FINDINGS_MAX) return
    const { offsetBytes, id } = where
    this.findings.push({
      code,
      ...(offsetBytes === undefined ? {} : { offsetBytes }),
      ...(id === undefined ? {} : { needleId: formatNeedleId(id) }),
      message,
    })
  }

  note(message: string): void {
    this.notes.push(message)
  }
}
