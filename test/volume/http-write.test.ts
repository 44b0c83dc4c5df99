import { createHash, randomBytes } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { type ErrorCode, StoreError } from '../../src/base/store-error.ts'
import { encodeChunkManifest } from '../../src/format/chunk-manifest.ts'
import type { PutRequest } from '../../src/net/volume-api.ts'
import { exchange, openSocket, type RawAnswer } from '../support/raw-http.ts'
import { type Ask, FID, jsonOf, TestVolumeHttp } from '../support/test-volume-http.ts'

const MIB = 1024 * 1024
const POLL = { timeout: 20_000 }
const START_S = Date.UTC(2024, 0, 1) / 1000

function expectError(answer: RawAnswer, status: number, code: string): void {
  expect([answer.status, jsonOf(answer).code]).toEqual([status, code])
  expect(jsonOf(answer).error).toEqual(expect.any(String))
}

function md5(data: string | Buffer): string {
  return createHash('md5').update(data).digest('base64')
}

function lastPut(http: TestVolumeHttp): PutRequest {
  const request = http.needles.puts.at(-1)
  if (request === undefined || !('data' in request)) throw new Error('nothing was put whole')
  return request
}

interface Part {
  readonly headers: string
  readonly data: string | Buffer
}

function form(parts: readonly Part[], boundary = 'b0undary', end = '--\r\n'): Ask {
  const pieces = parts.flatMap(({ headers, data }) => [
    Buffer.from(`--${boundary}\r\n${headers}\r\n\r\n`),
    Buffer.from(data),
    Buffer.from('\r\n'),
  ])
  const body = Buffer.concat([...pieces, Buffer.from(`--${boundary}${end}`)])
  return {
    method: 'POST',
    headers: { 'Content-Type': `multipart/form-data; boundary=${boundary}` },
    body,
  }
}

const FILE = 'Content-Disposition: form-data; name="file"; filename="a.bin"'

