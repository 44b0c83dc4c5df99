import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { createHeal } from '../../src/jobs/heal-pass.ts'
import { HealState } from '../../src/jobs/heal-state.ts'
import { JOB_PHASES, type JobPhase } from '../../src/jobs/job.ts'
import { NO_ATTRIBUTES, type ObjectVersion } from '../../src/namespace/object-version.ts'
import type { HealPlan } from '../../src/net/heal-facts.ts'
import type { JobTarget } from '../../src/net/jobs-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { JOB, LEASE } from '../support/fake-jobs-api.ts'
import { SimClock } from '../support/sim-clock.ts'
import { copyAt, factsOf } from '../support/volume-facts.ts'

const NEVER = new AbortController().signal
const BUCKET = { name: 'bee', id: 1 }
const ID = '0'.repeat(32)
/** Lists of shards lie on volume 1, shards on 2 (which is lost), 3 and 4. */
const PLAN: HealPlan = {
  codedVolumeIds: [1, 2, 3, 4].map(volumeId),
  lostVolumeIds: [volumeId(2)],
  lostSinceMs: 1000,
  replications: {},
  repairVolumeIds: [],
  repairedVolumeIds: [],
}

function versionOf(fileId: string): ObjectVersion {
  return {
    ...NO_ATTRIBUTES,
    id: ID,
    isNull: true,
    isMarker: false,
    seq: 1,
    modifiedAtMs: 1,
    sizeBytes: 10,
    etag: '0'.repeat(32),
    storageClass: 'STANDARD',
    checksum: undefined,
    ownerId: undefined,
    parts: [{ fileId, sizeBytes: 10 }],
  }
}

/** Objects in memory: what a pass asks for and what it does to them. */
class World {
  readonly clock = new SimClock()
  plan: HealPlan = PLAN
  intents = [
    { id: 'a', isOrphaned: true, startedAtMs: 5000 },
    { id: 'b', isOrphaned: false, startedAtMs: 5000 },
  ]
  dirty = [{ bucket: BUCKET, key: 'k1', id: ID }]
  /** Shards of each file; one on volume 2 is lost. */
  readonly shards = new Map([
    ['1,0100000001', ['2,0200000001', '3,0300000001']],
    ['1,0400000001', ['3,0500000001', '4,0600000001']],
  ])
  readonly failing = new Map<string, StoreError>()
  readonly forgotten: number[] = []
  readonly settled: string[] = []
  readonly repaired: string[] = []
  readonly queued: unknown[] = []

  readonly namespace = {
    listIntents: async () => ({
      intents: this.intents.map((intent) => ({
        ...intent,
        session: 's',
        bucket: 'bee',
        key: 'k',
        fileCount: 1,
      })),
      next: undefined,
    }),
    undoIntent: async ({ id }: { readonly id: string }) => {
      this.intents = this.intents.filter((intent) => intent.id !== id)
      return true
    },
    listDirty: async () => ({ objects: this.dirty, next: undefined }),
    settleDirty: async ({ key }: { readonly key: string }) => {
      this.dirty = []
      this.settled.push(key)
    },
    findBucket: async () => ({ ...BUCKET }),
    listBuckets: async ({ after }: { readonly after: string }) => (after === '' ? [BUCKET] : []),
    findObject: async ({ key }: { readonly key: string }) => this.versions.get(key),
    listVersions: async () => ({
      versions: [...this.versions].map(([key, version]) => ({ key, version, isLatest: true })),
      next: undefined,
    }),
    listUploads: async () => ({ uploads: [], commonPrefixes: [], next: undefined }),
  }
  readonly versions = new Map(
    [...this.shards.keys()].map((fileId, index) => [`k${index + 1}`, versionOf(fileId)]),
  )
  readonly client = {
    shardsOf: async (fileId: string) => ({
      erasure: '1+1',
      spread: 'servers',
      fileIds: this.shards.get(fileId) ?? [],
    }),
    repairFile: async (fileId: string) => {
      const error = this.failing.get(fileId)
      if (error !== undefined) throw error
      this.repaired.push(fileId)
      const before = this.shards.get(fileId) ?? []
      const lostCount = before.filter((id) => id.startsWith('2,')).length
      this.shards.set(
        fileId,
        before.map((id) => id.replace(/^2,/, '4,')),
      )
      const counts = { stripeCount: 1, shardCount: 2, movedCount: 0, leftCount: 0 }
      return { fileId, ...counts, rebuiltCount: lostCount }
    },
    stat: async () => {
      throw new StoreError('NEEDLE_NOT_FOUND', 'it is gone')
    },
  }
  readonly jobs = {
    healPlan: async () => this.plan,
    volumeFacts: async (id: number) =>
      factsOf(id, [copyAt('a:1'), copyAt('b:1')], { collection: 'x-coded' }),
    forgetVolume: async ({ volumeId: id }: { readonly volumeId: number }) => {
      this.forgotten.push(id)
      this.plan = { ...this.plan, lostVolumeIds: [] }
    },
    runJob: async (request: unknown) => {
      this.queued.push(request)
      const [done = 0] = this.plan.repairVolumeIds
      this.plan = { ...this.plan, repairVolumeIds: [], repairedVolumeIds: [volumeId(done)] }
    },
    listJobs: async () => [],
  }

