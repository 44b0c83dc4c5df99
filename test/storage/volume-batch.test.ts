import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { MIB } from '../../src/base/units.ts'
import { Volume } from '../../src/storage/volume.ts'
import { volumePaths } from '../../src/storage/volume-paths.ts'
import { Prng } from '../support/prng.ts'
import {
  cookieOf,
  DIRECTORY,
  expectCode,
  PATHS,
  PLAIN_SUPER_BLOCK,
  SIGNAL,
  settle,
  TestVolume,
  toId,
} from '../support/test-volume.ts'

const prng = new Prng(1)

/** Holds up every call of one kind on `.dat` until told otherwise. */
function gate(test: TestVolume, kind: 'writev' | 'datasync') {
  let open = () => {}
  let isClosed = true
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  test.hooks.before = (call) =>
    isClosed && call.kind === kind && call.path === PATHS.dat ? opened : undefined
  return {
    open() {
      isClosed = false
      open()
    },
  }
}

describe('group commit', () => {
  test.each([1, 2, 100, 1024])('%d waiting puts cost one write and one sync', async (count) => {
    await using test = await TestVolume.create()
    const before = { ...test.disk.calls }
    const ids = Array.from({ length: count }, (_, index) => index + 1)
    await Promise.all(ids.map((id) => test.put(id, `needle ${id}`)))
    expect(test.disk.calls.writev - before.writev).toBeLessThanOrEqual(count === 1024 ? 2 : 1)
    expect(test.hooks.count('writev', '.dat')).toBe(1)
    expect(test.disk.calls.datasync - before.datasync).toBe(1)
    await test.expectNeedles(new Map(ids.map((id) => [id, `needle ${id}`])))
  })

  test('1025 waiting puts are two batches, and 5 of 2 MiB too', async () => {
    await using test = await TestVolume.create()
    const many = Array.from({ length: 1025 }, (_, index) => index + 1)
    await Promise.all(many.map((id) => test.put(id, 'x')))
    expect(test.hooks.count('datasync', '.dat')).toBe(2)
    await Promise.all([1, 2, 3, 4, 5].map((id) => test.put(id, prng.bytes(2 * MIB))))
    expect(test.hooks.count('datasync', '.dat')).toBe(4)
  })

  test('what arrives during a sync waits for the next one, all of it together', async () => {
    await using test = await TestVolume.create()
    const before = test.disk.calls.datasync
    const syncing = gate(test, 'datasync')
    const first = test.put(1, 'first')
    await settle()
    const later = [2, 3, 4].map((id) => test.put(id, 'later'))
    await settle()
    expect(test.volume.stats).toMatchObject({ liveNeedles: 0, queueDepth: 3 })
    syncing.open()
    await Promise.all([first, ...later])
    expect(test.disk.calls.datasync - before).toBe(2)
    expect(test.volume.stats).toMatchObject({ liveNeedles: 4, queueDepth: 0 })
  })

  test('a put is invisible until its sync has returned, and an overwrite shows the old data', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'old')
    const syncing = gate(test, 'datasync')
    let isAnswered = false
    const writes = Promise.all([test.put(1, 'new'), test.put(2, 'fresh')]).then(() => {
      isAnswered = true
    })
    await settle()
    expect(test.hooks.count('writev', '.dat')).toBe(2)
    await test.expectNeedles(
      new Map([
        [1, 'old'],
        [2, undefined],
      ]),
    )
    expect(isAnswered).toBe(false)
    syncing.open()
    await writes
    await test.expectNeedles(
      new Map([
        [1, 'new'],
        [2, 'fresh'],
      ]),
    )
  })

  test('a deleted needle is readable until the tombstone is synced', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'old')
    const syncing = gate(test, 'datasync')
    const deleting = test.delete(1)
    await settle()
    await test.expectNeedles(new Map([[1, 'old']]))
    syncing.open()
    await deleting
    await test.expectNeedles(new Map([[1, undefined]]))
  })

  test('two volumes sync independently of each other', async () => {
    await using test = await TestVolume.create()
    const paths = volumePaths(DIRECTORY, { collection: '', volumeId: volumeId(8) })
    const options = {
      durability: { mode: 'fsync' },
      sizeMaxBytes: 2 ** 30,
      superBlock: PLAIN_SUPER_BLOCK,
    } as const
    await using other = await Volume.create(test.parts, paths, options)
    const syncing = gate(test, 'datasync')
    const held = test.put(1, 'held')
    const put = { id: toId(1), cookie: 1, data: Buffer.from('free'), attributes: {} }
    expect(await other.put(put, SIGNAL)).toMatchObject({ dataBytes: 4 })
    expect(test.volume.stats.liveNeedles).toBe(0)
    syncing.open()
    await held
  })

  test('writes to one id in one turn take effect in their order', async () => {
    await using test = await TestVolume.create()
    const results = await Promise.all([
      test.put(1, 'a'),
      test.put(1, 'b'),
      test.delete(1),
      test.put(2, 'x'),
      test.put(1, 'c'),
      test.put(1, 'c'),
      test.delete(2),
      test.delete(2),
    ])
    expect(results).toMatchObject([
      { isUnchanged: false },
      { isUnchanged: false },
      { wasLive: true },
      { isUnchanged: false },
      { isUnchanged: false },
      { isUnchanged: true },
      { wasLive: true },
      { wasLive: false },
    ])
    await test.expectNeedles(
      new Map([
        [1, 'c'],
        [2, undefined],
      ]),
    )
    await test.reopen()
    await test.expectNeedles(
      new Map([
        [1, 'c'],
        [2, undefined],
      ]),
    )
  })

  test('a refused write takes nothing with it: the others of its batch are stored', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.put(2, 'two')
    const wrong = { id: toId(1), cookie: cookieOf(1) ^ 1, data: Buffer.from('x'), attributes: {} }
    const outcomes = await Promise.allSettled([
      test.put(3, 'three'),
      test.volume.put(wrong, SIGNAL),
      test.put(2, 'deux'),
    ])
    expect(outcomes.map((outcome) => outcome.status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
    ])
    await test.expectNeedles(
      new Map([
        [1, 'one'],
        [2, 'deux'],
        [3, 'three'],
      ]),
    )
  })

  test('a stored header that the disk cannot read fails only the write to that needle', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    test.disk.failCall(1, 'EIO', ['read'])
    const outcomes = await Promise.allSettled([test.put(1, 'uno'), test.put(2, 'two')])
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'fulfilled'])
    await test.expectNeedles(
      new Map([
        [1, 'one'],
        [2, 'two'],
      ]),
    )
  })

  test('a mix of large and small needles keeps every one', async () => {
    await using test = await TestVolume.create()
    const sizes = [10, 9 * MIB, 20, 8 * MIB, 5 * MIB, 30, 4 * MIB, 12 * MIB, 0]
    const needles = new Map(sizes.map((size, index) => [index + 1, prng.bytes(size)]))
    await Promise.all([...needles].map(([id, data]) => test.put(id, data)))
    await test.expectNeedles(needles)
    await test.reopen()
    await test.expectNeedles(needles)
  })
})

