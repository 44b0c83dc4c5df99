import { assert } from '../base/assert.ts'
import {
  compareNeedleIds,
  formatNeedleId,
  type NeedleId,
  needleIdFromBigInt,
  needleIdToBigInt,
} from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import type { Coordinator, NumberBlock } from '../metadata/coordinator.ts'
import type { Logger } from '../runtime/logger.ts'
import { orCancelled } from './deadline.ts'

export interface SequencerParts {
  readonly blocks: Pick<Coordinator, 'allocateBlock'>
  readonly logger: Logger
  /** Ends fetches under way: the master is closing. */
  readonly closing: AbortSignal
}

const SEQUENCE = 'needle-ids'

/** The next block is fetched when less than this share of the present one is left. */
const AHEAD_SHARE = 0.5

/**
 * A report further above our own ids than this is not of an id we gave out before a backup was
 * restored, but of one that came from elsewhere: clients may store under any id. Following it would
 * let one such needle use up all ids there are. 2^48 of ours are years at a million a second.
 */
const JUMP_MAX = 1n << 48n

const EMPTY: NumberBlock = { first: 0n, end: 0n }

/**
 * Needle ids, each given out once, for ever. They are carved in memory from blocks whose end was
 * durable before the first id was used, so a crash loses the rest of a block and repeats none.
 *
 *     given out │ #next … #block.end │ #spare, fetched ahead
 */
export class Sequencer {
  readonly #parts: SequencerParts
  readonly #blockCount: number
  #next = 0n
  #block = EMPTY
  #spare = EMPTY
  #hasBlock = false
  /** No id below this is given out any more. */
  #floor = 0n
  #highestReported: NeedleId = { hi: 0, lo: 0 }
  #fetching: Promise<void> | undefined

  constructor(parts: SequencerParts, options: { readonly blockCount: number }) {
    assert(options.blockCount >= LIMITS.assignCountMax.value, 'a lease fits into a block')
    this.#parts = parts
    this.#blockCount = options.blockCount
  }

  /**
   * The first of `count` consecutive ids.
   *
   * @throws {StoreError} As `Coordinator.allocateBlock`, of the block it had to wait for.
   */
  async take(count: number, signal: AbortSignal): Promise<NeedleId> {
    assert(Number.isInteger(count) && count > 0 && count <= this.#blockCount, `${count} ids`)
    const wanted = BigInt(count)
    while (this.#block.end - this.#next < wanted) {
      if (this.#spare.end - this.#spare.first >= wanted) this.#useSpare()
      else await orCancelled(this.#fetch(), signal)
    }
    const first = this.#next
    this.#next += wanted
    if (this.#block.end - this.#next < BigInt(Math.floor(this.#blockCount * AHEAD_SHARE))) {
      this.#fetchAhead()
    }
    return needleIdFromBigInt(first)
  }

  /**
   * A volume server holds a needle with this id. One above all that were given out means that the
   * master's data is older than the volumes: it goes on above it.
   */
  noteReported(id: NeedleId): void {
    if (compareNeedleIds(id, this.#highestReported) <= 0) return
    this.#highestReported = id
    const value = needleIdToBigInt(id)
    // Before the first block is here nobody knows where ours are: it is looked at then.
    if (this.#hasBlock && value >= this.#next) this.#jumpAbove(value)
  }

  #jumpAbove(value: bigint): void {
    const fields = { id: formatNeedleId(needleIdFromBigInt(value)), next: this.#next.toString() }
    if (value >= this.#next + JUMP_MAX) {
      this.#parts.logger.warn('master.foreign_needle_id', fields)
      return
    }
    this.#parts.logger.warn('master.needle_ids_jump', fields)
    this.#floor = value + 1n
    this.#next = this.#floor
    this.#block = EMPTY
    this.#spare = EMPTY
  }

  #useSpare(): void {
    this.#block = this.#spare
    this.#next = this.#spare.first
    this.#spare = EMPTY
    this.#hasBlock = true
    // A report may have come since the block was asked for: then none of it is used.
    const reported = needleIdToBigInt(this.#highestReported)
    if (reported >= this.#next) this.#jumpAbove(reported)
  }

  /** Callers share one fetch: none of them ends it, each may stop waiting for it. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchBlock().finally(() => {
      this.#fetching = undefined
    })
    return this.#fetching
  }

  async #fetchBlock(): Promise<void> {
    const { blocks, closing } = this.#parts
    const floor = this.#floor
    this.#spare = await blocks.allocateBlock(SEQUENCE, this.#blockCount, floor, closing)
  }

  #fetchAhead(): void {
    if (this.#spare !== EMPTY || this.#fetching !== undefined) return
    this.#fetch().catch((error: unknown) => {
      if (this.#parts.closing.aborted) return
      this.#parts.logger.warn('master.needle_ids_not_fetched', { error })
    })
  }
}