  /** Runs a pass to its end, or to the phase at which its worker dies. */
  async run(options: { cursor?: string; target?: JobTarget; dieAt?: JobPhase } = {}) {
    const { cursor = '', dieAt, target = {} } = options
    const reached: JobPhase[] = []
    const job = createHeal({
      lease: { ...LEASE, cursor, job: { ...JOB, kind: 'heal', target } },
      jobs: this.jobs,
      objects: { namespace: this.namespace, client: this.client },
      clock: this.clock,
      logger: silentLogger,
      reached: async (phase: JobPhase) => {
        reached.push(phase)
        if (phase === dieAt) throw new Error('it died')
      },
    } as unknown as Parameters<typeof createHeal>[0])
    for (let steps = 0; steps < 100; steps++) {
      const before = job.cursor
      try {
        if ((await job.step(NEVER)) === 'done') return { job, reached, hasDied: false }
      } catch (error) {
        if (!(error instanceof Error) || error.message !== 'it died') throw error
        return { job: { ...job, cursor: before, counts: job.counts }, reached, hasDied: true }
      }
    }
    throw new Error('it comes to no end')
  }

  /** What is left to be done. */
  get missing(): readonly string[] {
    return [
      ...this.intents.filter(({ isOrphaned }) => isOrphaned).map(({ id }) => `intent ${id}`),
      ...this.dirty.map(({ key }) => `dirty ${key}`),
      ...[...this.shards].filter(([, ids]) => ids.some((id) => id.startsWith('2,'))).map(String),
      ...this.plan.lostVolumeIds.map((id) => `volume ${id}`),
    ]
  }
}

describe('a pass of the healer', () => {
  test('does all there is to do, counts it, and finds nothing the next time', async () => {
    const world = new World()
    world.dirty = []
    const { job } = await world.run()
    expect(world.missing).toEqual([])
    expect(world.intents.map(({ id }) => id)).toEqual(['b'])
    expect(job.counts).toMatchObject({
      intentsUndone: 1,
      objectsHealed: 1,
      shardsMade: 1,
      volumesForgotten: 1,
      filesVerified: 2,
      failures: 0,
    })
    const again = await world.run({ cursor: job.cursor })
    expect(again.job.counts).toMatchObject({ intentsUndone: 0, shardsMade: 0, filesVerified: 2 })
    expect(world.forgotten).toEqual([2])
  })

  test('completes what lacks shards, and settles it', async () => {
    const world = new World()
    const { job } = await world.run()
    expect([world.settled, job.counts?.['objectsCompleted']]).toEqual([['k1'], 1])
    expect(world.missing).toEqual([])
  })

  const PHASES = JOB_PHASES.heal.filter((phase) => phase !== 'repaired')
  test.each(PHASES)('is ended by another worker when its own dies at "%s"', async (dieAt) => {
    const world = new World()
    if (dieAt === 'rebuilt' || dieAt === 'forgotten') world.dirty = []
    const first = await world.run({ dieAt })
    expect([first.hasDied, first.reached.at(-1)]).toEqual([true, dieAt])
    const { hasDied } = await world.run({ cursor: first.job.cursor })
    expect([hasDied, world.missing]).toEqual([false, []])
  })

  test('keeps a volume that some file still needs, and waits before it walks again', async () => {
    const world = new World()
    world.dirty = []
    const [fileId = ''] = world.shards.keys()
    world.failing.set(fileId, new StoreError('PLACEMENT_IMPOSSIBLE', 'too few servers'))
    const { job } = await world.run()
    expect([world.forgotten, job.counts?.['failures']]).toEqual([[], 2])
    expect(job.summary).toContain('PLACEMENT_IMPOSSIBLE: too few servers')
    world.failing.clear()
    world.repaired.length = 0
    const soon = await world.run({ cursor: job.cursor })
    // Only verified, not walked for.
    expect([world.forgotten, world.repaired.length]).toEqual([[], 2])
    await world.clock.advance(30_000)
    await world.run({ cursor: soon.job.cursor })
    expect(world.forgotten).toEqual([2])
  })

  test('keeps a volume while somebody writes who began before it was lost', async () => {
    const world = new World()
    world.intents = [{ id: 'b', isOrphaned: false, startedAtMs: 1000 }]
    await world.run()
    expect(world.forgotten).toEqual([])
    expect(world.shards.get('1,0100000001')).toEqual(['4,0200000001', '3,0300000001'])
    world.intents = [{ id: 'b', isOrphaned: false, startedAtMs: 1001 }]
    await world.run()
    expect(world.forgotten).toEqual([2])
  })

  test('does not count what is gone as a failure', async () => {
    const world = new World()
    world.dirty = []
    const [fileId = ''] = world.shards.keys()
    world.failing.set(fileId, new StoreError('NEEDLE_NOT_FOUND', 'deleted'))
    world.namespace.findObject = async () => undefined
    const { job } = await world.run()
    expect([job.counts?.['failures'], world.forgotten]).toEqual([0, [2]])
  })

  test('changes no list of shards whose volume is being repaired', async () => {
    const world = new World()
    world.plan = { ...PLAN, repairVolumeIds: [volumeId(1)] }
    const { job } = await world.run()
    expect([world.repaired, world.settled, world.forgotten]).toEqual([[], [], []])
    expect(job.counts?.['failures']).toBe(0)
  })

  test('about a server has its copies made first, then its shards, and nothing else', async () => {
    const world = new World()
    world.plan = { ...PLAN, repairVolumeIds: [volumeId(9)] }
    const { job, reached } = await world.run({ target: { node: 'a:1' } })
    expect(world.queued).toMatchObject([{ kind: 'replica-repair', target: { volumeId: 9 } }])
    expect(reached).toEqual(['planned', 'repaired', 'rebuilt', 'forgotten'])
    expect(job.counts).toMatchObject({ copiesRepaired: 1, shardsMade: 1, filesVerified: 0 })
    expect(world.missing).toEqual(['intent a', 'dirty k1'])
  })

  test('about a server fails with the reason why not all of it could be made anew', async () => {
    const world = new World()
    const [fileId = ''] = world.shards.keys()
    world.failing.set(fileId, new StoreError('PLACEMENT_IMPOSSIBLE', 'too few servers'))
    const running = world.run({ target: { node: 'a:1' } })
    await expect(running).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
  })

  test('is refused by a worker that has no way to objects', () => {
    const lease = { ...LEASE, job: { ...JOB, kind: 'heal' as const, target: {} } }
    const context = { lease } as Parameters<typeof createHeal>[0]
    expect(() => createHeal(context)).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
  })
})

