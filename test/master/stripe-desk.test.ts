import { describe, expect, test } from 'vitest'
import { type VolumeId, volumeId } from '../../src/base/ids.ts'
import { registerMasterMetrics } from '../../src/master/master-metrics.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import type { StripeChange } from '../../src/net/stripe-facts.ts'
import { Metrics } from '../../src/runtime/metrics.ts'
import { EMPTY_REPORT, EMPTY_SHARDS } from '../support/fake-volume-server.ts'
import { NO_SIGNAL, TestMaster, type TestMasterOptions } from '../support/test-master.ts'

const DELAY_MS = 10_000
const SCHEME = { dataShards: 4, parityShards: 2 }
const CONFIG = {
  defaultReplication: '000',
  heartbeatMs: 1000,
  repair: { delayMs: DELAY_MS, checkMs: 500, massShare: 1 },
  growth: { writableMin: 1, writablePerDisk: 0 },
} as const

/** A volume with one copy, and its shards on six servers. */
async function openCluster(options: TestMasterOptions & { readonly collection?: string } = {}) {
  const { collection = '' } = options
  const cluster = await TestMaster.open({ ...options, config: { ...CONFIG, ...options.config } })
  for (let index = 0; index < 6; index++) await cluster.add(`s${index}:1`)
  const { volumeId: id } = await cluster.assign({ collection })
  for (const [shard, server] of cluster.servers.entries()) {
    server.putShards(id, { shards: [shard], collection })
  }
  await cluster.live(2000)
  return { cluster, id }
}

async function runJob(cluster: TestMaster, kind: JobKind, target: JobTarget) {
  return await cluster.settle(cluster.jobs.runJob({ kind, target, reason: 'test' }, NO_SIGNAL))
}

async function changeOf(cluster: TestMaster, id: VolumeId): Promise<StripeChange> {
  const lease = await cluster.takeJob({ kinds: ['ec-encode'] })
  if (lease === undefined) throw new Error('nothing to take')
  const { setVersion } = await cluster.jobs.volumeFacts(id, NO_SIGNAL)
  const shards = cluster.servers.map(({ location, directoryId }, shard) => {
    return { shard, url: location.url, directoryId }
  })
  const { job, token } = lease
  const run = { runId: EMPTY_SHARDS.runId, ...SCHEME, shards }
  return { jobId: job.id, token, volumeId: id, setVersion, ...run }
}

/** With the copy gone, as the job leaves it. */
async function openCoded(options: Parameters<typeof openCluster>[0] = {}) {
  const { cluster, id } = await openCluster(options)
  // The shards were seen before anybody asked for them.
  const left = await cluster.takeJob()
  if (left !== undefined) await cluster.endJob(left)
  const job = await runJob(cluster, 'ec-encode', { volumeId: id, erasure: SCHEME })
  const change = await changeOf(cluster, id)
  await cluster.settle(cluster.jobs.changeStripe(change, NO_SIGNAL))
  for (const server of cluster.servers) server.volumes.delete(id)
  await cluster.live(2000)
  const end = { jobId: job.id, token: change.token, progress: job.progress, cursor: '' }
  await cluster.settle(
    cluster.jobs.endJob({ ...end, outcome: 'done', error: '', summary: '' }, NO_SIGNAL),
  )
  return { cluster, id, change }
}

async function health(cluster: TestMaster) {
  return await cluster.settle(cluster.jobs.health(NO_SIGNAL))
}

describe('a change of the stripe', () => {
  test('needs a lease that is good, and facts that are fresh', async () => {
    const { cluster: opened, id } = await openCluster()
    await using cluster = opened
    await runJob(cluster, 'ec-encode', { volumeId: id, erasure: SCHEME })
    const change = await changeOf(cluster, id)
    const refuse = async (wrong: StripeChange, code: string) => {
      const changing = cluster.settle(cluster.jobs.changeStripe(wrong, NO_SIGNAL))
      await expect(changing).rejects.toMatchObject({ code })
    }
    await refuse({ ...change, token: 'other' }, 'JOB_LEASE_LOST')
    await refuse({ ...change, setVersion: 99 }, 'METADATA_CONFLICT')
    await refuse({ ...change, shards: change.shards.slice(1) }, 'REQUEST_INVALID')
    const changed = await cluster.settle(cluster.jobs.changeStripe(change, NO_SIGNAL))
    expect(changed.stripe?.shards).toHaveLength(6)
    await cluster.live(11_000)
    await refuse(change, 'JOB_LEASE_LOST')
  })
})

