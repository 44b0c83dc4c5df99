import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, chunkedRequest, md5Base64, md5Hex, textOf, textsOf } from './s3-scene.ts'
import { ask, bigPart, completionOf, etagOfParts, UploadScene } from './upload-scene.ts'

const NEVER = new AbortController().signal
const UNKNOWN_ID = '0'.repeat(32)

let s3: TestS3
let scene: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  scene = await BucketScene.make(s3)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

describe('an upload that begins', () => {
  test('says its bucket, its key and an id of its own', async () => {
    const first = await ask(scene, 'POST', 'begin/a b+c&d', '?uploads')
    expect(first).toMatchObject({ status: 200, headers: { 'content-type': 'application/xml' } })
    expect(textOf(first.text, 'Bucket')).toBe(scene.name)
    expect(textOf(first.text, 'Key')).toBe('begin/a b+c&d')
    const second = await ask(scene, 'POST', 'begin/a b+c&d', '?uploads')
    const ids = [first, second].map(({ text }) => textOf(text, 'UploadId'))
    expect(new Set(ids).size).toBe(2)
    expect(await scene.get('begin/a b+c&d')).toMatchObject({ status: 404, code: 'NoSuchKey' })
  })

  test.each([
    ['a checksum nobody knows', { 'x-amz-checksum-algorithm': 'CRC16' }, 'InvalidRequest'],
    ['a type alone', { 'x-amz-checksum-type': 'COMPOSITE' }, 'InvalidRequest'],
    ['a storage class nobody knows', { 'x-amz-storage-class': 'ATTIC' }, 'InvalidStorageClass'],
    ['11 tags', { 'x-amz-tagging': 'a&b&c&d&e&f&g&h&i&j&k' }, 'InvalidTag'],
    ['2 tags of one key', { 'x-amz-tagging': 'a=1&a=2' }, 'InvalidTag'],
    ['2049 bytes of metadata', { 'x-amz-meta-a': 'x'.repeat(2048) }, 'MetadataTooLarge'],
    ['a public list', { 'x-amz-acl': 'public-read' }, 'AccessControlListNotSupported'],
    ['a list nobody knows', { 'x-amz-acl': 'everybody' }, 'InvalidArgument'],
    ['a hold without locks', { 'x-amz-object-lock-legal-hold': 'ON' }, 'InvalidRequest'],
    ['keys of KMS', { 'x-amz-server-side-encryption': 'aws:kms' }, 'NotImplemented'],
  ] as const)('with %s is refused', async (_, headers, code) => {
    expect(await ask(scene, 'POST', 'begin', '?uploads', { headers })).toMatchObject({ code })
  })

  test.each([
    ['by another user', 'other', 'AccessDenied'],
    ['by nobody', undefined, 'AccessDenied'],
  ] as const)('%s is refused', async (_, user, code) => {
    const as = user && s3[user]
    expect(await ask(scene, 'POST', 'begin', '?uploads', { as })).toMatchObject({ code })
  })

  test('in a bucket that is not there is refused', async () => {
    const path = '/no-such-bucket/key?uploads'
    expect(await s3.raw({ method: 'POST', path, as: s3.owner })).toMatchObject({
      status: 404,
      code: 'NoSuchBucket',
    })
  })
})

