import { describe, expect, test } from 'vitest'
import { readLifecycleConfiguration } from '../../../../src/gateway/s3/documents/lifecycle.ts'
import { Prng } from '../../../support/prng.ts'
import { documentOf } from './sample-documents.ts'

const ALL = '<Filter/>'
const ON = '<Status>Enabled</Status>'
const EXPIRE = '<Expiration><Days>10</Days></Expiration>'
const ABORT =
  '<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>' +
  '</AbortIncompleteMultipartUpload>'
const MARKER =
  '<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>'
const TAG = '<Tag><Key>k</Key><Value>v</Value></Tag>'
const LARGER = '<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>'

const rule = (content: string) => `<Rule>${content}</Rule>`
const acting = (content: string) => rule(`${ALL}${ON}${content}`)
const filtered = (content: string, action = EXPIRE) =>
  rule(`<Filter>${content}</Filter>${ON}${action}`)
const and = (content: string) => filtered(`<And>${content}</And>`)
const expire = (content: string) => acting(`<Expiration>${content}</Expiration>`)
const move = (content: string, storageClass = 'STANDARD_IA') =>
  `<Transition>${content}<StorageClass>${storageClass}</StorageClass></Transition>`
const noncurrent = (content: string) =>
  `<NoncurrentVersionExpiration>${content}</NoncurrentVersionExpiration>`
const moveNoncurrent = (content: string, storageClass = 'GLACIER_IR') =>
  `<NoncurrentVersionTransition>${content}<StorageClass>${storageClass}</StorageClass>` +
  '</NoncurrentVersionTransition>'
const days = (value: number | string) => `<Days>${value}</Days>`
const date = (value: string) => `<Date>${value}</Date>`
const noncurrentDays = (value: number | string) => `<NoncurrentDays>${value}</NoncurrentDays>`
const kept = (value: number) => `<NewerNoncurrentVersions>${value}</NewerNoncurrentVersions>`

function read(content: string) {
  return readLifecycleConfiguration(documentOf('LifecycleConfiguration', content), new Prng(3))
}

function codeOf(content: string): unknown {
  try {
    read(content)
    return undefined
  } catch (error) {
    return (error as { code?: unknown }).code ?? error
  }
}

describe('a lifecycle rule', () => {
  test.each([
    [rule(`${ALL}${ON}${EXPIRE}`), undefined],
    [rule(`${ALL}${EXPIRE}`), 'MalformedXML'],
    [rule(`${ALL}<Status>enabled</Status>${EXPIRE}`), 'MalformedXML'],
    [rule(`${ON}${EXPIRE}`), 'MalformedXML'],
    [rule(`${ALL}<Prefix/>${ON}${EXPIRE}`), 'MalformedXML'],
    [rule(`<Prefix/>${ON}${EXPIRE}`), undefined],
    [rule(`<Prefix>${'x'.repeat(1024)}</Prefix>${ON}${EXPIRE}`), undefined],
    [rule(`<Prefix>${'x'.repeat(1025)}</Prefix>${ON}${EXPIRE}`), 'InvalidArgument'],
    [acting(''), 'InvalidRequest'],
    [acting(`<ID>${'x'.repeat(255)}</ID>${EXPIRE}`), undefined],
    [acting(`<ID>${'x'.repeat(256)}</ID>${EXPIRE}`), 'InvalidArgument'],
    [acting(`<ID>a</ID>${EXPIRE}`).repeat(2), 'InvalidArgument'],
    [acting(EXPIRE).repeat(2), undefined],
    [acting(`${EXPIRE}${EXPIRE}`), 'MalformedXML'],
    [acting(`${EXPIRE}<Other/>`), 'MalformedXML'],
  ])('%s: %s', (content, code) => {
    expect(codeOf(content)).toBe(code)
  })

  test.each([
    [0, 'MalformedXML'],
    [1, undefined],
    [1000, undefined],
    [1001, 'InvalidRequest'],
  ])('of %d rules: %s', (count, code) => {
    expect(codeOf(acting(EXPIRE).repeat(count))).toBe(code)
  })

  test('without an id, or with an empty one, is given one of its own', () => {
    const rules = read(
      `${acting(EXPIRE)}${acting(`<ID/>${EXPIRE}`)}${acting(`<ID>x</ID>${EXPIRE}`)}`,
    )
    const ids = rules.map((one) => one.id)
    expect(ids[2]).toBe('x')
    expect(ids[0]).toMatch(/^[0-9a-f]{32}$/)
    expect(ids[1]).toMatch(/^[0-9a-f]{32}$/)
    expect(new Set(ids).size).toBe(3)
  })
})

