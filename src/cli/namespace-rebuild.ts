import { join } from 'node:path'
import { formatFileId } from '../base/file-id.ts'
import { compareNeedleIds, cookie, type NeedleId, needleIdToBigInt } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { isObjectCollection } from '../gateway/stored-bytes.ts'
import { openUsers } from '../master/open-users.ts'
import { LevelCoordinator } from '../metadata/level/level-coordinator.ts'
import { LevelStore } from '../metadata/level/level-store.ts'
import {
  COMPLETION_RECORD_BYTES_MAX,
  decodeCompletionRecord,
} from '../namespace/completion-record.ts'
import { readMovedPairs, readOwnerPairs, readVersionPairs } from '../namespace/needle-pairs.ts'
import { type RebuiltBucket, RebuiltRows } from '../namespace/rebuilt-rows.ts'
import { ROOT_USER } from '../namespace/users.ts'
import { readFile } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { readClusterId, UNREADABLE_CLUSTER_ID } from '../storage/cluster-id-file.ts'
import { findLiveNeedles, isLiveRecord } from '../storage/live-needles.ts'
import type { NeedleMap } from '../storage/needle-map.ts'
import { readRecordContent, readRecordData } from '../storage/record-content.ts'
import { type WalkedRecord, walkRecords } from '../storage/record-walk.ts'
import { VolumeSource } from '../storage/volume-source.ts'
import type { CliContext } from './context.ts'
import { lockDirectories, resolveVolumes, type VolumeArgument } from './volume-arguments.ts'

export interface RebuildOptions {
  /** Data directory of the master: it must have no metadata. */
  readonly into: string
  /** Data directories of all volume servers. */
  readonly directories: readonly string[]
  readonly onVolume: (path: string) => Promise<void>
}

export interface RebuildReport {
  readonly clusterId: string | undefined
  readonly volumes: number
  /** Needles by which versions exist. */
  readonly found: number
  /** Of these, what could not be read. */
  readonly unreadable: number
  /** Files of volumes that are erasure-coded as a whole: nothing of them was read. */
  readonly codedFiles: number
  readonly buckets: readonly RebuiltBucket[]
}

const METADATA_DIRECTORY = 'metadata'
const EPOCH_FILE = 'epoch'
const EPOCH_BYTES_MAX = 32
const CODED_FILE = /^(.+)_\d+\.ecx$/

/** A copy of a volume, with what lives on it. */
interface OpenCopy {
  readonly volume: VolumeArgument
  readonly source: VolumeSource
  readonly live: NeedleMap
}

/**
 * Makes the metadata of a cluster anew from the volumes of its servers, none of which may be
 * running. Buckets belong to the root user, which gets a new key.
 *
 * @throws {StoreError} TARGET_EXISTS: there is metadata already. DIRECTORY_LOCKED: a server runs.
 * CONFIG_INVALID: the directories are of several clusters. Whatever a volume cannot be read for.
 */
export async function rebuildNamespace(
  context: CliContext,
  options: RebuildOptions,
): Promise<RebuildReport> {
  const { disk, signal } = context
  const directory = join(options.into, METADATA_DIRECTORY)
  if ((await disk.stat(directory)) !== undefined) {
    throw new StoreError('TARGET_EXISTS', `${directory} is there already: move it away first`)
  }
  const volumes = await volumesIn(context, options.directories)
  const { clusterId, epoch } = await clusterOf(context, options.directories)
  await using opening = new DisposeStack()
  opening.use(await lockDirectories(disk, volumes))
  await disk.createDirectory(options.into)
  const store = opening.use(await LevelStore.open(context, { directory }, signal))
  const scan = new VolumeScan(new RebuiltRows(store))
  for (const copies of byVolumeId(volumes)) {
    for (const { paths } of copies) await options.onVolume(paths.dat)
    await scan.addVolume(context, copies)
  }
  const lost = { clusterId, epoch: Math.max(epoch, Math.floor(context.clock.nowMs() / 1000)) }
  const coordinator = await LevelCoordinator.open(
    { ...context, store },
    { address: '', lost },
    signal,
  )
  opening.use(coordinator)
  const lastVolumeId = Math.max(0, ...volumes.map(({ volumeId }) => volumeId))
  const afterNeedles = needleIdToBigInt(scan.highestId) + 1n
  await coordinator.allocateBlock('needle-ids', 1, afterNeedles, signal)
  await coordinator.allocateBlock('volume-ids', 1, BigInt(lastVolumeId + 1), signal)
  const config = { dir: options.into, rootKey: undefined }
  const users = await openUsers({ ...context, store, coordinator }, config, signal)
  const { canonicalId } = await users.get(ROOT_USER, signal)
  const buckets = await scan.rows.finish(canonicalId, signal)
  const codedFiles = await countCodedFiles(context, options.directories)
  const { found, unreadable } = scan
  return { clusterId, volumes: volumes.length, found, unreadable, codedFiles, buckets }
}

