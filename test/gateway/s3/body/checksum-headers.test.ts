import { describe, expect, test } from 'vitest'
import type { PayloadMode } from '../../../../src/gateway/s3/auth/payload.ts'
import {
  readAskedAlgorithm,
  readChecksumPlan,
  readChecksumType,
  type UploadChecksum,
} from '../../../../src/gateway/s3/body/checksum-headers.ts'
import { RequestHeaders } from '../../../../src/gateway/s3/s3-request.ts'

const PLAIN: PayloadMode = { kind: 'unsigned' }
const SIGNED: PayloadMode = { kind: 'signed', sha256: '00'.repeat(32) }
const CHUNKED: PayloadMode = { kind: 'chunked', signatures: undefined, hasTrailer: false }
const TRAILED: PayloadMode = { kind: 'chunked', signatures: undefined, hasTrailer: true }

const CRC32 = ['x-amz-checksum-crc32', 'y/Q5Jg=='] as const
const CRC32C = ['x-amz-checksum-crc32c', '4waSgw=='] as const
const TRAILER = ['x-amz-trailer', 'x-amz-checksum-crc32'] as const
const SDK = ['x-amz-sdk-checksum-algorithm', 'CRC32'] as const

function headerOf(...pairs: readonly (readonly [string, string])[]) {
  const headers = new RequestHeaders(pairs.flat())
  return (name: string) => headers.get(name)
}

describe('the plan of a body', () => {
  test('without any header is to keep CRC64NVME and to compare nothing', () => {
    expect(readChecksumPlan(headerOf(), SIGNED)).toEqual({
      algorithm: 'CRC64NVME',
      claim: undefined,
      contentMd5: undefined,
    })
  })

  test.each([
    ['CRC32', 'y/Q5Jg=='],
    ['CRC32C', '4waSgw=='],
    ['CRC64NVME', 'rosUhgp5mIg='],
    ['SHA1', '98O8HYCOBHMq32eZZczDTKeuNEE='],
    ['SHA256', 'FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU='],
  ] as const)('has the %s of a header, and keeps that algorithm', (algorithm, text) => {
    const name = `X-Amz-Checksum-${algorithm}`
    const value = Buffer.from(text, 'base64')
    const sdk = ['x-amz-sdk-checksum-algorithm', algorithm.toLowerCase()] as const
    const expected = {
      algorithm,
      claim: { algorithm, place: 'header', value },
      contentMd5: undefined,
    }
    expect(readChecksumPlan(headerOf([name, text]), PLAIN)).toEqual(expected)
    expect(readChecksumPlan(headerOf([name, ` ${text} `], sdk), PLAIN)).toEqual(expected)
    expect(readChecksumPlan(headerOf([name, text]), TRAILED)).toEqual(expected)
  })

  test.each(['x-amz-checksum-sha256', ' X-AMZ-Checksum-SHA256 '])(
    'takes the trailer %o',
    (name) => {
      const header = headerOf(['x-amz-trailer', name], ['x-amz-sdk-checksum-algorithm', 'SHA256'])
      expect(readChecksumPlan(header, TRAILED)).toEqual({
        algorithm: 'SHA256',
        claim: { algorithm: 'SHA256', place: 'trailer' },
        contentMd5: undefined,
      })
    },
  )

  test('has a Content-MD5 beside a checksum', () => {
    const header = headerOf(CRC32, ['content-md5', 'JfnnlDI7RTiF9RgfG2JNCw=='])
    const { contentMd5, claim } = readChecksumPlan(header, PLAIN)
    expect(contentMd5?.toString('hex')).toBe('25f9e794323b453885f5181f1b624d0b')
    expect(claim?.algorithm).toBe('CRC32')
  })

  test.each([
    ['', 'empty'],
    ['not base64!', 'no base64'],
    ['YWJyYWNhZGFicmE=', 'of 11 bytes'],
    ['25f9e794323b453885f5181f1b624d0b', 'hexadecimal'],
    ['JfnnlDI7RTiF9RgfG2JNCw', 'without padding'],
    ['JfnnlDI7RTiF9RgfG2JNC2I=', 'of 17 bytes'],
  ])('is refused for the Content-MD5 %o, which is %s, as InvalidDigest', (md5) => {
    expect(() => readChecksumPlan(headerOf(['content-md5', md5]), PLAIN)).toThrow(
      expect.objectContaining({ code: 'InvalidDigest', fields: { 'Content-MD5': md5 } }),
    )
  })

  const refused: readonly [
    what: string,
    pairs: readonly (readonly [string, string])[],
    mode: PayloadMode,
    message: RegExp,
  ][] = [
    ['two checksums', [CRC32, CRC32C], PLAIN, /^Expecting a single/],
    ['the same checksum twice', [CRC32, CRC32], PLAIN, /crc32 header is invalid/],
    ['a checksum and a trailer of another algorithm', [CRC32C, TRAILER], TRAILED, /^Expecting a/],
    ['a checksum and the trailer of the same', [CRC32, TRAILER], TRAILED, /^Expecting a single/],
    ['a trailer, and no chunks', [TRAILER], PLAIN, /x-amz-trailer needs/],
    ['a trailer, and a hash of the body', [TRAILER], SIGNED, /x-amz-trailer needs/],
    ['a trailer, and chunks without trailer', [TRAILER], CHUNKED, /x-amz-trailer needs/],
    [
      'a trailer that is no checksum',
      [['x-amz-trailer', 'x-amz-meta-a']],
      TRAILED,
      /not supported/,
    ],
    ['a trailer of an unknown sum', [['x-amz-trailer', 'x-amz-checksum-sha3']], TRAILED, /not sup/],
    ['an empty trailer', [['x-amz-trailer', '']], TRAILED, /not supported/],
    [
      'two trailers',
      [['x-amz-trailer', 'x-amz-checksum-crc32, x-amz-checksum-sha1']],
      TRAILED,
      /^Expecting a single/,
    ],
    ['an SDK algorithm without checksum', [SDK], PLAIN, /no corresponding/],
    ['an SDK algorithm beside another checksum', [SDK, CRC32C], PLAIN, /sdk-checksum-algorithm he/],
    [
      'an SDK algorithm beside another trailer',
      [SDK, ['x-amz-trailer', 'x-amz-checksum-sha1']],
      TRAILED,
      /sdk-checksum-algorithm header is invalid/,
    ],
    [
      'an SDK algorithm MD4',
      [CRC32, ['x-amz-sdk-checksum-algorithm', 'MD4']],
      PLAIN,
      /unsupported/,
    ],
    [
      'a value of the wrong length',
      [['x-amz-checksum-crc32', 'AAAA']],
      PLAIN,
      /crc32 header is inv/,
    ],
    ['an empty value', [['x-amz-checksum-sha1', '']], PLAIN, /sha1 header is invalid/],
    ['an MD5 among the checksums', [['x-amz-checksum-md5', 'AAAA']], PLAIN, /unsupported/],
    ['an XXHASH3', [['x-amz-checksum-xxhash3', 'AAAA']], PLAIN, /unsupported/],
    ['a SHA512 beside a CRC32', [CRC32, ['x-amz-checksum-sha512', 'AAAA']], PLAIN, /unsupported/],
  ]
  test.each(refused)('is refused for %s as InvalidRequest', (_, pairs, mode, message) => {
    expect(() => readChecksumPlan(headerOf(...pairs), mode)).toThrow(
      expect.objectContaining({
        code: 'InvalidRequest',
        message: expect.stringMatching(message),
      }),
    )
  })
})

