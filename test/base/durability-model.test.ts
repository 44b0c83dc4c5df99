import { describe, expect, test } from 'vitest'
import {
  annualLoss,
  annualLossWithDamage,
  type DurabilityGroup,
  mttdlHours,
  ninesOf,
} from '../../src/base/durability-model.ts'
import { Prng } from '../support/prng.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Pieces, and how many of them may be lost. */
const SCHEMES = {
  '2x': [2, 1],
  '3x': [3, 2],
  'RS(4,2)': [6, 2],
  'RS(6,3)': [9, 3],
  'RS(10,4)': [14, 4],
} as const

type Scheme = keyof typeof SCHEMES

function group(scheme: Scheme, afr: number, mttrHours: number): DurabilityGroup {
  const [domains, tolerance] = SCHEMES[scheme]
  return { domains, tolerance, afr, mttrMs: mttrHours * HOUR_MS }
}

function nines(scheme: Scheme, afr: number, mttrHours: number): number {
  return ninesOf(annualLoss(group(scheme, afr, mttrHours)))
}

const HOURS = [0.25, 1, 6, 24, 72, 168, 720]

describe('nines a year by time to repair', () => {
  test.each<[Scheme, number, number[]]>([
    ['2x', 0.015, [7.9, 7.3, 6.5, 5.9, 5.4, 5.1, 4.4]],
    ['3x', 0.015, [13.8, 12.6, 11.0, 9.8, 8.9, 8.1, 6.9]],
    ['RS(4,2)', 0.015, [12.5, 11.3, 9.7, 8.5, 7.6, 6.8, 5.6]],
    ['RS(6,3)', 0.015, [17.4, 15.6, 13.3, 11.5, 10.1, 9.0, 7.1]],
    ['RS(10,4)', 0.015, [21.9, 19.5, 16.4, 14.0, 12.1, 10.6, 8.1]],
    ['3x', 0.04, [12.5, 11.3, 9.7, 8.5, 7.6, 6.8, 5.6]],
    ['RS(4,2)', 0.04, [11.2, 10.0, 8.4, 7.2, 6.3, 5.5, 4.3]],
    ['RS(6,3)', 0.04, [15.7, 13.9, 11.6, 9.8, 8.3, 7.2, 5.4]],
    ['RS(10,4)', 0.04, [19.7, 17.3, 14.2, 11.8, 9.9, 8.4, 5.9]],
  ])('%s at %d a year is as published', (scheme, afr, published) => {
    const computed = HOURS.map((hours) => nines(scheme, afr, hours).toFixed(1))
    expect(computed).toEqual(published.map((value) => value.toFixed(1)))
  })

  test.each<[Scheme, number, number]>([
    ['3x', 0.015, 6.1],
    ['RS(4,2)', 0.015, 1.4],
    ['RS(6,3)', 0.015, 35],
    ['RS(10,4)', 0.015, 133],
    ['3x', 0.04, 1.4],
    ['RS(4,2)', 0.04, 18 / 60],
    ['RS(6,3)', 0.04, 9.3],
    ['RS(10,4)', 0.04, 38],
    ['3x', 0.1, 20 / 60],
    ['RS(4,2)', 0.1, 4.4 / 60],
    ['RS(6,3)', 0.1, 2.6],
    ['RS(10,4)', 0.1, 11.7],
  ])('%s at %d a year has eleven when repaired within %d hours', (scheme, afr, hours) => {
    expect(nines(scheme, afr, hours)).toBeGreaterThan(10.9)
    expect(nines(scheme, afr, hours)).toBeLessThan(11.1)
  })

  test('one copy is lost as often as its server, however soon it is repaired', () => {
    const alone = { domains: 1, tolerance: 0, afr: 0.04, mttrMs: 1 }
    expect(annualLoss(alone)).toBeCloseTo(0.04, 10)
  })

  test('packing six shards on three servers leaves 4.6 nines', () => {
    // Two shards on each of three servers: one server may be gone.
    const packed = { domains: 3, tolerance: 1, afr: 0.04, mttrMs: 24 * HOUR_MS }
    expect(ninesOf(annualLoss(packed)).toFixed(1)).toBe('4.6')
  })

  test('it still tells apart what is beyond fifteen nines, and repairs at once', () => {
    expect(nines('RS(10,4)', 0.015, 0.01)).toBeGreaterThan(nines('RS(10,4)', 0.015, 0.1))
    expect(Number.isFinite(nines('RS(10,4)', 0.015, 0))).toBe(true)
  })
})

describe('nines with damage that only a scrub finds', () => {
  const EVERY = [7, 30, 365.25, 3652.5]
  test.each<[Scheme, number[]]>([
    ['3x', [9.4, 8.9, 7.8, 6.8]],
    ['RS(4,2)', [8.1, 7.6, 6.5, 5.5]],
    ['RS(10,4)', [13.5, 13.0, 12.0, 11.1]],
  ])('%s is as published', (scheme, published) => {
    const computed = EVERY.map((days) => {
      const damage = { perYear: 0.008, scrubEveryMs: days * DAY_MS }
      return ninesOf(annualLossWithDamage(group(scheme, 0.015, 24), damage))
    })
    // The published model runs a scrub of ten years into saturation, ours is linear as it is told.
    computed.forEach((value, index) => {
      expect(Math.abs(value - (published[index] ?? 0))).toBeLessThan(0.1)
    })
  })

  test('a copy without a second one is lost with its server, or with its damage', () => {
    const alone = { domains: 1, tolerance: 0, afr: 0.04, mttrMs: DAY_MS }
    const loss = annualLossWithDamage(alone, { perYear: 0.008, scrubEveryMs: 365.25 * DAY_MS })
    expect(loss).toBeCloseTo(0.044, 3)
  })
})

test('it agrees with a simulation of the same process', () => {
  const { domains, tolerance, afr, mttrMs } = group('3x', 0.9, 500)
  const prng = new Prng(3)
  const rate = -Math.log1p(-afr) / 8766
  const wait = (perHour: number) => -Math.log((prng.u32() + 1) / 2 ** 32) / perHour
  let hours = 0
  const runs = 3000
  for (let run = 0; run < runs; run++) {
    let failed = 0
    while (failed <= tolerance) {
      const failing = wait((domains - failed) * rate)
      const repaired = failed === 0 ? Number.POSITIVE_INFINITY : wait(HOUR_MS / mttrMs)
      hours += Math.min(failing, repaired)
      failed += failing < repaired ? 1 : -1
    }
  }
  const exact = mttdlHours({ domains, tolerance, afr, mttrMs })
  expect(hours / runs / exact).toBeGreaterThan(0.93)
  expect(hours / runs / exact).toBeLessThan(1.07)
})
