import { isUtf8 } from 'node:buffer'
import { SaxesParser, type SaxesTagNS } from 'saxes'
import { S3Error } from '../s3-error.ts'

/** The deepest documents of S3 have six levels, such as a key in the filter of a lifecycle rule. */
export const XML_DEPTH_MAX = 16
/** The longest document, the completion of 10,000 parts with every checksum, has 80,001. */
export const XML_ELEMENTS_MAX = 200_000
/** Of one element: a grantee has two. The parser takes a second for a hundred thousand. */
export const XML_ATTRIBUTES_MAX = 16

/** Who wrote a parser's message also chose the names in it: an answer holds this much of them. */
const DETAIL_LENGTH_MAX = 200

/** What clients in use write, old ones among them. */
const NAMESPACES: ReadonlySet<string> = new Set([
  '',
  'http://s3.amazonaws.com/doc/2006-03-01/',
  'http://s3.amazonaws.com/doc/2006-03-01',
  'http://doc.s3.amazonaws.com/2006-03-01',
  'http://doc.s3.amazonaws.com/2006-03-01/',
])

const INTEGER = /^[+-]?\d{1,15}$/
const ISO_8601 =
  /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))?)?$/

export interface XmlAttribute {
  readonly uri: string
  readonly local: string
  readonly value: string
}

export interface IntegerRange {
  readonly min: number
  readonly max: number
}

/**
 * One element of a document that was read. Names are local names. The methods that take a name are
 * about the child of that name; all of them throw `MalformedXML` when it is there more than once.
 */
export class XmlElement {
  readonly name: string
  readonly elements: readonly XmlElement[]
  readonly #text: string
  readonly #attributes: readonly XmlAttribute[]

  constructor(
    name: string,
    content: { readonly elements: readonly XmlElement[]; readonly text: string },
    attributes: readonly XmlAttribute[],
  ) {
    this.name = name
    this.elements = content.elements
    this.#text = content.text
    this.#attributes = attributes
  }

  /** Exactly as it was sent, spaces and all. @throws {S3Error} MalformedXML: it has elements. */
  get content(): string {
    if (this.elements.length > 0) throw malformed(`${this.name} is not just text`)
    return this.#text
  }

  /** @throws {S3Error} MalformedXML: another element, or text between the elements. */
  only(...names: readonly string[]): void {
    for (const element of this.elements) {
      if (!names.includes(element.name)) {
        throw malformed(`${element.name} is not known in ${this.name}`)
      }
    }
    if (this.#text !== '' && this.#text.trim() !== '') throw malformed(`text in ${this.name}`)
  }

  child(name: string): XmlElement | undefined {
    let found: XmlElement | undefined
    for (const element of this.elements) {
      if (element.name !== name) continue
      if (found !== undefined) throw malformed(`${name} is there twice in ${this.name}`)
      found = element
    }
    return found
  }

  /** @throws {S3Error} MalformedXML: there is none. */
  requiredChild(name: string): XmlElement {
    return this.#required(name, this.child(name))
  }

  /** All of that name, in order. */
  children(name: string): readonly XmlElement[] {
    return this.elements.filter((element) => element.name === name)
  }

  text(name: string): string | undefined {
    return this.child(name)?.content
  }

  /** @throws {S3Error} MalformedXML: there is none. It may be empty. */
  requiredText(name: string): string {
    return this.#required(name, this.text(name))
  }

  /** @throws {S3Error} MalformedXML: not a whole number, or out of range. */
  integer(name: string, range: IntegerRange): number | undefined {
    const text = this.text(name)?.trim()
    if (text === undefined) return undefined
    const value = INTEGER.test(text) ? Number(text) + 0 : Number.NaN
    if (value >= range.min && value <= range.max) return value
    throw malformed(`${name} is not a number of ${range.min} to ${range.max}`)
  }

  /** @throws {S3Error} MalformedXML: there is none, not a whole number, or out of range. */
  requiredInteger(name: string, range: IntegerRange): number {
    return this.#required(name, this.integer(name, range))
  }

  /** In capitals or not. @throws {S3Error} MalformedXML: neither true nor false. */
  boolean(name: string): boolean | undefined {
    const text = this.text(name)?.trim().toLowerCase()
    if (text === undefined) return undefined
    if (text === 'true' || text === '1') return true
    if (text === 'false' || text === '0') return false
    throw malformed(`${name} is neither true nor false`)
  }

  /** @throws {S3Error} MalformedXML: none of `values`. */
  choice<const Value extends string>(name: string, values: readonly Value[]): Value | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const value = values.find((candidate) => candidate === text)
    if (value === undefined) throw malformed(`${name} is not one of ${values.join(', ')}`)
    return value
  }

  /** @throws {S3Error} MalformedXML: there is none, or it is none of `values`. */
  requiredChoice<const Value extends string>(name: string, values: readonly Value[]): Value {
    return this.#required(name, this.choice(name, values))
  }

  /** Milliseconds since 1970. @throws {S3Error} MalformedXML: not a time of ISO 8601. */
  timeMs(name: string): number | undefined {
    const text = this.text(name)?.trim()
    if (text === undefined) return undefined
    const timeMs = parseIso8601(text)
    if (timeMs === undefined) throw malformed(`${name} is not a time of ISO 8601`)
    return timeMs
  }

  attribute(uri: string, local: string): string | undefined {
    return this.#attributes.find((one) => one.uri === uri && one.local === local)?.value
  }

