import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { readFully } from '../runtime/disk.ts'
import type { BlockChecksums } from './block-checksums.ts'
import type { IndexRow } from './index-snapshot.ts'
import { RecordScanner, type ScannedRecord } from './record-scanner.ts'
import type { VolumeSource } from './volume-source.ts'

export interface WalkedRecord {
  readonly kind: 'record'
  readonly record: ScannedRecord
  /** A record of Size 0 is an empty file when its index row says so, else a deletion. */
  readonly meaning: 'put' | 'empty' | 'delete'
  /** An index row agrees with its header. */
  readonly hasRow: boolean
  /**
   * Not intact, and known to neither index nor `.sum`, yet intact records lie behind it: the next
   * start would take it and all of them for a torn tail.
   */
  readonly isUnvouched: boolean
}

/** A row that names no record, or says something else about it than its header. */
export interface BadRow {
  readonly kind: 'bad-row'
  readonly row: IndexRow
}

/** Bytes that belong to no readable record. `torn-tail`: the next start may cut them. */
export interface Unreadable {
  readonly kind: 'gap' | 'torn-tail'
  readonly fromBytes: number
  readonly toBytes: number
  readonly why: string
}

export type WalkStep = WalkedRecord | BadRow | Unreadable

export interface WalkOptions {
  /** Fed with every byte from 0 up to the last readable record, and with those of gaps. */
  readonly checksums?: BlockChecksums
}

/**
 * Walks all records of a volume in the order they were appended, beside the index rows that name
 * them. Where the chain of lengths breaks it goes on at the next record the index knows. What a
 * start would cut is told apart from what it would not by the same rules as in tail-replay.ts.
 *
 * @throws {StoreError} DISK_FAILED, CANCELLED.
 */
export async function* walkRecords(
  source: VolumeSource,
  options: WalkOptions,
  signal: AbortSignal,
): AsyncGenerator<WalkStep, void, undefined> {
  yield* new RecordWalk(source, options).run(signal)
}

class RecordWalk {
  readonly #source: VolumeSource
  readonly #options: WalkOptions
  readonly #scanner: RecordScanner
  /** Position of the first index row not compared yet. */
  #nextRow = 0
  /** Records that are a torn tail unless an intact one follows. */
  #held: WalkedRecord[] = []

