import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/base/limits.ts'
import { S3Gateway } from '../../../src/gateway/s3/s3-gateway.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { cryptoRandom } from '../../../src/runtime/random.ts'
import { openSocket, parseAnswers } from '../../support/raw-http.ts'
import { SimClock } from '../../support/sim-clock.ts'
import { signedHeaders, TestS3 } from '../../support/test-s3.ts'

const KIB = 1024
const MIB = 1024 * KIB
const POLL = { timeout: 20_000 }
const RATE = LIMITS.httpRateMin.value
const WINDOW_S = LIMITS.httpRateWindowMs.value / 1000
/** More than what is on its way between two sockets, whatever the system gives them. */
const LARGE_BYTES = 48 * MIB
const BUCKET = 'slow'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
  await s3.raw({ method: 'PUT', path: `/${BUCKET}`, as: s3.root })
  const large = { method: 'PUT', path: `/${BUCKET}/large`, body: Buffer.alloc(LARGE_BYTES, 'x') }
  expect((await s3.raw({ ...large, as: s3.root })).status).toBe(200)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

/** On the buckets of the server; its time stands still unless a test lets it pass. */
async function openGateway(options: { readonly headersMs?: number } = {}) {
  const clock = new SimClock()
  clock.jumpWallClock(Date.now() - clock.nowMs())
  const { accessKeyId, canonicalId, name, secretAccessKey } = s3.root
  const known = { name, displayName: name, email: undefined, policy: undefined }
  const user = { ...known, canonicalId, isRoot: true }
  const none = async () => undefined
  const gateway = await S3Gateway.open(
    {
      namespace: s3.server.namespace,
      client: s3.server.client,
      keys: { findKey: () => ({ accessKeyId, secret: secretAccessKey, user }) },
      users: { findById: none, findByEmail: none },
      clock,
      random: cryptoRandom,
      logger: silentLogger,
      codedPolicy: none,
      closing: new AbortController().signal,
    },
    {
      host: '127.0.0.1',
      port: 0,
      region: undefined,
      domains: [],
      isV2Allowed: false,
      dayMs: 86_400_000,
      ...options,
    },
  )
  return { clock, gateway }
}

