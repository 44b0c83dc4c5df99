import { describe, expect, test } from 'vitest'
import type { ShardSet } from '../../src/storage/shard-set.ts'
import {
  expectSound,
  journalOf,
  makeCodedVolume,
  needleIds,
  SMALL_RUN,
  shardOf,
} from '../support/coded-store.ts'
import { flipped } from '../support/small-volume.ts'
import { TestStore, vid } from '../support/test-store.ts'
import { expectCode } from '../support/test-volume.ts'

const OTHER_RUN = '1700000000000000002'
const coded = await makeCodedVolume()
const other = await makeCodedVolume({ ...SMALL_RUN, runId: OTHER_RUN, parityShards: 1 })
const [FIRST = Buffer.alloc(0)] = coded.shards
const RUN_DIRECTORY = `7.ec-${SMALL_RUN.runId}`
const DIRECTORY = `/a/${RUN_DIRECTORY}`

async function add(set: ShardSet, ...shards: number[]): Promise<void> {
  const from = set.run.runId === OTHER_RUN ? other : coded
  for (const shard of shards) {
    await set.addShard(shard, (sink) => sink.write(from.shards[shard] ?? Buffer.alloc(0)))
  }
}

/** A store with one set of shards 0 and 3, with a deletion, closed. */
async function withSet(test: TestStore): Promise<void> {
  await test.open()
  const set = await test.store.createShardSet(coded.files, FIRST.length)
  await add(set, 0, 3)
  await set.deleteNeedles(needleIds(5))
  await test.close()
}

function onlySet(test: TestStore): ShardSet {
  const [set, ...more] = test.store.shardSets(vid(7))
  if (set === undefined || more.length > 0) throw new Error(`${more.length + 1} sets, or none`)
  return set
}

describe('a start', () => {
  test('serves the sets beside the volumes, and does not touch them', async () => {
    await using test = new TestStore()
    await withSet(test)
    const before = test.disk.durableFiles()
    await test.open()
    const set = onlySet(test)
    expect([...test.store.allShardSets()]).toEqual([{ set, location: test.store.locations[0] }])
    expect([...(test.store.locations[0]?.shardSets ?? [])]).toEqual([set])
    expect([set.shards, journalOf(set)]).toEqual([[0, 3], [5]])
    expect(test.store.quarantine).toEqual([])
    await test.close()
    expect(test.disk.durableFiles()).toEqual(before)
  })

  test('removes drafts of shards and of files', async () => {
    await using test = new TestStore()
    await withSet(test)
    for (const name of ['7.ec01.draft', '7.vif.tmp', '7.ecx.tmp', '7.failed.tmp']) {
      test.disk.put(`${DIRECTORY}/${name}`, Buffer.from('half'))
    }
    await test.open()
    expect(await test.names(DIRECTORY)).toEqual(
      ['ec00', 'ec03', 'ecj', 'ecsum', 'ecx', 'vif'].map((extension) => `7.${extension}`),
    )
    await expectSound(onlySet(test))
  })

  test.each([
    ['a draft, with all but its .vif', 'vif'],
    ['half removed', 'vif ecx ec00'],
    ['without a shard', 'ec00 ec03'],
  ])('removes a set that is %s', async (_what, missing) => {
    await using test = new TestStore()
    await withSet(test)
    for (const extension of missing.split(' '))
      await test.disk.unlink(`${DIRECTORY}/7.${extension}`)
    if (missing === 'vif') test.disk.put(`${DIRECTORY}/7.vif.tmp`, Buffer.from('half'))
    await test.open()
    expect(test.store.shardSets(vid(7))).toEqual([])
    expect(test.store.quarantine).toEqual([])
    expect(await test.names('/a')).not.toContain(RUN_DIRECTORY)
    test.disk.restart()
    test.forget()
    await test.open()
    expect(await test.names('/a')).not.toContain(RUN_DIRECTORY)
  })

  test('leaves other directories alone', async () => {
    await using test = new TestStore()
    for (const name of ['7.ec-0', 'x.ec-1', 'ec-1', '7.ec-1x']) test.disk.put(`/a/${name}/f`, FIRST)
    await test.open()
    expect(test.store.quarantine).toEqual([])
    for (const name of ['7.ec-0', 'x.ec-1', 'ec-1', '7.ec-1x']) {
      expect(await test.names(`/a/${name}`)).toEqual(['f'])
    }
  })

  test('sets a directory aside that it cannot remove', async () => {
    await using test = new TestStore()
    test.disk.put('/a/7.ec-1/mine/notes', FIRST)
    await test.open()
    expect(test.store.quarantine).toMatchObject([{ path: '/a/7.ec-1' }])
    expect(await test.names('/a/7.ec-1/mine')).toEqual(['notes'])
  })
})

