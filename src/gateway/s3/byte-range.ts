import { invalidArgument } from './invalid-argument.ts'
import { S3Error } from './s3-error.ts'

/** Bytes `start` up to, but without, `end`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

const RANGE_PATTERN = /^bytes\s*=\s*(\d*)\s*-\s*(\d*)$/i

/**
 * Of a `Range` header; undefined: there is none that means anything, and all is sent. Several
 * ranges are answered with all, as S3 does.
 *
 * @throws {S3Error} InvalidRange: it lies behind the end.
 */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | undefined {
  const [whole, first = '', last = ''] = RANGE_PATTERN.exec(header?.trim() ?? '') ?? []
  if (whole === undefined || (first === '' && last === '')) return undefined
  if (first === '') return suffixOf(Number(last), sizeBytes, whole)
  const start = Number(first)
  if (last !== '' && Number(last) < start) return undefined
  if (start >= sizeBytes) throw notSatisfiable(whole, sizeBytes)
  return { start, end: last === '' ? sizeBytes : Math.min(sizeBytes, Number(last) + 1) }
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

function suffixOf(count: number, sizeBytes: number, header: string): ByteRange {
  if (count === 0 || sizeBytes === 0) throw notSatisfiable(header, sizeBytes)
  return { start: Math.max(0, sizeBytes - count), end: sizeBytes }
}

function notSatisfiable(header: string, sizeBytes: number): S3Error {
  const fields = { RangeRequested: header, ActualObjectSize: String(sizeBytes) }
  const headers = { 'Content-Range': `bytes */${sizeBytes}` }
  return new S3Error('InvalidRange', undefined, { fields, headers })
}
