import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { type ChecksumSidecar, decodeChecksumSidecar } from '../format/checksum-sidecar.ts'
import { indexEntryBytes, type OffsetBytes } from '../format/index-entry.ts'
import {
  decodeSuperBlock,
  SUPER_BLOCK_BYTES,
  type SuperBlock,
  superBlockBytes,
} from '../format/super-block.ts'
import { type Disk, type DiskFile, readFile, readFully, replaceFile } from '../runtime/disk.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { AppendClock } from './append-clock.ts'
import { BlockChecksums } from './block-checksums.ts'
import { Generation } from './generation.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import {
  collectIndexHints,
  type IndexHints,
  nextRecordedOffset,
  readIndexRows,
} from './index-loader.ts'
import { IndexLog } from './index-log.ts'
import { LayeredNeedleMap } from './layered-needle-map.ts'
import type { NeedleLocation } from './needle-map.ts'
import { RecordScanner } from './record-scanner.ts'
import {
  type ReplayOptions,
  type ReplayResult,
  type ReplayTarget,
  replayRecords,
} from './tail-replay.ts'
import type { VolumePaths } from './volume-paths.ts'

const SUPER_BLOCK_MAX_BYTES = SUPER_BLOCK_BYTES + 0xffff
const BREAKS_MAX = 64

export interface RecoveryReport {
  /** False: there was no `.sum` to say what had been synced. */
  readonly hadSidecar: boolean
  /** What `.sum` says; it has a checksum, while a flipped bit in `.vif` may go unnoticed. */
  readonly wasSealed: boolean
  /** Why `.idx` was made anew from `.dat`; undefined when it was taken as it stood. */
  readonly indexRebuilt: string | undefined
  /** Records found behind the watermark and indexed. */
  readonly tailNeedles: number
  /** Bytes of a torn tail cut off. */
  readonly cutBytes: number
  /** Records indexed although their data does not match their checksum. */
  readonly corruptNeedles: number
  /** Why the volume may not be written any more. */
  readonly damage: string | undefined
}

export interface Recovered {
  readonly generation: Generation
  readonly report: RecoveryReport
}

export interface RecoveryOptions {
  /** See `ReplayOptions.isSynced`. */
  readonly isSynced: boolean
  readonly offsetBytes: OffsetBytes
}

interface Found {
  readonly disk: Disk
  readonly paths: VolumePaths
  readonly options: RecoveryOptions
  readonly dat: DiskFile
  readonly datBytes: number
  readonly superBlock: SuperBlock
  readonly sidecar: ChecksumSidecar | undefined
  readonly oldIdx: DiskFile
  readonly oldIdxBytes: number
}

/**
 * Opens the files of a volume and rebuilds what memory needs: the needle map, block checksums, and
 * the place where the next record goes. `.dat` is the truth; `.idx` is used as far as `.sum`
 * vouches for it and made anew otherwise. A torn tail is cut here, before anything can be
 * appended. A volume reported as damaged has been left as it was, byte for byte.
 *
 * @throws {StoreError} PATH_NOT_FOUND, SUPER_BLOCK_CORRUPT, VERSION_UNSUPPORTED, DISK_FAILED.
 */
export async function recoverGeneration(
  disk: Disk,
  paths: VolumePaths,
  options: RecoveryOptions,
): Promise<Recovered> {
  await using opening = new DisposeStack()
  const dat = opening.use(await disk.open(paths.dat, 'write'))
  const datBytes = await dat.sizeBytes()
  if (datBytes > LIMITS.volumeSizeMax.value) {
    const why = `${datBytes} bytes, more than offsets of 4 bytes reach`
    throw new StoreError('VERSION_UNSUPPORTED', `${paths.dat} has ${why}`)
  }
  const superBlock = await readSuperBlock(dat, datBytes)
  const { sidecar, problem } = await readSidecar(disk, paths, superBlock)
  const oldIdx = opening.use(await disk.open(paths.idx, 'create'))
  const oldIdxBytes = await oldIdx.sizeBytes()
  const found = { disk, paths, options, dat, datBytes, superBlock, sidecar, oldIdx, oldIdxBytes }
  if (datBytes === superBlockBytes(superBlock) && oldIdxBytes === 0 && sidecar === undefined) {
    const fresh = await openFresh(found)
    opening.move()
    return fresh
  }
  const reason = sidecar === undefined ? problem : await whyIndexIsNotVouched(found, sidecar)
  const recovered =
    typeof reason === 'string'
      ? await rebuildFromRecords(found, reason)
      : await replayTail(found, reason)
  opening.move()
  return recovered
}

