import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { PayloadMode } from '../../../../src/gateway/s3/auth/payload.ts'
import type { BodySummary } from '../../../../src/gateway/s3/body/body-checks.ts'
import { checksumOf } from '../../../../src/gateway/s3/body/checksum.ts'
import type { ChecksumPlan } from '../../../../src/gateway/s3/body/checksum-headers.ts'
import {
  announcedSize,
  type BodyLengths,
  type BodyTerms,
  ObjectBody,
  readBodyLengths,
  readSmallBody,
} from '../../../../src/gateway/s3/body/object-body.ts'
import {
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
} from '../../../../src/gateway/s3/bucket-settings.ts'
import { isS3Error } from '../../../../src/gateway/s3/s3-error.ts'
import { ChunkSigner, encodeAwsChunks, sha256Hex, wireOf } from '../../../support/aws-chunks.ts'
import { Prng, seeds } from '../../../support/prng.ts'

const SEED = '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9'
const DATA = Buffer.from('123456789')
const MD5 = createHash('md5').update(DATA).digest()
const PLAIN_PLAN: ChecksumPlan = {
  algorithm: 'CRC64NVME',
  claim: undefined,
  contentMd5: undefined,
}

interface Outcome {
  readonly data: Buffer
  readonly summary: BodySummary
}

type Read = (wire: AsyncIterable<Buffer>, terms: BodyTerms) => Promise<Outcome>

async function readStreamed(wire: AsyncIterable<Buffer>, terms: BodyTerms): Promise<Outcome> {
  const body = new ObjectBody(wire, terms)
  const pieces: Buffer[] = []
  for await (const piece of body) pieces.push(piece)
  return { data: Buffer.concat(pieces), summary: body.summary }
}

/** As the body of a request is, where its length is known and small. */
function readAtOnce(wire: AsyncIterable<Buffer>, terms: BodyTerms): Promise<Outcome> {
  const whole = async () => {
    const pieces: Buffer[] = []
    for await (const piece of wire) pieces.push(piece)
    return Buffer.concat(pieces)
  }
  return readSmallBody({ whole, [Symbol.asyncIterator]: () => wire[Symbol.asyncIterator]() }, terms)
}

const READS: readonly (readonly [name: string, read: Read])[] = [
  ['streamed', readStreamed],
  ['read whole', readSmallBody],
  ['read at once', readAtOnce],
]

function termsOf(terms: Partial<BodyTerms> & { lengths?: BodyLengths }): BodyTerms {
  const lengths = { wireBytes: DATA.length, decodedBytes: undefined }
  return { mode: { kind: 'unsigned' }, plan: PLAIN_PLAN, lengths, sizeBytesMax: 1000, ...terms }
}

function claimOf(algorithm: ChecksumAlgorithm, data: Buffer): ChecksumPlan {
  const claim = { algorithm, place: 'header', value: checksumOf(algorithm, data) } as const
  return { algorithm, claim, contentMd5: undefined }
}

function trailed(algorithm: ChecksumAlgorithm): ChecksumPlan {
  return { algorithm, claim: { algorithm, place: 'trailer' }, contentMd5: undefined }
}

interface ChunkedCase {
  readonly isSigned: boolean
  readonly algorithm: ChecksumAlgorithm
  readonly trailer: string
  readonly data?: Buffer
}

/** A body in chunks of 4 bytes with its trailer, and what its headers said. */
function chunkedBody({ isSigned, algorithm, trailer, data = DATA }: ChunkedCase) {
  const chunks: Buffer[] = []
  for (let at = 0; at < data.length; at += 4) chunks.push(data.subarray(at, at + 4))
  const wire = encodeAwsChunks(chunks, {
    signer: isSigned ? new ChunkSigner(SEED) : undefined,
    trailers: { [`x-amz-checksum-${algorithm.toLowerCase()}`]: trailer },
  })
  const terms = (): BodyTerms => {
    const signatures = isSigned ? new ChunkSigner(SEED) : undefined
    const mode: PayloadMode = { kind: 'chunked', signatures, hasTrailer: true }
    const lengths = { wireBytes: undefined, decodedBytes: data.length }
    return termsOf({ mode, plan: trailed(algorithm), lengths })
  }
  return { wire, terms }
}

