import { describe, expect, test } from 'vitest'
import {
  effectiveHeader,
  effectiveHeaderNames,
  isPlaceholderChecksum,
  isPresigned,
} from '../../../../src/gateway/s3/auth/hoisted-headers.ts'
import { QueryParameters } from '../../../../src/gateway/s3/s3-request.ts'
import { asBytes, s3Request } from '../../../support/s3-signing.ts'

const V4 = 'X-Amz-Signature=0'
const V2 = 'AWSAccessKeyId=a&Signature=b&Expires=1'

function header(query: string, name: string, headers: Readonly<Record<string, string>> = {}) {
  return effectiveHeader(s3Request({ method: 'PUT', url: `/b/k?${query}`, headers }), name)
}

describe('a query', () => {
  test.each([
    [V4, true],
    [V2, true],
    ['', false],
    ['Signature=b', false],
    ['AWSAccessKeyId=a', false],
    ['x-amz-signature=0', false],
    ['x-amz-acl=private', false],
  ])('%s: presigned is %s', (rawQuery, expected) => {
    expect(isPresigned(QueryParameters.parse(rawQuery))).toBe(expected)
  })
})

describe('the effective value of a header', () => {
  test.each([V4, V2])('is that of the query where it is presigned by %s', (signature) => {
    expect(header(`${signature}&x-amz-acl=private`, 'x-amz-acl')).toBe('private')
    expect(header(`X-Amz-Acl=private&${signature}`, 'x-amz-acl')).toBe('private')
  })

  test('is never that of a query which is not presigned', () => {
    expect(header('x-amz-acl=public-read', 'x-amz-acl')).toBeUndefined()
    expect(header('Signature=b&x-amz-acl=public-read', 'x-amz-acl')).toBeUndefined()
  })

  test('is that of the header if there are both', () => {
    const headers = { 'X-Amz-Acl': 'private' }
    expect(header(`${V4}&x-amz-acl=public-read`, 'x-amz-acl', headers)).toBe('private')
  })

  test('is that of the first parameter if there are two', () => {
    expect(header(`${V4}&X-Amz-Acl=private&x-amz-acl=public-read`, 'x-amz-acl')).toBe('private')
  })

  test('has the bytes of its UTF-8 as characters, as headers do', () => {
    const query = `${V4}&x-amz-meta-a=voil%C3%A0`
    expect(header(query, 'x-amz-meta-a')).toBe(asBytes('voilà'))
  })

  test.each([
    ['x-amz-sdk-checksum-algorithm'],
    ['x-amz-sdk-anything'],
    ['x-amz-user-agent'],
    ['x-amz-signature'],
    ['x-amz-date'],
    ['x-id'],
    ['content-type'],
  ])('of %s is not looked for in the query', (name) => {
    expect(header(`${V4}&${name}=value`, name)).toBeUndefined()
    expect(header(`${V4}&${name}=value`, name, { [name]: 'header' })).toBe('header')
  })

  test('exists for each name once', () => {
    const url = `/?${V4}&X-Amz-Meta-A=1&x-amz-meta-a=2&x-amz-meta-b=3&x-id=4&x-amz-sdk-x=5`
    const headers = { Host: 'h', 'X-Amz-Meta-B': '6' }
    expect([...effectiveHeaderNames(s3Request({ url, headers }))]).toEqual([
      'host',
      'x-amz-meta-b',
      'x-amz-meta-a',
    ])
    const unsigned = s3Request({ url: '/?x-amz-meta-a=1', headers })
    expect([...effectiveHeaderNames(unsigned)]).toEqual(['host', 'x-amz-meta-b'])
  })
})

describe('the CRC32 of an empty body', () => {
  const crc = 'x-amz-checksum-crc32=AAAAAA%3D%3D'

  const body = { 'Content-Length': '1' }
  const chunked = { 'Transfer-Encoding': 'chunked' }
  const otherValue = 'x-amz-checksum-crc32=AAAAAQ%3D%3D'
  const otherName = 'x-amz-checksum-crc32c=AAAAAA%3D%3D'

  test.each([
    ['hoisted, with a body of 1 byte', true, `${V4}&${crc}`, body],
    ['hoisted by V2, with a body of 1 byte', true, `${V2}&${crc}`, body],
    ['hoisted, with a body of unknown length', true, `${V4}&${crc}`, chunked],
    ['hoisted, with an empty body', false, `${V4}&${crc}`, { 'Content-Length': '0' }],
    ['hoisted, with no word of a body', false, `${V4}&${crc}`, {}],
    ['in a query that is not presigned', false, crc, body],
    ['sent as a header', false, V4, { ...body, 'X-Amz-Checksum-Crc32': 'AAAAAA==' }],
    ['sent both ways', false, `${V4}&${crc}`, { ...body, 'X-Amz-Checksum-Crc32': 'AAAAAA==' }],
    ['with another value', false, `${V4}&${otherValue}`, body],
    ['of another name', false, `${V4}&${otherName}`, body],
  ])('%s: that it is ignored is %s', (_, expected, query, headers) => {
    const request = s3Request({ method: 'PUT', url: `/b/k?${query}`, headers: { ...headers } })
    expect(isPlaceholderChecksum(request)).toBe(expected)
  })
})
