import { describe, expect, test, vi } from 'vitest'
import { needleIdFromNumber, volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { MIB } from '../../src/base/units.ts'
import type { ShardApi } from '../../src/net/shard-api.ts'
import { shardPath } from '../../src/storage/shard-paths.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import {
  CodedNodes,
  copyCommand,
  dataOf,
  encodeCommand,
  fillVolume,
  RUN,
  readBytes,
  shardCommand,
  THREE_AND_TWO,
} from './coded-nodes.ts'
import { changedPeer, collect, fid, LocalCluster, LocalNode } from './local-node.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

const run = { volumeId: vid(3), runId: RUN }

/** One server with a volume, and others with nothing. */
async function open(options: { readonly count?: number; readonly directories?: string[] } = {}) {
  const { count = 3, directories = ['/a'] } = options
  const cluster = new LocalCluster()
  const nodes: LocalNode[] = []
  for (let port = 1; port <= count; port++) {
    nodes.push(await LocalNode.open(cluster, port, { directories }))
  }
  const [one, two, three] = nodes
  if (one === undefined || two === undefined || three === undefined) throw new Error('three nodes')
  await fillVolume(one.api, 12)
  const close = async (): Promise<void> => {
    for (const node of nodes) await node[Symbol.asyncDispose]()
  }
  return { cluster, one, two, three, [Symbol.asyncDispose]: close }
}

const encode = (node: LocalNode, scheme = THREE_AND_TWO, runId = RUN) =>
  collect(node.api.shards.encodeVolume(encodeCommand(scheme, runId), SIGNAL))

const copy = (shards: readonly number[], from: LocalNode, to: LocalNode) =>
  collect(to.api.shards.copyShards(copyCommand(shards, from.location), SIGNAL))

const verify = (node: LocalNode, shards: readonly number[] = []) =>
  collect(node.api.shards.verifyShards({ ...run, shards, politeness: 0 }, SIGNAL))

function setOf(node: LocalNode) {
  const [set] = node.opened.store.shardSets(vid(3))
  if (set === undefined) throw new Error('there are no shards')
  return set
}

const ONE_SLICE = { sliceCount: 1, strideBytes: 0 }

async function shardBytes(node: LocalNode, shard: number): Promise<Buffer> {
  const bytes = Buffer.alloc(setOf(node).geometry.shardBytes)
  const set = node.opened.store.shardSets(vid(3)).find((candidate) => candidate.has(shard))
  await set?.read(shard, bytes, 0)
  return bytes
}

function shardsOf(node: LocalNode): readonly number[] {
  return node.opened.store.shardSets(vid(3)).flatMap((set) => set.shards)
}

