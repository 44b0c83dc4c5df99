import { parseFileId } from '../../base/file-id.ts'
import type { VolumeId } from '../../base/ids.ts'
import { type ErrorCode, isStoreError } from '../../base/store-error.ts'
import type { Bucket } from '../../namespace/bucket-record.ts'
import type { ListedVersion } from '../../namespace/namespace-api.ts'
import {
  isCodedClass,
  type ObjectVersion,
  publicVersionId,
} from '../../namespace/object-version.ts'
import type { Upload } from '../../namespace/upload-record.ts'
import { mapBounded } from '../../runtime/map-bounded.ts'
import type { Random } from '../../runtime/random.ts'
import { isUploadExpired, type LifecycleAction, lifecycleActionFor } from './access/lifecycle.ts'
import type { LifecycleRule } from './bucket-settings.ts'
import { BucketView } from './bucket-view.ts'
import { ownCauseOf } from './events/event-cause.ts'
import { prefixOfRules, VersionWalk, type WalkedVersion } from './lifecycle-walk.ts'
import { type MoveParts, moveVersion } from './move-version.ts'

export interface LifecycleRunnerParts extends MoveParts {
  readonly random: Random
  /** Volumes whose files are copies. */
  readonly copiedVolumes: () => Promise<ReadonlySet<VolumeId>>
}

export interface LifecycleRunnerConfig {
  /** The length of a day of the rules. */
  readonly dayMs: number
}

/** What a pass looked at, and did. */
export interface LifecycleCounts {
  /** With rules that are enabled. */
  buckets: number
  versions: number
  uploads: number
  /** Current versions deleted, or hidden by a marker. */
  expired: number
  deletedVersions: number
  deletedMarkers: number
  transitioned: number
  /** Of a coded class, but kept as copies until now. */
  recoded: number
  abortedUploads: number
  /** Due to be deleted, but kept by a lock. */
  locked: number
  /** Due for a class that the cluster has too few servers for. */
  waiting: number
  /** Changed by somebody else since they were listed; the next pass looks again. */
  overtaken: number
  failed: number
}

type Due = WalkedVersion & { readonly action: LifecycleAction }

interface RuledBucket {
  readonly bucket: Bucket
  /** Enabled ones, at least one. */
  readonly rules: readonly LifecycleRule[]
}

/** A pass for each hour of a day; one of them looks for what is to be recoded. */
const PASSES_A_DAY = 24
const PERIOD_MS_MIN = 1000
/** Several gateways that start together do not all begin at once. */
const FIRST_PASS_MS_MAX = 60_000
const BUCKETS_PER_PAGE = 100
/** Few enough that a version is dealt with soon after it was looked at. */
const VERSIONS_PER_PAGE = 250
const CHANGES_AT_ONCE = 4
/** After a page it rests for as long as the page took, and at least so long. */
const REST_MS_MIN = 10
const REST_MS_MAX = 10_000
/** One by one; of the others a pass says how many there were. */
const FAILURES_LOGGED_MAX = 20

const OVERTAKEN: readonly ErrorCode[] = [
  'BUCKET_NOT_FOUND',
  'OBJECT_NOT_FOUND',
  'PRECONDITION_FAILED',
  'UPLOAD_NOT_FOUND',
]
const NO_ROOM: readonly ErrorCode[] = ['PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME']

/**
 * Does what lifecycle rules say, in passes over all buckets that have some. The first pass, and
 * then one a day, also gives shards to versions of coded classes that were stored as copies because
 * there were too few servers.
 *
 * - Nothing but their number is remembered between passes. Each change is conditional on what was
 *   looked at, and does no harm when it is repeated: there may be any number of these, and each may
 *   end at any time.
 * - A page of a listing is all it holds. Between two pages it rests as long as the first one took.
 * - Rules are read anew for every page: what is taken out of them is not done any more.
 * - One thing that fails holds up nothing else; the next pass tries it again.
 */
export class LifecycleRunner implements AsyncDisposable {
  readonly #parts: LifecycleRunnerParts
  readonly #dayMs: number
  readonly #closing = new AbortController()
  #running: Promise<void> | undefined
  #passCount = 0

