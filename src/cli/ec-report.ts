import { formatErasureScheme, shardCountOf } from '../base/erasure-scheme.ts'
import { formatBytes } from '../base/units.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ShardFacts, ShardReport, StripeFacts } from '../net/stripe-facts.ts'
import { table } from './status-report.ts'

/** What a shard is good for now; all but the first count as gone. */
type ShardState = 'good' | 'bad' | 'missing' | 'lost' | 'down'

/** Of so many servers, racks or data centres, so many may fail, whichever they are. */
export interface MayFail {
  readonly count: number
  readonly of: number
}

export interface StripeTolerance {
  readonly good: number
  /** Of them may be lost; below 0: the volume cannot be read now. */
  readonly spare: number
  readonly servers: MayFail
  readonly racks: MayFail
  readonly dataCenters: MayFail
}

const MARKS: Readonly<Record<ShardState, string>> = {
  good: '',
  down: '',
  bad: '!',
  missing: '?',
  lost: 'x',
}
const HEADINGS = ['PLACE', 'SERVER', 'STATE', 'DIRECTORY', 'SHARDS'] as const

/** What the marks behind the numbers of shards mean. */
export const EC_LEGEND = 'p: parity, !: has bad blocks, ?: its server does not have it, x: lost'

/**
 * An erasure-coded volume for people: what it is, where each of its shards lies, how much may still
 * fail, and what is not as it should be. Undefined: it is not erasure-coded.
 */
export function ecLines(facts: VolumeFacts): readonly string[] | undefined {
  const { stripe, strayShards = [] } = facts
  if (stripe === undefined) return undefined
  return [
    headline(facts, stripe),
    ...table([HEADINGS, ...setsOf(stripe).map(row)], HEADINGS.length).map((line) => `  ${line}`),
    `  ${toleranceLine(stripe)}`,
    ...lacksOf(facts).map((what) => `  lacks: ${what}`),
    ...strayShards.map(({ location, runId, shards }) => {
      return `  to be removed: ${shardsText(shards)} of run ${runId} on ${location.url}`
    }),
  ]
}

/** The same for programs. */
export function ecDocument(facts: VolumeFacts): object | undefined {
  const { volumeId, collection, stripe, strayShards = [], dirtyCount } = facts
  if (stripe === undefined) return undefined
  const { good, spare, servers, racks, dataCenters } = toleranceOf(stripe)
  const sums = sumsOf(stripe)
  return {
    volumeId,
    collection,
    scheme: formatErasureScheme(stripe),
    runId: stripe.runId,
    ...sums,
    garbageShare: sums && garbageShare(sums),
    shards: stripe.shards.map((facts) => ({
      shard: facts.shard,
      isParity: facts.shard >= stripe.dataShards,
      state: stateOf(facts),
      url: facts.location.url,
      dataCenter: facts.location.dataCenter,
      rack: facts.location.rack,
      directoryId: facts.directoryId,
    })),
    goodShards: good,
    spareShards: spare,
    mayFail: { servers, racks, dataCenters },
    lacks: lacksOf(facts),
    strays: strayShards.map(({ location, directoryId, runId, shards }) => {
      return { url: location.url, directoryId, runId, shards }
    }),
    dirtyCount,
  }
}

/** Every shard is there and good. */
export function isStripeWhole({ shards }: StripeFacts): boolean {
  return shards.every((shard) => stateOf(shard) === 'good')
}

/**
 * How much may fail at once from now on, whatever it is, with all files still readable: the worst
 * that can happen is that those with the most shards go first.
 */
export function toleranceOf(stripe: StripeFacts): StripeTolerance {
  const good = stripe.shards.filter((shard) => stateOf(shard) === 'good')
  const spare = good.length - stripe.dataShards
  const mayFail = (holderOf: (location: NodeLocation) => string): MayFail => {
    const held = new Map<string, number>()
    for (const { location } of good) {
      const holder = holderOf(location)
      held.set(holder, (held.get(holder) ?? 0) + 1)
    }
    let [count, left] = [0, spare]
    for (const shards of [...held.values()].sort((a, b) => b - a)) {
      left -= shards
      if (left < 0) break
      count++
    }
    return { count, of: held.size }
  }
  return {
    good: good.length,
    spare,
    servers: mayFail(({ url }) => url),
    racks: mayFail(({ dataCenter, rack }) => `${dataCenter}/${rack}`),
    dataCenters: mayFail(({ dataCenter }) => dataCenter),
  }
}

function stateOf({ report, isUp, isLost, isBad }: ShardFacts): ShardState {
  if (isLost) return 'lost'
  if (!isUp) return 'down'
  if (report === undefined) return 'missing'
  return isBad ? 'bad' : 'good'
}

/** Shards of one directory, as one row. */
interface ShardSet {
  readonly location: NodeLocation
  readonly directoryId: string
  readonly shards: readonly ShardFacts[]
  readonly dataShards: number
}

