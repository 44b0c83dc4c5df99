import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { GIB, MIB } from '../../src/base/units.ts'
import { ANYWHERE } from '../../src/master/layout-key.ts'
import type { VolumeReport } from '../../src/net/master-api.ts'
import { FakeVolumeServer } from '../support/fake-volume-server.ts'
import { TestState } from '../support/test-state.ts'

const TWO = parseReplicaPlacement('001')
const THREE = parseReplicaPlacement('002')
const SIZE = GIB
const ID = volumeId(7)

/** Two servers with a copy each of volume 7, replication 001, changed as the test wants. */
async function twoCopies(
  change: { a?: Partial<VolumeReport>; b?: Partial<VolumeReport>; isLeaving?: boolean } = {},
) {
  // Warm only when both have reported, as if both had been known from before.
  const sim = await TestState.open({ volumeSizeMaxBytes: SIZE, isWarm: false })
  const { state } = sim.cluster
  const a = new FakeVolumeServer('a:1')
  const b = new FakeVolumeServer('b:1')
  a.addVolume({ volumeId: ID, replication: TWO, ...change.a })
  b.addVolume({ volumeId: ID, replication: TWO, ...change.b })
  b.isLeaving = change.isLeaving ?? false
  sim.apply(a.beat(true))
  sim.apply(b.beat(true))
  sim.cluster.warmUp.onFullHeartbeat('a:1')
  state.adoptPending()
  const layout = state.layout({ collection: '', replication: TWO, ttl: TTL_NONE })
  const candidates = () => layout?.candidates(ANYWHERE, new Set()) ?? []
  return { sim, state, a, b, layout, candidates }
}

describe('a volume', () => {
  test('with all its copies up and writable takes writes', async () => {
    const { candidates } = await twoCopies()
    expect(candidates().map((candidate) => candidate.volumeId)).toEqual([ID])
  })

  test.each([
    ['a copy is sealed', { b: { state: 'sealed' } }],
    ['a copy is read-only', { b: { state: 'read-only' } }],
    ['a copy has failed', { b: { state: 'failed' } }],
    ['a copy is damaged', { b: { state: 'damaged' } }],
    ['a copy is as large as it may be', { b: { datBytes: SIZE } }],
    ['copies are of different collections', { b: { collection: 'other' } }],
    ['it has a copy too few', { a: { replication: THREE } }],
    ['a server is leaving', { isLeaving: true }],
  ] as const)('takes none when %s', async (_why, change) => {
    const { state } = await twoCopies(change)
    const writable = [...state.layouts].flatMap((layout) => layout.writableVolumeIds())
    expect(writable).toEqual([])
  })

  test('is what it was made as, whatever its copies say of replication', async () => {
    const { candidates } = await twoCopies({ b: { replication: THREE } })
    expect(candidates()).toHaveLength(1)
  })

  test('takes none while one server is down, and some again when it is back', async () => {
    const { sim, b, candidates } = await twoCopies()
    sim.markDown('b:1')
    expect(candidates()).toEqual([])
    sim.apply(b.beat(true))
    expect(candidates()).toHaveLength(1)
  })

  test('takes none when a server has lost its copy', async () => {
    const { sim, b, candidates } = await twoCopies()
    b.volumes.clear()
    sim.apply(b.beat(true))
    expect(candidates()).toEqual([])
  })

  test('shares its disk with what was assigned of other volumes', async () => {
    const { sim, state, a, b, candidates } = await twoCopies()
    const other = volumeId(8)
    for (const server of [a, b]) {
      server.addVolume({ volumeId: other, replication: TWO })
      server.usedBytes = 100 * GIB - 101 * MIB
      sim.apply(server.beat(false))
    }
    expect(candidates()[0]?.remainingBytes).toBe(100 * MIB)
    state.assigned.add(other, state.copies(other), 30 * MIB)
    expect(candidates().map(({ remainingBytes }) => remainingBytes)).toEqual([70 * MIB, 70 * MIB])
  })

  test('takes none while it is held, whatever is reported', async () => {
    const { sim, state, a, candidates } = await twoCopies()
    state.hold(ID)
    sim.apply(a.beat(true))
    expect(candidates()).toEqual([])
    state.release(ID)
    expect(candidates()).toHaveLength(1)
  })

  test('has as much room as its fullest disk, and none beyond the reserve', async () => {
    const { sim, b, candidates } = await twoCopies()
    b.usedBytes = 100 * GIB - 51 * MIB
    sim.apply(b.beat(false))
    expect(candidates()[0]?.remainingBytes).toBe(50 * MIB)
    b.usedBytes = 100 * GIB - MIB
    sim.apply(b.beat(false))
    expect(candidates()).toEqual([])
  })

  test('counts what was assigned until it is reported, halving it with each heartbeat', async () => {
    const { sim, state, a, candidates } = await twoCopies()
    const copies = state.copies(ID)
    const fresh = candidates()[0]?.remainingBytes ?? 0
    state.assigned.add(ID, copies, 400 * MIB)
    expect(candidates()[0]?.remainingBytes).toBe(fresh - 400 * MIB)
    a.write(ID, 300 * MIB)
    sim.apply(a.beat(false))
    // 300 MiB of the 400 are written now, and half of the rest is believed to be given up.
    expect(candidates()[0]?.remainingBytes).toBe(fresh - 300 * MIB - 50 * MIB)
    for (let beat = 0; beat < 20; beat++) sim.apply(a.beat(false))
    expect(candidates()[0]?.remainingBytes).toBe(fresh - 300 * MIB)
    expect(state.assigned.ofNode('a:1')).toBe(0)
  })

  test('is left 1/256 before it is full', async () => {
    const left = SIZE / 256
    const full = await twoCopies({ a: { datBytes: SIZE - left } })
    expect(full.candidates()).toEqual([])
    const nearly = await twoCopies({ a: { datBytes: SIZE - left - 1 } })
    expect(nearly.candidates()[0]?.remainingBytes).toBe(1)
  })

  test('that is gone leaves no layout behind', async () => {
    const { sim, state, a, b } = await twoCopies()
    for (const server of [a, b]) {
      server.volumes.clear()
      sim.apply(server.beat(false))
    }
    expect([...state.layouts]).toEqual([])
    expect([...state.topology.volumeIds]).toEqual([])
  })
})
