import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { ClusterState } from './cluster-state.ts'
import { Deadline } from './deadline.ts'

export interface GrowthRemainsParts {
  readonly state: ClusterState
  readonly coordinator: Pick<Coordinator, 'epoch'>
  readonly connect: ConnectVolume
  readonly clock: Clock
  readonly logger: Logger
  readonly closing: AbortSignal
}

interface Remains {
  readonly volumeId: VolumeId
  /** Servers that perhaps have a copy. */
  readonly locations: readonly NodeLocation[]
}

/**
 * Copies that were perhaps made of volumes that did not come to be. They are empty, and such a
 * volume is held back from assigns, so removing them is tidiness: it happens in the background,
 * when their servers are up.
 */
export class GrowthRemains {
  readonly #parts: GrowthRemainsParts
  readonly #deleteMs: number
  readonly #remains = new Map<VolumeId, Remains>()
  #cleaning: Promise<void> | undefined

  /** A server has `deleteMs` to delete a copy. */
  constructor(parts: GrowthRemainsParts, options: { readonly deleteMs: number }) {
    this.#parts = parts
    this.#deleteMs = options.deleteMs
  }

  get count(): number {
    return this.#remains.size
  }

  add(volumeId: VolumeId, locations: readonly NodeLocation[]): void {
    if (this.#remains.size >= LIMITS.growthRemainsMax.value && !this.#remains.has(volumeId)) {
      this.#parts.logger.error('master.remains_forgotten', { volumeId })
      return
    }
    this.#remains.set(volumeId, { volumeId, locations })
  }

  /** Begins to remove what can be removed now, unless that is under way. */
  startCleaning(): void {
    if (this.#remains.size === 0 || this.#parts.closing.aborted) return
    this.#cleaning ??= this.#clean().finally(() => {
      this.#cleaning = undefined
    })
  }

  /** Resolves when nothing is under way. */
  async drain(): Promise<void> {
    await this.#cleaning
  }

  async #clean(): Promise<void> {
    const { closing } = this.#parts
    const atOnce = LIMITS.volumeCommandsAtOnce.value
    const remains = [...this.#remains.values()]
    // Each failure is logged where it happens: only the end of the master ends this early.
    const cleaning = mapBounded(remains, atOnce, (each) => this.#remove(each), closing)
    await cleaning.catch(() => undefined)
  }

  async #remove({ volumeId, locations }: Remains): Promise<void> {
    const { state, clock, closing, logger } = this.#parts
    const left: NodeLocation[] = []
    using deadline = new Deadline(clock, this.#deleteMs, closing)
    await Promise.all(
      locations.map(async (location) => {
        if (state.topology.node(location.url)?.state === 'down') {
          left.push(location)
          return
        }
        try {
          await deadline.race(this.#deleteCopy(volumeId, location, deadline.signal))
          state.removeCopy(location.url, volumeId)
        } catch (error) {
          left.push(location)
          logger.warn('master.remains_left', { volumeId, server: location.url, error })
        }
      }),
    )
    // Still held: a heartbeat that was on its way may name a copy that is gone.
    if (left.length > 0) this.#remains.set(volumeId, { volumeId, locations: left })
    else this.#remains.delete(volumeId)
  }

  async #deleteCopy(
    volumeId: VolumeId,
    location: NodeLocation,
    signal: AbortSignal,
  ): Promise<void> {
    const { connect, coordinator } = this.#parts
    try {
      await connect(location).deleteVolume({ epoch: coordinator.epoch, volumeId }, signal)
    } catch (error) {
      if (!isStoreError(error, 'VOLUME_NOT_FOUND')) throw error
    }
  }
}
