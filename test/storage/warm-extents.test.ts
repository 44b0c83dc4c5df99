import { expect, test } from 'vitest'
import { WarmExtents } from '../../src/storage/warm-extents.ts'

const EXTENT = 64 * 1024

test('only extents that were touched whole or in part are warm', () => {
  const extents = new WarmExtents()
  expect(extents.isWarm(0, 1)).toBe(false)
  extents.warm(EXTENT + 5, EXTENT + 6)
  expect(extents.isWarm(EXTENT, 2 * EXTENT)).toBe(true)
  expect(extents.isWarm(EXTENT - 1, EXTENT + 1)).toBe(false)
  expect(extents.isWarm(2 * EXTENT - 1, 2 * EXTENT + 1)).toBe(false)
})

test('a range over 3 extents is warm when all of them are', () => {
  const extents = new WarmExtents()
  extents.warm(0, EXTENT)
  extents.warm(2 * EXTENT, 3 * EXTENT)
  expect(extents.isWarm(0, 3 * EXTENT)).toBe(false)
  extents.warm(EXTENT, EXTENT + 1)
  expect(extents.isWarm(0, 3 * EXTENT)).toBe(true)
})

test('places up to 32 GiB can be warm', () => {
  const extents = new WarmExtents()
  const end = 32 * 2 ** 30
  extents.warm(end - 10, end)
  expect(extents.isWarm(end - 10, end)).toBe(true)
  expect(extents.isWarm(0, 1)).toBe(false)
  expect(extents.isWarm(end, end + 1)).toBe(false)
})

test('a slow read chills its extents and the named number of neighbours', () => {
  const extents = new WarmExtents()
  extents.warm(0, 40 * EXTENT)
  extents.chill(20 * EXTENT, 20 * EXTENT + 1, 8)
  const warm = Array.from({ length: 40 }, (_, extent) =>
    extents.isWarm(extent * EXTENT, (extent + 1) * EXTENT),
  )
  expect(
    warm.map((isWarm, extent) => (isWarm ? -1 : extent)).filter((extent) => extent >= 0),
  ).toEqual(Array.from({ length: 17 }, (_, index) => index + 12))
  extents.chill(0, 1, 8)
  expect(extents.isWarm(8 * EXTENT, 9 * EXTENT)).toBe(false)
})
