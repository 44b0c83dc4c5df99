import { LIMITS } from '../base/limits.ts'
import { KIB } from '../base/units.ts'

/**
 * The bytes of a file outlive its name at least so long: readers that were just sent to them begin,
 * and a change that is repeated finds that its file lost its name (see `RemoteNamespace`).
 */
export const DELETE_DELAY_MS = 10_000

/** 2 MBit/s: who reads an old version more slowly than that may not get to its end. */
const READ_RATE = 256 * KIB

const DELAY_MS_MAX = 3_600_000

/**
 * How much longer than `DELETE_DELAY_MS` the bytes of a file live that is read as part of so many
 * bytes, so that whoever is reading them gets to the end. What is read in one go needs nothing.
 * Both together are at most an hour, which is reached at 0.9 GiB: what nobody may be reading
 * holds its room no longer than that.
 */
export function readingMs(sizeBytes: number): number {
  if (sizeBytes <= LIMITS.eagerReadMax.value) return 0
  const wantedMs = Math.ceil((sizeBytes * 1000) / READ_RATE)
  return Math.min(wantedMs, DELAY_MS_MAX - DELETE_DELAY_MS)
}
