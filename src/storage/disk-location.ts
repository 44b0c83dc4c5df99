import { join } from 'node:path'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, StoreError } from '../base/store-error.ts'
import { parseVolumeFileName, type VolumeName } from '../format/file-names.ts'
import type { SuperBlock } from '../format/super-block.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { Random } from '../runtime/random.ts'
import { CLUSTER_ID_FILE, readClusterId, writeClusterId } from './cluster-id-file.ts'
import { makeDirectory, readDirectoryId, sortFiles } from './directory-files.ts'
import { DiskSpaceGuard, type DiskSpaceOptions } from './disk-space.ts'
import type { ShardSet } from './shard-set.ts'
import { ShardShelf } from './shard-shelf.ts'
import { Volume } from './volume.ts'
import { beginDraft, discardDraft, discardOurDraft, finishDraft } from './volume-draft.ts'
import type {
  Durability,
  SpaceGuard,
  VolumeExtent,
  VolumeOptions,
  VolumeParts,
} from './volume-options.ts'
import { type VolumePaths, volumePaths } from './volume-paths.ts'
import { finishRemoval, removeVolumeFiles } from './volume-remove.ts'
import {
  beginReplacement,
  commitReplacement,
  discardReplacement,
  hasVolumeFiles,
  prepareReplacement,
} from './volume-replace.ts'

export const LOCK_FILE = 'hayloft.lock'
export const BALLAST_FILE = 'ballast'

const REMOVED = /^(.+)\.removed$/
const NOTE = /^(.+)\.note$/

export interface DiskLocationParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly logger: Logger
  readonly random: Random
}

export interface DiskLocationOptions {
  readonly durability: Durability
  readonly volumeSizeMaxBytes: number
  readonly space: DiskSpaceOptions
}

export interface StoredVolume {
  readonly volumeId: VolumeId
  readonly collection: string
  readonly volume: Volume
}

/** Writes the files of a volume that is taken in, checks them, and makes their bytes durable. */
export type FillDraft = (draft: VolumeDraft) => Promise<void>

export interface AdoptOptions {
  /**
   * There may be a copy that is failed, damaged or set aside. It stays, and is served as far as it
   * was, until the new one is complete and takes its place.
   */
  readonly replacesBad?: boolean | undefined
}

/** Where the files of a volume that is taken in are to be written. */
export interface VolumeDraft {
  readonly paths: VolumePaths
  readonly disk: Disk
  /** To be told of what is written. */
  readonly space: SpaceGuard
}

/** A file or volume that was not taken into service, left exactly as it was found. */
export interface Quarantined {
  readonly path: string
  readonly code: ErrorCode
  readonly reason: string
}

/**
 * One directory of volumes, held exclusively. What cannot be used in it is set aside with a reason
 * and touched no more; the rest serves.
 */
export class DiskLocation implements AsyncDisposable {
  readonly directory: string
  /** Random, kept in the directory: tells one directory served under two paths. */
  readonly directoryId: string
  readonly space: DiskSpaceGuard
  /** What is here of erasure-coded volumes. */
  readonly shelf: ShardShelf
  readonly #parts: VolumeParts
  readonly #options: DiskLocationOptions
  readonly #volumes = new Map<VolumeId, StoredVolume>()
  /** Ids whose volume is being opened or made: nobody else may do so meanwhile. */
  readonly #underWay = new Set<VolumeId>()
  #clusterId: string
  #claiming: Promise<void> = Promise.resolve()
  readonly #arriving = new Set<Promise<StoredVolume>>()
  #isClosing = false
  #quarantine: Quarantined[] = []
  readonly #owned: DisposeStack

  private constructor(
    parts: DiskLocationParts,
    opened: {
      readonly directory: string
      readonly directoryId: string
      readonly clusterId: string
      readonly space: DiskSpaceGuard
      readonly owned: DisposeStack
    },
    options: DiskLocationOptions,
  ) {
    this.directory = opened.directory
    this.directoryId = opened.directoryId
    this.space = opened.space
    this.#clusterId = opened.clusterId
    this.#owned = opened.owned
    this.#parts = { ...parts, space: opened.space }
    this.#options = options
    const shelfParts = {
      ...this.#parts,
      setAside: (path: string, error: StoreError) => this.#setAside(path, error),
      takeBack: (path: string) => this.#takeBack(path),
    }
    this.shelf = new ShardShelf(shelfParts, opened.directory)
  }

