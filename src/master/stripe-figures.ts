import type { ShardFacts, ShardReport, StripeFacts } from '../net/stripe-facts.ts'

/** What one directory has of a stripe. */
export interface CountedSet {
  readonly directoryId: string
  readonly isUp: boolean
  readonly report: ShardReport
  /** Shards that count there. */
  readonly shards: readonly number[]
}

/** Directories that report shards of the stripe, in the order of their first shard. */
export function countedSets({ shards }: StripeFacts): CountedSet[] {
  const sets = new Map<string, CountedSet & { readonly shards: number[] }>()
  for (const { shard, directoryId, isUp, report } of shards) {
    if (report === undefined) continue
    const set = sets.get(directoryId) ?? { directoryId, isUp, report, shards: [] }
    set.shards.push(shard)
    sets.set(directoryId, set)
  }
  return [...sets.values()]
}

/** Of each; 0: nobody says. */
export function shardBytesOf({ shards }: StripeFacts): number {
  return Math.max(0, ...shards.map(({ report }) => report?.shardBytes ?? 0))
}

/** Its server has it, can be reached, and has nothing bad to say of it. */
export function isGoodShard({ isUp, isLost, isBad, report }: ShardFacts): boolean {
  return isUp && !isLost && !isBad && report !== undefined
}
