import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type {
  LocationsUpdate,
  MasterApi,
  NodeLocation,
  VolumeLocations,
} from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { unlessAborted } from './unless-aborted.ts'

export interface LocationParts {
  readonly master: MasterApi
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

interface Entry {
  readonly locations: readonly NodeLocation[]
  /** When it was known to be so; it counts for as long as the watch stream is up. */
  atMs: number
}

const WATCH_DELAY_MS = 100
const WATCH_DELAY_MS_MAX = 5000

/**
 * Where volumes are. The master tells of changes through a stream; while that is down, what was
 * known is looked up again when it is older than `locationStaleMs`. What cannot be looked up either
 * is still used: a client that has read once goes on reading without a master.
 */
export class LocationCache implements AsyncDisposable {
  readonly #parts: LocationParts
  readonly #closing = new AbortController()
  /** The one learnt longest ago is first. */
  readonly #entries = new Map<VolumeId, Entry>()
  /** Lookups to come or under way: each volume is asked for once, however many wait. */
  readonly #lookups = new Map<VolumeId, Promise<readonly NodeLocation[]>>()
  #isWatching = false
  #lostAtMs = Number.NEGATIVE_INFINITY
  #watch: Promise<void> | undefined
  #batch: VolumeId[] = []
  #batchAnswer: Promise<ReadonlyMap<VolumeId, VolumeLocations>> | undefined

  constructor(parts: LocationParts) {
    this.#parts = parts
  }

  get isWatching(): boolean {
    return this.#isWatching
  }

  get size(): number {
    return this.#entries.size
  }

  /** Starts the stream; without it everything is looked up, and again after a while. */
  start(): void {
    this.#watch ??= this.#watchForever()
  }

  /** What is known without asking; undefined: use `find`. */
  peek(volumeId: VolumeId): readonly NodeLocation[] | undefined {
    const entry = this.#entries.get(volumeId)
    return entry !== undefined && this.#isFresh(entry) ? entry.locations : undefined
  }

  /**
   * The servers that hold a volume; empty: it is known, but none is in reach.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND: the master does not know it. CANCELLED. OVERLOADED: too
   * many are being looked up. Otherwise why the master could not be asked; nothing was known
   * before.
   */
  async find(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    const known = this.peek(volumeId)
    if (known !== undefined) return known
    let lookup = this.#lookups.get(volumeId)
    if (lookup === undefined) {
      if (this.#lookups.size >= LIMITS.lookupsMax.value) {
        throw new StoreError('OVERLOADED', `${this.#lookups.size} volumes are being looked up`)
      }
      lookup = this.#lookup(volumeId).finally(() => this.#lookups.delete(volumeId))
      this.#lookups.set(volumeId, lookup)
    }
    return unlessAborted(lookup, signal, 'looking up a volume')
  }

  /** What was known about this volume has proved wrong: ask before it is used again. */
  invalidate(volumeId: VolumeId): void {
    const entry = this.#entries.get(volumeId)
    if (entry !== undefined) entry.atMs = Number.NEGATIVE_INFINITY
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#watch
    await Promise.allSettled([...this.#lookups.values()])
  }

  #isFresh(entry: Entry): boolean {
    if (entry.atMs === Number.NEGATIVE_INFINITY) return false
    if (this.#isWatching) return true
    const sinceMs = Math.max(entry.atMs, this.#lostAtMs)
    return this.#parts.clock.monotonicMs() - sinceMs < LIMITS.locationStaleMs.value
  }

  async #lookup(volumeId: VolumeId): Promise<readonly NodeLocation[]> {
    const before = this.#entries.get(volumeId)
    try {
      const answer = (await this.#askWithOthers(volumeId)).get(volumeId)
      const now = this.#entries.get(volumeId)
      // The stream was faster, so it may know better than an answer from before.
      if (now !== undefined && now !== before) return now.locations
      if (answer === undefined) {
        this.#entries.delete(volumeId)
        throw new StoreError('VOLUME_NOT_FOUND', `the master does not know volume ${volumeId}`)
      }
      this.#learn(answer)
      return answer.locations
    } catch (error) {
      const old = this.#entries.get(volumeId)
      if (old === undefined || isStoreError(error, 'CANCELLED')) throw error
      return old.locations
    }
  }

  /** One call for all that are looked up in the same turn. */
  #askWithOthers(volumeId: VolumeId): Promise<ReadonlyMap<VolumeId, VolumeLocations>> {
    this.#batch.push(volumeId)
    this.#batchAnswer ??= Promise.resolve().then(() => {
      const batch = this.#batch
      this.#batch = []
      this.#batchAnswer = undefined
      return this.#ask(batch)
    })
    return this.#batchAnswer
  }

  async #ask(volumeIds: readonly VolumeId[]): Promise<ReadonlyMap<VolumeId, VolumeLocations>> {
    const answers = await this.#parts.master.lookup(volumeIds, this.#closing.signal)
    return new Map(answers.map((answer) => [answer.volumeId, answer]))
  }

  async #watchForever(): Promise<void> {
    const { clock, logger, master, random } = this.#parts
    const { signal } = this.#closing
    let delayMs = WATCH_DELAY_MS
    while (!signal.aborted) {
      try {
        for await (const update of master.watch(signal)) {
          this.#fold(update)
          delayMs = WATCH_DELAY_MS
        }
      } catch (error) {
        if (!signal.aborted) logger.debug('client.watch_lost', { error })
      }
      if (this.#isWatching) this.#lostAtMs = clock.monotonicMs()
      this.#isWatching = false
      try {
        await clock.sleep(delayMs / 2 + (delayMs / 2) * (random.u32() / 2 ** 32), signal)
      } catch {
        return // Only the end of this client ends a sleep.
      }
      delayMs = Math.min(WATCH_DELAY_MS_MAX, delayMs * 2)
    }
  }

  #fold(update: LocationsUpdate): void {
    if (update.isSnapshot) {
      this.#entries.clear()
      this.#isWatching = true
    }
    for (const volume of update.volumes) this.#learn(volume)
    for (const volumeId of update.removedVolumeIds) this.#entries.delete(volumeId)
  }

  #learn(volume: VolumeLocations): void {
    const { locations, volumeId } = volume
    this.#entries.delete(volumeId)
    this.#entries.set(volumeId, { locations, atMs: this.#parts.clock.monotonicMs() })
    if (this.#entries.size <= LIMITS.locationsMax.value) return
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest)
      return
    }
  }
}
