import { describe, expect, test, vi } from 'vitest'
import { needleIdFromNumber } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import {
  CodedNodes,
  commitStripe,
  copyCommand,
  dataOf,
  encodeCommand,
  fillVolume,
  readBytes,
  shardCommand,
  THREE_AND_TWO,
} from './coded-nodes.ts'
import { changedPeer, collect, fid, holdLookup, LocalCluster, LocalNode } from './local-node.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

const NEWER = '1700000000000000002'
const isGone = { code: 'NEEDLE_NOT_FOUND' }

const deletion = (needle: number, secret = 7, isReplica = false) => ({
  fileId: fid(3, needle, secret),
  writeToken: '',
  isReplica,
})

function journalOf(node: LocalNode): readonly number[] {
  const sets = node.opened.store.shardSets(vid(3))
  return sets.flatMap((set) => set.journal().map(({ lo }) => lo))
}

describe('deletes of a coded volume', () => {
  test('arrive anywhere and are everywhere, with the answer of a volume', async () => {
    await using coded = await CodedNodes.open()
    const answer = await coded.at(2).api.delete(deletion(2), SIGNAL)
    await using plain = await LocalNode.open(new LocalCluster(), 1)
    await fillVolume(plain.api, 2)
    expect(answer).toEqual(await plain.api.delete(deletion(2), SIGNAL))
    expect(answer.wasLive).toBe(true)
    for (const node of coded.nodes) {
      await expect(readBytes(node.api, 2)).rejects.toMatchObject(isGone)
      expect(journalOf(node)).toEqual([2])
      expect((await readBytes(node.api, 3)).equals(dataOf(3))).toBe(true)
    }
    expect(await coded.at(3).api.delete(deletion(2), SIGNAL)).toEqual({
      wasLive: false,
      freedBytes: 0,
    })
    expect(coded.cluster.master.dirty).toEqual([])
  })

  test('of a large needle, and several in one request', async () => {
    await using coded = await CodedNodes.open()
    const requests = [9, 8, 1, 77].map((needle) => deletion(needle))
    const answers = await coded.at(5).api.batchDelete([...requests, deletion(4, 8)], SIGNAL)
    expect(answers.map(({ wasLive, error }) => [wasLive, error?.code])).toEqual([
      [true, undefined],
      [true, undefined],
      [true, undefined],
      [false, undefined],
      [false, 'COOKIE_MISMATCH'],
    ])
    for (const node of coded.nodes) expect([...journalOf(node)].sort()).toEqual([1, 8, 9])
  })

  test('with a wrong cookie, or of what never was there, leave nothing anywhere', async () => {
    await using coded = await CodedNodes.open()
    coded.isolate(3)
    for (const needle of [1, 8]) {
      const refused = coded.at(4).api.delete(deletion(needle, 8), SIGNAL)
      await expect(refused).rejects.toMatchObject({ code: 'COOKIE_MISMATCH' })
    }
    const answer = await coded.at(4).api.delete(deletion(99), SIGNAL)
    expect(answer).toEqual({ wasLive: false, freedBytes: 0 })
    for (const node of coded.nodes) expect(journalOf(node)).toEqual([])
    expect(coded.cluster.master.dirty).toEqual([])
  })

  test('count when a server is away and the master knows, and not otherwise', async () => {
    await using coded = await CodedNodes.open()
    const { master } = coded.cluster
    coded.isolate(1)
    expect(await coded.at(2).api.delete(deletion(3), SIGNAL)).toMatchObject({ wasLive: true })
    expect(master.dirty).toMatchObject([
      { kind: 'delete', needleId: needleIdFromNumber(3), unreached: ['node:1'] },
    ])
    expect(journalOf(coded.at(1))).toEqual([])
    master.failure = new StoreError('UNAVAILABLE', 'no master')
    const failed = coded.at(2).api.delete(deletion(4), SIGNAL)
    await expect(failed).rejects.toMatchObject({ code: 'REPLICATION_FAILED' })
    // Tried again when all are back, it is completed although it is deleted here already.
    master.failure = undefined
    coded.mend(1)
    expect(await coded.at(2).api.delete(deletion(4), SIGNAL)).toMatchObject({ wasLive: true })
    for (const node of coded.nodes) expect(journalOf(node)).toContain(4)
  })

  test('are recorded when the master says that a shard is on no server', async () => {
    await using coded = await CodedNodes.open()
    const { master } = coded.cluster
    const shards = coded.places.filter(({ shard }) => shard !== 3)
    master.stripes.set(vid(3), {
      ...THREE_AND_TWO,
      runId: encodeCommand(THREE_AND_TWO).runId,
      shards,
    })
    for (const { opened } of coded.nodes) opened.locations.expire(vid(3))
    expect(await coded.at(1).api.delete(deletion(5), SIGNAL)).toMatchObject({ wasLive: true })
    expect(master.dirty).toMatchObject([{ kind: 'delete', unreached: [] }])
  })

  test('survive a power cut once they are answered', async () => {
    await using coded = await CodedNodes.open()
    await coded.at(2).api.delete(deletion(2), SIGNAL)
    for (const node of coded.nodes) {
      await node.opened.owned[Symbol.asyncDispose]()
      await node.cutPower()
      await expect(readBytes(node.api, 2)).rejects.toMatchObject(isGone)
    }
  })

  test('need enough shards to compare the cookie', async () => {
    await using coded = await CodedNodes.open()
    for (const port of [1, 2, 3]) coded.isolate(port)
    const refused = coded.at(5).api.delete(deletion(8), SIGNAL)
    await expect(refused).rejects.toMatchObject({ code: 'SHARDS_LOST' })
    expect(journalOf(coded.at(5))).toEqual([])
  })

  test('reach the shards of all runs and a copy, on every server that is told', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 2, needleCount: 9 })
    const [one, two] = [coded.at(1), coded.at(2)]
    const sources = coded.places
    const command = { ...copyCommand([], one.location), sources, livingOnly: false }
    await collect(one.api.shards.decodeVolume(command, SIGNAL))
    await collect(one.api.shards.encodeVolume(encodeCommand(THREE_AND_TWO, NEWER), SIGNAL))
    expect(await two.api.delete(deletion(2), SIGNAL)).toMatchObject({ wasLive: true })
    expect(journalOf(one)).toEqual([2, 2])
    await expect(
      one.opened.store.get(vid(3)).volume.read({ id: needleIdFromNumber(2), cookie: 7 }),
    ).rejects.toMatchObject(isGone)
    // Also one that begins at the server with the copy.
    expect(await one.api.delete(deletion(4), SIGNAL)).toMatchObject({ wasLive: true })
    expect(journalOf(one)).toEqual([2, 4, 2, 4])
    expect(journalOf(two)).toEqual([2, 4])
    const wrong = one.api.delete(deletion(5, 8), SIGNAL)
    await expect(wrong).rejects.toMatchObject({ code: 'COOKIE_MISMATCH' })
  })

  test('of a volume that has copies go to the copies alone', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 2, needleCount: 9 })
    const [one, two] = [coded.at(1), coded.at(2)]
    const command = { ...copyCommand([], one.location), sources: coded.places, livingOnly: false }
    await collect(one.api.shards.decodeVolume(command, SIGNAL))
    coded.cluster.master.stripes.clear()
    coded.cluster.master.known.set(vid(3), [one.location])
    await coded.cluster.clock.advance(2_000)
    for (const { opened } of coded.nodes) opened.locations.expire(vid(3))
    // Whatever is here of it does not count, and nobody here can say where it went.
    await expect(two.api.delete(deletion(2), SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    })
    expect(await two.opened.needles.deleteAnywhere(fid(3, 2), SIGNAL)).toMatchObject({
      wasLive: true,
    })
    expect(await one.api.delete(deletion(4), SIGNAL)).toMatchObject({ wasLive: true })
    expect(journalOf(two)).toEqual([])
    await expect(readBytes(two.api, 2)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    expect((await readBytes(two.api, 5)).equals(dataOf(5))).toBe(true)
  })

  test('that are told to a server without anything of it fail there', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 3 })
    await coded.at(3).api.shards.deleteShards(shardCommand([2]), SIGNAL)
    const refused = coded.at(3).api.delete(deletion(2, 7, true), SIGNAL)
    await expect(refused).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
  })

  test('wait while the volume is held still, which tells how long the journal is', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 2 })
    const { api } = coded.at(1)
    await api.delete(deletion(1), SIGNAL)
    const freeze = (forMs: number) =>
      api.freezeVolume({ epoch: 1, volumeId: vid(3), forMs }, SIGNAL)
    expect(await freeze(5_000)).toEqual({ datBytes: 16 + 8 + 16, compactionRevision: 0 })
    let isDone = false
    const waiting = api.delete(deletion(2), SIGNAL).then((answer) => {
      isDone = true
      return answer
    })
    const replica = api.delete(deletion(3, 7, true), SIGNAL)
    const replicaFails = expect(replica).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    await coded.cluster.clock.advance(2_500)
    await replicaFails
    expect(isDone).toBe(false)
    // Jobs write all the same.
    const needleIds = [needleIdFromNumber(4)]
    await api.shards.journalDeletes({ ...shardCommand([]), needleIds }, SIGNAL)
    expect(await freeze(0)).toEqual({ datBytes: 16 + 2 * (8 + 16), compactionRevision: 0 })
    expect(await waiting).toMatchObject({ wasLive: true })
    expect(journalOf(coded.at(2))).toEqual([1, 2])
  })

  test('go to where the shards are when the volume was held still, whatever was known before', async () => {
    await using coded = await CodedNodes.open()
    const { cluster, places } = coded
    await using sixth = await LocalNode.open(cluster, 6)
    const [first, fifth] = [coded.at(1), coded.at(5)]
    await collect(sixth.api.shards.copyShards(copyCommand([4], fifth.location), SIGNAL))
    // The cookie is compared: the needle is in the first shard.
    let read: () => void = () => undefined
    const held = new Promise<void>((resolve) => {
      read = resolve
    })
    first.hooks.before = ({ kind, path }) => (kind === 'read' && path.endsWith('.ec00') ? held : 0)
    const deleting = first.delete(3, 1)
    await cluster.clock.advance(0)
    first.opened.locations.expire(vid(3))
    const answer = holdLookup(cluster.master)
    read()
    await cluster.clock.advance(0)
    const { gate } = first.opened
    await gate.freeze(vid(3), 10_000)
    const moved = places.map((place) => {
      return place.shard === 4 ? { ...place, location: sixth.location } : place
    })
    commitStripe(cluster.master, THREE_AND_TWO, moved)
    gate.thaw(vid(3))
    answer()
    await deleting
    expect(journalOf(sixth)).toEqual([1])
  })

  test('that come while a copy is made of shards reach the copy', async () => {
    await using coded = await CodedNodes.open()
    const { cluster, places } = coded
    const first = coded.at(1)
    let isDeleted = false
    first.hooks.before = async ({ kind, path }) => {
      if (isDeleted || kind !== 'writev' || !path.endsWith('3.dat')) return
      isDeleted = true
      await coded.at(2).delete(3, 1)
    }
    const decode = { ...copyCommand([], first.location), sources: places, livingOnly: true }
    await collect(first.api.shards.decodeVolume(decode, SIGNAL))
    expect(isDeleted).toBe(true)
    expect(cluster.master.dirty).toEqual([])
    await expect(first.read(3, 1)).rejects.toMatchObject(isGone)
  })

  test('that wait for a copy which is coded meanwhile go to its shards', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 2, needleCount: 9 })
    const [one, two] = [coded.at(1), coded.at(2)]
    const { master } = coded.cluster
    const stripe = master.stripes.get(vid(3))
    const command = { ...copyCommand([], one.location), sources: coded.places, livingOnly: false }
    await collect(one.api.shards.decodeVolume(command, SIGNAL))
    master.stripes.clear()
    master.known.set(vid(3), [one.location])
    for (const { opened } of coded.nodes) opened.locations.expire(vid(3))
    await one.api.freezeVolume({ epoch: 1, volumeId: vid(3), forMs: 5_000 }, SIGNAL)
    const waiting = one.api.delete(deletion(2), SIGNAL)
    await coded.cluster.clock.advance(0)
    if (stripe !== undefined) master.stripes.set(vid(3), stripe)
    await one.api.freezeVolume({ epoch: 1, volumeId: vid(3), forMs: 0 }, SIGNAL)
    expect(await waiting).toMatchObject({ wasLive: true })
    expect(journalOf(two)).toEqual([2])
  })

  test('one server refuses for want of room: it counts, and the master knows', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 3 })
    const { api, location } = coded.at(2)
    const full = new StoreError('DISK_FULL', 'no room')
    const broken = changedPeer(api, { delete: () => Promise.reject(full) })
    coded.cluster.nodes.set(location.url, broken)
    expect(await coded.at(1).api.delete(deletion(2), SIGNAL)).toMatchObject({ wasLive: true })
    expect(coded.cluster.master.dirty).toMatchObject([{ kind: 'delete', unreached: [] }])
  })
})

describe('puts into a coded volume', () => {
  test('are refused, as those into a sealed one are', async () => {
    await using coded = await CodedNodes.open({ nodeCount: 2 })
    const put = coded.at(2).put(3, 50, 'new')
    await expect(put).rejects.toMatchObject({ code: 'VOLUME_SEALED' })
    const source = (async function* () {
      yield Buffer.from('new')
    })()
    const head = { fileId: fid(3, 50), metadata: {}, writeToken: '', isReplica: false }
    const stream = coded.at(1).api.putStream({ ...head, source }, SIGNAL)
    await expect(stream).rejects.toMatchObject({ code: 'VOLUME_SEALED' })
  })
})