  constructor(source: VolumeSource, options: WalkOptions) {
    this.#source = source
    this.#options = options
    this.#scanner = new RecordScanner(source.dat, {
      version: source.version,
      fromBytes: source.firstBytes,
      toBytes: source.datBytes,
      ...options,
    })
  }

  async *run(signal: AbortSignal): AsyncGenerator<WalkStep, void, undefined> {
    const { dat, firstBytes } = this.#source
    this.#options.checksums?.extend(await readFully(dat, firstBytes, 0))
    for (;;) {
      if (signal.aborted) throw new StoreError('CANCELLED', 'cancelled while reading a volume')
      const record = await this.#scanner.next()
      if (record !== undefined) {
        for (const step of this.#compare(record)) yield step
        continue
      }
      const unreadable = await this.#passUnreadable()
      if (unreadable !== undefined) yield unreadable
      if (unreadable?.kind !== 'gap' || unreadable.toBytes === this.#source.datBytes) break
    }
    for (const row of this.#rowsBefore(Number.POSITIVE_INFINITY)) yield row
  }

  /** The record, after the rows that name places before it. */
  #compare(record: ScannedRecord): WalkStep[] {
    const { rows } = this.#source
    const { header, offsetBytes } = record
    const steps: WalkStep[] = this.#rowsBefore(offsetBytes)
    let rowSize: number | undefined
    while (rows !== undefined && this.#nextOffset() === offsetBytes) {
      const position = this.#nextRow++
      if (rows.describes(position, header)) rowSize = rows.sizeBytesAt(position)
      else steps.push({ kind: 'bad-row', row: rows.at(position) })
    }
    const hasRow = rowSize !== undefined
    const meaning = header.sizeBytes > 0 ? 'put' : rowSize === 0 ? 'empty' : 'delete'
    const step: WalkedRecord = { kind: 'record', record, meaning, hasRow, isUnvouched: false }
    const isProof = hasRow || (meaning === 'put' && record.isIntact)
    if (this.#mayBeTorn(step) || (this.#held.length > 0 && !isProof)) {
      // The view into the scanner's window does not outlive the next record.
      this.#held.push({ ...step, record: { ...record, bytes: undefined } })
      return steps
    }
    for (const held of this.#held) steps.push({ ...held, isUnvouched: !held.record.isIntact })
    this.#held = []
    steps.push(step)
    return steps
  }

  #mayBeTorn(step: WalkedRecord): boolean {
    const { record, hasRow } = step
    if (record.isIntact || hasRow || this.#nextOffset() !== undefined) return false
    if (record.offsetBytes < this.#source.watermarkBytes) return false
    const leftBytes = this.#source.datBytes - record.offsetBytes
    return leftBytes <= LIMITS.tornTailMax.value || leftBytes === record.recordBytes
  }

  /** What stands between the last record and the next one, or the end; undefined: nothing. */
  async #passUnreadable(): Promise<Unreadable | undefined> {
    const { datBytes, watermarkBytes } = this.#source
    const held = this.#held[0]
    const fromBytes = this.#scanner.positionBytes
    const end = this.#scanner.end
    if (end === 'end' && held === undefined) return undefined
    if (held !== undefined) {
      const why = 'the last records do not match their checksums'
      return { kind: 'torn-tail', fromBytes: held.record.offsetBytes, toBytes: datBytes, why }
    }
    const why = `no readable record (${end})`
    const isNamed = this.#nextOffset() === fromBytes
    const resumeAt = this.#nextOffsetAfter(fromBytes)
    const leftBytes = datBytes - fromBytes
    const isShort = leftBytes <= LIMITS.tornTailMax.value || end === 'cut-short'
    const isAcknowledged = isNamed || fromBytes < watermarkBytes || !isShort
    if (resumeAt === undefined && !isAcknowledged) {
      return { kind: 'torn-tail', fromBytes, toBytes: datBytes, why }
    }
    const toBytes = resumeAt ?? datBytes
    await this.#feed(fromBytes, toBytes)
    this.#scanner.seek(toBytes)
    return { kind: 'gap', fromBytes, toBytes, why }
  }

  #rowsBefore(offsetBytes: number): BadRow[] {
    const { rows } = this.#source
    const passed: BadRow[] = []
    for (let next = this.#nextOffset(); next !== undefined; next = this.#nextOffset()) {
      if (rows === undefined || next >= offsetBytes) break
      passed.push({ kind: 'bad-row', row: rows.at(this.#nextRow++) })
    }
    return passed
  }

  #nextOffset(): number | undefined {
    const { rows } = this.#source
    if (rows === undefined || this.#nextRow >= rows.placedCount) return undefined
    return rows.offsetBytesAt(this.#nextRow)
  }

  #nextOffsetAfter(positionBytes: number): number | undefined {
    const { rows, datBytes } = this.#source
    if (rows === undefined) return undefined
    for (let position = this.#nextRow; position < rows.placedCount; position++) {
      const offset = rows.offsetBytesAt(position)
      if (offset > positionBytes) return offset < datBytes ? offset : undefined
    }
    return undefined
  }

  async #feed(fromBytes: number, toBytes: number): Promise<void> {
    const { checksums } = this.#options
    if (checksums === undefined) return
    for (let at = fromBytes; at < toBytes; at += LIMITS.streamPiece.value) {
      const length = Math.min(LIMITS.streamPiece.value, toBytes - at)
      checksums.extend(await readFully(this.#source.dat, length, at))
    }
  }
}
