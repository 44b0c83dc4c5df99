import { Readable } from 'node:stream'
import { cancelledError, onAbort } from '../runtime/abort.ts'

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
      const next = await unlessAborted(iterator.next(), signal)
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

function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(cancelledError(signal, 'before reading the source'))
    const aborting = onAbort(signal, () => {
      reject(cancelledError(signal, 'while reading the source'))
    })
    work.then(
      (value) => {
        aborting[Symbol.dispose]()
        resolve(value)
      },
      (error: unknown) => {
        aborting[Symbol.dispose]()
        reject(error)
      },
    )
  })
}

/** Not waited for: a generator that waits for something itself ends only after that. */
function stop(source: unknown, iterator: AsyncIterator<unknown>): void {
  if (source instanceof Readable) source.destroy()
  iterator.return?.().then(undefined, () => undefined)
}
