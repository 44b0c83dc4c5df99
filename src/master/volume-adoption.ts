import type { VolumeId } from '../base/ids.ts'
import { copyCount } from '../base/replica-placement.ts'
import type { Clock } from '../runtime/clock.ts'
import type { LayoutKey } from './layout-key.ts'
import type { ShardCopy } from './shard-reports.ts'
import { findShards, layoutOfShards, mostReportedRun, reportedCount } from './stripe-members.ts'
import type { ClusterTopology, VolumeCopy } from './topology.ts'
import { newMember, normalisedTtl } from './volume-members.ts'
import type { StripeRecord, VolumeRecord } from './volume-rows.ts'

export interface VolumeAdoptionParts {
  readonly topology: Pick<ClusterTopology, 'copies' | 'shards'>
  readonly clock: Clock
}

export interface Adopted {
  readonly volumeId: VolumeId
  readonly record: VolumeRecord
}

/**
 * Volumes that are reported and have no record. What counts of them is taken from what servers
 * have: as many copies as they ask for, at once; after a while the run of the encoder of which
 * enough shards are there, else the copies there are. Whole copies go before shards, since a volume
 * is coded while its copies still count; a copy that was left behind by that goes after them, since
 * it has not heard of deletes.
 */
export class VolumeAdoption {
  readonly #parts: VolumeAdoptionParts
  readonly #settleMs: number
  /** Since when they are known. */
  readonly #pending = new Map<VolumeId, number>()

  constructor(parts: VolumeAdoptionParts, options: { readonly settleMs: number }) {
    this.#parts = parts
    this.#settleMs = options.settleMs
  }

  get volumeIds(): Iterable<VolumeId> {
    return this.#pending.keys()
  }

  has(volumeId: VolumeId): boolean {
    return this.#pending.has(volumeId)
  }

  /** Something of a volume without a record was reported, or is reported no more. */
  note(volumeId: VolumeId, isHeld: (volumeId: VolumeId) => boolean): void {
    const { topology, clock } = this.#parts
    const isThere = topology.copies(volumeId).length > 0 || topology.shards(volumeId).length > 0
    if (!isThere) this.#pending.delete(volumeId)
    else if (!isHeld(volumeId) && !this.#pending.has(volumeId)) {
      this.#pending.set(volumeId, clock.monotonicMs())
    }
  }

  forget(volumeId: VolumeId): void {
    this.#pending.delete(volumeId)
  }

  /** The stripe that is read from until the volume is adopted; undefined: its copies are. */
  stripeOf(volumeId: VolumeId): StripeRecord | undefined {
    const { topology } = this.#parts
    if (!this.#pending.has(volumeId) || topology.copies(volumeId).length > 0) return undefined
    return mostReportedRun(topology.shards(volumeId))
  }

  /** Those that can be adopted now; they are not waited for any more. */
  take(isHeld: (volumeId: VolumeId) => boolean): Adopted[] {
    const { topology } = this.#parts
    const adopted: Adopted[] = []
    for (const [volumeId, sinceMs] of this.#pending) {
      const copies = topology.copies(volumeId)
      const shards = topology.shards(volumeId)
      if (copies.length + shards.length === 0 || isHeld(volumeId)) {
        this.#pending.delete(volumeId)
        continue
      }
      const record = this.#recordOf(copies, shards, sinceMs)
      if (record === undefined) continue
      this.#pending.delete(volumeId)
      adopted.push({ volumeId, record })
    }
    return adopted
  }

  #recordOf(
    copies: readonly VolumeCopy[],
    shards: readonly ShardCopy[],
    sinceMs: number,
  ): VolumeRecord | undefined {
    const key = copies[0]?.report
    if (key !== undefined && copies.length >= copyCount(key.replication)) {
      return newRecord(key, copies)
    }
    if (this.#parts.clock.monotonicMs() - sinceMs < this.#settleMs) return undefined
    const stripe = mostReportedRun(shards)
    if (stripe !== undefined && reportedCount(stripe) >= stripe.dataShards) {
      const layout = layoutOfShards([...findShards(stripe, shards).values()])
      return layout && { ...newRecord(layout, []), stripe }
    }
    return key && newRecord(key, copies)
  }
}

function newRecord(
  { collection, replication, ttl }: LayoutKey,
  copies: readonly VolumeCopy[],
): VolumeRecord {
  return {
    collection,
    replication,
    ttl: normalisedTtl(ttl),
    setVersion: 1,
    members: copies.map(newMember),
    deletedAtMs: 0,
  }
}
