// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of policies look like this.
import { describe, expect, test } from 'vitest'
import {
  holdsCondition,
  parseConditions,
} from '../../../../src/gateway/s3/access/policy-conditions.ts'
import { contextOf, expectS3Error } from './access-scenes.ts'

type Values = string | readonly string[] | undefined

function holds(operator: string, key: string, wanted: unknown, actual: Values): boolean {
  const conditions = parseConditions({ [operator]: { [key]: wanted } }, 'Condition', true)
  const user = { 'aws:username': 'sten' }
  const context = contextOf(actual === undefined ? user : { ...user, [key]: actual })
  return conditions.every((condition) => holdsCondition(condition, context))
}

const NUMBERS: readonly (readonly [string, boolean, boolean, boolean])[] = [
  ['Equals', false, true, false],
  ['NotEquals', true, false, true],
  ['LessThan', true, false, false],
  ['LessThanEquals', true, true, false],
  ['GreaterThan', false, false, true],
  ['GreaterThanEquals', false, true, true],
]

describe('an operator for text', () => {
  test.each<[string, unknown, Values, boolean]>([
    ['StringEquals', 'a', 'a', true],
    ['StringEquals', 'a', 'A', false],
    ['StringEquals', 'a*', 'ab', false],
    ['StringEquals', 'a*', 'a*', true],
    ['StringEquals', ['a', 'b'], 'b', true],
    ['StringEquals', ['a', 'b'], 'c', false],
    ['StringEquals', '', '', true],
    ['StringEquals', 'a', undefined, false],
    ['StringEquals', 'a', [], false],
    ['StringEquals', 'a', ['b', 'a'], true],
    ['StringEquals', 5, '5', true],
    ['StringEquals', true, 'true', true],
    ['StringEquals', '${aws:username}', 'sten', true],
    ['StringEquals', '${aws:userid}', 'sten', false],
    ['StringNotEquals', 'a', 'a', false],
    ['StringNotEquals', 'a', 'b', true],
    ['StringNotEquals', ['a', 'b'], 'b', false],
    ['StringNotEquals', ['a', 'b'], 'c', true],
    ['StringNotEquals', 'a', undefined, true],
    ['StringNotEquals', 'a', ['b', 'a'], false],
    ['StringNotEquals', 'a', ['b', 'c'], true],
    ['StringEqualsIgnoreCase', 'aB', 'Ab', true],
    ['StringEqualsIgnoreCase', 'aB', 'Abc', false],
    ['StringEqualsIgnoreCase', '${aws:username}', 'STEN', true],
    ['StringNotEqualsIgnoreCase', 'aB', 'Ab', false],
    ['StringNotEqualsIgnoreCase', 'aB', 'x', true],
    ['StringNotEqualsIgnoreCase', 'aB', undefined, true],
    ['StringLike', 'a*', 'abc', true],
    ['StringLike', 'a*', 'Abc', false],
    ['StringLike', 'a?', 'ab', true],
    ['StringLike', 'a${*}', 'ab', false],
    ['StringLike', 'a${*}', 'a*', true],
    ['StringLike', ['x', 'home/${aws:username}/*'], 'home/sten/a', true],
    ['StringLike', '*', undefined, false],
    ['StringLike', '*', '', true],
    ['StringNotLike', 'a*', 'abc', false],
    ['StringNotLike', 'a*', 'b', true],
    ['StringNotLike', ['a*', 'b*'], 'bc', false],
    ['StringNotLike', 'a*', undefined, true],
  ])('%s %o of %o: %o', (operator, wanted, actual, expected) => {
    expect(holds(operator, 's3:prefix', wanted, actual)).toBe(expected)
  })
})

