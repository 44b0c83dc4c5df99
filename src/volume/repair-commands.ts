import type { NeedleId, VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  HealAnswer,
  HealNeedlesCommand,
  NeedleStat,
  NeedleSummary,
  ScrubCommand,
  ScrubProgress,
  VolumeApi,
  VolumeDigest,
} from '../net/volume-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { Store } from '../storage/store.ts'
import type { Volume } from '../storage/volume.ts'
import { digestEntries } from './digest.ts'
import { healNeedles, isSameExtent } from './heal-needles.ts'
import { statNeedles } from './needle-stat.ts'
import { Rest } from './rest.ts'

const DELETES_AT_ONCE = 64
/** One that is written to all the time has to be frozen first. */
const DIGEST_TRIES_MAX = 3

export interface RepairCommandsParts {
  readonly store: Store
  readonly clock: Clock
  /** Undefined: reads need no token. */
  readonly readTokens: FileTokens | undefined
  /** @throws {StoreError} REQUEST_INVALID: there are no other servers, or it is this one. */
  readonly peerAt: (location: NodeLocation) => VolumeApi
}

/**
 * What a copy tells of its needles, and what makes it equal to another one. The methods are those
 * of `VolumeApi`; the epoch of a command has been obeyed before.
 */
export class RepairCommands {
  readonly #parts: RepairCommandsParts

  constructor(parts: RepairCommandsParts) {
    this.#parts = parts
  }

  async digest(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeDigest> {
    const volume = this.#volume(volumeId)
    const giveWay = async (): Promise<void> => {
      await yieldTurn()
      if (signal.aborted) throw cancelledError(signal, 'while computing a digest')
    }
    for (let tried = 0; tried < DIGEST_TRIES_MAX; tried++) {
      const before = volume.extent
      const digest = await digestEntries(volume.entries, giveWay)
      const isStill = volume.state !== 'closed' && isSameExtent(volume.extent, before)
      if (isStill) return { ...before, digest, liveNeedles: volume.stats.liveNeedles }
      // It may have been removed meanwhile.
      this.#volume(volumeId)
    }
    throw new StoreError('VOLUME_BUSY', `volume ${volumeId} is written to without a pause`)
  }

  async *list(
    volumeId: VolumeId,
    signal: AbortSignal,
  ): AsyncGenerator<readonly NeedleSummary[], void, undefined> {
    yield* this.#volume(volumeId).listNeedles(signal)
  }

  async stat(
    volumeId: VolumeId,
    needleIds: readonly NeedleId[],
    signal: AbortSignal,
  ): Promise<readonly NeedleStat[]> {
    checkCount(needleIds)
    return await statNeedles(this.#volume(volumeId), needleIds, signal)
  }

  async delete(
    volumeId: VolumeId,
    needleIds: readonly NeedleId[],
    signal: AbortSignal,
  ): Promise<void> {
    checkCount(needleIds)
    const volume = this.#volume(volumeId)
    const deleteOne = (id: NeedleId) => volume.delete({ id, cookie: undefined }, signal)
    await mapBounded(needleIds, DELETES_AT_ONCE, deleteOne, signal)
  }

  async heal(command: HealNeedlesCommand, signal: AbortSignal): Promise<readonly HealAnswer[]> {
    const { volumeId, needleIds, source } = command
    checkCount(needleIds)
    const { readTokens, peerAt } = this.#parts
    const volume = this.#volume(volumeId)
    const parts = { volumeId, volume, peer: peerAt(source), readTokens }
    return await healNeedles(parts, needleIds, signal)
  }

  async *scrub(
    command: ScrubCommand,
    signal: AbortSignal,
  ): AsyncGenerator<ScrubProgress, void, undefined> {
    const { volumeId, from, politeness } = command
    const rest = new Rest(this.#parts, politeness, signal)
    const pace = (workMs: number): Promise<void> => rest.after(workMs)
    yield* this.#volume(volumeId).scrub({ from, pace }, signal)
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND. */
  #volume(volumeId: VolumeId): Volume {
    return this.#parts.store.get(volumeId).volume
  }
}

function checkCount(needleIds: readonly NeedleId[]): void {
  const max = LIMITS.healNeedlesMax.value
  if (needleIds.length <= max) return
  throw new StoreError('REQUEST_INVALID', `${needleIds.length} needles at once, not at most ${max}`)
}
