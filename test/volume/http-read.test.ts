import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { hex8, volumeId } from '../../src/base/ids.ts'
import { encodeChunkManifest } from '../../src/format/chunk-manifest.ts'
import type { VolumeHttpConfig } from '../../src/volume/http-context.ts'
import { exchange, openSocket, type RawAnswer } from '../support/raw-http.ts'
import { type Ask, FID, jsonOf, TestVolumeHttp } from '../support/test-volume-http.ts'

const TEXT = '0123456789'
const POLL = { timeout: 20_000 }
const TIME_S = 1_700_000_000
const TIME = 'Tue, 14 Nov 2023 22:13:20 GMT'

async function withFile(
  metadata: Parameters<TestVolumeHttp['store']>[2] = {},
  data: string | Buffer = TEXT,
): Promise<TestVolumeHttp> {
  const http = await TestVolumeHttp.open()
  http.store(FID, data, metadata)
  return http
}

function expectError(answer: RawAnswer, status: number, code: string): void {
  expect([answer.status, jsonOf(answer).code]).toEqual([status, code])
  expect(answer.headers['content-type']).toBe('application/json; charset=utf-8')
  expect(jsonOf(answer).error).toEqual(expect.any(String))
}

describe('a file', () => {
  test.each([
    '/3,01637037d6',
    '/3,01637037D6',
    '/3,1637037d6',
    '/3,01637037d6.txt',
    '/3/01637037d6',
    '/3/01637037d6.txt',
    '/3/01637037d6/a.txt',
    '/3,00637037d6_1',
    '/3,01637037d6?any=thing',
    '/3%2C01637037d6',
    '/03,01637037d6',
  ])('is found at %s', async (path) => {
    await using http = await withFile()
    const answer = await http.ask(path)
    expect([answer.status, answer.body.toString()]).toEqual([200, TEXT])
  })

  test.each([
    ['/3', 400, 'FILE_ID_INVALID'],
    ['/3,', 400, 'FILE_ID_INVALID'],
    ['/3,637037d6', 400, 'FILE_ID_INVALID'],
    ['/3,x1637037d6', 400, 'FILE_ID_INVALID'],
    ['/0,01637037d6', 400, 'FILE_ID_INVALID'],
    ['/4294967296,01637037d6', 400, 'FILE_ID_INVALID'],
    ['/3,ffffffffffffffff637037d6_1', 400, 'FILE_ID_INVALID'],
    ['/3,01637037d6/../x/y', 400, 'FILE_ID_INVALID'],
    ['//3,01637037d6', 400, 'FILE_ID_INVALID'],
    ['/%zz', 400, 'FILE_ID_INVALID'],
    ['/no/such/route/at/all', 400, 'FILE_ID_INVALID'],
    ['http://other/3,01637037d6', 400, 'FILE_ID_INVALID'],
    ['/3,01637037d7', 404, 'COOKIE_MISMATCH'],
    ['/3,02637037d6', 404, 'NEEDLE_NOT_FOUND'],
    ['/4,01637037d6', 404, 'VOLUME_NOT_FOUND'],
  ])('asked for at %s is answered with %d %s', async (path, status, code) => {
    await using http = await withFile()
    expectError(await http.ask(path), status, code)
  })

  test.each([
    [{ name: 'a.txt' }, '', 'text/plain; charset=utf-8'],
    [{ name: 'a.txt', mime: 'image/png' }, '', 'image/png'],
    [{ name: 'a.png', mime: 'application/octet-stream' }, '', 'image/png'],
    [{ name: 'a.png' }, '.jpg', 'image/jpeg'],
    [{ name: 'a.unheard-of' }, '', 'application/octet-stream'],
    [{}, '', 'application/octet-stream'],
    [{ mime: 'text/plain\r\nX: y' }, '', 'application/octet-stream'],
    [{ mime: 'text/☃' }, '', 'application/octet-stream'],
  ])('with %o and extension %o has the type %s', async (metadata, extension, type) => {
    await using http = await withFile(metadata)
    const answer = await http.ask(`/${FID}${extension}`)
    expect(answer.headers['content-type']).toBe(type)
    expect(answer.headers['x-content-type-options']).toBe('nosniff')
  })

  test.each([
    ['a b.txt', 'inline; filename="a b.txt"'],
    ['a"b\\c.txt', 'inline; filename="a\\"b\\\\c.txt"'],
    [
      'naïve ☃.txt',
      'inline; filename="na?ve ?.txt"; filename*=UTF-8\'\'na%C3%AFve%20%E2%98%83.txt',
    ],
  ])('named %o is %s', async (name, disposition) => {
    await using http = await withFile({ name })
    const { headers, status } = await http.ask(`/${FID}`)
    const found = Buffer.from(headers['content-disposition'] ?? '', 'latin1').toString()
    expect(status).toBe(200)
    expect(found.replace('ï', '?')).toBe(disposition)
  })

  test('whose name has line breaks does not break its answer', async () => {
    await using http = await withFile({ name: 'a\r\nSet-Cookie: x=1\0' })
    const { headers, status } = await http.ask(`/${FID}`)
    expect([status, headers['set-cookie']]).toEqual([200, undefined])
  })

  test('takes its name from the path, and is an attachment with dl', async () => {
    await using http = await withFile({ name: 'stored.txt' })
    const answer = await http.ask('/3/01637037d6/asked.png?dl=T')
    expect(answer.headers['content-disposition']).toBe('attachment; filename="asked.png"')
    expect(answer.headers['content-type']).toBe('image/png')
  })

  test('shows its pairs, but none that steer the connection or the browser', async () => {
    const pairs = {
      Colour: 'red',
      City: 'Zürich',
      'Set-Cookie': 'a=b',
      'Content-Length': '1',
      'Transfer-Encoding': 'chunked',
      'Access-Control-Allow-Origin': 'https://evil',
      'Bad Name': 'x',
      Broken: 'a\r\nX-Injected: yes',
      __proto__: 'x',
    }
    await using http = await withFile({ pairs })
    const { headers, body } = await http.ask(`/${FID}`)
    expect(body.toString()).toBe(TEXT)
    expect(headers.colour).toBe('red')
    expect(Buffer.from(headers.city ?? '', 'latin1').toString('utf8')).toBe('Zürich')
    for (const name of ['set-cookie', 'x-injected', 'transfer-encoding', 'broken']) {
      expect(headers[name]).toBeUndefined()
    }
    expect(headers['access-control-allow-origin']).toBeUndefined()
  })

  test.each([
    ['response-cache-control=no-store', 'cache-control', 'no-store'],
    ['response-content-type=a/b', 'content-type', 'a/b'],
    ['response-content-disposition=attachment', 'content-disposition', 'attachment'],
    ['response-content-encoding=br', 'content-encoding', 'br'],
    ['response-content-language=de', 'content-language', 'de'],
    ['response-expires=0', 'expires', '0'],
  ])('with %s has %s: %s', async (parameter, name, value) => {
    await using http = await withFile({ name: 'a.txt' })
    expect((await http.ask(`/${FID}?${parameter}`)).headers[name]).toBe(value)
  })

  test.each(['%0d%0aX:y', '%00', '%E2%98%83'])('refuses the header value %s', async (value) => {
    await using http = await withFile()
    const answer = await http.ask(`/${FID}?response-expires=${value}`)
    expectError(answer, 400, 'REQUEST_INVALID')
  })

  test('is read again after its deletion with readDeleted', async () => {
    await using http = await withFile()
    await http.needles.delete({ fileId: parseFileId(FID), writeToken: '', isReplica: false })
    expectError(await http.ask(`/${FID}`), 404, 'NEEDLE_NOT_FOUND')
    expect((await http.ask(`/${FID}?readDeleted=true`)).body.toString()).toBe(TEXT)
  })

  test('may be asked for by scripts of other sites', async () => {
    await using http = await withFile()
    const { headers } = await http.ask(`/${FID}`, { headers: { Origin: 'https://a.example' } })
    expect(headers['access-control-allow-origin']).toBe('*')
    expect(headers['access-control-allow-credentials']).toBe('true')
    expect((await http.ask(`/${FID}`)).headers['access-control-allow-origin']).toBeUndefined()
  })

  test.each([0, 1, 4096, 4097, 60_000, 70_000])(
    'of %d bytes is the same by every way',
    async (bytes) => {
      const data = Buffer.alloc(bytes, 'abcdé\xff', 'latin1')
      await using http = await withFile({ name: 'a.bin', lastModifiedS: TIME_S }, data)
      const plain = await http.ask(`/${FID}`)
      http.needles.isCold = true
      const cold = await http.ask(`/${FID}`)
      http.needles.largeMin = 0
      const streamed = await http.ask(`/${FID}`)
      expect(plain.body.equals(data)).toBe(true)
      expect(plain.headers).toEqual({ ...cold.headers, date: plain.headers.date })
      expect(streamed.headers).toEqual({ ...cold.headers, date: streamed.headers.date })
      expect(cold.body.equals(data) && streamed.body.equals(data)).toBe(true)
      expect(http.needles.openCount).toBe(0)
    },
  )

  test('is not mixed up with others when many are asked for at once on slow connections', async () => {
    await using http = await TestVolumeHttp.open()
    const bytes = 40_000
    for (let id = 1; id <= 40; id++) http.store(`3,${hex8(id)}00000001`, Buffer.alloc(bytes, id))
    const ids = Array.from({ length: 40 }, (_, index) => index + 1)
    const request = ids
      .map((id) => `GET /3,${hex8(id)}00000001 HTTP/1.1\r\nHost: a\r\n\r\n`)
      .join('')
    const answers = await exchange(http.server.address, request, ids.length)
    expect(answers.map(({ body }) => body[0])).toEqual(ids)
    for (const [index, { body }] of answers.entries()) {
      expect(body.equals(Buffer.alloc(bytes, index + 1))).toBe(true)
    }
  })
})

