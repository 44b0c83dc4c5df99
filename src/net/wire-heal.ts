import type { HealPlan } from './heal-facts.ts'
import type { JobCounts } from './jobs-api.ts'
import { invalid, placementToWire, wireNumber, wirePlacement, wireVolumeId } from './wire-values.ts'

/** Messages of jobs.proto about what a healer does, as the loader shows them, and back. */

export interface HealPlanRequest {
  readonly jobId: number
  readonly token: string
}

export interface WireHealPlan {
  readonly codedVolumeIds: readonly number[]
  readonly lostVolumeIds: readonly number[]
  readonly lostSinceMs: number
  readonly replications: Readonly<Record<string, string>>
  readonly repairVolumeIds: readonly number[]
  readonly repairedVolumeIds: readonly number[]
}

export type WireCounts = Readonly<Record<string, number>>

/** More are no counts of ours. */
const COUNTS_MAX = 64

/** @throws {StoreError} REQUEST_INVALID */
export function healPlanRequestFromWire(wire: HealPlanRequest): HealPlanRequest {
  return { jobId: wireNumber(wire.jobId, 'the number of a job'), token: wire.token }
}

export function healPlanToWire(plan: HealPlan): WireHealPlan {
  const replications = Object.entries(plan.replications).map(([name, replication]) => {
    return [name, placementToWire(replication)] as const
  })
  return {
    codedVolumeIds: plan.codedVolumeIds,
    lostVolumeIds: plan.lostVolumeIds,
    lostSinceMs: plan.lostSinceMs,
    replications: Object.fromEntries(replications),
    repairVolumeIds: plan.repairVolumeIds,
    repairedVolumeIds: plan.repairedVolumeIds,
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID. */
export function healPlanFromWire(wire: WireHealPlan): HealPlan {
  const replications = Object.entries(wire.replications).map(([name, digits]) => {
    const replication = wirePlacement(digits)
    if (replication === undefined) throw invalid(`no replication of collection ${name}`)
    return [name, replication] as const
  })
  return {
    codedVolumeIds: wire.codedVolumeIds.map(wireVolumeId),
    lostVolumeIds: wire.lostVolumeIds.map(wireVolumeId),
    lostSinceMs: wireNumber(wire.lostSinceMs, 'a time'),
    replications: Object.fromEntries(replications),
    repairVolumeIds: wire.repairVolumeIds.map(wireVolumeId),
    repairedVolumeIds: wire.repairedVolumeIds.map(wireVolumeId),
  }
}

export function countsToWire(counts: JobCounts | undefined): WireCounts {
  return counts ?? {}
}

/** None: undefined. @throws {StoreError} REQUEST_INVALID */
export function countsFromWire(wire: WireCounts): JobCounts | undefined {
  const entries = Object.entries(wire)
  if (entries.length === 0) return undefined
  if (entries.length > COUNTS_MAX) throw invalid(`${entries.length} counts of one job`)
  return Object.fromEntries(
    entries.map(([name, count]) => [name, wireNumber(count, 'a count of a job')]),
  )
}
