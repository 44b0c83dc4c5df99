import { describe, expect, test } from 'vitest'
import { parseErasureScheme } from '../../src/base/erasure-scheme.ts'
import { formatReplicaPlacement } from '../../src/base/replica-placement.ts'
import { StoreError } from '../../src/base/store-error.ts'
import {
  chooseShardServers,
  misplacedOf,
  type ShardPlacement,
  survivingReplication,
} from '../../src/client/shard-placement.ts'
import {
  type ShardServers,
  shardServersOf,
  TopologyCache,
} from '../../src/client/topology-cache.ts'
import type { NodeLocation, Topology, TopologyNode } from '../../src/net/master-api.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { FakeMaster } from '../support/fake-master-api.ts'
import { Prng, seeds } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const NEVER = new AbortController().signal

function at(place: string): NodeLocation {
  const [dataCenter = '', rack = '', url = ''] = place.split('/')
  return { url, publicUrl: url, grpcAddress: url, dataCenter, rack }
}

function serversAt(...places: string[]): ShardServers {
  const usable = places.map((place) => ({
    location: at(place),
    roomBytes: 100,
    isFlapping: false,
  }))
  return { usable, others: '' }
}

function placement(text: string, more: Partial<ShardPlacement> = {}): ShardPlacement {
  const scheme = parseErasureScheme(text)
  const count = scheme.dataShards + scheme.parityShards
  return { scheme, spread: 'servers', count, kept: [], isAvoided: () => false, ...more }
}

const SIX = ['a/1/s1', 'a/1/s2', 'a/2/s3', 'a/2/s4', 'b/1/s5', 'b/1/s6']

function places(locations: readonly NodeLocation[], keyOf: (location: NodeLocation) => string) {
  const counts: Record<string, number> = {}
  for (const location of locations) counts[keyOf(location)] = (counts[keyOf(location)] ?? 0) + 1
  return counts
}