describe('a filter', () => {
  test.each([
    ['', undefined],
    ['<Prefix/>', undefined],
    ['<Prefix>a</Prefix>', undefined],
    [TAG, undefined],
    [LARGER, undefined],
    ['<ObjectSizeGreaterThan>-1</ObjectSizeGreaterThan>', 'InvalidRequest'],
    ['<ObjectSizeGreaterThan>0</ObjectSizeGreaterThan>', undefined],
    ['<ObjectSizeGreaterThan>1099511627776000</ObjectSizeGreaterThan>', 'MalformedXML'],
    ['<ObjectSizeLessThan>0</ObjectSizeLessThan>', 'InvalidRequest'],
    ['<ObjectSizeLessThan>1</ObjectSizeLessThan>', undefined],
    ['<ObjectSizeLessThan>x</ObjectSizeLessThan>', 'MalformedXML'],
    [`<Prefix>a</Prefix>${TAG}`, 'MalformedXML'],
    [`${TAG}${TAG}`, 'MalformedXML'],
    [`<And><Prefix/>${TAG}</And>${TAG}`, 'MalformedXML'],
    ['<Tag><Key/><Value/></Tag>', 'MalformedXML'],
    ['<Tag><Key>a</Key></Tag>', 'MalformedXML'],
    [`<Tag><Key>${'k'.repeat(128)}</Key><Value>${'v'.repeat(256)}</Value></Tag>`, undefined],
    [`<Tag><Key>${'k'.repeat(129)}</Key><Value/></Tag>`, 'InvalidArgument'],
    [`<Tag><Key>k</Key><Value>${'v'.repeat(257)}</Value></Tag>`, 'InvalidArgument'],
    ['text', 'MalformedXML'],
  ])('%j: %s', (content, code) => {
    expect(codeOf(filtered(content))).toBe(code)
  })

  test.each([
    ['', 'MalformedXML'],
    [TAG, 'MalformedXML'],
    [`<Prefix/>${TAG}`, undefined],
    [`${TAG}${TAG}`, 'InvalidRequest'],
    [`${TAG}<Tag><Key>l</Key><Value>v</Value></Tag>`, undefined],
    [`${LARGER}<ObjectSizeLessThan>6</ObjectSizeLessThan>`, undefined],
    [`${LARGER}<ObjectSizeLessThan>5</ObjectSizeLessThan>`, 'InvalidRequest'],
    [`<And><Prefix/>${TAG}</And>${TAG}`, 'MalformedXML'],
  ])('And of %j: %s', (content, code) => {
    expect(codeOf(and(content))).toBe(code)
  })

  test.each([
    [filtered(TAG, MARKER), 'InvalidRequest'],
    [filtered(LARGER, MARKER), 'InvalidRequest'],
    [filtered('<Prefix>a</Prefix>', MARKER), undefined],
    [filtered(TAG, ABORT), 'InvalidRequest'],
    [filtered(LARGER, ABORT), 'InvalidRequest'],
    [filtered('<Prefix>a</Prefix>', ABORT), undefined],
    [filtered(TAG, EXPIRE), undefined],
  ])('%s: %s', (content, code) => {
    expect(codeOf(content)).toBe(code)
  })
})

