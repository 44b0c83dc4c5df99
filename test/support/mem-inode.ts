import { assert } from '../../src/base/assert.ts'
import type { Prng } from './prng.ts'

/** What a disk writes in one piece, or not at all. */
const SECTOR_BYTES = 512
const FIRST_CAPACITY_BYTES = 4096

type Change =
  | { readonly kind: 'write'; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly sizeBytes: number }

/**
 * One file of the crash model: what readers see (the page cache), what is certainly on the medium,
 * and the changes in between, in order.
 */
export class MemInode {
  #visible = new GrowingBytes()
  readonly #durable = new GrowingBytes()
  #unsynced: Change[] = []
  /** How many changes were synced or dropped before the first of `#unsynced`. */
  #settledCount = 0

  get sizeBytes(): number {
    return this.#visible.sizeBytes
  }

  get hasUnsynced(): boolean {
    return this.#unsynced.length > 0
  }

  read(target: Buffer, targetAt: number, length: number, position: number): number {
    return this.#visible.read(target, targetAt, length, position)
  }

  write(bytes: Buffer, at: number): void {
    if (bytes.length === 0) return
    this.#record({ kind: 'write', at, bytes })
  }

  truncate(sizeBytes: number): void {
    this.#record({ kind: 'truncate', sizeBytes })
  }

  /** Stands for the changes made so far; a sync covers those and none made while it runs. */
  mark(): number {
    return this.#settledCount + this.#unsynced.length
  }

  sync(mark: number): void {
    for (const change of this.#settle(mark)) applyChange(this.#durable, change)
  }

  /** A sync failed: these changes never reach the medium, though reads go on showing them. */
  dropUnsynced(mark: number): void {
    this.#settle(mark)
  }

  /** Reads come from the medium again, as when the page cache drops pages it believes clean. */
  evict(): void {
    this.#visible = this.#durable.clone()
    for (const change of this.#unsynced) applyChange(this.#visible, change)
  }

  /** Leaves what a power cut leaves: all that was synced and, by chance, some of the rest. */
  losePower(prng: Prng): void {
    const seenBytes = this.#visible.sizeBytes
    if (this.hasUnsynced) {
      const fate = prng.below(8)
      if (fate === 0) this.sync(this.mark())
      else if (fate <= 3) this.#keepPrefix(prng)
      else if (fate <= 6) this.#keepSectors(prng)
      // The new size may be on the medium without the bytes that belong there.
      if (this.#durable.sizeBytes < seenBytes && prng.chance(0.25)) {
        this.#durable.resize(prng.between(this.#durable.sizeBytes, seenBytes))
      }
    }
    this.#settle(this.mark())
    this.#visible = this.#durable.clone()
  }

  /** Flips one bit wherever a copy of that byte is kept. */
  flipBit(byteIndex: number, bit: number): void {
    assert(byteIndex < this.sizeBytes && bit < 8, `no bit ${bit} of byte ${byteIndex}`)
    const mask = 1 << bit
    this.#visible.xor(byteIndex, mask)
    if (byteIndex < this.#durable.sizeBytes) this.#durable.xor(byteIndex, mask)
    for (const change of this.#unsynced) {
      if (change.kind !== 'write') continue
      const index = byteIndex - change.at
      const byte = change.bytes[index]
      if (byte !== undefined) change.bytes[index] = byte ^ mask
    }
  }

  contents(): Buffer {
    return this.#visible.copy()
  }

  /** What is on the medium for sure: nothing of the unsynced changes. */
  durableContents(): Buffer {
    return this.#durable.copy()
  }

  #record(change: Change): void {
    this.#unsynced.push(change)
    applyChange(this.#visible, change)
  }

  #settle(mark: number): Change[] {
    const count = Math.max(0, mark - this.#settledCount)
    this.#settledCount += count
    return this.#unsynced.splice(0, count)
  }

  /** The first changes are there; the next is torn somewhere; the rest never happened. */
  #keepPrefix(prng: Prng): void {
    const torn = prng.below(this.#unsynced.length)
    for (const change of this.#unsynced.slice(0, torn)) applyChange(this.#durable, change)
    const change = this.#unsynced[torn]
    if (change?.kind === 'write') {
      const keptBytes = tearPoint(change.at, change.bytes.length, prng)
      if (keptBytes > 0) this.#durable.write(change.bytes.subarray(0, keptBytes), change.at)
    } else if (change !== undefined && prng.chance(0.5)) {
      applyChange(this.#durable, change)
    }
  }

  /** The medium took the sectors in an order of its own: any of them may be there. */
  #keepSectors(prng: Prng): void {
    const keepChance = prng.pick([0.1, 0.5, 0.9])
    for (const change of this.#unsynced) {
      if (change.kind === 'truncate') {
        if (prng.chance(keepChance)) applyChange(this.#durable, change)
        continue
      }
      let at = 0
      while (at < change.bytes.length) {
        const room = SECTOR_BYTES - ((change.at + at) % SECTOR_BYTES)
        const piece = change.bytes.subarray(at, at + room)
        if (prng.chance(keepChance)) this.#durable.write(piece, change.at + at)
        at += piece.length
      }
    }
  }
}

/** How many bytes of a torn write are kept: up to a sector's end, or to any byte. */
function tearPoint(at: number, length: number, prng: Prng): number {
  if (prng.chance(0.5)) return prng.between(0, length)
  const sectors = Math.ceil(((at % SECTOR_BYTES) + length) / SECTOR_BYTES)
  const keptEnd = at - (at % SECTOR_BYTES) + prng.between(0, sectors) * SECTOR_BYTES
  return Math.min(length, Math.max(0, keptEnd - at))
}

function applyChange(target: GrowingBytes, change: Change): void {
  if (change.kind === 'write') target.write(change.bytes, change.at)
  else target.resize(change.sizeBytes)
}

/** Bytes with a size; everything in the buffer past the size is zero, so holes read as zeros. */
class GrowingBytes {
  #buffer: Buffer = Buffer.alloc(0)
  #sizeBytes = 0

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  read(target: Buffer, targetAt: number, length: number, position: number): number {
    if (position >= this.#sizeBytes) return 0
    const end = Math.min(this.#sizeBytes, position + length)
    return this.#buffer.copy(target, targetAt, position, end)
  }

  write(bytes: Uint8Array, at: number): void {
    this.#reserve(at + bytes.length)
    this.#buffer.set(bytes, at)
    this.#sizeBytes = Math.max(this.#sizeBytes, at + bytes.length)
  }

  resize(sizeBytes: number): void {
    if (sizeBytes < this.#sizeBytes) this.#buffer.fill(0, sizeBytes, this.#sizeBytes)
    else this.#reserve(sizeBytes)
    this.#sizeBytes = sizeBytes
  }

  xor(index: number, mask: number): void {
    this.#buffer[index] = (this.#buffer[index] ?? 0) ^ mask
  }

  copy(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#sizeBytes))
  }

  clone(): GrowingBytes {
    const clone = new GrowingBytes()
    clone.#buffer = this.copy()
    clone.#sizeBytes = this.#sizeBytes
    return clone
  }

  #reserve(sizeBytes: number): void {
    if (sizeBytes <= this.#buffer.length) return
    const capacity = Math.max(sizeBytes, this.#buffer.length * 2, FIRST_CAPACITY_BYTES)
    const larger = Buffer.alloc(capacity)
    larger.set(this.#buffer.subarray(0, this.#sizeBytes))
    this.#buffer = larger
  }
}
