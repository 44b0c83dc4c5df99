import { Metadata, status } from '@grpc/grpc-js'
import { describe, expect, test } from 'vitest'
import { ERROR_CODES, type ErrorCode, StoreError } from '../../src/base/store-error.ts'
import {
  CODE_TRAILER,
  fromServiceError,
  GRPC_STATUS,
  toServiceError,
} from '../../src/net/error-maps.ts'
import { fromHttpAnswer, fromHttpFailure } from '../../src/net/http-errors.ts'
import { RETRY, retrying } from '../../src/net/retry.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'
import { expectCode, SIGNAL } from '../support/test-volume.ts'

const CODES = Object.keys(ERROR_CODES) as ErrorCode[]

function statusError(code: number, details = 'x', trailer?: string): Error {
  const metadata = new Metadata()
  if (trailer !== undefined) metadata.set(CODE_TRAILER, trailer)
  return Object.assign(new Error(details), { code, details, metadata })
}

describe('errors through gRPC', () => {
  test.each(CODES)('%s keeps its code and its message', (code) => {
    const sent = toServiceError(new StoreError(code, 'volume 7 says no'))
    expect(sent.code).toBe(GRPC_STATUS[code])
    expect(sent.code).not.toBe(status.OK)
    const received = fromServiceError(sent, 'peer:1')
    expect(received).toMatchObject({ code, message: 'volume 7 says no' })
  })

  test('an error of ours tells nothing of itself', () => {
    const sent = toServiceError(new Error('password in /etc/secret'))
    expect(JSON.stringify([sent.details, sent.message, sent.metadata.toJSON()])).not.toMatch(
      /secret/,
    )
    expect(fromServiceError(sent, 'peer:1').code).toBe('PEER_FAILED')
  })

  test('a message of a megabyte is cut to what a header holds', () => {
    const sent = toServiceError(new StoreError('DISK_FAILED', 'x'.repeat(1 << 20)))
    expect(sent.details.length).toBe(1000)
  })

  test.each([
    [status.DEADLINE_EXCEEDED, undefined, 'TIMEOUT'],
    [status.CANCELLED, undefined, 'CANCELLED'],
    [status.UNAVAILABLE, undefined, 'UNAVAILABLE'],
    [status.UNIMPLEMENTED, undefined, 'PEER_FAILED'],
    [status.INTERNAL, undefined, 'PEER_FAILED'],
    [status.RESOURCE_EXHAUSTED, undefined, 'PEER_FAILED'],
    [status.UNAVAILABLE, 'constructor', 'UNAVAILABLE'],
    [status.NOT_FOUND, 'NO_SUCH_CODE', 'PEER_FAILED'],
    [99, undefined, 'PEER_FAILED'],
    [status.INTERNAL, 'NOT_LEADER', 'NOT_LEADER'],
  ])('status %i with the trailer %s is %s', (code, trailer, expected) => {
    expect(fromServiceError(statusError(code, 'x', trailer), 'peer:1').code).toBe(expected)
  })

  test.each([undefined, 'text', 5, new Error('plain'), { code: 14 }])('%o is PEER_FAILED', (it) => {
    expect(fromServiceError(it, 'peer:1').code).toBe('PEER_FAILED')
  })
})

describe('errors through HTTP', () => {
  test.each([
    [404, '{"error":"gone","code":"COOKIE_MISMATCH"}', 'COOKIE_MISMATCH'],
    [404, '', 'NEEDLE_NOT_FOUND'],
    [401, '{"error":"wrong jwt"}', 'TOKEN_INVALID'],
    [416, 'invalid range', 'RANGE_INVALID'],
    [429, '[]', 'OVERLOADED'],
    [500, '{"code":"INTERNAL"}', 'PEER_FAILED'],
    [502, '<html>', 'PEER_FAILED'],
    [500, '{"code":"__proto__","error":{}}', 'PEER_FAILED'],
  ])('status %i with the body %s is %s', (code, body, expected) => {
    expect(fromHttpAnswer('peer:1', code, body).code).toBe(expected)
  })

  test.each([
    ['UND_ERR_HEADERS_TIMEOUT', 'TIMEOUT'],
    ['UND_ERR_SOCKET', 'UNAVAILABLE'],
    ['ECONNREFUSED', 'UNAVAILABLE'],
    ['UND_ERR_INVALID_ARG', 'PEER_FAILED'],
  ])('a request that fails with %s is %s', (code, expected) => {
    const cause = Object.assign(new Error('x'), { code })
    expect(fromHttpFailure(cause, 'peer:1').code).toBe(expected)
  })
})

describe('retrying', () => {
  const options = { attemptsMax: 4, baseMs: 100, maxMs: 300 }

  test('knows what to do about every code', () => {
    expect(Object.keys(RETRY).sort()).toEqual([...CODES].sort())
  })

  test('pauses at random, at least half and at most all of 100, 200 and 300 ms', async () => {
    const pauses: number[][] = []
    for (let seed = 1; seed <= 20; seed++) {
      const clock = new SimClock()
      const triedMs: number[] = []
      const parts = { clock, random: new Prng(seed) }
      const run = async (): Promise<void> => {
        triedMs.push(clock.monotonicMs())
        throw new StoreError('UNAVAILABLE', 'away')
      }
      const done = expectCode(retrying(parts, options, run, SIGNAL), 'UNAVAILABLE')
      await clock.advance(1000)
      await done
      expect(triedMs).toHaveLength(4)
      pauses.push(triedMs.slice(1).map((ms, index) => ms - (triedMs[index] ?? 0)))
    }
    for (const [first = 0, second = 0, third = 0] of pauses) {
      expect(first >= 50 && first <= 100 && second >= 100 && second <= 200).toBe(true)
      expect(third >= 150 && third <= 300).toBe(true)
    }
    expect(new Set(pauses.map(([first]) => first)).size).toBeGreaterThan(10)
  })

  test('gives what a later try gives, and tells each try its number', async () => {
    const clock = new SimClock()
    const run = async (index: number): Promise<number> => {
      if (index < 2) throw new StoreError('OVERLOADED', 'busy')
      return index
    }
    const result = retrying({ clock, random: new Prng(1) }, options, run, SIGNAL)
    await clock.advance(1000)
    expect(await result).toBe(2)
  })

  test.each([
    ['what no new try helps against', () => new StoreError('FILE_ID_INVALID', 'x')],
    ['an error of ours', () => new Error('bug')],
  ])('does not try again after %s', async (_, make) => {
    let tries = 0
    const run = async (): Promise<never> => {
      tries++
      throw make()
    }
    const parts = { clock: new SimClock(), random: new Prng(1) }
    await expect(retrying(parts, options, run, SIGNAL)).rejects.toThrow(make().message)
    expect(tries).toBe(1)
  })

  test('stops in the middle of a pause when the caller gives up', async () => {
    const controller = new AbortController()
    const run = async (): Promise<never> => {
      throw new StoreError('UNAVAILABLE', 'away')
    }
    const parts = { clock: new SimClock(), random: new Prng(1) }
    const result = retrying(parts, options, run, controller.signal)
    setImmediate(() => controller.abort())
    await expectCode(result, 'CANCELLED')
  })
})
