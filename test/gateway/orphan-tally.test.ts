import { describe, expect, test } from 'vitest'
import { cookie, needleIdFromNumber, volumeId } from '../../src/base/ids.ts'
import { ORPHANS_MAX, OrphanTally } from '../../src/gateway/orphan-tally.ts'
import type { UnnamedNeedle, VolumeFinding } from '../../src/gateway/unnamed-needles.ts'

const OWNER = { bucket: 'b', key: 'k', version: '0'.repeat(32) }

function needle(fields: Partial<UnnamedNeedle> = {}): UnnamedNeedle {
  const fileId = { volumeId: volumeId(3), needleId: needleIdFromNumber(1), cookie: cookie(1) }
  const facts = { fileId, dataBytes: 10, checksum: 0, bornAtMs: 0 }
  return { ...facts, owner: OWNER, generation: undefined, ...fields }
}

function finding(count: number, fields: Partial<VolumeFinding> = {}): VolumeFinding {
  const unnamed = Array.from({ length: count }, () => needle())
  return {
    volumeId: volumeId(3),
    liveCount: 0,
    youngCount: 0,
    generationMax: 0,
    unnamed,
    ...fields,
  }
}

describe('a pass believes', () => {
  test.each([
    [10, 0, false],
    [10, 20, false],
    [11, 1099, true],
    [11, 1100, false],
    [100, 9999, true],
    [100, 10_000, false],
  ])('%d orphans of %d needles of a volume: refused is %s', (count, liveCount, isRefused) => {
    const tally = new OrphanTally({ isBounded: true })
    // A volume comes in several findings, of which the first has its size.
    tally.add(finding(1, { liveCount }), undefined)
    tally.add(finding(count - 1), undefined)
    expect(tally.refusal(0)?.includes('above 1 %') ?? false).toBe(isRefused)
    expect(tally.counts).toMatchObject({ needles: liveCount, orphans: count })
  })

  test('in 10,000 orphans of a million needles, not in 10,001; no more of them are kept', () => {
    const tally = new OrphanTally({ isBounded: true })
    tally.add(finding(ORPHANS_MAX, { liveCount: 10_000_000 }), undefined)
    expect([tally.isFull, tally.refusal(0)]).toEqual([false, undefined])
    tally.add(finding(1000), undefined)
    expect(tally.isFull).toBe(true)
    expect(tally.refusal(0)).toContain('more than 10000 needles look like orphans')
    expect(tally.orphans).toHaveLength(ORPHANS_MAX + 1)
  })

  test('in any number when it is forced', () => {
    const tally = new OrphanTally({ isBounded: false })
    tally.add(finding(ORPHANS_MAX + 5), undefined)
    expect([tally.isFull, tally.counts.orphans]).toEqual([false, ORPHANS_MAX + 5])
  })

  test.each([
    [1000, undefined],
    [1001, expect.stringContaining('an old backup?')],
  ])('an orphan of %d with a row of 900 and an age of 100', (bornAtMs, refusal) => {
    const tally = new OrphanTally({ isBounded: true })
    tally.sawRow(900)
    tally.sawRow(3)
    tally.add(finding(0, { unnamed: [needle({ bornAtMs })] }), undefined)
    expect(tally.refusal(100)).toEqual(refusal)
  })

  test('pages that were left behind to be orphans, and not the page that is named', () => {
    const tally = new OrphanTally({ isBounded: true })
    const page = (number: number) =>
      needle({
        owner: undefined,
        generation: number,
        fileId: { ...needle().fileId, needleId: needleIdFromNumber(number) },
      })
    const unnamed = [{ ...page(1), bornAtMs: 5000 }, page(2), needle({ owner: undefined })]
    tally.add(finding(0, { unnamed, generationMax: 2 }), '3,0200000001')
    expect(tally.orphans).toEqual([{ ...page(1), bornAtMs: 5000 }])
    // They are no sign of an old backup, however new they are.
    expect(tally.refusal(0)).toBeUndefined()
    expect(tally.counts).toMatchObject({ foreignNeedles: 1 })
    expect(tally.generationMax).toBe(2)
  })
})
