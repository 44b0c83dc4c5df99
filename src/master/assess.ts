import type { VolumeId } from '../base/ids.ts'
import { copyCount, formatReplicaPlacement } from '../base/replica-placement.ts'
import { ttlToMs } from '../base/ttl.ts'
import type { VolumeCopyFacts, VolumeFacts } from '../net/jobs-api.ts'
import type { VolumeReport } from '../net/master-api.ts'
import type { QueueRequest } from './job-record.ts'
import { unmetPlacement } from './placement.ts'
import { isShardVolume } from './shard-volumes.ts'

export interface AssessOptions {
  /** By the wall clock: what volumes say of their last change is, too. */
  readonly nowMs: number
  /** So many servers are away that it must be the network: nothing is copied because of them. */
  readonly isMassAway: boolean
  readonly garbageThreshold: number
  /** A lease on ids of a volume may be used for so long. */
  readonly leaseMs: number
}

/** How a volume is, and what is to be done about it. */
export interface VolumeAssessment {
  readonly volumeId: VolumeId
  /** Copies, or shards of a coded volume. */
  readonly wantedCount: number
  /** Those that count, are in reach, and have nothing bad to say of themselves. */
  readonly goodCount: number
  readonly missingCount: number
  /** Some copy or shard has to be made anew: waiting for servers to come back will not do. */
  readonly needsCopy: boolean
  /** Servers that may come back with a copy. */
  readonly away: readonly string[]
  /** Too few in reach to read from, although there is something in the volume. */
  readonly isUnavailable: boolean
  readonly liveNeedles: number
  /** Of a copy, or of a shard of a coded volume: what is to be made for each that is missing. */
  readonly datBytes: number
  readonly dirtyCount: number
  /** The digests of the good copies are known and not the same, or those of their journals. */
  readonly differs: boolean
  /** What is missing for the placement although there are enough copies or shards. */
  readonly unmetPlacement: string | undefined
  readonly jobs: readonly QueueRequest[]
}

/** How much is lost if a job waits: what is below redundancy goes before all else. */
export const RISK = {
  lastCopy: 1000,
  fewCopies: 800,
  heal: 600,
  dirty: 500,
  differs: 450,
  damagedDisk: 400,
  setReplication: 380,
  decode: 360,
  move: 350,
  placement: 300,
  evacuate: 250,
  surplus: 200,
  expire: 150,
  vacuum: 120,
  encode: 110,
  scrub: 100,
  rebalance: 50,
} as const

/** Jobs at least as risky as this do not rest for the sake of others. */
export const RISK_BELOW = 700

/** An expired volume stays for this share of its time to live longer, for readers on their way. */
const EXPIRE_SHARE = 0.1

interface Copies {
  readonly wanted: number
  readonly good: readonly ReportedCopy[]
  readonly bad: readonly ReportedCopy[]
  readonly away: readonly VolumeCopyFacts[]
  readonly lost: readonly VolumeCopyFacts[]
}

type ReportedCopy = VolumeCopyFacts & { readonly report: VolumeReport }

/** Of a volume with copies; see `assessStripe`. A function of its arguments alone. */
export function assess(facts: VolumeFacts, options: AssessOptions): VolumeAssessment {
  const copies = sortCopies(facts)
  const { wanted, good, bad, away } = copies
  const reports = facts.members.flatMap(({ report }) => report ?? [])
  const liveNeedles = Math.max(0, ...reports.map((report) => report.liveNeedles))
  const isMaybeEmpty = reports.length > 0 && liveNeedles === 0
  const digests = new Set(good.map(({ report }) => report.digest))
  const differs = digests.size > 1 && !digests.has('') && facts.dirtyCount === 0
  const found = {
    volumeId: facts.volumeId,
    wantedCount: facts.isDeleted ? 0 : wanted,
    goodCount: good.length,
    missingCount: facts.isDeleted ? 0 : Math.max(0, wanted - good.length),
    needsCopy: !facts.isDeleted && needsCopy(copies, false),
    away: away.map(({ location }) => location.url),
    // Its files can be read without it: it is their shards that are to be made anew.
    isUnavailable:
      !facts.isDeleted && good.length + bad.length === 0 && !isMaybeEmpty && !isShardVolume(facts),
    liveNeedles,
    datBytes: Math.max(0, ...reports.map((report) => report.datBytes)),
    dirtyCount: facts.dirtyCount,
    differs,
    unmetPlacement: placementGap(facts, copies),
  }
  const jobs = [
    repairOf(facts, copies, { ...options, differs }),
    expiryOf(facts, copies, options) ?? vacuumOf(facts, copies, options),
    leftShardsOf(facts, copies),
  ]
  return { ...found, jobs: jobs.filter((job) => job !== undefined) }
}

