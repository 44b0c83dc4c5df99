import {
  annualLoss,
  annualLossWithDamage,
  type DurabilityGroup,
  ninesOf,
} from '../base/durability-model.ts'
import { formatReplicaPlacement } from '../base/replica-placement.ts'
import type {
  DurabilityReport,
  DurabilityScheme,
  RepairTimes,
  VolumeFacts,
} from '../net/jobs-api.ts'
import { isBelow, type VolumeAssessment } from './assess.ts'
import type { ScrubFigures } from './scrub-log.ts'
import type { ClusterSurvey } from './surveyor.ts'

export interface DurabilityInput {
  readonly survey: ClusterSurvey
  readonly times: RepairTimes
  readonly scrub: ScrubFigures
  /** By the wall clock; 0: it is not below. */
  readonly belowSinceMs: (facts: VolumeFacts) => number
  readonly nowMs: number
  /** Until a server that is down counts as lost. */
  readonly delayMs: number
  readonly scrubEveryMs: number
}

/** A whole server a year, with its controller, memory and operator; nobody counts ours. */
const AFR_ASSUMED = 0.04

/** To copy what a server held, spread over many, until enough repairs were measured. */
const COPY_ASSUMED_MS = 3_600_000
const REPAIRS_MIN = 5

/** Chance a year that a copy goes bad unnoticed: the pessimistic end of published figures. */
const DAMAGE_PER_YEAR = 0.008

/** Chance a year of a fire, a fault in every server's software, or a wrong command. */
const CORRELATED_PER_YEAR = 1e-5

const CONVENTION =
  'independent-failure model; software and operator errors not included. Nines are of the chance ' +
  'that an object survives a year, in the worst volume of a scheme; failure domains are servers, ' +
  'which are repaired one after the other, each in the 95th percentile of repair times'

interface SchemeVolumes {
  readonly facts: VolumeFacts[]
  readonly assessments: VolumeAssessment[]
}

/** What the present layout is worth, by the model of `base/durability-model.ts`. */
export function durabilityReport(input: DurabilityInput): DurabilityReport {
  const { survey, scrub } = input
  const schemes = new Map<string, SchemeVolumes>()
  survey.facts.forEach((facts, index) => {
    const assessment = survey.assessments[index]
    if (facts.isDeleted || assessment === undefined) return
    const name = `replication ${formatReplicaPlacement(facts.replication)}`
    const scheme = schemes.get(name) ?? { facts: [], assessments: [] }
    schemes.set(name, scheme)
    scheme.facts.push(facts)
    scheme.assessments.push(assessment)
  })
  const names = [...schemes].sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    schemes: names.map(([name, volumes]) => schemeReport(name, volumes, input)),
    scrubAgeP95Ms: scrub.ageP95Ms,
    unscrubbedBytes: scrub.unscrubbedBytes,
    correlatedPerYear: CORRELATED_PER_YEAR,
    ninesCap: ninesOf(CORRELATED_PER_YEAR),
    convention: CONVENTION,
  }
}

function schemeReport(
  scheme: string,
  { facts, assessments }: SchemeVolumes,
  input: DurabilityInput,
): DurabilityScheme {
  const { times, delayMs, nowMs } = input
  const isMttrAssumed = times.count < REPAIRS_MIN
  const assumedMs = delayMs + COPY_ASSUMED_MS
  const mttrMs = isMttrAssumed ? assumedMs : times.p95Ms
  const domains = facts.map(domainsOf)
  const domainsWorst = Math.min(...domains)
  const worst = lossOf(domainsWorst, mttrMs, input)
  const losses = new Map<number, number>()
  let objects = 0
  let objectsLostPerYear = 0
  assessments.forEach(({ liveNeedles }, index) => {
    const count = domains[index] ?? 0
    const loss = losses.get(count) ?? lossOf(count, mttrMs, input).withDamage
    losses.set(count, loss)
    objects += liveNeedles
    objectsLostPerYear += liveNeedles * loss
  })
  const below = facts.filter((_, index) => {
    const assessment = assessments[index]
    return assessment !== undefined && isBelow(assessment)
  })
  const agesMs = below.map((each) => {
    const sinceMs = input.belowSinceMs(each)
    return sinceMs === 0 ? 0 : Math.max(0, nowMs - sinceMs)
  })
  return {
    scheme,
    volumes: facts.length,
    objects,
    domainsWorst,
    toleranceWorst: Math.max(0, domainsWorst - 1),
    afr: AFR_ASSUMED,
    isAfrAssumed: true,
    mttrP50Ms: isMttrAssumed ? assumedMs : times.p50Ms,
    mttrP95Ms: mttrMs,
    isMttrAssumed,
    nines: ninesOf(worst.independent),
    ninesWithLatentDamage: ninesOf(worst.withDamage),
    objectsLostPerYear,
    volumesBelow: below.length,
    belowOldestMs: Math.max(0, ...agesMs),
  }
}

/** Servers with a copy that may be away for a moment, but is not lost. */
function domainsOf({ members }: VolumeFacts): number {
  const urls = members.filter(({ isLost }) => !isLost).map(({ location }) => location.url)
  return new Set(urls).size
}

function lossOf(domains: number, mttrMs: number, { scrubEveryMs }: DurabilityInput) {
  // Without any copy left it has happened already.
  if (domains === 0) return { independent: 1, withDamage: 1 }
  const group: DurabilityGroup = { domains, tolerance: domains - 1, afr: AFR_ASSUMED, mttrMs }
  const damage = { perYear: DAMAGE_PER_YEAR, scrubEveryMs }
  return { independent: annualLoss(group), withDamage: annualLossWithDamage(group, damage) }
}
