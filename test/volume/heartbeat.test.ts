import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { type Directories, HeartbeatLink } from '../../src/volume/heartbeat.ts'
import { Prng } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL, toId } from '../support/volume-model.ts'
import { encodeCommand, fillVolume, RUN, shardCommand, THREE_AND_TWO } from './coded-nodes.ts'
import type { FakeMaster } from './fake-master.ts'
import { collect, fid, LocalCluster, LocalNode } from './local-node.ts'

interface TestDirectories extends Directories {
  locations: { readonly clusterId: string }[]
  readonly claimed: string[]
}

function directories(): TestDirectories {
  const claimed: string[] = []
  return {
    locations: [{ clusterId: '' }, { clusterId: '' }],
    claimed,
    async claim(clusterId) {
      claimed.push(clusterId)
      this.locations = this.locations.map((old) => (old.clusterId === '' ? { clusterId } : old))
    },
  }
}

async function openLink() {
  const errors: string[] = []
  const logger = { ...silentLogger, error: (event: string) => void errors.push(event) }
  const served = directories()
  const cluster = new LocalCluster()
  const node = await LocalNode.open(cluster, 1)
  const { clock, master } = cluster
  const link = new HeartbeatLink({
    master,
    masterName: 'fake',
    reports: node.opened.reports,
    epochs: node.opened.epochs,
    directories: served,
    clock,
    logger,
    random: new Prng(1),
    location: () => node.location,
    inFlightCount: () => 0,
  })
  const close = async () => {
    await link[Symbol.asyncDispose]()
    await node[Symbol.asyncDispose]()
  }
  return { cluster, errors, served, clock, node, master, link, [Symbol.asyncDispose]: close }
}

const ids = (volumes: readonly { readonly volumeId: number }[] = []) =>
  volumes.map(({ volumeId }) => volumeId)

/** The last beat that said anything of shards. */
function lastShards({ beats }: FakeMaster) {
  return beats.findLast(({ shards = [] }) => shards.length > 0)?.shards
}

