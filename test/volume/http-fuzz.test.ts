import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { formatFileId, parseFileId } from '../../src/base/file-id.ts'
import { encodeChunkManifest } from '../../src/format/chunk-manifest.ts'
import { Prng, seeds } from '../support/prng.ts'
import { openSocket, parseAnswers, type RawAnswer } from '../support/raw-http.ts'
import { FID, jsonOf, TestVolumeHttp } from '../support/test-volume-http.ts'

// Goal: nothing that a client sends makes the server fail, crash or stop answering.
// Method: 10,000 requests put together from good and absurd pieces, with a byte changed in some of
// them, against needles of every kind. Replay: SEED=17 npx vitest run test/volume/http-fuzz.test.ts

const REQUESTS = 2500
const LANES = 8

const METHODS = [
  'GET',
  'GET',
  'GET',
  'HEAD',
  'PUT',
  'PUT',
  'POST',
  'POST',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'BREW',
]

const VALUES: readonly string[] = [
  '',
  '0',
  '-1',
  'true',
  'false',
  '99999999999999999999',
  'NaN',
  '../../etc/passwd',
  '%00',
  '%0d%0aSet-Cookie:%20a=b',
  '%E2%98%83',
  '%zz',
  '"',
  '\\',
  '{}',
  'a'.repeat(3000),
  '\u00e9\u00ff',
  '__proto__',
  'constructor',
]

const PARAMETERS = (
  'dl cm ts ttl type fsync jwt readDeleted proxied collection width height mode crop_x1 ' +
  'response-content-type response-content-disposition response-expires response-cache-control ' +
  'response-content-encoding __proto__ toString'
).split(' ')

const HEADERS: Readonly<Record<string, readonly string[]>> = {
  Range: [
    'bytes=0-',
    'bytes=-5',
    'bytes=5-1',
    'bytes=0-0,2-3',
    'bytes=0-0,-1,99-',
    'bytes=,',
    'bytes=--',
    'x=1',
  ],
  'If-None-Match': ['*', 'W/"1"', '"', ',,,', '"9a71bb4c"'],
  'If-Modified-Since': ['Tue, 14 Nov 2023 22:13:20 GMT', 'never', '-1', '9'.repeat(100)],
  'If-Range': ['"9a71bb4c"', 'never', '"'],
  'Accept-Encoding': ['gzip', 'gzip;q=0', '*;q=0', ';;,,', 'br'],
  'Content-Encoding': ['gzip', 'br', 'identity', 'gzip, gzip'],
  'Content-MD5': ['AAAA', '1B2M2Y8AsgTpgAmY7PhCfg==', '\xff'],
  'Content-Type': [
    'text/plain',
    'multipart/form-data',
    'multipart/form-data; boundary=b',
    'multipart/form-data; boundary="',
    'application/x-www-form-urlencoded',
    '/',
    'a/b\xff',
  ],
  'Content-Disposition': [
    'inline; filename="a.txt"',
    "attachment; filename*=UTF-8''%zz",
    ';;;',
    'filename=',
    'inline; filename="\xe2\x98\x83"',
  ],
  'Seaweed-Colour': ['red', '\xe2\x98\x83', '\xff\xfe'],
  'Seaweed-__proto__': ['x'],
  'Seaweed-Set-Cookie': ['a=b'],
  'Seaweed-Transfer-Encoding': ['chunked'],
  Authorization: ['Bearer ', 'Bearer a.b.c', 'Basic eA==', 'bearer x y'],
  Cookie: ['AT=', 'AT=a.b.c; b', '=', ';;;'],
  Origin: ['https://a.example', 'null'],
  Connection: ['keep-alive', 'close', 'upgrade'],
  Upgrade: ['websocket', 'h2c'],
  Expect: ['100-continue', 'magic'],
  'Content-Length': ['0', '5', '-1', '99999999999', '1e3', '+5', '5, 5'],
  'Transfer-Encoding': ['chunked', 'gzip', 'chunked, chunked', 'identity'],
}

