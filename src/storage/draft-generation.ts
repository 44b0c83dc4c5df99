import { formatReplicaPlacement, type ReplicaPlacement } from '../base/replica-placement.ts'
import { MIB } from '../base/units.ts'
import type { SuperBlock } from '../format/super-block.ts'
import { emptyVolumeInfo, encodeVolumeInfo } from '../format/volume-info.ts'
import { writeFully } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { AppendClock } from './append-clock.ts'
import { BlockChecksums } from './block-checksums.ts'
import { encodeSidecarOf } from './checkpointer.ts'
import type { VolumeDraft } from './disk-location.ts'
import { Generation } from './generation.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import { IndexLog } from './index-log.ts'

/** One sync of all at the end would keep the disk from everybody else for minutes. */
const SYNC_BYTES = 64 * MIB

/** The files of a volume that is being written into a draft. */
export class DraftGeneration implements AsyncDisposable {
  readonly generation: Generation
  readonly #draft: VolumeDraft
  #toldBytes = 0
  #syncedBytes = 0

  private constructor(draft: VolumeDraft, generation: Generation) {
    this.#draft = draft
    this.generation = generation
  }

  /** Both files are empty. @throws {StoreError} TARGET_EXISTS, DISK_FULL, DISK_FAILED. */
  static async open(
    draft: VolumeDraft,
    superBlock: SuperBlock,
    options: { readonly expectedCount: number; readonly lastAppendAtNs: bigint },
  ): Promise<DraftGeneration> {
    const { disk, paths } = draft
    const { expectedCount, lastAppendAtNs } = options
    const { version } = superBlock
    await using opening = new DisposeStack()
    const dat = opening.use(await disk.open(paths.dat, 'create-new'))
    const idx = opening.use(await disk.open(paths.idx, 'create-new'))
    const generation = new Generation({
      superBlock,
      dat,
      log: new IndexLog(idx, { lengthBytes: 0, crc: 0 }),
      map: new HashNeedleMap({ version, expectedCount }),
      checksums: new BlockChecksums(),
      clock: new AppendClock(lastAppendAtNs),
      endBytes: 0,
    })
    opening.move()
    return new DraftGeneration(draft, generation)
  }

  /** Behind all that is there. */
  async append(bytes: Buffer): Promise<void> {
    const { generation } = this
    await writeFully(generation.dat, [bytes], generation.endBytes)
    generation.checksums.extend(bytes)
    generation.endBytes += bytes.length
  }

  /**
   * To be called from time to time while it grows.
   *
   * @throws {StoreError} DISK_FULL: it would take what is kept for deletes. DISK_FAILED.
   */
  async settle(): Promise<void> {
    const { space } = this.#draft
    const { dat, endBytes } = this.generation
    space.onAppended(endBytes - this.#toldBytes)
    this.#toldBytes = endBytes
    const refusal = space.refusePut(0)
    if (refusal !== undefined) throw refusal
    if (endBytes - this.#syncedBytes < SYNC_BYTES) return
    this.#syncedBytes = endBytes
    await dat.datasync()
  }

  /** Writes what belongs to it beside `.dat`: it is a sealed volume then. All bytes are durable. */
  async finish(replication: ReplicaPlacement): Promise<void> {
    const { paths } = this.#draft
    const { dat, log, version } = this.generation
    await log.flush()
    await log.file.datasync()
    await dat.datasync()
    const info = {
      ...emptyVolumeInfo(),
      version,
      replication: formatReplicaPlacement(replication),
      readOnly: true,
    }
    await this.#write(paths.vif, Buffer.from(encodeVolumeInfo(info)))
    const flags = { isClean: true, isSealed: true }
    await this.#write(paths.sum, encodeSidecarOf(this.generation, flags))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.generation[Symbol.asyncDispose]()
  }

  async #write(path: string, bytes: Buffer): Promise<void> {
    await using file = await this.#draft.disk.open(path, 'create-new')
    await writeFully(file, [bytes], 0)
    await file.datasync()
  }
}
