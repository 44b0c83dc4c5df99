import { formatBytes } from '../base/units.ts'
import type { DurabilityReport, DurabilityScheme } from '../net/jobs-api.ts'
import { formatDuration } from './durations.ts'
import { table } from './status-report.ts'

const HEADINGS = [
  'SCHEME',
  'VOLUMES',
  'FILES',
  'DOMAINS',
  'MAY FAIL',
  'AFR',
  'MTTR P50',
  'MTTR P95',
  'NINES',
  'WITH ROT',
  'LOST/YEAR',
  'BELOW NOW',
] as const

/** The report for people. What is assumed, not measured, carries a `*`. */
export function durabilityLines(report: DurabilityReport): readonly string[] {
  const { schemes, scrubAgeP95Ms, unscrubbedBytes, correlatedPerYear, ninesCap } = report
  const rows = schemes.map(schemeRow)
  const never = unscrubbedBytes === 0 ? '' : `; ${formatBytes(unscrubbedBytes)} not checked yet`
  const cap = `assumed: an event beyond any scheme, ${correlatedPerYear} a year`
  return [
    ...(rows.length === 0 ? ['nothing is stored yet'] : table([HEADINGS, ...rows], 1)),
    '',
    `95 % of the copies were checked within the last ${formatDuration(scrubAgeP95Ms)}${never}`,
    `${cap}: no scheme is worth more than ${ninesCap.toFixed(1)} nines`,
    ...(schemes.some(isAssumed) ? ['* assumed, not measured here'] : []),
    report.convention,
  ]
}

function schemeRow(scheme: DurabilityScheme): readonly string[] {
  const { isAfrAssumed, isMttrAssumed, volumesBelow, belowOldestMs } = scheme
  const mttr = (ms: number): string => `${formatDuration(ms)}${isMttrAssumed ? '*' : ''}`
  const below = volumesBelow === 0 ? '0' : `${volumesBelow} for ${formatDuration(belowOldestMs)}`
  return [
    scheme.scheme,
    String(scheme.volumes),
    String(scheme.objects),
    String(scheme.domainsWorst),
    String(scheme.toleranceWorst),
    `${(scheme.afr * 100).toFixed(1)} %${isAfrAssumed ? '*' : ''}`,
    mttr(scheme.mttrP50Ms),
    mttr(scheme.mttrP95Ms),
    scheme.nines.toFixed(1),
    scheme.ninesWithLatentDamage.toFixed(1),
    lostText(scheme.objectsLostPerYear),
    below,
  ]
}

/** `0.003`, `2e-9`, `1200`: two digits that count. */
function lostText(objects: number): string {
  if (objects === 0) return '0'
  return objects >= 0.001 ? String(Number(objects.toPrecision(2))) : objects.toExponential(0)
}

function isAssumed({ isAfrAssumed, isMttrAssumed }: DurabilityScheme): boolean {
  return isAfrAssumed || isMttrAssumed
}
