import {
  ALERT_CODES,
  type Alert,
  type ClusterHealth,
  type DurabilityReport,
  type DurabilityScheme,
  type HealthColor,
  type RepairTimes,
} from './jobs-api.ts'
import { present, wireNumber, wireRatio, wireWord } from './wire-values.ts'

/** Messages of jobs.proto about how safe everything is, as the loader shows them, and back. */

export interface WireAlert {
  readonly code: string
  readonly message: string
  readonly sinceMs: number
}

type PlainHealth = Omit<ClusterHealth, 'color' | 'repairTimes' | 'alerts'>

export interface WireHealth extends PlainHealth {
  readonly color: string
  readonly repairTimes: RepairTimes | null
  readonly alerts: readonly WireAlert[]
}

const COLORS = ['green', 'yellow', 'red'] as const satisfies readonly HealthColor[]

/** Of 64 bits on the wire. */
const HEALTH_NUMBERS = [
  'objectsBelow',
  'bytesBelow',
  'objectsUnavailable',
  'dirtyNeedles',
  'belowSinceMs',
  'estimatedEndMs',
  'scrubAgeMaxMs',
  'unscrubbedBytes',
] as const satisfies readonly (keyof PlainHealth)[]

const SCHEME_RATIOS = [
  'afr',
  'mttrP50Ms',
  'mttrP95Ms',
  'nines',
  'ninesWithLatentDamage',
  'objectsLostPerYear',
] as const satisfies readonly (keyof DurabilityScheme)[]

export function alertToWire(alert: Alert): WireAlert {
  return { code: alert.code, message: alert.message, sinceMs: alert.sinceMs }
}

/** @throws {StoreError} REQUEST_INVALID */
export function alertFromWire(wire: WireAlert): Alert {
  return {
    code: wireWord(wire.code, ALERT_CODES, 'the code of an alert'),
    message: wire.message,
    sinceMs: wireNumber(wire.sinceMs, 'a time'),
  }
}

export function repairTimesToWire(times: RepairTimes): RepairTimes {
  const { count, p50Ms, p95Ms, lastMs } = times
  return { count, p50Ms, p95Ms, lastMs }
}

/** @throws {StoreError} REQUEST_INVALID */
export function repairTimesFromWire(wire: RepairTimes | null): RepairTimes {
  const { count, p50Ms, p95Ms, lastMs } = present(wire, 'the times of repairs')
  return {
    count,
    p50Ms: wireNumber(p50Ms, 'a time'),
    p95Ms: wireNumber(p95Ms, 'a time'),
    lastMs: wireNumber(lastMs, 'a time'),
  }
}

export function healthToWire(health: ClusterHealth): WireHealth {
  return {
    ...plainHealth(health),
    color: health.color,
    repairTimes: repairTimesToWire(health.repairTimes),
    alerts: health.alerts.map(alertToWire),
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function healthFromWire(wire: WireHealth): ClusterHealth {
  for (const key of HEALTH_NUMBERS) wireNumber(wire[key], key)
  wireRatio(wire.repairBytesPerS, 'bytes a second')
  return {
    ...plainHealth(wire),
    color: wireWord(wire.color, COLORS, 'the color of a cluster'),
    repairTimes: repairTimesFromWire(wire.repairTimes),
    alerts: wire.alerts.map(alertFromWire),
  }
}

export function schemeToWire(scheme: DurabilityScheme): DurabilityScheme {
  return {
    scheme: scheme.scheme,
    volumes: scheme.volumes,
    objects: scheme.objects,
    domainsWorst: scheme.domainsWorst,
    toleranceWorst: scheme.toleranceWorst,
    afr: scheme.afr,
    isAfrAssumed: scheme.isAfrAssumed,
    mttrP50Ms: scheme.mttrP50Ms,
    mttrP95Ms: scheme.mttrP95Ms,
    isMttrAssumed: scheme.isMttrAssumed,
    nines: scheme.nines,
    ninesWithLatentDamage: scheme.ninesWithLatentDamage,
    objectsLostPerYear: scheme.objectsLostPerYear,
    volumesBelow: scheme.volumesBelow,
    belowOldestMs: scheme.belowOldestMs,
  }
}

/** @throws {StoreError} REQUEST_INVALID */
export function schemeFromWire(wire: DurabilityScheme): DurabilityScheme {
  for (const key of ['objects', 'belowOldestMs'] as const) wireNumber(wire[key], key)
  for (const key of SCHEME_RATIOS) wireRatio(wire[key], key)
  return schemeToWire(wire)
}

export function durabilityToWire(report: DurabilityReport): DurabilityReport {
  const { scrubAgeP95Ms, unscrubbedBytes, correlatedPerYear, ninesCap, convention } = report
  const schemes = report.schemes.map(schemeToWire)
  return { schemes, scrubAgeP95Ms, unscrubbedBytes, correlatedPerYear, ninesCap, convention }
}

/** @throws {StoreError} REQUEST_INVALID */
export function durabilityFromWire(wire: DurabilityReport): DurabilityReport {
  for (const key of ['scrubAgeP95Ms', 'unscrubbedBytes'] as const) wireNumber(wire[key], key)
  for (const key of ['correlatedPerYear', 'ninesCap'] as const) wireRatio(wire[key], key)
  return { ...durabilityToWire(wire), schemes: wire.schemes.map(schemeFromWire) }
}

/** What is numbers and flags, in both directions. */
function plainHealth(health: PlainHealth): PlainHealth {
  return {
    isFullyRedundant: health.isFullyRedundant,
    isWarming: health.isWarming,
    nodesUp: health.nodesUp,
    nodesKnown: health.nodesKnown,
    volumesBelow: health.volumesBelow,
    objectsBelow: health.objectsBelow,
    bytesBelow: health.bytesBelow,
    volumesUnavailable: health.volumesUnavailable,
    objectsUnavailable: health.objectsUnavailable,
    dirtyNeedles: health.dirtyNeedles,
    belowSinceMs: health.belowSinceMs,
    estimatedEndMs: health.estimatedEndMs,
    repairBytesPerS: health.repairBytesPerS,
    jobsRunning: health.jobsRunning,
    jobsWaiting: health.jobsWaiting,
    jobsFailing: health.jobsFailing,
    doing: health.doing,
    scrubAgeMaxMs: health.scrubAgeMaxMs,
    unscrubbedBytes: health.unscrubbedBytes,
  }
}
