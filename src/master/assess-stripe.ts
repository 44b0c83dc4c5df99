import { formatErasureScheme } from '../base/erasure-scheme.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import type { ShardFacts, StripeFacts } from '../net/stripe-facts.ts'
import {
  type AssessOptions,
  queueOf,
  RISK,
  strayShardsUp,
  type VolumeAssessment,
} from './assess.ts'
import type { QueueRequest } from './job-record.ts'
import { spreadOf } from './shard-placement.ts'
import { countedSets, isGoodShard, shardBytesOf } from './stripe-figures.ts'

/** A coded volume that was not deleted. */
export type CodedFacts = VolumeFacts & { readonly stripe: StripeFacts }

export function isCoded(facts: VolumeFacts): facts is CodedFacts {
  return facts.stripe !== undefined
}

interface Shards {
  readonly good: readonly ShardFacts[]
  /** There, with wrong blocks. */
  readonly bad: readonly ShardFacts[]
  readonly away: readonly ShardFacts[]
  readonly lost: readonly ShardFacts[]
}

/** As `assess`, of a coded volume. Whether its shards should lie elsewhere is not looked at. */
export function assessStripe(facts: CodedFacts, options: AssessOptions): VolumeAssessment {
  const { volumeId, stripe, dirtyCount } = facts
  const shards = sortShards(stripe)
  const { good, bad, away } = shards
  const sets = countedSets(stripe)
  const liveNeedles = Math.max(0, ...sets.map(({ report }) => report.liveNeedles))
  const isMaybeEmpty = sets.length > 0 && liveNeedles === 0
  const journals = new Set(
    sets.filter(({ isUp }) => isUp).map(({ report }) => report.journalDigest),
  )
  const differs = journals.size > 1 && dirtyCount === 0
  const jobs = [
    repairOf(facts, shards, { ...options, differs }),
    vacuumOf(facts, shards, { ...options, differs }),
  ]
  return {
    volumeId,
    wantedCount: stripe.shards.length,
    goodCount: good.length,
    missingCount: stripe.shards.length - good.length,
    needsCopy: needsShard(shards, false),
    away: [...new Set(away.map(({ location }) => location.url))],
    isUnavailable: good.length + bad.length < stripe.dataShards && !isMaybeEmpty,
    liveNeedles,
    datBytes: shardBytesOf(stripe),
    dirtyCount,
    differs,
    unmetPlacement: placementGap(stripe),
    jobs: jobs.filter((job) => job !== undefined),
  }
}

/** Every shard is there and good, and nothing is known to be settled. */
export function isWholeStripe({ stripe, dirtyCount }: CodedFacts): boolean {
  return dirtyCount === 0 && stripe.shards.every(isGoodShard)
}

function sortShards(stripe: StripeFacts): Shards {
  const good: ShardFacts[] = []
  const bad: ShardFacts[] = []
  const away: ShardFacts[] = []
  const lost: ShardFacts[] = []
  for (const shard of stripe.shards) {
    if (shard.isLost) lost.push(shard)
    else if (!shard.isUp || shard.report === undefined) away.push(shard)
    else if (shard.isBad) bad.push(shard)
    else good.push(shard)
  }
  return { good, bad, away, lost }
}

function needsShard({ bad, lost }: Shards, isMassAway: boolean): boolean {
  // The ones that are lost since their server is down may be back with the network.
  const maybeBack = isMassAway ? lost.filter(({ isUp }) => !isUp) : []
  return bad.length > 0 || lost.length > maybeBack.length
}

function repairOf(
  facts: CodedFacts,
  shards: Shards,
  options: AssessOptions & { readonly differs: boolean },
): QueueRequest | undefined {
  const { stripe, dirtyCount } = facts
  const { good, bad, away, lost } = shards
  const isReadable = good.length + bad.length >= stripe.dataShards
  const isBusy = needsShard(shards, options.isMassAway)
  // Whatever else is wrong, a repair would make shards for those that are gone as well.
  if (!isReadable || (options.isMassAway && !isBusy && lost.length > 0)) return undefined
  const reasons: [risk: number, reason: string][] = []
  if (isBusy) reasons.push([riskOf(stripe, good.length), describeLoss(stripe, shards)])
  // A server that is away may have a delete in its journal that nobody else has heard of.
  if (dirtyCount > 0 && away.length === 0) {
    reasons.push([RISK.dirty, `${dirtyCount} needles differ`])
  }
  if (options.differs) reasons.push([RISK.differs, 'the journals of deletes differ'])
  if (good.length === stripe.shards.length) {
    const copyCount = facts.strays.filter(({ isUp }) => isUp).length
    const shardCount = strayShardsUp(facts)
    if (copyCount > 0) reasons.push([RISK.surplus, `${copyCount} copies that do not count`])
    if (shardCount > 0) reasons.push([RISK.surplus, `${shardCount} shards that do not count`])
  }
  if (reasons.length === 0) return undefined
  const risk = Math.max(...reasons.map(([each]) => each))
  return jobOf(facts, 'ec-repair', risk, reasons.map(([, reason]) => reason).join('; '))
}

/** The fewer may still be lost, the higher: from `fewCopies` up to `lastCopy` when none may. */
function riskOf({ dataShards, parityShards }: StripeFacts, goodCount: number): number {
  const tolerance = Math.max(0, goodCount - dataShards)
  const share = (parityShards - tolerance) / parityShards
  return RISK.fewCopies + (RISK.lastCopy - RISK.fewCopies) * share
}

function describeLoss({ shards }: StripeFacts, { good, bad, lost }: Shards): string {
  const why = [
    lost.length > 0 ? `, ${lost.length} lost` : '',
    bad.length > 0 ? `, ${bad.length} damaged` : '',
  ]
  return `${good.length} of ${shards.length} shards${why.join('')}`
}

function vacuumOf(
  facts: CodedFacts,
  { good }: Shards,
  { garbageThreshold, differs }: AssessOptions & { readonly differs: boolean },
): QueueRequest | undefined {
  const { stripe, dirtyCount } = facts
  if (good.length < stripe.shards.length || dirtyCount > 0 || differs) return undefined
  const shares = countedSets(stripe).map(
    ({ report }) => report.garbageBytes / Math.max(1, report.datBytes),
  )
  const share = Math.max(...shares)
  if (share <= garbageThreshold) return undefined
  const percent = Math.round(share * 100)
  return jobOf(facts, 'ec-vacuum', RISK.vacuum + share, `${percent} % of it is garbage`)
}

function placementGap(stripe: StripeFacts): string | undefined {
  // With one away or lost there is no telling where it will be.
  if (!stripe.shards.every(isGoodShard)) return undefined
  const { worstServer } = spreadOf(stripe.shards.map(({ location }) => location))
  if (worstServer <= stripe.parityShards) return undefined
  const scheme = formatErasureScheme(stripe)
  return `${worstServer} shards of ${scheme} are on one server, ${stripe.parityShards} may be lost`
}

function jobOf(
  facts: CodedFacts,
  kind: 'ec-repair' | 'ec-vacuum',
  risk: number,
  reason: string,
): QueueRequest {
  const target = { volumeId: facts.volumeId }
  return { kind, target, reason, risk, queue: queueOf(facts), isAsked: false }
}