/** A volume in which nothing was ever written: there is nothing to find out. */
async function openFresh(found: Found): Promise<Recovered> {
  const { dat, datBytes, superBlock, oldIdx } = found
  const checksums = new BlockChecksums()
  checksums.extend(await readFully(dat, datBytes, 0))
  const target: ReplayTarget = {
    map: new HashNeedleMap({ version: superBlock.version, expectedCount: 0 }),
    log: new IndexLog(oldIdx, { lengthBytes: 0, crc: 0 }),
    clock: new AppendClock(0n),
    checksums,
  }
  const nothing = { needles: 0, corruptNeedles: 0, isTailTorn: false, damage: undefined }
  return toRecovered(found, target, { ...nothing, endBytes: datBytes }, undefined)
}

/** @throws {StoreError} SUPER_BLOCK_CORRUPT, VERSION_UNSUPPORTED. */
export async function readSuperBlock(dat: DiskFile, datBytes: number): Promise<SuperBlock> {
  return decodeSuperBlock(await readFully(dat, Math.min(datBytes, SUPER_BLOCK_MAX_BYTES), 0))
}

/** The `.sum` of this generation of the volume, or why there is none to use. */
export async function readSidecar(
  disk: Disk,
  paths: VolumePaths,
  superBlock: SuperBlock,
): Promise<{ readonly sidecar: ChecksumSidecar | undefined; readonly problem: string }> {
  const { sizeBytes = 0 } = (await disk.stat(paths.sum)) ?? {}
  if (sizeBytes > LIMITS.sidecarMax.value) {
    return { sidecar: undefined, problem: `the .sum has ${sizeBytes} bytes` }
  }
  try {
    const bytes = await readFile(disk, paths.sum, LIMITS.sidecarMax.value)
    const sidecar = decodeChecksumSidecar(bytes)
    if (sidecar.compactionRevision === superBlock.compactionRevision) {
      return { sidecar, problem: '' }
    }
    return { sidecar: undefined, problem: 'the .sum belongs to another generation' }
  } catch (error) {
    if (isStoreError(error, 'PATH_NOT_FOUND')) {
      return { sidecar: undefined, problem: 'there is no .sum' }
    }
    if (isStoreError(error, 'SIDECAR_CORRUPT')) {
      return { sidecar: undefined, problem: error.message }
    }
    throw error
  }
}

interface VouchedIndex {
  readonly map: LayeredNeedleMap
  readonly sidecar: ChecksumSidecar
}

/** Loads the rows `.sum` covers; a string says why they cannot be used. */
async function whyIndexIsNotVouched(
  found: Found,
  sidecar: ChecksumSidecar,
): Promise<VouchedIndex | string> {
  const { oldIdx, oldIdxBytes, options, superBlock } = found
  if (oldIdxBytes < sidecar.idxBytes) {
    return `the .idx has ${oldIdxBytes} bytes, the .sum covers ${sidecar.idxBytes}`
  }
  const { offsetBytes } = options
  const expectedCount = Math.floor(sidecar.idxBytes / indexEntryBytes(offsetBytes))
  const map = new LayeredNeedleMap({ version: superBlock.version, expectedCount })
  const crc = await readIndexRows(oldIdx, sidecar.idxBytes, offsetBytes, (rows, length) => {
    map.loadRows(rows, length, offsetBytes)
  })
  return crc === sidecar.idxCrc ? { map, sidecar } : 'the .idx does not match its checksum'
}

async function replayTail(found: Found, vouched: VouchedIndex): Promise<Recovered> {
  const { map, sidecar } = vouched
  const { dat, datBytes, superBlock, oldIdx, options } = found
  const { watermarkBytes } = sidecar
  const target: ReplayTarget = {
    map,
    log: new IndexLog(oldIdx, { lengthBytes: sidecar.idxBytes, crc: sidecar.idxCrc }),
    clock: new AppendClock(sidecar.lastAppendAtNs),
    checksums: restoreChecksums(sidecar),
  }
  if (datBytes < watermarkBytes) {
    const damage = `.dat has ${datBytes} bytes, ${watermarkBytes} were durable`
    const lost = { needles: 0, corruptNeedles: 0, endBytes: datBytes, isTailTorn: false, damage }
    return toRecovered(found, target, lost, undefined)
  }
  const hints = await collectIndexHints(
    oldIdx,
    {
      fromRow: sidecar.idxBytes / indexEntryBytes(options.offsetBytes),
      lengthBytes: found.oldIdxBytes,
      recordedFrom: namedFrom(found, watermarkBytes),
    },
    options.offsetBytes,
  )
  const scanner = new RecordScanner(dat, {
    version: superBlock.version,
    fromBytes: watermarkBytes,
    toBytes: datBytes,
    checksums: target.checksums,
  })
  const result = await replayRecords(scanner, target, {
    hints,
    version: superBlock.version,
    datBytes,
    watermarkBytes,
    isSynced: options.isSynced,
    hasSidecar: sidecar !== undefined,
  })
  if (result.damage === undefined) {
    await settleTail(found, result)
    if (found.oldIdxBytes > sidecar.idxBytes) await oldIdx.truncate(sidecar.idxBytes)
  }
  return toRecovered(found, target, result, undefined)
}

