import { get } from 'node:https'
import type { Socket } from 'node:net'
import { connect as connectTls, type PeerCertificate, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type HttpHandler, HttpServer } from '../../src/net/http-server.ts'
import type { TlsKeys } from '../../src/net/tls.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { skipLoudly } from '../support/mounts.ts'
import { exchange, openSocket } from '../support/raw-http.ts'
import { SimClock } from '../support/sim-clock.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { makeTlsKeys, opensslMissing } from '../support/tls-keys.ts'

const POLL = { timeout: 20_000 }
const LARGE_BYTES = 20 * 2 ** 20

const owned = new DisposeStack()
let keys: TlsKeys
let renewed: TlsKeys

const hello: HttpHandler = (req, res) => {
  res.end(`${'encrypted' in req.socket}`)
}

async function open(handler = hello, headersMs = 15_000) {
  const clock = new SimClock()
  const options = { host: '127.0.0.1', port: 0, headersMs, certificate: keys }
  const server = await HttpServer.open({ handler, logger: silentLogger, clock }, options)
  return { clock, server }
}

interface Asked {
  readonly status: number | undefined
  readonly text: string
  readonly name: string
}

function ask({ address }: HttpServer): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const where = { host: address.host, port: address.port, ca: keys.ca, agent: false as const }
    const request = get(where, async (res) => {
      const { subject } = (res.socket as TLSSocket).getPeerCertificate() as PeerCertificate
      let text = ''
      for await (const piece of res) text += piece
      resolve({ status: res.statusCode, text, name: String(subject.CN) })
    })
    request.on('error', reject)
  })
}

function openTls({ address }: HttpServer): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: address.host, port: address.port, ca: keys.ca })
    socket.once('secureConnect', () => resolve(socket)).once('error', reject)
  })
}

function closed(socket: Socket): Promise<void> {
  socket.resume().on('error', () => {})
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

describe.skipIf(skipLoudly('HTTPS', opensslMissing))('a server with a certificate', () => {
  beforeAll(async () => {
    const { path } = owned.use(await openTempDirectory())
    const [first, second] = makeTlsKeys(path, 'authority', ['first', 'second'])
    if (first === undefined || second === undefined) throw new Error('no keys were made')
    keys = first
    renewed = second
  })

  afterAll(async () => {
    await owned[Symbol.asyncDispose]()
  })

  test('answers over TLS', async () => {
    const { server } = await open()
    await using _server = server
    expect(await ask(server)).toEqual({ status: 200, text: 'true', name: 'first' })
  })

  test('takes a renewed one into use, and keeps what it has for one of no use', async () => {
    const { server } = await open()
    await using _server = server
    const before = await openTls(server)
    server.useCertificate(renewed)
    expect((await ask(server)).name).toBe('second')
    const mixed = { cert: keys.cert, key: renewed.key }
    expect(() => server.useCertificate(mixed)).toThrow('cannot be used')
    expect(() => server.useCertificate({ ...keys, cert: Buffer.from('') })).toThrow(
      'cannot be used',
    )
    expect((await ask(server)).name).toBe('second')
    expect(before.destroyed).toBe(false)
    before.destroy()
  })

  test('is CONFIG_INVALID when it is not of its key', async () => {
    const parts = { handler: hello, logger: silentLogger, clock: new SimClock() }
    const certificate = { cert: keys.cert, key: renewed.key }
    const opening = HttpServer.open(parts, { host: '127.0.0.1', port: 0, certificate })
    await expect(opening).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('cuts off whoever speaks no TLS, without an answer, and goes on', async () => {
    const { server } = await open()
    await using _server = server
    for (const text of ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', '\x16\x03\x01\x00\x05nonsense']) {
      expect(await exchange(server.address, text)).toEqual([])
    }
    expect((await ask(server)).status).toBe(200)
  })

  test('cuts off whoever does not agree on TLS within the time for headers', async () => {
    const { server } = await open(hello, 200)
    await using _server = server
    const silent = await openSocket(server.address)
    const halfway = await openSocket(server.address)
    halfway.write('\x16\x03\x01\x02')
    await Promise.all([closed(silent), closed(halfway)])
  })

  test('answers 408 when headers do not come in time', async () => {
    const { server } = await open(hello, 200)
    await using _server = server
    const socket = await openTls(server)
    let text = ''
    socket.on('data', (piece: Buffer) => {
      text += piece.toString()
    })
    socket.write('GET / HTTP/1.1\r\n')
    await closed(socket)
    expect(text).toMatch(/^HTTP\/1\.1 408 /)
  })

  test('cuts off a client that does not take its answer after some windows of 30 s', async () => {
    const { clock, server } = await open((_req, res) => {
      res.writeHead(200, { 'Content-Length': LARGE_BYTES })
      res.write(Buffer.alloc(LARGE_BYTES))
    })
    await using _server = server
    const socket = await openTls(server)
    socket.pause().on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => server.requestCount, POLL).toBe(1)
    for (let second = 0; second < 90; second++) await clock.advance(1000)
    await expect.poll(() => server.connectionCount, POLL).toBe(0)
    socket.destroy()
  })

  test('cuts off one that sends a byte a second, and waits for 2 KiB a second', async () => {
    for (const [bytesPerS, isKept] of [
      [1, false],
      [2048, true],
    ] as const) {
      let received = 0
      const { clock, server } = await open((req) => {
        req
          .on('error', () => {})
          .on('data', (piece: Buffer) => {
            received += piece.length
          })
      })
      await using _server = server
      const socket = await openTls(server)
      let isClosed = false
      const end = closed(socket).then(() => {
        isClosed = true
      })
      socket.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n')
      await expect.poll(() => server.requestCount, POLL).toBe(1)
      for (let sent = bytesPerS; sent <= 90 * bytesPerS && !isClosed; sent += bytesPerS) {
        socket.write(Buffer.alloc(bytesPerS))
        await expect.poll(() => isClosed || received >= sent, { ...POLL, interval: 1 }).toBe(true)
        await clock.advance(1000)
      }
      if (isKept) expect(server.connectionCount).toBe(1)
      else await end
      socket.destroy()
    }
  })

  test('closes at once when no request is under way, whoever is connected', async () => {
    const { clock, server } = await open()
    const silent = await openSocket(server.address)
    const idle = await openTls(server)
    await expect.poll(() => server.connectionCount, POLL).toBe(1)
    const ends = [closed(silent), closed(idle)]
    await server.close(60_000)
    await Promise.all(ends)
    expect(clock.timerCount).toBe(0)
  })

  test('cuts off those in the middle of agreeing when it is destroyed', async () => {
    const { server } = await open()
    const halfway = await openSocket(server.address)
    halfway.write('\x16\x03\x01\x02')
    const idle = await openTls(server)
    const ends = [closed(halfway), closed(idle)]
    await server.destroy()
    await Promise.all(ends)
  })
})
