import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { parseTtl } from '../../src/base/ttl.ts'
import { JOB_PHASES, type JobPhase } from '../../src/jobs/job.ts'
import { JOB_KINDS, type JobKind, type JobTarget } from '../../src/net/jobs-api.ts'
import { ModelCluster, type ModelVolume } from './model-cluster.ts'
import type { ModelCopy } from './model-copy.ts'
import { ModelJob, runModelJob, runQueuedMoves } from './model-run.ts'
import type { ModelSession } from './model-session.ts'

const URLS = ['a', 'b', 'c', 'd', 'e']
const NEEDLES = 20
const DELETED = 5

interface Scene {
  readonly cluster: ModelCluster
  readonly volume: ModelVolume
  readonly target: JobTarget
  /** Needles that are to be there in the end; those below are deleted. */
  readonly promised: Map<number, number>
  /** Why the job has not done what it is for; undefined: it has. */
  readonly unmet: () => string | undefined
}

function build(replication: string, urls: readonly string[], ttl = ''): Omit<Scene, 'unmet'> {
  const cluster = new ModelCluster()
  for (const url of URLS) cluster.addNode(url)
  const volume = cluster.addVolume(7, replication, urls, parseTtl(ttl))
  const promised = new Map<number, number>()
  for (let needle = 1; needle <= NEEDLES; needle++) {
    const content = cluster.newContent()
    for (const url of urls)
      copyAt(cluster, volume, url).put(needle, content, needle, stamp(cluster))
    promised.set(needle, content)
  }
  for (let needle = 1; needle <= DELETED; needle++) {
    for (const url of urls) copyAt(cluster, volume, url).delete(needle, stamp(cluster))
    promised.delete(needle)
  }
  return { cluster, volume, target: { volumeId: volume.volumeId }, promised }
}

function copyAt(cluster: ModelCluster, volume: ModelVolume, url: string): ModelCopy {
  const copy = cluster.node(url).copies.get(volume.volumeId)
  if (copy === undefined) throw new Error(`no copy at ${url}`)
  return copy
}

function stamp(cluster: ModelCluster): bigint {
  return cluster.clock.stampNs()
}

const SCENES: Readonly<Record<JobKind, () => Scene>> = {
  'replica-repair': () => {
    const scene = build('002', ['a', 'b', 'c'])
    const { cluster, volume } = scene
    // One copy is damaged, one missed a put, another one a delete.
    copyAt(cluster, volume, 'b').put(21, 499, 3, stamp(cluster))
    copyAt(cluster, volume, 'a').put(21, 500, 3, stamp(cluster))
    copyAt(cluster, volume, 'c').put(21, 500, 3, stamp(cluster))
    cluster.recordDirty(volume, 21, 'put')
    scene.promised.set(21, 500)
    copyAt(cluster, volume, 'b').delete(20, stamp(cluster))
    scene.promised.delete(20)
    copyAt(cluster, volume, 'c').state = 'damaged'
    return { ...scene, unmet: () => cluster.fault(volume) }
  },
  move: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () =>
      volume.members.some(({ url }) => url === 'a') ? 'not moved' : cluster.fault(volume)
    return { ...scene, target: { ...scene.target, node: 'a', toNode: 'd' }, unmet }
  },
  rebalance: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () =>
      volume.members.some(({ url }) => url === 'a') ? 'not moved' : cluster.fault(volume)
    return { ...scene, target: { node: 'a' }, unmet }
  },
  evacuate: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () =>
      volume.members.some(({ url }) => url === 'b') ? 'not moved' : cluster.fault(volume)
    return { ...scene, target: { node: 'b' }, unmet }
  },
  vacuum: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const unmet = () => {
      const isNoted = volume.members.every(({ revisionMin }) => revisionMin > 0)
      if (!isNoted) return 'not noted'
      const copies = ['a', 'b'].map((url) => copyAt(cluster, volume, url))
      const isClean = copies.every(({ records }) => records.length === NEEDLES - DELETED)
      return isClean ? cluster.fault(volume) : 'garbage is left'
    }
    return { ...scene, unmet }
  },
  scrub: () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    for (const [url, needle] of [
      ['a', 9],
      ['b', 2],
      ['b', 12],
    ] as const) {
      const record = copyAt(cluster, volume, url).records.find((one) => one.needle === needle)
      if (record !== undefined) record.isCorrupt = true
    }
    const unmet = () => {
      const copies = ['a', 'b'].map((url) => copyAt(cluster, volume, url))
      const isGood = copies.every(({ records }) => records.every(({ isCorrupt }) => !isCorrupt))
      const noted = new Set(cluster.scrubNotes.map(({ directoryId }) => directoryId))
      if (!isGood || noted.size !== 2) return 'damage is left, or not noted'
      return cluster.fault(volume)
    }
    return { ...scene, unmet }
  },
  expire: () => {
    const scene = build('001', ['a', 'b'], '3m')
    const { cluster, volume } = scene
    cluster.clock.pass(200_000)
    scene.promised.clear()
    const unmet = () => (volume.isDeleted ? cluster.fault(volume) : 'not deleted')
    return { ...scene, unmet }
  },
  'set-replication': () => {
    const scene = build('001', ['a', 'b'])
    const { cluster, volume } = scene
    const replication = parseReplicaPlacement('000')
    const unmet = () => {
      const copies = ['a', 'b'].map((url) => copyAt(cluster, volume, url))
      const all = [volume, ...copies].every((one) => one.replication.otherServers === 0)
      return all ? undefined : 'not told'
    }
    return { ...scene, target: { collection: 'c', replication }, unmet }
  },
}

