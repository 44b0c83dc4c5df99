import { describe, expect, test } from 'vitest'
import {
  parseTaggingHeader,
  readTagging,
  writeTagging,
} from '../../../../src/gateway/s3/documents/tagging.ts'
import { documentOf } from './sample-documents.ts'

const INVALID = expect.objectContaining({ code: 'InvalidTag' })

function tagged(...tags: readonly (readonly [key: string, value: string])[]): Buffer {
  const all = tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`)
  return documentOf('Tagging', `<TagSet>${all.join('')}</TagSet>`)
}

function many(count: number) {
  return Array.from({ length: count }, (_, at) => [`k${at}`, 'v'] as const)
}

describe('Tagging', () => {
  test.each([
    ['object', 0],
    ['object', 10],
    ['bucket', 0],
    ['bucket', 50],
  ] as const)('for an %s of %d tags is read', (holder, count) => {
    expect(readTagging(tagged(...many(count)), holder)).toHaveLength(count)
  })

  test('for an object of 11 tags is refused, and for a bucket of 51', () => {
    expect(() => readTagging(tagged(...many(11)), 'object')).toThrow(
      expect.objectContaining({
        code: 'InvalidTag',
        message: 'Object tags cannot be greater than 10',
      }),
    )
    expect(readTagging(tagged(...many(11)), 'bucket')).toHaveLength(11)
    expect(() => readTagging(tagged(...many(51)), 'bucket')).toThrow(INVALID)
  })

  test.each([
    ['k', ''],
    ['k'.repeat(128), 'v'.repeat(256)],
    ['a b+c-d=e.f_g:h/i@j', '+ - = . _ : / @'],
    ['ключ', '値'],
    ['k', 'aws:allowed in values'],
    ['xaws:', 'v'],
  ])('the key %s with the value %j is allowed', (key, value) => {
    expect(readTagging(tagged([key, value]), 'object')).toEqual([{ key, value }])
    const header = `${encodeURIComponent(key)}=${encodeURIComponent(value)}`
    expect(parseTaggingHeader(header)).toEqual([{ key, value }])
  })

  test.each([
    ['', 'v'],
    ['k'.repeat(129), 'v'],
    ['k', 'v'.repeat(257)],
    ['aws:k', 'v'],
    ['AWS:k', 'v'],
    ['k!', 'v'],
    ['k', 'a;b'],
    ['k', 'a\nb'],
    ['a\tb', 'v'],
    ['\u{1F600}', 'v'],
  ])('the key %s with the value %j is not', (key, value) => {
    expect(() => readTagging(tagged([key, value]), 'object')).toThrow(INVALID)
    const header = `${encodeURIComponent(key)}=${encodeURIComponent(value)}`
    expect(() => parseTaggingHeader(header)).toThrow(INVALID)
  })

  test('with a key twice is refused, and names it', () => {
    const error = { code: 'InvalidTag', fields: { TagKey: 'a' } }
    const body = tagged(['a', '1'], ['b', '1'], ['a', '2'])
    expect(() => readTagging(body, 'object')).toThrow(expect.objectContaining(error))
    expect(readTagging(tagged(['a', '1'], ['A', '1']), 'object')).toHaveLength(2)
  })

  test.each([
    '',
    '<TagSet/><TagSet/>',
    '<Tag><Key>a</Key><Value>b</Value></Tag>',
    '<TagSet><Tag><Key>a</Key></Tag></TagSet>',
    '<TagSet><Tag><Value>a</Value></Tag></TagSet>',
    '<TagSet><Tag/></TagSet>',
    '<TagSet><Tag><Key>a</Key><Value>b</Value><Value>c</Value></Tag></TagSet>',
    '<TagSet>a=b</TagSet>',
  ])('of %j is no such document', (content) => {
    expect(() => readTagging(documentOf('Tagging', content), 'object')).toThrow(
      expect.objectContaining({ code: 'MalformedXML' }),
    )
  })

  test('is written with its tags in order, and empty without any', () => {
    const tags = [
      { key: 'b', value: 'x&y' },
      { key: 'a', value: '' },
    ]
    expect(writeTagging(tags)).toContain(
      '<TagSet><Tag><Key>b</Key><Value>x&amp;y</Value></Tag>' +
        '<Tag><Key>a</Key><Value></Value></Tag></TagSet>',
    )
    expect(writeTagging([])).toContain('<TagSet></TagSet>')
  })
})

describe('x-amz-tagging', () => {
  test.each([
    ['', []],
    ['a=1', [{ key: 'a', value: '1' }]],
    ['a', [{ key: 'a', value: '' }]],
    ['a=1=2', [{ key: 'a', value: '1=2' }]],
    ['a+b=c%20d', [{ key: 'a b', value: 'c d' }]],
    ['%C3%A4=1', [{ key: 'ä', value: '1' }]],
    ['\u00c3\u00a4=1', [{ key: 'ä', value: '1' }]],
    [
      'b=2&a=1&',
      [
        { key: 'b', value: '2' },
        { key: 'a', value: '1' },
      ],
    ],
  ])('%j is read', (header, tags) => {
    expect(parseTaggingHeader(header)).toEqual(tags)
  })

  test.each([
    ['a=%', 'InvalidArgument'],
    ['a=%ff', 'InvalidArgument'],
    ['%E0%A4%A=1', 'InvalidArgument'],
    ['=1', 'InvalidTag'],
    ['a=1&a=2', 'InvalidTag'],
    ['aws%3Aa=1', 'InvalidTag'],
    [Array.from({ length: 11 }, (_, at) => `k${at}=v`).join('&'), 'InvalidTag'],
  ])('%j: %s', (header, code) => {
    expect(() => parseTaggingHeader(header)).toThrow(expect.objectContaining({ code }))
  })
})
