import type { VolumeId } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { JobTarget, VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { VolumeApi, VolumeCommand, VolumeExtent } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { JobContext } from './job.ts'

const FINISH_MS = 8_000

/** What counts changes seldom: more conflicts than this mean that something is wrong. */
export const CONFLICTS_MAX = 10

/** What all jobs about one volume need: its facts, its servers, and commands to them. */
export class VolumeWork {
  readonly context: JobContext
  readonly volumeId: VolumeId

  constructor(context: JobContext, volumeId: VolumeId) {
    this.context = context
    this.volumeId = volumeId
  }

  get command(): VolumeCommand {
    return { epoch: this.context.lease.epoch, volumeId: this.volumeId }
  }

  get politeness(): number {
    return this.context.lease.politeness
  }

  at(location: NodeLocation): VolumeApi {
    return this.context.connect(location)
  }

  /** Undefined: the master does not know the volume, or not any more. */
  async facts(signal: AbortSignal): Promise<VolumeFacts | undefined> {
    try {
      return await this.context.jobs.volumeFacts(this.volumeId, signal)
    } catch (error) {
      if (isStoreError(error, 'VOLUME_NOT_FOUND')) return undefined
      throw error
    }
  }

  /** @throws {StoreError} METADATA_CONFLICT, JOB_LEASE_LOST; see `JobsApi.changeMembers`. */
  async changeMembers(
    facts: VolumeFacts,
    change: {
      readonly add: readonly { readonly url: string; readonly directoryId: string }[]
      readonly removeDirectoryIds: readonly string[]
    },
    signal: AbortSignal,
  ): Promise<VolumeFacts> {
    const { jobs, lease } = this.context
    const { volumeId } = this
    const { setVersion } = facts
    const { token } = lease
    const request = { jobId: lease.job.id, token, volumeId, setVersion, ...change }
    return await jobs.changeMembers(request, signal)
  }

  /**
   * Removes a copy that does not count any more, if it still is as expected. True: it is gone.
   *
   * @throws {StoreError} VOLUME_CHANGED.
   */
  async deleteCopy(
    location: NodeLocation,
    expected: VolumeExtent | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await this.at(location).deleteVolume({ ...this.command, expected }, signal)
    } catch (error) {
      if (!isStoreError(error, 'VOLUME_NOT_FOUND')) throw error
    }
  }
}

/** @throws {StoreError} REQUEST_INVALID: the target names no volume. */
export function volumeOf(target: JobTarget): VolumeId {
  const { volumeId } = target
  if (volumeId === undefined) throw new StoreError('REQUEST_INVALID', 'the job names no volume')
  return volumeId
}

/** What a job about copies says of a volume that has none. */
export const IS_CODED = 'the volume is erasure-coded'

/** The server is not there, or not for us: another one may do. */
export function isOutOfReach(error: unknown): error is StoreError {
  return isStoreError(error, 'UNAVAILABLE', 'TIMEOUT', 'CLOSED', 'OVERLOADED')
}

export function isSameExtent(a: VolumeExtent, b: VolumeExtent): boolean {
  return a.datBytes === b.datBytes && a.compactionRevision === b.compactionRevision
}

export interface Deadline extends Disposable {
  readonly signal: AbortSignal
}

/** For what must be tried although the job was told to stop: a signal of its own. */
export function deadlineOf(clock: Clock, ms: number): Deadline {
  const stop = new AbortController()
  const timer = clock.after(ms, () => stop.abort(new StoreError('TIMEOUT', `after ${ms} ms`)))
  return { signal: stop.signal, [Symbol.dispose]: () => timer[Symbol.dispose]() }
}

/** For what was begun with the switch, also when the job was told to stop meanwhile. */
export function finishDeadline(clock: Clock): Deadline {
  return deadlineOf(clock, FINISH_MS)
}
