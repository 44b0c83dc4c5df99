import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { MasterApi, NodeLocation, Topology, TopologyNode } from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import { retryMaster } from './retry-turns.ts'
import { unlessAborted } from './unless-aborted.ts'

/** A server that may be given a shard. */
export interface ShardServer {
  readonly location: NodeLocation
  /** Beyond the reserves of its disks; more than 0. */
  readonly roomBytes: number
  /** Comes and goes: only where there are not enough others. */
  readonly isFlapping: boolean
}

export interface ShardServers {
  readonly usable: readonly ShardServer[]
  /** Why the others are not among them, in words. */
  readonly others: string
}

export interface TopologyParts {
  readonly master: MasterApi
  readonly clock: Clock
  readonly random: Random
}

/** The servers of the cluster, as the master showed them a few seconds ago. */
export class TopologyCache implements AsyncDisposable {
  readonly #parts: TopologyParts
  readonly #closing = new AbortController()
  #known: { readonly servers: ShardServers; readonly atMs: number } | undefined
  #asking: Promise<ShardServers> | undefined

  constructor(parts: TopologyParts) {
    this.#parts = parts
  }

  /**
   * When the master cannot be asked, those known from before.
   *
   * @throws {StoreError} CANCELLED; otherwise why the master could not be asked.
   */
  async servers(signal: AbortSignal): Promise<ShardServers> {
    const known = this.#known
    const nowMs = this.#parts.clock.monotonicMs()
    if (known !== undefined && nowMs - known.atMs < LIMITS.topologyStaleMs.value) {
      return known.servers
    }
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined
    })
    try {
      return await unlessAborted(this.#asking, signal, 'asking for the servers')
    } catch (error) {
      if (known === undefined || !isStoreError(error) || error.code === 'CANCELLED') throw error
      return known.servers
    }
  }

  /** What was known has proved wrong. */
  expire(): void {
    if (this.#known !== undefined) this.#known = { ...this.#known, atMs: Number.NEGATIVE_INFINITY }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#asking?.catch(() => undefined)
  }

  async #ask(): Promise<ShardServers> {
    const { clock, master } = this.#parts
    const { signal } = this.#closing
    const topology = await retryMaster(this.#parts, () => master.topology(signal), signal)
    const servers = shardServersOf(topology)
    this.#known = { servers, atMs: clock.monotonicMs() }
    return servers
  }
}

export function shardServersOf({ nodes }: Topology): ShardServers {
  const usable: ShardServer[] = []
  const counts = new Map<string, number>()
  for (const node of nodes) {
    const why = whyNot(node)
    if (why !== undefined) counts.set(why, (counts.get(why) ?? 0) + 1)
    else {
      const { isFlapping, location } = node
      usable.push({ location, roomBytes: roomOf(node), isFlapping })
    }
  }
  const others = Array.from(counts, ([why, count]) => `${count} ${why}`).join(', ')
  return { usable, others }
}

function whyNot(node: TopologyNode): string | undefined {
  if (node.state === 'down') return 'down'
  if (node.state === 'leaving') return 'leaving'
  if (node.isDraining) return 'draining'
  return roomOf(node) > 0 ? undefined : 'full'
}

function roomOf({ disks }: TopologyNode): number {
  return disks.reduce(
    (room, { freeBytes, reserveBytes }) => room + Math.max(0, freeBytes - reserveBytes),
    0,
  )
}