describe('what an operator asks for', () => {
  test('ec-encode takes the scheme of the target, else the collection, the cluster, or 10+4', async () => {
    const schemeOf = async (options: Parameters<typeof openCluster>[0], target: JobTarget = {}) => {
      const { cluster: opened, id } = await openCluster({ collection: 'photos', ...options })
      await using cluster = opened
      if (target.collection === 'photos') {
        const settings = { collection: 'photos', replication: undefined, writePolicy: undefined }
        const erasure = { dataShards: 6, parityShards: 3 }
        await cluster.settle(
          cluster.master.configureCollection({ ...settings, erasure }, NO_SIGNAL),
        )
      }
      const { erasure } = target
      const job = await runJob(cluster, 'ec-encode', { volumeId: id, erasure })
      return job.target.erasure
    }
    const config = { erasure: { scheme: '8+2' } }
    expect(await schemeOf({ config }, { collection: 'photos', erasure: SCHEME })).toEqual(SCHEME)
    expect(await schemeOf({ config }, { collection: 'photos' })).toMatchObject({ dataShards: 6 })
    expect(await schemeOf({ config })).toMatchObject({ dataShards: 8 })
    expect(await schemeOf({})).toEqual({ dataShards: 10, parityShards: 4 })
  })

  test('is not what the volume is stored as: refused', async () => {
    const { cluster: opened, id } = await openCluster()
    await using cluster = opened
    const refused = async (kind: JobKind, text: string) => {
      const asking = runJob(cluster, kind, { volumeId: id, node: 's0:1' })
      await expect(asking).rejects.toMatchObject({
        code: 'REQUEST_INVALID',
        message: expect.stringContaining(text),
      })
    }
    for (const kind of ['ec-balance', 'ec-vacuum', 'ec-decode'] as const) {
      await refused(kind, 'not erasure-coded')
    }
    expect((await runJob(cluster, 'ec-repair', { volumeId: id })).target).toEqual({ volumeId: id })
    for (const [shard, server] of cluster.servers.entries()) {
      server.putShards(id, { shards: [] })
      if (shard === 5) await cluster.live(1000)
    }
    await refused('ec-repair', 'not erasure-coded')
    const { cluster: other, id: codedId } = await openCoded()
    await using coded = other
    for (const kind of ['ec-encode', 'replica-repair', 'vacuum', 'move', 'expire'] as const) {
      const asking = runJob(coded, kind, { volumeId: codedId, node: 's0:1' })
      await expect(asking).rejects.toMatchObject({
        code: 'REQUEST_INVALID',
        message: expect.stringContaining('is erasure-coded'),
      })
    }
    for (const kind of ['ec-repair', 'ec-balance', 'ec-vacuum', 'ec-decode', 'scrub'] as const) {
      expect((await runJob(coded, kind, { volumeId: codedId })).target).toEqual({
        volumeId: codedId,
      })
    }
  })

  test('is kept with its scheme over a restart', async () => {
    const { cluster: before, id } = await openCluster()
    await runJob(before, 'ec-encode', { volumeId: id, erasure: SCHEME })
    const { store, clock, servers } = before
    await before[Symbol.asyncDispose]()
    await using after = await TestMaster.open({ store, clock, servers, config: CONFIG })
    const jobs = await after.jobs.listJobs({ kind: 'ec-encode', withEnded: false }, NO_SIGNAL)
    expect(jobs.map(({ target }) => target)).toEqual([{ volumeId: id, erasure: SCHEME }])
  })
})

