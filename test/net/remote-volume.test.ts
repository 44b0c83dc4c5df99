import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { crc32c, maskCrc32c } from '../../src/base/crc32c.ts'
import { type FileId, parseFileId } from '../../src/base/file-id.ts'
import { hex8, needleId, volumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { ClusterAuth } from '../../src/net/cluster-auth.ts'
import { GrpcServer } from '../../src/net/grpc-server.ts'
import { RemoteVolume } from '../../src/net/remote-volume.ts'
import { volumeService } from '../../src/net/serve-volume.ts'
import type {
  NeedleMetadata,
  NeedleStat,
  PutRequest,
  ReadRequest,
  VolumeApi,
} from '../../src/net/volume-api.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { EXTENT, FakeVolume, NODE, REPORT } from '../support/fake-volume-api.ts'
import { expectCode, gather, inPieces, SIGNAL, settle } from '../support/test-volume.ts'

const SECRET = Buffer.alloc(32, 1)
const FILE_ID: FileId = parseFileId('3,01637037d6')
const MANIFEST = { 'X-File-Store': 'manifest' }
const LARGE = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, index) => index * 7))

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

type Answer = (res: ServerResponse, seen: Seen) => void

class Fixture implements AsyncDisposable {
  readonly api: FakeVolume
  readonly seen: Seen[] = []
  answer: Answer = (res) => void res.end()
  readonly grpc: GrpcServer
  readonly remote: RemoteVolume
  readonly #http: Server

  private constructor(
    parts: { grpc: GrpcServer; http: Server; api: FakeVolume },
    timeoutMs: number,
  ) {
    this.grpc = parts.grpc
    this.api = parts.api
    this.#http = parts.http
    this.#http.on('request', async (req: IncomingMessage, res: ServerResponse) => {
      const { method = '', url = '', headers } = req
      // A body that breaks off is no request to answer.
      const body = await gather(req).catch(() => undefined)
      if (body === undefined) return
      const seen = { method, url, headers, body }
      this.seen.push(seen)
      this.answer(res, seen)
    })
    const { port } = this.#http.address() as AddressInfo
    const grpcAddress = `127.0.0.1:${this.grpc.address.port}`
    const location = { url: `127.0.0.1:${port}`, grpcAddress }
    const outside = { clock: systemClock, random: cryptoRandom }
    this.remote = new RemoteVolume(outside, { location, secret: SECRET, timeoutMs })
  }

  static async open(timeoutMs = 5000): Promise<Fixture> {
    const api = new FakeVolume()
    const grpc = await GrpcServer.open(
      { logger: silentLogger, clock: systemClock, secret: SECRET },
      { host: '127.0.0.1', port: 0, services: [volumeService(api)] },
    )
    const http = createServer()
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    return new Fixture({ grpc, http, api }, timeoutMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remote.close(0)
    this.#http.closeAllConnections()
    this.#http.close()
    await this.grpc.close(0)
  }
}

async function collect<Value>(source: AsyncIterable<Value>): Promise<Value[]> {
  const values: Value[] = []
  for await (const value of source) values.push(value)
  return values
}

function putOf(data: Buffer, metadata: NeedleMetadata = {}, isReplica = false): PutRequest {
  return { fileId: FILE_ID, data, metadata, writeToken: 'tok', isReplica }
}

const READ: ReadRequest = { fileId: FILE_ID, range: undefined, readDeleted: false, readToken: '' }

function created(checksum: number): Answer {
  return (res) => {
    res.writeHead(201, { ETag: `"${hex8(checksum)}"`, 'Content-Type': 'application/json' })
    res.end('{"size":1,"durable":true}')
  }
}

async function readAll(remote: RemoteVolume, request = READ) {
  await using content = await remote.read(request, SIGNAL)
  return { ...content, bytes: await gather(content.data) }
}

