import { describe, expect, test } from 'vitest'
import { needleIdFromNumber, type VolumeId, volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import type { JobKind, JobLease, JobTarget } from '../../src/net/jobs-api.ts'
import { EMPTY_REPORT } from '../support/fake-volume-server.ts'
import { NO_SIGNAL, TestMaster, type TestMasterOptions } from '../support/test-master.ts'

const DELAY_MS = 10_000
const CONFIG = {
  defaultReplication: '001',
  heartbeatMs: 1000,
  repair: { delayMs: DELAY_MS, checkMs: 500 },
  growth: { writableMin: 1, writablePerDisk: 0 },
} as const

/** So many servers in one rack, and a volume on two of them. */
async function openCluster(count: number, options: TestMasterOptions = {}) {
  const cluster = await TestMaster.open({ ...options, config: { ...CONFIG, ...options.config } })
  for (let index = 0; index < count; index++) await cluster.add(`s${index}:1`)
  const lease = await cluster.assign()
  await cluster.live(2000)
  return { cluster, id: lease.volumeId }
}

function serverAt(cluster: TestMaster, url: string) {
  const found = cluster.servers.find((server) => server.location.url === url)
  if (found === undefined) throw new Error(`no server ${url}`)
  return found
}

async function holders(cluster: TestMaster, id: VolumeId): Promise<string[]> {
  const { members } = await cluster.jobs.volumeFacts(id, NO_SIGNAL)
  return members.map(({ location }) => location.url).sort()
}

async function runJob(cluster: TestMaster, kind: JobKind, target: JobTarget) {
  return await cluster.settle(cluster.jobs.runJob({ kind, target, reason: 'test' }, NO_SIGNAL))
}

async function health(cluster: TestMaster) {
  return await cluster.settle(cluster.jobs.health(NO_SIGNAL))
}

/** What a worker does for a lost copy, without the bytes. */
async function repair(cluster: TestMaster, lease: JobLease): Promise<string> {
  const id = lease.job.target.volumeId ?? volumeId(1)
  const facts = await cluster.jobs.volumeFacts(id, NO_SIGNAL)
  const replaces = facts.members.find(({ isLost }) => isLost)?.directoryId ?? ''
  const request = { volumeId: id, replaces, excluded: [] }
  const { url } = await cluster.jobs.chooseTarget(request, NO_SIGNAL)
  const target = serverAt(cluster, url)
  target.addVolume({ ...EMPTY_REPORT, volumeId: id, replication: facts.replication })
  await cluster.beat(0)
  const add = [{ url, directoryId: target.directoryId }]
  const { job, token } = lease
  const { setVersion } = facts
  const change = { jobId: job.id, token, volumeId: id, setVersion, add }
  await cluster.settle(
    cluster.jobs.changeMembers({ ...change, removeDirectoryIds: [replaces] }, NO_SIGNAL),
  )
  return url
}

describe('a server that does not come back', () => {
  test('loses its copies after the delay; they are made elsewhere, and all is green', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    expect(await health(cluster)).toMatchObject({ color: 'green', isFullyRedundant: true })
    const [kept = '', gone = ''] = await holders(cluster, id)
    serverAt(cluster, kept).addVolume({
      ...EMPTY_REPORT,
      volumeId: id,
      replication: parseReplicaPlacement('001'),
      liveNeedles: 5,
      datBytes: 1000,
    })
    serverAt(cluster, gone).leave()
    await cluster.live(3000)
    const below = await health(cluster)
    expect(below).toMatchObject({
      color: 'yellow',
      isFullyRedundant: false,
      nodesUp: 2,
      nodesKnown: 3,
      volumesBelow: 1,
      objectsBelow: 5,
      bytesBelow: 1000,
      volumesUnavailable: 0,
      doing: [expect.stringContaining(`waiting for ${gone}`)],
    })
    expect(below.belowSinceMs).toBeGreaterThan(0)
    expect(await cluster.takeJob()).toBeUndefined()

    await cluster.live(DELAY_MS)
    const lease = await cluster.takeJob()
    expect(lease).toMatchObject({ politeness: 0, epoch: 1, validMs: 10_000 })
    expect(lease?.job).toMatchObject({ kind: 'replica-repair', target: { volumeId: id } })
    if (lease === undefined) return
    const url = await repair(cluster, lease)
    expect([kept, gone]).not.toContain(url)
    await cluster.endJob(lease)
    await cluster.live(1000)
    expect(await holders(cluster, id)).toEqual([kept, url].sort())
    const after = await health(cluster)
    expect(after).toMatchObject({ color: 'green', volumesBelow: 0, belowSinceMs: 0 })
    expect(after.repairTimes.count).toBe(1)
    expect(after.repairTimes.lastMs).toBeGreaterThan(DELAY_MS)
  })

  test('that is back in time keeps its copy, and nothing is done', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    const before = await holders(cluster, id)
    const server = serverAt(cluster, before[1] ?? '')
    server.leave()
    await cluster.live(DELAY_MS - 3000)
    server.join(cluster.master, NO_SIGNAL)
    await cluster.live(DELAY_MS)
    expect(await holders(cluster, id)).toEqual(before)
    expect(await cluster.takeJob()).toBeUndefined()
    const { color, repairTimes } = await health(cluster)
    expect([color, repairTimes.count]).toEqual(['green', 0])
  })

  test('and is forgotten by an operator is not waited for', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    const [, gone = ''] = await holders(cluster, id)
    await expect(cluster.jobs.forgetNode(gone, NO_SIGNAL)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
    serverAt(cluster, gone).leave()
    await cluster.live(1000)
    await cluster.settle(cluster.jobs.forgetNode(gone, NO_SIGNAL))
    await cluster.live(1000)
    expect((await cluster.takeJob())?.job.kind).toBe('replica-repair')
  })

  test('together with others is the network: an alert, and nothing is copied', async () => {
    const { cluster: opened, id } = await openCluster(4)
    await using cluster = opened
    await cluster.settle(cluster.jobs.volumeFacts(id, NO_SIGNAL))
    for (let more = 0; more < 6; more++) {
      const collection = `c${more}`
      await cluster.assign({ collection })
    }
    await cluster.live(1000)
    for (const server of cluster.servers.slice(0, 2)) server.leave()
    await cluster.live(DELAY_MS + 5000)
    const report = await health(cluster)
    expect(report.alerts.map(({ code }) => code)).toContain('MASS_DISAPPEARANCE')
    expect(report.doing).toContain('not copying while so many servers are down')
    expect(await cluster.takeJob()).toBeUndefined()
    // Whoever knows better may have a volume copied all the same.
    await runJob(cluster, 'replica-repair', { volumeId: id })
    expect((await cluster.takeJob())?.job.target.volumeId).toBe(id)
  })
})

