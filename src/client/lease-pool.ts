import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { formatReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { formatTtl, type Ttl } from '../base/ttl.ts'
import type { MasterApi } from '../net/master-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { LeaseLane } from './lease-lane.ts'

/** Volumes alike: a lease is for one of them. */
export interface Layout {
  readonly collection: string
  readonly replication: ReplicaPlacement | undefined
  readonly ttl: Ttl
}

export interface LeaseParts {
  readonly master: MasterApi
  readonly connect: ConnectVolume
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export interface LeaseSizes {
  /** Ids asked for at first; more while they go fast. */
  readonly idsMin: number
  readonly idsMax: number
  /** Bytes expected for each id; 0: not known. */
  readonly dataBytes: number
}

/** Which of several lanes of one layout; neighbours have leases of their own. */
export interface LaneChoice {
  readonly number?: number
  /** The `url` of a server: only volumes with a copy there. */
  readonly node?: string
}

export const NEEDLE_LEASES: LeaseSizes = {
  idsMin: LIMITS.leaseIdsMin.value,
  idsMax: LIMITS.leaseIdsMax.value,
  dataBytes: 0,
}

/**
 * The leases of a client, by layout. A volume that failed is out of use for all layouts at once,
 * and not asked for again until it has had time to recover.
 */
export class LeasePool implements AsyncDisposable {
  readonly #parts: LeaseParts
  readonly #closing = new AbortController()
  /** For the layout of most writes: always there, and found without a search. */
  readonly defaultLane: LeaseLane
  /** By their key; the one used longest ago is first. */
  readonly #lanes = new Map<string, LeaseLane>()
  /** Until when not to ask for a volume that failed; the oldest is first. */
  readonly #failedUntilMs = new Map<VolumeId, number>()

  constructor(parts: LeaseParts, defaultLayout: Layout) {
    this.#parts = parts
    this.defaultLane = this.#newLane(defaultLayout, NEEDLE_LEASES)
  }

  /** Where to get ids of a layout. Ask again for each use: a lane that nobody uses is dropped. */
  lane(layout: Layout, sizes: LeaseSizes, choice: LaneChoice = {}): LeaseLane {
    const key = laneKey(layout, sizes, choice)
    const known = this.#lanes.get(key)
    if (known !== undefined) {
      this.#lanes.delete(key)
      this.#lanes.set(key, known)
      return known
    }
    if (this.#lanes.size >= LIMITS.leaseLanesMax.value) {
      // Its ids are not lost to anybody: nobody else gets them, and 64 bits are plenty.
      for (const oldest of this.#lanes.keys()) {
        this.#lanes.delete(oldest)
        break
      }
    }
    const lane = this.#newLane(layout, sizes, choice.node)
    this.#lanes.set(key, lane)
    return lane
  }

  /** No id of this volume is given out again from leases of before; new ones avoid it a while. */
  dropVolume(volumeId: VolumeId): void {
    const untilMs = this.#parts.clock.monotonicMs() + LIMITS.failedVolumeMs.value
    this.#failedUntilMs.delete(volumeId)
    this.#failedUntilMs.set(volumeId, untilMs)
    if (this.#failedUntilMs.size > LIMITS.failedVolumesMax.value) {
      for (const oldest of this.#failedUntilMs.keys()) {
        this.#failedUntilMs.delete(oldest)
        break
      }
    }
    this.defaultLane.dropVolume(volumeId)
    for (const lane of this.#lanes.values()) lane.dropVolume(volumeId)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    const lanes = [this.defaultLane, ...this.#lanes.values()]
    await Promise.all(lanes.map((lane) => lane.settled()))
  }

  #newLane(layout: Layout, sizes: LeaseSizes, node = ''): LeaseLane {
    const parts = { ...this.#parts, excluded: () => this.#excluded() }
    return new LeaseLane(parts, { ...layout, node }, sizes, this.#closing.signal)
  }

  #excluded(): readonly VolumeId[] {
    if (this.#failedUntilMs.size === 0) return NONE
    const nowMs = this.#parts.clock.monotonicMs()
    for (const [volumeId, untilMs] of this.#failedUntilMs) {
      if (untilMs <= nowMs) this.#failedUntilMs.delete(volumeId)
    }
    return [...this.#failedUntilMs.keys()]
  }
}

const NONE: readonly VolumeId[] = []

function laneKey(layout: Layout, sizes: LeaseSizes, choice: LaneChoice): string {
  const { collection, replication, ttl } = layout
  const placement = replication === undefined ? '' : formatReplicaPlacement(replication)
  const { node = '', number = 0 } = choice
  return `${collection}/${placement}/${formatTtl(ttl)}/${sizes.dataBytes}/${number}/${node}`
}
