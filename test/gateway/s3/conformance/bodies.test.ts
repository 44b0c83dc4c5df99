import { createHash } from 'node:crypto'
import { Agent, request as httpRequest } from 'node:http'
import { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signedHeaders, TestS3 } from '../../../support/test-s3.ts'
import {
  BucketScene,
  type ChunkedForm,
  chunkedRequest,
  codeOf,
  md5Base64,
  md5Hex,
  patternBytes,
  RawTalk,
  textOf,
} from './s3-scene.ts'

const KIB = 1024
const MIB = 1024 * KIB

let s3: TestS3
let bucket: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  bucket = await BucketScene.make(s3)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

interface Upload {
  readonly headers: Readonly<Record<string, string>>
  readonly wire: Buffer
}

interface Sent {
  readonly status: number
  readonly code: string | undefined
  readonly headers: Readonly<Record<string, unknown>>
}

/** Sends what was signed; without a Content-Length in pieces of HTTP's own. */
function send(path: string, { headers, wire }: Upload, agent?: Agent): Promise<Sent> {
  const { hostname, port } = new URL(s3.url)
  return new Promise((resolve, reject) => {
    const options = { hostname, port, method: 'PUT', path, headers, agent: agent ?? false }
    const request = httpRequest(options, (res) => {
      let text = ''
      res.on('data', (piece: Buffer) => {
        text += piece
      })
      res.on('error', reject)
      res.on('end', () => {
        resolve({ status: res.statusCode ?? 0, code: textOf(text, 'Code'), headers: res.headers })
      })
    })
    request.on('error', reject)
    if (headers['content-length'] !== undefined) {
      request.end(wire)
      return
    }
    for (let at = 0; at < wire.length; at += 100 * KIB) {
      request.write(wire.subarray(at, at + 100 * KIB))
    }
    request.end()
  })
}

function crc32Base64(bytes: Buffer): string {
  const value = Buffer.alloc(4)
  value.writeUInt32BE(crc32(bytes))
  return value.toString('base64')
}

function chunksOf(bytes: Buffer, chunkBytes: number): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    chunks.push(bytes.subarray(at, at + chunkBytes))
  }
  return chunks
}

async function plain(
  path: string,
  bytes: Buffer,
  more: Readonly<Record<string, string>>,
): Promise<Upload> {
  const host = new URL(s3.url).host
  const headers = await signedHeaders(s3.owner, {
    method: 'PUT',
    path,
    headers: { host, ...more },
    bytes,
  })
  return { headers, wire: bytes }
}

async function chunked(path: string, bytes: Buffer, form: ChunkedForm, isLengthKnown: boolean) {
  const sum = { 'x-amz-checksum-crc32': crc32Base64(bytes) }
  const { headers, wire } = await chunkedRequest(s3, {
    path,
    as: s3.owner,
    form,
    chunks: chunksOf(bytes, 64 * KIB),
    ...(form !== 'signed' && { trailers: sum }),
  })
  const length = isLengthKnown ? { 'content-length': String(wire.length) } : undefined
  return { headers: { ...headers, ...length }, wire }
}

type MakeUpload = (path: string, bytes: Buffer) => Promise<Upload>

const length = (bytes: Buffer) => ({ 'content-length': String(bytes.length) })
const UNSIGNED = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }

const FORMS: readonly (readonly [name: string, make: MakeUpload])[] = [
  ['signed whole', (path, bytes) => plain(path, bytes, length(bytes))],
  ['unsigned', (path, bytes) => plain(path, bytes, { ...length(bytes), ...UNSIGNED })],
  ['signed, of unknown length', (path, bytes) => plain(path, bytes, {})],
  ['unsigned, of unknown length', (path, bytes) => plain(path, bytes, UNSIGNED)],
  ['in signed chunks', (path, bytes) => chunked(path, bytes, 'signed', true)],
  [
    'in signed chunks with a trailer',
    (path, bytes) => chunked(path, bytes, 'signed-trailer', true),
  ],
  ['in chunks with a trailer', (path, bytes) => chunked(path, bytes, 'unsigned-trailer', true)],
  [
    'in chunks with a trailer, of unknown length on the wire',
    (path, bytes) => chunked(path, bytes, 'unsigned-trailer', false),
  ],
]