describe('encodeVolume', () => {
  test('makes all shards, says how far the volume went, and leaves the volume as it is', async () => {
    await using opened = await open()
    const { one } = opened
    const before = one.changedCount
    const extent = one.opened.store.get(vid(3)).volume.extent
    const reports = await encode(one)
    const [directory] = one.opened.reports.disks()
    expect(reports[0]).toMatchObject({ doneBytes: 0, isDone: false, sourceExtent: undefined })
    expect(reports.at(-1)).toMatchObject({
      isDone: true,
      sourceExtent: extent,
      directoryId: directory?.directoryId,
    })
    expect(one.changedCount).toBe(before + 1)
    expect(shardsOf(one)).toEqual([0, 1, 2, 3, 4])
    expect((await readBytes(one.api, 4)).equals(dataOf(4))).toBe(true)
    // Once more: they are there.
    expect((await encode(one)).at(-1)).toMatchObject({ isDone: true, sourceExtent: extent })
    const [report] = await one.api.shards.shardStatus(vid(3), SIGNAL)
    expect(report).toMatchObject({
      ...THREE_AND_TWO,
      runId: RUN,
      volumeId: 3,
      collection: '',
      datBytes: extent.datBytes,
      liveNeedles: 11,
      badShards: [],
      requestsPerS: 0,
    })
    expect(await one.api.shards.shardStatus(volumeId(4), SIGNAL)).toEqual([])
  })

  test('of a volume that is not here fails', async () => {
    await using opened = await open()
    await expect(encode(opened.two)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
  })
})

describe('copyShards', () => {
  test('brings shards with all that belongs to them, and leaves what is there', async () => {
    await using opened = await open()
    const { one, two, three } = opened
    await encode(one)
    const needleIds = [needleIdFromNumber(1), needleIdFromNumber(50)]
    await one.api.shards.journalDeletes({ ...shardCommand([]), needleIds }, SIGNAL)
    const reports = await copy([1, 4], one, two)
    expect(reports.at(-1)).toMatchObject({
      isDone: true,
      totalBytes: 2 * setOf(one).geometry.shardBytes,
    })
    expect(shardsOf(two)).toEqual([1, 4])
    expect(setOf(two).journal()).toEqual(needleIds)
    for (const shard of [1, 4]) {
      expect((await shardBytes(two, shard)).equals(await shardBytes(one, shard))).toBe(true)
    }
    expect((await copy([4], one, two)).at(-1)).toMatchObject({ isDone: true, totalBytes: 0 })
    // From a server that has not the whole run either.
    await copy([4], two, three)
    expect((await shardBytes(three, 4)).equals(await shardBytes(one, 4))).toBe(true)
    expect((await one.api.shards.shardStatus(vid(3), SIGNAL))[0]?.journalDigest).toBe(
      (await three.api.shards.shardStatus(vid(3), SIGNAL))[0]?.journalDigest,
    )
  })

  test('spreads them over the disks, and puts the files beside them on each', async () => {
    await using opened = await open({ directories: ['/a', '/b', '/c'] })
    const { one, two } = opened
    await encode(one)
    await copy([0, 1, 2, 3, 4], one, two)
    const sets = two.opened.store.shardSets(vid(3))
    expect(sets.map(({ shards }) => shards.length).sort()).toEqual([1, 2, 2])
    expect(two.opened.reports.shards().map(({ directoryId }) => directoryId)).toHaveLength(3)
    const needleIds = [needleIdFromNumber(1)]
    await two.api.shards.journalDeletes({ ...shardCommand([]), needleIds }, SIGNAL)
    expect(sets.map((set) => set.journal())).toEqual([needleIds, needleIds, needleIds])
    expect(await collect(two.api.shards.listJournal(run, SIGNAL))).toEqual([needleIds])
    await two.close()
    await two.open()
    expect([...shardsOf(two)].sort()).toEqual([0, 1, 2, 3, 4])
  })

  test('that are bad at their source leaves nothing here', async () => {
    await using opened = await open()
    const { one, two } = opened
    await encode(one)
    one.disk.flipBit(shardPath(setOf(one).paths, 2), 300_000, 1)
    await expect(copy([1, 2], one, two)).rejects.toMatchObject({ code: 'SHARD_CORRUPT' })
    expect(shardsOf(two)).toEqual([1])
    await expect(copy([2], one, opened.three)).rejects.toMatchObject({ code: 'SHARD_CORRUPT' })
    expect(opened.three.opened.store.shardSets(vid(3))).toEqual([])
  })

  test('from a server without them, and to the source itself, fails', async () => {
    await using opened = await open()
    const { one, two, three } = opened
    await encode(one)
    await expect(copy([0], three, two)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    await copy([0], one, two)
    await expect(copy([1], two, three)).rejects.toMatchObject({ code: 'SHARD_NOT_FOUND' })
    await expect(copy([9], one, three)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    await expect(copy([1], two, two)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    expect(three.opened.store.shardSets(vid(3))).toEqual([])
  })
})

describe('rebuildShards', () => {
  test('makes them byte for byte, from what is here and elsewhere, good or bad', async () => {
    await using opened = await open()
    const { one, two, three } = opened
    await encode(one)
    await copy([0, 1], one, two)
    const wanted = [await shardBytes(one, 3), await shardBytes(one, 4)]
    // The first of the sources is bad: a fourth one has to be read.
    two.disk.flipBit(shardPath(setOf(two).paths, 1), 200_000, 1)
    const sources = [
      { shard: 0, location: two.location },
      { shard: 1, location: two.location },
      { shard: 2, location: one.location },
      { shard: 1, location: one.location },
    ]
    const command = { ...copyCommand([3, 4], one.location), sources }
    const reports = await collect(three.api.shards.rebuildShards(command, SIGNAL))
    expect(reports.at(-1)).toMatchObject({ isDone: true })
    expect(shardsOf(three)).toEqual([3, 4])
    expect((await shardBytes(three, 3)).equals(wanted[0] as Buffer)).toBe(true)
    expect((await shardBytes(three, 4)).equals(wanted[1] as Buffer)).toBe(true)
    // The ones here are nearer than those that it names.
    opened.cluster.nodes.delete('node:2')
    await copy([2], one, three)
    opened.cluster.nodes.delete('node:1')
    const again = { ...command, shards: [0, 4], sources: [] }
    await collect(three.api.shards.rebuildShards(again, SIGNAL))
    expect(shardsOf(three)).toEqual([0, 2, 3, 4])
  })

  test('of too few sources fails, and leaves nothing', async () => {
    await using opened = await open()
    const { one, two } = opened
    await encode(one)
    const sources = [0, 1].map((shard) => ({ shard, location: one.location }))
    const command = { ...copyCommand([3], one.location), sources }
    const failed = collect(two.api.shards.rebuildShards(command, SIGNAL))
    await expect(failed).rejects.toMatchObject({ code: 'SHARDS_LOST' })
    expect(two.opened.store.shardSets(vid(3))).toEqual([])
  })
})

describe('verifyShards and healShards', () => {
  test('find bad blocks, report them, and write them anew', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 3, needleCount: 12 })
    const node = coded.at(1)
    expect(shardsOf(node)).toEqual([0, 3])
    expect((await verify(node)).at(-1)).toMatchObject({ isDone: true, badBlocks: [] })
    const good = await shardBytes(node, 0)
    for (const shard of [0, 3]) {
      for (const at of [5, good.length - 1]) {
        node.disk.flipBit(shardPath(setOf(node).paths, shard), at, 7)
      }
    }
    const lastBlock = Math.ceil(good.length / MIB) - 1
    const blocks = [0, lastBlock].filter((block, at, all) => all.indexOf(block) === at)
    const expected = [0, 3].flatMap((shard) => blocks.map((block) => ({ shard, block })))
    expect((await verify(node)).flatMap(({ badBlocks }) => badBlocks)).toEqual(expected)
    expect(node.opened.reports.shards()[0]?.badShards).toEqual([0, 3])
    expect((await verify(node, [3])).flatMap(({ badBlocks }) => badBlocks)).toEqual(
      expected.filter(({ shard }) => shard === 3),
    )
    const command = { epoch: 1, ...run, blocks: expected, sources: coded.places }
    await node.api.shards.healShards(command, SIGNAL)
    expect(node.opened.reports.shards()[0]?.badShards).toEqual([])
    expect((await verify(node)).flatMap(({ badBlocks }) => badBlocks)).toEqual([])
    expect((await shardBytes(node, 0)).equals(good)).toBe(true)
  })

  test('heal nothing with too few others, of shards elsewhere, or of too many blocks', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 5 })
    const node = coded.at(1)
    const heal = (blocks: readonly { shard: number; block: number }[], sources = coded.places) =>
      node.api.shards.healShards({ epoch: 1, ...run, blocks, sources }, SIGNAL)
    const few = heal([{ shard: 0, block: 0 }], coded.places.slice(0, 3))
    await expect(few).rejects.toMatchObject({ code: 'SHARDS_LOST' })
    const other = heal([{ shard: 1, block: 0 }])
    await expect(other).rejects.toMatchObject({ code: 'SHARD_NOT_FOUND' })
    const beyond = heal([{ shard: 0, block: 999 }])
    await expect(beyond).rejects.toMatchObject({ code: 'RANGE_INVALID' })
    const many = Array.from({ length: LIMITS.healBlocksMax.value + 1 }, () => ({
      shard: 0,
      block: 0,
    }))
    await expect(heal(many)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('write the files beside the shards anew when they are damaged', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 3 })
    const node = coded.at(2)
    const { paths } = setOf(node)
    for (const path of [paths.ecx, paths.ecsum, paths.vif]) node.disk.flipBit(path, 20, 1)
    expect((await verify(node)).at(-1)).toMatchObject({ isDone: true, badBlocks: [] })
    await node.close()
    await node.open()
    expect(shardsOf(node)).toEqual([1, 4])
  })
})

