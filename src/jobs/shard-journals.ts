import type { NeedleId } from '../base/ids.ts'
import { isStoreError, type StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { needleKey } from './reconcile.ts'
import { holdersOf, type LiveShards } from './stripe-survey.ts'
import type { VolumeWork } from './volume-work.ts'

/** More ids than this are not held in memory at once, but gone through in several parts. */
const IDS_MAX = 500_000
const SPLIT = 4

/** All have the same deletes. */
export function areJournalsAlike(sets: readonly LiveShards[]): boolean {
  return new Set(sets.map(({ report }) => report.journalDigest)).size <= 1
}

/** A server takes no deletes of the volume any more; its shards can still be read. */
export type OnRefused = (location: NodeLocation, error: StoreError) => void

/**
 * Brings every delete that any of these sets of one run knows to all of them. True: some of them
 * lacked one.
 *
 * @throws {StoreError} one of them cannot be asked or told.
 */
export async function uniteJournals(
  work: VolumeWork,
  request: { readonly sets: readonly LiveShards[]; readonly onRefused: OnRefused },
  signal: AbortSignal,
): Promise<boolean> {
  if (areJournalsAlike(request.sets)) return false
  await unitePart(work, request, { part: 0, count: 1 }, signal)
  return true
}

/** Durable in the journals of all those servers when it returns. */
export async function journalEverywhere(
  work: VolumeWork,
  request: {
    readonly servers: readonly NodeLocation[]
    readonly runId: string
    readonly needleIds: readonly NeedleId[]
  },
  signal: AbortSignal,
): Promise<void> {
  const { servers, runId, needleIds } = request
  if (needleIds.length === 0) return
  const command = { ...work.command, runId, needleIds }
  await Promise.all(
    servers.map((location) => work.at(location).shards.journalDeletes(command, signal)),
  )
}

/** False: it takes no deletes any more, as `onRefused` was told. */
export async function tryJournal(
  work: VolumeWork,
  request: {
    readonly location: NodeLocation
    readonly runId: string
    readonly needleIds: readonly NeedleId[]
  },
  onRefused: OnRefused,
  signal: AbortSignal,
): Promise<boolean> {
  const { location, runId, needleIds } = request
  try {
    await journalEverywhere(work, { servers: [location], runId, needleIds }, signal)
    return true
  } catch (error) {
    if (!isStoreError(error, 'VOLUME_FAILED', 'DISK_FAILED')) throw error
    onRefused(location, error)
    return false
  }
}

/**
 * Every id in any of those journals at least once, in pages. Of journals that are the same only one
 * is read, and none whose digest is in `seen`, to which those are added that were read to the end.
 */
export async function* listJournals(
  work: VolumeWork,
  sets: readonly LiveShards[],
  seen: Set<string>,
  signal: AbortSignal,
): AsyncGenerator<readonly NeedleId[], void, undefined> {
  for (const { location, report } of sets) {
    const { runId, journalDigest } = report
    const name = `${runId} ${journalDigest}`
    if (seen.has(name)) continue
    const { volumeId } = work
    yield* work.at(location).shards.listJournal({ volumeId, runId }, signal)
    seen.add(name)
  }
}

interface Part {
  readonly part: number
  readonly count: number
}

async function unitePart(
  work: VolumeWork,
  request: { readonly sets: readonly LiveShards[]; readonly onRefused: OnRefused },
  { part, count }: Part,
  signal: AbortSignal,
): Promise<void> {
  const { sets } = request
  const isInPart = ({ lo }: NeedleId) => lo % count === part
  const all = new Map<string, NeedleId>()
  for await (const page of listJournals(work, sets, new Set(), signal)) {
    for (const id of page) if (isInPart(id)) all.set(needleKey(id), id)
    if (all.size <= IDS_MAX) continue
    for (let piece = 0; piece < SPLIT; piece++) {
      const smaller = { part: part + piece * count, count: count * SPLIT }
      await unitePart(work, request, smaller, signal)
    }
    return
  }
  for (const location of holdersOf(sets)) {
    const here = sets.filter((set) => set.location.url === location.url)
    const lacking = areJournalsAlike(here) ? await lackingOf(work, here, all, signal) : all
    const [{ report } = { report: undefined }] = here
    if (report === undefined) continue
    const there = { location, runId: report.runId, needleIds: [...lacking.values()] }
    await tryJournal(work, there, request.onRefused, signal)
  }
}

async function lackingOf(
  work: VolumeWork,
  sets: readonly LiveShards[],
  all: ReadonlyMap<string, NeedleId>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, NeedleId>> {
  const lacking = new Map(all)
  for await (const page of listJournals(work, sets.slice(0, 1), new Set(), signal)) {
    for (const id of page) lacking.delete(needleKey(id))
  }
  return lacking
}
