import { expect, test } from 'vitest'
import { BufferShelf } from '../../src/runtime/buffer-shelf.ts'
import { SimClock } from '../support/sim-clock.ts'

function openShelf() {
  const clock = new SimClock()
  return { clock, shelf: new BufferShelf({ clock }, { sizeBytes: 1024, keptMax: 2 }) }
}

test('memory that was released is lent again, in any length up to its size', () => {
  const { shelf } = openShelf()
  const first = shelf.take(1000)
  const { buffer } = first.bytes
  expect([first.bytes.length, buffer.byteLength]).toEqual([1000, 1024])
  first.release()
  const second = shelf.take(1024)
  expect([second.bytes.length, second.bytes.buffer === buffer]).toEqual([1024, true])
})

test('what is on loan is never lent twice, even when it is released twice', () => {
  const { shelf } = openShelf()
  const first = shelf.take(8)
  first.release()
  first.release()
  expect(shelf.freeCount).toBe(1)
  const second = shelf.take(8)
  first.release()
  const third = shelf.take(8)
  expect(third.bytes.buffer).not.toBe(second.bytes.buffer)
})

test('no more than 2 buffers are kept, and none after 10 s', async () => {
  const { clock, shelf } = openShelf()
  const taken = [shelf.take(8), shelf.take(8), shelf.take(8)]
  for (const lent of taken) lent.release()
  expect(shelf.freeCount).toBe(2)
  await clock.advance(9999)
  expect(shelf.freeCount).toBe(2)
  await clock.advance(1)
  expect([shelf.freeCount, clock.timerCount]).toEqual([0, 0])
})

test('more than its size is lent once and not kept', () => {
  const { shelf } = openShelf()
  const large = shelf.take(2000)
  expect(large.bytes.length).toBe(2000)
  large.release()
  expect(shelf.freeCount).toBe(0)
})
