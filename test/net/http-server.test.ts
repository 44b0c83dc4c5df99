import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { ERROR_CODES, isStoreError, StoreError } from '../../src/base/store-error.ts'
import { HTTP_STATUS, readBody, sendError, sendJson } from '../../src/net/http-reply.ts'
import { type HttpHandler, HttpServer } from '../../src/net/http-server.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { exchange, openSocket } from '../support/raw-http.ts'
import { SimClock } from '../support/sim-clock.ts'
import { SIGNAL } from '../support/volume-model.ts'

const KIB = 1024
const POLL = { timeout: 20_000 }

const CHUNKED = 'Host: a\r\nTransfer-Encoding: chunked\r\n'

const echo: HttpHandler = async (req, res) => {
  const body = await readBody(req, 1000 * KIB, SIGNAL)
  sendJson(res, 200, { url: req.url, bytes: body.length })
}

async function open(handler: HttpHandler = echo, more: { connectionsMax?: number } = {}) {
  const clock = new SimClock()
  const parts = { handler, logger: silentLogger, clock }
  const server = await HttpServer.open(parts, { host: '127.0.0.1', port: 0, ...more })
  return { clock, server }
}

function closed(socket: Socket): Promise<void> {
  socket.resume().on('error', () => {})
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

describe('what is no HTTP/1.1', () => {
  const body = '5\r\nhello\r\n0\r\n\r\n'
  test.each([
    ['length and chunks', `POST / HTTP/1.1\r\n${CHUNKED}Content-Length: 5\r\n\r\n${body}`, 400],
    [
      'two lengths',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!',
      400,
    ],
    ['a negative length', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello', 400],
    [
      'an unknown coding',
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n${body}`,
      400,
    ],
    ['bare line feeds', 'GET / HTTP/1.1\nHost: a\n\n', 400],
    ['a folded header', 'GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n', 400],
    ['a space before a colon', 'GET / HTTP/1.1\r\nHost : a\r\n\r\n', 400],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['a NUL in a header', 'GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n', 400],
    ['a space in the path', 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['another protocol', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['20 KiB of headers', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20 * KIB)}\r\n\r\n`, 431],
  ])('(%s) is refused and the connection closed', async (what, bytes, status) => {
    const { server } = await open()
    await using _server = server
    const [answer, ...more] = await exchange(server.address, bytes, 2)
    expect([answer?.status, more]).toEqual([status, []])
    // The parser of Node answers this one itself.
    if (what === 'no host') return
    const json = JSON.parse(answer?.body.toString() ?? '')
    expect(json).toEqual({ error: expect.any(String), code: 'REQUEST_INVALID' })
    expect(answer?.headers.connection).toBe('close')
  })

  test('does not keep the next connection from being served', async () => {
    const { server } = await open()
    await using _server = server
    await exchange(server.address, 'nonsense\r\n\r\n')
    const [answer] = await exchange(server.address, 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n')
    expect(JSON.parse(answer?.body.toString() ?? '')).toEqual({ url: '/x', bytes: 0 })
  })
})

describe('a handler that fails', () => {
  const secret = new Error('the password is 1234')
  const failures: [string, HttpHandler][] = [
    [
      'throws',
      () => {
        throw secret
      },
    ],
    [
      'rejects',
      async () => {
        throw secret
      },
    ],
  ]
  test.each(failures)(
    'because it %s is answered with 500 and no details',
    async (_how, handler) => {
      const { server } = await open(handler)
      await using _server = server
      const [answer] = await exchange(server.address, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      expect(answer?.status).toBe(500)
      expect(JSON.parse(answer?.body.toString() ?? '')).toEqual({
        error: 'internal error',
        code: 'INTERNAL',
      })
    },
  )

  test('in the middle of its answer has the connection cut, not ended', async () => {
    const { server } = await open(async (_req, res) => {
      res.writeHead(200, { 'Content-Length': 10 })
      res.write('abc')
      throw secret
    })
    await using _server = server
    expect(await exchange(server.address, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).toEqual([])
  })

  test('before it reads the body still gets its answer to the client', async () => {
    const { server } = await open((_req, res) => sendError(res, new StoreError('VOLUME_FULL', 'x')))
    await using _server = server
    const head = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${500 * KIB}\r\n\r\n`
    const first = Buffer.concat([Buffer.from(head), Buffer.alloc(500 * KIB)])
    const next = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    const answers = await exchange(server.address, Buffer.concat([first, next]), 2)
    expect(answers.map(({ status }) => status)).toEqual([507, 507])
  })

  test('before it reads a body of 20 MiB cuts the client off at 8 MiB', async () => {
    const { server } = await open((_req, res) => sendError(res, new StoreError('VOLUME_FULL', 'x')))
    await using _server = server
    const socket = await openSocket(server.address)
    const end = closed(socket)
    socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${20 * KIB * KIB}\r\n\r\n`)
    socket.write(Buffer.alloc(20 * KIB * KIB))
    await end
    expect(socket.bytesWritten).toBeGreaterThan(8 * KIB * KIB)
  })
})

describe('a slow client', () => {
  const upload = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1000 * KIB}\r\n\r\n`

  test.each([
    [512, false],
    [2048, true],
  ])('that sends %d bytes a second is kept: %s', async (bytesPerS, isKept) => {
    let received = 0
    const { clock, server } = await open((req) => {
      req.on('error', () => {})
      req.on('data', (piece: Buffer) => {
        received += piece.length
      })
    })
    await using _server = server
    const socket = await openSocket(server.address)
    let isClosed = false
    const end = closed(socket).then(() => {
      isClosed = true
    })
    socket.write(upload)
    await expect.poll(() => server.connectionCount, POLL).toBe(1)
    let sent = 0
    for (let second = 1; second <= 80; second++) {
      if (!isClosed) {
        socket.write(Buffer.alloc(bytesPerS))
        sent += bytesPerS
        await expect.poll(() => isClosed || received >= sent, POLL).toBe(true)
      }
      await clock.advance(1000)
    }
    if (isKept) expect(server.connectionCount).toBe(1)
    else await end
    socket.destroy()
  })

  test('that does not take its answer is cut off after some windows of 30 s', async () => {
    const { clock, server } = await open((_req, res) => {
      res.writeHead(200, { 'Content-Length': 20 * KIB * KIB })
      res.write(Buffer.alloc(20 * KIB * KIB))
    })
    await using _server = server
    const socket = await openSocket(server.address)
    socket.pause().on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => server.requestCount, POLL).toBe(1)
    for (let second = 0; second < 90; second++) await clock.advance(1000)
    await expect.poll(() => server.connectionCount, POLL).toBe(0)
    socket.destroy()
  })

  test('that waits for us is not to blame, however long we take', async () => {
    let answer: (() => void) | undefined
    const { clock, server } = await open((_req, res) => {
      answer = () => sendJson(res, 200, {})
    })
    await using _server = server
    const answers = exchange(server.address, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => answer, POLL).toBeDefined()
    for (let second = 0; second < 300; second++) await clock.advance(1000)
    answer?.()
    expect((await answers)[0]?.status).toBe(200)
  })

  test('that only stays connected is left alone', async () => {
    const { clock, server } = await open()
    await using _server = server
    const sockets = await Promise.all(Array.from({ length: 200 }, () => openSocket(server.address)))
    await expect.poll(() => server.connectionCount, POLL).toBe(200)
    for (let second = 0; second < 60; second++) await clock.advance(1000)
    expect(server.connectionCount).toBe(200)
    for (const socket of sockets) socket.destroy()
  })
})

describe('close', () => {
  test('cuts idle connections, lets a request finish, and refuses new ones', async () => {
    let finish: (() => void) | undefined
    const { server } = await open((req, res) => {
      if (req.url === '/slow') finish = () => sendJson(res, 200, {})
      else sendJson(res, 200, {})
    })
    const [fresh, used] = await Promise.all([
      openSocket(server.address),
      openSocket(server.address),
    ])
    used.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await new Promise((resolve) => used.once('data', resolve))
    const idle = [closed(fresh), closed(used)]
    const slow = exchange(server.address, 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => finish, POLL).toBeDefined()
    const closing = server.close(60_000)
    await Promise.all(idle)
    await expect(openSocket(server.address)).rejects.toThrow()
    finish?.()
    const [answer] = await slow
    expect([answer?.status, answer?.headers.connection]).toEqual([200, 'close'])
    await closing
    await server.close(0)
    await server.destroy()
  })

  test('cuts off at the deadline what does not finish', async () => {
    let isAsked = false
    const { clock, server } = await open(() => {
      isAsked = true
    })
    const socket = await openSocket(server.address)
    const end = closed(socket)
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => isAsked, POLL).toBe(true)
    const closing = server.close(5000)
    await clock.advance(4999)
    expect(server.connectionCount).toBe(1)
    await clock.advance(1)
    await Promise.all([closing, end])
  })

  test('is not needed: destroy cuts off everything at once, twice is harmless', async () => {
    const { clock, server } = await open(() => {})
    const socket = await openSocket(server.address)
    const end = closed(socket)
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => server.connectionCount, POLL).toBe(1)
    await server.destroy()
    await server[Symbol.asyncDispose]()
    await end
    expect(clock.timerCount).toBe(0)
  })
})

test.each([
  ['a port in use', '127.0.0.1', undefined],
  ['an address of another machine', '203.0.113.1', 0],
  ['no port', '127.0.0.1', 70_000],
])('%s cannot be listened on: LISTEN_FAILED', async (_what, host, port) => {
  const { server } = await open()
  await using _server = server
  const parts = { handler: echo, logger: silentLogger, clock: new SimClock() }
  const opening = HttpServer.open(parts, { host, port: port ?? server.address.port })
  await expect(opening).rejects.toSatisfy((error) => isStoreError(error, 'LISTEN_FAILED'))
})

test('one connection more than the limit is closed as it is accepted', async () => {
  const { server } = await open(echo, { connectionsMax: 2 })
  await using _server = server
  const held = [await openSocket(server.address), await openSocket(server.address)]
  await expect.poll(() => server.connectionCount, POLL).toBe(2)
  await closed(await openSocket(server.address))
  for (const socket of held) socket.destroy()
})

describe('a body', () => {
  test.each([
    ['PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789', 200],
    ['PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n0123456789a', 413],
    [`PUT / HTTP/1.1\r\n${CHUNKED}\r\na\r\n0123456789\r\n0\r\n\r\n`, 200],
    [`PUT / HTTP/1.1\r\n${CHUNKED}\r\nb\r\n0123456789a\r\n0\r\n\r\n`, 413],
  ])('of at most 10 bytes: %o is %d', async (bytes, status) => {
    const { server } = await open(async (req, res) => {
      sendJson(res, 200, { bytes: (await readBody(req, 10, SIGNAL)).length })
    })
    await using _server = server
    expect((await exchange(server.address, bytes))[0]?.status).toBe(status)
  })

  test('that breaks off is CANCELLED, also when somebody asks only then', async () => {
    const errors: unknown[] = []
    const { server } = await open(async (req: IncomingMessage, _res: ServerResponse) => {
      await readBody(req, 10, SIGNAL).catch((error) => errors.push(error))
      await readBody(req, 10, SIGNAL).catch((error) => errors.push(error))
    })
    await using _server = server
    const socket = await openSocket(server.address)
    socket.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n012')
    await expect.poll(() => server.requestCount, POLL).toBe(1)
    socket.destroy()
    await expect.poll(() => errors, POLL).toHaveLength(2)
    expect(errors.every((error) => isStoreError(error, 'CANCELLED'))).toBe(true)
  })

  test('that nobody waits for any more is CANCELLED by its signal', async () => {
    const stop = new AbortController()
    const { server } = await open(async (req, res) => {
      await readBody(req, 10, stop.signal).catch((error) => sendError(res, error))
    })
    await using _server = server
    const answers = exchange(
      server.address,
      'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n012',
    )
    await expect.poll(() => server.requestCount, POLL).toBe(1)
    stop.abort()
    expect((await answers)[0]?.status).toBe(499)
  })
})

test('every code has a status, and 429 and 503 say when to come again', async () => {
  expect(Object.keys(HTTP_STATUS).sort()).toEqual(Object.keys(ERROR_CODES).sort())
  const { server } = await open((_req, res) => sendError(res, new StoreError('OVERLOADED', 'x')))
  await using _server = server
  const [answer] = await exchange(server.address, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  expect([answer?.status, answer?.headers['retry-after']]).toEqual([429, '1'])
})
