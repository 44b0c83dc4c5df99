import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { shardPath } from '../../src/storage/shard-paths.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import {
  CodedNodes,
  commitStripe,
  copyCommand,
  dataOf,
  encodeCommand,
  fillVolume,
  RUN,
  readBytes,
  SIZES,
  shardCommand,
  THREE_AND_TWO,
} from './coded-nodes.ts'
import { changedPeer, collect, fid, LocalCluster, LocalNode } from './local-node.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

const NEWER = '1700000000000000002'

async function expectAll(api: LocalNode['api'], count = 9): Promise<void> {
  for (let needle = 1; needle <= count; needle++) {
    expect((await readBytes(api, needle)).equals(dataOf(needle)), `needle ${needle}`).toBe(true)
  }
}

const REAL_MS = 20

describe('needles of a coded volume', () => {
  test('are read at every server with shards, with all they know', async () => {
    await using coded = await CodedNodes.open()
    for (const { api, opened } of coded.nodes) {
      expect(opened.store.find(vid(3))).toBeUndefined()
      await expectAll(api)
      for (const absent of [10, 99]) {
        await expect(readBytes(api, absent)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
      }
      const request = { fileId: fid(3, 2), range: undefined, readDeleted: true, readToken: '' }
      await using content = await api.read(request, SIGNAL)
      expect(content).toMatchObject({
        dataBytes: 100,
        metadata: { name: 'file 2.txt', mime: 'text/plain', lastModifiedS: 1_600_000_000 },
      })
      const foreign = { ...request, fileId: fid(3, 2, 8) }
      await expect(api.read(foreign, SIGNAL)).rejects.toMatchObject({ code: 'COOKIE_MISMATCH' })
    }
  })

  test('of all sizes are read in part', async () => {
    await using coded = await CodedNodes.open({ needleCount: 9 })
    const { api } = coded.at(4)
    for (const [index, sizeBytes] of SIZES.entries()) {
      const needle = index + 1
      const data = dataOf(needle)
      const middle = Math.floor(sizeBytes / 2)
      for (const [start, end] of [
        [0, 0],
        [0, 1],
        [sizeBytes - 1, sizeBytes],
        [middle, Math.min(sizeBytes, middle + 400_000)],
      ] as const) {
        const got = await readBytes(api, needle, { start, end })
        expect(got.equals(data.subarray(start, end)), `${sizeBytes}: ${start} to ${end}`).toBe(true)
      }
      const beyond = { start: 0, end: sizeBytes + 1 }
      await expect(readBytes(api, needle, beyond)).rejects.toMatchObject({ code: 'RANGE_INVALID' })
    }
  })

  test('are read while as many servers as there are parity shards are away, and no more', async () => {
    await using coded = await CodedNodes.open()
    for (const port of [1, 3, 4]) coded.isolate(port)
    await expect(readBytes(coded.at(5).api, 8)).rejects.toMatchObject({ code: 'SHARDS_LOST' })
    coded.mend(4)
    for (const port of [2, 4, 5]) await expectAll(coded.at(port).api)
  })

  test('do not wait for a server that hangs', async () => {
    await using coded = await CodedNodes.open()
    const { clock, nodes } = coded.cluster
    const { api, location } = coded.at(1)
    const hung = { ...api.shards, readShard: () => new Promise<never>(() => undefined) }
    nodes.set(location.url, changedPeer(api, { shards: hung as never }))
    let read: Buffer | undefined
    void readBytes(coded.at(2).api, 4).then((bytes) => {
      read = bytes
    })
    const startedMs = clock.monotonicMs()
    for (let turn = 0; turn < 145 && read === undefined; turn++) {
      await clock.advance(20)
      // The codec works in real time, on threads of its own.
      await sleep(REAL_MS)
    }
    expect(read?.equals(dataOf(4))).toBe(true)
    const waitedMs = clock.monotonicMs() - startedMs
    expect(waitedMs).toBeGreaterThanOrEqual(LIMITS.shardSlowMs.value)
    expect(waitedMs).toBeLessThan(LIMITS.readElsewhereMs.value)
  })

  test('come back with a server that hung, when there is no way around it', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 2 })
    const { clock, nodes } = coded.cluster
    const { api, location } = coded.at(1)
    const hung = { ...api.shards, readShard: () => new Promise<never>(() => undefined) }
    nodes.set(location.url, changedPeer(api, { shards: hung as never }))
    let outcome: unknown
    const { needles } = coded.at(2).opened
    needles.read(fid(3, 8), false).then(
      () => (outcome = 'read'),
      (error: unknown) => (outcome = error),
    )
    const startedMs = clock.monotonicMs()
    while (outcome === undefined && clock.monotonicMs() - startedMs < 20_000) {
      await clock.advance(50)
      await sleep(1)
    }
    expect(outcome).toMatchObject({ code: 'SHARDS_LOST' })
    coded.mend(1)
    // It is not avoided, as it would be if others could take its place.
    expect(await needles.read(fid(3, 8), false)).toMatchObject({ dataBytes: 1_048_577 })
  })

  test('are asked of another server by one that reaches too few shards', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 2 })
    const { api, location } = coded.at(1)
    const none = { readShard: () => Promise.reject(new StoreError('UNAVAILABLE', 'no way')) }
    coded.cluster.nodes.set(location.url, changedPeer(api, { shards: none as never }))
    // Node 1 has three of the shards itself.
    expect((await readBytes(coded.at(2).api, 8)).equals(dataOf(8))).toBe(true)
    const request = { fileId: fid(3, 8), range: undefined, readDeleted: false, readToken: '' }
    const forwarded = coded.at(2).api.read({ ...request, isForwarded: true }, SIGNAL)
    await expect(forwarded).rejects.toMatchObject({ code: 'SHARDS_LOST' })
  })

  test('come right out of shards with flipped bits, which are reported', async () => {
    await using coded = await CodedNodes.open()
    for (const port of [1, 2]) {
      const node = coded.at(port)
      const [set] = node.opened.store.shardSets(vid(3))
      if (set === undefined) throw new Error('no shards')
      const path = shardPath(set.paths, port - 1)
      for (let at = 50; at < set.geometry.shardBytes; at += 40_000) node.disk.flipBit(path, at, 2)
    }
    for (const { api } of coded.nodes) await expectAll(api)
    // Each server knows what is bad on it; the master is told by whoever noticed.
    const [bad] = coded.at(1).opened.reports.shards()
    expect(bad).toMatchObject({ shards: [0], badShards: [0] })
    await coded.cluster.clock.advance(2_000)
    const kinds = new Set(
      coded.cluster.master.dirty.map(({ kind, volumeId: id }) => `${id} ${kind}`),
    )
    expect([...kinds]).toEqual(['3 check'])
    expect(coded.cluster.master.dirty.map(({ reportedBy }) => reportedBy)).toContain('node:3')
  })

  test('are read after a restart', async () => {
    await using coded = await CodedNodes.open()
    const node = coded.at(2)
    await node.close()
    await node.open()
    await expectAll(node.api)
  })

  test('are found where a shard went, and the master is asked once a second', async () => {
    await using coded = await CodedNodes.open()
    const { master, clock } = coded.cluster
    await expectAll(coded.at(5).api)
    const [from, to] = [coded.at(1), coded.at(2)]
    await collect(to.api.shards.copyShards(copyCommand([0], from.location), SIGNAL))
    await from.api.shards.deleteShards(shardCommand([0]), SIGNAL)
    const places = coded.places.map((place) =>
      place.shard === 0 ? { ...place, location: to.location } : place,
    )
    commitStripe(master, THREE_AND_TWO, places)
    await clock.advance(2_000)
    const before = master.lookupCount
    await expectAll(coded.at(5).api)
    expect(master.lookupCount).toBe(before + 1)
    expect(coded.at(5).opened.locations.peek(vid(3))?.stripe?.shards[0]?.location.url).toBe(
      'node:2',
    )
    // It is nowhere now.
    await to.api.shards.deleteShards(shardCommand([0]), SIGNAL)
    for (let times = 0; times < 5; times++) await expectAll(coded.at(5).api)
    expect(master.lookupCount).toBe(before + 1)
    await clock.advance(2_000)
    await expectAll(coded.at(5).api)
    expect(master.lookupCount).toBe(before + 2)
  })
})