describe('actions', () => {
  test.each([
    [expire(days(1)), undefined],
    [expire(days(2 ** 31 - 1)), undefined],
    [expire(days(2 ** 31)), 'MalformedXML'],
    [expire(days(0)), 'InvalidArgument'],
    [expire(days(-1)), 'InvalidArgument'],
    [expire(days('x')), 'MalformedXML'],
    [expire(days('1.5')), 'MalformedXML'],
    [expire(''), 'MalformedXML'],
    [expire(date('2027-01-01')), undefined],
    [expire(date('2027-01-01T00:00:00.000Z')), undefined],
    [expire(date('2027-01-01T02:00:00+02:00')), undefined],
    [expire(date('2027-01-01T00:00:01Z')), 'InvalidArgument'],
    [expire(date('2027-01-01T00:00:00+02:00')), 'InvalidArgument'],
    [expire(date('20270101')), 'MalformedXML'],
    [expire(date('2027-02-29')), 'MalformedXML'],
    [expire(`${days(1)}${date('2027-01-01')}`), 'MalformedXML'],
    [
      expire(`${days(1)}<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>`),
      'MalformedXML',
    ],
    [expire('<ExpiredObjectDeleteMarker>false</ExpiredObjectDeleteMarker>'), undefined],
    [acting(ABORT), undefined],
    [acting('<AbortIncompleteMultipartUpload/>'), 'MalformedXML'],
    [acting(ABORT.replace('>1<', '>0<')), 'InvalidArgument'],
    [acting(noncurrent(noncurrentDays(1))), undefined],
    [acting(noncurrent(noncurrentDays(0))), 'InvalidArgument'],
    [acting(noncurrent('')), 'MalformedXML'],
    [acting(noncurrent(kept(5))), 'MalformedXML'],
    [acting(noncurrent(`${noncurrentDays(1)}${kept(1)}`)), undefined],
    [acting(noncurrent(`${noncurrentDays(1)}${kept(0)}`)), 'InvalidArgument'],
    [acting(move(days(0))), undefined],
    [acting(move(days(-1))), 'InvalidArgument'],
    [acting(move('')), 'MalformedXML'],
    [acting(move(`${days(1)}${date('2027-01-01')}`)), 'MalformedXML'],
    [acting(`<Transition>${days(1)}</Transition>`), 'MalformedXML'],
    [acting(move(days(1), 'GLACIER_IR')), undefined],
    [acting(move(days(1), 'ONEZONE_IA')), undefined],
    [acting(move(days(1), 'INTELLIGENT_TIERING')), undefined],
    [acting(move(days(1), 'STANDARD')), 'InvalidStorageClass'],
    [acting(move(days(1), 'REDUCED_REDUNDANCY')), 'InvalidStorageClass'],
    [acting(move(days(1), 'GLACIER')), 'InvalidStorageClass'],
    [acting(move(days(1), 'DEEP_ARCHIVE')), 'InvalidStorageClass'],
    [acting(move(days(1), '')), 'InvalidStorageClass'],
    [acting(move(days(1), 'standard_ia')), 'InvalidStorageClass'],
    [acting(`${move(days(1))}${move(days(2))}`), 'InvalidRequest'],
    [acting(`${move(days(1))}${move(days(2), 'GLACIER_IR')}`), undefined],
    [acting(`${move(days(1))}${move(date('2027-01-01'), 'GLACIER_IR')}`), 'InvalidRequest'],
    [acting(`${EXPIRE}${move(date('2027-01-01'))}`), 'InvalidRequest'],
    [acting(`${EXPIRE}${move(days(9))}`), undefined],
    [acting(`${EXPIRE}${move(days(10))}`), 'InvalidArgument'],
    [
      acting(`<Expiration>${date('2027-01-02')}</Expiration>${move(date('2027-01-01'))}`),
      undefined,
    ],
    [
      acting(`<Expiration>${date('2027-01-01')}</Expiration>${move(date('2027-01-01'))}`),
      'InvalidArgument',
    ],
    [acting(moveNoncurrent(noncurrentDays(0))), undefined],
    [acting(moveNoncurrent(noncurrentDays(-1))), 'InvalidArgument'],
    [acting(moveNoncurrent('')), 'MalformedXML'],
    [acting(moveNoncurrent(noncurrentDays(1), 'NONE')), 'InvalidStorageClass'],
    [acting(moveNoncurrent(noncurrentDays(1)).repeat(2)), 'InvalidRequest'],
    [acting(`${moveNoncurrent(noncurrentDays(1))}${noncurrent(noncurrentDays(2))}`), undefined],
    [
      acting(`${moveNoncurrent(noncurrentDays(1))}${noncurrent(noncurrentDays(1))}`),
      'InvalidArgument',
    ],
  ])('%s: %s', (content, code) => {
    expect(codeOf(content)).toBe(code)
  })

  test('60,000 transitions of one rule are refused like two', () => {
    expect(codeOf(acting(move(days(1)).repeat(60_000)))).toBe('InvalidRequest')
  })
})