describe('a part', () => {
  let upload: UploadScene

  beforeAll(async () => {
    upload = await UploadScene.begin(scene, 'part')
  })

  test.each([
    ['1', 200, undefined],
    ['10000', 200, undefined],
    ['007', 200, undefined],
    ['0', 400, 'InvalidArgument'],
    ['10001', 400, 'InvalidArgument'],
    ['-1', 400, 'InvalidArgument'],
    ['1.5', 400, 'InvalidArgument'],
    ['1e3', 400, 'InvalidArgument'],
    ['abc', 400, 'InvalidArgument'],
    ['', 400, 'InvalidArgument'],
    ['99999999999999999999', 400, 'InvalidArgument'],
  ] as const)('of number "%s" is answered with %d %s', async (number, status, code) => {
    expect(await upload.part(number, 'x')).toMatchObject({ status, code })
  })

  test('without a number is refused', async () => {
    const answer = await ask(scene, 'PUT', 'part', `?uploadId=${upload.id}`, { body: 'x' })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
    expect(await scene.get('part')).toMatchObject({ code: 'NoSuchKey' })
  })

  test.each([
    ['the right', md5Base64('hello'), 200, undefined],
    ['a wrong', md5Base64('hellO'), 400, 'BadDigest'],
    ['a short', 'aGVsbG8=', 400, 'InvalidDigest'],
    ['no', 'not base64!', 400, 'InvalidDigest'],
  ] as const)('with %s Content-MD5 is answered', async (_, md5, status, code) => {
    const headers = { 'content-md5': md5 }
    const answer = await upload.part(20, 'hello', { headers })
    expect(answer).toMatchObject({ status, code })
    if (status === 200) expect(answer.headers['etag']).toBe(`"${md5Hex('hello')}"`)
  })

  test('refused leaves the one before in its place', async () => {
    const { etag } = await upload.put(21, 'before')
    const headers = { 'content-md5': md5Base64('another') }
    expect(await upload.part(21, 'after', { headers })).toMatchObject({ code: 'BadDigest' })
    const { text } = await upload.list('&part-number-marker=20&max-parts=1')
    expect([textOf(text, 'PartNumber'), textOf(text, 'ETag')]).toEqual(['21', etag])
  })

  test('of more than 5 GiB is refused before it comes', async () => {
    const path = scene.path('part', `?partNumber=40&uploadId=${upload.id}`)
    const sizes = { 'x-amz-decoded-content-length': String(5 * 1024 ** 3 + 1) }
    const sketch = { path, as: s3.owner, form: 'signed', chunks: [], headers: sizes } as const
    const { headers, wire } = await chunkedRequest(s3, sketch)
    const answer = await s3.raw({ method: 'PUT', path, headers, body: wire })
    expect(answer).toMatchObject({ status: 400, code: 'EntityTooLarge' })
    expect(textOf(answer.text, 'MaxSizeAllowed')).toBe(String(5 * 1024 ** 3))
  })

  test('whose bytes are not those that were signed is refused', async () => {
    const headers = { 'x-amz-content-sha256': 'a'.repeat(64) }
    const answer = await upload.part(22, 'hello', { headers })
    expect(answer).toMatchObject({ status: 400, code: 'XAmzContentSHA256Mismatch' })
  })

  test.each(['signed', 'signed-trailer', 'unsigned-trailer'] as const)(
    'in %s chunks keeps the bytes within them',
    async (form) => {
      const chunks = [Buffer.alloc(8192, 'a'), Buffer.alloc(8192, 'b'), Buffer.from('c')]
      const path = scene.path('part', `?partNumber=30&uploadId=${upload.id}`)
      const whole = Buffer.concat(chunks)
      const { headers, wire } = await chunkedRequest(s3, { path, as: s3.owner, form, chunks })
      const answer = await s3.raw({ method: 'PUT', path, headers, body: wire })
      expect([answer.status, answer.code]).toEqual([200, undefined])
      expect(answer.headers['etag']).toBe(`"${md5Hex(whole)}"`)
      const { text } = await upload.list('&part-number-marker=29&max-parts=1')
      expect(textOf(text, 'Size')).toBe(String(whole.length))
    },
  )

  test.each(['signed', 'signed-trailer'] as const)(
    'in %s chunks with one changed on the way is refused',
    async (form) => {
      const path = scene.path('part', `?partNumber=31&uploadId=${upload.id}`)
      const chunks = [Buffer.alloc(8192, 'a')]
      const change = (wire: Buffer) => Buffer.from(wire.toString('latin1').replace('aaa', 'aba'))
      const sketch = { path, as: s3.owner, form, chunks, change }
      const { headers, wire } = await chunkedRequest(s3, sketch)
      const answer = await s3.raw({ method: 'PUT', path, headers, body: wire })
      expect(answer).toMatchObject({ status: 403, code: 'SignatureDoesNotMatch' })
    },
  )
})