describe('puts and deletes', () => {
  test.each([
    [0, 'grpc'],
    [65_536, 'grpc'],
    [65_537, 'http'],
  ])('%i bytes go over %s', async (length, way) => {
    await using fixture = await Fixture.open()
    const data = Buffer.alloc(length, 3)
    fixture.answer = created(crc32c(data))
    const answer = await fixture.remote.put(putOf(data), SIGNAL)
    const checksum = crc32c(data)
    expect(answer).toEqual({ checksum, dataBytes: length, isUnchanged: false, isDurable: true })
    expect(fixture.seen).toHaveLength(way === 'http' ? 1 : 0)
    expect(fixture.api.needles.size).toBe(way === 'http' ? 0 : 1)
  })

  test('a large put says in its headers and query what there is to say', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = created(crc32c(LARGE))
    const metadata: NeedleMetadata = {
      name: 'naïve (1)*.txt',
      mime: 'text/x',
      lastModifiedS: 77,
      ttl: { count: 3, unit: 'day' },
      pairs: { 'X-Color': 'grün' },
      isCompressed: true,
      isChunkManifest: true,
    }
    await fixture.remote.put(putOf(LARGE, metadata), SIGNAL)
    expect(fixture.seen[0]).toMatchObject({
      method: 'PUT',
      url: '/3,01637037d6?ttl=3d&ts=77&cm=true',
      headers: {
        'content-length': '100000',
        'content-type': 'text/x',
        'content-encoding': 'gzip',
        'content-disposition': "inline; filename*=UTF-8''na%C3%AFve%20%281%29%2A.txt",
        'seaweed-x-color': Buffer.from('grün').toString('latin1'),
        authorization: 'BEARER tok',
      },
    })
    expect(fixture.seen[0]?.body.equals(LARGE)).toBe(true)
    expect(fixture.seen[0]?.headers).not.toHaveProperty('hayloft-cluster-auth')
  })

  test('a large put to a replica shows the secret for exactly this target', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = created(crc32c(LARGE))
    await fixture.remote.put(putOf(LARGE, {}, true), SIGNAL)
    const [seen] = fixture.seen
    expect(seen?.url).toBe('/3,01637037d6?type=replicate')
    const auth = new ClusterAuth({ clock: systemClock, random: cryptoRandom }, SECRET)
    auth.verifyHttp('PUT', seen?.url ?? '', String(seen?.headers['hayloft-cluster-auth']))
  })

  test.each([
    ['a name with a slash', { name: 'a/b' }],
    ['a pair in small letters', { pairs: { color: 'red' } }],
    ['a pair with a line break', { pairs: { Color: 'a\r\nb' } }],
    ['a pair that would steer the connection', { pairs: { Connection: 'close' } }],
    ['the type of a form', { mime: 'multipart/form-data; boundary=x' }],
  ])('%s goes over gRPC, whatever its size; as a stream it is refused', async (_, metadata) => {
    await using fixture = await Fixture.open()
    await fixture.remote.put(putOf(LARGE, metadata), SIGNAL)
    expect(fixture.seen).toEqual([])
    expect(fixture.api.needles.get('3,01637037d6')?.metadata).toMatchObject(metadata)
    const stream = { ...putOf(LARGE, metadata), source: inPieces(LARGE, 1000) }
    await expectCode(fixture.remote.putStream(stream, SIGNAL), 'NEEDLE_INVALID')
  })

  test('a stream arrives whole and is counted', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = created(5)
    const request = { ...putOf(LARGE), source: inPieces(LARGE, 777) }
    const answer = await fixture.remote.putStream(request, SIGNAL)
    expect(answer).toMatchObject({ checksum: 5, dataBytes: 100_000 })
    expect(fixture.seen[0]?.body.equals(LARGE)).toBe(true)
  })

  test('a stream whose source fails is not stored, and fails with that error', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = created(5)
    const source = async function* (): AsyncGenerator<Buffer> {
      yield LARGE
      throw new Error('the source broke')
    }
    const put = fixture.remote.putStream({ ...putOf(LARGE), source: source() }, SIGNAL)
    await expect(put).rejects.toThrow(/^the source broke$/)
    expect(fixture.seen).toEqual([])
  })

  test('the same bytes again are 204, and durable', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = (res) => {
      res.writeHead(204, { ETag: `"${hex8(crc32c(LARGE))}"` })
      res.end()
    }
    const answer = await fixture.remote.put(putOf(LARGE), SIGNAL)
    expect(answer).toMatchObject({ isUnchanged: true, isDurable: true, dataBytes: 100_000 })
  })

  test.each([
    ['another checksum', created(1), 'CHECKSUM_MISMATCH'],
    ['no ETag', (res) => void res.writeHead(201).end('{}'), 'PEER_FAILED'],
    [
      'an error with a code',
      (res) => void res.writeHead(409).end('{"error":"sealed","code":"VOLUME_SEALED"}'),
      'VOLUME_SEALED',
    ],
    ['a page', (res) => void res.writeHead(502).end('<html>'.repeat(100_000)), 'PEER_FAILED'],
    ['nothing: it hangs up', (res) => void res.destroy(), 'UNAVAILABLE'],
  ] as const satisfies readonly (readonly [string, Answer, string])[])(
    'an answer with %s',
    async (_, answer, code) => {
      await using fixture = await Fixture.open()
      fixture.answer = answer
      await expectCode(fixture.remote.put(putOf(LARGE), SIGNAL), code)
    },
  )

  test('a batch of deletes has an answer for each, with its error', async () => {
    await using fixture = await Fixture.open()
    await fixture.remote.put(putOf(Buffer.from('x')), SIGNAL)
    const one = { fileId: FILE_ID, writeToken: '', isReplica: true }
    const answers = await fixture.remote.batchDelete([one, one], SIGNAL)
    expect(answers.map(({ wasLive, error }) => [wasLive, error?.code])).toEqual([
      [true, undefined],
      [false, 'VOLUME_SEALED'],
    ])
    expect(await fixture.remote.batchDelete([], SIGNAL)).toEqual([])
    expect(await fixture.remote.delete(one, SIGNAL)).toEqual({ wasLive: false, freedBytes: 0 })
  })

  test('a put whose caller gives up is CANCELLED at once', async () => {
    await using fixture = await Fixture.open()
    fixture.api.beforeWrite = () => new Promise(() => {})
    fixture.answer = () => {}
    for (const data of [Buffer.from('small'), LARGE]) {
      const controller = new AbortController()
      const put = expectCode(fixture.remote.put(putOf(data), controller.signal), 'CANCELLED')
      await settle(50)
      controller.abort()
      await put
      await expectCode(fixture.remote.put(putOf(data), controller.signal), 'CANCELLED')
    }
  })

  test('a server that answers no write within the timeout is TIMEOUT', async () => {
    await using fixture = await Fixture.open(100)
    fixture.api.beforeWrite = () => new Promise(() => {})
    await expectCode(fixture.remote.put(putOf(Buffer.from('x')), SIGNAL), 'TIMEOUT')
    expect(fixture.remote.queuedCount).toBe(0)
    fixture.api.beforeWrite = async () => {}
    await fixture.remote.put(putOf(Buffer.from('x')), SIGNAL)
  })
})