describe('decodeVolume', () => {
  test.each([true, false])(
    'makes a volume of what lives, only living: %s, in place of an earlier one',
    async (livingOnly) => {
      await using coded = await CodedNodes.open({ nodeCount: 3 })
      const node = coded.at(2)
      await node.api.delete({ fileId: fid(3, 4), writeToken: '', isReplica: false }, SIGNAL)
      const command = {
        ...copyCommand([], node.location),
        sources: coded.places,
        livingOnly,
      }
      for (let times = 0; times < 2; times++) {
        const reports = await collect(node.api.shards.decodeVolume(command, SIGNAL))
        const [disk] = node.opened.reports.disks()
        expect(reports.at(-1)).toMatchObject({ isDone: true, directoryId: disk?.directoryId })
      }
      const { volume } = node.opened.store.get(vid(3))
      expect(volume.state).toBe('sealed')
      expect(volume.stats.liveNeedles).toBe(10)
      for (const needle of [1, 2, 3, 5, 8, 9]) {
        const request = { id: needleIdFromNumber(needle), cookie: 7, wholeBytesMax: 8 * MIB }
        const found = await volume.read(request)
        if (!('data' in found)) throw new Error('a small needle')
        expect(found.data.equals(dataOf(needle))).toBe(true)
      }
      for (const needle of [4, 10]) {
        await expect(
          volume.read({ id: needleIdFromNumber(needle), cookie: 7 }),
        ).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
      }
    },
  )

  test('works where none of the shards are, and with too few of them not', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 5 })
    await using six = await LocalNode.open(coded.cluster, 6)
    const command = { ...copyCommand([], six.location), livingOnly: false }
    const sources = coded.places.slice(0, 2)
    const few = collect(six.api.shards.decodeVolume({ ...command, sources }, SIGNAL))
    await expect(few).rejects.toMatchObject({ code: 'SHARDS_LOST' })
    expect(six.opened.store.find(vid(3))).toBeUndefined()
    coded.isolate(1)
    coded.isolate(4)
    await collect(six.api.shards.decodeVolume({ ...command, sources: coded.places }, SIGNAL))
    expect((await readBytes(six.api, 4)).equals(dataOf(4))).toBe(true)
    expect(six.opened.store.shardSets(vid(3))).toEqual([])
  })

  test('never replaces a copy that counts', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 3 })
    const node = coded.at(1)
    const command = { ...copyCommand([], node.location), sources: coded.places, livingOnly: false }
    await collect(node.api.shards.decodeVolume(command, SIGNAL))
    coded.cluster.master.stripes.clear()
    coded.cluster.master.known.set(vid(3), [node.location])
    const refused = collect(node.api.shards.decodeVolume(command, SIGNAL))
    await expect(refused).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    expect((await readBytes(node.api, 4)).equals(dataOf(4))).toBe(true)
  })
})