describe.each(FORMS)('a body %s', (name, make) => {
  test.each([0, 1, 4096, MIB - 1, MIB, MIB + 1, 8 * MIB + 1])('of %d bytes', async (sizeBytes) => {
    const bytes = patternBytes(sizeBytes)
    const key = `${name}/${sizeBytes}`
    const path = bucket.path(key)
    const sent = await send(path, await make(path, bytes))
    expect([sent.status, sent.code]).toEqual([200, undefined])
    expect(sent.headers['etag']).toBe(`"${md5Hex(bytes)}"`)
    const { body, headers } = await bucket.get(key)
    expect(headers['content-length']).toBe(String(sizeBytes))
    expect(headers['content-encoding']).toBeUndefined()
    expect(body.equals(bytes)).toBe(true)
  })
})

describe('a body that is not what was promised leaves nothing, and the connection usable', () => {
  const small = patternBytes(5000)
  const large = patternBytes(3 * MIB)

  /** What is wrong, the code, and the upload. */
  const CASES: readonly (readonly [
    string,
    string,
    (path: string, b: Buffer) => Promise<Upload>,
  ])[] = [
    [
      'another SHA-256',
      'XAmzContentSHA256Mismatch',
      async (path, bytes) => {
        const sha256 = createHash('sha256').update('other').digest('hex')
        return plain(path, bytes, { ...length(bytes), 'x-amz-content-sha256': sha256 })
      },
    ],
    [
      'another MD5',
      'BadDigest',
      (path, bytes) => {
        return plain(path, bytes, { ...length(bytes), 'content-md5': md5Base64('other') })
      },
    ],
    [
      'another CRC32',
      'BadDigest',
      (path, bytes) => {
        return plain(path, bytes, { ...length(bytes), 'x-amz-checksum-crc32': 'AAAAAA==' })
      },
    ],
    [
      'another CRC32, of unknown length',
      'BadDigest',
      (path, bytes) => {
        return plain(path, bytes, { 'x-amz-checksum-crc32': 'AAAAAA==', ...UNSIGNED })
      },
    ],
    [
      'a chunk that was changed',
      'SignatureDoesNotMatch',
      (path, bytes) => {
        return changed(path, bytes, 'signed', flip)
      },
    ],
    [
      'a chunk that was changed, before a trailer',
      'SignatureDoesNotMatch',
      (path, bytes) => {
        return changed(path, bytes, 'signed-trailer', flip)
      },
    ],
    [
      'an unsigned chunk that was changed',
      'BadDigest',
      (path, bytes) => {
        return changed(path, bytes, 'unsigned-trailer', flip)
      },
    ],
    [
      'a trailer that was changed',
      'SignatureDoesNotMatch',
      (path, bytes) => {
        return changed(path, bytes, 'signed-trailer', (wire) =>
          replaceTail(wire, 'crc32:', 'AAAAAA=='),
        )
      },
    ],
    [
      'an unsigned trailer that was changed',
      'BadDigest',
      (path, bytes) => {
        return changed(path, bytes, 'unsigned-trailer', (wire) =>
          replaceTail(wire, 'crc32:', 'AAAAAA=='),
        )
      },
    ],
    [
      'no trailer',
      'MalformedTrailerError',
      (path, bytes) => {
        return changed(path, bytes, 'unsigned-trailer', (wire) => {
          const at = wire.lastIndexOf('x-amz-checksum')
          return Buffer.concat([wire.subarray(0, at), Buffer.from('\r\n')])
        })
      },
    ],
    [
      'another trailer',
      'MalformedTrailerError',
      (path, bytes) => {
        return changed(path, bytes, 'unsigned-trailer', (wire) => {
          const text = wire.toString('latin1')
          return Buffer.from(
            text.replace('x-amz-checksum-crc32:', 'x-amz-checksum-sha1:'),
            'latin1',
          )
        })
      },
    ],
    [
      'no last chunk',
      'IncompleteBody',
      (path, bytes) => {
        return changed(path, bytes, 'signed', (wire) =>
          wire.subarray(0, wire.lastIndexOf('0;chunk')),
        )
      },
    ],
    [
      'a chunk cut in the middle',
      'IncompleteBody',
      (path, bytes) => {
        return changed(path, bytes, 'unsigned-trailer', (wire) => wire.subarray(0, 2000))
      },
    ],
    [
      'a header of a chunk that is none',
      'InvalidRequest',
      (path, bytes) => {
        return changed(path, bytes, 'unsigned-trailer', (wire) =>
          Buffer.concat([Buffer.from('zz\r\n'), wire]),
        )
      },
    ],
    [
      'a chunk that never ends',
      'InvalidRequest',
      (path, bytes) => {
        return changed(path, bytes, 'unsigned-trailer', (wire) =>
          Buffer.concat([Buffer.from('ffffffffff\r\n'), wire]),
        )
      },
    ],
    [
      'bytes behind the end',
      'InvalidRequest',
      (path, bytes) => {
        return changed(path, bytes, 'unsigned-trailer', (wire) =>
          Buffer.concat([wire, Buffer.from('more than line ends')]),
        )
      },
    ],
    [
      'a signed body without chunks',
      'InvalidRequest',
      async (path, bytes) => {
        const { headers } = await changed(path, bytes, 'signed', (wire) => wire)
        return { headers: { ...headers, ...length(bytes) }, wire: bytes }
      },
    ],
  ]

  test.each(CASES)('%s is %s', async (what, code, make) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    try {
      for (const bytes of [small, large]) {
        const key = `bad/${what}/${bytes.length}`
        const path = bucket.path(key)
        const sent = await send(path, await make(path, bytes), agent)
        const status = code === 'SignatureDoesNotMatch' ? 403 : 400
        expect([sent.status, sent.code]).toEqual([status, code])
        expect(await bucket.head(key)).toMatchObject({ status: 404 })
        const good = bucket.path('good')
        const next = await send(good, await plain(good, small, length(small)), agent)
        expect(next.status).toBe(200)
      }
    } finally {
      agent.destroy()
    }
  })

  test('what was there before stays', async () => {
    await bucket.put('kept', 'old')
    const path = bucket.path('kept')
    const wrong = { ...length(large), 'content-md5': md5Base64('other') }
    expect(await send(path, await plain(path, large, wrong))).toMatchObject({ code: 'BadDigest' })
    expect(await bucket.get('kept')).toMatchObject({ text: 'old' })
  })
})

