import { LRUCache } from 'lru-cache'
import { type FileId, formatFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { copyCount } from '../base/replica-placement.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import { RETRY } from '../net/retry.ts'
import type { ConnectVolume, NeedleContent, ReadRequest } from '../net/volume-api.ts'
import { onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Tally } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import type { NeedleLocation } from '../storage/needle-map.ts'
import type { Volume } from '../storage/volume.ts'
import type { DirtyRecords } from './dirty-records.ts'
import { runHop } from './hop.ts'
import type { LocationCache } from './location-cache.ts'

export interface ReadsElsewhereParts {
  readonly clock: Clock
  readonly random: Random
  readonly locations: LocationCache
  readonly connect: ConnectVolume
  readonly ownUrl: () => string
  readonly dirty: DirtyRecords
  readonly count: Tally
}

/** Why the copy here did not do. */
export interface BadRead {
  readonly code: ErrorCode
  /** Undefined: it is gone. */
  readonly volume: Volume | undefined
}

const BAD_MS = 60_000
const BAD_MAX = 10_000

/** Codes that say something about this copy only, and nothing about the needle. */
const OF_THIS_COPY: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'NEEDLE_CORRUPT',
  'DISK_FAILED',
  'VOLUME_NOT_FOUND',
  'VOLUME_FAILED',
  'VOLUME_DAMAGED',
  'CLOSED',
  // Another server may reach more shards than this one.
  'SHARDS_LOST',
  'CODEC_UNAVAILABLE',
])

/** Needles read from other copies of their volumes: there is none here, or it is bad. */
export class ReadsElsewhere {
  readonly #parts: ReadsElsewhereParts
  /** Known to be bad here, and until when that is believed: by then it may have been healed. */
  readonly #bad = new LRUCache<string, number>({ max: BAD_MAX })

  constructor(parts: ReadsElsewhereParts) {
    this.#parts = parts
  }

  /** It was found bad a while ago. A large one shows it only when most of it has been sent. */
  isBad(fileId: FileId): boolean {
    if (this.#bad.size === 0) return false
    const untilMs = this.#bad.get(formatFileId(fileId))
    return untilMs !== undefined && this.#parts.clock.monotonicMs() < untilMs
  }

  /** Its record here is not what was stored; the master is told in the background. */
  noteBad(fileId: FileId, volume: Volume | undefined): void {
    this.#bad.set(formatFileId(fileId), this.#parts.clock.monotonicMs() + BAD_MS)
    // Without another copy there is nothing to heal it from.
    if (volume === undefined || copyCount(volume.replicaPlacement) === 1) return
    const { volumeId, needleId } = fileId
    this.#parts.dirty.recordLater({ volumeId, needleId, kind: 'check', unreached: [] })
  }

  /**
   * A needle of a volume that is not here.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND; what the last of the servers that have it answered.
   */
  async fetch(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    const others = await this.#others(request.fileId, signal)
    const found = await this.#tryEach(others, request, signal)
    if (!(found instanceof StoreError)) return found
    throw found
  }

  /** Instead of the bad copy here. Undefined: no other has it either, as far as can be known. */
  async fetchInstead(
    request: ReadRequest,
    bad: BadRead,
    signal: AbortSignal,
  ): Promise<NeedleContent | undefined> {
    if (request.isForwarded === true) return undefined
    if (bad.code === 'NEEDLE_CORRUPT') this.noteBad(request.fileId, bad.volume)
    try {
      if (!(await this.#mayHelp(request.fileId, bad, signal))) return undefined
      const others = await this.#others(request.fileId, signal)
      const found = await this.#tryEach(others, request, signal)
      if (found instanceof StoreError) return undefined
      this.#parts.count.add(1)
      return found
    } catch (error) {
      // That the master does not answer says nothing about the needle.
      if (isStoreError(error) && error.code !== 'CANCELLED') return undefined
      throw error
    }
  }

  async #mayHelp(fileId: FileId, { code, volume }: BadRead, signal: AbortSignal): Promise<boolean> {
    if (volume !== undefined && copyCount(volume.replicaPlacement) === 1) return false
    if (OF_THIS_COPY.has(code)) return true
    if (code !== 'NEEDLE_NOT_FOUND' || volume === undefined) return false
    // A tombstone is an answer, and so is a needle whose time is over.
    if (volume.entries.lookup(fileId.needleId, newLocation())) return false
    if (volume.state === 'failed' || volume.state === 'damaged') return true
    const { writePolicy } = await this.#parts.locations.find(fileId.volumeId, signal)
    return writePolicy === 'best-effort'
  }

  /** In a random order that begins anywhere: not always the same server has the work. */
  async #others({ volumeId }: FileId, signal: AbortSignal): Promise<readonly NodeLocation[]> {
    const { locations, ownUrl, random } = this.#parts
    const all = await locations.locate(volumeId, signal)
    const others = all.filter(({ url }) => url !== ownUrl())
    if (others.length === 0) {
      throw new StoreError('VOLUME_NOT_FOUND', `no server is known that holds volume ${volumeId}`)
    }
    const first = random.u32() % others.length
    return [...others.slice(first), ...others.slice(0, first)]
  }

  /** What the last one failed with, when all do. */
  async #tryEach(
    others: readonly NodeLocation[],
    request: ReadRequest,
    signal: AbortSignal,
  ): Promise<NeedleContent | StoreError> {
    let failure = new StoreError('VOLUME_NOT_FOUND', 'no server was asked')
    for (const location of others) {
      try {
        return await this.#read(location, { ...request, isForwarded: true }, signal)
      } catch (error) {
        if (!isStoreError(error)) throw error
        failure = error
        if (RETRY[error.code] === 'never') throw error
      }
    }
    return failure
  }

  async #read(
    location: NodeLocation,
    request: ReadRequest,
    signal: AbortSignal,
  ): Promise<NeedleContent> {
    const { clock, connect } = this.#parts
    const ms = LIMITS.readElsewhereMs.value
    const what = `reading from ${location.url}`
    // The deadline is for the beginning; what is streamed after it still heeds the caller's signal.
    const reading = new AbortController()
    const aborting = onAbort(signal, () => reading.abort(signal.reason))
    try {
      const content = await runHop(clock, { ms, outer: signal, what }, async (hop) => {
        onAbort(hop.signal, () => reading.abort(hop.signal.reason))
        const late = await connect(location).read(request, reading.signal)
        if (hop.signal.aborted) await late[Symbol.asyncDispose]()
        return late
      })
      return {
        ...content,
        [Symbol.asyncDispose]: async () => {
          aborting[Symbol.dispose]()
          await content[Symbol.asyncDispose]()
        },
      }
    } catch (error) {
      aborting[Symbol.dispose]()
      throw error
    }
  }
}

function newLocation(): NeedleLocation {
  return { offsetBytes: 0, sizeBytes: 0, isDeleted: false }
}
