import { compareNeedleIds, cookie, formatNeedleId, type NeedleId, needleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import { recordBytes } from '../format/needle.ts'
import { decodeSuperBlock, encodeSuperBlock, superBlockBytes } from '../format/super-block.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Disk, readFully } from '../runtime/disk.ts'
import { attributesHash } from './attributes-hash.ts'
import { ContentDigest } from './content-digest.ts'
import type { Generation } from './generation.ts'
import { LiveOffsets, needlesAt, type PlacedNeedle, regionsOf } from './live-offsets.ts'
import type { NeedleLocation } from './needle-map.ts'
import { readRecordContent } from './record-content.ts'
import { RecordScanner, type ScannedRecord } from './record-scanner.ts'
import { findBadBlocks, type KnownBlocks, type LiveRecord, suspectsOf } from './scrub-blocks.ts'
import { checkIndexFile, checkSmallFiles } from './scrub-index.ts'
import type { VolumeInfoFile } from './volume-info-file.ts'
import type { VolumeExtent } from './volume-options.ts'
import type { VolumePaths } from './volume-paths.ts'
import { type Pace, WorkPace } from './work-pace.ts'

/** Bytes read between two looks at the clock, or one block where blocks are larger. */
const WINDOW_BYTES = 4 * MIB
const RECORDS_PER_TURN = 512
const NO_NEEDLE = needleId(0, 0)

export interface ScrubOptions {
  /** Go on there if the volume still has that revision; undefined: from the start. */
  readonly from?: VolumeExtent | undefined
  readonly pace?: Pace | undefined
}

/**
 * `needle`: a live needle is not what it should be, or may not be. `block`: bytes that no live
 * needle needs are not what was written. `index`: the files beside `.dat`, or what is in memory,
 * disagree with it.
 */
export interface ScrubFinding {
  readonly kind: 'needle' | 'block' | 'index'
  /** Of a `needle`; otherwise 0. */
  readonly needleId: NeedleId
  readonly offsetBytes: number
  readonly message: string
}

export interface ScrubStep {
  /** Everything below has been read. */
  readonly at: VolumeExtent
  readonly totalBytes: number
  /** At most `LIMITS.scrubFindingsMax`. */
  readonly findings: readonly ScrubFinding[]
  readonly isDone: boolean
  /** See `ContentDigest`; for whole runs only, once `isDone`, else empty. */
  readonly contentDigest: string
}

/** The volume being scrubbed, as scrub sees it. */
export interface ScrubHost {
  readonly disk: Disk
  readonly clock: Clock
  readonly paths: VolumePaths
  readonly info: VolumeInfoFile
  generation(): Generation
  between<Result>(step: () => Promise<Result>): Promise<Result>
}

/**
 * Reads everything a volume has on its disk, as of now, and compares it with all there is to
 * compare it with: the checksums of blocks and of records, the index in memory, and the files
 * beside `.dat`. Any wrong byte below the end leads to at least one finding. Changes nothing, and
 * holds nobody up.
 *
 * After a vacuum in the middle of it, it starts anew on the new files.
 *
 * @throws {StoreError} DISK_FAILED, CANCELLED; what `pace` throws.
 */
export async function* scrubVolume(
  host: ScrubHost,
  options: ScrubOptions,
  signal: AbortSignal,
): AsyncGenerator<ScrubStep, void, undefined> {
  let from = options.from
  for (;;) {
    const run = await ScrubRun.begin(host, { from, pace: options.pace }, signal)
    yield* run.steps()
    if (run.isDone) return
    from = undefined
  }
}

/** What was true at one moment between two batches. */
interface Frame {
  readonly generation: Generation
  readonly known: KnownBlocks
  /** Undefined when the index on disk says nothing about this. */
  readonly index: { readonly idxBytes: number; readonly idxCrc: number } | undefined
}

/** One pass over one generation. */
class ScrubRun {
  readonly #host: ScrubHost
  readonly #frame: Frame
  readonly #pace: WorkPace
  readonly #signal: AbortSignal
  readonly #scanner: RecordScanner
  readonly #digest = new ContentDigest()
  readonly #windowBytes: number
  readonly #startBytes: number
  /** Live needles that begin before the window and reach into it. */
  #reaching: LiveRecord[] = []
  #isDone = false

  private constructor(host: ScrubHost, frame: Frame, options: ScrubOptions, signal: AbortSignal) {
    this.#host = host
    this.#frame = frame
    this.#pace = new WorkPace(host.clock, options.pace)
    this.#signal = signal
    const { generation, known } = frame
    this.#windowBytes = known.blockBytes * Math.max(1, Math.floor(WINDOW_BYTES / known.blockBytes))
    const { from } = options
    const isSame = from?.compactionRevision === generation.superBlock.compactionRevision
    const fromBytes = from !== undefined && isSame ? Math.min(from.datBytes, known.datBytes) : 0
    this.#startBytes = fromBytes - (fromBytes % this.#windowBytes)
    this.#scanner = new RecordScanner(generation.dat, {
      version: generation.version,
      fromBytes: superBlockBytes(generation.superBlock),
      toBytes: known.datBytes,
      onPiece: () => this.#rest(),
    })
  }

  static async begin(
    host: ScrubHost,
    options: ScrubOptions,
    signal: AbortSignal,
  ): Promise<ScrubRun> {
    const frame = await host.between(() => takeFrame(host.generation()))
    return new ScrubRun(host, frame, options, signal)
  }

  /** False: the files were replaced meanwhile. */
  get isDone(): boolean {
    return this.#isDone
  }

  async *steps(): AsyncGenerator<ScrubStep, void, undefined> {
    const { generation, known } = this.#frame
    const range = { fromBytes: this.#startBytes, toBytes: known.datBytes }
    const { map } = generation
    for (const region of regionsOf(map.entryCount, range, this.#windowBytes)) {
      const offsets = await LiveOffsets.collect(map, region, () => this.#giveWay())
      const isFirst = region.fromBytes === this.#startBytes
      if (isFirst) await this.#whileOpen(() => this.#findReaching(offsets.beforeBytes))
      for (let at = region.fromBytes; at < region.toBytes; at += this.#windowBytes) {
        const window = { fromBytes: at, toBytes: Math.min(at + this.#windowBytes, region.toBytes) }
        const findings = await this.#whileOpen(() => this.#readWindow(window, offsets))
        if (findings === undefined) return
        yield* this.#report(findings, window)
      }
    }
    const findings = await this.#whileOpen(() => this.#checkFiles())
    if (findings === undefined) return
    yield* this.#report(findings, { fromBytes: known.datBytes, toBytes: known.datBytes })
    this.#isDone = true
    const contentDigest = this.#startBytes === 0 ? this.#digest.value : ''
    yield { ...this.#step(known.datBytes), isDone: true, contentDigest }
  }

  /**
   * Keeps the files open for one stretch of work, but not while whoever asked for it takes in what
   * was found: a vacuum waits for that. Undefined: other files have taken their place.
   */
  async #whileOpen<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    this.#checkSignal()
    const { generation } = this.#frame
    if (this.#host.generation() !== generation) return undefined
    using _held = generation.retain()
    const result = await work()
    return this.#host.generation() === generation ? result : undefined
  }

  #step(datBytes: number): ScrubStep {
    const { generation, known } = this.#frame
    const { compactionRevision } = generation.superBlock
    const at = { datBytes, compactionRevision }
    const totalBytes = known.datBytes
    return { at, totalBytes, findings: [], isDone: false, contentDigest: '' }
  }

  /** Only the last step of a window goes on to its end, or what is not told yet could be lost. */
  *#report(
    findings: readonly ScrubFinding[],
    window: { readonly fromBytes: number; readonly toBytes: number },
  ): Generator<ScrubStep> {
    const max = LIMITS.scrubFindingsMax.value
    let told = 0
    for (; findings.length - told > max; told += max) {
      const some = findings.slice(told, told + max)
      yield { ...this.#step(window.fromBytes), findings: some }
    }
    yield { ...this.#step(window.toBytes), findings: findings.slice(told) }
  }

  async #readWindow(
    window: { readonly fromBytes: number; readonly toBytes: number },
    offsets: LiveOffsets,
  ): Promise<ScrubFinding[]> {
    const { generation, known } = this.#frame
    const findings: ScrubFinding[] = []
    if (window.fromBytes === 0) findings.push(...(await this.#checkSuperBlock()))
    const bad = await findBadBlocks(generation.dat, known, window)
    await this.#rest()
    const records = await this.#readRecords(window.toBytes, offsets, findings)
    for (const block of bad) {
      const { startBytes, endBytes } = block
      const where = `bytes ${startBytes} to ${endBytes} of .dat do not match their checksum`
      const { needles, isGarbageHit } = suspectsOf(block, records)
      for (const { id, offsetBytes } of needles) {
        findings.push({ kind: 'needle', needleId: id, offsetBytes, message: where })
      }
      if (!isGarbageHit) continue
      const offsetBytes = block.wrongAt[0] ?? startBytes
      findings.push({ kind: 'block', needleId: NO_NEEDLE, offsetBytes, message: where })
    }
    this.#reaching = records.filter(({ endBytes }) => endBytes > window.toBytes)
    await this.#rest()
    return findings
  }

  /** All live needles that begin below `toBytes`, and those that reach into the window. */
  async #readRecords(
    toBytes: number,
    offsets: LiveOffsets,
    findings: ScrubFinding[],
  ): Promise<LiveRecord[]> {
    const records = [...this.#reaching]
    const unlike = new Set<number>()
    let count = 0
    let last: number | undefined
    for (let at = offsets.next(toBytes); at !== undefined; at = offsets.next(toBytes)) {
      if (at === last) unlike.add(at)
      if (at === last) continue
      last = at
      this.#scanner.seek(at)
      const record = await this.#scanner.next()
      const location = record === undefined ? undefined : this.#locate(record.header.id)
      if (record === undefined || location?.offsetBytes !== at) unlike.add(at)
      else records.push(await this.#checkRecord(record, location, findings))
      if (++count % RECORDS_PER_TURN === 0) await this.#rest()
    }
    // Those that were overwritten or deleted since are nobody's any more.
    const { map, version } = this.#frame.generation
    for (const needle of await needlesAt(map, unlike, () => this.#giveWay())) {
      const { id, offsetBytes, sizeBytes } = needle
      if (records.some((record) => isSameNeedle(record, needle))) continue
      const endBytes = offsetBytes + recordBytes(sizeBytes, version)
      records.push({ id, offsetBytes, endBytes, isIntact: false, dataEnd: offsetBytes })
      findings.push(corrupt(id, offsetBytes, 'another record, or none, lies there'))
    }
    return records
  }

  async #checkRecord(
    record: ScannedRecord,
    location: NeedleLocation,
    findings: ScrubFinding[],
  ): Promise<LiveRecord> {
    const { header, offsetBytes } = record
    const { id } = header
    const endBytes = offsetBytes + record.recordBytes
    const problem = await this.#whyCorrupt(record, location)
    if (typeof problem === 'number') {
      return { id, offsetBytes, endBytes, isIntact: true, dataEnd: problem }
    }
    findings.push(corrupt(id, offsetBytes, problem))
    return { id, offsetBytes, endBytes, isIntact: false, dataEnd: offsetBytes }
  }

  /** Where the data of a good record ends. */
  async #whyCorrupt(record: ScannedRecord, location: NeedleLocation): Promise<string | number> {
    const { generation } = this.#frame
    const { header, dataChecksum } = record
    if (header.sizeBytes !== location.sizeBytes) return 'its size is not that of the index'
    if (!record.isIntact) return 'its data does not match its checksum'
    try {
      const content = await readRecordContent(generation.dat, record, generation.version)
      this.#digest.add({
        needleId: header.id,
        cookie: cookie(header.cookie),
        checksum: dataChecksum,
        dataBytes: content.dataBytes,
        attributesHash: attributesHash(content.attributes, generation.superBlock.ttl),
      })
      return content.dataAt + content.dataBytes
    } catch (error) {
      if (isStoreError(error, 'NEEDLE_CORRUPT')) return error.message
      throw error
    }
  }

  /** A needle that was found by an earlier run may reach into what this one begins with. */
  async #findReaching(beforeBytes: number | undefined): Promise<void> {
    if (beforeBytes === undefined) return
    this.#scanner.seek(beforeBytes)
    const record = await this.#scanner.next()
    const location = record === undefined ? undefined : this.#locate(record.header.id)
    if (record === undefined || location?.offsetBytes !== beforeBytes) return
    const { header, recordBytes: length, offsetBytes } = record
    const endBytes = offsetBytes + length
    if (endBytes <= this.#startBytes) return
    // Whatever is wrong with it has not been told by this run.
    const told = { isIntact: true, dataEnd: offsetBytes }
    this.#reaching = [{ id: header.id, offsetBytes, endBytes, ...told }]
  }

  #locate(id: NeedleId): NeedleLocation | undefined {
    const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
    const isLive = this.#frame.generation.map.lookup(id, location) && !location.isDeleted
    return isLive ? location : undefined
  }

  async #checkSuperBlock(): Promise<ScrubFinding[]> {
    const { dat, superBlock } = this.#frame.generation
    const bytes = await readFully(dat, superBlockBytes(superBlock), 0)
    try {
      if (encodeSuperBlock(decodeSuperBlock(bytes)).equals(encodeSuperBlock(superBlock))) return []
    } catch (error) {
      if (!isStoreError(error)) throw error
    }
    return [indexFinding('the super block is not what it was when the volume was opened')]
  }

  async #checkFiles(): Promise<ScrubFinding[]> {
    const { generation, known, index } = this.#frame
    const problems = await this.#host.between(() => checkSmallFiles(this.#host, generation, known))
    if (index !== undefined) {
      const problem = await checkIndexFile(this.#host, index, () => this.#rest())
      if (problem !== undefined) problems.push(problem)
    }
    return problems.map(indexFinding)
  }

  async #rest(): Promise<void> {
    this.#checkSignal()
    await this.#pace.rest()
    this.#checkSignal()
  }

  async #giveWay(): Promise<void> {
    this.#checkSignal()
    await this.#pace.giveWay()
  }

  #checkSignal(): void {
    if (this.#signal.aborted) throw cancelledError(this.#signal, 'while checking a volume')
  }
}

/** Only while nothing is written. */
async function takeFrame(generation: Generation): Promise<Frame> {
  const { checksums, endBytes, log } = generation
  const known = {
    blockBytes: checksums.blockBytes,
    datBytes: endBytes,
    crcs: checksums.toArray(),
  }
  const index = (await log.tryFlush()) ? { idxBytes: log.lengthBytes, idxCrc: log.crc } : undefined
  return { generation, known, index }
}

function isSameNeedle(record: LiveRecord, needle: PlacedNeedle): boolean {
  const { id, offsetBytes } = needle
  return record.offsetBytes === offsetBytes && compareNeedleIds(record.id, id) === 0
}

function corrupt(id: NeedleId, offsetBytes: number, why: string): ScrubFinding {
  const message = `needle ${formatNeedleId(id)} at byte ${offsetBytes}: ${why}`
  return { kind: 'needle', needleId: id, offsetBytes, message }
}

function indexFinding(message: string): ScrubFinding {
  return { kind: 'index', needleId: NO_NEEDLE, offsetBytes: 0, message }
}
