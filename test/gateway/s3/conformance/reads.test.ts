import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, md5Hex, patternBytes, textOf } from './s3-scene.ts'

const MIB = 1024 * 1024
const TEXT = '0123456789'

let s3: TestS3
let bucket: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  bucket = await BucketScene.make(s3)
  await bucket.put('ten', TEXT)
  await bucket.put('empty', '')
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

describe('ranges of ten bytes', () => {
  test.each([
    ['bytes=0-0', '0', '0-0'],
    ['bytes=0-9', TEXT, '0-9'],
    ['bytes=0-', TEXT, '0-9'],
    ['bytes=4-', '456789', '4-9'],
    ['bytes=9-', '9', '9-9'],
    ['bytes=4-7', '4567', '4-7'],
    ['bytes=4-10', '456789', '4-9'],
    ['bytes=4-99999999999999999999', '456789', '4-9'],
    ['bytes=-1', '9', '9-9'],
    ['bytes=-7', '3456789', '3-9'],
    ['bytes=-10', TEXT, '0-9'],
    ['bytes=-11', TEXT, '0-9'],
    ['bytes=-99999999999999999999', TEXT, '0-9'],
    ['Bytes=4-7', '4567', '4-7'],
  ])('%s is 206 with %s', async (range, text, shown) => {
    const get = await bucket.get('ten', { range })
    expect(get).toMatchObject({ status: 206, text })
    const head = await bucket.head('ten', { range })
    expect(head).toMatchObject({ status: 206, text: '' })
    for (const { headers } of [get, head]) {
      expect(headers['content-range']).toBe(`bytes ${shown}/10`)
      expect(headers['content-length']).toBe(String(text.length))
      expect(headers['etag']).toBe(`"${md5Hex(TEXT)}"`)
    }
  })

  test.each(['bytes=10-', 'bytes=10-20', 'bytes=99999999999999999999-', 'bytes=-0'])(
    '%s is 416',
    async (range) => {
      const get = await bucket.get('ten', { range })
      expect(get).toMatchObject({ status: 416, code: 'InvalidRange' })
      expect(get.headers['content-range']).toBe('bytes */10')
      expect(textOf(get.text, 'RangeRequested')).toBe(range)
      expect(textOf(get.text, 'ActualObjectSize')).toBe('10')
      expect(await bucket.head('ten', { range })).toMatchObject({ status: 416, text: '' })
    },
  )

  test.each([
    'bytes=5-4',
    'bytes=-',
    'bytes=',
    'bytes',
    'bytes=a-b',
    'bytes=0-1,3-4',
    'bytes=0-1,',
    'bytes=--1',
    'bytes=0x1-0x2',
    'items=0-1',
    '0-1',
    'bytes=1',
  ])('%s means nothing: 200 with all', async (range) => {
    const get = await bucket.get('ten', { range })
    expect(get).toMatchObject({ status: 200, text: TEXT })
    expect(get.headers['content-range']).toBeUndefined()
  })

  test.each(['bytes=0-', 'bytes=0-0', 'bytes=-1', 'bytes=-0'])(
    '%s of an empty object is 416',
    async (range) => {
      expect(await bucket.get('empty', { range })).toMatchObject({
        status: 416,
        code: 'InvalidRange',
      })
    },
  )

  test('a range is sent only if the object is the one that If-Range names', async () => {
    const range = 'bytes=0-1'
    const { headers } = await bucket.head('ten')
    const { etag = '', 'last-modified': modified = '' } = headers
    const cases = [
      [etag, 206],
      ['"other"', 200],
      [`W/${etag}`, 200],
      [modified, 206],
      ['Mon, 01 Jan 2001 00:00:00 GMT', 200],
      ['nonsense', 200],
    ] as const
    for (const [condition, status] of cases) {
      const answer = await bucket.get('ten', { range, 'if-range': condition })
      expect([condition, answer.status]).toEqual([condition, status])
      expect(answer.text).toBe(status === 206 ? '01' : TEXT)
    }
  })
})

describe('ranges of large objects', () => {
  const sizeBytes = 9 * MIB + 1
  const bytes = patternBytes(sizeBytes)

  beforeAll(async () => {
    await bucket.put('large', bytes)
  })

  test.each([
    [0, 1],
    [0, MIB],
    [MIB - 1, MIB + 1],
    [1, 2 * MIB + 2],
    [4 * MIB - 3, 4 * MIB + 3],
    [8 * MIB - 1, sizeBytes],
    [sizeBytes - 1, sizeBytes],
    [0, sizeBytes],
  ])('bytes %d to %d', async (start, end) => {
    const { body, headers, status } = await bucket.get('large', {
      range: `bytes=${start}-${end - 1}`,
    })
    expect(status).toBe(206)
    expect(headers['content-range']).toBe(`bytes ${start}-${end - 1}/${sizeBytes}`)
    expect(body.equals(bytes.subarray(start, end))).toBe(true)
  })

  test('the last 100 bytes, and all', async () => {
    const last = await bucket.get('large', { range: 'bytes=-100' })
    expect(last.body.equals(bytes.subarray(-100))).toBe(true)
    const all = await bucket.get('large')
    expect(all.status).toBe(200)
    expect(all.body.equals(bytes)).toBe(true)
  })
})

