import { describe, expect, test } from 'vitest'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import { DiskLocation } from '../../src/storage/disk-location.ts'
import { Prng } from '../support/prng.ts'
import { flipped, smallVolume } from '../support/small-volume.ts'
import { STORE_OPTIONS, TestStore, vid } from '../support/test-store.ts'
import { expectCode, SIGNAL, settle } from '../support/test-volume.ts'

const { files } = await smallVolume()

/** What a store says of the files it did not take into service. */
function setAside(test: TestStore): (readonly [path: string, code: string])[] {
  return test.store.quarantine.map(({ path, code }) => [path, code] as const)
}

describe('the lock of a directory', () => {
  test('keeps a second store out until the first is closed', async () => {
    await using test = new TestStore()
    await test.open()
    const other = () => DiskLocation.open(test.parts, '/a', STORE_OPTIONS, SIGNAL)
    await expectCode(other(), 'DIRECTORY_LOCKED')
    await test.close()
    await using location = await other()
    expect(location.volumes.size).toBe(0)
  })

  test('is let go when opening fails, and when the process dies', async () => {
    await using test = new TestStore(['/a', '/a'])
    await expectCode(test.open(), 'DIRECTORY_LOCKED')
    expect(test.disk.openFiles).toBe(0)
    await using other = new TestStore()
    await other.open()
    other.disk.killProcess()
    other.forget()
    await other.open()
  })
})

describe('a directory', () => {
  test('that is missing is made; its id stays the same over restarts', async () => {
    await using test = new TestStore(['/deep/er'])
    await test.open()
    const id = test.store.locations[0]?.directoryId
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    test.disk.restart()
    test.forget()
    await test.open()
    expect(test.store.locations[0]?.directoryId).toBe(id)
  })

  test('whose id file is garbage gets a new id', async () => {
    await using test = new TestStore()
    test.disk.put('/a/vol_dir.uuid', Buffer.from('not a uuid'))
    await test.open()
    expect(test.store.locations[0]?.directoryId).toMatch(/^[0-9a-f-]{36}$/)
  })

  test('that is a file is DIRECTORY_UNUSABLE', async () => {
    await using test = new TestStore()
    test.disk.put('/a', Buffer.from('a file'))
    await expectCode(test.open(), 'DIRECTORY_UNUSABLE')
  })

  test('given twice under two names is CONFIG_INVALID: one of them is a copy', async () => {
    await using test = new TestStore(['/a', '/b'])
    const id = Buffer.from('01234567-89ab-4cde-8f01-23456789abcd\n')
    test.disk.put('/a/vol_dir.uuid', id)
    test.disk.put('/b/vol_dir.uuid', id)
    await expectCode(test.open(), 'CONFIG_INVALID')
  })
})

describe('what cannot be used is set aside with a reason and not touched; the rest serves', () => {
  const bad: Readonly<Record<string, readonly [bytes: Buffer, code: string]>> = {
    '10.dat': [Buffer.alloc(0), 'SUPER_BLOCK_CORRUPT'],
    '11.dat': [Buffer.alloc(7), 'SUPER_BLOCK_CORRUPT'],
    '12.dat': [flipped(files.dat, 0, 0x07), 'VERSION_UNSUPPORTED'],
    '13.dat': [
      Buffer.from('#!/bin/sh\necho this is a script, not a volume\n'),
      'VERSION_UNSUPPORTED',
    ],
    'photos_14.dat': [flipped(files.dat, 3, 9), 'SUPER_BLOCK_CORRUPT'],
    'notes.dat': [Buffer.from('notes'), 'NOT_A_VOLUME'],
    '007.dat': [files.dat, 'NOT_A_VOLUME'],
    '4294967296.dat': [files.dat, 'NOT_A_VOLUME'],
    'list.idx': [Buffer.from('x'), 'NOT_A_VOLUME'],
  }

  test('each kind of bad file has its code', async () => {
    await using test = new TestStore()
    for (const [name, [bytes]] of Object.entries(bad)) test.disk.put(`/a/${name}`, bytes)
    test.disk.put('/a/15.dat', files.dat)
    test.disk.put('/a/15.vif', Buffer.from('no JSON'))
    test.disk.put('/a/16.dat', files.dat)
    test.disk.put('/a/16.note', Buffer.from('a copy under way'))
    test.disk.put('/a/readme.txt', Buffer.from('ignored'))
    test.disk.put('/a/1.ec00', Buffer.from('ignored'))
    test.disk.put('/a/1.ecx', Buffer.from('ignored'))
    test.disk.put('/a/7.dat', files.dat)
    const before = new Map<string, Buffer>()
    for (const name of await test.names('/a')) before.set(name, test.disk.contents(`/a/${name}`))
    await test.open()
    const expected = [
      ...Object.entries(bad).map(([name, [, code]]) => [`/a/${name}`, code]),
      ['/a/15.dat', 'VOLUME_INFO_CORRUPT'],
      ['/a/16.dat', 'NOT_A_VOLUME'],
    ]
    expect(setAside(test).toSorted()).toEqual(expected.toSorted())
    for (const { reason } of test.store.quarantine) expect(reason.length).toBeGreaterThan(10)
    expect([...test.store.volumes()].map(({ volumeId }) => volumeId)).toEqual([7])
    expect(test.volume(7).stats.liveNeedles).toBe(5)
    await test.put(7, 50, 'goes on')
    await test.close()
    for (const [name, bytes] of before) {
      if (!name.startsWith('7.')) expect(test.disk.contents(`/a/${name}`)).toEqual(bytes)
    }
    const added = (await test.names('/a')).filter((name) => !before.has(name))
    expect(added).toEqual(['7.idx', '7.sum', 'ballast', 'hayloft.lock', 'vol_dir.uuid'])
  })

  test('a disk that cannot read one volume serves the others', async () => {
    await using test = new TestStore()
    for (const id of [1, 2, 3]) test.disk.put(`/a/${id}.dat`, files.dat)
    test.hooks.before = ({ kind, path }) => {
      if (kind !== 'read' || path !== '/a/2.dat') return
      throw new StoreError('DISK_FAILED', 'the disk cannot read this')
    }
    await test.open()
    expect(setAside(test)).toEqual([['/a/2.dat', 'DISK_FAILED']])
    expect([...test.store.volumes()].map(({ volumeId }) => volumeId).toSorted()).toEqual([1, 3])
  })

  test('one id under two collections: the first by name serves, the other is set aside', async () => {
    for (let seed = 1; seed <= 10; seed++) {
      await using test = new TestStore(['/a'], { seed })
      test.disk.put('/a/7.dat', files.dat)
      test.disk.put('/a/photos_7.dat', files.dat)
      await test.open()
      expect(setAside(test)).toEqual([['/a/photos_7.dat', 'VOLUME_EXISTS']])
      expect(test.store.get(vid(7)).collection).toBe('')
    }
  })

  test('one id in two directories: the first directory serves, the other is set aside', async () => {
    await using test = new TestStore(['/a', '/b'])
    test.disk.put('/a/7.dat', files.dat)
    test.disk.put('/b/7.dat', files.dat)
    test.disk.put('/b/8.dat', files.dat)
    await test.open()
    expect(setAside(test)).toEqual([['/b/7.dat', 'VOLUME_EXISTS']])
    expect(test.volume(7).paths.dat).toBe('/a/7.dat')
    expect(test.volume(8).stats.liveNeedles).toBe(5)
  })
})

