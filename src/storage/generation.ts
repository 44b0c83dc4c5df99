import { assert } from '../base/assert.ts'
import type { NeedleVersion } from '../format/needle.ts'
import { type SuperBlock, superBlockBytes } from '../format/super-block.ts'
import type { DiskFile } from '../runtime/disk.ts'
import type { AppendClock } from './append-clock.ts'
import type { BlockChecksums } from './block-checksums.ts'
import type { IndexLog } from './index-log.ts'
import type { NeedleMap } from './needle-map.ts'
import { WarmExtents } from './warm-extents.ts'

interface GenerationParts {
  readonly superBlock: SuperBlock
  readonly dat: DiskFile
  readonly log: IndexLog
  readonly map: NeedleMap
  readonly checksums: BlockChecksums
  readonly clock: AppendClock
  readonly endBytes: number
}

/**
 * One life of a volume's files, from creation or vacuum to the next vacuum: the open `.dat` and
 * `.idx`, the needle map over them, and where they end.
 *
 * Invariants: every byte of `.dat` below `endBytes` was acknowledged or recovered; the map holds
 * exactly the records below it; `checksums` covers exactly `endBytes`.
 */
export class Generation implements AsyncDisposable {
  readonly superBlock: SuperBlock
  readonly dat: DiskFile
  readonly log: IndexLog
  readonly checksums: BlockChecksums
  readonly clock: AppendClock
  readonly warm = new WarmExtents()
  /** Replaced when the volume is sealed: the packed form holds the same entries. */
  map: NeedleMap
  endBytes: number
  #readers = 0
  #whenUnread: (() => void) | undefined
  #isClosed = false

  constructor(parts: GenerationParts) {
    this.superBlock = parts.superBlock
    this.dat = parts.dat
    this.log = parts.log
    this.map = parts.map
    this.checksums = parts.checksums
    this.clock = parts.clock
    this.endBytes = parts.endBytes
  }

  get version(): NeedleVersion {
    return this.superBlock.version
  }

  /** Bytes of `.dat` that belong to no live needle: overwritten, deleted, and tombstones. */
  get garbageBytes(): number {
    return this.endBytes - superBlockBytes(this.superBlock) - this.map.liveBytes
  }

  /** Keeps the files open while an asynchronous read uses them. */
  retain(): Disposable {
    assert(!this.#isClosed, 'a read began on a closed generation')
    this.#readers++
    let isHeld = true
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return
        isHeld = false
        this.#readers--
        if (this.#readers === 0) this.#whenUnread?.()
      },
    }
  }

  /** Waits for the reads under way, then closes both files. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#readers > 0) {
      await new Promise<void>((resolve) => {
        this.#whenUnread = resolve
      })
    }
    await this.dat.close()
    await this.log.file.close()
  }
}
