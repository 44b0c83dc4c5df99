const EXTENT_SHIFT = 16
const EXTENT_BYTES = 2 ** EXTENT_SHIFT
const FIRST_EXTENTS = 64

/**
 * Which 64 KiB extents of a file were read or written lately, so that the operating system very
 * likely still holds them in memory. A warm extent may be read synchronously, which is cheapest; a
 * cold one would stall the thread for a disk access and goes through the thread pool instead.
 */
export class WarmExtents {
  #warm = new Uint8Array(FIRST_EXTENTS)

  isWarm(startBytes: number, endBytes: number): boolean {
    const first = Math.floor(startBytes / EXTENT_BYTES)
    const last = Math.floor((endBytes - 1) / EXTENT_BYTES)
    for (let extent = first; extent <= last; extent++) {
      if (this.#warm[extent] !== 1) return false
    }
    return true
  }

  warm(startBytes: number, endBytes: number): void {
    const last = Math.floor((endBytes - 1) / EXTENT_BYTES)
    if (last >= this.#warm.length) {
      const larger = new Uint8Array(Math.max(last + 1, this.#warm.length * 2))
      larger.set(this.#warm)
      this.#warm = larger
    }
    for (let extent = Math.floor(startBytes / EXTENT_BYTES); extent <= last; extent++) {
      this.#warm[extent] = 1
    }
  }

  /** A read turned out slow: doubts what it read, and `neighbours` extents on either side. */
  chill(startBytes: number, endBytes: number, neighbours: number): void {
    const first = Math.max(0, Math.floor(startBytes / EXTENT_BYTES) - neighbours)
    const last = Math.floor((endBytes - 1) / EXTENT_BYTES) + neighbours
    this.#warm.fill(0, first, last + 1)
  }
}
