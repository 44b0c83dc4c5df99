import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { matchesChecksum } from '../format/needle.ts'
import type { TailRecord } from '../net/volume-api.ts'
import type { Volume } from '../storage/volume.ts'
import {
  type FetchOutcome,
  fetchNeedle,
  type NeedleFetchParts,
  storeHealing,
} from './needle-fetch.ts'

const RECORDS_AT_ONCE = 256
const BYTES_AT_ONCE = LIMITS.wholeReadMax.value

export interface CatchUpParts extends NeedleFetchParts {
  readonly volume: Volume
  /**
   * Nothing but copying and catching up has written to this copy. Then what is deleted here was
   * deleted at the source too, and what the source has put after that counts.
   */
  readonly isPristine: boolean
}

/**
 * Does to a copy what was done to its source, record by record, in the same order. Doing it twice
 * is harmless. A put never goes over a tombstone, unless the tombstone came from the source and the
 * needle lives there again.
 */
export class CatchUp {
  readonly #parts: CatchUpParts
  readonly #signal: AbortSignal
  #waiting: TailRecord[] = []
  #waitingBytes = 0
  #recordCount = 0

  constructor(parts: CatchUpParts, signal: AbortSignal) {
    this.#parts = parts
    this.#signal = signal
  }

  get recordCount(): number {
    return this.#recordCount
  }

  /** @throws {StoreError} PEER_FAILED: the record is not what its checksum says. As `finish`. */
  async add(record: TailRecord): Promise<void> {
    const isLeftOut = record.dataBytes > record.data.length
    if (isLeftOut) {
      await this.finish()
      await this.#fetch(record)
      return
    }
    const { data, checksum, isTombstone } = record
    if (!isTombstone && !matchesChecksum(crc32c(data), checksum)) {
      throw new StoreError('PEER_FAILED', 'a record does not match its checksum')
    }
    this.#waiting.push(record)
    this.#waitingBytes += data.length
    const isEnough = this.#waiting.length >= RECORDS_AT_ONCE || this.#waitingBytes >= BYTES_AT_ONCE
    if (isEnough) await this.finish()
  }

  /** All records added are durable when this returns. @throws {StoreError} as `Volume.put`. */
  async finish(): Promise<void> {
    const records = this.#waiting
    this.#waiting = []
    this.#waitingBytes = 0
    // Submitted in one turn they share batches; the volume keeps the order of each needle.
    const doing = records.map((record) =>
      record.isTombstone ? this.#delete(record) : this.#put(record),
    )
    const results = await Promise.allSettled(doing)
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    for (const [index, result] of results.entries()) {
      const record = records[index] as TailRecord
      const outcome = result.status === 'fulfilled' ? result.value : 'stored'
      if (outcome === 'deleted') await this.#putAgain(record)
      this.#recordCount++
    }
  }

  async #delete({ fileId }: TailRecord): Promise<FetchOutcome> {
    const request = { id: fileId.needleId, cookie: undefined }
    await this.#parts.volume.delete(request, this.#signal)
    return 'stored'
  }

  #put(record: TailRecord): Promise<FetchOutcome> {
    const input = { ...inputOf(record), isHeal: true }
    return storeHealing(() => this.#parts.volume.put(input, this.#signal))
  }

  async #fetch(record: TailRecord): Promise<void> {
    // One that was overwritten or deleted since comes with a later record.
    const { volume } = this.#parts
    const outcome = await fetchNeedle(volume, record.fileId, this.#parts, this.#signal)
    if (outcome === 'deleted') await this.#putAgain(record)
    this.#recordCount++
  }

  /** It is deleted here. If it lives at the source, that was after the deletion came from there. */
  async #putAgain({ fileId }: TailRecord): Promise<void> {
    const { volume, isPristine } = this.#parts
    if (!isPristine) return
    await fetchNeedle(volume, fileId, { ...this.#parts, isOverTombstones: true }, this.#signal)
  }
}

function inputOf({ fileId, data, metadata }: TailRecord) {
  return { id: fileId.needleId, cookie: fileId.cookie, data, attributes: metadata }
}
