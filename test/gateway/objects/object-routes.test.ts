import { createHash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/base/limits.ts'
import { Prng } from '../../support/prng.ts'
import { never } from '../../support/test-namespace.ts'
import { answerTo, form, MAX_FILE_BYTES, ObjectsDoor } from './objects-door.ts'

let door: ObjectsDoor
const prng = new Prng(5)

beforeAll(async () => {
  door = await ObjectsDoor.open()
})

afterAll(async () => {
  await door[Symbol.asyncDispose]()
})

function sha256(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex')
}

describe('POST /objects/{key}', () => {
  const sizes = [0, 1, 1000, LIMITS.objectsHeldBytes.value, LIMITS.objectsHeldBytes.value + 1]

  test.each(sizes)('stores %d bytes, which GET gives back', async (size) => {
    const data = prng.bytes(size)
    const stored = await door.upload(`size-${size}`, data)
    expect([stored.status, stored.json]).toEqual([200, { message: expect.any(String), size }])
    const read = await door.ask('GET', `/objects/size-${size}`)
    expect(read.status).toBe(200)
    expect(read.body.equals(data)).toBe(true)
    expect(read.headers['content-length']).toBe(String(size))
  })

  test.each([100, 1_500_000])('takes %d bytes whose length is not announced', async (size) => {
    const data = prng.bytes(size)
    const answer = await door.ask('POST', '/objects/chunked', {
      ...form([{ data }]),
      isChunked: true,
    })
    expect(answer.json).toMatchObject({ size })
    expect((await door.ask('GET', '/objects/chunked')).body.equals(data)).toBe(true)
  })

  test('waits to be asked for the body by who expects that', async () => {
    const { headers, body } = form([{ data: 'asked for' }])
    const length = { 'content-length': String(body.length), expect: '100-continue' }
    const { hostname, port } = new URL(door.url)
    const all = { ...headers, ...length }
    const sent = httpRequest({
      hostname,
      port,
      method: 'POST',
      path: '/objects/expected',
      headers: all,
    })
    let isAsked = false
    sent.on('continue', () => {
      isAsked = true
      sent.end(body)
    })
    sent.flushHeaders()
    expect((await answerTo(sent)).status).toBe(200)
    expect(isAsked).toBe(true)
  })

  test('refuses a body that is announced too large before it is sent', async () => {
    const { headers } = form([])
    const size = MAX_FILE_BYTES + LIMITS.objectFormBytesMax.value + 1
    const expecting = { 'content-length': String(size), expect: '100-continue' }
    const { hostname, port } = new URL(door.url)
    const all = { ...headers, ...expecting }
    const sent = httpRequest({
      hostname,
      port,
      method: 'POST',
      path: '/objects/huge',
      headers: all,
    })
    sent.on('continue', () => sent.destroy(new Error('it was asked for')))
    sent.flushHeaders()
    const answer = await answerTo(sent)
    expect([answer.status, answer.json]).toMatchObject([413, { code: 'BODY_TOO_LARGE' }])
    sent.destroy()
  })

  test.each([
    ['announced', false],
    ['not announced', true],
  ])(
    'stores a file as large as allowed; one byte more is 413 and leaves nothing (%s)',
    async (_, isChunked) => {
      const data = prng.bytes(MAX_FILE_BYTES + 1)
      const path = `/objects/limit-${isChunked}`
      const just = form([{ data: data.subarray(1) }])
      expect((await door.ask('POST', path, { ...just, isChunked })).json).toMatchObject({
        size: MAX_FILE_BYTES,
      })
      await door.ask('DELETE', path)
      const before = await door.leftNeedles()
      const answer = await door.ask('POST', path, { ...form([{ data }]), isChunked })
      expect(answer.status).toBe(413)
      expect(answer.json).toEqual({
        detail: expect.stringContaining(String(MAX_FILE_BYTES)),
        code: 'BODY_TOO_LARGE',
      })
      expect((await door.ask('GET', path)).status).toBe(404)
      expect(await door.leftNeedles()).toBe(before)
    },
  )

  test.each([
    ['another field', form([{ data: 'x', name: 'files' }]), 422],
    ['no field at all', form([]), 422],
    ['two files', form([{ data: 'x' }, { data: 'y' }]), 422],
    [
      'a form that ends too early',
      { ...form([{ data: 'x' }]), body: '--a-boundary\r\n\r\nx' },
      422,
    ],
    ['no form', { headers: { 'content-type': 'text/plain' }, body: 'x' }, 415],
    ['no type', { body: 'x' }, 415],
    ['no boundary', { headers: { 'content-type': 'multipart/form-data' }, body: 'x' }, 422],
    ['no body', {}, 415],
  ])('refuses %s and stores nothing', async (_what, raw, status) => {
    const before = await door.leftNeedles()
    const answer = await door.ask('POST', '/objects/refused', raw)
    expect([answer.status, answer.json]).toEqual([
      status,
      { detail: expect.any(String), code: 'REQUEST_INVALID' },
    ])
    expect((await door.ask('GET', '/objects/refused')).status).toBe(404)
    expect(await door.leftNeedles()).toBe(before)
  })

  test('refuses two large files and stores nothing', async () => {
    const before = await door.leftNeedles()
    const data = prng.bytes(1_300_000)
    const answer = await door.ask('POST', '/objects/two', form([{ data }, { data }]))
    expect(answer.status).toBe(422)
    expect((await door.ask('GET', '/objects/two')).status).toBe(404)
    expect(await door.leftNeedles()).toBe(before)
  })

  test('takes the file among other fields, with a name or without', async () => {
    const fields = [
      { name: 'before', data: 'b', fileName: undefined },
      { name: 'file', data: 'the file', fileName: undefined },
      { name: 'after', data: 'a', fileName: undefined },
    ]
    expect((await door.ask('POST', '/objects/fields', form(fields))).status).toBe(200)
    expect((await door.ask('GET', '/objects/fields')).text).toBe('the file')
  })

  test('leaves nothing when the client goes away', async () => {
    const before = await door.leftNeedles()
    const { headers, body } = form([{ data: prng.bytes(2_000_000) }])
    const { hostname, port } = new URL(door.url)
    const sent = httpRequest({ hostname, port, method: 'POST', path: '/objects/aborted', headers })
    sent.on('error', () => {})
    sent.write(body.subarray(0, 1_500_000))
    await expect.poll(() => door.cluster.count('put')).toBeGreaterThan(0)
    const failures = () => door.logged.filter((line) => line.includes('handler_failed'))
    sent.destroy()
    const failed = () => operationOf('upload').then(({ success_rate }) => success_rate)
    await expect.poll(failed).toBeLessThan(1)
    await expect.poll(() => door.leftNeedles()).toBe(before)
    expect((await door.ask('GET', '/objects/aborted')).status).toBe(404)
    expect(failures()).toEqual([])
  })

  test('keeps one whole version of many uploaded at once', async () => {
    const all = Array.from({ length: 20 }, (_, index) => `version ${index}`)
    const answers = await Promise.all(all.map((data) => door.upload('raced', data)))
    expect(answers.map(({ status }) => status)).toEqual(all.map(() => 200))
    expect(all).toContain((await door.ask('GET', '/objects/raced')).text)
    const info = (await door.ask('GET', '/objects/raced/info')).json
    expect(info).toMatchObject({ version: 20 })
  })

  test.each([
    ['?content_type=text/csv', undefined, 'text/csv'],
    ['', 'image/png', 'image/png'],
    ['?content_type=text/csv', 'image/png', 'text/csv'],
    ['', undefined, 'application/octet-stream'],
  ])('with %o and a field of type %s is served as %s', async (query, type, served) => {
    await door.upload(`typed${query}`, 'x', { type })
    expect((await door.ask('GET', '/objects/typed')).headers['content-type']).toBe(served)
  })

  test.each(['', '%0d%0ax:1', 'a'.repeat(256), '%c3%a9'])(
    'refuses content_type=%s',
    async (contentType) => {
      const answer = await door.upload(`bad-type?content_type=${contentType}`, 'x')
      expect([answer.status, answer.json]).toMatchObject([422, { code: 'REQUEST_INVALID' }])
    },
  )
})

async function operationOf(name: string): Promise<{ count: number; success_rate: number }> {
  const summary = (await door.ask('GET', '/metrics/summary')).json as {
    operations: Record<string, { count: number; success_rate: number }>
  }
  return summary.operations[name] ?? { count: 0, success_rate: 1 }
}

describe('keys', () => {
  test.each([
    ['a', 'a'],
    ['a/b/c.txt', 'a/b/c.txt'],
    ['a%2Fb%2Fd', 'a/b/d'],
    ['%E6%97%A5%E6%9C%AC.txt', '日本.txt'],
    ['na%C3%AFve', 'naïve'],
    ['with%20space+plus', 'with space+plus'],
    ['%25percent', '%percent'],
    ['a%3Fb%23c', 'a?b#c'],
    ['/slash', '/slash'],
    ['dots/../x', 'dots/../x'],
    ['info', 'info'],
    ['a%2Finfo', 'a/info'],
    ['a;b', 'a;b'],
    ['x'.repeat(1024), 'x'.repeat(1024)],
    ['%E6%97%A5'.repeat(341), '日'.repeat(341)],
  ])('%s is the key %s', async (path, key) => {
    expect((await door.upload(path, key)).status).toBe(200)
    expect((await door.ask('GET', `/objects/${path}`)).text).toBe(key)
    expect((await door.ask('GET', `/objects/${path}/info`)).json).toMatchObject({ key })
    const bucket = await door.parts.buckets.get('objects', never)
    expect(await door.names.find(bucket, key)).toBeDefined()
    expect((await door.ask('DELETE', `/objects/${path}`)).status).toBe(200)
    expect(await door.names.find(bucket, key)).toBeUndefined()
  })

  test('are the same however their path is encoded', async () => {
    await door.upload('en/coded', 'the file')
    await door.upload('en/info', 'the other')
    for (const path of [
      '/objects/%65n/coded',
      '/%6Fbjects/en%2Fcode%64',
      '/objects/en/coded?x=/info',
    ]) {
      expect((await door.ask('GET', path)).text).toBe('the file')
    }
    expect((await door.ask('GET', '/objects/en/%69nfo')).text).toBe('the other')
  })

  test('that come without percent-encoding are no HTTP', async () => {
    const path = Buffer.from('/objects/été').toString('latin1')
    const answer = await door.ask('GET', path)
    expect([answer.status, answer.json]).toMatchObject([400, { code: 'REQUEST_INVALID' }])
  })

  test.each([
    ['x'.repeat(1025), 400, 'NAME_INVALID'],
    ['%C3%A9'.repeat(513), 400, 'NAME_INVALID'],
    ['', 400, 'NAME_INVALID'],
    ['a%00b', 400, 'NAME_INVALID'],
    ['%ff', 400, undefined],
    ['%zz', 400, undefined],
    ['%', 400, undefined],
  ])('%s is none', async (path, status, code) => {
    for (const method of ['GET', 'DELETE', 'POST', 'HEAD']) {
      const raw = method === 'POST' ? form([{ data: 'x' }]) : {}
      const answer = await door.ask(method, `/objects/${path}`, raw)
      expect(answer.status).toBe(status)
      if (method === 'HEAD') continue
      expect(answer.json).toMatchObject({
        detail: expect.any(String),
        code: code ?? expect.any(String),
      })
    }
  })
})

describe('GET /objects/{key}', () => {
  const data = Buffer.from('0123456789')

  beforeAll(async () => {
    await door.upload('ten', data, { type: 'text/plain' })
  })

  test('gives everything a client may want to know', async () => {
    const { headers } = await door.ask('GET', '/objects/ten')
    const md5 = createHash('md5').update(data).digest('hex')
    expect(headers).toMatchObject({
      'content-type': 'text/plain',
      'content-length': '10',
      'content-disposition': 'attachment; filename="ten"',
      etag: `"${md5}"`,
      'last-modified': new Date(door.names.clock.nowMs()).toUTCString(),
      'accept-ranges': 'bytes',
    })
    const head = await door.ask('HEAD', '/objects/ten')
    expect([head.status, head.body.length]).toEqual([200, 0])
    expect({ ...head.headers, date: '' }).toEqual({ ...headers, date: '' })
  })

  test.each([
    ['bytes=0-0', '0', '0-0'],
    ['bytes=2-4', '234', '2-4'],
    ['bytes=9-', '9', '9-9'],
    ['bytes=0-99', '0123456789', '0-9'],
    ['bytes=-3', '789', '7-9'],
    ['bytes=-99', '0123456789', '0-9'],
  ])('with the range %s gives %s', async (range, text, shown) => {
    const answer = await door.ask('GET', '/objects/ten', { headers: { range } })
    expect([answer.status, answer.text]).toEqual([206, text])
    expect(answer.headers['content-range']).toBe(`bytes ${shown}/10`)
    expect(answer.headers['content-length']).toBe(String(text.length))
    const head = await door.ask('HEAD', '/objects/ten', { headers: { range } })
    expect([head.status, head.headers['content-length']]).toEqual([206, String(text.length)])
  })

  test.each(['bytes=10-', 'bytes=99-100', 'bytes=-0'])(
    'answers the range %s with 416',
    async (range) => {
      const answer = await door.ask('GET', '/objects/ten', { headers: { range } })
      expect([answer.status, answer.json]).toMatchObject([416, { code: 'RANGE_INVALID' }])
      expect(answer.headers['content-range']).toBe('bytes */10')
    },
  )

  test.each(['bytes=4-2', 'bytes=0-1,3-4', 'lines=1-2', 'bytes=-'])(
    'does not care for the range %s',
    async (range) => {
      const answer = await door.ask('GET', '/objects/ten', { headers: { range } })
      expect([answer.status, answer.text]).toEqual([200, '0123456789'])
    },
  )

  test('gives ranges of objects that are not held', async () => {
    const large = prng.bytes(2_500_000)
    await door.upload('large', large)
    expect((await door.ask('GET', '/objects/large')).body.equals(large)).toBe(true)
    for (const [start, end] of [
      [0, 2_500_000],
      [1, 2_499_999],
      [2_000_000, 2_000_001],
    ] as const) {
      const headers = { range: `bytes=${start}-${end - 1}` }
      const answer = await door.ask('GET', '/objects/large', { headers })
      expect(answer.status).toBe(206)
      expect(answer.body.equals(large.subarray(start, end))).toBe(true)
    }
  })

  test.each([
    ['if-none-match', (etag: string) => etag, 304],
    ['if-none-match', () => '*', 304],
    ['if-none-match', () => '"other"', 200],
    ['if-match', (etag: string) => etag, 200],
    ['if-match', () => '"other"', 412],
    ['if-modified-since', (_: string, modified: string) => modified, 304],
    ['if-modified-since', () => 'Mon, 01 Jan 2001 00:00:00 GMT', 200],
    ['if-unmodified-since', () => 'Mon, 01 Jan 2001 00:00:00 GMT', 412],
    ['if-none-match', () => '"open', 400],
  ])('is answered by %s', async (name, headerOf, status) => {
    const { etag = '', 'last-modified': modified = '' } = (await door.ask('HEAD', '/objects/ten'))
      .headers
    const answer = await door.ask('GET', '/objects/ten', {
      headers: { [name]: headerOf(etag, modified) },
    })
    expect(answer.status).toBe(status)
    if (status === 304) expect([answer.body.length, answer.headers.etag]).toEqual([0, etag])
  })

  test('gives the rest to who has the beginning of it, and all to others', async () => {
    const { etag = '' } = (await door.ask('HEAD', '/objects/ten')).headers
    const rest = (before: string) =>
      door.ask('GET', '/objects/ten', { headers: { range: 'bytes=8-', 'if-range': before } })
    expect((await rest(etag)).text).toBe('89')
    expect((await rest('"other"')).text).toBe('0123456789')
  })

  test.each([
    ['a/report.pdf', 'attachment; filename="report.pdf"'],
    ['a%20b.txt', 'attachment; filename="a b.txt"'],
    ['na%C3%AFve.txt', `attachment; filename="na?ve.txt"; filename*=UTF-8''na%C3%AFve.txt`],
    ['%E6%97%A5.txt', `attachment; filename="?.txt"; filename*=UTF-8''%E6%97%A5.txt`],
    ['a%22b', 'attachment; filename="a\\"b"'],
    ['a%0ab', `attachment; filename="a?b"; filename*=UTF-8''a%0Ab`],
    ['folder/', 'attachment; filename="folder"'],
    ['/', 'attachment; filename="object"'],
  ])('saves %s as %s', async (path, disposition) => {
    await door.upload(path, 'x')
    const { headers } = await door.ask('GET', `/objects/${path}`)
    expect(headers['content-disposition']).toBe(disposition)
  })

  test.each(['GET', 'DELETE'])(
    '%s of what is not there is 404 in the words of this API',
    async (method) => {
      const answer = await door.ask(method, '/objects/nothing')
      expect([answer.status, answer.json]).toEqual([
        404,
        { detail: 'Object not found', code: 'OBJECT_NOT_FOUND' },
      ])
    },
  )

  test('of an object whose bytes are out of reach is an error, not half an answer', async () => {
    await door.upload('unreachable', prng.bytes(1_200_000))
    door.cluster.fault = (operation) =>
      operation === 'read' ? { when: 'before', code: 'NEEDLE_CORRUPT' } : undefined
    const answer = await door.ask('GET', '/objects/unreachable')
    door.cluster.fault = () => undefined
    expect([answer.status, answer.json]).toMatchObject([500, { code: 'NEEDLE_CORRUPT' }])
  })
})

describe('DELETE /objects/{key}', () => {
  test('takes the object away, once', async () => {
    await door.upload('gone', 'x')
    const first = await door.ask('DELETE', '/objects/gone')
    expect([first.status, first.json]).toEqual([200, { message: expect.any(String) }])
    expect((await door.ask('GET', '/objects/gone')).status).toBe(404)
    expect((await door.ask('GET', '/objects/gone/info')).status).toBe(404)
    expect((await door.ask('DELETE', '/objects/gone')).status).toBe(404)
  })
})

describe('GET /objects/{key}/info', () => {
  test('tells of the writes of a key', async () => {
    const { clock } = door.names
    const firstMs = clock.nowMs()
    await door.upload('a/told', 'first', { type: 'text/plain' })
    await clock.advance(5000)
    await door.upload('a/told?content_type=text/html', 'second')
    const answer = await door.ask('GET', '/objects/a/told/info')
    expect([answer.status, answer.json]).toEqual([
      200,
      {
        key: 'a/told',
        size: 6,
        content_type: 'text/html',
        created_at: new Date(firstMs).toISOString(),
        updated_at: new Date(firstMs + 5000).toISOString(),
        version: 2,
        checksum: sha256('second'),
      },
    ])
    expect((await door.ask('HEAD', '/objects/a/told/info')).status).toBe(200)
  })

  test('an object that is named so is reached with its slash encoded', async () => {
    await door.upload('dir', 'the directory')
    await door.upload('dir/info', 'the file')
    expect((await door.ask('GET', '/objects/dir/info')).json).toMatchObject({ key: 'dir' })
    expect((await door.ask('GET', '/objects/dir%2Finfo')).text).toBe('the file')
    expect((await door.ask('GET', '/objects/dir%2Finfo/info')).json).toMatchObject({
      key: 'dir/info',
    })
    expect((await door.ask('DELETE', '/objects/dir/info')).status).toBe(200)
    expect((await door.ask('GET', '/objects/dir')).text).toBe('the directory')
  })

  test('reads an object that has no SHA-256, up to the size of an upload', async () => {
    const { client, namespace } = door.parts
    const bucket = await door.parts.buckets.get('objects', never)
    for (const [size, isRead] of [
      [100, true],
      [MAX_FILE_BYTES + 1, false],
    ] as const) {
      const data = prng.bytes(size)
      const { fileId } = await client.put(data)
      const version = {
        ...door.names.newVersion(),
        sizeBytes: size,
        parts: [{ fileId, sizeBytes: size }],
      }
      await namespace.putObject({ bucket, key: `s3-${size}`, version }, never)
      const checksum = isRead ? sha256(data) : null
      const info = (await door.ask('GET', `/objects/s3-${size}/info`)).json
      expect(info).toMatchObject({ size, checksum, content_type: 'application/octet-stream' })
    }
  })
})

describe('the description', () => {
  test('has every request, and the form of an upload', async () => {
    const answer = await door.ask('GET', '/openapi.json')
    const { paths } = answer.json as { paths: Record<string, Record<string, unknown>> }
    const methods = Object.entries(paths).map(([path, of]) => `${Object.keys(of).sort()} ${path}`)
    expect(methods.sort()).toEqual([
      'delete,get,head,post /objects/{key}',
      'get /cluster/health',
      'get /cluster/stats',
      'get /metrics/summary',
      'get /objects',
      'get,head /objects/{key}/info',
      'post /cluster/recovery/{node_id}',
      'post /metrics/clear',
      'post /metrics/export',
    ])
    const file = { type: 'string', format: 'binary' }
    const form = { schema: { required: ['file'], properties: { file } } }
    const requestBody = { content: { 'multipart/form-data': form } }
    expect(paths['/objects/{key}']?.['post']).toMatchObject({ requestBody })
  })
})
