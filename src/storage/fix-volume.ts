import { StoreError } from '../base/store-error.ts'
import { encodeIndexEntry, INDEX_ENTRY_BYTES, INDEX_TOMBSTONE_SIZE } from '../format/index-entry.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Disk, writeFully } from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'
import type { VolumeCheck } from './check-report.ts'
import { type CheckOptions, checkVolume } from './check-volume.ts'
import { type WalkedRecord, walkRecords } from './record-walk.ts'
import type { RecoveryReport } from './recovery.ts'
import { Volume } from './volume.ts'
import { UNGUARDED_SPACE, type VolumeOptions } from './volume-options.ts'
import type { VolumePaths } from './volume-paths.ts'
import { VolumeSource } from './volume-source.ts'

export interface FixParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly logger: Logger
}

export interface FixOptions extends CheckOptions {
  /** Go on although bytes of `.dat` are wrong: reads of what is corrupt go on failing. */
  readonly acceptDamage: boolean
  readonly volume: VolumeOptions
}

export interface FixResult {
  /** `refused`: bytes of `.dat` are wrong and nobody accepted that; nothing was changed. */
  readonly outcome: 'nothing-to-do' | 'fixed' | 'refused'
  readonly before: VolumeCheck
  /** After the fix; undefined when nothing was done. */
  readonly after: VolumeCheck | undefined
  readonly recovery: RecoveryReport | undefined
}

/**
 * Makes `.idx` and `.sum` match `.dat`. The caller holds the lock of the directory. Damage to
 * `.dat` is never given a fresh checksum unless it was accepted.
 *
 * @throws {StoreError} VOLUME_DAMAGED: acknowledged bytes hold no readable record, so no index can
 * be made. VOLUME_FAILED: a sync failed earlier, which only a vacuum mends. VERSION_UNSUPPORTED:
 * 5-byte offsets. Nothing was changed then. DISK_FULL, DISK_FAILED, CANCELLED.
 */
export async function fixVolume(
  parts: FixParts,
  paths: VolumePaths,
  options: FixOptions,
  signal: AbortSignal,
): Promise<FixResult> {
  const { disk } = parts
  await refuseUnfixable(disk, paths)
  const before = await checkVolume(disk, paths, options, signal)
  const { details } = before
  if (before.ok && details.isCovered) {
    return { outcome: 'nothing-to-do', before, after: undefined, recovery: undefined }
  }
  if (details.gaps > 0) {
    const first = before.findings.find(({ code }) => code === 'VOLUME_DAMAGED')
    const why = `the record chain breaks at byte ${first?.offsetBytes}; export what is left`
    throw new StoreError('VOLUME_DAMAGED', `${paths.dat}: ${why}`)
  }
  if (details.isDatDamaged && !options.acceptDamage) {
    return { outcome: 'refused', before, after: undefined, recovery: undefined }
  }
  const isForced = details.isDatDamaged || details.isIndexContradicted
  if (isForced) await replaceIndex(disk, paths, signal)
  const recovery = isForced
    ? await withoutSidecar(disk, paths, () => reopen(parts, paths, options.volume))
    : await reopen(parts, paths, options.volume)
  const after = await checkVolume(disk, paths, {}, signal)
  return { outcome: 'fixed', before, after, recovery }
}

async function refuseUnfixable(disk: Disk, paths: VolumePaths): Promise<void> {
  await using source = await VolumeSource.open(disk, paths)
  if (source.offsetBytes === 5) {
    const why = 'has 5-byte index offsets, which are only read; export it and pack it anew'
    throw new StoreError('VERSION_UNSUPPORTED', `${paths.base} ${why}`)
  }
  if ((await disk.stat(paths.failed)) === undefined) return
  const why = 'a sync failed in an earlier run; `hayloft vacuum` copies what is intact'
  throw new StoreError('VOLUME_FAILED', `${paths.base}: ${why}`)
}

/** Opening a volume mends it, closing it leaves a `.sum` that covers everything. */
async function reopen(
  parts: FixParts,
  paths: VolumePaths,
  options: VolumeOptions,
): Promise<RecoveryReport> {
  await using volume = await Volume.open({ ...parts, space: UNGUARDED_SPACE }, paths, options)
  const { damage } = volume.recovery
  if (damage !== undefined) throw new StoreError('VOLUME_DAMAGED', `${paths.base}: ${damage}`)
  return volume.recovery
}

/** Puts the old `.sum` back when `run` fails: what it knew must not get lost. */
async function withoutSidecar<Result>(
  disk: Disk,
  paths: VolumePaths,
  run: () => Promise<Result>,
): Promise<Result> {
  const aside = `${paths.sum}.old`
  if ((await disk.stat(paths.sum)) === undefined) return run()
  await disk.rename(paths.sum, aside)
  await disk.syncDirectory(paths.directory)
  try {
    const result = await run()
    await disk.unlink(aside)
    await disk.syncDirectory(paths.directory)
    return result
  } catch (error) {
    await disk.rename(aside, paths.sum)
    await disk.syncDirectory(paths.directory)
    throw error
  }
}

const ROWS_PER_WRITE = 4096

/**
 * Writes an index of all records, corrupt ones too. Recovery takes a record that an index row names
 * for acknowledged, so it keeps them and what lies behind them instead of cutting a torn tail.
 */
async function replaceIndex(disk: Disk, paths: VolumePaths, signal: AbortSignal): Promise<void> {
  await using source = await VolumeSource.open(disk, paths)
  const draft = `${paths.idx}.tmp`
  {
    await using file = await disk.open(draft, 'create')
    await file.truncate(0)
    const rows = Buffer.alloc(ROWS_PER_WRITE * INDEX_ENTRY_BYTES)
    let waitingBytes = 0
    let writtenBytes = 0
    const flush = async (): Promise<void> => {
      await writeFully(file, [rows.subarray(0, waitingBytes)], writtenBytes)
      writtenBytes += waitingBytes
      waitingBytes = 0
    }
    for await (const step of walkRecords(source, {}, signal)) {
      if (step.kind !== 'record') continue
      encodeIndexEntry(rowOf(step), rows, waitingBytes)
      waitingBytes += INDEX_ENTRY_BYTES
      if (waitingBytes === rows.length) await flush()
    }
    await flush()
    await file.datasync()
  }
  await disk.rename(draft, paths.idx)
  await disk.syncDirectory(paths.directory)
}

function rowOf(step: WalkedRecord): Parameters<typeof encodeIndexEntry>[0] {
  const { header, offsetBytes } = step.record
  const isDelete = step.meaning === 'delete'
  const sizeBytes = isDelete ? INDEX_TOMBSTONE_SIZE : header.sizeBytes
  return { id: header.id, offsetBytes, sizeBytes }
}
