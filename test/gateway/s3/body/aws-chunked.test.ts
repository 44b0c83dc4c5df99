import { describe, expect, test } from 'vitest'
import {
  AwsChunkedDecoder,
  type AwsChunkedOptions,
} from '../../../../src/gateway/s3/body/aws-chunked.ts'
import { isS3Error } from '../../../../src/gateway/s3/s3-error.ts'
import { ChunkSigner, encodeAwsChunks } from '../../../support/aws-chunks.ts'
import { Prng, seeds } from '../../../support/prng.ts'

const SEED = '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9'
const TRAILER_SEED = '106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e'
const CRC32C = 'x-amz-checksum-crc32c'

interface Form {
  readonly name: string
  readonly isSigned: boolean
  readonly hasTrailer: boolean
}

const FORMS: readonly Form[] = [
  { name: 'signed', isSigned: true, hasTrailer: false },
  { name: 'signed with trailer', isSigned: true, hasTrailer: true },
  { name: 'unsigned with trailer', isSigned: false, hasTrailer: true },
]

function wireFor(form: Form, chunks: readonly Buffer[], trailerEnd = '\r\n'): Buffer {
  const signer = form.isSigned ? new ChunkSigner(SEED) : undefined
  const trailers = form.hasTrailer ? { [CRC32C]: 'sOO8/Q==' } : undefined
  return encodeAwsChunks(chunks, { signer, trailers, trailerEnd })
}

function decoderFor(form: Form, announcedBytes: number, options: Partial<AwsChunkedOptions> = {}) {
  return new AwsChunkedDecoder({
    signatures: form.isSigned ? new ChunkSigner(SEED) : undefined,
    hasTrailer: form.hasTrailer,
    trailerNames: form.hasTrailer ? [CRC32C] : [],
    announcedBytes,
    ...options,
  })
}

function decodeAll(decoder: AwsChunkedDecoder, ...pieces: readonly Buffer[]): Buffer {
  const data = Buffer.concat(pieces.flatMap((piece) => decoder.decode(piece)))
  decoder.finish()
  return data
}

const CHUNKS = [Buffer.from('hello '), Buffer.from('wor'), Buffer.from('l'), Buffer.from('d!')]
const DATA = Buffer.concat(CHUNKS)
const UNSIGNED = FORMS[2] as Form

describe('the examples that AWS publishes', () => {
  const data = Buffer.alloc(66_560, 'a')
  const signatures = [
    'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648',
    '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497',
    'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9',
  ]
  const trailedSignatures = [
    'b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2',
    '1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7',
    '2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992',
  ]

  function wire([first, second, last]: readonly string[], end: string): Buffer {
    return Buffer.concat([
      Buffer.from(`10000;chunk-signature=${first}\r\n`),
      data.subarray(0, 65_536),
      Buffer.from(`\r\n400;chunk-signature=${second}\r\n`),
      data.subarray(65_536),
      Buffer.from(`\r\n0;chunk-signature=${last}\r\n${end}`),
    ])
  }

  function decoder(seed: string, hasTrailer: boolean): AwsChunkedDecoder {
    return new AwsChunkedDecoder({
      signatures: new ChunkSigner(seed),
      hasTrailer,
      trailerNames: hasTrailer ? [CRC32C] : [],
      announcedBytes: data.length,
    })
  }

  test('are decoded: 66560 bytes in signed chunks', () => {
    const bytes = wire(signatures, '\r\n')
    expect(bytes).toHaveLength(66_824)
    expect(decodeAll(decoder(SEED, false), bytes)).toEqual(data)
  })

  test('are decoded: 66560 bytes in signed chunks with a signed trailer', () => {
    const signature = 'd81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435'
    const end = `${CRC32C}:sOO8/Q==\n\r\nx-amz-trailer-signature:${signature}\r\n\r\n`
    const trailed = decoder(TRAILER_SEED, true)
    expect(decodeAll(trailed, wire(trailedSignatures, end))).toEqual(data)
    expect([...trailed.trailers]).toEqual([[CRC32C, 'sOO8/Q==']])
  })
})

