import { describe, expect, test } from 'vitest'
import {
  malformed,
  parseIso8601,
  parseXml,
  XML_ATTRIBUTES_MAX,
  XML_DEPTH_MAX,
  XML_ELEMENTS_MAX,
} from '../../../../src/gateway/s3/xml/xml-reader.ts'

const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'
const MALFORMED = expect.objectContaining({ code: 'MalformedXML' })

function parse(content: string) {
  return parseXml(Buffer.from(`<R>${content}</R>`), 'R')
}

describe('text', () => {
  test.each([
    ['00123', '00123'],
    [' a ', ' a '],
    ['\n\ta\n', '\n\ta\n'],
    ['1e5', '1e5'],
    ['true', 'true'],
    ['', ''],
    ['&lt;&gt;&amp;&quot;&apos;', '<>&"\''],
    ['&#13;', '\r'],
    ['&#x0D;&#10;', '\r\n'],
    ['a\r\nb\rc', 'a\nb\nc'],
    ['<![CDATA[<a> & ]]>', '<a> & '],
    ['x<![CDATA[y]]>z', 'xyz'],
    ['a<!-- no -->b', 'ab'],
    ['a<?pi no?>b', 'ab'],
    ['&#x1F600;', '\u{1F600}'],
    ['\u{1F600}ä', '\u{1F600}ä'],
    ['&#38;lt;', '&lt;'],
    [']]', ']]'],
  ])('%j is read as %j', (text, expected) => {
    expect(parse(`<K>${text}</K>`).text('K')).toBe(expected)
  })

  test.each(['&#x1;', '&#xD800;', '&#xFFFE;', '&#;', '&#xg;', '&;', '&a', 'a]]>b', '<', '&e;'])(
    '%j is refused',
    (text) => {
      expect(() => parse(`<K>${text}</K>`)).toThrow(MALFORMED)
    },
  )

  test('a control character can be named in a document of XML 1.1', () => {
    const body = Buffer.from('<?xml version="1.1"?><R><K>&#x1;</K></R>')
    expect(parseXml(body, 'R').text('K')).toBe('\u0001')
  })

  test('is undefined, or missed, when there is no such child', () => {
    expect(parse('').text('K')).toBeUndefined()
    expect(() => parse('').requiredText('K')).toThrow(MALFORMED)
    expect(parse('<K/>').requiredText('K')).toBe('')
  })

  test('an element that has elements is not text', () => {
    expect(() => parse('<K><L/></K>').text('K')).toThrow(MALFORMED)
    expect(() => parse('<K/>').content).toThrow(MALFORMED)
  })
})

describe('children', () => {
  test('of one name are given in order, and one of a name must be alone', () => {
    const root = parse('<A>1</A><B>2</B><A>3</A>')
    expect(root.children('A').map((child) => child.content)).toEqual(['1', '3'])
    expect(root.child('B')?.content).toBe('2')
    expect(root.child('C')).toBeUndefined()
    expect(() => root.child('A')).toThrow(MALFORMED)
    expect(() => root.requiredChild('C')).toThrow(MALFORMED)
    expect(root.requiredChild('B').name).toBe('B')
  })

  test('other than those that are named, and text among them, are refused', () => {
    parse('<A/> <B/>\n').only('A', 'B', 'C')
    expect(() => parse('<A/><B/>').only('A')).toThrow(MALFORMED)
    expect(() => parse('<A/>x').only('A')).toThrow(MALFORMED)
    expect(() => parse('x').only('A')).toThrow(MALFORMED)
    expect(() => parse('<a/>').only('A')).toThrow(MALFORMED)
  })

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty'])(
    'may have the name %s',
    (name) => {
      expect(parse(`<${name} ${name}="1">x</${name}>`).text(name)).toBe('x')
      expect(parse('').child(name)).toBeUndefined()
    },
  )
})

