import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'

interface Frozen {
  timer: Disposable
  /** In the order they came. Told that the volume has thawed. */
  readonly waiting: Set<() => void>
}

/**
 * Holds back the writes to volumes that have to keep still for a moment. A write that came through
 * counts as inside until it has been answered, so that whoever freezes a volume knows when nothing
 * is written to it any more.
 *
 *     write → wait (only while frozen) → enter → the volume → leave
 */
export class WriteGate implements Disposable {
  readonly #clock: Clock
  readonly #onThawed: (volumeId: VolumeId) => void
  readonly #frozen = new Map<VolumeId, Frozen>()
  /** Writes inside, by volume; a volume without any is not in it. */
  readonly #inside = new Map<VolumeId, number>()
  readonly #draining = new Map<VolumeId, Set<() => void>>()
  #thawCount = 0

  /** `onThawed` is told before anybody goes on. */
  constructor(
    parts: { readonly clock: Clock },
    onThawed: (volumeId: VolumeId) => void = () => undefined,
  ) {
    this.#clock = parts.clock
    this.#onThawed = onThawed
  }

  get frozenCount(): number {
    return this.#frozen.size
  }

  /** Grows with every thaw: what was learnt of the copies of a volume before may be over. */
  get thawCount(): number {
    return this.#thawCount
  }

  isFrozen(volumeId: VolumeId): boolean {
    return this.#frozen.has(volumeId)
  }

  /**
   * From now on writes to the volume wait, for `forMs` and no longer than `LIMITS.frozenWriteMs`;
   * if it is frozen already the time starts anew. Returns when those inside have been answered.
   *
   * @throws {StoreError} VOLUME_BUSY: it has thawed before that.
   */
  async freeze(volumeId: VolumeId, forMs: number): Promise<void> {
    const timer = this.#clock.after(Math.min(forMs, LIMITS.frozenWriteMs.value), () => {
      this.thaw(volumeId)
    })
    const known = this.#frozen.get(volumeId)
    known?.timer[Symbol.dispose]()
    const frozen = known ?? { timer, waiting: new Set() }
    frozen.timer = timer
    this.#frozen.set(volumeId, frozen)
    if (this.#inside.has(volumeId)) await this.#drained(volumeId)
    if (this.#frozen.get(volumeId) === frozen) return
    throw new StoreError('VOLUME_BUSY', `writes to volume ${volumeId} did not come to an end`)
  }

  /** Lets the writes that wait go on, in the order they came. */
  thaw(volumeId: VolumeId): void {
    const frozen = this.#frozen.get(volumeId)
    if (frozen === undefined) return
    frozen.timer[Symbol.dispose]()
    this.#frozen.delete(volumeId)
    this.#thawCount++
    this.#onThawed(volumeId)
    for (const goOn of frozen.waiting) goOn()
    this.#tell(volumeId)
  }

  /**
   * Undefined: the volume is not frozen. Otherwise to be awaited, and asked again after that.
   *
   * @throws {StoreError} VOLUME_BUSY: it is still frozen after `waitMs`. OVERLOADED: too many wait
   * already. CANCELLED.
   */
  wait(
    volumeId: VolumeId,
    signal: AbortSignal,
    waitMs: number = LIMITS.frozenWriteMs.value,
  ): Promise<void> | undefined {
    if (this.#frozen.size === 0) return undefined
    const frozen = this.#frozen.get(volumeId)
    return frozen && this.#wait(volumeId, frozen, signal, waitMs)
  }

  /** In the turn in which the volume was found not frozen. Each is to `leave`. */
  enter(volumeId: VolumeId): void {
    this.#inside.set(volumeId, (this.#inside.get(volumeId) ?? 0) + 1)
  }

  leave(volumeId: VolumeId): void {
    const left = (this.#inside.get(volumeId) ?? 0) - 1
    if (left > 0) {
      this.#inside.set(volumeId, left)
      return
    }
    this.#inside.delete(volumeId)
    if (this.#draining.size > 0) this.#tell(volumeId)
  }

  /** Thaws everything. */
  [Symbol.dispose](): void {
    for (const volumeId of [...this.#frozen.keys()]) this.thaw(volumeId)
  }

  #wait(
    volumeId: VolumeId,
    { waiting }: Frozen,
    signal: AbortSignal,
    waitMs: number,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(cancelledError(signal, 'before a frozen volume'))
      if (waiting.size >= LIMITS.frozenWritesMax.value) {
        const text = `${waiting.size} writes wait for volume ${volumeId} already`
        return reject(new StoreError('OVERLOADED', text))
      }
      const settle = (tell: () => void): void => {
        waiting.delete(goOn)
        timer[Symbol.dispose]()
        aborting[Symbol.dispose]()
        tell()
      }
      const goOn = (): void => settle(resolve)
      const busy = new StoreError('VOLUME_BUSY', `volume ${volumeId} is held still`)
      const timer = this.#clock.after(waitMs, () => settle(() => reject(busy)))
      const aborting = onAbort(signal, () => {
        settle(() => reject(cancelledError(signal, 'before a frozen volume')))
      })
      waiting.add(goOn)
    })
  }

  /** Nothing is inside any more, or the volume has thawed. */
  #drained(volumeId: VolumeId): Promise<void> {
    return new Promise((resolve) => {
      const draining = this.#draining.get(volumeId) ?? new Set()
      draining.add(resolve)
      this.#draining.set(volumeId, draining)
    })
  }

  #tell(volumeId: VolumeId): void {
    const draining = this.#draining.get(volumeId)
    this.#draining.delete(volumeId)
    for (const resolve of draining ?? []) resolve()
  }
}
