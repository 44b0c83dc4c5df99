import { describe, expect, test } from 'vitest'
import { isS3Error } from '../../../../src/gateway/s3/s3-error.ts'
import { Prng, seeds } from '../../../support/prng.ts'
import { DECLARATION, documentOf, NAMESPACE, SAMPLES } from './sample-documents.ts'

describe.each(SAMPLES)('$root', ({ root, content, read, value, code }) => {
  const whole = documentOf(root, content)
  const refused = (body: Buffer | string) => {
    expect(() => read(Buffer.from(body))).toThrow(expect.objectContaining({ code }))
  }

  test('is read whole', () => {
    expect(read(whole)).toEqual(value)
  })

  test('is the same with a byte order mark, comments, spaces, a prefix, or no namespace', () => {
    const spaced = content
      .replaceAll('><', '>\r\n  <')
      .replaceAll(/(<[A-Za-z]+>)\r\n\s+(<\/)/g, '$1$2')
    const prefixed = content.replaceAll(/<(\/?)([A-Z])/g, '<$1s3:$2')
    for (const text of [
      `\ufeff${whole.toString()}`,
      `<${root}>${content}</${root}>`,
      `<!-- a --><${root}><!-- b -->${content}<!-- c --></${root}><!-- d -->`,
      `<?pi x?><${root}>${content}</${root}>`,
      `<${root}>\n${spaced}\n</${root}>\n`,
      `<s3:${root} xmlns:s3="${NAMESPACE}">${prefixed}</s3:${root}>`,
      `<?xml version='1.0' encoding='utf-8'?><${root}>${content}</${root}>`,
    ]) {
      expect(read(Buffer.from(text))).toEqual(value)
    }
  })

  test('is refused when it is cut at any byte', () => {
    for (let at = 0; at < whole.length; at++) refused(whole.subarray(0, at))
  })

  test.each([
    ['nothing', ''],
    ['spaces', '  \n '],
    ['no XML', 'not xml'],
    ['JSON', '{"Rules":[]}'],
    ['another root', documentOf('Other', content)],
    ['the root in lower case', documentOf(root.toLowerCase(), content)],
    ['a foreign namespace', `<${root} xmlns="http://example.org/">${content}</${root}>`],
    ['a foreign element', documentOf(root, `${content}<x:A xmlns:x="http://x.org/"/>`)],
    ['an unbound prefix', documentOf(root, `${content}<x:A/>`)],
    ['an unknown element', documentOf(root, `${content}<Unknown/>`)],
    ['text between elements', documentOf(root, `${content}text`)],
    ['text in CDATA between elements', documentOf(root, `${content}<![CDATA[text]]>`)],
    ['two roots', `<${root}>${content}</${root}><${root}/>`],
    ['text after the root', `<${root}>${content}</${root}>x`],
    ['a document type', `<!DOCTYPE ${root}><${root}>${content}</${root}>`],
    ['an unknown entity', documentOf(root, `${content}&nbsp;`)],
    ['a reference to NUL', documentOf(root, `${content}&#0;`)],
    ['a raw control character', documentOf(root, `${content}\u0001`)],
    ['an unquoted attribute', documentOf(root, content).toString().replace('xmlns="', 'xmlns=')],
    ['an attribute twice', `<${root} a="1" a="2">${content}</${root}>`],
    ['bytes that are not UTF-8', Buffer.concat([whole, Buffer.from([0xff])])],
    [
      'UTF-16 with a byte order mark',
      Buffer.from(`\ufeff<${root}>${content}</${root}>`, 'utf16le'),
    ],
    ['UTF-16 without one', Buffer.from(`<${root}>${content}</${root}>`, 'utf16le')],
    ['an encoding of Latin-1', whole.toString().replace('UTF-8', 'ISO-8859-1')],
    ['an encoding of UTF-16', whole.toString().replace('UTF-8', 'UTF-16')],
    ['a version of XML that is none', whole.toString().replace('1.0', '3.0')],
  ])('is refused: %s', (_, body) => {
    refused(body)
  })

  test('is refused with an entity bomb before anything is expanded', () => {
    const entities = Array.from({ length: 30 }, (_, at) => {
      return `<!ENTITY e${at + 1} "&e${at};&e${at};">`
    })
    const type = `<!DOCTYPE b [<!ENTITY e0 "boom">${entities.join('')}]>`
    refused(`${DECLARATION}${type}<${root}>&e30;${content}</${root}>`)
  })

  test('is refused when it is nested a hundred thousand deep', () => {
    refused(`<${root}>${'<A>'.repeat(100_000)}`)
  })
})

