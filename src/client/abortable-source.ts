import { Readable } from 'node:stream'
import { unlessAborted } from './unless-aborted.ts'

/**
 * The pieces of `source`, until the signal aborts: then CANCELLED at once, even when the source
 * never gives another piece. A `Readable` is destroyed when this ends early.
 */
export async function* abortable<Piece>(
  source: AsyncIterable<Piece>,
  signal: AbortSignal,
): AsyncGenerator<Piece, void, undefined> {
  const iterator = source[Symbol.asyncIterator]()
  let isDone = false
  try {
    for (;;) {
      const next = await unlessAborted(iterator.next(), signal, 'reading the source')
      if (next.done === true) {
        isDone = true
        return
      }
      yield next.value
    }
  } finally {
    if (!isDone) stop(source, iterator)
  }
}

/** Not waited for: a generator that waits for something itself ends only after that. */
function stop(source: unknown, iterator: AsyncIterator<unknown>): void {
  if (source instanceof Readable) source.destroy()
  iterator.return?.().then(undefined, () => undefined)
}
