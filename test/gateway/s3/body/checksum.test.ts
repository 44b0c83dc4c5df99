import { createHash } from 'node:crypto'
import { describe, expect, test, vi } from 'vitest'
import {
  CHECKSUM_BYTES,
  checksumHeaderName,
  checksumOf,
  createChecksum,
  decodeBase64,
  findChecksumAlgorithm,
  parseChecksumValue,
} from '../../../../src/gateway/s3/body/checksum.ts'
import {
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
} from '../../../../src/gateway/s3/bucket-settings.ts'
import { Prng, seeds } from '../../../support/prng.ts'

/** Bit by bit, from the definition of a reflected CRC that starts from and ends with ones. */
function slowCrc(width: bigint, reversedPolynomial: bigint, bytes: Buffer): Buffer {
  const ones = (1n << width) - 1n
  let crc = ones
  for (const byte of bytes) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) {
      crc = crc & 1n ? (crc >> 1n) ^ reversedPolynomial : crc >> 1n
    }
  }
  const hex = (crc ^ ones).toString(16).padStart(Number(width) / 4, '0')
  return Buffer.from(hex, 'hex')
}

const INDEPENDENT: Readonly<Record<ChecksumAlgorithm, (bytes: Buffer) => Buffer>> = {
  CRC32: (bytes) => slowCrc(32n, 0xedb88320n, bytes),
  CRC32C: (bytes) => slowCrc(32n, 0x82f63b78n, bytes),
  CRC64NVME: (bytes) => slowCrc(64n, 0x9a6c9329ac4bc9b5n, bytes),
  SHA1: (bytes) => createHash('sha1').update(bytes).digest(),
  SHA256: (bytes) => createHash('sha256').update(bytes).digest(),
}

function inPieces(algorithm: ChecksumAlgorithm, pieces: readonly Buffer[]): string {
  const checksum = createChecksum(algorithm)
  for (const piece of pieces) checksum.update(piece)
  return checksum.digest().toString('hex')
}

function cut(bytes: Buffer, prng: Prng): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + prng.between(0, 20_000))
    pieces.push(bytes.subarray(at, end))
    at = end
  }
  return pieces
}

describe('a checksum', () => {
  // Sources: the catalogue of parametrised CRC algorithms; NVMe NVM command set; FIPS 180-4.
  test.each([
    ['CRC32', 'cbf43926', '00000000'],
    ['CRC32C', 'e3069283', '00000000'],
    ['CRC64NVME', 'ae8b14860a799888', '0000000000000000'],
    [
      'SHA1',
      'f7c3bc1d808e04732adf679965ccc34ca7ae3441',
      'da39a3ee5e6b4b0d3255bfef95601890afd80709',
    ],
    [
      'SHA256',
      '15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225',
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    ],
  ] as const)('of "123456789" with %s is %s, and of nothing %s', (algorithm, check, empty) => {
    const bytes = Buffer.from('123456789')
    const pieces = [bytes.subarray(0, 4), bytes.subarray(4, 4), bytes.subarray(4)]
    expect(checksumOf(algorithm, bytes).toString('hex')).toBe(check)
    expect(inPieces(algorithm, pieces)).toBe(check)
    expect(checksumOf(algorithm, Buffer.alloc(0)).toString('hex')).toBe(empty)
    expect(inPieces(algorithm, [])).toBe(empty)
    expect(check).toHaveLength(CHECKSUM_BYTES[algorithm] * 2)
  })

  // Published with the NVMe standard: 4096 bytes of 00, of ff, and of 00 01 02 ... repeated.
  test.each([
    ['00', Buffer.alloc(4096), '6482d367eb22b64e'],
    ['ff', Buffer.alloc(4096, 0xff), 'c0ddba7302eca3ac'],
    [
      '00 to ff',
      Buffer.from(Array.from({ length: 4096 }, (_, at) => at & 0xff)),
      '3e729f5f6750449c',
    ],
  ])('CRC64NVME of 4096 bytes of %s is the one in the standard', (_, bytes, expected) => {
    expect(checksumOf('CRC64NVME', bytes).toString('hex')).toBe(expected)
  })

  // 16 KiB is what the CRC64NVME takes at once.
  test.each([0, 1, 2, 7, 8, 9, 63, 64, 65, 4096, 16_383, 16_384, 16_385, 40_000])(
    'of %d bytes is what its definition gives, at once and in pieces',
    (sizeBytes) => {
      const prng = new Prng(sizeBytes + 1)
      const bytes = prng.bytes(sizeBytes)
      for (const algorithm of CHECKSUM_ALGORITHMS) {
        const expected = INDEPENDENT[algorithm](bytes).toString('hex')
        expect(checksumOf(algorithm, bytes).toString('hex')).toBe(expected)
        expect(inPieces(algorithm, cut(bytes, prng))).toBe(expected)
      }
    },
  )

  test.each(seeds(10))('is not disturbed by 200 others in the making (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const streams = Array.from({ length: 200 }, () => ({
      algorithm: prng.pick(CHECKSUM_ALGORITHMS),
      pieces: Array.from({ length: prng.below(4) }, () => prng.bytes(prng.below(40))),
    }))
    const running = streams.map(({ algorithm, pieces }) => ({
      checksum: createChecksum(algorithm),
      left: [...pieces],
      algorithm,
    }))
    for (let round = 0; round < 4; round++) {
      for (const { checksum, left } of prng.shuffle(running)) {
        const piece = left.shift()
        if (piece !== undefined) checksum.update(piece)
        if (prng.chance(0.3)) checksumOf('CRC64NVME', Buffer.from('between'))
      }
    }
    const found = running.map(({ checksum }) => checksum.digest().toString('hex'))
    const expected = streams.map(({ algorithm, pieces }) =>
      INDEPENDENT[algorithm](Buffer.concat(pieces)).toString('hex'),
    )
    expect(found).toEqual(expected)
  })

  test('takes a view into the middle of a larger buffer', () => {
    const bytes = Buffer.from('xx123456789xx').subarray(2, 11)
    expect(checksumOf('CRC64NVME', bytes).toString('hex')).toBe('ae8b14860a799888')
    expect(checksumOf('CRC32C', bytes).toString('hex')).toBe('e3069283')
  })

  test('keeps its own bytes when others are computed afterwards', () => {
    const first = checksumOf('CRC64NVME', Buffer.from('123456789'))
    checksumOf('CRC64NVME', Buffer.from('other'))
    expect(first.toString('hex')).toBe('ae8b14860a799888')
  })
})

