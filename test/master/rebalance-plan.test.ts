import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { unmetPlacement } from '../../src/master/placement.ts'
import {
  type BalanceNode,
  type BalanceVolume,
  imbalanceBytes,
  planNextMove,
} from '../../src/master/rebalance-plan.ts'
import type { NodeLocation } from '../../src/net/master-api.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { Prng, seeds } from '../support/prng.ts'

const CAPACITY_BYTES = 1_000_000

function locationsOf(count: number): NodeLocation[] {
  return Array.from({ length: count }, (_, index) => {
    const labels = { dataCenter: `c${index % 2}`, rack: `r${index % 3}` }
    return new FakeVolumeServer(`s${index}:1`, labels).location
  })
}

function nodesOf(locations: readonly NodeLocation[], volumes: readonly BalanceVolume[]) {
  return locations.map((location): BalanceNode => {
    const here = volumes.filter(({ members }) => members.some(({ url }) => url === location.url))
    const usedBytes = here.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    const requestsPerS = here.reduce((sum, volume) => sum + volume.requestsPerS, 0)
    return { location, usedBytes, roomBytes: CAPACITY_BYTES - usedBytes, requestsPerS }
  })
}

interface World {
  readonly locations: readonly NodeLocation[]
  volumes: readonly BalanceVolume[]
}

/** Carries out moves until there is none; how many there were. */
function settle(world: World, spread: number): number {
  for (let moves = 0; moves < 1000; moves++) {
    const move = planNextMove(nodesOf(world.locations, world.volumes), world.volumes, { spread })
    if (move === undefined) return moves
    const { from, to } = move
    world.volumes = world.volumes.map((volume) => {
      if (volume.volumeId !== move.volumeId) return volume
      const members = volume.members.map((member) => (member.url === from.url ? to : member))
      return { ...volume, members }
    })
  }
  return Number.POSITIVE_INFINITY
}

function volumeOn(
  id: number,
  members: readonly NodeLocation[],
  fields: Partial<BalanceVolume> = {},
): BalanceVolume {
  const replication = parseReplicaPlacement(members.length === 1 ? '000' : '001')
  const base = { volumeId: volumeId(id), replication, sizeBytes: 1000, requestsPerS: 0, members }
  return { ...base, ...fields }
}

describe('rebalancing', () => {
  // Goal: it ends, breaks no placement, never puts two copies on a server, and helps.
  test.each(seeds(200))('ends with servers more alike (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const locations = locationsOf(prng.between(2, 8))
    const volumes = Array.from({ length: prng.between(1, 40) }, (_, index) => {
      const first = prng.pick(locations.slice(0, Math.ceil(locations.length / 2)))
      const others = locations.filter(({ url }) => url !== first.url)
      const members = prng.chance(0.5) ? [first] : [first, prng.pick(others)]
      const requestsPerS = prng.chance(0.3) ? prng.between(1, 500) : 0
      return volumeOn(index + 1, members, { sizeBytes: prng.between(0, 30_000), requestsPerS })
    })
    const world: World = { locations, volumes }
    const before = imbalanceBytes(nodesOf(locations, volumes), 0.1)
    expect(settle(world, 0.1)).toBeLessThan(1000)
    const after = imbalanceBytes(nodesOf(locations, world.volumes), 0.1)
    expect(after).toBeLessThanOrEqual(before)
    for (const [index, volume] of world.volumes.entries()) {
      const urls = volume.members.map(({ url }) => url)
      expect(new Set(urls).size).toBe(urls.length)
      const was = volumes[index]?.members ?? []
      if (unmetPlacement(was, volume.replication) !== undefined) continue
      expect(unmetPlacement(volume.members, volume.replication)).toBeUndefined()
    }
  })

  test('fills a new server up to its share', () => {
    const locations = locationsOf(5)
    const volumes = Array.from({ length: 40 }, (_, index) =>
      volumeOn(index + 1, [locations[index % 4] as NodeLocation]),
    )
    const world: World = { locations, volumes }
    expect(imbalanceBytes(nodesOf(locations, volumes), 0.1)).toBe(10_000)
    expect(settle(world, 0.1)).toBe(8)
    expect(nodesOf(locations, world.volumes).map(({ usedBytes }) => usedBytes)).toEqual(
      Array(5).fill(8000),
    )
    expect(imbalanceBytes(nodesOf(locations, world.volumes), 0.1)).toBe(0)
  })

  test('spreads hot volumes of equally full servers', () => {
    const locations = locationsOf(2)
    const [hot, cold] = locations as [NodeLocation, NodeLocation]
    const volumes = [
      volumeOn(1, [hot], { requestsPerS: 400 }),
      volumeOn(2, [hot], { requestsPerS: 390 }),
      volumeOn(3, [cold], { requestsPerS: 1 }),
      volumeOn(4, [cold], { requestsPerS: 1 }),
    ]
    const world: World = { locations, volumes }
    settle(world, 10)
    const loads = nodesOf(locations, world.volumes).map(({ requestsPerS }) => requestsPerS)
    expect(Math.max(...loads)).toBeLessThan(450)
  })

  test('leaves one hot volume alone where it is', () => {
    const locations = locationsOf(2)
    const volumes = [volumeOn(1, [locations[0] as NodeLocation], { requestsPerS: 5000 })]
    expect(planNextMove(nodesOf(locations, volumes), volumes, { spread: 10 })).toBeUndefined()
  })

  test('moves nothing on a cluster of one server, or of none', () => {
    const [only] = locationsOf(1)
    const volumes = [volumeOn(1, [only as NodeLocation])]
    const nodes = nodesOf([only as NodeLocation], volumes)
    expect(planNextMove(nodes, volumes, { spread: 0.1 })).toBeUndefined()
    expect(planNextMove([], [], { spread: 0.1 })).toBeUndefined()
    expect(imbalanceBytes([], 0.1)).toBe(0)
  })
})
