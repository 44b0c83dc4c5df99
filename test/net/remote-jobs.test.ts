import { describe, expect, test } from 'vitest'
import { needleId, volumeId } from '../../src/base/ids.ts'
import { ERROR_CODES, type ErrorCode, StoreError } from '../../src/base/store-error.ts'
import type { JobProgress, JobReport, JobsApi } from '../../src/net/jobs-api.ts'
import { RemoteJobs } from '../../src/net/remote-jobs.ts'
import { jobsService } from '../../src/net/serve-jobs.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { DIRTY, FakeJobs } from '../support/fake-jobs-api.ts'
import { REPORT } from '../support/fake-volume-api.ts'
import { openServedMasters } from '../support/served-masters.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'

function open(count = 1, options: { readonly isStranger?: boolean } = {}) {
  const make = () => new FakeJobs()
  return openServedMasters({ make, serve: jobsService, connect: RemoteJobs.open }, count, options)
}

const ID = volumeId(7)
const PROGRESS: JobProgress = { phase: 'copied', done: 2 ** 40, total: 0, unit: 'needles' }
const JOB_REPORT: JobReport = { jobId: 2 ** 40, token: 't', progress: PROGRESS, cursor: '{}' }
const HELD = { jobId: 3, token: 't', volumeId: ID }

type Call = readonly [name: string, call: (api: JobsApi) => Promise<unknown>]

/** Every call that has one answer, with everything that can be said in it. */
const CALLS: readonly Call[] = [
  [
    'runJob',
    (api) => {
      const { replication } = REPORT
      const nodes = { node: 'a:1', toNode: 'b:1', acceptNode: 'c:1' }
      const target = { volumeId: ID, ...nodes, collection: 'c', replication, isDeep: true }
      return api.runJob({ kind: 'set-replication', target, reason: 'because' }, SIGNAL)
    },
  ],
  ['runJob', (api) => api.runJob({ kind: 'rebalance', target: {}, reason: '' }, SIGNAL)],
  [
    'runJob',
    (api) => {
      const target = { collection: '', replication: REPORT.replication }
      return api.runJob({ kind: 'set-replication', target, reason: '' }, SIGNAL)
    },
  ],
  ['listJobs', (api) => api.listJobs({ kind: 'scrub', withEnded: true }, SIGNAL)],
  ['listJobs', (api) => api.listJobs({ kind: undefined, withEnded: false }, SIGNAL)],
  ['orderJob', (api) => api.orderJob(2 ** 40, 'cancel', SIGNAL)],
  [
    'takeJob',
    (api) => api.takeJob({ worker: 'w', queue: 'dc1', kinds: ['move', 'scrub'] }, SIGNAL),
  ],
  ['reportJob', (api) => api.reportJob(JOB_REPORT, SIGNAL)],
  [
    'endJob',
    (api) => {
      const end = { outcome: 'failed', error: 'DISK_FULL: no', summary: 's' } as const
      return api.endJob({ ...JOB_REPORT, ...end }, SIGNAL)
    },
  ],
  ['volumeFacts', (api) => api.volumeFacts(volumeId(9), SIGNAL)],
  ['listVolumes', (api) => api.listVolumes('c', SIGNAL)],
  ['listVolumes', (api) => api.listVolumes('', SIGNAL)],
  ['listVolumes', (api) => api.listVolumes(undefined, SIGNAL)],
  [
    'chooseTarget',
    (api) => api.chooseTarget({ volumeId: ID, replaces: 'd', excluded: ['a:1', 'b:1'] }, SIGNAL),
  ],
  [
    'changeMembers',
    (api) => {
      const add = [{ url: 'a:1', directoryId: 'd' }]
      const change = { ...HELD, setVersion: 5, add, removeDirectoryIds: ['e', 'f'] }
      return api.changeMembers(change, SIGNAL)
    },
  ],
  [
    'runJob',
    (api) => {
      const target = { volumeId: ID, erasure: { dataShards: 24, parityShards: 6 } }
      return api.runJob({ kind: 'ec-encode', target, reason: '' }, SIGNAL)
    },
  ],
  [
    'changeStripe',
    (api) => {
      const members = [2, 0, 1].map((shard) => ({ shard, url: `s${shard}:1`, directoryId: 'd' }))
      const run = { dataShards: 2, parityShards: 1, runId: '1700000000000000001' }
      return api.changeStripe({ ...HELD, setVersion: 5, ...run, shards: members }, SIGNAL)
    },
  ],
  [
    'chooseShards',
    (api) => {
      const scheme = { dataShards: 10, parityShards: 4 }
      const kept = [{ shard: 3, url: 'a:1' }]
      const room = { shardBytes: 2 ** 40, excluded: ['b:1'] }
      return api.chooseShards({ volumeId: ID, ...scheme, kept, wanted: [13, 0], ...room }, SIGNAL)
    },
  ],
  ['nextShardMove', (api) => api.nextShardMove(ID, SIGNAL)],
  ['listDirty', (api) => api.listDirty({ volumeId: ID, after: needleId(1, 0) }, SIGNAL)],
  ['listDirty', (api) => api.listDirty({ volumeId: ID, after: undefined }, SIGNAL)],
  ['resolveDirty', (api) => api.resolveDirty(ID, DIRTY, SIGNAL)],
  [
    'noteVacuum',
    (api) => api.noteVacuum({ volumeId: ID, directoryId: 'd', compactionRevision: 9 }, SIGNAL),
  ],
  [
    'noteScrub',
    (api) => {
      const note = { volumeId: ID, directoryId: 'd', bytes: 2 ** 40, damageCount: 3 }
      return api.noteScrub(note, SIGNAL)
    },
  ],
  ['forgetVolume', (api) => api.forgetVolume(HELD, SIGNAL)],
  ['setReplication', (api) => api.setReplication(ID, REPORT.replication, SIGNAL)],
  ['nextMove', (api) => api.nextMove({ kind: 'evacuate', node: 'a:1' }, SIGNAL)],
  ['forgetNode', (api) => api.forgetNode('a:1', SIGNAL)],
  ['health', (api) => api.health(SIGNAL)],
  ['durability', (api) => api.durability(SIGNAL)],
]