describe.each(FORMS)('a body that is $name', (form) => {
  const wire = wireFor(form, CHUNKS)

  test('is decoded whole, and each slice lies in the bytes that came', () => {
    const decoder = decoderFor(form, DATA.length)
    const slices = decoder.decode(wire)
    decoder.finish()
    expect(slices.map(String)).toEqual(CHUNKS.map(String))
    expect(slices.every((slice) => slice.buffer === wire.buffer)).toBe(true)
    expect([...decoder.trailers]).toEqual(form.hasTrailer ? [[CRC32C, 'sOO8/Q==']] : [])
  })

  test('is the same when it comes in 2 pieces, cut anywhere, or byte by byte', () => {
    for (let at = 0; at <= wire.length; at++) {
      const decoder = decoderFor(form, DATA.length)
      expect(decodeAll(decoder, wire.subarray(0, at), wire.subarray(at))).toEqual(DATA)
    }
    const bytes = Array.from(wire, (_, at) => wire.subarray(at, at + 1))
    expect(decodeAll(decoderFor(form, DATA.length), ...bytes)).toEqual(DATA)
  })

  test('is IncompleteBody when it ends at any byte before its last', () => {
    for (let at = 0; at < wire.length; at++) {
      const decoder = decoderFor(form, DATA.length)
      decoder.decode(wire.subarray(0, at))
      expect(() => decoder.finish()).toThrow(expect.objectContaining({ code: 'IncompleteBody' }))
    }
  })

  test('with any bit flipped is refused with an S3Error, or decoded to as many bytes', () => {
    for (let bit = 0; bit < wire.length * 8; bit++) {
      const flipped = Buffer.from(wire)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const decoder = decoderFor(form, DATA.length)
      try {
        const data = decodeAll(decoder, flipped)
        expect(data).toHaveLength(DATA.length)
        if (form.isSigned) expect(data).toEqual(DATA)
      } catch (error) {
        if (!isS3Error(error)) throw error
      }
    }
  })

  test.each([0, 1, 2, 65_535, 65_536, 65_537])(
    'of one chunk of %d bytes is decoded',
    (sizeBytes) => {
      const data = new Prng(sizeBytes + 1).bytes(sizeBytes)
      const bytes = wireFor(form, sizeBytes === 0 ? [] : [data])
      const halves = [bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)]
      expect(decodeAll(decoderFor(form, sizeBytes), bytes)).toEqual(data)
      expect(decodeAll(decoderFor(form, sizeBytes), ...halves)).toEqual(data)
    },
  )

  test.each(seeds(20))('in random chunks and pieces is decoded (seed %d)', (seed) => {
    const prng = new Prng(seed)
    const chunks = Array.from({ length: prng.below(8) }, () => prng.bytes(prng.between(1, 3000)))
    const data = Buffer.concat(chunks)
    const bytes = wireFor(form, chunks)
    const pieces: Buffer[] = []
    for (let at = 0; at < bytes.length; ) {
      const end = at + prng.between(0, 2000)
      pieces.push(bytes.subarray(at, end))
      at = Math.min(end, bytes.length)
    }
    expect(decodeAll(decoderFor(form, data.length), ...pieces)).toEqual(data)
  })

  test('is IncompleteBody one byte below what was announced, InvalidRequest one above', () => {
    const decode = (announced: number) => decodeAll(decoderFor(form, announced), wire)
    expect(() => decode(DATA.length + 1)).toThrow(
      expect.objectContaining({ code: 'IncompleteBody' }),
    )
    expect(() => decode(DATA.length - 1)).toThrow(
      expect.objectContaining({ code: 'InvalidRequest' }),
    )
  })

  test('may be followed by 4 bytes of line ends, not by 5 and not by others', () => {
    const decode = (excess: string) =>
      decodeAll(decoderFor(form, DATA.length), wire, Buffer.from(excess))
    expect(decode('\r\n\r\n')).toEqual(DATA)
    for (const excess of ['\r\n\r\n\r', 'x', '\r\n0\r\n']) {
      expect(() => decode(excess)).toThrow(expect.objectContaining({ code: 'InvalidRequest' }))
    }
  })
})

