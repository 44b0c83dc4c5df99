import { expect, test } from 'vitest'
import { formBoundary, readFormField, readFormFile } from '../../src/net/multipart.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { Prng } from '../support/prng.ts'

async function* inPieces(data: Buffer, lengthOf: () => number): AsyncIterable<Buffer> {
  for (let at = 0; at < data.length; ) {
    const length = lengthOf()
    yield data.subarray(at, at + length)
    at += length
  }
}

async function readForm(text: string | Buffer, pieceBytes = 1e9, boundary = 'XX') {
  const file = await readFormFile(
    inPieces(Buffer.from(text), () => pieceBytes),
    boundary,
  )
  const pieces: Uint8Array[] = []
  for await (const piece of file.data) pieces.push(piece)
  return { fileName: file.fileName, mime: file.mime, text: Buffer.concat(pieces).toString() }
}

function part(disposition: string, data: string, headers = ''): string {
  return `--XX\r\nContent-Disposition: form-data; ${disposition}\r\n${headers}\r\n${data}\r\n`
}

const END = '--XX--\r\n'
const WHOLE = [
  'preamble\r\n',
  part('name="a"', 'first'),
  part('name="f"; filename="f.bin"', 'da\r\n--X\r\nta', 'content-type: image/png\r\n'),
  part('name="z"', 'last'),
  END,
  'epilogue',
].join('')

test.each([1, 2, 3, 5, 7, 64, 1000])('a form in pieces of %d bytes', async (pieceBytes) => {
  expect(await readForm(WHOLE, pieceBytes)).toEqual({
    fileName: 'f.bin',
    mime: 'image/png',
    text: 'da\r\n--X\r\nta',
  })
})

test.each<[string, string, object]>([
  [
    'without file names, the first part',
    part('name="a"', '1') + part('name="b"', '2'),
    { fileName: '', text: '1' },
  ],
  ['an empty file', part('name="a"; filename="e"', ''), { fileName: 'e', text: '' }],
  ['an empty file name', part('name="a"; filename=""', 'x'), { fileName: '', text: 'x' }],
  ['a part without headers', '--XX\r\n\r\nbare\r\n', { fileName: '', mime: '', text: 'bare' }],
  ['a name without quotes', part('filename=a.txt; name=f', 'x'), { fileName: 'a.txt' }],
  ['a quoted name with quotes', part('filename="a\\"b%22c"', 'x'), { fileName: 'a"b"c' }],
  ['a name in UTF-8', part('filename="日本.txt"', 'x'), { fileName: '日本.txt' }],
  [
    'an encoded name',
    part(`filename="x"; filename*=UTF-8''%e6%97%a5.txt`, 'x'),
    { fileName: '日.txt' },
  ],
  ['a name with directories', part('filename="C:\\\\dir\\\\a.txt"', 'x'), { fileName: 'a.txt' }],
  ['a name with slashes', part('filename="/etc/passwd"', 'x'), { fileName: 'passwd' }],
  ['blanks after a boundary', `--XX  \r\nX: y\r\n\r\nx\r\n`, { text: 'x' }],
])('%s', async (_, parts, expected) => {
  expect(await readForm(parts + END)).toMatchObject(expected)
})

test('a form cut off anywhere before its end is REQUEST_INVALID', async () => {
  const text = part('name="f"; filename="f"', 'data') + END
  for (let length = 0; length < text.length - 2; length++) {
    await expect(readForm(text.slice(0, length)), `${length} bytes`).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
  }
})

test('more than 1 MiB before the file is BODY_TOO_LARGE', async () => {
  const file = part('filename="f"', 'x')
  const large = 'x'.repeat(2 ** 20 + 1)
  const tooLarge = { code: 'BODY_TOO_LARGE' }
  await expect(readForm(part('name="a"', large) + file + END)).rejects.toMatchObject(tooLarge)
  await expect(readForm(`${large}\r\n${file}${END}`)).rejects.toMatchObject(tooLarge)
  expect(await readForm(part('name="a"', large.slice(1)) + file + END)).toMatchObject({ text: 'x' })
})

