import { LIMITS } from '../../base/limits.ts'
import { S3Error } from './s3-error.ts'

const KEY_BYTES_MAX = LIMITS.fileNameMax.value

/**
 * Of bytes everything but a NUL can be a key, in any order: nothing is resolved or normalised.
 *
 * @throws {S3Error} KeyTooLongError: more than 1,024 bytes of UTF-8. InvalidArgument: a NUL.
 */
export function checkKey(key: string): void {
  const sizeBytes = Buffer.byteLength(key)
  if (sizeBytes > KEY_BYTES_MAX) {
    const fields = { Size: String(sizeBytes), MaxSizeAllowed: String(KEY_BYTES_MAX) }
    throw new S3Error('KeyTooLongError', undefined, { fields })
  }
  if (key.includes('\0')) throw new S3Error('InvalidArgument', 'A key cannot have a NUL in it')
}
