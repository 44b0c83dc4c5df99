import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../src/base/limits.ts'
import { BlockMarks } from '../../src/erasure/block-marks.ts'
import { SimClock } from '../support/sim-clock.ts'

describe('what is known of a block', () => {
  test('is of that block and that shard alone', () => {
    const marks = new BlockMarks(new SimClock(), 3)
    marks.noteSound(1, 0)
    marks.noteBad(0, 2)
    const places = [0, 1, 2].flatMap((shard) => [0, 1, 2].map((block) => [shard, block] as const))
    const sound = places.filter(([shard, block]) => marks.isSound(shard, block))
    const bad = places.filter(([shard, block]) => marks.isBad(shard, block))
    expect([sound, bad]).toEqual([[[1, 0]], [[0, 2]]])
  })

  test('is bad for a while, or until it is read and matches', async () => {
    const clock = new SimClock()
    const marks = new BlockMarks(clock, 3)
    marks.noteSound(0, 0)
    marks.noteBad(0, 0)
    expect([marks.isSound(0, 0), marks.isBad(0, 0)]).toEqual([false, true])
    await clock.advance(LIMITS.shardDoubtMs.value - 1)
    expect(marks.isBad(0, 0)).toBe(true)
    await clock.advance(1)
    expect(marks.isBad(0, 0)).toBe(false)
    marks.noteBad(0, 0)
    marks.noteSound(0, 0)
    expect([marks.isSound(0, 0), marks.isBad(0, 0)]).toEqual([true, false])
  })

  test('is not sound while unverified bytes of it are about', () => {
    const marks = new BlockMarks(new SimClock(), 3)
    marks.noteSound(0, 1)
    marks.noteUnverified(0, 1)
    expect(marks.isSound(0, 1)).toBe(false)
    marks.noteSound(0, 1)
    expect(marks.isSound(0, 1)).toBe(false)
    expect([marks.forgetUnverified(1), marks.forgetUnverified(1)]).toEqual([true, false])
    marks.noteSound(0, 1)
    expect(marks.isSound(0, 1)).toBe(true)
  })
})
