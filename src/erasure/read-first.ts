import { assert } from '../base/assert.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { cancelledError } from '../runtime/abort.ts'
import { AbortScope } from '../runtime/abort-scope.ts'
import type { Clock } from '../runtime/clock.ts'

/** Reads the same bytes of one shard; ends soon after its signal aborts. */
export type ReadShard = (shard: number, signal: AbortSignal) => Promise<Buffer>

export interface ReadFirstOptions {
  readonly clock: Clock
  /**
   * How long those that are asked first may take, which are as many as are needed, before the
   * others are asked beside them. 0: all are asked at once.
   */
  readonly spareMs: number
  /** How long the others may go on when enough have answered, for what they have to say. */
  readonly lingerMs: number
}

/**
 * Reads the first of `shards`, the rest of them as far as those fail or are slow, and returns the
 * first `count` that come. The others are aborted; what they still read is nobody's.
 *
 * @throws {StoreError} SHARDS_LOST: fewer can be read. CANCELLED.
 */
export async function readFirst(
  shards: readonly number[],
  count: number,
  read: ReadShard,
  options: ReadFirstOptions,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, Buffer>> {
  assert(shards.length >= count && count > 0, `${count} of ${shards.length} shards`)
  using scope = new AbortScope(signal)
  const { clock, lingerMs, spareMs } = options
  const timers: Disposable[] = []
  const reading = new Promise<ReadonlyMap<number, Buffer>>((resolve, reject) => {
    const found = new Map<number, Buffer>()
    const waiting = [...shards]
    let running = 0
    let isLingering = false
    const ask = (shard: number): void => {
      running++
      read(shard, scope.signal).then((bytes) => onRead(shard, bytes), onFailed)
    }
    const askMore = (more: number): void => {
      for (const shard of waiting.splice(0, more)) ask(shard)
    }
    const onEnd = (): void => {
      running--
      if (found.size < count) return
      if (running === 0 || lingerMs === 0) resolve(found)
      else if (!isLingering) timers.push(clock.after(lingerMs, () => resolve(found)))
      isLingering = true
    }
    const onRead = (shard: number, bytes: Buffer): void => {
      if (found.size < count) found.set(shard, bytes)
      onEnd()
    }
    const onFailed = (error: unknown): void => {
      if (!isStoreError(error)) reject(error)
      else if (signal.aborted) reject(cancelledError(signal, 'while reading shards'))
      else if (found.size + running - 1 + waiting.length < count) {
        reject(tooFew(found.size, count, error))
      } else if (found.size < count) askMore(1)
      onEnd()
    }
    askMore(spareMs === 0 ? shards.length : count)
    if (waiting.length > 0) timers.push(clock.after(spareMs, () => askMore(waiting.length)))
  })
  try {
    return await reading
  } finally {
    for (const timer of timers) timer[Symbol.dispose]()
  }
}

function tooFew(foundCount: number, count: number, cause: unknown): StoreError {
  const why = `${foundCount} of ${count} shards that are needed can be read and are good`
  return new StoreError('SHARDS_LOST', why, { cause })
}