describe('the colour of health', () => {
  test('is red while some objects cannot be read, and yellow while nobody can tell', async () => {
    const { cluster: opened, id } = await openCluster(3)
    const { store, clock, servers } = opened
    const urls = await holders(opened, id)
    for (const url of urls) {
      const filled = { ...EMPTY_REPORT, volumeId: id, liveNeedles: 3, datBytes: 100 }
      serverAt(opened, url).addVolume({ ...filled, replication: parseReplicaPlacement('001') })
    }
    await opened.beat(0)
    for (const url of urls) serverAt(opened, url).leave()
    await opened.live(4000)
    expect(await health(opened)).toMatchObject({
      color: 'red',
      volumesUnavailable: 1,
      objectsUnavailable: 3,
    })
    await opened[Symbol.asyncDispose]()
    await using cluster = await TestMaster.open({ store, clock, servers, config: CONFIG })
    expect(await health(cluster)).toMatchObject({
      color: 'yellow',
      isWarming: true,
      isFullyRedundant: false,
    })
    for (const server of servers) server.join(cluster.master, NO_SIGNAL)
    await cluster.live(2000)
    expect(await health(cluster)).toMatchObject({ color: 'green', isWarming: false })
  })
})

describe('changes of members', () => {
  test('need a lease that is good, and facts that are fresh', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    await runJob(cluster, 'replica-repair', { volumeId: id })
    const lease = await cluster.takeJob()
    if (lease === undefined) throw new Error('nothing to take')
    const { setVersion } = await cluster.jobs.volumeFacts(id, NO_SIGNAL)
    const [first = ''] = await holders(cluster, id)
    const { directoryId } = serverAt(cluster, first)
    const removal = { volumeId: id, setVersion, add: [], removeDirectoryIds: [directoryId] }
    const owned = { ...removal, jobId: lease.job.id, token: lease.token }
    await expect(
      cluster.jobs.changeMembers({ ...owned, token: 'other' }, NO_SIGNAL),
    ).rejects.toMatchObject({ code: 'JOB_LEASE_LOST' })
    await expect(
      cluster.jobs.changeMembers({ ...owned, setVersion: 99 }, NO_SIGNAL),
    ).rejects.toMatchObject({ code: 'METADATA_CONFLICT' })
    await cluster.settle(cluster.jobs.changeMembers(owned, NO_SIGNAL))
    expect(await holders(cluster, id)).toHaveLength(1)
    await cluster.live(11_000)
    await expect(cluster.jobs.changeMembers(owned, NO_SIGNAL)).rejects.toMatchObject({
      code: 'JOB_LEASE_LOST',
    })
    const forget = { jobId: lease.job.id, token: lease.token, volumeId: id }
    await expect(cluster.jobs.forgetVolume(forget, NO_SIGNAL)).rejects.toMatchObject({
      code: 'JOB_LEASE_LOST',
    })
  })
})

