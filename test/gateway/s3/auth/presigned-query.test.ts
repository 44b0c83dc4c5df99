import { describe, expect, test } from 'vitest'
import { parsePresignedQuery } from '../../../../src/gateway/s3/auth/presigned-query.ts'
import { QueryParameters } from '../../../../src/gateway/s3/s3-request.ts'
import { escapePart } from '../../../support/s3-signing.ts'

const NOW_MS = Date.parse('2013-05-24T00:00:00Z')

const GOOD: Readonly<Record<string, string>> = {
  'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
  'X-Amz-Credential': 'AKID/20130524/us-east-1/s3/aws4_request',
  'X-Amz-Date': '20130524T000000Z',
  'X-Amz-Expires': '60',
  'X-Amz-SignedHeaders': 'host',
  'X-Amz-Signature': 'a'.repeat(64),
}

function parse(values: Readonly<Record<string, string | undefined>>, nowMs = NOW_MS, more = '') {
  const pairs = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${escapePart(value)}`],
  )
  return parsePresignedQuery(QueryParameters.parse(`${pairs.join('&')}${more}`), nowMs)
}

describe('a presigned query', () => {
  test('gives scope, signed headers, signature and time', () => {
    expect(parse(GOOD, NOW_MS, '&x-id=GetObject')).toEqual({
      scope: {
        accessKeyId: 'AKID',
        date: '20130524',
        region: 'us-east-1',
        text: '20130524/us-east-1/s3/aws4_request',
      },
      signedHeaders: ['host'],
      signature: 'a'.repeat(64),
      time: { atMs: NOW_MS, dateTime: '20130524T000000Z' },
    })
  })

  const PARAMETERS_ERROR = { code: 'AuthorizationQueryParametersError', status: 400 }

  test.each(Object.keys(GOOD))('without %s is refused', (name) => {
    expect(() => parse({ ...GOOD, [name]: undefined })).toThrow(
      expect.objectContaining(PARAMETERS_ERROR),
    )
  })

  test.each(Object.keys(GOOD))('with %s twice is refused', (name) => {
    expect(() => parse(GOOD, NOW_MS, `&${name}=60`)).toThrow(
      expect.objectContaining(PARAMETERS_ERROR),
    )
  })

  test.each(Object.keys(GOOD))('with %s in lower case is refused', (name) => {
    const values = { ...GOOD, [name]: undefined, [name.toLowerCase()]: GOOD[name] }
    expect(() => parse(values)).toThrow(expect.objectContaining(PARAMETERS_ERROR))
  })

  test.each([
    ['X-Amz-Algorithm', 'AWS4-HMAC-SHA512'],
    ['X-Amz-Credential', 'AKID/20130524/us-east-1/s3'],
    ['X-Amz-Date', '2013-05-24T00:00:00Z'],
    ['X-Amz-Date', 'Fri, 24 May 2013 00:00:00 GMT'],
    ['X-Amz-Date', '20130230T000000Z'],
    ['X-Amz-Expires', ''],
    ['X-Amz-Expires', '1h'],
    ['X-Amz-Expires', '1.5'],
    ['X-Amz-Expires', '1e3'],
    ['X-Amz-SignedHeaders', 'Host'],
    ['X-Amz-SignedHeaders', ''],
  ])('with %s=%s is refused: AuthorizationQueryParametersError', (name, value) => {
    expect(() => parse({ ...GOOD, [name]: value })).toThrow(
      expect.objectContaining(PARAMETERS_ERROR),
    )
  })

  test('of SigV4A is NotImplemented', () => {
    expect(() => parse({ ...GOOD, 'X-Amz-Algorithm': 'AWS4-ECDSA-P256-SHA256' })).toThrow(
      expect.objectContaining({ code: 'NotImplemented' }),
    )
  })

  test.each(['0', '-1', '-604800', '604801', '99999999999999'])(
    'that expires in %s seconds is refused with 403',
    (expires) => {
      expect(() => parse({ ...GOOD, 'X-Amz-Expires': expires })).toThrow(
        expect.objectContaining({ code: 'AccessDenied', status: 403 }),
      )
    },
  )

  test.each([
    ['1', 1000],
    ['60', 60_000],
    ['604800', 604_800_000],
  ])('that expires in %s seconds is good for %d ms and no longer', (expires, goodMs) => {
    const values = { ...GOOD, 'X-Amz-Expires': expires }
    expect(parse(values, NOW_MS + goodMs).signature).toHaveLength(64)
    expect(() => parse(values, NOW_MS + goodMs + 1)).toThrow(
      expect.objectContaining({ code: 'AccessDenied', message: 'Request has expired' }),
    )
  })

  test('of the future is good 900,000 ms ahead of our clock and no further', () => {
    expect(parse(GOOD, NOW_MS - 900_000).signature).toHaveLength(64)
    expect(() => parse(GOOD, NOW_MS - 900_001)).toThrow(
      expect.objectContaining({ code: 'AccessDenied' }),
    )
  })
})