describe('an upload id', () => {
  const operations = [
    ['UploadPart', 'PUT', '?partNumber=1&uploadId=', 'x'],
    ['CompleteMultipartUpload', 'POST', '?uploadId=', completionOf([{ partNumber: 1, etag: 'a' }])],
    ['AbortMultipartUpload', 'DELETE', '?uploadId=', ''],
    ['ListParts', 'GET', '?uploadId=', ''],
  ] as const
  const ids = ['', UNKNOWN_ID, 'no-id-at-all', 'a%2Fb', '%00', 'x'.repeat(3000), '%F0%9F%90%98']
  const rows = operations.flatMap(([name, method, query, body]) =>
    ids.map((id) => [name, id, { method, query, body }] as const),
  )

  test.each(rows)('that nobody gave: %s of "%s"', async (_, id, { body, method, query }) => {
    const answer = await ask(scene, method, 'unknown', `${query}${id}`, { body })
    expect(answer).toMatchObject({ status: 404, code: 'NoSuchUpload' })
  })

  test.each(operations)('is only of its own key: %s', async (_, method, query, body) => {
    const { id } = await UploadScene.begin(scene, 'mine')
    const answer = await ask(scene, method, 'not-mine', `${query}${id}`, { body })
    expect(answer).toMatchObject({ status: 404, code: 'NoSuchUpload' })
  })

  test.each(operations)('is only of its own bucket: %s', async (_, method, query, body) => {
    const { id } = await UploadScene.begin(scene, 'mine')
    const elsewhere = await BucketScene.make(s3)
    const answer = await ask(elsewhere, method, 'mine', `${query}${id}`, { body })
    expect(answer).toMatchObject({ status: 404, code: 'NoSuchUpload' })
  })

  test.each(operations)('is nothing after its upload was aborted: %s', async (...row) => {
    const [, method, query, body] = row
    const upload = await UploadScene.begin(scene, 'aborted')
    await upload.put(1, 'x')
    expect(await upload.abort()).toMatchObject({ status: 204, text: '' })
    const answer = await ask(scene, method, 'aborted', `${query}${upload.id}`, { body })
    expect(answer).toMatchObject({ status: 404, code: 'NoSuchUpload' })
  })

  test.each(operations)('of one user is not for another: %s', async (_, method, query, body) => {
    const { id } = await UploadScene.begin(scene, 'mine')
    for (const as of [s3.other, undefined]) {
      const answer = await ask(scene, method, 'mine', `${query}${id}`, { body, as })
      expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    }
  })

  test.each(operations)('is nobody told who may not know: %s', async (_, method, query, body) => {
    const as = s3.other
    const answer = await ask(scene, method, 'mine', `${query}${UNKNOWN_ID}`, { body, as })
    expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
  })
})

