import type { FileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { WriteGate } from './write-gate.ts'

/** How the writes of this server get into its volumes, and how many of them are under way. */
export class WriteEntry {
  readonly #gate: WriteGate
  #inFlightCount = 0

  constructor(gate: WriteGate) {
    this.#gate = gate
  }

  /** All that `count` and `inside` wait for. */
  get inFlightCount(): number {
    return this.#inFlightCount
  }

  /**
   * Waits while the volume is held still. A copy from another server is then refused: the members
   * may be others by now, which the sender finds out when it asks again. True: it did wait.
   *
   * @throws {StoreError} VOLUME_BUSY, OVERLOADED, CANCELLED.
   */
  async pass(
    { fileId, isReplica }: { readonly fileId: FileId; readonly isReplica: boolean },
    signal: AbortSignal,
  ): Promise<boolean> {
    const { volumeId } = fileId
    const { frozenReplicaMs, frozenWriteMs } = LIMITS
    const waitMs = isReplica ? frozenReplicaMs.value : frozenWriteMs.value
    let hasWaited = false
    for (;;) {
      const waiting = this.#gate.wait(volumeId, signal, waitMs)
      if (waiting === undefined) break
      await waiting
      hasWaited = true
    }
    if (!hasWaited || !isReplica) return hasWaited
    throw new StoreError('VOLUME_BUSY', `volume ${volumeId} was held still; look for it again`)
  }

  /** In the turn in which the volume was found not to be frozen. */
  async inside<Result>({ volumeId }: FileId, write: () => Promise<Result>): Promise<Result> {
    this.#gate.enter(volumeId)
    this.#inFlightCount++
    try {
      return await write()
    } finally {
      this.#inFlightCount--
      this.#gate.leave(volumeId)
    }
  }

  async count<Result>(running: Promise<Result>): Promise<Result> {
    this.#inFlightCount++
    try {
      return await running
    } finally {
      this.#inFlightCount--
    }
  }
}