function base64Of(algorithm: ChecksumAlgorithm, data: Buffer = DATA): string {
  return checksumOf(algorithm, data).toString('base64')
}

describe.each(READS)('a body that is %s', (_, read) => {
  test('has its size, MD5 and CRC64NVME when nobody asks for anything', async () => {
    const { data, summary } = await read(wireOf(DATA), termsOf({}))
    expect(data).toEqual(DATA)
    expect(summary).toEqual({
      sizeBytes: 9,
      md5: Buffer.from('25f9e794323b453885f5181f1b624d0b', 'hex'),
      checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'rosUhgp5mIg=' },
    })
  })

  test('may be empty', async () => {
    const lengths = { wireBytes: 0, decodedBytes: undefined }
    const mode: PayloadMode = { kind: 'signed', sha256: sha256Hex('') }
    const { data, summary } = await read(wireOf(), termsOf({ lengths, mode }))
    expect(data).toHaveLength(0)
    expect(summary.md5.toString('hex')).toBe('d41d8cd98f00b204e9800998ecf8427e')
    expect(summary.checksum.value).toBe('AAAAAAAAAAA=')
  })

  test.each(CHECKSUM_ALGORITHMS)('is compared with its %s, which is kept', async (algorithm) => {
    const mode: PayloadMode = { kind: 'signed', sha256: sha256Hex(DATA) }
    const good = termsOf({ mode, plan: claimOf(algorithm, DATA) })
    const pieces = [DATA.subarray(0, 4), Buffer.alloc(0), DATA.subarray(4)]
    const { data, summary } = await read(wireOf(...pieces), good)
    expect(data).toEqual(DATA)
    expect(summary.md5).toEqual(MD5)
    expect(summary.checksum).toEqual({
      algorithm,
      type: 'FULL_OBJECT',
      value: base64Of(algorithm),
    })
    const bad = termsOf({ mode, plan: claimOf(algorithm, Buffer.from('other')) })
    await expect(read(wireOf(DATA), bad)).rejects.toMatchObject({
      code: 'BadDigest',
      message: `The ${algorithm} you specified did not match the calculated checksum.`,
    })
  })

  test('is compared with one algorithm while another is kept', async () => {
    const plan = { ...claimOf('CRC32', DATA), algorithm: 'CRC64NVME' } as const
    const { summary } = await read(wireOf(DATA), termsOf({ plan }))
    expect(summary.checksum).toMatchObject({ algorithm: 'CRC64NVME', value: 'rosUhgp5mIg=' })
    const other = { ...claimOf('CRC32', Buffer.from('x')), algorithm: 'CRC64NVME' } as const
    await expect(read(wireOf(DATA), termsOf({ plan: other }))).rejects.toMatchObject({
      code: 'BadDigest',
    })
  })

  test('with another SHA-256 than promised is XAmzContentSHA256Mismatch', async () => {
    const mode: PayloadMode = { kind: 'signed', sha256: sha256Hex('987654321') }
    await expect(read(wireOf(DATA), termsOf({ mode }))).rejects.toMatchObject({
      code: 'XAmzContentSHA256Mismatch',
      fields: {
        ClientComputedContentSHA256: sha256Hex('987654321'),
        S3ComputedContentSHA256: sha256Hex(DATA),
      },
    })
  })

  test('is compared with Content-MD5', async () => {
    const good = termsOf({ plan: { ...PLAIN_PLAN, contentMd5: MD5 } })
    await expect(read(wireOf(DATA), good)).resolves.toMatchObject({ data: DATA })
    const bad = termsOf({ plan: { ...PLAIN_PLAN, contentMd5: Buffer.alloc(16) } })
    await expect(read(wireOf(DATA), bad)).rejects.toMatchObject({
      code: 'BadDigest',
      fields: {
        ExpectedDigest: 'AAAAAAAAAAAAAAAAAAAAAA==',
        CalculatedDigest: 'JfnnlDI7RTiF9RgfG2JNCw==',
      },
    })
  })

  test.each([
    [0, 'IncompleteBody'],
    [8, 'IncompleteBody'],
    [10, 'InvalidRequest'],
  ])('of %d bytes where 9 were announced is %s', async (sizeBytes, code) => {
    await expect(read(wireOf(Buffer.alloc(sizeBytes)), termsOf({}))).rejects.toMatchObject({ code })
  })

  test.each([
    [8, 'EntityTooLarge'],
    [9, undefined],
  ])('of 9 bytes where %d are allowed: %s', async (sizeBytesMax, code) => {
    const run = async () => await read(wireOf(DATA), termsOf({ sizeBytesMax }))
    if (code === undefined) await expect(run()).resolves.toMatchObject({ data: DATA })
    else await expect(run()).rejects.toMatchObject({ code })
  })

  test.each([
    [true, 'CRC32'],
    [true, 'SHA256'],
    [false, 'CRC64NVME'],
    [false, 'SHA1'],
  ] as const)(
    'in chunks, signed: %s, is compared with its trailing %s',
    async (isSigned, algorithm) => {
      const value = base64Of(algorithm)
      const { wire, terms } = chunkedBody({ isSigned, algorithm, trailer: value })
      const { data, summary } = await read(wireOf(wire), terms())
      expect(data).toEqual(DATA)
      expect(summary.checksum).toEqual({ algorithm, type: 'FULL_OBJECT', value })
      const trailer = base64Of(algorithm, Buffer.from('other'))
      const wrong = chunkedBody({ isSigned, algorithm, trailer })
      await expect(read(wireOf(wrong.wire), wrong.terms())).rejects.toMatchObject({
        code: 'BadDigest',
      })
    },
  )

  test.each(['', 'y/Q5Jg', 'AAAAAAAAAAA=', 'cbf43926'])(
    'with the trailing checksum %o is InvalidRequest',
    async (trailer) => {
      const { wire, terms } = chunkedBody({ isSigned: false, algorithm: 'CRC32', trailer })
      await expect(read(wireOf(wire), terms())).rejects.toMatchObject({
        code: 'InvalidRequest',
        message: 'Value for x-amz-checksum-crc32 trailing header is invalid.',
      })
    },
  )

  test('whose trailer is announced under another name is MalformedTrailerError', async () => {
    const { wire, terms } = chunkedBody({
      isSigned: false,
      algorithm: 'CRC32',
      trailer: base64Of('CRC32'),
    })
    const other = { ...terms(), plan: trailed('SHA1') }
    await expect(read(wireOf(wire), other)).rejects.toMatchObject({ code: 'MalformedTrailerError' })
  })

  test.each([true, false])(
    'in chunks, signed: %s, with any bit flipped is refused or the same',
    async (isSigned) => {
      const trailer = base64Of('CRC32')
      const { wire, terms } = chunkedBody({ isSigned, algorithm: 'CRC32', trailer })
      let sameCount = 0
      for (let bit = 0; bit < wire.length * 8; bit++) {
        const flipped = Buffer.from(wire)
        flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        try {
          expect((await read(wireOf(flipped), terms())).data).toEqual(DATA)
          sameCount++
        } catch (error) {
          if (!isS3Error(error)) throw error
        }
      }
      // The letters of the trailers' names may be capitals, and the first of two trailers may end
      // in tab and LF instead of CRLF; nothing else may change.
      const names = `x-amz-checksum-crc${isSigned ? 'x-amz-trailer-signature' : ''}`
      expect(sameCount).toBe(names.replaceAll('-', '').length + (isSigned ? 1 : 0))
    },
  )

  test.each([true, false])(
    'in chunks, signed: %s, cut at any byte is IncompleteBody',
    async (isSigned) => {
      const { wire, terms } = chunkedBody({
        isSigned,
        algorithm: 'CRC32',
        trailer: base64Of('CRC32'),
      })
      for (let at = 0; at < wire.length; at++) {
        const run = read(wireOf(wire.subarray(0, at)), terms())
        await expect(run).rejects.toMatchObject({ code: 'IncompleteBody' })
      }
    },
  )

  test('passes on the error of a wire that breaks', async () => {
    async function* broken(): AsyncGenerator<Buffer> {
      yield DATA.subarray(0, 3)
      throw new Error('aborted')
    }
    await expect(read(broken(), termsOf({}))).rejects.toThrow('aborted')
  })

  test('in chunks needs a decoded length', async () => {
    const mode: PayloadMode = { kind: 'chunked', signatures: undefined, hasTrailer: false }
    const run = async () => await read(wireOf(), termsOf({ mode }))
    await expect(run()).rejects.toMatchObject({ code: 'MissingContentLength' })
  })

  // Goal: any bytes are either refused with an S3Error or come out as promised.
  // Method: chunked bodies of random size, cut, mixed and cut into pieces. Replay: SEED=17.
  test.each(seeds(60))('of any bytes is refused, or as promised (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const data = prng.bytes(prng.below(60))
    const algorithm = prng.pick(CHECKSUM_ALGORITHMS)
    const trailer = base64Of(algorithm, data)
    const { wire, terms } = chunkedBody({ isSigned: prng.chance(0.5), algorithm, trailer, data })
    for (let round = 0; round < 20; round++) {
      const at = prng.below(wire.length + 1)
      const noise = prng.chance(0.3) ? Buffer.alloc(0) : prng.bytes(prng.below(10))
      const end = prng.chance(0.5) ? at : prng.between(at, wire.length)
      try {
        const pieces = [wire.subarray(0, at), noise, wire.subarray(end)]
        expect((await read(wireOf(...pieces), terms())).data).toEqual(data)
      } catch (error) {
        if (!isS3Error(error)) throw error
      }
    }
  })
})

