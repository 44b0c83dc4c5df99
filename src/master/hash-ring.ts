import { createHash } from 'node:crypto'
import { TWO_32 } from './chance.ts'

/** A server's place on the ring. */
export interface RingMember {
  readonly name: string
  /** Points in proportion to this. Whole numbers. */
  readonly points: number
}

/**
 * Consistent hashing: every member owns the stretches of a ring that end at its points, and a key
 * belongs to the member at the first point from its hash on. The points of a member depend on its
 * name alone, so one that comes or goes moves only the keys that it takes or leaves: about its
 * share of all points.
 */
export class HashRing {
  /** Ascending; `#owners` at the same place says whose it is. */
  readonly #points: Float64Array
  readonly #owners: readonly string[]

  constructor(members: readonly RingMember[]) {
    const all: { readonly at: number; readonly name: string }[] = []
    for (const { name, points } of members) {
      for (const at of pointsOf(name, points)) all.push({ at, name })
    }
    // Two points can be equal: the name decides, so that the order in which members came does not.
    all.sort((a, b) => a.at - b.at || (a.name < b.name ? -1 : 1))
    this.#points = Float64Array.from(all, (point) => point.at)
    this.#owners = all.map((point) => point.name)
  }

  /** Every member once, the owner of `key` first, then in the order of the ring. */
  *walk(key: string): Generator<string> {
    const seen = new Set<string>()
    const start = this.#firstFrom(hashOf(key))
    for (let step = 0; step < this.#owners.length; step++) {
      const owner = this.#owners[(start + step) % this.#owners.length]
      if (owner === undefined || seen.has(owner)) continue
      seen.add(owner)
      yield owner
    }
  }

  #firstFrom(at: number): number {
    let low = 0
    let high = this.#points.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#points[middle] ?? 0) < at) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Each digest gives four points of 64 bits, of which a number keeps the upper 53. */
const POINTS_PER_DIGEST = 4

function* pointsOf(name: string, count: number): Generator<number> {
  for (let index = 0; index * POINTS_PER_DIGEST < count; index++) {
    const digest = createHash('sha256').update(`${name}#${index}`).digest()
    const left = Math.min(POINTS_PER_DIGEST, count - index * POINTS_PER_DIGEST)
    for (let part = 0; part < left; part++) yield position(digest, part * 8)
  }
}

function hashOf(key: string): number {
  return position(createHash('sha256').update(key).digest(), 0)
}

function position(digest: Buffer, at: number): number {
  return digest.readUInt32BE(at) * TWO_32 + digest.readUInt32BE(at + 4)
}