describe('a hash at once', () => {
  test.each(['with', 'without'])('is the same %s the one-shot call of Node', async (which) => {
    vi.resetModules()
    const real = await vi.importActual<typeof import('node:crypto')>('node:crypto')
    const fake = { ...real, hash: which === 'with' ? real.hash : undefined }
    vi.doMock('node:crypto', () => ({ ...fake, default: fake }))
    const path = '../../../../src/gateway/one-shot-hash.ts'
    const { hashBytes, hashHex }: typeof import('../../../../src/gateway/one-shot-hash.ts') =
      await import(path)
    vi.doUnmock('node:crypto')
    const md5 = '25f9e794323b453885f5181f1b624d0b'
    expect(hashHex('md5', Buffer.from('123456789'))).toBe(md5)
    expect(hashBytes('md5', Buffer.from('123456789')).toString('hex')).toBe(md5)
  })
})

describe('the text of a checksum', () => {
  test.each([
    ['CRC32', 'y/Q5Jg=='],
    ['CRC32C', '4waSgw=='],
    ['CRC64NVME', 'rosUhgp5mIg='],
    ['SHA1', '98O8HYCOBHMq32eZZczDTKeuNEE='],
    ['SHA256', 'FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU='],
  ] as const)('of %s is parsed from %s', (algorithm, text) => {
    const parsed = parseChecksumValue(algorithm, text)
    expect(parsed).toEqual(checksumOf(algorithm, Buffer.from('123456789')))
    expect(parsed.toString('base64')).toBe(text)
  })

  test.each([
    ['empty', ''],
    ['without padding', 'y/Q5Jg'],
    ['of 3 bytes', 'y/Q5'],
    ['of 5 bytes', 'y/Q5JgA='],
    ['of 8 bytes', 'rosUhgp5mIg='],
    ['in hexadecimal', 'cbf43926'],
    ['of another alphabet', 'y_Q5Jg=='],
    ['with a space in it', 'y/Q5 g=='],
    ['with bits left over', 'y/Q5Jh=='],
    ['with a byte more behind', 'y/Q5Jg==A'],
    ['with a number of parts', 'y/Q5Jg==-2'],
    ['outside ASCII', 'y/Q5J\u{e9}=='],
  ])('%s is refused as InvalidRequest', (_, text) => {
    expect(() => parseChecksumValue('CRC32', text)).toThrow(
      expect.objectContaining({
        code: 'InvalidRequest',
        message: 'Value for x-amz-checksum-crc32 header is invalid.',
      }),
    )
  })

  test('is decoded only if it has exactly as many bytes as asked for', () => {
    for (let count = 0; count <= 40; count++) {
      const text = Buffer.alloc(count, 0xa5).toString('base64')
      for (let asked = 0; asked <= 40; asked++) {
        expect(decodeBase64(text, asked)?.length).toBe(asked === count ? count : undefined)
      }
    }
  })
})

describe('the name of an algorithm', () => {
  test.each([
    ['crc32', 'CRC32'],
    ['Crc64Nvme', 'CRC64NVME'],
    [' SHA256 ', 'SHA256'],
    ['MD5', undefined],
    ['', undefined],
    ['CRC-32', undefined],
  ])('%o is found as %s', (name, expected) => {
    expect(findChecksumAlgorithm(name)).toBe(expected)
  })

  test('is in lower case in its header', () => {
    expect(CHECKSUM_ALGORITHMS.map(checksumHeaderName)).toEqual([
      'x-amz-checksum-crc32',
      'x-amz-checksum-crc32c',
      'x-amz-checksum-crc64nvme',
      'x-amz-checksum-sha1',
      'x-amz-checksum-sha256',
    ])
  })
})
