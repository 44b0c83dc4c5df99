import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { parseTtl } from '../../src/base/ttl.ts'
import { createJob } from '../../src/jobs/create-job.ts'
import { JOB_KINDS, type JobKind, type JobTarget } from '../../src/net/jobs-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { FakeNamespace } from '../support/fake-namespace-api.ts'
import { ModelCluster, type ModelVolume } from './model-cluster.ts'
import type { ModelCopy } from './model-copy.ts'
import { type RunResult, runModelJob, runQueuedMoves } from './model-run.ts'
import { ModelJobs, ModelSession, viewOf } from './model-session.ts'

class Bench {
  readonly cluster = new ModelCluster()
  readonly volume: ModelVolume

  constructor(replication: string, urls: string, ttl = '') {
    for (const url of ['a', 'b', 'c', 'd', 'e']) this.cluster.addNode(url)
    this.volume = this.cluster.addVolume(7, replication, [...urls], parseTtl(ttl))
  }

  copy(url: string): ModelCopy {
    const copy = this.cluster.node(url).copies.get(this.volume.volumeId)
    if (copy === undefined) throw new Error(`no copy at ${url}`)
    return copy
  }

  put(needle: number, content: number, urls: string, sizeBytes = 5): void {
    for (const url of urls) {
      this.copy(url).put(needle, content, sizeBytes, this.cluster.clock.stampNs())
    }
  }

  delete(needle: number, urls: string): void {
    for (const url of urls) this.copy(url).delete(needle, this.cluster.clock.stampNs())
  }

  corrupt(needle: number, url: string): void {
    for (const record of this.copy(url).records) {
      if (record.needle === needle) record.isCorrupt = true
    }
  }

  down(url: string, isLost: boolean): void {
    const node = this.cluster.node(url)
    node.isUp = false
    node.isDeclaredLost = isLost
  }

  /** `a1 b- c` and the like: who is a member, and what it has of the needle. */
  has(needle: number): string {
    const members = this.volume.members.map(({ url }) => url).sort()
    return members.map((url) => `${url}${this.copy(url).good(needle) ?? '-'}`).join(' ')
  }

  async run(kind: JobKind, target: JobTarget = {}): Promise<RunResult> {
    const { volumeId } = this.volume
    const onIdle = () => runQueuedMoves(this.cluster)
    return await runModelJob(this.cluster, kind, { volumeId, ...target }, { onIdle })
  }

  async repair(target: JobTarget = {}): Promise<RunResult> {
    return await this.run('replica-repair', target)
  }
}

const DONE = { outcome: 'done', error: undefined }

function failedWith(code: string) {
  return { outcome: 'failed', error: expect.objectContaining({ code }) }
}