describe('an object made of parts', () => {
  test('is not seen before it is complete, and then at once', async () => {
    const upload = await UploadScene.begin(scene, 'seen')
    const part = await upload.put(1, 'hello')
    expect(await scene.get('seen')).toMatchObject({ status: 404, code: 'NoSuchKey' })
    const list = () => scene.bucket('GET', '?list-type=2&prefix=seen')
    expect(textsOf((await list()).text, 'Key')).toEqual([])
    const answer = await upload.complete([part])
    const etag = etagOfParts(['hello'])
    expect(answer).toMatchObject({ status: 200 })
    expect(textOf(answer.text, 'ETag')).toBe(etag)
    expect(textOf(answer.text, 'Bucket')).toBe(scene.name)
    expect(textOf(answer.text, 'Key')).toBe('seen')
    expect(textOf(answer.text, 'Location')).toBe(`${s3.url}${scene.path('seen')}`)
    expect(await scene.get('seen')).toMatchObject({ status: 200, text: 'hello', headers: { etag } })
    expect(textsOf((await list()).text, 'ETag')).toEqual([etag])
  })

  test('hides nothing of the one before until it is complete', async () => {
    await scene.put('replaced', 'old')
    const upload = await UploadScene.begin(scene, 'replaced')
    const part = await upload.put(1, 'new')
    expect(await scene.get('replaced')).toMatchObject({ text: 'old' })
    await upload.complete([part])
    expect(await scene.get('replaced')).toMatchObject({ text: 'new' })
  })

  test('may have a single part of no bytes', async () => {
    const upload = await UploadScene.begin(scene, 'empty')
    expect(await upload.complete([await upload.put(1, '')])).toMatchObject({ status: 200 })
    const headers = { etag: etagOfParts(['']), 'content-length': '0' }
    expect(await scene.get('empty')).toMatchObject({ status: 200, text: '', headers })
  })

  test('takes what was said when it began', async () => {
    const owned = await BucketScene.make(s3)
    const ownership =
      '<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>' +
      '</OwnershipControls>'
    await owned.bucket('PUT', '?ownershipControls', { body: ownership })
    const headers = {
      'content-type': 'text/x-upload',
      'cache-control': 'max-age=7',
      'content-disposition': 'attachment',
      'content-encoding': 'gzip',
      'content-language': 'de',
      expires: 'Sat, 21 Nov 2026 00:00:00 GMT',
      'x-amz-meta-color': 'blue',
      'x-amz-tagging': 'a=1&b=2',
      'x-amz-storage-class': 'STANDARD_IA',
      'x-amz-website-redirect-location': '/there',
      'x-amz-acl': 'public-read',
    }
    const upload = await UploadScene.begin(owned, 'said', headers)
    // What a part says is of the part alone.
    const part = await upload.put(1, 'x', { 'content-type': 'text/x-part', 'x-amz-meta-a': 'b' })
    await upload.complete([part], { 'content-type': 'application/xml', 'x-amz-meta-c': 'd' })
    const { 'x-amz-tagging': _, 'x-amz-acl': __, ...shown } = headers
    const head = await owned.head('said')
    expect(head).toMatchObject({ headers: { ...shown, 'x-amz-tagging-count': '2' } })
    expect(Object.keys(head.headers).filter((name) => name.startsWith('x-amz-meta-'))).toEqual([
      'x-amz-meta-color',
    ])
    expect(textsOf((await ask(owned, 'GET', 'said', '?tagging')).text, 'Value')).toEqual(['1', '2'])
    expect(await owned.request('GET', 'said', { as: undefined })).toMatchObject({ text: 'x' })
  })
})