describe('a plain body', () => {
  test.each(['PUT', 'POST'])('sent with %s is stored as it is', async (method) => {
    await using http = await TestVolumeHttp.open()
    const answer = await http.ask(`/${FID}`, { method, body: 'hello' })
    expect(answer.status).toBe(201)
    expect(jsonOf(answer)).toEqual({ name: FID, size: 5, eTag: '9a71bb4c', durable: true })
    expect(answer.headers.etag).toBe('"9a71bb4c"')
    expect(lastPut(http)).toMatchObject({
      metadata: { name: FID, lastModifiedS: START_S },
      isReplica: false,
    })
    expect((await http.ask(`/${FID}`)).body.toString()).toBe('hello')
  })

  test('is stored the same by the short way and the long one', async () => {
    await using http = await TestVolumeHttp.open()
    const short = await http.ask(`/${FID}`, { method: 'PUT', body: 'hello' })
    const first = lastPut(http)
    const long = await http.ask('/3,02637037d6?a=b', { method: 'PUT', body: 'hello' })
    const second = lastPut(http)
    expect({ ...jsonOf(long), name: FID }).toEqual(jsonOf(short))
    expect(Object.keys(long.headers).sort()).toEqual(Object.keys(short.headers).sort())
    const bare = (request: PutRequest) => ({
      ...request,
      fileId: undefined,
      metadata: JSON.parse(JSON.stringify({ ...request.metadata, name: '' })),
    })
    expect(bare(second)).toEqual({
      ...bare(first),
      metadata: { ...bare(first).metadata, isCompressed: false, isChunkManifest: false },
    })
  })

  test.each([0, 1, 65_536, 65_537, 300_000, 8 * MIB, 8 * MIB + 1, 20 * MIB])(
    'of %d bytes comes back whole',
    async (bytes) => {
      await using http = await TestVolumeHttp.open()
      const body = Buffer.alloc(bytes, randomBytes(1000))
      const answer = await http.ask(`/${FID}`, { method: 'PUT', body })
      expect([answer.status, jsonOf(answer)['size']]).toEqual([201, bytes])
      expect((await http.ask(`/${FID}`)).body.equals(body)).toBe(true)
      expect('source' in (http.needles.puts[0] ?? {})).toBe(bytes > 8 * MIB)
    },
  )

  test.each([0, 10, 8 * MIB + 5])(
    'of %d bytes in chunks of unknown number comes back',
    async (bytes) => {
      await using http = await TestVolumeHttp.open()
      const body = Buffer.alloc(bytes, 'xyz')
      const request = Buffer.concat([
        Buffer.from(`PUT /${FID} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`),
        ...(bytes === 0
          ? []
          : [Buffer.from(`${bytes.toString(16)}\r\n`), body, Buffer.from('\r\n')]),
        Buffer.from('0\r\n\r\n'),
      ])
      const [answer] = await exchange(http.server.address, request)
      expect(answer?.status).toBe(201)
      expect((await http.ask(`/${FID}`)).body.equals(body)).toBe(true)
    },
  )

  test('that is there already is answered with 204', async () => {
    await using http = await TestVolumeHttp.open()
    for (const path of [`/${FID}`, `/${FID}?a=b`]) {
      await http.ask(path, { method: 'PUT', body: 'hello' })
      const answer = await http.ask(path, { method: 'PUT', body: 'hello' })
      expect([answer.status, answer.body.length]).toEqual([204, 0])
      expect(answer.headers.etag).toBe('"9a71bb4c"')
    }
  })

  test.each([
    ['/3/01637037d6/my%20file.txt', {}, 'my file.txt'],
    [`/${FID}.png`, {}, `${FID}.png`],
    [`/${FID}`, { 'Content-Disposition': 'attachment; filename="some/dir/b.txt"' }, 'b.txt'],
    [`/${FID}`, { 'Content-Disposition': 'inline; name="c.txt"' }, 'c.txt'],
    [`/${FID}`, { 'Content-Disposition': "inline; filename*=UTF-8''%E2%98%83.txt" }, '☃.txt'],
    [`/${FID}`, { 'Content-Disposition': 'inline; filename="☃.txt"' }, '☃.txt'],
    [`/${FID}`, { 'Content-Disposition': 'inline' }, undefined],
  ])('at %s with %o is named %o', async (path, headers, name) => {
    await using http = await TestVolumeHttp.open()
    expect((await http.ask(path, { method: 'PUT', headers, body: 'x' })).status).toBe(201)
    expect(lastPut(http).metadata.name).toBe(name)
  })

  test.each([
    ['image/png', `/${FID}`, 'image/png'],
    ['image/png', `/${FID}.png`, undefined],
    ['application/octet-stream', `/${FID}`, undefined],
    ['application/x-www-form-urlencoded', `/${FID}`, undefined],
  ])('of type %s at %s keeps the type %s', async (type, path, mime) => {
    await using http = await TestVolumeHttp.open()
    const answer = await http.ask(path, {
      method: 'POST',
      headers: { 'Content-Type': type },
      body: 'a=b',
    })
    expect(jsonOf(answer)['size']).toBe(3)
    expect(lastPut(http).metadata.mime).toBe(mime)
    expect(Buffer.from(lastPut(http).data).toString()).toBe('a=b')
  })

  test('keeps Seaweed- headers as pairs, and the options of the query', async () => {
    await using http = await TestVolumeHttp.open()
    const headers = { 'seaweed-my-colour': 'rot ☃', 'Seaweed-__proto__': 'x', 'Seaweed-': 'y' }
    await http.ask(`/${FID}?ts=5&ttl=3d`, { method: 'PUT', headers, body: 'x' })
    const { metadata } = lastPut(http)
    expect(Object.entries(metadata.pairs ?? {})).toEqual([
      ['My-Colour', 'rot ☃'],
      ['__proto__', 'x'],
    ])
    expect(metadata).toMatchObject({ lastModifiedS: 5, ttl: { count: 3, unit: 'day' } })
    const { headers: shown } = await http.ask(`/${FID}`)
    expect(Buffer.from(shown['my-colour'] ?? '', 'latin1').toString()).toBe('rot ☃')
  })

  test.each([
    ['?ts=-1', {}, 'REQUEST_INVALID'],
    ['?ts=1099511627776', {}, 'REQUEST_INVALID'],
    ['?ts=soon', {}, 'REQUEST_INVALID'],
    ['?ttl=5x', {}, 'TTL_INVALID'],
    ['?cm=true', {}, 'MANIFEST_CORRUPT'],
    ['', { 'Content-Encoding': 'br' }, 'REQUEST_INVALID'],
    ['', { 'Content-Encoding': 'gzip' }, 'REQUEST_INVALID'],
    ['', { 'Content-MD5': 'AAAA' }, 'CHECKSUM_MISMATCH'],
    ['', { 'Content-Disposition': `inline; filename="${'n'.repeat(256)}"` }, 'NEEDLE_INVALID'],
  ])('with %s and %o is refused with 400 %s', async (query, headers, code) => {
    await using http = await TestVolumeHttp.open()
    const answer = await http.ask(`/${FID}${query}`, { method: 'PUT', headers, body: 'hello' })
    expectError(answer, 400, code)
    expect(http.needles.has(parseFileId(FID))).toBe(false)
  })

  test.each([10, 9 * MIB])('of %d bytes is compared with its Content-MD5', async (bytes) => {
    await using http = await TestVolumeHttp.open()
    const body = Buffer.alloc(bytes, 'q')
    const put = (sum: string) =>
      http.ask(`/${FID}`, { method: 'PUT', headers: { 'Content-MD5': sum }, body })
    expectError(await put(md5('other')), 400, 'CHECKSUM_MISMATCH')
    expect(http.needles.has(parseFileId(FID))).toBe(false)
    const answer = await put(md5(body))
    expect([answer.status, jsonOf(answer)['contentMd5']]).toEqual([201, md5(body)])
    expect(answer.headers['content-md5']).toBe(md5(body))
  })

  const failures: [ErrorCode, number][] = [
    ['COOKIE_MISMATCH', 400],
    ['VOLUME_NOT_FOUND', 404],
    ['VOLUME_SEALED', 409],
    ['VOLUME_FULL', 507],
    ['DISK_FULL', 507],
    ['OVERLOADED', 429],
    ['TOKEN_INVALID', 401],
    ['NEEDLE_TOO_LARGE', 413],
    ['REPLICATION_FAILED', 500],
    ['CLOSED', 503],
  ]
  test.each(failures)('that fails with %s is answered with %d', async (code, status) => {
    await using http = await TestVolumeHttp.open()
    for (const path of [`/${FID}`, `/${FID}?a=b`]) {
      http.needles.failure = new StoreError(code, 'why')
      expectError(await http.ask(path, { method: 'PUT', body: 'x' }), status, code)
    }
    http.needles.failure = new StoreError(code, 'why')
    const large = Buffer.alloc(8 * MIB + 1)
    expectError(await http.ask(`/${FID}`, { method: 'PUT', body: large }), status, code)
  })

  test('for a volume on another server is answered with 404, before its body is read', async () => {
    await using http = await TestVolumeHttp.open()
    const head = 'PUT /9,01637037d6 HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n'
    const [answer] = await exchange(http.server.address, head)
    expectError(answer ?? expect.fail('no answer'), 404, 'VOLUME_NOT_FOUND')
  })
})

