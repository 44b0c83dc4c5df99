import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import {
  formatReplicaPlacement,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../base/replica-placement.ts'
import { isStoreError } from '../base/store-error.ts'
import { encodeVolumeInfo, type VolumeInfo } from '../format/volume-info.ts'
import { type Disk, readFile, replaceFile } from '../runtime/disk.ts'
import type { VolumePaths } from './volume-paths.ts'

/** What `.vif` held when it was read, or was last written. */
export interface LoadedVolumeInfo {
  readonly info: VolumeInfo
  /** CRC-32C of the whole file; undefined: there is none. */
  readonly crc: number | undefined
}

/**
 * The `.vif` file of an open volume. Every change is durable when its method returns. One change at
 * a time: the caller keeps others away meanwhile.
 */
export class VolumeInfoFile {
  readonly #disk: Disk
  readonly #paths: VolumePaths
  #loaded: LoadedVolumeInfo

  constructor(
    parts: { readonly disk: Disk; readonly paths: VolumePaths },
    loaded: LoadedVolumeInfo,
  ) {
    this.#disk = parts.disk
    this.#paths = parts.paths
    this.#loaded = loaded
  }

  get info(): VolumeInfo {
    return this.#loaded.info
  }

  /** Goes before that of the super block, which is never rewritten; undefined: it says none. */
  get placement(): ReplicaPlacement | undefined {
    const { replication } = this.info
    return replication === '' ? undefined : parseReplicaPlacement(replication)
  }

  /** @throws {StoreError} DISK_FULL, DISK_FAILED. */
  async seal(): Promise<void> {
    if (!this.info.readOnly) await this.#write({ ...this.info, version: 3, readOnly: true })
  }

  /** @throws {StoreError} DISK_FULL, DISK_FAILED. */
  async setReplication(placement: ReplicaPlacement, version: number): Promise<void> {
    const replication = formatReplicaPlacement(placement)
    if (this.info.replication === replication) return
    await this.#write({ ...this.info, version, replication })
  }

  /** Why the file on disk is not what was read or written last; undefined: it is. */
  async findDamage(): Promise<string | undefined> {
    const crc = await this.#readCrc()
    if (crc === this.#loaded.crc) return undefined
    return crc === undefined ? '.vif is gone' : '.vif was altered'
  }

  /** Writes it anew where it is damaged. @throws {StoreError} DISK_FULL, DISK_FAILED. */
  async renew(): Promise<void> {
    if ((await this.findDamage()) !== undefined) await this.#write(this.info)
  }

  async #write(info: VolumeInfo): Promise<void> {
    const bytes = Buffer.from(encodeVolumeInfo(info))
    await replaceFile(this.#disk, this.#paths.vif, bytes)
    this.#loaded = { info, crc: crc32c(bytes) }
  }

  async #readCrc(): Promise<number | undefined> {
    const { sizeBytes = 0 } = (await this.#disk.stat(this.#paths.vif)) ?? {}
    // Longer than any: its checksum is none that was ever written.
    if (sizeBytes > LIMITS.volumeInfoMax.value) return Number.NaN
    try {
      return crc32c(await readFile(this.#disk, this.#paths.vif, LIMITS.volumeInfoMax.value))
    } catch (error) {
      if (isStoreError(error, 'PATH_NOT_FOUND')) return undefined
      throw error
    }
  }
}
