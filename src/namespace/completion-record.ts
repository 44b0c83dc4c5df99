import { parseFileId } from '../base/file-id.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { isObject } from './row-bytes.ts'

/** A part of an upload that was completed. */
export interface CompletedPartFile {
  /** 1 to 10,000. */
  readonly partNumber: number
  readonly fileId: string
  readonly sizeBytes: number
  /** In hex. */
  readonly md5: string
  /** Base64. */
  readonly checksum: string | undefined
}

/** 10,000 parts of the longest file ids, sums and numbers: 2 MB. */
export const COMPLETION_RECORD_BYTES_MAX = 4 * 1024 * 1024

/**
 * The data of the needle that tells which parts an upload became an object of, in their order. No
 * part says so itself: one may have been uploaded again, or left out. JSON:
 *
 *     {"v":1,"parts":[{"number":1,"file":"3,01637037d6","size":5242880,"md5":"…","checksum":"…"}]}
 */
export function encodeCompletionRecord(parts: readonly CompletedPartFile[]): Buffer {
  const json = {
    v: 1,
    parts: parts.map(({ checksum, fileId, md5, partNumber, sizeBytes }) => ({
      number: partNumber,
      file: fileId,
      size: sizeBytes,
      md5,
      ...(checksum !== undefined && { checksum }),
    })),
  }
  return Buffer.from(JSON.stringify(json))
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeCompletionRecord(bytes: Uint8Array): readonly CompletedPartFile[] {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'))
    if (!isObject(json) || json['v'] !== 1 || !Array.isArray(json['parts'])) throw new Error('form')
    const parts: readonly unknown[] = json['parts']
    return parts.map(readPart)
  } catch (cause) {
    if (isStoreError(cause, 'METADATA_CORRUPT')) throw cause
    throw new StoreError('METADATA_CORRUPT', 'the record of an upload cannot be read', { cause })
  }
}

function readPart(value: unknown): CompletedPartFile {
  if (!isObject(value)) throw new Error('a part is no object')
  const { checksum, file, md5, number, size } = value
  const isNumber = Number.isInteger(number) && Number(number) > 0
  const isSize = Number.isSafeInteger(size) && Number(size) >= 0
  const isSum = checksum === undefined || typeof checksum === 'string'
  if (!isNumber || !isSize || !isSum || typeof file !== 'string' || typeof md5 !== 'string') {
    throw new Error('a part makes no sense')
  }
  parseFileId(file)
  return { partNumber: Number(number), fileId: file, sizeBytes: Number(size), md5, checksum }
}