/** Needles that nobody has deleted, on all volumes. */
async function countNeedles(): Promise<number> {
  let count = 0
  for (const url of s3.server.volumeUrls) {
    const answer = await fetch(`${url}/status`)
    const { Volumes } = (await answer.json()) as { Volumes: { FileCount: number }[] }
    for (const { FileCount } of Volumes) count += FileCount
  }
  return count
}

describe('what failed', () => {
  test('leaves no needle on any volume', async () => {
    const fresh = await TestS3.open()
    const before = s3
    s3 = fresh
    try {
      const { name } = await BucketScene.make(fresh)
      const path = `/${name}/key`
      for (const sizeBytes of [10, MIB + 1, 9 * MIB]) {
        const bytes = patternBytes(sizeBytes)
        const wrong = { ...length(bytes), 'content-md5': md5Base64('other') }
        expect(await send(path, await plain(path, bytes, wrong))).toMatchObject({
          code: 'BadDigest',
        })
        const condition = { ...length(bytes), 'if-match': '"other"' }
        expect(await send(path, await plain(path, bytes, condition))).toMatchObject({
          code: 'NoSuchKey',
        })
        const { headers } = await plain(path, Buffer.alloc(0), { ...UNSIGNED, ...length(bytes) })
        using talk = await RawTalk.open(fresh)
        talk.sendHead('PUT', path, headers)
        talk.send(bytes.subarray(0, sizeBytes - 1))
        talk.end()
        await talk.closed()
      }
      await expect.poll(countNeedles, { timeout: 10_000 }).toBe(0)
      // Nine of these find out when their bytes are stored already.
      const once = { ...length(Buffer.from('x')), 'if-none-match': '*' }
      const upload = await plain(path, Buffer.from('x'), once)
      await Promise.all(Array.from({ length: 10 }, () => send(path, upload)))
      await expect.poll(countNeedles, { timeout: 10_000 }).toBe(1)
    } finally {
      s3 = before
      await fresh[Symbol.asyncDispose]()
    }
  })
})

