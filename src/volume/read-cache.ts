import { LRUCache } from 'lru-cache'
import type { FileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import type { Needle } from '../format/needle.ts'
import { cookieMismatch, expiresAtMs } from '../format/needle-checks.ts'
import type { SuperBlock } from '../format/super-block.ts'
import type { Clock } from '../runtime/clock.ts'
import type { NeedleLocation } from '../storage/needle-map.ts'
import type { Volume } from '../storage/volume.ts'

/** What an entry takes beside the record: key, objects, the links of the list. */
const ENTRY_OVERHEAD_BYTES = 512

/** Where the record of a needle lies: in which life of the volume's files, and where in them. */
export interface CachedPlace {
  readonly superBlock: SuperBlock
  readonly offsetBytes: number
  readonly sizeBytes: number
}

interface Cached {
  readonly needle: Needle
  readonly place: CachedPlace
  readonly expiresMs: number | undefined
}

/**
 * Needles that were read from a cold disk lately, in a bounded amount of memory. Nothing has to
 * tell it of overwrites, deletions or vacuums: whether an entry still counts is decided when it is
 * asked for, by the needle map. It does when the map names the very record it was read from, in the
 * same generation of files. (A super block belongs to one generation.)
 */
export class ReadCache {
  readonly #clock: Clock
  readonly #entries: LRUCache<string, Cached>

  constructor(parts: { readonly clock: Clock }, options: { readonly bytesMax: number }) {
    this.#clock = parts.clock
    const { bytesMax } = options
    this.#entries = new LRUCache({ maxSize: bytesMax, maxEntrySize: bytesMax })
  }

  get bytes(): number {
    return this.#entries.calculatedSize
  }

  get count(): number {
    return this.#entries.size
  }

  /** @throws {StoreError} COOKIE_MISMATCH. */
  get(volume: Volume, fileId: FileId): Needle | undefined {
    const key = keyOf(fileId)
    const cached = this.#entries.get(key)
    if (cached === undefined) return undefined
    const place = placeOf(volume, fileId)
    const isOver = cached.expiresMs !== undefined && cached.expiresMs <= this.#clock.nowMs()
    if (place === undefined || isOver || !isSamePlace(place, cached.place)) {
      this.#entries.delete(key)
      return undefined
    }
    if (cached.needle.cookie !== fileId.cookie) throw cookieMismatch(fileId.needleId)
    return cached.needle
  }

  /** `place` as it was in the turn in which the read began. */
  put(fileId: FileId, needle: Needle, place: CachedPlace): void {
    const { sizeBytes } = place
    if (sizeBytes > LIMITS.cachedNeedleMax.value) return
    const expiresMs = expiresAtMs(needle.attributes(), place.superBlock.ttl)
    const entry = { needle: needle.copy(), place, expiresMs }
    this.#entries.set(keyOf(fileId), entry, { size: sizeBytes + ENTRY_OVERHEAD_BYTES })
  }
}

/** Undefined when the needle is not there, or deleted. */
export function placeOf(volume: Volume, fileId: FileId): CachedPlace | undefined {
  const location: NeedleLocation = { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
  if (!volume.entries.lookup(fileId.needleId, location) || location.isDeleted) return undefined
  const { offsetBytes, sizeBytes } = location
  return { superBlock: volume.superBlock, offsetBytes, sizeBytes }
}

function isSamePlace(a: CachedPlace, b: CachedPlace): boolean {
  return (
    a.superBlock === b.superBlock && a.offsetBytes === b.offsetBytes && a.sizeBytes === b.sizeBytes
  )
}

function keyOf({ volumeId, needleId }: FileId): string {
  return `${volumeId},${needleId.hi},${needleId.lo}`
}
