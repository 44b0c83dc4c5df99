import { describe, expect, test } from 'vitest'
import {
  type CurrentFacts,
  expirationHeader,
  isUploadExpired,
  LIFECYCLE_DAY_MS,
  type LifecycleAction,
  lifecycleActionFor,
  type MarkerFacts,
  type NoncurrentFacts,
  uploadExpiryOf,
} from '../../../../src/gateway/s3/access/lifecycle.ts'
import type {
  LifecycleExpiration,
  LifecycleFilter,
  LifecycleRule,
} from '../../../../src/gateway/s3/bucket-settings.ts'

/** Not the length of a day: nothing is rounded. */
const SECOND = 1000
const START = Date.parse('2026-03-10T10:30:00Z')

function filter(fields: Partial<LifecycleFilter> = {}): LifecycleFilter {
  return {
    prefix: undefined,
    tags: [],
    sizeAboveBytes: undefined,
    sizeBelowBytes: undefined,
    ...fields,
  }
}

function rule(fields: Partial<LifecycleRule> = {}): LifecycleRule {
  return {
    id: 'rule',
    isEnabled: true,
    filter: filter(),
    isOldStyle: false,
    expiration: undefined,
    transitions: [],
    noncurrentExpiration: undefined,
    noncurrentTransitions: [],
    abortUploadsAfterDays: undefined,
    ...fields,
  }
}

function expiration(fields: Partial<LifecycleExpiration>): LifecycleExpiration {
  return { days: undefined, dateMs: undefined, isExpiredMarkerDeleted: false, ...fields }
}

const expiring = (days: number) => rule({ expiration: expiration({ days }) })
const on = (dateMs: number) => rule({ expiration: expiration({ dateMs }) })
const moved = (days: number, storageClass: string) =>
  rule({ transitions: [{ days, dateMs: undefined, storageClass }] })

function current(fields: Partial<CurrentFacts> = {}): CurrentFacts {
  return {
    kind: 'current',
    key: 'logs/a',
    tags: [],
    sizeBytes: 100,
    storageClass: 'STANDARD',
    createdAtMs: START,
    ...fields,
  }
}

function noncurrent(fields: Partial<NoncurrentFacts> = {}): NoncurrentFacts {
  const { createdAtMs: _, ...facts } = current()
  return {
    ...facts,
    kind: 'noncurrent',
    becameNoncurrentAtMs: START,
    newerNoncurrentVersions: 0,
    ...fields,
  }
}

function marker(fields: Partial<MarkerFacts> = {}): MarkerFacts {
  return { kind: 'marker', key: 'logs/a', createdAtMs: START, isOnlyVersion: true, ...fields }
}

describe('days of 86,400,000 ms', () => {
  test.each([
    ['2026-03-10T10:30:00Z', 3, '2026-03-14T00:00:00Z'],
    ['2026-03-10T00:00:00Z', 3, '2026-03-13T00:00:00Z'],
    ['2026-03-10T00:00:00.001Z', 3, '2026-03-14T00:00:00Z'],
    ['2026-03-10T23:59:59.999Z', 1, '2026-03-12T00:00:00Z'],
    ['2026-03-10T10:30:00Z', 0, '2026-03-11T00:00:00Z'],
    ['2024-02-28T12:00:00Z', 1, '2024-03-01T00:00:00Z'],
    ['2026-12-31T12:00:00Z', 365, '2028-01-01T00:00:00Z'],
  ])('from %s, %d of them, end at %s and not 1 ms before', (from, days, end) => {
    const createdAtMs = Date.parse(from)
    const endMs = Date.parse(end)
    const at = (nowMs: number) =>
      lifecycleActionFor([expiring(days)], current({ createdAtMs }), nowMs, LIFECYCLE_DAY_MS)
    expect(at(endMs - 1)).toBeUndefined()
    expect(at(endMs)).toBe('expire')
    const header = expirationHeader([expiring(days)], current({ createdAtMs }), LIFECYCLE_DAY_MS)
    expect(header).toBe(`expiry-date="${new Date(endMs).toUTCString()}", rule-id="rule"`)
  })
})

