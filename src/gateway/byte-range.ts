/** Bytes `start` up to, but without, `end`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

const RANGE_PATTERN = /^bytes\s*=\s*(\d*)\s*-\s*(\d*)$/i

/**
 * Of a `Range` header; undefined: there is none that means anything, and all is sent. Several
 * ranges are answered with all, as S3 does. `outside`: it lies behind the end.
 */
export function readRange(
  header: string | undefined,
  sizeBytes: number,
): ByteRange | 'outside' | undefined {
  const [whole, first = '', last = ''] = RANGE_PATTERN.exec(header?.trim() ?? '') ?? []
  if (whole === undefined || (first === '' && last === '')) return undefined
  if (first === '') return suffixOf(Number(last), sizeBytes)
  const start = Number(first)
  if (last !== '' && Number(last) < start) return undefined
  if (start >= sizeBytes) return 'outside'
  return { start, end: last === '' ? sizeBytes : Math.min(sizeBytes, Number(last) + 1) }
}

function suffixOf(count: number, sizeBytes: number): ByteRange | 'outside' {
  if (count === 0 || sizeBytes === 0) return 'outside'
  return { start: Math.max(0, sizeBytes - count), end: sizeBytes }
}