describe('conditions', () => {
  const etag = `"${md5Hex(TEXT)}"`
  const past = 'Sat, 01 Jan 2000 00:00:00 GMT'
  const future = 'Fri, 01 Jan 2100 00:00:00 GMT'

  test.each([
    [{ 'if-match': etag }, 200],
    [{ 'if-match': md5Hex(TEXT) }, 200],
    [{ 'if-match': '*' }, 200],
    [{ 'if-match': `"other", ${etag}` }, 200],
    [{ 'if-match': '"other"' }, 412],
    [{ 'if-match': `W/${etag}` }, 412],
    [{ 'if-none-match': '"other"' }, 200],
    [{ 'if-none-match': etag }, 304],
    [{ 'if-none-match': `W/${etag}` }, 304],
    [{ 'if-none-match': '*' }, 304],
    [{ 'if-none-match': `"other",${etag}` }, 304],
    [{ 'if-modified-since': past }, 200],
    [{ 'if-modified-since': future }, 304],
    [{ 'if-modified-since': 'nonsense' }, 200],
    [{ 'if-unmodified-since': past }, 412],
    [{ 'if-unmodified-since': future }, 200],
    [{ 'if-unmodified-since': 'nonsense' }, 200],
    // An ETag goes before a time.
    [{ 'if-match': etag, 'if-unmodified-since': past }, 200],
    [{ 'if-match': '"other"', 'if-unmodified-since': future }, 412],
    [{ 'if-none-match': '"other"', 'if-modified-since': future }, 200],
    [{ 'if-none-match': etag, 'if-modified-since': past }, 304],
    // What must match goes before what must not.
    [{ 'if-match': '"other"', 'if-none-match': etag }, 412],
    [{ 'if-match': etag, 'if-none-match': etag }, 304],
    [{ 'if-unmodified-since': past, 'if-none-match': etag }, 412],
  ])('%j is %d', async (headers, status) => {
    const get = await bucket.get('ten', headers)
    expect(get.status).toBe(status)
    expect(get.text === '').toBe(status === 304)
    if (status === 200) expect(get.text).toBe(TEXT)
    if (status === 412) expect(get.code).toBe('PreconditionFailed')
    if (status === 304) {
      expect(get.headers).toMatchObject({ etag })
      expect(get.headers['last-modified']).toBeDefined()
      expect(get.headers['content-length']).toBeUndefined()
    }
    expect(await bucket.head('ten', headers)).toMatchObject({ status, text: '' })
  })

  test('the second in which it was written counts as not modified since', async () => {
    const { headers } = await bucket.head('ten')
    const { 'last-modified': modified = '' } = headers
    expect(await bucket.get('ten', { 'if-modified-since': modified })).toMatchObject({
      status: 304,
    })
    expect(await bucket.get('ten', { 'if-unmodified-since': modified })).toMatchObject({
      status: 200,
    })
  })

  test('go before a range', async () => {
    const range = 'bytes=99-'
    expect(await bucket.get('ten', { range, 'if-none-match': etag })).toMatchObject({ status: 304 })
    expect(await bucket.get('ten', { range, 'if-match': '"other"' })).toMatchObject({ status: 412 })
    expect(await bucket.get('ten', { range, 'if-match': etag })).toMatchObject({ status: 416 })
    const inside = { range: 'bytes=0-0', 'if-match': etag }
    expect(await bucket.get('ten', inside)).toMatchObject({ status: 206 })
  })

  test('do not matter for what is not there', async () => {
    for (const headers of [{ 'if-match': '*' }, { 'if-none-match': '*' }]) {
      expect(await bucket.get('nothing', headers)).toMatchObject({ code: 'NoSuchKey' })
    }
  })
})

describe('while an object is written anew again and again', () => {
  test.each([10, 2 * MIB])('%d bytes are always read as one of what was written', async (size) => {
    const bodies = Array.from({ length: 4 }, (_, at) => Buffer.alloc(size, `${at}`))
    await bucket.put('busy', bodies[0])
    let isWriting = true
    const write = async (): Promise<void> => {
      for (let round = 0; round < 3; round++) {
        for (const body of bodies) await bucket.put('busy', body)
      }
    }
    const read = async (): Promise<void> => {
      while (isWriting) {
        const { body, headers, status } = await bucket.get('busy')
        expect(status).toBe(200)
        expect(headers['etag']).toBe(`"${md5Hex(body)}"`)
        expect(body.length).toBe(size)
      }
    }
    const reading = Array.from({ length: 3 }, read)
    await write()
    isWriting = false
    await Promise.all(reading)
  })
})
