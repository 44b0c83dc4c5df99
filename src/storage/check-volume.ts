import { crc32c } from '../base/crc32c.ts'
import { formatNeedleId, type NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import { formatBytes } from '../base/units.ts'
import type { ChecksumSidecar } from '../format/checksum-sidecar.ts'
import { INDEX_TOMBSTONE_SIZE } from '../format/index-entry.ts'
import { type Disk, type DiskFile, readFile, readFully } from '../runtime/disk.ts'
import { BlockChecksums } from './block-checksums.ts'
import { type CheckDetails, FindingLog, type VolumeCheck } from './check-report.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import { applyRecord, deleteUnplaced } from './live-needles.ts'
import type { NeedleLocation } from './needle-map.ts'
import { readRecordContent } from './record-content.ts'
import { type BadRow, type Unreadable, type WalkedRecord, walkRecords } from './record-walk.ts'
import { readVolumeInfo } from './volume-open.ts'
import type { VolumePaths } from './volume-paths.ts'
import { VolumeSource } from './volume-source.ts'

export interface CheckOptions {
  /** Told from time to time how far into `.dat` the check has come. */
  readonly onProgress?: (doneBytes: number) => void
}

const FAILED_MARKER_MAX_BYTES = 4096

/**
 * Reads every byte of a volume and compares all that can be compared: the record chain, the
 * checksum of each needle, `.idx` with `.dat` both ways, and everything with `.sum`. With a `.sum`
 * that covers the files, any single wrong byte in `.dat`, `.idx` or `.sum` is found. Only reads;
 * takes no lock.
 *
 * @throws {StoreError} CANCELLED. Anything else that goes wrong is a finding.
 */
export async function checkVolume(
  disk: Disk,
  paths: VolumePaths,
  options: CheckOptions,
  signal: AbortSignal,
): Promise<VolumeCheck> {
  const log = new FindingLog()
  const stat = await disk.stat(paths.dat)
  let results = NO_RESULTS
  try {
    await using source = await VolumeSource.open(disk, paths)
    await checkMarkers(disk, paths, log)
    await checkSeal(disk, source, log)
    results = await new VolumeChecker(source, log, options).run(signal)
  } catch (error) {
    if (!isStoreError(error) || error.code === 'CANCELLED') throw error
    log.add(error.code, error.message)
  }
  const { details, ...counts } = results
  return {
    path: paths.dat,
    ok: log.count === 0,
    bytes: stat?.sizeBytes ?? 0,
    ...counts,
    findings: log.findings,
    findingCount: log.count,
    notes: log.notes,
    details,
  }
}

interface CheckResults {
  readonly needles: number
  readonly liveNeedles: number
  readonly deleted: number
  readonly details: CheckDetails
}

const NO_RESULTS: CheckResults = {
  needles: 0,
  liveNeedles: 0,
  deleted: 0,
  details: {
    isCovered: false,
    gaps: 0,
    isDatDamaged: false,
    isIndexContradicted: false,
    unexplainedEmpty: 0,
    tornBytes: 0,
  },
}

async function checkMarkers(disk: Disk, paths: VolumePaths, log: FindingLog): Promise<void> {
  if ((await disk.stat(paths.failed)) !== undefined) {
    const why = (await readFile(disk, paths.failed, FAILED_MARKER_MAX_BYTES)).toString().trim()
    log.add('VOLUME_FAILED', `a sync failed in an earlier run (${why}); a vacuum mends the volume`)
  }
  if ((await disk.stat(paths.replacement.commitMarker)) !== undefined) {
    const why = 'a copy that replaces the volume is complete; the next start puts it in place'
    log.add('VOLUME_BUSY', why)
  } else if ((await disk.stat(paths.replacement.dat)) !== undefined) {
    log.note('a copy that may replace the volume is unfinished; the next start removes it')
  }
  const hasMarker = (await disk.stat(paths.commitMarker)) !== undefined
  if (hasMarker) {
    const why = 'a vacuum was interrupted while it put its files in place; the next start goes on'
    log.add('VOLUME_BUSY', why)
  } else if ((await disk.stat(paths.nextDat)) !== undefined) {
    log.note('a vacuum is under way or was interrupted; the next start removes its drafts')
  }
}

/** `.vif` has no checksum of its own; one bit less in it, and a sealed volume takes puts again. */
async function checkSeal(disk: Disk, source: VolumeSource, log: FindingLog): Promise<void> {
  const { paths, sidecar } = source
  if (sidecar?.isSealed !== true || (await readVolumeInfo(disk, paths)).readOnly) return
  log.add('VOLUME_INFO_CORRUPT', `${paths.vif} says writable, .sum says sealed`)
}

/** One check of one volume. */
class VolumeChecker {
  readonly #source: VolumeSource
  readonly #log: FindingLog
  readonly #options: CheckOptions
  readonly #checksums: BlockChecksums
  readonly #map: HashNeedleMap
  /** Ids of records behind the watermark that have no index row yet. */
  readonly #tail: HashNeedleMap
  #needles = 0
  #unindexed = 0
  #tailRecords = 0
  #badRows = 0
  #gaps = 0
  #unexplainedEmpty = 0
  #tornBytes = 0
  #isDatDamaged = false
  #isIndexDamaged = false

  constructor(source: VolumeSource, log: FindingLog, options: CheckOptions) {
    const { version, sidecar, rows } = source
    this.#source = source
    this.#log = log
    this.#options = options
    this.#checksums = new BlockChecksums(sidecar?.blockBytes)
    this.#map = new HashNeedleMap({ version, expectedCount: rows?.rowCount ?? 0 })
    this.#tail = new HashNeedleMap({ version })
  }

  async run(signal: AbortSignal): Promise<CheckResults> {
    const { sidecar } = this.#source
    this.#checkSidecar()
    await this.#checkIndexFile()
    await this.#walk(signal)
    if (sidecar !== undefined) await this.#compareBlocks(sidecar)
    if (this.#source.rows !== undefined) this.#compareStates(this.#source.rows)
    else deleteUnplaced(this.#map, this.#source)
    this.#noteTail()
    const { liveCount, entryCount } = this.#map
    return {
      needles: this.#needles,
      liveNeedles: liveCount,
      deleted: entryCount - liveCount,
      details: {
        isCovered: this.#isCovered(),
        gaps: this.#gaps,
        isDatDamaged: this.#isDatDamaged,
        isIndexContradicted: sidecar !== undefined && this.#badRows > 0 && !this.#isIndexDamaged,
        unexplainedEmpty: this.#unexplainedEmpty,
        tornBytes: this.#tornBytes,
      },
    }
  }

  #isCovered(): boolean {
    const { sidecar, datBytes, idxBytes } = this.#source
    return sidecar?.watermarkBytes === datBytes && sidecar.idxBytes === idxBytes
  }

  #checkSidecar(): void {
    const { sidecar, sidecarProblem, datBytes } = this.#source
    if (sidecarProblem !== undefined) this.#log.add('SIDECAR_CORRUPT', sidecarProblem)
    if (sidecar === undefined && sidecarProblem === undefined) {
      this.#log.note(
        'there is no .sum: no checksum covers super block, cookies, names, mime types, other ' +
          'attributes, time stamps and padding; `hayloft fix` adds one',
      )
    }
    if (sidecar !== undefined && sidecar.watermarkBytes > datBytes) {
      const why = `.dat has ${datBytes} bytes, ${sidecar.watermarkBytes} were durable`
      this.#log.add('VOLUME_DAMAGED', why, { offsetBytes: datBytes })
      this.#isDatDamaged = true
    }
  }

  async #checkIndexFile(): Promise<void> {
    const { idx, idxBytes, rows, sidecar, datBytes, firstBytes } = this.#source
    if (idx === undefined) {
      if (datBytes === firstBytes && (sidecar?.idxBytes ?? 0) === 0) return
      this.#isIndexDamaged = true
      this.#log.add('INDEX_CORRUPT', 'there is no .idx; the next start makes it anew from .dat')
      return
    }
    if (rows !== undefined && rows.leftoverBytes > 0) {
      const why = `the last ${rows.leftoverBytes} bytes of .idx are no whole row`
      this.#log.add('INDEX_CORRUPT', why)
    }
    for (const row of rows?.unplaced() ?? []) {
      if (row.sizeBytes !== INDEX_TOMBSTONE_SIZE) this.#onBadRow({ kind: 'bad-row', row })
    }
    if (sidecar === undefined || this.#source.isSwitchPending) return
    if (idxBytes < sidecar.idxBytes) {
      this.#isIndexDamaged = true
      const why = `.idx has ${idxBytes} bytes, ${sidecar.idxBytes} were durable`
      this.#log.add('INDEX_CORRUPT', why)
    } else if ((await crcOf(idx, sidecar.idxBytes)) !== sidecar.idxCrc) {
      this.#isIndexDamaged = true
      this.#log.add('INDEX_CORRUPT', '.idx does not match its checksum in .sum')
    }
  }

  async #walk(signal: AbortSignal): Promise<void> {
    const { onProgress } = this.#options
    for await (const step of walkRecords(this.#source, { checksums: this.#checksums }, signal)) {
      if (step.kind === 'record') {
        await this.#onRecord(step)
        onProgress?.(step.record.offsetBytes + step.record.recordBytes)
      } else if (step.kind === 'bad-row') this.#onBadRow(step)
      else this.#onUnreadable(step)
    }
    onProgress?.(this.#source.datBytes)
  }

  async #onRecord(step: WalkedRecord): Promise<void> {
    const { record, hasRow, meaning } = step
    const { header, offsetBytes } = record
    if (meaning !== 'delete') this.#needles++
    if (!record.isIntact) this.#onCorrupt(step, 'its data does not match its checksum')
    else await this.#checkAttributes(step)
    applyRecord(this.#map, step)
    if (hasRow) return
    this.#unindexed++
    if (header.sizeBytes === 0) this.#unexplainedEmpty++
    if (this.#source.sidecar === undefined || offsetBytes < this.#source.watermarkBytes) return
    this.#tailRecords++
    this.#tail.put(header.id, offsetBytes, header.sizeBytes)
  }

  async #checkAttributes(step: WalkedRecord): Promise<void> {
    const { dat, version } = this.#source
    try {
      await readRecordContent(dat, step.record, version)
    } catch (error) {
      if (!isStoreError(error, 'NEEDLE_CORRUPT')) throw error
      this.#onCorrupt(step, error.message)
    }
  }

  #onCorrupt(step: WalkedRecord, what: string): void {
    const { header, offsetBytes } = step.record
    this.#isDatDamaged = true
    const why = step.isUnvouched
      ? `${what}; without .sum and index row the next start would cut it and all behind it: ` +
        'keep the rest with `hayloft fix --accept-damage`'
      : what
    this.#log.add('NEEDLE_CORRUPT', why, { offsetBytes, id: header.id })
  }

  #onBadRow(step: BadRow): void {
    const { rowIndex, id, offsetBytes, sizeBytes } = step.row
    this.#badRows++
    const said = `row ${rowIndex} of .idx says size ${sizeBytes} at byte ${offsetBytes}`
    this.#log.add('INDEX_CORRUPT', `${said}, .dat has no such record there`, { offsetBytes, id })
  }

  #onUnreadable(step: Unreadable): void {
    const { fromBytes, toBytes, why } = step
    const where = { offsetBytes: fromBytes }
    if (step.kind === 'torn-tail') {
      this.#tornBytes = toBytes - fromBytes
      const what = `${this.#tornBytes} bytes of an unfinished append; the next start cuts them`
      this.#log.add('TAIL_TORN', `${why}: ${what}`, where)
      return
    }
    this.#gaps++
    this.#isDatDamaged = true
    this.#log.add('VOLUME_DAMAGED', `${why} in ${toBytes - fromBytes} bytes`, where)
  }

  async #compareBlocks(sidecar: ChecksumSidecar): Promise<void> {
    const { dat, datBytes } = this.#source
    const coveredBytes = Math.min(sidecar.watermarkBytes, datBytes)
    const { blockBytes, blockCrcs } = sidecar
    for (let index = 0; index * blockBytes < coveredBytes; index++) {
      const startBytes = index * blockBytes
      const endBytes = Math.min(startBytes + blockBytes, coveredBytes)
      const isFed = index < this.#checksums.blockCount
      const fed = isFed ? this.#checksums.block(index) : undefined
      const crc =
        fed?.endBytes === endBytes
          ? fed.crc
          : crc32c(await readFully(dat, endBytes - startBytes, startBytes))
      if (crc === blockCrcs[index]) continue
      this.#isDatDamaged = true
      const why = `bytes ${startBytes} to ${endBytes} of .dat do not match their checksum in .sum`
      this.#log.add('VOLUME_DAMAGED', why, { offsetBytes: startBytes })
    }
  }

  /**
   * Replaying `.idx` must lead to the same needles as replaying `.dat`. When every record has its
   * row and the rows stand in the order of the records, it cannot but do so.
   */
  #compareStates(rows: NonNullable<VolumeSource['rows']>): void {
    const hidden = deleteUnplaced(this.#map, this.#source)
    if (hidden > 0) this.#log.note(`${hidden} needles are deleted in the index only`)
    if (rows.isInOffsetOrder && this.#unindexed === 0 && rows.placedCount === rows.rowCount) return
    const indexed = rows.replay(this.#source.version)
    const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
    this.#map.visit((hi, lo, offsetBytes, _sizeBytes, isDeleted) => {
      if (isDeleted) return
      const isKnown = indexed.lookup({ hi, lo }, location) && !location.isDeleted
      if (isKnown && location.offsetBytes === offsetBytes) return
      this.#onDifference({ hi, lo }, offsetBytes, 'lives in .dat, .idx does not say so')
    })
    indexed.visit((hi, lo, offsetBytes, _sizeBytes, isDeleted) => {
      if (isDeleted || !this.#map.lookup({ hi, lo }, location) || !location.isDeleted) return
      this.#onDifference({ hi, lo }, offsetBytes, 'is deleted in .dat, .idx does not say so')
    })
  }

  #onDifference(id: NeedleId, offsetBytes: number, what: string): void {
    const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
    // What was appended after the last .sum gets its row at the next start.
    if (this.#tail.lookup(id, location)) return
    this.#badRows++
    this.#log.add('INDEX_CORRUPT', `needle ${formatNeedleId(id)} ${what}`, { offsetBytes, id })
  }

  #noteTail(): void {
    const { sidecar, datBytes } = this.#source
    if (this.#tailRecords > 0) {
      const count = this.#tailRecords
      this.#log.note(`${count} records behind the last .sum have no index row yet`)
    }
    const uncovered = sidecar === undefined ? 0 : datBytes - sidecar.watermarkBytes
    if (uncovered > 0) {
      this.#log.note(`the last ${formatBytes(uncovered)} were written after the last .sum`)
    }
  }
}

async function crcOf(file: DiskFile, lengthBytes: number): Promise<number> {
  let crc = 0
  for (let at = 0; at < lengthBytes; at += LIMITS.streamPiece.value) {
    const length = Math.min(LIMITS.streamPiece.value, lengthBytes - at)
    crc = crc32c(await readFully(file, length, at), crc)
  }
  return crc
}
