import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { needleId, volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { ERROR_CODES, type ErrorCode, StoreError } from '../../src/base/store-error.ts'
import { ClusterAuth, splitProof } from '../../src/net/cluster-auth.ts'
import { GrpcServer } from '../../src/net/grpc-server.ts'
import { SHARDS_PROTO, VOLUME_PROTO } from '../../src/net/proto-loading.ts'
import { RemoteVolume } from '../../src/net/remote-volume.ts'
import { shardsService } from '../../src/net/serve-shards.ts'
import { volumeService } from '../../src/net/serve-volume.ts'
import type { ReadShardRequest, ReadShardSlicesRequest, ShardApi } from '../../src/net/shard-api.ts'
import type { TlsKeys } from '../../src/net/tls.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { FakeShards } from '../support/fake-shards.ts'
import { FakeVolume, NODE } from '../support/fake-volume-api.ts'
import { skipLoudly } from '../support/mounts.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'
import { makeTlsKeys, opensslMissing } from '../support/tls-keys.ts'

const SECRET = Buffer.alloc(32, 1)
const GRPC = { reads: 'grpc' } as const
const PARTS = { clock: systemClock, random: cryptoRandom }
const BYTES = Buffer.from(Uint8Array.from({ length: 3_000_001 }, (_, index) => index * 7))

interface Options {
  readonly timeoutMs?: number
  readonly secret?: Buffer | undefined
  readonly tls?: { readonly server: TlsKeys; readonly client: TlsKeys }
  readonly reads?: 'http' | 'grpc'
}

type Answer = (res: ServerResponse) => void

class Fixture implements AsyncDisposable {
  readonly shards: FakeShards
  readonly remote: RemoteVolume
  readonly grpc: GrpcServer
  /** Paths that were asked for over HTTP, and the proof that came with each. */
  readonly seen: { readonly url: string; readonly auth: string }[] = []
  answer: Answer = (res) => void res.end()
  readonly #http: Server

  private constructor(
    parts: { readonly grpc: GrpcServer; readonly http: Server; readonly shards: FakeShards },
    { timeoutMs = 5000, tls, reads = 'http', ...options }: Options,
  ) {
    this.grpc = parts.grpc
    this.shards = parts.shards
    this.#http = parts.http
    this.#http.on('request', (req: IncomingMessage, res: ServerResponse) => {
      const auth = String(req.headers['hayloft-cluster-auth'])
      this.seen.push({ url: req.url ?? '', auth })
      this.answer(res)
    })
    const { port } = this.#http.address() as AddressInfo
    const grpcAddress = `127.0.0.1:${this.grpc.address.port}`
    const location = { url: `127.0.0.1:${port}`, grpcAddress }
    const secret = 'secret' in options ? options.secret : SECRET
    const config = { location, secret, timeoutMs, reads, tls: tls?.client }
    this.remote = new RemoteVolume(PARTS, config)
  }

  static async open(options: Options = {}): Promise<Fixture> {
    const api = new FakeVolume()
    const grpc = await GrpcServer.open(
      { logger: silentLogger, clock: systemClock, secret: SECRET, tls: options.tls?.server },
      { host: '127.0.0.1', port: 0, services: [volumeService(api), shardsService(api.shards)] },
    )
    const http = createServer()
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    return new Fixture({ grpc, http, shards: api.shards }, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remote.close(0)
    this.#http.closeAllConnections()
    this.#http.close()
    await this.grpc.close(0)
  }
}

/** All values, and the code of the error with which they end. */
async function collect<Value>(source: AsyncIterable<Value>) {
  const values: Value[] = []
  try {
    for await (const value of source) values.push(value)
    return { values, code: undefined }
  } catch (error) {
    return { values, code: (error as StoreError).code }
  }
}

/** Each piece may be overwritten by the next one. */
async function gather(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const copies: Buffer[] = []
  for await (const piece of pieces) copies.push(Buffer.from(piece))
  return Buffer.concat(copies)
}

const RUN = { volumeId: volumeId(2 ** 32 - 1), runId: '18446744073709551615' }
const COMMAND = { epoch: 2 ** 40, ...RUN }
const WORK = { ...COMMAND, collection: 'pictures', politeness: 0.25 }
const SOURCES = [
  { shard: 29, location: NODE },
  { shard: 0, location: { ...NODE, url: 'b:1' } },
  { shard: 0, location: { ...NODE, url: 'c:1' } },
]
const IDS = [needleId(2 ** 32 - 1, 2 ** 32 - 1), needleId(0, 0), needleId(0, 1)]
const ONE = { sliceCount: 1, strideBytes: 0 }
const READ: ReadShardSlicesRequest = { ...RUN, ...ONE, shard: 0, offsetBytes: 5, lengthBytes: 10 }

