import { assert } from '../base/assert.ts'
import { type FileId, formatFileId } from '../base/file-id.ts'
import { cookie, needleId, volumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'

/** What a name means. */
export interface NamedFile {
  readonly name: string
  readonly fileId: FileId
  readonly dataBytes: number
  readonly modifiedAtMs: number
}

const VERSION = 1
const NAMED_FILE_BYTES = 33
const INTENT_BYTES = 3
const ATTEMPTS_MAX = 0xffff
const DUE_DIGITS = 12

const NAME_PREFIX = 'names/'
const OWNER_PREFIX = 'name-files/'
const INTENT_PREFIX = 'name-intents/'

/** Every key that begins with `prefix/` is below `prefix0`: `0` follows `/`. */
export const NAME_KEYS_END = 'names0'

export const INTENT_KEYS_START = INTENT_PREFIX
export const INTENT_KEYS_END = 'name-intents0'

export function nameKey(name: string): string {
  return NAME_PREFIX + name
}

export function nameOfKey(key: string): string {
  return key.slice(NAME_PREFIX.length)
}

/** Of the row that says which name a file belongs to, or belonged to until it is deleted. */
export function ownerKey(fileId: FileId): string {
  return OWNER_PREFIX + formatFileId(fileId)
}

/** Of the row that says that a file is to be deleted: in the order in which they come due. */
export function intentKey(dueAtMs: number, fileId: FileId): string {
  return `${intentKeyStart(dueAtMs)}/${formatFileId(fileId)}`
}

/** All intents due at this time or later have this key or a higher one. */
export function intentKeyStart(dueAtMs: number): string {
  assert(Number.isSafeInteger(dueAtMs) && dueAtMs >= 0, `a delete due at ${dueAtMs}`)
  const digits = dueAtMs.toString(16).padStart(DUE_DIGITS, '0')
  assert(digits.length === DUE_DIGITS, `a delete due at ${dueAtMs}`)
  return INTENT_PREFIX + digits
}

/**
 * The row of a name. 33 bytes, big-endian.
 *
 *     0       1            5              13           17              25                 33
 *     | v u8  | volume u32 | needle u64   | cookie u32 | dataBytes u64 | modifiedAtMs u64 |
 */
export function encodeNamedFile(file: Omit<NamedFile, 'name'>): Uint8Array {
  assert(Number.isSafeInteger(file.dataBytes) && file.dataBytes >= 0, `${file.dataBytes} bytes`)
  assert(Number.isSafeInteger(file.modifiedAtMs) && file.modifiedAtMs >= 0, 'a time before 1970')
  const row = Buffer.alloc(NAMED_FILE_BYTES)
  row.writeUInt8(VERSION, 0)
  row.writeUInt32BE(file.fileId.volumeId, 1)
  row.writeUInt32BE(file.fileId.needleId.hi, 5)
  row.writeUInt32BE(file.fileId.needleId.lo, 9)
  row.writeUInt32BE(file.fileId.cookie, 13)
  row.writeBigUInt64BE(BigInt(file.dataBytes), 17)
  row.writeBigUInt64BE(BigInt(file.modifiedAtMs), 25)
  return row
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeNamedFile(name: string, bytes: Uint8Array): NamedFile {
  const row = bufferOf(bytes)
  if (row[0] !== VERSION || row.length !== NAMED_FILE_BYTES) throw corruptRow(nameKey(name))
  const volume = row.readUInt32BE(1)
  const dataBytes = Number(row.readBigUInt64BE(17))
  const modifiedAtMs = Number(row.readBigUInt64BE(25))
  if (volume === 0 || !Number.isSafeInteger(dataBytes) || !Number.isSafeInteger(modifiedAtMs)) {
    throw corruptRow(nameKey(name))
  }
  const fileId = {
    volumeId: volumeId(volume),
    needleId: needleId(row.readUInt32BE(5), row.readUInt32BE(9)),
    cookie: cookie(row.readUInt32BE(13)),
  }
  return { name, fileId, dataBytes, modifiedAtMs }
}

/** The row of a file's owner: v u8, then the name in UTF-8. */
export function encodeOwner(name: string): Uint8Array {
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(name)])
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeOwner(key: string, bytes: Uint8Array): string {
  if (bytes[0] !== VERSION) throw corruptRow(key)
  return bufferOf(bytes).toString('utf8', 1)
}

/** The row of an intent: v u8, then the tries that failed u16 (65,535 stands for more, too). */
export function encodeIntent(attempts: number): Uint8Array {
  const row = Buffer.alloc(INTENT_BYTES)
  row.writeUInt8(VERSION, 0)
  row.writeUInt16BE(Math.min(attempts, ATTEMPTS_MAX), 1)
  return row
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeIntent(key: string, bytes: Uint8Array): number {
  if (bytes[0] !== VERSION || bytes.length !== INTENT_BYTES) throw corruptRow(key)
  return bufferOf(bytes).readUInt16BE(1)
}

/** The file id an intent's key ends with, as text. */
export function fileIdTextOfIntent(key: string): string {
  return key.slice(INTENT_PREFIX.length + DUE_DIGITS + 1)
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function corruptRow(key: string): StoreError {
  return new StoreError('METADATA_CORRUPT', `the row ${key} cannot be read`)
}
