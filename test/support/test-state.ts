import { type Cluster, openCluster } from '../../src/master/cluster.ts'
import { MemoryStore } from '../../src/metadata/memory/memory-store.ts'
import type { MetadataStore } from '../../src/metadata/metadata-store.ts'
import type { Heartbeat } from '../../src/net/master-api.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { SimClock } from './sim-clock.ts'

export const CLUSTER_ID = '0123456789abcdef0123456789abcdef'

export interface TestStateOptions {
  readonly store?: MetadataStore
  readonly clock?: SimClock
  readonly volumeSizeMaxBytes?: number
  readonly heartbeatMs?: number
  /** The servers known from before are not waited for. */
  readonly isWarm?: boolean
  readonly closing?: AbortSignal
}

/** What a master knows, without sessions: heartbeats are applied as they are. */
export class TestState implements AsyncDisposable {
  readonly cluster: Cluster
  readonly clock: SimClock
  readonly store: MetadataStore
  readonly #owned: DisposeStack

  private constructor(
    cluster: Cluster,
    parts: { readonly clock: SimClock; readonly store: MetadataStore },
    owned: DisposeStack,
  ) {
    this.cluster = cluster
    this.clock = parts.clock
    this.store = parts.store
    this.#owned = owned
  }

  static async open(options: TestStateOptions = {}): Promise<TestState> {
    const { clock = new SimClock(), store = new MemoryStore(), isWarm = true } = options
    const { closing = new AbortController().signal } = options
    await using opening = new DisposeStack()
    const coordinator = { clusterId: CLUSTER_ID }
    const cluster = await openCluster(
      { store, coordinator, clock, logger: silentLogger },
      {
        heartbeatMs: options.heartbeatMs ?? 5000,
        forgetNodeMs: 7 * 86_400_000,
        warmUpMaxMs: 30_000,
        volumeSizeMaxBytes: options.volumeSizeMaxBytes ?? 2 ** 30,
        repair: {
          delayMs: 900_000,
          flapCount: 3,
          flapWindowMs: 600_000,
          flapCalmMs: 300_000,
          upAgainMs: 60_000,
        },
      },
      { opening, closing },
      new AbortController().signal,
    )
    if (isWarm) cluster.warmUp.onFullHeartbeat('nobody')
    return new TestState(cluster, { clock, store }, opening.move())
  }

  /** As a session does with a heartbeat of a server that is up. */
  apply(beat: Heartbeat): void {
    this.cluster.standings.onUp(beat.node.url)
    this.cluster.state.applyHeartbeat(beat, this.clock.nowMs())
  }

  markDown(url: string): void {
    this.cluster.standings.onDown(url, false)
    this.cluster.state.markDown(url)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}