describe('shards', () => {
  test('are removed one by one, and with the last one all that belongs to them', async () => {
    await using opened = await open({ directories: ['/a', '/b'] })
    const { one, two } = opened
    await encode(one)
    await copy([0, 1, 2], one, two)
    const { shards } = two.api
    await shards.deleteShards(shardCommand([0, 4]), SIGNAL)
    expect([...shardsOf(two)].sort()).toEqual([1, 2])
    await shards.deleteShards(shardCommand([1, 2]), SIGNAL)
    expect(two.opened.store.shardSets(vid(3))).toEqual([])
    await shards.deleteShards(shardCommand([1, 2]), SIGNAL)
    await two.close()
    await two.open()
    expect(two.opened.store.shardSets(vid(3))).toEqual([])
  })

  test('are read in messages and in streams', async () => {
    await using opened = await open()
    const { one } = opened
    await encode(one)
    const { shards } = one.api
    const whole = await shardBytes(one, 1)
    const read = (offsetBytes: number, lengthBytes: number, shard = 1, slices = ONE_SLICE) =>
      shards.readShard({ ...run, shard, offsetBytes, lengthBytes, ...slices }, SIGNAL)
    expect((await read(17, 5_000)).equals(whole.subarray(17, 5_017))).toBe(true)
    for (const [offset, length] of [
      [0, 0],
      [0, LIMITS.shardReadMax.value + 1],
      [whole.length - 1, 2],
      [-1, 2],
    ] as const) {
      await expect(read(offset, length)).rejects.toMatchObject({ code: 'RANGE_INVALID' })
    }
    const apart = await read(17, 10, 1, { sliceCount: 3, strideBytes: 100 })
    const slices = [17, 117, 217].map((at) => whole.subarray(at, at + 10))
    expect(apart.equals(Buffer.concat(slices))).toBe(true)
    const pageMax = LIMITS.shardReadMax.value
    for (const [offset, sliceCount, strideBytes] of [
      [0, 0, 100],
      [0, 2, 9],
      [0, 2, pageMax],
      [0, 2 ** 32 - 1, 100],
      [whole.length - 109, 2, 100],
    ] as const) {
      const reading = read(offset, 10, 1, { sliceCount, strideBytes })
      await expect(reading).rejects.toMatchObject({ code: 'RANGE_INVALID' })
    }
    await expect(read(0, 1, 7)).rejects.toMatchObject({ code: 'SHARD_NOT_FOUND' })
    const stream = (offsetBytes: number, lengthBytes: number) =>
      shards.streamShard({ ...run, shard: 1, offsetBytes, lengthBytes }, SIGNAL)
    const pieces: Buffer[] = []
    for await (const piece of stream(3, whole.length - 3)) pieces.push(Buffer.from(piece))
    expect(Buffer.concat(pieces).equals(whole.subarray(3))).toBe(true)
    for await (const _ of stream(0, whole.length)) break
    await expect(collect(stream(0, whole.length + 1))).rejects.toMatchObject({
      code: 'RANGE_INVALID',
    })
    const other = { volumeId: vid(3), runId: '5' }
    const absent = { code: 'VOLUME_NOT_FOUND' }
    const place = { ...other, shard: 1, offsetBytes: 0, lengthBytes: 1, ...ONE_SLICE }
    await expect(shards.readShard(place, SIGNAL)).rejects.toMatchObject(absent)
    await expect(collect(shards.listJournal(other, SIGNAL))).rejects.toMatchObject(absent)
    await expect(collect(shards.readShardFiles(other, SIGNAL))).rejects.toMatchObject(absent)
    const all = { ...other, shards: [], politeness: 0 }
    await expect(collect(shards.verifyShards(all, SIGNAL))).rejects.toMatchObject(absent)
  })

  test('have a journal that is listed in pages', async () => {
    await using opened = await open()
    const { one } = opened
    await encode(one)
    const { shards } = one.api
    const needleIds = Array.from({ length: 2 * LIMITS.journalPageMax.value + 1 }, (_, at) =>
      needleIdFromNumber(at + 1),
    )
    await shards.journalDeletes({ ...shardCommand([]), needleIds }, SIGNAL)
    const pages = await collect(shards.listJournal(run, SIGNAL))
    expect(pages.map(({ length }) => length)).toEqual([10_000, 10_000, 1])
    expect(pages.flat()).toEqual(needleIds)
    expect(one.opened.reports.shards()[0]).toMatchObject({ liveNeedles: 0 })
  })
})