/** The copy counts as lost as soon as there is a good one to replace it. */
export function isBad({ state }: VolumeReport): boolean {
  return state === 'damaged' || state === 'failed'
}

/** Every copy there is or may come back has seen every delete, as far as anybody knows. */
export function areInSync(facts: VolumeFacts): boolean {
  const { good, wanted } = sortCopies(facts)
  const isWhole = good.length === facts.members.length && good.length >= wanted
  if (!isWhole || facts.dirtyCount > 0 || facts.strays.length > 0) return false
  const digests = new Set(good.map(({ report }) => report.digest))
  return good.length === 1 || (digests.size === 1 && !digests.has(''))
}

/** Redundancy is not what it should be. */
export function isBelow(assessment: VolumeAssessment): boolean {
  return assessment.missingCount > 0 || assessment.dirtyCount > 0 || assessment.differs
}

function sortCopies(facts: VolumeFacts): Copies {
  const good: ReportedCopy[] = []
  const bad: ReportedCopy[] = []
  const away: VolumeCopyFacts[] = []
  const lost: VolumeCopyFacts[] = []
  for (const copy of facts.members) {
    const { report } = copy
    if (copy.isLost) lost.push(copy)
    else if (!copy.isUp || report === undefined) away.push(copy)
    else if (isBad(report)) bad.push({ ...copy, report })
    else good.push({ ...copy, report })
  }
  return { wanted: copyCount(facts.replication), good, bad, away, lost }
}

function needsCopy({ wanted, good, bad, away, lost }: Copies, isMassAway: boolean): boolean {
  // The ones that are lost since their server is down may be back with the network.
  const maybeBack = isMassAway ? lost.filter(({ isUp }) => !isUp) : []
  const isReplaced = bad.length > 0 || lost.length > maybeBack.length
  return isReplaced || good.length + away.length + maybeBack.length < wanted
}

function repairOf(
  facts: VolumeFacts,
  copies: Copies,
  options: AssessOptions & { readonly differs: boolean },
): QueueRequest | undefined {
  const { wanted, good, bad, away, lost } = copies
  const strayCount = facts.strays.filter(({ isUp }) => isUp).length
  if (facts.isDeleted) {
    const strayShardCount = strayShardsUp(facts)
    if (strayCount + strayShardCount === 0) return undefined
    const what = strayCount > 0 ? `${strayCount} copies` : `${strayShardCount} shards`
    return jobOf(facts, 'replica-repair', RISK.surplus, `${what} of what was deleted`)
  }
  const reasons: [risk: number, reason: string][] = []
  const isBusy = needsCopy(copies, options.isMassAway)
  // Whatever else is wrong, a repair would make copies for those that are gone as well.
  if (options.isMassAway && !isBusy && lost.length > 0) return undefined
  if (isBusy && good.length + bad.length > 0) {
    const risk = good.length <= 1 && wanted > 1 ? RISK.lastCopy : RISK.fewCopies
    const why = [
      lost.length > 0 ? `${lost.length} lost` : '',
      bad.length > 0 ? `${bad.length} damaged` : '',
    ].filter((text) => text !== '')
    const tail = why.length === 0 ? '' : `, ${why.join(', ')}`
    reasons.push([risk, `${good.length} of ${wanted} copies${tail}`])
  }
  // With a server away a needle that differs cannot be settled: that copy may have the newest one.
  const canCompare = good.length > 0 && away.length === 0
  if (facts.dirtyCount > 0 && canCompare) {
    reasons.push([RISK.dirty, `${facts.dirtyCount} needles differ`])
  }
  if (options.differs) reasons.push([RISK.differs, 'the digests of the copies differ'])
  if (good.length > wanted) {
    reasons.push([RISK.surplus, `${good.length} copies, ${wanted} are wanted`])
  }
  if (strayCount > 0 && good.length >= wanted) {
    reasons.push([RISK.surplus, `${strayCount} copies that do not count`])
  }
  const replication = formatReplicaPlacement(facts.replication)
  if (good.some(({ report }) => formatReplicaPlacement(report.replication) !== replication)) {
    reasons.push([RISK.surplus, `not every copy says that its replication is ${replication}`])
  }
  const risk = Math.max(...reasons.map(([each]) => each))
  if (reasons.length === 0) return undefined
  return jobOf(facts, 'replica-repair', risk, reasons.map(([, reason]) => reason).join('; '))
}

