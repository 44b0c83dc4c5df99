import type { VolumeId } from '../base/ids.ts'
import type { ShardReport } from '../net/stripe-facts.ts'
import type { NodeView } from './topology.ts'

/** Shards of one run in one directory, and the server that reports them. */
export interface ShardCopy {
  readonly node: NodeView
  readonly report: ShardReport
}

/** What a server reports of shards, by volume; no list is empty, and none is ever changed. */
export type ShardReports = Map<VolumeId, readonly ShardReport[]>

/** `moved`: other shards are there than before, or they are others' now. */
export type ShardsChange = 'same' | 'figures' | 'moved'

/** Takes down what a server says of one run in one directory; without shards it is gone there. */
export function putShards(reports: ShardReports, report: ShardReport): ShardsChange {
  const { volumeId } = report
  const before = reports.get(volumeId) ?? []
  const old = before.find((each) => isSameSet(each, report))
  const others = before.filter((each) => each !== old)
  if (report.shards.length === 0) {
    if (old === undefined) return 'same'
    if (others.length === 0) reports.delete(volumeId)
    else reports.set(volumeId, others)
    return 'moved'
  }
  reports.set(volumeId, [...others, report].sort(bySet))
  return old !== undefined && isSamePlace(old, report) ? 'figures' : 'moved'
}

/** These are all there are: those of the others that are gone now, each without its shards. */
export function missingFrom(
  reports: ShardReports,
  reported: readonly ShardReport[],
): readonly ShardReport[] {
  const now = new Set(reported.map(nameOfSet))
  const gone: ShardReport[] = []
  for (const before of reports.values()) {
    for (const each of before) {
      if (!now.has(nameOfSet(each))) gone.push({ ...each, shards: [], badShards: [] })
    }
  }
  return gone
}

/** In the order of servers, directories and runs. */
export function byPlace(a: ShardCopy, b: ShardCopy): number {
  const [urlA, urlB] = [a.node.location.url, b.node.location.url]
  return urlA === urlB ? bySet(a.report, b.report) : urlA < urlB ? -1 : 1
}

function nameOfSet({ volumeId, runId, directoryId }: ShardReport): string {
  return `${volumeId} ${runId} ${directoryId}`
}

function isSameSet(a: ShardReport, b: ShardReport): boolean {
  return a.runId === b.runId && a.directoryId === b.directoryId
}

function isSamePlace(a: ShardReport, b: ShardReport): boolean {
  return (
    a.collection === b.collection &&
    a.dataShards === b.dataShards &&
    a.parityShards === b.parityShards &&
    a.shards.length === b.shards.length &&
    a.shards.every((shard, index) => shard === b.shards[index])
  )
}

function bySet(a: ShardReport, b: ShardReport): number {
  if (a.directoryId !== b.directoryId) return a.directoryId < b.directoryId ? -1 : 1
  return a.runId === b.runId ? 0 : a.runId < b.runId ? -1 : 1
}
