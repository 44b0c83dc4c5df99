import { type CanonicalMember, canonicalMembers } from './canonical-json.ts'

/** The two parts of a document that is stored by its fields. Together they are one JSON text. */
export interface DocumentParts {
  /** `{"like_count":5,` with cold fields, `{"like_count":5}` without. */
  readonly hot: Buffer
  /** `"title":"…"}`; undefined: all fields are hot. */
  readonly cold: Buffer | undefined
}

/** Fields by their canonical keys, each its canonical text; see `canonicalMembers`. */
export interface SplitFields {
  readonly hot: readonly CanonicalMember[]
  readonly cold: readonly CanonicalMember[]
}

/**
 * The fields of a JSON object, canonical and in order.
 *
 * @throws {StoreError} REQUEST_INVALID: there are too many.
 */
export function splitFields(text: Buffer, hotFields: ReadonlySet<string>): SplitFields {
  const hot: CanonicalMember[] = []
  const cold: CanonicalMember[] = []
  for (const member of canonicalMembers(text)) {
    if (hotFields.has(member.key)) hot.push(member)
    else cold.push(member)
  }
  return { hot, cold }
}

/** Names of fields as `SplitFields` has them as keys. */
export function hotFieldSet(names: readonly string[]): ReadonlySet<string> {
  return new Set(names.map((name) => JSON.stringify(name).slice(1, -1)))
}

export function joinFields({ cold, hot }: SplitFields): DocumentParts {
  const separator = hot.length > 0 ? ',' : ''
  if (cold.length === 0) return { hot: Buffer.from(`{${textOf(hot)}}`), cold: undefined }
  return {
    hot: Buffer.from(`{${textOf(hot)}${separator}`),
    cold: Buffer.concat([...withCommas(cold), CLOSE]),
  }
}

/** The fields of a part as it is stored. */
export function hotFieldsOf(part: Buffer): readonly CanonicalMember[] {
  if (part.length > 1 && part.at(-1) !== COMMA[0]) return canonicalMembers(part)
  const open = part.length > 1 ? part.subarray(0, -1) : part
  return canonicalMembers(Buffer.concat([open, CLOSE]))
}

export function coldFieldsOf(part: Buffer): readonly CanonicalMember[] {
  return canonicalMembers(Buffer.concat([OPEN, part]))
}

/** Those of `update` in the place of those with the same keys, in order. */
export function mergeFields(
  fields: readonly CanonicalMember[],
  update: readonly CanonicalMember[],
): readonly CanonicalMember[] {
  const merged = new Map(fields.map((field) => [field.key, field]))
  for (const field of update) merged.set(field.key, field)
  return [...merged.values()].sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)))
}

const OPEN = Buffer.from('{')
const CLOSE = Buffer.from('}')
const COMMA = Buffer.from(',')

function textOf(fields: readonly CanonicalMember[]): string {
  return fields.map(({ text }) => text.toString('utf8')).join(',')
}

function* withCommas(fields: readonly CanonicalMember[]): Generator<Buffer, void, undefined> {
  for (const [index, { text }] of fields.entries()) {
    if (index > 0) yield COMMA
    yield text
  }
}