describe('a body that is too long', () => {
  const config = { fileSizeLimitBytes: 100_000 }

  test.each([100_000, 100_001])('at a limit of 100,000: %d bytes', async (bytes) => {
    await using http = await TestVolumeHttp.open(config)
    const answer = await http.ask(`/${FID}`, { method: 'PUT', body: Buffer.alloc(bytes) })
    if (bytes <= 100_000) expect(answer.status).toBe(201)
    else expectError(answer, 413, 'BODY_TOO_LARGE')
  })

  test('is refused while it arrives when its length was not announced', async () => {
    await using http = await TestVolumeHttp.open(config)
    const head = `PUT /${FID} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`
    const piece = Buffer.alloc(100_001)
    const request = Buffer.concat([Buffer.from(`${head}${piece.length.toString(16)}\r\n`), piece])
    const [answer] = await exchange(http.server.address, request)
    expectError(answer ?? expect.fail('no answer'), 413, 'BODY_TOO_LARGE')
  })

  test('in a form is refused too', async () => {
    await using http = await TestVolumeHttp.open(config)
    const answer = await http.ask(`/${FID}`, form([{ headers: FILE, data: Buffer.alloc(100_001) }]))
    expectError(answer, 413, 'BODY_TOO_LARGE')
  })

  test('is not even sent by a client that waits for 100 Continue', async () => {
    await using http = await TestVolumeHttp.open(config)
    const ask = (bytes: number) =>
      `PUT /${FID} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: ${bytes}\r\n\r\n`
    const [refused] = await exchange(http.server.address, ask(100_001))
    expectError(refused ?? expect.fail('no answer'), 413, 'BODY_TOO_LARGE')
    expect(refused?.headers.connection).toBe('close')
    const socket = await openSocket(http.server.address)
    socket.write(ask(5))
    const first = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
    expect(first.toString()).toContain('HTTP/1.1 100 Continue')
    socket.write('hello')
    const second = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
    expect(second.toString()).toContain('HTTP/1.1 201')
    socket.destroy()
  })
})

