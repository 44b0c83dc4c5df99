import { formatFileId } from '../base/file-id.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { HayloftClient } from '../client/hayloft-client.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import { timeOfVersionId } from '../namespace/version-id.ts'
import type { Clock } from '../runtime/clock.ts'
import { type FoundFile, type NeedleAccess, ObjectVolumes } from './named-needles.ts'
import { type NamedPage, OrphanLedger, type SeenOrphans } from './orphan-ledger.ts'
import { OrphanTally } from './orphan-tally.ts'
import { findUnnamed, isNamed, type UnnamedNeedle } from './unnamed-needles.ts'

export interface OrphanParts extends NeedleAccess {
  readonly namespace: NamespaceApi
  readonly client: Pick<HayloftClient, 'putNamed' | 'resolveNamed' | 'get'>
  readonly clock: Clock
}

export interface OrphanOptions {
  /** At least an hour, unless `minAgeFloorMs` says otherwise. */
  readonly minAgeMs: number
  /** What earlier passes saw. Undefined: what the ledger says, and it is told what this one saw. */
  readonly seen: SeenOrphans | undefined
  /** Nothing is deleted, and nothing is written. */
  readonly isDryRun: boolean
  /** However many there are, and however old the rows look. */
  readonly isForced: boolean
  /**
   * The namespace came from a backup, or was made anew, and it is to stay as it is: its generation
   * becomes the highest. Nothing is deleted, and what earlier passes saw is forgotten.
   */
  readonly isRestored?: boolean | undefined
  /** Runs after each bounded piece of work, for whoever wants to rest there. */
  readonly onPiece?: (() => Promise<void>) | undefined
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
  /** Why nothing was deleted, or not all; undefined: nothing kept it from it. */
  readonly refusal: string | undefined
  /** For the next pass. */
  readonly seen: SeenOrphans
}

const HOUR_MS = 3_600_000
/** Deletes between two looks whether somebody else began a pass. */
const DELETES_PER_PIECE = 64
export const ORPHANS_OVERTAKEN = 'another pass began meanwhile, and goes on in place of this one'

/**
 * Deletes needles that a crash or a failed delete left behind, without a row that names them. A
 * needle goes only if all of this holds:
 *
 * - a gateway stored it, its version was begun and it was appended longer than `minAgeMs` ago;
 * - rows were looked at after it was listed, and again before it is deleted: none has it, and of
 *   the row that it says it belongs to, if there is one, all files could be read;
 * - an earlier pass, an hour ago or more, found the same;
 * - it still has the bytes that were judged, and it is deleted by its id and cookie on every copy.
 *   A vacuum gives the room back later; until then the bytes can be read as deleted ones;
 * - few look like it: not above 1 % of a volume, nor 10,000 in all;
 * - the generation of the namespace is not below one that volumes have seen (see `OrphanLedger`),
 *   nor are its newest rows older than what it lacks, as those of a backup would be;
 * - no other pass began since this one did.
 *
 * Memory: the ids of a million needles, and up to 10,000 orphans.
 *
 * @throws {StoreError} CONFIG_INVALID: `minAgeMs`. Those of the namespace and of volume servers:
 * nothing is deleted before all of it was seen.
 */
export async function collectOrphans(
  parts: OrphanParts,
  options: OrphanOptions,
  signal: AbortSignal,
): Promise<OrphanReport> {
  const { minAgeFloorMs = HOUR_MS, minAgeMs } = options
  if (minAgeMs < minAgeFloorMs) {
    throw new StoreError('CONFIG_INVALID', 'orphans younger than an hour are never collected')
  }
  return await new OrphanPass(parts, options, signal).run()
}

class OrphanPass {
  readonly #parts: OrphanParts
  readonly #options: OrphanOptions
  readonly #signal: AbortSignal
  readonly #ledger: OrphanLedger
  readonly #beganAtMs: number
  readonly #tally: OrphanTally
  /** The page that is this pass's own; of a dry run the one that is there. */
  #fileId: string | undefined

  constructor(parts: OrphanParts, options: OrphanOptions, signal: AbortSignal) {
    this.#parts = parts
    this.#options = options
    this.#signal = signal
    this.#ledger = new OrphanLedger(parts.client)
    this.#beganAtMs = parts.clock.nowMs()
    this.#tally = new OrphanTally({ isBounded: !options.isForced })
  }