type Call = readonly [name: keyof ShardApi, call: (api: ShardApi) => Promise<unknown>]

/** Every call but reads, with everything that can be said in it, and all that it answers. */
const CALLS: readonly Call[] = [
  [
    'encodeVolume',
    (api) => {
      const scheme = { dataShards: 24, parityShards: 6 }
      const blocks = { largeBlockBytes: 2 ** 40, smallBlockBytes: 2 ** 20 }
      const command = { ...COMMAND, ...scheme, ...blocks, politeness: 4 }
      return collect(api.encodeVolume(command, SIGNAL))
    },
  ],
  [
    'copyShards',
    (api) => collect(api.copyShards({ ...WORK, shards: [13, 0, 29], source: NODE }, SIGNAL)),
  ],
  [
    'rebuildShards',
    (api) => {
      const command = { ...WORK, shards: [3, 1], sources: SOURCES }
      return collect(api.rebuildShards(command, SIGNAL))
    },
  ],
  [
    'decodeVolume',
    (api) => {
      const command = { ...WORK, sources: SOURCES, livingOnly: true }
      return collect(api.decodeVolume(command, SIGNAL))
    },
  ],
  [
    'verifyShards',
    (api) => collect(api.verifyShards({ ...RUN, shards: [29, 3], politeness: 1.5 }, SIGNAL)),
  ],
  [
    'healShards',
    (api) => {
      const blocks = [
        { shard: 29, block: 2 ** 32 - 1 },
        { shard: 0, block: 0 },
      ]
      return api.healShards({ ...COMMAND, blocks, sources: SOURCES }, SIGNAL)
    },
  ],
  ['deleteShards', (api) => api.deleteShards({ ...COMMAND, shards: [13, 0] }, SIGNAL)],
  ['deleteShards', (api) => api.deleteShards({ ...COMMAND, shards: [] }, SIGNAL)],
  ['journalDeletes', (api) => api.journalDeletes({ ...COMMAND, needleIds: IDS }, SIGNAL)],
  ['shardStatus', (api) => api.shardStatus(volumeId(7), SIGNAL)],
  ['readShardFiles', (api) => collect(api.readShardFiles(RUN, SIGNAL))],
]

/** One for each method, in which nothing is answered before `beforeCall` is done. */
const METHODS: readonly Call[] = [
  ...new Map(CALLS),
  ['listJournal', (api) => collect(api.listJournal(RUN, SIGNAL))],
  ['readShard', (api) => api.readShard(READ, SIGNAL)],
]