describe('a streamed body', () => {
  test('of unknown length is taken to its end, and no further than allowed', async () => {
    const lengths = { wireBytes: undefined, decodedBytes: undefined }
    const open = termsOf({ lengths, sizeBytesMax: 9 })
    expect((await readStreamed(wireOf(DATA), open)).summary.sizeBytes).toBe(9)
    const seen: Buffer[] = []
    const body = new ObjectBody(wireOf(DATA, Buffer.from('x'), DATA), open)
    const run = async () => {
      for await (const piece of body) seen.push(piece)
    }
    await expect(run()).rejects.toMatchObject({
      code: 'EntityTooLarge',
      fields: { ProposedSize: '10', MaxSizeAllowed: '9' },
    })
    expect(seen).toEqual([DATA])
  })

  test('passes each piece on before it asks for the next, and copies none', async () => {
    const sent: unknown[] = []
    async function* wire(): AsyncGenerator<Buffer> {
      for (const text of ['123', '456', '789']) {
        const piece = Buffer.from(text)
        sent.push(piece)
        yield piece
      }
    }
    const body = new ObjectBody(wire(), termsOf({}))
    expect(body.announcedBytes).toBe(9)
    let count = 0
    for await (const piece of body) {
      expect(piece).toBe(sent[count])
      expect(sent).toHaveLength(++count)
    }
    expect(body.summary.md5).toEqual(MD5)
  })

  test('has no summary before its end, and none after an error', async () => {
    const body = new ObjectBody(wireOf(DATA), termsOf({}))
    expect(() => body.summary).toThrow('read to its end')
    const short = new ObjectBody(wireOf(DATA.subarray(1)), termsOf({}))
    const run = async () => {
      for await (const piece of short) expect(piece).toHaveLength(8)
    }
    await expect(run()).rejects.toMatchObject({ code: 'IncompleteBody' })
    expect(() => short.summary).toThrow('read to its end')
  })

  test('is read once', async () => {
    const body = new ObjectBody(wireOf(DATA), termsOf({}))
    for await (const piece of body) expect(piece).toEqual(DATA)
    await expect(body[Symbol.asyncIterator]().next()).rejects.toThrow('read once')
  })

  test.each(['a false chunk', 'a reader that stops'])('stops the wire at %s', async (why) => {
    let isStopped = false
    async function* wire(): AsyncGenerator<Buffer> {
      try {
        yield Buffer.from('3\r\nabc\r\n')
        yield Buffer.from('x\r\n')
        yield Buffer.from('0\r\n\r\n')
      } finally {
        isStopped = true
      }
    }
    const mode: PayloadMode = { kind: 'chunked', signatures: undefined, hasTrailer: false }
    const lengths = { wireBytes: undefined, decodedBytes: 6 }
    const body = new ObjectBody(wire(), termsOf({ mode, lengths }))
    const run = async () => {
      for await (const piece of body) {
        expect(piece.toString()).toBe('abc')
        if (why === 'a reader that stops') return
      }
    }
    if (why === 'a reader that stops') await run()
    else await expect(run()).rejects.toMatchObject({ code: 'InvalidRequest' })
    expect(isStopped).toBe(true)
  })
})