describe('a current version', () => {
  const day = (days: number) => START + days * SECOND
  test.each<[string, readonly LifecycleRule[], number, LifecycleAction | undefined]>([
    ['no rules', [], day(99), undefined],
    ['a rule that does nothing', [rule()], day(99), undefined],
    ['1 ms too early', [expiring(3)], day(3) - 1, undefined],
    ['due', [expiring(3)], day(3), 'expire'],
    ['long due', [expiring(3)], day(300), 'expire'],
    ['a rule that is off', [{ ...expiring(3), isEnabled: false }], day(9), undefined],
    ['the second of two', [expiring(30), expiring(3)], day(3), 'expire'],
    ['before the date', [on(day(5))], day(5) - 1, undefined],
    ['on the date', [on(day(5))], day(5), 'expire'],
    ['a date before it was written', [on(day(-5))], day(0), 'expire'],
    [
      'only a marker rule',
      [rule({ expiration: expiration({ isExpiredMarkerDeleted: true }) })],
      day(99),
      undefined,
    ],
    [
      'only a rule for old versions',
      [rule({ noncurrentExpiration: { noncurrentDays: 1, newerVersionsKept: undefined } })],
      day(99),
      undefined,
    ],
    ['not yet to move', [moved(3, 'STANDARD_IA')], day(3) - 1, undefined],
    ['to move', [moved(3, 'STANDARD_IA')], day(3), { transition: 'STANDARD_IA' }],
    [
      'to move twice',
      [moved(3, 'STANDARD_IA'), moved(5, 'GLACIER_IR')],
      day(5),
      { transition: 'GLACIER_IR' },
    ],
    [
      'to move twice, the other way round',
      [moved(5, 'GLACIER_IR'), moved(3, 'STANDARD_IA')],
      day(9),
      { transition: 'GLACIER_IR' },
    ],
    [
      'to move once so far',
      [moved(5, 'GLACIER_IR'), moved(3, 'STANDARD_IA')],
      day(4),
      { transition: 'STANDARD_IA' },
    ],
    ['to move and to expire', [moved(1, 'GLACIER_IR'), expiring(3)], day(3), 'expire'],
    [
      'to move, not yet to expire',
      [moved(1, 'GLACIER_IR'), expiring(3)],
      day(2),
      { transition: 'GLACIER_IR' },
    ],
    ['to a class there is not', [moved(1, 'DEEP_ARCHIVE')], day(3), undefined],
    ['to where it is', [moved(1, 'STANDARD')], day(3), undefined],
  ])('with %s', (_, rules, nowMs, expected) => {
    expect(lifecycleActionFor(rules, current(), nowMs, SECOND)).toEqual(expected)
  })

  test('moves on a date', () => {
    const dated = rule({
      transitions: [{ days: undefined, dateMs: day(4), storageClass: 'GLACIER_IR' }],
    })
    expect(lifecycleActionFor([dated], current(), day(4) - 1, SECOND)).toBeUndefined()
    expect(lifecycleActionFor([dated], current(), day(4), SECOND)).toEqual({
      transition: 'GLACIER_IR',
    })
  })

  test.each([
    ['STANDARD', 'STANDARD_IA', true],
    ['STANDARD', 'GLACIER_IR', true],
    ['STANDARD_IA', 'GLACIER_IR', true],
    ['STANDARD', 'INTELLIGENT_TIERING', true],
    ['STANDARD', 'ONEZONE_IA', true],
    ['REDUCED_REDUNDANCY', 'INTELLIGENT_TIERING', true],
    ['REDUCED_REDUNDANCY', 'STANDARD_IA', true],
    ['REDUCED_REDUNDANCY', 'STANDARD', false],
    ['STANDARD', 'REDUCED_REDUNDANCY', false],
    ['INTELLIGENT_TIERING', 'STANDARD_IA', true],
    ['STANDARD_IA', 'INTELLIGENT_TIERING', false],
    ['STANDARD_IA', 'ONEZONE_IA', true],
    ['ONEZONE_IA', 'STANDARD_IA', false],
    ['ONEZONE_IA', 'GLACIER_IR', true],
    ['STANDARD_IA', 'STANDARD_IA', false],
    ['GLACIER_IR', 'STANDARD_IA', false],
    ['GLACIER_IR', 'STANDARD', false],
  ])('never gets warmer: from %s to %s %o', (storageClass, target, isMoved) => {
    const action = lifecycleActionFor([moved(1, target)], current({ storageClass }), day(9), SECOND)
    expect(action).toEqual(isMoved ? { transition: target } : undefined)
  })

  const tag = (key: string, value: string) => ({ key, value })
  test.each<[Partial<LifecycleFilter>, Partial<CurrentFacts>, boolean]>([
    [{}, {}, true],
    [{ prefix: '' }, {}, true],
    [{ prefix: 'logs/' }, {}, true],
    [{ prefix: 'log' }, {}, true],
    [{ prefix: 'logs/a' }, {}, true],
    [{ prefix: 'logs/ab' }, {}, false],
    [{ prefix: 'Logs/' }, {}, false],
    [{ prefix: 'ogs' }, {}, false],
    [{ tags: [tag('a', '1')] }, { tags: [tag('a', '1')] }, true],
    [{ tags: [tag('a', '1')] }, { tags: [tag('a', '2')] }, false],
    [{ tags: [tag('a', '1')] }, { tags: [] }, false],
    [{ tags: [tag('a', '1'), tag('b', '2')] }, { tags: [tag('b', '2'), tag('a', '1')] }, true],
    [{ tags: [tag('a', '1'), tag('b', '2')] }, { tags: [tag('a', '1')] }, false],
    [{ sizeAboveBytes: 100 }, {}, false],
    [{ sizeAboveBytes: 99 }, {}, true],
    [{ sizeAboveBytes: 0 }, { sizeBytes: 0 }, false],
    [{ sizeBelowBytes: 100 }, {}, false],
    [{ sizeBelowBytes: 101 }, {}, true],
    [{ sizeAboveBytes: 99, sizeBelowBytes: 101, prefix: 'logs' }, {}, true],
    [{ sizeAboveBytes: 99, sizeBelowBytes: 101, prefix: 'x' }, {}, false],
  ])('is found by the filter %o: %#', (fields, facts, isFound) => {
    const rules = [{ ...expiring(1), filter: filter(fields) }]
    const action = lifecycleActionFor(rules, current(facts), day(2), SECOND)
    expect(action).toBe(isFound ? 'expire' : undefined)
    expect(expirationHeader(rules, current(facts), SECOND) !== undefined).toBe(isFound)
  })
})

