import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { checkVolume } from '../../src/storage/check-volume.ts'
import { findLiveNeedles } from '../../src/storage/live-needles.ts'
import { volumePaths } from '../../src/storage/volume-paths.ts'
import { VolumeSource } from '../../src/storage/volume-source.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { digestEntries } from '../../src/volume/digest.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { FakeMaster } from './fake-master.ts'
import { collect, fid, readText, vacuumCommand } from './local-node.ts'

const secret = Buffer.alloc(32, 7)
const parts = { clock: systemClock, logger: silentLogger, random: new Prng(2) }

interface RunningServer {
  readonly disk: MemDisk
  readonly server: VolumeServer
}

/** Real listeners on loopback, real gRPC and HTTP between the servers; disks and master are not. */
async function openServers(count: number) {
  await using opening = new DisposeStack()
  const master = new FakeMaster()
  const connections = opening.use(await VolumeConnections.open(parts, { secret }))
  const servers: RunningServer[] = []
  for (let index = 0; index < count; index++) {
    const disk = new MemDisk(new Prng(index + 1))
    const raw = { directories: ['/a'], port: 0, drainMs: 2000, secret, writeTokens: false }
    const config = readVolumeServerConfig(raw)
    const server = opening.use(await VolumeServer.open({ ...parts, disk, master }, config, SIGNAL))
    servers.push({ disk, server })
  }
  const owned = opening.move()
  const close = () => owned[Symbol.asyncDispose]()
  const apis = servers.map(({ server }) => connections.connect(server.location))
  return { master, servers, apis, [Symbol.asyncDispose]: close }
}

const allocation = {
  epoch: 1,
  volumeId: vid(3),
  collection: '',
  replication: parseReplicaPlacement('001'),
  ttl: TTL_NONE,
}

async function digestOf(disk: MemDisk): Promise<string> {
  const paths = volumePaths('/a', { collection: '', volumeId: vid(3) })
  const { findings } = await checkVolume(disk, paths, {}, SIGNAL)
  expect(findings).toEqual([])
  await using source = await VolumeSource.open(disk, paths)
  return await digestEntries(await findLiveNeedles(source, SIGNAL), async () => undefined)
}

