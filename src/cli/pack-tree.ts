import { createReadStream } from 'node:fs'
import { readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { addToNeedleId, compareNeedleIds, type NeedleId, volumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { TTL_NONE } from '../base/ttl.ts'
import { MIB } from '../base/units.ts'
import { parseVolumeFileName } from '../format/file-names.ts'
import type { NeedleAttributes } from '../format/needle-attributes.ts'
import type { Disk } from '../runtime/disk.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { Random } from '../runtime/random.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import type { DiskLocation, StoredVolume } from '../storage/disk-location.ts'
import { VolumeSource } from '../storage/volume-source.ts'
import { type FileTree, system, type TreeEntry } from './file-tree.ts'

export interface PackParts {
  readonly disk: Disk
  readonly random: Random
  readonly location: DiskLocation
}

export interface PackOptions {
  readonly root: string
  readonly collection: string
  readonly concurrency: number
  readonly onProgress: (doneBytes: number) => void
}

export interface TreeAttributes extends NeedleAttributes {
  readonly name: string
  readonly lastModifiedS: number
  readonly pairs: Readonly<Record<string, string>>
}

export interface PackResult {
  readonly needles: number
  readonly bytes: number
  readonly volumes: readonly StoredVolume[]
}

/** Files from here on wait for one of a few places: a volume takes 256 MiB of waiting writes. */
const HEAVY_BYTES = MIB
const HEAVY_AT_ONCE = 8

/**
 * Stores every entry of a tree as a needle in new volumes of a directory. All or nothing: when it
 * fails, the volumes made so far are removed.
 *
 * @throws {StoreError} PATH_NOT_FOUND, DIRECTORY_UNUSABLE: a file vanished or cannot be read.
 * NEEDLE_TOO_LARGE, DISK_FULL, DISK_FAILED, CANCELLED.
 */
export async function packTree(
  parts: PackParts,
  tree: FileTree,
  options: PackOptions,
  signal: AbortSignal,
): Promise<PackResult> {
  const packer = await Packer.open(parts, options)
  try {
    const pack = (entry: TreeEntry, index: number): Promise<void> =>
      packer.pack(entry, index, signal)
    await mapBounded(tree.entries, options.concurrency, pack, signal)
  } catch (error) {
    await packer.removeVolumes()
    throw error
  }
  return { needles: tree.entries.length, bytes: packer.doneBytes, volumes: packer.volumes }
}

class Packer {
  readonly #parts: PackParts
  readonly #options: PackOptions
  readonly #firstId: NeedleId
  readonly #heavy: Semaphore
  readonly #volumes: StoredVolume[] = []
  #nextVolumeId: number
  #current: Promise<StoredVolume> | undefined
  doneBytes = 0

  private constructor(
    parts: PackParts,
    options: PackOptions,
    next: { readonly needleId: NeedleId; readonly volumeId: number },
  ) {
    this.#parts = parts
    this.#options = options
    this.#firstId = next.needleId
    this.#nextVolumeId = next.volumeId
    this.#heavy = new Semaphore({ slots: HEAVY_AT_ONCE, waitersMax: options.concurrency })
  }

  static async open(parts: PackParts, options: PackOptions): Promise<Packer> {
    const { disk, location } = parts
    let highest: NeedleId = { hi: 0, lo: 0 }
    for (const { volume } of location.volumes.values()) {
      await using source = await VolumeSource.open(disk, volume.paths)
      const { maxId } = source.rows ?? {}
      if (maxId !== undefined && compareNeedleIds(maxId, highest) > 0) highest = maxId
    }
    // Volumes set aside keep their ids too.
    let lastVolumeId = 0
    for (const { name } of await disk.list(location.directory)) {
      lastVolumeId = Math.max(lastVolumeId, parseVolumeFileName(name)?.volumeId ?? 0)
    }
    const needleId = addToNeedleId(highest, 1)
    return new Packer(parts, options, { needleId, volumeId: lastVolumeId + 1 })
  }

  get volumes(): readonly StoredVolume[] {
    return this.#volumes
  }

  async pack(entry: TreeEntry, index: number, signal: AbortSignal): Promise<void> {
    using _slot = entry.sizeBytes >= HEAVY_BYTES ? await this.#heavy.acquire(signal) : undefined
    const id = addToNeedleId(this.#firstId, index)
    const cookie = this.#parts.random.u32()
    for (;;) {
      this.#current ??= this.#createVolume()
      const current = this.#current
      try {
        await this.#put(await current, entry, { id, cookie }, signal)
        break
      } catch (error) {
        if (!isStoreError(error, 'VOLUME_FULL')) throw error
        // Many files meet the end of a volume; the first of them makes the next one.
        if (this.#current === current) this.#current = undefined
      }
    }
    this.doneBytes += entry.sizeBytes
    this.#options.onProgress(this.doneBytes)
  }

  async removeVolumes(): Promise<void> {
    await this.#current?.catch(() => 'there is nothing to remove then')
    for (const { volumeId: id } of this.#volumes) await this.#parts.location.removeVolume(id)
  }

  async #put(
    stored: StoredVolume,
    entry: TreeEntry,
    key: { readonly id: NeedleId; readonly cookie: number },
    signal: AbortSignal,
  ): Promise<void> {
    const { volume } = stored
    const path = join(this.#options.root, entry.path)
    const attributes = attributesOf(entry)
    if (entry.kind === 'file' && entry.sizeBytes > LIMITS.wholeReadMax.value) {
      const stream = createReadStream(path, { highWaterMark: LIMITS.streamPiece.value })
      await system('read', path, () => volume.putStream({ ...key, attributes }, stream, signal))
      return
    }
    const data = await system('read', path, () => readData(entry, path))
    await volume.put({ ...key, data, attributes }, signal)
  }

  async #createVolume(): Promise<StoredVolume> {
    const id = this.#nextVolumeId++
    if (id > 0xffff_ffff) throw new StoreError('VOLUME_EXISTS', 'no volume id is left')
    const { collection } = this.#options
    const name = { collection, volumeId: volumeId(id) }
    const stored = await this.#parts.location.createVolume(name, {
      version: 3,
      replicaPlacement: { otherDataCenters: 0, otherRacks: 0, otherServers: 0 },
      ttl: TTL_NONE,
      compactionRevision: 0,
      extra: Buffer.alloc(0),
    })
    this.#volumes.push(stored)
    return stored
  }
}

/** The content of an entry that fits into memory; a link's is where it points to. */
export async function readData(entry: TreeEntry, path: string): Promise<Buffer> {
  if (entry.kind === 'directory') return Buffer.alloc(0)
  if (entry.kind === 'symlink') return readlink(path, { encoding: 'buffer' })
  return readFile(path)
}

/** What a needle is told about the file it holds, so that the file can be made again. */
export function attributesOf(entry: TreeEntry): TreeAttributes {
  const { path, kind, mode, mtimeMs } = entry
  return {
    name: cutName(path.slice(path.lastIndexOf('/') + 1)),
    lastModifiedS: Math.max(0, Math.floor(mtimeMs / 1000)),
    pairs: { path, kind, mode: mode.toString(8), mtimeMs: String(mtimeMs) },
  }
}

/** As much of a name as a needle holds, without splitting a character. */
function cutName(name: string): string {
  let cut = name
  while (Buffer.byteLength(cut, 'utf8') > LIMITS.needleNameMax.value) {
    cut = [...cut].slice(0, -1).join('')
  }
  return cut
}
