import { crc32c } from '../base/crc32c.ts'
import { shardCountOf } from '../base/erasure-scheme.ts'
import type { NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { EcIndex } from '../erasure/ec-index.ts'
import { decodeEcJournal, encodeEcJournal } from '../format/ec-journal.ts'
import {
  decodeShardChecksums,
  encodeShardChecksums,
  type ShardChecksums,
} from '../format/shard-checksums.ts'
import { type Disk, readFile, replaceFile, unlinkIfThere, writeFully } from '../runtime/disk.ts'
import { parseShardNumber, type ShardPaths, type ShardRunName } from './shard-paths.ts'
import { decodeShardRun, encodeShardRun, geometryOf, type ShardRun } from './shard-run.ts'

/** All of a shard set but its shards. */
export interface ShardSetFiles {
  readonly run: ShardRun
  /** The whole `.ecx`. */
  readonly ecx: Buffer
  readonly deleted: readonly NeedleId[]
  /** Of all shards of the run, wherever they are. */
  readonly checksums: ShardChecksums
}

/** What a start finds in the directory of a run. */
export interface FoundShardSet {
  readonly run: ShardRun
  /** Without what was deleted since. */
  readonly index: EcIndex
  readonly checksums: ShardChecksums
  /** Shards under their real names, ascending. */
  readonly shards: readonly { readonly shard: number; readonly sizeBytes: number }[]
}

/**
 * An empty directory for a run, durable. Until `commitSetFiles` it is a draft, which the next start
 * removes. @throws {StoreError} VOLUME_EXISTS: it is there, and no draft. DISK_FULL, DISK_FAILED.
 */
export async function beginSet(disk: Disk, paths: ShardPaths): Promise<void> {
  if ((await disk.stat(paths.vif)) !== undefined) {
    throw new StoreError('VOLUME_EXISTS', `${paths.directory} is there already`)
  }
  await discardDraft(disk, paths)
  await disk.createDirectory(paths.directory)
}

/**
 * Makes the directory a shard set, with the shards that are in it, whose bytes are durable. The
 * `.vif` goes last: with it, all of it is there, also after a power cut.
 *
 * @throws {StoreError} INDEX_CORRUPT, SIDECAR_CORRUPT: the files contradict each other. DISK_FULL,
 * DISK_FAILED.
 */
export async function commitSetFiles(
  disk: Disk,
  paths: ShardPaths,
  files: ShardSetFiles,
): Promise<void> {
  checkFiles(files.run, files.ecx, files.checksums)
  await writeSynced(disk, paths.ecx, files.ecx)
  await writeSynced(disk, paths.ecj, encodeEcJournal(files.deleted))
  await writeSynced(disk, paths.ecsum, encodeShardChecksums(files.checksums))
  await disk.syncDirectory(paths.directory)
  await replaceFile(disk, paths.vif, encodeShardRun(files.run))
}

/**
 * Writes everything beside the shards anew, of a set that could not be opened because of it. The
 * journal keeps what can still be read of it. Whenever the power goes, the set can be opened then
 * or not, and nothing is lost.
 *
 * @throws {StoreError} INDEX_CORRUPT, SIDECAR_CORRUPT: the new files contradict each other.
 * DISK_FULL, DISK_FAILED.
 */
export async function mendSetFiles(
  disk: Disk,
  paths: ShardPaths,
  files: ShardSetFiles,
): Promise<void> {
  const { run, ecx, checksums, deleted } = files
  checkFiles(run, ecx, checksums)
  const ids = [...(await readJournal(disk, paths)), ...deleted]
  await replaceFile(disk, paths.ecj, encodeEcJournal(ids))
  await replaceFile(disk, paths.ecx, ecx)
  await replaceFile(disk, paths.ecsum, encodeShardChecksums(checksums))
  await replaceFile(disk, paths.vif, encodeShardRun(run))
}

async function readJournal(disk: Disk, paths: ShardPaths): Promise<readonly NeedleId[]> {
  if ((await disk.stat(paths.ecj)) === undefined) return []
  return decodeEcJournal(await readFile(disk, paths.ecj, LIMITS.volumeSizeMax.value)).ids
}

/**
 * What is in the directory of a run, after the drafts of shards in it were removed. Undefined: it
 * is itself a draft, the rest of a removal, or a set without a shard.
 *
 * @throws {StoreError} VOLUME_INFO_CORRUPT, SIDECAR_CORRUPT, INDEX_CORRUPT, PATH_NOT_FOUND,
 * DISK_FAILED: it cannot be used.
 */
export async function findSet(
  disk: Disk,
  paths: ShardPaths,
  name: ShardRunName,
): Promise<FoundShardSet | undefined> {
  const entries = await disk.list(paths.directory)
  const shards = entries.flatMap(({ name: file, sizeBytes }) => {
    const shard = parseShardNumber(file)
    return shard === undefined ? [] : [{ shard, sizeBytes }]
  })
  const isCommitted = (await disk.stat(paths.vif)) !== undefined
  if (!isCommitted || shards.length === 0) return undefined
  const found = await readSetFiles(disk, paths, name)
  for (const { name: file } of entries) {
    if (!/\.(?:draft|tmp)$/.test(file)) continue
    await disk.unlink(`${paths.directory}/${file}`)
  }
  return { ...found, shards }
}

/** As `findSet`, of a set that may have no shard yet. */
export async function readSetFiles(
  disk: Disk,
  paths: ShardPaths,
  name: ShardRunName,
): Promise<Pick<FoundShardSet, 'run' | 'index' | 'checksums'>> {
  const run = decodeShardRun(name, await readFile(disk, paths.vif, LIMITS.volumeInfoMax.value))
  if (run.runId !== name.runId) {
    throw new StoreError('VOLUME_INFO_CORRUPT', `${paths.vif} is that of run ${run.runId}`)
  }
  const sum = await readFile(disk, paths.ecsum, LIMITS.sidecarMax.value)
  const checksums = decodeShardChecksums(sum)
  const ecx = await readFile(disk, paths.ecx, LIMITS.volumeSizeMax.value)
  checkFiles(run, ecx, checksums)
  return { run, index: new EcIndex(ecx, []), checksums }
}

/**
 * The set goes as one: once its `.vif` is gone, durably, the next start finishes the removal. Fine
 * for a draft, and if nothing is there.
 */
export async function removeSet(disk: Disk, paths: ShardPaths): Promise<void> {
  if ((await disk.stat(paths.directory)) === undefined) return
  await unlinkIfThere(disk, paths.vif)
  await disk.syncDirectory(paths.directory)
  await discardDraft(disk, paths)
}

async function discardDraft(disk: Disk, paths: ShardPaths): Promise<void> {
  if ((await disk.stat(paths.directory)) === undefined) return
  // What an interrupted step left under the name of `.vif` must not become one.
  await unlinkIfThere(disk, `${paths.vif}.tmp`)
  for (const { name } of await disk.list(paths.directory)) {
    await disk.unlink(`${paths.directory}/${name}`)
  }
  await disk.removeDirectory(paths.directory)
  await disk.syncDirectory(paths.parent)
}

/** @throws {StoreError} INDEX_CORRUPT, SIDECAR_CORRUPT. */
function checkFiles(run: ShardRun, ecx: Buffer, checksums: ShardChecksums): void {
  if (crc32c(ecx) !== run.indexCrc) {
    throw new StoreError('INDEX_CORRUPT', `.ecx of run ${run.runId} does not match its checksum`)
  }
  const { shardBytes } = geometryOf(run)
  const isWhole = checksums.shards.length === shardCountOf(run)
  const isOfRun = checksums.shards.every(
    ({ shard, coveredBytes }, index) => shard === index && coveredBytes === shardBytes,
  )
  if (isWhole && isOfRun && checksums.runId === run.runId) return
  throw new StoreError('SIDECAR_CORRUPT', `.ecsum is not that of run ${run.runId}`)
}

async function writeSynced(disk: Disk, path: string, bytes: Buffer): Promise<void> {
  await using file = await disk.open(path, 'create')
  await file.truncate(0)
  await writeFully(file, [bytes], 0)
  await file.datasync()
}