describe('a body read whole', () => {
  test('in one piece is not copied, in several it is one buffer', async () => {
    expect((await readSmallBody(wireOf(DATA), termsOf({}))).data).toBe(DATA)
    const pieces = Array.from(DATA, (byte) => Buffer.from([byte]))
    expect((await readSmallBody(wireOf(...pieces), termsOf({}))).data).toEqual(DATA)
  })

  test.each([0, 1, 2, 4095, 4096, 4097, 70_000])(
    'of %d bytes has the sums of a streamed one',
    async (sizeBytes) => {
      const data = new Prng(sizeBytes + 1).bytes(sizeBytes)
      const lengths = { wireBytes: sizeBytes, decodedBytes: undefined }
      const mode: PayloadMode = { kind: 'signed', sha256: sha256Hex(data) }
      for (const algorithm of CHECKSUM_ALGORITHMS) {
        const plan = claimOf(algorithm, data)
        const terms = termsOf({ lengths, mode, plan, sizeBytesMax: 100_000 })
        const halves = [data.subarray(0, sizeBytes >> 1), data.subarray(sizeBytes >> 1)]
        const whole = await readSmallBody(wireOf(...halves), terms)
        const streamed = await readStreamed(wireOf(...halves), terms)
        expect(whole.summary).toEqual(streamed.summary)
        expect(whole.data.equals(data) && streamed.data.equals(data)).toBe(true)
      }
    },
  )

  test('of unknown size is a bug', async () => {
    const lengths = { wireBytes: undefined, decodedBytes: undefined }
    await expect(readSmallBody(wireOf(DATA), termsOf({ lengths }))).rejects.toThrow('is known')
  })
})

