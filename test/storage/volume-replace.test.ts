import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
import { writeFully } from '../../src/runtime/disk.ts'
import type { VolumeDraft } from '../../src/storage/disk-location.ts'
import { flipped, smallVolume, type VolumeFiles } from '../support/small-volume.ts'
import { STORE_OPTIONS, TestStore, vid } from '../support/test-store.ts'
import { cookieOf, expectCode, SIGNAL, settle, TestVolume, toId } from '../support/test-volume.ts'

const old = await smallVolume()
const next = await nextVolume()
const NAME = { collection: '', volumeId: vid(7), sizeBytes: 1000 }
const REPLACE = { replacesBad: true } as const

/** A later state of the same volume: needle 1 was overwritten, 9 has come. */
async function nextVolume(): Promise<VolumeFiles> {
  await using test = TestVolume.over(old.files)
  await test.open()
  await test.put(1, 'newer')
  await test.put(9, 'nine')
  await test.close()
  return { dat: test.file('dat'), idx: test.file('idx'), sum: test.file('sum') }
}

function fill(files: Partial<VolumeFiles>): (draft: VolumeDraft) => Promise<void> {
  return async ({ disk, paths }) => {
    for (const [extension, bytes] of Object.entries(files)) {
      await using file = await disk.open(paths[extension as keyof VolumeFiles], 'create-new')
      await writeFully(file, [bytes], 0)
      await file.datasync()
    }
  }
}

/** A store whose volume 7 is `damaged`, `failed`, or set aside because it cannot be opened. */
async function storeWith(
  bad: 'damaged' | 'failed' | 'quarantined',
  options: { readonly seed?: number; readonly directories?: readonly string[] } = {},
): Promise<TestStore> {
  const { seed = 1, directories = ['/a'] } = options
  const test = new TestStore(directories, { seed })
  const { dat, idx, sum } = old.files
  // With a `.dat` shorter than what was durable it is damaged.
  const damaged = bad === 'damaged' ? dat.subarray(0, dat.length - 32) : dat
  test.disk.put('/a/7.dat', bad === 'quarantined' ? flipped(dat, 0, 0x70) : damaged)
  test.disk.put('/a/7.idx', idx)
  test.disk.put('/a/7.sum', sum)
  if (bad === 'failed') test.disk.put('/a/7.failed', Buffer.from('a sync failed'))
  await test.open()
  return test
}

async function readAll(test: TestStore): Promise<Record<number, string>> {
  const found: Record<number, string> = {}
  for (const id of [1, 2, 3, 9]) {
    const request = { id: toId(id), cookie: cookieOf(id) }
    const needle = await test
      .volume(7)
      .read(request)
      .catch(() => undefined)
    if (needle !== undefined && 'data' in needle) found[id] = needle.data.toString()
  }
  return found
}

const OLD = { 1: 'needle 1', 2: 'lives again', 3: 'overwritten' }
const NEW = { ...OLD, 1: 'newer', 9: 'nine' }