describe('the plan of a part', () => {
  const chosen: UploadChecksum = { algorithm: 'SHA256', type: 'COMPOSITE', isChosen: true }
  const fallback: UploadChecksum = { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', isChosen: false }

  test('keeps the algorithm of the upload when the part says nothing', () => {
    expect(readChecksumPlan(headerOf(), PLAIN, chosen).algorithm).toBe('SHA256')
    expect(readChecksumPlan(headerOf(), PLAIN, fallback).algorithm).toBe('CRC64NVME')
  })

  test('compares another sum beside an algorithm that nobody chose', () => {
    expect(readChecksumPlan(headerOf(CRC32), PLAIN, fallback)).toMatchObject({
      algorithm: 'CRC64NVME',
      claim: { algorithm: 'CRC32' },
    })
  })

  test('is refused for another sum than the upload was created with', () => {
    expect(() => readChecksumPlan(headerOf(CRC32), PLAIN, chosen)).toThrow(
      expect.objectContaining({
        code: 'InvalidRequest',
        message: expect.stringContaining(
          'expected checksum Type: sha256, actual checksum Type: crc32',
        ),
      }),
    )
  })

  test('takes the sum that the upload was created with', () => {
    const header = headerOf(['x-amz-trailer', 'x-amz-checksum-sha256'])
    expect(readChecksumPlan(header, TRAILED, chosen)).toMatchObject({
      algorithm: 'SHA256',
      claim: { algorithm: 'SHA256', place: 'trailer' },
    })
  })
})

describe('an algorithm and a type', () => {
  test.each([
    ['CRC32', 'CRC32'],
    ['sha1', 'SHA1'],
    ['crc64nvme', 'CRC64NVME'],
  ])('%s is asked for as %s', (text, expected) => {
    expect(readAskedAlgorithm(headerOf(['x-amz-checksum-algorithm', text]))).toBe(expected)
  })

  test.each(['', 'MD5', 'CRC64'])('%o as the algorithm is InvalidRequest', (text) => {
    expect(() => readAskedAlgorithm(headerOf(['x-amz-checksum-algorithm', text]))).toThrow(
      expect.objectContaining({ code: 'InvalidRequest' }),
    )
  })

  test.each(['', 'FULL', 'COMPOSITE, FULL_OBJECT'])('%o as the type is InvalidRequest', (type) => {
    expect(() => readChecksumType(headerOf(['x-amz-checksum-type', type]))).toThrow(
      expect.objectContaining({ code: 'InvalidRequest' }),
    )
  })

  test.each(['full_object', 'Full_Object', ' FULL_OBJECT '])(
    '%o is the type FULL_OBJECT',
    (type) => {
      expect(readChecksumType(headerOf(['x-amz-checksum-type', type]))).toBe('FULL_OBJECT')
    },
  )

  test('that nobody gave are undefined', () => {
    expect(readAskedAlgorithm(headerOf())).toBeUndefined()
    expect(readChecksumType(headerOf())).toBeUndefined()
    expect(readChecksumType(headerOf(['x-amz-checksum-type', 'COMPOSITE']))).toBe('COMPOSITE')
  })
})
