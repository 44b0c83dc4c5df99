import type { StoragePlan } from '../object-writer.ts'
import { autoSpread } from './auto-spread.ts'
import { type ObjectsConfig, type ObjectsParts, readObjectPolicy } from './objects-config.ts'

/** Objects in copies and erasure-coded ones lie on volumes of their own. */
export const COPIED_COLLECTION = 'objects'
export const CODED_COLLECTION = 'objects-coded'

/**
 * How the next object is to be stored.
 *
 * @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID: the policy or the spread is none.
 */
export function objectStorage(
  parts: Pick<ObjectsParts, 'master' | 'clock'>,
  config: ObjectsConfig,
): (signal: AbortSignal) => StoragePlan | Promise<StoragePlan> {
  const { replication, spread, writePolicy } = config
  const { erasure, policy } = readObjectPolicy(config)
  const written = writePolicy === undefined ? {} : { writePolicy }
  if (erasure === undefined) {
    const copied = replication === undefined ? {} : { replication }
    const plan = { collection: COPIED_COLLECTION, ...copied, ...written }
    return () => plan
  }
  const coded = { collection: CODED_COLLECTION, policy, ...written }
  if (spread !== 'auto') return () => ({ ...coded, spread })
  const auto = autoSpread(parts, erasure.scheme)
  return async (signal) => ({ ...coded, spread: await auto.current(signal) })
}
