import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { ClusterTopology } from '../../src/master/topology.ts'
import type { Heartbeat } from '../../src/net/master-api.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { Prng, seeds } from '../support/prng.ts'
import { CLUSTER_ID, TestState } from '../support/test-state.ts'

const ID = volumeId(7)

function server(url: string, directoryId: string, clusterId = ''): FakeVolumeServer {
  const made = new FakeVolumeServer(url, { directoryId, clusterId })
  made.addVolume({ volumeId: ID })
  return made
}

function holders(topology: ClusterTopology): string[] {
  return topology.copies(ID).map(({ node }) => node.location.url)
}

describe('a directory', () => {
  test.each([
    ['of no cluster', '', true],
    ['of this cluster', CLUSTER_ID, true],
    ['of another cluster', 'f'.repeat(32), false],
  ])('%s counts: %s %s', async (_what, clusterId, counts) => {
    await using sim = await TestState.open()
    const { state } = sim.cluster
    sim.apply(server('a:1', 'd', clusterId).beat(true))
    expect(state.hasVolume(ID)).toBe(counts)
    expect(state.topology.node('a:1')?.disks).toHaveLength(counts ? 1 : 0)
    expect(state.topology.node('a:1')?.reportedDisks).toHaveLength(1)
    expect(state.topology.ignoredDirectories().map(({ why }) => why)).toEqual(
      counts ? [] : ['foreign'],
    )
  })

  test('served by two at once counts where it was first, even while that one is away', () => {
    const topology = new ClusterTopology()
    const [first, twin] = [server('z:1', 'd'), server('a:1', 'd')]
    topology.apply(first.beat(true), 0)
    topology.apply(twin.beat(true), 0)
    expect(holders(topology)).toEqual(['z:1'])
    topology.apply(first.beat(false), 0)
    topology.markDown('z:1')
    expect(holders(topology)).toEqual(['z:1'])
    expect(topology.node('a:1')?.disks).toEqual([])
    topology.apply(twin.beat(false), 0)
    expect(holders(topology)).toEqual(['z:1'])
    // Somebody has decided: the other one will not come back.
    topology.forgetNode('z:1')
    expect(holders(topology)).toEqual(['a:1'])
    expect(topology.ignoredDirectories()).toEqual([])
  })

  test('moved while its server had not been missed yet counts as soon as that one is down', () => {
    const topology = new ClusterTopology()
    topology.apply(server('a:1', 'd').beat(true), 0)
    topology.apply(server('b:1', 'd').beat(true), 0)
    expect(holders(topology)).toEqual(['a:1'])
    expect(topology.ignoredDirectories()).toEqual([
      { directoryId: 'd', url: 'b:1', why: 'twice', other: 'a:1' },
    ])
    const change = topology.markDown('a:1')
    expect([...change.movedVolumeIds]).toEqual([ID])
    expect(holders(topology)).toEqual(['b:1'])
    expect(topology.ownerOf('d')?.location.url).toBe('b:1')
  })

  test('moved to a server that is up leaves nothing behind on the one that is back without it', () => {
    const topology = new ClusterTopology()
    const a = server('a:1', 'd')
    topology.apply(a.beat(true), 0)
    topology.markDown('a:1')
    topology.apply(server('b:1', 'd').beat(true), 0)
    expect(holders(topology)).toEqual(['b:1'])
    a.volumes.clear()
    a.directoryId = 'new'
    topology.apply(a.beat(true), 0)
    expect(holders(topology)).toEqual(['b:1'])
    expect(topology.node('a:1')?.disks).toHaveLength(1)
  })

  // Goal: a directory counts on one server at most, and on some server that is up and has it if
  // there is one without a twin; disks and copies agree. Method: random joins, ends and moves of
  // directories that nobody has twice, against a map.
  test.each(seeds(50))('that is never copied counts where it is now (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const topology = new ClusterTopology()
    const urls = ['a:1', 'b:1', 'c:1']
    const where = new Map<string, string>()
    const up = new Set<string>()
    const beatOf = (url: string): Heartbeat => {
      const base = new FakeVolumeServer(url).beat(true)
      const mine = ['d1', 'd2', 'd3', 'd4'].filter((id) => where.get(id) === url)
      const disks = mine.flatMap((directoryId) => ({ ...diskOf(base), directoryId }))
      return { ...base, disks }
    }
    for (let step = 0; step < 100; step++) {
      const url = prng.pick(urls)
      if (prng.chance(0.3)) {
        topology.markDown(url)
        up.delete(url)
      } else if (prng.chance(0.4) && !up.has(url)) {
        // A directory can be taken from a server that is not running only.
        const id = prng.pick(['d1', 'd2', 'd3', 'd4'])
        const holder = where.get(id)
        if (holder === undefined || !up.has(holder)) where.set(id, url)
      } else {
        topology.apply(beatOf(url), 0)
        up.add(url)
      }
      for (const [id, holder] of where) {
        if (up.has(holder)) expect(topology.ownerOf(id)?.location.url).toBe(holder)
      }
      for (const each of urls) {
        if (!up.has(each)) continue
        const disks = topology.node(each)?.disks.map(({ directoryId }) => directoryId)
        expect(disks).toEqual(beatOf(each).disks.map(({ directoryId }) => directoryId))
      }
    }
  })
})

function diskOf(beat: Heartbeat) {
  return beat.disks[0] ?? expect.fail()
}
