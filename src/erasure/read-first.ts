import { assert } from '../base/assert.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { cancelledError } from '../runtime/abort.ts'
import { AbortScope } from '../runtime/abort-scope.ts'
import type { Clock } from '../runtime/clock.ts'

/** Reads the same bytes of one shard; ends soon after its signal aborts. */
export type ReadShard = (shard: number, signal: AbortSignal) => Promise<Buffer>

export interface ReadFirstOptions {
  readonly clock: Clock
  /** How long the others may go on when enough have answered, for what they have to say. */
  readonly lingerMs: number
}

/**
 * Reads all of `shards` at once and returns the first `count` that come. The others are aborted;
 * what they still read is nobody's.
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
  const { clock, lingerMs } = options
  return await new Promise((resolve, reject) => {
    const found = new Map<number, Buffer>()
    let running = shards.length
    let lingering: Disposable | undefined
    const onEnd = (): void => {
      running--
      const isEnough = found.size === count
      if (isEnough && (running === 0 || lingerMs === 0)) {
        lingering?.[Symbol.dispose]()
        resolve(found)
      } else if (isEnough) {
        lingering ??= clock.after(lingerMs, () => resolve(found))
      }
    }
    const onRead = (shard: number, bytes: Buffer): void => {
      if (found.size < count) found.set(shard, bytes)
      onEnd()
    }
    const onFailed = (error: unknown): void => {
      if (!isStoreError(error)) reject(error)
      else if (signal.aborted) reject(cancelledError(signal, 'while reading shards'))
      else if (found.size + running - 1 < count) reject(tooFew(found.size, count, error))
      onEnd()
    }
    for (const shard of shards) {
      read(shard, scope.signal).then((bytes) => onRead(shard, bytes), onFailed)
    }
  })
}

function tooFew(foundCount: number, count: number, cause: unknown): StoreError {
  const why = `${foundCount} of ${count} shards that are needed can be read and are good`
  return new StoreError('SHARDS_LOST', why, { cause })
}