/** Somebody gave up coding it, or decoded it. While a copy is missing they may be of use yet. */
function leftShardsOf(facts: VolumeFacts, { good, wanted }: Copies): QueueRequest | undefined {
  const count = strayShardsUp(facts)
  if (count === 0 || facts.isDeleted || good.length < wanted) return undefined
  return jobOf(facts, 'ec-repair', RISK.surplus, `${count} shards that do not count`)
}

function expiryOf(
  facts: VolumeFacts,
  { good, away }: Copies,
  { nowMs, leaseMs }: AssessOptions,
): QueueRequest | undefined {
  const ttlMs = ttlToMs(facts.ttl)
  // Nobody knows what was written last to one that is away.
  const isKnown = good.length > 0 && away.length === 0
  if (ttlMs === 0 || facts.isDeleted || !isKnown) return undefined
  const reports = facts.members.flatMap(({ report }) => report ?? [])
  const changedMs = Math.max(...reports.map(({ modifiedAtS }) => modifiedAtS * 1000))
  // Ids that were given out a moment ago are still written.
  const graceMs = Math.max(leaseMs, ttlMs * EXPIRE_SHARE)
  if (changedMs <= 0 || nowMs < changedMs + ttlMs + graceMs) return undefined
  return jobOf(facts, 'expire', RISK.expire, 'everything in it has outlived its time to live')
}

function vacuumOf(
  facts: VolumeFacts,
  { wanted, good }: Copies,
  { garbageThreshold }: AssessOptions,
): QueueRequest | undefined {
  const isWhole = good.length === facts.members.length && good.length >= wanted
  if (facts.isDeleted || !isWhole || facts.dirtyCount > 0) return undefined
  const shares = good.map(({ report }) => report.garbageBytes / Math.max(1, report.datBytes))
  const share = Math.max(...shares)
  if (share <= garbageThreshold) return undefined
  const percent = Math.round(share * 100)
  return jobOf(facts, 'vacuum', RISK.vacuum + share, `${percent} % of it is garbage`)
}

function jobOf(
  facts: VolumeFacts,
  kind: 'replica-repair' | 'ec-repair' | 'expire' | 'vacuum',
  risk: number,
  reason: string,
): QueueRequest {
  const target = { volumeId: facts.volumeId }
  return { kind, target, reason, risk, queue: queueOf(facts), isAsked: false }
}

/**
 * Shards that do not count, on servers in reach. One that its server has twice is not among them:
 * nobody can tell the server which of the two is to go.
 */
export function strayShardsUp({ stripe, strayShards = [] }: VolumeFacts): number {
  let count = 0
  for (const { location, runId, shards, isUp } of strayShards) {
    if (!isUp) continue
    const counted = stripe?.runId === runId ? stripe.shards : []
    const isTwice = (shard: number) => counted[shard]?.location.url === location.url
    count += shards.filter((shard) => !isTwice(shard)).length
  }
  return count
}

/** The data centre where most of the work will be: that of a copy or shard to read from. */
export function queueOf(facts: VolumeFacts): string {
  const { good, bad } = sortCopies(facts)
  const shards = facts.stripe?.shards ?? []
  const inReach = shards.filter(({ isUp, report }) => isUp && report !== undefined)
  const all = [...good, ...bad, ...facts.members, ...inReach, ...shards, ...facts.strays]
  return all[0]?.location.dataCenter ?? facts.strayShards?.[0]?.location.dataCenter ?? ''
}

function placementGap(facts: VolumeFacts, { wanted, good }: Copies): string | undefined {
  // With one away or lost there is no telling where it will be.
  if (facts.isDeleted || good.length !== facts.members.length || good.length < wanted) {
    return undefined
  }
  return unmetPlacement(
    good.map(({ location }) => location),
    facts.replication,
  )
}
