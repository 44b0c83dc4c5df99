import type { VolumeId } from '../base/ids.ts'
import type { Clock } from '../runtime/clock.ts'
import type { NodeView, TopologyChange } from './topology.ts'

/** Copies that a server had and, still up, does not have any more: since when. */
export class VanishedCopies {
  readonly #clock: Clock
  readonly #servers = new Map<string, Map<VolumeId, number>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** `node` undefined: the server is not known any more. */
  note(url: string, node: NodeView | undefined, { movedVolumeIds }: TopologyChange): void {
    if (node === undefined || node.state === 'down') {
      this.#servers.delete(url)
      return
    }
    const vanished = this.#servers.get(url) ?? new Map<VolumeId, number>()
    for (const volumeId of movedVolumeIds) {
      if (node.volumes.has(volumeId)) vanished.delete(volumeId)
      else if (!vanished.has(volumeId)) vanished.set(volumeId, this.#clock.monotonicMs())
    }
    if (vanished.size > 0) this.#servers.set(url, vanished)
    else this.#servers.delete(url)
  }

  /** Undefined: it did not vanish while the server was up. */
  sinceMs(url: string, volumeId: VolumeId): number | undefined {
    return this.#servers.get(url)?.get(volumeId)
  }
}