describe('servers for shards', () => {
  test('are all different, and all of six for 4+2', () => {
    const chosen = chooseShardServers(serversAt(...SIX), placement('4+2'), new Prng(1))
    expect(chosen.map(({ url }) => url).toSorted()).toEqual(['s1', 's2', 's3', 's4', 's5', 's6'])
  })

  test('that are too few are PLACEMENT_IMPOSSIBLE, with the numbers', () => {
    const servers = { ...serversAt(...SIX.slice(1)), others: '1 down' }
    const choose = () => chooseShardServers(servers, placement('4+2'), new Prng(1))
    expectStoreError(choose, 'PLACEMENT_IMPOSSIBLE')
    expect(choose).toThrow(
      /^4\+2 needs 6 servers that are up and have room; 5 can be used \(1 down\)$/,
    )
  })

  test('are over data centres first, then racks, where there are more than needed', () => {
    const many = ['a', 'b', 'c'].flatMap((center) =>
      ['1', '2', '3'].flatMap((rack) =>
        [1, 2, 3].map((n) => `${center}/${rack}/${center}${rack}${n}`),
      ),
    )
    for (let seed = 1; seed < 20; seed++) {
      const chosen = chooseShardServers(serversAt(...many), placement('4+2'), new Prng(seed))
      expect(places(chosen, ({ dataCenter }) => dataCenter)).toEqual({ a: 2, b: 2, c: 2 })
      const racks = places(chosen, ({ dataCenter, rack }) => `${dataCenter}/${rack}`)
      expect(Object.values(racks)).toEqual([1, 1, 1, 1, 1, 1])
    }
  })

  // Goal: what has to be apart is apart, and PLACEMENT_IMPOSSIBLE is said only when it cannot be.
  test.each(seeds(40))('keep every rack or centre to m shards (seed %d)', (seed) => {
    const prng = new Prng(seed)
    for (let round = 0; round < 25; round++) {
      const count = prng.between(1, 14)
      const all = Array.from({ length: count }, (_, n) => `${prng.below(4)}/${prng.below(3)}/s${n}`)
      const scheme = prng.pick(['2+1', '4+2', '6+3', '3+1'])
      const spread = prng.pick(['racks', 'data-centers'] as const)
      const wanted = placement(scheme, { spread })
      const max = wanted.scheme.parityShards
      const keyOf = ({ dataCenter, rack }: NodeLocation) =>
        spread === 'racks' ? `${dataCenter}/${rack}` : dataCenter
      const capacity = Object.values(places(all.map(at), keyOf))
      const most = capacity.reduce((sum, inPlace) => sum + Math.min(max, inPlace), 0)
      const choose = () => chooseShardServers(serversAt(...all), wanted, prng)
      if (most < wanted.count) {
        expectStoreError(choose, 'PLACEMENT_IMPOSSIBLE')
        continue
      }
      const chosen = choose()
      expect(new Set(chosen.map(({ url }) => url)).size).toBe(wanted.count)
      expect(Math.max(...Object.values(places(chosen, keyOf)))).toBeLessThanOrEqual(max)
    }
  })

  test('say which racks are missing', () => {
    const servers = serversAt('a/1/s1', 'a/1/s2', 'a/1/s3', 'a/1/s4', 'a/2/s5', 'a/2/s6')
    const wanted = placement('4+2', { spread: 'racks' })
    expect(() => chooseShardServers(servers, wanted, new Prng(1))).toThrow(
      'no more than 2 of them in one rack; 6 can be used, in 2 racks: room for 4',
    )
  })

  test('count those kept: none twice, and their places are filled', () => {
    const kept = [at('a/1/s1'), at('a/1/s2'), at('a/2/s3')]
    const wanted = placement('4+2', { count: 1, kept, spread: 'racks' })
    for (let seed = 1; seed < 20; seed++) {
      const chosen = chooseShardServers(serversAt(...SIX, 'a/1/s7'), wanted, new Prng(seed))
      expect(['s5', 's6']).toContain(chosen[0]?.url)
    }
  })

  test('are those that failed or flap only where there are no others', () => {
    const { usable } = serversAt(...SIX, 'a/1/s7', 'a/1/s8')
    const flapping = usable.map((server) =>
      server.location.url === 's8' ? { ...server, isFlapping: true } : server,
    )
    const isAvoided = (url: string) => url === 's7'
    for (let seed = 1; seed < 20; seed++) {
      const servers = { usable: flapping, others: '' }
      const six = chooseShardServers(servers, placement('4+2', { isAvoided }), new Prng(seed))
      expect(six.map(({ url }) => url)).not.toContain('s7')
      expect(six.map(({ url }) => url)).not.toContain('s8')
      const eight = chooseShardServers(servers, placement('6+2', { isAvoided }), new Prng(seed))
      expect(eight.map(({ url }) => url).slice(6)).toEqual(['s8', 's7'])
    }
  })

  test('with more room are chosen more often', () => {
    const servers = {
      usable: [
        { location: at('a/1/small'), roomBytes: 1, isFlapping: false },
        { location: at('a/1/large'), roomBytes: 9, isFlapping: false },
      ],
      others: '',
    }
    const prng = new Prng(1)
    const wanted = placement('1+1', { count: 1 })
    const chosen = Array.from({ length: 1000 }, () => chooseShardServers(servers, wanted, prng)[0])
    const large = chosen.filter((location) => location?.url === 'large').length
    expect(large).toBeGreaterThan(850)
    expect(large).toBeLessThan(950)
  })
})

describe('shards in the wrong place', () => {
  test.each([
    ['servers', ['a/1/s1', 'a/1/s2', 'a/1/s3'], []],
    ['servers', ['a/1/s1', 'a/1/s2', 'a/1/s1', 'a/1/s1'], [2, 3]],
    ['racks', ['a/1/s1', 'a/1/s2', 'a/1/s3', 'b/1/s4'], [2]],
    ['racks', ['a/1/s1', 'a/1/s2', 'a/2/s3', 'a/1/s1'], [3]],
    ['data-centers', ['a/1/s1', 'a/2/s2', 'a/3/s3', 'b/1/s4'], [2]],
  ] as const)('spread over %s, at %o are %o', (spread, where, expected) => {
    const shards = where.map((place, index) => ({ index, location: at(place) }))
    const found = misplacedOf([...shards, { index: 9, location: undefined }], {
      spread,
      perPlaceMax: 2,
    })
    expect(found.map(({ index }) => index)).toEqual(expected)
  })
})

