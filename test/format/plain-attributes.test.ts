import { expect, test } from 'vitest'
import {
  decodeAttributes,
  encodeAttributes,
  type NeedleAttributes,
} from '../../src/format/needle-attributes.ts'
import { peekPlainAttributes } from '../../src/format/plain-attributes.ts'
import { Prng, seeds } from '../support/prng.ts'

test.each(seeds(30))('plain attributes are what the decoder reads (seed %d)', (seed) => {
  const prng = new Prng(seed)
  const text = () => 'bäÄ/☃x'.repeat(prng.below(5)).slice(0, 20)
  for (let round = 0; round < 50; round++) {
    const attributes: NeedleAttributes = {
      name: text(),
      mime: text(),
      lastModifiedS: prng.u32(),
      ...(prng.chance(0.2) ? { isCompressed: true } : {}),
      ...(prng.chance(0.2) ? { ttl: { count: 3, unit: 'day' } } : {}),
      ...(prng.chance(0.2) ? { pairs: { a: 'b' } } : {}),
      ...(prng.chance(0.2) ? { isChunkManifest: true } : {}),
    }
    const encoded = encodeAttributes(attributes)
    const at = prng.below(9)
    const source = Buffer.concat([Buffer.alloc(at, 0xff), encoded, Buffer.alloc(9, 0xff)])
    const end = at + encoded.length
    const peeked = peekPlainAttributes(source, at, end)
    const decoded = decodeAttributes(source, at, end)
    const { name = '', mime = '', lastModifiedS } = decoded
    const isPlain = Object.keys(attributes).length === 3
    expect(peeked).toEqual(isPlain ? { name, mime, lastModifiedS } : undefined)
  }
})

test('plain attributes cut at any byte are not read past their end', () => {
  const encoded = encodeAttributes({ name: 'name', mime: 'a/b', lastModifiedS: 5 })
  for (let end = 1; end < encoded.length; end++) {
    expect(peekPlainAttributes(encoded, 0, end)).toBeUndefined()
  }
  expect(peekPlainAttributes(encoded, 0, 0)).toEqual({ name: '', mime: '' })
})
