import { isStoreError } from '../base/store-error.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { NewShard, ShardFacts, ShardReport, StripeFacts } from '../net/stripe-facts.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/** Shards of one run in one directory, whose server has just told of them. */
export interface LiveShards {
  readonly location: NodeLocation
  readonly report: ShardReport
}

/** What servers say now of the shards of a volume, erasure-coded or not. */
export interface ShardSurvey {
  readonly facts: VolumeFacts
  /** Of all runs. */
  readonly found: readonly LiveShards[]
}

/** An erasure-coded volume as it is now. Every shard that counts is in one of the lists. */
export interface StripeSurvey extends ShardSurvey {
  readonly stripe: StripeFacts
  /** They can be read, as far as anybody knows. */
  readonly good: readonly ShardFacts[]
  /** Some of their blocks are wrong. */
  readonly bad: readonly ShardFacts[]
  /** Their servers cannot be asked just now, and may come back. */
  readonly away: readonly ShardFacts[]
  /** Gone for good. */
  readonly lost: readonly ShardFacts[]
}

/**
 * Heartbeats are seconds old: so every server is asked that may have shards, `also` included.
 * Undefined: the master does not know the volume.
 */
export async function surveyShards(
  work: VolumeWork,
  also: readonly NodeLocation[],
  signal: AbortSignal,
): Promise<ShardSurvey | undefined> {
  const facts = await work.facts(signal)
  if (facts === undefined) return undefined
  return { facts, found: await askForShards(work, serversOf(facts, also), signal) }
}

/** Undefined: the volume is not erasure-coded. */
export function stripeOf(survey: ShardSurvey): StripeSurvey | undefined {
  const { stripe, isDeleted } = survey.facts
  if (stripe === undefined || isDeleted) return undefined
  const good: ShardFacts[] = []
  const bad: ShardFacts[] = []
  const away: ShardFacts[] = []
  const lost: ShardFacts[] = []
  for (const place of stripe.shards) {
    const set = survey.found.find((shards) => isIn(shards, stripe.runId, place))
    if (set === undefined) (place.isLost ? lost : away).push(place)
    else if (set.report.badShards.includes(place.shard)) bad.push(place)
    else good.push(place)
  }
  return { ...survey, stripe, good, bad, away, lost }
}

/** Every shard is there and good. */
export function isWhole({ good, stripe }: StripeSurvey): boolean {
  return good.length === stripe.shards.length
}

/** Those of the run that counts; a shard of them may have another place that counts. */
export function setsOfRun({ found, stripe }: StripeSurvey): readonly LiveShards[] {
  return found.filter(({ report }) => report.runId === stripe.runId)
}

/** Servers with a shard that counts, each once. */
export function holdersOf(places: readonly { readonly location: NodeLocation }[]): NodeLocation[] {
  return [...new Map(places.map(({ location }) => [location.url, location])).values()]
}

export function asNewShard({ shard, location, directoryId }: ShardFacts): NewShard {
  return { shard, url: location.url, directoryId }
}

/** What these servers have of the volume; one that does not answer has nothing now. */
export async function askForShards(
  work: VolumeWork,
  servers: readonly NodeLocation[],
  signal: AbortSignal,
): Promise<readonly LiveShards[]> {
  const answers = await Promise.all(
    servers.map(async (location) => {
      try {
        const reports = await work.at(location).shards.shardStatus(work.volumeId, signal)
        return reports.map((report) => ({ location, report }))
      } catch (error) {
        if (isOutOfReach(error) || isStoreError(error, 'VOLUME_NOT_FOUND')) return []
        throw error
      }
    }),
  )
  return answers.flat()
}

function isIn(
  { location, report }: LiveShards,
  runId: string,
  { shard, location: { url }, directoryId }: ShardFacts,
): boolean {
  if (location.url !== url || report.runId !== runId) return false
  return report.directoryId === directoryId && report.shards.includes(shard)
}

function serversOf(facts: VolumeFacts, also: readonly NodeLocation[]): NodeLocation[] {
  const { stripe, strayShards = [], members, strays } = facts
  const known = [...(stripe?.shards ?? []), ...strayShards, ...members, ...strays]
  const up = known.filter(({ isUp }) => isUp)
  return holdersOf([...up, ...also.map((location) => ({ location }))])
}