test.each([
  ['multipart/form-data; boundary=abc', 'abc'],
  ['multipart/form-data; charset=utf-8; boundary="a b;c"', 'a b;c'],
  ['multipart/form-data;BOUNDARY=----x--; y=z', '----x--'],
])('the boundary of %s', (contentType, boundary) => {
  expect(formBoundary(contentType)).toBe(boundary)
})

test.each([
  'multipart/form-data',
  'multipart/form-data; boundary=',
  'multipart/form-data; boundary=""',
  `multipart/form-data; boundary="${'x'.repeat(71)}"`,
])('no boundary in %s', (contentType) => {
  expectStoreError(() => formBoundary(contentType), 'REQUEST_INVALID')
})

// Goal: data of any bytes comes back whole, however it is cut up. Method: random data that is full
// of beginnings of the delimiter, in random pieces.
test.each([1, 2, 3, 4, 5, 6])('any data comes back (seed %d)', async (seed) => {
  const prng = new Prng(seed)
  const bits = ['\r', '\n', '-', '--', '\r\n', '\r\n-', '\r\n--', '\r\n--X', 'X', 'XY', '\0', 'é']
  for (let round = 0; round < 200; round++) {
    let data = ''
    for (let count = prng.below(30); count > 0; count--) data += bits[prng.below(bits.length)]
    if (`\r\n${data}\r\n`.includes('\r\n--XX')) continue
    const body = Buffer.from(part('filename="f"', data) + part('name="x"', 'y') + END)
    const file = await readFormFile(
      inPieces(body, () => prng.below(9) + 1),
      'XX',
    )
    const pieces: Uint8Array[] = []
    for await (const piece of file.data) pieces.push(piece)
    expect(Buffer.concat(pieces).toString()).toBe(data)
  }
})

async function readField(text: string, pieceBytes = 1e9) {
  const source = inPieces(Buffer.from(text), () => pieceBytes)
  const file = await readFormField(source, 'XX', 'file')
  const pieces: Uint8Array[] = []
  for await (const piece of file.data) pieces.push(piece)
  return { fileName: file.fileName, mime: file.mime, text: Buffer.concat(pieces).toString() }
}

test.each([1, 2, 3, 7, 64, 1000])(
  'one field of a form in pieces of %d bytes',
  async (pieceBytes) => {
    const before = part('name="f"; filename="other"', 'o')
    const field = part('name="file"; filename="a.txt"', 'da\r\n--X\r\nta', 'content-type: a/b\r\n')
    const text = `preamble\r\n${before}${field}${part('name="z"', 'last')}${END}epilogue`
    const expected = { fileName: 'a.txt', mime: 'a/b', text: 'da\r\n--X\r\nta' }
    expect(await readField(text, pieceBytes)).toEqual(expected)
  },
)

test.each([
  ['no such field', part('name="files"; filename="file"', 'x') + END, 'REQUEST_INVALID'],
  ['a file name like it', part('filename="file"', 'x') + END, 'REQUEST_INVALID'],
  ['two of them', part('name="file"', 'x') + part('name=file', 'y') + END, 'REQUEST_INVALID'],
  ['no end', part('name="file"', 'x'), 'REQUEST_INVALID'],
  ['too much before', part('name="a"', 'x'.repeat(1_048_577)) + END, 'BODY_TOO_LARGE'],
  [
    'too much after',
    part('name="file"', 'x') + part('name="a"', 'x'.repeat(1_048_577)) + END,
    'BODY_TOO_LARGE',
  ],
])('of a form with %s no field is read', async (_, text, code) => {
  await expect(readField(text)).rejects.toMatchObject({ code })
})

test.each(['name="file"', 'name=file', 'filename="x"; name="file"', 'NAME="file"; filename=name'])(
  'the field is known by %s',
  async (disposition) => {
    expect((await readField(part(disposition, 'x') + END)).text).toBe('x')
  },
)