describe('an aborted write', () => {
  test('that still waits is CANCELLED and writes nothing', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    const syncing = gate(test, 'datasync')
    const first = test.put(2, 'two')
    await settle()
    const aborting = new AbortController()
    const put = { id: toId(3), cookie: 3, data: Buffer.from('three'), attributes: {} }
    const waiting = test.volume.put(put, aborting.signal)
    const deleting = test.volume.delete({ id: toId(1), cookie: undefined }, aborting.signal)
    aborting.abort()
    syncing.open()
    await expectCode(waiting, 'CANCELLED')
    await expectCode(deleting, 'CANCELLED')
    await first
    await test.expectNeedles(
      new Map([
        [1, 'one'],
        [2, 'two'],
        [3, undefined],
      ]),
    )
    expect(test.hooks.count('writev', '.dat')).toBe(2)
  })

  test('that is being written is not taken back', async () => {
    await using test = await TestVolume.create()
    const syncing = gate(test, 'datasync')
    const aborting = new AbortController()
    const put = { id: toId(1), cookie: cookieOf(1), data: Buffer.from('one'), attributes: {} }
    const writing = test.volume.put(put, aborting.signal)
    await settle()
    aborting.abort()
    syncing.open()
    expect(await writing).toMatchObject({ dataBytes: 3 })
    await test.expectNeedles(new Map([[1, 'one']]))
  })
})

describe('the line of waiting writes', () => {
  const { queuedWritesMax, queuedWriteBytesMax } = LIMITS

  test(`is full at ${queuedWritesMax.value} writes: the next is OVERLOADED, the others are done`, async () => {
    await using test = await TestVolume.create()
    const max = queuedWritesMax.value
    const ids = Array.from({ length: max }, (_, index) => index + 1)
    const waiting = ids.map((id) => test.put(id, ''))
    await expectCode(test.put(max + 1, ''), 'OVERLOADED')
    await expectCode(test.delete(1), 'OVERLOADED')
    expect(test.volume.stats.queueDepth).toBe(max)
    await Promise.all(waiting)
    await test.put(max + 1, '')
    expect(test.volume.stats.liveNeedles).toBe(max + 1)
  })

  test('is full at 256 MiB: the next byte is OVERLOADED, deletes and empty puts are not', async () => {
    await using test = await TestVolume.create({ sizeMaxBytes: 8 })
    const data = Buffer.alloc(64 * MIB)
    const put = (id: number, bytes: Buffer) => {
      const input = { id: toId(id), cookie: 0, data: bytes, attributes: {} }
      return test.volume.put(input, SIGNAL)
    }
    const pieces = queuedWriteBytesMax.value / data.length
    const waiting = Array.from({ length: pieces }, (_, index) => put(index, data))
    await expectCode(put(10, Buffer.alloc(1)), 'OVERLOADED')
    const others = [put(11, Buffer.alloc(0)), test.delete(12)]
    // None of it is written: the volume takes no puts.
    for (const one of waiting) await expectCode(one, 'VOLUME_FULL')
    const outcomes = await Promise.allSettled(others)
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'fulfilled'])
    await expectCode(put(10, Buffer.alloc(1)), 'VOLUME_FULL')
  })

  test('takes one needle of more than 256 MiB when nothing else waits', async () => {
    await using test = await TestVolume.create({ sizeMaxBytes: 8 })
    const data = Buffer.alloc(queuedWriteBytesMax.value + 1)
    const input = { id: toId(1), cookie: 0, data, attributes: {} }
    await expectCode(test.volume.put(input, SIGNAL), 'VOLUME_FULL')
  })
})
