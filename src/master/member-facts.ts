import type { VolumeId } from '../base/ids.ts'
import type { VolumeCopyFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ShardFacts, StripeFacts } from '../net/stripe-facts.ts'
import type { Clock } from '../runtime/clock.ts'
import type { KnownNodes } from './known-nodes.ts'
import type { NodeStandings } from './node-standings.ts'
import type { ShardCopy } from './shard-reports.ts'
import { findShards } from './stripe-members.ts'
import type { ClusterTopology, NodeView, TopologyChange, VolumeCopy } from './topology.ts'
import { VanishedCopies } from './vanished-copies.ts'
import { VanishedShards } from './vanished-shards.ts'
import { nameOf } from './volume-members.ts'
import type { StripeMember, StripeRecord, VolumeMember, VolumeRecord } from './volume-rows.ts'

export interface MemberFactsParts {
  readonly topology: ClusterTopology
  readonly known: Pick<KnownNodes, 'location'>
  readonly standings: Pick<NodeStandings, 'isGone' | 'upForMs'>
  readonly clock: Clock
}

/**
 * How the copies and shards that count are, wherever their directories are served now. One is lost
 * when its server has been up for a while without it, or has been down for too long.
 */
export class MemberFacts {
  readonly #parts: MemberFactsParts
  /** A server that is up has so long to say that it has something after all. */
  readonly #settleMs: number
  readonly #vanishedCopies: VanishedCopies
  readonly #vanishedShards: VanishedShards

  constructor(parts: MemberFactsParts, options: { readonly settleMs: number }) {
    this.#parts = parts
    this.#settleMs = options.settleMs
    this.#vanishedCopies = new VanishedCopies(parts.clock)
    this.#vanishedShards = new VanishedShards(parts.clock)
  }

  /** A heartbeat of the server, or the end of its session, has changed this. */
  note(
    url: string,
    change: TopologyChange,
    recordOf: (volumeId: VolumeId) => VolumeRecord | undefined,
  ): void {
    const node = this.#parts.topology.node(url)
    this.#vanishedCopies.note(url, node, change)
    this.#vanishedShards.note(url, node, change, (volumeId) => {
      const stripe = recordOf(volumeId)?.stripe
      const here = stripe?.shards.filter((member) => this.urlOf(member) === url)
      return stripe && here && { ...stripe, shards: here }
    })
  }

  /** Where its directory is served now, or was last. */
  urlOf({ directoryId, url }: Pick<VolumeMember, 'directoryId' | 'url'>): string {
    return this.#parts.topology.ownerOf(directoryId)?.location.url ?? url
  }

  /** `copy` undefined: nobody reports it. */
  ofMember(
    volumeId: VolumeId,
    member: VolumeMember,
    copy: VolumeCopy | undefined,
  ): VolumeCopyFacts {
    const vanishedMs = (url: string) => this.#vanishedCopies.sinceMs(url, volumeId)
    const place = this.#placeOf(member, copy?.node, vanishedMs)
    return { ...place, report: copy?.report, directoryId: nameOf(member) }
  }

  ofStripe(volumeId: VolumeId, stripe: StripeRecord, copies: readonly ShardCopy[]): StripeFacts {
    const { runId, dataShards, parityShards } = stripe
    const found = findShards(stripe, copies)
    const shards = stripe.shards.map((member): ShardFacts => {
      const copy = found.get(member.shard)
      const vanishedMs = (url: string) =>
        this.#vanishedShards.sinceMs(url, volumeId, stripe, member)
      const { shard, directoryId } = member
      return {
        ...this.#placeOf(member, copy?.node, vanishedMs),
        shard,
        directoryId: copy?.report.directoryId ?? directoryId,
        report: copy?.report,
        isBad: copy?.report.badShards.includes(shard) ?? false,
      }
    })
    return { runId, dataShards, parityShards, shards }
  }

  /** `holder`: the server that reports it. */
  #placeOf(
    member: VolumeMember | StripeMember,
    holder: NodeView | undefined,
    vanishedMs: (url: string) => number | undefined,
  ): Pick<VolumeCopyFacts, 'location' | 'isUp' | 'isLost'> {
    const { topology, known, standings } = this.#parts
    const node = holder ?? topology.ownerOf(member.directoryId) ?? topology.node(member.url)
    const url = node?.location.url ?? member.url
    const isUp = node !== undefined && node.state !== 'down'
    const isGone = isUp
      ? this.#absentForMs(url, vanishedMs(url)) >= this.#settleMs
      : url === '' || standings.isGone(url)
    return {
      location: node?.location ?? known.location(url) ?? bareLocation(url),
      isUp,
      isLost: isUp && holder !== undefined ? false : isGone,
    }
  }

  /** How long the server, which is up, could have said that it has it, and has not. */
  #absentForMs(url: string, vanishedMs: number | undefined): number {
    const upForMs = this.#parts.standings.upForMs(url)
    if (vanishedMs === undefined) return upForMs
    return Math.min(upForMs, this.#parts.clock.monotonicMs() - vanishedMs)
  }
}

/** Of a copy that does not count. */
export function strayFacts({ node, report }: VolumeCopy): VolumeCopyFacts {
  const { location, state } = node
  const { directoryId } = report
  return { location, report, isUp: state !== 'down', directoryId, isLost: false }
}

function bareLocation(url: string): NodeLocation {
  return { url, publicUrl: url, grpcAddress: '', dataCenter: '', rack: '' }
}
