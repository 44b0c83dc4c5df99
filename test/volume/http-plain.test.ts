import { expect, test } from 'vitest'
import { formatFileId } from '../../src/base/file-id.ts'
import type { PutRequest, PutStreamRequest } from '../../src/net/volume-api.ts'
import { Prng, seeds } from '../support/prng.ts'
import { openSocket, parseAnswers, type RawAnswer } from '../support/raw-http.ts'
import { TestVolumeHttp } from '../support/test-volume-http.ts'

// Goal: nobody can tell whether a request was answered with node:http or without.
// Method: the same bytes, plain and broken in every way, pipelined and cut at random places, go to
// two servers that differ in this alone; answers, needles and counters must be the same.
// Replay: SEED=17 npx vitest run test/volume/http-plain.test.ts

const CASES = 1000
const LANES = 4

const STORED = [
  '3,01637037d6',
  '3,02637037d6',
  '3,03637037d6',
  '3,04637037d6',
  '3,05637037d6',
  '3,06637037d6',
]

function fill(http: TestVolumeHttp): void {
  const lastModifiedS = 1_700_000_000
  http.store('3,01637037d6', 'hello', { name: 'a.txt', lastModifiedS })
  http.store('3,02637037d6', Buffer.alloc(6000, 'x'), { lastModifiedS, mime: 'image/png' })
  http.store('3,03637037d6', '', { name: 'naïve\r\n☃.bin', lastModifiedS })
  http.store('3,04637037d6', Buffer.alloc(900, 'y'), { lastModifiedS, pairs: { Colour: 'red' } })
  http.store('3,05637037d6', Buffer.alloc(70_000, 'z'), { lastModifiedS })
}

const CLIENTS: readonly (readonly string[])[] = [
  ['Host: a'],
  ['Host: a', 'User-Agent: curl/7.88.1', 'Accept: */*'],
  [
    'host: a',
    'connection: keep-alive',
    'accept: */*',
    'accept-language: *',
    'sec-fetch-mode: cors',
    'user-agent: node',
    'accept-encoding: gzip, deflate',
  ],
  ['HOST:a', 'Connection: Keep-Alive', 'Cache-Control: no-cache', 'Pragma: x', 'Referer: b'],
]

/** Mostly wrong, or not plain. */
const ODD_LINES = [
  'Host: b',
  'Host:',
  'Host : a',
  ' Host: a',
  ' folded',
  '\tfolded',
  'X-A: 1',
  'X-A : 1',
  ': 1',
  'no colon',
  'Accept: \x00',
  'Accept: \x7f',
  'Accept: \xe9',
  'Accept: a\rb',
  'Accept: a\nb',
  'User-Agent: a\r\n b',
  'Accept:\t1',
  'Connection: close',
  'Connection: Upgrade',
  'Connection: keep-alive, close',
  'Keep-Alive: 300',
  'Upgrade: h2c',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding:',
  'Content-Length: 0',
  'Content-Length: 3',
  'Content-Length: 5',
  'Content-Length: 6',
  'Content-Length:5',
  'Content-Length: 05',
  'Content-Length: +5',
  'Content-Length: -5',
  'Content-Length: 5 ',
  'Content-Length: 5, 5',
  'Content-Length: 0x5',
  'Content-Length: 5e0',
  'Content-Length:',
  'Content-Length: 65537',
  'Content-Length: 99999999999999999999',
  'Content-Type: application/octet-stream',
  'Content-Type: text/plain',
  'Content-Encoding: gzip',
  'Content-MD5: AAAA',
  'Expect: magic',
  'Origin: https://a.example',
  'Range: bytes=1-2',
  'Range: bytes=9-1',
  'If-None-Match: "9a71bb4c"',
  'If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT',
  'Seaweed-Colour: red',
  'Cookie: a=b',
  `Referer: ${'r'.repeat(1100)}`,
  `Referer: ${'r'.repeat(17_000)}`,
]