describe('a needle that outlives m servers', () => {
  test.each([
    ['over data centres', ['a/1/1', 'b/1/2', 'c/1/3', 'c/1/4'], 2, '200'],
    ['over racks', ['a/1/1', 'a/2/2', 'a/3/3', 'a/3/4'], 2, '020'],
    ['over both', SIX, 2, '110'],
    ['on servers', ['a/1/1', 'a/1/2', 'a/1/3', 'a/1/4'], 2, '002'],
    ['as often as can be', ['a/1/1', 'a/1/2'], 2, '001'],
    ['once', ['a/1/1'], 2, '000'],
    ['nowhere', [], 2, '000'],
    ['in so many centres as a byte has', ['a/1/1', 'b/1/2', 'c/1/3', 'd/1/4', 'd/2/5'], 3, '210'],
    ['six times', Array.from({ length: 8 }, (_, n) => `a/1/${n}`), 6, '006'],
  ])('is stored %s', (_, where, losses, expected) => {
    const found = survivingReplication(serversAt(...where), losses)
    expect(formatReplicaPlacement(found)).toBe(expected)
  })
})

describe('the servers of a topology', () => {
  const disk = { directoryId: '', path: '', totalBytes: 9, quarantinedCount: 0, clusterId: '' }
  const node = (url: string, more: Partial<TopologyNode> = {}): TopologyNode => ({
    location: at(`a/1/${url}`),
    state: 'up',
    lastHeardMs: 0,
    disks: [
      { ...disk, freeBytes: 5, reserveBytes: 2 },
      { ...disk, freeBytes: 1, reserveBytes: 2 },
    ],
    volumes: [],
    inFlightCount: 0,
    downSinceMs: 0,
    isFlapping: false,
    isDraining: false,
    ...more,
  })
  const topology = (...nodes: TopologyNode[]): Topology => {
    return { clusterId: '', nodes, layouts: [], maxVolumeId: 0, volumeSizeMaxBytes: 0 }
  }

  test('are those that are up, stay, and have room beyond the reserve', () => {
    const full = { disks: [{ ...disk, freeBytes: 2, reserveBytes: 2 }] }
    const servers = shardServersOf(
      topology(
        node('s1'),
        node('s2', { state: 'down' }),
        node('s3', { state: 'leaving' }),
        node('s4', { isDraining: true }),
        node('s5', full),
        node('s6', { isFlapping: true }),
        node('s7', { state: 'down' }),
      ),
    )
    expect(servers.usable.map(({ location: { url }, roomBytes }) => [url, roomBytes])).toEqual([
      ['s1', 3],
      ['s6', 3],
    ])
    expect(servers.others).toBe('2 down, 1 leaving, 1 draining, 1 full')
  })

  test('are asked for once in 10 s, and those known before do while no master answers', async () => {
    const clock = new SimClock()
    const master = new FakeMaster()
    let asked = 0
    let isAway = false
    master.topology = async () => {
      asked++
      if (isAway) throw new StoreError('UNAUTHENTICATED', 'not again')
      return topology(node(`s${asked}`))
    }
    await using cache = new TopologyCache({ master, clock, random: new Prng(1) })
    const urls = async () => (await cache.servers(NEVER)).usable.map(({ location }) => location.url)
    expect(await Promise.all([urls(), urls()])).toEqual([['s1'], ['s1']])
    await clock.advance(9999)
    expect(await urls()).toEqual(['s1'])
    await clock.advance(1)
    expect(await urls()).toEqual(['s2'])
    isAway = true
    cache.expire()
    expect(await urls()).toEqual(['s2'])
    expect(asked).toBe(3)
  })
})
