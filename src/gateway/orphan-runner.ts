import { isStoreError } from '../base/store-error.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import {
  collectOrphans,
  ORPHANS_OVERTAKEN,
  type OrphanOptions,
  type OrphanParts,
  type OrphanReport,
} from './orphan-collector.ts'
import { OrphanLedger } from './orphan-ledger.ts'

export interface OrphanRunnerParts extends OrphanParts {
  readonly random: Random
  readonly logger: Logger
  /** Where what passes did is counted; undefined: only the log says it. */
  readonly metrics?: Metrics | undefined
}

export interface OrphanRunnerConfig {
  /** From the begin of a pass to that of the next, whoever makes it. */
  readonly everyMs: number
  /** A day unless given. */
  readonly minAgeMs?: number | undefined
  /** As in `OrphanOptions`, for tests. */
  readonly minAgeFloorMs?: number | undefined
  readonly passGapMs?: number | undefined
}

const DAY_MS = 86_400_000
/** A start is busy enough, and one that ends soon again should not begin a pass each time. */
const FIRST_MS_MAX = 600_000
/** After a pass that broke off, as while a server is away. */
const RETRIES_PER_PERIOD = 24
const RETRY_MS_MIN = 1000
/** After a piece of work it rests for as long as that took, and at least so long. */
const REST_MS_MIN = 1
const REST_MS_MAX = 10_000

/**
 * Collects orphans by itself, a pass in each period.
 *
 * - There may be any number of these. The ledger says when the last pass began, so that one of them
 *   makes the next; if two begin at once, the one that began first ends before it deletes anything.
 * - What a pass needs to know of earlier ones is in the ledger, so any of them may end at any time.
 * - A pass rests as often as it works.
 */
export class OrphanRunner implements AsyncDisposable {
  readonly #parts: OrphanRunnerParts
  readonly #config: OrphanRunnerConfig
  readonly #ledger: OrphanLedger
  readonly #closing = new AbortController()
  readonly #count: (report: OrphanReport) => void
  #running: Promise<void> | undefined

  constructor(parts: OrphanRunnerParts, config: OrphanRunnerConfig) {
    this.#parts = parts
    this.#config = config
    this.#ledger = new OrphanLedger(parts.client)
    this.#count = counterIn(parts.metrics)
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Ends the pass under way between two of its steps. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#parts
    const { everyMs } = this.#config
    const { signal } = this.#closing
    const firstMs = Math.min(everyMs / 2, FIRST_MS_MAX)
    try {
      await clock.sleep(Math.ceil(firstMs * (1 + random.u32() / 2 ** 32)), signal)
      for (;;) {
        const waitMs = await this.#passIfDue(signal)
        // Several gateways that wait for the same moment do not all begin in it.
        const spreadMs = (Math.min(waitMs, FIRST_MS_MAX) / 10) * (random.u32() / 2 ** 32)
        await clock.sleep(Math.ceil(waitMs + spreadMs), signal)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  /** Returns how long to wait then. */
  async #passIfDue(signal: AbortSignal): Promise<number> {
    const { clock, logger } = this.#parts
    const { everyMs } = this.#config
    try {
      const untilDueMs = (await this.#lastBeganAtMs(signal)) + everyMs - clock.nowMs()
      // A clock that was wrong, and is right again, may have written down any time.
      if (untilDueMs > 0) return Math.min(untilDueMs, everyMs)
      await this.#pass(signal)
      return everyMs
    } catch (error) {
      if (signal.aborted) throw error
      logger.warn('s3.orphans_halted', { error })
      return Math.max(everyMs / RETRIES_PER_PERIOD, RETRY_MS_MIN)
    }
  }

  async #lastBeganAtMs(signal: AbortSignal): Promise<number> {
    try {
      return (await this.#ledger.read(signal)).begunAtMs
    } catch (error) {
      // The pass says what that means.
      if (isStoreError(error, 'METADATA_CORRUPT')) return 0
      throw error
    }
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#parts
    const { everyMs: _, minAgeMs = DAY_MS, ...times } = this.#config
    const startedAtMs = clock.monotonicMs()
    const onPiece = this.#restAfterPiece(signal)
    const usual = { seen: undefined, isDryRun: false, isForced: false }
    const options: OrphanOptions = { ...times, ...usual, minAgeMs, onPiece }
    const report = await collectOrphans(this.#parts, options, signal)
    this.#count(report)
    const { refusal, seen, orphans: found, deleted: collected, ...rest } = report
    const tookMs = Math.round(clock.monotonicMs() - startedAtMs)
    const fields = { ...rest, found, collected, spared: found - collected, tookMs }
    if (refusal === undefined) logger.info('s3.orphans_pass', fields)
    else if (refusal === ORPHANS_OVERTAKEN) logger.info('s3.orphans_overtaken', fields)
    else logger.warn('s3.orphans_refused', { refusal, ...fields })
  }

  #restAfterPiece(signal: AbortSignal): () => Promise<void> {
    const { clock } = this.#parts
    let sinceMs = clock.monotonicMs()
    return async () => {
      const tookMs = clock.monotonicMs() - sinceMs
      await clock.sleep(Math.min(Math.max(tookMs, REST_MS_MIN), REST_MS_MAX), signal)
      sinceMs = clock.monotonicMs()
    }
  }
}

function counterIn(metrics: Metrics | undefined): (report: OrphanReport) => void {
  if (metrics === undefined) return () => undefined
  const passes = metrics.counter({
    name: 's3_orphan_passes',
    help: 'Passes over needles that no row names, by what came of them',
    labelNames: ['outcome'],
  })
  const needles = metrics.counter({
    name: 's3_orphan_needles',
    help: 'Needles that no row names: found by passes, and of these collected, or spared so far',
    labelNames: ['outcome'],
  })
  const bytes = metrics.counter({
    name: 's3_orphan_collected_bytes',
    help: 'Bytes of needles that were collected',
  })
  return ({ deleted, deletedBytes, orphans, refusal }) => {
    const isRefused = refusal !== undefined && refusal !== ORPHANS_OVERTAKEN
    passes.inc({ outcome: isRefused ? 'refused' : 'done' })
    needles.inc({ outcome: 'found' }, orphans)
    needles.inc({ outcome: 'collected' }, deleted)
    needles.inc({ outcome: 'spared' }, orphans - deleted)
    bytes.inc(deletedBytes)
  }
}