describe('replica-repair', () => {
  test('waits for a member that is away, and replaces one that is lost', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.down('b', false)
    expect(await bench.repair()).toMatchObject({ ...DONE, summary: 'waits for b' })
    expect(bench.volume.members).toHaveLength(2)
    bench.down('b', true)
    expect(await bench.repair()).toMatchObject(DONE)
    expect(bench.has(1)).toBe('a11 c11')
  })

  test('merges nothing from a copy that comes back after it was replaced', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.down('b', true)
    await bench.repair()
    bench.delete(1, 'ac')
    // So that nobody remembers the delete.
    await bench.run('vacuum')
    expect(bench.copy('a').stat(1).state).toBe('absent')
    bench.cluster.node('b').isUp = true
    expect(await bench.repair()).toMatchObject(DONE)
    expect(bench.has(1)).toBe('a- c-')
    expect(bench.cluster.node('b').copies.size).toBe(0)
  })

  test('keeps a copy that came back until all members are up, healthy and equal', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.down('b', true)
    await bench.repair()
    bench.cluster.node('b').isUp = true
    bench.down('c', false)
    await bench.repair()
    expect(bench.cluster.node('b').copies.size).toBe(1)
    bench.cluster.node('c').isUp = true
    await bench.repair()
    expect(bench.cluster.node('b').copies.size).toBe(0)
  })

  test('leaves a copy alone that does not count while a move of the volume is queued', async () => {
    const bench = new Bench('000', 'a')
    bench.cluster.makeCopy(bench.volume, 'b', 'b/0')
    const { volumeId } = bench.volume
    const move = viewOf(1, { kind: 'move', target: { volumeId, node: 'b' }, reason: '' })
    bench.cluster.jobs.set(1, move)
    await bench.repair()
    expect(bench.cluster.node('b').copies.size).toBe(1)
    bench.cluster.jobs.set(1, { ...move, endedAtMs: 1 })
    await bench.repair()
    expect(bench.cluster.node('b').copies.size).toBe(0)
  })

  test('copies by another source when the target cannot reach the first', async () => {
    const bench = new Bench('002', 'abc')
    bench.put(1, 11, 'abc')
    bench.down('c', true)
    for (const url of 'de') bench.cluster.cuts.add(`${url}>a`)
    const first = await bench.repair()
    expect(first).toMatchObject(DONE)
    expect(bench.has(1)).toBe('a11 b11 d11')
  })

  test('tries another server when the first cannot reach any source', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.down('b', true)
    bench.cluster.cuts.add('c>a')
    expect(await bench.repair()).toMatchObject(DONE)
    expect(bench.has(1)).toBe('a11 d11')
  })

  test('rebuilds needle by needle what cannot be copied as a whole, and names what is lost', async () => {
    const bench = new Bench('001', 'ab')
    for (const needle of [1, 2, 3]) bench.put(needle, 10 + needle, 'ab')
    bench.corrupt(2, 'a')
    bench.down('b', true)
    const result = await bench.repair()
    expect(result).toMatchObject(failedWith('NEEDLE_CORRUPT'))
    expect(String(result.error)).toContain(': 02')
    expect([bench.has(1), bench.has(2), bench.has(3)]).toEqual(['a11 c11', 'a- c-', 'a13 c13'])
  })

  test('puts a good copy in the place of a bad one when no other server fits', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    for (const url of 'cde') bench.cluster.node(url).isFull = true
    bench.copy('b').state = 'damaged'
    expect(await bench.repair()).toMatchObject(DONE)
    expect([bench.has(1), bench.copy('b').state]).toEqual(['a11 b11', 'writable'])
  })

  test('writes the only copy anew in its place when it has failed and nothing else fits', async () => {
    const bench = new Bench('000', 'a')
    bench.put(1, 11, 'a')
    for (const url of 'bcde') bench.cluster.node(url).isFull = true
    bench.copy('a').state = 'failed'
    await bench.repair()
    expect(bench.copy('a').state).toBe('writable')
  })

  test('does not take for equal what an earlier worker left and only looks so', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 12, 'ab')
    const { volume, cluster } = bench
    cluster.makeCopy(volume, 'c', 'c/0')
    bench.put(1, 11, 'c')
    bench.down('b', true)
    expect(await bench.repair()).toMatchObject(DONE)
    expect(bench.has(1)).toBe('a12 c12')
  })

  test('brings nothing back from a bad copy that missed a delete', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'b')
    bench.cluster.recordDirty(bench.volume, 1, 'delete')
    bench.copy('b').state = 'failed'
    bench.cluster.clock.pass(60_000)
    expect(await bench.repair()).toMatchObject(DONE)
    expect([bench.has(1), bench.volume.dirty.size]).toEqual(['a- c-', 0])
  })

  test('takes from a bad copy what no other has, before it goes', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.put(2, 12, 'b')
    bench.copy('b').state = 'failed'
    expect(await bench.repair()).toMatchObject(DONE)
    expect(bench.has(2)).toBe('a12 c12')
  })

  test('sees to the copies that are there when there is no place for another', async () => {
    const bench = new Bench('002', 'abc')
    bench.put(1, 11, 'ac')
    bench.cluster.recordDirty(bench.volume, 1, 'put')
    bench.put(2, 12, 'a')
    bench.cluster.node('c').copies.clear()
    for (const url of 'cde') bench.cluster.node(url).isFull = true
    expect(await bench.repair()).toMatchObject(failedWith('PLACEMENT_IMPOSSIBLE'))
    expect([bench.copy('b').good(1), bench.copy('b').good(2)]).toEqual([11, 12])
  })

  test.each([
    ['put', 'ab', '', 'a11 b11 c11'],
    ['put', 'ab', 'a', 'a- b- c-'],
    ['check', 'abc', '', 'a11 b11 c11'],
    ['delete', 'abc', '', 'a- b- c-'],
    ['delete', 'abc', 'b', 'a- b- c-'],
  ] as const)(
    'settles a dirty %s of a needle at %s, deleted at "%s": %s',
    async (kind, there, gone, has) => {
      const bench = new Bench('002', 'abc')
      bench.put(1, 11, there)
      bench.delete(1, gone)
      if (kind === 'check') bench.corrupt(1, 'b')
      bench.cluster.recordDirty(bench.volume, 1, kind)
      expect(await bench.repair()).toMatchObject(DONE)
      expect([bench.has(1), bench.volume.dirty.size]).toEqual([has, 0])
    },
  )

  test('leaves what was put anew everywhere after a delete that some copy had missed', async () => {
    const bench = new Bench('001', 'ab')
    bench.cluster.recordDirty(bench.volume, 1, 'delete')
    bench.cluster.clock.pass(60_000)
    bench.put(1, 12, 'ab')
    await bench.repair()
    expect([bench.has(1), bench.volume.dirty.size]).toEqual(['a12 b12', 0])
  })

  test('keeps the records while a member is away', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.delete(1, 'a')
    bench.cluster.recordDirty(bench.volume, 1, 'delete')
    bench.down('b', false)
    await bench.repair()
    expect(bench.volume.dirty.size).toBe(1)
    bench.cluster.node('b').isUp = true
    await bench.repair()
    expect([bench.has(1), bench.volume.dirty.size]).toEqual(['a- b-', 0])
  })

  test('finds bytes that differ behind equal sizes only when it is deep', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'a')
    bench.put(1, 12, 'b')
    await bench.repair()
    expect(bench.has(1)).toBe('a11 b12')
    await bench.repair({ isDeep: true })
    expect(bench.has(1)).toBe('a12 b12')
  })

  test('removes the copy that is needed least when there are too many', async () => {
    const bench = new Bench('001', 'abc')
    bench.put(1, 11, 'abc')
    expect(await bench.repair()).toMatchObject(DONE)
    expect([bench.has(1), bench.cluster.node('c').copies.size]).toEqual(['a11 b11', 0])
  })

  test('lets a copy count that was left out when the operator says so, and then only', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    const { volume, cluster } = bench
    volume.members = [{ url: 'a', directoryId: 'a/0', revisionMin: 0 }]
    bench.down('a', true)
    expect(await bench.repair()).toMatchObject(failedWith('UNAVAILABLE'))
    expect(await bench.repair({ acceptNode: 'b' })).toMatchObject(DONE)
    expect(volume.members.map(({ url }) => url).sort()).toEqual(['b', 'c'])
    expect(cluster.node('c').copies.get(volume.volumeId)?.good(1)).toBe(11)
  })

  test('removes whatever turns up of a deleted volume', async () => {
    const bench = new Bench('001', 'ab')
    Object.assign(bench.volume, { isDeleted: true, members: [] })
    expect(await bench.repair()).toMatchObject({ ...DONE, summary: '2 copies removed' })
  })
})