describe('a set that cannot be used is set aside with a reason, and the rest serves', () => {
  const codes = { vif: 'VOLUME_INFO_CORRUPT', ecx: 'INDEX_CORRUPT', ecsum: 'SIDECAR_CORRUPT' }

  test.each(Object.entries(codes))('when its .%s is altered: %s', async (extension, code) => {
    await using test = new TestStore()
    await withSet(test)
    await test.open()
    await add(await test.store.createShardSet(other.files, FIRST.length), 1)
    await test.close()
    const path = `${DIRECTORY}/7.${extension}`
    const good = test.disk.contents(path)
    for (const bytes of [flipped(good, good.length >> 1, 1), good.subarray(0, -8)]) {
      test.disk.put(path, bytes)
      const before = test.disk.durableFiles()
      await test.open()
      expect(test.store.quarantine).toMatchObject([{ path: DIRECTORY, code }])
      expect(onlySet(test).run.runId).toBe(OTHER_RUN)
      await test.close()
      expect(test.disk.durableFiles()).toEqual(before)
    }
  })

  test.each(['ecx', 'ecsum', 'ecj'])('when its .%s is missing', async (extension) => {
    await using test = new TestStore()
    await withSet(test)
    await test.disk.unlink(`${DIRECTORY}/7.${extension}`)
    await test.open()
    expect(test.store.quarantine).toMatchObject([{ path: DIRECTORY, code: 'PATH_NOT_FOUND' }])
  })

  test.each(['vif', 'ecx', 'ecsum'])('when its .%s is that of another run', async (extension) => {
    await using test = new TestStore()
    await withSet(test)
    await test.open()
    await add(await test.store.createShardSet(other.files, FIRST.length), 1)
    await test.close()
    const foreign = test.disk.contents(`/a/7.ec-${OTHER_RUN}/7.${extension}`)
    // The needles are the same, and so would the index be.
    const bytes = extension === 'ecx' ? foreign.subarray(16) : foreign
    test.disk.put(`${DIRECTORY}/7.${extension}`, bytes)
    await test.open()
    expect(test.store.quarantine).toHaveLength(1)
    expect(onlySet(test).run.runId).toBe(OTHER_RUN)
  })

  test('when a disk cannot read it', async () => {
    await using test = new TestStore()
    await withSet(test)
    await test.open()
    await test.createVolume(8)
    await test.put(8, 1, 'served')
    await test.close()
    test.hooks.before = ({ kind, path }) => {
      if (kind === 'open' && path.endsWith('.ec03')) test.disk.failCall(1, 'EIO', ['open'])
    }
    await test.open()
    expect(test.store.quarantine).toMatchObject([{ path: DIRECTORY, code: 'DISK_FAILED' }])
    expect(await test.read(8, 1)).toBe('served')
  })

  test('and is back, with shards and deletes, once its files are made anew', async () => {
    for (const extension of ['vif', 'ecx', 'ecsum', 'ecj']) {
      await using test = new TestStore()
      await withSet(test)
      if (extension === 'ecj') await test.disk.unlink(`${DIRECTORY}/7.ecj`)
      else test.disk.flipBit(`${DIRECTORY}/7.${extension}`, 50, 0)
      await test.open()
      expect(test.store.quarantine).toHaveLength(1)
      await expectCode(
        test.store.createShardSet({ ...coded.files, ecx: other.files.ecx.subarray(16) }, 1),
        'INDEX_CORRUPT',
      )
      expect(test.store.quarantine).toHaveLength(1)
      const files = { ...coded.files, deleted: needleIds(6) }
      const set = await test.store.createShardSet(files, FIRST.length)
      expect(test.store.quarantine).toEqual([])
      expect(set.shards).toEqual([0, 3])
      expect(journalOf(set)).toEqual(extension === 'ecj' ? [6] : [5, 6])
      await test.close()
      await test.open()
      expect(test.store.quarantine).toEqual([])
      await expectSound(onlySet(test))
    }
  })
})