describe('a version that is not current', () => {
  const expire = (noncurrentDays: number, newerVersionsKept?: number) =>
    rule({ noncurrentExpiration: { noncurrentDays, newerVersionsKept } })
  const move = (noncurrentDays: number, storageClass: string, newerVersionsKept?: number) =>
    rule({ noncurrentTransitions: [{ noncurrentDays, newerVersionsKept, storageClass }] })
  test.each<[string, readonly LifecycleRule[], number, number, LifecycleAction | undefined]>([
    ['no rule', [expiring(1)], 0, 99_000, undefined],
    ['1 ms too early', [expire(3)], 0, 2_999, undefined],
    ['due', [expire(3)], 0, 3_000, 'delete-version'],
    ['due, the newest of two kept', [expire(3, 2)], 0, 3_000, undefined],
    ['due, the second of two kept', [expire(3, 2)], 1, 3_000, undefined],
    ['due, the third of two kept', [expire(3, 2)], 2, 3_000, 'delete-version'],
    ['the third of two kept, too early', [expire(3, 2)], 2, 2_999, undefined],
    ['to move', [move(1, 'STANDARD_IA')], 0, 1_000, { transition: 'STANDARD_IA' }],
    ['to move, but kept', [move(1, 'STANDARD_IA', 1)], 0, 1_000, undefined],
    ['to move, not kept', [move(1, 'STANDARD_IA', 1)], 1, 1_000, { transition: 'STANDARD_IA' }],
    ['to move and to go', [move(1, 'GLACIER_IR'), expire(2)], 0, 2_000, 'delete-version'],
    [
      'only a marker rule',
      [rule({ expiration: expiration({ isExpiredMarkerDeleted: true }) })],
      0,
      9_000,
      undefined,
    ],
    ['a rule that is off', [{ ...expire(1), isEnabled: false }], 0, 9_000, undefined],
    ['another prefix', [{ ...expire(1), filter: filter({ prefix: 'x' }) }], 0, 9_000, undefined],
  ])('with %s', (_, rules, newerNoncurrentVersions, ageMs, expected) => {
    const facts = noncurrent({ newerNoncurrentVersions })
    expect(lifecycleActionFor(rules, facts, START + ageMs, SECOND)).toEqual(expected)
  })

  test('is kept until the midnight after its days', () => {
    const at = (text: string) =>
      lifecycleActionFor([expire(1)], noncurrent(), Date.parse(text), LIFECYCLE_DAY_MS)
    expect(at('2026-03-11T23:59:59.999Z')).toBeUndefined()
    expect(at('2026-03-12T00:00:00Z')).toBe('delete-version')
  })
})

