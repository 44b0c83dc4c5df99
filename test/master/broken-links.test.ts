import { expect, test } from 'vitest'
import { BrokenLinks } from '../../src/master/broken-links.ts'
import { SimClock } from '../support/sim-clock.ts'

test('a link is broken for 60 s after the last report of it, and no longer', async () => {
  const clock = new SimClock()
  const links = new BrokenLinks(clock)
  links.note('a:1', ['b:1'])
  await clock.advance(59_000)
  links.note('a:1', ['b:1'])
  await clock.advance(59_999)
  expect([links.count, links.isCut('b:1', 'a:1')]).toEqual([1, true])
  await clock.advance(1)
  expect([links.count, links.isCut('b:1', 'a:1')]).toEqual([0, false])
})
