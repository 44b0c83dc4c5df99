import type { FileId } from '../base/file-id.ts'
import { cookie, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { Lease } from '../net/master-api.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import { LeaseBlock } from './lease-block.ts'
import type { Layout, LeaseParts, LeaseSizes } from './lease-pool.ts'

/** A file id of its own for one needle, and the lease it is from. */
export interface Grant {
  readonly block: LeaseBlock
  readonly fileId: FileId
}

/** Volumes alike, with a copy on this server; empty: anywhere. */
export interface LaneLayout extends Layout {
  readonly node: string
}

interface Waiter {
  readonly onGrant: (grant: Grant) => void
  readonly onFailure: (error: unknown) => void
}

export interface LaneParts extends LeaseParts {
  /** Volumes that failed a short while ago. */
  readonly excluded: () => readonly VolumeId[]
}

/** A lease that lasted less than this was too small. */
const BRIEF_MS = 1000
/** After a lease in advance could not be had, nobody asks in advance for so long. */
const QUIET_MS = 500

/**
 * File ids of one layout, from one lease at a time. The next lease is asked for when half of the
 * ids or three quarters of the time are used up, so that a steady writer never waits for one.
 *
 *     take ──> [ current ] <── [ next ] <── assign, in the background
 *     wait ──> [ line, leaseWaitersMax ] ── when there is neither
 */
export class LeaseLane {
  readonly #parts: LaneParts
  readonly #layout: LaneLayout
  readonly #sizes: LeaseSizes
  readonly #closing: AbortSignal
  #current: LeaseBlock | undefined
  #next: LeaseBlock | undefined
  #refill: Promise<void> | undefined
  #quietUntilMs = Number.NEGATIVE_INFINITY
  #idsWanted: number
  #askedAtMs = Number.NEGATIVE_INFINITY
  /** In the order they came. */
  readonly #line = new Set<Waiter>()

  constructor(parts: LaneParts, layout: LaneLayout, sizes: LeaseSizes, closing: AbortSignal) {
    this.#parts = parts
    this.#layout = layout
    this.#sizes = sizes
    this.#closing = closing
    this.#idsWanted = sizes.idsMin
  }

  get waitingCount(): number {
    return this.#line.size
  }

  /**
   * A lease with an id to spare, when there is one at hand and nobody waits. Take the id from it
   * in the same turn.
   */
  take(): LeaseBlock | undefined {
    if (this.#line.size > 0) return undefined
    return this.#usable(this.#parts.clock.monotonicMs())
  }

  /**
   * An id, after those who came before.
   *
   * @throws {StoreError} OVERLOADED: too many wait. CANCELLED: `signal` aborted, or the client
   * closed. Otherwise why the master gave no lease: NO_WRITABLE_VOLUME, UNAVAILABLE and others.
   */
  wait(signal: AbortSignal): Promise<Grant> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(cancelledError(signal, 'before waiting for a file id'))
      if (this.#line.size >= LIMITS.leaseWaitersMax.value) {
        const why = `${this.#line.size} writes wait for a file id already`
        return reject(new StoreError('OVERLOADED', why))
      }
      const waiter: Waiter = {
        onGrant: (grant) => {
          aborting[Symbol.dispose]()
          resolve(grant)
        },
        onFailure: (error) => {
          aborting[Symbol.dispose]()
          reject(error)
        },
      }
      const aborting = onAbort(signal, () => {
        this.#line.delete(waiter)
        reject(cancelledError(signal, 'while waiting for a file id'))
      })
      this.#line.add(waiter)
      this.#serveLine()
    })
  }

  dropVolume(volumeId: VolumeId): void {
    if (this.#next?.volumeId === volumeId) this.#next = undefined
    if (this.#current?.volumeId !== volumeId) return
    this.#current = this.#next
    this.#next = undefined
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    await this.#refill
  }

  #usable(nowMs: number): LeaseBlock | undefined {
    let block = this.#current
    if (block === undefined || block.leftCount === 0 || nowMs >= block.expiresAtMs) {
      block = this.#next
      this.#current = block
      this.#next = undefined
      if (block !== undefined && nowMs >= block.expiresAtMs) this.#current = block = undefined
    }
    if (block === undefined) return undefined
    const isRunningOut = block.leftCount <= block.refillAtCount || nowMs >= block.refillAtMs
    if (isRunningOut && this.#next === undefined && nowMs >= this.#quietUntilMs) this.#startRefill()
    return block
  }

  #serveLine(): void {
    const nowMs = this.#parts.clock.monotonicMs()
    for (const waiter of this.#line) {
      const block = this.#usable(nowMs)
      if (block === undefined) {
        this.#startRefill()
        return
      }
      this.#line.delete(waiter)
      waiter.onGrant({ block, fileId: block.takeFileId(cookie(this.#parts.random.u32())) })
    }
  }

  #startRefill(): void {
    this.#refill ??= this.#fetchLease().finally(() => {
      this.#refill = undefined
      // Those who joined while the answer was on its way, or whom one lease was not enough for.
      if (this.#line.size > 0) this.#serveLine()
    })
  }

  /** Never rejects: whoever waits is told, and nobody else needs to know. */
  async #fetchLease(): Promise<void> {
    const { clock, connect, logger, random } = this.#parts
    try {
      const askedAtMs = clock.monotonicMs()
      this.#resize(askedAtMs)
      const lease = await this.#assign()
      const block = new LeaseBlock(lease, connect, random, askedAtMs)
      if (clock.monotonicMs() >= block.expiresAtMs) {
        throw new StoreError('TIMEOUT', 'a lease had expired when it arrived')
      }
      if (this.#current === undefined) this.#current = block
      else this.#next = block
    } catch (error) {
      this.#quietUntilMs = clock.monotonicMs() + QUIET_MS
      if (this.#line.size === 0) logger.debug('client.lease_failed', { error })
      const line = [...this.#line]
      this.#line.clear()
      for (const waiter of line) waiter.onFailure(error)
    }
  }

  async #assign(): Promise<Lease> {
    const excludedVolumeIds = this.#parts.excluded()
    const request = { ...ANYWHERE, ...this.#layout, dataBytes: this.#sizes.dataBytes }
    const count = Math.min(Math.max(this.#idsWanted, this.#line.size), this.#sizes.idsMax)
    const { master } = this.#parts
    try {
      return await master.assign({ ...request, count, excludedVolumeIds }, this.#closing)
    } catch (error) {
      if (excludedVolumeIds.length === 0) throw error
      if (!isStoreError(error, 'NO_WRITABLE_VOLUME', 'PLACEMENT_IMPOSSIBLE')) throw error
      // Better one that failed just now, under a new id, than none.
      return await master.assign({ ...request, count, excludedVolumeIds: [] }, this.#closing)
    }
  }

  #resize(nowMs: number): void {
    const { idsMin, idsMax } = this.#sizes
    const isBrief = nowMs - this.#askedAtMs < BRIEF_MS
    this.#idsWanted = isBrief ? Math.min(idsMax, this.#idsWanted * 2) : idsMin
    this.#askedAtMs = nowMs
  }
}

const ANYWHERE = { dataCenter: '', rack: '', key: '' } as const
