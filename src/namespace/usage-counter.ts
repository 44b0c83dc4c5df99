import { StoreError } from '../base/store-error.ts'
import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import type { Bucket } from './bucket-record.ts'
import type { BucketUsage } from './namespace-api.ts'
import { decodeObjectVersion } from './object-version.ts'
import type { RowCommits } from './row-changes.ts'
import { bucketRange, partNumberOfRow } from './row-keys.ts'
import { decodePart } from './upload-record.ts'

export interface UsageCounterParts {
  readonly store: MetadataStore
  /** While it is in doubt what is stored, nothing is kept. */
  readonly commits: RowCommits
}

/** @throws {StoreError} QUOTA_EXCEEDED: there is no room for so much more. */
export type CheckRoom = (added: BucketUsage) => void

class Tally {
  bytes = 0
  objects = 0
  /** Settles when what was there at first has been counted. */
  counted: Promise<void> = Promise.resolve()
}

const KINDS = ['objects', 'versions', 'parts'] as const

/**
 * What buckets have, in bytes and versions, parts of uploads included. A bucket is counted when it
 * is first asked for, and kept up with from that moment; nothing is stored, so nothing can be wrong
 * after a crash.
 */
export class UsageCounter {
  readonly #parts: UsageCounterParts
  readonly #tallies = new Map<number, Tally>()

  constructor(parts: UsageCounterParts) {
    this.#parts = parts
    parts.commits.onDoubt(() => this.#tallies.clear())
  }

  /** `exclude` keeps all changes of the bucket away while the count begins. */
  async of(bucketId: number, exclude: () => Promise<Disposable>): Promise<BucketUsage> {
    const { bytes, objects } = await this.#counted(bucketId, exclude)
    return { bytes, objects }
  }

  /**
   * What says whether a change fits into the bucket, once it is known what it brings. Changes that
   * come at the same time may together go above a quota by what they bring.
   */
  async room({ id, name, quota }: Bucket, exclude: () => Promise<Disposable>): Promise<CheckRoom> {
    const { bytesMax, objectsMax } = quota
    if (bytesMax === undefined && objectsMax === undefined) return () => undefined
    const tally = await this.#counted(id, exclude)
    const isOver = (now: number, more: number, max = Number.POSITIVE_INFINITY) =>
      more > 0 && now + more > max
    return (added) => {
      const { bytes, objects } = tally
      const isFitting =
        !isOver(bytes, added.bytes, bytesMax) && !isOver(objects, added.objects, objectsMax)
      if (isFitting) return
      const message = `the bucket ${name} has ${bytes} bytes in ${objects} versions`
      throw new StoreError('QUOTA_EXCEEDED', message)
    }
  }

  /** Called while the change still keeps others from beginning to count. */
  add(bucketId: number, change: BucketUsage): void {
    const tally = this.#tallies.get(bucketId)
    if (tally === undefined) return
    tally.bytes += change.bytes
    tally.objects += change.objects
  }

  forget(bucketId: number): void {
    this.#tallies.delete(bucketId)
  }

  async #counted(bucketId: number, exclude: () => Promise<Disposable>): Promise<Tally> {
    const tally = this.#tallies.get(bucketId) ?? (await this.#begin(bucketId, exclude))
    await tally.counted
    return tally
  }

  async #begin(bucketId: number, exclude: () => Promise<Disposable>): Promise<Tally> {
    using _alone = await exclude()
    const known = this.#tallies.get(bucketId)
    if (known !== undefined) return known
    const tally = new Tally()
    // One count serves all who ask meanwhile: no caller's signal may end it.
    const { signal } = new AbortController()
    const counts = KINDS.map((kind) => {
      const scan = this.#parts.store.scan(bucketRange(kind, bucketId), signal)
      return countRows(tally, scan[Symbol.asyncIterator]())
    })
    // A scan shows the rows as of its first one: what comes later is told by `add`.
    const begun = Promise.all(counts.map(({ isBegun }) => isBegun))
    tally.counted = Promise.all(counts.map(({ isDone }) => isDone)).then(() => undefined)
    // Whoever asks gets the error; the next one counts anew.
    tally.counted.catch(() => {
      if (this.#tallies.get(bucketId) === tally) this.forget(bucketId)
    })
    await begun
    if (!this.#parts.commits.isInDoubt) this.#tallies.set(bucketId, tally)
    return tally
  }
}

/** Adds up what a scan shows. `isBegun` settles with its first row, and never fails. */
function countRows(
  tally: Tally,
  scan: AsyncIterator<MetadataRow>,
): { readonly isBegun: Promise<void>; readonly isDone: Promise<void> } {
  const first = scan.next()
  const count = async () => {
    try {
      for (let row = await first; row.done !== true; row = await scan.next()) {
        countRow(tally, row.value)
      }
    } finally {
      await scan.return?.()
    }
  }
  const ignore = () => undefined
  return { isBegun: first.then(ignore, ignore), isDone: count() }
}

function countRow(tally: Tally, { key, value }: MetadataRow): void {
  if (key.startsWith('parts/')) {
    tally.bytes += decodePart(partNumberOfRow(key), value, key).sizeBytes
  } else {
    tally.bytes += decodeObjectVersion(value, key).sizeBytes
    tally.objects++
  }
}
