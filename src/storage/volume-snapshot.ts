import { StoreError } from '../base/store-error.ts'
import { superBlockBytes } from '../format/super-block.ts'
import { emptyVolumeInfo, encodeVolumeInfo, type VolumeInfo } from '../format/volume-info.ts'
import { onAbort } from '../runtime/abort.ts'
import { readFully } from '../runtime/disk.ts'
import { encodeSidecarOf } from './checkpointer.ts'
import type { Generation } from './generation.ts'
import { RecordScanner } from './record-scanner.ts'

interface SnapshotParts {
  readonly generation: Generation
  readonly held: Disposable
  readonly closing: Disposable
  readonly idxBytes: number | undefined
  readonly sidecar: Buffer | undefined
  readonly info: Buffer | undefined
}

/**
 * The files of a volume as they were at one moment, between two batches: every record acknowledged
 * by then and none after it, the index rows of exactly these records, and the `.sum` of both.
 * Writes go on behind its end. A vacuum meanwhile puts new files in place of these, which stay open
 * here. Closing the volume ends it: what reads then gets CLOSED.
 */
export class VolumeSnapshot implements Disposable {
  readonly datBytes: number
  readonly compactionRevision: number
  readonly version: 1 | 2 | 3
  /** Undefined when the index on disk does not belong to exactly these records. */
  readonly idxBytes: number | undefined
  /** What `.sum` would say; undefined without an index. */
  readonly sidecar: Buffer | undefined
  /** What `.vif` would say; undefined when it says nothing. */
  readonly info: Buffer | undefined
  readonly #generation: Generation
  readonly #held: Disposable
  readonly #closing: Disposable

  private constructor(parts: SnapshotParts) {
    this.#generation = parts.generation
    this.#held = parts.held
    this.#closing = parts.closing
    this.datBytes = parts.generation.endBytes
    this.version = parts.generation.version
    this.compactionRevision = parts.generation.superBlock.compactionRevision
    this.idxBytes = parts.idxBytes
    this.sidecar = parts.sidecar
    this.info = parts.info
  }

  /** Only while nothing is written. `closing` aborts when the volume is to be closed. */
  static async take(
    generation: Generation,
    info: VolumeInfo,
    isSealed: boolean,
    closing: AbortSignal,
  ): Promise<VolumeSnapshot> {
    const held = generation.retain()
    const isIndexed = await generation.log.tryFlush()
    return new VolumeSnapshot({
      generation,
      held,
      closing: onAbort(closing, () => held[Symbol.dispose]()),
      idxBytes: isIndexed ? generation.log.lengthBytes : undefined,
      sidecar: isIndexed ? encodeSidecarOf(generation, { isClean: false, isSealed }) : undefined,
      info: encodeInfo({ ...info, readOnly: isSealed }),
    })
  }

  /** As `DiskFile.read`, of `.dat` as far as the snapshot goes. */
  read(target: Buffer, targetAt: number, length: number, position: number): Promise<number> {
    const wanted = Math.min(length, this.datBytes - position)
    return this.#generation.dat.read(target, targetAt, wanted, position)
  }

  /** At most `length` bytes of `.dat` at `position`; fewer at the end of the snapshot. */
  readDat(length: number, position: number): Promise<Buffer> {
    const wanted = Math.min(length, this.datBytes - position)
    return readFully(this.#generation.dat, wanted, position)
  }

  /** As `readDat`, of `.idx`. */
  readIdx(length: number, position: number): Promise<Buffer> {
    const wanted = Math.min(length, (this.idxBytes ?? 0) - position)
    return readFully(this.#generation.log.file, wanted, position)
  }

  /**
   * Walks the records in the order they were appended: all, or those from `fromBytes` on, which
   * must be where an earlier snapshot of the same revision ended.
   *
   * @throws {StoreError} VOLUME_CHANGED: this one ends before.
   */
  scan(fromBytes?: number): RecordScanner {
    const firstBytes = superBlockBytes(this.#generation.superBlock)
    if (fromBytes !== undefined && fromBytes > this.datBytes) {
      throw new StoreError(
        'VOLUME_CHANGED',
        `it ends at byte ${this.datBytes}, before ${fromBytes}`,
      )
    }
    return new RecordScanner(this.#generation.dat, {
      version: this.version,
      fromBytes: Math.max(fromBytes ?? firstBytes, firstBytes),
      toBytes: this.datBytes,
    })
  }

  [Symbol.dispose](): void {
    this.#closing[Symbol.dispose]()
    this.#held[Symbol.dispose]()
  }
}

function encodeInfo(info: VolumeInfo): Buffer | undefined {
  const text = encodeVolumeInfo(info)
  return text === encodeVolumeInfo(emptyVolumeInfo()) ? undefined : Buffer.from(text)
}
