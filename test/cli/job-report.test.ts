import { describe, expect, test } from 'vitest'
import { volumeId } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import {
  describeProgress,
  describeTarget,
  jobDocument,
  jobLine,
  jobTable,
} from '../../src/cli/job-report.ts'
import { makeJob } from '../support/job-views.ts'

const V7 = { volumeId: volumeId(7) }
const TO_110 = { collection: 'photos', replication: parseReplicaPlacement('110') }

test.each([
  ['replica-repair', V7, 'volume 7'],
  ['replica-repair', { ...V7, isDeep: true }, 'volume 7 deep'],
  ['replica-repair', { ...V7, acceptNode: 'a:1' }, 'volume 7 accepting a:1'],
  ['move', { ...V7, node: 'a:1', toNode: 'b:2' }, 'volume 7 from a:1 to b:2'],
  ['ec-encode', { ...V7, erasure: { dataShards: 10, parityShards: 4 } }, 'volume 7 as 10+4'],
  ['evacuate', { node: 'a:1' }, 'a:1'],
  ['rebalance', {}, ''],
  ['set-replication', TO_110, 'photos to 110'],
  ['set-replication', { ...TO_110, collection: '' }, 'no collection to 110'],
] as const)('%s of %j is about %o', (kind, target, text) => {
  expect(describeTarget(kind, target)).toBe(text)
})

test.each([
  [{ phase: '', done: 0, total: 0, unit: 'bytes' }, '-'],
  [{ phase: 'planned', done: 0, total: 0, unit: 'bytes' }, 'planned'],
  [{ phase: 'copied', done: 2 ** 30, total: 2 ** 31, unit: 'bytes' }, 'copied, 1 GiB of 2 GiB'],
  [{ phase: 'compared', done: 5, total: 0, unit: 'needles' }, 'compared, 5 needles'],
  [{ phase: '', done: 5, total: 9, unit: 'volumes' }, '5 of 9 volumes'],
] as const)('%j is shown as %o', (progress, text) => {
  expect(describeProgress(progress)).toBe(text)
})

describe('a job in a line', () => {
  const progress = { phase: 'copied', done: 1024, total: 4096, unit: 'bytes' } as const

  test.each([
    [{}, 'job 1 replica-repair volume 7: waiting'],
    [
      { state: 'running', worker: 'w1', progress },
      'job 1 replica-repair volume 7: running on w1: copied, 1 KiB of 4 KiB',
    ],
    [
      { attempts: 2, error: 'UNAVAILABLE: a:1 is gone' },
      'job 1 replica-repair volume 7: waiting after attempt 2: UNAVAILABLE: a:1 is gone',
    ],
    [{ state: 'paused' }, 'job 1 replica-repair volume 7: paused'],
    [{ state: 'done', summary: '1 copy made' }, 'job 1 replica-repair volume 7: done: 1 copy made'],
    [{ state: 'failed', error: 'X: y' }, 'job 1 replica-repair volume 7: failed: X: y'],
    [{ state: 'cancelled' }, 'job 1 replica-repair volume 7: cancelled'],
    [{ kind: 'rebalance', target: {} }, 'job 1 rebalance: waiting'],
  ] as const)('with %j', (change, line) => {
    expect(jobLine(makeJob(change))).toBe(line)
  })

  test('for programs has its replication in digits', () => {
    const job = makeJob({ kind: 'set-replication', target: TO_110 })
    expect(JSON.parse(jobDocument(job))).toEqual({
      ...job,
      target: { collection: 'photos', replication: '110' },
    })
  })
})

test('a list has a line for each job, with why it is there and what went wrong', () => {
  const nowMs = 61_000
  const failing = { attempts: 1, error: 'UNAVAILABLE: gone', notBeforeMs: nowMs + 1000 }
  const ended = { state: 'done', summary: 'all equal', worker: 'w', endedAtMs: 2000 } as const
  const jobs = [makeJob(), makeJob({ id: 2, ...failing }), makeJob({ id: 30, ...ended })]
  expect(jobTable(jobs, nowMs)).toEqual([
    'ID  KIND            TARGET    STATE    PROGRESS  WORKER  AGE    WHY',
    '1   replica-repair  volume 7  waiting  -         -       1 min  a copy is lost',
    '2   replica-repair  volume 7  waiting  -         -       1 min  UNAVAILABLE: gone (again at ' +
      '1970-01-01T00:01:02Z)',
    '30  replica-repair  volume 7  done     -         w       1 s    all equal',
  ])
  expect(jobTable([], nowMs)).toEqual(['no jobs'])
})