describe('a copy that replaces a bad one', () => {
  test.each(['damaged', 'failed', 'quarantined'] as const)(
    'takes the place of a %s one',
    async (bad) => {
      await using test = await storeWith(bad)
      expect(test.store.find(vid(7))?.volume.state).toBe(bad === 'quarantined' ? undefined : bad)
      await expectCode(test.store.adoptVolume(NAME, fill(next)), 'VOLUME_EXISTS')
      const { volume } = await test.store.adoptVolume(NAME, fill(next), REPLACE)
      expect([volume.state, volume.recovery.indexRebuilt]).toEqual(['writable', undefined])
      expect(await readAll(test)).toEqual(NEW)
      expect(test.store.quarantine).toEqual([])
      await test.close()
      const names = (await test.names('/a')).filter((name) => name.startsWith('7.'))
      expect(names).toEqual(['7.dat', '7.idx', '7.sum', '7.vif'])
      await test.open()
      expect(await readAll(test)).toEqual(NEW)
    },
  )

  test('without .idx and .sum takes over none of the bad copy', async () => {
    await using test = await storeWith('damaged')
    await test.store.adoptVolume(NAME, fill({ dat: next.dat }), REPLACE)
    expect(await readAll(test)).toEqual(NEW)
    expect(test.volume(7).state).toBe('writable')
  })

  test('while it is written leaves the bad one to be read, and nothing of it behind if it fails', async () => {
    await using test = await storeWith('failed')
    const failing = test.store.adoptVolume(
      NAME,
      async (draft) => {
        await fill(next)(draft)
        expect(await readAll(test)).toEqual(OLD)
        await expectCode(test.store.adoptVolume(NAME, fill(next), REPLACE), 'VOLUME_EXISTS')
        await expectCode(test.store.removeVolume(vid(7)), 'VOLUME_BUSY')
        throw new StoreError('PEER_FAILED', 'it ends in the middle')
      },
      REPLACE,
    )
    await expectCode(failing, 'PEER_FAILED')
    expect(await readAll(test)).toEqual(OLD)
    expect((await test.names('/a')).filter((name) => name.includes('.rp'))).toEqual([])
    await test.store.adoptVolume(NAME, fill(next), REPLACE)
    expect(await readAll(test)).toEqual(NEW)
  })

  test('does not come where the copy is good, or has become so meanwhile', async () => {
    await using test = await storeWith('failed')
    const outdated = test.store.adoptVolume(
      NAME,
      async (draft) => {
        await fill(next)(draft)
        await test.volume(7).vacuum({}, SIGNAL)
        const input = { id: toId(20), cookie: 1, data: Buffer.from('acked'), attributes: {} }
        await test.volume(7).put(input, SIGNAL)
      },
      REPLACE,
    )
    await expectCode(outdated, 'VOLUME_CHANGED')
    expect(await test.read(7, 20)).toBe('acked')
    await expectCode(test.store.adoptVolume(NAME, fill(next), REPLACE), 'VOLUME_EXISTS')
    await test.close()
    await test.open()
    expect(await test.read(7, 20)).toBe('acked')
    expect((await test.names('/a')).filter((name) => name.includes('.rp'))).toEqual([])
  })

  test('is an ordinary copy where there is none, or an unfinished one', async () => {
    await using test = new TestStore()
    test.disk.put('/a/8.dat', old.files.dat)
    test.disk.put('/a/8.note', Buffer.from('unfinished'))
    await test.open()
    for (const id of [7, 8]) {
      await test.store.adoptVolume({ ...NAME, volumeId: vid(id) }, fill(next), REPLACE)
      expect(test.volume(id).stats.liveNeedles).toBe(6)
    }
    expect(test.store.quarantine).toEqual([])
  })

  // Goal: after a power cut at any moment the bad copy or the new one is there, whole.
  // Method: the power goes at each call in turn, for each kind of bad copy.
  test.each(['damaged', 'failed', 'quarantined'] as const)(
    'with the power lost at any call: the %s one or the new one',
    async (bad) => {
      const seen = new Set<string>()
      for (let call = 1; ; call++) {
        await using test = await storeWith(bad, { seed: call })
        test.disk.cutPowerAfter(call)
        const outcome = await test.store.adoptVolume(NAME, fill(next), REPLACE).then(
          () => 'done',
          () => 'cut',
        )
        await settle()
        const isThrough = !test.disk.isPowerOff
        test.disk.restart()
        test.forget()
        await test.open()
        const isNew = test.store.find(vid(7))?.volume.state === 'writable'
        seen.add(isNew ? 'new' : 'old')
        if (outcome === 'done') expect(isNew).toBe(true)
        if (isNew) expect(await readAll(test)).toEqual(NEW)
        else if (bad === 'quarantined') expect(test.store.quarantine[0]?.path).toBe('/a/7.dat')
        else {
          expect(test.volume(7).state).toBe(bad)
          expect(await readAll(test)).toEqual(OLD)
        }
        expect((await test.names('/a')).filter((name) => name.includes('.rp'))).toEqual([])
        // Whatever it was, another try comes through.
        if (!isNew) await test.store.adoptVolume(NAME, fill(next), REPLACE)
        expect(await readAll(test)).toEqual(NEW)
        if (isThrough) {
          expect([...seen].toSorted()).toEqual(['new', 'old'])
          return
        }
      }
    },
  )

  test('with a vacuum of the bad copy half-way through its switch: that is not finished', async () => {
    for (let call = 1; call <= 60; call++) {
      await using test = await storeWith('damaged', { seed: call })
      test.disk.put('/a/7.cpd', old.files.dat)
      test.disk.put('/a/7.cpc', Buffer.alloc(0))
      test.disk.cutPowerAfter(call)
      await test.store.adoptVolume(NAME, fill(next), REPLACE).catch(() => 'cut')
      await settle()
      test.disk.restart()
      test.forget()
      await test.open()
      const found = await readAll(test)
      expect([OLD, NEW]).toContainEqual(found)
    }
  })
})

