import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { ErrorCode } from '../../src/base/store-error.ts'
import { type DownloadRequest, download } from '../../src/net/download.ts'
import { BufferShelf, type LentBytes } from '../../src/runtime/buffer-shelf.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { Prng } from '../support/prng.ts'
import { expectCode } from '../support/test-volume.ts'

const BLOCK_BYTES = 1000
const NEVER = new AbortController().signal

/** A server that says to every request what `answer` says. */
async function open(answer: (socket: Socket, request: string) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('data', (data) => answer(socket, data.toString()))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function get(url: string, options: { signal?: AbortSignal; timeoutMs?: number } = {}) {
  const { signal = NEVER, timeoutMs = 10_000 } = options
  const shelf = new BufferShelf(
    { clock: systemClock },
    { sizeBytes: BLOCK_BYTES, keptMax: Number.POSITIVE_INFINITY },
  )
  const request: DownloadRequest = { url, path: '/a?b=c', headers: { 'x-y': 'z' }, timeoutMs }
  return { shelf, pieces: download({ clock: systemClock, shelf }, request, signal) }
}

async function bodyOf(pieces: AsyncIterable<LentBytes>): Promise<Buffer> {
  const copies: Buffer[] = []
  for await (const { bytes, release } of pieces) {
    copies.push(Buffer.from(bytes))
    release()
  }
  return Buffer.concat(copies)
}

const head = (bytes: number) => `HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: ${bytes}\r\n\r\n`

describe('a download', () => {
  test.each([0, 1, 999, 1000, 1001, 12_345])(
    'of %i bytes, in pieces of any size',
    async (length) => {
      const prng = new Prng(length)
      const body = prng.bytes(length)
      let asked = ''
      await using server = await open((socket, request) => {
        asked = request
        const all = Buffer.concat([Buffer.from(head(length)), body])
        const send = (at: number): void => {
          if (at >= all.length) return
          const end = at + 1 + prng.below(700)
          socket.write(all.subarray(at, end), () => setImmediate(send, end))
        }
        socket.setNoDelay(true)
        send(0)
      })
      expect((await bodyOf(get(server.url).pieces)).equals(body)).toBe(true)
      expect(asked).toMatch(/^GET \/a\?b=c HTTP\/1\.1\r\n/)
      expect(asked).toContain('\r\nx-y: z\r\n')
    },
  )

  // Goal: a slow taker holds up the sender, not memory. Method: a sender that counts what it got
  // rid of, and one piece taken.
  test('holds a few pieces at most while nobody takes them', async () => {
    const length = 64 * 2 ** 20
    let sentBytes = 0
    await using server = await open((socket) => {
      socket.write(head(length))
      const send = (): void => {
        if (sentBytes >= length) return
        socket.write(Buffer.alloc(65_536), () => {
          sentBytes += 65_536
          send()
        })
      }
      send()
    })
    const { pieces } = get(server.url)
    await pieces.next()
    await new Promise((resolve) => setTimeout(resolve, 300))
    // What the system keeps of a connection is some megabytes.
    expect(sentBytes).toBeLessThan(length / 2)
    await pieces.return()
  })

  test('gives memory back that was not taken', async () => {
    await using server = await open((socket) => socket.write(head(5000) + 'x'.repeat(5000)))
    const { pieces, shelf } = get(server.url)
    const first = await pieces.next()
    await pieces.return()
    const before = shelf.freeCount
    if (first.done !== true) first.value.release()
    expect(shelf.freeCount).toBe(before + 1)
  })

  test.each<[string, string, ErrorCode]>([
    [
      'an error with a code',
      'HTTP/1.1 409 Conflict\r\nContent-Length: 25\r\n\r\n{"code":"VOLUME_CHANGED"}',
      'VOLUME_CHANGED',
    ],
    ['an error without one', 'HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno', 'UNAVAILABLE'],
    ['no length', 'HTTP/1.1 200 OK\r\n\r\nabc', 'PEER_FAILED'],
    ['another protocol', 'SSH-2.0-OpenSSH\r\n\r\n', 'PEER_FAILED'],
    ['more than was promised', `${head(3)}abcd`, 'PEER_FAILED'],
  ])('fails for %s', async (_what, said, code) => {
    await using server = await open((socket) => socket.write(said))
    await expectCode(bodyOf(get(server.url).pieces), code)
  })

  test('fails when the server hangs up too early, or at once', async () => {
    await using early = await open((socket) => socket.end(`${head(3000)}${'x'.repeat(2999)}`))
    await expectCode(bodyOf(get(early.url).pieces), 'UNAVAILABLE')
    await using atOnce = await open((socket) => socket.destroy())
    await expectCode(bodyOf(get(atOnce.url).pieces), 'UNAVAILABLE')
  })

  test('fails when nobody is there, when nothing comes, and when it is cancelled', async () => {
    await expectCode(bodyOf(get('127.0.0.1:1').pieces), 'UNAVAILABLE')
    await using server = await open((socket) => socket.write(`${head(3000)}abc`))
    await expectCode(bodyOf(get(server.url, { timeoutMs: 50 }).pieces), 'TIMEOUT')
    const stop = new AbortController()
    const reading = bodyOf(get(server.url, { signal: stop.signal }).pieces)
    setTimeout(() => stop.abort(), 20)
    await expectCode(reading, 'CANCELLED')
  })
})
