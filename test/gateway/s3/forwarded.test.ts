import { describe, expect, test } from 'vitest'
import { type IpRange, parseIpRange } from '../../../src/gateway/s3/access/ip-range.ts'
import { originalClient } from '../../../src/gateway/s3/forwarded.ts'
import { RequestHeaders } from '../../../src/gateway/s3/s3-request.ts'

const TRUSTED = ['10.0.0.0/8', '192.168.7.7', '2001:db8:1::/48'].map(
  (text) => parseIpRange(text) as IpRange,
)

function clientOf(
  remoteAddress: string,
  headers: readonly (readonly [name: string, value: string])[],
  trusted = TRUSTED,
  isTls = false,
) {
  const request = { remoteAddress, isTls, headers: new RequestHeaders(headers.flat()) }
  return originalClient(request, trusted)
}

describe('the address of a request', () => {
  test.each<readonly [what: string, connection: string, forwarded: string[], client: string]>([
    ['that no proxy sent on is the connection', '203.0.113.9', [], '203.0.113.9'],
    ['from whoever is not trusted is the connection', '203.0.113.9', ['10.1.1.1'], '203.0.113.9'],
    ['next to a trusted block too', '11.0.0.1', ['198.51.100.1'], '11.0.0.1'],
    ['next to a trusted address too', '192.168.7.8', ['198.51.100.1'], '192.168.7.8'],
    ['from a trusted proxy is what it says', '10.0.0.5', ['198.51.100.1'], '198.51.100.1'],
    ['as IPv4 in IPv6 also', '::ffff:10.0.0.5', ['198.51.100.1'], '198.51.100.1'],
    ['over IPv6 also', '2001:db8:1::5', ['2001:db8:9::1'], '2001:db8:9::1'],
    ['is the last one that is not trusted', '10.0.0.5', ['198.51.100.1, 10.9.9.9'], '198.51.100.1'],
    ['is none that a client wrote itself', '10.0.0.5', ['10.1.1.1, 198.51.100.1'], '198.51.100.1'],
    ['nor one of two headers', '10.0.0.5', ['10.1.1.1', '198.51.100.1'], '198.51.100.1'],
    ['nor anything before it', '10.0.0.5', ['a, 127.0.0.1, 198.51.100.1'], '198.51.100.1'],
    ['is the first of a list of proxies only', '10.0.0.5', ['10.3.3.3, 10.2.2.2'], '10.3.3.3'],
    ['without a header is the proxy', '10.0.0.5', [], '10.0.0.5'],
    ['with an empty header is the proxy', '10.0.0.5', [''], '10.0.0.5'],
    ['that a proxy does not tell is the proxy', '10.0.0.5', ['unknown'], '10.0.0.5'],
    ['or the one that did not tell', '10.0.0.5', ['198.51.100.1, _x, 10.2.2.2'], '10.2.2.2'],
    ['is no block', '10.0.0.5', ['0.0.0.0/0'], '10.0.0.5'],
    ['is no number of another kind', '10.0.0.5', ['0x7f000001'], '10.0.0.5'],
    ['may come with its port', '10.0.0.5', ['198.51.100.1:4711'], '198.51.100.1'],
    ['may come in brackets', '10.0.0.5', ['[2001:db8:9::1]'], '2001:db8:9::1'],
    ['may come in brackets with its port', '10.0.0.5', ['[2001:db8:9::1]:443'], '2001:db8:9::1'],
  ])('%s: %s saying %j', (_what, connection, forwarded, client) => {
    const headers = forwarded.map((value) => ['X-Forwarded-For', value] as const)
    expect(clientOf(connection, headers).remoteAddress).toBe(client)
  })

  test('is the connection when nobody is trusted', () => {
    const headers = [['X-Forwarded-For', '198.51.100.1']] as const
    expect(clientOf('10.0.0.5', headers, [])).toEqual({ remoteAddress: '10.0.0.5', isTls: false })
  })

  test('is read from no other header', () => {
    const headers = ['Forwarded', 'X-Real-IP', 'X-Client-IP', 'True-Client-IP'].map(
      (name) => [name, 'for=198.51.100.1'] as const,
    )
    expect(clientOf('10.0.0.5', headers).remoteAddress).toBe('10.0.0.5')
  })
})

describe('whether a request came over TLS', () => {
  test.each<readonly [connection: string, isTls: boolean, told: string[], expected: boolean]>([
    ['203.0.113.9', false, ['https'], false],
    ['203.0.113.9', true, ['http'], true],
    ['10.0.0.5', false, [], false],
    ['10.0.0.5', true, [], true],
    ['10.0.0.5', false, ['https'], true],
    ['10.0.0.5', false, ['HTTPS'], true],
    ['10.0.0.5', true, ['http'], false],
    ['10.0.0.5', false, ['https, http'], false],
    ['10.0.0.5', false, ['https', 'http'], false],
    ['10.0.0.5', false, ['http, https'], true],
    ['10.0.0.5', true, ['ftp'], false],
    ['10.0.0.5', true, [''], false],
  ])('from %s, TLS %s, told %j: %s', (connection, isTls, told, expected) => {
    const headers = told.map((value) => ['x-forwarded-proto', value] as const)
    expect(clientOf(connection, headers, TRUSTED, isTls).isTls).toBe(expected)
  })
})