describe('what an operator asks for', () => {
  test.each<[string, JobKind, JobTarget, string]>([
    ['no volume', 'scrub', {}, 'REQUEST_INVALID'],
    ['an unknown volume', 'vacuum', { volumeId: volumeId(99) }, 'VOLUME_NOT_FOUND'],
    ['a move from nowhere', 'move', { volumeId: volumeId(1) }, 'REQUEST_INVALID'],
    ['a move from where it is not', 'move', { volumeId: volumeId(1), node: 's2:1' }, '!member'],
    ['an unknown server', 'evacuate', { node: 'x:1' }, 'NODE_NOT_FOUND'],
    ['no server', 'evacuate', {}, 'REQUEST_INVALID'],
    ['what never expires', 'expire', { volumeId: volumeId(1) }, 'REQUEST_INVALID'],
    ['no replication', 'set-replication', { collection: '' }, 'REQUEST_INVALID'],
    [
      'an unknown collection',
      'set-replication',
      { collection: 'x', replication: parseReplicaPlacement('001') },
      'COLLECTION_NOT_FOUND',
    ],
    [
      'a replication that needs more centres',
      'set-replication',
      { collection: '', replication: parseReplicaPlacement('100') },
      'PLACEMENT_IMPOSSIBLE',
    ],
  ])('is refused with %s', async (_, kind, target, code) => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    const isElsewhere = code === '!member'
    const all = cluster.servers.map(({ location }) => location.url)
    const others = new Set(await holders(cluster, id))
    const node = isElsewhere ? all.find((url) => !others.has(url)) : target.node
    const asked = target.volumeId === 1 ? { ...target, volumeId: id, node } : target
    await expect(
      cluster.jobs.runJob({ kind, target: asked, reason: '' }, NO_SIGNAL),
    ).rejects.toMatchObject({ code: isElsewhere ? 'REQUEST_INVALID' : code })
  })

  test('is queued with only what its kind needs, once', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    const [node = ''] = await holders(cluster, id)
    const first = await runJob(cluster, 'scrub', { volumeId: id, node, isDeep: true })
    expect(first).toMatchObject({ target: { volumeId: id }, queue: 'dc1', state: 'waiting' })
    expect(first.target).toEqual({ volumeId: id })
    expect((await runJob(cluster, 'scrub', { volumeId: id })).id).toBe(first.id)
  })

  test('an evacuation drains the server until it is cancelled', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    const [from = '', stays = ''] = await holders(cluster, id)
    const { id: jobId } = await runJob(cluster, 'evacuate', { node: from })
    const isDraining = async () => {
      const { nodes } = await cluster.master.topology()
      return nodes.find(({ location }) => location.url === from)?.isDraining
    }
    expect(await isDraining()).toBe(true)
    const request = { kind: 'evacuate', node: from } as const
    const move = await cluster.jobs.nextMove(request, NO_SIGNAL)
    expect(move).toMatchObject({ volumeId: id, from: { url: from } })
    expect([from, stays]).not.toContain(move?.to.url)
    // A move that is queued is not planned again.
    await runJob(cluster, 'move', { volumeId: id, node: from, toNode: move?.to.url })
    await expect(cluster.jobs.nextMove(request, NO_SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_BUSY',
    })
    const spare = { kind: 'evacuate', node: move?.to.url ?? '' } as const
    expect(await cluster.jobs.nextMove(spare, NO_SIGNAL)).toBeUndefined()
    await cluster.settle(cluster.jobs.orderJob(jobId, 'cancel', NO_SIGNAL))
    expect(await isDraining()).toBe(false)
  })

  test('a new replication holds for volumes to come, and for those there by its job', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    const replication = parseReplicaPlacement('002')
    await cluster.settle(cluster.jobs.setReplication(id, replication, NO_SIGNAL))
    expect(await cluster.jobs.volumeFacts(id, NO_SIGNAL)).toMatchObject({ replication })
    await cluster.live(1000)
    expect((await cluster.takeJob())?.job.reason).toContain('2 of 3 copies')
    await cluster.assign({ collection: 'photos' })
    await runJob(cluster, 'set-replication', { collection: 'photos', replication })
    const reports = await cluster.master.collections()
    expect(reports.find(({ collection }) => collection === 'photos')).toMatchObject({ replication })
  })
})

