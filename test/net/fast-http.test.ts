import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { FastConnection, FastResponder } from '../../src/net/fast-http.ts'
import { readBody, sendJson } from '../../src/net/http-reply.ts'
import { type HttpHandler, HttpServer } from '../../src/net/http-server.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { exchange, openSocket, parseAnswers, type RawAnswer } from '../support/raw-http.ts'
import { SimClock } from '../support/sim-clock.ts'
import { SIGNAL } from '../support/volume-model.ts'

const KIB = 1024
const POLL = { timeout: 20_000 }
const HOST = 'Host: a\r\n'
const GET = `GET /x HTTP/1.1\r\n${HOST}\r\n`

const handler: HttpHandler = async (req, res) => {
  const body = await readBody(req, 1000 * KIB, SIGNAL)
  sendJson(res, 200, { by: 'handler', url: req.url, body: body.toString('latin1').slice(0, 9) })
}

interface Waiting {
  readonly path: string
  readonly body: string
  readonly connection: FastConnection
}

/** GETs are answered with `answerBytes` zeros; PUTs wait until the test answers them. */
class TestResponder implements FastResponder {
  answerBytes = 0
  getCount = 0
  readonly waiting: Waiting[] = []

  tryGet(path: string, connection: FastConnection): boolean {
    if (path === '/slow') return false
    if (path === '/broken') throw new Error('our fault')
    this.getCount++
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${this.answerBytes}\r\n`
    if (this.answerBytes > 4096) connection.replyBytes(head, Buffer.alloc(this.answerBytes))
    else connection.reply(head, '\0'.repeat(this.answerBytes))
    return true
  }

  tryPut(path: string, body: Buffer, connection: FastConnection): boolean {
    this.waiting.push({ path, body: body.toString('latin1'), connection })
    return true
  }

  answer(): void {
    const put = this.waiting.shift()
    put?.connection.finish(`HTTP/1.1 201 Created\r\nX-Path: ${put.path}\r\n`, '')
  }
}

async function open(more: { connectionsMax?: number; headersMs?: number } = {}) {
  const clock = new SimClock()
  const fast = new TestResponder()
  const parts = { handler, fast, logger: silentLogger, clock }
  const server = await HttpServer.open(parts, { host: '127.0.0.1', port: 0, ...more })
  return { clock, fast, server }
}

function putOf(path: string, body: string): string {
  return `PUT ${path} HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n${body}`
}

function closed(socket: Socket): Promise<void> {
  socket.on('error', () => {})
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

/** What the client hears, as it comes. */
function heard(socket: Socket): () => readonly RawAnswer[] {
  const pieces: Buffer[] = []
  socket.on('data', (piece) => pieces.push(piece))
  return () => parseAnswers(Buffer.concat(pieces))
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

async function pass(clock: SimClock, seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second++) await clock.advance(1000)
}

describe('a request in two pieces', () => {
  const plain = `${GET}${putOf('/y', 'hello')}GET /slow HTTP/1.1\r\n${HOST}\r\n`
  test('is answered in turn wherever it was cut', async () => {
    const { fast, server } = await open()
    await using _server = server
    const lanes = Array.from({ length: plain.length + 1 }, async (_, cut) => {
      const socket = await openSocket(server.address)
      socket.setNoDelay(true)
      const answers = heard(socket)
      socket.write(plain.slice(0, cut))
      for (let n = 0; n < 3; n++) await turn()
      socket.write(plain.slice(cut))
      const answering = async (): Promise<number> => {
        fast.answer()
        return answers().length
      }
      await expect.poll(answering, POLL).toBe(3)
      socket.destroy()
      const bodies = answers().map(({ body, headers }) => headers['x-path'] ?? body.toString())
      const byHandler = (url: string, body = ''): string =>
        JSON.stringify({ by: 'handler', url, body })
      // Each either way, but the last: that is the handler's.
      expect(['', byHandler('/x')]).toContain(bodies[0])
      expect(['/y', byHandler('/y', 'hello')]).toContain(bodies[1])
      expect(bodies[2]).toBe(byHandler('/slow'))
    })
    await Promise.all(lanes)
    expect(fast.getCount).toBeGreaterThan(lanes.length / 2)
  })

  test('is served by node:http for good, a body of 200 KiB included', async () => {
    const { fast, server } = await open()
    await using _server = server
    const body = 'x'.repeat(200 * KIB)
    const answers = await exchange(server.address, GET + putOf('/y', body) + GET, 3)
    expect(answers.map(({ headers }) => headers['content-type'] === undefined)).toEqual([
      true,
      false,
      false,
    ])
    expect(fast.getCount).toBe(1)
  })

  test('whose end does not come is answered with 408 after the time for headers', async () => {
    const { server } = await open({ headersMs: 200 })
    await using _server = server
    const [answer] = await exchange(server.address, `${GET}GET /x HTTP/1.1\r\nHost:`, 2).then(
      (answers) => answers.slice(1),
    )
    expect(answer?.status).toBe(408)
  })

  test('that fails by our own fault is answered by the handler', async () => {
    const { server } = await open()
    await using _server = server
    const [answer] = await exchange(server.address, `GET /broken HTTP/1.1\r\n${HOST}\r\n`)
    expect(JSON.parse(answer?.body.toString() ?? '')).toMatchObject({ url: '/broken' })
  })
})

describe('while a PUT is under way', () => {
  test('what the client sends after it waits its turn', async () => {
    const { fast, server } = await open()
    await using _server = server
    const socket = await openSocket(server.address)
    const answers = heard(socket)
    socket.write(putOf('/1', 'a') + putOf('/2', 'bc') + GET)
    await expect.poll(() => fast.waiting.length, POLL).toBe(1)
    socket.write(putOf('/3', 'd'))
    for (const path of ['/1', '/2', '/3']) {
      await expect.poll(() => fast.waiting.map((put) => put.path), POLL).toEqual([path])
      expect(server.requestCount).toBe(1)
      fast.answer()
    }
    await expect.poll(() => answers().length, POLL).toBe(4)
    const paths = answers().map(({ headers }) => headers['x-path'])
    expect(paths).toEqual(['/1', '/2', undefined, '/3'])
    socket.destroy()
  })

  test('no more than a few hundred KiB are taken in from its client', async () => {
    const { fast, server } = await open()
    await using _server = server
    const socket = await openSocket(server.address)
    closed(socket)
    socket.write(putOf('/1', 'a'))
    await expect.poll(() => fast.waiting.length, POLL).toBe(1)
    socket.write(Buffer.alloc(64 * KIB * KIB))
    for (let n = 0; n < 200; n++) await turn()
    expect(socket.writableLength).toBeGreaterThan(32 * KIB * KIB)
    socket.destroy()
  })

  test('a client that goes away does no harm', async () => {
    const { fast, server } = await open()
    await using _server = server
    const socket = await openSocket(server.address)
    socket.write(putOf('/1', 'a'))
    await expect.poll(() => fast.waiting.length, POLL).toBe(1)
    socket.destroy()
    await expect.poll(() => server.connectionCount, POLL).toBe(0)
    fast.answer()
  })

  test('close waits for its answer, which ends the connection', async () => {
    const { fast, server } = await open()
    const [socket, idle] = [await openSocket(server.address), await openSocket(server.address)]
    const answers = heard(socket)
    const ends = [closed(socket), closed(idle.resume())]
    socket.write(putOf('/1', 'a'))
    await expect.poll(() => fast.waiting.length, POLL).toBe(1)
    const closing = server.close(60_000)
    await ends[1]
    await expect.poll(() => server.connectionCount, POLL).toBe(1)
    socket.write(GET)
    fast.answer()
    await Promise.all([closing, ...ends])
    expect(answers().map(({ status, headers }) => [status, headers.connection])).toEqual([
      [201, 'close'],
    ])
    expect(fast.getCount).toBe(0)
  })

  test('close cuts it off at the deadline', async () => {
    const { clock, fast, server } = await open()
    const socket = await openSocket(server.address)
    const end = closed(socket.resume())
    socket.write(putOf('/1', 'a'))
    await expect.poll(() => fast.waiting.length, POLL).toBe(1)
    const closing = server.close(5000)
    await clock.advance(4999)
    expect(server.connectionCount).toBe(1)
    await clock.advance(1)
    await Promise.all([closing, end])
    expect(clock.timerCount).toBe(0)
  })
})

describe('a client that does not read', () => {
  test('is not read from either, and is cut off after some windows of 30 s', async () => {
    const { clock, fast, server } = await open()
    await using _server = server
    fast.answerBytes = 60 * KIB
    const socket = await openSocket(server.address)
    socket.pause().on('error', () => {})
    const count = 10_000
    socket.write(GET.repeat(count))
    await expect.poll(() => server.requestCount, POLL).toBe(1)
    for (let n = 0; n < 200; n++) await turn()
    expect(fast.getCount).toBeLessThan(count / 2)
    await pass(clock, 90)
    await expect.poll(() => server.connectionCount, POLL).toBe(0)
    socket.destroy()
  })

  test('gets all its answers once it reads', async () => {
    const { fast, server } = await open()
    await using _server = server
    fast.answerBytes = 60 * KIB
    const socket = await openSocket(server.address)
    let bytes = 0
    socket.pause()
    socket.write(GET.repeat(500))
    await expect.poll(() => server.requestCount, POLL).toBe(1)
    socket.on('data', (piece) => {
      bytes += piece.length
    })
    socket.resume()
    await expect.poll(() => bytes, POLL).toBeGreaterThan(500 * 60 * KIB)
    expect(fast.getCount).toBe(500)
    socket.destroy()
  })
})

describe('a connection with nothing to do', () => {
  test.each([
    ['from the start', ''],
    ['after a request', GET],
  ])('%s is closed between 65 and 75 s later', async (_when, bytes) => {
    const { clock, fast, server } = await open()
    await using _server = server
    const socket = await openSocket(server.address)
    const end = closed(socket.resume())
    socket.write(bytes)
    await expect.poll(() => server.connectionCount, POLL).toBe(1)
    if (bytes !== '') await expect.poll(() => fast.getCount, POLL).toBe(1)
    await pass(clock, 64)
    expect(server.connectionCount).toBe(1)
    await pass(clock, 11)
    await end
  })

  test('is kept when it has one every minute', async () => {
    const { clock, fast, server } = await open()
    await using _server = server
    const socket = await openSocket(server.address)
    socket.resume()
    for (let minute = 1; minute <= 5; minute++) {
      socket.write(GET)
      await expect.poll(() => fast.getCount, POLL).toBe(minute)
      await pass(clock, 60)
    }
    expect(server.connectionCount).toBe(1)
    socket.destroy()
  })

  test('takes less than 16 KiB of memory, 2,000 of them beside others', async () => {
    const { fast, server } = await open()
    await using _server = server
    const before = process.memoryUsage().rss
    const sockets: Socket[] = []
    for (let n = 0; n < 2000; n += 100) {
      const opened = await Promise.all(
        Array.from({ length: 100 }, () => openSocket(server.address)),
      )
      for (const socket of opened) socket.resume().write(GET)
      sockets.push(...opened)
    }
    await expect.poll(() => fast.getCount, POLL).toBe(2000)
    expect(server.connectionCount).toBe(2000)
    const [answer] = await exchange(server.address, GET)
    expect(answer?.status).toBe(200)
    // Both ends are in this process.
    expect((process.memoryUsage().rss - before) / 4000).toBeLessThan(16 * KIB)
    for (const socket of sockets) socket.destroy()
  })
})

test('one connection more than the limit is closed as it is accepted', async () => {
  const { server } = await open({ connectionsMax: 2 })
  await using _server = server
  const held = [await openSocket(server.address), await openSocket(server.address)]
  held[0]?.write(`GET /slow HTTP/1.1\r\n${HOST}\r\n`)
  await expect.poll(() => server.connectionCount, POLL).toBe(2)
  await closed((await openSocket(server.address)).resume())
  for (const socket of held) socket.destroy()
})

test('an answer says the time, to the second, as the clock has it', async () => {
  const { clock, server } = await open()
  await using _server = server
  const dates: (string | undefined)[] = []
  for (const ms of [999, 1, 60_000]) {
    await clock.advance(ms)
    dates.push((await exchange(server.address, GET))[0]?.headers.date)
  }
  const minute = (time: string): string => `Mon, 01 Jan 2024 ${time} GMT`
  expect(dates).toEqual(['00:00:00', '00:00:01', '00:01:01'].map(minute))
})
