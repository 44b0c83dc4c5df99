import { type Disk, replaceFile } from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'
import type { VolumePaths } from './volume-paths.ts'

interface FailureMarkParts {
  readonly disk: Disk
  readonly logger: Logger
  readonly paths: Pick<VolumePaths, 'base' | 'failed'>
}

/** The file that tells the next start that a sync failed in this one. */
export class FailureMark {
  readonly #parts: FailureMarkParts
  #writing: Promise<void> = Promise.resolve()

  constructor(parts: FailureMarkParts) {
    this.#parts = parts
  }

  /** Best effort: the disk is failing. Without it the next start scans and checks the tail. */
  write(error: unknown): void {
    const { disk, logger, paths } = this.#parts
    const bytes = Buffer.from(`${String(error)}\n`)
    this.#writing = this.#writing
      .then(() => replaceFile(disk, paths.failed, bytes))
      .catch((reason: unknown) => {
        logger.warn('volume.unmarked', { volume: paths.base, reason: String(reason) })
      })
  }

  /** Resolves when nothing of it is being written any more. */
  settled(): Promise<void> {
    return this.#writing
  }
}
