import { LRUCache } from 'lru-cache'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { MasterApi, NodeLocation, VolumeLocations } from '../net/master-api.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'

interface LocationCacheParts {
  readonly master: MasterApi
  readonly clock: Clock
  readonly logger: Logger
}

interface Known {
  readonly locations: readonly NodeLocation[]
  readonly learntMs: number
}

const RETRY_FIRST_MS = 250
const RETRY_MAX_MS = 10_000

/**
 * Which servers hold which volume: told by the master as it changes, and asked for what it has not
 * told yet. While the master cannot be reached, what was known last is used on.
 */
export class LocationCache implements AsyncDisposable {
  readonly #parts: LocationCacheParts
  readonly #known = new LRUCache<VolumeId, Known>({ max: LIMITS.locationsCachedMax.value })
  readonly #asking = new Map<VolumeId, Promise<readonly NodeLocation[]>>()
  readonly #stop = new AbortController()
  readonly #watching: Promise<void>
  #isWatched = false

  constructor(parts: LocationCacheParts) {
    this.#parts = parts
    this.#watching = this.#watchOn()
  }

  /**
   * @throws {StoreError} UNAVAILABLE and others of `MasterApi.lookup`, when nothing is known.
   */
  async locate(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    const known = this.#known.get(volumeId)
    if (known !== undefined && this.#isFresh(known)) return known.locations
    try {
      return await this.refresh(volumeId, signal)
    } catch (error) {
      if (known === undefined || !isStoreError(error) || error.code === 'CANCELLED') throw error
      return known.locations
    }
  }

  /** As `locate`, but the master is asked in any case. */
  refresh(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    let asking = this.#asking.get(volumeId)
    if (asking === undefined) {
      // Not with the caller's signal: others may wait for the same answer.
      asking = this.#ask(volumeId, this.#stop.signal).finally(() => this.#asking.delete(volumeId))
      this.#asking.set(volumeId, asking)
    }
    return orAborted(asking, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#watching
  }

  #isFresh(known: Known): boolean {
    const ageMs = this.#parts.clock.monotonicMs() - known.learntMs
    if (known.locations.length === 0) return ageMs < LIMITS.locationAbsentMs.value
    return this.#isWatched || ageMs < LIMITS.locationFreshMs.value
  }

  async #ask(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    const found = await this.#parts.master.lookup([volumeId], signal)
    const entry = found.find((candidate) => candidate.volumeId === volumeId)
    const locations = entry?.locations ?? []
    this.#learn({ volumeId, locations })
    return locations
  }

  #learn({ volumeId, locations }: Pick<VolumeLocations, 'volumeId' | 'locations'>): void {
    this.#known.set(volumeId, { locations, learntMs: this.#parts.clock.monotonicMs() })
  }

  async #watchOn(): Promise<void> {
    const { clock, logger } = this.#parts
    const { signal } = this.#stop
    let delayMs = RETRY_FIRST_MS
    while (!signal.aborted) {
      const startedMs = clock.monotonicMs()
      try {
        await this.#watch(signal)
      } catch (error) {
        if (!isStoreError(error)) logger.error('locations.watch_failed', { error })
        else if (!signal.aborted) logger.debug('locations.watch_ended', { error: error.message })
      }
      this.#isWatched = false
      const wasLong = clock.monotonicMs() - startedMs > RETRY_MAX_MS
      delayMs = wasLong ? RETRY_FIRST_MS : Math.min(delayMs * 2, RETRY_MAX_MS)
      await clock.sleep(delayMs, signal).catch(() => 'the loop ends')
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    for await (const update of this.#parts.master.watch(signal)) {
      if (update.isSnapshot) this.#known.clear()
      for (const entry of update.volumes) this.#learn(entry)
      for (const volumeId of update.removedVolumeIds) this.#learn({ volumeId, locations: [] })
      this.#isWatched = true
    }
  }
}

/** The result, unless `signal` aborts first; the work goes on for whoever else waits for it. */
function orAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => reject(cancelledError(signal, 'while asking the master'))
    if (signal.aborted) giveUp()
    const aborting = onAbort(signal, giveUp)
    work.then(resolve, reject).finally(() => aborting[Symbol.dispose]())
  })
}
