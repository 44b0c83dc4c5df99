import { StoreError } from '../base/store-error.ts'
import type { MetadataRow, MetadataStore } from '../metadata/metadata-store.ts'
import type { Bucket } from './bucket-record.ts'
import type { ListedObject, ObjectPage, SearchObjectsRequest } from './namespace-api.ts'
import { decodeObjectVersion } from './object-version.ts'
import { checkLimit } from './page.ts'
import type { RowChanges, RowCommits } from './row-changes.ts'
import { keyOfObjectRow, objectKey } from './row-keys.ts'
import { foldName, NameMatcher } from './search-pattern.ts'
import {
  keyRange,
  longestGrams,
  nameInKey,
  rowsStart,
  SEARCH_VALUE,
  searchKeys,
} from './search-rows.ts'
import { compareUtf8 } from './utf8-order.ts'

export interface SearchIndexParts {
  readonly store: MetadataStore
  readonly commits: RowCommits
  readonly newChanges: () => RowChanges
}

/** The document `search` of a bucket whose keys are OWNER/NAME, and whose names have rows. */
export const SEARCH_READY = 'owner/name'
/** Rows are made for what was there before, and for what changes: nothing looks at them yet. */
export const SEARCH_BUILDING = 'owner/name, rows are being made'

/** Rows looked at by one call, and steps of comparisons: about a tenth of a second each. */
const ROWS_MAX = 20_000
const STEPS_MAX = 4_000_000
/** Runs of a pattern that are tried for how rare they are, and the rows looked at of each. */
const GRAMS_TRIED = 6
const TRIED_ROWS = 48
/** Objects read, and rows made for them, at once. */
const READ_KEYS = 500
const BUILD_KEYS = 20

interface Sample {
  readonly gram: string
  readonly count: number
  readonly lastKey: string
}

/** @throws {StoreError} REQUEST_INVALID: `search` can be set to one thing, and stays. */
export function checkSearch(text: string | undefined): void {
  if (text === undefined || text === SEARCH_READY) return
  throw new StoreError('REQUEST_INVALID', `the document search is ${SEARCH_READY}, and stays so`)
}

/**
 * Finds objects by what is in their names. It keeps: in a bucket that is searched, the rows of
 * `search-rows.ts` are there for exactly the keys in `objects`; both change in one batch.
 */
export class SearchIndex {
  readonly #parts: SearchIndexParts

  constructor(parts: SearchIndexParts) {
    this.#parts = parts
  }

  /** Adds to a change of one key what it does to the rows of the index. */
  note(changes: RowChanges, bucket: Bucket, key: string): void {
    if (bucket.documents.search === undefined) return
    const { after, before } = changes.fateOf(objectKey(bucket.id, key))
    if (after === before) return
    for (const row of searchKeys(bucket.id, key)) {
      if (after) changes.put(row, SEARCH_VALUE)
      else changes.delete(row)
    }
  }

  /**
   * Makes the rows of all objects of the bucket, while `note` sees to those that change. What has
   * them already stays as it is, so that it may be begun again.
   */
  async build(bucket: Bucket, signal: AbortSignal): Promise<void> {
    let after: string | undefined = ''
    while (after !== undefined) after = await this.#buildSome(bucket, after, signal)
  }

  /**
   * Looks at a bounded number of rows: a page may have fewer objects than it has room for, even
   * none, and still say what follows.
   *
   * @throws {StoreError} REQUEST_INVALID: the bucket is not searched, the pattern, or the limit.
   */
  async search(
    bucket: Bucket,
    request: SearchObjectsRequest,
    signal: AbortSignal,
  ): Promise<ObjectPage> {
    checkLimit(request.limit)
    const { search } = bucket.documents
    if (search === undefined) {
      throw new StoreError('REQUEST_INVALID', `the bucket ${bucket.name} is not searched by name`)
    }
    const matcher = new NameMatcher(request.pattern)
    const gram =
      search === SEARCH_READY
        ? await this.#rarestGram(bucket.id, matcher, request, signal)
        : undefined
    const { keys, next } = await this.#matchingKeys(bucket.id, gram, matcher, request, signal)
    return { objects: await this.#objects(bucket.id, keys, signal), commonPrefixes: [], next }
  }

  async #matchingKeys(
    bucketId: number,
    gram: string | undefined,
    matcher: NameMatcher,
    { after, limit, prefix }: SearchObjectsRequest,
    signal: AbortSignal,
  ): Promise<{ readonly keys: readonly string[]; readonly next: string | undefined }> {
    const start = rowsStart(bucketId, gram)
    const range = keyRange(start, prefix, after)
    const keys: string[] = []
    if (compareUtf8(range.gte, range.lt) >= 0) return { keys, next: undefined }
    let rows = 0
    let steps = 0
    for await (const { key: row } of this.#parts.store.scan(range, signal)) {
      const key = row.slice(start.length)
      const folded = foldName(nameInKey(key))
      steps += matcher.costOf(folded)
      if (matcher.matches(folded)) keys.push(key)
      if (keys.length === limit || ++rows === ROWS_MAX || steps >= STEPS_MAX) {
        return { keys, next: key }
      }
    }
    return { keys, next: undefined }
  }