describe('the signature of', () => {
  const signed = FORMS[0] as Form
  const trailed = FORMS[1] as Form

  test.each([0, 1, 2, 3, 4])(
    'chunk %d, when false, is found before its successor is passed on',
    (chunk) => {
      const wire = wireFor(signed, CHUNKS)
      let at = -1
      for (let count = 0; count <= chunk; count++) at = wire.indexOf('signature=', at + 1)
      wire[at + 10] = wire[at + 10] === 0x30 ? 0x31 : 0x30
      const decoder = decoderFor(signed, DATA.length)
      const slices: Buffer[] = []
      expect(() => {
        for (const byte of wire) slices.push(...decoder.decode(Buffer.from([byte])))
      }).toThrow(expect.objectContaining({ code: 'SignatureDoesNotMatch' }))
      // The chunk's last byte, which brings the check, is withheld; chunk 4 has no bytes.
      const before = Buffer.concat(CHUNKS.slice(0, chunk + 1))
      const passed = chunk === 4 ? DATA : before.subarray(0, -1)
      expect(Buffer.concat(slices).toString()).toBe(passed.toString())
    },
  )

  test.each([
    ['a changed value', (text: string) => text.replace('sOO8', 'sOO9'), 'SignatureDoesNotMatch'],
    ['no signature', (text: string) => text.replace(/x-amz-trailer-sig.*\r\n/, ''), undefined],
    ['a short signature', (text: string) => text.replace(/.\r\n\r\n$/, '\r\n\r\n'), undefined],
    ['the signature first', (text: string) => moveSignatureUp(text), undefined],
    [
      'two signatures',
      (text: string) => text.replace(/(x-amz-trailer-sig.*\r\n)/, '$1$1'),
      undefined,
    ],
  ])('a trailer with %s is refused', (_, change, code = 'MalformedTrailerError') => {
    const wire = Buffer.from(change(wireFor(trailed, CHUNKS).toString('latin1')), 'latin1')
    const decoder = decoderFor(trailed, DATA.length)
    expect(() => decodeAll(decoder, wire)).toThrow(expect.objectContaining({ code }))
  })

  test('no trailer at all may be left out', () => {
    const signer = new ChunkSigner(SEED)
    const wire = encodeAwsChunks(CHUNKS, { signer, trailers: undefined })
    const decoder = decoderFor(trailed, DATA.length, { trailerNames: [] })
    expect(decodeAll(decoder, wire)).toEqual(DATA)
  })

  test('no trailer at all is checked if it is there', () => {
    const signer = new ChunkSigner(SEED)
    const wire = encodeAwsChunks(CHUNKS, { signer, trailers: {} })
    const decode = (bytes: Buffer) =>
      decodeAll(decoderFor(trailed, DATA.length, { trailerNames: [] }), bytes)
    expect(decode(wire)).toEqual(DATA)
    const wrong = wire
      .toString('latin1')
      .replace(/.\r\n\r\n$/, (end) => `${end[0] === '0' ? 1 : 0}\r\n\r\n`)
    expect(() => decode(Buffer.from(wrong, 'latin1'))).toThrow(
      expect.objectContaining({ code: 'SignatureDoesNotMatch' }),
    )
  })

  function moveSignatureUp(text: string): string {
    return text.replace(/(x-amz-checksum.*\r\n)(x-amz-trailer-sig.*\r\n)/, '$2$1')
  }
})