describe('HEAD', () => {
  test.each([{}, { isCompressed: true }])('says what GET would, of %o', async (metadata) => {
    const data = metadata.isCompressed ? gzipSync(TEXT) : TEXT
    await using http = await withFile({ name: 'a.txt', lastModifiedS: TIME_S, ...metadata }, data)
    const get = await http.ask(`/${FID}`)
    const head = await http.ask(`/${FID}`, { method: 'HEAD', headers: { Range: 'bytes=0-1' } })
    expect(head.body).toHaveLength(0)
    expect(head.status).toBe(200)
    expect(head.headers).toEqual({ ...get.headers, date: head.headers.date })
    expect(head.headers['content-length']).toBe('10')
  })

  test('of an absent file is 404 without a body', async () => {
    await using http = await withFile()
    const answer = await http.ask('/3,02637037d6', { method: 'HEAD' })
    expect([answer.status, answer.body.length]).toEqual([404, 0])
  })
})

describe('a range', () => {
  const head = { Range: '' }
  test.each([
    ['bytes=0-0', 206, '0', 'bytes 0-0/10'],
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=2-', 206, '23456789', 'bytes 2-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=-30', 206, TEXT, 'bytes 0-9/10'],
    ['bytes=9-99', 206, '9', 'bytes 9-9/10'],
    ['Bytes= 2 - 4 ', 206, '234', 'bytes 2-4/10'],
    ['bytes=0-0,99-', 206, '0', 'bytes 0-0/10'],
    ['lines=1-2', 200, TEXT, undefined],
    ['bytes=0-8,1-9', 200, TEXT, undefined],
    [`bytes=${'0-0,'.repeat(150)}0-0`, 200, TEXT, undefined],
  ])('of %s is answered with %d', async (range, status, body, contentRange) => {
    await using http = await withFile()
    for (const large of [false, true]) {
      http.needles.isCold = large
      http.needles.largeMin = large ? 0 : 1e9
      const answer = await http.ask(`/${FID}`, { headers: { ...head, Range: range } })
      expect([answer.status, answer.body.toString()]).toEqual([status, body])
      expect(answer.headers['content-range']).toBe(contentRange)
      expect(http.needles.openCount).toBe(0)
    }
  })

  test.each([
    'bytes=10-',
    'bytes=10-11',
    'bytes=-0',
    'bytes=4-2',
    'bytes=a-b',
    'bytes=-',
    'bytes',
    'bytes=1',
  ])('of %s is answered with 416 and the size', async (range) => {
    await using http = await withFile()
    const answer = await http.ask(`/${FID}`, { headers: { Range: range } })
    expectError(answer, 416, 'RANGE_INVALID')
    expect(answer.headers['content-range']).toBe('bytes */10')
  })

  test('of an empty file is all of it', async () => {
    await using http = await withFile({}, '')
    const answer = await http.ask(`/${FID}`, { headers: { Range: 'bytes=0-' } })
    expect([answer.status, answer.body.length]).toEqual([200, 0])
  })

  test('of several pieces is a multipart body of the length it says', async () => {
    await using http = await withFile({ name: 'a.txt' })
    const { status, headers, body } = await http.ask(`/${FID}`, {
      headers: { Range: 'bytes=0-1,5-6,-1' },
    })
    const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(headers['content-type'] ?? '')
    const part = (range: string, text: string) =>
      `--${boundary?.[1]}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Range: bytes ${range}/10\r\n\r\n${text}\r\n`
    expect(status).toBe(206)
    expect(body.toString()).toBe(
      `${part('0-1', '01')}${part('5-6', '56')}${part('9-9', '9')}--${boundary?.[1]}--\r\n`,
    )
    expect(headers['content-length']).toBe(String(body.length))
  })

  test.each([
    ['the ETag', true],
    [TIME, true],
    ['"00000000"', false],
    ['Tue, 14 Nov 2023 22:13:21 GMT', false],
  ])('with If-Range %s counts: %s', async (version, counts) => {
    await using http = await withFile({ lastModifiedS: TIME_S })
    const etag = (await http.ask(`/${FID}`)).headers.etag ?? ''
    const headers = { Range: 'bytes=0-0', 'If-Range': version === 'the ETag' ? etag : version }
    expect((await http.ask(`/${FID}`, { headers })).status).toBe(counts ? 206 : 200)
  })
})