describe('HeartbeatLink', () => {
  test('tells of shards as of volumes: all at first, then what changed or went', async () => {
    await using test = await openLink()
    const { clock, node, master, link } = test
    await fillVolume(node.api, 3)
    await collect(node.api.shards.encodeVolume(encodeCommand(THREE_AND_TWO), SIGNAL))
    const all = [0, 1, 2, 3, 4]
    const whole = { volumeId: 3, runId: RUN, shards: all, badShards: [], liveNeedles: 3 }
    await clock.advance(1_000)
    expect(lastShards(master)).toMatchObject([whole])
    expect(master.beats.at(-1)).toMatchObject({ isFull: false })
    master.failure = new StoreError('UNAVAILABLE', 'gone')
    await clock.advance(1_000)
    master.failure = undefined
    await clock.advance(3_000)
    const full = master.beats.findLast(({ isFull }) => isFull)
    expect(full).toMatchObject({ isFull: true, shards: [whole] })
    // The highest id is known of the shards alone.
    await node.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    link.nudge()
    await clock.advance(50)
    expect(master.beats.at(-1)).toMatchObject({ removedVolumeIds: [3], shards: [] })
    expect(master.beats.at(-1)?.highestNeedleId).toEqual({ hi: 0, lo: 3 })

    const request = { fileId: fid(3, 2), writeToken: '', isReplica: true }
    await node.api.delete(request, SIGNAL)
    await clock.advance(1_000)
    const told = master.beats.flatMap(({ shards = [] }) => shards)
    expect(told.at(-1)).toMatchObject({ shards: all, liveNeedles: 2 })
    await node.api.shards.deleteShards(shardCommand([0, 3]), SIGNAL)
    await clock.advance(1_000)
    expect(lastShards(master)).toMatchObject([{ runId: RUN, shards: [1, 2, 4] }])
    await node.api.shards.deleteShards(shardCommand([1, 2, 4]), SIGNAL)
    await clock.advance(1_000)
    expect(lastShards(master)).toMatchObject([{ runId: RUN, shards: [], badShards: [] }])
    const { length } = master.beats
    await clock.advance(1_000)
    expect(master.beats).toHaveLength(length + 1)
    expect(master.beats.at(-1)?.shards).toEqual([])
  })

  test('tells all there is first, then in every interval what changed', async () => {
    await using test = await openLink()
    const { clock, node, master } = test
    await node.allocate(3)
    await node.allocate(4)
    await clock.advance(0)
    expect(master.beats).toHaveLength(1)
    expect(master.beats[0]).toMatchObject({ isFull: true, removedVolumeIds: [], isLeaving: false })

    await clock.advance(1000)
    // Digests become known on the way.
    await clock.advance(1000)
    const { length } = master.beats
    await node.put(4, 1, 'one')
    await clock.advance(1000)
    expect(master.beats).toHaveLength(length + 1)
    expect(master.beats.at(-1)).toMatchObject({ isFull: false })
    expect(ids(master.beats.at(-1)?.volumes)).toEqual([4])
    expect(master.beats.at(-1)?.volumes[0]).toMatchObject({ liveNeedles: 1, state: 'writable' })

    await node.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    await clock.advance(1000)
    expect(master.beats.at(-1)?.removedVolumeIds).toEqual([3])
    await clock.advance(1000)
    expect(master.beats.at(-1)).toMatchObject({ removedVolumeIds: [], isFull: false })
  })

  test('what a nudge tells is on its way 50 ms later, however many nudges there are', async () => {
    await using test = await openLink()
    const { clock, node, master, link } = test
    await clock.advance(0)
    await node.allocate(3)
    link.nudge()
    await clock.advance(49)
    link.nudge()
    await node.allocate(4)
    expect(master.beats).toHaveLength(1)
    await clock.advance(1)
    expect(ids(master.beats.at(-1)?.volumes)).toEqual([3, 4])
    expect(master.beats).toHaveLength(2)
    await clock.advance(900)
    expect(master.beats).toHaveLength(2)
  })

  test('keeps to the interval the master asks for', async () => {
    await using test = await openLink()
    const { clock, master } = test
    master.answer = { ...master.answer, intervalMs: 200 }
    await clock.advance(5000)
    expect(master.beats.length).toBeGreaterThanOrEqual(20)
    const { length } = master.beats
    master.answer = { ...master.answer, intervalMs: 0 }
    await clock.advance(1000)
    expect(master.beats.length - length).toBe(5)
  })

  test('writes down the epoch of a leader, not that of others', async () => {
    await using test = await openLink()
    const { clock, node, master } = test
    master.answer = { ...master.answer, isLeader: false, epoch: 9, intervalMs: 100 }
    await clock.advance(300)
    expect(node.opened.epochs.highest).toBe(0)
    expect(test.link.isHeardByLeader).toBe(false)
    master.answer = { ...master.answer, isLeader: true, epoch: 9 }
    await clock.advance(300)
    expect(node.opened.epochs.highest).toBe(9)
    expect(node.disk.contents('/a/epoch').toString()).toBe('9\n')
    expect(test.link.isHeardByLeader).toBe(true)
    expect(master.beats.at(-1)?.epoch).toBe(9)
    await expect(node.allocate(3, '000', 8)).rejects.toMatchObject({ code: 'EPOCH_STALE' })
  })

  test('a leader of an old epoch does not make it ready', async () => {
    await using test = await openLink()
    const { clock, node, master } = test
    await node.opened.epochs.obey(5)
    await clock.advance(5000)
    expect(master.beats.length).toBeGreaterThan(1)
    expect(test.link.isHeardByLeader).toBe(false)
  })

  test('is not ready any more after three intervals of silence, and is again when heard', async () => {
    await using test = await openLink()
    const { clock, master, link } = test
    await clock.advance(10)
    expect(link.isHeardByLeader).toBe(true)
    master.failure = new StoreError('UNAVAILABLE', 'away')
    await clock.advance(2500)
    expect(link.isHeardByLeader).toBe(true)
    await clock.advance(1500)
    expect(link.isHeardByLeader).toBe(false)
    master.failure = undefined
    await clock.advance(10_000)
    expect(link.isHeardByLeader).toBe(true)
  })

  test('after a broken stream it tells all there is again', async () => {
    await using test = await openLink()
    const { clock, node, master } = test
    await node.allocate(3)
    await clock.advance(2000)
    master.failure = new StoreError('UNAVAILABLE', 'away')
    await clock.advance(20_000)
    expect(master.streamCount).toBeLessThan(20)
    master.failure = undefined
    const { length } = master.beats
    await clock.advance(8000)
    expect(master.beats[length]).toMatchObject({ isFull: true })
    expect(ids(master.beats[length]?.volumes)).toEqual([3])
  })

  test('says that it leaves, and ends', async () => {
    await using test = await openLink()
    const { clock, master, link } = test
    await clock.advance(10)
    await link.leave(1000)
    expect(master.beats.at(-1)?.isLeaving).toBe(true)
    expect(master.streamCount).toBe(1)
    await clock.advance(60_000)
    expect(master.streamCount).toBe(1)
  })

  test('leaves at once when no master listens', async () => {
    await using test = await openLink()
    test.master.failure = new StoreError('UNAVAILABLE', 'away')
    await test.clock.advance(3000)
    await test.link.leave(1000)
  })

  test('reports the highest needle id ever seen, deleted and sealed ones too', async () => {
    await using test = await openLink()
    const { clock, node, master } = test
    await node.allocate(3)
    await node.allocate(4)
    await node.put(3, 700, 'x')
    await node.put(4, 2 ** 40, 'x')
    await node.delete(4, 2 ** 40)
    await node.api.sealVolume({ epoch: 1, volumeId: vid(4) }, SIGNAL)
    await clock.advance(6000)
    expect(master.beats.at(-1)?.highestNeedleId).toEqual(toId(2 ** 40))
  })

  test('claims directories without a cluster for the one of the leader, again and again', async () => {
    await using test = await openLink()
    const { clock, master, served } = test
    served.locations = [{ clusterId: 'ours' }, { clusterId: '' }, { clusterId: 'theirs' }]
    master.answer = { ...master.answer, isLeader: false, clusterId: 'ours' }
    await clock.advance(3000)
    expect(served.claimed).toEqual([])
    master.answer = { ...master.answer, isLeader: true }
    await clock.advance(5000)
    expect(new Set(served.claimed)).toEqual(new Set(['ours']))
    expect(test.link.isHeardByLeader).toBe(true)
    expect(test.errors).toEqual([])
  })

  test('obeys no master while all directories belong to another cluster, and says so', async () => {
    await using test = await openLink()
    const { clock, master, node, served } = test
    served.locations = [{ clusterId: 'theirs' }, { clusterId: 'others' }]
    master.answer = { ...master.answer, epoch: 7, clusterId: 'ours' }
    await clock.advance(5000)
    expect(test.errors).toEqual(['heartbeat.directories_foreign'])
    expect(test.link.isHeardByLeader).toBe(false)
    expect(node.opened.epochs.highest).toBe(0)
    await expect(node.allocate(3, '000', 7)).rejects.toMatchObject({
      code: 'EPOCH_STALE',
      message: expect.stringContaining('another cluster'),
    })
    expect(served.claimed).toEqual([])

    served.locations = [{ clusterId: 'theirs' }, { clusterId: '' }]
    await clock.advance(5000)
    expect(new Set(served.claimed)).toEqual(new Set(['ours']))
    expect(test.link.isHeardByLeader).toBe(true)
    await node.allocate(3, '000', 7)
  })
})
