import { assert } from '../base/assert.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'

type Source<Item> = Iterable<Item> | AsyncIterable<Item>

interface Task<Result> {
  readonly done: Promise<Settlement<Result>>
}

type Settlement<Result> =
  | { readonly isFailure: false; readonly value: Result }
  | { readonly isFailure: true; readonly error: unknown }

/**
 * Runs `run` over the items, at most `aheadMax` under way or waiting to be taken; the results come
 * in the items' order. When the consumer stops, or a result is a failure, the signal that the
 * others were given aborts, and this ends once they have.
 *
 * @throws {StoreError} CANCELLED: `signal` aborted. Otherwise the first failure in order.
 */
export async function* mapOrdered<Item, Result>(
  items: Source<Item>,
  aheadMax: number,
  run: (item: Item, signal: AbortSignal) => Promise<Result>,
  signal: AbortSignal,
): AsyncGenerator<Result, void, undefined> {
  assert(Number.isInteger(aheadMax) && aheadMax > 0, `${aheadMax} at a time`)
  if (signal.aborted) throw cancelledError(signal, 'before the first item')
  const stopping = new AbortController()
  using _abort = onAbort(signal, () => stopping.abort(signal.reason))
  const source = iteratorOf(items)
  const tasks: Task<Result>[] = []
  let pull: Promise<Settlement<boolean>> | undefined
  let isExhausted = false

  const pullNext = async (): Promise<boolean> => {
    const next = await source.next()
    if (next.done === true) return true
    tasks.push({ done: settle(run(next.value, stopping.signal)) })
    return false
  }

  try {
    for (;;) {
      if (!isExhausted && tasks.length < aheadMax) pull ??= settle(pullNext())
      const head = tasks[0]
      if (head === undefined && pull === undefined) return
      const pulled = await (pull === undefined ? undefined : firstOf(pull, head?.done))
      if (pulled !== undefined) {
        pull = undefined
        if (pulled.isFailure) throw pulled.error
        isExhausted = pulled.value
        continue
      }
      const outcome = await (head as Task<Result>).done
      tasks.shift()
      if (outcome.isFailure) throw outcome.error
      if (signal.aborted) throw cancelledError(signal, 'with items left')
      yield outcome.value
    }
  } finally {
    stopping.abort()
    // An exhausted source has ended by itself; one that is being pulled ends after that.
    if (!isExhausted) await settle(Promise.resolve(source.return?.()))
    await pull
    await Promise.all(tasks.map((task) => task.done))
  }
}

/** What was pulled, or undefined when the head is done first. */
function firstOf(
  pull: Promise<Settlement<boolean>>,
  head: Promise<unknown> | undefined,
): Promise<Settlement<boolean> | undefined> {
  return head === undefined ? pull : Promise.race([pull, head.then(() => undefined)])
}

/** Never rejects, so that nobody has to be there when it fails. */
function settle<Result>(work: Promise<Result>): Promise<Settlement<Result>> {
  return work.then(
    (value) => ({ isFailure: false, value }),
    (error: unknown) => ({ isFailure: true, error }),
  )
}

function iteratorOf<Item>(items: Source<Item>): Iterator<Item> | AsyncIterator<Item> {
  return Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
}
