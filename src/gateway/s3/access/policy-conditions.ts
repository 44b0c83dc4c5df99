import { quote } from '../../../base/store-error.ts'
import { parseConditionKey } from './condition-keys.ts'
import { isInIpRange, parseIpRange } from './ip-range.ts'
import { malformed, readObject } from './policy-json.ts'
import {
  matchesPattern,
  type PatternSyntax,
  type PolicyVariable,
  parseTextPattern,
  type TextPattern,
  type VariableLookup,
} from './text-pattern.ts'

/**
 * The values a request has for a condition key, in the spelling of `parseConditionKey`. Undefined
 * or none: the key is missing. Asked only for what a policy that is judged needs.
 */
export type ConditionContext = (key: string) => readonly string[] | undefined

/** One key below one operator. */
export interface PolicyCondition {
  readonly key: string
  /** Without `ForAnyValue:`, `IfExists` and negation, which the next three say. */
  readonly operator: string
  readonly quantifier: 'any' | 'all' | undefined
  readonly isIfExists: boolean
  readonly isNegated: boolean
  /** As they were written. */
  readonly values: readonly string[]
  readonly tests: readonly ValueTest[]
  readonly variables: readonly PolicyVariable[]
}

interface ValueTest {
  readonly fits: (value: string, lookup: VariableLookup) => boolean
  readonly variables: readonly PolicyVariable[]
}

/** Makes a test of what a policy says; a string says what is wrong with it. */
type TestParser = (text: string, hasVariables: boolean) => ValueTest | string

interface Operator {
  readonly name: string
  readonly isNegated: boolean
  readonly parse: TestParser
}

const isEqual = (order: number) => order === 0

/** What both families of ordered values have behind their name. */
const ORDERS: readonly (readonly [suffix: string, fits: (order: number) => boolean])[] = [
  ['Equals', isEqual],
  ['LessThan', (order) => order < 0],
  ['LessThanEquals', (order) => order <= 0],
  ['GreaterThan', (order) => order > 0],
  ['GreaterThanEquals', (order) => order >= 0],
]

/** By name, the negated ones too. Source: the IAM user guide, "Condition operators". */
const OPERATORS: ReadonlyMap<string, Operator> = new Map(
  [
    positive('StringEquals', patternParser({ hasWildcards: false })),
    negative('StringNotEquals', 'StringEquals', patternParser({ hasWildcards: false })),
    positive('StringEqualsIgnoreCase', patternParser({ hasWildcards: false, isCaseless: true })),
    negative(
      'StringNotEqualsIgnoreCase',
      'StringEqualsIgnoreCase',
      patternParser({ hasWildcards: false, isCaseless: true }),
    ),
    positive('StringLike', patternParser({ hasWildcards: true })),
    negative('StringNotLike', 'StringLike', patternParser({ hasWildcards: true })),
    ...ORDERS.map(([suffix, fits]) => positive(`Numeric${suffix}`, orderParser(readNumber, fits))),
    negative('NumericNotEquals', 'NumericEquals', orderParser(readNumber, isEqual)),
    ...ORDERS.map(([suffix, fits]) => positive(`Date${suffix}`, orderParser(readDateMs, fits))),
    negative('DateNotEquals', 'DateEquals', orderParser(readDateMs, isEqual)),
    positive('Bool', parseBoolTest),
    positive('Null', parseBoolTest),
    positive('IpAddress', parseIpTest),
    negative('NotIpAddress', 'IpAddress', parseIpTest),
    positive('ArnEquals', parseArnTest),
    negative('ArnNotEquals', 'ArnEquals', parseArnTest),
    positive('ArnLike', parseArnTest),
    negative('ArnNotLike', 'ArnLike', parseArnTest),
  ].map(([name, operator]) => [name, operator]),
)

function positive(name: string, parse: TestParser): readonly [string, Operator] {
  return [name, { name, isNegated: false, parse }]
}

function negative(name: string, of: string, parse: TestParser): readonly [string, Operator] {
  return [name, { name: of, isNegated: true, parse }]
}

/**
 * The value of `Condition` in a statement. `hasVariables`: the version of the policy knows them.
 *
 * @throws {S3Error} MalformedPolicy: an operator or a key that is not known, or a value that the
 * operator cannot compare with.
 */
export function parseConditions(
  value: unknown,
  where: string,
  hasVariables: boolean,
): readonly PolicyCondition[] {
  return [...readObject(value, where)].flatMap(([name, operands]) => {
    const at = `${where}.${quote(name)}`
    const operator = parseOperator(name, at)
    const fields = readObject(operands, at)
    if (fields.size === 0) throw malformed(at, 'must not be empty')
    return [...fields].map(([keyText, texts]) => {
      const key = parseConditionKey(keyText)
      if (key === undefined) throw malformed(at, `${quote(keyText)} is not a condition key`)
      const values = readOperands(texts, `${at}.${key}`)
      const tests = values.map((text) => {
        const test = operator.parse(text, hasVariables)
        if (typeof test === 'string') throw malformed(`${at}.${key}`, test)
        return test
      })
      const variables = [...new Set(tests.flatMap((test) => test.variables))]
      const { name: base, quantifier, isIfExists, isNegated } = operator
      return { key, operator: base, quantifier, isIfExists, isNegated, values, tests, variables }
    })
  })
}

