import { describe, expect, test } from 'vitest'
import { isStoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
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
import { PowerCut } from '../support/fault-plan.ts'
import { Prng, seeds } from '../support/prng.ts'
import { TestStore, vid } from '../support/test-store.ts'
import { settle, toId } from '../support/test-volume.ts'

const coded = await makeCodedVolume()
const [FIRST = Buffer.alloc(0)] = coded.shards
const ALL = [0, 1, 2, 3, 4]
const SEEDS = 12

function setOf(test: TestStore): ShardSet | undefined {
  expect(test.store.quarantine).toEqual([])
  return test.store.shardSets(vid(7))[0]
}

/** A store with a set of the coded volume that has these shards; without any there is no set. */
async function withShards(test: TestStore, shards: readonly number[]): Promise<void> {
  await test.open()
  if (shards.length === 0) return
  const set = await test.store.createShardSet(coded.files, FIRST.length)
  for (const shard of shards) await add(set, shard)
}

async function add(set: ShardSet, shard: number): Promise<void> {
  await set.addShard(shard, (sink) => sink.write(coded.shards[shard] ?? Buffer.alloc(0)))
}

/** Names of files and directories in `/a` that belong to shards. */
async function shardFiles(test: TestStore): Promise<string[]> {
  return (await test.names('/a')).filter((name) => name.includes('.ec'))
}

interface Scenario {
  readonly prepare: (test: TestStore) => Promise<void>
  readonly act: (test: TestStore, set: ShardSet | undefined) => Promise<void>
  /** `isDone`: `act` returned before the power went, or it went for another reason. */
  readonly check: (test: TestStore, isDone: boolean) => Promise<void>
}

/** Cuts the power at each call of `act` in turn, and once after it; each with several seeds. */
async function cutEverywhere({ prepare, act, check }: Scenario): Promise<void> {
  let cuts = 0
  for (let seed = 1; seed <= SEEDS; seed++) {
    for (let cut = 1, isDone = false; !isDone; cut++) {
      await using test = new TestStore(['/a'], { seed: 1000 * seed + cut })
      await prepare(test)
      test.disk.cutPowerAfter(cut)
      isDone = await act(test, setOf(test)).then(
        () => !test.disk.isPowerOff,
        (error: unknown) => {
          if (error instanceof PowerCut || isStoreError(error)) return false
          throw error
        },
      )
      await settle()
      cuts++
      test.disk.restart()
      test.forget()
      await test.open()
      await check(test, isDone)
      await test.close()
      await test.open()
      await check(test, isDone)
    }
  }
  expect(cuts).toBeGreaterThan(2 * SEEDS)
}

describe('wherever the power goes', () => {
  test('making a set and its first shard leaves both or nothing', () =>
    cutEverywhere({
      prepare: (test) => withShards(test, []),
      act: async (test) => {
        await add(await test.store.createShardSet(coded.files, FIRST.length), 2)
      },
      check: async (test, isDone) => {
        const set = setOf(test)
        if (isDone) expect(set?.shards).toEqual([2])
        if (set === undefined) return expect(await shardFiles(test)).toEqual([])
        expect(set.shards).toEqual([2])
        await expectSound(set)
      },
    }))

  test('adding a shard leaves it whole or not there, and the others', () =>
    cutEverywhere({
      prepare: (test) => withShards(test, [0]),
      act: async (_test, set) => set && (await add(set, 4)),
      check: async (test, isDone) => {
        const set = setOf(test)
        expect(set?.shards).toEqual(isDone || set?.has(4) ? [0, 4] : [0])
        if (set === undefined) return
        await expectSound(set)
        expect((await test.names(set.directory)).filter((name) => /draft|tmp/.test(name))).toEqual(
          [],
        )
      },
    }))

  test('coding a volume leaves all shards or nothing, and the volume', () =>
    cutEverywhere({
      prepare: async (test) => {
        await test.open()
        await test.createVolume(7)
        await test.put(7, 1, 'x'.repeat(2000))
        await test.volume(7).seal()
      },
      act: async (test) => void (await encodeHere(test.store, 7)),
      check: async (test, isDone) => {
        const set = setOf(test)
        if (isDone) expect(set?.shards).toEqual(ALL)
        expect(await test.read(7, 1)).toBe('x'.repeat(2000))
        if (set === undefined) return expect(await shardFiles(test)).toEqual([])
        expect(set.shards).toEqual(ALL)
        expect(set.index.find(toId(1))).toMatchObject({ isDeleted: false })
        await expectSound(set)
      },
    }))

  test('deleting needles keeps what was acknowledged, and nothing nobody deleted', async () => {
    const acknowledged = new Set<number>()
    const asked = new Set<number>()
    await cutEverywhere({
      prepare: async (test) => {
        acknowledged.clear()
        asked.clear()
        await withShards(test, [0])
      },
      act: async (_test, set) => {
        const deleteSome = async (...ids: number[]): Promise<void> => {
          for (const id of ids) asked.add(id)
          await set?.deleteNeedles(needleIds(...ids))
          for (const id of ids) acknowledged.add(id)
        }
        await deleteSome(1)
        await Promise.all([deleteSome(2, 3), deleteSome(4), deleteSome(2)])
        await deleteSome(50)
      },
      check: async (test) => {
        const set = setOf(test)
        const found = set === undefined ? [] : journalOf(set)
        expect(found).toEqual(expect.arrayContaining([...acknowledged]))
        // A torn write may leave zeros where an id belongs.
        expect([...asked, 0]).toEqual(expect.arrayContaining(found))
        expect(set?.shards).toEqual([0])
        if (set !== undefined) await expectSound(set)
      },
    })
  })

  test('removing a shard leaves it whole or gone', () =>
    cutEverywhere({
      prepare: (test) => withShards(test, [0, 3]),
      act: async (_test, set) => set?.removeShard(3),
      check: async (test, isDone) => {
        const set = setOf(test)
        if (isDone) expect(set?.shards).toEqual([0])
        expect([[0], [0, 3]]).toContainEqual(set?.shards)
        if (set !== undefined) await expectSound(set)
      },
    }))

  test('removing a set leaves it whole or gone', () =>
    cutEverywhere({
      prepare: async (test) => {
        await withShards(test, ALL)
        await setOf(test)?.deleteNeedles(needleIds(8))
      },
      act: async (test, set) => set && (await test.store.removeShardSet(set)),
      check: async (test, isDone) => {
        const set = setOf(test)
        if (isDone) expect(set).toBeUndefined()
        if (set === undefined) return expect(await shardFiles(test)).toEqual([])
        expect([set.shards, journalOf(set)]).toEqual([ALL, [8]])
        await expectSound(set)
      },
    }))

  test('removing a set and making it again leaves the old, the new or nothing', () =>
    cutEverywhere({
      prepare: (test) => withShards(test, [0, 1]),
      act: async (test, set) => {
        if (set !== undefined) await test.store.removeShardSet(set)
        await add(await test.store.createShardSet(coded.files, FIRST.length), 2)
      },
      check: async (test, isDone) => {
        const set = setOf(test)
        if (isDone) expect(set?.shards).toEqual([2])
        if (set === undefined) return expect(await shardFiles(test)).toEqual([])
        expect([[0, 1], [2]]).toContainEqual(set.shards)
        await expectSound(set)
      },
    }))

  test('writing a block anew leaves it good, or told to be bad', () =>
    cutEverywhere({
      prepare: async (test) => {
        await withShards(test, [0, 1])
        const set = setOf(test)
        if (set === undefined) return
        for (let at = 3; at < FIRST.length; at += 100) {
          test.disk.flipBit(`${set.directory}/7.ec00`, at, 1)
        }
      },
      act: async (_test, set) => set?.replaceBlock(0, 0, FIRST),
      check: async (test, isDone) => {
        const set = setOf(test)
        if (set === undefined) return expect.unreachable()
        const isGood = await set.verifyBlock(0, 0, Buffer.alloc(MIB))
        if (isDone) expect(isGood).toBe(true)
        expect(isGood).toBe((await shardOf(set, 0)).equals(FIRST))
        expect(set.badShards).toEqual(isGood ? [] : [0])
        expect(await set.verifyBlock(1, 0, Buffer.alloc(MIB))).toBe(true)
      },
    }))

  test('a block written anew whose sync failed stays bad, whatever reads show, until one succeeds', async () => {
    await using test = new TestStore()
    await withShards(test, [0])
    const set = setOf(test)
    if (set === undefined) return expect.unreachable()
    const path = `${set.directory}/7.ec00`
    test.disk.flipBit(path, 3, 1)
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expect(set.replaceBlock(0, 0, FIRST)).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect(test.disk.contents(path).equals(FIRST)).toBe(true)
    expect(await set.verifyBlock(0, 0, Buffer.alloc(MIB))).toBe(false)
    expect(set.badBlocks()).toEqual([{ shard: 0, block: 0 }])
    await set.replaceBlock(0, 0, FIRST)
    expect(await set.verifyBlock(0, 0, Buffer.alloc(MIB))).toBe(true)
    expect(test.disk.durableFiles().get(path)?.equals(FIRST)).toBe(true)
  })

  test('mending the files of a set that was set aside loses no shard and no deletion', async () => {
    for (const damaged of ['ecx', 'ecsum', 'vif']) {
      for (let seed = 1; seed <= SEEDS; seed++) {
        for (let cut = 1, isDone = false; !isDone; cut++) {
          await using test = new TestStore(['/a'], { seed: 1000 * seed + cut })
          await withShards(test, [0, 1])
          await setOf(test)?.deleteNeedles(needleIds(8))
          await test.close()
          test.disk.flipBit(`/a/7.ec-${SMALL_RUN.runId}/7.${damaged}`, 60, 0)
          await test.open()
          expect(test.store.quarantine).toHaveLength(1)
          test.disk.cutPowerAfter(cut)
          const files = { ...coded.files, deleted: needleIds(5) }
          isDone = await test.store.createShardSet(files, FIRST.length).then(
            () => !test.disk.isPowerOff,
            () => false,
          )
          await settle()
          test.disk.restart()
          test.forget()
          await test.open()
          if (!isDone && test.store.quarantine.length > 0) {
            await test.store.createShardSet(files, FIRST.length)
          }
          const set = setOf(test)
          if (set === undefined) return expect.unreachable()
          expect([set.shards, journalOf(set)]).toEqual([
            [0, 1],
            [5, 8],
          ])
          await expectSound(set)
        }
      }
    }
  })
})

interface ModelState {
  readonly shards: Set<number>
  readonly acknowledged: Set<number>
  readonly asked: Set<number>
  /** Shards whose adding or removal was not answered. */
  readonly open: Set<number>
}

/**
 * One random step. Ids have one byte: a disk writes an entry whole or not, since it lies in one
 * sector, while this one may tear it anywhere. What it leaves when it is answered, or may leave
 * when it is not, is noted.
 */
async function step(set: ShardSet, state: ModelState, prng: Prng): Promise<void> {
  if (prng.chance(0.6)) {
    const ids = Array.from({ length: prng.between(1, 4) }, () => prng.between(1, 200))
    for (const id of ids) state.asked.add(id)
    await set.deleteNeedles(needleIds(...ids))
    for (const id of ids) state.acknowledged.add(id)
    return
  }
  // The last one stays: without any the set would go.
  const shard = prng.between(1, 4)
  if (state.open.has(shard)) return
  state.open.add(shard)
  if (set.has(shard)) {
    await set.removeShard(shard)
    state.shards.delete(shard)
  } else {
    await add(set, shard)
    state.shards.add(shard)
  }
  state.open.delete(shard)
}

// Goal: what was answered is there after any failure, and every shard that is there is whole.
// Method: several random steps at a time, some fault, power cut or dead process; reopen; compare.
test.each(seeds(200))('journal and shards keep what was answered (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  await using test = new TestStore(['/a'], { seed })
  await withShards(test, [0])
  const asked = new Set<number>()
  const acknowledged = new Set<number>()
  const state = { shards: new Set([0]), acknowledged, asked, open: new Set<number>() }
  for (let life = 0; life < 4; life++) {
    const fate = prng.pick(['cut', 'kill', 'sync', 'write', 'close'] as const)
    if (fate === 'cut') test.disk.cutPowerAfter(prng.between(1, 60))
    if (fate === 'sync') test.disk.failCall(prng.between(1, 10), 'EIO', ['datasync'])
    if (fate === 'write') test.disk.failCall(prng.between(1, 10), 'ENOSPC', ['writev'])
    const set = setOf(test)
    if (set === undefined) return expect.unreachable()
    for (let round = prng.between(1, 12); round > 0; round--) {
      const steps = Array.from({ length: prng.between(1, 4) }, () => step(set, state, prng))
      await Promise.allSettled(steps)
    }
    if (fate === 'close') await test.close()
    await settle()
    if (fate === 'kill' || fate === 'close') test.disk.killProcess()
    else test.disk.restart()
    test.forget()
    await test.open()
    await expectState(test, state)
  }
})

async function expectState(test: TestStore, state: ModelState): Promise<void> {
  const set = setOf(test)
  if (set === undefined) return expect.unreachable()
  const found = journalOf(set)
  expect(found).toEqual(expect.arrayContaining([...state.acknowledged]))
  expect([...state.asked, 0]).toEqual(expect.arrayContaining(found))
  for (const id of found) state.acknowledged.add(id)
  for (const shard of state.open) {
    if (set.has(shard)) state.shards.add(shard)
    else state.shards.delete(shard)
  }
  state.open.clear()
  expect(set.shards).toEqual([...state.shards].sort((a, b) => a - b))
  await expectSound(set)
}
