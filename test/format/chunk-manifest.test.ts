import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { LIMITS } from '../../src/base/limits.ts'
import {
  type ChunkManifest,
  chunkParts,
  decodeChunkManifest,
  encodeChunkManifest,
} from '../../src/format/chunk-manifest.ts'
import { expectStoreError, expectStoreErrorOrValue } from '../support/expect-error.ts'
import { Prng, seeds } from '../support/prng.ts'

const TEXT =
  '{"name":"big.bin","mime":"video/mp4","size":200,"chunks":[' +
  '{"fid":"3,01637037d6","offset":0,"size":120},{"fid":"5,02a4b1c3d5","offset":120,"size":80}]}'

const MANIFEST: ChunkManifest = {
  name: 'big.bin',
  mime: 'video/mp4',
  sizeBytes: 200,
  chunks: [
    { fileId: parseFileId('3,01637037d6'), offsetBytes: 0, sizeBytes: 120 },
    { fileId: parseFileId('5,02a4b1c3d5'), offsetBytes: 120, sizeBytes: 80 },
  ],
}

function decode(json: unknown): ChunkManifest {
  return decodeChunkManifest(Buffer.from(JSON.stringify(json)))
}

describe('a chunk manifest', () => {
  test('is this JSON, and comes back as it was', () => {
    expect(encodeChunkManifest(MANIFEST).toString()).toBe(TEXT)
    expect(decodeChunkManifest(Buffer.from(TEXT))).toEqual(MANIFEST)
  })

  test('is read with its chunks in any order, and kept in that of their offsets', () => {
    const [first, second] = JSON.parse(TEXT).chunks
    expect(decode({ size: 200, chunks: [second, first] }).chunks).toEqual(MANIFEST.chunks)
  })

  test('may leave out what is empty', () => {
    const empty = { name: '', mime: '', sizeBytes: 0, chunks: [] }
    expect(decode({})).toEqual(empty)
    expect(decode({ chunks: null })).toEqual(empty)
    expect(encodeChunkManifest(empty).toString()).toBe('{"size":0,"chunks":[]}')
  })

  const chunk = { fid: '3,01637037d6', offset: 0, size: 10 }
  test.each([
    ['no JSON', '{"size":'],
    ['a list', []],
    ['null', null],
    ['a name that is a number', { name: 5 }],
    ['a mime type that is a list', { mime: [] }],
    ['chunks that are an object', { chunks: {} }],
    ['a chunk that is a text', { size: 10, chunks: ['3,01637037d6'] }],
    ['a size with a fraction', { size: 0.5 }],
    ['a negative size', { size: -1 }],
    ['a size beyond 2^53', { size: 2 ** 53 }],
    ['no file id', { size: 10, chunks: [{ offset: 0, size: 10 }] }],
    ['a broken file id', { size: 10, chunks: [{ ...chunk, fid: '3,zz' }] }],
    ['a negative offset', { size: 10, chunks: [{ ...chunk, offset: -1 }] }],
    ['an empty chunk', { size: 0, chunks: [{ ...chunk, size: 0 }] }],
    ['a gap at the start', { size: 11, chunks: [{ ...chunk, offset: 1 }] }],
    ['a gap in between', { size: 21, chunks: [chunk, { ...chunk, offset: 11 }] }],
    ['an overlap', { size: 19, chunks: [chunk, { ...chunk, offset: 9 }] }],
    ['the same chunk twice', { size: 10, chunks: [chunk, chunk] }],
    ['a size too small', { size: 9, chunks: [chunk] }],
    ['a size too large', { size: 11, chunks: [chunk] }],
  ])('is refused with %s', (_what, json) => {
    const text = typeof json === 'string' ? json : JSON.stringify(json)
    expectStoreError(() => decodeChunkManifest(Buffer.from(text)), 'MANIFEST_CORRUPT')
  })

  test('has at most 100,000 chunks and 8 MiB of JSON', () => {
    const max = LIMITS.manifestChunksMax.value
    const many = (count: number) => ({
      size: count,
      chunks: Array.from({ length: count }, (_, offset) => ({ fid: chunk.fid, offset, size: 1 })),
    })
    expect(decode(many(max)).chunks).toHaveLength(max)
    expectStoreError(() => decode(many(max + 1)), 'MANIFEST_CORRUPT')
    const long = Buffer.alloc(LIMITS.manifestBytesMax.value + 1, 0x20)
    expectStoreError(() => decodeChunkManifest(long), 'MANIFEST_CORRUPT')
  })

  test('names a member __proto__ without harm', () => {
    const text = '{"__proto__":{"size":5},"size":0}'
    expect(decodeChunkManifest(Buffer.from(text)).sizeBytes).toBe(0)
    expect(Object.prototype).not.toHaveProperty('size')
  })

  test.each(seeds(20))('with changed bytes is refused or makes sense (seed %d)', (seed) => {
    const prng = new Prng(seed)
    for (let round = 0; round < 50; round++) {
      const bytes = Buffer.from(TEXT)
      bytes[prng.below(bytes.length)] = prng.below(256)
      const found = expectStoreErrorOrValue(() => decodeChunkManifest(bytes), 'MANIFEST_CORRUPT')
      const sum = found?.chunks.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0)
      expect(sum).toBe(found?.sizeBytes)
    }
  })
})

describe('the parts of a range', () => {
  test.each([
    [0, 200, ['0:0-120', '1:0-80']],
    [0, 1, ['0:0-1']],
    [119, 121, ['0:119-120', '1:0-1']],
    [120, 200, ['1:0-80']],
    [199, 200, ['1:79-80']],
    [50, 50, []],
  ])('of bytes %d to %d are %o', (start, end, expected) => {
    const parts = [...chunkParts(MANIFEST, { start, end })].map(
      (part) => `${MANIFEST.chunks.indexOf(part.chunk)}:${part.start}-${part.end}`,
    )
    expect(parts).toEqual(expected)
  })
})
