import { describe, expect, test } from 'vitest'
import { StoreError } from '../../../../src/base/store-error.ts'
import type { FoundKey } from '../../../../src/base/user.ts'
import { CachedKeyRing } from '../../../../src/gateway/s3/auth/cached-key-ring.ts'
import type { KeyRing } from '../../../../src/gateway/s3/auth/identity.ts'
import { USER } from '../../../support/fake-users-api.ts'
import { SimClock } from '../../../support/sim-clock.ts'
import { openTestUsers } from '../../../support/test-users.ts'
import { expectCode } from '../../../support/test-volume.ts'

const FOUND = { secret: 'the-secret', user: USER }

function open() {
  const clock = new SimClock()
  const asked: string[] = []
  const state = {
    answer: (accessKeyId: string): FoundKey | undefined => ({ accessKeyId, ...FOUND }),
    wait: async (_signal: AbortSignal): Promise<void> => undefined,
  }
  const users = {
    async findKey(accessKeyId: string, signal: AbortSignal) {
      asked.push(accessKeyId)
      const answer = state.answer(accessKeyId)
      await state.wait(signal)
      return answer
    },
  }
  const ring = new CachedKeyRing({ users, clock })
  return { clock, asked, state, ring }
}

describe('a key ring of a master elsewhere', () => {
  test('asks once for a key, and for another one again', async () => {
    const { asked, ring } = open()
    expect(await ring.findKey('KEY')).toEqual({ accessKeyId: 'KEY', ...FOUND })
    expect(await ring.findKey('KEY')).toEqual({ accessKeyId: 'KEY', ...FOUND })
    expect(await ring.findKey('key')).toEqual({ accessKeyId: 'key', ...FOUND })
    expect(asked).toEqual(['KEY', 'key'])
  })

  test.each([
    ['a key', true, 4999, 1],
    ['a key', true, 5000, 2],
    ['the lack of one', false, 999, 1],
    ['the lack of one', false, 1000, 2],
  ])('keeps %s (there: %s) for %i ms: asked %i times', async (_, isThere, waitMs, times) => {
    const { clock, asked, state, ring } = open()
    if (!isThere) state.answer = () => undefined
    const first = await ring.findKey('KEY')
    await clock.advance(waitMs)
    expect(await ring.findKey('KEY')).toEqual(first)
    expect(asked).toHaveLength(times)
  })

  test('counts from the question, however long the answer takes', async () => {
    const { clock, asked, state, ring } = open()
    state.wait = async (signal) => clock.sleep(4000, signal)
    const asking = ring.findKey('KEY')
    await clock.advance(4000)
    await asking
    state.wait = async () => undefined
    await clock.advance(999)
    await ring.findKey('KEY')
    expect(asked).toHaveLength(1)
    await clock.advance(1)
    await ring.findKey('KEY')
    expect(asked).toHaveLength(2)
  })

  test('a key that is switched off meanwhile opens nothing after 5 s', async () => {
    const { clock, state, ring } = open()
    await ring.findKey('KEY')
    state.answer = () => undefined
    await clock.advance(5000)
    expect(await ring.findKey('KEY')).toBeUndefined()
  })

  test('asks once for ten who want the same at the same time', async () => {
    const { clock, asked, state, ring } = open()
    state.wait = async (signal) => clock.sleep(10, signal)
    const asking = Array.from({ length: 10 }, () => ring.findKey('KEY'))
    await clock.advance(10)
    expect(new Set(await Promise.all(asking)).size).toBe(1)
    expect(asked).toEqual(['KEY'])
  })

  test('what fails is asked again, and what is out of date is not used instead', async () => {
    const { clock, asked, state, ring } = open()
    await ring.findKey('KEY')
    await clock.advance(5000)
    state.wait = async () => {
      throw new StoreError('UNAVAILABLE', 'no master')
    }
    await expectCode(ring.findKey('KEY'), 'UNAVAILABLE')
    await expectCode(ring.findKey('KEY'), 'UNAVAILABLE')
    state.wait = async () => undefined
    expect(await ring.findKey('KEY')).toBeDefined()
    expect(asked).toHaveLength(4)
  })

  test.each(['', 'ab', 'a/b', 'a\nb', 'x'.repeat(129)])(
    'knows without asking that %j is no key',
    async (text) => {
      const { asked, ring } = open()
      expect(await ring.findKey(text)).toBeUndefined()
      expect(asked).toEqual([])
    },
  )

  test('asks for 256 keys at a time, and refuses more as OVERLOADED', async () => {
    const { clock, asked, state, ring } = open()
    state.wait = async (signal) => clock.sleep(10, signal)
    const asking = Array.from({ length: 256 }, (_, index) => ring.findKey(`KEY-${index}`))
    await expectCode(ring.findKey('KEY-256'), 'OVERLOADED')
    const another = ring.findKey('KEY-0')
    await clock.advance(10)
    await Promise.all([...asking, another])
    expect(asked).toHaveLength(256)
    state.wait = async () => undefined
    expect(await ring.findKey('KEY-256')).toBeDefined()
  })

  test('keeps 2,000 keys, and of those the last ones', async () => {
    const { asked, ring } = open()
    for (let index = 0; index <= 2000; index++) await ring.findKey(`KEY-${index}`)
    await ring.findKey('KEY-2000')
    await ring.findKey('KEY-1')
    expect(asked).toHaveLength(2001)
    await ring.findKey('KEY-0')
    expect(asked).toHaveLength(2002)
  })

  test('that is closed gives up what it asked, and is CLOSED', async () => {
    const { clock, state, ring } = open()
    state.wait = async (signal) => clock.sleep(10, signal)
    const asking = ring.findKey('KEY')
    ring[Symbol.dispose]()
    ring[Symbol.dispose]()
    await expectCode(asking, 'CANCELLED')
    await expectCode(ring.findKey('KEY'), 'CLOSED')
  })
})

test('in the process of the master its users are the key ring', async () => {
  const { users } = await openTestUsers()
  const ring: KeyRing = users
  await users.addRoot({ accessKeyId: 'KEY', secret: 'the-secret' }, new AbortController().signal)
  expect(await ring.findKey('KEY')).toMatchObject({ secret: 'the-secret', user: { isRoot: true } })
  expect(await ring.findKey('NONE')).toBeUndefined()
})