describe('a coded volume', () => {
  test('whose server does not come back is repaired after the delay, and counted until then', async () => {
    const { cluster: opened, id } = await openCoded()
    await using cluster = opened
    expect(await health(cluster)).toMatchObject({ color: 'green', isFullyRedundant: true })
    cluster.servers[3]?.leave()
    await cluster.live(3000)
    const below = await health(cluster)
    expect(below).toMatchObject({
      color: 'yellow',
      volumesBelow: 1,
      objectsBelow: 10,
      bytesBelow: 1000,
      volumesUnavailable: 0,
      doing: [expect.stringContaining('waiting for s3:1')],
    })
    expect(await cluster.takeJob()).toBeUndefined()
    await cluster.add('spare:1')
    await cluster.live(DELAY_MS)
    const lease = await cluster.takeJob()
    expect(lease).toMatchObject({ politeness: 0, job: { kind: 'ec-repair' } })
    if (lease === undefined) return
    const facts = await cluster.jobs.volumeFacts(id, NO_SIGNAL)
    const kept = (facts.stripe?.shards ?? [])
      .filter(({ isLost }) => !isLost)
      .map(({ shard, location }) => ({ shard, url: location.url }))
    const request = { volumeId: id, ...SCHEME, kept, wanted: [3], shardBytes: 1000, excluded: [] }
    const [place] = await cluster.jobs.chooseShards(request, NO_SIGNAL)
    expect(place).toMatchObject({ shard: 3, location: { url: 'spare:1' } })
    cluster.servers.at(-1)?.putShards(id, { shards: [3] })
    await cluster.beat(0)
    const shards = (facts.stripe?.shards ?? []).map(({ shard, directoryId, location }) => {
      const isLost = shard === 3
      return isLost
        ? { shard, url: 'spare:1', directoryId: 'disk-spare:1' }
        : { shard, url: location.url, directoryId }
    })
    const { job, token } = lease
    const change = { jobId: job.id, token, volumeId: id, setVersion: facts.setVersion }
    await cluster.settle(
      cluster.jobs.changeStripe(
        { ...change, ...SCHEME, runId: EMPTY_SHARDS.runId, shards },
        NO_SIGNAL,
      ),
    )
    await cluster.endJob(lease)
    await cluster.live(1000)
    const after = await health(cluster)
    expect(after).toMatchObject({ color: 'green', volumesBelow: 0 })
    expect(after.repairTimes.count).toBe(1)
    expect(await cluster.jobs.nextShardMove(id, NO_SIGNAL)).toBeUndefined()
  })

  test('with too few shards in reach is unavailable: red', async () => {
    const { cluster: opened } = await openCoded()
    await using cluster = opened
    for (const server of cluster.servers.slice(0, 3)) server.leave()
    await cluster.live(3000)
    expect(await health(cluster)).toMatchObject({
      color: 'red',
      volumesUnavailable: 1,
      objectsUnavailable: 10,
    })
  })

  test('counts its objects once, and the bytes of all shards', async () => {
    const { cluster: opened } = await openCoded({
      collection: 'photos',
      config: { erasure: { scheme: '4+2' } },
    })
    await using cluster = opened
    const [photos] = await cluster.master.collections()
    expect(photos).toMatchObject({
      collection: 'photos',
      volumeCount: 1,
      liveNeedles: 10,
      liveBytes: 3000,
      datBytes: 6000,
      erasure: SCHEME,
    })
    expect(await cluster.master.statistics()).toMatchObject({
      volumeCount: 1,
      liveNeedles: 10,
      liveBytes: 3000,
      volumesAtRisk: 0,
    })
    const { nodes, layouts } = await cluster.master.topology()
    expect(layouts).toEqual([])
    expect(nodes.map(({ shards }) => shards?.map((report) => report.shards))).toEqual(
      [0, 1, 2, 3, 4, 5].map((shard) => [[shard]]),
    )
    const metrics = new Metrics()
    registerMasterMetrics(metrics, cluster.master)
    const text = await metrics.text()
    expect(text).toMatch(/cluster_coded_volumes 1$/m)
    expect(text).toMatch(/cluster_shards 6$/m)
    cluster.servers[0]?.leave()
    await cluster.live(1000)
    expect(await cluster.master.statistics()).toMatchObject({ volumesAtRisk: 1 })
    await expect(cluster.jobs.durability(NO_SIGNAL)).resolves.toMatchObject({
      schemes: [
        { scheme: 'erasure 4+2', domainsWorst: 6, toleranceWorst: 2 },
        { scheme: 'replication 000' },
      ],
    })
  })

  test('is known after a restart of the master: servers with shards are waited for', async () => {
    const { cluster: before, id } = await openCoded()
    const { store, clock, servers } = before
    await before[Symbol.asyncDispose]()
    await using cluster = await TestMaster.open({ store, clock, servers, config: CONFIG })
    for (const server of servers.slice(0, 5)) server.join(cluster.master, NO_SIGNAL)
    for (let turn = 0; turn < 5; turn++) await clock.advance(0)
    await expect(cluster.jobs.volumeFacts(id, NO_SIGNAL)).rejects.toMatchObject({
      code: 'WARMING_UP',
    })
    servers[5]?.join(cluster.master, NO_SIGNAL)
    for (let turn = 0; turn < 5; turn++) await clock.advance(0)
    const facts = await cluster.jobs.volumeFacts(id, NO_SIGNAL)
    expect(facts.stripe?.shards.every(({ isUp, report }) => isUp && report !== undefined)).toBe(
      true,
    )
  })

  test('keeps a server that is to be emptied until its shards have left it', async () => {
    const { cluster: opened, id } = await openCoded()
    await using cluster = opened
    await runJob(cluster, 'evacuate', { node: 's2:1' })
    const request = { kind: 'evacuate', node: 's2:1' } as const
    await expect(cluster.jobs.nextMove(request, NO_SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_BUSY',
    })
    await cluster.live(1000)
    const queued = await cluster.jobs.listJobs({ kind: 'ec-balance', withEnded: false }, NO_SIGNAL)
    expect(queued).toMatchObject([
      { target: { volumeId: id }, reason: expect.stringContaining('s2:1') },
    ])
    const move = await cluster.jobs.nextShardMove(id, NO_SIGNAL)
    expect(move).toMatchObject({ shard: 2, from: { url: 's2:1' }, fromDirectoryId: 'disk-s2:1' })
  })

  test('goes with its collection, all runs of it, also those that do not count', async () => {
    const { cluster: opened, id } = await openCoded({ collection: 'gone' })
    await using cluster = opened
    const [first, second] = cluster.servers
    first?.putShards(id, { runId: '5', shards: [1, 2], collection: 'gone' })
    first?.putShards(id, { runId: '5', shards: [3], collection: 'gone', directoryId: 'second' })
    // Nobody has a record of this one yet.
    second?.putShards(99, { shards: [0], collection: 'gone' })
    await cluster.live(1000)
    second?.leave()
    await cluster.clock.advance(0)
    const asking = cluster.master.deleteCollection('gone', NO_SIGNAL)
    await expect(cluster.settle(asking)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    second?.join(cluster.master, NO_SIGNAL)
    for (let turn = 0; turn < 5; turn++) await cluster.clock.advance(0)
    await cluster.settle(cluster.master.deleteCollection('gone', NO_SIGNAL))
    const left = cluster.servers.flatMap(({ shards }) => [...shards.values()])
    expect(left.filter(({ shards }) => shards.length > 0)).toEqual([])
    expect(first?.deleted.sort()).toEqual([
      `${id} run ${EMPTY_SHARDS.runId}: 0`,
      `${id} run 5: 1 2 3`,
    ])
    expect(await cluster.master.collections()).toEqual([])
    expect(await cluster.master.lookup([id, volumeId(99)])).toEqual([])
    await cluster.live(1000)
    expect(await cluster.master.statistics()).toMatchObject({ volumeCount: 0 })
  })
})

describe('a collection', () => {
  test('keeps how its volumes are coded, over restarts and other settings', async () => {
    const before = await TestMaster.open({ config: { erasure: { scheme: '10+4' } } })
    const { store, clock, master } = before
    const settings = { collection: 'photos', replication: undefined, writePolicy: undefined }
    const configure = (more: object) =>
      before.settle(master.configureCollection({ ...settings, ...more }, NO_SIGNAL))
    await configure({ erasure: SCHEME })
    await configure({ writePolicy: 'best-effort' })
    await configure({ collection: 'never', erasure: 'off' })
    await configure({ collection: 'usual' })
    const invalid = { dataShards: 99, parityShards: 1 }
    await expect(configure({ erasure: invalid })).rejects.toMatchObject({ code: 'ERASURE_INVALID' })
    await before[Symbol.asyncDispose]()
    await using after = await TestMaster.open({
      store,
      clock,
      config: { erasure: { scheme: '10+4' } },
    })
    const told = (await after.master.collections()).map(({ collection, erasure }) => [
      collection,
      erasure,
    ])
    expect(told).toEqual([
      ['never', undefined],
      ['photos', SCHEME],
      ['usual', { dataShards: 10, parityShards: 4 }],
    ])
  })

  test('has its full volumes coded by themselves, and no others', async () => {
    const { cluster: opened, id } = await openCluster({
      config: { erasure: { scheme: '4+2', quietMs: 5000 }, volumeSizeMaxBytes: '64MiB' },
    })
    await using cluster = opened
    const server = cluster.servers.find(({ volumes }) => volumes.has(id))
    for (const { shards, ...other } of cluster.servers) {
      for (const report of [...shards.values()]) {
        cluster.servers
          .find(({ location }) => location === other.location)
          ?.putShards(id, { ...report, shards: [] })
      }
    }
    await cluster.live(2000)
    expect(await cluster.jobs.listJobs({ kind: 'ec-encode', withEnded: true }, NO_SIGNAL)).toEqual(
      [],
    )
    const full = { volumeId: id, liveNeedles: 5, datBytes: 63 * 2 ** 20, digest: '' }
    const modifiedAtS = Math.floor(cluster.clock.nowMs() / 1000)
    server?.addVolume({ ...EMPTY_REPORT, ...full, modifiedAtS })
    await cluster.live(3000)
    expect(await cluster.jobs.listJobs({ kind: 'ec-encode', withEnded: true }, NO_SIGNAL)).toEqual(
      [],
    )
    await cluster.live(4000)
    const jobs = await cluster.jobs.listJobs({ kind: 'ec-encode', withEnded: true }, NO_SIGNAL)
    expect(jobs.map(({ target }) => target)).toEqual([{ volumeId: id, erasure: SCHEME }])
  })
})
