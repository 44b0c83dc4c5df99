import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
import { encodeEcBatch } from '../../src/format/ec-journal.ts'
import type { ShardSet } from '../../src/storage/shard-set.ts'
import {
  encodeHere,
  expectSound,
  journalOf,
  makeCodedVolume,
  needleIds,
  SMALL_RUN,
  shardOf,
} from '../support/coded-store.ts'
import { flipped } from '../support/small-volume.ts'
import { TestStore, vid } from '../support/test-store.ts'
import { expectCode, settle, toId } from '../support/test-volume.ts'

const coded = await makeCodedVolume()
const [FIRST = Buffer.alloc(0)] = coded.shards
const DIRECTORY = `/a/7.ec-${SMALL_RUN.runId}`

/** The set of the coded volume with these shards, on a store of its own. */
async function addSet(test: TestStore, shards: readonly number[]): Promise<ShardSet> {
  await test.open()
  const set = await test.store.createShardSet(coded.files, FIRST.length)
  for (const shard of shards) await add(set, shard)
  return set
}

async function add(set: ShardSet, shard: number, bytes = coded.shards[shard]): Promise<void> {
  await set.addShard(shard, async (sink) => {
    // In two pieces, which end nowhere in particular.
    await sink.write(bytes?.subarray(0, 100) ?? Buffer.alloc(0))
    await sink.write(bytes?.subarray(100) ?? Buffer.alloc(0))
  })
}

async function reopen(test: TestStore): Promise<ShardSet> {
  await test.close()
  await test.open()
  const [set] = test.store.shardSets(vid(7))
  if (set === undefined) throw new Error('the set is gone')
  return set
}

describe('shards', () => {
  test('are there once they are added, and after a restart', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [3, 0])
    expect([set.shards, set.has(3), set.has(1)]).toEqual([[0, 3], true, false])
    expect(await shardOf(set, 3)).toEqual(coded.shards[3])
    const again = await reopen(test)
    expect(again.shards).toEqual([0, 3])
    expect(again.run).toEqual(coded.files.run)
    expect(await shardOf(again, 0)).toEqual(coded.shards[0])
    await expectSound(again)
    expect(await test.names(DIRECTORY)).toEqual([
      '7.ec00',
      '7.ec03',
      '7.ecj',
      '7.ecsum',
      '7.ecx',
      '7.vif',
    ])
  })

  test('are read by ranges within them', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [1])
    const into = Buffer.alloc(20, '.')
    await set.read(1, into.subarray(5, 15), 77)
    const expected = Buffer.alloc(20, '.')
    coded.shards[1]?.copy(expected, 5, 77, 87)
    expect(into).toEqual(expected)
    const { shardBytes } = set.geometry
    await set.read(1, into.subarray(0, 10), shardBytes - 10)
    await expectCode(set.read(1, into.subarray(0, 10), shardBytes - 9), 'RANGE_INVALID')
    await expectCode(set.read(1, into.subarray(0, 10), -1), 'RANGE_INVALID')
    await expectCode(set.read(2, into.subarray(0, 10), 0), 'SHARD_NOT_FOUND')
    await expectCode(set.read(5, into.subarray(0, 10), 0), 'SHARD_NOT_FOUND')
  })

  test.each([
    ['a flipped bit', flipped(FIRST, 200, 4)],
    ['another shard', coded.shards[1]],
    ['a byte too few', FIRST.subarray(0, -1)],
    ['a byte too many', Buffer.concat([FIRST, Buffer.alloc(1)])],
    ['nothing', Buffer.alloc(0)],
  ])('with %s are SHARD_CORRUPT, and nothing stays', async (_what, bytes) => {
    await using test = new TestStore()
    const set = await addSet(test, [1])
    await expectCode(add(set, 0, bytes), 'SHARD_CORRUPT')
    expect(set.shards).toEqual([1])
    expect((await test.names(DIRECTORY)).filter((name) => name.includes('ec00'))).toEqual([])
    await add(set, 0)
    await expectSound(set)
  })

  test('that do not arrive leave nothing', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [1])
    const failing = set.addShard(0, async (sink) => {
      await sink.write(FIRST.subarray(0, 64))
      throw new StoreError('UNAVAILABLE', 'the source is gone')
    })
    await expectCode(failing, 'UNAVAILABLE')
    expect((await test.names(DIRECTORY)).filter((name) => name.includes('ec00'))).toEqual([])
    await add(set, 0)
  })

  test('come once: a second one is VOLUME_EXISTS, a twin meanwhile VOLUME_BUSY', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [1])
    await expectCode(add(set, 1), 'VOLUME_EXISTS')
    expect(await shardOf(set, 1)).toEqual(coded.shards[1])
    const adding = add(set, 2)
    await expectCode(add(set, 2), 'VOLUME_BUSY')
    await expectCode(set.removeShard(2), 'VOLUME_BUSY')
    await adding
    await expectCode(add(set, 5), 'SHARD_NOT_FOUND')
  })

  test('that are removed are gone; the last reads of them end', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0, 1])
    const into = Buffer.alloc(FIRST.length)
    const reading = set.read(0, into, 0)
    await Promise.all([set.removeShard(0), reading])
    expect(into.equals(FIRST)).toBe(true)
    await set.removeShard(0)
    expect((await reopen(test)).shards).toEqual([1])
  })

  test.each(['datasync', 'writev', 'rename', 'syncDirectory', 'create'] as const)(
    'are not there when a %s fails, and the next try works',
    async (kind) => {
      await using test = new TestStore()
      const set = await addSet(test, [1])
      test.disk.failCall(1, 'EIO', [kind])
      await expectCode(add(set, 0), 'DISK_FAILED')
      expect(set.shards).toEqual([1])
      expect((await test.names(DIRECTORY)).filter((name) => name.includes('ec00'))).toEqual([])
      await add(set, 0)
      await expectSound(set)
    },
  )

  test('for which there is no room are DISK_FULL', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [1])
    test.disk.capacityBytes = 100_000
    await test.store.locations[0]?.space.refresh()
    await expectCode(add(set, 0), 'DISK_FULL')
    expect(set.shards).toEqual([1])
  })

  test('of another length than they should have are not served, and can be made anew', async () => {
    await using test = new TestStore()
    await addSet(test, [0, 1])
    await test.close()
    test.disk.put(`${DIRECTORY}/7.ec00`, FIRST.subarray(8))
    test.disk.put(`${DIRECTORY}/7.ec09`, FIRST)
    await test.open()
    const [set] = test.store.shardSets(vid(7))
    expect(set?.shards).toEqual([1])
    if (set !== undefined) await add(set, 0)
    expect((await reopen(test)).shards).toEqual([0, 1])
  })
})