describe('which shards count', () => {
  /** A volume on node 1, and all its shards there, twice; node 2 has the older ones too. */
  async function open() {
    const cluster = new LocalCluster()
    const one = await LocalNode.open(cluster, 1)
    const two = await LocalNode.open(cluster, 2)
    await fillVolume(one.api, 9)
    await collect(one.api.shards.encodeVolume(encodeCommand(THREE_AND_TWO), SIGNAL))
    await one.api.delete({ fileId: fid(3, 1), writeToken: '', isReplica: false }, SIGNAL)
    await collect(one.api.shards.encodeVolume(encodeCommand(THREE_AND_TWO, NEWER), SIGNAL))
    const all = [0, 1, 2, 3, 4]
    await collect(two.api.shards.copyShards(copyCommand(all, one.location), SIGNAL))
    const commit = (node: LocalNode, runId: string): void => {
      const places = all.map((shard) => ({ shard, location: node.location }))
      commitStripe(cluster.master, THREE_AND_TWO, places, runId)
      for (const { opened } of [one, two]) opened.locations.expire(vid(3))
    }
    const close = async (): Promise<void> => {
      await one[Symbol.asyncDispose]()
      await two[Symbol.asyncDispose]()
    }
    return { cluster, one, two, commit, [Symbol.asyncDispose]: close }
  }

  test('none, while the volume has copies: they are asked instead', async () => {
    await using opened = await open()
    const { one, two, cluster } = opened
    cluster.master.known.set(vid(3), [one.location])
    // Needle 1 lives in the older shards, which do not count.
    await expect(readBytes(two.api, 1)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    expect((await readBytes(two.api, 4)).equals(dataOf(4))).toBe(true)
    expect(one.opened.store.get(vid(3)).volume.stats.requestCount).toBeGreaterThan(10)
  })

  test('a copy on the same server goes before them', async () => {
    await using opened = await open()
    const { one } = opened
    const before = one.opened.store.get(vid(3)).volume.stats.requestCount
    expect((await readBytes(one.api, 4)).equals(dataOf(4))).toBe(true)
    expect(one.opened.store.get(vid(3)).volume.stats.requestCount).toBe(before + 1)
  })

  test('those of the run that the master names', async () => {
    await using opened = await open()
    const { one, two, commit, cluster } = opened
    await one.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    commit(one, RUN)
    expect((await readBytes(one.api, 1)).equals(dataOf(1))).toBe(true)
    commit(one, NEWER)
    await cluster.clock.advance(1_000)
    await expect(readBytes(one.api, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    // The other server has shards of the older run alone.
    expect((await readBytes(two.api, 4)).equals(dataOf(4))).toBe(true)
    expect(two.opened.store.shardSets(vid(3))[0]?.stats.requestCount).toBe(0)
  })

  test('those of the newest run, while nobody can say', async () => {
    await using opened = await open()
    const { one, cluster } = opened
    await one.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    cluster.master.known.clear()
    expect((await readBytes(one.api, 4)).equals(dataOf(4))).toBe(true)
    await expect(readBytes(one.api, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
  })

  test('a volume of which there is nothing here is read from those who have shards of it', async () => {
    await using opened = await open()
    const { one, commit, cluster } = opened
    await one.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    commit(one, NEWER)
    await using three = await LocalNode.open(cluster, 3)
    const request = { fileId: fid(3, 4), range: undefined, readDeleted: false, readToken: '' }
    await using content = await three.opened.needles.fetch(request, SIGNAL)
    expect(Buffer.concat(await collect(content.data)).equals(dataOf(4))).toBe(true)
    expect(three.opened.needles.isLocal(volumeId(3))).toBe(false)
    expect(one.opened.needles.isLocal(volumeId(3))).toBe(true)
  })
})
