import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { DirectoryEntry, Disk } from '../runtime/disk.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { parseRunDirectory, type ShardPaths, type ShardRunName, shardPaths } from './shard-paths.ts'
import { ShardSet } from './shard-set.ts'
import {
  beginSet,
  commitSetFiles,
  findSet,
  mendSetFiles,
  readSetFiles,
  removeSet,
  type ShardSetFiles,
} from './shard-set-files.ts'
import type { SpaceGuard, VolumeParts } from './volume-options.ts'

/** Where the shards of a new set are to be written, under their real names. */
export interface ShardSetDraft {
  readonly paths: ShardPaths
  readonly disk: Disk
  /** To be told of what is written. */
  readonly space: SpaceGuard
}

/** Writes the shards of a new set, durably, and says what belongs beside them. */
export type FillShardSet = (draft: ShardSetDraft) => Promise<ShardSetFiles>

type RunOfVolume = Pick<ShardRunName, 'volumeId' | 'runId'>

interface ShelfParts extends VolumeParts {
  /** To be told of what cannot be used. */
  readonly setAside: (path: string, error: StoreError) => void
  /** It can be used again. */
  readonly takeBack: (path: string) => void
}

/**
 * The shard sets in one directory of volumes, each in a directory of its own. A set is there as a
 * whole or not at all; what cannot be used is set aside and touched no more.
 */
export class ShardShelf implements AsyncDisposable {
  readonly #parts: ShelfParts
  readonly #directory: string
  readonly #sets = new Map<VolumeId, readonly ShardSet[]>()
  /** Directories that come or go just now. */
  readonly #underWay = new Map<string, Promise<unknown>>()
  /** Directories that were set aside. */
  readonly #bad = new Set<string>()
  #isClosing = false

  constructor(parts: ShelfParts, directory: string) {
    this.#parts = parts
    this.#directory = directory
  }

  *sets(): Generator<ShardSet> {
    for (const sets of this.#sets.values()) yield* sets
  }

  /** All runs of a volume, the newest last. */
  of(volumeId: VolumeId): readonly ShardSet[] {
    return this.#sets.get(volumeId) ?? NO_SETS
  }

  find({ volumeId, runId }: RunOfVolume): ShardSet | undefined {
    return this.of(volumeId).find(({ run }) => run.runId === runId)
  }

  /**
   * Opens all sets of the directory, and removes what was never finished or is half removed.
   *
   * @throws {StoreError} CANCELLED. A bad set is no error.
   */
  async open(entries: readonly DirectoryEntry[], signal: AbortSignal): Promise<void> {
    const runs = entries.flatMap(({ name, isDirectory }) => {
      const run = isDirectory ? parseRunDirectory(name) : undefined
      return run === undefined ? [] : [run]
    })
    const open = (run: ShardRunName): Promise<void> => this.#openOrSetAside(run)
    await mapBounded(runs, LIMITS.volumesOpenedAtOnce.value, open, signal)
  }

  /**
   * A set without a shard; until it gets one, a start removes it. Where one of the run was set
   * aside because of what is wrong beside its shards, that is put right, and the shards are back.
   *
   * @throws {StoreError} VOLUME_EXISTS: the run is here already. VOLUME_BUSY: it is about to be.
   * INDEX_CORRUPT, SIDECAR_CORRUPT: the files contradict each other. DISK_FULL, DISK_FAILED,
   * CLOSED.
   */
  async create(files: ShardSetFiles): Promise<ShardSet> {
    const { run } = files
    const paths = shardPaths(this.#directory, run)
    const isBad = this.#bad.has(paths.directory)
    // Without `.vif` it is a draft that could not be removed: its shards may be half written.
    const isSet = isBad && (await this.#parts.disk.stat(paths.vif)) !== undefined
    if (!isSet) return await this.fill(run, async () => files)
    return await this.#change(paths, async () => {
      this.#checkAbsent(run, paths)
      await mendSetFiles(this.#parts.disk, paths, files)
      return await this.#openSet(paths, run)
    })
  }

  /**
   * A set with the shards that `fill` writes. Until this returns, and if it fails, nothing of it is
   * there, also not for the next start.
   *
   * @throws {StoreError} as `create`; what `fill` throws.
   */
  async fill(name: ShardRunName, fill: FillShardSet): Promise<ShardSet> {
    const { disk, space } = this.#parts
    const paths = shardPaths(this.#directory, name)
    return await this.#change(paths, async () => {
      this.#checkAbsent(name, paths)
      await beginSet(disk, paths)
      try {
        await commitSetFiles(disk, paths, await fill({ paths, disk, space }))
        return await this.#openSet(paths, name)
      } catch (error) {
        await this.#discard(paths)
        throw error
      }
    })
  }

  /**
   * Removes a set and its files; they stay gone, also after a power cut. One that is not here any
   * more is no error.
   *
   * @throws {StoreError} VOLUME_BUSY: it is being removed. DISK_FAILED, CLOSED.
   */
  async remove(set: ShardSet): Promise<void> {
    const { paths, run } = set
    await this.#change(paths, async () => {
      if (this.find(run) !== set) return
      const others = this.of(run.volumeId).filter((other) => other !== set)
      if (others.length > 0) this.#sets.set(run.volumeId, others)
      else this.#sets.delete(run.volumeId)
      await set[Symbol.asyncDispose]()
      await removeSet(this.#parts.disk, paths)
    })
  }

