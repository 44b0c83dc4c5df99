import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import { HmacSha256 } from '../../../../src/gateway/s3/auth/hmac-sha256.ts'
import { Prng } from '../../../support/prng.ts'

function reference(key: Buffer, text: string): string {
  return createHmac('sha256', key).update(text, 'latin1').digest('hex')
}

/** Source: RFC 4231, test cases 1, 2 and 6. */
test.each([
  [
    'a key of 20 bytes',
    Buffer.alloc(20, 0x0b),
    'Hi There',
    'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
  ],
  [
    'a key shorter than the hash',
    Buffer.from('Jefe'),
    'what do ya want for nothing?',
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  ],
  [
    'a key longer than a block',
    Buffer.alloc(131, 0xaa),
    'Test Using Larger Than Block-Size Key - Hash Key First',
    '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
  ],
])('signs the example with %s', (_, key, text, expected) => {
  expect(new HmacSha256(key).sign(text)).toBe(expected)
})

test.each([0, 1, 31, 32, 33, 63, 64, 65, 200])('agrees with Node for keys of %i bytes', (bytes) => {
  const random = new Prng(bytes + 1)
  const key = random.bytes(bytes)
  const signer = new HmacSha256(key)
  for (const length of [0, 1, 55, 56, 63, 64, 65, 140, 1023, 1024, 1025, 5000]) {
    const text = random.bytes(length).toString('latin1')
    expect(signer.sign(text)).toBe(reference(key, text))
  }
})

test('signers used in turn do not mix', () => {
  const [one, two] = [Buffer.from('one'), Buffer.from('two')]
  const [a, b] = [new HmacSha256(one), new HmacSha256(two)]
  expect([a.sign('text'), b.sign('t'), a.sign('text')]).toEqual([
    reference(one, 'text'),
    reference(two, 't'),
    reference(one, 'text'),
  ])
})
