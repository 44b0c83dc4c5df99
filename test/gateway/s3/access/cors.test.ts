import { describe, expect, test } from 'vitest'
import {
  type CorsRequest,
  corsHeaders,
  preflightHeaders,
} from '../../../../src/gateway/s3/access/cors.ts'
import type { CorsRule } from '../../../../src/gateway/s3/bucket-settings.ts'
import { expectS3Error } from './access-scenes.ts'

const VARY = 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method'

function rule(fields: Partial<CorsRule> = {}): CorsRule {
  return {
    id: undefined,
    allowedOrigins: ['*'],
    allowedMethods: ['GET'],
    allowedHeaders: [],
    exposeHeaders: [],
    maxAgeSeconds: undefined,
    ...fields,
  }
}

function asked(fields: Partial<CorsRequest> = {}): CorsRequest {
  return {
    method: 'GET',
    origin: 'http://a.example.org',
    requestedMethod: undefined,
    requestedHeaders: undefined,
    ...fields,
  }
}

function allowedOrigin(rules: readonly CorsRule[], fields: Partial<CorsRequest>) {
  return corsHeaders(rules, asked(fields))['Access-Control-Allow-Origin']
}

describe('an origin', () => {
  test.each([
    ['*', 'http://a.example.org', '*'],
    ['*', 'null', '*'],
    ['http://a.example.org', 'http://a.example.org', 'http://a.example.org'],
    ['http://a.example.org', 'https://a.example.org', undefined],
    ['http://a.example.org', 'http://a.example.org:80', undefined],
    ['http://a.example.org', 'http://a.example.org.evil', undefined],
    ['http://*.example.org', 'http://a.example.org', 'http://a.example.org'],
    ['http://*.example.org', 'http://example.org', undefined],
    ['http://*.example.org', 'http://a.example.org.evil', undefined],
    ['*suffix', 'foo.suffix', 'foo.suffix'],
    ['*suffix', 'foo.suffix.get', undefined],
    ['start*end', 'startend', 'startend'],
    ['start*end', 'start1end', 'start1end'],
    ['start*end', 'start12end', 'start12end'],
    ['start*end', '0start12end', undefined],
    ['prefix*', 'prefix', 'prefix'],
    ['prefix*', 'prefix.suffix', 'prefix.suffix'],
    ['prefix*', 'bla.prefix', undefined],
    ['http://a.example.or?', 'http://a.example.org', undefined],
    ['http://a.example.org', '', undefined],
    ['HTTP://A.example.org', 'http://a.example.org', undefined],
  ])('%s with a request from %o: %o', (pattern, origin, expected) => {
    const rules = [rule({ allowedOrigins: [pattern] })]
    expect(allowedOrigin(rules, { origin })).toBe(expected)
    const preflight = () => preflightHeaders(rules, asked({ origin, requestedMethod: 'GET' }))
    if (expected === undefined) {
      expect(expectS3Error(preflight)).toMatchObject({ code: 'AccessForbidden' })
    } else {
      expect(preflight()['Access-Control-Allow-Origin']).toBe(expected)
    }
  })

  test('is said back with credentials, unless everybody is meant', () => {
    const origin = 'http://a.example.org'
    const some = corsHeaders([rule({ allowedOrigins: ['http://a*'] })], asked({ origin }))
    expect(some['Access-Control-Allow-Credentials']).toBe('true')
    const all = corsHeaders([rule()], asked({ origin }))
    expect(all).not.toHaveProperty('Access-Control-Allow-Credentials')
    const both = [rule({ allowedOrigins: [origin, '*'] })]
    expect(allowedOrigin(both, { origin })).toBe(origin)
    expect(allowedOrigin(both, { origin: 'http://b' })).toBe('*')
  })
})

