import { afterEach, beforeEach, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { GatewaySession } from '../../src/gateway/gateway-session.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { FakeNamespace } from '../support/fake-namespace-api.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const OWNER = { id: '0a'.repeat(16), bucket: 'b', key: 'k' }

let clock: SimClock
let namespace: FakeNamespace
let session: GatewaySession

beforeEach(() => {
  clock = new SimClock()
  namespace = new FakeNamespace()
  session = open()
})

afterEach(async () => {
  await session[Symbol.asyncDispose]()
})

function open(): GatewaySession {
  return new GatewaySession({ namespace, clock, random: new Prng(1), logger: silentLogger })
}

function requestsOf(name: string): unknown[] {
  return namespace.requests.filter((_, index) => namespace.calls[index] === name)
}

test('a session is renewed every second, also after a failure, and ended at last', async () => {
  await clock.advance(3000)
  expect(requestsOf('renewSession')).toHaveLength(4)
  namespace.isLeader = false
  await clock.advance(2000)
  namespace.isLeader = true
  await clock.advance(1000)
  expect(requestsOf('renewSession')).toHaveLength(5)
  const [name] = requestsOf('renewSession')
  expect(name).toMatch(/^[0-9a-f]{32}$/)
  await session[Symbol.asyncDispose]()
  expect(requestsOf('endSession')).toEqual([name])
})

test('an intent names files first, then more of them, in the order of the calls', async () => {
  const intent = session.begin(OWNER)
  expect(intent.isBegun).toBe(false)
  await Promise.all([intent.planned(['1,01aaaaaaaa']), intent.planned(['2,02aaaaaaaa'])])
  expect(intent.isBegun).toBe(true)
  const [name] = requestsOf('renewSession')
  expect(requestsOf('putIntent')).toEqual([
    { ...OWNER, session: name, fileIds: ['1,01aaaaaaaa'], isMore: false },
    { ...OWNER, session: name, fileIds: ['2,02aaaaaaaa'], isMore: true },
  ])
})

test('nothing is named before the masters know of the session', async () => {
  await session[Symbol.asyncDispose]()
  namespace.isLeader = false
  session = open()
  const named = session.begin(OWNER).planned(['1,01aaaaaaaa'])
  await clock.advance(500)
  expect(requestsOf('putIntent')).toEqual([])
  namespace.isLeader = true
  await clock.advance(500)
  await named
  expect(requestsOf('putIntent')).toHaveLength(1)
})

test('a failure is told to whoever named the files, and to nobody else', async () => {
  const intent = session.begin(OWNER)
  let calls = 0
  namespace.beforeCall = async (name) => {
    if (name === 'putIntent' && ++calls === 1) throw new StoreError('TIMEOUT', 'lost')
  }
  const first = intent.planned(['1,01aaaaaaaa'])
  const second = intent.planned(['2,02aaaaaaaa'])
  await expect(first).rejects.toMatchObject({ code: 'TIMEOUT' })
  await second
  // Of the first one nobody knows whether there is an intent.
  expect(requestsOf('putIntent')).toMatchObject([{ isMore: false }, { isMore: false }])
})

test('an intent that is given up is undone, and a failure of that is no matter', async () => {
  const intent = session.begin(OWNER)
  await intent.planned(['1,01aaaaaaaa'])
  await intent.undo()
  expect(requestsOf('undoIntent')).toEqual([{ id: OWNER.id, isOnlyIfOrphaned: false }])
  namespace.isLeader = false
  await intent.undo()
})

test.each(['undone', 'named', 'left'] as const)(
  'an intent that could not be %s for want of a master is undone when there is one again',
  async (what) => {
    const intent = session.begin(OWNER)
    if (what !== 'named') await intent.planned(['1,01aaaaaaaa'])
    namespace.isLeader = false
    if (what === 'undone') await intent.undo()
    else if (what === 'left') intent.leave()
    else await intent.planned(['1,01aaaaaaaa']).catch(() => undefined)
    await clock.advance(3000)
    expect(requestsOf('undoIntent')).toEqual([])
    namespace.isLeader = true
    await clock.advance(1000)
    const undo = { id: OWNER.id, isOnlyIfOrphaned: false }
    expect(requestsOf('undoIntent')).toEqual([undo])
    await clock.advance(3000)
    expect(requestsOf('undoIntent')).toEqual([undo])
    expect(requestsOf('renewSession').length).toBeGreaterThan(3)
  },
)
