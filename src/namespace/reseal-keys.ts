import { isStoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Logger } from '../runtime/logger.ts'
import type { SecretBox } from './secret-box.ts'
import {
  accessKeyIdOfRowKey,
  decodeAccessKey,
  encodeAccessKey,
  KEY_ROWS,
  openAccessKey,
} from './user-record.ts'

export interface ResealParts {
  readonly store: MetadataStore
  readonly box: SecretBox
  readonly logger: Logger
}

/**
 * Seals the secrets of all access keys with the current key of the box, so that older ones are not
 * needed any more. A row that cannot be read stays as it is, and the log says how many there are:
 * it does not keep the others from being served.
 */
export async function resealKeys(parts: ResealParts, signal: AbortSignal): Promise<void> {
  const { store, box, logger } = parts
  let resealedCount = 0
  let unreadableCount = 0
  for await (const { key: rowKey, value: bytes } of store.scan(KEY_ROWS, signal)) {
    const anew = resealed(accessKeyIdOfRowKey(rowKey), bytes, box)
    if (anew === 'unreadable') unreadableCount++
    if (typeof anew === 'string') continue
    const puts = [{ key: rowKey, value: anew }]
    await store.commit({ puts, conditions: [{ key: rowKey, value: bytes }] }, signal)
    resealedCount++
  }
  if (resealedCount > 0) logger.info('users.keys_resealed', { resealedCount })
  if (unreadableCount > 0) logger.error('users.keys_unreadable', { unreadableCount })
}

function resealed(
  accessKeyId: string,
  bytes: Uint8Array,
  box: SecretBox,
): Uint8Array | 'current' | 'unreadable' {
  try {
    const row = decodeAccessKey(accessKeyId, bytes)
    const key = openAccessKey(row, box)
    return box.isCurrent(row.sealed) ? 'current' : encodeAccessKey(key, box)
  } catch (error) {
    if (!isStoreError(error, 'METADATA_CORRUPT')) throw error
    return 'unreadable'
  }
}