describe('the lengths in the headers', () => {
  const read = (headers: Readonly<Record<string, string>>) =>
    readBodyLengths((name) => headers[name])

  test.each([
    [{}, undefined, undefined],
    [{ 'content-length': '0' }, 0, undefined],
    [{ 'content-length': '5', 'x-amz-decoded-content-length': ' 3 ' }, 5, 3],
    [{ 'x-amz-decoded-content-length': '999999999999999' }, undefined, 999_999_999_999_999],
  ])('%o are %o and %o', (headers: Record<string, string>, wireBytes, decodedBytes) => {
    expect(read(headers)).toEqual({ wireBytes, decodedBytes })
  })

  test.each(['', '-1', '1.5', '0x10', '1e3', 'abc', '3,3', '1000000000000000'])(
    'of %o are InvalidRequest',
    (text) => {
      for (const name of ['content-length', 'x-amz-decoded-content-length']) {
        expect(() => read({ [name]: text })).toThrow(
          expect.objectContaining({ code: 'InvalidRequest' }),
        )
      }
    },
  )

  test('are those of the object: the decoded one in chunks, else the one of the wire', () => {
    const lengths = { wireBytes: 200, decodedBytes: 100 }
    const chunked: PayloadMode = { kind: 'chunked', signatures: undefined, hasTrailer: true }
    expect(announcedSize(termsOf({ lengths }))).toBe(200)
    expect(announcedSize(termsOf({ lengths, mode: chunked }))).toBe(100)
    expect(
      announcedSize(termsOf({ lengths: { ...lengths, wireBytes: undefined } })),
    ).toBeUndefined()
    expect(() => announcedSize(termsOf({ lengths, mode: chunked, sizeBytesMax: 99 }))).toThrow(
      expect.objectContaining({
        code: 'EntityTooLarge',
        fields: { ProposedSize: '100', MaxSizeAllowed: '99' },
      }),
    )
  })
})