  #required<Value>(name: string, value: Value | undefined): Value {
    if (value === undefined) throw malformed(`${name} is missing in ${this.name}`)
    return value
  }
}

/**
 * The root of a document in UTF-8, with a byte order mark or without. How long `body` may be is the
 * caller's to bound. Comments and processing instructions are passed over; a document type, and so
 * any entity but the five of XML, is refused.
 *
 * @throws {S3Error} MalformedXML: not well-formed, not UTF-8, too deep or of too many elements, in
 * a foreign namespace, or its root has another name.
 */
export function parseXml(body: Uint8Array, root: string): XmlElement {
  if (!isUtf8(body)) throw malformed('it is not UTF-8')
  const parsed = new TreeBuilder().build(Buffer.from(body.buffer, body.byteOffset, body.length))
  if (parsed?.name !== root) throw malformed(`the root is not ${root}`)
  return parsed
}

export function malformed(detail: string): S3Error {
  const cut = detail.length > DETAIL_LENGTH_MAX ? `${detail.slice(0, DETAIL_LENGTH_MAX)}…` : detail
  return new S3Error(
    'MalformedXML',
    `The XML you provided was not well-formed or did not validate against our schema: ${cut}`,
  )
}

/**
 * Dates alone mean midnight; without a zone, UTC is meant. What is finer than milliseconds is cut
 * off. Undefined: not such a text, no such day, or before 1970.
 */
export function parseIso8601(text: string): number | undefined {
  const match = ISO_8601.exec(text)
  if (match === null) return undefined
  const at = (index: number) => Number(match[index] ?? '0')
  const [year, month, day, hour, minute, second] = [at(1), at(2), at(3), at(4), at(5), at(6)]
  const [zoneHours, zoneMinutes] = [at(9), at(10)]
  if (year < 1970 || hour > 23 || minute > 59 || second > 59) return undefined
  if (zoneHours > 23 || zoneMinutes > 59) return undefined
  const milliseconds = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3))
  const localMs = Date.UTC(year, month - 1, day, hour, minute, second, milliseconds)
  // The 30th of February would quietly become one of March.
  const local = new Date(localMs)
  if (local.getUTCMonth() !== month - 1 || local.getUTCDate() !== day) return undefined
  const aheadMs = (zoneHours * 60 + zoneMinutes) * 60_000 * (match[8] === '-' ? -1 : 1)
  return localMs < aheadMs ? undefined : localMs - aheadMs
}

const NO_ATTRIBUTES: readonly XmlAttribute[] = []
const NO_ELEMENTS: readonly XmlElement[] = []

/** An element whose end has not come. */
interface OpenElement {
  readonly name: string
  readonly attributes: readonly XmlAttribute[]
  elements: XmlElement[] | undefined
  text: string
}

class TreeBuilder {
  readonly #open: OpenElement[] = []
  #count = 0
  /** Of the element whose start is being read. */
  #attributeCount = 0
  #root: XmlElement | undefined

  build(body: Buffer): XmlElement | undefined {
    const parser = new SaxesParser({ xmlns: true, position: false })
    parser.on('error', (error) => {
      throw malformed(error.message)
    })
    parser.on('doctype', () => {
      throw malformed('a document type is not accepted')
    })
    parser.on('xmldecl', ({ encoding }) => {
      if (encoding === undefined || /^utf-?8$/i.test(encoding)) return
      throw malformed(`the encoding ${encoding} is not accepted`)
    })
    parser.on('attribute', () => {
      this.#attributeCount++
      if (this.#attributeCount <= XML_ATTRIBUTES_MAX) return
      throw malformed(`an element of more than ${XML_ATTRIBUTES_MAX} attributes`)
    })
    parser.on('opentag', (tag) => this.#openElement(tag))
    parser.on('closetag', () => this.#closeElement())
    const addText = (text: string) => {
      const last = this.#open.at(-1)
      if (last !== undefined) last.text += text
    }
    parser.on('text', addText)
    parser.on('cdata', addText)
    parser.write(body.toString('utf8')).close()
    return this.#root
  }

  #openElement(tag: SaxesTagNS): void {
    this.#attributeCount = 0
    this.#count++
    if (this.#count > XML_ELEMENTS_MAX) throw malformed(`more than ${XML_ELEMENTS_MAX} elements`)
    if (this.#open.length >= XML_DEPTH_MAX) throw malformed(`deeper than ${XML_DEPTH_MAX} levels`)
    if (!NAMESPACES.has(tag.uri)) throw malformed(`the namespace ${tag.uri} is not known`)
    const attributes = attributesOf(tag)
    this.#open.push({ name: tag.local, attributes, elements: undefined, text: '' })
  }

  #closeElement(): void {
    const closed = this.#open.pop()
    if (closed === undefined) return
    const { name, elements = NO_ELEMENTS, text, attributes } = closed
    const element = new XmlElement(name, { elements, text }, attributes)
    const parent = this.#open.at(-1)
    if (parent === undefined) this.#root = element
    else if (parent.elements === undefined) parent.elements = [element]
    else parent.elements.push(element)
  }
}

/** Most elements have none: nothing is made for those. */
function attributesOf(tag: SaxesTagNS): readonly XmlAttribute[] {
  let attributes: XmlAttribute[] | undefined
  for (const name in tag.attributes) {
    const attribute = tag.attributes[name]
    if (attribute === undefined || attribute.prefix === 'xmlns') continue
    attributes ??= []
    attributes.push({ uri: attribute.uri, local: attribute.local, value: attribute.value })
  }
  return attributes ?? NO_ATTRIBUTES
}