test('a draft that a start could not remove gives none of its shards to a new set', async () => {
  await using test = new TestStore()
  await withSet(test)
  await test.disk.unlink(`${DIRECTORY}/7.vif`)
  test.hooks.before = ({ kind, path }) => {
    if (kind === 'unlink' && path.endsWith('.ec00')) test.disk.failCall(1, 'EIO', ['unlink'])
  }
  await test.open()
  test.hooks.before = undefined
  expect(test.store.quarantine).toMatchObject([{ path: DIRECTORY, code: 'DISK_FAILED' }])
  const set = await test.store.createShardSet(coded.files, FIRST.length)
  expect([set.shards, journalOf(set)]).toEqual([[], []])
  expect(test.store.quarantine).toEqual([])
  await add(set, 1)
  await expectSound(set)
})

describe('several sets', () => {
  test('of two runs of a volume are told apart, the newest last', async () => {
    await using test = new TestStore()
    await test.open()
    const newer = await test.store.createShardSet(other.files, FIRST.length)
    const older = await test.store.createShardSet(coded.files, FIRST.length)
    await add(newer, 2)
    await add(older, 0)
    expect(test.store.shardSets(vid(7))).toEqual([older, newer])
    expect(test.store.shardSet(vid(7), OTHER_RUN)).toEqual([newer])
    expect(test.store.shardSet(vid(7), '3')).toEqual([])
    expect(test.store.shardSets(vid(8))).toEqual([])
    await test.store.removeShardSet(older)
    await test.store.removeShardSet(older)
    expect(onlySet(test)).toBe(newer)
    expect(await shardOf(newer, 2)).toEqual(other.shards[2])
    await test.close()
    await test.open()
    expect(onlySet(test).run.runId).toBe(OTHER_RUN)
  })

  test('of one run go to as many disks as there are, never twice to one', async () => {
    await using test = new TestStore(['/a', '/b', '/c'])
    await test.open()
    const directories = new Set<string>()
    for (let count = 0; count < 3; count++) {
      const where = { spreadOver: true }
      const set = await test.store.createShardSet(coded.files, FIRST.length, where)
      await add(set, 1, 2)
      directories.add(set.directory)
      await expectCode(test.store.createShardSet(coded.files, FIRST.length), 'VOLUME_EXISTS')
    }
    expect([...directories].sort()).toEqual(
      ['/a', '/b', '/c'].map((at) => `${at}/${RUN_DIRECTORY}`),
    )
    const again = test.store.createShardSet(coded.files, 1, { spreadOver: true })
    await expectCode(again, 'VOLUME_EXISTS')
    await test.close()
    await test.open()
    expect(test.store.shardSets(vid(7)).map(({ shards }) => shards)).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
    ])
    expect([...test.store.allShardSets()].map(({ location }) => location.directory)).toEqual([
      '/a',
      '/b',
      '/c',
    ])
    const [first] = test.store.shardSets(vid(7))
    if (first !== undefined) await test.store.removeShardSet(first)
    expect(test.store.shardSet(vid(7), SMALL_RUN.runId)).toHaveLength(2)
  })

  test('go where there is room, and nowhere in a directory of another cluster', async () => {
    await using test = new TestStore(['/a', '/b'], { space: { reserveBytes: 0, ballastBytes: 0 } })
    test.disk.put('/a/cluster.id', Buffer.from('theirs\n'))
    await test.open()
    await test.store.claim('ours')
    const set = await test.store.createShardSet(coded.files, FIRST.length)
    expect(set.directory).toBe(`/b/${RUN_DIRECTORY}`)
    await expectCode(test.store.createShardSet(other.files, 2 ** 41), 'DISK_FULL')
    expect(await test.names('/b')).not.toContain(`7.ec-${OTHER_RUN}`)
  })

  test('made at the same time under one name are one, and VOLUME_BUSY', async () => {
    await using test = new TestStore()
    await test.open()
    const [made, refused] = await Promise.allSettled([
      test.store.createShardSet(coded.files, FIRST.length),
      test.store.createShardSet(coded.files, FIRST.length),
    ])
    expect([made.status, refused.status]).toEqual(['fulfilled', 'rejected'])
    expect(refused).toMatchObject({ reason: { code: 'VOLUME_BUSY' } })
    await add(onlySet(test), 0)
  })
})

