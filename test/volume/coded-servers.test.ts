import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { CLUSTER_AUTH_HEADER, ClusterAuth } from '../../src/net/cluster-auth.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { shardPath, shardPaths } from '../../src/storage/shard-paths.ts'
import { readVolumeServerConfig } from '../../src/volume/config.ts'
import { VolumeServer } from '../../src/volume/volume-server.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { exchange } from '../support/raw-http.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import {
  codeVolume,
  dataOf,
  fillVolume,
  RUN,
  readBytes,
  shardCommand,
  THREE_AND_TWO,
} from './coded-nodes.ts'
import { FakeMaster } from './fake-master.ts'
import { fid } from './local-node.ts'

const secret = Buffer.alloc(32, 7)
const parts = { clock: systemClock, logger: silentLogger, random: new Prng(2) }
const auth = new ClusterAuth(parts, secret)

/** Real listeners on loopback, real gRPC and HTTP between the servers; disks and master are not. */
async function openServers(count: number) {
  await using opening = new DisposeStack()
  const master = new FakeMaster()
  const connections = opening.use(await VolumeConnections.open(parts, { secret }))
  const servers: { readonly disk: MemDisk; readonly server: VolumeServer }[] = []
  for (let index = 0; index < count; index++) {
    const disk = new MemDisk(new Prng(index + 1))
    const raw = { directories: ['/a'], port: 0, drainMs: 2000, secret, writeTokens: false }
    const config = readVolumeServerConfig(raw)
    const server = opening.use(await VolumeServer.open({ ...parts, disk, master }, config, SIGNAL))
    servers.push({ disk, server })
  }
  const members = servers.map(({ server: { location } }) => ({
    location,
    api: connections.connect(location),
  }))
  await fillVolume(members[0]?.api ?? fail(), 12)
  const owned = opening.move()
  const close = () => owned[Symbol.asyncDispose]()
  return { master, servers, members, [Symbol.asyncDispose]: close }
}

type Opened = Awaited<ReturnType<typeof openServers>>

function fail(): never {
  throw new Error('there are servers')
}

/** Needles whose answers depend on more than their bytes. */
async function putSpecial({ members }: Opened): Promise<void> {
  const { api } = members[0] ?? fail()
  const put = (needle: number, data: Buffer, metadata: object) => {
    const request = { fileId: fid(3, needle), data, metadata, writeToken: '', isReplica: false }
    return api.put(request, SIGNAL)
  }
  const text = Buffer.alloc(20_000, 'to be packed ')
  await put(21, gzipSync(text), { isCompressed: true, mime: 'text/plain', name: 'a.txt' })
  await put(22, Buffer.from('no name'), { pairs: { 'Seaweed-Owner': 'me' } })
  const chunks = [
    { fid: '3,0500000007', offset: 0, size: 131_072 },
    { fid: '3,0600000007', offset: 131_072, size: 300_000 },
  ]
  const manifest = Buffer.from(JSON.stringify({ name: 'big.bin', size: 431_072, chunks }))
  await put(23, manifest, { isChunkManifest: true })
  await put(24, Buffer.alloc(0), {})
}

const REQUESTS: readonly (readonly [string, string, Record<string, string>])[] = [
  ...Array.from(
    { length: 12 },
    (_, at) => ['GET', `/3,0${(at + 1).toString(16)}00000007`, {}] as const,
  ),
  ['HEAD', '/3,0400000007', {}],
  ['HEAD', '/3,0900000007', {}],
  ['GET', '/3/0400000007/other.png?dl=true', {}],
  ['GET', '/3,0400000007', { Range: 'bytes=100-299' }],
  ['GET', '/3,0900000007', { Range: 'bytes=1000000-1400000' }],
  ['GET', '/3,0900000007', { Range: 'bytes=-5' }],
  ['GET', '/3,0900000007', { Range: 'bytes=9999999-' }],
  ['GET', '/3,0400000008', {}],
  ['GET', '/3,6300000007', {}],
  ['GET', '/3,1500000007', {}],
  ['GET', '/3,1500000007', { 'Accept-Encoding': 'gzip' }],
  ['GET', '/3,1500000007', { Range: 'bytes=3-9' }],
  ['GET', '/3,1600000007', {}],
  ['GET', '/3,1700000007', {}],
  ['GET', '/3,1700000007', { Range: 'bytes=131000-131200' }],
  ['GET', '/3,1700000007?cm=false', {}],
  ['GET', '/3,1800000007', {}],
]