describe('shards over gRPC', () => {
  test.each(CALLS)('%s asks and answers as in this process', async (name, call) => {
    await using fixture = await Fixture.open()
    const local = new FakeShards()
    expect(await call(fixture.remote.shards)).toEqual(await call(local))
    expect(fixture.shards.calls).toEqual([name])
    expect(fixture.shards.requests).toEqual(local.requests)
    expect(local.requests).toHaveLength(1)
  })

  test('no method has the name of one that is called on the same channel', () => {
    const names = [...Object.keys(SHARDS_PROTO), ...Object.keys(VOLUME_PROTO)]
    expect(new Set(names).size).toBe(names.length)
  })

  test('every call fails with the code of the server', async () => {
    await using fixture = await Fixture.open(GRPC)
    fixture.shards.beforeCall = async () => {
      throw new StoreError('EPOCH_STALE', 'there is a newer master')
    }
    for (const [name, call] of METHODS) {
      const outcome = await call(fixture.remote.shards).catch((error: unknown) => error)
      expect([name, outcome]).toMatchObject([name, { code: 'EPOCH_STALE' }])
      expect(fixture.shards.calls.at(-1)).toBe(name)
    }
  })

  test('every code there is arrives as it is', async () => {
    await using fixture = await Fixture.open(GRPC)
    for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
      fixture.shards.beforeCall = async () => {
        throw new StoreError(code, `what ${code} says`)
      }
      // What a server gives up is no wish of the caller.
      const expected = code === 'CANCELLED' ? 'UNAVAILABLE' : code
      await expectCode(fixture.remote.shards.readShard(READ, SIGNAL), expected)
    }
  })

  test('no call is open to those without the secret', async () => {
    await using fixture = await Fixture.open({ ...GRPC, secret: undefined })
    for (const [name, call] of METHODS) {
      const outcome = await call(fixture.remote.shards).catch((error: unknown) => error)
      expect([name, outcome]).toMatchObject([name, { code: 'UNAUTHENTICATED' }])
    }
    expect(fixture.shards.calls).toEqual([])
  })

  test('a caller that gives up is CANCELLED, and the server is told', async () => {
    await using fixture = await Fixture.open(GRPC)
    let told = 0
    fixture.shards.beforeCall = (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          told++
          reject(signal.reason)
        })
      })
    const { shards } = fixture.remote
    const calls: readonly ((signal: AbortSignal) => Promise<unknown>)[] = [
      (signal) => shards.readShard(READ, signal),
      (signal) => shards.deleteShards({ ...COMMAND, shards: [1] }, signal),
      async (signal) => {
        for await (const _ of shards.listJournal(RUN, signal)) throw new Error('an answer')
      },
    ]
    for (const [index, call] of calls.entries()) {
      const controller = new AbortController()
      const calling = expectCode(call(controller.signal), 'CANCELLED')
      while (fixture.grpc.inFlightCount === 0) await settle(5)
      controller.abort()
      await calling
      while (told <= index) await settle(5)
      while (fixture.grpc.inFlightCount > 0) await settle(5)
      await expectCode(call(controller.signal), 'CANCELLED')
    }
    expect(told).toBe(calls.length)
  })

  test('healing and deleting may take longer than other calls have', async () => {
    await using fixture = await Fixture.open({ ...GRPC, timeoutMs: 30 })
    const { shards } = fixture.remote
    let release = (): void => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    fixture.shards.beforeCall = () => released
    const blocks = [{ shard: 0, block: 0 }]
    const healing = shards.healShards({ ...COMMAND, blocks, sources: [] }, SIGNAL)
    const deleting = shards.deleteShards({ ...COMMAND, shards: [0] }, SIGNAL)
    await expectCode(shards.readShard(READ, SIGNAL), 'TIMEOUT')
    release()
    await healing
    await deleting
  })

  test('more blocks than one message may have are healed, in their order', async () => {
    await using fixture = await Fixture.open()
    const blocks = Array.from({ length: 600 }, (_, block) => ({ shard: block % 14, block }))
    const command = { ...COMMAND, blocks, sources: SOURCES }
    await fixture.remote.shards.healShards(command, SIGNAL)
    const parts = fixture.shards.requests as (typeof command)[]
    expect(parts.map((part) => part.blocks.length)).toEqual([256, 256, 88])
    expect(parts.flatMap((part) => part.blocks)).toEqual(blocks)
    expect(parts.map(({ sources }) => sources)).toEqual([SOURCES, SOURCES, SOURCES])
  })

  test('more deletes than one message may have reach the journal, in their order', async () => {
    await using fixture = await Fixture.open()
    const needleIds = Array.from({ length: 20_001 }, (_, index) => needleId(index, 1))
    await fixture.remote.shards.journalDeletes({ ...COMMAND, needleIds }, SIGNAL)
    const parts = fixture.shards.requests as { readonly needleIds: typeof needleIds }[]
    expect(parts.map((part) => part.needleIds.length)).toEqual([10_000, 10_000, 1])
    expect(parts.flatMap((part) => part.needleIds)).toEqual(needleIds)
  })

  test.each([0, 1, 10_000, 10_001, 25_000])(
    'a journal of %i deletes arrives whole, in pages of at most 10,000',
    async (count) => {
      await using fixture = await Fixture.open()
      const ids = Array.from({ length: count }, (_, index) => needleId(1, index))
      fixture.shards.journal = [ids, [], [needleId(2, 0)]]
      const { values, code } = await collect(fixture.remote.shards.listJournal(RUN, SIGNAL))
      expect(code).toBeUndefined()
      expect(values.flat()).toEqual([...ids, needleId(2, 0)])
      const pages = values.map(({ length }) => length)
      expect(Math.max(...pages)).toBeLessThanOrEqual(LIMITS.journalPageMax.value)
      expect(fixture.shards.requests).toEqual([RUN])
    },
  )

  test('a file of shards that is larger than a message arrives in pieces of 1 MiB', async () => {
    await using fixture = await Fixture.open()
    const large = Buffer.alloc(10 << 20, 3)
    fixture.shards.files = [{ extension: 'ecx', offsetBytes: 7, data: large }]
    const { values } = await collect(fixture.remote.shards.readShardFiles(RUN, SIGNAL))
    const offsets = values.map(({ offsetBytes }) => offsetBytes)
    expect(offsets).toEqual(Array.from({ length: 10 }, (_, index) => 7 + index * 2 ** 20))
    expect(Buffer.concat(values.map(({ data }) => data)).equals(large)).toBe(true)
  })
})

