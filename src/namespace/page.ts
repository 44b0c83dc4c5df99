import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { type KeyRange, textAfterPrefix } from './row-keys.ts'
import { compareUtf8 } from './utf8-order.ts'

export interface PageRequest {
  readonly prefix: string
  /** Empty: none. */
  readonly delimiter: string
  /** Only keys above this one; if it is a common prefix, only those behind all it stands for. */
  readonly after: string
  readonly limit: number
}

const LONE_SURROGATE = /\p{Surrogate}/u

/** What a page makes of the next entry: it takes it, passes it over, or has no room for it. */
export type PageStep = 'take' | 'pass' | 'full'

/**
 * Entries in the order of their keys. Keys that have the delimiter behind the prefix count together
 * as one common prefix, however many there are.
 */
export class Page {
  readonly commonPrefixes: string[] = []
  readonly #request: PageRequest
  #count = 0
  #last: { readonly key: string; readonly isCommon: boolean } | undefined
  #isTruncated = false

  /** @throws {StoreError} NAME_INVALID: a text that is not proper Unicode. As `checkLimit`. */
  constructor(request: PageRequest) {
    const { after, delimiter, limit, prefix } = request
    checkLimit(limit)
    for (const text of [after, delimiter, prefix]) {
      if (!LONE_SURROGATE.test(text)) continue
      throw new StoreError('NAME_INVALID', `${quote(text)} is not proper Unicode`)
    }
    this.#request = request
  }

  /** Something followed when there was no more room. */
  get isFull(): boolean {
    return this.#isTruncated
  }

  /** The last key or common prefix that was taken, if something follows it. */
  get next(): { readonly key: string; readonly isCommon: boolean } | undefined {
    return this.#isTruncated ? this.#last : undefined
  }

  /** The common prefix the key counts as. */
  commonPrefixOf(key: string): string | undefined {
    const { delimiter, prefix } = this.#request
    if (delimiter === '') return undefined
    const at = key.indexOf(delimiter, prefix.length)
    return at < 0 ? undefined : key.slice(0, at + delimiter.length)
  }

  offer(key: string): PageStep {
    const common = this.commonPrefixOf(key)
    if (common !== undefined && this.#last?.isCommon === true && common === this.#last.key) {
      return 'pass'
    }
    if (this.#count === this.#request.limit) {
      this.#isTruncated = true
      return 'full'
    }
    this.#count++
    this.#last = { key: common ?? key, isCommon: common !== undefined }
    if (common === undefined) return 'take'
    this.commonPrefixes.push(common)
    return 'pass'
  }

  /** The page begins behind all that a common prefix stands for. */
  get isCommonAfter(): boolean {
    const { after, prefix } = this.#request
    return after.startsWith(prefix) && this.commonPrefixOf(after) === after
  }

  /**
   * Where the rows of the page lie; `rowOf` gives the lowest row of a key. Empty when `gte` is not
   * below `lt`.
   */
  rangeIn(whole: KeyRange, rowOf: (key: string) => string): KeyRange {
    const { after, prefix } = this.#request
    // No key has a NUL: behind one nothing tells keys apart, and rows have other things there.
    const [behind = ''] = after.split('\0', 1)
    const above = this.isCommonAfter ? textAfterPrefix(after) : `${behind}\u0001`
    const isAbove = behind !== '' && compareUtf8(behind, prefix) >= 0
    const first = isAbove ? above : prefix
    const last = textAfterPrefix(prefix)
    if (prefix.includes('\0')) return { gte: whole.lt, lt: whole.lt }
    return {
      gte: first === undefined ? whole.lt : rowOf(first),
      lt: last === undefined ? whole.lt : rowOf(last),
    }
  }
}

/** @throws {StoreError} REQUEST_INVALID: not from 1 to `LIMITS.listNamesMax`. */
export function checkLimit(limit: number): void {
  const max = LIMITS.listNamesMax.value
  if (Number.isInteger(limit) && limit >= 1 && limit <= max) return
  throw new StoreError('REQUEST_INVALID', `a page of ${limit} entries: 1 to ${max}`)
}
