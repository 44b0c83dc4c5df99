import { describe, expect, test } from 'vitest'
import { smallVolume } from '../support/small-volume.ts'
import { TestStore, vid } from '../support/test-store.ts'
import { expectCode, PLAIN_SUPER_BLOCK, settle } from '../support/test-volume.ts'

const OURS = '01234567-89ab-4cde-8f01-23456789abcd'
const THEIRS = 'ffffffff-89ab-4cde-8f01-23456789abcd'
const { files } = await smallVolume()

describe('the cluster of a directory', () => {
  test('is none at first, then the one that claims it, over restarts and for ever', async () => {
    await using test = new TestStore(['/a', '/b'])
    await test.open()
    const ids = () => test.store.locations.map(({ clusterId }) => clusterId)
    expect([ids(), test.store.clusterId]).toEqual([['', ''], ''])
    await Promise.all([test.store.claim(OURS), test.store.claim(OURS)])
    expect(ids()).toEqual([OURS, OURS])
    expect(test.disk.contents('/a/cluster.id').toString()).toBe(`${OURS}\n`)
    test.disk.restart()
    test.forget()
    await test.open()
    expect(ids()).toEqual([OURS, OURS])
    await test.store.claim(THEIRS)
    expect(ids()).toEqual([OURS, OURS])
  })

  test('that is another one takes nothing new, and serves what it has', async () => {
    await using test = new TestStore(['/a', '/b'])
    test.disk.put('/a/cluster.id', Buffer.from(THEIRS))
    test.disk.put('/a/7.dat', files.dat)
    await test.open()
    await test.store.claim(OURS)
    const [a, b] = test.store.locations
    if (a === undefined || b === undefined) throw new Error('two directories')
    expect([test.store.isForeign(a), test.store.isForeign(b)]).toEqual([true, false])
    expect([a.isForeign(OURS), a.isForeign(THEIRS), b.isForeign(OURS)]).toEqual([
      true,
      false,
      false,
    ])
    b.space.onAppended(1000)
    for (const id of [1, 2]) {
      const name = { collection: '', volumeId: vid(id) }
      const { volume } = await test.store.createVolume(name, PLAIN_SUPER_BLOCK)
      expect(volume.paths.directory).toBe('/b')
    }
    expect(test.volume(7).stats.liveNeedles).toBe(5)
    expect(test.disk.contents('/a/cluster.id').toString()).toBe(THEIRS)
  })

  test('when all are foreign makes a new volume DISK_FULL', async () => {
    await using test = new TestStore()
    test.disk.put('/a/cluster.id', Buffer.from(THEIRS))
    await test.open()
    await test.store.claim(OURS)
    const name = { collection: '', volumeId: vid(1), sizeBytes: 10 }
    await expectCode(test.store.createVolume(name, PLAIN_SUPER_BLOCK), 'DISK_FULL')
    await expectCode(
      test.store.adoptVolume(name, async () => undefined),
      'DISK_FULL',
    )
  })

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['spaces', Buffer.from('a b\n')],
    ['control characters', Buffer.from([1, 2, 3])],
    ['too much', Buffer.alloc(65, 'x')],
    ['a long file', Buffer.alloc(100_000, 'x')],
  ])(
    'that cannot be read, being %s, is a stranger: listed, and left as it is',
    async (_, bytes) => {
      await using test = new TestStore()
      test.disk.put('/a/cluster.id', bytes)
      test.disk.put('/a/7.dat', files.dat)
      await test.open()
      expect(test.store.quarantine).toMatchObject([
        { path: '/a/cluster.id', code: 'METADATA_CORRUPT' },
      ])
      await test.store.claim(OURS)
      expect(test.store.locations.map((location) => test.store.isForeign(location))).toEqual([true])
      expect(test.disk.contents('/a/cluster.id').equals(bytes)).toBe(true)
      expect(test.volume(7).stats.liveNeedles).toBe(5)
    },
  )

  test('with the power lost at any call of a claim is none or the one, the one when told so', async () => {
    for (let call = 1; ; call++) {
      await using test = new TestStore(['/a'], { seed: call })
      await test.open()
      test.disk.cutPowerAfter(call)
      const outcome = await test.store.claim(OURS).then(
        () => 'done',
        () => 'cut',
      )
      await settle()
      const isThrough = !test.disk.isPowerOff
      test.disk.restart()
      test.forget()
      await test.open()
      expect(test.store.quarantine).toEqual([])
      const clusterId = test.store.locations[0]?.clusterId ?? ''
      expect(outcome === 'done' ? [OURS] : ['', OURS]).toContain(clusterId)
      if (isThrough) {
        expect(call).toBeGreaterThan(3)
        return
      }
    }
  })

  test('on a full disk stays none, and the next claim goes through', async () => {
    await using test = new TestStore(['/a', '/b'])
    await test.open()
    test.disk.failCall(1, 'ENOSPC', ['writev'])
    await expectCode(test.store.claim(OURS), 'DISK_FULL')
    const claimed = test.store.locations.filter(({ clusterId }) => clusterId === OURS)
    expect(claimed).toHaveLength(1)
    await test.store.claim(OURS)
    expect(test.store.locations.every(({ clusterId }) => clusterId === OURS)).toBe(true)
  })
})
