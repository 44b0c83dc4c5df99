import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { ByteRange } from '../net/volume-api.ts'

/**
 * The ranges a `Range` header asks for, as they stand in it; undefined: send the whole file. That
 * is the answer too when the ranges together are longer than the file, or too many.
 *
 * @throws {StoreError} RANGE_INVALID: not understood, or none of them lies in the file.
 */
export function parseRanges(header: string, sizeBytes: number): readonly ByteRange[] | undefined {
  const [unit = '', list] = splitOnce(header, '=')
  if (list === undefined) throw malformed(header)
  if (unit.trim().toLowerCase() !== 'bytes' || sizeBytes === 0) return undefined
  const texts = list.split(',', LIMITS.httpRangesMax.value + 1)
  if (texts.length > LIMITS.httpRangesMax.value) return undefined
  const ranges: ByteRange[] = []
  let bytes = 0
  for (const text of texts) {
    const range = parseRange(text.trim(), sizeBytes, header)
    if (range === undefined) continue
    ranges.push(range)
    bytes += range.end - range.start
  }
  if (ranges.length === 0) {
    throw new StoreError('RANGE_INVALID', `${quote(header)} is outside the ${sizeBytes} bytes`)
  }
  return bytes > sizeBytes ? undefined : ranges
}

/** `Content-Range` of a part. */
export function contentRange({ start, end }: ByteRange, sizeBytes: number): string {
  return `bytes ${start}-${end - 1}/${sizeBytes}`
}

export interface RangePart {
  /** What stands before the bytes of this range in a multipart/byteranges body. */
  readonly head: Buffer
  readonly range: ByteRange
}

export interface MultipartPlan {
  readonly contentType: string
  readonly parts: readonly RangePart[]
  readonly tail: Buffer
  readonly totalBytes: number
}

export function planMultipart(
  ranges: readonly ByteRange[],
  file: { readonly contentType: string; readonly sizeBytes: number; readonly boundary: string },
): MultipartPlan {
  const { contentType, sizeBytes, boundary } = file
  const parts = ranges.map((range, index) => {
    const head =
      `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${contentType}\r\n` +
      `Content-Range: ${contentRange(range, sizeBytes)}\r\n\r\n`
    return { head: Buffer.from(head, 'latin1'), range }
  })
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1')
  const totalBytes = parts.reduce(
    (sum, { head, range }) => sum + head.length + range.end - range.start,
    tail.length,
  )
  const type = `multipart/byteranges; boundary=${boundary}`
  return { contentType: type, parts, tail, totalBytes }
}

/** Undefined: well written, but outside the file. */
function parseRange(text: string, sizeBytes: number, header: string): ByteRange | undefined {
  const match = /^(\d*) *- *(\d*)$/.exec(text)
  const [, first = '', last = ''] = match ?? []
  if (match === null || (first === '' && last === '')) throw malformed(header)
  if (first === '') {
    const bytes = Math.min(Number(last), sizeBytes)
    return bytes === 0 ? undefined : { start: sizeBytes - bytes, end: sizeBytes }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) throw malformed(header)
  if (start >= sizeBytes) return undefined
  return { start, end: last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) }
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)]
}

function malformed(header: string): StoreError {
  return new StoreError('RANGE_INVALID', `${quote(header)} is not a range of bytes`)
}