  async run(): Promise<OrphanReport> {
    const { isDryRun, isRestored = false } = this.#options
    const page = await this.#begin()
    if (typeof page === 'string') return this.#report(page, this.#options.seen ?? {})
    const earlier = this.#options.seen ?? page.seen
    const volumes = await ObjectVolumes.open(this.#parts, this.#signal)
    await this.#look(volumes)
    if (!(await this.#isNewest())) return this.#report(ORPHANS_OVERTAKEN, earlier)
    if (isRestored) return await this.#accept(page)
    const refusal = this.#refusalOf(page)
    const { due, seen } = this.#compare(earlier)
    // The generation stays: it would hide from the next pass what this one saw.
    if (refusal !== undefined) return this.#report(refusal, seen)
    if (!isDryRun) await this.#end(page, seen)
    return await this.#deleteAll(volumes, due, seen)
  }

  /** A text says why there is no pass. */
  async #begin(): Promise<NamedPage | string> {
    const { isDryRun, isRestored = false } = this.#options
    let page: NamedPage
    try {
      page = await this.#ledger.read(this.#signal)
    } catch (error) {
      if (!isStoreError(error, 'METADATA_CORRUPT')) throw error
      if (!isRestored) return `${error.message}: an old backup?`
      page = { generation: 0, begunAtMs: 0, seen: {}, fileId: undefined }
    }
    const begun = { ...page, begunAtMs: this.#beganAtMs }
    const before = page.generation
    this.#fileId = isDryRun ? page.fileId : await this.#ledger.write(begun, before, this.#signal)
    return page
  }

  async #look(volumes: ObjectVolumes): Promise<void> {
    const { isRestored = false, minAgeMs, onPiece } = this.#options
    const tally = this.#tally
    const onFound = async ({ file: { row } }: FoundFile): Promise<void> => {
      if (row.kind === 'version') tally.sawRow(row.version.modifiedAtMs)
      if (row.kind === 'part') tally.sawRow(timeOfVersionId(row.uploadId))
    }
    const looking = { minAgeMs, onFound, onPiece }
    for await (const found of findUnnamed({ ...this.#parts, volumes }, looking, this.#signal)) {
      tally.add(found, this.#fileId)
      // There is no end to what a wrong namespace does not name.
      if (tally.isFull && !isRestored) return
    }
  }

  #refusalOf({ generation }: NamedPage): string | undefined {
    const { isForced, minAgeMs } = this.#options
    const { generationMax } = this.#tally
    if (generationMax > generation) {
      const which = `generation ${generation}, but volumes have seen ${generationMax}`
      return `the namespace is of ${which}: an old backup?`
    }
    return isForced ? undefined : this.#tally.refusal(minAgeMs)
  }

  #compare(earlier: SeenOrphans) {
    const { passGapMs = HOUR_MS } = this.#options
    const seen: Record<string, number> = {}
    const due: UnnamedNeedle[] = []
    for (const orphan of this.#tally.orphans) {
      const text = formatFileId(orphan.fileId)
      const isSeen = Object.hasOwn(earlier, text)
      const firstMs = (isSeen ? earlier[text] : undefined) ?? this.#beganAtMs
      seen[text] = firstMs
      if (isSeen && this.#beganAtMs - firstMs >= passGapMs) due.push(orphan)
    }
    return { due, seen }
  }

  /** Before anything is deleted: an orphan that is gone then is not found again, and forgotten. */
  async #end(page: NamedPage, seen: SeenOrphans): Promise<void> {
    const told = this.#options.seen === undefined ? seen : page.seen
    const next = { generation: page.generation + 1, begunAtMs: this.#beganAtMs, seen: told }
    this.#fileId = await this.#ledger.write(next, page.generation, this.#signal)
  }

  async #accept({ generation }: NamedPage): Promise<OrphanReport> {
    const highest = Math.max(generation, this.#tally.generationMax)
    const next = { generation: highest + 1, begunAtMs: this.#beganAtMs, seen: {} }
    if (!this.#options.isDryRun) await this.#ledger.write(next, highest, this.#signal)
    return this.#report(undefined, {})
  }

  async #deleteAll(
    volumes: ObjectVolumes,
    due: readonly UnnamedNeedle[],
    seen: Record<string, number>,
  ): Promise<OrphanReport> {
    const { isDryRun, onPiece } = this.#options
    const parts = { ...this.#parts, volumes }
    for (const [index, orphan] of due.entries()) {
      if (index % DELETES_PER_PIECE === 0) {
        if (!(await this.#isNewest())) return this.#report(ORPHANS_OVERTAKEN, seen)
        if (index > 0) await onPiece?.()
      }
      if (await isNamed(parts, orphan, this.#signal)) continue
      if (!isDryRun) {
        const isAsJudged = await volumes.isUnchanged(orphan, this.#signal)
        if (!isAsJudged) continue
        await deleteNeedle(this.#parts, volumes, orphan, this.#signal)
        delete seen[formatFileId(orphan.fileId)]
      }
      this.#tally.deleted(orphan)
    }
    return this.#report(undefined, seen)
  }

  async #isNewest(): Promise<boolean> {
    return this.#options.isDryRun || (await this.#ledger.isNewest(this.#fileId, this.#signal))
  }

  #report(refusal: string | undefined, seen: SeenOrphans): OrphanReport {
    return { ...this.#tally.counts, refusal, seen }
  }
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
