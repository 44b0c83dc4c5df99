import { formatFileId } from '../base/file-id.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import { timeOfVersionId } from '../namespace/version-id.ts'
import type { Clock } from '../runtime/clock.ts'
import { type FoundFile, type NeedleAccess, ObjectVolumes } from './named-needles.ts'
import { findUnnamed, isNamed, type UnnamedNeedle, type VolumeFinding } from './unnamed-needles.ts'

export interface OrphanParts extends NeedleAccess {
  readonly namespace: NamespaceApi
  readonly clock: Clock
}

/** Orphans by file id, with the time of the pass that saw them first. */
export type SeenOrphans = Readonly<Record<string, number>>

export interface OrphanOptions {
  /** At least an hour, unless `minAgeFloorMs` says otherwise. */
  readonly minAgeMs: number
  /** What earlier passes saw. */
  readonly seen: SeenOrphans
  /** Nothing is deleted. */
  readonly isDryRun: boolean
  /** However many there are, and however old the namespace looks. */
  readonly isForced: boolean
  /** For tests. */
  readonly minAgeFloorMs?: number | undefined
  /** Between the pass that saw an orphan first and the one that deletes it; for tests. */
  readonly passGapMs?: number | undefined
}

export interface OrphanReport {
  readonly needles: number
  readonly orphans: number
  readonly orphanBytes: number
  /** No gateway stored them: they stay, whatever their age. */
  readonly foreignNeedles: number
  readonly youngNeedles: number
  /** Seen by an earlier pass, long enough ago: deleted, or with a dry run to be. */
  readonly deleted: number
  readonly deletedBytes: number
  /** Why nothing was deleted; undefined: nothing kept it from it. */
  readonly refusal: string | undefined
  /** For the next pass. */
  readonly seen: SeenOrphans
}

const HOUR_MS = 3_600_000
/** Of the needles of a volume; a handful is fine in one that is nearly empty. */
const VOLUME_SHARE_MAX = 0.01
const VOLUME_FEW = 10
const ORPHANS_MAX = 10_000

/**
 * Deletes needles that a crash or a failed delete left behind, without a row that names them. A
 * needle goes only if all of this holds:
 *
 * - a gateway stored it, its version was begun and it was appended longer than `minAgeMs` ago;
 * - rows were looked at after it was listed, and again before it is deleted: none has it, and of
 *   the row that it says it belongs to, if there is one, all files could be read;
 * - an earlier pass, an hour ago or more, found the same;
 * - few look like it: not above 1 % of a volume, nor 10,000 in all;
 * - the namespace is not older than what it lacks, as one from a backup would be.
 *
 * The needle is deleted by its id and cookie on every copy; a vacuum gives the room back later.
 *
 * @throws {StoreError} CONFIG_INVALID: `minAgeMs`. Those of the namespace and of volume servers:
 * nothing is deleted before all of it was seen.
 */
export async function collectOrphans(
  parts: OrphanParts,
  options: OrphanOptions,
  signal: AbortSignal,
): Promise<OrphanReport> {
  const { minAgeFloorMs = HOUR_MS, minAgeMs, passGapMs = HOUR_MS } = options
  if (minAgeMs < minAgeFloorMs) {
    throw new StoreError('CONFIG_INVALID', 'orphans younger than an hour are never collected')
  }
  const nowMs = parts.clock.nowMs()
  const volumes = await ObjectVolumes.open(parts, signal)
  let newestRowMs = 0
  const onFound = async ({ file: { row } }: FoundFile): Promise<void> => {
    if (row.kind === 'version') newestRowMs = Math.max(newestRowMs, row.version.modifiedAtMs)
    if (row.kind === 'part') newestRowMs = Math.max(newestRowMs, timeOfVersionId(row.uploadId))
  }
  const findings: VolumeFinding[] = []
  const unnamed = findUnnamed({ ...parts, volumes }, { minAgeMs, onFound }, signal)
  for await (const finding of unnamed) findings.push(finding)
  const orphans = findings.flatMap((finding) => finding.unnamed.filter(isOurs))
  const refusal = options.isForced ? undefined : refusalOf(findings, orphans, newestRowMs, minAgeMs)
  const seen: Record<string, number> = {}
  const due: UnnamedNeedle[] = []
  for (const orphan of orphans) {
    const text = formatFileId(orphan.fileId)
    const firstMs = options.seen[text] ?? nowMs
    seen[text] = firstMs
    if (text in options.seen && nowMs - firstMs >= passGapMs) due.push(orphan)
  }
  let deleted = 0
  let deletedBytes = 0
  for (const orphan of refusal === undefined ? due : []) {
    if (await isNamed({ ...parts, volumes }, orphan, signal)) continue
    if (!options.isDryRun) {
      await deleteNeedle(parts, volumes, orphan, signal)
      delete seen[formatFileId(orphan.fileId)]
    }
    deleted++
    deletedBytes += orphan.dataBytes
  }
  const sum = (count: (finding: VolumeFinding) => number) =>
    findings.reduce((total, finding) => total + count(finding), 0)
  return {
    needles: sum(({ liveCount }) => liveCount),
    orphans: orphans.length,
    orphanBytes: orphans.reduce((total, { dataBytes }) => total + dataBytes, 0),
    foreignNeedles: sum((finding) => finding.unnamed.length) - orphans.length,
    youngNeedles: sum(({ youngCount }) => youngCount),
    deleted,
    deletedBytes,
    refusal,
    seen,
  }
}

function isOurs({ owner }: UnnamedNeedle): boolean {
  return owner !== undefined
}

function refusalOf(
  findings: readonly VolumeFinding[],
  orphans: readonly UnnamedNeedle[],
  newestRowMs: number,
  minAgeMs: number,
): string | undefined {
  if (orphans.length > ORPHANS_MAX) {
    return `${orphans.length} needles look like orphans, more than ${ORPHANS_MAX}`
  }
  for (const { liveCount, unnamed, volumeId } of findings) {
    const count = unnamed.filter(isOurs).length
    if (count <= VOLUME_FEW || count <= liveCount * VOLUME_SHARE_MAX) continue
    return `${count} of ${liveCount} needles of volume ${volumeId} look like orphans: above 1 %`
  }
  const newestMs = orphans.reduce((newest, { bornAtMs }) => Math.max(newest, bornAtMs), 0)
  if (newestMs <= newestRowMs + minAgeMs) return undefined
  const [at, rowAt] = [newestMs, newestRowMs].map((ms) => new Date(ms).toISOString())
  return `orphans are as young as ${at}, but the newest row is of ${rowAt}: an old backup?`
}

async function deleteNeedle(
  { tokens }: OrphanParts,
  volumes: ObjectVolumes,
  { fileId }: UnnamedNeedle,
  signal: AbortSignal,
): Promise<void> {
  const [holder] = volumes.holdersOf(fileId.volumeId)
  if (holder === undefined) return
  const request = { fileId, writeToken: tokens.write(fileId), isReplica: false }
  try {
    await holder.delete(request, signal)
  } catch (error) {
    // Somebody else deleted it, or put another needle there.
    if (!isStoreError(error, 'NEEDLE_NOT_FOUND', 'COOKIE_MISMATCH')) throw error
  }
}
