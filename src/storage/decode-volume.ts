import { assert } from '../base/assert.ts'
import { formatNeedleId, type NeedleId, needleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { StoreError } from '../base/store-error.ts'
import type { EcIndex } from '../erasure/ec-index.ts'
import { StripeFile } from '../erasure/stripe-file.ts'
import type { StripeReader } from '../erasure/stripe-reader.ts'
import { verifiedPieces } from '../erasure/verified-pieces.ts'
import { isPutEntry } from '../format/index-entry.ts'
import {
  encodeTombstone,
  NEEDLE_HEADER_BYTES,
  type NeedleVersion,
  recordBytes,
} from '../format/needle.ts'
import { encodeSuperBlock, type SuperBlock, superBlockBytes } from '../format/super-block.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import { readFully } from '../runtime/disk.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { AppendClock } from './append-clock.ts'
import { BlockChecksums } from './block-checksums.ts'
import type { VolumeDraft } from './disk-location.ts'
import { DraftGeneration } from './draft-generation.ts'
import { Generation } from './generation.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import { IndexLog } from './index-log.ts'
import type { NeedleLocation } from './needle-map.ts'
import { RecordScanner, type ScannedRecord } from './record-scanner.ts'
import { CopyVerifier } from './vacuum.ts'
import { type DeletedNeedle, VacuumCopier } from './vacuum-copy.ts'
import { copyAround, readDeleted } from './vacuum-salvage.ts'
import { WorkWindow } from './work-pace.ts'

const ENTRIES_PER_TURN = 512

export interface CodedSource {
  readonly index: EcIndex
  readonly reader: StripeReader
  readonly run: { readonly replication: ReplicaPlacement }
  /** Without what was deleted or overwritten, nor what has expired. */
  readonly livingOnly: boolean
}

export interface DecodeOptions {
  readonly clock: Clock
  /** Awaited after each window of work, some milliseconds. */
  readonly rest: () => Promise<void>
  /** Both in the same measure; reading it back counts as much as writing it. */
  readonly onProgress: (doneBytes: number, totalBytes: number) => void
  readonly signal: AbortSignal
}

/**
 * Makes a sealed volume of a coded one, in a draft: `.dat`, `.idx`, `.sum` and `.vif`, all durable
 * when this returns. Every byte comes from a verified block, and is read back. What lives in it is
 * what lived in the coded volume when this was called, or less by what was deleted meanwhile.
 *
 * As it was coded, `.dat` has all bytes in their places; behind them it gets a tombstone for each
 * needle deleted since, so it may be longer than it was. With these it says by itself what
 * lives: no index made anew from it brings a needle back. With `livingOnly` it is what a vacuum
 * would have made: records in the same order, a revision higher, in format version 3.
 *
 * @throws {StoreError} VOLUME_DAMAGED: index and records contradict each other. NEEDLE_CORRUPT: a
 * live needle was bad when it was coded. SHARDS_LOST, CODEC_UNAVAILABLE, OVERLOADED, CANCELLED;
 * DISK_FULL, DISK_FAILED; VACUUM_UNVERIFIED: what was written does not read back. VOLUME_FULL:
 * there is no room for the tombstones in a volume.
 */
export async function fillFromStripe(
  draft: VolumeDraft,
  source: CodedSource,
  options: DecodeOptions,
): Promise<void> {
  const superBlock = await source.reader.superBlock(options.signal)
  if (source.livingOnly) await fillWithLiving(draft, source, superBlock, options)
  else await fillAsCoded(draft, source, superBlock, options)
}

async function fillAsCoded(
  draft: VolumeDraft,
  { index, reader, run }: CodedSource,
  superBlock: SuperBlock,
  options: DecodeOptions,
): Promise<void> {
  const { datBytes } = reader
  const refusal = draft.space.refusePut(datBytes)
  if (refusal !== undefined) throw refusal
  const made = { expectedCount: index.entryCount, lastAppendAtNs: 0n }
  await using target = await DraftGeneration.open(draft, superBlock, made)
  const { signal, rest, onProgress } = options
  for await (const piece of verifiedPieces(reader, { fromBytes: 0, toBytes: datBytes }, signal)) {
    await target.append(piece)
    await target.settle()
    onProgress(target.generation.endBytes, 2 * datBytes)
    await rest()
  }
  const records = new CodedRecords(target, index, options)
  await records.readBack()
  await records.buryDeleted()
  await records.checkLive()
  await target.settle()
  await records.checkWhole()
  await target.finish(run.replication)
}

/** The records of a volume that was written as it was coded, and which of them live. */
class CodedRecords {
  readonly #target: DraftGeneration
  readonly #index: EcIndex
  readonly #options: DecodeOptions
  readonly #reread: BlockChecksums
  #rereadTo: number

  constructor(target: DraftGeneration, index: EcIndex, options: DecodeOptions) {
    this.#target = target
    this.#index = index
    this.#options = options
    this.#reread = new BlockChecksums(target.generation.checksums.blockBytes)
    this.#rereadTo = superBlockBytes(target.generation.superBlock)
  }

  /** Reads all records from the disk, and makes the index of them. */
  async readBack(): Promise<void> {
    const { dat, endBytes } = this.#target.generation
    const { onProgress } = this.#options
    this.#reread.extend(await readFully(dat, this.#rereadTo, 0))
    await this.#scan(async (record) => {
      this.#note(record)
      await this.#flushFull()
      onProgress(endBytes + record.offsetBytes, 2 * endBytes)
    })
  }

  /** Needles that live by their records, and were deleted without one or since, get a tombstone. */
  async buryDeleted(): Promise<void> {
    const { generation } = this.#target
    const { map, dat, clock } = generation
    clock.advanceTo(this.#options.clock.nowMs())
    for (let cursor: number | undefined = 0; cursor !== undefined; ) {
      const buried: { id: NeedleId; offsetBytes: number; sizeBytes: number }[] = []
      cursor = map.visitSome(cursor, ENTRIES_PER_TURN, (hi, lo, at, sizeBytes, isDeleted) => {
        const id = needleId(hi, lo)
        if (!isDeleted && !isLiveIn(this.#index, id))
          buried.push({ id, offsetBytes: at, sizeBytes })
      })
      for (const entry of buried) await this.#bury(await readDeleted(dat, entry))
      await this.#flushFull()
      await this.#giveWay()
    }
  }

  /** All that lives by the index lives by the records, in the same place. */
  async checkLive(): Promise<void> {
    const { map } = this.#target.generation
    const location = newLocation()
    let count = 0
    for (const { id, offsetBytes } of this.#index.live()) {
      if (++count % ENTRIES_PER_TURN === 0) await this.#giveWay()
      const isThere = map.lookup(id, location) && !location.isDeleted
      if (isThere && location.offsetBytes === offsetBytes) continue
      const why = `the index has needle ${formatNeedleId(id)} at byte ${offsetBytes}`
      throw new StoreError('VOLUME_DAMAGED', `${why}, the records of the volume have not`)
    }
  }

  /** What was appended is read back too; then every byte has been. */
  async checkWhole(): Promise<void> {
    await this.#scan(async () => undefined)
    const written = Buffer.from(this.#target.generation.checksums.toArray().buffer)
    if (written.equals(Buffer.from(this.#reread.toArray().buffer))) return
    const why = 'a block of the decoded volume does not read back as written'
    throw new StoreError('VACUUM_UNVERIFIED', why)
  }

  async #scan(visit: (record: ScannedRecord) => Promise<void>): Promise<void> {
    const { dat, endBytes, version } = this.#target.generation
    const { rest, signal } = this.#options
    await dat.datasync()
    const range = { fromBytes: this.#rereadTo, toBytes: endBytes }
    const checksums = this.#reread
    const scanner = new RecordScanner(dat, { version, ...range, checksums, onPiece: rest })
    const window = new WorkWindow(rest)
    for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
      await visit(record)
      if (signal.aborted) throw cancelledError(signal, 'while decoding a volume')
      if (window.isFull(record.recordBytes)) await window.rest()
    }
    if (scanner.end !== 'end') {
      const why = `no readable record at byte ${scanner.positionBytes} (${scanner.end})`
      throw new StoreError('VOLUME_DAMAGED', why)
    }
    this.#rereadTo = endBytes
  }

  /** As opening a volume does it. Only the index can tell an empty file from a tombstone. */
  #note(record: ScannedRecord): void {
    const { header, offsetBytes, isIntact, appendAtNs } = record
    const { map, log, clock } = this.#target.generation
    const { id, sizeBytes } = header
    const entry = this.#index.find(id)
    const isCoded = entry !== undefined && entry.offsetBytes === offsetBytes && isPutEntry(entry)
    const isLive = isCoded && !entry.isDeleted
    if (isLive && (!isIntact || entry.sizeBytes !== sizeBytes)) {
      const why = `the record of needle ${formatNeedleId(id)} at byte ${offsetBytes}`
      throw new StoreError('NEEDLE_CORRUPT', `${why} was bad when the volume was coded`)
    }
    clock.raiseTo(appendAtNs)
    if (sizeBytes > 0 || isCoded) {
      map.put(id, offsetBytes, sizeBytes)
      log.put(id, offsetBytes, sizeBytes)
    } else {
      map.delete(id, offsetBytes)
      log.delete(id, offsetBytes)
    }
  }

  async #bury(deleted: DeletedNeedle): Promise<void> {
    const { generation } = this.#target
    const { map, log, clock, version, endBytes } = generation
    const record = tombstoneOf(deleted, version, clock)
    if (endBytes + record.length > LIMITS.volumeSizeMax.value) {
      const why = `${endBytes} bytes and no room for tombstones; its living needles alone would fit`
      throw new StoreError('VOLUME_FULL', why)
    }
    await this.#target.append(record)
    map.delete(deleted.id, endBytes)
    log.delete(deleted.id, endBytes)
  }

  async #flushFull(): Promise<void> {
    const { log } = this.#target.generation
    if (log.isFull) await log.flush()
  }

  async #giveWay(): Promise<void> {
    const { signal } = this.#options
    if (signal.aborted) throw cancelledError(signal, 'while decoding a volume')
    await yieldTurn()
  }
}

async function fillWithLiving(
  draft: VolumeDraft,
  { index, reader, run }: CodedSource,
  superBlock: SuperBlock,
  options: DecodeOptions,
): Promise<void> {
  const { clock, rest, onProgress, signal } = options
  const nowMs = clock.nowMs()
  const old = await codedGeneration(index, reader, superBlock, signal)
  const refusal = draft.space.refusePut(old.map.liveBytes)
  if (refusal !== undefined) throw refusal
  const revision = (superBlock.compactionRevision + 1) & 0xffff
  const head = { ...superBlock, version: 3 as const, compactionRevision: revision }
  // Records of old versions have no stamps of their own.
  const lastAppendAtNs = superBlock.version === 3 ? 0n : BigInt(nowMs) * 1_000_000n
  const made = { expectedCount: old.map.liveCount, lastAppendAtNs }
  await using target = await DraftGeneration.open(draft, head, made)
  const next = target.generation
  await target.append(encodeSuperBlock(head))
  const { datBytes } = reader
  const copyOptions = {
    keepTombstones: false,
    onProgress: (doneBytes: number) => onProgress(doneBytes, 2 * datBytes),
    nowMs,
    signal,
  }
  const copier = new VacuumCopier(old, next, superBlockBytes(superBlock), copyOptions)
  const settleAndRest = async (): Promise<void> => {
    await target.settle()
    await rest()
  }
  await copyAround(old, copier, copyOptions, settleAndRest)
  await target.settle()
  assert(
    next.map.liveCount === old.map.liveCount - copier.countExpired(),
    'all that lives was copied',
  )
  const verifier = new CopyVerifier(next, {
    onVerified: (doneBytes, totalBytes) => {
      onProgress(datBytes + Math.floor((doneBytes / totalBytes) * datBytes), 2 * datBytes)
    },
  })
  await verifier.verifyUpTo(next.endBytes, rest, signal)
  verifier.checkWhole()
  await target.finish(run.replication)
}

/** The coded volume as a vacuum reads one. Deletions from here on are not seen. */
async function codedGeneration(
  index: EcIndex,
  reader: StripeReader,
  superBlock: SuperBlock,
  signal: AbortSignal,
): Promise<Generation> {
  const { version } = superBlock
  const dat = new StripeFile(reader, 'a coded volume', signal)
  const map = new HashNeedleMap({ version, expectedCount: index.entryCount })
  let count = 0
  for (const { id, offsetBytes, sizeBytes } of index.live()) {
    map.put(id, offsetBytes, sizeBytes)
    if (++count % ENTRIES_PER_TURN === 0) await yieldTurn()
  }
  return new Generation({
    superBlock,
    dat,
    log: new IndexLog(dat, { lengthBytes: 0, crc: 0, isReadOnly: true }),
    map,
    checksums: new BlockChecksums(),
    clock: new AppendClock(0n),
    endBytes: reader.datBytes,
  })
}

function isLiveIn(index: EcIndex, id: NeedleId): boolean {
  const entry = index.find(id)
  return entry !== undefined && !entry.isDeleted
}

/** Those of old versions have no stamp, and are eight bytes shorter. */
function tombstoneOf(deleted: DeletedNeedle, version: NeedleVersion, clock: AppendClock): Buffer {
  const record = Buffer.alloc(recordBytes(0, version))
  if (version === 3) {
    encodeTombstone(deleted, clock.tick(), record, 0)
    return record
  }
  record.writeUInt32BE(deleted.cookie, 0)
  record.writeUInt32BE(deleted.id.hi, 4)
  record.writeUInt32BE(deleted.id.lo, 8)
  record.writeUInt32BE(deleted.checksum, NEEDLE_HEADER_BYTES)
  return record
}

function newLocation(): NeedleLocation {
  return { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
}