describe('an operator for numbers', () => {
  const cases = NUMBERS.flatMap(([suffix, ...results]) =>
    ['9', '10', '11'].map((actual, index) => [`Numeric${suffix}`, actual, results[index]] as const),
  )
  test.each(cases)('%s 10 of %s: %o', (operator, actual, expected) => {
    expect(holds(operator, 's3:max-keys', '10', actual)).toBe(expected)
    expect(holds(operator, 's3:max-keys', 10, actual)).toBe(expected)
  })

  test.each<[string, unknown, Values, boolean]>([
    ['NumericEquals', '10', '10.0', true],
    ['NumericEquals', '10', '+10', true],
    ['NumericEquals', '-1.5', '-1.50', true],
    ['NumericEquals', '10', '1e1', false],
    ['NumericEquals', '10', '0x0a', false],
    ['NumericEquals', '0', '', false],
    ['NumericLessThan', '10', 'abc', false],
    ['NumericLessThan', '10', '-Infinity', false],
    ['NumericLessThan', ['5', '20'], '10', true],
    ['NumericNotEquals', '10', 'abc', true],
    ['NumericNotEquals', ['10', '11'], '11', false],
    ['NumericLessThan', '10', undefined, false],
    ['NumericNotEquals', '10', undefined, true],
    ['NumericLessThanEqualsIfExists', '10', undefined, true],
    ['NumericLessThanEqualsIfExists', '10', '11', false],
  ])('%s %o of %o: %o', (operator, wanted, actual, expected) => {
    expect(holds(operator, 's3:max-keys', wanted, actual)).toBe(expected)
  })
})

describe('an operator for dates', () => {
  const times = ['2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z', '2026-01-01T00:00:02Z']
  const cases = NUMBERS.flatMap(([suffix, ...results]) =>
    times.map((actual, index) => [`Date${suffix}`, actual, results[index]] as const),
  )
  test.each(cases)('%s one second after new year of %s: %o', (operator, actual, expected) => {
    expect(holds(operator, 'aws:CurrentTime', '2026-01-01T00:00:01Z', actual)).toBe(expected)
    expect(holds(operator, 'aws:CurrentTime', '1767225601', actual)).toBe(expected)
    expect(holds(operator, 'aws:CurrentTime', 1767225601, actual)).toBe(expected)
  })

  test.each<[string, string, boolean]>([
    ['2026-01-01', '2026-01-01T00:00:00Z', true],
    ['2026-01-01T00:00Z', '2026-01-01T00:00:00.000Z', true],
    ['2026-01-01T01:00:00+01:00', '2026-01-01T00:00:00Z', true],
    ['2026-01-01T00:00:00Z', '1767225600', true],
    ['2026-01-01T00:00:00Z', 'yesterday', false],
    ['2026-01-01T00:00:00Z', '', false],
  ])('DateEquals %s of %s: %o', (wanted, actual, expected) => {
    expect(holds('DateEquals', 'aws:EpochTime', wanted, actual)).toBe(expected)
  })
})

describe('an operator for addresses', () => {
  test.each<[string, unknown, Values, boolean]>([
    ['IpAddress', '10.0.0.0/8', '10.1.2.3', true],
    ['IpAddress', '10.0.0.0/8', '::ffff:10.1.2.3', true],
    ['IpAddress', '10.0.0.0/8', '11.0.0.1', false],
    ['IpAddress', ['11.0.0.0/8', '10.0.0.1'], '10.0.0.1', true],
    ['IpAddress', '::ffff:10.0.0.0/104', '10.1.2.3', true],
    ['IpAddress', '2001:db8::/32', '2001:db8::5', true],
    ['IpAddress', '0.0.0.0/0', '2001:db8::5', false],
    ['IpAddress', '0.0.0.0/0', undefined, false],
    ['NotIpAddress', '10.0.0.0/8', '10.1.2.3', false],
    ['NotIpAddress', '10.0.0.0/8', '::ffff:10.1.2.3', false],
    ['NotIpAddress', '10.0.0.0/8', '11.1.2.3', true],
    ['NotIpAddress', ['10.0.0.0/8', '11.0.0.0/8'], '11.1.2.3', false],
    ['NotIpAddress', '10.0.0.0/8', 'garbage', true],
    ['NotIpAddress', '10.0.0.0/8', undefined, true],
  ])('%s %o of %o: %o', (operator, wanted, actual, expected) => {
    expect(holds(operator, 'aws:SourceIp', wanted, actual)).toBe(expected)
  })
})

