import { formatFileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import type { UnnamedNeedle, VolumeFinding } from './unnamed-needles.ts'

/** Of the needles of a volume; a handful is fine in one that is nearly empty. */
const VOLUME_SHARE_MAX = 0.01
const VOLUME_FEW = 10
/** Seen at once; more are no accident of gateways. */
export const ORPHANS_MAX = 10_000

/**
 * What a pass over orphans found, and whether it is to be believed: too many, or rows that are too
 * old, are what a namespace from a backup looks like.
 */
export class OrphanTally {
  readonly #isBounded: boolean
  readonly #orphans: UnnamedNeedle[] = []
  readonly #volumes = new Map<VolumeId, { liveCount: number; orphanCount: number }>()
  #newestRowMs = 0
  #generationMax = 0
  #needles = 0
  #orphanBytes = 0
  #foreignNeedles = 0
  #youngNeedles = 0
  #deleted = 0
  #deletedBytes = 0

  /** `isBounded`: one above `ORPHANS_MAX` is all it keeps. */
  constructor({ isBounded }: { readonly isBounded: boolean }) {
    this.#isBounded = isBounded
  }

  get orphans(): readonly UnnamedNeedle[] {
    return this.#orphans
  }

  /** Of the pages of the ledger that volumes have; 0: they have none. */
  get generationMax(): number {
    return this.#generationMax
  }

  get isFull(): boolean {
    return this.#isBounded && this.#orphans.length > ORPHANS_MAX
  }

  get counts() {
    return {
      needles: this.#needles,
      orphans: this.#orphans.length,
      orphanBytes: this.#orphanBytes,
      foreignNeedles: this.#foreignNeedles,
      youngNeedles: this.#youngNeedles,
      deleted: this.#deleted,
      deletedBytes: this.#deletedBytes,
    }
  }

  sawRow(atMs: number): void {
    this.#newestRowMs = Math.max(this.#newestRowMs, atMs)
  }

  /** `page` is what the ledger has now. Pages that it had, and that were left behind, are ours. */
  add(found: VolumeFinding, page: string | undefined): void {
    const { generationMax, liveCount, unnamed, volumeId, youngCount } = found
    const volume = this.#volumes.get(volumeId) ?? { liveCount: 0, orphanCount: 0 }
    this.#volumes.set(volumeId, volume)
    volume.liveCount += liveCount
    this.#needles += liveCount
    this.#youngNeedles += youngCount
    this.#generationMax = Math.max(this.#generationMax, generationMax)
    for (const needle of unnamed) {
      const isPage = needle.generation !== undefined
      if (isPage && formatFileId(needle.fileId) === page) continue
      if (!isPage && needle.owner === undefined) this.#foreignNeedles++
      else if (!this.isFull) {
        volume.orphanCount++
        this.#orphans.push(needle)
        this.#orphanBytes += needle.dataBytes
      }
    }
  }

  deleted({ dataBytes }: UnnamedNeedle): void {
    this.#deleted++
    this.#deletedBytes += dataBytes
  }

  /** Why nothing is to be deleted. */
  refusal(minAgeMs: number): string | undefined {
    // Of pages of the ledger the generation says more: they are stored where nobody puts objects.
    const newestMs = this.#orphans.reduce(
      (newest, { bornAtMs, owner }) => (owner === undefined ? newest : Math.max(newest, bornAtMs)),
      0,
    )
    if (newestMs > this.#newestRowMs + minAgeMs) {
      const [at, rowAt] = [newestMs, this.#newestRowMs].map((ms) => new Date(ms).toISOString())
      const message = `orphans are as young as ${at}, but the newest row is of ${rowAt}`
      return `${message}: an old backup?`
    }
    if (this.#orphans.length > ORPHANS_MAX) {
      return `more than ${ORPHANS_MAX} needles look like orphans`
    }
    for (const [volumeId, { liveCount, orphanCount }] of this.#volumes) {
      if (orphanCount <= VOLUME_FEW || orphanCount <= liveCount * VOLUME_SHARE_MAX) continue
      const which = `${orphanCount} of ${liveCount} needles of volume ${volumeId}`
      return `${which} look like orphans: above 1 %`
    }
    return undefined
  }
}