describe('bad blocks', () => {
  test('are noted until they are written anew', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0, 1])
    const scratch = Buffer.alloc(MIB)
    expect(await set.verifyBlock(1, 0, scratch)).toBe(true)
    test.disk.flipBit(`${DIRECTORY}/7.ec01`, 99, 3)
    expect(await set.verifyBlock(1, 0, scratch)).toBe(false)
    expect([set.badShards, set.badBlocks()]).toEqual([[1], [{ shard: 1, block: 0 }]])
    const good = coded.shards[1] ?? Buffer.alloc(0)
    await expectCode(set.replaceBlock(1, 0, flipped(good, 7, 1)), 'SHARD_CORRUPT')
    await expectCode(set.replaceBlock(1, 0, good.subarray(1)), 'SHARD_CORRUPT')
    await expectCode(set.replaceBlock(1, 1, good), 'RANGE_INVALID')
    await expectCode(set.replaceBlock(2, 0, good), 'SHARD_NOT_FOUND')
    expect(set.badShards).toEqual([1])
    await set.replaceBlock(1, 0, good)
    expect(set.badShards).toEqual([])
    await expectSound(await reopen(test))
  })

  test('that others noticed are believed until they are read', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0, 1])
    set.noteBad(0, 0)
    set.noteBad(4, 0)
    expect(set.badShards).toEqual([0])
    expect(await set.verifyBlock(0, 0, Buffer.alloc(MIB))).toBe(true)
    expect(set.badShards).toEqual([])
  })

  test('that cannot be read are bad', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    test.disk.failCall(1, 'EIO', ['read'])
    expect(await set.verifyBlock(0, 0, Buffer.alloc(MIB))).toBe(false)
    expect(set.badShards).toEqual([0])
  })

  test('are told apart where a shard has several', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(7)
    await test.put(7, 1, 'x'.repeat(3 * MIB))
    const run = { ...SMALL_RUN, dataShards: 1, parityShards: 1, codecUnitBytes: 4096 }
    const blocks = { largeBlockBytes: 256 * 1024, smallBlockBytes: 256 * 1024 }
    const [set] = (await encodeHere(test.store, 7, { ...run, ...blocks })).sets
    if (set === undefined) return expect.unreachable()
    for (const at of [2 * MIB, 3 * MIB + 5]) test.disk.flipBit(`${DIRECTORY}/7.ec01`, at, 0)
    const scratch = Buffer.alloc(MIB)
    const found = []
    for (let block = 0; block < 4; block++) found.push(await set.verifyBlock(1, block, scratch))
    expect(found).toEqual([true, true, false, false])
    expect(set.badBlocks()).toEqual([
      { shard: 1, block: 2 },
      { shard: 1, block: 3 },
    ])
    const whole = Buffer.alloc(MIB)
    await set.read(0, whole.subarray(0, MIB), 2 * MIB)
    // One data shard and one parity shard are the same.
    await set.replaceBlock(1, 2, whole)
    expect(set.badBlocks()).toEqual([{ shard: 1, block: 3 }])
  })
})

