import { describe, expect, test } from 'vitest'
import { type ShardMoveParts, ShardMovePlanner } from '../../src/master/shard-moves.ts'
import { chooseShards, DomainCounts, type ShardServer } from '../../src/master/shard-placement.ts'
import type { ShardMove } from '../../src/net/stripe-facts.ts'
import { Prng, seeds } from '../support/prng.ts'
import { codedFactsOf, placeOf, type ShardSpec } from '../support/volume-facts.ts'

const SHARD_BYTES = 100

function serversAt(places: readonly string[], roomBytes = 100_000): ShardServer[] {
  const here = [...new Set(places)]
  return here.map((each) => ({ location: placeOf(each), diskRoomsBytes: [roomBytes], load: 0 }))
}

function plan(
  specs: readonly ShardSpec[],
  servers: readonly ShardServer[],
  options: Partial<ShardMoveParts> = {},
): ShardMove | undefined {
  const scheme = `${specs.length - 2}+2`
  const { shards } = codedFactsOf(1, scheme, specs).stripe
  const nothing = { isDraining: () => false, isCut: () => false }
  const planner = new ShardMovePlanner({ servers, ...nothing, ...options })
  return planner.plan(shards, SHARD_BYTES)
}

function told(move: ShardMove | undefined): string {
  return move === undefined ? 'none' : `${move.from.url} → ${move.to.url}`
}

describe('a move', () => {
  test('goes from the fullest server to one with at least two less', () => {
    const specs = ['a:1', 'a:1', 'a:1', 'b:1', 'b:1', 'c:1']
    expect(told(plan(specs, serversAt(['a:1', 'b:1', 'c:1'])))).toBe('a:1 → c:1')
    const even = ['a:1', 'a:1', 'b:1', 'b:1', 'c:1', 'c:1']
    expect(plan(even, serversAt(['a:1', 'b:1', 'c:1']))).toBeUndefined()
    expect(told(plan(even, serversAt(['a:1', 'b:1', 'c:1', 'd:1'])))).toMatch(/ → d:1$/)
  })

  test('names the shard and the directory that it is to leave', () => {
    const specs: ShardSpec[] = [['a:1', { directoryId: 'x' }], 'a:1', 'a:1', 'b:1']
    const move = plan(specs, serversAt(['a:1', 'b:1', 'c:1']))
    expect(move).toMatchObject({ shard: 0, fromDirectoryId: 'x' })
  })

  test('goes to another centre first, and to the server there with most room', () => {
    const specs = ['dc1/r1/a:1', 'dc1/r2/b:1', 'dc1/r3/c:1', 'dc1/r4/d:1']
    const far = [...serversAt(['dc2/r1/x:1'], 500), ...serversAt(['dc2/r2/y:1'], 600)]
    const servers = [...serversAt(specs), ...serversAt(['dc1/r5/e:1'], 9e9), ...far]
    expect(told(plan(specs, servers))).toMatch(/ → y:1$/)
  })

  test('is none that makes the worst rack or server worse for the sake of centres', () => {
    const specs = ['dc1/r1/a:1', 'dc1/r2/b:1', 'dc1/r3/c:1', 'dc1/r4/d:1', 'dc2/r1/x:1']
    // dc2 has one server: a second shard there would be the first that is not alone.
    expect(plan(specs, serversAt(specs))).toBeUndefined()
    const twice = ['dc1/r1/a:1', 'dc1/r1/a:1', ...specs.slice(1)]
    expect(told(plan(twice, serversAt(specs)))).toBe('a:1 → x:1')
  })

  test('is none of shards that are away, lost or bad, nor to where no room or no way is', () => {
    const servers = serversAt(['a:1', 'b:1'])
    expect(told(plan(['a:1', 'a:1', 'a:1'], servers))).toBe('a:1 → b:1')
    const away: ShardSpec = ['a:1', { isUp: false }]
    expect(plan([away, away, away], servers)).toBeUndefined()
    const bad: ShardSpec = ['a:1', { isBad: true }]
    expect(plan([bad, bad, bad], servers)).toBeUndefined()
    const lost: ShardSpec = ['a:1', { isLost: true }]
    expect(plan([lost, lost, 'a:1'], servers)).toBeUndefined()
    expect(plan(['a:1', 'a:1', 'a:1'], serversAt(['a:1', 'b:1'], 99))).toBeUndefined()
    // A rack is not given up because the ones with most room cannot be reached.
    const many = serversAt(['a:1', 'b:1', 'c:1', 'd:1'])
    const isFar = (url: string) => url === 'b:1' || url === 'c:1'
    expect(told(plan(['a:1', 'a:1', 'a:1'], many, { isCut: isFar }))).toBe('a:1 → d:1')
    const isCut = (url: string, other: string) => url === 'b:1' && other === 'a:1'
    expect(plan(['a:1', 'a:1', 'a:1'], servers, { isCut })).toBeUndefined()
  })
})

