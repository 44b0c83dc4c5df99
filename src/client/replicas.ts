import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ConnectVolume, VolumeApi } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import type { LocationCache } from './location-cache.ts'
import { RetryTurns, retryOf } from './retry-turns.ts'

export interface ReplicaParts {
  readonly connect: ConnectVolume
  readonly locations: LocationCache
  readonly clock: Clock
  readonly random: Random
}

/** These pass with time; other failures of a copy stay, and only another copy can help. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CLOSED',
  'NOT_LEADER',
  'OVERLOADED',
  'REPLICATION_FAILED',
  'TIMEOUT',
  'UNAVAILABLE',
  'VOLUME_BUSY',
  'WARMING_UP',
])

/** The server itself is in trouble, not only this volume or needle. */
const SERVER_DOWN: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UNAVAILABLE', 'TIMEOUT', 'CLOSED'])

/** Rounds with a volume that its servers do not have: they moved, or the master is behind. */
const MOVED_ROUNDS_MAX = 4

/**
 * The copies of volumes: where to go for one, and where next. Each round asks every copy once,
 * those of servers that failed lately last; before the next round the master is asked anew.
 */
export class Replicas {
  readonly #parts: ReplicaParts
  /** When a server failed, by its url; the oldest is first. */
  readonly #failedAtMs = new Map<string, number>()

  constructor(parts: ReplicaParts) {
    this.#parts = parts
  }

