import { describe, expect, test } from 'vitest'
import { parseXml } from '../../../../src/gateway/s3/xml/xml-reader.ts'
import {
  checkElementName,
  escapeXml,
  etagElement,
  iso8601,
  textElement,
  textElements,
  XML_DECLARATION,
  xmlDocument,
  xmlElement,
} from '../../../../src/gateway/s3/xml/xml-writer.ts'
import { Prng, seeds } from '../../../support/prng.ts'

describe('escapeXml', () => {
  test.each([
    ['', ''],
    ['photos/2026/a b.jpg', 'photos/2026/a b.jpg'],
    ["ä 日本 \u{1F600} it's", "ä 日本 \u{1F600} it's"],
    ['<a href="x">&amp;', '&lt;a href=&quot;x&quot;&gt;&amp;amp;'],
    ['a\rb', 'a&#13;b'],
    ['a\tb\nc', 'a\tb\nc'],
    ['\u0000', '&#x0;'],
    ['\u0001\u0008\u000b\u000c\u001f', '&#x1;&#x8;&#xb;&#xc;&#x1f;'],
    ['\u007f\u0085\u009f', '\u007f\u0085\u009f'],
    ['\ufffe\uffff', '&#xfffe;&#xffff;'],
    ['\ufffd', '\ufffd'],
    ['a\ud800b', 'a\ufffdb'],
    ['\udc00', '\ufffd'],
    [']]>', ']]&gt;'],
  ])('of %j is %j', (text, expected) => {
    expect(escapeXml(text)).toBe(expected)
  })

  test.each(seeds(40))('is undone by reading, for text that XML can hold (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const alphabet = [...'ab&<>"\'\r\n\t ;#]äЖ', '\u{1F600}', '\u0085', '\u2028', '\ufffd']
    for (let round = 0; round < 50; round++) {
      const text = Array.from({ length: prng.below(20) }, () => prng.pick(alphabet)).join('')
      const body = Buffer.from(xmlDocument('R', textElement('K', text)))
      expect(parseXml(body, 'R').text('K')).toBe(text)
    }
  })
})

describe('elements', () => {
  test('of texts, numbers and booleans, and none for undefined', () => {
    expect(textElement('A', 'x<y')).toBe('<A>x&lt;y</A>')
    expect(textElement('A', '')).toBe('<A></A>')
    expect(textElement('A', 0)).toBe('<A>0</A>')
    expect(textElement('A', 5_000_000_000_000)).toBe('<A>5000000000000</A>')
    expect(textElement('A', false)).toBe('<A>false</A>')
    expect(textElement('A', undefined)).toBe('')
    expect(textElements('A', ['1', '&'])).toBe('<A>1</A><A>&amp;</A>')
    expect(textElements('A', [])).toBe('')
    expect(xmlElement('A', '<B/>')).toBe('<A><B/></A>')
    expect(etagElement('abc-2')).toBe('<ETag>&quot;abc-2&quot;</ETag>')
  })

  test('a document has a declaration and the namespace of S3', () => {
    expect(xmlDocument('R', '')).toBe(
      '<?xml version="1.0" encoding="UTF-8"?>\n' +
        '<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></R>',
    )
    expect(xmlDocument('R', 'x').startsWith(XML_DECLARATION)).toBe(true)
  })

  test.each(['Code', 'BucketName', 'a1', 'Content-MD5'])(
    '%s can be the name of an element',
    (name) => {
      expect(() => checkElementName(name)).not.toThrow()
    },
  )

  test.each(['', '1a', 'a b', 'a>', 'a:b', 'ä', 'a\n'])('%j cannot', (name) => {
    expect(() => checkElementName(name)).toThrow('is the name of an element')
  })
})

describe('iso8601', () => {
  test.each([
    [0, '1970-01-01T00:00:00.000Z'],
    [1, '1970-01-01T00:00:00.001Z'],
    [10, '1970-01-01T00:00:00.010Z'],
    [999, '1970-01-01T00:00:00.999Z'],
    [3_599_999, '1970-01-01T00:59:59.999Z'],
    [3_600_000, '1970-01-01T01:00:00.000Z'],
    [86_399_999, '1970-01-01T23:59:59.999Z'],
    [86_400_000, '1970-01-02T00:00:00.000Z'],
    [-1, '1969-12-31T23:59:59.999Z'],
    [Date.UTC(2024, 1, 29, 12, 34, 56, 789), '2024-02-29T12:34:56.789Z'],
    [Date.UTC(9999, 11, 31, 23, 59, 59, 999), '9999-12-31T23:59:59.999Z'],
  ])('of %d is %s', (timeMs, text) => {
    expect(iso8601(timeMs)).toBe(text)
  })

  test.each(seeds(20))('is what Date makes of it, near and far (seed %d)', (seed) => {
    const prng = new Prng(seed)
    let timeMs = 0
    for (let round = 0; round < 500; round++) {
      // Small steps meet the hours that are kept, large ones replace them.
      timeMs = prng.chance(0.5) ? timeMs + prng.below(7_200_000) : prng.u32() * prng.below(50_000)
      expect(iso8601(timeMs)).toBe(new Date(timeMs).toISOString())
    }
  })
})
