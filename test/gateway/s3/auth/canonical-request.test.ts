import { describe, expect, test } from 'vitest'
import {
  canonicalHeaders,
  canonicalQuery,
  canonicalRequest,
  canonicalUri,
  otherUris,
} from '../../../../src/gateway/s3/auth/canonical-request.ts'
import { QueryParameters, RequestHeaders } from '../../../../src/gateway/s3/s3-request.ts'
import { asBytes, s3Request } from '../../../support/s3-signing.ts'

describe('the canonical URI', () => {
  test.each([
    ['/', '/'],
    ['/bucket/a-b_c.d~e', '/bucket/a-b_c.d~e'],
    ['/b//k', '/b//k'],
    ['/b/./../k', '/b/./../k'],
    ['/b/%2e%2E/k', '/b/../k'],
    ['/b/a+b', '/b/a%2Bb'],
    ["/b/!'()*", '/b/%21%27%28%29%2A'],
    ['/b/%7e%2d', '/b/~-'],
    ['/b/%e4%bd%a0', '/b/%E4%BD%A0'],
    ['/b/a%20b', '/b/a%20b'],
    ['/b/a%2fb', '/b/a/b'],
    ['/b/100%2525', '/b/100%2525'],
    ['/b/?#'.replace('?', '%3f'), '/b/%3F%23'],
    ['/b/$&=:@,;', '/b/%24%26%3D%3A%40%2C%3B'],
  ])('of %s is %s', (rawPath, expected) => {
    expect(canonicalUri(rawPath)).toBe(expected)
  })

  test.each(['/b/%', '/b/%4', '/b/%zz', '/b/%ff', '/b/%c3%28', '/b/%ed%a0%80'])(
    'of %s does not exist: InvalidURI',
    (rawPath) => {
      expect(() => canonicalUri(rawPath)).toThrow(expect.objectContaining({ code: 'InvalidURI' }))
    },
  )
})

describe('what may have been signed instead', () => {
  test.each<[string, string[]]>([
    ['/b/a', []],
    ['/b/a~b//../c', []],
    ['/b/a%20b', []],
    ['/b/a%2Fb', ['/b/a%2Fb']],
    ['/b/a%2fb', ['/b/a%2fb', '/b/a%2Fb']],
    ['/b/a%7Eb', ['/b/a%7Eb']],
    ['/b/a+b', ['/b/a+b']],
    ['/b/a%2F%7Eb!', ['/b/a%2F%7Eb!', '/b/a%2F~b%21']],
  ])('of %s is %j', (rawPath, expected) => {
    expect(otherUris(rawPath)).toEqual(expected)
  })
})

describe('the canonical query', () => {
  test.each([
    ['', ''],
    ['delete', 'delete='],
    ['delete=', 'delete='],
    ['b=2&a=1', 'a=1&b=2'],
    ['a=2&a=1&a', 'a=&a=1&a=2'],
    ['a-b=1&a=2', 'a=2&a-b=1'],
    ['a.b=1&a=2&a0=3', 'a=2&a.b=1&a0=3'],
    ['b=1&A=2&_=3&a=4', 'A=2&_=3&a=4&b=1'],
    ['p=a+b%20c%2Bd', 'p=a%20b%20c%2Bd'],
    ['p=%7e%2f*', 'p=~%2F%2A'],
    ['p=a=b', 'p=a%3Db'],
    ['%C3%A4=%c3%a4&z=1', '%C3%A4=%C3%A4&z=1'],
    ['=v', '=v'],
    ['a&&b', 'a=&b='],
  ])('of %s is %s', (rawQuery, expected) => {
    expect(canonicalQuery(QueryParameters.parse(rawQuery))).toBe(expected)
  })

  test('leaves out the one parameter that is named, capitals apart', () => {
    const query = QueryParameters.parse('X-Amz-Signature=1&x-amz-signature=2&X-Amz-Date=3')
    expect(canonicalQuery(query, 'X-Amz-Signature')).toBe('X-Amz-Date=3&x-amz-signature=2')
  })
})

describe('the canonical headers', () => {
  test.each([
    ['plain', 'plain'],
    ['  both ends  ', 'both ends'],
    ['a  b   c', 'a b c'],
    ['a\tb \t c', 'a b c'],
    ['"a   b"', '"a b"'],
    ['', ''],
    ['   ', ''],
    // The bytes of `à` end in A0, which as a character of its own would be white space.
    [asBytes('voilà'), asBytes('voilà')],
    [`${asBytes('à')}  ${asBytes('à')}`, `${asBytes('à')} ${asBytes('à')}`],
  ])('have the value %j as %j', (value, expected) => {
    expect(canonicalHeaders(new RequestHeaders(['X', value]), ['x'])).toBe(`x:${expected}\n`)
  })

  test('join what came more than once with a comma, in the order it came', () => {
    const headers = new RequestHeaders(['X-Amz-Meta-A', '2', 'Host', 'h', 'x-amz-meta-a', '1'])
    expect(canonicalHeaders(headers, ['host', 'x-amz-meta-a'])).toBe('host:h\nx-amz-meta-a:2,1\n')
  })

  test('are empty where a signed header did not arrive', () => {
    expect(canonicalHeaders(new RequestHeaders([]), ['host', 'x'])).toBe('host:\nx:\n')
  })
})

test('a canonical request is method, URI, query, headers, their names and the payload', () => {
  const request = s3Request({ method: 'PUT', url: '/b/k?acl', headers: { Host: 'h', 'X-B': '1' } })
  const parts = { signedHeaders: ['host', 'x-b'], payloadHash: 'UNSIGNED-PAYLOAD' }
  expect(canonicalRequest(request, parts)).toBe(
    'PUT\n/b/k\nacl=\nhost:h\nx-b:1\n\nhost;x-b\nUNSIGNED-PAYLOAD',
  )
})
