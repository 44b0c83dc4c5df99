import { describe, expect, test } from 'vitest'
import { PostPolicy, parsePostPolicy } from '../../../../src/gateway/s3/auth/post-conditions.ts'
import { PostFields } from '../../../../src/gateway/s3/auth/post-fields.ts'

const EXPIRATION = '2024-03-09T12:00:00.000Z'

function base64(document: unknown): string {
  return Buffer.from(JSON.stringify(document)).toString('base64')
}

function policyOf(...conditions: readonly unknown[]): PostPolicy {
  const document = { expiration: EXPIRATION, conditions: [{ bucket: 'b' }, ...conditions] }
  return new PostPolicy(parsePostPolicy(base64(document)), 'b')
}

function check(policy: PostPolicy, fields: Readonly<Record<string, string>>): void {
  policy.checkFields(PostFields.of(Object.entries(fields)))
}

const DENIED = expect.objectContaining({ code: 'AccessDenied', status: 403 })
const INVALID = expect.objectContaining({ code: 'InvalidPolicyDocument', status: 400 })

describe('a policy document', () => {
  test('gives its expiration and the range of the length', () => {
    const conditions = [['content-length-range', 1, 10]]
    expect(parsePostPolicy(base64({ expiration: EXPIRATION, conditions }))).toEqual({
      expiresAtMs: Date.parse(EXPIRATION),
      conditions: [],
      contentLengthRange: { minBytes: 1, maxBytes: 10 },
    })
  })

  test.each(['2024-03-09T12:00:00Z', '2024-03-09T12:00:00.5Z', '2024-03-09T12:00:00.000000Z'])(
    'may expire at %s',
    (expiration) => {
      const { expiresAtMs } = parsePostPolicy(base64({ expiration, conditions: [] }))
      expect(expiresAtMs).toBe(Date.parse(expiration))
    },
  )

  const good = { expiration: EXPIRATION, conditions: [] }

  test.each([
    ['no base64', '!'],
    ['nothing', ''],
    ['base64url', 'e30_'],
    ['no JSON', Buffer.from('{').toString('base64')],
    ['no UTF-8', Buffer.from('7b22ff223a317d', 'hex').toString('base64')],
    ['a list', base64([])],
    ['null', base64(null)],
    ['no expiration', base64({ conditions: [] })],
    ['EXPIRATION in capitals', base64({ EXPIRATION, conditions: [] })],
    ['no conditions', base64({ expiration: EXPIRATION })],
    ['CONDITIONS in capitals', base64({ expiration: EXPIRATION, CONDITIONS: [] })],
    ['another element', base64({ ...good, extra: 1 })],
    ['conditions that are no list', base64({ ...good, conditions: {} })],
    ['a number as expiration', base64({ ...good, expiration: 1709985600 })],
    [
      'an expiration as Python prints it',
      base64({ ...good, expiration: '2024-03-09 12:00:00+00:00' }),
    ],
    ['an expiration without a time', base64({ ...good, expiration: '2024-03-09' })],
    ['a month 13', base64({ ...good, expiration: '2024-13-09T12:00:00Z' })],
  ])('with %s is refused: InvalidPolicyDocument', (_, text) => {
    expect(() => parsePostPolicy(text)).toThrow(INVALID)
  })

  test.each([
    [{}],
    [{ key: 'a', acl: 'b' }],
    [{ key: 1 }],
    ['key'],
    [null],
    [[]],
    [['eq', '$key']],
    [['eq', '$key', 'a', 'b']],
    [['eq', 'key', 'a']],
    [['eq', '$', 'a']],
    [['eq', '$key', 1]],
    [['ends-with', '$key', 'a']],
    [[1, 2, 3]],
    [['content-length-range', 0]],
    [['content-length-range', -1, 0]],
    [['content-length-range', 2, 1]],
    [['content-length-range', 0, 1.5]],
    [['content-length-range', 'a', 'b']],
    [['content-length-range', '', '1']],
    [['content-length-range', null, 1]],
  ])('with the condition %j is refused: InvalidPolicyDocument', (condition) => {
    expect(() => policyOf(condition)).toThrow(INVALID)
  })
})