describe('a set', () => {
  test.each(['datasync', 'create', 'rename', 'syncDirectory', 'writev'] as const)(
    'is not there when a %s of its making fails',
    async (kind) => {
      for (let nth = 1, hasFailed = true; hasFailed; nth++) {
        await using test = new TestStore()
        await test.open()
        test.disk.failCall(nth, 'EIO', [kind])
        const making = test.store.createShardSet(coded.files, FIRST.length)
        hasFailed = await making.then(
          () => false,
          () => true,
        )
        if (!hasFailed) break
        expect(test.store.shardSets(vid(7))).toEqual([])
        expect(await test.names('/a')).not.toContain(RUN_DIRECTORY)
        await add(await test.store.createShardSet(coded.files, FIRST.length), 0)
        await expectSound(onlySet(test))
      }
    },
  )

  test.each([
    ['INDEX_CORRUPT', { ecx: coded.files.ecx.subarray(16) }],
    ['SIDECAR_CORRUPT', { checksums: other.files.checksums }],
    ['SIDECAR_CORRUPT', { checksums: { ...coded.files.checksums, runId: OTHER_RUN } }],
  ] as const)('whose files contradict each other is %s', async (code, wrong) => {
    await using test = new TestStore()
    await test.open()
    await expectCode(test.store.createShardSet({ ...coded.files, ...wrong }, 1), code)
    expect(await test.names('/a')).not.toContain(RUN_DIRECTORY)
  })

  test('that is removed while it is read and written ends first', async () => {
    await using test = new TestStore()
    await test.open()
    const set = await test.store.createShardSet(coded.files, FIRST.length)
    await add(set, 0)
    const bytes = Buffer.alloc(FIRST.length)
    const reading = set.read(0, bytes, 0)
    const deleting = set.deleteNeedles(needleIds(1))
    await Promise.all([test.store.removeShardSet(set), reading, deleting])
    expect(bytes.equals(FIRST)).toBe(true)
    await expectCode(set.deleteNeedles(needleIds(2)), 'CLOSED')
    expect(await test.names('/a')).not.toContain(RUN_DIRECTORY)
  })

  test('that arrives while the store is closed is closed with it', async () => {
    await using test = new TestStore()
    await test.open()
    const making = test.store.createShardSet(coded.files, FIRST.length)
    const outcome = making.then(
      () => 'made',
      (error: { code: string }) => error.code,
    )
    await test.close()
    expect(['made', 'CLOSED']).toContain(await outcome)
    expect(test.disk.openFiles).toBe(0)
  })
})