  /**
   * Takes a directory (made if missing) and opens every volume in it.
   *
   * @throws {StoreError} DIRECTORY_LOCKED: in use, here or by another process. DIRECTORY_UNUSABLE:
   * not a directory, or not writable. DISK_FAILED, CANCELLED. A bad volume is no error.
   */
  static async open(
    parts: DiskLocationParts,
    directory: string,
    options: DiskLocationOptions,
    signal: AbortSignal,
  ): Promise<DiskLocation> {
    const { disk } = parts
    await using opening = new DisposeStack()
    await makeDirectory(disk, directory)
    opening.use(await disk.lock(join(directory, LOCK_FILE)))
    const directoryId = await readDirectoryId(parts, directory)
    const ballast = join(directory, BALLAST_FILE)
    const space = await DiskSpaceGuard.open(parts, { directory, ballast }, options.space)
    const { clusterId, problem } = await readClusterId(disk, directory)
    const opened = { directory, directoryId, clusterId, space, owned: opening.move() }
    const location = new DiskLocation(parts, opened, options)
    if (problem !== undefined) location.#setAside(join(directory, CLUSTER_ID_FILE), problem)
    await using openingVolumes = new DisposeStack()
    openingVolumes.use(location)
    await location.#openVolumes(signal)
    openingVolumes.move()
    return location
  }

  get volumes(): ReadonlyMap<VolumeId, StoredVolume> {
    return this.#volumes
  }

  get shardSets(): Iterable<ShardSet> {
    return this.shelf.sets()
  }

  /** The cluster whose volumes these are; empty: none has claimed the directory yet. */
  get clusterId(): string {
    return this.#clusterId
  }

  /** Whether the volumes here are those of another cluster, or of one that cannot be told. */
  isForeign(clusterId: string): boolean {
    return this.#clusterId !== '' && this.#clusterId !== clusterId
  }