describe('bytes of a shard', () => {
  test.each([
    [0, 1],
    [5, 1000],
    [2_000_000, LIMITS.shardReadMax.value - 48_576 - 1],
  ])('from %i on, %i of them, are read in one message', async (offsetBytes, lengthBytes) => {
    await using fixture = await Fixture.open(GRPC)
    fixture.shards.bytes = BYTES
    const request = { ...READ, offsetBytes, lengthBytes }
    const bytes = await fixture.remote.shards.readShard(request, SIGNAL)
    expect(bytes.equals(BYTES.subarray(offsetBytes, offsetBytes + lengthBytes))).toBe(true)
    expect(fixture.shards.requests).toEqual([request])
  })

  test('that lie apart are asked for at once', async () => {
    await using fixture = await Fixture.open(GRPC)
    fixture.shards.bytes = BYTES
    const request = { ...READ, sliceCount: 3, strideBytes: 1000 }
    const bytes = await fixture.remote.shards.readShard(request, SIGNAL)
    const slices = [5, 1005, 2005].map((at) => BYTES.subarray(at, at + 10))
    expect(bytes.equals(Buffer.concat(slices))).toBe(true)
    expect(fixture.shards.requests).toEqual([request])
  })

  test.each([
    ['more than may be in one message', { lengthBytes: 2 ** 20 + 1 }, 'RANGE_INVALID'],
    ['beyond its end', { offsetBytes: BYTES.length }, 'RANGE_INVALID'],
    ['of a shard that is elsewhere', { shard: 1 }, 'SHARD_NOT_FOUND'],
  ] as const)('%s are refused', async (_, change, code) => {
    await using fixture = await Fixture.open(GRPC)
    fixture.shards.bytes = BYTES
    const reading = fixture.remote.shards.readShard({ ...READ, ...change }, SIGNAL)
    await expectCode(reading, code)
  })

  test.each([0, 9, 11])('of which %i come instead of 10 are PEER_FAILED', async (length) => {
    await using fixture = await Fixture.open(GRPC)
    fixture.shards.readShard = async () => Buffer.alloc(length)
    await expectCode(fixture.remote.shards.readShard(READ, SIGNAL), 'PEER_FAILED')
  })
})

function sendBytes(bytes: Uint8Array): Answer {
  return (res) => {
    res.writeHead(200, { 'Content-Length': bytes.length })
    res.end(bytes)
  }
}

const sendGone: Answer = (res) => {
  const body = '{"error":"gone","code":"SHARD_NOT_FOUND"}'
  res.writeHead(404, { 'Content-Length': body.length }).end(body)
}

const NO_BYTES = Buffer.alloc(0)
const WHOLE: ReadShardRequest = { ...RUN, shard: 0, offsetBytes: 0, lengthBytes: BYTES.length }

describe('slices of a shard over HTTP', () => {
  const request = { ...READ, sliceCount: 3, strideBytes: 1000 }

  test('are asked for at once, and show the secret for exactly this path', async () => {
    await using fixture = await Fixture.open()
    fixture.answer = sendBytes(BYTES.subarray(0, 30))
    const bytes = await fixture.remote.shards.readShard(request, SIGNAL)
    expect(bytes.equals(BYTES.subarray(0, 30))).toBe(true)
    const place = 'volume=4294967295&run=18446744073709551615&shard=0&offset=5&bytes=10'
    const { target, proof } = splitProof(fixture.seen[0]?.url ?? '')
    expect(target).toBe(`/vol/shard?${place}&slices=3&stride=1000`)
    new ClusterAuth(PARTS, SECRET).verifyHttp('GET', target, proof)
    expect(fixture.shards.calls).toEqual([])
  })

  test.each([
    [sendBytes(BYTES.subarray(0, 29)), 'PEER_FAILED'],
    [sendBytes(BYTES.subarray(0, 31)), 'PEER_FAILED'],
    [sendBytes(NO_BYTES), 'PEER_FAILED'],
    [sendGone, 'SHARD_NOT_FOUND'],
    [(res) => void res.destroy(), 'UNAVAILABLE'],
  ] as const satisfies readonly (readonly [Answer, string])[])(
    'that do not come as wanted fail',
    async (answer, code) => {
      await using fixture = await Fixture.open()
      fixture.answer = answer
      await expectCode(fixture.remote.shards.readShard(request, SIGNAL), code)
    },
  )

  test('are waited for no longer than their reader does', async () => {
    await using fixture = await Fixture.open({ timeoutMs: 50 })
    fixture.answer = () => undefined
    const controller = new AbortController()
    const reading = expectCode(
      fixture.remote.shards.readShard(request, controller.signal),
      'CANCELLED',
    )
    while (fixture.seen.length === 0) await settle(5)
    controller.abort()
    await reading
  })
})