describe('a conditional read', () => {
  const cases: [string, Record<string, string>, number][] = [
    ['its ETag', { 'If-None-Match': 'ETAG' }, 304],
    ['its weak ETag', { 'If-None-Match': 'W/ETAG' }, 304],
    ['a list with it', { 'If-None-Match': '"1", ETAG , "2"' }, 304],
    ['a star', { 'If-None-Match': '*' }, 304],
    ['another ETag', { 'If-None-Match': '"00000000"' }, 200],
    ['its ETag without quotes', { 'If-None-Match': 'BARE' }, 200],
    ['its time', { 'If-Modified-Since': TIME }, 304],
    ['a second later', { 'If-Modified-Since': 'Tue, 14 Nov 2023 22:13:21 GMT' }, 304],
    ['a second before', { 'If-Modified-Since': 'Tue, 14 Nov 2023 22:13:19 GMT' }, 200],
    ['no time', { 'If-Modified-Since': 'yesterday' }, 200],
    ['another ETag and its time', { 'If-None-Match': '"1"', 'If-Modified-Since': TIME }, 200],
  ]
  test.each(cases)('by %s', async (_what, conditions, status) => {
    await using http = await withFile({ lastModifiedS: TIME_S })
    const etag = (await http.ask(`/${FID}`)).headers.etag ?? ''
    expect(etag).toMatch(/^"[0-9a-f]{8}"$/)
    const headers = Object.fromEntries(
      Object.entries(conditions).map(([name, value]) => [
        name,
        value.replace('ETAG', etag).replace('BARE', etag.replaceAll('"', '')),
      ]),
    )
    const answer = await http.ask(`/${FID}`, { headers })
    expect(answer.status).toBe(status)
    expect(answer.headers.etag).toBe(etag)
    expect(answer.headers['last-modified']).toBe(TIME)
    if (status === 304) expect(answer.body).toHaveLength(0)
  })
})