function file(data: Buffer, headers: Record<string, string> = {}): Answer {
  return (res, { headers: asked }) => {
    const etag = { ETag: `"${hex8(crc32c(data))}"`, ...headers }
    const [, start, last] = /^bytes=(\d+)-(\d+)$/.exec(asked.range ?? '') ?? []
    if (start === undefined || last === undefined) {
      res.writeHead(200, { 'Content-Length': data.length, ...etag })
      res.end(data)
      return
    }
    const part = data.subarray(Number(start), Number(last) + 1)
    const range = `bytes ${start}-${Number(start) + part.length - 1}/${data.length}`
    res.writeHead(206, { 'Content-Range': range, 'Content-Length': part.length, ...etag })
    res.end(part)
  }
}

describe('reads over HTTP', () => {
  test.each([0, 1, 1000, 1 << 20, (1 << 20) + 1, 5 << 20])(
    '%i bytes arrive whole',
    async (length) => {
      await using fixture = await Fixture.open()
      const data = Buffer.from(new Uint8Array(length).map((_, index) => index * 13))
      fixture.answer = file(data)
      const { bytes, dataBytes, checksum } = await readAll(fixture.remote)
      expect(bytes.equals(data)).toBe(true)
      expect([dataBytes, checksum]).toEqual([length, crc32c(data)])
      expect(fixture.seen[0]).toMatchObject({
        method: 'GET',
        url: '/3,01637037d6',
        headers: { 'accept-encoding': 'gzip' },
      })
    },
  )

  test('headers become metadata again, names of pairs as they were', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = file(Buffer.from('x'), {
      'Content-Type': 'text/x',
      'Content-Disposition': `inline; filename="a.txt"; filename*=UTF-8''%C3%A4.txt`,
      'Last-Modified': new Date(77_000).toUTCString(),
      'Content-Encoding': 'gzip',
      'X-Content-Type-Options': 'nosniff',
      'X-Color': 'red',
      'Access-Control-Allow-Origin': '*',
    })
    const { metadata } = await readAll(fixture.remote)
    expect(metadata).toEqual({
      name: 'ä.txt',
      mime: 'text/x',
      lastModifiedS: 77,
      pairs: { 'X-Color': 'red' },
      isCompressed: true,
      isChunkManifest: false,
    })
  })

  test('a part is asked for, its place checked, and the whole size known', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = file(LARGE)
    const range = { start: 10, end: 20 }
    const found = await readAll(fixture.remote, { ...READ, range, readToken: 'r' })
    expect(found.bytes).toEqual(LARGE.subarray(10, 20))
    expect(found.dataBytes).toBe(100_000)
    expect(fixture.seen[0]?.headers).toMatchObject({
      range: 'bytes=10-19',
      authorization: 'BEARER r',
    })
    for (const [start, end] of [
      [5, 5],
      [99_999, 100_001],
    ] as const) {
      const read = fixture.remote.read({ ...READ, range: { start, end } }, SIGNAL)
      await expectCode(read, 'RANGE_INVALID')
    }
  })

  test('a chunk manifest is read itself, not the file it stands for', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = (res, seen) => {
      const isRaw = seen.url.includes('cm=false')
      file(Buffer.from(isRaw ? '{}' : 'the large file'), {
        'X-File-Store': isRaw ? 'manifest' : 'chunked',
      })(res, seen)
    }
    const { bytes, metadata } = await readAll(fixture.remote, { ...READ, readDeleted: true })
    expect(bytes.toString()).toBe('{}')
    expect(metadata.isChunkManifest).toBe(true)
    expect(fixture.seen.map(({ url }) => url)).toEqual([
      '/3,01637037d6?readDeleted=true',
      '/3,01637037d6?cm=false&readDeleted=true',
    ])
  })

  test('a chunk manifest is read also when the file it stands for cannot be opened', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = (res, seen) => {
      if (seen.url.includes('cm=false')) return file(Buffer.from('{}'), MANIFEST)(res, seen)
      res.writeHead(500, { 'X-File-Store': 'chunked' })
      res.end('{"code":"SHARDS_LOST","error":"gone"}')
    }
    const { bytes, metadata } = await readAll(fixture.remote)
    expect([bytes.toString(), metadata.isChunkManifest]).toEqual(['{}', true])
    fixture.answer = (res) => {
      res.writeHead(500, { 'X-File-Store': 'chunked' })
      res.end('{"code":"DISK_FAILED","error":"bad"}')
    }
    await expectCode(readAll(fixture.remote), 'DISK_FAILED')
    expect(fixture.seen).toHaveLength(4)
  })

  test('the masked checksum of an old needle is taken too', async () => {
    await using fixture = await Fixture.open()
    const data = Buffer.from('old')
    fixture.answer = file(data, { ETag: `"${hex8(maskCrc32c(crc32c(data)))}"` })
    expect((await readAll(fixture.remote)).bytes).toEqual(data)
  })

  test.each([1000, 3 << 20])(
    'a flipped bit in %i bytes is found before the last piece',
    async (n) => {
      await using fixture = await Fixture.open()
      const data = Buffer.alloc(n, 1)
      fixture.answer = file(data, { ETag: `"${hex8(crc32c(Buffer.alloc(n, 2)))}"` })
      let bytes = 0
      const run = async (): Promise<void> => {
        await using content = await fixture.remote.read(READ, SIGNAL)
        for await (const piece of content.data) bytes += piece.length
      }
      await expectCode(run(), 'CHECKSUM_MISMATCH')
      expect(bytes).toBeLessThan(n)
    },
  )

  test.each([
    ['less than it promised', 1000, 'UNAVAILABLE'],
    ['less than it promised, of a large one', 3 << 20, 'UNAVAILABLE'],
  ] as const)('a server that sends %s fails the read', async (_, length, code) => {
    await using fixture = await Fixture.open()
    fixture.answer = (res) => {
      res.writeHead(200, { 'Content-Length': length + 1, ETag: '"00000000"' })
      res.write(Buffer.alloc(length), () => res.destroy())
    }
    await expectCode(readAll(fixture.remote), code)
  })

  test.each([
    [404, '{"code":"NEEDLE_NOT_FOUND","error":"gone"}', 'NEEDLE_NOT_FOUND'],
    [404, '', 'NEEDLE_NOT_FOUND'],
    [301, '', 'PEER_FAILED'],
    [206, 'x', 'PEER_FAILED'],
    [500, '{"code":"NEEDLE_CORRUPT","error":"bad"}', 'NEEDLE_CORRUPT'],
  ] as const)('status %i with the body %s is %s', async (status, body, code) => {
    await using fixture = await Fixture.open()
    fixture.answer = (res) => void res.writeHead(status).end(body)
    await expectCode(readAll(fixture.remote), code)
  })

  test('a server that is silent is TIMEOUT, a reader that gives up is CANCELLED', async () => {
    await using fixture = await Fixture.open(300)
    fixture.answer = () => {}
    await expectCode(readAll(fixture.remote), 'TIMEOUT')
    const controller = new AbortController()
    const read = expectCode(fixture.remote.read(READ, controller.signal), 'CANCELLED')
    await settle(20)
    controller.abort()
    await read
  })

  test('a large one that is left unread gives its connection back', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = file(Buffer.alloc(8 << 20))
    for (let count = 0; count < 100; count++) {
      await using content = await fixture.remote.read(READ, SIGNAL)
      expect(content.dataBytes).toBe(8 << 20)
    }
  })
})

