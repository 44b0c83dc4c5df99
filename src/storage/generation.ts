import { crc32c } from '../base/crc32c.ts'
import { StoreError } from '../base/store-error.ts'
import type { NeedleVersion } from '../format/needle.ts'
import type { NeedleRequest } from '../format/needle-checks.ts'
import { type SuperBlock, superBlockBytes } from '../format/super-block.ts'
import { type DiskFile, readFully } from '../runtime/disk.ts'
import type { AppendClock } from './append-clock.ts'
import type { BlockChecksums } from './block-checksums.ts'
import type { IndexLog } from './index-log.ts'
import type { NeedleLocation, NeedleMap } from './needle-map.ts'
import { LargeNeedle } from './needle-reader.ts'
import { OpenReaders } from './open-readers.ts'
import type { SharedNeedleMap } from './shared-needle-map.ts'
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

/** What a reader in another thread needs; see `VolumeView`. */
export interface SharedGeneration {
  readonly path: string
  readonly superBlock: SuperBlock
  readonly map: SharedNeedleMap
  /** One word that differs from `stamp` once this must not be used any more. */
  readonly stampWord: SharedArrayBuffer
  readonly stamp: number
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
  #map: NeedleMap
  readonly #stamp = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  endBytes: number
  readonly #readers = new OpenReaders()
  /** Whole blocks that were read and matched. */
  readonly #soundBlocks = new Set<number>()

  constructor(parts: GenerationParts) {
    this.superBlock = parts.superBlock
    this.dat = parts.dat
    this.log = parts.log
    this.#map = parts.map
    this.checksums = parts.checksums
    this.clock = parts.clock
    this.endBytes = parts.endBytes
  }

  get map(): NeedleMap {
    return this.#map
  }

  /** When the volume is sealed: the packed form holds the same entries. */
  set map(map: NeedleMap) {
    this.#map = map
    this.retire()
  }

  get version(): NeedleVersion {
    return this.superBlock.version
  }

  /** Bytes of `.dat` that belong to no live needle: overwritten, deleted, and tombstones. */
  get garbageBytes(): number {
    return this.endBytes - superBlockBytes(this.superBlock) - this.map.liveBytes
  }

  /** `path` is that of `.dat`. */
  share(path: string): SharedGeneration {
    const { superBlock } = this
    const stamp = Atomics.load(this.#stamp, 0)
    return { path, superBlock, map: this.#map.share(), stampWord: this.#stamp.buffer, stamp }
  }

  /** What was shared so far is not to be used any more: another map or generation takes over. */
  retire(): void {
    Atomics.add(this.#stamp, 0, 1)
  }

  /** As `LargeNeedle.open`. */
  openLarge(request: NeedleRequest, location: NeedleLocation): Promise<LargeNeedle> {
    return LargeNeedle.open(this, request, location)
  }

  /**
   * One block of `.dat`, as its checksum says it was written. Only while the files are retained.
   *
   * @throws {StoreError} NEEDLE_CORRUPT: it is not. DISK_FAILED.
   */
  async readBlock(index: number): Promise<{ readonly startBytes: number; readonly bytes: Buffer }> {
    const { startBytes, endBytes, crc } = this.checksums.block(index)
    const bytes = await readFully(this.dat, endBytes - startBytes, startBytes)
    if (bytes.length < endBytes - startBytes || crc32c(bytes) !== crc) {
      throw new StoreError('NEEDLE_CORRUPT', `block ${index} of .dat does not match its checksum`)
    }
    return { startBytes, bytes }
  }

  /**
   * Checks the blocks that some bytes lie in, each once: what has matched is believed from then on.
   *
   * @throws {StoreError} NEEDLE_CORRUPT, DISK_FAILED.
   */
  async checkBlocks(startBytes: number, endBytes: number): Promise<void> {
    const { blockBytes } = this.checksums
    const last = Math.floor((endBytes - 1) / blockBytes)
    for (let index = Math.floor(startBytes / blockBytes); index <= last; index++) {
      if (this.#soundBlocks.has(index)) continue
      const { bytes } = await this.readBlock(index)
      // The last one still grows.
      if (bytes.length === blockBytes) this.#soundBlocks.add(index)
    }
  }

  /** Keeps the files open while an asynchronous read uses them. */
  retain(): Disposable {
    return this.#readers.retain()
  }

  /** Waits for the reads under way, then closes both files. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.#readers.close()
    this.retire()
    if (!(await closing)) return
    await this.dat.close()
    await this.log.file.close()
  }
}
