import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { LocationsUpdate, VolumeLocations } from '../net/master-api.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'

/** What the feed is about. */
export interface LocationsSource {
  readonly volumeIds: Iterable<VolumeId>
  /** Undefined: no server, up or down, holds it. */
  locationsOf(volumeId: VolumeId): VolumeLocations | undefined
}

interface Watcher {
  /** Volumes that changed since this watcher was told; a volume stands here once. */
  readonly dirty: Set<VolumeId>
  hasOverflown: boolean
  wake: () => void
}

/**
 * Tells watchers where volumes are: first everything, then what changes. A watcher is told how
 * things are when it asks, not each step that led there, so one that is slow has less to read.
 * Folding its updates over each other gives the truth as of the last one.
 */
export class LocationsFeed {
  readonly #watchers = new Set<Watcher>()
  readonly #closing: AbortSignal
  #source: LocationsSource | undefined
  #version = 0

  /** `closing` ends every watch: the master is closing. */
  constructor(closing: AbortSignal) {
    this.#closing = closing
  }

  get watcherCount(): number {
    return this.#watchers.size
  }

  /** Grows with each change: two equal versions have the same locations. */
  get version(): number {
    return this.#version
  }

  /** Volumes that the slowest watcher has not been told of. */
  get backlogMax(): number {
    let most = 0
    for (const watcher of this.#watchers) most = Math.max(most, watcher.dirty.size)
    return most
  }

  attach(source: LocationsSource): void {
    this.#source = source
  }

  onMoved(volumeIds: ReadonlySet<VolumeId>): void {
    this.#version++
    for (const watcher of this.#watchers) {
      for (const volumeId of volumeIds) watcher.dirty.add(volumeId)
      if (watcher.dirty.size > LIMITS.watchBacklogMax.value) {
        watcher.hasOverflown = true
        watcher.dirty.clear()
      }
      watcher.wake()
    }
  }

  /**
   * Ends only with an error.
   *
   * @throws {StoreError} OVERLOADED: too many watch already, or this one is too slow.
   * UNAVAILABLE: the master is closing. CANCELLED.
   */
  async *watch(signal: AbortSignal): AsyncGenerator<LocationsUpdate> {
    if (this.#watchers.size >= LIMITS.watchersMax.value) {
      throw new StoreError('OVERLOADED', `${this.#watchers.size} are watching already`)
    }
    const watcher: Watcher = { dirty: new Set(), hasOverflown: false, wake: () => undefined }
    for (const volumeId of this.#source?.volumeIds ?? []) watcher.dirty.add(volumeId)
    this.#watchers.add(watcher)
    using _aborting = onAbort(signal, () => watcher.wake())
    using _closing = onAbort(this.#closing, () => watcher.wake())
    try {
      yield this.#nextUpdate(watcher, true)
      for (;;) {
        if (signal.aborted) throw cancelledError(signal, 'while watching')
        if (this.#closing.aborted) {
          throw new StoreError('UNAVAILABLE', 'this master is shutting down')
        }
        if (watcher.hasOverflown) {
          throw new StoreError('OVERLOADED', 'this watcher is too slow; start again')
        }
        if (watcher.dirty.size > 0) yield this.#nextUpdate(watcher, false)
        else await new Promise<void>((resolve) => (watcher.wake = resolve))
      }
    } finally {
      this.#watchers.delete(watcher)
    }
  }

  #nextUpdate(watcher: Watcher, isSnapshot: boolean): LocationsUpdate {
    const volumes: VolumeLocations[] = []
    const removedVolumeIds: VolumeId[] = []
    for (const volumeId of watcher.dirty) {
      if (volumes.length + removedVolumeIds.length === LIMITS.watchUpdateVolumes.value) break
      watcher.dirty.delete(volumeId)
      const found = this.#source?.locationsOf(volumeId)
      if (found !== undefined) volumes.push(found)
      else if (!isSnapshot) removedVolumeIds.push(volumeId)
    }
    return { isSnapshot, volumes, removedVolumeIds }
  }
}