describe('the other operators', () => {
  test.each<[string, unknown, Values, boolean]>([
    ['Bool', 'true', 'true', true],
    ['Bool', true, 'true', true],
    ['Bool', 'True', 'true', true],
    ['Bool', 'true', 'false', false],
    ['Bool', false, 'false', true],
    ['Bool', 'false', undefined, false],
    ['BoolIfExists', 'false', undefined, true],
    ['Null', 'true', undefined, true],
    ['Null', 'true', [], true],
    ['Null', 'true', 'x', false],
    ['Null', true, '', false],
    ['Null', 'false', 'x', true],
    ['Null', 'false', undefined, false],
    ['Null', ['true', 'false'], 'x', true],
    ['ArnLike', 'arn:aws:s3:::a*', 'arn:aws:s3:::abc', true],
    ['ArnLike', 'arn:aws:s3:*:*:a', 'arn:aws:s3:eu:1:a', true],
    ['ArnLike', 'arn:*:*:*:*:a', 'arn:aws:s3:::a', true],
    ['ArnLike', 'arn:aws:*:a:b:c', 'arn:aws:s3:x:a:b:c', false],
    ['ArnLike', 'arn:aws:s3:::a:*', 'arn:aws:s3:::a:b:c', true],
    ['ArnLike', 'arn:aws:s3:::${aws:username}', 'arn:aws:s3:::sten', true],
    ['ArnEquals', 'arn:aws:s3:::a?', 'arn:aws:s3:::ab', true],
    ['ArnEquals', 'arn:aws:s3:::a', 'no arn', false],
    ['ArnNotLike', 'arn:aws:s3:::a*', 'arn:aws:s3:::abc', false],
    ['ArnNotLike', 'arn:aws:s3:::a*', 'arn:aws:s3:::b', true],
    ['ArnNotEquals', 'arn:aws:s3:::a', undefined, true],
  ])('%s %o of %o: %o', (operator, wanted, actual, expected) => {
    const key = operator.startsWith('Bool') ? 'aws:SecureTransport' : 's3:x-amz-copy-source'
    expect(holds(operator, key, wanted, actual)).toBe(expected)
  })
})

describe('a quantity', () => {
  test.each<[string, unknown, Values, boolean]>([
    ['ForAnyValue:StringEquals', ['a', 'b'], ['x', 'a'], true],
    ['ForAnyValue:StringEquals', ['a', 'b'], ['x', 'y'], false],
    ['ForAnyValue:StringEquals', 'a', undefined, false],
    ['ForAnyValue:StringEquals', 'a', [], false],
    ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'b'], true],
    ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'x'], false],
    ['ForAllValues:StringEquals', 'a', undefined, true],
    ['ForAllValues:StringEquals', 'a', [], true],
    ['ForAnyValue:StringNotEquals', 'a', ['a', 'b'], true],
    ['ForAnyValue:StringNotEquals', 'a', ['a'], false],
    ['ForAnyValue:StringNotEquals', 'a', undefined, false],
    ['ForAllValues:StringNotEquals', 'a', ['b', 'c'], true],
    ['ForAllValues:StringNotEquals', 'a', ['b', 'a'], false],
    ['ForAllValues:StringNotEquals', 'a', undefined, true],
    ['ForAnyValue:StringLike', 'a*', ['x', 'ab'], true],
    ['ForAllValues:StringLike', 'a*', ['ab', 'ac'], true],
    ['ForAllValues:StringLike', 'a*', ['ab', 'bc'], false],
    ['ForAnyValue:StringEqualsIfExists', 'a', undefined, true],
    ['ForAnyValue:StringEqualsIfExists', 'a', ['b'], false],
    ['StringEqualsIfExists', 'a', undefined, true],
    ['StringEqualsIfExists', 'a', 'b', false],
    ['StringNotEqualsIfExists', 'a', undefined, true],
    ['StringNotEqualsIfExists', 'a', 'a', false],
  ])('%s %o of %o: %o', (operator, wanted, actual, expected) => {
    expect(holds(operator, 's3:RequestObjectTagKeys', wanted, actual)).toBe(expected)
  })
})

