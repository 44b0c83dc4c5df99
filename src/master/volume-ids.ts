import { type VolumeId, volumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import type { Coordinator } from '../metadata/coordinator.ts'
import type { ClusterTopology } from './topology.ts'

const SEQUENCE = 'volume-ids'

/**
 * Reported ids this far above ours come from elsewhere: following one could use up all 2^32. Ours
 * go on below, and step over such an id when they come near it.
 */
const JUMP_MAX = 1 << 24

const ID_MAX = 2 ** 32 - 1

/** Volume ids: durable as taken before they are used, never one that a server reports. */
export class VolumeIds {
  readonly #blocks: Pick<Coordinator, 'allocateBlock'>
  readonly #topology: ClusterTopology
  #last = 0

  constructor(blocks: Pick<Coordinator, 'allocateBlock'>, topology: ClusterTopology) {
    this.#blocks = blocks
    this.#topology = topology
  }

  /** @throws {StoreError} OVERLOADED: all 2^32 are used up. As `Coordinator.allocateBlock`. */
  async next(signal: AbortSignal): Promise<VolumeId> {
    for (;;) {
      const atLeast = BigInt(this.#highestNear() + 1)
      const { first } = await this.#blocks.allocateBlock(SEQUENCE, 1, atLeast, signal)
      const id = Number(first)
      if (id > ID_MAX) throw new StoreError('OVERLOADED', 'no volume ids are left')
      this.#last = Math.max(this.#last, id)
      // The first id shows where ours are: what is reported just above it counts from then on.
      if (id >= this.#highestNear()) return volumeId(id)
    }
  }

  /** Of ours, and of those reported that can be ours from before a backup was restored. */
  #highestNear(): number {
    let highest = this.#last
    for (const id of this.#topology.volumeIds) {
      if (id > highest && id - this.#last < JUMP_MAX) highest = id
    }
    return highest
  }
}