describe('the trailers of a body', () => {
  const body = `c\r\n${DATA}\r\n0\r\n`
  const decode = (trailers: string, options: Partial<AwsChunkedOptions> = {}) => {
    const decoder = decoderFor(UNSIGNED, DATA.length, options)
    for (const byte of Buffer.from(body + trailers, 'latin1')) decoder.decode(Buffer.from([byte]))
    decoder.finish()
    return [...decoder.trailers]
  }

  test.each([
    ['CRLF', `${CRC32C}:sOO8/Q==\r\n\r\n`],
    ['LF', `${CRC32C}:sOO8/Q==\n\r\n\r\n`],
    ['LF CRLF and one CRLF too many', `${CRC32C}:sOO8/Q==\n\r\n\r\n\r\n`],
    ['capitals', 'X-Amz-Checksum-CRC32C:sOO8/Q==\r\n\r\n'],
    ['blanks', ` ${CRC32C} \t:   sOO8/Q== \t\r\n\r\n`],
  ])('are read with %s', (_, trailers) => {
    expect(decode(trailers)).toEqual([[CRC32C, 'sOO8/Q==']])
  })

  test('may be empty, and several if so announced', () => {
    expect(decode('a:\nb:2\r\n\r\n', { trailerNames: ['a', 'b'] })).toEqual([
      ['a', ''],
      ['b', '2'],
    ])
    expect(decode('\r\n', { trailerNames: [] })).toEqual([])
  })

  test.each([
    ['missing', '\r\n'],
    ['unannounced', `${CRC32C}:sOO8/Q==\r\nx-amz-meta-a:1\r\n\r\n`],
    ['of another algorithm', 'x-amz-checksum-crc32:sOO8/Q==\r\n\r\n'],
    ['repeated', `${CRC32C}:sOO8/Q==\r\n${CRC32C}:sOO8/Q==\r\n\r\n`],
    ['without colon', `${CRC32C}\r\n\r\n`],
    ['without name', ':sOO8/Q==\r\n\r\n'],
    ['with a blank in its name', 'x-amz checksum-crc32c:sOO8/Q==\r\n\r\n'],
    ['with CR in its value', `${CRC32C}:sOO8\r/Q==\r\n\r\n`],
    ['outside ASCII', `${CRC32C}:sOO8\xe9/Q==\r\n\r\n`],
    [
      'signed though chunks are not',
      `${CRC32C}:sOO8/Q==\r\nx-amz-trailer-signature:${SEED}\r\n\r\n`,
    ],
    ['ended by LF alone', `${CRC32C}:sOO8/Q==\r\n\n`],
    ['ended by LF LF', `${CRC32C}:sOO8/Q==\n\n`],
  ])('that are %s are MalformedTrailerError', (_, trailers) => {
    expect(() => decode(trailers)).toThrow(
      expect.objectContaining({ code: 'MalformedTrailerError' }),
    )
  })

  test('have at most 16 KiB together', () => {
    const options = { trailerNames: ['a', 'b'] }
    const first = `a:${'1'.repeat(8000)}\r\n`
    const room = 16 * 1024 - first.length - 'b:\r\n\r\n'.length
    const fits = `${first}b:${'2'.repeat(room)}\r\n\r\n`
    expect(decode(fits, options)).toHaveLength(2)
    const malformed = expect.objectContaining({ code: 'MalformedTrailerError' })
    expect(() => decode(`${first}b:${'2'.repeat(room + 1)}\r\n\r\n`, options)).toThrow(malformed)
    expect(() => decode('x'.repeat(16 * 1024), options)).toThrow(malformed)
  })
})