async function changed(
  path: string,
  bytes: Buffer,
  form: ChunkedForm,
  change: (wire: Buffer) => Buffer,
): Promise<Upload> {
  const { headers, wire } = await chunkedRequest(s3, {
    path,
    as: s3.owner,
    form,
    chunks: chunksOf(bytes, 64 * KIB),
    ...(form !== 'signed' && { trailers: { 'x-amz-checksum-crc32': crc32Base64(bytes) } }),
    change,
  })
  return { headers: { ...headers, ...length(wire) }, wire }
}

function flip(wire: Buffer): Buffer {
  const copy = Buffer.from(wire)
  const at = copy.indexOf('\r\n') + 2
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

function replaceTail(wire: Buffer, after: string, value: string): Buffer {
  const at = wire.lastIndexOf(after) + after.length
  return Buffer.concat([wire.subarray(0, at), Buffer.from(value), wire.subarray(at + value.length)])
}

describe('headers that contradict a chunked body', () => {
  test.each([
    ['GET', ''],
    ['POST', '?delete'],
    ['PUT', '?versioning'],
    ['PUT', '?policy'],
  ])('%s %s takes none', async (method, query) => {
    const headers = {
      'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      'x-amz-decoded-content-length': '1',
    }
    const body = '1\r\na\r\n0\r\n\r\n'
    expect(await bucket.bucket(method, query, { headers, body })).toMatchObject({
      status: 400,
      code: 'InvalidRequest',
    })
  })

  test('without the decoded length it is refused', async () => {
    const headers = { 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' }
    const body = '1\r\na\r\n0\r\n\r\n'
    expect(await bucket.request('PUT', 'chunked', { headers, body })).toMatchObject({
      status: 411,
      code: 'MissingContentLength',
    })
  })

  test('signed chunks need a signature to begin with', async () => {
    const headers = {
      'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
      'x-amz-decoded-content-length': '0',
    }
    expect(await bucket.request('PUT', 'chunked', { as: undefined, headers })).toMatchObject({
      status: 403,
      code: 'AccessDenied',
    })
  })

  test('a checksum in the header and one in the trailer are too many', async () => {
    const bytes = Buffer.from('a')
    const path = bucket.path('two')
    const { headers, wire } = await chunkedRequest(s3, {
      path,
      as: s3.owner,
      form: 'unsigned-trailer',
      chunks: [bytes],
      trailers: { 'x-amz-checksum-crc32': crc32Base64(bytes) },
      headers: { 'x-amz-checksum-crc32': crc32Base64(bytes) },
    })
    expect(await send(path, { headers: { ...headers, ...length(wire) }, wire })).toMatchObject({
      status: 400,
      code: 'InvalidRequest',
    })
  })

  test('Content-MD5 is that of the object, not of the wire', async () => {
    const bytes = patternBytes(100_000)
    const path = bucket.path('md5')
    for (const [of, status] of [
      [bytes, 200],
      [Buffer.from('other'), 400],
    ] as const) {
      const { headers, wire } = await chunkedRequest(s3, {
        path,
        as: s3.owner,
        form: 'signed',
        chunks: chunksOf(bytes, 64 * KIB),
        headers: { 'content-md5': md5Base64(of) },
      })
      const sent = await send(path, { headers: { ...headers, ...length(wire) }, wire })
      expect(sent.status).toBe(status)
    }
  })

  test('chunks of one byte, and one of all', async () => {
    const bytes = patternBytes(300)
    for (const form of ['signed', 'signed-trailer', 'unsigned-trailer'] as const) {
      for (const chunkBytes of [1, 300]) {
        const path = bucket.path('tiny')
        const { headers, wire } = await chunkedRequest(s3, {
          path,
          as: s3.owner,
          form,
          chunks: chunksOf(bytes, chunkBytes),
          ...(form !== 'signed' && { trailers: { 'x-amz-checksum-crc32': crc32Base64(bytes) } }),
        })
        const sent = await send(path, { headers: { ...headers, ...length(wire) }, wire })
        expect(sent.status).toBe(200)
        expect((await bucket.get('tiny')).body.equals(bytes)).toBe(true)
      }
    }
  })
})

describe('the SDK of JavaScript', () => {
  const ALGORITHMS = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const

  test.each(ALGORITHMS)('puts streams and bytes with %s, and checks what it gets', async (name) => {
    const { sdk } = s3.owner
    const Bucket = bucket.name
    for (const sizeBytes of [0, 100, 3 * MIB]) {
      const bytes = patternBytes(sizeBytes)
      for (const isStream of [true, false]) {
        const Key = `sdk/${name}/${sizeBytes}/${isStream}`
        const Body = isStream ? Readable.from(chunksOf(bytes, 30_000)) : bytes
        const put = new PutObjectCommand({
          Bucket,
          Key,
          Body,
          ContentLength: sizeBytes,
          ChecksumAlgorithm: name,
        })
        const { ETag } = await sdk.send(put)
        expect(ETag).toBe(`"${md5Hex(bytes)}"`)
        const got = await sdk.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }))
        expect(got[`Checksum${name}`]).toBeDefined()
        const read = await got.Body?.transformToByteArray()
        expect(bytes.equals(read ?? Buffer.from('nothing'))).toBe(true)
      }
    }
  })
})

