import { describe, expect, test } from 'vitest'
import { parseAuthorizationHeader } from '../../../../src/gateway/s3/auth/authorization-header.ts'

const CREDENTIAL = 'Credential=AKID/20130524/us-east-1/s3/aws4_request'
const HEADERS = 'SignedHeaders=host;x-amz-date'
const SIGNATURE = `Signature=${'a'.repeat(64)}`
const V4 = 'AWS4-HMAC-SHA256'

describe('an Authorization header', () => {
  test.each([
    ['commas with a space', `${V4} ${CREDENTIAL}, ${HEADERS}, ${SIGNATURE}`],
    ['commas without', `${V4} ${CREDENTIAL},${HEADERS},${SIGNATURE}`],
    ['another order', `${V4} ${SIGNATURE},${CREDENTIAL}, ${HEADERS}`],
    ['more spaces', `${V4}   ${CREDENTIAL} ,  ${HEADERS},${SIGNATURE}  `],
  ])('is understood with %s', (_, text) => {
    expect(parseAuthorizationHeader(text)).toEqual({
      scope: {
        accessKeyId: 'AKID',
        date: '20130524',
        region: 'us-east-1',
        text: '20130524/us-east-1/s3/aws4_request',
      },
      signedHeaders: ['host', 'x-amz-date'],
      signature: 'a'.repeat(64),
    })
  })

  test('may name its headers in any order: they are signed sorted', () => {
    const text = `${V4} ${CREDENTIAL},SignedHeaders=x-amz-date;host,${SIGNATURE}`
    expect(parseAuthorizationHeader(text).signedHeaders).toEqual(['host', 'x-amz-date'])
  })

  test('of the same client has its own signature each time, and the same of all else', () => {
    const signed = (digit: string) =>
      parseAuthorizationHeader(`${V4} ${CREDENTIAL}, ${HEADERS}, Signature=${digit.repeat(64)}`)
    const [first, second] = [signed('1'), signed('2')]
    expect([first.signature, second.signature]).toEqual(['1'.repeat(64), '2'.repeat(64)])
    expect(second.scope).toBe(first.scope)
    const other = `${V4} ${CREDENTIAL.replace('AKID', 'OTHR')}, ${HEADERS}, ${SIGNATURE}`
    expect(parseAuthorizationHeader(other).scope.accessKeyId).toBe('OTHR')
    expect(signed('3').scope).toBe(first.scope)
  })

  test('whose signature is no 64 hex digits is understood all the same', () => {
    const text = `${V4} ${CREDENTIAL}, ${HEADERS}, Signature=${'A'.repeat(64)}`
    expect(parseAuthorizationHeader(text).signature).toBe('A'.repeat(64))
  })

  const withCredential = (credential: string) =>
    `${V4} Credential=${credential},${HEADERS},${SIGNATURE}`
  const withHeaders = (names: string) => `${V4} ${CREDENTIAL},SignedHeaders=${names},${SIGNATURE}`

  test.each([
    ['nothing but the algorithm', V4],
    ['no space', `${V4}${CREDENTIAL},${HEADERS},${SIGNATURE}`],
    ['what conformance suites send', `${V4} Credential=HAHAHA`],
    ['no credential', `${V4} ${HEADERS},${SIGNATURE}`],
    ['no signed headers', `${V4} ${CREDENTIAL},${SIGNATURE}`],
    ['no signature', `${V4} ${CREDENTIAL},${HEADERS}`],
    ['two signatures', `${V4} ${CREDENTIAL},${HEADERS},${SIGNATURE},${SIGNATURE}`],
    ['a part of its own', `${V4} ${CREDENTIAL},${HEADERS},${SIGNATURE},Extra=1`],
    ['a part without a name', `${V4} ${CREDENTIAL},${HEADERS},${SIGNATURE},`],
    [
      'two headers joined into one',
      `${V4} ${CREDENTIAL},${HEADERS},${SIGNATURE},${V4} Credential=x`,
    ],
    ['names in other capitals', `${V4} credential=x,${HEADERS},${SIGNATURE}`],
    ['a credential of four parts', withCredential('20130524/us-east-1/s3/aws4_request')],
    ['a credential of six parts', withCredential('A/B/20130524/us-east-1/s3/aws4_request')],
    ['an empty id', withCredential('/20130524/us-east-1/s3/aws4_request')],
    ['a date of 7 digits', withCredential('AKID/2013052/us-east-1/s3/aws4_request')],
    ['an empty region', withCredential('AKID/20130524//s3/aws4_request')],
    [
      'a region of 65 characters',
      withCredential(`AKID/20130524/${'r'.repeat(65)}/s3/aws4_request`),
    ],
    ['another service', withCredential('AKID/20130524/us-east-1/ec2/aws4_request')],
    ['another end', withCredential('AKID/20130524/us-east-1/s3/aws3_request')],
    ['no names', withHeaders('')],
    ['an empty name', withHeaders('host;;x-amz-date')],
    ['a name with capitals', withHeaders('Host')],
    ['a name twice', withHeaders('host;x-amz-date;host')],
    ['a name with a colon', withHeaders('host:x')],
  ])('with %s is refused: AuthorizationHeaderMalformed', (_, text) => {
    expect(() => parseAuthorizationHeader(text)).toThrow(
      expect.objectContaining({ code: 'AuthorizationHeaderMalformed' }),
    )
  })
})