describe('three parts of 5 MiB and a bit, sent out of order, with numbers between missing', () => {
  const bodies = [bigPart(1), bigPart(2), Buffer.from('the end')]
  const whole = Buffer.concat(bodies)
  const etag = etagOfParts(bodies)

  beforeAll(async () => {
    const upload = await UploadScene.begin(scene, 'big')
    const [first = bigPart(1), second = bigPart(2), last = 'the end'] = bodies
    const parts = [await upload.put(9999, last), await upload.put(70, second)]
    await upload.put(2, 'not the last word')
    await upload.put(400, 'never named')
    parts.push(await upload.put(2, first))
    const { text } = await upload.list()
    expect(textsOf(text, 'PartNumber')).toEqual(['2', '70', '400', '9999'])
    const answer = await upload.complete(parts.reverse())
    expect([answer.status, textOf(answer.text, 'ETag')]).toEqual([200, etag])
  })

  test('are one object', async () => {
    const { body, headers } = await scene.get('big')
    expect(md5Hex(body)).toBe(md5Hex(whole))
    expect(headers).toMatchObject({ etag, 'content-length': String(whole.length) })
    expect(headers['x-amz-mp-parts-count']).toBeUndefined()
  })

  test.each([1, 2, 3])('are read by their place: %d', async (place) => {
    const start = (place - 1) * bigPart(1).length
    const part = bodies[place - 1] ?? Buffer.alloc(0)
    const headers = {
      'content-range': `bytes ${start}-${start + part.length - 1}/${whole.length}`,
      'content-length': String(part.length),
      'x-amz-mp-parts-count': '3',
      etag,
    }
    const got = await ask(scene, 'GET', 'big', `?partNumber=${place}`)
    expect(got).toMatchObject({ status: 206, headers })
    expect(md5Hex(got.body)).toBe(md5Hex(part))
    const head = await ask(scene, 'HEAD', 'big', `?partNumber=${place}`)
    expect(head).toMatchObject({ status: 206, headers })
  })

  test.each([
    ['4', 416, 'InvalidPartNumber'],
    ['70', 416, 'InvalidPartNumber'],
    ['9999', 416, 'InvalidPartNumber'],
    ['0', 400, 'InvalidArgument'],
    ['10001', 400, 'InvalidArgument'],
  ])('have no part %s', async (number, status, code) => {
    const answer = await ask(scene, 'GET', 'big', `?partNumber=${number}`)
    expect(answer).toMatchObject({ status, code })
  })

  test.each([
    [5_242_875, 5_242_885],
    [5_242_880, 5_242_880],
    [5_242_870, 10_485_765],
    [10_485_759, 10_485_766],
  ])('are read across their borders: bytes %d to %d', async (first, last) => {
    const { body, status } = await scene.get('big', { range: `bytes=${first}-${last}` })
    expect([status, md5Hex(body)]).toEqual([206, md5Hex(whole.subarray(first, last + 1))])
  })

  test('are copied as one piece, and in parts across their borders', async () => {
    const headers = { 'x-amz-copy-source': scene.path('big') }
    const copied = await scene.request('PUT', 'big-copy', { headers })
    expect([copied.status, textOf(copied.text, 'ETag')]).toEqual([200, `"${md5Hex(whole)}"`])
    const upload = await UploadScene.begin(scene, 'big-part')
    const range = { ...headers, 'x-amz-copy-source-range': 'bytes=5242870-10485762' }
    const part = await upload.part(1, '', { headers: range })
    const expected = md5Hex(whole.subarray(5_242_870, 10_485_763))
    expect([part.status, textOf(part.text, 'ETag')]).toEqual([200, `"${expected}"`])
    await upload.complete([{ partNumber: 1, etag: expected }])
    const { body } = await scene.get('big-part')
    expect(md5Hex(body)).toBe(expected)
  })

  test('that lie in another order have another ETag', async () => {
    const upload = await UploadScene.begin(scene, 'big-2')
    const [first = bigPart(1), second = bigPart(2)] = bodies
    const parts = [await upload.put(1, second), await upload.put(2, first)]
    await upload.complete(parts)
    const { headers } = await scene.head('big-2')
    expect(headers['etag']).toBe(etagOfParts([second, first]))
  })
})

describe('a part of more than a MiB', () => {
  const body = Buffer.alloc(1_500_000, 'more than is read at once')

  test.each([
    ['Content-MD5', { 'content-md5': md5Base64('another') }, 'BadDigest'],
    ['checksum', { 'x-amz-checksum-crc32': 'AAAAAA==' }, 'BadDigest'],
    ['hash', { 'x-amz-content-sha256': 'a'.repeat(64) }, 'XAmzContentSHA256Mismatch'],
  ])('with the wrong %s is refused, and nothing of it stays', async (_, headers, code) => {
    const upload = await UploadScene.begin(scene, 'streamed')
    expect(await upload.part(1, body, { headers })).toMatchObject({ status: 400, code })
    expect(textsOf((await upload.list()).text, 'PartNumber')).toEqual([])
    const { etag } = await upload.put(1, body)
    expect(etag).toBe(`"${md5Hex(body)}"`)
  })

  test.each(['signed-trailer', 'unsigned-trailer'] as const)('in %s chunks', async (form) => {
    const upload = await UploadScene.begin(scene, 'streamed')
    const path = scene.path('streamed', `?partNumber=1&uploadId=${upload.id}`)
    const chunks = [body.subarray(0, 700_000), body.subarray(700_000)]
    const sent = async (sum: string) => {
      const trailers = { 'x-amz-checksum-sha1': sum }
      const sketch = { path, as: s3.owner, form, chunks, trailers }
      const { headers, wire } = await chunkedRequest(s3, sketch)
      return await s3.raw({ method: 'PUT', path, headers, body: wire })
    }
    const wrong = createHash('sha1').update('another').digest('base64')
    expect(await sent(wrong)).toMatchObject({ status: 400, code: 'BadDigest' })
    const right = createHash('sha1').update(body).digest('base64')
    const answer = await sent(right)
    expect(answer).toMatchObject({ status: 200, headers: { etag: `"${md5Hex(body)}"` } })
  })
})

