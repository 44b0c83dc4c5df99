import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { formatFileId } from '../../src/base/file-id.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { KIB, MIB } from '../../src/base/units.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import type { Disk } from '../../src/runtime/disk.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { openSocket } from '../support/raw-http.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { fid } from './local-node.ts'

const VOLUMES = [3, 4]

/** On a real disk: only there reads and writes go on while others do. */
async function openOnDisk() {
  const directory = await openTempDirectory()
  const opened = await openServer(new NodeDisk(), directory.path)
  return {
    ...opened,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    },
  }
}

async function openServer(disk: Disk, path: string) {
  const config = readVolumeServerConfig({ directories: [path], port: 0, drainMs: 1000 })
  const random = new Prng(2)
  const parts = { disk, clock: systemClock, logger: silentLogger, random }
  const server = await VolumeServer.open(
    { ...parts, version: '1', master: undefined },
    config,
    SIGNAL,
  )
  const replication = parseReplicaPlacement('000')
  for (const volume of VOLUMES) {
    const command = { epoch: 1, volumeId: vid(volume), collection: '', replication, ttl: TTL_NONE }
    await server.api.allocateVolume(command, SIGNAL)
  }
  return { server, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

/** Every byte depends on the file and its place, so that no two files share any stretch. */
function contentOf(id: number, length: number): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4))
  for (let at = 0; at < words.length; at++)
    words[at] = Math.imul(at + 1, 2_654_435_761) ^ (id * 7919)
  return Buffer.from(words.buffer, 0, length)
}

const pathOf = (id: number): string => `/${formatFileId(fid(VOLUMES[id % 2] ?? 3, id))}`

interface Asked {
  readonly status: number
  readonly body: Buffer
}

/** `leaveAfter`: the client goes away after so many bytes, of what it sends or of what it gets. */
function ask(
  url: string,
  { path, body, leaveAfter, pauseMs = 0 }: Ask,
): Promise<Asked | undefined> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'PUT'
    const headers = body === undefined ? {} : { 'content-length': body.length }
    const req = request(`http://${url}${path}`, { method, headers, agent: false }, (res) => {
      const pieces: Buffer[] = []
      let bytes = 0
      res.on('data', (piece: Buffer) => {
        pieces.push(piece)
        bytes += piece.length
        if (leaveAfter !== undefined && bytes > leaveAfter) req.destroy()
        if (pauseMs === 0) return
        res.pause()
        setTimeout(() => res.resume(), pauseMs)
      })
      res.on('end', () => {
        const { statusCode: status = 0 } = res
        resolve({ status, body: Buffer.concat(pieces) })
      })
      res.on('error', () => resolve(undefined))
    })
    req.on('error', (error) => {
      if (leaveAfter === undefined) reject(error)
      else resolve(undefined)
    })
    if (body === undefined || leaveAfter === undefined) req.end(body)
    else req.write(body.subarray(0, leaveAfter), () => req.destroy())
  })
}

interface Ask {
  readonly path: string
  readonly body?: Buffer | undefined
  readonly leaveAfter?: number | undefined
  readonly pauseMs?: number
}

