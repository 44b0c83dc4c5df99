import { assert } from '../base/assert.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { VolumeExtent } from '../net/volume-api.ts'
import { deadlineOf, isSameExtent, type VolumeWork } from './volume-work.ts'

/** Writers wait for so long at the most when whoever froze the volume has died. */
const FREEZE_MS = 10_000
const THAW_MS = 2_000

/**
 * Holds back the writes to copies of a volume. It ends by itself in time; nobody has to rely on
 * that, because `renew` tells whether anything was written meanwhile.
 */
export class Freeze implements AsyncDisposable {
  readonly #work: VolumeWork
  readonly #locations: readonly NodeLocation[]
  #extents: readonly VolumeExtent[]
  #isThawed = false

  private constructor(
    work: VolumeWork,
    locations: readonly NodeLocation[],
    extents: readonly VolumeExtent[],
  ) {
    this.#work = work
    this.#locations = locations
    this.#extents = extents
  }

  /** All or none. @throws {StoreError} one of the copies cannot be frozen. */
  static async open(
    work: VolumeWork,
    locations: readonly NodeLocation[],
    signal: AbortSignal,
  ): Promise<Freeze> {
    const freeze = new Freeze(work, locations, [])
    try {
      freeze.#extents = await freeze.#command(signal)
      return freeze
    } catch (error) {
      await freeze.thaw()
      throw error
    }
  }

  extentAt(url: string): VolumeExtent {
    const extent = this.#extents[this.#locations.findIndex((location) => location.url === url)]
    assert(extent !== undefined, `${url} is not frozen`)
    return extent
  }

  /**
   * Starts the time anew. False: something was written since it was frozen; look again at what you
   * compared.
   */
  async renew(signal: AbortSignal): Promise<boolean> {
    const extents = await this.#command(signal)
    const before = this.#extents
    this.#extents = extents
    return extents.every((extent, index) => {
      const old = before[index]
      return old !== undefined && isSameExtent(extent, old)
    })
  }

  /** Also when the job was told to stop. What is out of reach thaws by itself. */
  async thaw(): Promise<void> {
    if (this.#isThawed) return
    this.#isThawed = true
    const { context, command } = this.#work
    using deadline = deadlineOf(context.clock, THAW_MS)
    const { signal } = deadline
    const thaws = this.#locations.map((location) =>
      this.#work.at(location).freezeVolume({ ...command, forMs: 0 }, signal),
    )
    await Promise.allSettled(thaws)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.thaw()
  }

  async #command(signal: AbortSignal): Promise<readonly VolumeExtent[]> {
    const { command } = this.#work
    const freezes = this.#locations.map((location) =>
      this.#work.at(location).freezeVolume({ ...command, forMs: FREEZE_MS }, signal),
    )
    const settled = await Promise.allSettled(freezes)
    return settled.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
  }
}
