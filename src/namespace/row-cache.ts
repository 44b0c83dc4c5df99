import { LRUCache } from 'lru-cache'
import type { RowCommits } from './row-changes.ts'

export interface RowCacheParts {
  /** While it is in doubt what is stored, nothing is kept. */
  readonly commits: RowCommits
}

/**
 * Rows that are read often, decoded. Whoever changes a row says so, from before its commit until
 * after it, whatever becomes of it: meanwhile reads ask the store, and what they find is not kept.
 */
export class RowCache<Value extends object> {
  readonly #commits: RowCommits
  readonly #cache: LRUCache<string, Value>
  /** Reads under way: one that a change overtook is no longer here. */
  readonly #reads = new Map<string, Promise<Value | undefined>>()
  readonly #changing = new Set<string>()

  constructor({ commits }: RowCacheParts, options: { readonly max: number }) {
    this.#commits = commits
    this.#cache = new LRUCache({ max: options.max })
  }

  /** What is known without a read. */
  peek(key: string): Value | undefined {
    return this.#cache.get(key)
  }

  /** One `load` serves all who ask meanwhile; so it must not depend on one caller's signal. */
  get(key: string, load: () => Promise<Value | undefined>): Promise<Value | undefined> {
    const cached = this.#cache.get(key)
    if (cached !== undefined) return Promise.resolve(cached)
    // A read begun in doubt shows what may be over when the doubt is: it is nobody else's either.
    if (this.#changing.has(key) || this.#commits.isInDoubt) return load()
    return this.#reads.get(key) ?? this.#read(key, load)
  }

  /** What was just committed, told before another change of the row can begin. */
  set(key: string, value: Value): void {
    if (!this.#commits.isInDoubt) this.#cache.set(key, value)
  }

  /** The row may change until this is disposed. Changes of one row take turns. */
  change(key: string): Disposable {
    this.#cache.delete(key)
    this.#reads.delete(key)
    this.#changing.add(key)
    return { [Symbol.dispose]: () => this.#changing.delete(key) }
  }

  #read(key: string, load: () => Promise<Value | undefined>): Promise<Value | undefined> {
    const isCurrent = () => this.#reads.get(key) === reading
    const reading: Promise<Value | undefined> = load()
      .then((value) => {
        if (value !== undefined && isCurrent()) this.#cache.set(key, value)
        return value
      })
      .finally(() => {
        if (isCurrent()) this.#reads.delete(key)
      })
    this.#reads.set(key, reading)
    return reading
  }
}