describe('deletes', () => {
  test('are counted once, also of needles that were never there, and kept', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    const before = set.stats
    // A checksum of nothing.
    expect(before).toMatchObject({ liveNeedles: 9, journalBytes: 16 })
    expect(before.liveBytes + before.garbageBytes + 8).toBe(coded.files.run.datBytes)
    await set.deleteNeedles(needleIds(4, 4, 77))
    await set.deleteNeedles(needleIds(4))
    const after = set.stats
    expect(after).toMatchObject({ liveNeedles: 8, journalBytes: 16 + 16 + 16 })
    expect(after.liveBytes).toBe((before.liveBytes / 9) * 8)
    expect(after.garbageBytes - before.garbageBytes).toBe(before.liveBytes - after.liveBytes)
    expect(set.index.find(toId(4))).toMatchObject({ isDeleted: true })
    const again = await reopen(test)
    expect(journalOf(again)).toEqual([4, 77])
    expect(again.stats).toMatchObject({ ...after, modifiedAtS: 1_700_000_000 })
  })

  test('have the same digest in whatever order they come', async () => {
    await using test = new TestStore(['/a', '/b'])
    const one = await addSet(test, [0])
    const where = { spreadOver: true }
    const two = await test.store.createShardSet(coded.files, FIRST.length, where)
    expect(one.stats.journalDigest).toMatch(/^[0-9a-f]{16}$/)
    const digests = new Set([one.stats.journalDigest])
    await one.deleteNeedles(needleIds(1, 2, 2 ** 40))
    await two.deleteNeedles(needleIds(2 ** 40))
    digests.add(two.stats.journalDigest)
    await two.deleteNeedles(needleIds(2))
    digests.add(two.stats.journalDigest)
    expect(digests.size).toBe(3)
    await two.deleteNeedles(needleIds(1))
    expect(two.stats.journalDigest).toBe(one.stats.journalDigest)
  })

  test('that come together share a sync', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    const isJournal = ({ kind, path }: { kind: string; path: string }): boolean =>
      kind === 'datasync' && path.endsWith('.ecj')
    test.hooks.calls = []
    const deletes = Array.from({ length: 100 }, (_, id) => set.deleteNeedles(needleIds(id)))
    await Promise.all(deletes)
    expect(test.hooks.calls.filter(isJournal)).toHaveLength(1)
    expect(set.stats.journalBytes).toBe(16 + 800 + 16)
  })

  test('are not acknowledged, nor seen, before they are synced', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    let release = (): void => undefined
    test.hooks.before = ({ kind, path }) => {
      if (kind !== 'datasync' || !path.endsWith('.ecj')) return undefined
      return new Promise<void>((resolve) => {
        release = resolve
      })
    }
    let isAnswered = false
    const deleting = set.deleteNeedles(needleIds(5)).then(() => {
      isAnswered = true
    })
    await settle()
    expect([isAnswered, set.index.find(toId(5))?.isDeleted]).toEqual([false, false])
    release()
    await deleting
    expect(set.index.find(toId(5))?.isDeleted).toBe(true)
  })

  test('after a failed sync are refused until a restart has written the journal anew', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    await set.deleteNeedles(needleIds(1))
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expectCode(set.deleteNeedles(needleIds(2)), 'VOLUME_FAILED')
    await expectCode(set.deleteNeedles(needleIds(3)), 'VOLUME_FAILED')
    expect(set.failure).toMatchObject({ code: 'VOLUME_FAILED' })
    expect(await shardOf(set, 0)).toEqual(coded.shards[0])
    const again = await reopen(test)
    expect(await test.names(DIRECTORY)).not.toContain('7.failed')
    await again.deleteNeedles(needleIds(2, 3))
    test.disk.evictCaches()
    test.disk.restart()
    test.forget()
    await test.open()
    const [last] = test.store.shardSets(vid(7))
    expect(last && journalOf(last)).toEqual([1, 2, 3])
  })

  test.each([
    ['EIO', 'DISK_FAILED'],
    ['ENOSPC', 'DISK_FULL'],
  ] as const)('whose write fails (%s) did not happen, also not later', async (fault, code) => {
    for (let seed = 1; seed <= 20; seed++) {
      await using test = new TestStore(['/a'], {
        seed,
        space: { reserveBytes: 0, ballastBytes: 0 },
      })
      const set = await addSet(test, [0])
      await set.deleteNeedles(needleIds(1))
      // A full disk is tried once more, with the room that is kept.
      for (const nth of [1, 2]) test.disk.failCall(nth, fault, ['writev'])
      await expectCode(set.deleteNeedles(needleIds(2, 3)), code)
      test.disk.restart()
      test.forget()
      await test.open()
      const [again] = test.store.shardSets(vid(7))
      expect(again && journalOf(again)).toEqual([1])
    }
  })

  test('work on a full disk, with the room that is kept for them', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    await test.store.locations[0]?.space.refresh()
    const { freeBytes } = await test.disk.space('/a')
    test.disk.capacityBytes -= freeBytes
    await set.deleteNeedles(needleIds(1, 2, 3))
    expect(journalOf(await reopen(test))).toEqual([1, 2, 3])
  })

  test('behind a torn batch go where it began', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    await set.deleteNeedles(needleIds(1))
    await test.close()
    const whole = test.disk.contents(`${DIRECTORY}/7.ecj`)
    const batch = encodeEcBatch(needleIds(8, 9))
    for (let torn = 1; torn < batch.length; torn++) {
      const path = `${DIRECTORY}/7.ecj`
      test.disk.put(path, Buffer.concat([whole, batch.subarray(0, torn)]))
      await test.open()
      const [again] = test.store.shardSets(vid(7))
      await again?.deleteNeedles(needleIds(2))
      await test.close()
      const expected = Buffer.concat([whole, encodeEcBatch(needleIds(2))])
      expect(test.disk.contents(path)).toEqual(expected)
    }
  })

  test('of which a bit has flipped are not believed: the set is set aside', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    await set.deleteNeedles(needleIds(1))
    await set.deleteNeedles(needleIds(2))
    await test.close()
    // The lowest bit of the first id: needle 0 would be gone instead.
    test.disk.flipBit(`${DIRECTORY}/7.ecj`, 16 + 7, 0)
    await test.open()
    expect(test.store.shardSets(vid(7))).toEqual([])
    expect(test.store.quarantine.map(({ code }) => code)).toEqual(['SIDECAR_CORRUPT'])
  })

  test('another system had written get checksums before more are added', async () => {
    await using test = new TestStore()
    await addSet(test, [0])
    await test.close()
    const entries = Buffer.from('00000000000000010000000000000002', 'hex')
    test.disk.put(`${DIRECTORY}/7.ecj`, entries)
    await test.open()
    const [again] = test.store.shardSets(vid(7))
    await again?.deleteNeedles(needleIds(5))
    await test.close()
    await test.open()
    const [last] = test.store.shardSets(vid(7))
    expect(last && journalOf(last)).toEqual([1, 2, 5])
  })

  test('to a set that is closed are CLOSED; those before it are answered', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    const deleting = set.deleteNeedles(needleIds(1))
    await test.close()
    await deleting
    await expectCode(set.deleteNeedles(needleIds(2)), 'CLOSED')
    await expectCode(add(set, 1), 'CLOSED')
    await set[Symbol.asyncDispose]()
  })
})