describe('two servers over the net', () => {
  test('hold equal copies of small, large and streamed needles with all they know', async () => {
    await using cluster = await openServers(2)
    const { servers, apis, master } = cluster
    for (const api of apis) await api.allocateVolume(allocation, SIGNAL)
    master.known.set(
      vid(3),
      servers.map(({ server }) => server.location),
    )
    const [first, second] = apis
    if (first === undefined || second === undefined) throw new Error('two servers')
    const metadata = {
      name: 'naïve "file".txt',
      mime: 'text/x-odd; charset=utf-8',
      pairs: { 'Seaweed-Owner': 'me' },
      ttl: { count: 3, unit: 'day' as const },
      isCompressed: false,
    }
    const put = (needle: number, data: Buffer) =>
      ({ fileId: fid(3, needle), data, metadata, writeToken: '', isReplica: false }) as const
    for (let needle = 1; needle <= 20; needle++) {
      const api = needle % 2 === 0 ? first : second
      await api.put(put(needle, Buffer.from(`data ${needle}`)), SIGNAL)
    }
    await first.put(put(30, Buffer.alloc(500_000, 'large ')), SIGNAL)
    const source = (async function* () {
      for (let piece = 0; piece < 10; piece++) yield Buffer.alloc(1_000_000, `piece ${piece}`)
    })()
    const { data: _, ...stream } = put(31, Buffer.alloc(0))
    await second.putStream({ ...stream, source }, SIGNAL)
    await second.delete({ fileId: fid(3, 4), writeToken: '', isReplica: false }, SIGNAL)

    for (const api of apis) {
      expect(await readText(api, 3, 19)).toBe('data 19')
      expect((await readText(api, 3, 31)).length).toBe(10_000_000)
      await expect(readText(api, 3, 4)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    }
    await cluster[Symbol.asyncDispose]()
    const [a = '', b = 'other'] = await Promise.all(servers.map(({ disk }) => digestOf(disk)))
    expect(a).toBe(b)
  })

  test('copy a volume from one to the other', async () => {
    await using cluster = await openServers(2)
    const { servers, apis } = cluster
    const [first, second] = apis
    const source = servers[0]?.server.location
    if (first === undefined || second === undefined || source === undefined) throw new Error('two')
    const single = { ...allocation, replication: parseReplicaPlacement('000') }
    await first.allocateVolume(single, SIGNAL)
    const data = Buffer.alloc(300_000, 'x')
    for (let needle = 1; needle <= 20; needle++) {
      const request = { fileId: fid(3, needle), data, metadata: {}, writeToken: '' }
      await first.put({ ...request, isReplica: false }, SIGNAL)
    }
    const command = { ...vacuumCommand(3), collection: '', source, replacesBad: false }
    const reports = await collect(second.copyVolume(command, SIGNAL))
    expect(reports.at(-1)).toMatchObject({ isDone: true })
    expect((await readText(second, 3, 20)).length).toBe(300_000)
    const tail = await collect(second.tailVolume({ volumeId: vid(3), sinceNs: 0n }, SIGNAL))
    expect(tail).toHaveLength(20)
    expect((await collect(second.vacuumVolume(command, SIGNAL))).at(-1)?.phase).toBe('done')
  })

  test('need the cluster secret to pass for a copy', async () => {
    await using cluster = await openServers(2)
    const { servers, apis } = cluster
    await apis[0]?.allocateVolume(allocation, SIGNAL)
    const location = servers[0]?.server.location
    if (location === undefined) throw new Error('a server')
    await using strangers = await VolumeConnections.open(parts, {})
    const request = { fileId: fid(3, 1), data: Buffer.from('x'), metadata: {}, writeToken: '' }
    const stranger = strangers.connect(location)
    await expect(stranger.put({ ...request, isReplica: true }, SIGNAL)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    })
    await expect(stranger.allocateVolume(allocation, SIGNAL)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    })
  })

  test('answer reads over HTTP also where their own copy is bad', async () => {
    await using cluster = await openServers(2)
    const { servers, apis, master } = cluster
    const [first, second] = apis
    const [server] = servers
    if (first === undefined || second === undefined || server === undefined) throw new Error('two')
    for (const api of apis) await api.allocateVolume(allocation, SIGNAL)
    master.known.set(
      vid(3),
      servers.map(({ server }) => server.location),
    )
    const metadata = { name: 'a.odd', mime: 'application/x-odd', lastModifiedS: 1_700_000_000 }
    const put = (needle: number, data: Buffer) =>
      first.put(
        { fileId: fid(3, needle), data, metadata, writeToken: '', isReplica: false },
        SIGNAL,
      )
    const small = Buffer.from('the right bytes')
    const large = Buffer.alloc(5_000_000, 'many right bytes ')
    await put(1, small)
    await put(2, large)
    const smallAt = 8 + 16 + 4 + 2
    const largeAt = 3_000_000
    for (const at of [smallAt, largeAt]) server.disk.flipBit('/a/3.dat', at, 3)

    const url = (needle: number, query = '') =>
      `http://${server.server.location.url}/3,0${needle}00000007${query}`
    const good = await fetch(`http://${servers[1]?.server.location.url}/3,0100000007`)
    const mended = await fetch(url(1))
    expect(await mended.text()).toBe('the right bytes')
    for (const name of ['content-type', 'content-length', 'etag', 'last-modified']) {
      expect(mended.headers.get(name), name).toBe(good.headers.get(name))
    }
    expect((await fetch(url(1), { method: 'HEAD' })).status).toBe(200)
    const range = { headers: { range: 'bytes=4-8' } }
    expect(await (await fetch(url(1), range)).text()).toBe('right')
    // Another server wants to know what is in this copy.
    expect((await fetch(url(1, '?proxied=true'))).status).not.toBe(200)

    // A range is checked before it is sent; of the whole it shows when most of it has been sent.
    const inside = { headers: { range: `bytes=${largeAt - 50}-${largeAt + 49}` } }
    const part = await fetch(url(2), inside)
    expect(part.status).toBe(206)
    const partBytes = Buffer.from(await part.arrayBuffer())
    expect(partBytes.equals(large.subarray(largeAt - 50, largeAt + 50))).toBe(true)
    await expect(fetch(url(2)).then((answer) => answer.arrayBuffer())).rejects.toThrow()
    const whole = await fetch(url(2))
    expect(whole.status).toBe(200)
    expect(Buffer.from(await whole.arrayBuffer()).equals(large)).toBe(true)

    await expect.poll(() => master.dirty.length).toBe(2)
    const kinds = master.dirty.map(({ kind, needleId }) => `${kind} ${needleId.lo}`).sort()
    expect(kinds).toEqual(['check 1', 'check 2'])
    expect(await server.server.metrics.text()).toContain(
      'hayloft_dirty_records_total{kind="check"} 2',
    )
    for (const at of [smallAt, largeAt]) server.disk.flipBit('/a/3.dat', at, 3)
  })

  test('find the chunks of a large file in another copy of its list, when it is deleted', async () => {
    await using cluster = await openServers(2)
    const { servers, apis, master } = cluster
    const [first] = apis
    const [server] = servers
    if (first === undefined || server === undefined) throw new Error('two')
    for (const api of apis) await api.allocateVolume(allocation, SIGNAL)
    master.known.set(
      vid(3),
      servers.map(({ server }) => server.location),
    )
    const base = { writeToken: '', isReplica: false }
    const chunks = [{ fid: '3,0200000007', offset: 0, size: 5 }]
    const manifest = Buffer.from(JSON.stringify({ name: 'a', size: 5, chunks }))
    const isManifest = { metadata: { isChunkManifest: true } }
    await first.put({ ...base, ...isManifest, fileId: fid(3, 1), data: manifest }, SIGNAL)
    await first.put(
      { ...base, metadata: {}, fileId: fid(3, 2), data: Buffer.from('chunk') },
      SIGNAL,
    )
    const { url } = server.server.location
    expect(await (await fetch(`http://${url}/3,0100000007`)).text()).toBe('chunk')
    server.disk.flipBit('/a/3.dat', 8 + 16 + 4 + 2, 3)
    expect(await (await fetch(`http://${url}/3,0100000007`)).text()).toBe('chunk')
    const deleted = await fetch(`http://${url}/3,0100000007`, { method: 'DELETE' })
    expect(await deleted.json()).toEqual({ size: 5 })
    for (const api of apis) {
      for (const needle of [1, 2]) {
        await expect(readText(api, 3, needle)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
      }
    }
  })
})