  /** The copy to ask first, when that is known without waiting. */
  first(volumeId: VolumeId): NodeLocation | undefined {
    const { locations, random } = this.#parts
    const known = locations.peek(volumeId)
    if (known === undefined || known.length < 2) return known?.[0]
    if (this.#failedAtMs.size > 0) return this.#inOrder(known)[0]
    return known[random.u32() % known.length]
  }

  connect(location: NodeLocation): VolumeApi {
    return this.#parts.connect(location)
  }

  /** True when `run` may succeed although the first copy failed with this. */
  mayHelp(volumeId: VolumeId, error: unknown): error is StoreError {
    if (!(error instanceof StoreError)) return false
    if (retryOf(error) === 'never') return false
    // What the only copy says about a needle is so; where the copy is may have changed.
    const isOnly = this.#parts.locations.peek(volumeId)?.length === 1
    return !isOnly || error.code !== 'NEEDLE_NOT_FOUND'
  }

  /** Where to send work for a volume. Errors as `LocationCache.find`. */
  async locate(volumeId: VolumeId, signal: AbortSignal): Promise<NodeLocation | undefined> {
    return this.#inOrder(await this.#parts.locations.find(volumeId, signal))[0]
  }

  /** It failed a short while ago. */
  isSuspect(url: string): boolean {
    const atMs = this.#failedAtMs.get(url)
    if (atMs === undefined) return false
    return atMs > this.#parts.clock.monotonicMs() - LIMITS.failedServerMs.value
  }

  /** The copies that are known without waiting are all on servers that failed a short while ago. */
  isVolumeSuspect(volumeId: VolumeId): boolean {
    const known = this.#parts.locations.peek(volumeId)
    return known?.every(({ url }) => this.isSuspect(url)) ?? false
  }

  /** Where a volume is now, as far as it is known. */
  locations(volumeId: VolumeId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    return this.#parts.locations.find(volumeId, signal)
  }

  /** All servers of the volume that are known are as good as failed: others are asked first. */
  noteVolume(volumeId: VolumeId, error: unknown): void {
    for (const { url } of this.#parts.locations.peek(volumeId) ?? []) this.note(url, error)
  }

  /** This server failed: others are asked before it for a while. */
  note(url: string, error: unknown): void {
    if (!isServerDown(error)) return
    this.#failedAtMs.delete(url)
    this.#failedAtMs.set(url, this.#parts.clock.monotonicMs())
    if (this.#failedAtMs.size <= LIMITS.failedServersMax.value) return
    for (const oldest of this.#failedAtMs.keys()) {
      this.#failedAtMs.delete(oldest)
      return
    }
  }

  /**
   * Runs `attempt` with one copy after the other, until one succeeds.
   *
   * @throws {StoreError} What all copies agree on, such as NEEDLE_NOT_FOUND; otherwise the failure
   * that may pass, once attempts and time are used up. CANCELLED: `signal` aborted.
   */
  async run<Result>(
    volumeId: VolumeId,
    attempt: (volume: VolumeApi) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    const { locations } = this.#parts
    const turns = new RetryTurns(this.#parts, signal)
    for (let round = 1; ; round++) {
      let failure: StoreError
      try {
        const outcome = await this.#runRound(volumeId, attempt, signal)
        if (!(outcome instanceof RoundFailure)) return outcome
        failure = outcome.error
        const isMoved = failure.code === 'VOLUME_NOT_FOUND' && round < MOVED_ROUNDS_MAX
        if (!isMoved && !PASSING.has(failure.code)) throw failure
      } catch (error) {
        // From the lookup, or from a copy for all of them.
        if (!(error instanceof StoreError) || !PASSING.has(error.code)) throw error
        failure = error
      }
      locations.invalidate(volumeId)
      await turns.pause(failure, true)
    }
  }

  /**
   * As `run`, but every copy is asked once: for those who have another way. A volume that is not
   * where it was is looked for once more.
   */
  async runOnce<Result>(
    volumeId: VolumeId,
    attempt: (volume: VolumeApi) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    const outcome = await this.#runRound(volumeId, attempt, signal)
    if (!(outcome instanceof RoundFailure)) return outcome
    this.#parts.locations.invalidate(volumeId)
    if (outcome.error.code !== 'VOLUME_NOT_FOUND') throw outcome.error
    const again = await this.#runRound(volumeId, attempt, signal)
    if (!(again instanceof RoundFailure)) return again
    throw again.error
  }

  async #runRound<Result>(
    volumeId: VolumeId,
    attempt: (volume: VolumeApi) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result | RoundFailure> {
    const found = await this.#parts.locations.find(volumeId, signal)
    if (found.length === 0) {
      const why = `no server that holds volume ${volumeId} is in reach`
      return new RoundFailure(new StoreError('UNAVAILABLE', why))
    }
    const failures: StoreError[] = []
    for (const location of this.#inOrder(found)) {
      try {
        return await attempt(this.#parts.connect(location))
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        if (retryOf(error) === 'never') throw error
        this.note(location.url, error)
        failures.push(error)
      }
    }
    return new RoundFailure(mostHopeful(failures))
  }

  #inOrder(locations: readonly NodeLocation[]): readonly NodeLocation[] {
    if (locations.length < 2) return locations
    const { clock, random } = this.#parts
    const shift = random.u32() % locations.length
    const rotated = [...locations.slice(shift), ...locations.slice(0, shift)]
    if (this.#failedAtMs.size === 0) return rotated
    const sinceMs = clock.monotonicMs() - LIMITS.failedServerMs.value
    for (const [url, atMs] of this.#failedAtMs) {
      if (atMs <= sinceMs) this.#failedAtMs.delete(url)
    }
    const isDown = (location: NodeLocation): boolean => this.#failedAtMs.has(location.url)
    return [...rotated.filter((location) => !isDown(location)), ...rotated.filter(isDown)]
  }
}

export function isServerDown(error: unknown): boolean {
  return error instanceof StoreError && SERVER_DOWN.has(error.code)
}

class RoundFailure {
  readonly error: StoreError

  constructor(error: StoreError) {
    this.error = error
  }
}

/** A failure that may pass keeps a missing needle from being taken for a deleted one. */
function mostHopeful(failures: readonly StoreError[]): StoreError {
  const passing = failures.find((failure) => PASSING.has(failure.code))
  const moved = failures.find((failure) => failure.code === 'VOLUME_NOT_FOUND')
  const corrupt = failures.find((failure) => failure.code !== 'NEEDLE_NOT_FOUND')
  return (passing ?? moved ?? corrupt ?? failures[0]) as StoreError
}
