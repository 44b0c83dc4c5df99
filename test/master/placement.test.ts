import { describe, expect, test } from 'vitest'
import { copyCount, replicaPlacementFromByte } from '../../src/base/replica-placement.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { ANYWHERE, isInPlace, type PlaceFilter } from '../../src/master/layout-key.ts'
import { choosePlacement, type PlacementServer } from '../../src/master/placement.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { Prng, seeds } from '../support/prng.ts'

function server(url: string, dataCenter: string, rack: string, roomBytes = 100, load = 0) {
  const { location } = new FakeVolumeServer(url, { dataCenter, rack })
  return { location, roomBytes, load }
}

function randomServers(prng: Prng): PlacementServer[] {
  return Array.from({ length: prng.between(1, 14) }, (_, index) => {
    const dataCenter = `dc${prng.below(3)}`
    const rack = `${dataCenter}-r${prng.below(3)}`
    const room = prng.chance(0.15) ? 0 : prng.between(1, 1000)
    return server(`s${index}`, dataCenter, rack, room, prng.below(3))
  })
}

/** Whether these servers, in some order of roles, are what the placement asks for. */
function isRight(chosen: readonly PlacementServer[], byte: number, place: PlaceFilter): boolean {
  const { otherDataCenters, otherRacks, otherServers } = replicaPlacementFromByte(byte)
  const [main] = chosen
  if (main === undefined || !isInPlace(main.location, place)) return false
  if (new Set(chosen.map(({ location }) => location.url)).size !== chosen.length) return false
  const { dataCenter, rack } = main.location
  const near = chosen.filter(({ location }) => location.dataCenter === dataCenter)
  const inRack = near.filter(({ location }) => location.rack === rack)
  const otherRackNames = new Set(near.map(({ location }) => location.rack))
  const centreNames = new Set(chosen.map(({ location }) => location.dataCenter))
  return (
    inRack.length === otherServers + 1 &&
    near.length === otherServers + 1 + otherRacks &&
    otherRackNames.size === otherRacks + 1 &&
    centreNames.size === otherDataCenters + 1 &&
    chosen.length === otherServers + 1 + otherRacks + otherDataCenters
  )
}

/** By trying every main server: the truth that the choice is compared with. */
function isPossible(servers: readonly PlacementServer[], byte: number, place: PlaceFilter) {
  const { otherDataCenters, otherRacks, otherServers } = replicaPlacementFromByte(byte)
  const roomy = servers.filter(({ roomBytes }) => roomBytes > 0)
  return roomy.some(({ location: main }) => {
    if (!isInPlace(main, place)) return false
    const near = roomy.filter(({ location }) => location.dataCenter === main.dataCenter)
    const inRack = near.filter(({ location }) => location.rack === main.rack)
    const racks = new Set(near.map(({ location }) => location.rack))
    const centres = new Set(roomy.map(({ location }) => location.dataCenter))
    return (
      inRack.length > otherServers && racks.size > otherRacks && centres.size > otherDataCenters
    )
  })
}

describe('a placement', () => {
  // Goal: a choice is right whenever there is one, and refused only when there is none. Method:
  // random clusters, all placements up to 222, compared with trying everything.
  test.each(seeds(200))('is found exactly when it is possible (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const servers = randomServers(prng)
    const some = prng.pick(servers).location
    const place = prng.pick([
      ANYWHERE,
      { ...ANYWHERE, dataCenter: some.dataCenter },
      { ...ANYWHERE, rack: some.rack },
      { ...ANYWHERE, node: some.url },
    ])
    for (let byte = 0; byte <= 222; byte++) {
      if (/[3-9]/.test(String(byte))) continue
      const replication = replicaPlacementFromByte(byte)
      try {
        const chosen = choosePlacement(servers, replication, place, prng)
        expect(chosen).toHaveLength(copyCount(replication))
        expect(isRight(chosen, byte, place)).toBe(true)
      } catch (error) {
        if (!isStoreError(error, 'PLACEMENT_IMPOSSIBLE', 'NO_WRITABLE_VOLUME')) throw error
        expect(isPossible(servers, byte, place)).toBe(false)
      }
    }
  })

  test.each([
    [100, '2 data centres are needed, servers are up in 1'],
    [20, '3 racks in one data centre are needed, at most 2 have servers up'],
    [2, '3 servers in one rack are needed, no rack has them up'],
  ])('%d names what is missing', (byte, missing) => {
    const servers = [server('a', 'x', 'r1'), server('b', 'x', 'r1'), server('c', 'x', 'r2')]
    const error = expectStoreError(
      () => choosePlacement(servers, replicaPlacementFromByte(byte), ANYWHERE, new Prng(1)),
      'PLACEMENT_IMPOSSIBLE',
    )
    expect(error.message).toContain(missing)
  })

  test('says so when only room is missing', () => {
    const servers = [server('a', 'x', 'r1', 0), server('b', 'x', 'r1', 5)]
    expectStoreError(
      () => choosePlacement(servers, replicaPlacementFromByte(1), ANYWHERE, new Prng(1)),
      'NO_WRITABLE_VOLUME',
    )
  })

  test('prefers less load, then goes by room: 4 to 1 within 5 of 100', () => {
    const prng = new Prng(1)
    const none = replicaPlacementFromByte(0)
    const busy = server('busy', 'x', 'r', 1_000_000, 1)
    const servers = [busy, server('large', 'x', 'r', 400), server('small', 'x', 'r', 100)]
    const counts = new Map<string, number>()
    for (let round = 0; round < 2000; round++) {
      const [main] = choosePlacement(servers, none, ANYWHERE, prng)
      const { url = '' } = main?.location ?? {}
      counts.set(url, (counts.get(url) ?? 0) + 1)
    }
    expect(counts.has('busy')).toBe(false)
    expect((counts.get('large') ?? 0) / 2000).toBeCloseTo(0.8, 1)
  })
})
