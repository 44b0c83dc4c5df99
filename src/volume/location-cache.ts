import { LRUCache } from 'lru-cache'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { MasterApi, NodeLocation, VolumeLocations, WritePolicy } from '../net/master-api.ts'
import type { StripeLocations } from '../net/stripe-facts.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'

interface LocationCacheParts {
  readonly master: MasterApi
  readonly clock: Clock
  readonly logger: Logger
}

/** Where the copies of a volume are that can be reached, and when a write to them counts. */
export interface Whereabouts {
  /** Of a coded volume: all that have shards of it. */
  readonly locations: readonly NodeLocation[]
  readonly writePolicy: WritePolicy
  /** Undefined: the volume is not erasure-coded. */
  readonly stripe: StripeLocations | undefined
}

interface Known extends Whereabouts {
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
  readonly #asking = new Map<VolumeId, Promise<Whereabouts>>()
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
    return (await this.find(volumeId, signal)).locations
  }

  /** As `locate`, with the policy of the collection. */
  async find(volumeId: VolumeId, signal: AbortSignal): Promise<Whereabouts> {
    const known = this.#known.get(volumeId)
    if (known !== undefined && this.#isFresh(known)) return known
    try {
      return await this.refresh(volumeId, signal)
    } catch (error) {
      if (known === undefined || !isStoreError(error) || error.code === 'CANCELLED') throw error
      return known
    }
  }

  /** What is known without asking anybody, however old. */
  peek(volumeId: VolumeId): Whereabouts | undefined {
    return this.#known.peek(volumeId)
  }

  /** Whether `expire` was called since it was learnt. */
  isExpired(volumeId: VolumeId): boolean {
    return this.#known.peek(volumeId)?.learntMs === Number.NEGATIVE_INFINITY
  }

  /** The copies may be elsewhere by now: the master is asked before they are used again. */
  expire(volumeId: VolumeId): void {
    // An answer that is on its way may be older than what made this necessary.
    this.#asking.delete(volumeId)
    const known = this.#known.get(volumeId)
    if (known === undefined) return
    this.#known.set(volumeId, { ...known, learntMs: Number.NEGATIVE_INFINITY })
  }

  /** As `find`, but the master is asked in any case. */
  refresh(volumeId: VolumeId, signal: AbortSignal): Promise<Whereabouts> {
    const asking = this.#asking.get(volumeId) ?? this.#startAsking(volumeId)
    return orAborted(asking, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#watching
  }

  #isFresh(known: Known): boolean {
    const ageMs = this.#parts.clock.monotonicMs() - known.learntMs
    if (ageMs === Number.POSITIVE_INFINITY) return false
    if (known.locations.length === 0) return ageMs < LIMITS.locationAbsentMs.value
    return this.#isWatched || ageMs < LIMITS.locationFreshMs.value
  }

  #startAsking(volumeId: VolumeId): Promise<Whereabouts> {
    const isCurrent = (): boolean => this.#asking.get(volumeId) === asking
    const ask = async (): Promise<Whereabouts> => {
      // Not with the caller's signal: others may wait for the same answer.
      const found = await this.#parts.master.lookup([volumeId], this.#stop.signal)
      const entry = found.find((candidate) => candidate.volumeId === volumeId)
      const now = entry === undefined ? NOWHERE : whereaboutsOf(entry)
      return isCurrent() ? this.#learn(volumeId, now) : now
    }
    const asking = ask().finally(() => {
      if (isCurrent()) this.#asking.delete(volumeId)
    })
    this.#asking.set(volumeId, asking)
    return asking
  }

  #learn(volumeId: VolumeId, now: Whereabouts): Whereabouts {
    const learntMs = this.#parts.clock.monotonicMs()
    const known = { ...now, learntMs }
    this.#known.set(volumeId, known)
    return known
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
      for (const entry of update.volumes) {
        this.#learn(entry.volumeId, whereaboutsOf(entry))
      }
      for (const volumeId of update.removedVolumeIds) this.#learn(volumeId, NOWHERE)
      this.#isWatched = true
    }
  }
}

const NOWHERE: Whereabouts = { locations: [], writePolicy: 'all', stripe: undefined }

function whereaboutsOf({ locations, writePolicy, stripe }: VolumeLocations): Whereabouts {
  return { locations, writePolicy, stripe }
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