describe('a delete marker', () => {
  const cleanup = rule({ expiration: expiration({ isExpiredMarkerDeleted: true }) })
  const withTag = filter({ tags: [{ key: 'a', value: '1' }] })
  test.each<[string, LifecycleRule, Partial<MarkerFacts>, number, boolean]>([
    ['that hides nothing', cleanup, {}, 0, true],
    ['that hides versions', cleanup, { isOnlyVersion: false }, 99_000, false],
    ['that is old enough', expiring(3), {}, 3_000, true],
    ['that is not old enough', expiring(3), {}, 2_999, false],
    ['that is old, but hides versions', expiring(3), { isOnlyVersion: false }, 3_000, false],
    ['after a date', on(START), {}, 9_000, false],
    ['with no rule for it', moved(1, 'GLACIER_IR'), {}, 9_000, false],
    ['with another key', { ...cleanup, filter: filter({ prefix: 'x' }) }, {}, 9_000, false],
    ['with its prefix', { ...cleanup, filter: filter({ prefix: 'logs/' }) }, {}, 0, true],
    ['and a rule for tags', { ...cleanup, filter: withTag }, {}, 9_000, false],
    [
      'and a rule for sizes',
      { ...cleanup, filter: filter({ sizeBelowBytes: 9 }) },
      {},
      9_000,
      false,
    ],
    [
      'and a rule for large ones',
      { ...expiring(1), filter: filter({ sizeAboveBytes: 0 }) },
      {},
      9_000,
      false,
    ],
    ['and a rule that is off', { ...cleanup, isEnabled: false }, {}, 9_000, false],
  ])('%s', (_, only, facts, ageMs, isRemoved) => {
    const action = lifecycleActionFor([only], marker(facts), START + ageMs, SECOND)
    expect(action).toBe(isRemoved ? 'delete-marker' : undefined)
  })
})

describe('an upload', () => {
  const abort = (days: number, fields: Partial<LifecycleRule> = {}) =>
    rule({ abortUploadsAfterDays: days, ...fields })
  const upload = { key: 'logs/a', initiatedAtMs: START }
  test.each<[string, readonly LifecycleRule[], number, boolean]>([
    ['no rule', [expiring(1)], 9_000, false],
    ['1 ms too early', [abort(3)], 2_999, false],
    ['due', [abort(3)], 3_000, true],
    ['the earlier of two', [abort(5), abort(3)], 3_000, true],
    ['a rule that is off', [abort(3, { isEnabled: false })], 9_000, false],
    ['another prefix', [abort(3, { filter: filter({ prefix: 'x' }) })], 9_000, false],
    ['its prefix', [abort(3, { filter: filter({ prefix: 'logs' }) })], 9_000, true],
    ['tags', [abort(3, { filter: filter({ tags: [{ key: 'a', value: '' }] }) })], 9_000, false],
    ['a size', [abort(3, { filter: filter({ sizeAboveBytes: 5 }) })], 9_000, false],
  ])('with %s', (_, rules, ageMs, isExpired) => {
    expect(isUploadExpired(rules, upload, START + ageMs, SECOND)).toBe(isExpired)
  })

  test('will be given up by the rule that comes first, at the midnight after its days', () => {
    const rules = [abort(5, { id: 'late' }), abort(3, { id: 'soon' }), abort(3, { id: 'same' })]
    expect(uploadExpiryOf(rules, upload, LIFECYCLE_DAY_MS)).toEqual({
      ruleId: 'soon',
      atMs: Date.parse('2026-03-14T00:00:00Z'),
    })
    expect(uploadExpiryOf([], upload, LIFECYCLE_DAY_MS)).toBeUndefined()
  })
})

describe('x-amz-expiration', () => {
  test.each<[string, readonly LifecycleRule[], string | undefined]>([
    ['no rule', [], undefined],
    ['a transition', [moved(1, 'GLACIER_IR')], undefined],
    ['a rule that is off', [{ ...expiring(3), isEnabled: false }], undefined],
    [
      'a marker rule',
      [rule({ expiration: expiration({ isExpiredMarkerDeleted: true }) })],
      undefined,
    ],
    ['days beyond the end of time', [expiring(2 ** 31)], undefined],
    [
      'the earlier of two',
      [
        { ...expiring(9), id: 'late' },
        { ...expiring(3), id: 'soon' },
      ],
      'expiry-date="Sat, 14 Mar 2026 00:00:00 GMT", rule-id="soon"',
    ],
    [
      'a date',
      [on(Date.parse('2027-01-01T00:00:00Z'))],
      'expiry-date="Fri, 01 Jan 2027 00:00:00 GMT", rule-id="rule"',
    ],
    [
      'an id with signs in it',
      [{ ...expiring(3), id: 'a "b", ü\n' }],
      'expiry-date="Sat, 14 Mar 2026 00:00:00 GMT", rule-id="a%20%22b%22%2C%20%C3%BC%0A"',
    ],
    [
      'an id that is half a character',
      [{ ...expiring(3), id: '\ud800' }],
      'expiry-date="Sat, 14 Mar 2026 00:00:00 GMT", rule-id="%EF%BF%BD"',
    ],
  ])('with %s', (_, rules, expected) => {
    expect(expirationHeader(rules, current(), LIFECYCLE_DAY_MS)).toBe(expected)
  })
})
