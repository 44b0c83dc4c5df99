import { LIMITS } from '../../base/limits.ts'
import type { ListedObject } from '../../namespace/namespace-api.ts'
import type { ObjectVersion } from '../../namespace/object-version.ts'
import { parseObjectKey } from '../../namespace/row-keys.ts'
import { parseUserName } from '../../namespace/user-record.ts'
import type { StoredFile } from '../../net/files-api.ts'

/** Metadata of a file with chunks of another length than usual. */
export const CHUNK_BYTES_METADATA = 'hayloft-chunk-bytes'

/** The file `name` of a user is this object. @throws {StoreError} NAME_INVALID, REQUEST_INVALID. */
export function fileKey(user: string, name: string): string {
  return parseObjectKey(`${parseUserName(user)}/${name}`)
}

/** Keys of all files of a user begin so. @throws {StoreError} REQUEST_INVALID */
export function userPrefix(user: string): string {
  return `${parseUserName(user)}/`
}

/** Undefined: an object that somebody put there, and that is nobody's file. */
export function listedFile({ key, version }: ListedObject): StoredFile | undefined {
  const at = key.indexOf('/')
  if (at < 1 || at === key.length - 1) return undefined
  return storedFile(key.slice(0, at), key.slice(at + 1), version)
}

export function storedFile(user: string, name: string, version: ObjectVersion): StoredFile {
  const { checksum, contentType, etag, history, modifiedAtMs, sizeBytes } = version
  const isSha256 = checksum?.algorithm === 'SHA256' && checksum.type === 'FULL_OBJECT'
  return {
    user,
    name,
    sizeBytes,
    contentType,
    createdAtMs: history?.firstWrittenAtMs ?? modifiedAtMs,
    modifiedAtMs,
    version: history?.writeCount ?? 1,
    sha256: isSha256 ? Buffer.from(checksum.value, 'base64').toString('hex') : undefined,
    etag,
    chunkCount: chunkCountOf(version),
  }
}

function chunkCountOf({ metadata, parts }: ObjectVersion): number {
  const told = Number(metadata[CHUNK_BYTES_METADATA])
  const chunkBytes = Number.isInteger(told) && told > 0 ? told : LIMITS.chunkBytes.value
  let count = 0
  for (const { sizeBytes } of parts) count += Math.max(1, Math.ceil(sizeBytes / chunkBytes))
  return count
}
