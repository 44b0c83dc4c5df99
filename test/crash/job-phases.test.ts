import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import type { VolumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { JOB_PHASES } from '../../src/jobs/job.ts'
import type { JobKind, JobTarget } from '../../src/net/jobs-api.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import { JobScenes, type Scene } from '../support/job-scenes.ts'
import { digestOf } from '../support/mixed-load.ts'
import { Prng } from '../support/prng.ts'
import { flipBytes } from '../support/repair-cluster.ts'

const NEVER = new AbortController().signal
const SERVERS = 4

/** Those of erasure coding, and of objects, have scenes of their own. */
type ReplicaKind = Exclude<JobKind, 'expire' | 'heal' | `ec-${string}`>

type Prepare = (scene: Scene) => Promise<JobTarget | undefined>

let scenes: JobScenes

beforeAll(async () => {
  scenes = await JobScenes.start(SERVERS)
}, 120_000)

afterAll(async () => {
  await scenes?.[Symbol.asyncDispose]()
})

async function membersOf(volumeId: VolumeId): Promise<readonly NodeLocation[]> {
  const { members } = await scenes.facts(volumeId)
  return members.map(({ location }) => location)
}

async function freeServer(volumeId: VolumeId): Promise<NodeLocation> {
  const { members, strays } = await scenes.facts(volumeId)
  const taken = new Set([...members, ...strays].map(({ location }) => location.url))
  const { nodes } = await scenes.cluster.master.topology(NEVER)
  const free = nodes.find(({ location, isDraining }) => !taken.has(location.url) && !isDraining)
  if (free === undefined) throw new Error('every server has a copy')
  return free.location
}

async function loseCopy({ volumeId }: Scene): Promise<undefined> {
  const [, second] = await membersOf(volumeId)
  if (second === undefined) throw new Error('no second copy')
  await scenes.at(second).deleteVolume(await scenes.command(volumeId), NEVER)
  await scenes.waitUntil('the copy is known to be lost', async () => {
    const { members } = await scenes.facts(volumeId)
    return members.some(({ isLost }) => isLost)
  })
  return undefined
}

/** A put that only the first copy got, and a delete that only the second one got. */
async function drift(scene: Scene): Promise<undefined> {
  const { volumeId, files } = scene
  const [first, second] = await membersOf(volumeId)
  if (first === undefined || second === undefined) throw new Error('two copies are needed')
  const [deleted, overtaken] = files.keys()
  if (deleted === undefined || overtaken === undefined) throw new Error('no files')
  const { needleId } = parseFileId(deleted)
  const needles = { ...(await scenes.command(volumeId)), needleIds: [needleId] }
  await scenes.at(second).deleteNeedles(needles, NEVER)
  files.delete(deleted)
  // The same id with another size, as an overwrite that failed half-way leaves it.
  const data = randomBytes(500)
  const put = { fileId: parseFileId(overtaken), data, metadata: {}, writeToken: '' }
  await scenes.at(first).put({ ...put, isReplica: true }, NEVER)
  files.set(overtaken, digestOf(data))
  return undefined
}

async function driftKnown(scene: Scene): Promise<undefined> {
  await drift(scene)
  const { volumeId, files } = scene
  const records = [...files.keys()].slice(0, 5).map((fileId) => ({
    volumeId,
    needleId: parseFileId(fileId).needleId,
    kind: 'put' as const,
    reportedBy: 'test',
    unreached: [],
  }))
  await scenes.cluster.master.recordDirty(records, NEVER)
  return undefined
}

async function addStray({ volumeId }: Scene): Promise<undefined> {
  const [source] = await membersOf(volumeId)
  const target = await freeServer(volumeId)
  if (source === undefined) throw new Error('no copy')
  const { collection } = await scenes.facts(volumeId)
  const copy = { ...(await scenes.command(volumeId)), collection, source, politeness: 0 }
  for await (const _ of scenes.at(target).copyVolume({ ...copy, replacesBad: false }, NEVER));
  await scenes.waitUntil('the stray is known', async () => {
    const { strays } = await scenes.facts(volumeId)
    return strays.length > 0
  })
  return undefined
}

async function wantFewer(scene: Scene): Promise<undefined> {
  await scenes.cluster.jobs.setReplication(scene.volumeId, parseReplicaPlacement('000'), NEVER)
  scene.wantedCount = 1
  return undefined
}

async function planMove({ volumeId }: Scene): Promise<JobTarget> {
  const [from] = await membersOf(volumeId)
  const to = await freeServer(volumeId)
  return { volumeId, node: from?.url, toNode: to.url }
}

async function makeGarbage({ files }: Scene): Promise<undefined> {
  for (const fileId of [...files.keys()].slice(0, Math.floor(files.size / 2))) {
    await scenes.cluster.client.delete(fileId)
    files.delete(fileId)
  }
  return undefined
}

async function rot({ volumeId }: Scene): Promise<undefined> {
  const [member] = await membersOf(volumeId)
  const index = scenes.processes.volumePorts.findIndex((port) => member?.url.endsWith(`:${port}`))
  const only = new RegExp(`(^|_)${volumeId}\\.dat$`)
  await flipBytes([`${scenes.directory}/volume-${index + 1}`], 20, new Prng(volumeId), {
    names: only,
  })
  return undefined
}

async function wantMore({ volumeId }: Scene): Promise<JobTarget> {
  const { collection } = await scenes.facts(volumeId)
  return { collection, replication: parseReplicaPlacement('002') }
}

async function addServer(): Promise<JobTarget> {
  await scenes.processes.addVolumeServer(['--read-mode', 'local'])
  return {}
}

/** How to give a job of each kind something to do; the first that leads to a phase is taken. */
const PREPARE: Readonly<Record<ReplicaKind, readonly Prepare[]>> = {
  // First, while there are few volumes to move. By chance they may be even enough at first.
  rebalance: [addServer, addServer, addServer],
  evacuate: [
    async ({ volumeId }) => {
      const [node] = await membersOf(volumeId)
      await scenes.processes.addVolumeServer(['--read-mode', 'local'])
      return { node: node?.url }
    },
  ],
  'replica-repair': [loseCopy, driftKnown, addStray, drift, wantFewer],
  move: [planMove],
  vacuum: [makeGarbage],
  scrub: [rot],
  'set-replication': [wantMore],
}

async function runScene(kind: JobKind, phase: string, scene: Scene, target: JobTarget) {
  // More than are wanted may go.
  const before = Math.min(scene.wantedCount, await scenes.wholeCopies(scene))
  const job = await scenes.runJob(kind, target)
  const wasKilled = await scenes.killAtPhase(kind, phase, job.id)
  await scenes.expectReadable(scene)
  expect(await scenes.wholeCopies(scene), 'copies that have everything').toBeGreaterThanOrEqual(
    before,
  )
  await scenes.finish(job.id)
  await scenes.expectReadable(scene)
  expect(await scenes.wholeCopies(scene)).toBeGreaterThanOrEqual(before)
  return wasKilled
}

/** After it something else counts, or is gone; `npm run repair:all` takes every phase. */
const COMMITS: readonly string[] = [
  'caught-up',
  'joined',
  'switched',
  'moved',
  'vacuumed',
  'renewed',
  'recorded',
]
const IS_ALL = process.env['HAYLOFT_REPAIR_LANE'] === 'all'

describe('a worker killed at a phase leaves the old state or the new one, for another to end', () => {
  const cases = Object.entries(PREPARE).flatMap(([kind, ways]) =>
    JOB_PHASES[kind as JobKind]
      .filter((phase) => IS_ALL || COMMITS.includes(phase))
      .map((phase) => ({ kind: kind as JobKind, phase, ways })),
  )
  test.each(cases)('$kind at "$phase"', async ({ kind, phase, ways }) => {
    for (const prepare of ways) {
      const scene = await scenes.newScene()
      const target = (await prepare(scene)) ?? scene.target
      if (!(await runScene(kind, phase, scene, target))) continue
      if (kind === 'rebalance' || kind === 'evacuate' || kind === 'set-replication') return
      const { wantedCount } = scene
      expect(await scenes.wholeCopies(scene)).toBe(wantedCount)
      const { members, strays, dirtyCount } = await scenes.facts(scene.volumeId)
      expect([members.length, strays.length]).toEqual([wantedCount, 0])
      // The reads of this test told of needles they found bad: the next repair looks at them.
      if (kind !== 'scrub') expect(dirtyCount).toBe(0)
      return
    }
    throw new Error(`no job came to ${phase}`)
  })

  // Together, since each has to wait until its files have expired.
  test.runIf(IS_ALL)('expire at each phase', async () => {
    const expiring = await Promise.all(
      JOB_PHASES.expire.map(async (phase) => ({
        phase,
        scene: await scenes.newScene({ ttl: '1m' }),
      })),
    )
    await sleep(75_000)
    for (const { phase, scene } of expiring) {
      const { volumeId } = scene
      const { id } = await scenes.runJob('expire', { volumeId })
      expect(await scenes.killAtPhase('expire', phase, id), phase).toBe(true)
      await scenes.finish(id)
      for (const { location } of (await scenes.cluster.master.topology(NEVER)).nodes) {
        const found = scenes.at(location).volumeStatus(volumeId, NEVER)
        await expect(found).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
      }
    }
  })
})
