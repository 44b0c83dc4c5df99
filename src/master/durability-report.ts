import {
  annualLoss,
  annualLossWithDamage,
  type DurabilityGroup,
  ninesOf,
} from '../base/durability-model.ts'
import type {
  DurabilityReport,
  DurabilityScheme,
  RepairTimes,
  VolumeFacts,
} from '../net/jobs-api.ts'
import type { StripeFacts } from '../net/stripe-facts.ts'
import { isBelow, type VolumeAssessment } from './assess.ts'
import { schemeNameOf } from './assess-volume.ts'
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
  'however many shards one has; they are repaired one after the other, each in the 95th ' +
  'percentile of repair times'

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
    const name = schemeNameOf(facts)
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
  const losses = new Map<string, Loss>()
  let worst: Loss | undefined
  let objects = 0
  let objectsLostPerYear = 0
  for (const [index, { liveNeedles }] of assessments.entries()) {
    const layout = layoutOf(facts[index])
    const name = JSON.stringify(layout)
    const loss = losses.get(name) ?? lossOf(layout, mttrMs, input)
    losses.set(name, loss)
    if (worst === undefined || loss.withDamage > worst.withDamage) worst = loss
    objects += liveNeedles
    objectsLostPerYear += liveNeedles * loss.withDamage
  }
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
    domainsWorst: worst?.layout.domains ?? 0,
    toleranceWorst: Math.max(0, worst?.layout.tolerance ?? 0),
    afr: AFR_ASSUMED,
    isAfrAssumed: true,
    mttrP50Ms: isMttrAssumed ? assumedMs : times.p50Ms,
    mttrP95Ms: mttrMs,
    isMttrAssumed,
    nines: ninesOf(worst?.independent ?? 0),
    ninesWithLatentDamage: ninesOf(worst?.withDamage ?? 0),
    objectsLostPerYear,
    volumesBelow: below.length,
    belowOldestMs: Math.max(0, ...agesMs),
  }
}

/** How a volume is spread over servers, as the model needs it. */
interface Layout {
  /** Servers with a copy or shard that may be away for a moment, but is not lost. */
  readonly domains: number
  /** How many of them may be gone at once, whichever they are; below 0: too much is lost. */
  readonly tolerance: number
  readonly piecesLeft: number
}

interface Loss {
  readonly layout: Layout
  readonly independent: number
  readonly withDamage: number
}

function layoutOf(facts: VolumeFacts | undefined): Layout {
  if (facts?.stripe !== undefined) return stripeLayout(facts.stripe)
  const there = (facts?.members ?? []).filter(({ isLost }) => !isLost)
  const domains = new Set(there.map(({ location }) => location.url)).size
  return { domains, tolerance: domains - 1, piecesLeft: 1 }
}

/** The servers with most shards go first, until more are gone than parity makes up for. */
function stripeLayout({ shards, dataShards }: StripeFacts): Layout {
  const counts = new Map<string, number>()
  for (const { location, isLost } of shards) {
    if (!isLost) counts.set(location.url, (counts.get(location.url) ?? 0) + 1)
  }
  const largestFirst = [...counts.values()].sort((a, b) => b - a)
  let piecesLeft = largestFirst.reduce((sum, count) => sum + count, 0)
  if (piecesLeft < dataShards) return { domains: counts.size, tolerance: -1, piecesLeft }
  let tolerance = 0
  for (const count of largestFirst) {
    if (piecesLeft - count < dataShards) break
    piecesLeft -= count
    tolerance++
  }
  return { domains: counts.size, tolerance, piecesLeft }
}

function lossOf(layout: Layout, mttrMs: number, { scrubEveryMs }: DurabilityInput): Loss {
  // With too little left it has happened already.
  if (layout.tolerance < 0) return { layout, independent: 1, withDamage: 1 }
  const group: DurabilityGroup = { ...layout, afr: AFR_ASSUMED, mttrMs }
  const damage = { perYear: DAMAGE_PER_YEAR, scrubEveryMs }
  return {
    layout,
    independent: annualLoss(group),
    withDamage: annualLossWithDamage(group, damage),
  }
}
