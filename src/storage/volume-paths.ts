import { join } from 'node:path'
import type { VolumeId } from '../base/ids.ts'
import { volumeBaseName } from '../format/file-names.ts'

/** The files of one volume on one disk. `next*` are the output of a vacuum before its switch. */
export interface VolumePaths {
  readonly directory: string
  readonly base: string
  readonly dat: string
  readonly idx: string
  readonly sum: string
  readonly vif: string
  readonly failed: string
  /** The `.dat` of a volume whose removal has been decided and is not finished. */
  readonly removed: string
  /** Marks an unfinished copy, which is not served. */
  readonly note: string
  readonly nextDat: string
  readonly nextIdx: string
  readonly nextSum: string
  readonly commitMarker: string
  /** A complete copy that is to take the place of a bad one; see volume-replace.ts. */
  readonly replacement: {
    readonly dat: string
    readonly idx: string
    readonly sum: string
    readonly vif: string
    readonly commitMarker: string
  }
}

export function volumePaths(
  directory: string,
  volume: { readonly collection: string; readonly volumeId: VolumeId },
): VolumePaths {
  const base = join(directory, volumeBaseName(volume))
  return {
    directory,
    base,
    dat: `${base}.dat`,
    idx: `${base}.idx`,
    sum: `${base}.sum`,
    vif: `${base}.vif`,
    failed: `${base}.failed`,
    removed: `${base}.removed`,
    note: `${base}.note`,
    nextDat: `${base}.cpd`,
    nextIdx: `${base}.cpx`,
    nextSum: `${base}.cps`,
    commitMarker: `${base}.cpc`,
    replacement: {
      dat: `${base}.rpd`,
      idx: `${base}.rpx`,
      sum: `${base}.rps`,
      vif: `${base}.rpv`,
      commitMarker: `${base}.rpc`,
    },
  }
}