/** Reads all of `.dat` and writes a new `.idx` beside the old one, which it replaces at the end. */
async function rebuildFromRecords(found: Found, reason: string): Promise<Recovered> {
  const { disk, paths, superBlock, sidecar, oldIdx, oldIdxBytes, datBytes, options } = found
  await using building = new DisposeStack()
  const hints = await collectIndexHints(
    oldIdx,
    {
      fromRow: 0,
      lengthBytes: oldIdxBytes,
      recordedFrom: namedFrom(found, datBytes - LIMITS.tornTailMax.value),
    },
    options.offsetBytes,
  )
  const newIdxPath = `${paths.idx}.tmp`
  const newIdx = building.use(await disk.open(newIdxPath, 'create'))
  await newIdx.truncate(0)
  const expectedCount = Math.floor(oldIdxBytes / indexEntryBytes(options.offsetBytes))
  const target: ReplayTarget = {
    map: new HashNeedleMap({ version: superBlock.version, expectedCount }),
    log: new IndexLog(newIdx, { lengthBytes: 0, crc: 0 }),
    clock: new AppendClock(sidecar?.lastAppendAtNs ?? 0n),
    checksums: new BlockChecksums(sidecar?.blockBytes),
  }
  const result = await replayAround(found, target, {
    hints,
    version: superBlock.version,
    datBytes,
    watermarkBytes: sidecar?.watermarkBytes ?? 0,
    isSynced: options.isSynced,
    hasSidecar: sidecar !== undefined,
  })
  await deleteElsewhere(found, target, hints)
  const damage = result.damage ?? (await rotBelowWatermark(found, target.checksums))
  if (damage !== undefined || options.offsetBytes === 5) {
    await newIdx.close()
    await disk.unlink(newIdxPath)
    const log = new IndexLog(oldIdx, { lengthBytes: 0, crc: 0, isReadOnly: true })
    const unwritten = { ...target, log }
    return toRecovered(found, unwritten, { ...result, isTailTorn: false, damage }, reason)
  }
  await settleTail(found, result)
  await target.log.flush()
  await newIdx.datasync()
  await disk.rename(newIdxPath, paths.idx)
  await disk.syncDirectory(paths.directory)
  await oldIdx.close()
  building.move()
  return toRecovered(found, target, result, reason)
}

/**
 * Replays all records. Where the chain of lengths breaks inside acknowledged data, it goes on at
 * the next record the old index names, so that one rotten header does not hide what follows it.
 */
async function replayAround(
  found: Found,
  target: ReplayTarget,
  options: ReplayOptions,
): Promise<ReplayResult> {
  const { dat, superBlock, oldIdx, oldIdxBytes } = found
  const firstAt = superBlockBytes(superBlock)
  target.checksums.extend(await readFully(dat, firstAt, 0))
  const scanner = new RecordScanner(dat, {
    version: superBlock.version,
    fromBytes: firstAt,
    toBytes: options.datBytes,
    checksums: target.checksums,
  })
  let total = await replayRecords(scanner, target, options)
  if (total.isTailTorn && (await isTailNamed(found, total.endBytes))) {
    const damage = `no readable record at byte ${total.endBytes}, although the index goes on`
    total = { ...total, isTailTorn: false, damage }
  }
  for (let breaks = 0; breaks < BREAKS_MAX && !isAtEnd(total, scanner); breaks++) {
    const { endBytes } = total
    const { offsetBytes } = found.options
    const resumeAt = await nextRecordedOffset(oldIdx, oldIdxBytes, offsetBytes, endBytes)
    if (resumeAt === undefined || resumeAt >= options.datBytes) break
    const damage = total.damage ?? `no readable record at byte ${endBytes} (${scanner.end})`
    scanner.seek(resumeAt)
    const more = await replayRecords(scanner, target, options)
    total = {
      needles: total.needles + more.needles,
      corruptNeedles: total.corruptNeedles + more.corruptNeedles,
      endBytes: more.endBytes,
      isTailTorn: false,
      damage,
    }
  }
  return total
}

/**
 * A wrong length may reach past the end of the file, like an unfinished needle of gigabytes. But
 * rows are written after the sync: one that names a place in the tail says that it was finished.
 */
