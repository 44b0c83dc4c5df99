import { createHash } from 'node:crypto'
import type { HayloftClient } from '../../client/hayloft-client.ts'
import type { ObjectVersion } from '../../namespace/object-version.ts'
import { readVersion } from '../stored-bytes.ts'

export interface ObjectInfo {
  readonly key: string
  readonly size: number
  readonly content_type: string
  readonly created_at: string
  readonly updated_at: string
  readonly version: number
  readonly checksum: string | null
}

const DEFAULT_TYPE = 'application/octet-stream'

/**
 * The checksum of an object that another door stored without one is found by reading it, unless it
 * is larger than `checkedBytesMax`; then it is null.
 *
 * @throws {StoreError} As `HayloftClient.getStream`, when it is read.
 */
export async function objectInfo(
  client: HayloftClient,
  key: string,
  version: ObjectVersion,
  checkedBytesMax: number,
  signal: AbortSignal,
): Promise<ObjectInfo> {
  const { contentType = DEFAULT_TYPE, history, modifiedAtMs, sizeBytes } = version
  return {
    key,
    size: sizeBytes,
    content_type: contentType,
    created_at: new Date(history?.firstWrittenAtMs ?? modifiedAtMs).toISOString(),
    updated_at: new Date(modifiedAtMs).toISOString(),
    version: history?.writeCount ?? 1,
    checksum: await checksumOf(client, version, checkedBytesMax, signal),
  }
}

async function checksumOf(
  client: HayloftClient,
  version: ObjectVersion,
  checkedBytesMax: number,
  signal: AbortSignal,
): Promise<string | null> {
  const { checksum, sizeBytes } = version
  if (checksum?.algorithm === 'SHA256' && checksum.type === 'FULL_OBJECT') {
    return Buffer.from(checksum.value, 'base64').toString('hex')
  }
  if (sizeBytes > checkedBytesMax) return null
  const hash = createHash('sha256')
  const pieces = readVersion(client, version, { start: 0, end: sizeBytes }, signal)
  for await (const piece of pieces) hash.update(piece)
  return hash.digest('hex')
}
