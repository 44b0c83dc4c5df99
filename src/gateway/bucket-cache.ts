import { LRUCache } from 'lru-cache'
import { LIMITS } from '../base/limits.ts'
import { type Bucket, isBucketName } from '../namespace/bucket-record.ts'
import type { Clock } from '../runtime/clock.ts'
import { SharedRuns } from '../runtime/shared-runs.ts'

interface Entry {
  readonly bucket: Bucket
  /** The answer is not older than from then. */
  readonly askedAtMs: number
}

/**
 * What another gateway changed about a bucket, its policy above all, counts here after this time at
 * the latest. S3 promises no more; and each request needs its bucket, so a call for every one would
 * be half of all calls.
 */
const FRESH_MS = 2000

/**
 * Buckets that a master elsewhere knows: asked for once by all who need one at the same time, and
 * kept for a short time. One that is not there is asked for every time, so a new bucket is there at
 * once, whoever made it; what fails is not kept either.
 */
export class BucketCache {
  readonly #clock: Clock
  readonly #load: (name: string, signal: AbortSignal) => Promise<Bucket | undefined>
  readonly #entries = new LRUCache<string, Entry>({ max: LIMITS.bucketCacheMax.value })
  readonly #asking = new SharedRuns<Bucket | undefined>()
  /** Goes up with everything that is forgotten: an answer from before is not kept after it. */
  #changes = 0

  constructor(
    { clock }: { readonly clock: Clock },
    load: (name: string, signal: AbortSignal) => Promise<Bucket | undefined>,
  ) {
    this.#clock = clock
    this.#load = load
  }

  /** @throws {StoreError} CANCELLED; the errors of the call of the master. */
  async find(name: string, signal: AbortSignal): Promise<Bucket | undefined> {
    const entry = this.#entries.get(name)
    if (entry !== undefined && this.#clock.monotonicMs() - entry.askedAtMs < FRESH_MS) {
      return entry.bucket
    }
    // No bucket can have it, and strangers make up names.
    if (!isBucketName(name)) return undefined
    // Whoever comes after a change does not join those who asked before it.
    const run = `${name}/${this.#changes}`
    return await this.#asking.join(run, (shared) => this.#ask(name, shared), signal)
  }

  /** It was changed, or is not what it was. */
  forget(name: string): void {
    this.#changes++
    this.#entries.delete(name)
  }

  async #ask(name: string, signal: AbortSignal): Promise<Bucket | undefined> {
    const askedAtMs = this.#clock.monotonicMs()
    const changes = this.#changes
    const bucket = await this.#load(name, signal)
    if (bucket === undefined) this.#entries.delete(name)
    else if (changes === this.#changes) this.#entries.set(name, { bucket, askedAtMs })
    return bucket
  }
}