describe('a client that goes away', () => {
  test.each([
    [10, 5],
    [10, 0],
    [2 * MIB, MIB],
    [20 * MIB, 9 * MIB],
  ])('announces %d bytes and sends %d: nothing is stored', async (announced, sent) => {
    for (const how of ['cut', 'end'] as const) {
      const key = `gone/${how}/${announced}/${sent}`
      const path = bucket.path(key)
      const more = { ...UNSIGNED, 'content-length': String(announced) }
      const { headers } = await plain(path, Buffer.alloc(0), more)
      using talk = await RawTalk.open(s3)
      talk.sendHead('PUT', path, headers)
      talk.send(patternBytes(sent))
      talk[how]()
      await talk.closed()
      expect(await bucket.head(key)).toMatchObject({ status: 404 })
    }
  })

  test('in the middle of a download harms nobody', async () => {
    const bytes = patternBytes(9 * MIB)
    await bucket.put('large', bytes)
    const path = bucket.path('large')
    for (let time = 0; time < 5; time++) {
      const headers = await signedHeaders(s3.owner, {
        method: 'GET',
        path,
        headers: { host: new URL(s3.url).host },
        bytes: Buffer.alloc(0),
      })
      using talk = await RawTalk.open(s3)
      talk.sendHead('GET', path, headers)
      await talk.answers(0)
      talk.cut()
    }
    expect((await bucket.get('large')).body.equals(bytes)).toBe(true)
  })
})

describe('the announced length', () => {
  test('of more than 5 GiB is refused before the body is sent', async () => {
    const path = bucket.path('huge')
    const more = {
      ...UNSIGNED,
      'content-length': String(5 * 1024 ** 3 + 1),
      expect: '100-continue',
    }
    const { headers } = await plain(path, Buffer.alloc(0), more)
    using talk = await RawTalk.open(s3)
    talk.sendHead('PUT', path, headers)
    const [answer] = await talk.answers(1)
    expect(answer?.status).toBe(400)
    expect(answer && codeOf(answer)).toBe('EntityTooLarge')
  })

  test('has to be there, or the body in pieces', async () => {
    const path = bucket.path('unsized')
    const { headers } = await plain(path, Buffer.alloc(0), {})
    using talk = await RawTalk.open(s3)
    talk.sendHead('PUT', path, headers)
    const [answer] = await talk.answers(1)
    expect(answer?.status).toBe(411)
    expect(answer && codeOf(answer)).toBe('MissingContentLength')
  })
})
