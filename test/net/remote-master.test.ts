import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { needleId, volumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { GrpcServer } from '../../src/net/grpc-server.ts'
import type {
  AssignRequest,
  CollectionSettings,
  DirtyRecord,
  Heartbeat,
  MasterApi,
} from '../../src/net/master-api.ts'
import { RemoteMaster } from '../../src/net/remote-master.ts'
import { masterService } from '../../src/net/serve-master.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { FakeMaster } from '../support/fake-master-api.ts'
import { SHARD_REPORT } from '../support/fake-shards.ts'
import { NODE, REPORT } from '../support/fake-volume-api.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'

const SECRET = Buffer.alloc(32, 1)

const ASSIGN: AssignRequest = {
  count: 3,
  collection: 'c',
  replication: undefined,
  ttl: TTL_NONE,
  dataCenter: '',
  rack: '',
  node: '',
  excludedVolumeIds: [],
  dataBytes: 0,
  key: '',
}

async function open(count = 1) {
  const masters = Array.from({ length: count }, () => new FakeMaster())
  const servers: GrpcServer[] = []
  for (const master of masters) {
    const parts = { logger: silentLogger, clock: systemClock, secret: SECRET }
    const services = [masterService(master)]
    servers.push(await GrpcServer.open(parts, { host: '127.0.0.1', port: 0, services }))
  }
  const remote = await RemoteMaster.open(
    { logger: silentLogger, clock: systemClock, random: cryptoRandom },
    {
      addresses: servers.map(({ address }) => `127.0.0.1:${address.port}`),
      secret: SECRET,
      timeoutMs: 5000,
    },
  )
  return {
    masters,
    servers,
    remote,
    async [Symbol.asyncDispose]() {
      await remote[Symbol.asyncDispose]()
      for (const server of servers) await server.close(0)
    },
  }
}

function beatOf(epoch: number): Heartbeat {
  return {
    node: NODE,
    isFull: true,
    volumes: [REPORT],
    shards: [SHARD_REPORT, { ...SHARD_REPORT, shards: [], badShards: [] }],
    removedVolumeIds: [volumeId(9)],
    disks: [],
    highestNeedleId: needleId(1, 2),
    inFlightCount: 0,
    epoch,
    isLeaving: false,
  }
}

const SETTINGS: CollectionSettings = {
  collection: 'c',
  replication: REPORT.replication,
  writePolicy: 'best-effort',
  erasure: 'off',
}

const DIRTY: readonly DirtyRecord[] = [
  {
    volumeId: volumeId(7),
    needleId: needleId(1, 2),
    kind: 'delete',
    reportedBy: NODE.url,
    unreached: ['b:1', 'c:1'],
  },
]

const FILE = { name: 'a', fileId: parseFileId('3,01637037d6'), dataBytes: 5 }

/** Every call that has one answer, as text to compare. */
const CALLS: readonly (readonly [string, (api: MasterApi) => Promise<unknown>])[] = [
  ['assign', (api) => api.assign(ASSIGN, SIGNAL)],
  ['lookup', (api) => api.lookup([volumeId(1), volumeId(2)], SIGNAL)],
  ['grow', (api) => api.grow(ASSIGN, SIGNAL)],
  ['topology', (api) => api.topology(SIGNAL)],
  ['collections', (api) => api.collections(SIGNAL)],
  ['deleteCollection', (api) => api.deleteCollection('c', SIGNAL)],
  ['configureCollection', (api) => api.configureCollection(SETTINGS, SIGNAL)],
  ['recordDirty', (api) => api.recordDirty(DIRTY, SIGNAL)],
  ['statistics', (api) => api.statistics(SIGNAL)],
  ['status', (api) => api.status(SIGNAL)],
  ['linkName', (api) => api.linkName(FILE, SIGNAL)],
  ['resolveName', (api) => api.resolveName('ä b', SIGNAL)],
  ['unlinkName', (api) => api.unlinkName('a', SIGNAL)],
  ['listNames', (api) => api.listNames({ prefix: 'p', after: '', limit: 5 }, SIGNAL)],
]

describe('a master over gRPC', () => {
  test.each(CALLS)('answers %s as one in this process does', async (name, call) => {
    await using fixture = await open()
    expect(await call(fixture.remote)).toEqual(await call(new FakeMaster()))
    expect(fixture.masters[0]?.calls).toContain(name)
  })

  test.each(CALLS)('fails %s with the code of the master', async (name, call) => {
    await using fixture = await open()
    const [master] = fixture.masters
    if (master === undefined) throw new Error('no master')
    master.beforeCall = async (called) => {
      if (called === name) throw new StoreError('PLACEMENT_IMPOSSIBLE', 'not here')
    }
    await expectCode(call(fixture.remote), 'PLACEMENT_IMPOSSIBLE')
  })

  test('hears what a collection shall be, and which needles may differ', async () => {
    await using fixture = await open()
    const { remote, masters } = fixture
    const plain = { collection: '', replication: undefined, writePolicy: undefined }
    for (const settings of [SETTINGS, plain]) await remote.configureCollection(settings, SIGNAL)
    await remote.recordDirty(DIRTY, SIGNAL)
    expect(masters[0]?.settings).toEqual([SETTINGS, plain])
    expect(masters[0]?.dirty).toEqual(DIRTY)
  })

  test('refuses more dirty needles than one message may have', async () => {
    await using fixture = await open()
    const [record] = DIRTY
    if (record === undefined) throw new Error('no record')
    const many = Array.from({ length: 10_001 }, () => record)
    await expectCode(fixture.remote.recordDirty(many, SIGNAL), 'REQUEST_INVALID')
    expect(fixture.masters[0]?.dirty).toEqual([])
  })

  test('answers heartbeats one by one, and hears when they end', async () => {
    await using fixture = await open()
    const [master] = fixture.masters
    const send = async function* (): AsyncGenerator<Heartbeat> {
      for (let epoch = 0; epoch < 5; epoch++) yield beatOf(epoch)
    }
    const epochs: number[] = []
    for await (const answer of fixture.remote.heartbeat(send(), SIGNAL)) epochs.push(answer.epoch)
    expect(epochs).toEqual([1, 2, 3, 4, 5])
    expect(master?.beats).toEqual([0, 1, 2, 3, 4].map(beatOf))
    expect(master?.calls).toContain('heartbeat-ended')
  })

  test('stops asking for heartbeats when their reader leaves', async () => {
    await using fixture = await open()
    let isClosed = false
    const send = async function* (): AsyncGenerator<Heartbeat> {
      try {
        for (let epoch = 0; ; epoch++) {
          yield beatOf(epoch)
          await settle(1)
        }
      } finally {
        isClosed = true
      }
    }
    for await (const _ of fixture.remote.heartbeat(send(), SIGNAL)) break
    while (!isClosed) await settle(5)
    while ((fixture.servers[0]?.inFlightCount ?? 0) > 0) await settle(5)
  })

  test('fails the heartbeats with the error of their source', async () => {
    await using fixture = await open()
    const send = async function* (): AsyncGenerator<Heartbeat> {
      yield beatOf(1)
      throw new StoreError('DISK_FAILED', 'cannot tell')
    }
    const run = async (): Promise<void> => {
      for await (const _ of fixture.remote.heartbeat(send(), SIGNAL));
    }
    await expectCode(run(), 'DISK_FAILED')
  })

  test('watches until its signal aborts', async () => {
    await using fixture = await open()
    const controller = new AbortController()
    const removed: number[] = []
    const run = async (): Promise<void> => {
      for await (const update of fixture.remote.watch(controller.signal)) {
        removed.push(...update.removedVolumeIds)
        if (removed.length === 50) controller.abort()
      }
    }
    await expectCode(run(), 'CANCELLED')
    expect(removed).toEqual(Array.from({ length: 50 }, (_, index) => index + 1))
  })
})

describe('several masters', () => {
  test.each(CALLS.filter(([name]) => name !== 'status'))(
    '%s finds the one that leads, and does it once',
    async (name, call) => {
      await using fixture = await open(3)
      const [first, second, third] = fixture.masters
      if (first === undefined || second === undefined || third === undefined) throw new Error()
      first.isLeader = false
      second.isLeader = false
      await call(fixture.remote)
      const done = (master: FakeMaster) => master.calls.filter((called) => called === name).length
      expect(done(third)).toBe(1)
    },
  )

  test('calls go on when the one that leads dies and another takes over', async () => {
    await using fixture = await open(2)
    const { remote, servers, masters } = fixture
    await remote.assign(ASSIGN, SIGNAL)
    servers[0]?.destroy()
    await remote.assign(ASSIGN, SIGNAL)
    expect(await remote.grow(ASSIGN, SIGNAL)).toHaveLength(2)
    expect(masters[1]?.calls.filter((name) => name === 'assign')).toHaveLength(1)
  })

  test('none that leads is NOT_LEADER, none in reach is UNAVAILABLE', async () => {
    await using fixture = await open(2)
    for (const master of fixture.masters) master.isLeader = false
    await expectCode(fixture.remote.assign(ASSIGN, SIGNAL), 'NOT_LEADER')
    await expectCode(fixture.remote.grow(ASSIGN, SIGNAL), 'NOT_LEADER')
    for (const server of fixture.servers) server.destroy()
    await expectCode(fixture.remote.assign(ASSIGN, SIGNAL), 'UNAVAILABLE')
  })

  test('what must not happen twice is not sent again when its answer is lost', async () => {
    await using fixture = await open(2)
    const [first, second] = fixture.masters
    if (first === undefined) throw new Error('no master')
    first.beforeCall = async (name) => {
      if (name === 'grow') fixture.servers[0]?.destroy()
    }
    await expectCode(fixture.remote.grow(ASSIGN, SIGNAL), 'UNAVAILABLE')
    expect(second?.calls).not.toContain('grow')
  })

  test('no address at all is CONFIG_INVALID', async () => {
    const parts = { logger: silentLogger, clock: systemClock, random: cryptoRandom }
    await expectCode(RemoteMaster.open(parts, { addresses: [], timeoutMs: 1 }), 'CONFIG_INVALID')
  })

  test('closed is CLOSED, twice too', async () => {
    const { remote, servers } = await open()
    await remote[Symbol.asyncDispose]()
    await remote[Symbol.asyncDispose]()
    await expectCode(remote.status(SIGNAL), 'CLOSED')
    await servers[0]?.close(0)
  })
})