describe('the rest over gRPC', () => {
  test('a needle is read with all its metadata, and disposed of when its reader leaves', async () => {
    await using fixture = await Fixture.open()
    const { remote, api } = fixture
    const metadata = { name: 'a/b', pairs: { x: 'ä' }, ttl: { count: 3, unit: 'day' } } as const
    const data = Buffer.alloc(50_000, 5)
    await remote.put(putOf(data, metadata), SIGNAL)
    {
      await using content = await remote.readOverGrpc(READ, SIGNAL)
      expect(content.metadata).toMatchObject(metadata)
      expect([content.dataBytes, content.checksum]).toEqual([50_000, crc32c(data)])
      expect((await gather(content.data)).equals(data)).toBe(true)
    }
    {
      await using part = await remote.readOverGrpc({ ...READ, range: { start: 1, end: 3 } }, SIGNAL)
      expect(await gather(part.data)).toEqual(data.subarray(1, 3))
    }
    {
      await using _left = await remote.readOverGrpc(READ, SIGNAL)
    }
    while (api.calls.filter((name) => name === 'read-disposed').length < 3) await settle(5)
    await expectCode(
      remote.readOverGrpc({ ...READ, range: { start: 5, end: 5 } }, SIGNAL),
      'RANGE_INVALID',
    )
    const other = { ...READ, fileId: parseFileId('3,02637037d6') }
    await expectCode(remote.readOverGrpc(other, SIGNAL), 'NEEDLE_NOT_FOUND')
  })

  test('commands, states and streams arrive as they were said', async () => {
    await using fixture = await Fixture.open()
    const { remote, api } = fixture
    const command = { epoch: 3, volumeId: volumeId(7) }
    await remote.sealVolume(command, SIGNAL)
    await remote.deleteVolume(command, SIGNAL)
    const { collection, replication, ttl } = REPORT
    await remote.allocateVolume({ ...command, collection, replication, ttl }, SIGNAL)
    expect(api.calls).toEqual(['seal', 'delete-volume', 'allocate'])
    expect(await remote.volumeStatus(volumeId(7), SIGNAL)).toEqual(REPORT)
    expect((await remote.serverStatus(SIGNAL)).node).toEqual(NODE)
    expect(await remote.vacuumCheck(volumeId(7), SIGNAL)).toBe(0.25)
    const pieces = await collect(remote.readVolumeFiles({ volumeId: volumeId(7) }, SIGNAL))
    expect(pieces.map(({ offsetBytes }) => offsetBytes)).toEqual(
      Array.from({ length: 100 }, (_, index) => index * 1000),
    )
    const tail = remote.tailVolume({ volumeId: volumeId(7), sinceNs: 5n }, SIGNAL)
    await expectCode(collect(tail), 'VOLUME_NOT_FOUND')
  })
})

