import type { VolumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import type { VolumeName } from '../format/file-names.ts'
import type { SuperBlock } from '../format/super-block.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import {
  DiskLocation,
  type DiskLocationOptions,
  type DiskLocationParts,
  type Quarantined,
  type StoredVolume,
  type VolumeDraft,
} from './disk-location.ts'

/** The volumes of one server, over all its directories. A volume id is in one of them only. */
export class Store implements AsyncDisposable {
  readonly locations: readonly DiskLocation[]
  readonly #owned: DisposeStack
  /** Volumes being made, and in which directory. */
  readonly #underWay = new Map<VolumeId, string>()

  private constructor(locations: readonly DiskLocation[], owned: DisposeStack) {
    this.locations = locations
    this.#owned = owned
  }

  /**
   * Opens every directory. A volume id that two directories hold serves from the first; the other
   * is set aside.
   *
   * @throws {StoreError} as `DiskLocation.open`; CONFIG_INVALID: two paths lead to one directory.
   */
  static async open(
    parts: DiskLocationParts,
    directories: readonly string[],
    options: DiskLocationOptions,
    signal: AbortSignal,
  ): Promise<Store> {
    await using opening = new DisposeStack()
    const locations: DiskLocation[] = []
    for (const directory of directories) {
      const location = opening.use(await DiskLocation.open(parts, directory, options, signal))
      const twin = locations.find((other) => other.directoryId === location.directoryId)
      if (twin !== undefined) {
        const why = `${directory} and ${twin.directory} are the same directory, or one is a copy`
        throw new StoreError('CONFIG_INVALID', why)
      }
      await setTwinsAside(location, locations)
      locations.push(location)
    }
    return new Store(locations, opening.move())
  }

  /** What was found and not taken into service. */
  get quarantine(): readonly Quarantined[] {
    return this.locations.flatMap((location) => location.quarantine)
  }

  *volumes(): Generator<StoredVolume> {
    for (const location of this.locations) yield* location.volumes.values()
  }

  find(volumeId: VolumeId): StoredVolume | undefined {
    for (const location of this.locations) {
      const stored = location.volumes.get(volumeId)
      if (stored !== undefined) return stored
    }
    return undefined
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND. */
  get(volumeId: VolumeId): StoredVolume {
    return this.#locationOf(volumeId).get(volumeId)
  }

  /**
   * Makes a volume on the disk with the most room.
   *
   * @throws {StoreError} VOLUME_EXISTS; DISK_FULL: no disk has room beyond its reserve.
   */
  async createVolume(
    name: { readonly collection: string; readonly volumeId: VolumeId },
    superBlock: SuperBlock,
  ): Promise<StoredVolume> {
    return await this.#make(name.volumeId, (location) => location.createVolume(name, superBlock))
  }

  /**
   * Takes in a volume of about `sizeBytes` that `fill` writes, on the disk with the most room.
   *
   * @throws {StoreError} as `DiskLocation.adoptVolume`; DISK_FULL: no disk has room for it.
   */
  async adoptVolume(
    name: VolumeName & { readonly sizeBytes: number },
    fill: (draft: VolumeDraft) => Promise<void>,
  ): Promise<StoredVolume> {
    const { collection, volumeId, sizeBytes } = name
    return await this.#make(volumeId, async (location) => {
      await location.space.refresh()
      const refusal = location.space.refusePut(sizeBytes)
      if (refusal !== undefined) throw refusal
      return await location.adoptVolume({ collection, volumeId }, fill)
    })
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND, DISK_FAILED. */
  async removeVolume(volumeId: VolumeId): Promise<void> {
    await this.#locationOf(volumeId).removeVolume(volumeId)
  }

  async #make(
    volumeId: VolumeId,
    make: (location: DiskLocation) => Promise<StoredVolume>,
  ): Promise<StoredVolume> {
    if (this.find(volumeId) !== undefined) {
      throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is there already`)
    }
    // Another directory may be chosen for the second of two callers.
    const twin = this.#underWay.get(volumeId)
    if (twin !== undefined) {
      throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is being made in ${twin}`)
    }
    const room = ({ space }: DiskLocation): number => space.freeBytes - space.reserveBytes
    const roomiest = [...this.locations].sort((a, b) => room(b) - room(a))[0]
    if (roomiest === undefined) throw new StoreError('DISK_FULL', 'there is no directory')
    this.#underWay.set(volumeId, roomiest.directory)
    try {
      return await make(roomiest)
    } finally {
      this.#underWay.delete(volumeId)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }

  #locationOf(volumeId: VolumeId): DiskLocation {
    for (const location of this.locations) if (location.volumes.has(volumeId)) return location
    throw new StoreError('VOLUME_NOT_FOUND', `there is no volume ${volumeId}`)
  }
}

async function setTwinsAside(
  location: DiskLocation,
  others: readonly DiskLocation[],
): Promise<void> {
  for (const volumeId of [...location.volumes.keys()]) {
    const other = others.find((candidate) => candidate.volumes.has(volumeId))
    if (other === undefined) continue
    const why = `volume ${volumeId} is in ${other.directory} too`
    await location.quarantineVolume(volumeId, new StoreError('VOLUME_EXISTS', why))
  }
}
