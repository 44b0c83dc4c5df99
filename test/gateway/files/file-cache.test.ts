import { describe, expect, test } from 'vitest'
import { FileCache } from '../../../src/gateway/files/file-cache.ts'

const BYTES_MAX = 80_000
const FILE_MAX = BYTES_MAX / 8

function open(bytesMax = BYTES_MAX): FileCache {
  return new FileCache({ metrics: undefined }, { bytesMax })
}

function fill(cache: FileCache, id: string, sizeBytes: number): boolean {
  using filling = cache.tryFill({ id, sizeBytes })
  filling?.add(Buffer.alloc(sizeBytes, id))
  return cache.get({ id, sizeBytes }) !== undefined
}

describe('the cache of files', () => {
  test.each([
    [FILE_MAX, true],
    [FILE_MAX + 1, false],
    [1, true],
  ])('takes a file of %d bytes: %s', (sizeBytes, expected) => {
    expect(fill(open(), 'a', sizeBytes)).toBe(expected)
  })

  test('never has more bytes than it may, and drops what was not read for the longest time', () => {
    const cache = open()
    for (let at = 0; at < 50; at++) {
      fill(cache, `f${at}`, 9000)
      cache.get({ id: 'f0', sizeBytes: 9000 })
      expect(cache.sizeBytes).toBeLessThanOrEqual(BYTES_MAX)
    }
    expect(cache.get({ id: 'f0', sizeBytes: 9000 })).toBeDefined()
    expect(cache.get({ id: 'f1', sizeBytes: 9000 })).toBeUndefined()
    expect(cache.get({ id: 'f49', sizeBytes: 9000 })).toBeDefined()
  })

  test('keeps a copy, and nothing of a file that was not read to its end', () => {
    const cache = open()
    const version = { id: 'a', sizeBytes: 4 }
    const piece = Buffer.from('1234')
    {
      using filling = cache.tryFill(version)
      filling?.add(piece.subarray(0, 3))
    }
    expect(cache.get(version)).toBeUndefined()
    {
      using filling = cache.tryFill(version)
      filling?.add(piece.subarray(0, 3))
      filling?.add(piece.subarray(3))
    }
    piece.fill(0)
    expect(cache.get(version)?.toString()).toBe('1234')
    cache.forget('a')
    expect(cache.get(version)).toBeUndefined()
  })

  test('is filled by few readers at a time, one for each file', () => {
    const cache = open()
    using first = cache.tryFill({ id: 'a', sizeBytes: FILE_MAX })
    expect(first).toBeDefined()
    expect(cache.tryFill({ id: 'a', sizeBytes: FILE_MAX })).toBeUndefined()
    const second = cache.tryFill({ id: 'b', sizeBytes: FILE_MAX })
    expect(second).toBeDefined()
    expect(cache.tryFill({ id: 'c', sizeBytes: 1 })).toBeUndefined()
    second?.[Symbol.dispose]()
    second?.[Symbol.dispose]()
    using third = cache.tryFill({ id: 'c', sizeBytes: FILE_MAX })
    expect(third).toBeDefined()
  })

  test('of no bytes keeps nothing', () => {
    expect(fill(open(0), 'a', 1)).toBe(false)
  })
})
