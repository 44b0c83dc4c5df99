import type { VolumeId } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { VolumeName } from '../format/file-names.ts'
import type { SuperBlock } from '../format/super-block.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import {
  type AdoptOptions,
  DiskLocation,
  type DiskLocationOptions,
  type DiskLocationParts,
  type FillDraft,
  type Quarantined,
  type StoredVolume,
} from './disk-location.ts'
import type { ShardRunName } from './shard-paths.ts'
import type { ShardSet } from './shard-set.ts'
import type { ShardSetFiles } from './shard-set-files.ts'
import type { FillShardSet } from './shard-shelf.ts'
import type { VolumeExtent } from './volume-options.ts'

/** The volumes of one server, over all its directories. A volume id is in one of them only. */
export class Store implements AsyncDisposable {
  readonly locations: readonly DiskLocation[]
  readonly #owned: DisposeStack
  /** Volumes being made, and in which directory. */
  readonly #underWay = new Map<VolumeId, string>()
  #clusterId = ''

  private constructor(locations: readonly DiskLocation[], owned: DisposeStack) {
    this.locations = locations
    this.#owned = owned
  }

  /**
   * Opens every directory. A volume id that two directories hold serves from the first, or from the
   * second if only that copy is good; the other is set aside.
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

  /** The cluster that has claimed this store; empty: none has, since it was opened. */
  get clusterId(): string {
    return this.#clusterId
  }

  /** Whether the directory belongs to another cluster than the one that has claimed this store. */
  isForeign(location: DiskLocation): boolean {
    return this.#clusterId !== '' && location.isForeign(this.#clusterId)
  }

  /**
   * Directories without a cluster belong to this one from now on, durably. Those of other clusters
   * stay theirs: their volumes are served to whoever asks, and nothing new is put there. Cheap when
   * nothing is left to do.
   *
   * @throws {StoreError} DISK_FULL, DISK_FAILED: some are not claimed; call it again.
   */
  async claim(clusterId: string): Promise<void> {
    this.#clusterId = clusterId
    const claiming = this.locations.map((location) => location.claim(clusterId))
    for (const claimed of await Promise.allSettled(claiming)) {
      if (claimed.status === 'rejected') throw claimed.reason
    }
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
    const { volumeId } = name
    this.#checkAbsent(volumeId)
    const roomiest = this.#byRoom()[0]
    if (roomiest === undefined) throw noDirectory()
    return await this.#make(volumeId, roomiest, () => roomiest.createVolume(name, superBlock))
  }

