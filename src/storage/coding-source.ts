import { assert } from '../base/assert.ts'
import { encodeIndexEntry, INDEX_ENTRY_BYTES } from '../format/index-entry.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { Generation } from './generation.ts'
import type { NeedleEntries } from './needle-map.ts'
import type { KnownBlocks } from './scrub-blocks.ts'
import type { VolumeSnapshot } from './volume-snapshot.ts'

/** About a millisecond. */
const ENTRIES_PER_TURN = 8_192

/**
 * A volume at one moment, as an encoder wants it: its bytes, the checksums of their blocks, and
 * where the needles are that lived then.
 */
export class CodingSource implements Disposable {
  readonly snapshot: VolumeSnapshot
  readonly blocks: KnownBlocks
  #rows: Buffer
  #isSorted: boolean

  private constructor(
    snapshot: VolumeSnapshot,
    blocks: KnownBlocks,
    rows: { readonly rows: Buffer; readonly isSorted: boolean },
  ) {
    this.snapshot = snapshot
    this.blocks = blocks
    this.#rows = rows.rows
    this.#isSorted = rows.isSorted
  }

  /** Takes over the snapshot. Only while nothing is written. */
  static async take(generation: Generation, snapshot: VolumeSnapshot): Promise<CodingSource> {
    const { checksums, map } = generation
    const { blockBytes, coveredBytes: datBytes } = checksums
    assert(datBytes === snapshot.datBytes, 'the checksums cover the whole volume')
    const blocks = { blockBytes, datBytes, crcs: checksums.toArray() }
    try {
      const rows = await collectRows(map, map.liveCount)
      return new CodingSource(snapshot, blocks, rows)
    } catch (error) {
      snapshot[Symbol.dispose]()
      throw error
    }
  }

  /** Rows of `.idx` of the needles that live, ids ascending once they are sorted. */
  get rows(): Buffer {
    return this.#rows
  }

  async sortRows(): Promise<void> {
    if (!this.#isSorted) this.#rows = await sortRows(this.#rows)
    this.#isSorted = true
  }

  [Symbol.dispose](): void {
    this.snapshot[Symbol.dispose]()
  }
}

async function collectRows(
  entries: NeedleEntries,
  liveCount: number,
): Promise<{ readonly rows: Buffer; readonly isSorted: boolean }> {
  const rows = Buffer.allocUnsafeSlow(liveCount * INDEX_ENTRY_BYTES)
  let at = 0
  let isSorted = true
  let lastHi = -1
  let lastLo = 0
  const add = (hi: number, lo: number, offset: number, size: number, isDeleted: boolean): void => {
    if (isDeleted) return
    isSorted &&= hi > lastHi || (hi === lastHi && lo > lastLo)
    lastHi = hi
    lastLo = lo
    encodeIndexEntry({ id: { hi, lo }, offsetBytes: offset, sizeBytes: size }, rows, at)
    at += INDEX_ENTRY_BYTES
  }
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    cursor = entries.visitSome(cursor, ENTRIES_PER_TURN, add)
    await yieldTurn()
  }
  assert(at === rows.length, 'as many live needles as the map counts')
  return { rows, isSorted }
}

/** Sorts the ids alone, which is fast, and puts each row where its id has come to stand. */
async function sortRows(rows: Buffer): Promise<Buffer> {
  const count = rows.length / INDEX_ENTRY_BYTES
  const ids = new BigUint64Array(count)
  for (let row = 0; row < count; row++) ids[row] = rows.readBigUInt64BE(row * INDEX_ENTRY_BYTES)
  ids.sort()
  const sorted = Buffer.allocUnsafeSlow(rows.length)
  for (let row = 0; row < count; row++) {
    const at = row * INDEX_ENTRY_BYTES
    const place = placeOf(ids, rows.readBigUInt64BE(at))
    rows.copy(sorted, place * INDEX_ENTRY_BYTES, at, at + INDEX_ENTRY_BYTES)
    if (row % ENTRIES_PER_TURN === 0) await yieldTurn()
  }
  return sorted
}

function placeOf(sorted: BigUint64Array, id: bigint): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const there = sorted[middle]
    if (there !== undefined && there < id) low = middle + 1
    else high = middle
  }
  return low
}
