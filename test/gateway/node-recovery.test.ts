import { describe, expect, test } from 'vitest'
import { recoverNode } from '../../src/gateway/node-recovery.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { HealCluster } from '../support/heal-cluster.ts'
import { Prng } from '../support/prng.ts'

const NEVER = new AbortController().signal
const CODED = { collection: 'objects-coded', policy: 'ec:2+1' } as const
const COPIED = { collection: 'objects', replication: '001' } as const
/** Nobody waits for so long. */
const SLOW = { delayMs: 3_600_000, healEveryMs: 0 }

async function openCluster(servers: number): Promise<HealCluster> {
  return await HealCluster.open({ servers, repair: SLOW })
}

function recover(cluster: HealCluster, node: string) {
  return recoverNode({ jobs: cluster.jobs, clock: systemClock }, node, NEVER)
}

async function writeSome(cluster: HealCluster, count: number) {
  const bucket = await cluster.bucket('bee')
  const prng = new Prng(count)
  const written: { fileId: string; data: Buffer }[] = []
  for (let index = 0; index < count; index++) {
    const data = prng.bytes(1000 + index)
    const storage = index % 2 === 0 ? CODED : COPIED
    const { parts } = await cluster.write({ bucket, key: `k${index}`, data, storage })
    written.push({ fileId: parts[0]?.fileId ?? '', data })
  }
  return written
}

describe('the recovery of a server', () => {
  test('makes its copies and shards anew without waiting for it, and says how many', async () => {
    await using cluster = await openCluster(4)
    const written = await writeSome(cluster, 30)
    const node = await cluster.stopServer(2)
    await cluster.until('it is noticed', async () => (await cluster.color()) === 'yellow')
    const report = await recover(cluster, node)
    expect(report).toMatchObject({ node, shards: expect.any(Number) })
    expect(Math.min(report.shards, report.replicas, report.objects)).toBeGreaterThan(0)
    expect(report.durationMs).toBeGreaterThanOrEqual(0)
    await cluster.until('all is well', async () => (await cluster.color()) === 'green')
    for (const { data, fileId } of written) {
      expect((await cluster.client.get(fileId)).data.equals(data)).toBe(true)
      expect(await cluster.client.repairFile(fileId)).toMatchObject({ rebuiltCount: 0 })
    }
    // There is nothing left to do.
    expect(await recover(cluster, node)).toMatchObject({ objects: 0, shards: 0, replicas: 0 })
  })

  test('leaves a server alone that is up and well', async () => {
    await using cluster = await openCluster(3)
    await writeSome(cluster, 6)
    const node = cluster.urlOf(1)
    expect(await recover(cluster, node)).toMatchObject({ objects: 0, shards: 0, replicas: 0 })
    expect(await cluster.color()).toBe('green')
  })

  test('is refused for a server that nobody knows', async () => {
    await using cluster = await openCluster(1)
    await expect(recover(cluster, '127.0.0.1:1')).rejects.toMatchObject({ code: 'NODE_NOT_FOUND' })
  })

  test('says why when there is no server left to put shards on, and can be tried again', async () => {
    await using cluster = await openCluster(3)
    const bucket = await cluster.bucket('bee')
    const data = new Prng(7).bytes(5000)
    // The list of its shards is on two servers: with luck not on the one that goes.
    const { parts } = await cluster.write({ bucket, key: 'k', data, storage: CODED })
    const fileId = parts[0]?.fileId ?? ''
    const node = await cluster.stopServer(0)
    const isPlace = expect.stringMatching(/^(?:PLACEMENT_IMPOSSIBLE|NO_WRITABLE_VOLUME)$/)
    await expect(recover(cluster, node)).rejects.toMatchObject({ code: isPlace })
    expect((await cluster.client.get(fileId)).data.equals(data)).toBe(true)
    await cluster.addServer(3)
    const report = await recover(cluster, node)
    expect(report.shards).toBe(1)
    expect(await cluster.client.repairFile(fileId)).toMatchObject({ rebuiltCount: 0 })
  })
})

describe('an attempt that fails', () => {
  /** Of a job that fails so often, and is done then. */
  function jobsFailing(times: number, error: string) {
    let attempts = 0
    let resumes = 0
    const view = () => {
      const hasFailed = attempts <= times
      const state = attempts === 0 ? 'running' : hasFailed ? 'waiting' : 'done'
      return { id: 1, target: { node: 'a:1' }, notBeforeMs: 0, attempts, state, error }
    }
    const jobs = {
      runJob: async () => view(),
      listJobs: async () => {
        if (attempts === resumes) attempts++
        return [view()]
      },
      orderJob: async () => {
        resumes++
      },
    }
    const run = recoverNode({ jobs: jobs as never, clock: instantClock }, 'a:1', NEVER)
    return { run, resumes: () => resumes }
  }

  const instantClock = { ...systemClock, sleep: async () => undefined }

  test('for want of a copy that is just being joined is followed by another at once', async () => {
    const failing = jobsFailing(2, 'REPLICATION_FAILED: 1 of 2 copies')
    expect(await failing.run).toMatchObject({ node: 'a:1' })
    expect(failing.resumes()).toBe(2)
  })

  test('so again and again, or for want of servers, is told', async () => {
    const again = jobsFailing(99, 'REPLICATION_FAILED: 1 of 2 copies')
    await expect(again.run).rejects.toMatchObject({ code: 'REPLICATION_FAILED' })
    expect(again.resumes()).toBe(5)
    const short = jobsFailing(1, 'PLACEMENT_IMPOSSIBLE: too few')
    await expect(short.run).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
    expect(short.resumes()).toBe(0)
  })
})
