import { StoreError } from '../base/store-error.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import { DRAINING_PREFIX, encodeDraining, endOf } from './master-rows.ts'

export interface StandingOptions {
  /** A server that is down for so long has lost its copies. */
  readonly delayMs: number
  /** Going down so often within `flapWindowMs` is flapping, until up for `flapCalmMs`. */
  readonly flapCount: number
  readonly flapWindowMs: number
  readonly flapCalmMs: number
  /** A server that is up for less is taken to have been down all the time. */
  readonly upAgainMs: number
}

interface Standing {
  isUp: boolean
  hasBeenDown: boolean
  /** By the monotonic clock: of the last time it came up; meaningless while it never did. */
  upSinceMs: number
  /** The same: when it went down, or, if it was up only for a moment since, when it did before. */
  downSinceMs: number
  /** As `downSinceMs`, by the wall clock. */
  downSinceWallMs: number
  /** When it went down lately; at most `flapCount`. */
  downTimesMs: number[]
  isFlapping: boolean
  flappingSinceWallMs: number
}

/**
 * How long servers are up or down, which of them come and go too often, and which are being
 * emptied. Only the last is kept durably: after a restart a server that is missing counts as down
 * since the start, so that a master that was away does not take everybody for lost.
 */
export class NodeStandings {
  readonly #parts: { readonly store: MetadataStore; readonly clock: Clock }
  readonly #options: StandingOptions
  readonly #draining: Set<string>
  readonly #standings = new Map<string, Standing>()
  readonly #forgotten = new Set<string>()
  readonly #startMs: number
  readonly #startWallMs: number

  private constructor(
    parts: { readonly store: MetadataStore; readonly clock: Clock },
    options: StandingOptions,
    draining: Set<string>,
  ) {
    this.#parts = parts
    this.#options = options
    this.#draining = draining
    this.#startMs = parts.clock.monotonicMs()
    this.#startWallMs = parts.clock.nowMs()
  }

  static async open(
    parts: { readonly store: MetadataStore; readonly clock: Clock },
    options: StandingOptions,
    signal: AbortSignal,
  ): Promise<NodeStandings> {
    const draining = new Set<string>()
    const range = { gte: DRAINING_PREFIX, lt: endOf(DRAINING_PREFIX) }
    for await (const { key } of parts.store.scan(range, signal)) {
      draining.add(key.slice(DRAINING_PREFIX.length))
    }
    return new NodeStandings(parts, options, draining)
  }

  onUp(url: string): void {
    const nowMs = this.#parts.clock.monotonicMs()
    this.#forgotten.delete(url)
    const standing = this.#standings.get(url)
    if (standing === undefined) this.#standings.set(url, newStanding(nowMs))
    else if (!standing.isUp) {
      standing.isUp = true
      standing.upSinceMs = nowMs
    }
  }

  /** `isPlanned`: it said that it would leave, which is no flapping. */
  onDown(url: string, isPlanned: boolean): void {
    const { clock } = this.#parts
    const nowMs = clock.monotonicMs()
    const standing = this.#standings.get(url)
    if (standing === undefined || !standing.isUp) return
    const wasMoment = nowMs - standing.upSinceMs < this.#options.upAgainMs
    standing.isUp = false
    if (!wasMoment || !standing.hasBeenDown) {
      standing.downSinceMs = nowMs
      standing.downSinceWallMs = clock.nowMs()
    }
    standing.hasBeenDown = true
    if (!isPlanned) this.#noteFlap(standing, nowMs)
  }

  forget(url: string): void {
    this.#standings.delete(url)
    this.#forgotten.add(url)
  }

  /** What a server that is down held counts as lost, until it comes up; forgotten at a restart. */
  giveUp(url: string): void {
    if (this.#standings.get(url)?.isUp !== true) this.#forgotten.add(url)
  }

  /** 0: it is up. By the wall clock. */
  downSinceMs(url: string): number {
    const standing = this.#standings.get(url)
    if (standing === undefined) return this.#startWallMs
    return standing.isUp ? 0 : standing.downSinceWallMs
  }

  /** 0: it is up. A server not heard of since the start is down since then. */
  downForMs(url: string): number {
    const standing = this.#standings.get(url)
    if (standing?.isUp === true) return 0
    return this.#parts.clock.monotonicMs() - (standing?.downSinceMs ?? this.#startMs)
  }

  /** 0: it is down. */
  upForMs(url: string): number {
    const standing = this.#standings.get(url)
    if (standing?.isUp !== true) return 0
    return this.#parts.clock.monotonicMs() - standing.upSinceMs
  }

  /** Down for so long that its copies count as lost, or declared so. */
  isGone(url: string): boolean {
    if (this.#forgotten.has(url)) return true
    if (this.#standings.get(url)?.isUp === true) return false
    return this.downForMs(url) >= this.#options.delayMs
  }

  /** Went down too often lately, and has not been up for long enough since. */
  isFlapping(url: string): boolean {
    const standing = this.#standings.get(url)
    if (standing === undefined || !standing.isFlapping) return false
    if (standing.isUp && this.upForMs(url) >= this.#options.flapCalmMs) {
      standing.isFlapping = false
      standing.downTimesMs = []
    }
    return standing.isFlapping
  }

  /** By the wall clock. */
  flapping(): { readonly url: string; readonly sinceMs: number }[] {
    return [...this.#standings]
      .filter(([url]) => this.isFlapping(url))
      .map(([url, { flappingSinceWallMs }]) => ({ url, sinceMs: flappingSinceWallMs }))
  }

  isDraining(url: string): boolean {
    return this.#draining.has(url)
  }

  /** It shall be given nothing new, where there is another choice. */
  isSpared(url: string): boolean {
    return this.isDraining(url) || this.isFlapping(url)
  }

  /** Durable when it returns. */
  async setDraining(url: string, isDraining: boolean, signal: AbortSignal): Promise<void> {
    if (url === '') throw new StoreError('REQUEST_INVALID', 'no server is named')
    const key = DRAINING_PREFIX + url
    const row = { key, value: encodeDraining(this.#parts.clock.nowMs()) }
    await this.#parts.store.commit(isDraining ? { puts: [row] } : { deletes: [key] }, signal)
    if (isDraining) this.#draining.add(url)
    else this.#draining.delete(url)
  }

  #noteFlap(standing: Standing, nowMs: number): void {
    const { flapCount, flapWindowMs } = this.#options
    standing.downTimesMs.push(nowMs)
    while (standing.downTimesMs.length > flapCount) standing.downTimesMs.shift()
    const [first = nowMs] = standing.downTimesMs
    const isOften = standing.downTimesMs.length >= flapCount && nowMs - first <= flapWindowMs
    if (!isOften || standing.isFlapping) return
    standing.isFlapping = true
    standing.flappingSinceWallMs = this.#parts.clock.nowMs()
  }
}

function newStanding(nowMs: number): Standing {
  return {
    isUp: true,
    hasBeenDown: false,
    upSinceMs: nowMs,
    downSinceMs: 0,
    downSinceWallMs: 0,
    downTimesMs: [],
    isFlapping: false,
    flappingSinceWallMs: 0,
  }
}