describe('several keys and operators', () => {
  const both = {
    StringEquals: { 's3:prefix': 'a', 's3:delimiter': '/' },
    NumericLessThan: { 's3:max-keys': '10' },
  }
  test.each([
    [{ 's3:prefix': 'a', 's3:delimiter': '/', 's3:max-keys': '9' }, true],
    [{ 's3:prefix': 'b', 's3:delimiter': '/', 's3:max-keys': '9' }, false],
    [{ 's3:prefix': 'a', 's3:delimiter': '-', 's3:max-keys': '9' }, false],
    [{ 's3:prefix': 'a', 's3:delimiter': '/', 's3:max-keys': '10' }, false],
    [{ 's3:prefix': 'a', 's3:delimiter': '/' }, false],
  ])('must all hold: %o gives %o', (values, expected) => {
    const conditions = parseConditions(both, 'Condition', true)
    expect(conditions).toHaveLength(3)
    const context = contextOf(values)
    expect(conditions.every((condition) => holdsCondition(condition, context))).toBe(expected)
  })

  test('are asked for one at a time, in their own spelling', () => {
    const [condition] = parseConditions({ Bool: { 'AWS:SECURETRANSPORT': true } }, 'C', true)
    const asked: string[] = []
    if (condition === undefined) return expect.fail('no condition')
    holdsCondition(condition, (key) => {
      asked.push(key)
      return ['true']
    })
    expect(asked).toEqual(['aws:SecureTransport'])
  })
})

describe('a condition that cannot be judged', () => {
  test.each([
    ['', 's3:prefix', 'a'],
    ['stringequals', 's3:prefix', 'a'],
    ['StringEquals ', 's3:prefix', 'a'],
    ['StringMatches', 's3:prefix', 'a'],
    ['ForSomeValues:StringEquals', 's3:prefix', 'a'],
    ['ForAnyValue:', 's3:prefix', 'a'],
    ['IfExists', 's3:prefix', 'a'],
    ['StringEqualsIfExistsIfExists', 's3:prefix', 'a'],
    ['NullIfExists', 's3:prefix', 'true'],
    ['ForAnyValue:Null', 's3:prefix', 'true'],
    ['constructor', 's3:prefix', 'a'],
    ['__proto__', 's3:prefix', 'a'],
    ['NotIpAddres', 'aws:SourceIp', '10.0.0.0/8'],
    ['IpAddress', 'aws:SourceIp', '10.0.0.0/33'],
    ['IpAddress', 'aws:SourceIp', ['10.0.0.1', 'x']],
    ['NumericEquals', 's3:max-keys', 'ten'],
    ['NumericEquals', 's3:max-keys', true],
    ['NumericEquals', 's3:max-keys', ''],
    ['DateLessThan', 'aws:CurrentTime', 'tomorrow'],
    ['DateLessThan', 'aws:CurrentTime', '2026-13-01'],
    ['DateLessThan', 'aws:CurrentTime', '2026-01-01T00:00:00'],
    ['Bool', 'aws:SecureTransport', 'yes'],
    ['Null', 's3:prefix', 'maybe'],
    ['ArnLike', 's3:x-amz-copy-source', 'no arn'],
    ['ArnLike', 's3:x-amz-copy-source', 'arn:aws:s3:::${nope}'],
    ['StringLike', 's3:prefix', '${nope}'],
    ['StringEquals', 'prefix', 'a'],
  ])('%s on %s with %o is MalformedPolicy', (operator, key, wanted) => {
    const fields = Object.fromEntries([[operator, Object.fromEntries([[key, wanted]])]])
    const error = expectS3Error(() => parseConditions(fields, 'Condition', true))
    expect(error).toMatchObject({ code: 'MalformedPolicy' })
    expect(error.message).toMatch(/^Condition\./)
  })
})

test('a policy of 2008 has no variables', () => {
  const [condition] = parseConditions({ StringEquals: { 's3:prefix': '${x}' } }, 'C', false)
  if (condition === undefined) return expect.fail('no condition')
  expect(holdsCondition(condition, contextOf({ 's3:prefix': '${x}' }))).toBe(true)
})
