import { NEEDLE_FLAG } from './needle-attributes.ts'

const PLAIN_FLAGS = NEEDLE_FLAG.name | NEEDLE_FLAG.mime | NEEDLE_FLAG.lastModified
const LAST_MODIFIED_BYTES = 5

export interface PlainAttributes {
  /** Empty when there is none. */
  readonly name: string
  readonly mime: string
  readonly lastModifiedS: number | undefined
}

/**
 * The attributes from `at` up to `end`, as `decodeAttributes` reads them, when there are no others
 * than name, mime and last-modified; undefined: there are, or they overrun. For the reads that make
 * up most of a server's work: it costs a third.
 */
export function peekPlainAttributes(
  source: Buffer,
  at: number,
  end: number,
): PlainAttributes | undefined {
  const flags = at < end ? (source[at] ?? 0) : 0
  if ((flags & ~PLAIN_FLAGS) !== 0) return undefined
  let next = at + 1
  let name = ''
  let mime = ''
  let lastModifiedS: number | undefined
  if ((flags & NEEDLE_FLAG.name) !== 0) {
    const length = source[next] ?? 0
    if (length > 0) name = source.toString('utf8', next + 1, next + 1 + length)
    next += 1 + length
  }
  if ((flags & NEEDLE_FLAG.mime) !== 0) {
    const length = source[next] ?? 0
    if (length > 0) mime = source.toString('utf8', next + 1, next + 1 + length)
    next += 1 + length
  }
  if ((flags & NEEDLE_FLAG.lastModified) !== 0) {
    if (next + LAST_MODIFIED_BYTES > end) return undefined
    lastModifiedS = source.readUIntBE(next, LAST_MODIFIED_BYTES)
    next += LAST_MODIFIED_BYTES
  }
  return next <= Math.max(end, at + 1) ? { name, mime, lastModifiedS } : undefined
}
