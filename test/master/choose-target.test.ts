import { describe, expect, test } from 'vitest'
import {
  copyCount,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../../src/base/replica-placement.ts'
import { ANYWHERE } from '../../src/master/layout-key.ts'
import {
  choosePlacement,
  chooseTarget,
  type PlacementServer,
  unmetPlacement,
} from '../../src/master/placement.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { Prng, seeds } from '../support/prng.ts'

function server(url: string, dataCenter: string, rack: string, roomBytes = 100): PlacementServer {
  const { location } = new FakeVolumeServer(url, { dataCenter, rack })
  return { location, roomBytes, load: 0 }
}

/** As many servers for each of two racks in each of the centres. */
function cluster(centres: number, perRack: number): PlacementServer[] {
  const servers: PlacementServer[] = []
  for (let centre = 1; centre <= centres; centre++) {
    for (const rack of ['r1', 'r2']) {
      for (let index = 1; index <= perRack; index++) {
        servers.push(server(`c${centre}-${rack}-${index}`, `c${centre}`, rack))
      }
    }
  }
  return servers
}

function locationsOf(servers: readonly PlacementServer[]): NodeLocation[] {
  return servers.map(({ location }) => location)
}

/** By trying every server: whether one of them would make the placement whole. */
function canComplete(
  kept: readonly NodeLocation[],
  servers: readonly PlacementServer[],
  replication: ReplicaPlacement,
): boolean {
  return servers.some(
    ({ location, roomBytes }) =>
      roomBytes > 0 &&
      !kept.some(({ url }) => url === location.url) &&
      unmetPlacement([...kept, location], replication) === undefined,
  )
}

describe('a server for one more copy', () => {
  // Goal: after any one copy is lost, the placement is whole again whenever any server allows it.
  test.each(seeds(200))('makes the placement whole where that can be (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const servers = cluster(prng.between(1, 3), prng.between(1, 3))
    for (const text of ['000', '001', '002', '010', '011', '100', '110', '111', '200']) {
      const replication = parseReplicaPlacement(text)
      let chosen: PlacementServer[]
      try {
        chosen = choosePlacement(servers, replication, ANYWHERE, prng)
      } catch {
        continue
      }
      const lost = prng.pick(chosen)
      const kept = locationsOf(chosen.filter((each) => each !== lost))
      const alive = servers.filter((each) => each !== lost)
      if (alive.length === kept.length) continue
      const options = { replication, excluded: new Set<string>() }
      const target = chooseTarget(kept, alive, options, prng)
      expect(kept.map(({ url }) => url)).not.toContain(target.location.url)
      const unmet = unmetPlacement([...kept, target.location], replication)
      if (canComplete(kept, alive, replication)) expect(unmet).toBeUndefined()
      else expect(unmet).toBeDefined()
    }
  })

  test.each(seeds(50))('leads to a whole placement also from one copy (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const servers = cluster(3, 2)
    const replication = parseReplicaPlacement(prng.pick(['011', '110', '111', '200', '002']))
    const options = { replication, excluded: new Set<string>() }
    let kept = [prng.pick(servers).location]
    if (replication.otherServers === 2) {
      const more = cluster(1, 3)
      kept = [prng.pick(more).location]
      while (kept.length < copyCount(replication)) {
        kept = [...kept, chooseTarget(kept, more, options, prng).location]
      }
    }
    while (kept.length < copyCount(replication)) {
      kept = [...kept, chooseTarget(kept, servers, options, prng).location]
    }
    expect(unmetPlacement(kept, replication)).toBeUndefined()
  })

  test('is one that the others can reach, if there is one', () => {
    const prng = new Prng(1)
    const servers = cluster(1, 3)
    const replication = parseReplicaPlacement('001')
    const kept = [server('c1-r1-1', 'c1', 'r1').location]
    for (let round = 0; round < 20; round++) {
      const isBroken = (a: string, b: string): boolean => [a, b].includes('c1-r1-2')
      const options = { replication, excluded: new Set<string>(), isBroken }
      expect(chooseTarget(kept, servers, options, prng).location.url).toBe('c1-r1-3')
      const pair = choosePlacement(servers, replication, ANYWHERE, prng, isBroken)
      expect(pair.map(({ location }) => location.url)).not.toContain('c1-r1-2')
    }
  })

  test('is refused when every server has a copy, is left out, or is full', () => {
    const prng = new Prng(1)
    const replication = parseReplicaPlacement('001')
    const servers = [server('a', 'c', 'r'), server('b', 'c', 'r'), server('full', 'c', 'r', 0)]
    const kept = locationsOf(servers.slice(0, 1))
    const choose = (excluded: readonly string[]) => () =>
      chooseTarget(kept, servers, { replication, excluded: new Set(excluded) }, prng)
    expectStoreError(choose(['b', 'full']), 'PLACEMENT_IMPOSSIBLE')
    expectStoreError(choose(['b']), 'NO_WRITABLE_VOLUME')
    expect(choose([])().location.url).toBe('b')
  })
})

describe('what a placement lacks', () => {
  const at = (url: string, dataCenter: string, rack: string) =>
    server(url, dataCenter, rack).location
  const cases: readonly (readonly [string, readonly NodeLocation[], RegExp | undefined])[] = [
    ['001', [at('a', 'c', 'r')], /1 of 2 copies/],
    ['001', [at('a', 'c', 'r'), at('b', 'c', 'r')], undefined],
    ['001', [at('a', 'c', 'r'), at('b', 'c', 'q')], /2 servers in one rack/],
    ['010', [at('a', 'c', 'r'), at('b', 'c', 'r')], /2 racks in one data centre/],
    ['100', [at('a', 'c', 'r'), at('b', 'c', 'q')], /2 data centres are needed/],
    ['000', [at('a', 'c', 'r'), at('b', 'd', 'q')], undefined],
    ['110', [at('a', 'c', 'r'), at('b', 'c', 'q'), at('d', 'd', 'r')], undefined],
    ['110', [at('a', 'c', 'r'), at('b', 'd', 'q'), at('d', 'd', 'r')], undefined],
    ['110', [at('a', 'c', 'r'), at('b', 'd', 'r'), at('d', 'e', 'r')], /2 racks in one data/],
  ]
  test.each(cases)('%s: case %#', (text, locations, expected) => {
    const unmet = unmetPlacement(locations, parseReplicaPlacement(text))
    if (expected === undefined) expect(unmet).toBeUndefined()
    else expect(unmet).toMatch(expected)
  })
})
