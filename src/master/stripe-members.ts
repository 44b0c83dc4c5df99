import { isErasureScheme, isSameScheme, shardCountOf } from '../base/erasure-scheme.ts'
import { StoreError } from '../base/store-error.ts'
import { TTL_NONE } from '../base/ttl.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  NewShard,
  StrayShards,
  StripeChange,
  StripeFacts,
  StripeLocations,
} from '../net/stripe-facts.ts'
import type { LayoutKey } from './layout-key.ts'
import type { ShardCopy } from './shard-reports.ts'
import type { StripeMember, StripeRecord, VolumeRecord } from './volume-rows.ts'

/** What is to count from now on; see `StripeChange`. */
export type StripeOrder = Pick<
  StripeChange,
  'volumeId' | 'setVersion' | 'runId' | 'dataShards' | 'parityShards' | 'shards'
>

type Run = Pick<StripeRecord, 'runId' | 'dataShards' | 'parityShards'>

/**
 * Which reported copy each shard of the stripe is, by their numbers. One whose directory is not
 * known yet is the first good one of the run that turns up.
 */
export function findShards(
  stripe: StripeRecord,
  copies: readonly ShardCopy[],
): Map<number, ShardCopy> {
  const ofRun = copies.filter(({ report }) => isOfRun(report, stripe))
  const found = new Map<number, ShardCopy>()
  for (const { shard, directoryId } of stripe.shards) {
    const holders = ofRun.filter(({ report }) => report.shards.includes(shard))
    const holder =
      directoryId === ''
        ? (holders.find(({ report }) => !report.badShards.includes(shard)) ?? holders[0])
        : holders.find(({ report }) => report.directoryId === directoryId)
    if (holder !== undefined) found.set(shard, holder)
  }
  return found
}

/** What is reported and does not count; all of it if there is no stripe. */
export function strayShards(
  stripe: StripeRecord | undefined,
  copies: readonly ShardCopy[],
): StrayShards[] {
  const counted = stripe === undefined ? new Map<number, ShardCopy>() : findShards(stripe, copies)
  const strays: StrayShards[] = []
  for (const copy of copies) {
    const { runId, directoryId } = copy.report
    const shards = copy.report.shards.filter((shard) => counted.get(shard) !== copy)
    if (shards.length === 0) continue
    const { location, state } = copy.node
    strays.push({ location, directoryId, runId, shards, isUp: state !== 'down' })
  }
  return strays
}

/** What the reports say anew about where its shards are; the same one if nothing. */
export function learnStripe(stripe: StripeRecord, copies: readonly ShardCopy[]): StripeRecord {
  const found = findShards(stripe, copies)
  let isNew = false
  const shards = stripe.shards.map((member) => {
    const copy = found.get(member.shard)
    if (copy === undefined) return member
    const { directoryId } = copy.report
    const { url } = copy.node.location
    if (member.directoryId === directoryId && member.url === url) return member
    isNew = true
    return { shard: member.shard, directoryId, url }
  })
  return isNew ? { ...stripe, shards } : stripe
}

/**
 * The run of which most shards are reported, the newest of several; those that are not reported
 * have no place yet. Undefined: there are no shards.
 */
export function mostReportedRun(copies: readonly ShardCopy[]): StripeRecord | undefined {
  let best: { readonly stripe: StripeRecord; readonly count: number } | undefined
  const seen = new Set<string>()
  for (const { report } of copies) {
    const { runId, dataShards, parityShards } = report
    const name = `${runId} ${dataShards} ${parityShards}`
    if (seen.has(name) || !isErasureScheme(report)) continue
    seen.add(name)
    const shards = Array.from({ length: shardCountOf(report) }, (_, shard) => placeless(shard))
    const stripe = learnStripe({ runId, dataShards, parityShards, shards }, copies)
    const count = reportedCount(stripe)
    const isBetter =
      best === undefined ||
      count > best.count ||
      (count === best.count && isNewerRun(runId, best.stripe.runId))
    if (isBetter) best = { stripe, count }
  }
  return best?.stripe
}