/** One for each method. */
const METHODS: readonly Call[] = [...new Map(CALLS)]

/** What must not happen twice. */
const ONCE = ['forgetNode', 'orderJob', 'takeJob']

/** For callers without the secret. */
const PUBLIC = ['durability', 'health', 'listJobs', 'listVolumes', 'volumeFacts']

describe('jobs over gRPC', () => {
  test.each(CALLS)('%s asks and answers as in this process', async (name, call) => {
    await using fixture = await open()
    const local = new FakeJobs()
    expect(await call(fixture.remote)).toEqual(await call(local))
    expect(fixture.api.calls).toEqual([name])
    expect(fixture.api.requests).toEqual(local.requests)
  })

  test('fails every call with the code of the master', async () => {
    await using fixture = await open()
    fixture.api.beforeCall = async () => {
      throw new StoreError('JOB_LEASE_LOST', 'it is not yours')
    }
    for (const [name, call] of METHODS) {
      await expectCode(call(fixture.remote), 'JOB_LEASE_LOST')
      expect(fixture.api.calls.at(-1)).toBe(name)
    }
  })

  test('carries every code there is, with its message', async () => {
    await using fixture = await open()
    for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
      fixture.api.beforeCall = async () => {
        throw new StoreError(code, `what ${code} says`)
      }
      // What a server gives up is no wish of the caller.
      const expected = code === 'CANCELLED' ? 'UNAVAILABLE' : code
      await expectCode(fixture.remote.health(SIGNAL), expected)
    }
  })

  test('lets strangers look, and do nothing', async () => {
    await using fixture = await open(1, { isStranger: true })
    for (const [name, call] of METHODS) {
      if (PUBLIC.includes(name)) await call(fixture.remote)
      else await expectCode(call(fixture.remote), 'UNAUTHENTICATED')
    }
    expect(fixture.api.calls.toSorted()).toEqual(PUBLIC)
  })

  test('has neither a lease nor a move when there is none', async () => {
    await using fixture = await open()
    fixture.api.lease = undefined
    fixture.api.move = undefined
    fixture.api.shardMove = undefined
    const { remote } = fixture
    const asked = { worker: 'w', queue: '', kinds: [] }
    expect(await remote.takeJob(asked, SIGNAL)).toBeUndefined()
    expect(await remote.nextMove({ kind: 'rebalance', node: '' }, SIGNAL)).toBeUndefined()
    expect(await remote.nextShardMove(ID, SIGNAL)).toBeUndefined()
  })

  test.each([0, 1000, 2500])('lists %i jobs in their order', async (count) => {
    await using fixture = await open()
    fixture.api.jobCount = count
    const listed = await fixture.remote.listJobs({ withEnded: true }, SIGNAL)
    expect(listed.map(({ id }) => id)).toEqual(Array.from({ length: count }, (_, at) => at + 1))
  })

  test('resolves more needles than one message may have', async () => {
    await using fixture = await open()
    const needles = Array.from({ length: 25_000 }, (_, index) => ({
      needleId: needleId(0, index),
      kind: 'put' as const,
      recordedAtMs: index,
    }))
    await fixture.remote.resolveDirty(ID, needles, SIGNAL)
    const parts = fixture.api.requests as { readonly needles: typeof needles }[]
    expect(parts.map((part) => part.needles.length)).toEqual([10_000, 10_000, 5000])
    expect(parts.flatMap((part) => part.needles)).toEqual(needles)
  })

  test('refuses a cursor that is too long', async () => {
    await using fixture = await open()
    const report = { ...JOB_REPORT, cursor: 'é'.repeat(32_769) }
    await expectCode(fixture.remote.reportJob(report, SIGNAL), 'REQUEST_INVALID')
    await fixture.remote.reportJob({ ...report, cursor: 'é'.repeat(32_768) }, SIGNAL)
    expect(fixture.api.calls).toEqual(['reportJob'])
  })

  test('watches until its signal aborts', async () => {
    await using fixture = await open()
    const controller = new AbortController()
    const ids: number[] = []
    const run = async (): Promise<void> => {
      for await (const { id } of fixture.remote.watchJobs(controller.signal)) {
        ids.push(id)
        if (ids.length === 50) controller.abort()
      }
    }
    await expectCode(run(), 'CANCELLED')
    expect(ids).toEqual(Array.from({ length: 50 }, (_, index) => index + 1))
    while ((fixture.served[0]?.server.inFlightCount ?? 0) > 0) await settle(5)
  })

  test('tells a watcher that was too slow', async () => {
    await using fixture = await open()
    fixture.api.beforeCall = async (name) => {
      if (name === 'change' && fixture.api.calls.length > 3) {
        throw new StoreError('OVERLOADED', 'too slow')
      }
    }
    const ids: number[] = []
    const run = async (): Promise<void> => {
      for await (const { id } of fixture.remote.watchJobs(SIGNAL)) ids.push(id)
    }
    await expectCode(run(), 'OVERLOADED')
    expect(ids).toEqual([1, 2])
  })
})

