import { expect, test } from 'vitest'
import { GatewaySessions, SESSION_MS } from '../../src/namespace/gateway-sessions.ts'
import { SimClock } from '../support/sim-clock.ts'

const GRACE_MS = 10_000

async function openLate() {
  const clock = new SimClock()
  const sessions = new GatewaySessions({ clock })
  await clock.advance(GRACE_MS)
  const ended: string[] = []
  sessions.onEnd((session) => ended.push(session))
  return { clock, ended, sessions }
}

test('a session lives while it is renewed', async () => {
  const { clock, ended, sessions } = await openLate()
  sessions.renew('a')
  for (let round = 0; round < 5; round++) {
    await clock.advance(SESSION_MS - 1)
    sessions.expire()
    expect(sessions.isAlive('a')).toBe(true)
    sessions.renew('a')
  }
  await clock.advance(SESSION_MS)
  expect(sessions.isAlive('a')).toBe(false)
  expect(ended).toEqual([])
  sessions.expire()
  expect(ended).toEqual(['a'])
  sessions.expire()
  expect(ended).toEqual(['a'])
})

test('one that says goodbye is not waited for, and may come back', async () => {
  const { ended, sessions } = await openLate()
  sessions.renew('a')
  sessions.end('a')
  expect(ended).toEqual(['a'])
  expect(sessions.isAlive('a')).toBe(false)
  sessions.renew('a')
  expect(sessions.isAlive('a')).toBe(true)
})

test('after a start unknown ones count as alive until they had the time to tell', async () => {
  const clock = new SimClock()
  const sessions = new GatewaySessions({ clock })
  expect(sessions.isAlive('a')).toBe(true)
  sessions.end('b')
  expect(sessions.isAlive('b')).toBe(false)
  await clock.advance(GRACE_MS - 1)
  expect(sessions.isAlive('a')).toBe(true)
  await clock.advance(1)
  expect(sessions.isAlive('a')).toBe(false)
})