describe('integers', () => {
  const range = { min: -5, max: 10 }

  test.each([
    ['0', 0],
    ['-0', 0],
    ['-5', -5],
    ['10', 10],
    ['+7', 7],
    ['007', 7],
    [' 3\n', 3],
  ])('%j is %d', (text, value) => {
    expect(parse(`<N>${text}</N>`).integer('N', range)).toBe(value)
  })

  test.each(['', '-6', '11', '1.0', '1e1', '0x1', 'NaN', 'Infinity', '1 2', '1_0', '1,0', '٣'])(
    '%j is none from -5 to 10',
    (text) => {
      expect(() => parse(`<N>${text}</N>`).integer('N', range)).toThrow(MALFORMED)
    },
  )

  test('of 16 digits are refused, whatever the range', () => {
    const wide = { min: 0, max: Number.MAX_SAFE_INTEGER }
    expect(parse('<N>999999999999999</N>').integer('N', wide)).toBe(999_999_999_999_999)
    expect(() => parse('<N>9007199254740993</N>').integer('N', wide)).toThrow(MALFORMED)
  })

  test('may be missing, unless they are required', () => {
    expect(parse('').integer('N', range)).toBeUndefined()
    expect(() => parse('').requiredInteger('N', range)).toThrow(MALFORMED)
    expect(parse('<N>1</N>').requiredInteger('N', range)).toBe(1)
  })
})

describe('booleans and choices', () => {
  test.each([
    ['true', true],
    ['TRUE', true],
    [' True ', true],
    ['1', true],
    ['false', false],
    ['FALSE', false],
    ['0', false],
  ])('%j is %s', (text, value) => {
    expect(parse(`<B>${text}</B>`).boolean('B')).toBe(value)
  })

  test.each(['', 'yes', 'on', '2', 'truee'])('%j is neither true nor false', (text) => {
    expect(() => parse(`<B>${text}</B>`).boolean('B')).toThrow(MALFORMED)
  })

  test('a choice is exact, capitals and spaces too', () => {
    const values = ['On', 'Off'] as const
    expect(parse('<C>On</C>').choice('C', values)).toBe('On')
    expect(parse('').choice('C', values)).toBeUndefined()
    for (const text of ['on', ' On', '', 'constructor']) {
      expect(() => parse(`<C>${text}</C>`).choice('C', values)).toThrow(MALFORMED)
    }
    expect(() => parse('').requiredChoice('C', values)).toThrow(MALFORMED)
  })
})

describe('times', () => {
  test.each([
    ['2026-11-21T01:02:03.456Z', Date.UTC(2026, 10, 21, 1, 2, 3, 456)],
    ['2026-11-21T01:02:03Z', Date.UTC(2026, 10, 21, 1, 2, 3)],
    ['2026-11-21T01:02:03', Date.UTC(2026, 10, 21, 1, 2, 3)],
    ['2026-11-21', Date.UTC(2026, 10, 21)],
    ['2026-11-21T00:00:00+02:00', Date.UTC(2026, 10, 20, 22)],
    ['2026-11-21T00:00:00-05:30', Date.UTC(2026, 10, 21, 5, 30)],
    ['2026-11-21T00:00:00.1Z', Date.UTC(2026, 10, 21, 0, 0, 0, 100)],
    ['2026-11-21T00:00:00.123456789Z', Date.UTC(2026, 10, 21, 0, 0, 0, 123)],
    ['2024-02-29', Date.UTC(2024, 1, 29)],
    ['1970-01-01', 0],
    ['9999-12-31T23:59:59.999Z', Date.UTC(9999, 11, 31, 23, 59, 59, 999)],
  ])('%s is understood', (text, timeMs) => {
    expect(parseIso8601(text)).toBe(timeMs)
    expect(parse(`<T> ${text} </T>`).timeMs('T')).toBe(timeMs)
  })

  test.each([
    '',
    '20261121',
    '20261121T000000Z',
    '2026-02-29',
    '2026-02-30',
    '2026-13-01',
    '2026-00-01',
    '2026-11-00',
    '2026-11-31',
    '2026-11-21T24:00:00Z',
    '2026-11-21T00:60:00Z',
    '2026-11-21T00:00:60Z',
    '2026-11-21T00:00Z',
    '2026-11-21 00:00:00Z',
    '2026-11-21T00:00:00z',
    '2026-11-21T00:00:00+0200',
    '2026-11-21T00:00:00+24:00',
    '2026-11-21T00:00:00.Z',
    '2026-11-21Z',
    '1969-12-31',
    '1970-01-01T00:00:00+01:00',
    '0000-01-01',
    '+012026-01-01',
    'tomorrow',
  ])('%j is refused', (text) => {
    expect(parseIso8601(text)).toBeUndefined()
    expect(() => parse(`<T>${text}</T>`).timeMs('T')).toThrow(MALFORMED)
  })
})

