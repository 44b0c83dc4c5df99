import { LIMITS } from '../base/limits.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { decodeNode, encodeNode, endOf, NODE_PREFIX, type NodeRow } from './master-rows.ts'
import { isSameLocation } from './topology.ts'

export interface KnownNodesParts {
  readonly store: MetadataStore
  readonly clock: Clock
  readonly logger: Logger
}

/** A row is renewed when it is older than this share of the time after which it is dropped. */
const RENEW_SHARE = 0.1

/**
 * Which volume servers the cluster has and where they stand, remembered across restarts: those
 * heard of lately. A master that starts waits for them, and does not believe a collection deleted
 * while one is missing.
 */
export class KnownNodes {
  readonly #parts: KnownNodesParts
  readonly #forgetMs: number
  readonly #rows: Map<string, NodeRow>

  private constructor(parts: KnownNodesParts, forgetMs: number, rows: Map<string, NodeRow>) {
    this.#parts = parts
    this.#forgetMs = forgetMs
    this.#rows = rows
  }

  /** @throws {StoreError} METADATA_CORRUPT; the errors of the store. */
  static async open(
    parts: KnownNodesParts,
    options: { readonly forgetMs: number },
    signal: AbortSignal,
  ): Promise<KnownNodes> {
    const { store, clock, logger } = parts
    const known = new Map<string, NodeRow>()
    const deletes: string[] = []
    const range = { gte: NODE_PREFIX, lt: endOf(NODE_PREFIX), limit: LIMITS.nodesMax.value }
    for await (const { key, value } of store.scan(range, signal)) {
      const row = decodeNode(key, value)
      const url = key.slice(NODE_PREFIX.length)
      if (clock.nowMs() - row.lastHeardMs <= options.forgetMs) known.set(url, row)
      else deletes.push(key)
    }
    if (deletes.length > 0) {
      logger.info('master.nodes_forgotten', { count: deletes.length })
      await store.commit({ deletes }, signal)
    }
    return new KnownNodes(parts, options.forgetMs, known)
  }

  get urls(): Iterable<string> {
    return this.#rows.keys()
  }

  has(url: string): boolean {
    return this.#rows.has(url)
  }

  /** Where the server was when it was heard of last; undefined: not known. */
  location(url: string): NodeLocation | undefined {
    return this.#rows.get(url)?.location
  }

  /** By the wall clock, to a tenth of the time after which it is forgotten; 0: not known. */
  lastHeardMs(url: string): number {
    return this.#rows.get(url)?.lastHeardMs ?? 0
  }

  /** Durable when it returns. Costs nothing while the row is fresh. */
  async note(location: NodeLocation, signal: AbortSignal): Promise<void> {
    const { url } = location
    const nowMs = this.#parts.clock.nowMs()
    const before = this.#rows.get(url)
    if (before !== undefined && isSameLocation(before.location, location)) {
      const isFresh = Math.abs(nowMs - before.lastHeardMs) < this.#forgetMs * RENEW_SHARE
      if (isFresh) return
    }
    const row = { lastHeardMs: nowMs, location }
    const puts = [{ key: NODE_PREFIX + url, value: encodeNode(row) }]
    await this.#parts.store.commit({ puts }, signal)
    this.#rows.set(url, row)
  }

  async forget(url: string, signal: AbortSignal): Promise<void> {
    await this.#parts.store.commit({ deletes: [NODE_PREFIX + url] }, signal)
    this.#rows.delete(url)
  }
}
