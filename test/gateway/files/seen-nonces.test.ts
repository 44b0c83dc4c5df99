import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/base/limits.ts'
import { FileCallers } from '../../../src/gateway/files/file-callers.ts'
import { SeenNonces } from '../../../src/gateway/files/seen-nonces.ts'
import { FILES_AUTH_HEADER, signUserCall } from '../../../src/net/files-auth.ts'
import { expectStoreError } from '../../support/expect-error.ts'
import { Prng } from '../../support/prng.ts'
import { SimClock } from '../../support/sim-clock.ts'
import { expectCode } from '../../support/test-volume.ts'

const SKEW_MS = 300_000

function open() {
  const clock = new SimClock()
  return { clock, nonces: new SeenNonces({ clock }, { skewMs: SKEW_MS }) }
}

describe('nonces', () => {
  test('are good once, for each key', () => {
    const { clock, nonces } = open()
    nonces.add('a', 'n', clock.nowMs())
    nonces.add('b', 'n', clock.nowMs())
    nonces.add('a', 'm', clock.nowMs())
    expectStoreError(() => nonces.add('a', 'n', clock.nowMs()), 'UNAUTHENTICATED')
    expect(nonces.count).toBe(3)
  })

  test.each([-SKEW_MS, 0, SKEW_MS])(
    'signed %d ms away are remembered while the signature is good, and no longer',
    async (awayMs) => {
      const { clock, nonces } = open()
      const signedAtMs = clock.nowMs() + awayMs
      nonces.add('a', 'n', signedAtMs)
      await clock.advance(SKEW_MS + awayMs)
      expectStoreError(() => nonces.add('a', 'n', signedAtMs), 'UNAUTHENTICATED')
      await clock.advance(2000)
      nonces.add('b', 'x', clock.nowMs())
      expect(nonces.count).toBe(1)
    },
  )

  test('of one key that are too many: its oldest are refused, those of others not', async () => {
    const { clock, nonces } = open()
    const max = LIMITS.userNoncesMax.value
    const firstMs = clock.nowMs()
    for (let at = 0; at < max; at++) nonces.add('a', `n${at}`, firstMs + (at % 10) * 1000)
    nonces.add('b', 'old', firstMs)
    expect(nonces.count).toBe(max + 1)
    nonces.add('a', 'one more', firstMs + 20_000)
    expect(nonces.count).toBeLessThanOrEqual(max + 1)
    expectStoreError(() => nonces.add('a', 'n0', firstMs), 'UNAUTHENTICATED')
    expectStoreError(() => nonces.add('a', 'never seen', firstMs), 'UNAUTHENTICATED')
    expectStoreError(() => nonces.add('a', 'n1', firstMs + 1000), 'UNAUTHENTICATED')
    nonces.add('a', 'new', firstMs + 1000)
    nonces.add('b', 'older', firstMs)
    await clock.advance(2 * SKEW_MS)
    nonces.add('c', 'x', clock.nowMs())
    expect(nonces.count).toBe(1)
  })
})

describe('a call', () => {
  const path = '/hayloft.v1.FileService/Info'
  const user = {
    canonicalId: 'ab'.repeat(32),
    name: 'ada',
    displayName: 'Ada',
    email: undefined,
    isRoot: false,
    policy: undefined,
  }
  const key = { accessKeyId: 'KEY', secret: 'a-secret', user }

  function identify(awayMs: number, change = (header: string) => header) {
    const clock = new SimClock()
    const keys = { findKey: (id: string) => (id === key.accessKeyId ? key : undefined) }
    const users = { get: () => Promise.reject(new Error('not asked')) }
    const callers = new FileCallers({ keys, users, clock })
    const theirs = { nowMs: () => clock.nowMs() + awayMs } as SimClock
    const header = change(signUserCall({ clock: theirs, random: new Prng(1) }, key, path))
    const call = { path, header: (name: string) => (name === FILES_AUTH_HEADER ? header : '') }
    return callers.identify(call, FILES_AUTH_HEADER)
  }

  test.each([-SKEW_MS, -1, 0, 1, SKEW_MS])('signed %d ms away is let in', async (awayMs) => {
    expect(await identify(awayMs)).toBe(user)
  })

  test.each([-SKEW_MS - 1, SKEW_MS + 1])('signed %d ms away is refused', async (awayMs) => {
    await expectCode(identify(awayMs), 'UNAUTHENTICATED')
  })

  test('of which any character was changed is refused', async () => {
    const { length } = signUserCall({ clock: new SimClock(), random: new Prng(1) }, key, path)
    for (let at = 0; at < length; at++) {
      const flip = (header: string) => {
        const other = header[at] === '1' ? '2' : '1'
        return header.slice(0, at) + other + header.slice(at + 1)
      }
      await expectCode(identify(0, flip), 'UNAUTHENTICATED')
    }
  })
})
