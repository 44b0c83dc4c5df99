import { expect, test } from 'vitest'
import { durabilityLines } from '../../src/cli/durability-report.ts'
import type { DurabilityReport, DurabilityScheme } from '../../src/net/jobs-api.ts'

const DAY_MS = 86_400_000

function scheme(change: Partial<DurabilityScheme> = {}): DurabilityScheme {
  return {
    scheme: 'replication 110',
    volumes: 120,
    objects: 1_000_000,
    domainsWorst: 3,
    toleranceWorst: 2,
    afr: 0.04,
    isAfrAssumed: true,
    mttrP50Ms: 240_000,
    mttrP95Ms: 540_000,
    isMttrAssumed: false,
    nines: 12.46,
    ninesWithLatentDamage: 9.4,
    objectsLostPerYear: 3.6e-7,
    volumesBelow: 0,
    belowOldestMs: 0,
    ...change,
  }
}

function report(schemes: readonly DurabilityScheme[]): DurabilityReport {
  return {
    schemes,
    scrubAgeP95Ms: 6 * DAY_MS,
    unscrubbedBytes: 2048,
    correlatedPerYear: 1e-5,
    ninesCap: 5,
    convention: 'independent-failure model; software and operator errors not included',
  }
}

test('a durability report has a row for each scheme, and says what is assumed', () => {
  const worse = scheme({
    scheme: 'replication 000',
    volumes: 2,
    domainsWorst: 1,
    toleranceWorst: 0,
    isMttrAssumed: true,
    nines: 1.4,
    ninesWithLatentDamage: 1.39,
    objectsLostPerYear: 40_000,
    volumesBelow: 1,
    belowOldestMs: 3_600_000,
  })
  expect(durabilityLines(report([scheme(), worse]))).toEqual([
    'SCHEME           VOLUMES    FILES  DOMAINS  MAY FAIL     AFR  MTTR P50  MTTR P95  NINES  ' +
      'WITH ROT  LOST/YEAR  BELOW NOW',
    'replication 110      120  1000000        3         2  4.0 %*     4 min     9 min   12.5  ' +
      '     9.4       4e-7          0',
    'replication 000        2  1000000        1         0  4.0 %*    4 min*    9 min*    1.4  ' +
      '     1.4      40000  1 for 1 h',
    '',
    '95 % of the copies were checked within the last 6 d; 2 KiB not checked yet',
    'assumed: an event beyond any scheme, 0.00001 a year: no scheme is worth more than 5.0 nines',
    '* assumed, not measured here',
    'independent-failure model; software and operator errors not included',
  ])
})

test('an empty cluster has nothing to report', () => {
  expect(durabilityLines(report([]))[0]).toBe('nothing is stored yet')
})
