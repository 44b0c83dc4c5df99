import { S3Error } from '../s3-error.ts'
import type { RequestHeaders } from '../s3-request.ts'

/** How far a request's clock may be from ours, either way. Source: S3, RequestTimeTooSkewed. */
export const SKEW_MS_MAX = 15 * 60 * 1000

export interface RequestTime {
  readonly atMs: number
  /** `yyyymmddThhmmssZ`, as it is signed by Signature Version 4. */
  readonly dateTime: string
}

/** The last one that was read: requests that come together are of the same second. */
let latest: RequestTime | undefined

/** Of `yyyymmddThhmmssZ`; undefined: it is not that, or there is no such moment since 1970. */
export function parseDateTime(text: string): RequestTime | undefined {
  if (latest?.dateTime === text) return latest
  const time = readDateTime(text)
  if (time !== undefined) latest = time
  return time
}

function readDateTime(text: string): RequestTime | undefined {
  if (!/^\d{8}T\d{6}Z$/.test(text)) return undefined
  const [year, month, day] = [digits(text, 0, 4), digits(text, 4, 6), digits(text, 6, 8)]
  const [hour, minute, second] = [digits(text, 9, 11), digits(text, 11, 13), digits(text, 13, 15)]
  if (year < 1970 || hour > 23 || minute > 59 || second > 59) return undefined
  const midnight = new Date(Date.UTC(year, month - 1, day))
  // 30 February would be taken for the 1st of March, and be signed as another day.
  if (midnight.getUTCMonth() !== month - 1 || midnight.getUTCDate() !== day) return undefined
  const atMs = midnight.getTime() + ((hour * 60 + minute) * 60 + second) * 1000
  return { atMs, dateTime: text }
}

function digits(text: string, start: number, end: number): number {
  return Number(text.slice(start, end))
}

/**
 * When the request says it was made: `x-amz-date`, and `Date` only if there is none.
 *
 * @throws {S3Error} AccessDenied: neither, or it is no date. RequestTimeTooSkewed: it is more than
 * 15 minutes from `nowMs`, either way.
 */
export function readRequestTime(headers: RequestHeaders, nowMs: number): RequestTime {
  const text = headers.get('x-amz-date') ?? headers.get('date') ?? ''
  const time = parseDateTime(text) ?? parseHttpDate(text)
  if (time === undefined) {
    throw new S3Error('AccessDenied', 'A signed request needs a valid x-amz-date or Date header')
  }
  if (Math.abs(nowMs - time.atMs) > SKEW_MS_MAX) {
    const fields = {
      RequestTime: text,
      ServerTime: new Date(nowMs).toISOString(),
      MaxAllowedSkewMilliseconds: String(SKEW_MS_MAX),
    }
    throw new S3Error('RequestTimeTooSkewed', undefined, { fields })
  }
  return time
}

const HTTP_DATE =
  /^[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})$/

/** As in `Fri, 24 May 2013 00:00:00 GMT`; s3cmd writes `+0000`. */
function parseHttpDate(text: string): RequestTime | undefined {
  const atMs = HTTP_DATE.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(atMs) || atMs < 0) return undefined
  return { atMs, dateTime: new Date(atMs).toISOString().replace(/-|:|\.\d{3}/g, '') }
}