describe('the framing of a body', () => {
  const decode = (text: string, form = UNSIGNED, announced = 3) =>
    decodeAll(decoderFor(form, announced, { trailerNames: [] }), Buffer.from(text, 'latin1'))

  test.each(['3', '03', '0000000000000003'])('may write the size 3 as %s', (size) => {
    expect(decode(`${size}\r\nabc\r\n0\r\n\r\n`).toString()).toBe('abc')
  })

  test('may write the size in capitals', () => {
    const data = 'x'.repeat(0xab)
    expect(decode(`AB\r\n${data}\r\n00\r\n\r\n`, UNSIGNED, 0xab).toString()).toBe(data)
  })

  test.each([
    ['an empty size', '\r\nabc\r\n0\r\n\r\n'],
    ['a size that is no number', 'x\r\nabc\r\n0\r\n\r\n'],
    ['a negative size', '-3\r\nabc\r\n0\r\n\r\n'],
    ['a size with 0x', '0x3\r\nabc\r\n0\r\n\r\n'],
    ['a size of 17 digits', '00000000000000003\r\nabc\r\n0\r\n\r\n'],
    ['a blank before the size', ' 3\r\nabc\r\n0\r\n\r\n'],
    ['a header that ends in LF', '3\nabc\r\n0\r\n\r\n'],
    ['a header that ends in CR CRLF', '3\r\r\nabc\r\n0\r\n\r\n'],
    ['a signature in an unsigned body', `3;chunk-signature=${SEED}\r\nabc\r\n0\r\n\r\n`],
    ['a chunk longer than its size', '3\r\nabcd\r\n0\r\n\r\n'],
    ['a chunk shorter than its size', '3\r\nab\r\n0\r\n\r\n'],
    ['a chunk that ends in LF', '3\r\nabc\n0\r\n\r\n'],
    ['a chunk that ends in CR', '3\r\nabc\r0\r\n\r\n'],
    ['a size beyond what was announced', '4\r\nabcd\r\n0\r\n\r\n'],
    ['the largest size', 'ffffffffffffffff\r\nabc'],
    ['a header of 4096 bytes without end', '0'.repeat(4096)],
    ['a header of 4096 bytes', `${'0'.repeat(4094)}\r\n\r\n`],
  ])('with %s is InvalidRequest', (_, text) => {
    expect(() => decode(text)).toThrow(expect.objectContaining({ code: 'InvalidRequest' }))
  })

  test.each([
    ['no signature', '3\r\nabc\r\n0\r\n\r\n'],
    ['a short signature', `3;chunk-signature=${SEED.slice(1)}\r\nabc\r\n`],
    ['a long signature', `3;chunk-signature=${SEED}0\r\nabc\r\n`],
    ['another extension', `3;signature=${SEED}\r\nabc\r\n`],
    ['two extensions', `3;chunk-signature=${SEED};a=b\r\nabc\r\n`],
  ])('with %s in a signed body is InvalidRequest', (_, text) => {
    expect(() => decode(text, FORMS[0])).toThrow(
      expect.objectContaining({ code: 'InvalidRequest' }),
    )
  })

  test('asks for no memory that was announced and has not come', () => {
    const announced = 2 ** 40
    const before = process.memoryUsage()
    const decoders = Array.from({ length: 100 }, () => {
      const decoder = decoderFor(UNSIGNED, announced)
      expect(decoder.decode(Buffer.from('10000000000\r\nabc')).map(String)).toEqual(['abc'])
      return decoder
    })
    const after = process.memoryUsage()
    expect(decoders).toHaveLength(100)
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(2 ** 22)
  })
})

// Goal: whatever comes, the decoder throws an S3Error or decodes as much as was announced.
// Method: pieces of valid bodies, shuffled, cut, and mixed with noise. Replay: SEED=17.
test.each(seeds(300))('any bytes are refused or decoded (seed %d)', (seed) => {
  const prng = new Prng(seed)
  const words = [
    '0\r\n',
    '3\r\nabc\r\n',
    '\r\n',
    `${CRC32C}:sOO8/Q==`,
    '\n',
    ';chunk-signature=',
    'f',
  ]
  const form = prng.pick(FORMS)
  const wire = wireFor(form, CHUNKS)
  for (let round = 0; round < 30; round++) {
    const at = prng.below(wire.length)
    const noise = prng.chance(0.5)
      ? prng.bytes(prng.below(20))
      : Buffer.from(Array.from({ length: prng.below(6) }, () => prng.pick(words)).join(''))
    const end = at + prng.below(wire.length - at)
    const pieces = [wire.subarray(0, at), noise, wire.subarray(end)]
    try {
      expect(decodeAll(decoderFor(form, DATA.length), ...pieces)).toHaveLength(DATA.length)
    } catch (error) {
      if (!isS3Error(error)) throw error
    }
  }
})
