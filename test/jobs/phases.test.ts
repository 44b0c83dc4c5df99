import { describe, expect, test } from 'vitest'
import { JOB_PHASES, type JobPhase } from '../../src/jobs/job.ts'
import type { JobKind } from '../../src/net/jobs-api.ts'
import { ModelJob, runModelJob, runQueuedMoves } from './model-run.ts'
import { NEEDLES, SCENES, type Scene, type VolumeKind } from './model-scenes.ts'
import type { ModelSession } from './model-session.ts'

/** Good copies of what is promised, the least of all needles; with shards, as many as may go. */
function leastCopies({ cluster, volume, promised }: Scene): number {
  if (promised.size === 0) return 0
  const { stripe } = volume
  if (stripe !== undefined) {
    const images = cluster.liveShards(volume).map(({ set }) => set.image)
    const hasAll = images.every(({ needles }) =>
      [...promised].every(([needle, content]) => needles.get(needle)?.content === content),
    )
    return hasAll ? cluster.goodShards(volume).length - stripe.dataShards + 1 : 0
  }
  const members = cluster.liveMembers(volume).filter(({ copy }) => copy.isSound)
  const counts = [...promised].map(
    ([needle, content]) => members.filter(({ copy }) => copy.good(needle) === content).length,
  )
  return Math.min(Number.POSITIVE_INFINITY, ...counts)
}

function broken({ cluster, volume, promised }: Scene): string[] {
  const { members } = volume
  const wrong = cluster.liveShards(volume).flatMap(({ url, set }) => {
    const live = [...set.image.needles.keys()].filter((needle) => set.isLive(needle))
    return live.filter((needle) => !promised.has(needle)).map((needle) => `${needle} at ${url}`)
  })
  if (volume.stripe !== undefined) return wrong
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

const KINDS = Object.keys(SCENES) as readonly VolumeKind[]

const DEATHS = KINDS.flatMap((kind) => phasesOf(kind).map((phase) => [kind, phase] as const))

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

  test.each(KINDS)(
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