describe('a compressed file', () => {
  const long = Buffer.from('lorem ipsum '.repeat(1000))
  const zipped = gzipSync(long)

  test.each([
    ['gzip', true],
    ['br, gzip;q=0.5', true],
    ['*', true],
    ['gzip;q=0', false],
    ['gzip;q=0.000, *', false],
    ['br', false],
    ['', false],
  ])('is sent to Accept-Encoding %o as it is: %s', async (accept, isZipped) => {
    await using http = await withFile({ isCompressed: true, name: 'a.txt' }, zipped)
    const headers: Ask['headers'] = accept === '' ? {} : { 'Accept-Encoding': accept }
    const answer = await http.ask(`/${FID}`, { headers })
    expect(answer.headers['content-encoding']).toBe(isZipped ? 'gzip' : undefined)
    expect(answer.headers.vary).toBe('Accept-Encoding')
    expect(answer.body.equals(isZipped ? zipped : long)).toBe(true)
  })

  test('has ranges of what is sent', async () => {
    await using http = await withFile({ isCompressed: true }, zipped)
    const plain = await http.ask(`/${FID}`, { headers: { Range: 'bytes=6-10' } })
    expect(plain.body.toString()).toBe('ipsum')
    const headers = { Range: 'bytes=0-4', 'Accept-Encoding': 'gzip' }
    const packed = await http.ask(`/${FID}`, { headers })
    expect(packed.body.equals(zipped.subarray(0, 5))).toBe(true)
    expect(packed.headers['content-encoding']).toBe('gzip')
  })

  test('too large to be held is unpacked while it is sent', async () => {
    await using http = await withFile({ isCompressed: true }, zipped)
    http.needles.isCold = true
    http.needles.largeMin = 0
    const answer = await http.ask(`/${FID}`)
    expect(answer.body.equals(long)).toBe(true)
    expect(http.needles.openCount).toBe(0)
  })

  test('that unpacks to a thousand times its size is sent as it is', async () => {
    const bomb = gzipSync(Buffer.alloc(12 * 1024 * 1024))
    await using http = await withFile({ isCompressed: true }, bomb)
    const answer = await http.ask(`/${FID}`)
    expect(answer.headers['content-encoding']).toBe('gzip')
    expect(gunzipSync(answer.body)).toHaveLength(12 * 1024 * 1024)
  })

  test('that is no gzip is sent as it is', async () => {
    await using http = await withFile({ isCompressed: true }, 'not gzip')
    const answer = await http.ask(`/${FID}`)
    expect([answer.status, answer.body.toString()]).toEqual([200, 'not gzip'])
    expect(answer.headers['content-encoding']).toBe('gzip')
  })
})