  /**
   * Makes this a directory of that cluster, unless it has one. Survives a power cut when this
   * returns.
   *
   * @throws {StoreError} DISK_FULL, DISK_FAILED.
   */
  claim(clusterId: string): Promise<void> {
    const run = async (): Promise<void> => {
      if (this.#clusterId !== '') return
      await writeClusterId(this.#parts.disk, this.directory, clusterId)
      this.#clusterId = clusterId
    }
    this.#claiming = this.#claiming.then(run, run)
    return this.#claiming
  }

  get quarantine(): readonly Quarantined[] {
    return this.#quarantine
  }

  /** @throws {StoreError} VOLUME_EXISTS, DISK_FULL, DISK_FAILED, CLOSED. */
  async createVolume(
    name: { readonly collection: string; readonly volumeId: VolumeId },
    superBlock: SuperBlock,
  ): Promise<StoredVolume> {
    const { volumeId } = name
    if (this.#isTaken(volumeId)) {
      throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is in ${this.directory}`)
    }
    const refusal = this.space.refusePut(0)
    if (refusal !== undefined) throw refusal
    const paths = volumePaths(this.directory, name)
    const options = { ...this.#volumeOptions, superBlock }
    return this.#bringIn(volumeId, async () => {
      await this.#finishRemoval(paths)
      const volume = await Volume.create(this.#parts, paths, options)
      const stored = { ...name, volume }
      this.#volumes.set(volumeId, stored)
      return stored
    })
  }

  /**
   * Takes in a volume that `fill` writes, copies of its files as another server has them. Until it
   * returns, and if it fails, nothing of it is served, also not by the next start. When it replaces
   * a bad copy a power cut leaves that one or the new one, whole.
   *
   * @throws {StoreError} VOLUME_EXISTS, DISK_FULL, DISK_FAILED; VOLUME_CHANGED, VOLUME_BUSY: the
   * bad copy is good again, or about to be; whatever `fill` throws.
   */
  async adoptVolume(
    name: VolumeName,
    fill: FillDraft,
    options: AdoptOptions = {},
  ): Promise<StoredVolume> {
    const { volumeId } = name
    const { replacesBad = false } = options
    const old = this.#volumes.get(volumeId)
    const isReplaced = replacesBad && old !== undefined && isBadCopy(old, name)
    if (this.#underWay.has(volumeId) || (old !== undefined && !isReplaced)) {
      throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is in ${this.directory}`)
    }
    const paths = volumePaths(this.directory, name)
    return this.#bringIn(volumeId, async () => {
      await this.#finishRemoval(paths)
      const { disk } = this.#parts
      if (replacesBad && (await hasVolumeFiles(disk, paths))) await this.#replace(name, fill)
      else await this.#fillDraft(paths, fill)
      const volume = await this.#openOrSetAside(paths)
      const stored = { ...name, volume }
      this.#volumes.set(volumeId, stored)
      this.#takeBack(paths.dat)
      return stored
    })
  }

  /**
   * Removes a volume and its files. When this returns they stay gone, also after a power cut. With
   * `expected` only if nothing was written since it went that far; no write is acknowledged after
   * that was compared.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND, DISK_FAILED; VOLUME_CHANGED, VOLUME_BUSY: it stays.
   */
  async removeVolume(volumeId: VolumeId, expected?: VolumeExtent): Promise<void> {
    const { volume } = this.get(volumeId)
    if (this.#underWay.has(volumeId)) {
      throw new StoreError('VOLUME_BUSY', `a copy of volume ${volumeId} is about to replace it`)
    }
    if (expected !== undefined) {
      await volume.closeUnless(() => whyChanged(volume, expected))
    }
    this.#volumes.delete(volumeId)
    await volume[Symbol.asyncDispose]()
    await removeVolumeFiles(this.#parts.disk, volume.paths)
  }

  /**
   * Removes a copy that is failed, damaged or set aside, once there is another one.
   *
   * @throws {StoreError} VOLUME_CHANGED, VOLUME_BUSY: it is good, or about to be. DISK_FAILED.
   */
  async removeBadCopy(name: VolumeName): Promise<void> {
    const { disk } = this.#parts
    const paths = volumePaths(this.directory, name)
    await this.#closeBadCopy(name)
    if ((await disk.stat(paths.dat)) !== undefined) await removeVolumeFiles(disk, paths)
    this.#takeBack(paths.dat)
  }

  /** Whether a bad copy of the volume lies here, served or set aside. */
  hasBadCopy(name: VolumeName): boolean {
    const stored = this.#volumes.get(name.volumeId)
    if (stored !== undefined) return isBadCopy(stored, name)
    const { dat } = volumePaths(this.directory, name)
    return this.#quarantine.some(({ path }) => path === dat)
  }

  /** Sets a volume aside that turned out not to be usable after all. */
  async quarantineVolume(volumeId: VolumeId, error: StoreError): Promise<void> {
    const { volume } = this.get(volumeId)
    this.#volumes.delete(volumeId)
    await volume[Symbol.asyncDispose]()
    this.#setAside(volume.paths.dat, error)
  }

  /** Closes all that is here, then lets go of the directory. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true
    await this.shelf[Symbol.asyncDispose]()
    // A volume that is made now would outlive the lock.
    await Promise.allSettled(this.#arriving)
    for (const { volume } of this.#volumes.values()) await volume[Symbol.asyncDispose]()
    await this.#owned[Symbol.asyncDispose]()
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND. */
  get(volumeId: VolumeId): StoredVolume {
    const stored = this.#volumes.get(volumeId)
    if (stored !== undefined) return stored
    throw new StoreError('VOLUME_NOT_FOUND', `volume ${volumeId} is not in ${this.directory}`)
  }

  async #fillDraft(paths: VolumePaths, fill: FillDraft): Promise<void> {
    const { disk, space } = this.#parts
    await beginDraft(disk, paths)
    try {
      await fill({ paths, disk, space })
      await finishDraft(disk, paths)
    } catch (error) {
      await this.#discard(paths, () => discardDraft(disk, paths))
      throw error
    }
  }

  async #replace(name: VolumeName, fill: FillDraft): Promise<void> {
    const { disk, space } = this.#parts
    const paths = volumePaths(this.directory, name)
    const draftPaths = await beginReplacement(disk, paths)
    try {
      await fill({ paths: draftPaths, disk, space })
      await prepareReplacement(disk, paths)
      await this.#closeBadCopy(name)
    } catch (error) {
      await this.#discard(paths, () => discardReplacement(disk, paths))
      throw error
    }
    try {
      await commitReplacement(disk, paths)
    } catch (error) {
      // The next start decides by what it finds.
      if (error instanceof StoreError) this.#setAside(paths.dat, error)
      throw error
    }
  }

  async #closeBadCopy(name: VolumeName): Promise<void> {
    const stored = this.#volumes.get(name.volumeId)
    if (stored === undefined) return
    const { volume } = stored
    await volume.closeUnless(() => {
      if (isBadCopy(stored, name)) return undefined
      return new StoreError('VOLUME_CHANGED', `volume ${name.volumeId} is ${volume.state} now`)
    })
    this.#volumes.delete(name.volumeId)
  }

  async #openOrSetAside(paths: VolumePaths): Promise<Volume> {
    try {
      return await Volume.open(this.#parts, paths, this.#volumeOptions)
    } catch (error) {
      if (error instanceof StoreError) this.#setAside(paths.dat, error)
      throw error
    }
  }

  /** What cannot be removed now stays marked; the failure of the copy matters more. */
  async #discard(paths: VolumePaths, discard: () => Promise<void>): Promise<void> {
    const { logger } = this.#parts
    try {
      await discard()
    } catch (error) {
      logger.warn('volume.draft_left', { volume: paths.base, error: String(error) })
    }
  }

  get #volumeOptions(): VolumeOptions {
    const { durability, volumeSizeMaxBytes } = this.#options
    return { durability, sizeMaxBytes: volumeSizeMaxBytes }
  }

  /** What a removal left that failed or was interrupted must not become part of another volume. */
  async #finishRemoval(paths: VolumePaths): Promise<void> {
    const { disk } = this.#parts
    if ((await disk.stat(paths.removed)) !== undefined) await finishRemoval(disk, paths)
  }

  async #finishRemovals(): Promise<void> {
    for (const { name } of await this.#parts.disk.list(this.directory)) {
      const base = REMOVED.exec(name)?.[1]
      const volume = base === undefined ? undefined : parseVolumeFileName(`${base}.dat`)
      if (volume !== undefined) await this.#finishRemoval(volumePaths(this.directory, volume))
    }
  }

  /** Nobody knows of a copy that was interrupted, so nobody would ever remove it. */
  async #discardDrafts(): Promise<void> {
    const { disk } = this.#parts
    for (const { name } of await disk.list(this.directory)) {
      const base = NOTE.exec(name)?.[1]
      const volume = base === undefined ? undefined : parseVolumeFileName(`${base}.dat`)
      if (volume !== undefined) await discardOurDraft(disk, volumePaths(this.directory, volume))
    }
  }

  async #openVolumes(signal: AbortSignal): Promise<void> {
    await this.#finishRemovals()
    await this.#discardDrafts()
    const entries = await this.#parts.disk.list(this.directory)
    const found = sortFiles(entries)
    for (const name of found.leftovers) await this.#parts.disk.unlink(join(this.directory, name))
    for (const { name, error } of found.unusable) {
      this.#setAside(join(this.directory, name), error)
    }
    const open = (volume: VolumeName): Promise<void> => this.#openVolume(volume)
    await mapBounded(found.volumes, LIMITS.volumesOpenedAtOnce.value, open, signal)
    await this.shelf.open(entries, signal)
  }

  async #openVolume(name: VolumeName): Promise<void> {
    const { collection, volumeId } = name
    const paths = volumePaths(this.directory, name)
    if (this.#isTaken(volumeId)) {
      const error = new StoreError('VOLUME_EXISTS', `volume ${volumeId} is there twice`)
      this.#setAside(paths.dat, error)
      return
    }
    this.#underWay.add(volumeId)
    try {
      const volume = await Volume.open(this.#parts, paths, this.#volumeOptions)
      this.#volumes.set(volumeId, { collection, volumeId, volume })
    } catch (error) {
      // One bad volume must not keep the others from serving; a bug of ours must not hide here.
      if (!(error instanceof StoreError)) throw error
      this.#setAside(paths.dat, error)
    } finally {
      this.#underWay.delete(volumeId)
    }
  }

  /** @throws {StoreError} CLOSED; whatever `step` throws. */
  async #bringIn(volumeId: VolumeId, step: () => Promise<StoredVolume>): Promise<StoredVolume> {
    if (this.#isClosing) throw new StoreError('CLOSED', `${this.directory} has been let go of`)
    this.#underWay.add(volumeId)
    const arriving = step()
    this.#arriving.add(arriving)
    try {
      return await arriving
    } finally {
      this.#arriving.delete(arriving)
      this.#underWay.delete(volumeId)
    }
  }

  #isTaken(volumeId: VolumeId): boolean {
    return this.#volumes.has(volumeId) || this.#underWay.has(volumeId)
  }

  #takeBack(taken: string): void {
    this.#quarantine = this.#quarantine.filter(({ path }) => path !== taken)
  }

  #setAside(path: string, error: StoreError): void {
    const { code, message } = error
    this.#quarantine.push({ path, code, reason: message })
    this.#parts.logger.error('volume.quarantined', { path, code, reason: message })
  }
}

/** One that the new copy of `name` may take the place of. */
function isBadCopy({ collection, volume }: StoredVolume, name: VolumeName): boolean {
  return collection === name.collection && volume.isBad
}

function whyChanged(volume: Volume, expected: VolumeExtent): StoreError | undefined {
  const { datBytes, compactionRevision } = volume.extent
  const isSame =
    datBytes === expected.datBytes && compactionRevision === expected.compactionRevision
  if (isSame) return undefined
  const what = `${volume.paths.base} has ${datBytes} bytes in revision ${compactionRevision}`
  const wanted = `${expected.datBytes} in ${expected.compactionRevision} were expected`
  return new StoreError('VOLUME_CHANGED', `${what}, ${wanted}`)
}
