import { quote } from '../../../base/store-error.ts'
import { type PolicyCondition, parseConditions } from './policy-conditions.ts'
import { malformed, readObject, readText, readTexts } from './policy-json.ts'
import { isSomeAction } from './s3-actions.ts'
import {
  matchesPattern,
  type PolicyVariable,
  parseTextPattern,
  type TextPattern,
} from './text-pattern.ts'

export type PolicyPrincipal =
  /** Those who did not sign, too. */
  | { readonly kind: 'everyone' }
  /** `…:root`, which elsewhere is an account; here all users are of one. */
  | { readonly kind: 'account' }
  | { readonly kind: 'user-name'; readonly name: string }
  | { readonly kind: 'canonical-id'; readonly id: string }

/** What `Action` or `NotAction`, and so on, lists. */
export interface PolicyList<Item> {
  /** It is a `Not…`: everything else is meant. */
  readonly isNegated: boolean
  readonly items: readonly Item[]
}

export interface PolicyStatement {
  readonly sid: string | undefined
  readonly effect: 'Allow' | 'Deny'
  /** Undefined in the policy of a user. */
  readonly principals: PolicyList<PolicyPrincipal> | undefined
  /** In lower case. */
  readonly actions: PolicyList<TextPattern>
  readonly resources: PolicyList<TextPattern>
  readonly conditions: readonly PolicyCondition[]
  /** All that occur in resources and conditions. */
  readonly variables: readonly PolicyVariable[]
}

export interface Policy {
  readonly id: string | undefined
  readonly statements: readonly PolicyStatement[]
}

/** What S3 allows for the policy of a bucket; a user's may be as long here. */
export const POLICY_BYTES_MAX = 20 * 1024

export const BUCKET_ARN_PREFIX = 'arn:aws:s3:::'

/** The version that knows variables; in the older one `${aws:username}` is plain text. */
const NEW_VERSION = '2012-10-17'
const OLD_VERSION = '2008-10-17'

const POLICY_FIELDS = ['Version', 'Id', 'Statement']
const STATEMENT_FIELDS = [
  'Sid',
  'Effect',
  'Principal',
  'NotPrincipal',
  'Action',
  'NotAction',
  'Resource',
  'NotResource',
  'Condition',
]

interface Reading {
  /** Undefined: it is the policy of a user. */
  readonly bucket: string | undefined
  readonly hasVariables: boolean
}

/**
 * Every resource must be able to be in `bucket`; who writes `arn:aws:s3:::*` means it, too, as a
 * bucket's policy is judged for that bucket only.
 *
 * Source: the IAM user guide, "Grammar of the IAM JSON policy language".
 *
 * @throws {S3Error} MalformedPolicy: the message says what and where.
 */
export function parseBucketPolicy(json: string, bucket: string): Policy {
  return parsePolicy(json, bucket)
}

/** @throws {S3Error} MalformedPolicy: the message says what and where. */
export function parseUserPolicy(json: string): Policy {
  return parsePolicy(json, undefined)
}

function parsePolicy(json: string, bucket: string | undefined): Policy {
  if (Buffer.byteLength(json) > POLICY_BYTES_MAX) {
    throw malformed('policy', `is longer than ${POLICY_BYTES_MAX} bytes`)
  }
  const fields = readObject(parseJson(json), 'policy', POLICY_FIELDS)
  const version = fields.get('Version') ?? OLD_VERSION
  if (version !== NEW_VERSION && version !== OLD_VERSION) {
    throw malformed('Version', `must be "${NEW_VERSION}" or "${OLD_VERSION}"`)
  }
  const idField = fields.get('Id')
  const id = idField === undefined ? undefined : readText(idField, 'Id')
  const list = fields.get('Statement')
  const values: readonly unknown[] = Array.isArray(list) ? list : [list]
  if (list === undefined || values.length === 0) throw malformed('Statement', 'must not be empty')
  const reading = { bucket, hasVariables: version === NEW_VERSION }
  const statements = values.map((value, index) =>
    parseStatement(value, `Statement[${index}]`, reading),
  )
  checkSids(statements)
  return { id, statements }
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    // What the parser says quotes the document and differs between versions of Node.
    throw malformed('policy', 'is not JSON')
  }
}

function checkSids(statements: readonly PolicyStatement[]): void {
  const seen = new Set<string>()
  for (const [index, { sid }] of statements.entries()) {
    if (sid === undefined) continue
    if (seen.has(sid)) throw malformed(`Statement[${index}].Sid`, `${quote(sid)} is there twice`)
    seen.add(sid)
  }
}

function parseStatement(value: unknown, where: string, reading: Reading): PolicyStatement {
  const fields = readObject(value, where, STATEMENT_FIELDS)
  const effect = fields.get('Effect')
  if (effect !== 'Allow' && effect !== 'Deny') {
    throw malformed(`${where}.Effect`, 'must be "Allow" or "Deny"')
  }
  const sidField = fields.get('Sid')
  const sid = sidField === undefined ? undefined : readText(sidField, `${where}.Sid`)
  const principals = parsePrincipals(fields, where, { effect, ...reading })
  const actions = parseList(fields, where, 'Action', parseAction)
  const resources = parseList(fields, where, 'Resource', (text, at) =>
    parseResource(text, at, reading),
  )
  const conditionField = fields.get('Condition')
  const conditions =
    conditionField === undefined
      ? []
      : parseConditions(conditionField, `${where}.Condition`, reading.hasVariables)
  const variables = [...resources.items, ...conditions].flatMap((item) => item.variables)
  return {
    // The policy editor of AWS writes empty ones, to several statements.
    sid: sid === '' ? undefined : sid,
    effect,
    principals,
    actions,
    resources,
    conditions,
    variables: [...new Set(variables)],
  }
}

