import type { VolumeId } from '../base/ids.ts'
import type { Clock } from '../runtime/clock.ts'
import type { NodeView, TopologyChange } from './topology.ts'
import type { StripeMember, StripeRecord } from './volume-rows.ts'

/** Shards that count, which a server had and, still up, does not have any more: since when. */
export class VanishedShards {
  readonly #clock: Clock
  /** By server and volume, then by the names of shards. */
  readonly #servers = new Map<string, Map<VolumeId, Map<string, number>>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** `node` undefined: the server is not known any more. */
  note(
    url: string,
    node: NodeView | undefined,
    { movedVolumeIds }: TopologyChange,
    stripeAt: (volumeId: VolumeId, url: string) => StripeRecord | undefined,
  ): void {
    if (node === undefined || node.state === 'down') {
      this.#servers.delete(url)
      return
    }
    const volumes = this.#servers.get(url) ?? new Map<VolumeId, Map<string, number>>()
    for (const volumeId of movedVolumeIds) {
      const before = volumes.get(volumeId)
      const now = new Map<string, number>()
      const stripe = stripeAt(volumeId, url)
      for (const member of stripe?.shards ?? []) {
        if (stripe === undefined || hasShard(node, volumeId, stripe, member)) continue
        const name = nameOf(stripe, member)
        now.set(name, before?.get(name) ?? this.#clock.monotonicMs())
      }
      if (now.size > 0) volumes.set(volumeId, now)
      else volumes.delete(volumeId)
    }
    if (volumes.size > 0) this.#servers.set(url, volumes)
    else this.#servers.delete(url)
  }

  /** Undefined: it did not vanish while the server was up. */
  sinceMs(
    url: string,
    volumeId: VolumeId,
    run: Pick<StripeRecord, 'runId'>,
    member: StripeMember,
  ): number | undefined {
    return this.#servers.get(url)?.get(volumeId)?.get(nameOf(run, member))
  }
}

function hasShard(
  node: NodeView,
  volumeId: VolumeId,
  { runId }: StripeRecord,
  { shard, directoryId }: StripeMember,
): boolean {
  const reports = node.shards.get(volumeId) ?? []
  return reports.some(
    (report) =>
      report.runId === runId && report.directoryId === directoryId && report.shards.includes(shard),
  )
}

function nameOf({ runId }: Pick<StripeRecord, 'runId'>, { shard, directoryId }: StripeMember) {
  return `${runId} ${shard} ${directoryId}`
}
