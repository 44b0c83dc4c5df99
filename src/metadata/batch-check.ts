import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import type { MetadataBatch } from './metadata-store.ts'

const LONE_SURROGATE = /\p{Surrogate}/u
const KEY_BYTES_MAX = LIMITS.metadataKeyMax.value

/** Keys are made by us, from text that was checked where it came in. */
export function checkKey(key: string): void {
  assert(key !== '' && !LONE_SURROGATE.test(key), 'a key is empty or not proper text')
  // Three bytes a code unit at most: short keys need not be measured.
  assert(
    key.length * 3 <= KEY_BYTES_MAX || Buffer.byteLength(key) <= KEY_BYTES_MAX,
    `a key of ${key.length} characters`,
  )
}

export function checkBatch(batch: MetadataBatch): void {
  const keys = new Set<string>()
  for (const key of changedKeys(batch)) {
    checkKey(key)
    assert(!keys.has(key), `${key} stands twice in a batch`)
    keys.add(key)
  }
  for (const condition of batch.conditions ?? []) checkKey(condition.key)
}

function* changedKeys(batch: MetadataBatch): Iterable<string> {
  for (const row of batch.puts ?? []) yield row.key
  yield* batch.deletes ?? []
}