describe('a form', () => {
  test('stores its file with name, type and options', async () => {
    await using http = await TestVolumeHttp.open()
    const answer = await http.ask(
      `/${FID}`,
      form([
        { headers: 'Content-Disposition: form-data; name="ttl"', data: '2w' },
        {
          headers:
            'Content-Disposition: form-data; name="file"; filename="ä.bin"\r\nContent-Type: a/b',
          data: 'hello',
        },
        { headers: 'Content-Disposition: form-data; name="ts"', data: '77' },
      ]),
    )
    expect(answer.status).toBe(201)
    expect(jsonOf(answer)).toEqual({
      name: 'ä.bin',
      size: 5,
      eTag: '9a71bb4c',
      mime: 'a/b',
      contentMd5: md5('hello'),
      durable: true,
    })
    expect(lastPut(http).metadata).toMatchObject({
      name: 'ä.bin',
      mime: 'a/b',
      lastModifiedS: 77,
      ttl: { count: 2, unit: 'week' },
    })
  })

  test.each([
    ['the first part with a file name', ['name="x"', 'name="y"; filename="b"'], 1],
    ['the first part when none has a file name', ['name="x"', 'name="y"'], 0],
    ['the first part that is no option', ['name="ts"', 'name="y"'], 1],
    [
      'the first part with a file name that is not empty',
      ['name="x"; filename=""', 'name="y"; filename="b"'],
      1,
    ],
  ])('takes %s', async (_what, names, index) => {
    await using http = await TestVolumeHttp.open()
    const parts = names.map((name, at) => ({
      headers: `Content-Disposition: form-data; ${name}`,
      data: String(at),
    }))
    expect((await http.ask(`/${FID}`, form(parts))).status).toBe(201)
    expect(Buffer.from(lastPut(http).data).toString()).toBe(String(index))
  })

  test('keeps bytes that look like its boundary', async () => {
    await using http = await TestVolumeHttp.open()
    const data = Buffer.from('x--b0undary\r\n\r\n--b0undar\r\n--\r\n\r\n-b0undary--')
    expect((await http.ask(`/${FID}`, form([{ headers: FILE, data }]))).status).toBe(201)
    expect(Buffer.from(lastPut(http).data).equals(data)).toBe(true)
  })

  test('may have a preamble, a quoted boundary and an empty file', async () => {
    await using http = await TestVolumeHttp.open()
    const { body } = form([{ headers: FILE, data: '' }], 'a b')
    const headers = { 'Content-Type': 'multipart/form-data; boundary="a b"' }
    const whole = Buffer.concat([Buffer.from('to be ignored\r\n'), Buffer.from(body ?? '')])
    const answer = await http.ask(`/${FID}`, { method: 'POST', headers, body: whole })
    expect([answer.status, lastPut(http).data.length]).toEqual([201, 0])
  })

  test('may say that its file is compressed, and give its checksum', async () => {
    await using http = await TestVolumeHttp.open()
    const headers = `${FILE}\r\nContent-Encoding: gzip\r\nContent-MD5: ${md5('hello')}`
    const answer = await http.ask(`/${FID}`, form([{ headers, data: gzipSync('hello') }]))
    expect([answer.status, jsonOf(answer)['size']]).toEqual([201, 5])
    expect(lastPut(http).metadata.isCompressed).toBe(true)
    expect((await http.ask(`/${FID}`)).body.toString()).toBe('hello')
  })

  const part = { headers: FILE, data: 'x' }
  test.each([
    ['no boundary', { ...form([part]), headers: { 'Content-Type': 'multipart/form-data' } }],
    [
      'another boundary',
      { ...form([part]), headers: { 'Content-Type': 'multipart/form-data; boundary=z' } },
    ],
    ['no parts', form([])],
    ['no end', form([part], 'b', '')],
    ['an end with one dash', form([part], 'b', '-\r\n')],
    ['a header that does not end', form([{ headers: `X: ${'y'.repeat(20_000)}`, data: '' }])],
    ['101 parts', form(Array(101).fill(part))],
    ['only options', form([{ headers: 'Content-Disposition: form-data; name="ts"', data: '1' }])],
  ])('with %s is refused', async (_what, ask) => {
    await using http = await TestVolumeHttp.open()
    expectError(await http.ask(`/${FID}`, ask), 400, 'REQUEST_INVALID')
    expect(http.needles.puts).toHaveLength(0)
  })

  test('cut at any byte is refused or complete', async () => {
    await using http = await TestVolumeHttp.open()
    const whole = form([{ headers: FILE, data: 'hello' }])
    const body = Buffer.from(whole.body ?? '')
    for (let length = 0; length < body.length; length++) {
      const answer = await http.ask(`/${FID}`, { ...whole, body: body.subarray(0, length) })
      // Only the line end after the last boundary may be missing.
      expect(answer.status < 300, `${length} of ${body.length}`).toBe(length >= body.length - 2)
    }
  })
})