const EXISTING = [
  '3,01637037d6',
  '3,02637037d6',
  '3,03637037d6',
  '3,04637037d6',
  '3,05637037d6',
  '3,06637037d6',
  '9,01637037d6',
]
const KEPT = '3,ff637037d6'

function fill(http: TestVolumeHttp): void {
  const text = 'some text '.repeat(300)
  http.store('3,01637037d6', text, { name: 'a.txt', lastModifiedS: 1_700_000_000 })
  http.store('3,02637037d6', gzipSync(text), { isCompressed: true, mime: 'text/plain' })
  http.store('3,03637037d6', 'no gzip', { isCompressed: true })
  const chunks = [{ fileId: parseFileId('9,01637037d6'), offsetBytes: 0, sizeBytes: 5 }]
  const manifest = encodeChunkManifest({ name: 'b', mime: '\0', sizeBytes: 5, chunks })
  http.store('3,04637037d6', manifest, { isChunkManifest: true })
  http.store('3,05637037d6', '{', { isChunkManifest: true, isCompressed: true })
  const pairs = { 'Content-Length': '1', 'x y': '\n', é: '☃' }
  http.store('3,06637037d6', '', { name: '../\r\n"☃', mime: '\r\n', pairs })
  http.store('9,01637037d6', 'hello')
  http.store(KEPT, 'kept')
}

function target(prng: Prng): string {
  const fid = prng.pick(EXISTING)
  const hex = () => prng.u32().toString(16)
  const path = prng.pick([
    `/${fid}`,
    `/${fid}`,
    `/${fid}`,
    `/${fid}.${prng.pick(['txt', 'png', '', 'a'.repeat(300), '%00'])}`,
    `/${fid.replace(',', '/')}`,
    `/${fid.replace(',', '/')}/${prng.pick(VALUES).replaceAll(/[^\w%.]/g, '_')}`,
    `/${fid}_${prng.pick(['1', '-1', '999999999999999', 'x', ''])}`,
    `/${prng.u32()},${hex()}${hex()}`,
    `/3,${hex()}${hex()}${hex()}${hex()}`,
    `/3,${'0'.repeat(prng.below(60))}`,
    `/${fid}/..`,
    `/%2e%2e/${fid}`,
    `/./${fid}`,
    `//${fid}`,
    `/${fid}%00`,
    `/%${fid}`,
    `http://evil/${fid}`,
    '*',
    '/',
    `/${prng.pick(['status', 'metrics', 'healthz', 'favicon.ico', 'ui/index.html', 'dir/assign'])}`,
    `/${'a/'.repeat(prng.below(200))}`,
    `/${fid},${fid}`,
  ])
  const count = prng.chance(0.5) ? 0 : prng.below(4)
  const query = Array.from(
    { length: count },
    () => `${prng.pick(PARAMETERS)}=${prng.pick(VALUES).replaceAll(/[\s"\\{}]|[^ -~]/g, '')}`,
  )
  return query.length === 0 ? path : `${path}?${query.join('&')}`
}

function body(prng: Prng): Buffer {
  const headers = 'Content-Disposition: form-data; name="file"; filename="a"'
  const part = `--b\r\n${headers}\r\n\r\nhello\r\n--b--\r\n`
  switch (prng.below(6)) {
    case 0:
      return prng.bytes(prng.below(2000))
    case 1:
      return gzipSync('hello'.repeat(prng.below(1000)))
    case 2:
      return Buffer.from(part)
    case 3:
      return Buffer.from(part.slice(0, prng.below(part.length)))
    case 4: {
      const manifest = {
        size: prng.below(9),
        chunks: [{ fid: prng.pick(EXISTING), size: prng.below(9) }],
      }
      return Buffer.from(JSON.stringify(manifest))
    }
    default:
      return Buffer.alloc(0)
  }
}

interface Fuzzed {
  readonly bytes: Buffer
  readonly isHead: boolean
}

