import { connect as connectSocket } from 'node:net'
import { Client, credentials, Metadata, type ServiceDefinition, status } from '@grpc/grpc-js'
import { service as healthService } from 'grpc-health-check'
import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import { CLUSTER_AUTH_HEADER, ClusterAuth } from '../../src/net/cluster-auth.ts'
import { GrpcChannel } from '../../src/net/grpc-channel.ts'
import { GrpcServer, type GrpcServerConfig } from '../../src/net/grpc-server.ts'
import {
  JOBS_PROTO,
  MASTER_PROTO,
  SHARDS_PROTO,
  VOLUME_PROTO,
} from '../../src/net/proto-loading.ts'
import { jobsService } from '../../src/net/serve-jobs.ts'
import { masterService } from '../../src/net/serve-master.ts'
import { shardsService } from '../../src/net/serve-shards.ts'
import { volumeService } from '../../src/net/serve-volume.ts'
import type { TlsKeys } from '../../src/net/tls.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { type Logger, silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { FakeJobs } from '../support/fake-jobs-api.ts'
import { FakeMaster } from '../support/fake-master-api.ts'
import { FakeVolume } from '../support/fake-volume-api.ts'
import { skipLoudly } from '../support/mounts.ts'
import { SimClock } from '../support/sim-clock.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'
import { makeTlsKeys, opensslMissing } from '../support/tls-keys.ts'

const SECRET = Buffer.alloc(32, 1)
const OTHER_SECRET = Buffer.alloc(32, 2)

interface Options extends Partial<GrpcServerConfig> {
  readonly secret?: Buffer | undefined
  readonly clientSecret?: Buffer | undefined
  readonly tls?: TlsKeys | undefined
  readonly clientTls?: TlsKeys | undefined
  readonly clientClock?: SimClock
  readonly serverClock?: SimClock
  readonly logger?: Logger
}

class Fixture implements AsyncDisposable {
  readonly master: FakeMaster
  readonly volume: FakeVolume
  readonly jobs: FakeJobs
  readonly server: GrpcServer
  readonly toMaster: GrpcChannel
  readonly toVolume: GrpcChannel
  readonly toJobs: GrpcChannel
  readonly toShards: GrpcChannel
  readonly client: Client

  private constructor(
    served: Pick<Fixture, 'server' | 'master' | 'volume' | 'jobs'>,
    options: Options,
  ) {
    const { server } = served
    this.server = server
    this.master = served.master
    this.volume = served.volume
    this.jobs = served.jobs
    const address = `127.0.0.1:${server.address.port}`
    const { clientSecret: secret, clientTls: tls, clientClock } = options
    const parts = { clock: clientClock ?? systemClock, random: cryptoRandom }
    const shared = { address, secret, tls, timeoutMs: 10_000 }
    this.toMaster = new GrpcChannel(parts, { ...shared, service: MASTER_PROTO })
    this.toVolume = new GrpcChannel(parts, { ...shared, service: VOLUME_PROTO })
    this.toJobs = new GrpcChannel(parts, { ...shared, service: JOBS_PROTO })
    this.toShards = new GrpcChannel(parts, { ...shared, service: SHARDS_PROTO })
    this.client = new Client(address, credentials.createInsecure())
  }

  static async open(options: Options = {}): Promise<Fixture> {
    const { secret, tls, logger = silentLogger, serverClock } = options
    const { host = '127.0.0.1', port = 0, callsMax, callMs } = options
    const master = new FakeMaster()
    const volume = new FakeVolume()
    const jobs = new FakeJobs()
    const server = await GrpcServer.open(
      { logger, clock: serverClock ?? systemClock, secret, tls },
      {
        host,
        port,
        services: [
          masterService(master),
          volumeService(volume),
          jobsService(jobs),
          shardsService(volume.shards),
        ],
        callsMax,
        callMs,
      },
    )
    return new Fixture({ server, master, volume, jobs }, options)
  }

