import type { VolumeId } from '../../src/base/ids.ts'
import type { ReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type { ShardReport } from '../../src/net/stripe-facts.ts'
import type { ModelCopy } from './model-copy.ts'

/** What one run of the encoder has coded; two runs never share it. */
export interface ModelImage {
  readonly runId: string
  readonly dataShards: number
  readonly parityShards: number
  /** By needle: what it holds, and its size. */
  readonly needles: ReadonlyMap<number, { readonly content: number; readonly sizeBytes: number }>
  readonly datBytes: number
}

const SHARD_BYTES = 100

/** @throws {StoreError} VOLUME_DAMAGED: a needle that lives cannot be read. */
export function encodeCopy(
  copy: ModelCopy,
  run: { readonly runId: string; readonly dataShards: number; readonly parityShards: number },
): ModelImage {
  const needles = new Map<number, { content: number; sizeBytes: number }>()
  for (const { needle } of copy.records) {
    const entry = copy.entry(needle)
    if (entry === undefined || entry.isDeleted) continue
    const { content, sizeBytes, isCorrupt } = entry.record
    if (isCorrupt) throw new StoreError('VOLUME_DAMAGED', `needle ${needle} cannot be read`)
    needles.set(needle, { content, sizeBytes })
  }
  const { runId, dataShards, parityShards } = run
  return { runId, dataShards, parityShards, needles, datBytes: copy.extent.datBytes }
}

/** Shards of one run in one directory of a server. */
export class ModelShardSet {
  readonly image: ModelImage
  readonly directoryId: string
  readonly replication: ReplicaPlacement
  readonly shards = new Set<number>()
  /** Not what was written, whether anybody knows or not. */
  readonly flipped = new Set<number>()
  readonly known = new Set<number>()
  readonly journal: Set<number>
  /** Its journal takes no more deletes. */
  isFailed = false
  modifiedAtMs: number

  constructor(
    image: ModelImage,
    facts: {
      readonly directoryId: string
      readonly replication: ReplicaPlacement
      readonly journal: Iterable<number>
      readonly nowMs: number
    },
  ) {
    this.image = image
    this.directoryId = facts.directoryId
    this.replication = facts.replication
    this.journal = new Set(facts.journal)
    this.modifiedAtMs = facts.nowMs
  }

  get runId(): string {
    return this.image.runId
  }

  hasGood(shard: number): boolean {
    return this.shards.has(shard) && !this.flipped.has(shard)
  }

  /** @throws {StoreError} VOLUME_FAILED. */
  delete(needle: number, nowMs: number): void {
    if (this.isFailed) throw new StoreError('VOLUME_FAILED', 'a sync failed')
    if (this.journal.has(needle)) return
    this.journal.add(needle)
    this.modifiedAtMs = nowMs
  }

  isLive(needle: number): boolean {
    return this.image.needles.has(needle) && !this.journal.has(needle)
  }

  get journalDigest(): string {
    return [...this.journal].sort((a, b) => a - b).join(' ')
  }

  report(volumeId: VolumeId): ShardReport {
    const { image, replication, directoryId, journal } = this
    const { runId, dataShards, parityShards, datBytes, needles } = image
    const ascending = (numbers: Iterable<number>) => [...numbers].sort((a, b) => a - b)
    return {
      volumeId,
      collection: 'c',
      replication,
      runId,
      dataShards,
      parityShards,
      directoryId,
      shards: ascending(this.shards),
      badShards: ascending(this.known),
      shardBytes: SHARD_BYTES,
      datBytes,
      liveNeedles: [...needles.keys()].filter((needle) => !journal.has(needle)).length,
      liveBytes: 0,
      garbageBytes: 0,
      journalDigest: this.journalDigest,
      modifiedAtS: Math.floor(this.modifiedAtMs / 1000),
      requestsPerS: 0,
    }
  }
}