describe('move', () => {
  test('goes to the server that was named', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    const result = await bench.run('move', { node: 'a', toNode: 'e' })
    expect(result).toMatchObject({ ...DONE, summary: 'moved from a to e' })
    expect(bench.has(1)).toBe('b11 e11')
  })

  test.each([
    ['is bad', (bench: Bench) => Object.assign(bench.copy('a'), { state: 'failed' })],
    ['is out of reach', (bench: Bench) => bench.down('a', true)],
  ])('leaves a copy that %s to replica-repair', async (_what, spoil) => {
    const bench = new Bench('001', 'ab')
    spoil(bench)
    const { outcome } = await bench.run('move', { node: 'a' })
    expect([outcome, bench.volume.setVersion]).toEqual(['failed', 1])
  })

  test('keeps the old copy when the new one is lost right after the switch', async () => {
    const bench = new Bench('000', 'a')
    bench.put(1, 11, 'a')
    const { cluster, volume } = bench
    const target = { volumeId: volume.volumeId, node: 'a', toNode: 'b' }
    const onPhase = (phase: string) => {
      if (phase === 'switched') cluster.node('b').copies.clear()
    }
    const result = await runModelJob(cluster, 'move', target, { onPhase })
    expect(result.outcome).toBe('failed')
    expect(bench.has(1)).toBe('a11')
  })

  test('brings along what was written to the old copy by somebody who did not know', async () => {
    const bench = new Bench('000', 'a')
    const { cluster, volume } = bench
    const target = { volumeId: volume.volumeId, node: 'a', toNode: 'b' }
    const onPhase = (phase: string) => {
      if (phase === 'switched') bench.put(1, 11, 'a')
    }
    expect(await runModelJob(cluster, 'move', target, { onPhase })).toMatchObject(DONE)
    expect([bench.has(1), cluster.node('a').copies.size]).toEqual(['b11', 0])
  })
})