describe('needles that may differ', () => {
  test('are kept until they are settled, and make the cluster yellow', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    const [first = ''] = await holders(cluster, id)
    const record = { volumeId: id, kind: 'delete', reportedBy: first, unreached: [] } as const
    const records = [5, 9].map((each) => ({ ...record, needleId: needleIdFromNumber(each) }))
    await cluster.settle(cluster.master.recordDirty(records, NO_SIGNAL))
    expect(await health(cluster)).toMatchObject({ color: 'yellow', dirtyNeedles: 2 })
    const after = needleIdFromNumber(5)
    const listed = await cluster.jobs.listDirty({ volumeId: id, after: undefined }, NO_SIGNAL)
    expect(listed).toHaveLength(2)
    expect(await cluster.jobs.listDirty({ volumeId: id, after }, NO_SIGNAL)).toHaveLength(1)
    await cluster.settle(cluster.jobs.resolveDirty(id, listed, NO_SIGNAL))
    expect(await health(cluster)).toMatchObject({ color: 'green', dirtyNeedles: 0 })
  })
})

describe('jobs and workers', () => {
  test('politeness is for all but what is below redundancy', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    await runJob(cluster, 'scrub', { volumeId: id })
    expect(await cluster.takeJob()).toMatchObject({ politeness: 4 })
  })

  test('a worker that reports keeps its job and is told of orders; its bytes are measured', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    await runJob(cluster, 'replica-repair', { volumeId: id })
    const lease = await cluster.takeJob()
    if (lease === undefined) throw new Error('nothing to take')
    const { job, token } = lease
    const report = (done: number) => {
      const progress = { phase: 'copied', done, total: 4000, unit: 'bytes' } as const
      return cluster.jobs.reportJob({ jobId: job.id, token, progress, cursor: 'c' }, NO_SIGNAL)
    }
    for (let done = 1000; done < 4000; done += 1000) {
      expect(await report(done)).toBe('go-on')
      await cluster.live(1000)
    }
    const { repairBytesPerS, doing, jobsRunning } = await health(cluster)
    expect(repairBytesPerS).toBeGreaterThan(500)
    expect(jobsRunning).toBe(1)
    expect(doing).toEqual([`replica-repair of volume ${id}: copied, 75 % of 3.9 KiB, test`])
    await cluster.settle(cluster.jobs.orderJob(job.id, 'pause', NO_SIGNAL))
    expect(await report(4000)).toBe('pause')
    await cluster.endJob(lease, 'released')
    const [paused] = await cluster.jobs.listJobs({ withEnded: false }, NO_SIGNAL)
    expect(paused?.state).toBe('paused')
  })

  test('one vacuum runs on a disk at a time', async () => {
    const { cluster: opened } = await openCluster(2)
    await using cluster = opened
    const other = (await cluster.assign({ collection: 'other' })).volumeId
    await cluster.live(1000)
    const all = await cluster.jobs.listVolumes(undefined, NO_SIGNAL)
    expect(all.length).toBeGreaterThan(1)
    expect(await cluster.jobs.listVolumes('other', NO_SIGNAL)).toContain(other)
    for (const each of all) await runJob(cluster, 'vacuum', { volumeId: each })
    expect(await cluster.takeJob({ kinds: ['vacuum'] })).toBeDefined()
    expect(await cluster.takeJob({ kinds: ['vacuum'] })).toBeUndefined()
  })

  test('nobody who asks for jobs is an alert, and so are jobs that keep failing', async () => {
    const { cluster: opened, id } = await openCluster(3)
    await using cluster = opened
    await runJob(cluster, 'scrub', { volumeId: id })
    await cluster.live(61_000)
    const codes = async () => (await health(cluster)).alerts.map(({ code }) => code)
    expect(await codes()).toEqual(['NO_WORKER'])
    for (let attempt = 0; attempt < 3; attempt++) {
      const lease = await cluster.takeJob()
      if (lease !== undefined) await cluster.endJob(lease, 'failed', 'DISK_FAILED: no')
      await cluster.live(5000)
    }
    expect(await codes()).toEqual(['JOB_FAILING'])
    const { alerts, jobsFailing } = await health(cluster)
    expect(jobsFailing).toBe(1)
    expect(alerts[0]?.message).toBe(`scrub of volume ${id}: DISK_FAILED: no`)
  })

  test('outlive the master, with what they know', async () => {
    const { cluster: opened, id } = await openCluster(3)
    const { store, clock, servers } = opened
    await runJob(opened, 'scrub', { volumeId: id })
    const lease = await opened.takeJob()
    await opened[Symbol.asyncDispose]()
    await using cluster = await TestMaster.open({ store, clock, servers, config: CONFIG })
    expect(await cluster.takeJob()).toBeUndefined()
    await expect(cluster.jobs.volumeFacts(id, NO_SIGNAL)).rejects.toMatchObject({
      code: 'WARMING_UP',
    })
    for (const server of servers) server.join(cluster.master, NO_SIGNAL)
    await cluster.live(2000)
    if (lease === undefined) throw new Error('nothing was taken')
    await cluster.endJob(lease)
    const [job] = await cluster.jobs.listJobs({ withEnded: true }, NO_SIGNAL)
    expect(job).toMatchObject({ id: lease.job.id, state: 'done', worker: 'worker' })
  })
})

describe('the durability report', () => {
  test('has a line for each replication, and says what it assumes', async () => {
    const { cluster: opened } = await openCluster(3)
    await using cluster = opened
    await cluster.assign({ collection: 'x', replication: parseReplicaPlacement('002') })
    await cluster.live(2000)
    const report = await cluster.settle(cluster.jobs.durability(NO_SIGNAL))
    expect(report.schemes.map(({ scheme }) => scheme)).toEqual([
      'replication 001',
      'replication 002',
    ])
    const [two, three] = report.schemes
    expect(two).toMatchObject({ domainsWorst: 2, toleranceWorst: 1, isMttrAssumed: true })
    expect(three?.nines).toBeGreaterThan((two?.nines ?? 0) + 2)
    expect(three?.ninesWithLatentDamage).toBeLessThan(three?.nines ?? 0)
    expect(report.ninesCap).toBeCloseTo(5)
    expect(report.convention).toContain('software and operator errors not included')
  })
})
