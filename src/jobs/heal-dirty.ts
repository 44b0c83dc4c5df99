import { parseErasureScheme } from '../base/erasure-scheme.ts'
import { parseFileId } from '../base/file-id.ts'
import {
  copyCount,
  formatReplicaPlacement,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../base/replica-placement.ts'
import { isStoreError } from '../base/store-error.ts'
import type { ObjectVersion } from '../namespace/object-version.ts'
import type { DirtyObject } from '../namespace/write-intents-api.ts'
import type { HealPlan } from '../net/heal-facts.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import { type HealParts, healFile, type NewStorage, rewriteFile } from './heal-files.ts'

export interface CompletionParts extends HealParts {
  readonly plan: HealPlan
}

export interface Completion {
  /** It has all it is to have, or is gone. */
  readonly isWhole: boolean
  readonly isGone: boolean
  readonly shardsMade: number
  readonly corruptFound: number
  /** Files that were stored anew. */
  readonly rewritten: number
}

/** Copies of what is kept in copies of a document, wherever there are servers enough. */
const DOCUMENT_REPLICATION = parseReplicaPlacement('002')

const GONE: Completion = {
  isWhole: true,
  isGone: true,
  shardsMade: 0,
  corruptFound: 0,
  rewritten: 0,
}

/**
 * Gives an object the copies and shards that it was stored without: shards are made anew; what is
 * kept in too few copies is stored anew in as many as other files of its collection have. Where
 * only the volume lacks copies, the repair of volumes makes them, and the object is not whole yet.
 *
 * @throws {StoreError} What keeps it from being whole; what was done until then stays.
 */
export async function completeObject(
  parts: CompletionParts,
  object: DirtyObject,
  signal: AbortSignal,
): Promise<Completion> {
  const found = await findVersion(parts, object, signal)
  if (found === undefined) return GONE
  const total = { isWhole: true, isGone: false, shardsMade: 0, corruptFound: 0, rewritten: 0 }
  let version = found
  for (const index of found.parts.keys()) {
    const part = version.parts[index]
    // Of an empty part there is nothing to keep.
    if (part === undefined || part.sizeBytes === 0) continue
    const file = { ...object, ...part, version }
    const done = await completeFile(parts, file, signal)
    if (done === undefined) return { ...total, isWhole: false }
    total.shardsMade += done.shardsMade
    total.corruptFound += done.corruptFound
    if (!done.isWhole) total.isWhole = false
    if (done.version === undefined) continue
    total.rewritten++
    version = done.version
  }
  return total
}

/** Undefined: the key has another version by now, or none. */
async function findVersion(
  { namespace }: HealParts,
  { bucket, id, key }: DirtyObject,
  signal: AbortSignal,
): Promise<ObjectVersion | undefined> {
  try {
    const newest = await namespace.findObject({ bucket, key }, signal)
    if (newest?.id === id) return newest
    const older = await namespace.findObject({ bucket, key, versionId: id }, signal)
    return older?.id === id ? older : undefined
  } catch (error) {
    if (isStoreError(error, 'BUCKET_NOT_FOUND', 'REQUEST_INVALID')) return undefined
    throw error
  }
}

interface CompletedFile {
  readonly isWhole: boolean
  readonly shardsMade: number
  readonly corruptFound: number
  /** With the file that took its place; undefined: it is where it was. */
  readonly version: ObjectVersion | undefined
}

type VersionFile = Parameters<typeof rewriteFile>[1]

/** Undefined: not now; the object changed meanwhile, or its volume is being repaired. */
async function completeFile(
  parts: CompletionParts,
  file: VersionFile,
  signal: AbortSignal,
): Promise<CompletedFile | undefined> {
  const { volumeId } = parseFileId(file.fileId)
  const facts = await parts.jobs.volumeFacts(volumeId, signal)
  const isCoded = parts.plan.codedVolumeIds.includes(volumeId)
  // While copies of the list of its shards are made and compared, it is not to change.
  if (parts.plan.repairVolumeIds.includes(volumeId)) return undefined
  const wanted = isCoded
    ? await codedStorage(parts, file, facts, signal)
    : copiedStorage(parts.plan, file, facts)
  if (wanted !== undefined) {
    const version = await rewriteFile(parts, file, wanted, signal)
    if (version === undefined) return undefined
    return { isWhole: true, shardsMade: 0, corruptFound: 0, version }
  }
  if (!isCoded) {
    return { isWhole: hasAllCopies(facts), shardsMade: 0, corruptFound: 0, version: undefined }
  }
  const done = await healFile(parts, file, signal)
  if (done.outcome === 'failed') throw done.error
  if (done.outcome === 'overtaken' || done.isRewritten) return undefined
  const { corruptFound, shardsMade } = done
  return { isWhole: hasAllCopies(facts), shardsMade, corruptFound, version: undefined }
}

/** Undefined: it stays where it is. The list of shards must outlive as many servers as they do. */
async function codedStorage(
  { client }: CompletionParts,
  { fileId }: VersionFile,
  { collection, replication }: VolumeFacts,
  signal: AbortSignal,
): Promise<NewStorage | undefined> {
  const shards = await client.shardsOf(fileId, { signal })
  if (shards === undefined) return undefined
  const { erasure, spread } = shards
  const { parityShards } = parseErasureScheme(erasure)
  if (copyCount(replication) > parityShards) return undefined
  return { collection, policy: `ec:${erasure}`, spread }
}

/** Undefined: it stays where it is. */
function copiedStorage(
  { replications }: HealPlan,
  { version }: VersionFile,
  { collection, replication }: VolumeFacts,
): NewStorage | undefined {
  const others = replications[collection]
  const least = version.document === undefined ? undefined : DOCUMENT_REPLICATION
  const wanted = [others, least].reduce(more, replication)
  if (wanted === undefined || copyCount(wanted) <= copyCount(replication)) return undefined
  return { collection, replication: formatReplicaPlacement(wanted) }
}

function more(a: ReplicaPlacement | undefined, b: ReplicaPlacement | undefined) {
  if (a === undefined || b === undefined) return a ?? b
  return copyCount(b) > copyCount(a) ? b : a
}

function hasAllCopies({ dirtyCount, members, replication }: VolumeFacts): boolean {
  const good = members.filter(({ isLost, isUp, report }) => isUp && !isLost && report !== undefined)
  return dirtyCount === 0 && good.length >= copyCount(replication)
}