describe('a request that is no preflight', () => {
  test('gets all that the rule says', () => {
    const full = rule({
      allowedOrigins: ['http://*'],
      allowedMethods: ['GET', 'PUT'],
      allowedHeaders: ['*'],
      exposeHeaders: ['ETag', 'x-amz-version-id'],
      maxAgeSeconds: 3000,
    })
    expect(corsHeaders([full], asked())).toEqual({
      'Access-Control-Allow-Origin': 'http://a.example.org',
      'Access-Control-Allow-Credentials': 'true',
      'Access-Control-Allow-Methods': 'GET, PUT',
      'Access-Control-Expose-Headers': 'ETag, x-amz-version-id',
      'Access-Control-Max-Age': '3000',
      Vary: VARY,
    })
  })

  test.each<[string, readonly CorsRule[], Partial<CorsRequest>, Record<string, string>]>([
    ['there is no rule', [], {}, {}],
    ['there is no origin', [rule()], { origin: undefined }, { Vary: VARY }],
    ['the method is another', [rule()], { method: 'PUT' }, { Vary: VARY }],
    ['HEAD is not GET', [rule()], { method: 'HEAD' }, { Vary: VARY }],
    ['the origin is another', [rule({ allowedOrigins: ['http://b'] })], {}, { Vary: VARY }],
    ['it asks as another method', [rule()], { requestedMethod: 'PUT' }, { Vary: VARY }],
  ])('gets no more than Vary where %s', (_, rules, fields, expected) => {
    expect(corsHeaders(rules, asked(fields))).toEqual(expected)
  })

  test('is judged by the method it names, if it names one', () => {
    expect(allowedOrigin([rule()], { method: 'PUT', requestedMethod: 'GET' })).toBe('*')
  })

  test('gets the first rule that fits', () => {
    const rules = [
      rule({ allowedMethods: ['PUT'], maxAgeSeconds: 1 }),
      rule({ allowedOrigins: ['http://b'], maxAgeSeconds: 2 }),
      rule({ maxAgeSeconds: 3 }),
      rule({ maxAgeSeconds: 4 }),
    ]
    expect(corsHeaders(rules, asked())['Access-Control-Max-Age']).toBe('3')
  })

  test('may be told a greatest age of 0', () => {
    const headers = corsHeaders([rule({ maxAgeSeconds: 0 })], asked())
    expect(headers['Access-Control-Max-Age']).toBe('0')
  })
})

describe('a preflight', () => {
  test.each([
    [[], undefined, undefined],
    [[], '', undefined],
    [[], ' , ', undefined],
    [['*'], 'Content-Type', 'content-type'],
    [['*'], 'Content-Type, X-Amz-Date', 'content-type, x-amz-date'],
    [['x-amz-*'], 'X-Amz-Date,x-amz-acl', 'x-amz-date, x-amz-acl'],
    [['X-AMZ-*', 'content-type'], 'Content-Type,x-amz-acl', 'content-type, x-amz-acl'],
    [['content-type'], 'CONTENT-TYPE', 'content-type'],
  ])(
    'with allowed headers %o that asks for %o is answered %o',
    (allowedHeaders, names, expected) => {
      const request = asked({ requestedMethod: 'GET', requestedHeaders: names })
      const headers = preflightHeaders([rule({ allowedHeaders })], request)
      expect(headers['Access-Control-Allow-Headers']).toBe(expected)
      expect(headers['Access-Control-Allow-Methods']).toBe('GET')
      expect(headers['Vary']).toBe(VARY)
    },
  )

  test.each([
    [[], 'x'],
    [['content-type'], 'x-amz-date'],
    [['content-type'], 'content-type,x-amz-date'],
    [['x-amz-*'], 'x-am'],
    [['*'], 'bad name'],
    [['*'], 'bad\nname'],
    [['*'], 'naïve'],
  ])('with allowed headers %o that asks for %o is AccessForbidden', (allowedHeaders, names) => {
    const request = asked({ requestedMethod: 'GET', requestedHeaders: names })
    const run = () => preflightHeaders([rule({ allowedHeaders })], request)
    expect(expectS3Error(run)).toMatchObject({ code: 'AccessForbidden', status: 403 })
  })

  test('goes on to a rule that allows the headers too', () => {
    const rules = [rule(), rule({ allowedHeaders: ['x'], maxAgeSeconds: 5 })]
    const request = asked({ requestedMethod: 'GET', requestedHeaders: 'x' })
    expect(preflightHeaders(rules, request)['Access-Control-Max-Age']).toBe('5')
  })

  test.each<[Partial<CorsRequest>, readonly CorsRule[], string]>([
    [{ origin: undefined, requestedMethod: 'GET' }, [rule()], 'InvalidRequest'],
    [{ requestedMethod: undefined }, [rule()], 'InvalidRequest'],
    [{ origin: undefined }, [], 'InvalidRequest'],
    [{ requestedMethod: 'GET' }, [], 'AccessForbidden'],
    [{ requestedMethod: 'PUT' }, [rule()], 'AccessForbidden'],
    [{ requestedMethod: 'get' }, [rule()], 'AccessForbidden'],
    [{ requestedMethod: '*' }, [rule()], 'AccessForbidden'],
  ])('%# without what is needed is refused', (fields, rules, code) => {
    const run = () => preflightHeaders(rules, asked({ method: 'OPTIONS', ...fields }))
    expect(expectS3Error(run)).toMatchObject({ code })
  })
})
