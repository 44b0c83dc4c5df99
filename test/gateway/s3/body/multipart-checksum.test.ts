import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { checksumOf } from '../../../../src/gateway/s3/body/checksum.ts'
import {
  checkCompletion,
  checksumOfParts,
  multipartEtag,
  readCompletionClaim,
  readUploadChecksum,
  resolveChecksumType,
} from '../../../../src/gateway/s3/body/multipart-checksum.ts'
import {
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
  type ChecksumType,
} from '../../../../src/gateway/s3/bucket-settings.ts'
import { Prng, seeds } from '../../../support/prng.ts'

function headerOf(headers: Readonly<Record<string, string>>) {
  return (name: string) => headers[name]
}

function partsOf(algorithm: ChecksumAlgorithm, datas: readonly Buffer[]) {
  return datas.map((data) => ({ value: checksumOf(algorithm, data), sizeBytes: data.length }))
}

const invalidRequest = expect.objectContaining({ code: 'InvalidRequest' })

describe('the type of a checksum of parts', () => {
  test.each([
    ['CRC32', undefined, 'COMPOSITE'],
    ['CRC32', 'COMPOSITE', 'COMPOSITE'],
    ['CRC32', 'FULL_OBJECT', 'FULL_OBJECT'],
    ['CRC32C', undefined, 'COMPOSITE'],
    ['CRC32C', 'COMPOSITE', 'COMPOSITE'],
    ['CRC32C', 'FULL_OBJECT', 'FULL_OBJECT'],
    ['CRC64NVME', undefined, 'FULL_OBJECT'],
    ['CRC64NVME', 'COMPOSITE', 'InvalidRequest'],
    ['CRC64NVME', 'FULL_OBJECT', 'FULL_OBJECT'],
    ['SHA1', undefined, 'COMPOSITE'],
    ['SHA1', 'COMPOSITE', 'COMPOSITE'],
    ['SHA1', 'FULL_OBJECT', 'InvalidRequest'],
    ['SHA256', undefined, 'COMPOSITE'],
    ['SHA256', 'COMPOSITE', 'COMPOSITE'],
    ['SHA256', 'FULL_OBJECT', 'InvalidRequest'],
  ] as const)('of %s asked for as %s is %s', (algorithm, asked, expected) => {
    if (expected === 'InvalidRequest') {
      expect(() => resolveChecksumType(algorithm, asked)).toThrow(invalidRequest)
    } else {
      expect(resolveChecksumType(algorithm, asked)).toBe(expected)
    }
  })

  test('is read with its algorithm when an upload is created', () => {
    const header = headerOf({
      'x-amz-checksum-algorithm': 'crc32c',
      'x-amz-checksum-type': 'FULL_OBJECT',
    })
    const expected = { algorithm: 'CRC32C', type: 'FULL_OBJECT', isChosen: true }
    expect(readUploadChecksum(header)).toEqual(expected)
  })

  test('is FULL_OBJECT of CRC64NVME when nobody asks, and that is remembered', () => {
    const expected = { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', isChosen: false }
    expect(readUploadChecksum(headerOf({}))).toEqual(expected)
  })

  test.each([
    [{ 'x-amz-checksum-type': 'FULL_OBJECT' }],
    [{ 'x-amz-checksum-algorithm': 'MD5' }],
    [{ 'x-amz-checksum-algorithm': 'SHA1', 'x-amz-checksum-type': 'FULL_OBJECT' }],
    [{ 'x-amz-checksum-algorithm': 'CRC64NVME', 'x-amz-checksum-type': 'COMPOSITE' }],
    [{ 'x-amz-checksum-algorithm': 'CRC32', 'x-amz-checksum-type': 'PARTIAL' }],
  ])('asked for with %o is InvalidRequest', (headers: Record<string, string>) => {
    expect(() => readUploadChecksum(headerOf(headers))).toThrow(invalidRequest)
  })
})

describe('the checksum of an object in parts', () => {
  test.each(['CRC32', 'CRC32C', 'CRC64NVME'] as const)(
    '%s FULL_OBJECT is that of the object',
    (algorithm) => {
      const datas = [Buffer.from('12345'), Buffer.from('67'), Buffer.alloc(0), Buffer.from('89')]
      expect(
        checksumOfParts({ algorithm, type: 'FULL_OBJECT' }, partsOf(algorithm, datas)),
      ).toEqual({
        algorithm,
        type: 'FULL_OBJECT',
        value: checksumOf(algorithm, Buffer.from('123456789')).toString('base64'),
      })
    },
  )

  test.each(seeds(30))('COMPOSITE is the sum of the sums of its parts (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const datas = Array.from({ length: prng.between(1, 20) }, () => prng.bytes(prng.below(300)))
    for (const name of ['SHA1', 'SHA256'] as const) {
      const hash = createHash(name.toLowerCase())
      for (const data of datas) hash.update(createHash(name.toLowerCase()).update(data).digest())
      expect(checksumOfParts({ algorithm: name, type: 'COMPOSITE' }, partsOf(name, datas))).toEqual(
        {
          algorithm: name,
          type: 'COMPOSITE',
          value: `${hash.digest('base64')}-${datas.length}`,
        },
      )
    }
  })

  test('COMPOSITE of one part is not the sum of that part', () => {
    const parts = partsOf('CRC32', [Buffer.from('123456789')])
    const sum = checksumOf('CRC32', Buffer.from('cbf43926', 'hex')).toString('base64')
    expect(checksumOfParts({ algorithm: 'CRC32', type: 'COMPOSITE' }, parts).value).toBe(`${sum}-1`)
  })

  test('of no part is a bug', () => {
    for (const algorithm of CHECKSUM_ALGORITHMS) {
      expect(() => checksumOfParts({ algorithm, type: 'FULL_OBJECT' }, [])).toThrow('has a part')
    }
    expect(() => multipartEtag([])).toThrow('has a part')
  })

  test('FULL_OBJECT of a hash is a bug', () => {
    const parts = partsOf('SHA1', [Buffer.from('1')])
    expect(() => checksumOfParts({ algorithm: 'SHA1', type: 'FULL_OBJECT' }, parts)).toThrow('SHA1')
  })
})