describe('vacuum', () => {
  test.each([
    ['all copies are there and equal', () => {}, 'absent'],
    [
      'a needle is dirty',
      (bench: Bench) => bench.cluster.recordDirty(bench.volume, 9, 'put'),
      'deleted',
    ],
    ['a copy is away', (bench: Bench) => bench.down('b', false), 'deleted'],
    ['a copy is lost', (bench: Bench) => bench.down('b', true), 'deleted'],
    ['copies differ', (bench: Bench) => bench.put(5, 15, 'b'), 'deleted'],
    [
      'a copy lies about that does not count',
      (bench: Bench) => bench.cluster.makeCopy(bench.volume, 'c', 'c/0'),
      'deleted',
    ],
  ] as const)('when %s leaves a tombstone %s%s', async (_when, prepare, state) => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.delete(1, 'ab')
    prepare(bench)
    expect(await bench.run('vacuum')).toMatchObject(DONE)
    expect([bench.copy('a').stat(1).state, bench.copy('a').revision]).toEqual([state, 1])
    expect(bench.volume.members[0]?.revisionMin).toBe(state === 'absent' ? 1 : 0)
  })
})

describe('scrub', () => {
  test('has copies compared in depth that differ although nothing was written', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'a')
    bench.put(1, 12, 'b')
    expect(await bench.run('scrub')).toMatchObject(DONE)
    const queued = [...bench.cluster.jobs.values()].map(({ kind, target }) => [kind, target.isDeep])
    expect(queued).toContainEqual(['replica-repair', true])
  })

  test('fails when a needle is good nowhere, and notes all copies all the same', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    for (const url of 'ab') bench.corrupt(1, url)
    expect(await bench.run('scrub')).toMatchObject(failedWith('NEEDLE_CORRUPT'))
    expect(bench.cluster.scrubNotes.map(({ damageCount }) => damageCount)).toEqual([1, 1])
  })

  test('deletes what is damaged here and was deleted elsewhere', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.delete(1, 'b')
    bench.corrupt(1, 'a')
    expect(await bench.run('scrub')).toMatchObject(DONE)
    expect(bench.copy('a').stat(1).state).toBe('deleted')
  })

  test('renews the files of a copy whose index is damaged', async () => {
    const bench = new Bench('000', 'a')
    bench.put(1, 11, 'a')
    bench.copy('a').hasIndexDamage = true
    expect(await bench.run('scrub')).toMatchObject(DONE)
    expect(bench.copy('a')).toMatchObject({ hasIndexDamage: false, revision: 1 })
  })
})

