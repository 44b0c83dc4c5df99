import { invalidArgument } from './invalid-argument.ts'
import { checkKey } from './object-key.ts'
import type { S3Error } from './s3-error.ts'

export interface CopySource {
  readonly bucket: string
  readonly key: string
  readonly versionId: string | undefined
}

/**
 * Of `x-amz-copy-source`: `/bucket/key?versionId=…`, percent-encoded once; the first slash may be
 * missing. What was decoded is what is asked about and what is read: nothing is resolved.
 *
 * @throws {S3Error} InvalidArgument, KeyTooLongError
 */
export function parseCopySource(header: string): CopySource {
  const at = header.lastIndexOf('?versionId=')
  const path = (at < 0 ? header : header.slice(0, at)).replace(/^\//, '')
  const versionId = at < 0 ? undefined : decode(header.slice(at + '?versionId='.length), header)
  const decoded = decode(path, header)
  const slash = decoded.indexOf('/')
  const bucket = decoded.slice(0, slash)
  const key = decoded.slice(slash + 1)
  if (slash <= 0 || key === '') throw invalid(header)
  checkKey(key)
  return { bucket, key, versionId }
}

function decode(text: string, header: string): string {
  try {
    // A header comes as bytes read as Latin-1; one that is not ASCII is UTF-8.
    return decodeURIComponent(Buffer.from(text, 'latin1').toString('utf8'))
  } catch {
    throw invalid(header)
  }
}

function invalid(header: string): S3Error {
  const message = 'Copy Source must mention the source bucket and key: sourcebucket/sourcekey'
  return invalidArgument(message, 'x-amz-copy-source', header)
}