describe('the files beside the shards', () => {
  test('are those another server needs', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    await set.deleteNeedles(needleIds(3, 9))
    const files = await set.encodedFiles()
    for (const [extension, bytes] of Object.entries(files)) {
      expect(test.disk.contents(`${DIRECTORY}/7.${extension}`)).toEqual(bytes)
    }
  })

  test.each(['ecx', 'ecsum', 'vif'])('.%s is mended from memory', async (extension) => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    const path = `${DIRECTORY}/7.${extension}`
    const good = test.disk.contents(path)
    for (const damage of [flipped(good, 20, 1), good.subarray(0, -1), undefined]) {
      if (damage === undefined) await test.disk.unlink(path)
      else test.disk.put(path, damage)
      expect(await set.findDamage()).toEqual([`.${extension} was altered`])
      await set.renewFiles()
      expect(await set.findDamage()).toEqual([])
      expect(test.disk.contents(path)).toEqual(good)
    }
  })

  test('.ecj with a flipped bit is noticed', async () => {
    await using test = new TestStore()
    const set = await addSet(test, [0])
    await set.deleteNeedles(needleIds(3))
    test.disk.flipBit(`${DIRECTORY}/7.ecj`, 3, 1)
    expect(await set.findDamage()).toEqual(['.ecj was altered at byte 0'])
  })
})

test('the codec is that of the run, and requests are counted', async () => {
  await using test = new TestStore()
  const set = await addSet(test, [0])
  expect(set.codec()).toBe(set.codec())
  expect(set.codec()).toMatchObject({ dataShards: 3, parityShards: 2, unitBytes: 64 })
  set.noteRequest()
  set.noteRequest()
  expect(set.stats.requestCount).toBe(2)
  expect(set.directory).toBe(DIRECTORY)
})