describe('namespaces', () => {
  test.each([
    NAMESPACE,
    'http://s3.amazonaws.com/doc/2006-03-01',
    'http://doc.s3.amazonaws.com/2006-03-01',
    'http://doc.s3.amazonaws.com/2006-03-01/',
  ])('%s is one of S3, with a prefix or without', (uri) => {
    expect(parseXml(Buffer.from(`<R xmlns="${uri}"><K>1</K></R>`), 'R').text('K')).toBe('1')
    const prefixed = `<a:R xmlns:a="${uri}"><a:K>1</a:K></a:R>`
    expect(parseXml(Buffer.from(prefixed), 'R').text('K')).toBe('1')
  })

  test.each(['http://example.org/', 'https://s3.amazonaws.com/doc/2006-03-01/', 'x'])(
    '%j is foreign',
    (uri) => {
      expect(() => parseXml(Buffer.from(`<R xmlns="${uri}"/>`), 'R')).toThrow(MALFORMED)
      expect(() => parse(`<a:K xmlns:a="${uri}"/>`)).toThrow(MALFORMED)
    },
  )

  test('attributes are found by namespace and local name, whatever their prefix', () => {
    const root = parse('<G xmlns:p="http://x.org/" p:type="A" type="B" xmlns="">1</G>')
    const child = root.requiredChild('G')
    expect(child.attribute('http://x.org/', 'type')).toBe('A')
    expect(child.attribute('', 'type')).toBe('B')
    expect(child.attribute('', 'other')).toBeUndefined()
    expect(child.attribute('http://www.w3.org/2000/xmlns/', 'p')).toBeUndefined()
  })
})

describe('bounds', () => {
  const nested = (depth: number) => Buffer.from(`${'<R>'.repeat(depth)}${'</R>'.repeat(depth)}`)

  test(`${XML_DEPTH_MAX} levels are read, one more is refused`, () => {
    expect(parseXml(nested(XML_DEPTH_MAX), 'R').name).toBe('R')
    expect(() => parseXml(nested(XML_DEPTH_MAX + 1), 'R')).toThrow(MALFORMED)
  })

  test(`${XML_ELEMENTS_MAX} elements are read, one more is refused`, () => {
    const full = parse('<a/>'.repeat(XML_ELEMENTS_MAX - 1))
    expect(full.elements).toHaveLength(XML_ELEMENTS_MAX - 1)
    expect(() => parse('<a/>'.repeat(XML_ELEMENTS_MAX))).toThrow(MALFORMED)
  })

  const attributes = (count: number) =>
    Array.from({ length: count }, (_, at) => `a${at}="1"`).join(' ')

  test(`${XML_ATTRIBUTES_MAX} attributes of each element are read, one more is refused`, () => {
    const full = `<K ${attributes(XML_ATTRIBUTES_MAX)}/>`
    const root = parse(`${full}${full}`)
    expect(root.children('K').map((child) => child.attribute('', 'a15'))).toEqual(['1', '1'])
    expect(() => parse(`<K ${attributes(XML_ATTRIBUTES_MAX + 1)}/>`)).toThrow(MALFORMED)
    expect(() => parse(`<K ${attributes(100_000)}/>`)).toThrow(MALFORMED)
  })

  test('what is wrong is told in a short message, however long the names in it', () => {
    const name = 'x'.repeat(100_000)
    for (const failing of [
      () => parse(`<${name}></y>`),
      () => parse(`<${name}/>`).only('A'),
      () => parse(`<a:b xmlns:a="${name}"/>`),
      () => parse(`<${name}>`),
    ]) {
      expect(failing).toThrow(MALFORMED)
      expect(failing).toThrow(/^.{20,400}$/s)
    }
    expect(malformed(name).message.length).toBeLessThan(400)
  })

  test('a view of a larger buffer is read where it begins and ends', () => {
    const body = Buffer.from('xx<R><K>1</K></R>yy')
    const view = new Uint8Array(body.buffer, body.byteOffset + 2, body.length - 4)
    expect(parseXml(view, 'R').text('K')).toBe('1')
  })
})