describe('commands about shards', () => {
  const commands: Record<string, (api: ShardApi, node: LocalNode) => Promise<unknown>> = {
    encodeVolume: (api) => collect(api.encodeVolume(encodeCommand(THREE_AND_TWO), SIGNAL)),
    copyShards: (api, { location }) => collect(api.copyShards(copyCommand([0], location), SIGNAL)),
    rebuildShards: (api, { location }) =>
      collect(api.rebuildShards({ ...copyCommand([0], location), sources: [] }, SIGNAL)),
    decodeVolume: (api, { location }) => {
      const command = { ...copyCommand([], location), sources: [], livingOnly: false }
      return collect(api.decodeVolume(command, SIGNAL))
    },
    healShards: (api) => {
      const blocks = [{ shard: 0, block: 0 }]
      return api.healShards({ epoch: 1, ...run, blocks, sources: [] }, SIGNAL)
    },
    deleteShards: (api) => api.deleteShards(shardCommand([0]), SIGNAL),
    journalDeletes: (api) => {
      return api.journalDeletes({ ...shardCommand([]), needleIds: [needleIdFromNumber(1)] }, SIGNAL)
    },
  }

  test.each(Object.keys(commands))('%s of a master that was replaced is refused', async (name) => {
    await using opened = await open()
    const { one } = opened
    await encode(one)
    await one.opened.epochs.obey(2)
    const refused = commands[name]?.(one.api.shards, one)
    await expect(refused).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    expect(shardsOf(one)).toEqual([0, 1, 2, 3, 4])
    expect(setOf(one).journal()).toEqual([])
  })

  test('on one run come one after the other', async () => {
    await using opened = await open()
    const { one, two } = opened
    await encode(one)
    const both = await Promise.all([copy([0, 1], one, two), copy([0, 1], one, two)])
    expect(both.map((reports) => reports.at(-1)?.isDone)).toEqual([true, true])
    expect(both.map((reports) => reports.at(-1)?.totalBytes).sort()).toEqual([
      0,
      2 * setOf(one).geometry.shardBytes,
    ])
  })

  test('are given up by whoever asked: nothing is left of a shard that was on its way', async () => {
    await using opened = await open()
    const { one, two } = opened
    await encode(one)
    const stop = new AbortController()
    const { api } = one
    const shards = changedShards(api.shards, {
      async *streamShard(request, signal) {
        for await (const piece of api.shards.streamShard(request, signal)) {
          yield piece
          stop.abort()
        }
      },
    })
    opened.cluster.nodes.set(one.location.url, changedPeer(api, { shards }))
    const command = copyCommand([0, 1], one.location)
    const given = collect(two.api.shards.copyShards(command, stop.signal))
    await expect(given).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(shardsOf(two)).not.toContain(1)
  })

  test.each([
    'encodeVolume',
    'copyShards',
    'rebuildShards',
    'verifyShards',
    'decodeVolume',
  ] as const)('%s ends when the server closes, and leaves nothing unfinished', async (name) => {
    await using coded = await CodedNodes.open({ nodeCount: 3 })
    await using four = await LocalNode.open(coded.cluster, 4)
    if (name === 'encodeVolume') await fillVolume(four.api, 12)
    if (name === 'verifyShards') await copy([0], coded.at(1), four)
    // The disk takes its time from now on, as far as this server is concerned.
    let closing: Promise<void> | undefined
    let operations = 0
    four.hooks.before = async () => {
      if (++operations === 8) closing ??= four.close()
    }
    const command = { ...copyCommand([0, 3], coded.at(1).location), sources: coded.places }
    const { shards } = four.api
    const running = {
      encodeVolume: () => collect(shards.encodeVolume(encodeCommand(THREE_AND_TWO, '5'), SIGNAL)),
      copyShards: () => collect(shards.copyShards(command, SIGNAL)),
      rebuildShards: () => collect(shards.rebuildShards({ ...command, shards: [3, 4] }, SIGNAL)),
      verifyShards: () =>
        collect(shards.verifyShards({ ...run, shards: [], politeness: 0 }, SIGNAL)),
      decodeVolume: () => collect(shards.decodeVolume({ ...command, livingOnly: true }, SIGNAL)),
    }[name]()
    const outcome = await Promise.allSettled([running])
    closing ??= four.close()
    await closing
    four.hooks.before = undefined
    expect(four.disk.openFiles).toBe(0)
    if (operations >= 8 && name !== 'verifyShards') expect(outcome[0]?.status).toBe('rejected')
    await four.open()
    for (const set of four.opened.store.shardSets(vid(3))) {
      for (const shard of set.shards) {
        const scratch = Buffer.alloc(MIB)
        expect(await set.verifyBlock(shard, 0, scratch)).toBe(true)
      }
    }
    if (name === 'decodeVolume') expect(four.opened.store.find(vid(3))).toBeUndefined()
  })
})

function changedShards(api: ShardApi, changes: Partial<ShardApi>): ShardApi {
  return new Proxy(api, {
    get(target, name) {
      const member: unknown = Reflect.get(name in changes ? changes : target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}
