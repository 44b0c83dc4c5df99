import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { openMasterHttp } from '../support/master-http.ts'

const FORM = { 'Content-Type': 'multipart/form-data; boundary=XX' }

function form(...parts: readonly string[]): string {
  return `${parts.map((part) => `--XX\r\n${part}\r\n`).join('')}--XX--\r\n`
}

const FILE_PART =
  'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n' +
  'Content-Type: text/css\r\n\r\nhello'

describe('/submit', () => {
  test('stores the file of a form: 201 with id, name, address, size and ETag', async () => {
    await using http = await openMasterHttp()
    const ask = { method: 'POST', headers: FORM, body: form(FILE_PART) }
    const reply = await http.ask('/submit?collection=photos&ttl=1d&replication=001&ts=77', ask)
    expect(reply.status).toBe(201)
    const [fid = ''] = http.volumes.stored.keys()
    expect(reply.json).toEqual({
      eTag: '0000abcd',
      fid,
      fileName: 'a.txt',
      fileUrl: expect.stringMatching(new RegExp(`^127\\.0\\.0\\.1:808[01]/${fid}$`)),
      size: 5,
    })
    expect(http.volumes.stored.get(fid)).toMatchObject({
      data: Buffer.from('hello'),
      request: {
        metadata: {
          name: 'a.txt',
          mime: 'text/css',
          lastModifiedS: 77,
          ttl: { count: 1, unit: 'day' },
        },
      },
    })
    expect(http.master.assigns).toMatchObject([{ collection: 'photos', count: 1 }])
  })

  test('stores a raw body, however it calls itself', async () => {
    await using http = await openMasterHttp()
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const reply = await http.ask('/submit', { method: 'POST', headers, body: 'a=1&count=9' })
    expect(reply.status).toBe(201)
    expect(reply.json).toMatchObject({ fileName: '', size: 11 })
    expect([...http.volumes.stored.values()][0]?.data.toString()).toBe('a=1&count=9')
  })

  test('streams a file of 2.5 MB, and tries a small one again elsewhere', async () => {
    await using http = await openMasterHttp()
    const text = 'x'.repeat(2_500_000)
    const body = form(FILE_PART.replace('hello', text))
    expect((await http.ask('/submit', { method: 'POST', headers: FORM, body })).status).toBe(201)
    expect([...http.volumes.stored.values()][0]).toMatchObject({ wasStreamed: true })
    expect([...http.volumes.stored.values()][0]?.data.toString()).toBe(text)
    http.volumes.failures.set(1, { error: new StoreError('VOLUME_FULL', 'full') })
    const small = { method: 'POST', headers: FORM, body: form(FILE_PART) }
    expect((await http.ask('/submit', small)).json).toHaveProperty(
      'fid',
      expect.stringMatching(/^2,/),
    )
  })

  test.each([
    ['no boundary', { 'Content-Type': 'multipart/form-data' }, form(FILE_PART), 400],
    ['a form of nothing', FORM, '', 400],
    ['no parts', FORM, '--XX--\r\n', 400],
    ['a form that is cut off', FORM, form(FILE_PART).slice(0, -8), 400],
    ['another boundary', FORM, form(FILE_PART).replaceAll('XX', 'YY'), 400],
    ['endless part headers', FORM, `--XX\r\nX: ${'x'.repeat(20_000)}`, 400],
    ['too much', FORM, form(FILE_PART.replace('hello', 'x'.repeat(3_000_001))), 413],
    ['too much before the file', FORM, form(`\r\n\r\n${'x'.repeat(1_100_000)}`, FILE_PART), 413],
  ])('%s is refused, and nothing is stored', async (_, headers, body, status) => {
    await using http = await openMasterHttp()
    const reply = await http.ask('/submit', { method: 'POST', headers, body })
    expect(reply.status).toBe(status)
    expect(reply.json).toEqual({ error: expect.any(String), code: expect.any(String) })
    expect(http.volumes.stored.size).toBe(0)
    expect(http.errors).toEqual([])
  })

  test.each(['count=0', 'replication=x', 'ttl=x', 'ts=x'])('?%s is 400', async (query) => {
    await using http = await openMasterHttp()
    const reply = await http.ask(`/submit?${query}`, { method: 'POST', body: 'x' })
    expect(reply.status).toBe(400)
    expect(http.master.assigns).toEqual([])
  })
})
