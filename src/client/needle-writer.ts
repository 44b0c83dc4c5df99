import { crc32c } from '../base/crc32c.ts'
import { type FileId, formatFileId } from '../base/file-id.ts'
import { cookie, hex8 } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { NeedleMetadata, PutAnswer, PutRequest } from '../net/volume-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import type { PutResult } from './client-api.ts'
import type { LeaseBlock } from './lease-block.ts'
import type { Grant, LeaseLane } from './lease-lane.ts'
import type { LeasePool } from './lease-pool.ts'
import type { OrphanSweeper } from './orphan-sweeper.ts'
import type { PlannedIds } from './planned-ids.ts'
import { isServerDown, type Replicas } from './replicas.ts'
import { isUnsettled, RetryTurns, retryOf } from './retry-turns.ts'

export interface WriterParts {
  readonly leases: LeasePool
  readonly replicas: Replicas
  readonly orphans: OrphanSweeper
  readonly clock: Clock
  readonly random: Random
}

/** A needle to store. */
export interface Write {
  readonly lane: LeaseLane
  readonly data: Uint8Array
  readonly metadata: NeedleMetadata
  /** After each failed try, which may still hold on to `data`. */
  readonly onFailure?: (() => void) | undefined
  /** Told of each id before it is used. */
  readonly planned?: PlannedIds | undefined
  /** To be used first: `planned` was told of it. */
  readonly granted?: Grant | undefined
  /** No try begins later than that; 30 seconds unless given. */
  readonly retryMs?: number | undefined
}

/** Stores single needles: an id from a lease, then the server, then another volume if need be. */
export class NeedleWriter {
  readonly #parts: WriterParts

  constructor(parts: WriterParts) {
    this.#parts = parts
  }

  /**
   * Durable on every copy when it returns. `data` must not change until then. After a failure that
   * leaves open what was stored, the next attempt has a new id on another volume: nothing that was
   * acknowledged is ever overwritten. `onFailure` runs after each failed attempt, which may still
   * hold on to `data`.
   *
   * @throws {StoreError} What the last attempt failed with, or why there was no lease.
   */
  async write(
    lane: LeaseLane,
    data: Uint8Array,
    metadata: NeedleMetadata,
    signal: AbortSignal,
    onFailure?: () => void,
  ): Promise<PutResult> {
    const block = lane.take()
    if (block === undefined) return this.#retry({ lane, data, metadata, onFailure }, signal)
    const fileId = block.takeFileId(cookie(this.#parts.random.u32()))
    try {
      const { writeToken } = block
      const request = requestOf(fileId, { data, metadata }, writeToken)
      return resultOf(request, await block.volume.put(request, signal))
    } catch (error) {
      const failed: Attempt = { grant: { block, fileId }, error }
      return this.#retry({ lane, data, metadata, onFailure }, signal, failed)
    }
  }

  /** As `write`, with more to say about it. Throws what `planned` does as well. */
  writeWith(write: Write, signal: AbortSignal): Promise<PutResult> {
    return this.#retry(write, signal)
  }

  /** An id of this lane. @throws {StoreError} Why there was no lease, once time is used up. */
  async grant(lane: LeaseLane, retryMs: number, signal: AbortSignal): Promise<Grant> {
    const turns = new RetryTurns(this.#parts, signal, retryMs)
    for (;;) {
      try {
        return await lane.wait(signal)
      } catch (error) {
        await turns.next(error)
      }
    }
  }

  /**
   * One try, under an id of its own. What a failure leaves behind is deleted in the background.
   *
   * @throws {StoreError} What the server or the way to it failed with.
   */
  async writeOnce(
    { block, fileId }: Grant,
    write: Pick<PutRequest, 'data' | 'metadata' | 'checksum'>,
    signal: AbortSignal,
  ): Promise<PutResult> {
    const { orphans, replicas } = this.#parts
    const { writeToken } = block
    const request = { ...write, fileId, writeToken, isReplica: false }
    try {
      const result = resultOf(request, await block.volume.put(request, signal))
      // Whoever gave up does not hear of it any more.
      if (signal.aborted) throw cancelledError(signal, `after ${result.fileId} was stored`)
      return result
    } catch (error) {
      // A server that is away takes all its volumes with it: the volume itself may be good.
      const isVolume = !isServerDown(error) && !isStoreError(error, 'CANCELLED', 'OVERLOADED')
      if (isVolume) this.#parts.leases.dropVolume(block.volumeId)
      replicas.note(block.url, error)
      if (isUnsettled(error)) orphans.add({ fileId, writeToken })
      throw error
    }
  }

  async #retry(write: Write, signal: AbortSignal, failed?: Attempt): Promise<PutResult> {
    const { data, granted, lane, metadata, onFailure, planned, retryMs } = write
    const turns = new RetryTurns(this.#parts, signal, retryMs)
    if (failed !== undefined) onFailure?.()
    // A lease may have run out while its id was noted down.
    const nowMs = this.#parts.clock.monotonicMs()
    const first = granted !== undefined && nowMs < granted.block.expiresAtMs ? granted : undefined
    let grant = failed === undefined ? first : await this.#afterFailure(turns, failed)
    for (;;) {
      if (grant === undefined) {
        try {
          grant = await lane.wait(signal)
        } catch (error) {
          await turns.next(error)
          continue
        }
        await planned?.tell([grant.fileId], signal)
      }
      const { block, fileId } = grant
      try {
        const { writeToken } = block
        const request = requestOf(fileId, { data, metadata }, writeToken)
        return resultOf(request, await block.volume.put(request, signal))
      } catch (error) {
        onFailure?.()
        grant = await this.#afterFailure(turns, { grant, error })
      }
    }
  }

  /** The same grant when it may be tried again, undefined when a new one is needed. */
  async #afterFailure(turns: RetryTurns, attempt: Attempt): Promise<Grant | undefined> {
    const { error, grant } = attempt
    const { block, fileId } = grant
    const retry = retryOf(error)
    const isLeft = isUnsettled(error)
    const isElsewhere = retry === 'other-node' || (retry === 'same-node' && isLeft)
    if (isElsewhere) this.#giveUpVolume(block, error)
    if (isLeft) this.#parts.orphans.add({ fileId, writeToken: block.writeToken })
    await turns.next(error)
    return isElsewhere ? undefined : grant
  }

  #giveUpVolume(block: LeaseBlock, error: unknown): void {
    this.#parts.leases.dropVolume(block.volumeId)
    this.#parts.replicas.note(block.url, error)
  }
}

interface Attempt {
  readonly grant: Grant
  readonly error: unknown
}

/** The checksum of large data takes a while: it is computed once, for all who need it. */
function requestOf(fileId: FileId, write: Pick<Write, 'data' | 'metadata'>, writeToken: string) {
  const { data, metadata } = write
  const checksum = data.length > LIMITS.writeStreamDataMax.value ? crc32c(data) : undefined
  return { fileId, data, metadata, writeToken, isReplica: false, checksum }
}

function resultOf(request: PutRequest, answer: PutAnswer): PutResult {
  const { checksum, data, fileId } = request
  const text = formatFileId(fileId)
  const eTag = hex8(answer.checksum)
  // A server may store text compressed; then the checksum is not that of our bytes.
  if (answer.dataBytes === data.length && answer.checksum !== (checksum ?? crc32c(data))) {
    throw new StoreError('CHECKSUM_MISMATCH', `${text} was stored with the wrong checksum ${eTag}`)
  }
  return { fileId: text, sizeBytes: data.length, eTag }
}
