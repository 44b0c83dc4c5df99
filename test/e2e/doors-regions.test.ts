import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ObjectVersion } from '../../src/namespace/object-version.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { DoorProcess } from '../support/door-processes.ts'
import { type HttpAnswer, jsonOf, viaFetch } from '../support/http-clients.ts'
import { mapSome, ObjectView } from '../support/object-view.ts'
import { ClusterProcesses } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

// Goal: with objects as two data shards and one of parity, each in a region of its own, any server
// may go and all objects can be read; a recovery that is asked for makes up for it at once.
// Method: real processes, killed with -9. All six in turn: HAYLOFT_DOORS_LANE=all.

const IS_ALL = process.env['HAYLOFT_DOORS_LANE'] === 'all'
const OBJECTS = IS_ALL ? 1000 : 300
const FEW = 60
const REGIONS = ['us-east-1', 'us-west-1', 'eu-west-1'] as const
const ALL_REGIONS = [...REGIONS].sort().join()
const WIDTH = 16
const POLICY = ['--objects-policy', 'ec:2+1']
// What a recovery makes anew is to be its own doing, not that of chores that come round.
const MASTER = ['--heal-interval', 'off']

interface Doors extends AsyncDisposable {
  readonly cluster: ClusterProcesses
  readonly gateway: DoorProcess
  readonly view: ObjectView
}

async function startRegions(serversPerRegion: number): Promise<Doors> {
  await using opening = new DisposeStack()
  const directory = opening.use(await openTempDirectory()).path
  const options = { directory, volumeServers: 0, masterFlags: MASTER }
  const cluster = opening.use(await ClusterProcesses.start(options))
  for (let round = 0; round < serversPerRegion; round++) {
    for (const region of REGIONS) await cluster.addVolumeServer(['--data-center', region])
  }
  const gateway = opening.use(await DoorProcess.ofGateway(cluster, POLICY))
  const view = opening.use(await ObjectView.open(cluster.masterAddress, cluster.secretFile))
  const owned = opening.move()
  return { cluster, gateway, view, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() }
}

/** 1 to 10 KB that follow from the number. */
function bodyOf(index: number): Buffer {
  const seed = createHash('sha256').update(`object ${index}`).digest()
  return Buffer.alloc(1000 + (seed.readUInt16BE(0) % 9001), seed)
}

function keyOf(index: number): string {
  return `regional/${String(index).padStart(4, '0')}`
}

async function writeAll({ gateway }: Doors, count = OBJECTS): Promise<void> {
  const failed = await mapSome([...Array(count).keys()], WIDTH, async (index) => {
    const form = { field: 'file', name: 'f', type: 'image/png', data: bodyOf(index) }
    const { body, status } = await viaFetch(`${gateway.restUrl}/objects/${keyOf(index)}`, { form })
    return status === 200 ? [] : [`${keyOf(index)}: ${status} ${body}`]
  })
  expect(failed.flat()).toEqual([])
}

/** Each is there, and as it was written. */
async function expectAllReadable({ gateway }: Doors, count = OBJECTS): Promise<void> {
  const wrong = await mapSome([...Array(count).keys()], WIDTH, async (index) => {
    const { body, status } = await viaFetch(`${gateway.restUrl}/objects/${keyOf(index)}`)
    const isRight = status === 200 && body.equals(bodyOf(index))
    return isRight ? [] : [`${keyOf(index)}: ${status} ${body.subarray(0, 200)}`]
  })
  expect(wrong.flat()).toEqual([])
}

/** Three shards, in three regions, on servers that are up. */
async function expectSpread({ view }: Doors, count = OBJECTS): Promise<void> {
  const versions = await view.versions('objects')
  expect(versions.length).toBe(count)
  const places = await view.shardServers(versions.map(({ version }) => soleFile(version)))
  const wrong = versions.flatMap(({ key }, index) => {
    const regions = (places[index] ?? []).map(({ dataCenter }) => dataCenter).sort()
    return regions.join() === ALL_REGIONS ? [] : [`${key}: ${regions.join(' ')}`]
  })
  expect(wrong).toEqual([])
}

function soleFile({ parts }: ObjectVersion): string {
  const [part] = parts
  if (part === undefined || parts.length > 1) throw new Error(`${parts.length} files`)
  return part.fileId
}

async function askJson({ gateway }: Doors, path: string): Promise<Record<string, unknown>> {
  return jsonOf(await viaFetch(gateway.restUrl + path)) as Record<string, unknown>
}

async function recover({ gateway }: Doors, node: string): Promise<HttpAnswer> {
  return await viaFetch(`${gateway.restUrl}/cluster/recovery/${node}`, { method: 'POST' })
}