/** Everything of a request up to its body. */
async function headOf(
  gateway: S3Gateway,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { host, port } = gateway.address
  const sent = { host: `${host}:${port}`, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', ...headers }
  const bytes = Buffer.alloc(0)
  const signed = await signedHeaders(s3.root, { method, path, headers: sent, bytes })
  const lines = Object.entries(signed).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}

class Connection {
  readonly socket: Socket
  readonly received: Buffer[] = []
  isClosed = false

  private constructor(socket: Socket) {
    this.socket = socket
    socket
      .on('error', () => undefined)
      .on('close', () => {
        this.isClosed = true
      })
  }

  static async open(gateway: S3Gateway): Promise<Connection> {
    return new Connection(await openSocket(gateway.address))
  }

  listen(): void {
    this.socket.on('data', (piece) => this.received.push(piece))
  }

  get answers() {
    return parseAnswers(Buffer.concat(this.received))
  }
}

/** As long as the client is connected, and at most so long. */
async function passSeconds(
  clock: SimClock,
  connection: Connection,
  { seconds, each }: { readonly seconds: number; readonly each: () => Promise<void> },
): Promise<number> {
  for (let second = 0; second < seconds; second++) {
    if (connection.isClosed) return second
    await each()
    await clock.advance(1000)
    // Sockets live in real time: what was sent, or cut off, has to arrive.
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return seconds
}

const CHUNKED = {
  'transfer-encoding': 'chunked',
  'content-encoding': 'aws-chunked',
  'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
  'x-amz-decoded-content-length': '4000000',
  'x-amz-trailer': 'x-amz-checksum-crc32',
}

describe('a client that sends a body', () => {
  test.each([
    ['a plain one', { 'content-length': '4000000' }, ''],
    ['one in aws-chunks', CHUNKED, '3d0900\r\n3d0900\r\n'],
  ])(
    '(%s) at one byte a second is cut off within three windows, and nothing is stored',
    async (_what, headers, before) => {
      const { clock, gateway } = await openGateway()
      await using _gateway = gateway
      const connection = await Connection.open(gateway)
      connection.listen()
      connection.socket.write(await headOf(gateway, 'PUT', `/${BUCKET}/trickled`, headers))
      connection.socket.write(before)
      const each = async () => void connection.socket.write('x')
      const seconds = await passSeconds(clock, connection, { seconds: 4 * WINDOW_S, each })
      expect(seconds).toBeGreaterThanOrEqual(WINDOW_S)
      expect(seconds).toBeLessThanOrEqual(3 * WINDOW_S)
      expect(connection.answers.filter(({ status }) => status < 400)).toEqual([])
      const head = await s3.raw({ method: 'HEAD', path: `/${BUCKET}/trickled`, as: s3.root })
      expect(head.status).toBe(404)
    },
  )

  test('at twice the lowest rate is waited for, however long it takes', async () => {
    const { clock, gateway } = await openGateway()
    await using _gateway = gateway
    const connection = await Connection.open(gateway)
    connection.listen()
    const seconds = 20 * WINDOW_S
    const headers = { 'content-length': String(seconds * 2 * RATE) }
    connection.socket.write(await headOf(gateway, 'PUT', `/${BUCKET}/patient`, headers))
    const piece = Buffer.alloc(2 * RATE, 'p')
    const each = () => new Promise<void>((sent) => connection.socket.write(piece, () => sent()))
    expect(await passSeconds(clock, connection, { seconds, each })).toBe(seconds)
    await expect.poll(() => connection.answers.map(({ status }) => status), POLL).toEqual([200])
    const read = await s3.raw({ path: `/${BUCKET}/patient`, as: s3.root })
    expect(read.body.equals(Buffer.alloc(seconds * 2 * RATE, 'p'))).toBe(true)
    connection.socket.destroy()
  })
})

describe('a client that reads an object of 48 MiB', () => {
  /** With its answer begun, and nothing taken. */
  async function openReader(gateway: S3Gateway): Promise<Connection> {
    const connection = await Connection.open(gateway)
    connection.socket.pause()
    connection.socket.write(await headOf(gateway, 'GET', `/${BUCKET}/large`))
    connection.socket.read(0)
    await expect.poll(() => connection.socket.readableLength, POLL).toBeGreaterThan(0)
    return connection
  }

  /** What comes until the other end closes, or all is there. */
  async function restOf({ socket }: Connection, bytesMax: number): Promise<number> {
    let bytes = 0
    await new Promise<void>((resolve) => {
      socket.on('data', (piece: Buffer) => {
        bytes += piece.length
        if (bytes >= bytesMax) resolve()
      })
      socket.on('close', () => resolve()).resume()
    })
    return bytes
  }

  test('and takes nothing is cut off within four windows', async () => {
    const { clock, gateway } = await openGateway()
    await using _gateway = gateway
    const connection = await openReader(gateway)
    for (let second = 0; second < 4 * WINDOW_S; second++) await clock.advance(1000)
    expect(await restOf(connection, LARGE_BYTES)).toBeLessThan(LARGE_BYTES)
    await expect.poll(() => connection.isClosed, POLL).toBe(true)
  })

  test('at 128 KiB a second is served to the end, however long it takes', async () => {
    const { clock, gateway } = await openGateway()
    await using _gateway = gateway
    const connection = await openReader(gateway)
    const { socket } = connection
    let bytes = 0
    const each = async () => {
      for (let wanted = 128 * KIB; wanted > 0; ) {
        const piece = socket.read(Math.min(wanted, socket.readableLength || wanted))
        if (piece === null) {
          if (socket.readableEnded || connection.isClosed) return
          await new Promise((resolve) => setTimeout(resolve, 1))
          continue
        }
        bytes += piece.length
        wanted -= piece.length
      }
    }
    const seconds = 10 * WINDOW_S
    expect(await passSeconds(clock, connection, { seconds, each })).toBe(seconds)
    bytes += await restOf(connection, LARGE_BYTES - bytes)
    expect(bytes).toBeGreaterThan(LARGE_BYTES)
    socket.destroy()
  })
})

test('headers that trickle are answered with an error in XML once their time is over', async () => {
  const { gateway } = await openGateway({ headersMs: 300 })
  await using _gateway = gateway
  const connection = await Connection.open(gateway)
  connection.listen()
  connection.socket.write('GET / HTTP/1.1\r\nHost: s3.example.org\r\nX-Slow: ')
  while (!connection.isClosed) {
    connection.socket.write('x')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const [answer, ...more] = connection.answers
  expect([answer?.status, answer?.headers.connection, more]).toEqual([408, 'close', []])
  const xml = answer?.body.toString() ?? ''
  expect(answer?.headers['content-type']).toBe('application/xml')
  expect(xml).toContain('<Code>RequestTimeout</Code>')
  expect(xml).toContain(`<RequestId>${answer?.headers['x-amz-request-id']}</RequestId>`)
})
