import type { NeedleId } from '../base/ids.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { Freeze } from './freeze.ts'
import { asFields, asLocation, asText, asTexts } from './job-cursor.ts'
import { listJournals } from './shard-journals.ts'
import { askForShards, holdersOf, type LiveShards } from './stripe-survey.ts'
import type { VolumeWork } from './volume-work.ts'

/** Shards that do not count any more, and which of their journals are known elsewhere. */
export interface LeftRun {
  readonly runId: string
  readonly servers: readonly NodeLocation[]
  /** As `listJournals` names them. */
  readonly seen: readonly string[]
}

export function asLeftRun(value: unknown): LeftRun | undefined {
  const fields = asFields(value)
  const runId = asText(fields?.['runId'])
  const servers = fields?.['servers']
  if (runId === undefined || !Array.isArray(servers)) return undefined
  const locations = servers.flatMap((server) => asLocation(server) ?? [])
  return { runId, servers: locations, seen: asTexts(fields?.['seen']) }
}

/**
 * Gives deletes to `tell` that came to these shards after they ceased to count, by somebody who did
 * not know. None comes any more while `whileFrozen` removes them. A server that is out of reach is
 * left out.
 */
export async function closeRun(
  work: VolumeWork,
  left: LeftRun,
  request: {
    readonly tell: (needleIds: readonly NeedleId[]) => Promise<void>
    readonly whileFrozen: (isClosed: (set: LiveShards) => boolean) => Promise<void>
  },
  signal: AbortSignal,
): Promise<void> {
  const there = (await askForShards(work, left.servers, signal)).filter(isOf(left))
  await using freeze = await Freeze.open(work, holdersOf(there), signal)
  const sets = (await askForShards(work, holdersOf(there), signal)).filter(isOf(left))
  for await (const page of listJournals(work, sets, new Set(left.seen), signal)) {
    await request.tell(page)
  }
  // One that answers only now was not looked through.
  await request.whileFrozen(({ location, report }) => {
    return report.runId !== left.runId || sets.some((set) => set.location.url === location.url)
  })
  await freeze.thaw()
}

function isOf({ runId }: LeftRun): (set: LiveShards) => boolean {
  return ({ report }) => report.runId === runId
}
