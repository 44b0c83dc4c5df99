import { assert } from '../base/assert.ts'
import { compareNeedleIds, type NeedleId } from '../base/ids.ts'
import { type NeedleVersion, recordBytes } from '../format/needle.ts'
import { HashNeedleMap } from './hash-needle-map.ts'
import {
  type EntryVisitor,
  isRecordOffset,
  type NeedleEntries,
  type NeedleLocation,
  type NeedleMap,
} from './needle-map.ts'
import { packEntries } from './packed-builder.ts'
import {
  findPacked,
  type PackedEntries,
  packedOffset,
  packedSize,
  visitPacked,
} from './packed-entries.ts'
import type { SharedNeedleMap } from './shared-needle-map.ts'
import { sharedUint32Array } from './shared-words.ts'

/** Entries looked through for deleted ones between two yields. */
const ENTRIES_PER_TURN = 8_192

/**
 * The needle map of a sealed volume: under 13 bytes an entry, and nothing can be put in. Needles
 * can still be deleted. Ids that were never packed are kept apart, in a small hash map: they are
 * tombstones for needles that this volume does not have, so there are few.
 */
export class PackedNeedleMap implements NeedleMap {
  readonly #packed: PackedEntries
  readonly #version: NeedleVersion
  /** One bit for each entry. */
  readonly #deleted: Uint32Array
  #liveCount: number
  #liveBytes: number
  #others: HashNeedleMap | undefined

  private constructor(
    packed: PackedEntries,
    options: { version: NeedleVersion; liveBytes: number; others: HashNeedleMap | undefined },
  ) {
    this.#packed = packed
    this.#version = options.version
    this.#deleted = sharedUint32Array(Math.ceil(packed.count / 32))
    this.#liveCount = packed.count
    this.#liveBytes = options.liveBytes
    this.#others = options.others
  }

  /**
   * Packs what is in `source`. Calls `yieldTurn` after every few milliseconds of work. While it
   * waits, needles may be deleted from the source but not put: of those deletions some will be in
   * the result and some not, so the caller must apply all of them to the result again.
   */
  static async build(
    source: NeedleEntries,
    options: { readonly version: NeedleVersion; readonly yieldTurn: () => Promise<void> },
  ): Promise<PackedNeedleMap> {
    const { version, yieldTurn } = options
    let others: HashNeedleMap | undefined
    let liveBytes = 0
    const packed = await packEntries(source, {
      yieldTurn,
      onPacked: (sizeBytes) => {
        liveBytes += recordBytes(sizeBytes, version)
      },
      onLate: (hi, lo, offsetBytes, sizeBytes) => {
        others ??= new HashNeedleMap({ version })
        others.put({ hi, lo }, offsetBytes, sizeBytes)
      },
    })
    const map = new PackedNeedleMap(packed, { version, liveBytes, others })
    const id = { hi: 0, lo: 0 }
    for (let cursor: number | undefined = 0; cursor !== undefined; ) {
      cursor = source.visitSome(cursor, ENTRIES_PER_TURN, (hi, lo, offsetBytes, _, isDeleted) => {
        if (!isDeleted) return
        id.hi = hi
        id.lo = lo
        map.delete(id, offsetBytes)
      })
      await yieldTurn()
    }
    return map
  }

  get entryCount(): number {
    return this.#packed.count + (this.#others?.entryCount ?? 0)
  }

  get liveCount(): number {
    return this.#liveCount + (this.#others?.liveCount ?? 0)
  }

  get highestId(): NeedleId {
    const { firstHi, firstLo, rangeHi, rangeLo, count } = this.#packed
    const lo = firstLo + rangeLo
    const isCarrying = lo >= 2 ** 32
    const last = { hi: firstHi + rangeHi + (isCarrying ? 1 : 0), lo: lo >>> 0 }
    const other = this.#others?.highestId ?? { hi: 0, lo: 0 }
    return count > 0 && compareNeedleIds(last, other) > 0 ? last : other
  }

  get liveBytes(): number {
    return this.#liveBytes + (this.#others?.liveBytes ?? 0)
  }

  get memoryBytes(): number {
    const { words, starts, exceptions, exceptionSizes } = this.#packed
    return [words, starts, exceptions, exceptionSizes, this.#deleted].reduce(
      (bytes, array) => bytes + array.byteLength,
      this.#others?.memoryBytes ?? 0,
    )
  }

  lookup(id: NeedleId, into: NeedleLocation): boolean {
    const packed = this.#packed
    const index = findPacked(packed, id.hi, id.lo)
    if (index < 0) return this.#others === undefined ? false : this.#others.lookup(id, into)
    into.offsetBytes = packedOffset(packed, index)
    into.sizeBytes = packedSize(packed, index)
    into.isDeleted = this.#isDeleted(index)
    return true
  }

  share(): SharedNeedleMap {
    const others = this.#others?.sharedState()
    return { kind: 'packed', packed: this.#packed, deleted: this.#deleted, others }
  }

  /** Never: a sealed volume takes no more needles. */
  put(_id: NeedleId, _offsetBytes: number, _sizeBytes: number): void {
    assert(false, 'nothing is put into the map of a sealed volume')
  }

  delete(id: NeedleId, tombstoneOffsetBytes: number): boolean {
    assert(
      tombstoneOffsetBytes === 0 || isRecordOffset(tombstoneOffsetBytes),
      'a tombstone lies at a multiple of 8 below 32 GiB, or nowhere',
    )
    const index = findPacked(this.#packed, id.hi, id.lo)
    if (index < 0) {
      if (this.#others === undefined && tombstoneOffsetBytes === 0) return false
      this.#others ??= new HashNeedleMap({ version: this.#version })
      return this.#others.delete(id, tombstoneOffsetBytes)
    }
    if (this.#isDeleted(index)) return false
    const word = index >>> 5
    this.#deleted[word] = (this.#deleted[word] as number) | (1 << (index & 31))
    this.#liveCount--
    this.#liveBytes -= recordBytes(packedSize(this.#packed, index), this.#version)
    return true
  }

  visit(each: EntryVisitor): void {
    this.#visitRange(0, this.#packed.count, each)
    this.#others?.visit(each)
  }

  /** The cursor is the index of the next entry; behind the last one, that of the others follows. */
  visitSome(cursor: number, limit: number, each: EntryVisitor): number | undefined {
    assert(cursor >= 0 && limit > 0, 'a cursor is an index, a limit above 0')
    const { count } = this.#packed
    if (cursor < count) {
      const end = Math.min(cursor + limit, count)
      this.#visitRange(cursor, end, each)
      return end < count || this.#others !== undefined ? end : undefined
    }
    const next = this.#others?.visitSome(cursor - count, limit, each)
    return next === undefined ? undefined : count + next
  }

  #isDeleted(index: number): boolean {
    return (((this.#deleted[index >>> 5] as number) >>> (index & 31)) & 1) === 1
  }

  #visitRange(start: number, end: number, each: EntryVisitor): void {
    visitPacked(this.#packed, { start, end }, (index) => this.#isDeleted(index), each)
  }
}