describe('expire', () => {
  test.each([
    [197_000, false],
    [199_000, true],
  ])('of a volume for three minutes that was written %d ms ago: %s', async (ms, isDeleted) => {
    const bench = new Bench('001', 'ab', '3m')
    bench.put(1, 11, 'ab')
    bench.cluster.clock.pass(ms)
    expect(await bench.run('expire')).toMatchObject(DONE)
    expect(bench.volume.isDeleted).toBe(isDeleted)
    expect(bench.cluster.node('a').copies.size).toBe(isDeleted ? 0 : 1)
  })

  test('touches no volume without a time to live, and none with a copy out of reach', async () => {
    const forever = new Bench('001', 'ab')
    forever.cluster.clock.pass(1e12)
    expect(await forever.run('expire')).toMatchObject(DONE)
    const away = new Bench('001', 'ab', '3m')
    away.cluster.clock.pass(1e9)
    away.down('b', false)
    expect(await away.run('expire')).toMatchObject(failedWith('UNAVAILABLE'))
    expect([forever.volume.isDeleted, away.volume.isDeleted]).toEqual([false, false])
  })
})

describe('set-replication', () => {
  test('is followed by repairs that bring copies, and tell those that were away', async () => {
    const bench = new Bench('001', 'ab')
    bench.put(1, 11, 'ab')
    bench.down('b', false)
    const replication = parseReplicaPlacement('002')
    await bench.run('set-replication', { collection: 'c', replication })
    bench.cluster.node('b').isUp = true
    await bench.repair()
    expect(bench.has(1)).toBe('a11 b11 c11')
    for (const url of 'abc') expect(bench.copy(url).replication).toEqual(replication)
  })
})

describe('every kind of job', () => {
  test.each(JOB_KINDS)('%s makes sense of any cursor', async (kind) => {
    for (const cursor of [
      '',
      '{',
      'null',
      '[]',
      '{"incoming":5,"left":[],"done":[7],"begun":{}}',
      '{"run":{"runId":"x","encoded":{},"places":[3]},"left":[4],"setVersion":-1}',
      '{"run":[],"leftRun":{},"leftCopy":5,"decoder":1,"decodedId":2,"freedBytes":"many"}',
      '{"targets":[1],"copies":{},"left":{"runId":"7","servers":[{}],"seen":5}}',
    ]) {
      const bench = new Bench('001', 'ab', kind === 'expire' ? '3m' : '')
      const { volumeId } = bench.volume
      const replication = parseReplicaPlacement('001')
      const erasure = { dataShards: 2, parityShards: 1 }
      const target = { volumeId, node: 'd', collection: 'c', replication, erasure }
      const job = createJob(contextOf(bench.cluster, kind, target, cursor))
      expect(await job.step(new AbortController().signal)).toMatch(/busy|done/)
    }
  })

  test.each(JOB_KINDS.filter((kind) => kind !== 'rebalance' && kind !== 'heal'))(
    '%s refuses a target that says nothing',
    (kind) => {
      const context = contextOf(new ModelCluster(), kind, {}, '')
      expectStoreError(() => createJob(context), 'REQUEST_INVALID')
    },
  )
})

function contextOf(cluster: ModelCluster, kind: JobKind, target: JobTarget, cursor: string) {
  const session = new ModelSession(cluster)
  const job = viewOf(1, { kind, target, reason: '' })
  return {
    lease: { job, token: 't', validMs: 10_000, epoch: 1, cursor, politeness: 0 },
    jobs: new ModelJobs(session),
    connect: session.connect,
    clock: cluster.clock,
    logger: silentLogger,
    reached: async () => {},
    save: async () => {},
    objects: { namespace: new FakeNamespace(), client: new FakeClient() },
  }
}

/** No job that is not told of an object asks it anything. */
class FakeClient {
  readonly getStream = notAsked
  readonly put = notAsked
  readonly delete = notAsked
  readonly stat = notAsked
  readonly repairFile = notAsked
  readonly shardsOf = notAsked
}

function notAsked(): never {
  throw new Error('it was not to be asked')
}
