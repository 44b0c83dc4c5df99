import { assert } from '../base/assert.ts'
import { cancelledError } from './abort.ts'

/**
 * Runs `run` over the items, at most `concurrencyMax` at a time; the results are in the items'
 * order. After a failure or an abort nothing more is started, and the rejection waits for what is
 * under way: when this settles, nothing of it is still running.
 *
 * @throws {StoreError} CANCELLED: `signal` aborted before all items were done. Otherwise the first
 * failure of `run`.
 */
export async function mapBounded<Item, Result>(
  items: Iterable<Item>,
  concurrencyMax: number,
  run: (item: Item, index: number) => Promise<Result>,
  signal: AbortSignal,
): Promise<Result[]> {
  assert(Number.isInteger(concurrencyMax) && concurrencyMax > 0, `${concurrencyMax} at a time`)
  const results: Result[] = []
  let failure: { readonly error: unknown } | undefined
  let nextIndex = 0
  const source = items[Symbol.iterator]()

  const work = async () => {
    while (failure === undefined) {
      try {
        const next = source.next()
        if (next.done === true) return
        if (signal.aborted) throw cancelledError(signal, 'with items left')
        const index = nextIndex++
        results[index] = await run(next.value, index)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: concurrencyMax }, work))
  if (failure !== undefined) throw failure.error
  return results
}
