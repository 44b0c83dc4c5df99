import { quote } from '../../../base/store-error.ts'
import { S3Error } from '../s3-error.ts'
import type { PostFields } from './post-fields.ts'

/** What a file of a form may have, both ends included. */
export interface ContentLengthRange {
  readonly minBytes: number
  readonly maxBytes: number
}

interface FieldCondition {
  readonly operator: 'eq' | 'starts-with'
  /** In lower case, without `$`. */
  readonly name: string
  readonly value: string
}

/** What a policy document says, before anybody has looked at a form. */
export interface PostPolicyDocument {
  readonly expiresAtMs: number
  readonly conditions: readonly FieldCondition[]
  /** The narrowest that all such conditions leave; undefined: there is none. */
  readonly contentLengthRange: ContentLengthRange | undefined
}

/** Fields that need no condition: they are what is signed with, or are not used at all. */
const UNCONDITIONAL_FIELDS: ReadonlySet<string> = new Set([
  'awsaccesskeyid',
  'file',
  'policy',
  'signature',
  'x-amz-algorithm',
  'x-amz-credential',
  'x-amz-date',
  'x-amz-signature',
])

/**
 * Of the base64 of a policy's JSON.
 *
 * Source: S3, "POST policy" (Signature Version 4) and "HTML form field".
 *
 * @throws {S3Error} InvalidPolicyDocument: it is no JSON, or not of the shape of a policy.
 */
export function parsePostPolicy(base64: string): PostPolicyDocument {
  const document = parseJson(base64)
  if (!isRecord(document)) throw invalid('it must be an object')
  const { expiration, conditions: list, ...others } = document
  const [other] = Object.keys(others)
  if (other !== undefined) throw invalid(`it has an element ${quote(other)}`)
  if (!Array.isArray(list)) throw invalid('it needs a list of conditions')
  const conditions: FieldCondition[] = []
  let range: ContentLengthRange | undefined
  for (const condition of list as readonly unknown[]) {
    const parsed = parseCondition(condition)
    if ('operator' in parsed) conditions.push(parsed)
    else range = narrowed(range, parsed)
  }
  return { expiresAtMs: parseExpiration(expiration), conditions, contentLengthRange: range }
}

/** What the one who signed a form allows of it. */
export class PostPolicy {
  readonly #document: PostPolicyDocument
  readonly #bucket: string

  /** @param bucket to which the form is posted; it is checked like a field. */
  constructor(document: PostPolicyDocument, bucket: string) {
    this.#document = document
    this.#bucket = bucket
  }

  /** Undefined: the policy says nothing of it. */
  get contentLengthRange(): ContentLengthRange | undefined {
    return this.#document.contentLengthRange
  }

  /**
   * Every condition must hold, and every field must have one.
   *
   * @param fields with the name of the file filled in.
   * @throws {S3Error} AccessDenied
   */
  checkFields(fields: PostFields): void {
    const { conditions } = this.#document
    const formBucket = fields.get('bucket') ?? this.#bucket
    if (formBucket !== this.#bucket) throw denied('the form is for another bucket')
    const covered = new Set(conditions.map(({ name }) => name))
    for (const name of ['bucket', ...fields.names()]) {
      if (UNCONDITIONAL_FIELDS.has(name) || name.startsWith('x-ignore-')) continue
      if (!covered.has(name)) throw denied(`Extra input fields: ${quote(name)}`)
    }
    for (const condition of conditions) {
      const { name } = condition
      const value = name === 'bucket' ? this.#bucket : (fields.get(name) ?? '')
      if (!isMet(condition, value)) throw denied(`Policy Condition failed: ${describe(condition)}`)
    }
  }

  /** @throws {S3Error} EntityTooLarge, EntityTooSmall: a file of this size is not allowed. */
  checkLength(sizeBytes: number): void {
    const range = this.contentLengthRange
    if (range === undefined) return
    const { minBytes, maxBytes } = range
    if (sizeBytes > maxBytes) {
      throw new S3Error('EntityTooLarge', undefined, { fields: { MaxSizeAllowed: `${maxBytes}` } })
    }
    if (sizeBytes < minBytes) {
      throw new S3Error('EntityTooSmall', undefined, { fields: { MinSizeAllowed: `${minBytes}` } })
    }
  }
}

function parseJson(base64: string): unknown {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) throw invalid('it is no base64')
  try {
    return JSON.parse(
      new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(base64, 'base64')),
    )
  } catch (cause) {
    throw invalid('it is no JSON', cause)
  }
}

function parseExpiration(expiration: unknown): number {
  const isDate =
    typeof expiration === 'string' &&
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/.test(expiration)
  const expiresAtMs = isDate ? Date.parse(expiration) : Number.NaN
  if (Number.isNaN(expiresAtMs))
    throw invalid('it needs an expiration, as 2007-12-01T12:00:00.000Z')
  return expiresAtMs
}

function parseCondition(condition: unknown): FieldCondition | ContentLengthRange {
  if (Array.isArray(condition)) return parseList(condition)
  if (!isRecord(condition)) throw invalid('a condition must be a list or an object')
  const [pair, other] = Object.entries(condition)
  if (pair === undefined || other !== undefined) throw invalid('a condition must have one field')
  const [name, value] = pair
  if (typeof value !== 'string') throw invalid(`the value of ${quote(name)} must be text`)
  return { operator: 'eq', name: name.toLowerCase(), value }
}

/** Operators may have capitals: the conformance suite of Ceph sends `StArTs-WiTh`. */
function parseList(list: readonly unknown[]): FieldCondition | ContentLengthRange {
  const [operatorText, first, second] = list
  if (typeof operatorText !== 'string' || list.length !== 3) {
    throw invalid('a condition in a list must have three elements')
  }
  const operator = operatorText.toLowerCase()
  if (operator === 'content-length-range') {
    const [minBytes, maxBytes] = [parseSize(first), parseSize(second)]
    if (minBytes > maxBytes) throw invalid('the content-length-range is empty')
    return { minBytes, maxBytes }
  }
  if (operator !== 'eq' && operator !== 'starts-with') {
    throw invalid(`there is no operator ${quote(operatorText)}`)
  }
  if (typeof first !== 'string' || typeof second !== 'string' || !/^\$./.test(first)) {
    throw invalid(`${operator} needs "$" and the name of a field, and a text`)
  }
  return { operator, name: first.slice(1).toLowerCase(), value: second }
}

function parseSize(value: unknown): number {
  const size = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw invalid('a content-length-range needs two whole numbers')
  }
  return size
}

function narrowed(a: ContentLengthRange | undefined, b: ContentLengthRange): ContentLengthRange {
  if (a === undefined) return b
  return {
    minBytes: Math.max(a.minBytes, b.minBytes),
    maxBytes: Math.min(a.maxBytes, b.maxBytes),
  }
}

/**
 * A Content-Type with commas is a list for `starts-with`, and each of its elements must begin so.
 */
function isMet(condition: FieldCondition, value: string): boolean {
  if (condition.operator === 'eq') return value === condition.value
  const values = condition.name === 'content-type' ? value.split(/, */) : [value]
  return values.every((each) => each.startsWith(condition.value))
}

function describe({ operator, name, value }: FieldCondition): string {
  return `["${operator}", ${quote(`$${name}`)}, ${quote(value)}]`
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(why: string, cause?: unknown): S3Error {
  return new S3Error('InvalidPolicyDocument', `Invalid Policy: ${why}`, { cause })
}

function denied(why: string): S3Error {
  return new S3Error('AccessDenied', `Invalid according to Policy: ${why}`)
}