function parseOperator(text: string, where: string) {
  const [, quantity, rest = ''] = /^(?:(ForAnyValue|ForAllValues):)?(.*)$/s.exec(text) ?? []
  const isIfExists = rest.endsWith('IfExists')
  const operator = OPERATORS.get(isIfExists ? rest.slice(0, -'IfExists'.length) : rest)
  // Whether a key is there is what Null itself asks: with a quantity or IfExists it has no sense.
  const isBareNull = quantity === undefined && !isIfExists
  if (operator === undefined || (operator.name === 'Null' && !isBareNull)) {
    throw malformed(where, 'is not a condition operator')
  }
  const quantifier =
    quantity === undefined
      ? undefined
      : quantity === 'ForAnyValue'
        ? ('any' as const)
        : ('all' as const)
  return { ...operator, quantifier, isIfExists }
}

/** Numbers and booleans may be written without quotes. */
function readOperands(value: unknown, where: string): readonly string[] {
  const items: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (items.length === 0) throw malformed(where, 'must not be empty')
  return items.map((item) => {
    if (typeof item === 'string') return item
    if (typeof item === 'number' || typeof item === 'boolean') return String(item)
    throw malformed(where, 'must be a string, a number, a boolean or a list of them')
  })
}

/**
 * Whether a condition holds. A missing key: `Null` says; with IfExists it holds; "for all values"
 * holds, "for any value" does not; otherwise it holds if it is negated. Without a quantity one of
 * several values is enough, and none may be what a negated operator names.
 */
export function holdsCondition(condition: PolicyCondition, context: ConditionContext): boolean {
  const { key, operator, quantifier, isIfExists, isNegated, tests } = condition
  const lookup: VariableLookup = (name) => context(name)?.[0]
  const values = context(key) ?? []
  if (operator === 'Null') {
    const isMissing = String(values.length === 0)
    return tests.some((test) => test.fits(isMissing, lookup))
  }
  if (values.length === 0) return isIfExists || quantifier === 'all' || (isNegated && !quantifier)
  const holds = (value: string) => tests.some((test) => test.fits(value, lookup)) !== isNegated
  const isOneEnough = quantifier === 'any' || (quantifier === undefined && !isNegated)
  return isOneEnough ? values.some(holds) : values.every(holds)
}

function patternParser(syntax: Omit<PatternSyntax, 'hasVariables'>): TestParser {
  return (text, hasVariables) => {
    const pattern = parseTextPattern(text, { ...syntax, hasVariables })
    if (typeof pattern === 'string') return pattern
    const fits: ValueTest['fits'] = (value, lookup) => matchesPattern(pattern, value, lookup)
    return { fits, variables: pattern.variables }
  }
}

function orderParser(
  read: (text: string) => number | undefined,
  isWanted: (order: number) => boolean,
): TestParser {
  return (text) => {
    const limit = read(text)
    if (limit === undefined) return `${quote(text)} cannot be compared with this operator`
    const fits = (value: string) => {
      const actual = read(value)
      return actual !== undefined && isWanted(actual - limit)
    }
    return { fits, variables: [] }
  }
}

function readNumber(text: string): number | undefined {
  return /^[+-]?\d{1,15}(?:\.\d{1,15})?$/.test(text) ? Number(text) : undefined
}

const DATE = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d))?$/
const EPOCH_SECONDS = /^\d{1,12}(?:\.\d{1,9})?$/

/** ISO 8601, UTC where only a day is given, or seconds since 1970. */
function readDateMs(text: string): number | undefined {
  if (EPOCH_SECONDS.test(text)) return Number(text) * 1000
  if (!DATE.test(text)) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}

function parseBoolTest(text: string): ValueTest | string {
  const wanted = text.toLowerCase()
  if (wanted !== 'true' && wanted !== 'false') return `${quote(text)} is not true or false`
  return { fits: (value) => value.toLowerCase() === wanted, variables: [] }
}

function parseIpTest(text: string): ValueTest | string {
  const range = parseIpRange(text)
  if (range === undefined) return `${quote(text)} is not an IP address or a CIDR block`
  return { fits: (value) => isInIpRange(range, value), variables: [] }
}

const ARN_PARTS = 6

/** Wildcards do not reach over the colons: each of the six parts is compared with its own. */
function parseArnTest(text: string, hasVariables: boolean): ValueTest | string {
  const parts = splitArn(text, hasVariables)
  if (parts.length !== ARN_PARTS) return `${quote(text)} is not an ARN`
  const patterns: TextPattern[] = []
  for (const part of parts) {
    const pattern = parseTextPattern(part, { hasWildcards: true, hasVariables })
    if (typeof pattern === 'string') return pattern
    patterns.push(pattern)
  }
  const fits: ValueTest['fits'] = (value, lookup) => {
    const actual = splitArn(value, false)
    if (actual.length !== ARN_PARTS) return false
    return patterns.every((pattern, index) => matchesPattern(pattern, actual[index] ?? '', lookup))
  }
  return { fits, variables: [...new Set(patterns.flatMap((pattern) => pattern.variables))] }
}

/** At the first five colons that are not inside a variable. */
function splitArn(text: string, hasVariables: boolean): readonly string[] {
  const parts: string[] = []
  let start = 0
  for (let at = 0; at < text.length && parts.length < ARN_PARTS - 1; at++) {
    if (hasVariables && text.startsWith('${', at)) {
      const end = text.indexOf('}', at)
      if (end >= 0) at = end
    } else if (text[at] === ':') {
      parts.push(text.slice(start, at))
      start = at + 1
    }
  }
  return [...parts, text.slice(start)]
}