async function isTailNamed(found: Found, endBytes: number): Promise<boolean> {
  const { oldIdx, oldIdxBytes, datBytes, options } = found
  const isShort = datBytes - endBytes <= LIMITS.tornTailMax.value
  if (isShort || namedFrom(found, 0) > endBytes) return false
  const { offsetBytes } = options
  const next = await nextRecordedOffset(oldIdx, oldIdxBytes, offsetBytes, endBytes - 1)
  return next !== undefined && next < datBytes
}

function isAtEnd(result: ReplayResult, scanner: RecordScanner): boolean {
  return scanner.end === 'end' || (result.isTailTorn && result.damage === undefined)
}

/**
 * Where index rows begin to vouch for records. They do so nowhere in a volume that acknowledges
 * before it syncs: there a row may have reached the disk before its record. Its watermark vouches;
 * only where that is unknown must the rows do.
 */
function namedFrom(found: Found, fromBytes: number): number {
  const isWatermarked = !found.options.isSynced && found.sidecar !== undefined
  return isWatermarked ? Number.POSITIVE_INFINITY : fromBytes
}

/** Rows without a tombstone in `.dat`: what they deleted stays deleted. */
async function deleteElsewhere(
  found: Found,
  target: ReplayTarget,
  hints: IndexHints,
): Promise<void> {
  if (hints.deletedElsewhere.length === 0) return
  const indexed = new HashNeedleMap({ version: found.superBlock.version, expectedCount: 0 })
  const { offsetBytes } = found.options
  await readIndexRows(found.oldIdx, found.oldIdxBytes, offsetBytes, (rows, length) => {
    indexed.loadRows(rows, length, offsetBytes)
  })
  const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  for (const id of hints.deletedElsewhere) {
    // Put again by a later row, or by a record that came after all rows.
    if (indexed.lookup(id, location) && !location.isDeleted) continue
    if (target.map.lookup(id, location) && location.offsetBytes > hints.lastOffsetBytes) continue
    if (target.map.delete(id, 0)) target.log.delete(id, 0)
  }
}

/** Compares what was read with the block checksums of `.sum`, which must never bless rot. */
async function rotBelowWatermark(
  found: Found,
  computed: BlockChecksums,
): Promise<string | undefined> {
  const { sidecar, dat } = found
  if (sidecar === undefined) return undefined
  if (computed.coveredBytes < sidecar.watermarkBytes) {
    return `.dat ends at byte ${computed.coveredBytes}, ${sidecar.watermarkBytes} were durable`
  }
  const stored = restoreChecksums(sidecar)
  for (let index = 0; index < stored.blockCount; index++) {
    const { startBytes, endBytes, crc } = stored.block(index)
    const isWhole = computed.block(index).endBytes === endBytes
    const actual = isWhole
      ? computed.block(index).crc
      : crc32c(await readFully(dat, endBytes - startBytes, startBytes))
    if (actual !== crc) return `block ${index} of .dat does not match its checksum in .sum`
  }
  return undefined
}

function restoreChecksums(sidecar: ChecksumSidecar): BlockChecksums {
  return BlockChecksums.restore({
    blockBytes: sidecar.blockBytes,
    coveredBytes: sidecar.watermarkBytes,
    crcs: sidecar.blockCrcs,
  })
}

/**
 * Cuts a torn tail and makes the records found durable: a process that was killed may have written
 * them without a sync, and from now on readers see them and `.sum` vouches for them.
 */
async function settleTail(found: Found, result: ReplayResult): Promise<void> {
  const { dat, datBytes, disk, paths, sidecar } = found
  const { endBytes } = result
  if (endBytes === datBytes && result.needles === 0) return
  if (endBytes < datBytes && sidecar === undefined) {
    // Nothing tells a torn tail from acknowledged needles that rotted: what is cut off is kept.
    const tail = await readFully(dat, datBytes - endBytes, endBytes)
    await replaceFile(disk, `${paths.base}.cut-${endBytes}`, tail)
  }
  if (endBytes < datBytes) await dat.truncate(endBytes)
  await dat.datasync()
}

function toRecovered(
  found: Found,
  target: ReplayTarget,
  result: ReplayResult,
  indexRebuilt: string | undefined,
): Recovered {
  const { dat, superBlock, datBytes } = found
  const { endBytes } = result
  const generation = new Generation({ superBlock, dat, ...target, endBytes })
  return {
    generation,
    report: {
      hadSidecar: found.sidecar !== undefined,
      wasSealed: found.sidecar?.isSealed ?? false,
      indexRebuilt,
      tailNeedles: result.needles,
      cutBytes: result.isTailTorn ? datBytes - endBytes : 0,
      corruptNeedles: result.corruptNeedles,
      damage: result.damage,
    },
  }
}