describe('a large file', () => {
  const CHUNKS = ['9,11637037d6', '3,12637037d6', '9,13637037d6']

  async function withManifest(config: Partial<VolumeHttpConfig> = {}): Promise<TestVolumeHttp> {
    const http = await TestVolumeHttp.open(config)
    const data = ['abcd', 'efgh', 'ij']
    let offsetBytes = 0
    const chunks = CHUNKS.map((fid, index) => {
      const text = data[index] ?? ''
      const isCompressed = index === 1
      http.store(fid, isCompressed ? gzipSync(text) : text, { isCompressed })
      const chunk = { fileId: parseFileId(fid), offsetBytes, sizeBytes: text.length }
      offsetBytes += text.length
      return chunk
    })
    const manifest = { name: 'big.txt', mime: 'text/x-big', sizeBytes: offsetBytes, chunks }
    http.store(FID, encodeChunkManifest(manifest), { isChunkManifest: true })
    return http
  }

  test('is put together from its chunks, here and on other servers', async () => {
    await using http = await withManifest()
    const answer = await http.ask(`/${FID}`)
    expect(answer.body.toString()).toBe('abcdefghij')
    expect(answer.headers).toMatchObject({
      'content-length': '10',
      'content-type': 'text/x-big',
      'content-disposition': 'inline; filename="big.txt"',
      'x-file-store': 'chunked',
    })
    expect(http.needles.openCount).toBe(0)
  })

  test.each([
    ['bytes=3-4', 'de'],
    ['bytes=4-7', 'efgh'],
    ['bytes=-1', 'j'],
  ])('has the range %s', async (range, body) => {
    await using http = await withManifest()
    const answer = await http.ask(`/${FID}`, { headers: { Range: range } })
    expect([answer.status, answer.body.toString()]).toEqual([206, body])
    expect(http.needles.openCount).toBe(0)
  })

  test('is its manifest with cm=false', async () => {
    await using http = await withManifest()
    const answer = await http.ask(`/${FID}?cm=false`)
    expect(jsonOf(answer)).toMatchObject({ size: 10 })
    expect(answer.headers['x-file-store']).toBe('manifest')
  })

  test('is told from other files even if what is asked for is gone', async () => {
    await using http = await withManifest()
    expect((await http.ask(`/${CHUNKS[1]}`, { method: 'DELETE' })).status).toBe(202)
    const answer = await http.ask(`/${FID}`, { headers: { Range: 'bytes=4-7' } })
    expectError(answer, 404, 'NEEDLE_NOT_FOUND')
    expect(answer.headers['x-file-store']).toBe('chunked')
    expect((await http.ask(`/${FID}?cm=false`)).status).toBe(200)
  })

  test('is read with a token for each chunk where reads need one', async () => {
    await using http = await withManifest({ needsReadToken: true })
    const token = http.tokens.mintRead(parseFileId(FID), 10)
    expect((await http.ask(`/${FID}?jwt=${token}`)).status).toBe(200)
    for (const { fileId, readToken } of http.needles.fetches) {
      http.tokens.verifyRead(readToken, fileId)
    }
  })

  test('without its first chunk is answered with 404', async () => {
    await using http = await withManifest()
    await http.needles.delete({
      fileId: parseFileId(CHUNKS[1] ?? ''),
      writeToken: '',
      isReplica: false,
    })
    const answer = await http.ask(`/${FID}`, { headers: { Range: 'bytes=4-' } })
    expectError(answer, 404, 'NEEDLE_NOT_FOUND')
    expect(http.needles.openCount).toBe(0)
  })

  test('without a later chunk is cut off, so that nobody takes it for whole', async () => {
    await using http = await withManifest()
    await http.needles.delete({
      fileId: parseFileId(CHUNKS[1] ?? ''),
      writeToken: '',
      isReplica: false,
    })
    await expect(http.ask(`/${FID}`)).rejects.toThrow('no answer')
    expect(http.needles.openCount).toBe(0)
    expect(http.logged.join()).toContain('http.answer_cut')
  })

  test('whose manifest is broken is answered with MANIFEST_CORRUPT', async () => {
    await using http = await TestVolumeHttp.open()
    http.store(FID, '{"size":5}', { isChunkManifest: true })
    expectError(await http.ask(`/${FID}`), 422, 'MANIFEST_CORRUPT')
  })
})

