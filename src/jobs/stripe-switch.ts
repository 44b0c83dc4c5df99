import { type ErasureScheme, isSameScheme } from '../base/erasure-scheme.ts'
import { StoreError } from '../base/store-error.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { NewShard } from '../net/stripe-facts.ts'
import { Freeze } from './freeze.ts'
import { uniteJournals } from './shard-journals.ts'
import {
  askForShards,
  asNewShard,
  holdersOf,
  type LiveShards,
  type StripeSurvey,
} from './stripe-survey.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

const ROUNDS_MAX = 5
/** A server tells of new shards with its next heartbeat, which it does not wait for. */
const REPORT_MS_MAX = 30_000
const REPORT_POLL_MS = 250

/** A stripe as it shall count: one place for each shard. */
export interface StripePlan extends ErasureScheme {
  readonly runId: string
  readonly shards: readonly NewShard[]
}

/**
 * Lets shards of the run that counts already count at other places, when every server that has any
 * knows of every delete. Deletes are held back meanwhile.
 *
 * @throws {StoreError} METADATA_CONFLICT: what counts has changed meanwhile. VOLUME_BUSY: deletes
 * do not come to an end.
 */
export async function movePlaces(
  work: VolumeWork,
  request: {
    readonly survey: StripeSurvey
    readonly moved: readonly (NewShard & { readonly location: NodeLocation })[]
    readonly reach: (phase: 'frozen' | 'switched' | 'thawed') => Promise<void>
  },
  signal: AbortSignal,
): Promise<void> {
  const { survey, moved, reach } = request
  const { stripe, good, bad, facts } = survey
  const kept = stripe.shards.filter(({ shard }) => !moved.some((one) => one.shard === shard))
  const shards = [...kept.map(asNewShard), ...moved].map(({ shard, url, directoryId }) => {
    return { shard, url, directoryId }
  })
  const plan = { ...schemeOf(stripe), runId: stripe.runId, shards }
  await awaitReported(work, plan, signal)
  const servers = holdersOf([...good, ...bad, ...moved])
  await using freeze = await Freeze.open(work, servers, signal)
  await reach('frozen')
  // One that takes no deletes any more has to be replaced, which others must not wait for.
  const onRefused = ({ url }: NodeLocation, error: StoreError) => {
    if (moved.some((one) => one.url === url)) throw error
  }
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const sets = await askForShards(work, servers, signal)
    const ofRun = sets.filter(({ report }) => report.runId === stripe.runId)
    throwIfGone(ofRun, plan, moved)
    await uniteJournals(work, { sets: ofRun, onRefused }, signal)
    // Only what was compared while nothing was deleted may be relied on.
    if (!(await freeze.renew(signal))) continue
    await commitStripe(work, facts, plan, signal)
    await reach('switched')
    await freeze.thaw()
    await reach('thawed')
    return
  }
  const why = `needles of volume ${facts.volumeId} are deleted without a pause`
  throw new StoreError('VOLUME_BUSY', why)
}

/**
 * Makes the plan count. If the answer is lost the master is asked whether it does.
 *
 * @throws {StoreError} METADATA_CONFLICT, JOB_LEASE_LOST; see `JobsApi.changeStripe`.
 */
export async function commitStripe(
  work: VolumeWork,
  { setVersion }: VolumeFacts,
  plan: StripePlan,
  signal: AbortSignal,
): Promise<void> {
  const { jobs, lease } = work.context
  const { volumeId } = work
  const { token } = lease
  try {
    const change = { jobId: lease.job.id, token, volumeId, setVersion, ...plan }
    await jobs.changeStripe(change, signal)
  } catch (error) {
    if (!isOutOfReach(error)) throw error
    if (!doesCount(await work.facts(signal), plan)) throw error
  }
}

/**
 * Returns when the master has heard of every shard that does not count yet.
 *
 * @throws {StoreError} UNAVAILABLE: it has not for too long.
 */
export async function awaitReported(
  work: VolumeWork,
  plan: StripePlan,
  signal: AbortSignal,
): Promise<void> {
  const { clock } = work.context
  const untilMs = clock.monotonicMs() + REPORT_MS_MAX
  for (;;) {
    const facts = await work.facts(signal)
    const unknown = plan.shards.find((shard) => !isReported(facts, plan, shard))
    if (unknown === undefined) return
    if (clock.monotonicMs() >= untilMs) {
      const why = `the master does not hear of shard ${unknown.shard} at ${unknown.url}`
      throw new StoreError('UNAVAILABLE', why)
    }
    await clock.sleep(REPORT_POLL_MS, signal)
  }
}

export function schemeOf({ dataShards, parityShards }: ErasureScheme): ErasureScheme {
  return { dataShards, parityShards }
}

function isReported(facts: VolumeFacts | undefined, plan: StripePlan, wanted: NewShard): boolean {
  const { stripe, strayShards = [] } = facts ?? {}
  const { shard, url, directoryId } = wanted
  if (stripe?.runId === plan.runId) {
    const member = stripe.shards[shard]
    if (member?.directoryId === directoryId) return true
  }
  return strayShards.some((stray) => {
    const isThere = stray.location.url === url && stray.directoryId === directoryId
    return isThere && stray.runId === plan.runId && stray.shards.includes(shard)
  })
}

function doesCount(facts: VolumeFacts | undefined, plan: StripePlan): boolean {
  const stripe = facts?.stripe
  if (stripe === undefined || stripe.runId !== plan.runId) return false
  if (!isSameScheme(stripe, plan)) return false
  return plan.shards.every(({ shard, directoryId }) => {
    return stripe.shards[shard]?.directoryId === directoryId
  })
}

/** @throws {StoreError} VOLUME_CHANGED. */
function throwIfGone(
  sets: readonly LiveShards[],
  { runId }: StripePlan,
  moved: readonly NewShard[],
): void {
  for (const { shard, url, directoryId } of moved) {
    const isThere = sets.some(({ location, report }) => {
      const isPlace = location.url === url && report.directoryId === directoryId
      return isPlace && report.shards.includes(shard) && !report.badShards.includes(shard)
    })
    if (isThere) continue
    const why = `shard ${shard} of run ${runId} is not whole at ${url} any more`
    throw new StoreError('VOLUME_CHANGED', why)
  }
}
