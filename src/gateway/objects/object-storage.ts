import type { StoragePlan } from '../object-writer.ts'
import { DOOR_COLLECTIONS } from '../stored-bytes.ts'
import { autoSpread } from './auto-spread.ts'
import { type ObjectsConfig, type ObjectsParts, readObjectPolicy } from './objects-config.ts'

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
    const plan = { collection: DOOR_COLLECTIONS.objects, ...copied, ...written }
    return () => plan
  }
  const coded = { collection: DOOR_COLLECTIONS.codedObjects, policy, ...written }
  if (spread !== 'auto') return () => ({ ...coded, spread })
  const auto = autoSpread(parts, erasure.scheme)
  return async (signal) => ({ ...coded, spread: await auto.current(signal) })
}