describe('of several at once', () => {
  test('each part that is sent is there once, and whole', async () => {
    const upload = await UploadScene.begin(scene, 'race/parts')
    const bodies = Array.from({ length: 8 }, (_, at) => `body ${at}`.repeat(at + 1))
    const answers = await Promise.all(bodies.map((body) => upload.part(1, body)))
    expect(answers.map(({ status }) => status)).toEqual(bodies.map(() => 200))
    const { text } = await upload.list()
    const [etag = '', ...more] = textsOf(text, 'ETag')
    expect(more).toEqual([])
    const kept = bodies.find((body) => `"${md5Hex(body)}"` === etag)
    await upload.complete([{ partNumber: 1, etag }])
    expect(await scene.get('race/parts')).toMatchObject({ status: 200, text: kept })
  })

  test('a completion and an abort do not both succeed', async () => {
    for (let round = 0; round < 5; round++) {
      const key = `race/end/${round}`
      const upload = await UploadScene.begin(scene, key)
      const part = await upload.put(1, 'x')
      const [done, gone] = await Promise.all([upload.complete([part]), upload.abort()])
      const there = await scene.get(key)
      const outcome = [done.status, gone.status, there.status]
      expect([
        [200, 404, 200],
        [404, 204, 404],
      ]).toContainEqual(outcome)
    }
  })

  test('one completion of a key that must be free succeeds', async () => {
    const begun = [1, 2, 3, 4].map(() => UploadScene.begin(scene, 'race/free'))
    const uploads = await Promise.all(begun)
    const parts = await Promise.all(uploads.map((upload, at) => upload.put(1, `body ${at}`)))
    const answers = await Promise.all(
      uploads.map((upload, at) =>
        upload.complete(parts.slice(at, at + 1), { 'if-none-match': '*' }),
      ),
    )
    const won = answers.findIndex(({ status }) => status === 200)
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412, 412, 412])
    expect(await scene.get('race/free')).toMatchObject({ text: `body ${won}` })
  })
})

