import { StoreError } from '../base/store-error.ts'
import type { BucketRef } from './namespace-api.ts'
import { isObject, isTextList } from './row-bytes.ts'
import { dirtyKey, objectOfDirtyRow } from './row-keys.ts'
import type { DirtyObject, WriteIntent } from './write-intents-api.ts'

const VERSION = 1

/** The row of an intent: v u8, then JSON without the id, which is in the key. */
export function encodeWriteIntent({ id: _, ...rest }: WriteIntent): Buffer {
  return encodeJson(rest)
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeWriteIntent(id: string, bytes: Uint8Array): WriteIntent {
  const value = decodeJson(`the intent ${id}`, bytes)
  const { bucket, fileIds, key, session, startedAtMs } = value
  if (
    typeof bucket !== 'string' ||
    typeof key !== 'string' ||
    typeof session !== 'string' ||
    !Number.isSafeInteger(startedAtMs) ||
    !isTextList(fileIds)
  ) {
    throw corrupt(`the intent ${id}`)
  }
  return { id, session, bucket, key, fileIds, startedAtMs: Number(startedAtMs) }
}

/** The row of an object that lacks copies or shards: v u8, then JSON of what its key lacks. */
export function dirtyRow({ bucket, id, key }: DirtyObject) {
  return { key: dirtyKey(bucket.id, key), value: encodeJson({ bucket: bucket.name, id }) }
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeDirtyRow(row: string, bytes: Uint8Array): DirtyObject {
  const { bucket: name, id } = decodeJson(`the row ${row}`, bytes)
  if (typeof name !== 'string' || typeof id !== 'string') throw corrupt(`the row ${row}`)
  const { bucketId, key } = objectOfDirtyRow(row)
  const bucket: BucketRef = { name, id: bucketId }
  return { bucket, key, id }
}

function encodeJson(value: unknown): Buffer {
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(JSON.stringify(value))])
}

function decodeJson(what: string, bytes: Uint8Array): Readonly<Record<string, unknown>> {
  if (bytes[0] !== VERSION) throw corrupt(what)
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes.subarray(1)).toString('utf8'))
  } catch (cause) {
    throw corrupt(what, cause)
  }
  if (!isObject(value)) throw corrupt(what)
  return value
}

function corrupt(what: string, cause?: unknown): StoreError {
  return new StoreError('METADATA_CORRUPT', `${what} cannot be read`, { cause })
}