  /**
   * Takes in a volume of about `sizeBytes` that `fill` writes, on the disk with the most room; in
   * place of a bad copy if there may be one and its disk has room for both.
   *
   * @throws {StoreError} as `DiskLocation.adoptVolume`; DISK_FULL: no disk has room for it.
   */
  async adoptVolume(
    name: VolumeName & { readonly sizeBytes: number },
    fill: FillDraft,
    options: AdoptOptions = {},
  ): Promise<StoredVolume> {
    const { collection, volumeId, sizeBytes } = name
    const home = options.replacesBad ? this.#homeOfBadCopy({ collection, volumeId }) : undefined
    if (home === undefined) this.#checkAbsent(volumeId)
    const first = this.#byRoom().find((location) => location === home) ?? this.#byRoom()[0]
    if (first === undefined) throw noDirectory()
    return await this.#make(volumeId, first, async () => {
      const target = await this.#findRoom(
        home === undefined ? [first] : this.#byRoom(home),
        sizeBytes,
      )
      const adopted = await target.adoptVolume({ collection, volumeId }, fill, options)
      if (home !== undefined && home !== target) {
        await removeOther(home, target, { collection, volumeId })
      }
      return adopted
    })
  }

  /**
   * As `DiskLocation.removeVolume`.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND, DISK_FAILED, VOLUME_CHANGED, VOLUME_BUSY.
   */
  async removeVolume(volumeId: VolumeId, expected?: VolumeExtent): Promise<void> {
    await this.#locationOf(volumeId).removeVolume(volumeId, expected)
  }

  /** Of all runs of a volume, in all directories; empty: none. */
  shardSets(volumeId: VolumeId): readonly ShardSet[] {
    const [only] = this.locations
    if (only !== undefined && this.locations.length === 1) return only.shelf.of(volumeId)
    return this.locations.flatMap((location) => location.shelf.of(volumeId))
  }

  /** Those of one run: one in each directory at most. */
  shardSet(volumeId: VolumeId, runId: string): readonly ShardSet[] {
    return this.shardSets(volumeId).filter(({ run }) => run.runId === runId)
  }

  *allShardSets(): Generator<{ readonly set: ShardSet; readonly location: DiskLocation }> {
    for (const location of this.locations) {
      for (const set of location.shardSets) yield { set, location }
    }
  }

  /**
   * Makes a set without shards on the disk with the most room of those that have none of the run:
   * with `spreadOver` also if the run is here already.
   *
   * @throws {StoreError} VOLUME_EXISTS: the run is here already, or on all disks. DISK_FULL: there
   * is no room for `sizeBytes`. As `ShardShelf.create`.
   */
  async createShardSet(
    files: ShardSetFiles,
    sizeBytes: number,
    where: { readonly spreadOver?: boolean } = {},
  ): Promise<ShardSet> {
    const target = await this.#findShelf(files.run, sizeBytes, where)
    return await target.shelf.create(files)
  }

  /**
   * Makes a set of about `sizeBytes` with the shards that `fill` writes.
   *
   * @throws {StoreError} as `createShardSet` and `ShardShelf.fill`.
   */
  async fillShardSet(name: ShardRunName, sizeBytes: number, fill: FillShardSet): Promise<ShardSet> {
    const target = await this.#findShelf(name, sizeBytes, {})
    return await target.shelf.fill(name, fill)
  }

  /** The set and its files; they stay gone. @throws {StoreError} VOLUME_BUSY, DISK_FAILED. */
  async removeShardSet(set: ShardSet): Promise<void> {
    for (const { shelf } of this.locations) if (shelf.find(set.run) === set) await shelf.remove(set)
  }

  /** Where the copy lies that is served although it is bad, or else one that was set aside. */
  #homeOfBadCopy(name: VolumeName): DiskLocation | undefined {
    const ours = this.locations.filter((location) => !this.isForeign(location))
    const serving = this.locations.find((location) => location.volumes.has(name.volumeId))
    const candidates =
      serving === undefined ? ours : ours.filter((location) => location === serving)
    return candidates.find((location) => location.hasBadCopy(name))
  }

  #checkAbsent(volumeId: VolumeId): void {
    if (this.find(volumeId) === undefined) return
    throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is there already`)
  }

  async #make(
    volumeId: VolumeId,
    location: DiskLocation,
    make: () => Promise<StoredVolume>,
  ): Promise<StoredVolume> {
    // Another directory may be chosen for the second of two callers.
    const twin = this.#underWay.get(volumeId)
    if (twin !== undefined) {
      throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is being made in ${twin}`)
    }
    this.#underWay.set(volumeId, location.directory)
    try {
      return await make()
    } finally {
      this.#underWay.delete(volumeId)
    }
  }

  /** The directories of this cluster, the one with the most room first, or `first` before all. */
  #byRoom(first?: DiskLocation): DiskLocation[] {
    const room = (location: DiskLocation): number => {
      const { freeBytes, reserveBytes } = location.space
      return location === first ? Number.POSITIVE_INFINITY : freeBytes - reserveBytes
    }
    const ours = this.locations.filter((location) => !this.isForeign(location))
    return ours.sort((a, b) => room(b) - room(a))
  }

  async #findShelf(
    { volumeId, runId }: ShardRunName,
    sizeBytes: number,
    { spreadOver = false }: { readonly spreadOver?: boolean },
  ): Promise<DiskLocation> {
    const free = this.#byRoom().filter(({ shelf }) => shelf.find({ volumeId, runId }) === undefined)
    const isHere = this.shardSet(volumeId, runId).length > 0
    if (isHere && (!spreadOver || free.length === 0)) {
      throw new StoreError('VOLUME_EXISTS', `run ${runId} of volume ${volumeId} is here already`)
    }
    return await this.#findRoom(free, sizeBytes)
  }

  /** @throws {StoreError} DISK_FULL: as the first of them says. */
  async #findRoom(locations: readonly DiskLocation[], sizeBytes: number): Promise<DiskLocation> {
    let refusal: StoreError | undefined
    for (const location of locations) {
      await location.space.refresh()
      const found = location.space.refusePut(sizeBytes)
      if (found === undefined) return location
      refusal ??= found
    }
    throw refusal ?? noDirectory()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }

  #locationOf(volumeId: VolumeId): DiskLocation {
    for (const location of this.locations) if (location.volumes.has(volumeId)) return location
    throw new StoreError('VOLUME_NOT_FOUND', `there is no volume ${volumeId}`)
  }
}

function noDirectory(): StoreError {
  return new StoreError('DISK_FULL', 'there is no directory of this cluster')
}

/** The new copy lies on another disk: the bad one goes, unless it has turned out to be good. */
async function removeOther(
  home: DiskLocation,
  target: DiskLocation,
  name: VolumeName,
): Promise<void> {
  try {
    await home.removeBadCopy(name)
  } catch (error) {
    if (isStoreError(error, 'VOLUME_CHANGED', 'VOLUME_BUSY')) {
      await target.removeVolume(name.volumeId)
    }
    throw error
  }
}

async function setTwinsAside(
  location: DiskLocation,
  others: readonly DiskLocation[],
): Promise<void> {
  for (const [volumeId, { volume }] of [...location.volumes]) {
    const other = others.find((candidate) => candidate.volumes.has(volumeId))
    if (other === undefined) continue
    // A bad copy that was about to be removed when its successor was complete.
    const isOtherBad = other.get(volumeId).volume.isBad && !volume.isBad
    const [kept, left] = isOtherBad ? [location, other] : [other, location]
    const why = `volume ${volumeId} is in ${kept.directory} too`
    await left.quarantineVolume(volumeId, new StoreError('VOLUME_EXISTS', why))
  }
}