describe('the state of passes', () => {
  test.each(['', '{', '[]', 'null', '{"stage":7,"needed":"x","pause":{},"counts":[]}'])(
    'begins anew with a cursor that makes no sense: %s',
    (cursor) => {
      const state = new HealState(cursor)
      expect([state.stage, state.isAnyNeeded, state.verifyPlace]).toEqual([
        'intents',
        false,
        undefined,
      ])
      expect(Object.values(state.counts).every((count) => count === 0)).toBe(true)
    },
  )

  test('tells the next pass where the round is, and not what was counted', () => {
    const state = new HealState('')
    const place = { bucket: 'bee', stage: 'versions', after: 'k', afterId: 'x' } as const
    state.verifyPlace = place
    state.count('shardsMade', 3)
    expect(new HealState(state.cursor).counts['shardsMade']).toBe(3)
    state.endPass()
    const next = new HealState(state.cursor)
    expect([next.verifyPlace, next.counts['shardsMade']]).toEqual([place, 0])
  })

  test('waits twice as long after each walk that came to nothing, and forgets about others', () => {
    const state = new HealState('')
    let nowMs = 1_000_000
    for (const waitMs of [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]) {
      state.noteWalk(PLAN, false, nowMs)
      const kept = new HealState(state.cursor)
      expect([
        kept.isPausing(PLAN, nowMs + waitMs - 1),
        kept.isPausing(PLAN, nowMs + waitMs),
      ]).toEqual([true, false])
      nowMs += waitMs
    }
    const other = { ...PLAN, lostVolumeIds: [volumeId(3)] }
    expect(state.isPausing(other, nowMs)).toBe(false)
    state.noteWalk(PLAN, true, nowMs)
    expect(state.isPausing(PLAN, nowMs)).toBe(false)
  })

  test('tells volumes that are needed apart up to 500, and keeps all beyond', () => {
    const state = new HealState('')
    state.need(Array.from({ length: 500 }, (_, index) => index + 1))
    expect([state.isNeeded(500), state.isNeeded(501)]).toEqual([true, false])
    state.need([501])
    expect([state.isNeeded(1), state.isNeeded(9999)]).toEqual([true, true])
    expect(Buffer.byteLength(state.cursor)).toBeLessThan(8192)
  })
})