describe('a file of a volume on another server', () => {
  test('is fetched from there, with ranges and conditions', async () => {
    await using http = await TestVolumeHttp.open()
    http.store('9,01637037d6', TEXT, { name: 'a.txt' })
    const answer = await http.ask('/9,01637037d6')
    expect([answer.status, answer.body.toString()]).toEqual([200, TEXT])
    const part = await http.ask('/9,01637037d6', { headers: { Range: 'bytes=1-2' } })
    expect([part.status, part.body.toString()]).toEqual([206, '12'])
    const headers = { 'If-None-Match': answer.headers.etag ?? '' }
    expect((await http.ask('/9,01637037d6', { headers })).status).toBe(304)
    expect(http.needles.openCount).toBe(0)
  })

  test('that was asked for by another server is not looked for again', async () => {
    await using http = await TestVolumeHttp.open()
    http.store('9,01637037d6', TEXT)
    expectError(await http.ask('/9,01637037d6?proxied=true'), 404, 'VOLUME_NOT_FOUND')
    expect(http.needles.fetches).toHaveLength(0)
  })

  test('is 404 with readMode local', async () => {
    await using http = await TestVolumeHttp.open({ readMode: 'local' })
    http.store('9,01637037d6', TEXT)
    expectError(await http.ask('/9,01637037d6'), 404, 'VOLUME_NOT_FOUND')
  })

  test('is where the answer of readMode redirect says, once', async () => {
    await using http = await TestVolumeHttp.open({ readMode: 'redirect' })
    expectError(await http.ask('/9,01637037d6'), 404, 'VOLUME_NOT_FOUND')
    const [dataCenter, rack] = ['', '']
    const url = '10.0.0.1:8080'
    http.needles.locations = [{ url, publicUrl: 'x:1', grpcAddress: '', dataCenter, rack }]
    const answer = await http.ask('/9/01637037d6/x.png?collection=a%26b&dl=1')
    expect(answer.status).toBe(301)
    const location = 'http://10.0.0.1:8080/9,01637037d6?collection=a%26b&proxied=true'
    expect(answer.headers.location).toBe(location)
    expectError(await http.ask('/9,01637037d6?proxied=true'), 404, 'VOLUME_NOT_FOUND')
  })
})

describe('a read token', () => {
  test.each([
    ['the query', (token: string): [string, Ask] => [`?jwt=${token}`, {}]],
    [
      'a header',
      (token: string): [string, Ask] => ['', { headers: { Authorization: `BEARER ${token}` } }],
    ],
    [
      'a cookie',
      (token: string): [string, Ask] => ['', { headers: { Cookie: `a=b; AT=${token}` } }],
    ],
  ])('in %s opens its file and no other', async (_where, place) => {
    await using http = await TestVolumeHttp.open({ needsReadToken: true })
    const fileId = http.store(FID, TEXT)
    http.store('3,02637037d6', TEXT)
    const [query, ask] = place(http.tokens.mintRead(fileId, 10))
    expect((await http.ask(`/${FID}${query}`, ask)).status).toBe(200)
    expectError(await http.ask(`/3,02637037d6${query}`, ask), 401, 'TOKEN_INVALID')
    expectError(await http.ask(`/${FID}`), 401, 'TOKEN_INVALID')
    await http.clock.advance(10_000)
    expectError(await http.ask(`/${FID}${query}`, ask), 401, 'TOKEN_INVALID')
  })

  test('for writing opens nothing', async () => {
    await using http = await TestVolumeHttp.open({ needsReadToken: true })
    const token = http.tokens.mintWrite(http.store(FID, TEXT), 10)
    expectError(await http.ask(`/${FID}?jwt=${token}`), 401, 'TOKEN_INVALID')
  })
})