/** Of objects; a directory without any is fine. */
async function volumesIn(
  { disk }: CliContext,
  directories: readonly string[],
): Promise<readonly VolumeArgument[]> {
  const volumes: VolumeArgument[] = []
  for (const directory of directories) {
    try {
      volumes.push(...(await resolveVolumes(disk, [directory])))
    } catch (error) {
      const isDirectory = (await disk.stat(directory))?.isDirectory === true
      if (!isDirectory || !isStoreError(error, 'NOT_A_VOLUME')) throw error
    }
  }
  return volumes.filter(({ collection }) => isObjectCollection(collection))
}

async function clusterOf({ disk }: CliContext, directories: readonly string[]) {
  const ids = new Set<string>()
  let epoch = 0
  for (const directory of directories) {
    const { clusterId } = await readClusterId(disk, directory)
    if (clusterId !== '' && clusterId !== UNREADABLE_CLUSTER_ID) ids.add(clusterId)
    const path = join(directory, EPOCH_FILE)
    if ((await disk.stat(path)) === undefined) continue
    const obeyed = Number((await readFile(disk, path, EPOCH_BYTES_MAX)).toString('utf8').trim())
    if (Number.isSafeInteger(obeyed)) epoch = Math.max(epoch, obeyed)
  }
  if (ids.size > 1) {
    const why = `the directories are of several clusters: ${[...ids].join(', ')}`
    throw new StoreError('CONFIG_INVALID', why)
  }
  return { clusterId: [...ids][0], epoch }
}

function byVolumeId(volumes: readonly VolumeArgument[]): readonly (readonly VolumeArgument[])[] {
  const groups = new Map<number, VolumeArgument[]>()
  for (const volume of volumes) {
    const known = groups.get(volume.volumeId)
    if (known === undefined) groups.set(volume.volumeId, [volume])
    else known.push(volume)
  }
  return [...groups.values()]
}

async function countCodedFiles(
  { disk }: CliContext,
  directories: readonly string[],
): Promise<number> {
  let count = 0
  for (const directory of directories) {
    for (const { name } of await disk.list(directory)) {
      const [, collection] = CODED_FILE.exec(name) ?? []
      if (collection !== undefined && isObjectCollection(collection)) count++
    }
  }
  return count
}

class VolumeScan {
  readonly rows: RebuiltRows
  found = 0
  unreadable = 0
  highestId: NeedleId = { hi: 0, lo: 0 }

  constructor(rows: RebuiltRows) {
    this.rows = rows
  }

  /** All copies of one volume: what was deleted on one of them is deleted. */
  async addVolume(context: CliContext, volumes: readonly VolumeArgument[]): Promise<void> {
    const { disk, signal } = context
    await using opening = new DisposeStack()
    const copies: OpenCopy[] = []
    for (const volume of volumes) {
      const source = opening.use(await VolumeSource.open(disk, volume.paths))
      const live = await findLiveNeedles(source, signal)
      if (compareNeedleIds(live.highestId, this.highestId) > 0) this.highestId = live.highestId
      copies.push({ volume, source, live })
    }
    const seen = new Set<string>()
    for (const copy of copies) {
      for await (const step of walkRecords(copy.source, {}, signal)) {
        if (step.kind !== 'record' || !isLiveRecord(copy.live, step)) continue
        if (isDeletedOnAny(copies, step.record.header.id)) continue
        await this.#addNeedle(copy, step, seen, signal)
      }
    }
  }

  async #addNeedle(
    { source, volume }: OpenCopy,
    { record }: WalkedRecord,
    seen: Set<string>,
    signal: AbortSignal,
  ): Promise<void> {
    const { header } = record
    const { volumeId } = volume
    const fileId = formatFileId({ volumeId, needleId: header.id, cookie: cookie(header.cookie) })
    if (seen.has(fileId)) return
    try {
      if (!record.isIntact) throw new StoreError('NEEDLE_CORRUPT', 'the data is not as stored')
      const content = await readRecordContent(source.dat, record, source.version)
      const { pairs } = content.attributes
      const moved = readMovedPairs(pairs)
      if (moved !== undefined) await this.rows.addMoved(moved, fileId, signal)
      const owner = readOwnerPairs(pairs)
      const told = readVersionPairs(pairs)
      if (owner === undefined || told === undefined) return
      let parts: ReturnType<typeof decodeCompletionRecord> | undefined
      if (told.isRecord) {
        if (content.dataBytes > COMPLETION_RECORD_BYTES_MAX) {
          throw new StoreError('METADATA_CORRUPT', 'the record of an upload is too long')
        }
        const pieces: Buffer[] = []
        for await (const piece of readRecordData(source.dat, record, content, signal)) {
          pieces.push(piece)
        }
        parts = decodeCompletionRecord(Buffer.concat(pieces))
      }
      const { appendAtNs } = record
      await this.rows.addVersion({ owner, told, fileId, appendAtNs, parts }, signal)
      seen.add(fileId)
      this.found++
    } catch (error) {
      if (!isStoreError(error, 'NEEDLE_CORRUPT', 'METADATA_CORRUPT', 'FILE_ID_INVALID')) throw error
      this.unreadable++
    }
  }
}

function isDeletedOnAny(copies: readonly OpenCopy[], id: NeedleId): boolean {
  const location = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  return copies.some(({ live }) => live.lookup(id, location) && location.isDeleted)
}
