import { compareNeedleIds, type NeedleId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import type { NeedleSummary } from '../net/volume-api.ts'

/** One needle as the copies list it, in the order of the copies; undefined: not known there. */
export interface NeedleRow {
  readonly needleId: NeedleId
  readonly summaries: readonly (NeedleSummary | undefined)[]
}

/** Rows between two turns of whoever reads them. */
const ROWS_MAX = 4096

/**
 * Lays the lists of several copies side by side: every id that any of them knows, ascending, in
 * batches. Holds one page of each list.
 *
 * @throws {StoreError} PEER_FAILED: a list is not ascending; whatever the lists throw.
 */
export async function* mergeNeedles(
  lists: readonly AsyncIterable<readonly NeedleSummary[]>[],
): AsyncGenerator<readonly NeedleRow[], void, undefined> {
  const pages = lists.map((list) => new ListReader(list))
  try {
    for (;;) {
      await Promise.all(pages.map((page) => page.fill()))
      const rows = mergePages(pages)
      if (rows.length === 0) return
      yield rows
    }
  } finally {
    await Promise.allSettled(pages.map((page) => page.close()))
  }
}

/** As far as the pages reach: until one of them has to be filled. */
function mergePages(pages: readonly ListReader[]): readonly NeedleRow[] {
  const rows: NeedleRow[] = []
  while (rows.length < ROWS_MAX) {
    if (pages.some((page) => page.isDry)) break
    let lowest: NeedleId | undefined
    for (const page of pages) {
      const id = page.first?.needleId
      if (id === undefined) continue
      if (lowest === undefined || compareNeedleIds(id, lowest) < 0) lowest = id
    }
    if (lowest === undefined) break
    const needleId = lowest
    rows.push({ needleId, summaries: pages.map((page) => page.take(needleId)) })
  }
  return rows
}

class ListReader {
  readonly #pages: AsyncIterator<readonly NeedleSummary[]>
  #page: readonly NeedleSummary[] = []
  #index = 0
  #isDone = false

  constructor(list: AsyncIterable<readonly NeedleSummary[]>) {
    this.#pages = list[Symbol.asyncIterator]()
  }

  get first(): NeedleSummary | undefined {
    return this.#page[this.#index]
  }

  /** There may be more, which has to be fetched first. */
  get isDry(): boolean {
    return !this.#isDone && this.first === undefined
  }

  async fill(): Promise<void> {
    while (this.isDry) {
      const last = this.#page.at(-1)
      const next = await this.#pages.next()
      if (next.done === true) {
        this.#isDone = true
        this.#page = []
      } else {
        this.#page = next.value
      }
      this.#index = 0
      const { first } = this
      if (last === undefined || first === undefined) continue
      if (compareNeedleIds(last.needleId, first.needleId) >= 0) throw unsorted()
    }
  }

  /** The entry of that needle, if it is the first one here. */
  take(needleId: NeedleId): NeedleSummary | undefined {
    const { first } = this
    if (first === undefined || compareNeedleIds(first.needleId, needleId) !== 0) return undefined
    this.#index++
    const next = this.first
    if (next !== undefined && compareNeedleIds(next.needleId, needleId) <= 0) throw unsorted()
    return first
  }

  async close(): Promise<void> {
    if (!this.#isDone) await this.#pages.return?.()
  }
}

function unsorted(): StoreError {
  return new StoreError('PEER_FAILED', 'a server lists its needles out of order')
}