/** All that a client sees, but for the time of day. */
async function answersOf(port: number): Promise<Map<string, unknown>> {
  const answers = new Map<string, unknown>()
  const ask = async (method: string, path: string, headers: Record<string, string>) => {
    const { status, headers: got, body } = await askAt(port, { method, path, headers })
    const { date: _, ...rest } = got
    answers.set(`${method} ${path} ${JSON.stringify(headers)}`, {
      status,
      headers: rest,
      body: body.toString('latin1'),
    })
    return got
  }
  for (const [method, path, headers] of REQUESTS) {
    const { etag = '', 'last-modified': modified = '' } = await ask(method, path, headers)
    if (method !== 'GET' || headers['Range'] !== undefined) continue
    await ask('GET', path, { 'If-None-Match': String(etag) })
    await ask('GET', path, { 'If-Modified-Since': String(modified) })
    await ask('GET', path, { Range: 'bytes=0-1', 'If-Range': String(etag) })
    await ask('GET', path, { Range: 'bytes=0-1', 'If-Range': '"another"' })
  }
  return answers
}

interface Ask {
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

async function askAt(port: number, { method = 'GET', path, headers = {}, body }: Ask) {
  const length = body === undefined ? {} : { 'Content-Length': String(body.length) }
  const lines = Object.entries({ Host: 'test', ...length, ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  const head = `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
  const address = { host: '127.0.0.1', port }
  const [answer] = await exchange(address, `${head}${body ?? ''}`, 1, method === 'HEAD')
  if (answer === undefined) throw new Error(`no answer to ${method} ${path}`)
  return answer
}

const portOf = (url: string): number => Number(url.slice(url.lastIndexOf(':') + 1))

describe('servers with shards over the net', () => {
  test('answer as the one with the volume did, also with some of them closed', async () => {
    await using cluster = await openServers(5)
    const { members, master, servers } = cluster
    await putSpecial(cluster)
    const before = await answersOf(portOf(members[0]?.location.url ?? ''))
    await codeVolume(members, master, THREE_AND_TWO)
    for (const index of [0, 1, 4]) {
      const after = await answersOf(portOf(members[index]?.location.url ?? ''))
      for (const [what, answer] of before) expect(after.get(what), what).toEqual(answer)
    }
    for (const index of [0, 2]) await servers[index]?.server.close()
    for (const index of [1, 3]) {
      const after = await answersOf(portOf(members[index]?.location.url ?? ''))
      for (const [what, answer] of before) expect(after.get(what), what).toEqual(answer)
    }
    const text = (await servers[1]?.server.metrics.text()) ?? ''
    expect(Number(/hayloft_coded_rebuilds_total (\d+)/.exec(text)?.[1])).toBeGreaterThan(5)
    expect(Number(/hayloft_coded_reads_total (\d+)/.exec(text)?.[1])).toBeGreaterThan(50)
    expect(text).toContain('hayloft_shard_count{state="good"} 1')
  })

  test('delete over HTTP and gRPC, and are told of by their servers', async () => {
    await using cluster = await openServers(3)
    const { members, master } = cluster
    await codeVolume(members, master, THREE_AND_TWO)
    const [one, two, three] = members
    if (one === undefined || two === undefined || three === undefined) fail()
    const port = portOf(two.location.url)
    const gone = await askAt(port, { method: 'DELETE', path: '/3,0200000007' })
    expect([gone.status, JSON.parse(gone.body.toString())]).toEqual([202, { size: 168 }])
    const wrong = await askAt(port, { method: 'DELETE', path: '/3,0300000008' })
    expect(wrong.status).toBeGreaterThanOrEqual(400)
    await three.api.delete({ fileId: fid(3, 9), writeToken: '', isReplica: false }, SIGNAL)
    for (const { api, location } of members) {
      await expect(readBytes(api, 2)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
      const answer = await askAt(portOf(location.url), { path: '/3,0900000007' })
      expect(answer.status).toBe(404)
      expect((await readBytes(api, 3)).equals(dataOf(3))).toBe(true)
    }
    const put = await askAt(port, { method: 'PUT', path: '/3,3000000007', body: 'new' })
    expect(JSON.parse(put.body.toString())).toMatchObject({ code: 'VOLUME_SEALED' })

    const status = await one.api.serverStatus(SIGNAL)
    expect(status.shards).toMatchObject([{ volumeId: 3, runId: RUN, shards: [0, 3] }])
    expect(status.volumes).toEqual([])
    const page = await askAt(portOf(one.location.url), { path: '/status' })
    expect(JSON.parse(page.body.toString())).toMatchObject({
      Volumes: [],
      Shards: [{ Id: 3, RunId: RUN, Scheme: '3+2', Shards: [0, 3], BadShards: [], FileCount: 9 }],
    })
    await expect.poll(() => lastToldOf(master, one.location.url)?.liveNeedles).toBe(9)
    await two.api.shards.deleteShards(shardCommand([1, 4]), SIGNAL)
    await expect.poll(() => lastToldOf(master, two.location.url)?.shards).toEqual([])
  })

  test('give shards to other servers alone', async () => {
    await using cluster = await openServers(2)
    const { members, master, servers } = cluster
    await codeVolume(members, master, THREE_AND_TWO)
    const port = portOf(members[0]?.location.url ?? '')
    const paths = shardPaths('/a', { collection: '', volumeId: vid(3), runId: RUN })
    const bytes = servers[0]?.disk.contents(shardPath(paths, 2)) ?? fail()
    const ask = (changes: Record<string, string | number> = {}, method = 'GET') => {
      const fields = { volume: 3, run: RUN, shard: 2, offset: 0, bytes: bytes.length, ...changes }
      const query = Object.entries(fields).map(([name, value]) => `${name}=${value}`)
      const path = `/vol/shard?${query.join('&')}`
      const headers = { [CLUSTER_AUTH_HEADER]: auth.signHttp(method, path) }
      return { signed: askAt(port, { method, path, headers }), path }
    }
    const whole = await ask().signed
    expect([whole.status, whole.headers['content-length']]).toEqual([200, String(bytes.length)])
    expect(whole.body.equals(bytes)).toBe(true)
    const part = await ask({ offset: 1_000, bytes: 5 }).signed
    expect(part.body.equals(bytes.subarray(1_000, 1_005))).toBe(true)
    for (let tried = 0; tried < 2; tried++) {
      const apart = await ask({ offset: 5, bytes: 10, slices: 3, stride: 100 }).signed
      const slices = [5, 105, 205].map((at) => bytes.subarray(at, at + 10))
      expect([apart.status, apart.headers['content-length']]).toEqual([200, '30'])
      expect(apart.body.equals(Buffer.concat(slices))).toBe(true)
    }
    const head = await ask({ bytes: 7 }, 'HEAD').signed
    expect([head.status, head.headers['content-length'], head.body.length]).toEqual([200, '7', 0])
    const unsigned = await askAt(port, { path: ask().path })
    expect([unsigned.status, JSON.parse(unsigned.body.toString()).code]).toEqual([
      401,
      'UNAUTHENTICATED',
    ])
    for (const [changes, status, code] of [
      [{ shard: 1 }, 404, 'SHARD_NOT_FOUND'],
      [{ run: '5' }, 404, 'VOLUME_NOT_FOUND'],
      [{ run: '../x' }, 404, 'VOLUME_NOT_FOUND'],
      [{ volume: 4 }, 404, 'VOLUME_NOT_FOUND'],
      [{ volume: 'x' }, 400, 'FILE_ID_INVALID'],
      [{ bytes: 0 }, 416, 'RANGE_INVALID'],
      [{ offset: 1 }, 416, 'RANGE_INVALID'],
      [{ bytes: 5, slices: 2, stride: 4 }, 416, 'RANGE_INVALID'],
      [{ bytes: 5, slices: 0, stride: 10 }, 416, 'RANGE_INVALID'],
      [{ bytes: 5, slices: 2, stride: bytes.length }, 416, 'RANGE_INVALID'],
      [{ bytes: 5, slices: 2 }, 400, 'REQUEST_INVALID'],
      [{ bytes: 5, slices: 'x', stride: 10 }, 400, 'REQUEST_INVALID'],
      [{ shard: 1, bytes: 5, slices: 2, stride: 10 }, 404, 'SHARD_NOT_FOUND'],
      [{ shard: 'x' }, 400, 'REQUEST_INVALID'],
      [{ offset: -1 }, 400, 'REQUEST_INVALID'],
    ] as const) {
      const answer = await ask(changes).signed
      const found = [answer.status, JSON.parse(answer.body.toString()).code]
      expect(found, JSON.stringify(changes)).toEqual([status, code])
    }
    // Nor does gRPC give anything to whoever has not the secret.
    await using strangers = await VolumeConnections.open(parts, {})
    const { shards } = strangers.connect(members[0]?.location ?? fail())
    const range = { offsetBytes: 0, lengthBytes: 5, sliceCount: 1, strideBytes: 0 }
    const request = { volumeId: vid(3), runId: RUN, shard: 2, ...range }
    await expect(shards.readShard(request, SIGNAL)).rejects.toBeInstanceOf(StoreError)
  })
})

describe('parts of shards for other servers', () => {
  // Goal: the plain way and the other one give the same answers, to those who have the secret.
  // Method: each request as servers send it, and with a header that has to be looked at.
  test('are the same whichever way they are asked for', async () => {
    await using cluster = await openServers(2)
    const { members, master, servers } = cluster
    await codeVolume(members, master, THREE_AND_TWO)
    const address = { host: '127.0.0.1', port: portOf(members[0]?.location.url ?? '') }
    const paths = shardPaths('/a', { collection: '', volumeId: vid(3), runId: RUN })
    const bytes = servers[0]?.disk.contents(shardPath(paths, 2)) ?? fail()
    const good = { volume: 3, run: RUN, shard: 2, offset: 5, bytes: 10, slices: 3, stride: 100 }
    const targetOf = (fields: Record<string, string | number>) =>
      `/vol/shard?${Object.entries(fields)
        .map(([name, value]) => `${name}=${value}`)
        .join('&')}`
    const get = (target: string, more = '') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${more}\r\n`
    const outcome = async (target: string, more = '') => {
      const [answer] = await exchange(address, get(target, more))
      const { 'content-type': type, 'content-length': length } = answer?.headers ?? {}
      return { status: answer?.status, type, length, body: answer?.body.toString('latin1') }
    }
    const signed = auth.signTarget('GET', targetOf(good))
    const slices = [5, 105, 205].map((at) => bytes.subarray(at, at + 10))
    const body = Buffer.concat(slices).toString('latin1')
    for (const target of [
      signed,
      targetOf(good),
      `${signed}0`,
      signed.replace('shard=2', 'shard=1'),
      ...[
        { shard: 1 },
        { run: '5' },
        { volume: 4 },
        { volume: 4_294_967_295 },
        { volume: 0 },
        { stride: 9 },
        { slices: 0 },
        { offset: bytes.length },
        { bytes: 2_000_000 },
        { bytes: 'x' },
      ].map((change) => auth.signTarget('GET', targetOf({ ...good, ...change }))),
    ]) {
      const found = await outcome(target)
      expect([target, found]).toEqual([target, await outcome(target, 'X-Other: 1\r\n')])
      expect(found.status === 200).toBe(target === signed)
      if (target === signed) expect(found.body).toBe(body)
      else expect(found.status).toBeLessThan(500)
    }
    expect((await outcome(`${signed}0`)).status).toBe(401)
    // One after the other, however many are sent at once.
    const all = await exchange(address, get(signed).repeat(5), 5)
    expect(all.map((answer) => answer.body.toString('latin1'))).toEqual(new Array(5).fill(body))
  })
})

/** The last report of shards that came from a server. */
function lastToldOf({ beats }: FakeMaster, url: string) {
  const told = beats.filter(({ node }) => node.url === url).flatMap(({ shards = [] }) => shards)
  return told.at(-1)
}