describe('what an interrupted run left behind', () => {
  test('is removed: drafts and spool files of volumes, nothing else', async () => {
    await using test = new TestStore()
    const left = ['7.dat.tmp', '7.idx.tmp', 'c_8.sum.tmp', '7.vif.tmp', '7.failed.tmp', '9.spool-3']
    const others = ['my.tmp', 'x.idx.tmp', '7.spool-', 'spool-1', '7.tmp']
    for (const name of [...left, ...others]) test.disk.put(`/a/${name}`, Buffer.alloc(10))
    test.disk.put('/a/7.dat', files.dat)
    await test.open()
    const names = await test.names('/a')
    expect(names.filter((name) => left.includes(name))).toEqual([])
    expect(names.filter((name) => others.includes(name))).toEqual(others.toSorted())
  })

  test('of a vacuum is removed without its marker and finished with it', async () => {
    for (const hasMarker of [false, true]) {
      await using test = new TestStore()
      const next = flipped(files.dat, 5, 1)
      test.disk.put('/a/7.dat', files.dat)
      test.disk.put('/a/7.cpd', next)
      if (hasMarker) test.disk.put('/a/7.cpc', Buffer.alloc(0))
      await test.open()
      expect(test.volume(7).superBlock.compactionRevision).toBe(hasMarker ? 1 : 0)
      expect(test.volume(7).stats.liveNeedles).toBe(5)
      expect((await test.names('/a')).filter((name) => name.includes('.cp'))).toEqual([])
    }
  })
})

describe('opening many', () => {
  test('50 volumes are open, 4 at a time; an abort closes what was opened', async () => {
    await using test = new TestStore()
    for (let id = 1; id <= 50; id++) test.disk.put(`/a/${id}.dat`, files.dat)
    await test.open()
    expect([...test.store.volumes()]).toHaveLength(50)
    await test.close()
    const aborting = new AbortController()
    let opened = 0
    test.hooks.before = ({ kind, path }) => {
      if (kind === 'open' && path.endsWith('.dat') && ++opened === 10) aborting.abort()
    }
    const opening = DiskLocation.open(test.parts, '/a', STORE_OPTIONS, aborting.signal)
    await expectCode(opening, 'CANCELLED')
    expect(test.disk.openFiles).toBe(0)
  })

  test('power lost at any call of a start: the next one serves everything', async () => {
    for (let call = 1; call <= 40; call++) {
      await using test = new TestStore(['/a'], { seed: call })
      test.disk.put('/a/1.dat', files.dat)
      test.disk.put('/a/2.dat', Buffer.concat([files.dat, new Prng(call).bytes(100)]))
      test.disk.put('/a/2.idx', files.idx)
      test.disk.put('/a/2.sum', files.sum)
      test.disk.cutPowerAfter(call)
      await test.open().catch((error: unknown) => {
        if (isStoreError(error) || !test.disk.isPowerOff) throw error
      })
      await settle()
      test.disk.restart()
      test.forget()
      await test.open()
      expect(test.store.quarantine).toEqual([])
      for (const id of [1, 2]) expect(test.volume(id).stats.liveNeedles).toBe(5)
    }
  })
})