const COMMAND = { epoch: 3, volumeId: volumeId(7) }
const IDS = [needleId(0, 1), needleId(2 ** 32 - 1, 2)]
const SOURCE = { ...NODE, url: 'b:1' }

/** Every call that repairs, with everything that can be said in it, and all that it answers. */
const REPAIRS: readonly (readonly [string, (api: VolumeApi) => Promise<unknown>])[] = [
  ['deleteVolume', (api) => api.deleteVolume({ ...COMMAND, expected: EXTENT }, SIGNAL)],
  ['deleteVolume', (api) => api.deleteVolume(COMMAND, SIGNAL)],
  [
    'copyVolume',
    (api) => {
      const how = { politeness: 4, replacesBad: true }
      const command = { ...COMMAND, collection: 'c', source: SOURCE, ...how }
      return collect(api.copyVolume(command, SIGNAL))
    },
  ],
  [
    'tailVolume',
    (api) => {
      const request = { volumeId: volumeId(7), sinceNs: 2n ** 63n, after: EXTENT }
      return collect(api.tailVolume(request, SIGNAL))
    },
  ],
  ['freezeVolume', (api) => api.freezeVolume({ ...COMMAND, forMs: 10_000 }, SIGNAL)],
  ['digestVolume', (api) => api.digestVolume(volumeId(7), SIGNAL)],
  [
    'catchUpVolume',
    (api) => api.catchUpVolume({ ...COMMAND, source: SOURCE, sourceExtent: EXTENT }, SIGNAL),
  ],
  ['listNeedles', (api) => collect(api.listNeedles(volumeId(7), SIGNAL))],
  ['statNeedles', (api) => api.statNeedles(volumeId(7), IDS, SIGNAL)],
  ['healNeedles', (api) => api.healNeedles({ ...COMMAND, source: SOURCE, needleIds: IDS }, SIGNAL)],
  ['deleteNeedles', (api) => api.deleteNeedles({ ...COMMAND, needleIds: IDS }, SIGNAL)],
  [
    'scrubVolume',
    (api) => {
      const command = { volumeId: volumeId(7), from: EXTENT, politeness: 0.25 }
      return collect(api.scrubVolume(command, SIGNAL))
    },
  ],
  [
    'setVolumeReplication',
    (api) => api.setVolumeReplication({ ...COMMAND, replication: REPORT.replication }, SIGNAL),
  ],
]

