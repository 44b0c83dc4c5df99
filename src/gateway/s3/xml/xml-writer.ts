import { assert } from '../../../base/assert.ts'

const S3_NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'
export const XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

/** Control characters, halves of surrogate pairs, and what XML 1.0 has no room for, or uses. */
const SPECIAL = /[&<>"\p{Cc}\p{Cs}\ufffe\uffff]/u
const SPECIALS = /[&<>"\p{Cc}\p{Cs}\ufffe\uffff]/gu

const ELEMENT_NAME = /^[A-Za-z][A-Za-z0-9-]*$/

/**
 * Text as it stands in an element or a quoted attribute. What XML 1.0 cannot hold comes out as a
 * character reference, as S3 writes it: strict readers refuse such a document, but without it no
 * list could name such a key. So does a carriage return, or readers would make a line feed of it.
 */
export function escapeXml(text: string): string {
  return SPECIAL.test(text) ? text.replace(SPECIALS, escapeCharacter) : text
}

function escapeCharacter(character: string): string {
  switch (character) {
    case '&':
      return '&amp;'
    case '<':
      return '&lt;'
    case '>':
      return '&gt;'
    case '"':
      return '&quot;'
    case '\r':
      return '&#13;'
    case '\t':
    case '\n':
      return character
  }
  const code = character.charCodeAt(0)
  // Half of a pair has no form in UTF-8, and no reference may name it.
  if (code >= 0xd800 && code <= 0xdfff) return '\ufffd'
  return code >= 0x7f && code <= 0x9f ? character : `&#x${code.toString(16)};`
}

/** A whole document in the namespace of S3; `content` is XML already. */
export function xmlDocument(root: string, content: string): string {
  return `${XML_DECLARATION}<${root} xmlns="${S3_NAMESPACE}">${content}</${root}>`
}

/** `content` is XML already. */
export function xmlElement(name: string, content: string): string {
  return `<${name}>${content}</${name}>`
}

/** Nothing for `undefined`; an empty text gives an empty element. */
export function textElement(name: string, value: string | number | boolean | undefined): string {
  if (value === undefined) return ''
  return `<${name}>${typeof value === 'string' ? escapeXml(value) : value}</${name}>`
}

/** One element of this name for each. */
export function textElements(name: string, values: readonly string[]): string {
  return values.map((value) => textElement(name, value)).join('')
}

/** `etag` stands without quotes in all values here; S3 writes it with them. */
export function etagElement(etag: string): string {
  return `<ETag>&quot;${escapeXml(etag)}&quot;</ETag>`
}

/** For names that are made up elsewhere in the program, such as the extra fields of errors. */
export function checkElementName(name: string): void {
  assert(ELEMENT_NAME.test(name), `${name} is the name of an element`)
}

const HOUR_MS = 3_600_000
const HOURS_KEPT = 64
const TWO_DIGITS: readonly string[] = Array.from({ length: 60 }, (_, value) =>
  String(value).padStart(2, '0'),
)

/** An hour of all time, and how it is written: `2026-11-21T05:`. */
interface WrittenHour {
  readonly hour: number
  readonly text: string
}

// To format a time takes longer than all else that is written of an object in a list, and those in
// a page were mostly written within a few hours. An hour is kept at its number modulo 64.
const writtenHours: (WrittenHour | undefined)[] = new Array(HOURS_KEPT).fill(undefined)

/** Whole milliseconds since 1970, in UTC: `2026-11-21T00:00:00.000Z`. */
export function iso8601(timeMs: number): string {
  const hour = Math.floor(timeMs / HOUR_MS)
  const restMs = timeMs - hour * HOUR_MS
  const seconds = Math.floor(restMs / 1000)
  const minutes = Math.floor(seconds / 60)
  const milliseconds = restMs % 1000
  const zeros = milliseconds < 10 ? '00' : milliseconds < 100 ? '0' : ''
  const second = TWO_DIGITS[seconds % 60]
  const rest = `${TWO_DIGITS[minutes]}:${second}.${zeros}${milliseconds}Z`
  return `${writeHour(hour)}${rest}`
}

function writeHour(hour: number): string {
  const slot = ((hour % HOURS_KEPT) + HOURS_KEPT) % HOURS_KEPT
  const kept = writtenHours[slot]
  if (kept?.hour === hour) return kept.text
  const text = new Date(hour * HOUR_MS).toISOString().slice(0, -'00:00.000Z'.length)
  writtenHours[slot] = { hour, text }
  return text
}