describe('a server that is being emptied', () => {
  const isDraining = (url: string) => url === 'a:1'

  test('is left even if others then have more, where it does least harm', () => {
    const specs = ['a:1', 'b:1', 'b:1', 'c:1']
    const servers = serversAt(['b:1', 'c:1'])
    expect(told(plan(specs, servers, { isDraining }))).toBe('a:1 → c:1')
    expect(told(plan(['a:1', 'b:1', 'c:1'], serversAt(['b:1']), { isDraining }))).toBe('a:1 → b:1')
  })

  test('is left before anything is made more even, and never given anything', () => {
    const specs = ['a:1', 'b:1', 'b:1', 'b:1', 'c:1']
    const servers = serversAt(['a:1', 'b:1', 'c:1', 'd:1'])
    expect(told(plan(specs, servers, { isDraining }))).toBe('a:1 → d:1')
    const left = ['b:1', 'b:1', 'b:1', 'c:1']
    expect(told(plan(left, serversAt(['a:1', 'b:1', 'c:1']), { isDraining }))).toBe('b:1 → c:1')
  })
})

// Goal: moves come to an end; none makes a worst domain worse; within one rack the end is as good
// as a layout from scratch. Method: random stripes on random clusters, moved until there is none.
test.each(seeds(200))('moves come to an end that is no worse (seed %d)', (seed) => {
  const prng = new Prng(seed)
  const isFlat = prng.chance(0.4)
  const places = Array.from({ length: prng.between(1, 12) }, (_, at) => {
    return isFlat ? `s${at}:1` : `dc${prng.below(3)}/r${prng.below(3)}/s${at}:1`
  })
  const servers = serversAt(places)
  const count = prng.between(3, 20)
  let specs = Array.from({ length: count }, () => prng.pick(places))
  const draining = new Set(isFlat || prng.chance(0.5) ? [] : [placeOf(prng.pick(places)).url])
  const isDraining = (url: string) => draining.has(url)
  const free = servers.filter(({ location }) => !draining.has(location.url))
  let worst = worstOf(specs)
  let isEmptying = specs.some((each) => draining.has(placeOf(each).url)) && free.length > 0
  for (let step = 0; ; step++) {
    expect(step).toBeLessThan(200)
    const move = plan(specs, servers, { isDraining })
    if (move === undefined) break
    const { shard, from, to } = move
    expect(placeOf(specs[shard] ?? '').url).toBe(from.url)
    expect(draining.has(from.url)).toBe(isEmptying)
    const { dataCenter, rack, url } = to
    specs = specs.with(shard, `${dataCenter}/${rack}/${url}`)
    const after = worstOf(specs)
    if (!isEmptying) {
      for (const [level, most] of after.entries()) {
        expect(most).toBeLessThanOrEqual(worst[level] ?? 0)
      }
    }
    worst = after
    isEmptying = specs.some((each) => draining.has(placeOf(each).url)) && free.length > 0
  }
  expect(isEmptying).toBe(false)
  if (!isFlat) return
  const choice = { kept: [], wanted: specs.map((_, at) => at), shardBytes: SHARD_BYTES }
  const fresh = chooseShards(servers, choice, prng).map(({ location }) => location)
  expect(worst).toEqual([...new DomainCounts(fresh).worst])
})

function worstOf(specs: readonly string[]): readonly number[] {
  return new DomainCounts(specs.map(placeOf)).worst
}