test('the ETag of 2 parts is the MD5 of their MD5 sums and -2', () => {
  const md5s = ['a', 'b'].map((text) => createHash('md5').update(text).digest())
  const expected = createHash('md5').update(Buffer.concat(md5s)).digest('hex')
  expect(multipartEtag(md5s)).toBe(`${expected}-2`)
})

describe('what a completion says', () => {
  const full = { algorithm: 'CRC32', type: 'FULL_OBJECT', value: 'y/Q5Jg==' } as const
  const composite = { algorithm: 'CRC32', type: 'COMPOSITE', value: 'y/Q5Jg==-3' } as const

  test.each([
    [{}, full],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==' }, full],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==', 'x-amz-checksum-type': 'FULL_OBJECT' }, full],
    [{ 'x-amz-mp-object-size': '9' }, full],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==-3' }, composite],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==' }, composite],
    [{ 'x-amz-checksum-type': 'COMPOSITE' }, composite],
  ])('%o holds for %o', (headers: Record<string, string>, checksum) => {
    expect(checkCompletion(readCompletionClaim(headerOf(headers)), checksum, 9)).toBeUndefined()
  })

  test.each([
    [{ 'x-amz-checksum-crc32': 'AAAAAA==' }, full, 'BadDigest'],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==-3' }, full, 'BadDigest'],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==-2' }, composite, 'BadDigest'],
    [{ 'x-amz-checksum-crc32': 'AAAAAA==' }, composite, 'BadDigest'],
    [{ 'x-amz-checksum-crc32c': 'y/Q5Jg==' }, full, 'InvalidRequest'],
    [{ 'x-amz-checksum-type': 'COMPOSITE' }, full, 'InvalidRequest'],
    [{ 'x-amz-checksum-type': 'FULL_OBJECT' }, composite, 'InvalidRequest'],
    [{ 'x-amz-mp-object-size': '8' }, full, 'InvalidRequest'],
    [{ 'x-amz-mp-object-size': '0' }, full, 'InvalidRequest'],
  ])('%o does not hold for %o: %s', (headers: Record<string, string>, checksum, code) => {
    const claim = readCompletionClaim(headerOf(headers))
    expect(() => checkCompletion(claim, checksum, 9)).toThrow(expect.objectContaining({ code }))
  })

  test.each([
    [{ 'x-amz-checksum-crc32': 'AAAA' }],
    [{ 'x-amz-checksum-crc32': '' }],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==-' }],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==-100000' }],
    [{ 'x-amz-checksum-crc32': 'y/Q5Jg==', 'x-amz-checksum-crc32c': 'y/Q5Jg==' }],
    [{ 'x-amz-checksum-md5': 'AAAA' }],
    [{ 'x-amz-checksum-type': 'x' }],
    [{ 'x-amz-mp-object-size': '-1' }],
    [{ 'x-amz-mp-object-size': '' }],
    [{ 'x-amz-mp-object-size': '1e3' }],
    [{ 'x-amz-mp-object-size': '1234567890123456' }],
  ])('%o is InvalidRequest', (headers: Record<string, string>) => {
    expect(() => readCompletionClaim(headerOf(headers))).toThrow(invalidRequest)
  })

  test('is nothing without headers', () => {
    const expected: { type: ChecksumType | undefined; [name: string]: unknown } = {
      checksum: undefined,
      type: undefined,
      sizeBytes: undefined,
    }
    expect(readCompletionClaim(headerOf({}))).toEqual(expected)
  })
})