async function waitForHealth(doors: Doors, wanted: string): Promise<Record<string, unknown>> {
  const deadlineMs = Date.now() + 60_000
  for (;;) {
    const health = await askJson(doors, '/cluster/health')
    if (health['status'] === wanted) return health
    if (Date.now() > deadlineMs) expect(health).toMatchObject({ status: wanted })
    await sleep(100)
  }
}

function nodeOf({ cluster }: Doors, index: number): string {
  return `127.0.0.1:${cluster.volumePorts[index]}`
}

describe('six volume servers in three regions', () => {
  let doors: Doors

  beforeAll(async () => {
    doors = await startRegions(2)
    await writeAll(doors)
  })

  afterAll(async () => {
    await doors?.[Symbol.asyncDispose]()
  })

  test(`${OBJECTS} objects have a shard in each region, and none has two`, async () => {
    await expectSpread(doors)
    await expectAllReadable(doors)
    const stats = await askJson(doors, '/cluster/stats')
    expect(stats).toMatchObject({
      total_nodes: 6,
      nodes_by_region: Object.fromEntries(REGIONS.map((region) => [region, 2])),
      total_objects: OBJECTS,
    })
    await waitForHealth(doors, 'healthy')
  })

  test('the recovery of an unknown server is 404, and of one that is up does nothing', async () => {
    const unknown = await recover(doors, '127.0.0.1:1')
    expect([unknown.status, jsonOf(unknown)]).toEqual([
      404,
      { detail: expect.stringContaining('127.0.0.1:1'), code: 'NODE_NOT_FOUND' },
    ])
    const up = await recover(doors, nodeOf(doors, 0))
    expect([up.status, jsonOf(up)]).toMatchObject([200, { shards: 0, replicas: 0, objects: 0 }])
  })

  // The second victim stands in another region, and its neighbour holds what was recovered.
  test.each(IS_ALL ? [0, 1, 2, 3, 4, 5] : [0, 4])(
    'all can be read while server %i is gone, and it is made up for when asked',
    async (victim) => {
      const volumes = doors.cluster.volumes
      const node = nodeOf(doors, victim)
      const before = await askJson(doors, '/metrics/summary')
      await volumes[victim]?.kill()
      const [answer] = await Promise.all([recover(doors, node), expectAllReadable(doors)])
      const report = jsonOf(answer) as Record<string, number>
      expect([answer.status, report]).toEqual([
        200,
        {
          message: expect.any(String),
          node_id: node,
          objects: expect.any(Number),
          shards: expect.any(Number),
          replicas: expect.any(Number),
          recovery_time_ms: expect.any(Number),
        },
      ])
      expect(report['shards']).toBeGreaterThan(0)
      expect(report['recovery_time_ms']).toBeGreaterThan(0)
      await expectSpread(doors)
      const after = await askJson(doors, '/metrics/summary')
      const countOf = (summary: Record<string, unknown>): number =>
        (summary['recoveries'] as { count: number }).count
      expect(countOf(after)).toBe(countOf(before) + 1)
      const { last, mttr_ms } = after['recoveries'] as { last: object[]; mttr_ms: { max: number } }
      const told = { node_id: node, recovery_time_ms: report['recovery_time_ms'], succeeded: true }
      expect(last).toContainEqual({ ...told, ended_at: expect.any(String) })
      expect(mttr_ms.max).toBeGreaterThanOrEqual(report['recovery_time_ms'] ?? Infinity)
      expect(await waitForHealth(doors, 'degraded')).toMatchObject({ failed_nodes: [node] })
      // Nothing is missing any more: one more may go, wherever it stands.
      const next = (victim + 1) % volumes.length
      await volumes[next]?.kill()
      await expectAllReadable(doors)
      await volumes[next]?.restart()
      await volumes[victim]?.restart()
      await waitForHealth(doors, 'healthy')
      await expectAllReadable(doors)
    },
  )
})

describe('three volume servers, one in each region', () => {
  test('without one all can be read; a recovery, for which there is no room, says so', async () => {
    await using doors = await startRegions(1)
    await writeAll(doors, FEW)
    await expectSpread(doors, FEW)
    const node = nodeOf(doors, 1)
    await doors.cluster.volumes[1]?.kill()
    await expectAllReadable(doors, FEW)
    const answer = await recover(doors, node)
    expect([answer.status, jsonOf(answer)]).toEqual([
      500,
      { detail: expect.stringMatching(/\S/), code: 'PLACEMENT_IMPOSSIBLE' },
    ])
    await expectAllReadable(doors, FEW)
    expect(await askJson(doors, '/cluster/health')).toMatchObject({
      status: 'degraded',
      failed_nodes: [node],
    })
    expect((await askJson(doors, '/metrics/summary'))['recoveries']).toMatchObject({
      count: 1,
      failed: 1,
      last: [{ node_id: node, succeeded: false }],
    })
    await doors.cluster.volumes[1]?.restart()
    await waitForHealth(doors, 'healthy')
  })
})
