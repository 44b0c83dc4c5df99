import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { authenticate } from '../../../../src/gateway/s3/auth/authenticate.ts'
import {
  AUTH_CONFIG,
  clockAt,
  EXAMPLE_KEY,
  keyRing,
  type RequestSketch,
  s3Request,
} from '../../../support/s3-signing.ts'

// Source: Amazon S3 API reference, "Signature calculations for the Authorization header" (single
// and multiple chunks, trailing headers) and "Authenticating requests: using query parameters".
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
const SCOPE = '20130524/us-east-1/s3/aws4_request'
const parts = { keys: keyRing(EXAMPLE_KEY), clock: clockAt('2013-05-24T00:00:00Z') }

function authorization(signedHeaders: string, signature: string): string {
  const credential = `Credential=${EXAMPLE_KEY.accessKeyId}/${SCOPE}`
  return `AWS4-HMAC-SHA256 ${credential},SignedHeaders=${signedHeaders},Signature=${signature}`
}

const host = 'examplebucket.s3.amazonaws.com'
const base = { Host: host, 'x-amz-date': '20130524T000000Z' }

const HEADER_EXAMPLES: readonly (readonly [string, Required<RequestSketch>])[] = [
  [
    'GET object with a range',
    {
      method: 'GET',
      url: '/test.txt',
      headers: {
        ...base,
        Range: 'bytes=0-9',
        'x-amz-content-sha256': EMPTY,
        Authorization: authorization(
          'host;range;x-amz-content-sha256;x-amz-date',
          'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
        ),
      },
    },
  ],
  [
    'PUT object',
    {
      method: 'PUT',
      url: '/test%24file.text',
      headers: {
        ...base,
        Date: 'Fri, 24 May 2013 00:00:00 GMT',
        'x-amz-storage-class': 'REDUCED_REDUNDANCY',
        'x-amz-content-sha256': createHash('sha256').update('Welcome to Amazon S3.').digest('hex'),
        Authorization: authorization(
          'date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class',
          '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
        ),
      },
    },
  ],
  [
    'GET bucket lifecycle',
    {
      method: 'GET',
      url: '/?lifecycle',
      headers: {
        ...base,
        'x-amz-content-sha256': EMPTY,
        Authorization: authorization(
          'host;x-amz-content-sha256;x-amz-date',
          'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
        ),
      },
    },
  ],
  [
    'list objects',
    {
      method: 'GET',
      url: '/?max-keys=2&prefix=J',
      headers: {
        ...base,
        'x-amz-content-sha256': EMPTY,
        Authorization: authorization(
          'host;x-amz-content-sha256;x-amz-date',
          '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
        ),
      },
    },
  ],
]

const PRESIGNED_URL =
  '/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524' +
  '%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400' +
  '&X-Amz-SignedHeaders=host&X-Amz-Signature=' +
  'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404'

function chunkedUpload(payload: string, names: string, signature: string, more: object = {}) {
  return s3Request({
    method: 'PUT',
    url: '/examplebucket/chunkObject.txt',
    headers: {
      Host: 's3.amazonaws.com',
      'x-amz-date': '20130524T000000Z',
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
      'x-amz-content-sha256': payload,
      'Content-Encoding': 'aws-chunked',
      'x-amz-decoded-content-length': '66560',
      ...more,
      Authorization: authorization(names, signature),
    },
  })
}

function sha256OfAs(count: number): string {
  return createHash('sha256').update('a'.repeat(count)).digest('hex')
}

describe("AWS's published examples", () => {
  test.each(HEADER_EXAMPLES)('%s: the signature in the header is good', async (_, sketch) => {
    const found = await authenticate(s3Request(sketch), parts, AUTH_CONFIG)
    expect(found).toMatchObject({
      kind: 'user',
      key: EXAMPLE_KEY,
      form: 'v4-header',
      payload: { kind: 'signed', sha256: sketch.headers['x-amz-content-sha256'] },
    })
  })

  test('the presigned GET is good for its 86,400 seconds', async () => {
    const request = s3Request({ url: PRESIGNED_URL, headers: { Host: host } })
    const verify = (iso: string) =>
      authenticate(request, { ...parts, clock: clockAt(iso) }, AUTH_CONFIG)
    const good = { kind: 'user', form: 'v4-query', payload: { kind: 'unsigned' } }
    expect(await verify('2013-05-24T00:00:00Z')).toMatchObject(good)
    expect(await verify('2013-05-25T00:00:00Z')).toMatchObject(good)
    await expect(verify('2013-05-25T00:00:01Z')).rejects.toMatchObject({
      code: 'AccessDenied',
      message: 'Request has expired',
    })
  })

  test('the chunked upload: 65,536, 1,024 and 0 bytes, each signed over the one before', async () => {
    const names =
      'content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;' +
      'x-amz-decoded-content-length;x-amz-storage-class'
    const seed = '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9'
    const literal = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'
    const request = chunkedUpload(literal, names, seed, { 'Content-Length': '66824' })
    const { payload } = await authenticate(request, parts, AUTH_CONFIG)
    expect(payload).toMatchObject({ kind: 'chunked', hasTrailer: false })
    const signatures = payload.kind === 'chunked' ? payload.signatures : undefined
    signatures?.checkChunk(
      'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648',
      sha256OfAs(65_536),
    )
    signatures?.checkChunk(
      '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497',
      sha256OfAs(1024),
    )
    signatures?.checkChunk(
      'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9',
      EMPTY,
    )
    expect(signatures).toBeDefined()
  })

  test('the chunked upload with a trailing checksum: its trailer is signed too', async () => {
    const names =
      'content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;' +
      'x-amz-storage-class;x-amz-trailer'
    const seed = '106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e'
    const literal = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER'
    const trailer = { 'x-amz-trailer': 'x-amz-checksum-crc32c' }
    const request = chunkedUpload(literal, names, seed, trailer)
    const { payload } = await authenticate(request, parts, AUTH_CONFIG)
    expect(payload).toMatchObject({ kind: 'chunked', hasTrailer: true })
    const signatures = payload.kind === 'chunked' ? payload.signatures : undefined
    signatures?.checkChunk(
      'b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2',
      sha256OfAs(65_536),
    )
    signatures?.checkChunk(
      '1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7',
      sha256OfAs(1024),
    )
    signatures?.checkChunk(
      '2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992',
      EMPTY,
    )
    signatures?.checkTrailer(
      'd81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435',
      'x-amz-checksum-crc32c:sOO8/Q==\n',
    )
    expect(signatures).toBeDefined()
  })
})