  /** Waits for what is under way, then closes every set. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true
    await Promise.allSettled(this.#underWay.values())
    for (const set of this.sets()) await set[Symbol.asyncDispose]()
  }

  async #openOrSetAside(name: ShardRunName): Promise<void> {
    const paths = shardPaths(this.#directory, name)
    try {
      const found = await findSet(this.#parts.disk, paths, name)
      if (found === undefined) {
        await removeSet(this.#parts.disk, paths)
        return
      }
      this.#checkAbsent(name, paths)
      this.#put(await ShardSet.open(this.#parts, paths, found))
    } catch (error) {
      // One bad set must not keep the others from serving; a bug of ours must not hide here.
      if (!(error instanceof StoreError)) throw error
      this.#bad.add(paths.directory)
      this.#parts.setAside(paths.directory, error)
    }
  }

  async #openSet(paths: ShardPaths, name: ShardRunName): Promise<ShardSet> {
    const { disk } = this.#parts
    const found = (await findSet(disk, paths, name)) ?? {
      ...(await readSetFiles(disk, paths, name)),
      shards: [],
    }
    const set = await ShardSet.open(this.#parts, paths, found)
    this.#put(set)
    if (this.#bad.delete(paths.directory)) this.#parts.takeBack(paths.directory)
    return set
  }

  #put(set: ShardSet): void {
    const { volumeId } = set.run
    this.#sets.set(volumeId, [...this.of(volumeId), set].sort(compareRuns))
  }

  #checkAbsent(name: ShardRunName, paths: ShardPaths): void {
    if (this.find(name) === undefined) return
    throw new StoreError('VOLUME_EXISTS', `${paths.directory} is there already`)
  }

  async #change<Result>(paths: ShardPaths, change: () => Promise<Result>): Promise<Result> {
    const { directory } = paths
    if (this.#isClosing) throw new StoreError('CLOSED', `${this.#directory} has been let go of`)
    if (this.#underWay.has(directory)) {
      throw new StoreError('VOLUME_BUSY', `${directory} is being changed`)
    }
    const changing = change()
    this.#underWay.set(directory, changing)
    try {
      return await changing
    } finally {
      this.#underWay.delete(directory)
    }
  }

  /** What cannot be removed now is removed by the next start; the failure itself matters more. */
  async #discard(paths: ShardPaths): Promise<void> {
    const { disk, logger } = this.#parts
    try {
      await removeSet(disk, paths)
    } catch (error) {
      const { directory } = paths
      logger.warn('shards.draft_left', { directory, error: String(error) })
    }
  }
}

const NO_SETS: readonly ShardSet[] = []

function compareRuns({ run: a }: ShardSet, { run: b }: ShardSet): number {
  // Digits without leading zeros: the longer number is the larger one.
  return a.runId.length - b.runId.length || (a.runId < b.runId ? -1 : 1)
}