describe('a completion', () => {
  let upload: UploadScene
  let etags: readonly string[]

  beforeAll(async () => {
    upload = await UploadScene.begin(scene, 'completion')
    const parts = [await upload.put(1, 'one'), await upload.put(2, 'two'), await upload.put(5, '5')]
    etags = parts.map(({ etag }) => etag)
  })

  test.each([
    ['no body', [], '', 'MalformedXML'],
    ['no XML', [], 'parts: 1, 2', 'MalformedXML'],
    ['no end', [], '<CompleteMultipartUpload><Part>', 'MalformedXML'],
    ['another document', [], '<Delete><Object><Key>a</Key></Object></Delete>', 'MalformedXML'],
    ['no part', [], '<CompleteMultipartUpload></CompleteMultipartUpload>', 'MalformedXML'],
    ['part 0', ['0', 1], '', 'InvalidArgument'],
    ['part 10001', ['10001', 1], '', 'InvalidArgument'],
    ['part -1', ['-1', 1], '', 'InvalidArgument'],
    ['a part without number', ['', 1], '', 'MalformedXML'],
    ['part one', ['one', 1], '', 'MalformedXML'],
    ['parts 2, 1', ['2', 2, '1', 1], '', 'InvalidPartOrder'],
    ['parts 1, 1', ['1', 1, '1', 1], '', 'InvalidPartOrder'],
    ['parts 1, 5, 2', ['1', 1, '5', 3, '2', 2], '', 'InvalidPartOrder'],
    ['a part that never came', ['3', 1], '', 'InvalidPart'],
    ['a part that never came, last', ['1', 1, '6', 1], '', 'InvalidPart'],
    ['the ETag of another part', ['1', 2], '', 'InvalidPart'],
    ['a first part of 3 bytes', ['1', 1, '2', 2], '', 'EntityTooSmall'],
    ['all three', ['1', 1, '2', 2, '5', 3], '', 'EntityTooSmall'],
  ] as const)('with %s is refused', async (_, named, body, code) => {
    const parts = named.flatMap((number, at) => {
      if (at % 2 !== 0) return []
      return [{ partNumber: String(number), etag: etags[Number(named[at + 1]) - 1] ?? '' }]
    })
    const answer = await upload.complete(parts.length === 0 ? body : parts)
    expect(answer).toMatchObject({ status: 400, code })
    expect(await upload.list()).toMatchObject({ status: 200 })
    expect(await scene.get('completion')).toMatchObject({ code: 'NoSuchKey' })
  })

  test.each([
    ['Content-MD5', { 'content-md5': md5Base64('another') }, 'BadDigest'],
    ['hash', { 'x-amz-content-sha256': 'a'.repeat(64) }, 'XAmzContentSHA256Mismatch'],
  ])('that does not have the %s it says is refused', async (_, headers, code) => {
    const parts = [{ partNumber: 5, etag: etags[2] ?? '' }]
    expect(await upload.complete(parts, headers)).toMatchObject({ status: 400, code })
    expect(await upload.list()).toMatchObject({ status: 200 })
  })

  test.each([
    [10_000, 'InvalidPart'],
    [10_001, 'InvalidArgument'],
  ])('of %d parts is read, with a sum for each', async (count, code) => {
    const more = { ChecksumSHA256: 'n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=' }
    const parts = Array.from({ length: count }, (_, at) => {
      return { partNumber: at + 1, etag: `"${'a'.repeat(32)}"`, more }
    })
    expect(await upload.complete(parts)).toMatchObject({ status: 400, code })
  })

  test('refused says which part is too small', async () => {
    const parts = etags.slice(0, 2).map((etag, at) => ({ partNumber: at + 1, etag }))
    const { text } = await upload.complete(parts)
    expect(textOf(text, 'ProposedSize')).toBe('3')
    expect(textOf(text, 'MinSizeAllowed')).toBe('5242880')
    expect(textOf(text, 'PartNumber')).toBe('1')
  })

  test.each([
    ['in quotes', (etag: string) => etag],
    ['without quotes', (etag: string) => etag.replaceAll('"', '')],
    ['in quotes as entities', (etag: string) => etag.replaceAll('"', '&quot;')],
    ['in quotes as numbers', (etag: string) => etag.replaceAll('"', '&#34;')],
  ])('takes ETags %s', async (_, write) => {
    const one = await UploadScene.begin(scene, 'quotes')
    const { etag } = await one.put(1, 'x')
    expect(await one.complete([{ partNumber: 1, etag: write(etag) }])).toMatchObject({
      status: 200,
    })
  })

  test('may stand in the namespace of S3, or in none', async () => {
    const one = await UploadScene.begin(scene, 'spaces')
    const xml = completionOf([await one.put(1, 'x')])
    const spaced = xml.replace('>', ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
    expect(await one.complete(`<?xml version="1.0"?>\n${spaced}`)).toMatchObject({ status: 200 })
  })

  test('after a part was replaced needs the new ETag', async () => {
    const one = await UploadScene.begin(scene, 'swap')
    const before = await one.put(1, 'before')
    const after = await one.put(1, 'after')
    expect(await one.complete([before])).toMatchObject({ status: 400, code: 'InvalidPart' })
    expect(await one.complete([after])).toMatchObject({ status: 200 })
    expect(await scene.get('swap')).toMatchObject({ text: 'after' })
  })

  test('gives the same answer again, but not to other parts or without the object', async () => {
    const one = await UploadScene.begin(scene, 'again')
    const part = await one.put(1, 'x')
    const first = await one.complete([part])
    const second = await one.complete([part])
    expect([second.status, second.text]).toEqual([200, first.text])
    const others = [{ partNumber: 1, etag: 'f'.repeat(32) }]
    expect(await one.complete(others)).toMatchObject({ code: 'NoSuchUpload' })
    expect(await one.complete([part, { ...part, partNumber: 2 }])).toMatchObject({
      code: 'NoSuchUpload',
    })
    expect(await one.abort()).toMatchObject({ code: 'NoSuchUpload' })
    expect(await scene.get('again')).toMatchObject({ text: 'x' })
    await scene.request('DELETE', 'again')
    expect(await one.complete([part])).toMatchObject({ status: 404, code: 'NoSuchUpload' })
  })

  test('gives the same answer to two at once', async () => {
    const one = await UploadScene.begin(scene, 'at-once')
    const part = await one.put(1, 'x')
    const answers = await Promise.all([1, 2, 3, 4].map(() => one.complete([part])))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
  })

  test('gives the same answer when the version is not the newest any more', async () => {
    const versioned = await BucketScene.make(s3)
    const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    await versioned.bucket('PUT', '?versioning', { body })
    const one = await UploadScene.begin(versioned, 'k')
    const part = await one.put(1, 'x')
    const first = await one.complete([part])
    expect(first.headers['x-amz-version-id']).toMatch(/^[0-9a-f]{32}$/)
    await versioned.put('k', 'newer')
    const second = await one.complete([part])
    expect([second.status, second.text]).toEqual([200, first.text])
    expect(second.headers['x-amz-version-id']).toBe(first.headers['x-amz-version-id'])
    expect(await versioned.get('k')).toMatchObject({ text: 'newer' })
  })

  test.each([
    ['If-None-Match: * of nothing', 'free', { 'if-none-match': '*' }, 200, undefined],
    ['If-None-Match: *', 'there', { 'if-none-match': '*' }, 412, 'PreconditionFailed'],
    ['If-Match of its ETag', 'there', { 'if-match': `"${md5Hex('old')}"` }, 200, undefined],
    ['If-Match of another', 'there', { 'if-match': '"abc"' }, 412, 'PreconditionFailed'],
    ['If-Match of nothing', 'free', { 'if-match': `"${md5Hex('old')}"` }, 404, 'NoSuchKey'],
  ] as const)('with %s is answered', async (name, kind, headers, status, code) => {
    const key = `condition/${name}`
    if (kind === 'there') await scene.put(key, 'old')
    const one = await UploadScene.begin(scene, key)
    const part = await one.put(1, 'new')
    expect(await one.complete([part], headers)).toMatchObject({ status, code })
    if (status === 200) return
    // The upload is still there, and can be completed otherwise.
    expect(await one.complete([part])).toMatchObject({ status: 200 })
    expect(await scene.get(key)).toMatchObject({ text: 'new' })
  })
})

describe('what no object is made of', () => {
  async function usage({ name }: BucketScene) {
    const bucket = await s3.server.namespace.findBucket(name, NEVER)
    return await s3.server.namespace.bucketUsage({ name, id: bucket?.id ?? 0 }, NEVER)
  }

  test('counts until its upload is aborted', async () => {
    const own = await BucketScene.make(s3)
    const upload = await UploadScene.begin(own, 'freed')
    await upload.put(1, 'one')
    await upload.put(2, 'two!')
    expect(await usage(own)).toEqual({ bytes: 7, objects: 0 })
    await upload.abort()
    expect(await usage(own)).toEqual({ bytes: 0, objects: 0 })
    expect(await own.bucket('DELETE')).toMatchObject({ status: 204 })
  })

  test('counts no more when a part is replaced, nor when a completion leaves it out', async () => {
    const own = await BucketScene.make(s3)
    const upload = await UploadScene.begin(own, 'left-out')
    await upload.put(1, 'replaced')
    const part = await upload.put(1, 'two')
    expect(await usage(own)).toEqual({ bytes: 3, objects: 0 })
    await upload.put(2, 'left out')
    await upload.complete([part])
    expect(await usage(own)).toEqual({ bytes: 3, objects: 1 })
    expect(await own.get('left-out')).toMatchObject({ text: 'two' })
  })
})
