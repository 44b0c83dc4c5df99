import { LIMITS } from '../base/limits.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ShardBlock, ShardProgress } from '../net/shard-api.ts'
import type { ShardPlace } from '../net/stripe-facts.ts'
import type { VolumeWork } from './volume-work.ts'

export type OnShardProgress = (progress: ShardProgress) => void

/** Shards of one run at one server. */
export interface ShardsAt {
  readonly location: NodeLocation
  readonly runId: string
  readonly shards: readonly number[]
}

/** Blocks that are not what was written, in these shards. */
export async function verifyShards(
  work: VolumeWork,
  { location, runId, shards }: ShardsAt,
  onProgress: OnShardProgress,
  signal: AbortSignal,
): Promise<readonly ShardBlock[]> {
  const { volumeId, politeness } = work
  const request = { volumeId, runId, shards, politeness }
  const bad: ShardBlock[] = []
  for await (const progress of work.at(location).shards.verifyShards(request, signal)) {
    bad.push(...progress.badBlocks)
    onProgress(progress)
  }
  return bad
}

/** @throws {StoreError} SHARDS_LOST: too few of the others are good. DISK_FAILED. */
export async function healBlocks(
  work: VolumeWork,
  { location, runId }: Omit<ShardsAt, 'shards'>,
  request: { readonly blocks: readonly ShardBlock[]; readonly sources: readonly ShardPlace[] },
  signal: AbortSignal,
): Promise<void> {
  const { blocks } = request
  const sources = nearestPlaces(request.sources, location)
  const length = LIMITS.healBlocksMax.value
  for (let at = 0; at < blocks.length; at += length) {
    const some = blocks.slice(at, at + length)
    const command = { ...work.command, runId, blocks: some, sources }
    await work.at(location).shards.healShards(command, signal)
  }
}

export async function drain(
  progresses: AsyncIterable<ShardProgress>,
  onProgress: OnShardProgress,
): Promise<void> {
  for await (const progress of progresses) onProgress(progress)
}

/** Nearest first: the same server, then the same rack, then the same data centre. */
export function nearestPlaces(
  places: readonly ShardPlace[],
  target: NodeLocation,
): readonly ShardPlace[] {
  const distance = ({ location: { url, dataCenter, rack } }: ShardPlace) => {
    if (url === target.url) return 0
    if (dataCenter !== target.dataCenter) return 3
    return rack === target.rack ? 1 : 2
  }
  const bare = places.map(({ shard, location }) => ({ shard, location }))
  return bare.sort((a, b) => distance(a) - distance(b))
}

/** By server, in the order of the first shard of each. */
export function groupPlaces(
  places: readonly ShardPlace[],
): { readonly location: NodeLocation; readonly shards: readonly number[] }[] {
  const groups = new Map<string, { location: NodeLocation; shards: number[] }>()
  for (const { shard, location } of places) {
    const group = groups.get(location.url)
    if (group === undefined) groups.set(location.url, { location, shards: [shard] })
    else group.shards.push(shard)
  }
  return [...groups.values()]
}