describe('the download limit', () => {
  test('lets the next wait until there is room, and gives up after a minute', async () => {
    await using http = await TestVolumeHttp.open({ downloadLimitBytes: 1_000_000 })
    http.store(FID, Buffer.alloc(32_000_000, 1))
    http.needles.largeMin = 0
    // The first client reads nothing: more than the sockets hold stays in the server.
    const slow = await openSocket(http.server.address)
    slow.pause()
    slow.write(`GET /${FID} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await expect
      .poll(async () => (await http.metrics.text()).includes('="sent"} 1000000'), POLL)
      .toBe(true)
    const second = http.ask(`/${FID}`)
    await expect.poll(() => http.clock.timerCount, POLL).toBe(2)
    await http.clock.advance(60_000)
    expectError(await second, 429, 'OVERLOADED')
    slow.destroy()
    await expect
      .poll(
        async () => (await http.metrics.text()).includes('held_bytes{direction="sent"} 0'),
        POLL,
      )
      .toBe(true)
    expect((await http.ask(`/${FID}`)).status).toBe(200)
  })
})

describe('the pages of the server', () => {
  test.each([
    ['/status', 200],
    ['/healthz', 200],
    ['/readyz', 200],
    ['/metrics', 200],
    ['/favicon.ico', 204],
    ['/', 200],
  ])('%s is answered with %d', async (path, status) => {
    await using http = await TestVolumeHttp.open()
    expect((await http.ask(path)).status).toBe(status)
    expect((await http.ask(path, { method: 'HEAD' })).status).toBe(status)
  })

  test.each(['/healthz', '/readyz'])('%s is 503 while the server is not ready', async (path) => {
    await using http = await TestVolumeHttp.open({}, { isReady: () => false })
    expectError(await http.ask(path), 503, 'UNAVAILABLE')
  })

  test('a public port shows files and health, and changes nothing', async () => {
    await using http = await TestVolumeHttp.open({ publicOnly: true })
    http.store(FID, TEXT)
    expect((await http.ask(`/${FID}`)).status).toBe(200)
    expect((await http.ask('/healthz')).status).toBe(200)
    for (const path of ['/status', '/metrics', '/']) expect((await http.ask(path)).status).toBe(400)
    for (const method of ['PUT', 'POST', 'DELETE']) {
      expectError(await http.ask(`/${FID}`, { method, body: 'x' }), 400, 'METHOD_NOT_ALLOWED')
    }
    expect(http.needles.has({ ...parseFileId(FID), volumeId: volumeId(3) })).toBe(true)
    const { headers } = await http.ask(`/${FID}`, { method: 'OPTIONS' })
    expect(headers['access-control-allow-methods']).toBe('GET, OPTIONS')
  })

  test('OPTIONS names the methods, and unknown methods are 400', async () => {
    await using http = await TestVolumeHttp.open()
    const { status, headers } = await http.ask('/any', { method: 'OPTIONS' })
    expect(status).toBe(200)
    expect(headers['access-control-allow-methods']).toBe('PUT, POST, GET, DELETE, OPTIONS')
    expect(headers['access-control-allow-headers']).toBe('*')
    expectError(await http.ask(`/${FID}`, { method: 'PATCH' }), 400, 'METHOD_NOT_ALLOWED')
  })

  test('metrics count requests by method and outcome, the plainest reads too', async () => {
    await using http = await withFile()
    await http.ask(`/${FID}`)
    await http.ask(`/${FID}?a=b`)
    await http.ask('/3,02637037d6')
    const text = await http.metrics.text()
    expect(text).toContain('volume_http_requests_total{method="GET",outcome="2xx"} 2')
    expect(text).toContain('volume_http_requests_total{method="GET",outcome="4xx"} 1')
    expect(text).toContain('volume_http_bytes_total{direction="sent"} 20')
  })
})
