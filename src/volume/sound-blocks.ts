import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { MIB } from '../base/units.ts'
import { decodeChecksumSidecar } from '../format/checksum-sidecar.ts'
import type { VolumeSnapshot } from '../storage/volume-snapshot.ts'

/** Needles that lie all over a volume are not worth reading a block for each. */
const FREE_BYTES = 64 * MIB

/**
 * Whether bytes of `.dat` are what was once written there, by the checksums of its blocks. That
 * covers headers and attributes, which the checksum of a needle does not. Reads no more than is in
 * proportion to the needles it is for.
 */
export class SoundBlocks {
  readonly #snapshot: VolumeSnapshot
  readonly #blockBytes: number
  /** Undefined: the volume has no index on disk just now, and so no checksums to go by. */
  readonly #crcs: Uint32Array | undefined
  readonly #known = new Map<number, boolean>()
  #bytesLeft = FREE_BYTES

  constructor(snapshot: VolumeSnapshot) {
    const sidecar = snapshot.sidecar && decodeChecksumSidecar(snapshot.sidecar)
    this.#snapshot = snapshot
    this.#blockBytes = sidecar?.blockBytes ?? LIMITS.checksumBlock.value
    this.#crcs = sidecar?.blockCrcs
  }

  /** There is a record of this length to be looked at. */
  expect(recordBytes: number): void {
    this.#bytesLeft += 2 * recordBytes
  }

  /** True also where it cannot be told. @throws {StoreError} DISK_FAILED. */
  async isSound(startBytes: number, endBytes: number): Promise<boolean> {
    if (this.#crcs === undefined) return true
    const last = Math.floor((endBytes - 1) / this.#blockBytes)
    for (let index = Math.floor(startBytes / this.#blockBytes); index <= last; index++) {
      if (!(await this.#isBlockSound(index))) return false
    }
    return true
  }

  async #isBlockSound(index: number): Promise<boolean> {
    const known = this.#known.get(index)
    if (known !== undefined) return known
    if (this.#bytesLeft < 0) return true
    this.#bytesLeft -= this.#blockBytes
    const block = await this.#snapshot.readDat(this.#blockBytes, index * this.#blockBytes)
    const isSound = crc32c(block) === this.#crcs?.[index]
    this.#known.set(index, isSound)
    return isSound
  }
}