  constructor(parts: LifecycleRunnerParts, { dayMs }: LifecycleRunnerConfig) {
    this.#parts = parts
    this.#dayMs = dayMs
  }

  start(): void {
    this.#running ??= this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  /** @throws {StoreError} CANCELLED, and those of `NamespaceApi.listBuckets`. */
  async pass(signal: AbortSignal): Promise<LifecycleCounts> {
    const pass = new LifecyclePass(this.#parts, this.#dayMs, signal)
    const isRecoding = this.#passCount++ % PASSES_A_DAY === 0
    await pass.run()
    if (isRecoding) await pass.recode()
    return pass.counts
  }

  async #run(): Promise<void> {
    const { clock, logger, random } = this.#parts
    const { signal } = this.#closing
    const periodMs = Math.max(this.#dayMs / PASSES_A_DAY, PERIOD_MS_MIN)
    const firstMs = Math.min(periodMs, FIRST_PASS_MS_MAX) * (random.u32() / 2 ** 32)
    try {
      await clock.sleep(firstMs, signal)
      for (;;) {
        const startedAtMs = clock.monotonicMs()
        try {
          const counts = await this.pass(signal)
          const tookMs = Math.round(clock.monotonicMs() - startedAtMs)
          const level = counts.buckets + counts.recoded > 0 ? 'info' : 'debug'
          logger[level]('s3.lifecycle_pass', { ...counts, tookMs })
        } catch (error) {
          if (signal.aborted) return
          logger.warn('s3.lifecycle_halted', { error })
        }
        await clock.sleep(periodMs, signal)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}

/** One pass. */
class LifecyclePass {
  readonly counts: LifecycleCounts = {
    buckets: 0,
    versions: 0,
    uploads: 0,
    expired: 0,
    deletedVersions: 0,
    deletedMarkers: 0,
    transitioned: 0,
    recoded: 0,
    abortedUploads: 0,
    locked: 0,
    waiting: 0,
    overtaken: 0,
    failed: 0,
  }
  readonly #parts: LifecycleRunnerParts
  readonly #dayMs: number
  readonly #signal: AbortSignal

  constructor(parts: LifecycleRunnerParts, dayMs: number, signal: AbortSignal) {
    this.#parts = parts
    this.#dayMs = dayMs
    this.#signal = signal
  }

  async run(): Promise<void> {
    await this.#eachBucket((bucket) => this.#visit(bucket))
  }

  /** Looks at every version there is, unless there are no copies at all, or no servers to code. */
  async recode(): Promise<void> {
    if ((await this.#parts.codedPolicy()) === undefined) return
    const copied = await this.#parts.copiedVolumes()
    if (copied.size > 0) await this.#eachBucket((bucket) => this.#recodeIn(bucket, copied))
  }

  async #eachBucket(visit: (bucket: Bucket) => Promise<void>): Promise<void> {
    const { namespace } = this.#parts
    for (let after = ''; ; ) {
      const request = { ownerId: undefined, prefix: '', after, limit: BUCKETS_PER_PAGE }
      const buckets = await namespace.listBuckets(request, this.#signal)
      for (const bucket of buckets) await this.#guard({ bucket }, () => visit(bucket))
      const last = buckets.at(-1)
      if (last === undefined || buckets.length < BUCKETS_PER_PAGE) return
      after = last.name
    }
  }

  async #visit(bucket: Bucket): Promise<void> {
    const rules = enabledRules(bucket)
    if (rules.length === 0) return
    this.counts.buckets++
    if (rules.some(isAboutVersions)) await this.#visitVersions(bucket)
    if (rules.some(isAboutUploads)) await this.#visitUploads(bucket)
  }

  async #visitVersions(seen: Bucket): Promise<void> {
    const { namespace } = this.#parts
    const walk = new VersionWalk()
    let from: { after: string; afterVersionId: string | undefined } | undefined
    do {
      const rest = this.#restAfterPage()
      const ruled = await this.#ruledNow(seen)
      if (ruled === undefined) return
      const { bucket, rules } = ruled
      const { after = '', afterVersionId } = from ?? {}
      const prefix = prefixOfRules(rules.filter(isAboutVersions))
      const where = { bucket, prefix, delimiter: '', after, afterVersionId }
      const listing = { ...where, limit: VERSIONS_PER_PAGE }
      const page = await namespace.listVersions(listing, this.#signal)
      const walked = page.versions.flatMap((listed) => walk.next(listed))
      if (page.next === undefined) walked.push(...walk.end())
      this.counts.versions += page.versions.length
      await this.#doAll(ruled, walked)
      from = page.next
      if (from !== undefined) await rest()
    } while (from !== undefined)
  }

  async #visitUploads(seen: Bucket): Promise<void> {
    const { clock, namespace } = this.#parts
    let from: { after: string; afterUploadId: string | undefined } | undefined
    do {
      const rest = this.#restAfterPage()
      const ruled = await this.#ruledNow(seen)
      if (ruled === undefined) return
      const { bucket, rules } = ruled
      const { after = '', afterUploadId } = from ?? {}
      const prefix = prefixOfRules(rules.filter(isAboutUploads))
      const where = { bucket, prefix, delimiter: '', after, afterUploadId }
      const listing = { ...where, limit: VERSIONS_PER_PAGE }
      const page = await namespace.listUploads(listing, this.#signal)
      this.counts.uploads += page.uploads.length
      const nowMs = clock.nowMs()
      const due = page.uploads.filter(({ key, startedAtMs: initiatedAtMs }) =>
        isUploadExpired(rules, { key, initiatedAtMs }, nowMs, this.#dayMs),
      )
      const abort = (upload: Upload) => this.#abort(bucket, upload)
      await mapBounded(due, CHANGES_AT_ONCE, abort, this.#signal)
      from = page.next
      if (from !== undefined) await rest()
    } while (from !== undefined)
  }

  async #recodeIn(bucket: Bucket, copied: ReadonlySet<VolumeId>): Promise<void> {
    const { namespace } = this.#parts
    let from: { after: string; afterVersionId: string | undefined } | undefined
    do {
      const rest = this.#restAfterPage()
      const { after = '', afterVersionId } = from ?? {}
      const where = { bucket, prefix: '', delimiter: '', after, afterVersionId }
      const page = await namespace.listVersions(
        { ...where, limit: VERSIONS_PER_PAGE },
        this.#signal,
      )
      for (const { key, version } of page.versions) {
        if (!isToBeRecoded(version, copied)) continue
        const { storageClass } = version
        const target = { bucket, key, version, storageClass, isCopied: true }
        await this.#guard({ bucket, key, versionId: publicVersionId(version) }, async () => {
          const outcome = await moveVersion(this.#parts, target, this.#signal)
          this.counts[outcome === 'moved' ? 'recoded' : outcome]++
        })
      }
      from = page.next
      if (from !== undefined) await rest()
    } while (from !== undefined)
  }

  /** Undefined: it is gone, or has no rules any more. */
  async #ruledNow({ id, name }: Bucket): Promise<RuledBucket | undefined> {
    const bucket = await this.#parts.namespace.findBucket(name, this.#signal)
    if (bucket?.id !== id) return undefined
    const rules = enabledRules(bucket)
    return rules.length === 0 ? undefined : { bucket, rules }
  }

  async #doAll({ bucket, rules }: RuledBucket, walked: readonly WalkedVersion[]): Promise<void> {
    const nowMs = this.#parts.clock.nowMs()
    const deletes: Due[] = []
    const moves: Due[] = []
    for (const each of walked) {
      const action = lifecycleActionFor(rules, each.facts, nowMs, this.#dayMs)
      if (action === undefined) continue
      const list = typeof action === 'string' ? deletes : moves
      list.push({ ...each, action })
    }
    // Copies take long: what is to be deleted is not to wait for them.
    const remove = (due: Due) => this.#do(bucket, due)
    await mapBounded(deletes, CHANGES_AT_ONCE, remove, this.#signal)
    for (const due of moves) await this.#do(bucket, due)
  }

  async #do(bucket: Bucket, { action, listed }: Due): Promise<void> {
    const { key } = listed
    const versionId = publicVersionId(listed.version)
    await this.#guard({ bucket, key, versionId }, async () => {
      if (typeof action === 'string') return await this.#remove(bucket, action, listed)
      // A marker has nothing to be moved.
      if (listed.version.isMarker) return
      const cause = ownCauseOf(bucket, 'LifecycleTransition', this.#parts.random)
      const { transition: storageClass } = action
      const target = { bucket, key, version: listed.version, storageClass, cause }
      const outcome = await moveVersion(this.#parts, target, this.#signal)
      this.counts[outcome === 'moved' ? 'transitioned' : outcome]++
    })
  }

  /** What was put, or is the newest, since it was listed is never hit. */
  async #remove(
    bucket: Bucket,
    action: Extract<LifecycleAction, string>,
    { key, version }: ListedVersion,
  ): Promise<void> {
    const { namespace } = this.#parts
    const cause = ownCauseOf(bucket, 'LifecycleExpiration', this.#parts.random)
    const wanted = { bucket, key, seq: version.seq, cause }
    if (action === 'expire') {
      await namespace.deleteObject(wanted, this.#signal)
      this.counts.expired++
      return
    }
    const isNoncurrent = action === 'delete-version'
    const versionId = publicVersionId(version)
    await namespace.deleteObject({ ...wanted, versionId, isNoncurrent }, this.#signal)
    this.counts[isNoncurrent ? 'deletedVersions' : 'deletedMarkers']++
  }

  async #abort(bucket: Bucket, { key, uploadId }: Upload): Promise<void> {
    await this.#guard({ bucket, key, uploadId }, async () => {
      await this.#parts.namespace.abortUpload({ bucket, key, uploadId }, this.#signal)
      this.counts.abortedUploads++
    })
  }

  /** Counts what fails, and goes on. @throws {StoreError} CANCELLED: the signal is aborted. */
  async #guard(
    { bucket, ...rest }: { readonly bucket: Bucket } & Record<string, unknown>,
    run: () => Promise<void>,
  ): Promise<void> {
    try {
      await run()
    } catch (error) {
      if (this.#signal.aborted) throw error
      if (isStoreError(error, 'OBJECT_LOCKED')) this.counts.locked++
      else if (isStoreError(error, ...NO_ROOM)) this.counts.waiting++
      else if (isStoreError(error, ...OVERTAKEN)) this.counts.overtaken++
      else if (this.counts.failed++ < FAILURES_LOGGED_MAX) {
        this.#parts.logger.warn('s3.lifecycle_failed', { bucket: bucket.name, ...rest, error })
      }
    }
  }

  #restAfterPage(): () => Promise<void> {
    const { clock } = this.#parts
    const startedAtMs = clock.monotonicMs()
    return async () => {
      const tookMs = clock.monotonicMs() - startedAtMs
      await clock.sleep(Math.min(Math.max(tookMs, REST_MS_MIN), REST_MS_MAX), this.#signal)
    }
  }
}

/** Parts without bytes have no shards. */
function isToBeRecoded(
  { isMarker, parts, storageClass }: ObjectVersion,
  copied: ReadonlySet<VolumeId>,
): boolean {
  if (isMarker || !isCodedClass(storageClass)) return false
  return parts.some(
    ({ fileId, sizeBytes }) => sizeBytes > 0 && copied.has(parseFileId(fileId).volumeId),
  )
}

function enabledRules(bucket: Bucket): readonly LifecycleRule[] {
  return (BucketView.of(bucket).document('lifecycle') ?? []).filter(({ isEnabled }) => isEnabled)
}

function isAboutVersions(rule: LifecycleRule): boolean {
  return (
    rule.expiration !== undefined ||
    rule.noncurrentExpiration !== undefined ||
    rule.transitions.length > 0 ||
    rule.noncurrentTransitions.length > 0
  )
}

function isAboutUploads(rule: LifecycleRule): boolean {
  return rule.abortUploadsAfterDays !== undefined
}
