import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { TTL_NONE } from '../../src/base/ttl.ts'
import { GIB, MIB } from '../../src/base/units.ts'
import { ClusterState } from '../../src/master/cluster-state.ts'
import { ANYWHERE } from '../../src/master/layout-key.ts'
import type { VolumeReport } from '../../src/net/master-api.ts'
import { EMPTY_REPORT, FakeVolumeServer } from '../support/fake-volume-server.ts'

const TWO = parseReplicaPlacement('001')
const ONE = parseReplicaPlacement('000')
const SIZE = GIB
const ID = volumeId(7)

/** Two servers with a copy each of volume 7, replication 001, changed as the test wants. */
function twoCopies(
  change: { a?: Partial<VolumeReport>; b?: Partial<VolumeReport>; isLeaving?: boolean } = {},
) {
  const state = new ClusterState(
    { feed: { onMoved: () => undefined } },
    { volumeSizeMaxBytes: SIZE },
  )
  const a = new FakeVolumeServer('a:1')
  const b = new FakeVolumeServer('b:1')
  a.addVolume({ ...EMPTY_REPORT, volumeId: ID, replication: TWO, ...change.a })
  b.addVolume({ ...EMPTY_REPORT, volumeId: ID, replication: TWO, ...change.b })
  b.isLeaving = change.isLeaving ?? false
  state.applyHeartbeat(a.beat(true), 0)
  state.applyHeartbeat(b.beat(true), 0)
  const layout = state.layout({ collection: '', replication: TWO, ttl: TTL_NONE })
  const candidates = () => layout?.candidates(ANYWHERE, new Set()) ?? []
  return { state, a, b, layout, candidates }
}

describe('a volume', () => {
  test('with all its copies up and writable takes writes', () => {
    const { candidates } = twoCopies()
    expect(candidates().map((candidate) => candidate.volumeId)).toEqual([ID])
  })

  test.each([
    ['a copy is sealed', { b: { state: 'sealed' } }],
    ['a copy is read-only', { b: { state: 'read-only' } }],
    ['a copy has failed', { b: { state: 'failed' } }],
    ['a copy is damaged', { b: { state: 'damaged' } }],
    ['a copy is as large as it may be', { b: { datBytes: SIZE } }],
    ['copies are of different collections', { b: { collection: 'other' } }],
    ['it has a copy too many', { a: { replication: ONE }, b: { replication: ONE } }],
    ['copies are of different replications', { b: { replication: ONE } }],
    ['a server is leaving', { isLeaving: true }],
  ] as const)('takes none when %s', (_why, change) => {
    const { state } = twoCopies(change)
    const writable = [...state.layouts].flatMap((layout) => layout.writableVolumeIds())
    expect(writable).toEqual([])
  })

  test('takes none while one server is down, and some again when it is back', () => {
    const { state, b, candidates } = twoCopies()
    state.markDown('b:1')
    expect(candidates()).toEqual([])
    state.applyHeartbeat(b.beat(true), 0)
    expect(candidates()).toHaveLength(1)
  })

  test('takes none when a server has lost its copy', () => {
    const { state, b, candidates } = twoCopies()
    b.volumes.clear()
    state.applyHeartbeat(b.beat(true), 0)
    expect(candidates()).toEqual([])
  })

  test('shares its disk with what was assigned of other volumes', () => {
    const { state, a, b, candidates } = twoCopies()
    const other = volumeId(8)
    for (const server of [a, b]) {
      server.addVolume({ ...EMPTY_REPORT, volumeId: other, replication: TWO })
      server.usedBytes = 100 * GIB - 101 * MIB
      state.applyHeartbeat(server.beat(false), 0)
    }
    expect(candidates()[0]?.remainingBytes).toBe(100 * MIB)
    state.assigned.add(other, state.topology.copies(other), 30 * MIB)
    expect(candidates().map(({ remainingBytes }) => remainingBytes)).toEqual([70 * MIB, 70 * MIB])
  })

  test('takes none while it is held, whatever is reported', () => {
    const { state, a, candidates } = twoCopies()
    state.hold(ID)
    state.applyHeartbeat(a.beat(true), 0)
    expect(candidates()).toEqual([])
    state.release(ID)
    expect(candidates()).toHaveLength(1)
  })

  test('has as much room as its fullest disk, and none beyond the reserve', () => {
    const { state, b, candidates } = twoCopies()
    b.usedBytes = 100 * GIB - 51 * MIB
    state.applyHeartbeat(b.beat(false), 0)
    expect(candidates()[0]?.remainingBytes).toBe(50 * MIB)
    b.usedBytes = 100 * GIB - MIB
    state.applyHeartbeat(b.beat(false), 0)
    expect(candidates()).toEqual([])
  })

  test('counts what was assigned until it is reported, halving it with each heartbeat', () => {
    const { state, a, candidates } = twoCopies()
    const copies = state.topology.copies(ID)
    const fresh = candidates()[0]?.remainingBytes ?? 0
    state.assigned.add(ID, copies, 400 * MIB)
    expect(candidates()[0]?.remainingBytes).toBe(fresh - 400 * MIB)
    a.write(ID, 300 * MIB)
    state.applyHeartbeat(a.beat(false), 0)
    // 300 MiB of the 400 are written now, and half of the rest is believed to be given up.
    expect(candidates()[0]?.remainingBytes).toBe(fresh - 300 * MIB - 50 * MIB)
    for (let beat = 0; beat < 20; beat++) state.applyHeartbeat(a.beat(false), 0)
    expect(candidates()[0]?.remainingBytes).toBe(fresh - 300 * MIB)
    expect(state.assigned.ofNode('a:1')).toBe(0)
  })

  test('is left 1/256 before it is full', () => {
    const left = SIZE / 256
    const full = twoCopies({ a: { datBytes: SIZE - left } })
    expect(full.candidates()).toEqual([])
    const nearly = twoCopies({ a: { datBytes: SIZE - left - 1 } })
    expect(nearly.candidates()[0]?.remainingBytes).toBe(1)
  })

  test('that is gone leaves no layout behind', () => {
    const { state, a, b } = twoCopies()
    for (const server of [a, b]) {
      server.volumes.clear()
      state.applyHeartbeat(server.beat(false), 0)
    }
    expect([...state.layouts]).toEqual([])
    expect(state.topology.volumeCount).toBe(0)
  })
})