describe('several masters', () => {
  test.each(METHODS)('%s finds the one that leads, and does it once', async (name, call) => {
    await using fixture = await open(3)
    fixture.lead(2)
    await call(fixture.remote)
    expect(fixture.served[2]?.api.calls).toEqual([name])
  })

  test.each(METHODS)('%s goes on when the one that leads is gone', async (name, call) => {
    await using fixture = await open(2)
    await fixture.remote.health(SIGNAL)
    fixture.served[0]?.server.destroy()
    await call(fixture.remote)
    expect(fixture.served[1]?.api.calls).toEqual([name])
  })

  test.each(METHODS)(
    '%s whose answer is lost is sent again if that is safe',
    async (name, call) => {
      const isOnce = ONCE.includes(name)
      await using fixture = await open(2)
      const [first, second] = fixture.served
      fixture.api.beforeCall = async (called) => {
        if (called === name) first?.server.destroy()
      }
      if (isOnce) await expectCode(call(fixture.remote), 'UNAVAILABLE')
      else await call(fixture.remote)
      expect(first?.api.calls).toEqual([name])
      expect(second?.api.calls).toEqual(isOnce ? [] : [name])
    },
  )

  test('none that leads is NOT_LEADER', async () => {
    await using fixture = await open(2)
    fixture.lead(-1)
    await expectCode(fixture.remote.health(SIGNAL), 'NOT_LEADER')
    await expectCode(fixture.remote.orderJob(1, 'pause', SIGNAL), 'NOT_LEADER')
  })

  test('no address at all is CONFIG_INVALID, closed is CLOSED', async () => {
    const parts = { logger: silentLogger, clock: systemClock, random: cryptoRandom }
    await expectCode(RemoteJobs.open(parts, { addresses: [], timeoutMs: 1 }), 'CONFIG_INVALID')
    await using fixture = await open()
    await fixture.remote[Symbol.asyncDispose]()
    await expectCode(fixture.remote.health(SIGNAL), 'CLOSED')
  })
})