describe('compression', () => {
  const text = 'some text that repeats. '.repeat(100)
  const noise = randomBytes(2000)

  test.each([
    ['text of a text type', text, `/${FID}`, 'text/plain', true],
    ['text by its extension', text, `/${FID}.css`, undefined, true],
    ['text of no known type', text, `/${FID}`, undefined, false],
    ['text called an image', text, `/${FID}`, 'image/png', false],
    ['noise called text', noise, `/${FID}`, 'text/plain', false],
    ['very little text', 'aaaaaaaa', `/${FID}`, 'text/plain', false],
    ['much text', text.repeat(100), `/${FID}`, 'application/json', true],
  ])('of %s', async (_what, body, path, type, isZipped) => {
    await using http = await TestVolumeHttp.open()
    const headers: Ask['headers'] = type === undefined ? {} : { 'Content-Type': type }
    const answer = await http.ask(path, { method: 'PUT', headers, body })
    expect(jsonOf(answer)['size']).toBe(body.length)
    expect(lastPut(http).metadata.isCompressed ?? false).toBe(isZipped)
    if (isZipped) expect(gunzipSync(lastPut(http).data).toString()).toBe(body)
    expect((await http.ask(path)).body.equals(Buffer.from(body))).toBe(true)
  })

  test('of a body that unpacks to a thousand times its size is refused', async () => {
    await using http = await TestVolumeHttp.open()
    const body = gzipSync(Buffer.alloc(12 * MIB))
    const headers = { 'Content-Encoding': 'gzip' }
    expectError(await http.ask(`/${FID}`, { method: 'PUT', headers, body }), 400, 'REQUEST_INVALID')
  })

  test('of a body beyond 8 MiB is not checked, so it is refused', async () => {
    await using http = await TestVolumeHttp.open()
    const body = Buffer.alloc(8 * MIB + 1)
    const headers = { 'Content-Encoding': 'gzip' }
    expectError(await http.ask(`/${FID}`, { method: 'PUT', headers, body }), 413, 'BODY_TOO_LARGE')
  })
})

