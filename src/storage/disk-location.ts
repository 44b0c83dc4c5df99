import { join } from 'node:path'
import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import { parseVolumeFileName, type VolumeName, volumeBaseName } from '../format/file-names.ts'
import type { SuperBlock } from '../format/super-block.ts'
import type { Clock } from '../runtime/clock.ts'
import { type DirectoryEntry, type Disk, readFile, replaceFile } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { Random } from '../runtime/random.ts'
import { DiskSpaceGuard, type DiskSpaceOptions } from './disk-space.ts'
import { Volume } from './volume.ts'
import { beginDraft, discardDraft, finishDraft } from './volume-draft.ts'
import type { Durability, SpaceGuard, VolumeOptions, VolumeParts } from './volume-options.ts'
import { type VolumePaths, volumePaths } from './volume-paths.ts'
import { finishRemoval, removeVolumeFiles } from './volume-remove.ts'

export const LOCK_FILE = 'hayloft.lock'
export const BALLAST_FILE = 'ballast'
export const DIRECTORY_ID_FILE = 'vol_dir.uuid'

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
  readonly #parts: VolumeParts
  readonly #options: DiskLocationOptions
  readonly #volumes = new Map<VolumeId, StoredVolume>()
  /** Ids whose volume is being opened or made: nobody else may do so meanwhile. */
  readonly #underWay = new Set<VolumeId>()
  readonly #arriving = new Set<Promise<StoredVolume>>()
  #isClosing = false
  #quarantine: Quarantined[] = []
  readonly #owned: DisposeStack

  private constructor(
    parts: DiskLocationParts,
    opened: {
      readonly directory: string
      readonly directoryId: string
      readonly space: DiskSpaceGuard
      readonly owned: DisposeStack
    },
    options: DiskLocationOptions,
  ) {
    this.directory = opened.directory
    this.directoryId = opened.directoryId
    this.space = opened.space
    this.#owned = opened.owned
    this.#parts = { ...parts, space: opened.space }
    this.#options = options
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
    const opened = { directory, directoryId, space, owned: opening.move() }
    const location = new DiskLocation(parts, opened, options)
    await using openingVolumes = new DisposeStack()
    openingVolumes.use(location)
    await location.#openVolumes(signal)
    openingVolumes.move()
    return location
  }

  get volumes(): ReadonlyMap<VolumeId, StoredVolume> {
    return this.#volumes
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
   * Takes in a volume that `fill` writes, copies of its files as another server has them. `fill`
   * checks them, and makes their bytes durable before it returns. Until then, and if it fails,
   * nothing of it is served, also not by the next start.
   *
   * @throws {StoreError} VOLUME_EXISTS, DISK_FULL, DISK_FAILED; whatever `fill` throws.
   */
  async adoptVolume(
    name: VolumeName,
    fill: (draft: VolumeDraft) => Promise<void>,
  ): Promise<StoredVolume> {
    const { volumeId } = name
    if (this.#isTaken(volumeId)) {
      throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is in ${this.directory}`)
    }
    const { disk, space } = this.#parts
    const paths = volumePaths(this.directory, name)
    return this.#bringIn(volumeId, async () => {
      await this.#finishRemoval(paths)
      await beginDraft(disk, paths)
      try {
        await fill({ paths, disk, space })
        await finishDraft(disk, paths)
      } catch (error) {
        await this.#discardDraft(paths)
        throw error
      }
      const volume = await Volume.open(this.#parts, paths, this.#volumeOptions)
      const stored = { ...name, volume }
      this.#volumes.set(volumeId, stored)
      this.#quarantine = this.#quarantine.filter(({ path }) => path !== paths.dat)
      return stored
    })
  }

  /**
   * Removes a volume and its files. When this returns they stay gone, also after a power cut.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND, DISK_FAILED.
   */
  async removeVolume(volumeId: VolumeId): Promise<void> {
    const { volume } = this.get(volumeId)
    this.#volumes.delete(volumeId)
    await volume[Symbol.asyncDispose]()
    await removeVolumeFiles(this.#parts.disk, volume.paths)
  }

  /** Sets a volume aside that turned out not to be usable after all. */
  async quarantineVolume(volumeId: VolumeId, error: StoreError): Promise<void> {
    const { volume } = this.get(volumeId)
    this.#volumes.delete(volumeId)
    await volume[Symbol.asyncDispose]()
    this.#setAside(volume.paths.dat, error)
  }

  /** Closes every volume, then lets go of the directory. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true
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

  /** What cannot be removed now stays marked; the failure of the copy matters more. */
  async #discardDraft(paths: VolumePaths): Promise<void> {
    const { disk, logger } = this.#parts
    try {
      await discardDraft(disk, paths)
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

  async #openVolumes(signal: AbortSignal): Promise<void> {
    await this.#finishRemovals()
    const found = sortFiles(await this.#parts.disk.list(this.directory))
    for (const name of found.leftovers) await this.#parts.disk.unlink(join(this.directory, name))
    for (const { name, error } of found.unusable) {
      this.#setAside(join(this.directory, name), error)
    }
    const open = (volume: VolumeName): Promise<void> => this.#openVolume(volume)
    await mapBounded(found.volumes, LIMITS.volumesOpenedAtOnce.value, open, signal)
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

  #setAside(path: string, error: StoreError): void {
    const { code, message } = error
    this.#quarantine.push({ path, code, reason: message })
    this.#parts.logger.error('volume.quarantined', { path, code, reason: message })
  }
}

async function makeDirectory(disk: Disk, directory: string): Promise<void> {
  try {
    await disk.createDirectory(directory)
  } catch (error) {
    if (!isStoreError(error, 'TARGET_EXISTS')) throw error
    const why = `${directory} is a file, not a directory`
    throw new StoreError('DIRECTORY_UNUSABLE', why, { cause: error })
  }
}

interface SortedFiles {
  readonly volumes: readonly VolumeName[]
  /** Drafts and spools of an interrupted run. */
  readonly leftovers: readonly string[]
  readonly unusable: readonly { readonly name: string; readonly error: StoreError }[]
}

const REMOVED = /^(.+)\.removed$/
const LEFTOVER = /^(.+)\.(?:(?:dat|idx|sum|vif|cpc|cps|failed)\.tmp|spool-\d+)$/

function sortFiles(entries: readonly DirectoryEntry[]): SortedFiles {
  const volumes = new Map<string, VolumeName & { hasData: boolean; isUnfinished: boolean }>()
  const leftovers: string[] = []
  const unusable: { name: string; error: StoreError }[] = []
  for (const { name, isDirectory } of entries) {
    if (isDirectory) continue
    const base = LEFTOVER.exec(name)?.[1]
    if (base !== undefined && parseVolumeFileName(`${base}.dat`) !== undefined) {
      leftovers.push(name)
      continue
    }
    const parsed = parseVolumeFileName(name)
    if (parsed !== undefined) {
      const key = volumeBaseName(parsed)
      const volume = volumes.get(key) ?? { ...parsed, hasData: false, isUnfinished: false }
      volume.hasData ||= parsed.extension === 'dat' || parsed.extension === 'cpc'
      volume.isUnfinished ||= parsed.extension === 'note'
      volumes.set(key, volume)
    } else if (/\.(?:dat|idx)$/.test(name)) {
      const error = new StoreError('NOT_A_VOLUME', `${name} is not named like a volume`)
      unusable.push({ name, error })
    }
  }
  const usable: VolumeName[] = []
  for (const [key, volume] of volumes) {
    if (volume.isUnfinished) {
      const error = new StoreError('NOT_A_VOLUME', `${key}.note marks an unfinished copy`)
      unusable.push({ name: `${key}.dat`, error })
    } else if (volume.hasData) usable.push(volume)
  }
  return { volumes: usable, leftovers, unusable }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const DIRECTORY_ID_MAX_BYTES = 256

async function readDirectoryId(parts: DiskLocationParts, directory: string): Promise<string> {
  const { disk, random } = parts
  const path = join(directory, DIRECTORY_ID_FILE)
  if ((await disk.stat(path)) !== undefined) {
    const text = (await readFile(disk, path, DIRECTORY_ID_MAX_BYTES)).toString('utf8').trim()
    if (UUID.test(text)) return text.toLowerCase()
  }
  const directoryId = randomUuid(random)
  await replaceFile(disk, path, Buffer.from(`${directoryId}\n`))
  return directoryId
}

/** Version 4. From the given source, so that a simulation with a seed replays. */
function randomUuid(random: Random): string {
  const bytes = Buffer.alloc(16)
  for (let at = 0; at < 16; at += 4) bytes.writeUInt32BE(random.u32(), at)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)]
  return [...parts, hex.slice(20)].join('-')
}
