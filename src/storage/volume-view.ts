import type { Needle, NeedleVersion } from '../format/needle.ts'
import type { NeedleRequest } from '../format/needle-checks.ts'
import type { SuperBlock } from '../format/super-block.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk, DiskFile } from '../runtime/disk.ts'
import { silentLogger } from '../runtime/logger.ts'
import type { SharedGeneration } from './generation.ts'
import type { NeedleLocation } from './needle-map.ts'
import type { LargeNeedle } from './needle-reader.ts'
import { OpenReaders } from './open-readers.ts'
import type { ReadBuffer } from './read-buffer.ts'
import { type NeedleMapView, viewNeedleMap } from './shared-needle-map.ts'
import { type ReadRequest, type ReadSource, VolumeReader } from './volume-reader.ts'
import { WarmExtents } from './warm-extents.ts'

/** The view does not know: its owner does. Thrown often enough to be made once. */
const ASK_OWNER = new Error('the owner of the volume must be asked')

/**
 * Reads the needles of a volume that another thread owns and writes, from the shared index and with
 * a file of its own. It never shows a needle whose deletion was acknowledged: the index is the
 * owner's, and its stamp tells when another generation has taken over.
 *
 * Whatever this view cannot be sure of it leaves to the owner: `askOwner` as the answer.
 */
export class VolumeView implements AsyncDisposable {
  readonly #reader: VolumeReader
  readonly #source: ViewSource
  readonly #stampWord: Int32Array
  readonly #stamp: number

  private constructor(clock: Clock, shared: SharedGeneration, dat: DiskFile) {
    this.#reader = new VolumeReader({ clock, logger: silentLogger }, shared.path)
    this.#source = new ViewSource(shared.superBlock, viewNeedleMap(shared.map), dat)
    this.#stampWord = new Int32Array(shared.stampWord)
    this.#stamp = shared.stamp
  }

  /** @throws {StoreError} PATH_NOT_FOUND: the volume was removed meanwhile. DISK_FAILED. */
  static async open(
    parts: { readonly disk: Disk; readonly clock: Clock },
    shared: SharedGeneration,
  ): Promise<VolumeView> {
    return new VolumeView(parts.clock, shared, await parts.disk.open(shared.path, 'read'))
  }

  /** Its owner must share the volume again. */
  get isStale(): boolean {
    return Atomics.load(this.#stampWord, 0) !== this.#stamp || this.#source.isStale
  }

  /**
   * As `Volume.readWarm`; undefined also when the owner must be asked.
   *
   * @throws {StoreError} NEEDLE_NOT_FOUND, COOKIE_MISMATCH; NEEDLE_CORRUPT: perhaps because it was
   * overwritten in this moment, so the owner must be asked.
   */
  readWarm(request: ReadRequest, into: ReadBuffer): Needle | undefined {
    if (Atomics.load(this.#stampWord, 0) !== this.#stamp) return undefined
    try {
      return this.#reader.readWarm(this.#source, request, into)
    } catch (error) {
      if (error === ASK_OWNER) return undefined
      throw error
    }
  }

  /** As `Volume.read`, but undefined when the owner must be asked: for large needles, too. */
  async read(request: ReadRequest): Promise<Needle | undefined> {
    if (Atomics.load(this.#stampWord, 0) !== this.#stamp) return undefined
    try {
      // The view opens no large needle, so what comes back is none.
      return (await this.#reader.read(this.#source, request)) as Needle
    } catch (error) {
      if (error === ASK_OWNER) return undefined
      throw error
    }
  }

  /** Waits for the reads under way. Twice is harmless. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#source[Symbol.asyncDispose]()
  }
}

/** What `VolumeReader` reads from. */
class ViewSource implements ReadSource, AsyncDisposable {
  readonly superBlock: SuperBlock
  readonly dat: DiskFile
  readonly warm = new WarmExtents()
  readonly map: { lookup(id: ReadRequest['id'], into: NeedleLocation): boolean }
  isStale = false
  readonly #readers = new OpenReaders()

  constructor(superBlock: SuperBlock, view: NeedleMapView, dat: DiskFile) {
    this.superBlock = superBlock
    this.dat = dat
    this.map = {
      lookup: (id, into) => {
        const isFound = view.lookup(id, into)
        if (isFound !== undefined) return isFound
        this.isStale = true
        throw ASK_OWNER
      },
    }
  }

  get version(): NeedleVersion {
    return this.superBlock.version
  }

  async openLarge(_request: NeedleRequest, _location: NeedleLocation): Promise<LargeNeedle> {
    throw ASK_OWNER
  }

  /** The checksums are the owner's. */
  async checkBlocks(): Promise<void> {
    throw ASK_OWNER
  }

  retain(): Disposable {
    return this.#readers.retain()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (await this.#readers.close()) await this.dat.close()
  }
}
