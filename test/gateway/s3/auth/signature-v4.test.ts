import { sign as signWithAws4 } from 'aws4'
import { describe, expect, test } from 'vitest'
import { authenticate } from '../../../../src/gateway/s3/auth/authenticate.ts'
import { Prng, seeds } from '../../../support/prng.ts'
import {
  AUTH_CONFIG,
  asBytes,
  clockAt,
  EXAMPLE_KEY,
  escapePart,
  keyRing,
  type RequestSketch,
  type SmithySketch,
  s3Request,
  signWithSmithy,
} from '../../../support/s3-signing.ts'

const NOW = '2024-03-09T07:08:09Z'
const at = new Date(NOW)
const dateTime = '20240309T070809Z'
const parts = { keys: keyRing(EXAMPLE_KEY), clock: clockAt(NOW) }

const CHARACTERS = [..."abcXYZ019-_.~/ !'()*+&=;:@,%$äß你😀"]

function randomText(prng: Prng, lengthMax: number): string {
  const length = prng.below(lengthMax + 1)
  return Array.from({ length }, () => prng.pick(CHARACTERS)).join('')
}

/** Escaped as clients do it: more or less than they need, in capitals or not. */
function looselyEscaped(prng: Prng, text: string): string {
  return [...text]
    .map((character) => {
      if (/[A-Za-z0-9\-._~/]/.test(character)) return character
      if (/[!'()*$,:;@&=+]/.test(character) && prng.chance(0.5)) return character
      return encodeURIComponent(character) === character
        ? escapePart(character)
        : encodeURIComponent(character)
    })
    .join('')
    .replace(/%[0-9A-F]{2}/g, (part) => (prng.chance(0.3) ? part.toLowerCase() : part))
}

/** Strictly escaped, as signers that do not escape themselves want it. */
function strictPath(text: string): string {
  return escapePart(text).replaceAll('%2F', '/')
}

function randomHeaders(prng: Prng): Record<string, string> {
  const headers: Record<string, string> = {
    'x-amz-content-sha256': prng.pick(['UNSIGNED-PAYLOAD', prng.bytes(32).toString('hex')]),
  }
  if (prng.chance(0.5)) headers['x-amz-meta-text'] = `a${randomText(prng, 12)}z`
  if (prng.chance(0.3)) headers['x-amz-acl'] = 'public-read'
  if (prng.chance(0.3)) headers['content-type'] = 'text/plain; charset=utf-8'
  if (prng.chance(0.3)) headers['content-md5'] = prng.bytes(16).toString('base64')
  return headers
}

function randomQuery(prng: Prng): Record<string, string> {
  const query: Record<string, string> = {}
  const count = prng.below(4)
  for (let at = 0; at < count; at++) query[`${randomText(prng, 5)}q${at}`] = randomText(prng, 8)
  if (prng.chance(0.3)) query['delete'] = ''
  return query
}

async function verify(sketch: RequestSketch) {
  return await authenticate(s3Request(sketch), parts, AUTH_CONFIG)
}

/** One letter or digit becomes another one, so that the change means something wherever it is. */
function changeOne(prng: Prng, text: string): string | undefined {
  const places = [...text].flatMap((character, index) =>
    /[A-Za-z0-9]/.test(character) ? [index] : [],
  )
  if (places.length === 0) return undefined
  const place = prng.pick(places)
  const before = (text[place] ?? '').toLowerCase()
  const after = prng.pick([...'0123456789abcdefghijklmnopqrstuvwxyz'].filter((c) => c !== before))
  return `${text.slice(0, place)}${after}${text.slice(place + 1)}`
}

/** The request with one character of something that is signed, or signs, changed. */
function tampered(prng: Prng, sketch: Required<RequestSketch>): RequestSketch {
  const { method, url, headers } = sketch
  const name = prng.pick(['method', 'url', ...Object.keys(headers)])
  if (name === 'method') return { ...sketch, method: changeOne(prng, method) ?? 'PATCH' }
  if (name === 'url') return { ...sketch, url: changeOne(prng, url) ?? '/other' }
  const value = changeOne(prng, headers[name] ?? '') ?? 'x'
  return { ...sketch, headers: { ...headers, [name]: value } }
}

function randomSketch(prng: Prng): SmithySketch {
  return {
    method: prng.pick(['GET', 'PUT', 'HEAD', 'POST', 'DELETE']),
    host: prng.pick(['bucket.s3.amazonaws.com', 's3.amazonaws.com', 'localhost:8333']),
    path: strictPath(`/${randomText(prng, 20)}`),
    query: randomQuery(prng),
    headers: randomHeaders(prng),
  }
}

// Goal: what the signers of the JavaScript SDK and of aws4 sign is accepted, and nothing else is.
// Method: random requests; then one letter or digit of a signed part changed. Replay: SEED=17.
describe('a request signed by others', () => {
  test.each(seeds(60))(
    'by header, with Smithy, is good, and refused once changed (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      const signed = await signWithSmithy(randomSketch(prng), { key: EXAMPLE_KEY, at })
      const found = await verify(signed)
      expect(found).toMatchObject({ kind: 'user', key: EXAMPLE_KEY, form: 'v4-header' })
      for (let round = 0; round < 20; round++) {
        const other = tampered(prng, signed)
        await expect(async () => await verify(other), JSON.stringify(other)).rejects.toThrow()
      }
    },
  )

  test.each(seeds(60))(
    'by query, with Smithy, is good, and refused once changed (seed %d)',
    async (seed) => {
      const prng = new Prng(seed)
      const options = { key: EXAMPLE_KEY, at, expiresInS: prng.between(1, 604_800) }
      const signed = await signWithSmithy(randomSketch(prng), options)
      expect(signed.headers).not.toHaveProperty('x-amz-content-sha256')
      expect(await verify(signed)).toMatchObject({ kind: 'user', form: 'v4-query' })
      for (let round = 0; round < 20; round++) {
        const other = tampered(prng, signed)
        await expect(async () => await verify(other), JSON.stringify(other)).rejects.toThrow()
      }
    },
  )

  test.each(seeds(60))('with aws4, escaped in any way, is good (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const key = randomText(prng, 20)
    const query = Object.entries(randomQuery(prng)).map(
      ([name, value]) => [escapePart(name), escapePart(value)] as const,
    )
    const request = {
      service: 's3',
      region: 'us-east-1',
      method: prng.pick(['GET', 'PUT', 'DELETE']),
      host: 's3.amazonaws.com',
      path: `${strictPath(`/${key}`)}?${query.map((pair) => pair.join('=')).join('&')}`,
      headers: { ...randomHeaders(prng), 'X-Amz-Date': dateTime },
      signQuery: false,
    }
    const { accessKeyId, secret: secretAccessKey } = EXAMPLE_KEY
    const { headers } = signWithAws4(request, { accessKeyId, secretAccessKey })
    const loosePairs = prng.shuffle(query).map(([name, value]) => {
      const loose = prng.chance(0.5) ? value.replaceAll('%20', '+') : value
      return loose === '' && prng.chance(0.5) ? name : `${name}=${loose}`
    })
    const url = `/${looselyEscaped(prng, key)}?${loosePairs.join('&')}`
    const asSent = Object.entries(headers).map(([name, value]) => [name, asBytes(value)])
    const sent = { method: request.method, url, headers: Object.fromEntries(asSent) }
    expect(await verify(sent)).toMatchObject({ kind: 'user', form: 'v4-header' })
  })

  test('with aws4 in the query is good', async () => {
    const request = {
      service: 's3',
      region: 'us-east-1',
      method: 'GET',
      host: 'bucket.s3.amazonaws.com',
      path: `/a%20key?versionId=7&X-Amz-Expires=60&X-Amz-Date=${dateTime}`,
      headers: {},
      signQuery: true,
    }
    const { accessKeyId, secret: secretAccessKey } = EXAMPLE_KEY
    const { path } = signWithAws4(request, { accessKeyId, secretAccessKey })
    const found = await verify({ url: path, headers: { Host: request.host } })
    expect(found).toMatchObject({ kind: 'user', form: 'v4-query', payload: { kind: 'unsigned' } })
  })

  test('over UTF-8 metadata is good over the bytes that came, not over characters', async () => {
    const sketch = { method: 'PUT', host: 'h', path: '/b/k', query: {} }
    const headers = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'x-amz-meta-a': 'voilà' }
    const signed = await signWithSmithy({ ...sketch, headers }, { key: EXAMPLE_KEY, at })
    expect(signed.headers['x-amz-meta-a']).toBe('voil\u00c3\u00a0')
    expect(await verify(signed)).toMatchObject({ kind: 'user' })
    const latin1 = { ...signed, headers: { ...signed.headers, 'x-amz-meta-a': 'voilà' } }
    await expect(verify(latin1)).rejects.toMatchObject({ code: 'SignatureDoesNotMatch' })
  })

  test('for another time of the same day has another signature', async () => {
    const sketch = { method: 'GET', host: 'h', path: '/', query: {} }
    const headers = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }
    const signed = await signWithSmithy({ ...sketch, headers }, { key: EXAMPLE_KEY, at })
    const later = { ...signed, headers: { ...signed.headers, 'x-amz-date': '20240309T070810Z' } }
    await expect(verify(later)).rejects.toMatchObject({
      code: 'SignatureDoesNotMatch',
      fields: {
        AWSAccessKeyId: EXAMPLE_KEY.accessKeyId,
        StringToSign: expect.stringMatching(/^AWS4-HMAC-SHA256\n20240309T070810Z\n/),
      },
    })
  })
})
