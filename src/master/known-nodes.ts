import { LIMITS } from '../base/limits.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { decodeNode, encodeNode, endOf, NODE_PREFIX } from './master-rows.ts'

export interface KnownNodesParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly logger: Logger
}

/** A row is renewed when it is older than this share of the time after which it is dropped. */
const RENEW_SHARE = 0.1

/**
 * Which volume servers the cluster has, remembered across restarts: those heard of lately. A master
 * that starts waits for them, and does not believe a collection deleted while one is missing.
 */
export class KnownNodes {
  readonly #parts: KnownNodesParts
  readonly #forgetMs: number
  readonly #lastHeardMs: Map<string, number>

  private constructor(parts: KnownNodesParts, forgetMs: number, known: Map<string, number>) {
    this.#parts = parts
    this.#forgetMs = forgetMs
    this.#lastHeardMs = known
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(
    parts: KnownNodesParts,
    options: { readonly forgetMs: number },
    signal: AbortSignal,
  ): Promise<KnownNodes> {
    const { store, clock, logger } = parts
    const known = new Map<string, number>()
    const deletes: string[] = []
    const range = { gte: NODE_PREFIX, lt: endOf(NODE_PREFIX), limit: LIMITS.nodesMax.value }
    for await (const { key, value } of store.scan(range, signal)) {
      const lastHeardMs = decodeNode(key, value)
      const url = key.slice(NODE_PREFIX.length)
      if (clock.nowMs() - lastHeardMs <= options.forgetMs) known.set(url, lastHeardMs)
      else deletes.push(key)
    }
    if (deletes.length > 0) {
      logger.info('master.nodes_forgotten', { count: deletes.length })
      await store.commit({ deletes }, signal)
    }
    return new KnownNodes(parts, options.forgetMs, known)
  }

  get urls(): Iterable<string> {
    return this.#lastHeardMs.keys()
  }

  /** Durable when it returns. Costs nothing while the row is fresh. */
  async note(url: string, signal: AbortSignal): Promise<void> {
    const nowMs = this.#parts.clock.nowMs()
    const before = this.#lastHeardMs.get(url)
    if (before !== undefined && Math.abs(nowMs - before) < this.#forgetMs * RENEW_SHARE) return
    const row = { key: NODE_PREFIX + url, value: encodeNode(nowMs) }
    await this.#parts.store.commit({ puts: [row] }, signal)
    this.#lastHeardMs.set(url, nowMs)
  }

  async forget(url: string, signal: AbortSignal): Promise<void> {
    await this.#parts.store.commit({ deletes: [NODE_PREFIX + url] }, signal)
    this.#lastHeardMs.delete(url)
  }
}
