import { isStoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { VolumeDigest } from '../net/volume-api.ts'
import { Freeze } from './freeze.ts'
import { isSameExtent, type VolumeWork } from './volume-work.ts'

/**
 * The same needles live in all these copies. Looks twice at most: first as they are, and when they
 * differ because they are being written to, with the writes held back.
 *
 * @throws {StoreError} one of them cannot be asked.
 */
export async function doAgree(
  work: VolumeWork,
  locations: readonly NodeLocation[],
  signal: AbortSignal,
): Promise<boolean> {
  if (locations.length < 2) return true
  const first = await digestsIfQuiet(work, locations, signal)
  if (first !== undefined && areSame(first)) return true
  const second = await digestsIfQuiet(work, locations, signal)
  if (second !== undefined && areSame(second)) return true
  if (first !== undefined && second !== undefined && areUnchanged(first, second)) return false
  await using freeze = await Freeze.open(work, locations, signal)
  const frozen = await digestsOf(work, locations, signal)
  await freeze.thaw()
  return areSame(frozen)
}

/** Undefined: one of them is written to without a pause. */
async function digestsIfQuiet(
  work: VolumeWork,
  locations: readonly NodeLocation[],
  signal: AbortSignal,
): Promise<readonly VolumeDigest[] | undefined> {
  try {
    return await digestsOf(work, locations, signal)
  } catch (error) {
    if (isStoreError(error, 'VOLUME_BUSY')) return undefined
    throw error
  }
}

function areUnchanged(before: readonly VolumeDigest[], after: readonly VolumeDigest[]): boolean {
  return after.every((digest, index) => {
    const old = before[index]
    return old !== undefined && isSameExtent(old, digest)
  })
}

/** @throws {StoreError} VOLUME_BUSY: one of them is written to without a pause. */
export async function digestsOf(
  work: VolumeWork,
  locations: readonly NodeLocation[],
  signal: AbortSignal,
): Promise<readonly VolumeDigest[]> {
  return await Promise.all(
    locations.map((location) => work.at(location).digestVolume(work.volumeId, signal)),
  )
}

export function areSame(digests: readonly VolumeDigest[]): boolean {
  return digests.every(({ digest, liveNeedles }) => {
    return digest === digests[0]?.digest && liveNeedles === digests[0]?.liveNeedles
  })
}