// Goal: memory that is used again never shows the bytes of another file, neither in an answer nor
// in a volume. Method: large files written and read by many clients at once, some of which go away
// in the middle and some of which are slow; every byte of every answer is compared.
test.each([1, 2, 3])(
  'files keep their bytes among others that come and go (seed %d)',
  async (seed) => {
    await using opened = await openOnDisk()
    const { url } = opened.server.location
    const prng = new Prng(seed)
    const sizes = new Map<number, number>()
    let nextId = 1
    const put = async (): Promise<void> => {
      const id = nextId++
      const length = prng.between(65 * KIB, prng.chance(0.3) ? 8 * MIB : MIB + 64 * KIB)
      const body = contentOf(id, length)
      const leaveAfter = prng.chance(0.2) ? prng.below(length) : undefined
      const answer = await ask(url, { path: pathOf(id), body, leaveAfter })
      if (leaveAfter === undefined) expect(answer?.status).toBe(201)
      if (answer?.status === 201) sizes.set(id, length)
    }
    const get = async (): Promise<void> => {
      const [id, length] = prng.pick([...sizes])
      const leaveAfter = prng.chance(0.2) ? prng.below(length) : undefined
      const pauseMs = prng.chance(0.1) ? 1 : 0
      const answer = await ask(url, { path: pathOf(id), leaveAfter, pauseMs })
      if (leaveAfter !== undefined) return
      expect(answer?.status).toBe(200)
      expect(answer?.body.equals(contentOf(id, length)), `file ${id} of ${length} bytes`).toBe(true)
    }
    await put()
    while (sizes.size === 0) await put()
    const work = async (): Promise<void> => {
      for (let round = 0; round < 10; round++) await (prng.chance(0.4) ? put() : get())
    }
    await Promise.all(Array.from({ length: 8 }, work))
    for (const [id, length] of sizes) {
      const answer = await ask(url, { path: pathOf(id) })
      expect(answer?.body.equals(contentOf(id, length)), `file ${id} at the end`).toBe(true)
    }
  },
  60_000,
)

test('40 clients that read nothing of 8 MiB hold less than 64 MiB, and then get their own bytes', async () => {
  await using opened = await openOnDisk()
  const { url } = opened.server.location
  const length = 8 * MIB - 100
  const ids = [1, 2, 3, 4]
  for (const id of ids) {
    expect((await ask(url, { path: pathOf(id), body: contentOf(id, length) }))?.status).toBe(201)
  }
  const [host = '', port = ''] = url.split(':')
  const before = process.memoryUsage().arrayBuffers
  const slow = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const id = ids[index % ids.length] ?? 1
      const socket = await openSocket({ host, port: Number(port) })
      socket.pause()
      socket.write(`GET ${pathOf(id)} HTTP/1.1\r\nHost: a\r\n\r\n`)
      return { id, socket }
    }),
  )
  await sleep(500)
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * MIB)
  // Others come and go meanwhile, and use the same memory.
  for (const id of ids) {
    const answer = await ask(url, { path: pathOf(id) })
    expect(answer?.body.equals(contentOf(id, length))).toBe(true)
  }
  for (const { id, socket } of slow) {
    const body = await bodyOf(socket, length)
    expect(body.equals(contentOf(id, length)), `file ${id}`).toBe(true)
    socket.destroy()
  }
}, 60_000)

test('a file of 3 MiB with a wrong byte is cut off, and 500 when it is asked for again', async () => {
  const disk = new MemDisk(new Prng(1))
  await using opened = await openServer(disk, '/a')
  const { url } = opened.server.location
  const body = contentOf(1, 3 * MIB)
  const path = pathOf(1)
  expect((await ask(url, { path, body }))?.status).toBe(201)
  disk.flipBit('/a/4.dat', 2 * MIB, 3)
  expect(await ask(url, { path })).toBeUndefined()
  const again = await ask(url, { path })
  expect([again?.status, again?.body.toString()]).toEqual([
    500,
    expect.stringContaining('NEEDLE_CORRUPT'),
  ])
  disk.flipBit('/a/4.dat', 2 * MIB, 3)
  expect((await ask(url, { path }))?.body.equals(body)).toBe(true)
})

async function bodyOf(socket: AsyncIterable<Buffer>, length: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  let headBytes: number | undefined
  for await (const piece of socket) {
    pieces.push(piece)
    bytes += piece.length
    if (headBytes === undefined) {
      const end = Buffer.concat(pieces).indexOf('\r\n\r\n')
      if (end >= 0) headBytes = end + 4
    }
    if (headBytes !== undefined && bytes >= headBytes + length) break
  }
  return Buffer.concat(pieces).subarray(headBytes)
}
