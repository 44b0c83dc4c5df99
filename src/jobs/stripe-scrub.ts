import { StoreError } from '../base/store-error.ts'
import type { ShardBlock } from '../net/shard-api.ts'
import type { JobTrack } from './job-track.ts'
import type { ScrubbedCopy, ScrubCursor } from './scrub-cursor.ts'
import { healBlocks, verifyShards } from './shard-commands.ts'
import { isBadHere } from './shard-maker.ts'
import { type LiveShards, type StripeSurvey, setsOfRun } from './stripe-survey.ts'
import type { VolumeWork } from './volume-work.ts'

/**
 * Reads every shard of a coded volume, directory after directory. Blocks that are wrong are made
 * anew of the other shards.
 */
export class StripeScrub {
  readonly #work: VolumeWork
  readonly #track: JobTrack<'scrub'>
  /** Directories with blocks that could not be healed. */
  readonly #unhealedIds = new Set<string>()

  constructor(work: VolumeWork, track: JobTrack<'scrub'>) {
    this.#work = work
    this.#track = track
  }

  /**
   * One directory more; the cursor after it. Undefined: all that are in reach were read.
   *
   * @throws {StoreError} SHARDS_LOST: too few shards are good to heal a block.
   */
  async step(
    survey: StripeSurvey,
    at: ScrubCursor,
    signal: AbortSignal,
  ): Promise<ScrubCursor | undefined> {
    const isDone = (directoryId: string) => at.done.some((one) => one.directoryId === directoryId)
    const set = setsOfRun(survey).find(({ report }) => {
      return !isDone(report.directoryId) && countedHere(survey, report).length > 0
    })
    if (set === undefined) return undefined
    const blocks = await this.#read(survey, set, signal)
    const { directoryId, shards, shardBytes } = set.report
    const bytes = shards.length * shardBytes
    const damageCount = blocks.length
    const { volumeId, context } = this.#work
    await context.jobs.noteScrub({ volumeId, directoryId, bytes, damageCount }, signal)
    await this.#track.reach('noted')
    const extent = { datBytes: bytes, compactionRevision: 0 }
    const scrubbed: ScrubbedCopy = { directoryId, extent, damageCount, contentDigest: '' }
    return { ...at, done: [...at.done, scrubbed], directoryId: '' }
  }

  /** Directories that the next attempt has to read again. @throws {StoreError} SHARD_CORRUPT. */
  throwIfUnhealed(at: ScrubCursor, forget: (at: ScrubCursor) => void): void {
    if (this.#unhealedIds.size === 0) return
    forget({ ...at, done: at.done.filter((one) => !this.#unhealedIds.has(one.directoryId)) })
    const why = `volume ${this.#work.volumeId} has shards that could not be healed`
    throw new StoreError('SHARD_CORRUPT', why)
  }

  async #read(
    survey: StripeSurvey,
    { location, report }: LiveShards,
    signal: AbortSignal,
  ): Promise<readonly ShardBlock[]> {
    const { runId, shards, directoryId } = report
    const onProgress = (progress: { doneBytes: number; totalBytes: number }) =>
      this.#track.measure('bytes', progress.doneBytes, progress.totalBytes)
    let blocks: readonly ShardBlock[] = []
    const { volumeId, context } = this.#work
    const { url } = location
    try {
      blocks = await verifyShards(this.#work, { location, runId, shards }, onProgress, signal)
      await this.#track.reach('read')
      for (const { shard, block } of blocks) {
        context.logger.warn('job.damage_found', { volumeId, url, shard, block })
      }
      const sources = [...survey.good, ...survey.bad]
      await healBlocks(this.#work, { location, runId }, { blocks, sources }, signal)
      if (blocks.length > 0) await this.#track.reach('healed')
    } catch (error) {
      if (!isBadHere(error)) throw error
      // Another job makes them anew elsewhere; the rest of the volume is read all the same.
      context.logger.warn('job.shards_unhealed', { volumeId, url, shards, error: error.message })
      this.#unhealedIds.add(directoryId)
    }
    return blocks
  }
}

/** A directory with shards that do not count is not worth reading. */
function countedHere(
  { stripe }: StripeSurvey,
  { directoryId, shards }: LiveShards['report'],
): readonly number[] {
  return shards.filter((shard) => stripe.shards[shard]?.directoryId === directoryId)
}