/** By data centre, rack, server and directory. */
function setsOf({ shards, dataShards }: StripeFacts): readonly ShardSet[] {
  const sets = new Map<string, ShardSet>()
  for (const facts of shards) {
    const { location, directoryId } = facts
    const { dataCenter, rack, url } = location
    const key = JSON.stringify([dataCenter, rack, url, directoryId])
    const others = sets.get(key)?.shards ?? []
    sets.set(key, { location, directoryId, shards: [...others, facts], dataShards })
  }
  const collator = new Intl.Collator('en', { numeric: true })
  return [...sets].sort(([a], [b]) => collator.compare(a, b)).map(([, set]) => set)
}

function row({ location, directoryId, shards, dataShards }: ShardSet): readonly string[] {
  const { dataCenter, rack, url } = location
  const isUp = shards.some((facts) => facts.isUp)
  const numbers = shards.map((facts) => {
    return `${facts.shard}${facts.shard < dataShards ? '' : 'p'}${MARKS[stateOf(facts)]}`
  })
  const directory = directoryId === '' ? '-' : directoryId
  return [`${dataCenter}/${rack}`, url, isUp ? 'up' : 'down', directory, numbers.join(' ')]
}

function headline({ volumeId, collection, dirtyCount }: VolumeFacts, stripe: StripeFacts): string {
  const sums = sumsOf(stripe)
  const name = `volume ${volumeId}${collection === '' ? '' : ` of ${collection}`}`
  const percent = sums === undefined ? '' : `${Math.round(garbageShare(sums) * 100)} % garbage`
  return [
    `${name}: ${formatErasureScheme(stripe)}`,
    `run ${stripe.runId}`,
    sums === undefined ? '' : `${formatBytes(sums.datBytes)}`,
    sums === undefined ? '' : `${formatBytes(sums.shardBytes * shardCountOf(stripe))} in shards`,
    sums === undefined ? '' : countOf(sums.liveNeedles, 'file'),
    percent,
    dirtyCount === 0 ? '' : `${countOf(dirtyCount, 'file')} to be made equal`,
  ]
    .filter((part) => part !== '')
    .join(', ')
}

function toleranceLine(stripe: StripeFacts): string {
  const { good, spare, servers, racks, dataCenters } = toleranceOf(stripe)
  const { dataShards } = stripe
  if (spare < 0) return `cannot be read now: ${good} of the ${dataShards} shards that it takes`
  const text = ({ count, of }: MayFail, noun: string): string => `${count} of ${countOf(of, noun)}`
  const parts = [
    text(servers, 'server'),
    text(racks, 'rack'),
    text(dataCenters, 'data centre'),
  ].join(', ')
  return `may still fail: ${parts}; ${countOf(spare, 'shard')} to spare`
}

/** In words: what to see to. */
function lacksOf({ stripe }: VolumeFacts): readonly string[] {
  if (stripe === undefined) return []
  const inState = (state: ShardState): readonly number[] =>
    stripe.shards.filter((facts) => stateOf(facts) === state).map(({ shard }) => shard)
  const said = (state: ShardState, one: string, several: string): string => {
    const shards = inState(state)
    if (shards.length === 0) return ''
    return `${shardsText(shards)} ${shards.length === 1 ? one : several}`
  }
  const { servers, spare } = toleranceOf(stripe)
  const isCrowded = isStripeWhole(stripe) && spare > 0 && servers.count === 0
  return [
    said('lost', 'is lost', 'are lost'),
    said('down', 'is on a server that is down', 'are on servers that are down'),
    said('missing', 'is not where it should be', 'are not where they should be'),
    said('bad', 'has bad blocks', 'have bad blocks'),
    isCrowded ? `servers: one has more than the ${countOf(spare, 'shard')} that may be lost` : '',
  ].filter((part) => part !== '')
}

interface Sums {
  readonly datBytes: number
  readonly shardBytes: number
  readonly liveNeedles: number
  readonly liveBytes: number
  readonly garbageBytes: number
}

/** As the server has it that knows of the most deletes. Undefined: no server says anything. */
function sumsOf({ shards }: StripeFacts): Sums | undefined {
  const reports = shards.flatMap(({ report }) => (report === undefined ? [] : [report]))
  const [first, ...others] = reports
  if (first === undefined) return undefined
  const knowing = others.reduce<ShardReport>(
    (most, report) => (report.garbageBytes > most.garbageBytes ? report : most),
    first,
  )
  const { datBytes, shardBytes, liveNeedles, liveBytes, garbageBytes } = knowing
  return { datBytes, shardBytes, liveNeedles, liveBytes, garbageBytes }
}

/** 0 to 1, of the volume as it was coded. */
function garbageShare({ garbageBytes, datBytes }: Sums): number {
  return datBytes === 0 ? 0 : garbageBytes / datBytes
}

function shardsText(shards: readonly number[]): string {
  if (shards.length === 0) return 'what is left'
  return `shard${shards.length === 1 ? '' : 's'} ${shards.join(', ')}`
}

function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
