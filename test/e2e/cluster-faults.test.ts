import { createHash } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { LoopFilesystem } from '../support/loop-device.ts'
import { skipLoudly } from '../support/mounts.ts'
import { ClusterProcesses, freePorts, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const MIB = 2 ** 20
const READERS = 16

/** Bytes that follow from a number, so that what is read can be checked without keeping it. */
function bodyOf(index: number): Buffer {
  const seed = createHash('sha256').update(String(index)).digest()
  return Buffer.concat(Array.from({ length: 1 + (index % 60) }, () => seed))
}

/** Files acknowledged so far: index to file id. */
type Ledger = Map<number, string>

/** Writes until told to stop; only what was acknowledged goes into the ledger. */
async function writeUntil(
  client: HayloftClient,
  ledger: Ledger,
  stop: AbortSignal,
  writers = 16,
): Promise<{ failures: number }> {
  let next = ledger.size
  let failures = 0
  const write = async (): Promise<void> => {
    while (!stop.aborted) {
      const index = next++
      try {
        const { fileId } = await client.put(bodyOf(index), {})
        ledger.set(index, fileId)
      } catch {
        failures++
        await sleep(20)
      }
    }
  }
  await Promise.all(Array.from({ length: writers }, write))
  return { failures }
}

async function expectAll(client: HayloftClient, ledger: Ledger): Promise<void> {
  expect(new Set(ledger.values()).size, 'a file id was given out twice').toBe(ledger.size)
  const lost: string[] = []
  const files = [...ledger]
  const read = async (): Promise<void> => {
    for (let file = files.pop(); file !== undefined; file = files.pop()) {
      const [index, fileId] = file
      const got = await client.get(fileId, {}).catch((error: unknown) => String(error))
      const isRight = typeof got !== 'string' && Buffer.from(got.data).equals(bodyOf(index))
      if (!isRight) lost.push(`${fileId}: ${typeof got === 'string' ? got : 'wrong bytes'}`)
    }
  }
  await Promise.all(Array.from({ length: READERS }, read))
  expect(lost).toEqual([])
}

describe('a cluster of real processes', () => {
  test('a master restarted while writing: no id twice, nothing acknowledged is lost', async () => {
    await using directory = await openTempDirectory()
    await using cluster = await ClusterProcesses.start({
      directory: directory.path,
      volumeServers: 2,
    })
    await using client = await HayloftClient.connect({ masters: cluster.masterAddress })
    const ledger: Ledger = new Map()
    const stop = new AbortController()
    const writing = writeUntil(client, ledger, stop.signal)
    for (const end of ['kill', 'stop', 'kill'] as const) {
      await sleep(700)
      const before = ledger.size
      await cluster.master[end]()
      await sleep(300)
      await cluster.master.restart()
      const deadline = Date.now() + 15_000
      while (ledger.size < before + 100 && Date.now() < deadline) await sleep(50)
      expect(ledger.size, 'writing goes on after the restart').toBeGreaterThan(before + 99)
    }
    stop.abort()
    await writing
    await expectAll(client, ledger)
  })

  test('a volume server killed and restarted while writing loses nothing acknowledged', async () => {
    await using directory = await openTempDirectory()
    await using cluster = await ClusterProcesses.start({
      directory: directory.path,
      volumeServers: 3,
    })
    await using client = await HayloftClient.connect({ masters: cluster.masterAddress })
    const ledger: Ledger = new Map()
    const stop = new AbortController()
    const writing = writeUntil(client, ledger, stop.signal)
    for (const server of cluster.volumes.slice(0, 2)) {
      await sleep(500)
      await server.kill()
      await sleep(500)
      const before = ledger.size
      await sleep(1000)
      expect(ledger.size, 'others take the writes').toBeGreaterThan(before)
      await server.restart()
    }
    stop.abort()
    await writing
    await expectAll(client, ledger)
  })

  test('a volume server that joins while writing gets its share; one leaves in order', async () => {
    await using directory = await openTempDirectory()
    await using cluster = await ClusterProcesses.start({
      directory: directory.path,
      volumeServers: 1,
    })
    await using client = await HayloftClient.connect({ masters: cluster.masterAddress })
    const ledger: Ledger = new Map()
    const stop = new AbortController()
    const writing = writeUntil(client, ledger, stop.signal)
    await sleep(500)
    await cluster.addVolumeServer()
    await cluster.addVolumeServer()
    // New collections spread over all that are there.
    const seen = new Set<string>()
    for (let tried = 0; tried < 60; tried++) {
      const url = `${cluster.masterUrl}/dir/assign?collection=c${tried % 6}`
      const { url: server } = (await (await fetch(url)).json()) as { url: string }
      seen.add(server)
    }
    expect(seen.size).toBeGreaterThan(1)
    const leaving = cluster.volumes[2]
    expect(await leaving?.stop()).toBe(0)
    const before = ledger.size
    await sleep(1000)
    expect(ledger.size, 'writing goes on').toBeGreaterThan(before)
    await leaving?.restart()
    stop.abort()
    await writing
    await expectAll(client, ledger)
  })

  test('a store in one process, killed 5 times while writing, has all it acknowledged', async () => {
    await using directory = await openTempDirectory()
    const [master = 0, volume = 0] = await freePorts(2)
    const ports = ['--port', String(master), '--volume-port', String(volume), '--s3-port', 'off']
    await using server = await ServerProcess.start({
      args: ['server', '--dir', directory.path, ...ports],
      readyUrl: `http://127.0.0.1:${volume}/readyz`,
    })
    await using client = await HayloftClient.connect({ masters: `127.0.0.1:${master}` })
    const ledger: Ledger = new Map()
    const names = new Map<string, string>()
    for (let cycle = 0; cycle < 5; cycle++) {
      const stop = new AbortController()
      const writing = writeUntil(client, ledger, stop.signal)
      for (let n = 0; n < 20; n++) {
        const name = `names/${n % 7}`
        const text = `${cycle}.${n}`
        await client.putNamed(name, text)
        names.set(name, text)
      }
      await server.kill()
      await server.restart()
      stop.abort()
      await writing
      for (const [name, text] of names) {
        expect((await client.getNamed(name)).data.toString()).toBe(text)
      }
    }
    await expectAll(client, ledger)
  })

  const unsupported = LoopFilesystem.supported()
  test.skipIf(skipLoudly('a power cut of a volume server', unsupported))(
    'the power of a volume server goes: what was acknowledged is there after it',
    async () => {
      await using directory = await openTempDirectory()
      await using loop = await LoopFilesystem.create({ sizeMiB: 512 })
      await using cluster = await ClusterProcesses.start({
        directory: directory.path,
        volumeServers: 1,
        volumeDirectory: () => join(loop.mountPoint, 'volumes'),
      })
      await using client = await HayloftClient.connect({ masters: cluster.masterAddress })
      const ledger: Ledger = new Map()
      for (let cycle = 0; cycle < 3; cycle++) {
        const stop = new AbortController()
        const writing = writeUntil(client, ledger, stop.signal)
        const before = ledger.size
        while (ledger.size < before + 500) await sleep(20)
        const [server] = cluster.volumes
        await loop.cutPower({ pid: server?.pid ?? -1 })
        await server?.kill()
        stop.abort()
        await writing
        await loop.remount()
        await server?.restart()
        await expectAll(client, ledger)
      }
      expect(ledger.size).toBeGreaterThan(1500)
    },
  )
})

/** Everything of a request but its end. */
async function openSocket(port: number, head: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.on('error', () => undefined)
  socket.write(head)
  return socket
}

describe('clients that misbehave', () => {
  test('2,000 idle connections, hang-ups mid-upload and slow readers: it serves on', async () => {
    await using directory = await openTempDirectory()
    await using cluster = await ClusterProcesses.start({
      directory: directory.path,
      volumeServers: 1,
    })
    await using client = await HayloftClient.connect({ masters: cluster.masterAddress })
    const [server] = cluster.volumes
    const [port = 0] = cluster.volumePorts
    if (server === undefined) throw new Error('no volume server')
    const large = await client.put(Buffer.alloc(8 * MIB - 100, 5), {})
    const small = await client.put('small', {})
    const idleRss = server.rssBytes()

    const idle: Socket[] = []
    for (let i = 0; i < 2000; i++) idle.push(await openSocket(port, ''))
    const connectedRss = server.rssBytes()
    expect(Buffer.from((await client.get(small.fileId, {})).data).toString()).toBe('small')

    // A megabyte of a hundred is sent, then the client is gone.
    for (let i = 0; i < 50; i++) {
      const { fid } = (await (await fetch(`${cluster.masterUrl}/dir/assign`)).json()) as {
        fid: string
      }
      const head = `PUT /${fid} HTTP/1.1\r\nHost: x\r\nContent-Length: ${100 * MIB}\r\n\r\n`
      const socket = await openSocket(port, head)
      await new Promise((resolve) => socket.write(Buffer.alloc(MIB), resolve))
      socket.destroy()
      const left = await fetch(`http://127.0.0.1:${port}/${fid}`)
      expect(left.status, 'half an upload is no file').toBe(404)
    }

    // They ask for 8 MiB each and read nothing.
    const slow: Socket[] = []
    for (let i = 0; i < 40; i++) {
      const get = `GET /${large.fileId} HTTP/1.1\r\nHost: x\r\n\r\n`
      const socket = await openSocket(port, get)
      socket.pause()
      slow.push(socket)
    }
    await sleep(1000)
    const slowRss = server.rssBytes()
    const startedMs = Date.now()
    for (let i = 0; i < 200; i++) {
      const got = await fetch(`http://127.0.0.1:${port}/${small.fileId}`)
      expect(await got.text()).toBe('small')
    }
    const mib = (bytes: number): string => `${Math.round(bytes / MIB)} MiB`
    console.log(
      `RSS: ${mib(idleRss)} idle, ${mib(connectedRss)} with 2,000 connections, ` +
        `${mib(slowRss)} with 40 slow readers of 8 MiB; 200 reads beside them in ` +
        `${Date.now() - startedMs} ms`,
    )
    expect(connectedRss - idleRss).toBeLessThan(100 * MIB)
    expect(slowRss - connectedRss).toBeLessThan(450 * MIB)
    for (const socket of [...idle, ...slow]) socket.destroy()
    expect(server.isRunning).toBe(true)
    expect(await server.stop()).toBe(0)
  })
})