function request(prng: Prng): Fuzzed {
  const method = prng.pick(METHODS)
  const data = ['PUT', 'POST', 'DELETE', 'GET'].includes(method) ? body(prng) : Buffer.alloc(0)
  const names = Object.keys(HEADERS)
  const lines = Array.from({ length: prng.below(5) }, () => {
    const name = prng.pick(names)
    const value = prng.chance(0.8) ? prng.pick(HEADERS[name] ?? []) : prng.pick(VALUES)
    return `${name}: ${value}\r\n`
  })
  const length = prng.chance(0.95) ? `Content-Length: ${data.length}\r\n` : ''
  const head = `${method} ${target(prng)} HTTP/1.1\r\nHost: a\r\n${length}${lines.join('')}\r\n`
  const bytes = Buffer.concat([Buffer.from(head, 'latin1'), data])
  if (prng.chance(0.1)) bytes[prng.below(bytes.length)] = prng.below(256)
  return { bytes, isHead: bytes.toString('latin1', 0, 5) === 'HEAD ' }
}

/** The answers to one request that may be anything; the client ends it when it has the first. */
async function send(http: TestVolumeHttp, { bytes, isHead }: Fuzzed): Promise<RawAnswer[]> {
  const socket: Socket = await openSocket(http.server.address)
  const pieces: Buffer[] = []
  const answers = () => parseAnswers(Buffer.concat(pieces), isHead)
  await new Promise<void>((resolve) => {
    socket.on('error', () => resolve()).on('close', () => resolve())
    socket.on('data', (piece) => {
      pieces.push(piece)
      if (answers().some(({ status }) => status >= 200)) resolve()
    })
    // What is cut short is never answered: the end of it is.
    socket.end(bytes)
  })
  socket.destroy()
  return answers().filter(({ status }) => status >= 200)
}

function checkAnswer(answer: RawAnswer, { bytes, isHead }: Fuzzed): void {
  const asked = bytes.toString('latin1', 0, 300)
  expect(answer.status, asked).toBeLessThan(500)
  expect(answer.headers['set-cookie'], asked).toBeUndefined()
  if (answer.status < 400 || isHead) return
  // The parser of Node answers a missing or doubled Host itself.
  if (answer.body.length === 0 && answer.status === 400 && !/^Host: a\r$/m.test(asked)) return
  expect(jsonOf(answer), asked).toMatchObject({
    error: expect.any(String),
    code: expect.stringMatching(/^[A-Z_]+$/),
  })
}

test.each(seeds(4))(
  '2,500 absurd requests are answered, and none with 5xx (seed %d)',
  async (seed) => {
    const prng = new Prng(seed)
    await using http = await TestVolumeHttp.open({
      fileSizeLimitBytes: 1500,
      uploadLimitBytes: 100_000,
    })
    http.needles.largeMin = 2000
    fill(http)
    let answered = 0
    const requests = Array.from({ length: REQUESTS }, () => request(prng))
    const lane = async (): Promise<void> => {
      for (let next = requests.pop(); next !== undefined; next = requests.pop()) {
        if (requests.length % 100 === 0) fill(http)
        const answers = await send(http, next)
        if (answers.length > 0) answered++
        for (const answer of answers) checkAnswer(answer, next)
      }
    }
    await Promise.all(Array.from({ length: LANES }, lane))
    expect(answered).toBeGreaterThan(REQUESTS * 0.8)
    expect(http.logged.filter((line) => line.includes('handler_failed'))).toEqual([])
    await expect.poll(() => http.server.requestCount, { timeout: 20_000 }).toBe(0)
    expect(http.needles.openCount).toBe(0)
    const kept = await http.ask(`/${formatFileId(parseFileId(KEPT))}`)
    expect([kept.status, kept.body.toString()]).toEqual([200, 'kept'])
    expect((await http.ask(`/${FID}`, { method: 'PUT', body: 'x' })).status).toBeLessThan(300)
  },
)