describe('a copy from another server', () => {
  test('is taken only from servers of the cluster, and stored as it is', async () => {
    const more = { verifyReplica: (req: { headers: object }) => 'x-secret' in req.headers }
    await using http = await TestVolumeHttp.open({}, more)
    const body = 'text '.repeat(100)
    const headers = { 'Content-Type': 'text/plain' }
    const ask = { method: 'PUT', body, headers }
    expectError(await http.ask(`/${FID}?type=replicate`, ask), 401, 'UNAUTHENTICATED')
    const known = { ...ask, headers: { ...headers, 'X-Secret': '1' } }
    expect((await http.ask(`/${FID}?type=replicate`, known)).status).toBe(201)
    expect(lastPut(http)).toMatchObject({ isReplica: true, metadata: { isCompressed: false } })
  })

  test('is believed of nobody when there is no way to check', async () => {
    await using http = await TestVolumeHttp.open()
    const option = { headers: 'Content-Disposition: form-data; name="type"', data: 'replicate' }
    const ask = form([{ headers: FILE, data: 'x' }, option])
    expectError(await http.ask(`/${FID}`, ask), 401, 'UNAUTHENTICATED')
    const path = `/${FID}?type=replicate`
    expectError(await http.ask(path, { method: 'DELETE' }), 401, 'UNAUTHENTICATED')
  })
})

describe('a write token', () => {
  test('is asked for before the body is read, and handed on', async () => {
    await using http = await TestVolumeHttp.open({ needsWriteToken: true })
    const fileId = parseFileId(FID)
    const head = `PUT /${FID} HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n`
    const [refused] = await exchange(http.server.address, head)
    expectError(refused ?? expect.fail('no answer'), 401, 'TOKEN_INVALID')
    const token = http.tokens.mintWrite(fileId, 10)
    const headers = { Authorization: `Bearer ${token}` }
    expect((await http.ask(`/${FID}`, { method: 'PUT', headers, body: 'x' })).status).toBe(201)
    expect(lastPut(http).writeToken).toBe(token)
    const reader = { Authorization: `Bearer ${http.tokens.mintRead(fileId, 10)}` }
    const answer = await http.ask(`/${FID}`, { method: 'PUT', headers: reader, body: 'x' })
    expectError(answer, 401, 'TOKEN_INVALID')
  })
})

describe('the upload limit', () => {
  const held = (bytes: number) => `held_bytes{direction="received"} ${bytes}`

  async function expectHeld(http: TestVolumeHttp, bytes: number): Promise<void> {
    await expect
      .poll(async () => (await http.metrics.text()).includes(held(bytes)), POLL)
      .toBe(true)
  }

  test('lets the next wait until there is room, in the order they came', async () => {
    await using http = await TestVolumeHttp.open({ uploadLimitBytes: 1000 })
    const slow = await openSocket(http.server.address)
    slow.write(`PUT /${FID} HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n`)
    await expectHeld(http, 900)
    const timers = http.clock.timerCount
    const second = http.ask('/3,02637037d6', { method: 'PUT', body: Buffer.alloc(200) })
    await expect.poll(() => http.clock.timerCount, POLL).toBe(timers + 1)
    const third = http.ask('/3,03637037d6', { method: 'PUT', body: Buffer.alloc(50) })
    await expect.poll(() => http.clock.timerCount, POLL).toBe(timers + 2)
    slow.write(Buffer.alloc(900))
    expect((await second).status).toBe(201)
    expect((await third).status).toBe(201)
    expect(http.needles.puts).toHaveLength(3)
    await expectHeld(http, 0)
    slow.destroy()
  })

  test('gives up after a minute, and when the client leaves', async () => {
    await using http = await TestVolumeHttp.open({ uploadLimitBytes: 200_000 })
    const slow = await openSocket(http.server.address)
    slow.write(`PUT /${FID} HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n`)
    await expectHeld(http, 200_000)
    const timers = http.clock.timerCount
    const late = http.ask('/3,04637037d6', { method: 'PUT', body: 'x' })
    await expect.poll(() => http.clock.timerCount, POLL).toBe(timers + 1)
    const gone = await openSocket(http.server.address)
    gone.write('PUT /3,05637037d6 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n')
    await expect.poll(() => http.clock.timerCount, POLL).toBe(timers + 2)
    gone.destroy()
    await expect.poll(() => http.clock.timerCount, POLL).toBe(timers + 1)
    // The first client is slow, but not too slow to be waited for.
    for (let second = 0; second < 60; second++) {
      if (second % 20 === 0) slow.write(Buffer.alloc(50_000))
      await http.clock.advance(1000)
    }
    expectError(await late, 429, 'OVERLOADED')
    slow.destroy()
    await expectHeld(http, 0)
  })
})

