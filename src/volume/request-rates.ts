import type { VolumeId } from '../base/ids.ts'

/** A burst of a second does not make a volume hot; a minute of requests does. */
const WINDOW_MS = 60_000
/** Every change of what is shown is a report to the master. */
const CHANGE_SHOWN = 0.2
const HARDLY_ANY_PER_S = 0.05

interface Rate {
  /** Of which life of the volume: a count begins with each. */
  readonly owner: object
  count: number
  atMs: number
  perS: number
  shownPerS: number
}

/** How many requests a second volumes, or shards, have had of late, from counts that only grow. */
export class RequestRates<Key = VolumeId> {
  readonly #rates = new Map<Key, Rate>()

  /** To be told every second or so. */
  note(key: Key, owner: object, count: number, nowMs: number): void {
    const rate = this.#rates.get(key)
    if (rate?.owner !== owner) {
      this.#rates.set(key, { owner, count, atMs: nowMs, perS: 0, shownPerS: 0 })
      return
    }
    const elapsedMs = nowMs - rate.atMs
    if (elapsedMs <= 0) return
    const latestPerS = ((count - rate.count) * 1_000) / elapsedMs
    const kept = Math.exp(-elapsedMs / WINDOW_MS)
    rate.perS = rate.perS * kept + latestPerS * (1 - kept)
    rate.count = count
    rate.atMs = nowMs
    const isFar = Math.abs(rate.perS - rate.shownPerS) > rate.shownPerS * CHANGE_SHOWN
    if (isFar) rate.shownPerS = toTwoDigits(rate.perS)
  }

  /** To two digits; what changes by less than a fifth is said to be the same. */
  perS(key: Key): number {
    return this.#rates.get(key)?.shownPerS ?? 0
  }

  forgetAllBut(keys: ReadonlySet<Key>): void {
    for (const key of this.#rates.keys()) {
      if (!keys.has(key)) this.#rates.delete(key)
    }
  }
}

function toTwoDigits(perS: number): number {
  return perS < HARDLY_ANY_PER_S ? 0 : Number(perS.toPrecision(2))
}
