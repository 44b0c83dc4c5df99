import type { ErasureScheme } from '../../base/erasure-scheme.ts'
import { isStoreError } from '../../base/store-error.ts'
import type { ErasurePolicy } from '../../client/storage-policy.ts'
import type { MasterApi, NodeLocation, TopologyNode } from '../../net/master-api.ts'
import type { Clock } from '../../runtime/clock.ts'
import { SharedRuns } from '../../runtime/shared-runs.ts'

type Spread = ErasurePolicy['spread']

export interface AutoSpreadParts {
  readonly master: Pick<MasterApi, 'topology'>
  readonly clock: Clock
}

/** Servers come and go slowly. */
const FRESH_MS = 10_000

/** The widest spread that the servers of the cluster allow just now, asked for every 10 s. */
export class AutoSpread {
  readonly #parts: AutoSpreadParts
  readonly #scheme: ErasureScheme
  readonly #asking = new SharedRuns<Spread>()
  #known: { readonly spread: Spread; readonly atMs: number } | undefined

  constructor(parts: AutoSpreadParts, scheme: ErasureScheme) {
    this.#parts = parts
    this.#scheme = scheme
  }

  /** @throws {StoreError} CANCELLED; why the master could not be asked, the first time. */
  current(signal: AbortSignal): Spread | Promise<Spread> {
    const nowMs = this.#parts.clock.monotonicMs()
    const known = this.#known
    if (known !== undefined && nowMs - known.atMs < FRESH_MS) return known.spread
    return this.#asking.join('topology', (shared) => this.#ask(nowMs, shared), signal)
  }

  async #ask(atMs: number, signal: AbortSignal): Promise<Spread> {
    try {
      const { nodes } = await this.#parts.master.topology(signal)
      this.#known = { spread: widestSpread(nodes, this.#scheme), atMs }
      return this.#known.spread
    } catch (error) {
      // What was right ten seconds ago most likely is so still.
      if (this.#known === undefined || isStoreError(error, 'CANCELLED')) throw error
      return this.#known.spread
    }
  }
}

/**
 * By data centres, else by racks, if a stripe fits there with no more shards in one place than may
 * be lost; else by servers.
 */
export function widestSpread(
  nodes: readonly Pick<TopologyNode, 'location' | 'state' | 'isDraining'>[],
  scheme: ErasureScheme,
): Spread {
  const usable = nodes.filter(({ isDraining, state }) => state === 'up' && !isDraining)
  const locations = usable.map(({ location }) => location)
  if (fits(locations, scheme, ({ dataCenter }) => dataCenter)) return 'data-centers'
  if (fits(locations, scheme, ({ dataCenter, rack }) => `${dataCenter}/${rack}`)) return 'racks'
  return 'servers'
}

function fits(
  locations: readonly NodeLocation[],
  { dataShards, parityShards }: ErasureScheme,
  placeOf: (location: NodeLocation) => string,
): boolean {
  const counts = new Map<string, number>()
  for (const location of locations) {
    const place = placeOf(location)
    counts.set(place, Math.min(parityShards, (counts.get(place) ?? 0) + 1))
  }
  const room = [...counts.values()].reduce((sum, count) => sum + count, 0)
  return room >= dataShards + parityShards
}