  /**
   * Of all runs that a name must have, the one with the fewest rows from here on; of those with too
   * many to count, the one whose rows lie the farthest apart. Undefined: it may have any.
   */
  async #rarestGram(
    bucketId: number,
    { literals }: NameMatcher,
    request: SearchObjectsRequest,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const grams = [...new Set(literals.flatMap((literal) => [...longestGrams(literal)]))]
    // The longest ones are in the fewest names.
    const length = Math.max(0, ...grams.map((gram) => Array.from(gram).length))
    const longest = grams.filter((gram) => Array.from(gram).length === length)
    const step = Math.max(1, Math.ceil(longest.length / GRAMS_TRIED))
    const tried = longest.filter((_, index) => index % step === 0)
    if (tried.length < 2) return tried[0]
    let best: Sample | undefined
    for (const gram of tried) {
      const sample = await this.#sample(bucketId, gram, request, signal)
      if (best === undefined || isRarer(sample, best)) best = sample
      if (best.count === 0) break
    }
    return best?.gram
  }

  async #sample(
    bucketId: number,
    gram: string,
    { after, prefix }: SearchObjectsRequest,
    signal: AbortSignal,
  ): Promise<Sample> {
    const start = rowsStart(bucketId, gram)
    const range = keyRange(start, prefix, after)
    let count = 0
    let lastKey = ''
    if (compareUtf8(range.gte, range.lt) >= 0) return { gram, count, lastKey }
    for await (const { key } of this.#parts.store.scan({ ...range, limit: TRIED_ROWS }, signal)) {
      count++
      lastKey = key.slice(start.length)
    }
    return { gram, count, lastKey }
  }

  /** What a row of the index promises may be gone by now. */
  async #objects(
    bucketId: number,
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly ListedObject[]> {
    const objects: ListedObject[] = []
    for (let at = 0; at < keys.length; at += READ_KEYS) {
      const some = keys.slice(at, at + READ_KEYS)
      const rows = some.map((key) => objectKey(bucketId, key))
      const values = await this.#parts.store.getMany(rows, signal)
      for (const [index, key] of some.entries()) {
        const value = values[index]
        if (value === undefined) continue
        objects.push({ key, version: decodeObjectVersion(value, rows[index] ?? '') })
      }
    }
    return objects
  }

  /** The last key that was seen to; undefined: there is none behind them. */
  async #buildSome(
    bucket: Bucket,
    after: string,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { commits, newChanges, store } = this.#parts
    const plan = async () => {
      const range = keyRange(rowsStart(bucket.id, undefined), '', after)
      const rows: MetadataRow[] = []
      for await (const row of store.scan({ ...range, limit: BUILD_KEYS }, signal)) rows.push(row)
      const last = rows.at(-1)
      if (last === undefined) return { result: undefined }
      const changes = newChanges()
      for (const { key: row, value } of rows) {
        // One that goes meanwhile must not leave rows behind.
        changes.expect(row, value)
        for (const made of searchKeys(bucket.id, keyOfObjectRow(row)))
          changes.put(made, SEARCH_VALUE)
      }
      return { result: keyOfObjectRow(last.key), changes }
    }
    return (await commits.commit(plan, signal)).result
  }
}

function isRarer(one: Sample, other: Sample): boolean {
  if (one.count !== other.count) return one.count < other.count
  return compareUtf8(one.lastKey, other.lastKey) > 0
}