describe('a whole shard over HTTP', () => {
  test('is asked for with its run, and shows the secret for exactly this path', async () => {
    await using fixture = await Fixture.open()
    const part = BYTES.subarray(5, 5 + 2_000_000)
    fixture.answer = sendBytes(part)
    const request = { ...READ, shard: 13, lengthBytes: part.length }
    const bytes = await gather(fixture.remote.shards.streamShard(request, SIGNAL))
    expect(bytes.equals(part)).toBe(true)
    const query = 'volume=4294967295&run=18446744073709551615&shard=13&offset=5&bytes=2000000'
    expect(fixture.seen.map(({ url }) => url)).toEqual([`/vol/shard?${query}`])
    const [{ url, auth } = { url: '', auth: '' }] = fixture.seen
    new ClusterAuth(PARTS, SECRET).verifyHttp('GET', url, auth)
    expect(fixture.shards.calls).toEqual([])
  })

  test.each([
    ['fewer bytes', sendBytes(BYTES.subarray(1)), 'PEER_FAILED'],
    ['more bytes', sendBytes(Buffer.concat([BYTES, BYTES])), 'PEER_FAILED'],
    ['an error with a code', sendGone, 'SHARD_NOT_FOUND'],
    [
      'less than it promised',
      (res) => {
        res.writeHead(200, { 'Content-Length': BYTES.length })
        res.write(BYTES.subarray(0, 1000), () => res.destroy())
      },
      'UNAVAILABLE',
    ],
  ] as const satisfies readonly (readonly [string, Answer, string])[])(
    'of which %s come fails',
    async (_, answer, code) => {
      await using fixture = await Fixture.open()
      fixture.answer = answer
      const { code: failed } = await collect(fixture.remote.shards.streamShard(WHOLE, SIGNAL))
      expect(failed).toBe(code)
    },
  )

  test('ends at once when its reader gives up, and when it leaves', async () => {
    await using fixture = await Fixture.open()
    let closed = 0
    fixture.answer = (res) => {
      res.on('close', () => closed++)
      res.writeHead(200, { 'Content-Length': BYTES.length })
      res.write(BYTES.subarray(0, 2_500_000))
    }
    const controller = new AbortController()
    const reading = collect(fixture.remote.shards.streamShard(WHOLE, controller.signal))
    while (fixture.seen.length === 0) await settle(5)
    controller.abort()
    expect((await reading).code).toBe('CANCELLED')
    for await (const _piece of fixture.remote.shards.streamShard(WHOLE, SIGNAL)) break
    while (closed < 2) await settle(5)
  })
})

describe.skipIf(skipLoudly('shards over TLS', opensslMissing))('a whole shard over TLS', () => {
  test('goes over gRPC, though its reader fills the same memory again and again', async () => {
    await using directory = await openTempDirectory()
    const [server, client] = makeTlsKeys(directory.path, 'ours', ['server', 'client'])
    if (server === undefined || client === undefined) throw new Error('keys')
    await using fixture = await Fixture.open({ tls: { server, client } })
    fixture.shards.bytes = BYTES
    for (const pieceBytes of [1000, 65_536, 3_000_000]) {
      fixture.shards.pieceBytes = pieceBytes
      const bytes = await gather(fixture.remote.shards.streamShard(WHOLE, SIGNAL))
      expect([pieceBytes, bytes.equals(BYTES)]).toEqual([pieceBytes, true])
    }
    const gone = await collect(fixture.remote.shards.streamShard({ ...WHOLE, shard: 1 }, SIGNAL))
    expect(gone).toEqual({ values: [], code: 'SHARD_NOT_FOUND' })
    expect(fixture.seen).toEqual([])
  })
})
