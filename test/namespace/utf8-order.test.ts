import { expect, test } from 'vitest'
import { compareUtf8 } from '../../src/namespace/utf8-order.ts'
import { Prng, seeds } from '../support/prng.ts'

/** Edges of what one, two, three and four bytes of UTF-8 can say, and of the surrogates. */
const POINTS = [
  0, 1, 0x2f, 0x61, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xf8ff, 0xfffd, 0xffff, 0x10000,
  0x1f600, 0x1f601, 0x10fffe, 0x10ffff,
]

test('every pair of edges is in the order of its bytes', () => {
  const texts = ['', ...POINTS.map((point) => String.fromCodePoint(point))]
  const pairs = texts.flatMap((a) => texts.map((b) => a + b))
  for (const a of pairs) {
    for (const b of pairs) {
      expect(Math.sign(compareUtf8(a, b)), `${a} and ${b}`).toBe(bytesOrder(a, b))
    }
  }
})

test.each(seeds(20))('300 random texts are in the order of their bytes (seed %d)', (seed) => {
  const prng = new Prng(seed)
  const text = () => {
    const count = prng.below(6)
    return String.fromCodePoint(...Array.from({ length: count }, () => prng.pick(POINTS)))
  }
  const texts = Array.from({ length: 300 }, text)
  expect(texts.toSorted(compareUtf8)).toEqual(texts.toSorted(bytesOrder))
})

function bytesOrder(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
