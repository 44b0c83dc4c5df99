import { StoreError } from '../base/store-error.ts'
import type { VolumePaths } from './volume-paths.ts'

export function busy(paths: VolumePaths): StoreError {
  return new StoreError('VOLUME_BUSY', `a vacuum of ${paths.base} is under way`)
}

export function damaged(paths: VolumePaths, why: string): StoreError {
  return new StoreError('VOLUME_DAMAGED', `${paths.base} is read-only: ${why}`)
}

export function sealed(paths: VolumePaths, why: string): StoreError {
  return new StoreError('VOLUME_SEALED', `volume ${paths.base} ${why}`)
}

/** A marker file remembers a failed sync over a restart. */
export function failedBefore(paths: VolumePaths, why: string): StoreError {
  return new StoreError('VOLUME_FAILED', `${paths.base}: a sync failed in an earlier run: ${why}`)
}

export function wideOffsets(paths: VolumePaths): StoreError {
  const why = 'has 5-byte index offsets, which are only read; export it and pack it anew'
  return new StoreError('VERSION_UNSUPPORTED', `${paths.base} ${why}`)
}