  /** A raw call with metadata of one's own; resolves with the status. */
  async raw(definition: ServiceDefinition, name: string, metadata = new Metadata()) {
    const method = definition[name]
    if (method === undefined) throw new Error(name)
    return await new Promise<{ code: number; answer?: unknown }>((resolve) => {
      this.client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        {},
        metadata,
        (error, answer) => resolve({ code: error?.code ?? status.OK, answer }),
      )
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close()
    await this.toMaster[Symbol.asyncDispose]()
    await this.toVolume[Symbol.asyncDispose]()
    await this.toJobs[Symbol.asyncDispose]()
    await this.server.close(0)
  }
}

const CLUSTER_METHODS = [
  '/hayloft.v1.Jobs/ChangeMembers',
  '/hayloft.v1.Jobs/ChangeStripe',
  '/hayloft.v1.Jobs/ChooseShards',
  '/hayloft.v1.Jobs/ChooseTarget',
  '/hayloft.v1.Jobs/EndJob',
  '/hayloft.v1.Jobs/ForgetNode',
  '/hayloft.v1.Jobs/ForgetVolume',
  '/hayloft.v1.Jobs/GetHealPlan',
  '/hayloft.v1.Jobs/GetNextMove',
  '/hayloft.v1.Jobs/GetNextShardMove',
  '/hayloft.v1.Jobs/ListDirty',
  '/hayloft.v1.Jobs/NoteScrub',
  '/hayloft.v1.Jobs/NoteVacuum',
  '/hayloft.v1.Jobs/OrderJob',
  '/hayloft.v1.Jobs/ReportJob',
  '/hayloft.v1.Jobs/ResolveDirty',
  '/hayloft.v1.Jobs/RunJob',
  '/hayloft.v1.Jobs/SetReplication',
  '/hayloft.v1.Jobs/TakeJob',
  '/hayloft.v1.Master/ConfigureCollection',
  '/hayloft.v1.Master/DeleteCollection',
  '/hayloft.v1.Master/Grow',
  '/hayloft.v1.Master/Heartbeat',
  '/hayloft.v1.Master/RecordDirty',
  '/hayloft.v1.Shards/CopyShards',
  '/hayloft.v1.Shards/DecodeVolume',
  '/hayloft.v1.Shards/DeleteShards',
  '/hayloft.v1.Shards/EncodeVolume',
  '/hayloft.v1.Shards/GetShardStatus',
  '/hayloft.v1.Shards/HealShards',
  '/hayloft.v1.Shards/JournalDeletes',
  '/hayloft.v1.Shards/ListJournal',
  '/hayloft.v1.Shards/ReadShard',
  '/hayloft.v1.Shards/ReadShardFiles',
  '/hayloft.v1.Shards/RebuildShards',
  '/hayloft.v1.Shards/StreamShard',
  '/hayloft.v1.Shards/VerifyShards',
  '/hayloft.v1.Volume/AllocateVolume',
  '/hayloft.v1.Volume/CatchUpVolume',
  '/hayloft.v1.Volume/CopyVolume',
  '/hayloft.v1.Volume/DeleteNeedles',
  '/hayloft.v1.Volume/DeleteVolume',
  '/hayloft.v1.Volume/DigestVolume',
  '/hayloft.v1.Volume/FreezeVolume',
  '/hayloft.v1.Volume/HealNeedles',
  '/hayloft.v1.Volume/ListNeedles',
  '/hayloft.v1.Volume/ReadVolumeFiles',
  '/hayloft.v1.Volume/ScrubVolume',
  '/hayloft.v1.Volume/SealVolume',
  '/hayloft.v1.Volume/SetVolumeReplication',
  '/hayloft.v1.Volume/StatNeedles',
  '/hayloft.v1.Volume/TailVolume',
  '/hayloft.v1.Volume/VacuumVolume',
]

const DEFINITIONS = [
  ...Object.values(MASTER_PROTO),
  ...Object.values(VOLUME_PROTO),
  ...Object.values(JOBS_PROTO),
  ...Object.values(SHARDS_PROTO),
]

describe('the policy of methods', () => {
  test('is declared for every method that is registered', async () => {
    await using fixture = await Fixture.open()
    const paths = DEFINITIONS.map(({ path }) => path).concat(
      '/grpc.health.v1.Health/Check',
      '/grpc.health.v1.Health/List',
      '/grpc.health.v1.Health/Watch',
      '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
      '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
    )
    expect([...fixture.server.registeredPaths()].sort()).toEqual(paths.sort())
    expect([...fixture.server.policies.keys()].sort()).toEqual(paths.sort())
  })

  test('asks for the secret exactly where servers command servers', async () => {
    await using fixture = await Fixture.open()
    const guarded = [...fixture.server.policies].filter(([, policy]) => policy === 'cluster')
    expect(guarded.map(([path]) => path).sort()).toEqual(CLUSTER_METHODS)
  })

  test('refuses a service with a method that nobody implements', async () => {
    const { DeleteVolume: _left, ...methods } = volumeService(new FakeVolume()).methods
    const service = { ...volumeService(new FakeVolume()), methods }
    const opening = GrpcServer.open(
      { logger: silentLogger, clock: systemClock },
      { host: '127.0.0.1', port: 0, services: [service] },
    )
    await expect(opening).rejects.toThrow('does not implement DeleteVolume')
  })

  const callers = [
    ['without a secret', { secret: SECRET }],
    ['with another secret', { secret: SECRET, clientSecret: OTHER_SECRET }],
    ['with a clock 6 minutes behind', { secret: SECRET, clientSecret: SECRET, behindMs: 360_000 }],
    ['of a server that has none', { clientSecret: SECRET }],
  ] as const
  for (const [who, options] of callers) {
    test(`refuses every guarded method to a caller ${who}`, async () => {
      const clock = new SimClock()
      const behindMs = 'behindMs' in options ? options.behindMs : 0
      clock.jumpWallClock(systemClock.nowMs() - clock.nowMs() - behindMs)
      await using fixture = await Fixture.open({ ...options, clientClock: clock })
      for (const path of CLUSTER_METHODS) {
        const [, service = '', name = ''] = path.split('/')
        const channels: Readonly<Record<string, GrpcChannel>> = {
          Master: fixture.toMaster,
          Volume: fixture.toVolume,
          Jobs: fixture.toJobs,
          Shards: fixture.toShards,
        }
        const channel = channels[service.slice(11)]
        if (channel === undefined) throw new Error(path)
        const isStream = DEFINITIONS.some((method) => method.path === path && method.responseStream)
        const call = isStream ? callStream(channel, name) : channel.unary(name, {}, SIGNAL)
        await expectCode(call, 'UNAUTHENTICATED')
      }
      expect(fixture.master.calls).toEqual([])
      expect(fixture.volume.calls).toEqual([])
      expect(fixture.volume.commands).toEqual([])
      expect(fixture.jobs.calls).toEqual([])
      expect(fixture.volume.shards.calls).toEqual([])
    })
  }

  test('refuses what was signed for another method, even an open one', async () => {
    await using fixture = await Fixture.open({ secret: SECRET })
    const auth = new ClusterAuth({ clock: systemClock, random: cryptoRandom }, SECRET)
    const metadata = new Metadata()
    metadata.set(CLUSTER_AUTH_HEADER, auth.signGrpc('/hayloft.v1.Master/Assign'))
    const refused = await fixture.raw(MASTER_PROTO, 'Grow', metadata)
    expect(refused.code).toBe(status.UNAUTHENTICATED)
    const open = await fixture.raw(MASTER_PROTO, 'GetStatus', metadata)
    expect(open.code).toBe(status.UNAUTHENTICATED)
    expect(fixture.master.calls).toEqual([])
  })

  test('lets a caller with the secret in, and everybody into the open methods', async () => {
    await using fixture = await Fixture.open({ secret: SECRET, clientSecret: SECRET })
    await fixture.toMaster.unary('Grow', { count: 1 }, SIGNAL)
    await fixture.toVolume.unary('SealVolume', { volumeId: 3 }, SIGNAL)
    expect((await fixture.raw(MASTER_PROTO, 'GetStatus')).code).toBe(status.OK)
    expect(fixture.master.calls).toEqual(['grow', 'status'])
  })

  test('takes a put for a replica from servers of the cluster only', async () => {
    await using stranger = await Fixture.open({ secret: SECRET })
    const put = { fileId: '3,01637037d6', data: Buffer.from('x'), isReplica: true }
    await expectCode(stranger.toVolume.unary('Put', put, SIGNAL), 'UNAUTHENTICATED')
    const deletion = { operations: [{ fileId: '3,01637037d6', isReplica: true }] }
    await expectCode(stranger.toVolume.unary('BatchDelete', deletion, SIGNAL), 'UNAUTHENTICATED')
    await using server = await Fixture.open({ secret: SECRET, clientSecret: SECRET })
    await server.toVolume.unary('Put', put, SIGNAL)
    expect(server.volume.needles.size).toBe(1)
  })
})

async function callStream(channel: GrpcChannel, name: string): Promise<void> {
  const messages =
    name === 'Heartbeat'
      ? channel.duplex(name, neverEnding(), SIGNAL)
      : channel.serverStream(name, {}, SIGNAL)
  for await (const _ of messages) return
}

async function* neverEnding(): AsyncGenerator<object> {
  await new Promise(() => {})
  yield {}
}

describe('a call', () => {
  test('that the server fails with an error of its own tells nothing, and is logged', async () => {
    const logged: unknown[] = []
    const logger = {
      ...silentLogger,
      error: (event: string, fields: unknown) => logged.push(event, fields),
    }
    await using fixture = await Fixture.open({ logger })
    fixture.master.beforeCall = async () => {
      throw new Error('a secret')
    }
    const call = fixture.toMaster.unary('GetStatus', {}, SIGNAL)
    await expectCode(call, 'PEER_FAILED')
    await expect(call).rejects.not.toThrow('a secret')
    expect(logged).toMatchObject([
      'grpc.method_failed',
      { path: '/hayloft.v1.Master/GetStatus', error: { message: 'a secret' } },
    ])
  })

  test('that takes longer than its client waits is TIMEOUT, and the server hears of it', async () => {
    const clientClock = new SimClock()
    await using fixture = await Fixture.open({ clientClock })
    const aborted = heldUntilAbort(fixture.master)
    let isDone = false
    const call = expectCode(fixture.toMaster.unary('GetStatus', {}, SIGNAL), 'TIMEOUT')
    void call.then(() => {
      isDone = true
    })
    await aborted.started
    await clientClock.advance(9_999)
    await settle(20)
    expect(isDone).toBe(false)
    await clientClock.advance(1)
    await call
    expect(await aborted.reason).toBe('CANCELLED')
  })

  test('that takes longer than the server allows is TIMEOUT', async () => {
    await using fixture = await Fixture.open({ callMs: 20 })
    heldUntilAbort(fixture.master)
    await expectCode(fixture.toMaster.unary('GetStatus', {}, SIGNAL), 'TIMEOUT')
  })

  test('that is long has no limit of time on either side, but can be given up', async () => {
    const clock = new SimClock()
    const clocks = { clientClock: clock, serverClock: clock }
    await using fixture = await Fixture.open({ secret: SECRET, clientSecret: SECRET, ...clocks })
    const aborted = heldUntilAbort(fixture.volume)
    const controller = new AbortController()
    let isDone = false
    const { signal } = controller
    const call = fixture.toVolume.unary('DigestVolume', { volumeId: 7 }, signal, { isLong: true })
    const failing = expectCode(call, 'CANCELLED').then(() => {
      isDone = true
    })
    await aborted.started
    await clock.advance(24 * 3_600_000)
    await settle(60)
    expect(isDone).toBe(false)
    controller.abort()
    await failing
    expect(await aborted.reason).toBe('CANCELLED')
  })

  test('that its caller gives up is CANCELLED, and the server hears of it', async () => {
    await using fixture = await Fixture.open()
    const aborted = heldUntilAbort(fixture.master)
    const controller = new AbortController()
    const call = fixture.toMaster.unary('GetStatus', {}, controller.signal)
    await aborted.started
    controller.abort()
    await expectCode(call, 'CANCELLED')
    expect(await aborted.reason).toBe('CANCELLED')
    await expectCode(fixture.toMaster.unary('GetStatus', {}, controller.signal), 'CANCELLED')
  })

  test('beyond the cap of 3 is OVERLOADED, until one of them is done', async () => {
    await using fixture = await Fixture.open({ callsMax: 3 })
    const releases: (() => void)[] = []
    fixture.master.beforeCall = () => new Promise((resolve) => releases.push(resolve))
    const held = [1, 2, 3].map(() => fixture.toMaster.unary('GetStatus', {}, SIGNAL))
    while (releases.length < 3) await settle(5)
    // On a connection of its own: the cap is the server's, not the connection's.
    await expectCode(fixture.toVolume.unary('GetServerStatus', {}, SIGNAL), 'OVERLOADED')
    for (const release of releases) release()
    await Promise.all(held)
    await fixture.toVolume.unary('GetServerStatus', {}, SIGNAL)
    expect(fixture.server.inFlightCount).toBe(0)
  })

  test('carries a message of 60 MiB, and refuses one of 65 MiB', async () => {
    await using fixture = await Fixture.open()
    const put = (mib: number) =>
      fixture.toVolume.unary(
        'Put',
        { fileId: '3,01637037d6', data: Buffer.alloc(mib << 20, 1) },
        SIGNAL,
      )
    expect(await put(60)).toMatchObject({ dataBytes: 60 << 20 })
    await expectCode(put(65), 'PEER_FAILED')
    expect(fixture.volume.needles.get('3,01637037d6')?.data.length).toBe(60 << 20)
  })

  test('of a method that does not exist is PEER_FAILED', async () => {
    await using fixture = await Fixture.open()
    const server = await GrpcServer.open(
      { logger: silentLogger, clock: systemClock },
      { host: '127.0.0.1', port: 0, services: [masterService(fixture.master)] },
    )
    const parts = { clock: systemClock, random: cryptoRandom }
    const address = `127.0.0.1:${server.address.port}`
    await using channel = new GrpcChannel(parts, {
      address,
      service: VOLUME_PROTO,
      timeoutMs: 5000,
    })
    await expectCode(channel.unary('GetServerStatus', {}, SIGNAL), 'PEER_FAILED')
    await server.close(0)
  })
})

/** Holds every call of a fake until its signal aborts. */
function heldUntilAbort(fake: Pick<FakeMaster, 'beforeCall'>) {
  let start = (): void => {}
  let tell = (_code: string): void => {}
  const started = new Promise<void>((resolve) => {
    start = resolve
  })
  const reason = new Promise<string>((resolve) => {
    tell = resolve
  })
  fake.beforeCall = (_name, signal) =>
    new Promise((_resolve, reject) => {
      start()
      signal.addEventListener('abort', () => {
        tell(isStoreError(signal.reason) ? signal.reason.code : 'none')
        reject(new StoreError('CANCELLED', 'gave up'))
      })
    })
  return { started, reason }
}

describe('a stream of answers', () => {
  test('comes no faster than it is read', async () => {
    await using fixture = await Fixture.open({ secret: SECRET, clientSecret: SECRET })
    fixture.volume.pieceBytes = 256 * 1024
    const pieces = fixture.toVolume.serverStream('ReadVolumeFiles', { volumeId: 7 }, SIGNAL)
    await pieces.next()
    await settle(200)
    const sent = fixture.volume.calls.length
    // Sixteen messages in the streams of either side, and a few in the connection.
    expect(sent).toBeLessThan(60)
    let count = 1
    for await (const _ of pieces) count++
    expect(count).toBe(100)
  })

  test('ends for the server when the reader leaves', async () => {
    await using fixture = await Fixture.open({ secret: SECRET, clientSecret: SECRET })
    fixture.master.beforeCall = async () => await settle(1)
    const updates = fixture.toMaster.serverStream('WatchLocations', {}, SIGNAL)
    for await (const _ of updates) break
    while (fixture.server.inFlightCount > 0) await settle(5)
  })

  test('ends with CANCELLED when the signal aborts, even while nothing comes', async () => {
    await using fixture = await Fixture.open()
    const held = heldUntilAbort(fixture.master)
    const controller = new AbortController()
    const updates = fixture.toMaster.serverStream('WatchLocations', {}, controller.signal)
    const next = updates.next()
    await held.started
    controller.abort()
    await expectCode(next, 'CANCELLED')
    expect(await held.reason).toBe('CANCELLED')
  })

  test('ends with the error of the server after what came before it', async () => {
    await using fixture = await Fixture.open({ secret: SECRET, clientSecret: SECRET })
    const phases: unknown[] = []
    const run = async (): Promise<void> => {
      const messages = fixture.toVolume.serverStream('VacuumVolume', { volumeId: 1 }, SIGNAL)
      for await (const message of messages) phases.push(message)
    }
    await expectCode(run(), 'VACUUM_UNVERIFIED')
    expect(phases).toEqual([{ phase: 'copying', copiedBytes: 1, totalBytes: 2 }])
  })
})

describe('closing', () => {
  test('lets calls finish, refuses new ones, ends endless streams, says NOT_SERVING', async () => {
    await using fixture = await Fixture.open()
    const { master, server, toMaster } = fixture
    const updates = toMaster.serverStream('WatchLocations', {}, SIGNAL)
    await updates.next()
    let release = (): void => {}
    master.beforeCall = async (name) => {
      if (name !== 'status') return await settle(1)
      await new Promise<void>((resolve) => {
        release = resolve
      })
    }
    const held = toMaster.unary('GetStatus', {}, SIGNAL)
    while (master.calls.at(-1) !== 'status') await settle(5)
    expect((await fixture.raw(healthService as ServiceDefinition, 'Check')).answer).toEqual({
      status: 'SERVING',
    })
    const closing = server.close(30_000)
    const endless = async (): Promise<void> => {
      for await (const _ of updates);
    }
    await expectCode(endless(), 'UNAVAILABLE')
    await expectCode(toMaster.unary('GetStatus', {}, SIGNAL), 'UNAVAILABLE')
    expect((await fixture.raw(healthService as ServiceDefinition, 'Check')).answer).toEqual({
      status: 'NOT_SERVING',
    })
    release()
    expect(await held).toMatchObject({ isLeader: true })
    await closing
    await server.close(30_000)
  })

  test('fails what is not done within the deadline', async () => {
    await using fixture = await Fixture.open()
    heldUntilAbort(fixture.master)
    const held = expectCode(fixture.toMaster.unary('GetStatus', {}, SIGNAL), 'UNAVAILABLE')
    while (fixture.server.inFlightCount === 0) await settle(5)
    await fixture.server.close(30)
    await held
    expect(fixture.server.inFlightCount).toBe(0)
  })

  test('by destroying fails what is under way now, twice too', async () => {
    await using fixture = await Fixture.open()
    heldUntilAbort(fixture.master)
    const held = fixture.toMaster.unary('GetStatus', {}, SIGNAL)
    while (fixture.server.inFlightCount === 0) await settle(5)
    fixture.server.destroy()
    fixture.server.destroy()
    await expectCode(held, 'UNAVAILABLE')
  })
})

describe('the port', () => {
  test('that is taken is LISTEN_FAILED', async () => {
    await using fixture = await Fixture.open()
    const { port } = fixture.server.address
    await expectCode(Fixture.open({ port }), 'LISTEN_FAILED')
    await expectCode(Fixture.open({ host: '192.0.2.1' }), 'LISTEN_FAILED')
  })

  test('survives bytes that are no HTTP/2, and goes on serving', async () => {
    await using fixture = await Fixture.open()
    const { port } = fixture.server.address
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
    const attacks = [
      Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
      Buffer.alloc(100_000, 0xff),
      Buffer.from(preface),
      Buffer.concat([Buffer.from(preface), Buffer.alloc(1000, 0xee)]),
      Buffer.concat([
        Buffer.from(preface),
        Buffer.from('000000040000000000', 'hex'),
        Buffer.alloc(64, 1),
      ]),
      Buffer.alloc(0),
    ]
    for (const bytes of attacks) {
      const socket = connectSocket(port, '127.0.0.1')
      socket.on('error', () => {}).resume()
      await new Promise<void>((resolve) => socket.end(bytes, resolve))
      await settle(50)
      socket.destroy()
    }
    await fixture.toMaster.unary('GetStatus', {}, SIGNAL)
  })

  test('answers a message that is no protocol buffer with an error, on every method', async () => {
    await using fixture = await Fixture.open({ secret: SECRET, clientSecret: SECRET })
    const auth = new ClusterAuth({ clock: systemClock, random: cryptoRandom }, SECRET)
    for (const { path, requestStream, responseStream } of DEFINITIONS) {
      const metadata = new Metadata()
      metadata.set(CLUSTER_AUTH_HEADER, auth.signGrpc(path))
      const garbage = () => Buffer.from('0affffffffff0fff', 'hex')
      const code = await new Promise<number>((resolve) => {
        const call =
          requestStream || responseStream
            ? fixture.client.makeBidiStreamRequest(path, garbage, (bytes) => bytes, metadata)
            : undefined
        if (call === undefined) {
          const finish = (error: { code: number } | null): void => resolve(error?.code ?? status.OK)
          fixture.client.makeUnaryRequest(path, garbage, (bytes) => bytes, {}, metadata, finish)
          return
        }
        call.on('data', () => {})
        call.on('error', (error: Error & { code: number }) => resolve(error.code))
        call.on('end', () => resolve(status.OK))
        call.write({})
        call.end()
      })
      expect([path, code]).not.toEqual([path, status.OK])
    }
    await fixture.toVolume.unary('GetVolumeStatus', { volumeId: volumeId(7) }, SIGNAL)
  })
})

describe.skipIf(skipLoudly('mutual TLS', opensslMissing))('mutual TLS', () => {
  test('lets in who has a certificate of the authority, and nobody else', async () => {
    await using directory = await openTempDirectory()
    const [ours, client] = makeTlsKeys(directory.path, 'ours', ['server', 'client'])
    const [stranger] = makeTlsKeys(directory.path, 'theirs', ['stranger'])
    if (ours === undefined || client === undefined || stranger === undefined)
      throw new Error('keys')
    {
      await using fixture = await Fixture.open({ tls: ours, clientTls: client })
      await fixture.toMaster.unary('GetStatus', {}, SIGNAL)
    }
    const mixed = { ...stranger, ca: ours.ca }
    for (const clientTls of [undefined, stranger, mixed]) {
      await using fixture = await Fixture.open({ tls: ours, clientTls })
      await expectCode(fixture.toMaster.unary('GetStatus', {}, SIGNAL), 'UNAVAILABLE')
      expect(fixture.master.calls).toEqual([])
    }
  })

  test('with keys that are none is CONFIG_INVALID', async () => {
    const broken = { ca: Buffer.from('x'), cert: Buffer.from('y'), key: Buffer.from('z') }
    await expectCode(Fixture.open({ tls: broken }), 'CONFIG_INVALID')
    const parts = { clock: systemClock, random: cryptoRandom }
    const options = { address: '127.0.0.1:1', service: MASTER_PROTO, timeoutMs: 1, tls: broken }
    expect(() => new GrpcChannel(parts, options)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }),
    )
  })
})