/** Shards that somebody has reported at some time. */
export function reportedCount({ shards }: StripeRecord): number {
  return shards.filter(({ directoryId }) => directoryId !== '').length
}

/** What a volume of which only shards are there shall be. */
export function layoutOfShards(copies: readonly ShardCopy[]): LayoutKey | undefined {
  const [first] = copies
  if (first === undefined) return undefined
  const { collection, replication } = first.report
  return { collection, replication, ttl: TTL_NONE }
}

/** @throws {StoreError} REQUEST_INVALID: not one of each shard. */
export function checkStripe(order: StripeOrder): void {
  const { volumeId, runId, shards } = order
  const numbers = new Set(shards.map(({ shard }) => shard))
  const isOneOfEach =
    isErasureScheme(order) &&
    shards.length === shardCountOf(order) &&
    numbers.size === shards.length &&
    shards.every(({ shard }) => Number.isInteger(shard) && shard >= 0 && shard < shards.length)
  if (isOneOfEach && /^\d{1,20}$/.test(runId)) return
  const what = `run ${runId} of volume ${volumeId}`
  throw new StoreError('REQUEST_INVALID', `not one place for each shard of ${what}`)
}

/**
 * The first shard that must be there and good, and is not reported as such. One that counts already
 * may stay where it is whatever is known of it.
 */
export function unreportedShard(
  record: VolumeRecord,
  order: StripeOrder,
  copies: readonly ShardCopy[],
): NewShard | undefined {
  return order.shards.find((wanted) => {
    if (keptShard(record, order, wanted) !== undefined) return false
    return !copies.some(({ node, report }) => {
      const isThere =
        node.location.url === wanted.url &&
        node.state !== 'down' &&
        report.directoryId === wanted.directoryId
      const isGood =
        report.shards.includes(wanted.shard) && !report.badShards.includes(wanted.shard)
      return isThere && isGood && isOfRun(report, order)
    })
  })
}

/** @throws {StoreError} METADATA_CONFLICT: as `JobsApi.changeStripe`. */
export function alterStripe(record: VolumeRecord, order: StripeOrder): VolumeRecord {
  const { setVersion, runId, dataShards, parityShards } = order
  if (record.setVersion !== setVersion) {
    const message = `what counts is at version ${record.setVersion}, not ${setVersion}`
    throw new StoreError('METADATA_CONFLICT', message)
  }
  const shards = [...order.shards]
    .sort((a, b) => a.shard - b.shard)
    .map((wanted): StripeMember => {
      const { shard, directoryId, url } = wanted
      return keptShard(record, order, wanted) ?? { shard, directoryId, url }
    })
  const stripe = { runId, dataShards, parityShards, shards }
  return { ...record, members: [], stripe, setVersion: setVersion + 1 }
}

/** Where it can be read now. */
export function stripeLocations(stripe: StripeFacts): StripeLocations {
  const { runId, dataShards, parityShards } = stripe
  const shards = stripe.shards
    .filter(({ isUp, report }) => isUp && report !== undefined)
    .map(({ shard, location }) => ({ shard, location }))
  return { runId, dataShards, parityShards, shards }
}

/** Servers that can answer for it, each once, in the order of their shards. */
export function stripeServers({ shards }: StripeLocations): NodeLocation[] {
  return [...new Map(shards.map(({ location }) => [location.url, location])).values()]
}

function keptShard(
  { stripe }: VolumeRecord,
  order: StripeOrder,
  wanted: NewShard,
): StripeMember | undefined {
  if (stripe === undefined || !isOfRun(order, stripe)) return undefined
  const member = stripe.shards[wanted.shard]
  return member?.directoryId === wanted.directoryId ? member : undefined
}

function isOfRun(run: Run, other: Run): boolean {
  return run.runId === other.runId && isSameScheme(run, other)
}

/** Runs are named by numbers without leading zeros. */
function isNewerRun(runId: string, than: string): boolean {
  return runId.length === than.length ? runId > than : runId.length > than.length
}

function placeless(shard: number): StripeMember {
  return { shard, directoryId: '', url: '' }
}