describe('repair over gRPC', () => {
  test.each(REPAIRS)('%s asks and answers as in this process', async (_, call) => {
    await using fixture = await Fixture.open()
    const local = new FakeVolume()
    expect(await call(fixture.remote)).toEqual(await call(local))
    expect(fixture.api.commands).toEqual(local.commands)
    expect(local.commands).toHaveLength(1)
  })

  test('every call fails with the code of the server', async () => {
    await using fixture = await Fixture.open()
    fixture.api.beforeCall = async () => {
      throw new StoreError('VOLUME_CHANGED', 'it was written to')
    }
    for (const [, call] of REPAIRS) await expectCode(call(fixture.remote), 'VOLUME_CHANGED')
    expect(fixture.api.commands).toHaveLength(REPAIRS.length)
  })

  test('no call is open to those without the secret', async () => {
    await using fixture = await Fixture.open()
    const grpcAddress = `127.0.0.1:${fixture.grpc.address.port}`
    const parts = { clock: systemClock, random: cryptoRandom }
    const location = { url: '127.0.0.1:1', grpcAddress }
    await using stranger = new RemoteVolume(parts, { location, timeoutMs: 5000 })
    for (const [, call] of REPAIRS) await expectCode(call(stranger), 'UNAUTHENTICATED')
    expect(fixture.api.commands).toEqual([])
  })

  test('a vacuum says what it may drop', async () => {
    await using fixture = await Fixture.open()
    const command = { ...COMMAND, dropsTombstones: true, skipsDamage: true, politeness: 1.5 }
    await expectCode(collect(fixture.remote.vacuumVolume(command, SIGNAL)), 'VACUUM_UNVERIFIED')
    expect(fixture.api.commands).toEqual([command])
  })

  test('a digest may take longer than other calls have', async () => {
    await using fixture = await Fixture.open(30)
    let release = (): void => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    fixture.api.beforeCall = () => released
    const digest = fixture.remote.digestVolume(volumeId(7), SIGNAL)
    await expectCode(fixture.remote.freezeVolume({ ...COMMAND, forMs: 1 }, SIGNAL), 'TIMEOUT')
    release()
    expect(await digest).toMatchObject(EXTENT)
  })

  test('more needles than one message may have are deleted, but not healed', async () => {
    await using fixture = await Fixture.open()
    const { remote, api } = fixture
    const needleIds = Array.from({ length: 2500 }, (_, index) => needleId(1, index))
    await remote.deleteNeedles({ ...COMMAND, needleIds }, SIGNAL)
    const parts = api.commands as { readonly needleIds: typeof needleIds }[]
    expect(parts.map((part) => part.needleIds.length)).toEqual([1000, 1000, 500])
    expect(parts.flatMap((part) => part.needleIds)).toEqual(needleIds)
    const healing = remote.healNeedles({ ...COMMAND, source: NODE, needleIds }, SIGNAL)
    await expectCode(healing, 'REQUEST_INVALID')
    await expectCode(remote.statNeedles(volumeId(7), needleIds, SIGNAL), 'REQUEST_INVALID')
  })

  test.each([
    ['too few', (stats: readonly NeedleStat[]) => stats.slice(1)],
    ['in another order', (stats: readonly NeedleStat[]) => stats.toReversed()],
  ])('answers that are %s are PEER_FAILED', async (_, change) => {
    await using fixture = await Fixture.open()
    const { statNeedles } = fixture.api
    fixture.api.statNeedles = async (...asked) =>
      change(await statNeedles.apply(fixture.api, asked))
    await expectCode(fixture.remote.statNeedles(volumeId(7), IDS, SIGNAL), 'PEER_FAILED')
  })

  test('a read sent on for another server says so over HTTP too', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = file(Buffer.from('x'))
    await readAll(fixture.remote, { ...READ, isForwarded: true })
    expect(fixture.seen.map(({ url }) => url)).toEqual(['/3,01637037d6?proxied=true'])
  })
})

