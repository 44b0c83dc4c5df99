import { describe, expect, test } from 'vitest'
import { choresLine, healthLines } from '../../src/cli/health-report.ts'
import { makeHealth } from '../support/job-views.ts'

const NOW_MS = Date.UTC(2026, 10, 21, 9)
const MINUTE_MS = 60_000

describe('the health of a cluster', () => {
  test('is one green line when all is well', () => {
    const line = 'green: healthy, every volume has all its copies'
    expect(healthLines(makeHealth(), NOW_MS)).toEqual([line])
  })

  test('is green although a server without copies is away', () => {
    const line = 'green: healthy, every volume has all its copies; 1 of 3 servers are not up'
    expect(healthLines(makeHealth({ nodesUp: 2 }), NOW_MS)).toEqual([line])
  })

  test('tells what is below, since when, and when it will be over', () => {
    const health = makeHealth({
      color: 'yellow',
      isFullyRedundant: false,
      nodesUp: 2,
      volumesBelow: 3,
      objectsBelow: 1200,
      bytesBelow: 3 * 2 ** 30,
      dirtyNeedles: 1,
      belowSinceMs: NOW_MS - 4 * MINUTE_MS,
      estimatedEndMs: NOW_MS + 90_000,
      repairBytesPerS: 32 * 2 ** 20,
      doing: ['replica-repair of volume 7: copied, 1 GiB of 3 GiB'],
      alerts: [
        { code: 'DISK_FULL', message: '10.0.0.4:8080 has no room', sinceMs: NOW_MS - MINUTE_MS },
      ],
    })
    expect(healthLines(health, NOW_MS)).toEqual([
      'yellow: 1200 files in 3 volumes below full redundancy for 4 min, 3 GiB to copy, 1 file to ' +
        'be made equal, done in about 1 min 30 s at 32 MiB/s (2026-11-21T09:01:30Z); 1 of 3 ' +
        'servers are not up; 1 alert',
      '  doing: replica-repair of volume 7: copied, 1 GiB of 3 GiB',
      '  DISK_FULL for 1 min: 10.0.0.4:8080 has no room',
    ])
  })

  test.each([
    [{ isWarming: true }, 'the master waits for its volume servers'],
    [{ nodesUp: 1 }, '2 of 3 servers are not up'],
    [{ isFullyRedundant: false, volumesBelow: 1 }, '0 files in 1 volume below full redundancy'],
    [{ volumesUnavailable: 1, objectsUnavailable: 2 }, '2 files in 1 volume cannot be read now'],
  ])('with %j says so', (change, text) => {
    const [line] = healthLines(makeHealth({ color: 'red', ...change }), NOW_MS)
    expect(line).toBe(`red: ${text}`)
  })
})

describe('the chores of a cluster', () => {
  test('are told with past repairs and the age of the oldest check', () => {
    const repairTimes = { count: 12, p50Ms: 4 * MINUTE_MS, p95Ms: 9 * MINUTE_MS, lastMs: 1 }
    const health = makeHealth({
      jobsRunning: 2,
      jobsWaiting: 5,
      jobsFailing: 1,
      repairTimes,
      scrubAgeMaxMs: 3 * 24 * 60 * MINUTE_MS,
      unscrubbedBytes: 2048,
    })
    expect(choresLine(health)).toBe(
      'jobs: 2 running, 5 waiting, 1 failing; 12 repairs, half within 4 min, 95 % within 9 min; ' +
        'longest without a check 3 d, 2 KiB not checked yet',
    )
  })

  test('of a new cluster are none', () => {
    expect(choresLine(makeHealth())).toBe(
      'jobs: 0 running, 0 waiting, 0 failing; no repairs so far; longest without a check 0 s',
    )
  })
})
