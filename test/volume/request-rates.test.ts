import { describe, expect, test } from 'vitest'
import { RequestRates } from '../../src/volume/request-rates.ts'
import { vid } from '../support/test-store.ts'

/** Once a second for `seconds`, `perS` requests each; returns what was shown each time. */
function feed(rates: RequestRates, state: State, perS: number, seconds: number): number[] {
  const shown: number[] = []
  for (let second = 0; second < seconds; second++) {
    state.count += perS
    state.nowMs += 1000
    rates.note(vid(3), state.owner, state.count, state.nowMs)
    shown.push(rates.perS(vid(3)))
  }
  return shown
}

interface State {
  readonly owner: object
  count: number
  nowMs: number
}

function begin(): { rates: RequestRates; state: State } {
  const rates = new RequestRates()
  const state = { owner: {}, count: 500, nowMs: 0 }
  rates.note(vid(3), state.owner, state.count, state.nowMs)
  return { rates, state }
}

describe('RequestRates', () => {
  test('what was asked for before the first look does not count', () => {
    const { rates } = begin()
    expect(rates.perS(vid(3))).toBe(0)
    expect(rates.perS(vid(4))).toBe(0)
  })

  test('comes close to a steady rate in some minutes, and back to nothing', () => {
    const { rates, state } = begin()
    const shown = feed(rates, state, 120, 300).at(-1) ?? 0
    expect(shown).toBeGreaterThan(95)
    expect(shown).toBeLessThanOrEqual(120)
    expect(feed(rates, state, 0, 900).at(-1)).toBe(0)
  })

  test('is shown to two digits, and changes seldom under a steady load', () => {
    const { rates, state } = begin()
    const shown = feed(rates, state, 1234, 600)
    for (const perS of shown) expect(perS).toBe(Number(perS.toPrecision(2)))
    expect(new Set(shown.slice(300)).size).toBe(1)
  })

  test('a volume that was opened anew counts anew', () => {
    const { rates, state } = begin()
    feed(rates, state, 100, 60)
    feed(rates, { owner: {}, count: 3, nowMs: state.nowMs }, 0, 1)
    expect(rates.perS(vid(3))).toBe(0)
  })

  test('volumes that are gone are forgotten', () => {
    const { rates, state } = begin()
    feed(rates, state, 100, 60)
    rates.forgetAllBut(new Set([vid(4)]))
    expect(rates.perS(vid(3))).toBe(0)
  })
})