describe('the connections to volume servers', () => {
  const parts = { logger: silentLogger, clock: systemClock, random: cryptoRandom }

  test('are one for each server, until its address changes', async () => {
    await using connections = await VolumeConnections.open(parts, {})
    const { connect } = connections
    const first = connect(NODE)
    expect(connect({ ...NODE })).toBe(first)
    expect(connect({ ...NODE, url: '127.0.0.1:1' })).not.toBe(first)
    const moved = connect({ ...NODE, grpcAddress: '127.0.0.1:2' })
    expect(moved).not.toBe(first)
    expect(connect({ ...NODE, grpcAddress: '127.0.0.1:2' })).toBe(moved)
    await settle(20)
    await expectCode(first.serverStatus(SIGNAL), 'CLOSED')
  })

  test('go without the net to a server in this process', async () => {
    await using connections = await VolumeConnections.open(parts, {})
    const api = new FakeVolume()
    connections.addLocal(NODE.url, api)
    expect(connections.connect(NODE)).toBe(api)
    connections.removeLocal(NODE.url)
    expect(connections.connect(NODE)).not.toBe(api)
  })

  test('end once what is under way is done, and then are CLOSED', async () => {
    await using fixture = await Fixture.open()
    let release = (): void => {}
    fixture.api.beforeWrite = () =>
      new Promise((resolve) => {
        release = resolve
      })
    const grpcAddress = `127.0.0.1:${fixture.grpc.address.port}`
    const connections = await VolumeConnections.open(parts, { secret: SECRET })
    const put = connections.connect({ ...NODE, grpcAddress }).put(putOf(Buffer.from('x')), SIGNAL)
    while (fixture.grpc.inFlightCount === 0) await settle(5)
    const closing = connections[Symbol.asyncDispose]()
    await settle(20)
    release()
    expect(await put).toMatchObject({ dataBytes: 1 })
    await closing
    await connections[Symbol.asyncDispose]()
    expect(() => connections.connect(NODE)).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })
})
