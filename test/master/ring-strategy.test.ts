import { expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { GIB } from '../../src/base/units.ts'
import { AssignedBytes } from '../../src/master/assigned-bytes.ts'
import { RingStrategy } from '../../src/master/strategies.ts'
import type { NodeView } from '../../src/master/topology.ts'
import type { Candidate } from '../../src/master/volume-layout.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { Prng } from '../support/prng.ts'

const NAMES = Array.from(
  { length: 100_000 },
  (_, index) => `album-${index % 97}/photo-${index}.jpg`,
)

function node(index: number, diskBytes: number): NodeView {
  const { location } = new FakeVolumeServer(`10.1.0.${index}:8080`)
  const disk = {
    directoryId: `d${index}`,
    path: '/data',
    totalBytes: diskBytes,
    freeBytes: diskBytes,
    reserveBytes: 0,
    quarantinedCount: 0,
    clusterId: '',
  }
  return {
    location,
    state: 'up',
    lastHeardMs: 0,
    disks: [disk],
    reportedDisks: [disk],
    volumes: new Map(),
    shards: new Map(),
    inFlightCount: 0,
  }
}

/** The place of each name when every server has one volume of its own. */
function places(nodes: readonly NodeView[]): string[] {
  const strategy = new RingStrategy({
    nodes: () => nodes,
    assigned: new AssignedBytes(),
    random: new Prng(7),
  })
  const candidates = nodes.map((each, index): Candidate => {
    const copies = [{ node: each, report: undefined as never }]
    return { volumeId: volumeId(index + 1), remainingBytes: GIB, sizeLeftBytes: GIB, copies }
  })
  return NAMES.map((name) => strategy.choose(candidates, name)?.firstUrl ?? '')
}

function shares(found: readonly string[], nodes: readonly NodeView[]): number[] {
  return nodes.map(({ location: { url } }) => {
    const count = found.filter((place) => place === url).length
    return count / (found.length / nodes.length)
  })
}

test('a fifth server takes at most a quarter of the names, and only from the others', () => {
  const nodes = [1, 2, 3, 4, 5].map((index) => node(index, 100 * GIB))
  const before = places(nodes.slice(0, 4))
  const after = places(nodes)
  let moved = 0
  for (const [index, place] of after.entries()) {
    if (place === before[index]) continue
    moved++
    expect(place).toBe(nodes[4]?.location.url)
  }
  expect(moved / NAMES.length).toBeLessThanOrEqual(0.25)
  expect(moved / NAMES.length).toBeGreaterThan(0.15)
})

test.each([3, 4, 5, 8, 12])('names spread over %d servers within a tenth of even', (count) => {
  const nodes = Array.from({ length: count }, (_, index) => node(index + 1, 100 * GIB))
  for (const share of shares(places(nodes), nodes)) {
    expect(share).toBeGreaterThan(0.9)
    expect(share).toBeLessThan(1.1)
  }
})