/** Exactly one of `Name` and `NotName`. */
function chooseField(fields: ReadonlyMap<string, unknown>, where: string, name: string) {
  const [plain, negated] = [fields.get(name), fields.get(`Not${name}`)]
  if (plain !== undefined && negated !== undefined) {
    throw malformed(where, `has both ${name} and Not${name}`)
  }
  const isNegated = plain === undefined
  const field = isNegated ? `Not${name}` : name
  return { isNegated, value: isNegated ? negated : plain, at: `${where}.${field}` }
}

function parseList<Item>(
  fields: ReadonlyMap<string, unknown>,
  where: string,
  name: string,
  parse: (text: string, where: string) => Item,
): PolicyList<Item> {
  const { isNegated, value, at } = chooseField(fields, where, name)
  if (value === undefined) throw malformed(where, `has neither ${name} nor Not${name}`)
  return { isNegated, items: readTexts(value, at).map((text) => parse(text, at)) }
}

function parsePrincipals(
  fields: ReadonlyMap<string, unknown>,
  where: string,
  reading: Reading & { readonly effect: 'Allow' | 'Deny' },
): PolicyList<PolicyPrincipal> | undefined {
  const { isNegated, value, at } = chooseField(fields, where, 'Principal')
  if (reading.bucket === undefined) {
    if (value === undefined) return undefined
    throw malformed(at, 'is not allowed in the policy of a user')
  }
  if (value === undefined) throw malformed(where, 'has no Principal')
  if (isNegated && reading.effect === 'Allow') {
    throw malformed(at, 'can only be used with Deny: it would let in everybody else')
  }
  if (value === '*') return { isNegated, items: [{ kind: 'everyone' }] }
  const kinds = readObject(value, at, ['AWS', 'CanonicalUser'])
  const items = [...kinds].flatMap(([kind, texts]) =>
    readTexts(texts, `${at}.${kind}`).map((text) =>
      kind === 'AWS' ? parseAwsPrincipal(text, `${at}.AWS`) : parseCanonicalId(text, at),
    ),
  )
  if (items.length === 0) throw malformed(at, 'must not be empty')
  return { isNegated, items }
}

function parseAwsPrincipal(text: string, where: string): PolicyPrincipal {
  if (text === '*') return { kind: 'everyone' }
  const [, kind, user] = /^arn:aws:iam::[^:]*:(?:(root)|user\/(.+))$/s.exec(text) ?? []
  if (kind !== undefined) return { kind: 'account' }
  const name = user ?? text
  if (name === '' || /[*?]/.test(name) || (user === undefined && /[:/]/.test(name))) {
    throw malformed(where, `${quote(text)} is not a principal`)
  }
  return { kind: 'user-name', name }
}

function parseCanonicalId(text: string, where: string): PolicyPrincipal {
  const id = text.toLowerCase()
  if (/^[0-9a-f]{64}$/.test(id)) return { kind: 'canonical-id', id }
  throw malformed(`${where}.CanonicalUser`, `${quote(text)} is not 64 hex digits`)
}

function parseAction(text: string, where: string): TextPattern {
  const pattern = parseTextPattern(text, {
    hasWildcards: true,
    hasVariables: false,
    isCaseless: true,
  })
  const isOfS3 = text === '*' || /^s3:/i.test(text)
  if (
    typeof pattern === 'string' ||
    !isOfS3 ||
    !isSomeAction((action) => matchesPattern(pattern, action))
  ) {
    throw malformed(where, `${quote(text)} is not an action of S3`)
  }
  return pattern
}

function parseResource(text: string, where: string, reading: Reading): TextPattern {
  const { bucket, hasVariables } = reading
  const isEverything = text === '*' && bucket === undefined
  // Region and account of an S3 resource are empty; some tools write a `*` there.
  const [, rest] = /^arn:aws:s3:\*?:\*?:(.+)$/s.exec(text) ?? []
  if (!isEverything && rest === undefined) {
    throw malformed(where, `${quote(text)} is not a resource like "${BUCKET_ARN_PREFIX}name/*"`)
  }
  const source = isEverything ? text : `${BUCKET_ARN_PREFIX}${rest ?? ''}`
  const pattern = parseTextPattern(source, { hasWildcards: true, hasVariables })
  if (typeof pattern === 'string') throw malformed(where, pattern)
  if (bucket !== undefined && !canBeInBucket(rest ?? '', bucket)) {
    throw malformed(where, `${quote(text)} is not in bucket ${quote(bucket)}`)
  }
  return pattern
}

/** `rest` is what follows `arn:aws:s3:::`. */
function canBeInBucket(rest: string, bucket: string): boolean {
  const slash = rest.indexOf('/')
  const name = slash < 0 ? rest : rest.slice(0, slash)
  // A variable may stand for a key, never for the bucket.
  const pattern = parseTextPattern(name, { hasWildcards: true, hasVariables: false })
  return typeof pattern !== 'string' && matchesPattern(pattern, bucket)
}
