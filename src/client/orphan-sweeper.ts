import type { FileId } from '../base/file-id.ts'
import { formatFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'

export interface Orphan {
  readonly fileId: FileId
  readonly writeToken: string
}

export interface SweeperParts {
  /** One attempt; repeated by the sweeper. */
  readonly remove: (orphan: Orphan, signal: AbortSignal) => Promise<void>
  readonly clock: Clock
  readonly logger: Logger
}

const FIRST_DELAY_MS = 1000
const ROUNDS_MAX = 4

/**
 * Needles that may have been stored although nobody was told their id: deleted in the background,
 * as well as that goes. What is left is garbage that takes room, never a wrong answer.
 */
export class OrphanSweeper implements AsyncDisposable {
  readonly #parts: SweeperParts
  readonly #closing = new AbortController()
  #waiting: Orphan[] = []
  #sweep: Promise<void> | undefined

  constructor(parts: SweeperParts) {
    this.#parts = parts
  }

  get waitingCount(): number {
    return this.#waiting.length
  }

  add(orphan: Orphan): void {
    if (this.#closing.signal.aborted || this.#waiting.length >= LIMITS.orphansMax.value) {
      this.#parts.logger.info('client.orphan_left', { fileId: formatFileId(orphan.fileId) })
      return
    }
    this.#waiting.push(orphan)
    this.#sweep ??= this.#sweepAll().finally(() => {
      this.#sweep = undefined
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#sweep
  }

  async #sweepAll(): Promise<void> {
    const { signal } = this.#closing
    for (let round = 0; this.#waiting.length > 0 && round < ROUNDS_MAX; round++) {
      try {
        await this.#parts.clock.sleep(FIRST_DELAY_MS * 4 ** round, signal)
      } catch {
        break // The client closes.
      }
      const orphans = this.#waiting
      this.#waiting = []
      for (const orphan of orphans) await this.#sweepOne(orphan)
    }
    for (const { fileId } of this.#waiting) {
      this.#parts.logger.info('client.orphan_left', { fileId: formatFileId(fileId) })
    }
    this.#waiting = []
  }

  async #sweepOne(orphan: Orphan): Promise<void> {
    try {
      await this.#parts.remove(orphan, this.#closing.signal)
    } catch (error) {
      this.#parts.logger.debug('client.orphan_kept', { error })
      this.#waiting.push(orphan)
    }
  }
}
