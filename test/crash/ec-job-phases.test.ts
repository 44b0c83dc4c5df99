import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import type { VolumeId } from '../../src/base/ids.ts'
import { JOB_PHASES } from '../../src/jobs/job.ts'
import type { JobKind, JobTarget, VolumeFacts } from '../../src/net/jobs-api.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import type { ShardFacts, StripeFacts } from '../../src/net/stripe-facts.ts'
import { JobScenes, type Scene } from '../support/job-scenes.ts'

const NEVER = new AbortController().signal
const SERVERS = 5
const SCHEME = { dataShards: 2, parityShards: 1 }
const SHARDS = 3

type CodingKind = Extract<JobKind, `ec-${string}`>
type Prepare = (scene: Scene) => Promise<JobTarget | undefined>

let scenes: JobScenes

beforeAll(async () => {
  scenes = await JobScenes.start(SERVERS)
}, 120_000)

afterAll(async () => {
  await scenes?.[Symbol.asyncDispose]()
})

async function encode(scene: Scene): Promise<StripeFacts> {
  const { volumeId } = scene
  const { id } = await scenes.runJob('ec-encode', { volumeId, erasure: SCHEME })
  await scenes.finish(id)
  const { stripe } = await scenes.facts(volumeId)
  if (stripe === undefined) throw new Error(`volume ${volumeId} is not coded`)
  return stripe
}

async function shardsOf(volumeId: VolumeId): Promise<readonly ShardFacts[]> {
  return (await scenes.facts(volumeId)).stripe?.shards ?? []
}

async function loseShard(scene: Scene): Promise<undefined> {
  const { runId, shards } = await encode(scene)
  const [, second] = shards
  if (second === undefined) throw new Error('no second shard')
  const command = { ...(await scenes.command(scene.volumeId)), runId, shards: [second.shard] }
  await scenes.at(second.location).shards.deleteShards(command, NEVER)
  await scenes.waitUntil('the shard is known to be lost', async () => {
    return (await shardsOf(scene.volumeId)).some(({ isLost }) => isLost)
  })
  return undefined
}

/** A delete that only one server got, as the master knows. */
async function halfDelete(scene: Scene): Promise<undefined> {
  const { runId, shards } = await encode(scene)
  const { volumeId, files } = scene
  const [deleted] = files.keys()
  const [first] = shards
  if (deleted === undefined || first === undefined) throw new Error('no files')
  const { needleId } = parseFileId(deleted)
  const command = { ...(await scenes.command(volumeId)), runId, needleIds: [needleId] }
  await scenes.at(first.location).shards.journalDeletes(command, NEVER)
  files.delete(deleted)
  const record = { volumeId, needleId, kind: 'delete' as const, reportedBy: 'test', unreached: [] }
  await scenes.cluster.master.recordDirty([record], NEVER)
  return undefined
}

/** A flipped bit in the middle of a shard, and somebody who has noticed. */
async function rot(scene: Scene): Promise<undefined> {
  const { runId, shards } = await encode(scene)
  const { volumeId, files } = scene
  const [first] = shards
  const [file] = files.keys()
  if (first === undefined || file === undefined) throw new Error('no shards')
  await flipShard(first.location, volumeId, first.shard)
  const { needleId } = parseFileId(file)
  const record = { volumeId, needleId, kind: 'check' as const, reportedBy: 'test', unreached: [] }
  await scenes.cluster.master.recordDirty([record], NEVER)
  expect(runId).not.toBe('')
  return undefined
}

async function flipShard({ url }: NodeLocation, volumeId: VolumeId, shard: number): Promise<void> {
  const index = scenes.processes.volumePorts.findIndex((port) => url.endsWith(`:${port}`))
  const directory = join(scenes.directory, `volume-${index + 1}`)
  const run = (await readdir(directory)).find((name) => {
    return name.includes(`_${volumeId}.ec-`) || name.startsWith(`${volumeId}.ec-`)
  })
  const files = await readdir(join(directory, run ?? ''))
  const suffix = `.ec${shard.toString().padStart(2, '0')}`
  const file = files.find((name) => name.endsWith(suffix))
  await using handle = await open(join(directory, run ?? '', file ?? ''), 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, 5000)
  byte.writeUInt8(byte.readUInt8(0) ^ 0x10, 0)
  await handle.write(byte, 0, 1, 5000)
}

/** Shards on a server that has none of those that count. */
async function addStray(scene: Scene): Promise<undefined> {
  const { runId, shards } = await encode(scene)
  const { volumeId } = scene
  const [first] = shards
  const taken = new Set(shards.map(({ location }) => location.url))
  const free = (await scenes.locations()).find(({ url }) => !taken.has(url))
  if (first === undefined || free === undefined) throw new Error('every server has a shard')
  const { collection } = await scenes.facts(volumeId)
  const copy = { ...(await scenes.command(volumeId)), runId, collection, shards: [first.shard] }
  const request = { ...copy, source: first.location, politeness: 0 }
  for await (const _ of scenes.at(free).shards.copyShards(request, NEVER));
  await scenes.waitUntil('the stray is known', async () => {
    return ((await scenes.facts(volumeId)).strayShards ?? []).length > 0
  })
  return undefined
}