describe('DELETE', () => {
  test('is answered with 202 and the size, then with 404', async () => {
    await using http = await TestVolumeHttp.open()
    http.store(FID, 'hello')
    const first = await http.ask(`/${FID}`, { method: 'DELETE' })
    expect([first.status, jsonOf(first)['size']]).toEqual([202, expect.any(Number)])
    const second = await http.ask(`/${FID}`, { method: 'DELETE' })
    expectError(second, 404, 'NEEDLE_NOT_FOUND')
    expect(jsonOf(second)['size']).toBe(0)
  })

  test('with a wrong cookie is 400, of another volume 404', async () => {
    await using http = await TestVolumeHttp.open()
    http.store(FID, 'hello')
    expectError(await http.ask('/3,01637037d7', { method: 'DELETE' }), 400, 'COOKIE_MISMATCH')
    expectError(await http.ask('/9,01637037d7', { method: 'DELETE' }), 404, 'VOLUME_NOT_FOUND')
    expect(http.needles.deletes).toHaveLength(0)
  })

  const chunkFid = '3,12637037d6'
  const manifest = encodeChunkManifest({
    name: '',
    mime: '',
    sizeBytes: 5,
    chunks: [{ fileId: parseFileId(chunkFid), offsetBytes: 0, sizeBytes: 5 }],
  })

  test('of a large file deletes its chunks first', async () => {
    await using http = await TestVolumeHttp.open({ needsWriteToken: true })
    http.store(chunkFid, 'hello')
    const fileId = http.store(FID, manifest, { isChunkManifest: true })
    expectError(await http.ask(`/${FID}`, { method: 'DELETE' }), 401, 'TOKEN_INVALID')
    expect(http.needles.deletes).toHaveLength(0)
    const token = http.tokens.mintWrite(fileId, 10)
    const answer = await http.ask(`/${FID}?jwt=${token}`, { method: 'DELETE' })
    expect([answer.status, jsonOf(answer)]).toEqual([202, { size: 5 }])
    expect(http.needles.deletes.map((request) => request.fileId)).toEqual([
      parseFileId(chunkFid),
      fileId,
    ])
    for (const request of http.needles.deletes) {
      http.tokens.verifyWrite(request.writeToken, request.fileId)
    }
  })

  test('of a large file keeps its manifest when a chunk cannot be deleted', async () => {
    await using http = await TestVolumeHttp.open()
    const fileId = http.store(FID, manifest, { isChunkManifest: true })
    http.needles.failure = new StoreError('VOLUME_NOT_FOUND', 'no such volume')
    expectError(await http.ask(`/${FID}`, { method: 'DELETE' }), 409, 'VOLUME_NOT_FOUND')
    expect(http.needles.has(fileId)).toBe(true)
    expect((await http.ask(`/${FID}`, { method: 'DELETE' })).status).toBe(202)
  })
})

test('an uploaded manifest is stored as one, compressed or not', async () => {
  await using http = await TestVolumeHttp.open()
  const json = encodeChunkManifest({ name: 'a', mime: '', sizeBytes: 0, chunks: [] })
  for (const body of [json, gzipSync(json)]) {
    const headers: Ask['headers'] = body === json ? {} : { 'Content-Encoding': 'gzip' }
    const answer = await http.ask(`/${FID}?cm=true`, { method: 'POST', headers, body })
    expect([answer.status, jsonOf(answer)['size']]).toEqual([201, json.length])
    expect(lastPut(http).metadata.isChunkManifest).toBe(true)
    expect((await http.ask(`/${FID}`)).headers['x-file-store']).toBe('chunked')
  }
})
