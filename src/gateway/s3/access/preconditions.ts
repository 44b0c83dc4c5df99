import { quote } from '../../../base/store-error.ts'
import { S3Error } from '../s3-error.ts'

/** What conditions are compared with. */
export interface ObjectState {
  /** Without quotes. */
  readonly etag: string
  readonly lastModifiedMs: number
}

/** The value of a header, by its name in lower case. */
type HeaderLookup = (name: string) => string | undefined

interface Conditions {
  /** Where no header says so: true. */
  readonly isMatch: boolean
  readonly isNoneMatch: boolean
  readonly isModified: boolean
  readonly isUnmodified: boolean
}

/**
 * For GET and HEAD. An ETag goes before a time: where there is an `If-Match`,
 * `If-Unmodified-Since` is not looked at, and so for the other two. A time that cannot be read is
 * not looked at either. Source: RFC 9110, section 13.2.2.
 *
 * @throws {S3Error} PreconditionFailed (412), NotModified (304, with the headers it must have);
 * InvalidArgument: a list of ETags that cannot be read.
 */
export function checkReadConditions(header: HeaderLookup, state: ObjectState): void {
  const conditions = evaluate(header, '', state, () => undefined)
  if (!conditions.isMatch || !conditions.isUnmodified) throw new S3Error('PreconditionFailed')
  if (!conditions.isNoneMatch || !conditions.isModified) {
    const lastModified = new Date(state.lastModifiedMs).toUTCString()
    const headers = { ETag: `"${state.etag}"`, 'Last-Modified': lastModified }
    throw new S3Error('NotModified', undefined, { headers })
  }
}

/**
 * For the source of a copy, of an object or of a part: `x-amz-copy-source-if-…`.
 *
 * @throws {S3Error} PreconditionFailed; InvalidArgument: an ETag or a time that cannot be read.
 */
export function checkCopyConditions(header: HeaderLookup, state: ObjectState): void {
  const conditions = evaluate(header, 'x-amz-copy-source-', state, (name, text) => {
    // Not to copy what was meant to be left alone: a condition is not dropped silently.
    throw new S3Error('InvalidArgument', `${name}: ${quote(text)} is not a date of HTTP`)
  })
  const { isMatch, isNoneMatch, isModified, isUnmodified } = conditions
  if (!isMatch || !isNoneMatch || !isModified || !isUnmodified) {
    throw new S3Error('PreconditionFailed')
  }
}

function evaluate(
  header: HeaderLookup,
  prefix: string,
  state: ObjectState,
  onBadDate: (name: string, text: string) => undefined,
): Conditions {
  const readDate = (name: string) => {
    const text = header(name)
    return text === undefined ? undefined : (parseHttpDate(text) ?? onBadDate(name, text))
  }
  const ifMatch = readTags(header, `${prefix}if-match`)
  const ifNoneMatch = readTags(header, `${prefix}if-none-match`)
  const modifiedSince =
    ifNoneMatch === undefined ? readDate(`${prefix}if-modified-since`) : undefined
  const unmodifiedSince =
    ifMatch === undefined ? readDate(`${prefix}if-unmodified-since`) : undefined
  // The headers have whole seconds: what was written later within one is not newer.
  const modifiedMs = Math.floor(state.lastModifiedMs / 1000) * 1000
  return {
    isMatch: ifMatch === undefined || isListed(ifMatch, state.etag, 'strong'),
    isNoneMatch: ifNoneMatch === undefined || !isListed(ifNoneMatch, state.etag, 'weak'),
    isModified: modifiedSince === undefined || modifiedMs > modifiedSince,
    isUnmodified: unmodifiedSince === undefined || modifiedMs <= unmodifiedSince,
  }
}

interface EntityTag {
  readonly etag: string
  readonly isWeak: boolean
}

/** `W/"…"`, `"…"` or, as some clients send it, without quotes; then a comma or the end. */
const ENTITY_TAG = /\s*(W\/)?(?:"([^"]*)"|([^",\s]+))\s*(?:,|$)/y

function readTags(header: HeaderLookup, name: string): readonly EntityTag[] | '*' | undefined {
  const text = header(name)
  if (text === undefined) return undefined
  if (text.trim() === '*') return '*'
  const tags: EntityTag[] = []
  ENTITY_TAG.lastIndex = 0
  let isOpen = true
  while (isOpen) {
    const match = ENTITY_TAG.exec(text)
    if (match === null) {
      throw new S3Error('InvalidArgument', `${name}: ${quote(text)} is not a list of ETags`)
    }
    const [whole, weak, quoted, bare = ''] = match
    tags.push({ etag: quoted ?? bare, isWeak: weak !== undefined })
    isOpen = whole.endsWith(',')
  }
  return tags
}

/** Compared strongly, a weak tag is equal to nothing: the bytes may differ. */
function isListed(
  tags: readonly EntityTag[] | '*',
  etag: string,
  comparison: 'strong' | 'weak',
): boolean {
  if (tags === '*') return true
  return tags.some((tag) => tag.etag === etag && (comparison === 'weak' || !tag.isWeak))
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')
const TIME = '(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)'

/** The three forms of RFC 9110, section 5.6.7; the first is the one that is sent nowadays. */
const DATE_FORMS = [
  new RegExp(`^[A-Z][a-z]{2}, (?<day>\\d\\d) (?<month>[A-Z][a-z]{2}) (?<year>\\d{4}) ${TIME} GMT$`),
  new RegExp(
    `^[A-Z][a-z]{5,8}, (?<day>\\d\\d)-(?<month>[A-Z][a-z]{2})-(?<year>\\d\\d) ${TIME} GMT$`,
  ),
  new RegExp(`^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \\d]\\d) ${TIME} (?<year>\\d{4})$`),
]

/** In ms since 1970; undefined: it is no date of HTTP. The name of the day is not checked. */
export function parseHttpDate(text: string): number | undefined {
  for (const form of DATE_FORMS) {
    const groups = form.exec(text.trim())?.groups
    if (groups === undefined) continue
    const { year = '', month = '', day = '', hour = '', minute = '', second = '' } = groups
    const monthIndex = MONTHS.indexOf(month)
    // Two digits are of the hundred years from 1970 on.
    const century = year.length > 2 ? 0 : Number(year) < 70 ? 2000 : 1900
    const fields = [Number(day), Number(hour), Number(minute), Number(second)] as const
    const [days, hours, minutes, seconds] = fields
    if (hours > 23 || minutes > 59 || seconds > 60) return undefined
    const midnight = new Date(Date.UTC(century + Number(year), monthIndex, days))
    // A month that does not exist, or a day that its month does not have, was carried over.
    if (monthIndex < 0 || midnight.getUTCDate() !== days) return undefined
    return midnight.getTime() + ((hours * 60 + minutes) * 60 + seconds) * 1000
  }
  return undefined
}