const VERSIONS = ['HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.1 ', 'HTTP/1.11', '']
const METHODS = ['HEAD', 'POST', 'DELETE', 'OPTIONS', 'get', 'GET ', 'PUTS', 'PATCH', '\r\nGET']

const BODIES = [0, 3, 5, 6, 1000, 5000]

function pathOf(prng: Prng, fid: string): string {
  if (prng.chance(0.8)) return `/${fid}`
  return prng.pick([
    `/${fid}?a=b`,
    `/${fid}.txt`,
    `/${fid}/`,
    `/${fid} `,
    ` /${fid}`,
    `/${fid}\t`,
    `/${fid}\x80`,
    `//${fid}`,
    `http://a/${fid}`,
    `/${fid.slice(0, -1)}7`,
    '/3,99637037d6',
    '/9,01637037d6',
    '/4294967296,01637037d6',
    '/0,01637037d6',
    `/3,${'0'.repeat(30)}`,
    '/status',
    '*',
    '',
  ])
}

/** `fid` is not named twice in a conversation: node:http does not wait for the put before a get. */
function requestOf(prng: Prng, fid: string, oddLines: readonly string[]): Buffer {
  const isPut = prng.chance(0.4)
  const method = prng.chance(0.95) ? (isPut ? 'PUT' : 'GET') : prng.pick(METHODS)
  const version = prng.chance(0.97) ? 'HTTP/1.1' : prng.pick(VERSIONS)
  const lines = [...prng.pick(CLIENTS)]
  const body = isPut
    ? prng.chance(0.2)
      ? Buffer.from('hello')
      : prng.bytes(prng.pick(BODIES))
    : Buffer.alloc(0)
  if (isPut && prng.chance(0.95)) lines.push(`Content-Length: ${body.length}`)
  if (isPut && prng.chance(0.3)) lines.push('Content-Type: application/octet-stream')
  if (prng.chance(0.2)) lines.splice(prng.below(lines.length + 1), 0, prng.pick(oddLines))
  if (prng.chance(0.02)) lines.splice(prng.below(lines.length), 1)
  const newline = prng.chance(0.98) ? '\r\n' : '\n'
  const head = [`${method} ${pathOf(prng, fid)} ${version}`, ...prng.shuffle(lines), '', ''].join(
    newline,
  )
  return Buffer.concat([Buffer.from(head, 'latin1'), body])
}