/** The first child of the root, of which there may be only one. */
const SINGLE_FIRST = SAMPLES.flatMap((sample) => {
  const { root, content } = sample
  const child = /^<([A-Za-z0-9]+)>.*?<\/\1>/.exec(content)
  const isMany = ['CORSRule', 'Part', 'TopicConfiguration'].includes(child?.[1] ?? '')
  if (child === null || isMany || root === 'LifecycleConfiguration') return []
  return [{ ...sample, name: child[1], child: child[0] }]
})

test('eleven of the documents begin with an element that may be there once', () => {
  expect(SINGLE_FIRST).toHaveLength(11)
})

test.each(SINGLE_FIRST)(
  '$root with $name twice is refused',
  ({ root, child, content, read, code }) => {
    const body = documentOf(root, `${child}${content}`)
    expect(() => read(body)).toThrow(expect.objectContaining({ code }))
  },
)

const PIECES = [
  '<',
  '>',
  '</',
  '/>',
  '&',
  '&amp;',
  '&#13;',
  '&#x110000;',
  '<![CDATA[',
  ']]>',
  '<!--',
  '-->',
  '<!DOCTYPE',
  '<?xml',
  '"',
  "'",
  ' xmlns="',
  'xsi:type=',
  '\u0000',
  '-1',
  '99999999999999999999',
  '1e5',
  'true',
  'NaN',
  '__proto__',
  'constructor',
  '\ud83d\ude00',
]

// Goal: whatever comes, a reader gives a value or an S3Error, never another error.
// Method: an example, changed in up to six places. Replay: SEED=17 npx vitest run this file.
test.each(seeds(60))('every reader survives changed examples (seed %d)', (seed) => {
  const prng = new Prng(seed)
  for (const { root, content, read } of SAMPLES) {
    for (let round = 0; round < 20; round++) {
      const body = mutate(documentOf(root, content), prng)
      try {
        read(body)
      } catch (error) {
        if (!isS3Error(error)) throw error
        expect(error.status).toBeGreaterThanOrEqual(400)
      }
    }
  }
})

function mutate(original: Buffer, prng: Prng): Buffer {
  let body = original
  for (let change = prng.between(1, 6); change > 0; change--) {
    const at = prng.below(body.length + 1)
    const end = Math.min(body.length, at + prng.below(20))
    const between = prng.below(body.length + 1)
    const inserted = [
      Buffer.from(prng.pick(PIECES)),
      prng.bytes(prng.below(4)),
      body.subarray(between, between + prng.below(80)),
      Buffer.alloc(0),
    ]
    const cut = prng.chance(0.5) ? end : at
    body = Buffer.concat([body.subarray(0, at), prng.pick(inserted), body.subarray(cut)])
  }
  return body
}

// Elements in the wrong places, all well-formed: what the mutation of bytes seldom makes.
test.each(seeds(60))('every reader survives shuffled elements (seed %d)', (seed) => {
  const prng = new Prng(seed)
  const names = SAMPLES.flatMap(({ content }) => content.match(/(?<=<)[A-Za-z0-9]+(?=>)/g) ?? [])
  const texts = [
    '',
    ' ',
    '0',
    '-1',
    '5',
    'true',
    'Enabled',
    'AES256',
    'GET',
    '*',
    '2027-01-01',
    'ä',
  ]
  const tree = (depth: number): string => {
    if (depth === 0 || prng.chance(0.3)) return prng.pick(texts)
    return Array.from({ length: prng.below(4) }, () => {
      const name = prng.pick(names)
      return `<${name}>${tree(depth - 1)}</${name}>`
    }).join('')
  }
  for (const { root, content, read } of SAMPLES) {
    for (let round = 0; round < 20; round++) {
      const child = prng.pick(content.match(/(?<=<)[A-Za-z0-9]+(?=>)/g) ?? [''])
      const body = documentOf(root, `${tree(4)}<${child}>${tree(3)}</${child}>`)
      try {
        read(body)
      } catch (error) {
        if (!isS3Error(error)) throw error
        expect(error.status).toBeGreaterThanOrEqual(400)
      }
    }
  }
})
