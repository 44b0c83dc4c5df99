import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { formatFileId, parseFileId } from '../../src/base/file-id.ts'
import { volumeId } from '../../src/base/ids.ts'
import { deriveTokenKeys, FileTokens } from '../../src/net/file-token.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { SimClock } from '../support/sim-clock.ts'

const SECRET = Buffer.alloc(32, 7)
const FILE = parseFileId('3,01637037d6')

function setUp() {
  const clock = new SimClock()
  const keys = deriveTokenKeys(SECRET)
  return { clock, keys, tokens: new FileTokens({ clock }, keys) }
}

function forge(header: object, claims: unknown, key: Buffer, hash = 'sha256'): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const head = `${part(header)}.${part(claims)}`
  return `${head}.${createHmac(hash, key).update(head).digest('base64url')}`
}

describe('a token', () => {
  test('opens its file until it expires, in whole seconds', async () => {
    const { clock, tokens } = setUp()
    const token = tokens.mintWrite(FILE, 10)
    tokens.verifyWrite(token, FILE)
    await clock.advance(9_999)
    tokens.verifyWrite(token, FILE)
    await clock.advance(1)
    expectStoreError(() => tokens.verifyWrite(token, FILE), 'TOKEN_INVALID')
  })

  test('is a JSON Web Token that names the file and when it expires', () => {
    const { clock, tokens } = setUp()
    const [header = '', claims = ''] = tokens.mintRead(FILE, 10).split('.')
    const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
    expect(read(header)).toEqual({ alg: 'HS256', typ: 'JWT' })
    expect(read(claims)).toEqual({ fid: '3,01637037d6', exp: clock.nowMs() / 1000 + 10 })
  })

  test.each([
    ['another volume', '4,01637037d6'],
    ['another needle', '3,02637037d6'],
    ['another cookie', '3,01637037d7'],
  ])('does not open %s', (_what, fid) => {
    const { tokens } = setUp()
    const other = parseFileId(fid)
    expectStoreError(() => tokens.verifyWrite(tokens.mintWrite(FILE, 10), other), 'TOKEN_INVALID')
    expectStoreError(() => tokens.verifyRead(tokens.mintRead(FILE, 10), other), 'TOKEN_INVALID')
  })

  test('for reading does not allow to write, nor the other way round', () => {
    const { tokens } = setUp()
    expectStoreError(() => tokens.verifyWrite(tokens.mintRead(FILE, 10), FILE), 'TOKEN_INVALID')
    expectStoreError(() => tokens.verifyRead(tokens.mintWrite(FILE, 10), FILE), 'TOKEN_INVALID')
  })

  test.each([
    ['_0', true],
    ['_4', true],
    ['_5', false],
  ])('for 5 ids covers %s: %s', (suffix, isCovered) => {
    const { tokens } = setUp()
    const token = tokens.mintWrite(FILE, 10, 5)
    const fileId = parseFileId(`${formatFileId(FILE)}${suffix}`)
    if (isCovered) tokens.verifyWrite(token, fileId)
    else expectStoreError(() => tokens.verifyWrite(token, fileId), 'TOKEN_INVALID')
  })

  test.each([
    ['3,0ff', false],
    ['3,100', true],
    ['3,109', true],
    ['3,10a', false],
    ['4,100', false],
  ])(
    'for a lease of 10 ids from 256 on covers needle %s, whatever its cookie: %s',
    (id, isCovered) => {
      const { tokens } = setUp()
      const firstNeedleId = { hi: 0, lo: 256 }
      const token = tokens.mintLease({ volumeId: volumeId(3), firstNeedleId, count: 10 }, 10)
      for (const cookie of ['00000000', 'ffffffff']) {
        const fileId = parseFileId(`${id}${cookie}`)
        if (isCovered) tokens.verifyWrite(token, fileId)
        else expectStoreError(() => tokens.verifyWrite(token, fileId), 'TOKEN_INVALID')
      }
    },
  )

  const exp = 2 ** 32
  const fid = formatFileId(FILE)
  const hs256 = { alg: 'HS256', typ: 'JWT' }
  test.each([
    ['without a signature', 'none', { fid, exp }, undefined],
    ['of another algorithm', 'sha512', { fid, exp }, { alg: 'HS512' }],
    ['that calls itself HS256 but is not', 'sha512', { fid, exp }, hs256],
    ['that never expires', 'sha256', { fid }, hs256],
    ['that expires at a text', 'sha256', { fid, exp: '9999999999' }, hs256],
    ['that names no file', 'sha256', { exp }, hs256],
    ['whose file id is broken', 'sha256', { fid: '3,zz', exp }, hs256],
    ['whose file id is a number', 'sha256', { fid: 3, exp }, hs256],
    ['for 0 ids', 'sha256', { fid, exp, count: 0 }, hs256],
    ['for half an id', 'sha256', { fid, exp, count: 0.5 }, hs256],
    ['for ids that are a text', 'sha256', { fid, exp, count: '5' }, hs256],
    ['for a lease without an id', 'sha256', { vid: 3, exp, count: 5 }, hs256],
    ['for a lease of no number', 'sha256', { vid: '3', nid: '01', exp, count: 5 }, hs256],
    ['that is a list', 'sha256', [], hs256],
  ])('%s is refused', (_what, hash, claims, header) => {
    const { keys, tokens } = setUp()
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const none = `${part({ alg: 'none' })}.${part(claims)}.`
    const token = header === undefined ? none : forge(header, claims, keys.writeKey, hash)
    expectStoreError(() => tokens.verifyWrite(token, FILE), 'TOKEN_INVALID')
  })

  test('of the right form is taken, so that the refusals above mean something', () => {
    const { keys, tokens } = setUp()
    tokens.verifyWrite(forge(hs256, { fid, exp }, keys.writeKey), FILE)
  })

  test.each(['', 'x', '..', 'a.b.c', 'é', '\0'])('that is %o is refused', (token) => {
    const { tokens } = setUp()
    expectStoreError(() => tokens.verifyRead(token, FILE), 'TOKEN_INVALID')
  })

  test('with any character changed is refused', () => {
    const { tokens } = setUp()
    const token = tokens.mintWrite(FILE, 10)
    for (let at = 0; at < token.length - 1; at++) {
      const changed = `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`
      expectStoreError(() => tokens.verifyWrite(changed, FILE), 'TOKEN_INVALID')
    }
  })
})

test('keys differ by purpose and by secret, and not by run', () => {
  const { writeKey, readKey } = deriveTokenKeys(SECRET)
  expect(writeKey.equals(readKey)).toBe(false)
  expect(deriveTokenKeys(SECRET).writeKey.equals(writeKey)).toBe(true)
  expect(deriveTokenKeys(Buffer.alloc(32, 8)).writeKey.equals(writeKey)).toBe(false)
})