/** What goes over one connection, in these pieces. */
function piecesOf(prng: Prng, requestsMax: number): Buffer[] {
  const count = prng.between(1, requestsMax)
  // Behind other requests, node:http lets the go-ahead overtake their answers.
  const oddLines = requestsMax === 1 ? [...ODD_LINES, 'Expect: 100-continue'] : ODD_LINES
  const fids = prng.shuffle(STORED)
  const requests = Array.from({ length: count }, (_, n) => requestOf(prng, fids[n] ?? '', oddLines))
  const bytes = Buffer.concat(requests)
  if (prng.chance(0.1)) bytes[prng.below(bytes.length)] = prng.below(256)
  const whole = prng.chance(0.1) ? bytes.subarray(0, prng.below(bytes.length)) : bytes
  const cuts = prng.chance(0.5) ? 0 : prng.below(4)
  const places = Array.from({ length: cuts }, () => prng.below(whole.length + 1))
  const ends = [...places, whole.length].sort((a, b) => a - b)
  return ends.map((end, i) => whole.subarray(ends[i - 1] ?? 0, end))
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** All that the server says until it closes. */
async function converse(http: TestVolumeHttp, pieces: readonly Buffer[]): Promise<string> {
  const socket = await openSocket(http.server.address)
  socket.setNoDelay(true)
  const said: Buffer[] = []
  const closed = new Promise<void>((resolve) => {
    socket.on('data', (piece) => said.push(piece)).on('error', () => {})
    socket.on('close', () => resolve())
  })
  for (const piece of pieces) {
    if (piece.length > 0) socket.write(piece)
    await turn()
    await turn()
  }
  socket.end()
  await closed
  return Buffer.concat(said)
    .toString('latin1')
    .replace(/\r\nDate: [^\r]+/g, '\r\nDate: now')
}

/**
 * Garbage behind requests under way cuts the connection, and it is chance with node:http which
 * answers get out before: the first that differs must be missing, or the refusal of the garbage.
 */
function isCut(ours: string, theirs: string): boolean {
  const [a, b] = [ours, theirs].map((text) => parseAnswers(Buffer.from(text, 'latin1')))
  const isSame = (n: number): boolean => JSON.stringify(a?.[n]) === JSON.stringify(b?.[n])
  let n = 0
  while (a?.[n] !== undefined && isSame(n)) n++
  return isEnd(a?.[n]) || isEnd(b?.[n])
}

function isEnd(answer: RawAnswer | undefined): boolean {
  return answer === undefined || (answer.status >= 400 && answer.headers.connection === 'close')
}

/** In one order: node:http does not wait for a put before the next one of the same client. */
function putsOf(http: TestVolumeHttp): string[] {
  return http.needles.puts.splice(0).map(described).sort()
}

function described({ fileId, metadata, ...rest }: PutRequest | PutStreamRequest): string {
  const { isCompressed = false, isChunkManifest = false, mime, ...more } = metadata
  const data = 'data' in rest ? Buffer.from(rest.data).toString('latin1') : ''
  const said = { isCompressed, isChunkManifest, mime: mime ?? '', ...more }
  return JSON.stringify([formatFileId(fileId), said, data])
}

async function counters(http: TestVolumeHttp): Promise<string[]> {
  const text = await http.metrics.text()
  return text.split('\n').filter((line) => line.startsWith('volume_http_'))
}

async function compare(seed: number, requestsMax: number): Promise<number> {
  const prng = new Prng(seed)
  await using fast = await TestVolumeHttp.open()
  await using slow = await TestVolumeHttp.open({}, {}, { isFast: false })
  let cutCount = 0
  for (let n = 0; n < CASES; n++) {
    if (n % 10 === 0) for (const http of [fast, slow]) fill(http)
    const pieces = piecesOf(prng, requestsMax)
    const [ours, theirs] = await Promise.all([converse(fast, pieces), converse(slow, pieces)])
    const asked = pieces.map((piece) => JSON.stringify(piece.toString('latin1', 0, 2000)))
    const isSame = ours === theirs || isCut(ours, theirs)
    if (ours !== theirs) cutCount++
    const seen = `${ours.slice(0, 3000)}\n--- with node:http:\n${theirs.slice(0, 3000)}`
    expect(isSame, `seed ${seed}, case ${n}:\n${asked.join('\n')}\n---\n${seen}`).toBe(true)
    expect(putsOf(fast), `seed ${seed}, case ${n}`).toEqual(putsOf(slow))
  }
  expect(cutCount).toBeLessThan(CASES * (requestsMax === 1 ? 0.01 : 0.1))
  // Answers that did not get out count as errors.
  if (cutCount === 0) expect(await counters(fast)).toEqual(await counters(slow))
  expect(fast.server.requestCount + slow.server.requestCount).toBe(0)
  expect([...fast.logged, ...slow.logged]).toEqual([])
  expect(slow.plain.count).toBe(0)
  return fast.plain.count
}

test.each(seeds(1))(
  '4,000 conversations are the same without node:http as with it (seed %d)',
  async (seed) => {
    const lanes = Array.from({ length: LANES }, (_, lane) =>
      compare(seed * 100 + lane, lane < LANES / 2 ? 1 : 4),
    )
    const plainCounts = await Promise.all(lanes)
    // A test of two slow servers would show nothing.
    for (const count of plainCounts) expect(count).toBeGreaterThan(CASES / 5)
  },
  60_000,
)
