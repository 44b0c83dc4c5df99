/**
 * How likely what is stored in several pieces is lost within a year, if servers fail independently
 * of each other: a birth and death process over the number of failed pieces, solved exactly.
 *
 *     0 failed ──▶ 1 failed ──▶ … ──▶ tolerance failed ──▶ lost
 *              ◀──          ◀──    ◀──
 *
 * Repairs of one group run one after the other. It knows nothing of faults that strike many servers
 * at once, of software or of operators: those cap what it says.
 */
export interface DurabilityGroup {
  /** Servers that hold a copy or some shards each, and fail independently. */
  readonly domains: number
  /** How many of them may be gone at once without loss: less than `domains`. */
  readonly tolerance: number
  /** Share of the servers that fail for good within a year: above 0, below 1. */
  readonly afr: number
  /** From a failure until it is repaired, detection included. */
  readonly mttrMs: number
  /** Copies or shards that are left when `tolerance` servers are gone; as many as servers are. */
  readonly piecesLeft?: number | undefined
}

/** Damage to what is stored that nobody notices before it is read. */
export interface LatentDamage {
  /** Chance a year that a copy or shard goes bad. */
  readonly perYear: number
  /** Between two times that everything is read and checked. */
  readonly scrubEveryMs: number
}

/** Of 365.25 days. */
const HOURS_PER_YEAR = 8766
const MS_PER_HOUR = 3_600_000

/** Failures an hour of one server, from the share that fails in a year. */
function failuresPerHour(afr: number): number {
  return -Math.log1p(-afr) / HOURS_PER_YEAR
}

/** Mean time from nothing failed until `tolerance` + 1 have, in hours. */
export function mttdlHours(group: DurabilityGroup): number {
  const lambda = failuresPerHour(group.afr)
  const mu = MS_PER_HOUR / Math.max(1, group.mttrMs)
  let step = 0 // Mean time from `failed` to one more for the first time.
  let total = 0
  for (let failed = 0; failed <= group.tolerance; failed++) {
    const up = (group.domains - failed) * lambda
    const down = failed === 0 ? 0 : mu
    step = 1 / up + (down / up) * step
    total += step
  }
  return total
}

/** Chance that the group is lost within a year: of each object in it as well. */
export function annualLoss(group: DurabilityGroup): number {
  // The plain form, 1 - exp(-x), is 0 beyond fifteen nines.
  return -Math.expm1(-HOURS_PER_YEAR / mttdlHours(group))
}

/**
 * As `annualLoss`, when what is left after `tolerance` failures may have gone bad unnoticed, half
 * a scrub ago on average.
 */
export function annualLossWithDamage(group: DurabilityGroup, damage: LatentDamage): number {
  const scrubYears = damage.scrubEveryMs / MS_PER_HOUR / HOURS_PER_YEAR
  const badShare = Math.min(1, (damage.perYear * scrubYears) / 2)
  const left = group.piecesLeft ?? group.domains - group.tolerance
  const anyBad = -Math.expm1(left * Math.log1p(-badShare))
  // With nothing to spare the group stands at its last pieces all year.
  const lastPieces =
    group.tolerance === 0
      ? 1
      : HOURS_PER_YEAR / mttdlHours({ ...group, tolerance: group.tolerance - 1 })
  return Math.min(1, annualLoss(group) + lastPieces * anyBad)
}

/** 0.00001 is five nines. */
export function ninesOf(lossPerYear: number): number {
  return -Math.log10(lossPerYear)
}