describe('the conditions of a policy', () => {
  const startsWith = (name: string, prefix: string) => ['starts-with', `$${name}`, prefix]

  test.each([
    ['an equal value', [{ key: 'a' }], { key: 'a' }],
    ['eq', [['eq', '$key', 'a']], { key: 'a' }],
    ['a beginning', [startsWith('key', 'user/')], { key: 'user/a' }],
    ['any value', [startsWith('key', '')], { key: 'x' }],
    ['any value, absent', [startsWith('key', '')], {}],
    ['names in any capitals', [{ AcL: 'x' }, ['eq', '$KeY', 'a']], { aCl: 'x', kEy: 'a' }],
    ['operators in any capitals', [['StArTs-WiTh', '$KeY', 'foo']], { key: 'foo.txt' }],
    [
      'two conditions of a field',
      [startsWith('key', 'a'), startsWith('key', 'ab')],
      { key: 'abc' },
    ],
    ['a value with a dollar', [startsWith('key', '\\$foo')], { key: '\\$foo.txt' }],
    [
      'a list of types',
      [startsWith('Content-Type', 'image/')],
      { 'Content-Type': 'image/a, image/b' },
    ],
    ['the fields of the bucket', [{ key: 'a' }], { key: 'a', bucket: 'b' }],
  ])('are met by %s', (_, conditions, fields) => {
    expect(() => check(policyOf(...conditions), fields)).not.toThrow()
  })

  test.each([
    ['another value', [{ key: 'a' }], { key: 'b' }],
    ['other capitals in a value', [{ key: 'a' }], { key: 'A' }],
    ['no value', [{ key: 'a' }], {}],
    ['no value for a beginning', [startsWith('key', 'a')], {}],
    ['a value for an empty one', [['eq', '$x-amz-meta-foo', '']], { 'x-amz-meta-foo': 'bar' }],
    ['another beginning', [startsWith('key', 'user/')], { key: 'users/a' }],
    ['the beginning elsewhere', [startsWith('key', 'user/')], { key: 'a/user/' }],
    ['one of two conditions', [startsWith('key', 'a'), startsWith('key', 'ab')], { key: 'ac' }],
    [
      'one of a list of types',
      [startsWith('content-type', 'image/')],
      { 'content-type': 'image/a,text/b' },
    ],
    ['a list of types for eq', [{ 'content-type': 'a' }], { 'content-type': 'a,a' }],
    ['a list that is no type', [startsWith('key', 'a')], { key: ',a' }],
    ['a field without condition', [{ key: 'a' }], { key: 'a', acl: 'private' }],
    ['metadata without condition', [{ key: 'a' }], { key: 'a', 'x-amz-meta-a': '' }],
    ['a token without condition', [{ key: 'a' }], { key: 'a', 'x-amz-security-token': 'x' }],
    ['another bucket in the form', [{ key: 'a' }], { key: 'a', bucket: 'c' }],
  ])('are not met by %s: AccessDenied', (_, conditions, fields) => {
    expect(() => check(policyOf(...conditions), fields)).toThrow(DENIED)
  })

  test('are not needed for what signs the form, its file, and fields to be ignored', () => {
    const names = ['policy', 'x-amz-signature', 'x-amz-algorithm', 'x-amz-credential', 'x-amz-date']
    const others = ['AWSAccessKeyId', 'signature', 'file', 'x-ignore-foo', 'X-Ignore-Bar']
    const fields = Object.fromEntries([...names, ...others].map((name) => [name, 'x']))
    expect(() => check(policyOf(), fields)).not.toThrow()
  })

  test('must hold for what signs the form if there are any', () => {
    const policy = policyOf({ 'x-amz-date': '20240309T000000Z' })
    expect(() => check(policy, { 'x-amz-date': '20240310T000000Z' })).toThrow(DENIED)
  })

  test.each([
    ['another bucket', [{ bucket: 'c' }]],
    ['no bucket', []],
    ['buckets that begin otherwise', [['starts-with', '$bucket', 'c']]],
  ])('for %s refuse a form posted to this one', (_, conditions) => {
    const document = parsePostPolicy(base64({ expiration: EXPIRATION, conditions }))
    expect(() => check(new PostPolicy(document, 'b'), {})).toThrow(DENIED)
    expect(() => check(new PostPolicy(document, 'b'), { bucket: 'c' })).toThrow(DENIED)
  })

  test('are not looked up in what every object has', () => {
    expect(() => check(policyOf(['eq', '$constructor', '']), { constructor: '' })).not.toThrow()
    expect(() => check(policyOf(), { ['__proto__']: 'x', constructor: 'x' })).toThrow(DENIED)
  })
})

describe('the length of a file', () => {
  test.each([
    [0, 'EntityTooSmall'],
    [4, 'EntityTooSmall'],
    [5, undefined],
    [10, undefined],
    [11, 'EntityTooLarge'],
  ])('of %d bytes within 5 to 10: %s', (sizeBytes, code) => {
    const policy = policyOf(['content-length-range', 5, 10])
    expect(policy.contentLengthRange).toEqual({ minBytes: 5, maxBytes: 10 })
    if (code === undefined) expect(() => policy.checkLength(sizeBytes)).not.toThrow()
    else {
      expect(() => policy.checkLength(sizeBytes)).toThrow(
        expect.objectContaining({ code, status: 400 }),
      )
    }
  })

  test('of 0 to 0 bytes may be 0 alone', () => {
    const policy = policyOf(['Content-Length-Range', '0', '0'])
    expect(() => policy.checkLength(0)).not.toThrow()
    expect(() => policy.checkLength(1)).toThrow(expect.objectContaining({ code: 'EntityTooLarge' }))
  })

  test('is within all the ranges there are', () => {
    const policy = policyOf(['content-length-range', 0, 10], ['content-length-range', 5, 20])
    expect(policy.contentLengthRange).toEqual({ minBytes: 5, maxBytes: 10 })
  })

  test('is anything where the policy does not say', () => {
    expect(policyOf().contentLengthRange).toBeUndefined()
    expect(() => policyOf().checkLength(2 ** 40)).not.toThrow()
  })
})