describe('when the disk of the bad copy has no room', () => {
  async function twoDisks(seed = 1): Promise<TestStore> {
    const test = await storeWith('failed', { seed, directories: ['/a', '/b'] })
    const { space } = test.store.locations[0] ?? {}
    // The disks are one in this model: only what the guard says differs.
    space?.onAppended(space.freeBytes - MIB)
    if (space !== undefined) space.refresh = async () => undefined
    return test
  }

  test('another one takes the new copy, then the bad one goes', async () => {
    await using test = await twoDisks()
    const { volume } = await test.store.adoptVolume(NAME, fill(next), REPLACE)
    expect(volume.paths.dat).toBe('/b/7.dat')
    expect((await test.names('/a')).filter((name) => name.startsWith('7.'))).toEqual([])
    expect(await readAll(test)).toEqual(NEW)
  })

  test('a power cut between the two leaves both: the good one serves', async () => {
    for (let call = 1; ; call++) {
      await using test = await twoDisks(call)
      test.disk.cutPowerAfter(call)
      await test.store.adoptVolume(NAME, fill(next), REPLACE).catch(() => 'cut')
      await settle()
      const isThrough = !test.disk.isPowerOff
      test.disk.restart()
      test.forget()
      await test.open()
      const { state } = test.volume(7)
      expect(await readAll(test)).toEqual(state === 'failed' ? OLD : NEW)
      await test.close()
      if (isThrough) return
    }
  })

  test('and no other either, it is DISK_FULL', async () => {
    await using test = await storeWith('failed')
    const { totalBytes, freeBytes } = await test.disk.space('/a')
    test.disk.capacityBytes = totalBytes - freeBytes + (STORE_OPTIONS.space.reserveBytes ?? 0)
    await expectCode(test.store.adoptVolume(NAME, fill(next), REPLACE), 'DISK_FULL')
    expect(await readAll(test)).toEqual(OLD)
    await test.close()
  })
})

describe('a volume removed if it is as expected', () => {
  test('goes when nothing was written since, and stays otherwise', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(1)
    await test.put(1, 5, 'one')
    const before = test.volume(1).extent
    await test.put(1, 6, 'two')
    await expectCode(test.store.removeVolume(vid(1), before), 'VOLUME_CHANGED')
    expect(await test.read(1, 6)).toBe('two')
    const { extent } = test.volume(1)
    await test.volume(1).vacuum({}, SIGNAL)
    await expectCode(test.store.removeVolume(vid(1), extent), 'VOLUME_CHANGED')
    await test.store.removeVolume(vid(1), test.volume(1).extent)
    expect(test.store.find(vid(1))).toBeUndefined()
    expect((await test.names('/a')).filter((name) => name.startsWith('1.'))).toEqual([])
  })

  // Goal: what was acknowledged is never removed.
  // Method: puts come at each call of the removal; whoever is told "stored" finds it.
  test('loses no write that was acknowledged, whenever it comes', async () => {
    const outcomes = new Set<string>()
    for (let call = 0; call < 30; call++) {
      await using test = new TestStore(['/a'], { seed: call })
      await test.open()
      await test.createVolume(1)
      await test.put(1, 5, 'one')
      const { extent } = test.volume(1)
      const writes: Promise<boolean>[] = []
      const write = (): void => {
        if (test.store.find(vid(1)) === undefined) return
        const put = test.put(1, 100 + writes.length, 'late')
        writes.push(
          put.then(
            () => true,
            () => false,
          ),
        )
      }
      let left = call
      test.hooks.before = () => {
        if (--left <= 0) write()
      }
      if (call % 3 === 0) {
        write()
        await settle(1)
      }
      const removing = test.store.removeVolume(vid(1), extent)
      write()
      const isRemoved = await removing.then(
        () => true,
        () => false,
      )
      test.hooks.before = undefined
      const isAcked = (await Promise.all(writes)).includes(true)
      outcomes.add(`${isRemoved ? 'removed' : 'stays'} ${isAcked ? 'acked' : 'refused'}`)
      expect(isRemoved && isAcked).toBe(false)
      if (!isRemoved) expect(await test.read(1, 5)).toBe('one')
    }
    expect([...outcomes].toSorted()).toEqual(['removed refused', 'stays acked'])
  })

  test('waits for nobody and is refused while it is vacuumed', async () => {
    await using test = new TestStore()
    await test.open()
    await test.createVolume(1)
    await test.put(1, 5, 'one')
    const { extent } = test.volume(1)
    const vacuuming = test.volume(1).vacuum({}, SIGNAL)
    await expectCode(test.store.removeVolume(vid(1), extent), 'VOLUME_BUSY')
    await vacuuming
    expect(await test.read(1, 5)).toBe('one')
  })
})
