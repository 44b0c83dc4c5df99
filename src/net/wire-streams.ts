import type { Readable, Writable } from 'node:stream'
import { cancelledError, onAbort } from '../runtime/abort.ts'

type Sink = Pick<Writable, 'write' | 'once' | 'off'>

/**
 * Writes messages as they come, no faster than the other side takes them.
 *
 * @throws {StoreError} CANCELLED: `signal` aborted first. Otherwise what `messages` threw.
 */
export async function writeAll(
  sink: Sink,
  messages: AsyncIterable<object>,
  signal: AbortSignal,
): Promise<void> {
  for await (const message of abortable(messages, signal)) {
    if (!sink.write(message)) await drained(sink, signal)
  }
}

/** @throws {StoreError} CANCELLED: `signal` aborted first. */
function drained(sink: Sink, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = withResolver()
  sink.once('drain', resolve)
  const done = orAbort(promise, signal)
  done.catch(() => sink.off('drain', resolve))
  return done
}

/**
 * The messages of a stream as they are asked for. Leaving the loop early does not destroy the
 * stream: its other direction may go on.
 *
 * @throws {StoreError} CANCELLED: `signal` aborted first. Otherwise what the stream failed with.
 */
export async function* messageStream<Message>(
  source: Readable,
  signal: AbortSignal,
): AsyncGenerator<Message> {
  const messages: AsyncIterable<Message> = {
    [Symbol.asyncIterator]: () => source.iterator({ destroyOnReturn: false }),
  }
  try {
    yield* abortable(messages, signal)
    // One that is cancelled may also look as if it had come to its end.
    if (signal.aborted) throw cancelledError(signal, 'while reading')
  } catch (error) {
    // A stream that is cancelled ends early, which to the iterator is an error of its own.
    throw signal.aborted ? cancelledError(signal, 'while reading') : error
  }
}

/**
 * The same values until `signal` aborts, even while `source` is stuck: then nobody waits for it.
 *
 * @throws {StoreError} CANCELLED: `signal` aborted before the end.
 */
export async function* abortable<Value>(
  source: AsyncIterable<Value>,
  signal: AbortSignal,
): AsyncGenerator<Value> {
  const iterator = source[Symbol.asyncIterator]()
  let isDone = false
  try {
    for (;;) {
      const next = await orAbort(iterator.next(), signal)
      isDone = next.done === true
      if (next.done === true) return
      yield next.value
    }
  } catch (error) {
    // Whoever threw is done; whoever is stuck will be told, and nobody waits until it listens.
    if (signal.aborted && !isDone) void Promise.resolve(iterator.return?.()).catch(() => {})
    isDone = true
    throw error
  } finally {
    if (!isDone) await iterator.return?.()
  }
}

/** @throws {StoreError} CANCELLED: `signal` aborted first. Otherwise as `running`. */
export function orAbort<Value>(running: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const aborting = onAbort(signal, () => reject(cancelledError(signal, 'while waiting')))
    if (signal.aborted) reject(cancelledError(signal, 'before waiting'))
    running.then(resolve, reject).finally(() => aborting[Symbol.dispose]())
  })
}

function withResolver(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