async function makeGarbage(scene: Scene): Promise<undefined> {
  await encode(scene)
  const { files } = scene
  for (const fileId of [...files.keys()].slice(0, Math.floor(files.size / 2))) {
    await scenes.cluster.client.delete(fileId)
    files.delete(fileId)
  }
  return undefined
}

/** One of its servers is to be emptied. */
async function drainServer(scene: Scene): Promise<undefined> {
  const [first] = (await encode(scene)).shards
  await scenes.processes.addVolumeServer(['--read-mode', 'local'])
  await scenes.runJob('evacuate', { node: first?.location.url })
  return undefined
}

/** How to give a job of each kind something to do; the first that leads to a phase is taken. */
const PREPARE: Readonly<Record<CodingKind, readonly Prepare[]>> = {
  'ec-encode': [async ({ volumeId }) => ({ volumeId, erasure: SCHEME })],
  'ec-repair': [loseShard, halfDelete, rot, addStray],
  'ec-vacuum': [makeGarbage],
  'ec-decode': [async (scene) => void (await encode(scene))],
  // Last: the servers stay drained.
  'ec-balance': [drainServer],
}

/** Good shards that count, in reach; as many as all when there are whole copies instead. */
async function redundancyOf(scene: Scene): Promise<number> {
  const { stripe } = await scenes.facts(scene.volumeId)
  if (stripe === undefined) return (await scenes.wholeCopies(scene)) > 0 ? SHARDS : 0
  return await verifiedShards(scene.volumeId, stripe)
}

async function verifiedShards(volumeId: VolumeId, { runId, shards }: StripeFacts): Promise<number> {
  let good = 0
  for (const { shard, location } of shards) {
    const request = { volumeId, runId, shards: [shard], politeness: 0 }
    try {
      let badCount = 0
      for await (const { badBlocks } of scenes.at(location).shards.verifyShards(request, NEVER)) {
        badCount += badBlocks.length
      }
      const runs = await scenes.at(location).shards.shardStatus(volumeId, NEVER)
      const isThere = runs.some((run) => run.runId === runId && run.shards.includes(shard))
      if (isThere && badCount === 0) good++
    } catch {
      // It is not there.
    }
  }
  return good
}

/** What counts is whole, and nothing else is left anywhere. */
async function expectWhole(kind: CodingKind, scene: Scene): Promise<void> {
  const facts = await scenes.facts(scene.volumeId)
  expect(facts.dirtyCount).toBe(0)
  expect(leftovers(facts)).toEqual([])
  if (kind === 'ec-decode') {
    expect(facts.stripe).toBeUndefined()
    expect(await scenes.wholeCopies(scene)).toBe(scene.wantedCount)
    return
  }
  expect(await redundancyOf(scene)).toBe(SHARDS)
  expect(await scenes.wholeCopies(scene)).toBe(0)
  // Every server with a shard answers for all of the volume.
  for (const { location } of facts.stripe?.shards ?? []) {
    expect(await scenes.hasAll(location, scene), location.url).toBe(true)
  }
}

function leftovers({ strays, strayShards = [] }: VolumeFacts): string[] {
  return [...strays, ...strayShards].map(({ location }) => location.url)
}

/** After it what counts is another; `npm run erasure:all` takes every phase. */
const COMMITS: readonly string[] = ['switched', 'joined']
const IS_ALL = process.env['HAYLOFT_ERASURE_LANE'] === 'all'

describe('a worker killed at a phase leaves the old state or the new one, for another to end', () => {
  const cases = Object.entries(PREPARE).flatMap(([kind, ways]) =>
    JOB_PHASES[kind as CodingKind]
      .filter((phase) => IS_ALL || COMMITS.includes(phase))
      .map((phase) => ({ kind: kind as CodingKind, phase, ways })),
  )
  test.each(cases)('$kind at "$phase"', async ({ kind, phase, ways }) => {
    for (const prepare of ways) {
      const scene = await scenes.newScene()
      const target = (await prepare(scene)) ?? scene.target
      const before = await redundancyOf(scene)
      const { id } = await scenes.runJob(kind, target)
      const wasKilled = await scenes.killAtPhase(kind, phase, id)
      await scenes.expectReadable(scene)
      expect(await redundancyOf(scene)).toBeGreaterThanOrEqual(before)
      await scenes.finish(id)
      await scenes.expectReadable(scene)
      if (!wasKilled) continue
      await expectWhole(kind, scene)
      return
    }
    throw new Error(`no job came to ${phase}`)
  })
})