/** Good copies of what is promised on healthy members, the least of all needles. */
function leastCopies({ cluster, volume, promised }: Scene): number {
  if (promised.size === 0) return 0
  const members = cluster.liveMembers(volume).filter(({ copy }) => copy.isWritable)
  const counts = [...promised].map(
    ([needle, content]) => members.filter(({ copy }) => copy.good(needle) === content).length,
  )
  return Math.min(Number.POSITIVE_INFINITY, ...counts)
}

function broken({ cluster, volume, promised }: Scene): string[] {
  const { members } = volume
  return cluster.liveMembers(volume).flatMap(({ url, copy }) => {
    const needles = Array.from({ length: NEEDLES + 1 }, (_, index) => index + 1)
    return needles
      .filter((needle) => copy.good(needle) !== promised.get(needle))
      .map((needle) => `${needle} at ${url} of ${members.length}`)
  })
}

function phasesOf(kind: JobKind): readonly JobPhase[] {
  return JOB_PHASES[kind]
}

const DEATHS = JOB_KINDS.flatMap((kind) => phasesOf(kind).map((phase) => [kind, phase] as const))

// Goal: a worker may die at any named moment of any job; the volume is as before or as after then,
// never with fewer good copies than before, and the next worker brings the job to its end.
describe('a worker dies', () => {
  test.each(DEATHS)('in %s, when it has reached %s', async (kind, phase) => {
    const scene = SCENES[kind]()
    const { cluster, target } = scene
    const before = leastCopies(scene)
    const job = new ModelJob(cluster, kind, target)
    let isReached = false
    const onIdle = () => runQueuedMoves(cluster)
    const onPhase = (reached: JobPhase, session: ModelSession) => {
      if (reached !== phase) return
      isReached = true
      session.isDead = true
    }
    const first = await job.attempt({ kind, target, onPhase, onIdle })
    expect([isReached, first.outcome]).toEqual([true, 'killed'])
    expect(leastCopies(scene)).toBeGreaterThanOrEqual(before)
    // What waited for the worker that died goes on by itself.
    cluster.clock.pass(10_000)
    const second = await job.attempt({ kind, target, onIdle })
    expect([second.outcome, second.error]).toEqual(['done', undefined])
    expect(leastCopies(scene)).toBeGreaterThanOrEqual(before)
    expect(scene.unmet()).toBeUndefined()
    if (!scene.volume.isDeleted) expect(broken(scene)).toEqual([])
  })

  test.each(JOB_KINDS)(
    'never: %s passes all its phases, and again finds nothing to do',
    async (kind) => {
      const scene = SCENES[kind]()
      const { cluster, target } = scene
      const reached = new Set<JobPhase>()
      const onIdle = () => runQueuedMoves(cluster)
      const onPhase = (phase: JobPhase) => reached.add(phase)
      await runModelJob(cluster, kind, target, { onPhase, onIdle })
      expect([...phasesOf(kind)].filter((phase) => !reached.has(phase))).toEqual([])
      expect(scene.unmet()).toBeUndefined()
      if (kind === 'rebalance') return // The model's master never finds it even.
      const again = await runModelJob(cluster, kind, target, { onIdle })
      expect([again.outcome, again.error]).toEqual(['done', undefined])
      expect(scene.unmet()).toBeUndefined()
    },
  )
})
