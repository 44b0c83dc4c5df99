import { assert } from '../base/assert.ts'
import { LIMITS } from '../base/limits.ts'
import { encodeChecksumSidecar } from '../format/checksum-sidecar.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Disk, replaceFile } from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Generation } from './generation.ts'
import type { VolumePaths } from './volume-paths.ts'

/** What a checkpoint needs of its volume. */
export interface CheckpointHost {
  generation(): Generation
  isSealed(): boolean
  /** Runs a step while nothing is being written. */
  between<Result>(step: () => Promise<Result>): Promise<Result>
  /** Syncs `.dat` where that has not been done with every write. */
  syncDat(generation: Generation): Promise<void>
}

interface CheckpointerParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly logger: Logger
  readonly paths: VolumePaths
  readonly host: CheckpointHost
}

/**
 * Keeps `.sum` near the end of `.dat`, so that the next start has little to scan: a checkpoint runs
 * after `checkpointBytes` or `checkpointMs` of appends, whichever comes first. One at a time.
 */
export class Checkpointer implements Disposable {
  readonly #parts: CheckpointerParts
  #timer: Disposable | undefined
  #appendedBytes = 0
  #last: Promise<unknown> = Promise.resolve()
  #isStopped = false

  constructor(parts: CheckpointerParts) {
    this.#parts = parts
  }

  onAppended(bytes: number): void {
    this.#appendedBytes += bytes
    if (this.#isStopped) return
    if (this.#appendedBytes >= LIMITS.checkpointBytes.value) this.#start()
    else this.#timer ??= this.#parts.clock.after(LIMITS.checkpointMs.value, () => this.#start())
  }

  /**
   * Makes `.dat` and `.idx` durable and writes the `.sum` that says so.
   *
   * @throws {StoreError} DISK_FULL, DISK_FAILED. The old `.sum` stays valid then.
   */
  run(options: { readonly isClean: boolean }): Promise<void> {
    return this.hold(() => this.#write(options.isClean))
  }

  /** Runs `step` while no checkpoint is under way and none begins. */
  hold<Result>(step: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(step, step)
    this.#last = result
    return result
  }

  /** No checkpoint starts by itself any more. */
  [Symbol.dispose](): void {
    this.#isStopped = true
    this.#timer?.[Symbol.dispose]()
    this.#timer = undefined
  }

  #start(): void {
    const { logger, paths } = this.#parts
    this.#appendedBytes = 0
    this.#timer?.[Symbol.dispose]()
    this.#timer = undefined
    this.run({ isClean: false }).catch((error: unknown) => {
      logger.warn('volume.checkpoint_failed', { volume: paths.base, error: String(error) })
    })
  }

  async #write(isClean: boolean): Promise<void> {
    const { disk, host, paths } = this.#parts
    const generation = host.generation()
    using _held = generation.retain()
    const bytes = await host.between(async () => {
      await generation.log.flush()
      return encodeSidecarOf(generation, { isClean, isSealed: host.isSealed() })
    })
    await host.syncDat(generation)
    await generation.log.file.datasync()
    await replaceFile(disk, paths.sum, bytes)
  }
}

/**
 * The `.sum` of a generation whose index rows have all been written: every record below the
 * watermark has its row below the covered length. True only while nothing is appended.
 */
export function encodeSidecarOf(
  generation: Generation,
  flags: { readonly isClean: boolean; readonly isSealed: boolean },
): Buffer {
  const { log } = generation
  assert(log.waitingBytes === 0, 'index rows wait to be written')
  return encodeChecksumSidecar({
    blockBytes: generation.checksums.blockBytes,
    watermarkBytes: generation.endBytes,
    idxBytes: log.lengthBytes,
    idxCrc: log.crc,
    compactionRevision: generation.superBlock.compactionRevision,
    lastAppendAtNs: generation.clock.lastNs,
    blockCrcs: generation.checksums.toArray(),
    ...flags,
  })
}
