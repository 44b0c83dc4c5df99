import { type ByteRange, readRange } from '../byte-range.ts'
import { invalidArgument } from './invalid-argument.ts'
import { S3Error } from './s3-error.ts'

/**
 * As `readRange`.
 *
 * @throws {S3Error} InvalidRange: it lies behind the end.
 */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | undefined {
  const range = readRange(header, sizeBytes)
  if (range !== 'outside') return range
  const fields = { RangeRequested: header?.trim() ?? '', ActualObjectSize: String(sizeBytes) }
  const headers = { 'Content-Range': `bytes */${sizeBytes}` }
  throw new S3Error('InvalidRange', undefined, { fields, headers })
}

/**
 * Of `x-amz-copy-source-range`, which must be whole and inside.
 *
 * @throws {S3Error} InvalidArgument: its form; InvalidRange: it does not lie inside the object.
 */
export function parseCopyRange(header: string, sizeBytes: number): ByteRange {
  const [, first, last] = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(header.trim()) ?? []
  const start = Number(first)
  const end = Number(last) + 1
  if (first === undefined || end <= start) {
    const message = 'The x-amz-copy-source-range value must be of the form bytes=first-last'
    throw invalidArgument(message, 'x-amz-copy-source-range', header)
  }
  if (end <= sizeBytes) return { start, end }
  const message = `Range specified is not valid for source object of size: ${sizeBytes}`
  throw new S3Error('InvalidRange', message)
}
