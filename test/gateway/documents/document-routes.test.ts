import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseErasureScheme } from '../../../src/base/erasure-scheme.ts'
import { codedBytesOf, fileShardsOf } from '../../../src/gateway/documents/coded-size.ts'
import { countPuts, DocumentsDoor } from './documents-door.ts'

const FOUR_AND_TWO = parseErasureScheme('4+2')
const ARTICLE = {
  like_count: 1500,
  view_count: 50_000,
  title: 'On hay',
  content: 'Hay is grass that was dried. '.repeat(40),
  size: { width: 3, height: 4 },
}

let door: DocumentsDoor

beforeEach(async () => {
  door = await DocumentsDoor.open()
})

afterEach(async () => {
  await door[Symbol.asyncDispose]()
})

/** What S3 would show. */
async function bytesOf(key: string): Promise<Buffer> {
  const version = await door.version(key)
  const files = (version?.parts ?? []).map(({ fileId }) => door.parts.client.get(fileId))
  const bytes = Buffer.concat((await Promise.all(files)).map(({ data }) => data))
  expect(version?.sizeBytes).toBe(bytes.length)
  return bytes
}

describe('a write', () => {
  test('with replication is in three copies on three servers', async () => {
    const { json, status } = await door.write('k', ARTICLE)
    expect(status).toBe(200)
    expect(json).toMatchObject({ status: 'ok', key: 'k', strategy: 'replication', partial: false })
    const { latency_ms, nodes_written } = json as { nodes_written: string[]; latency_ms: number }
    expect(new Set(nodes_written).size).toBe(3)
    expect(typeof latency_ms).toBe('number')
    const [needle] = door.cluster.liveNeedles().keys()
    const holders = [...door.cluster.servers.values()].filter((server) => {
      return server.needles.has(needle ?? '')
    })
    expect(holders.map(({ url }) => url).sort()).toEqual([...nodes_written].sort())
    expect((await door.read('k')).json).toEqual(ARTICLE)
  })

  test('with ec is in six shards', async () => {
    const puts = countPuts(door)
    const { json, status } = await door.write('k', ARTICLE, { strategy: 'ec' })
    expect(status).toBe(200)
    expect(json).toMatchObject({ strategy: 'ec', chunks_written: 6, total_chunks: 6 })
    expect(puts).toEqual({ coded: 7, copied: 0 })
    expect((await door.read('k')).json).toEqual(ARTICLE)
    expect(await door.intents()).toBe(0)
  })

  test('with ec of more than one stripe counts the shards of all', async () => {
    const large = { text: 'x'.repeat(10_000_000) }
    const { json } = await door.write('k', large, { strategy: 'ec' })
    const count = fileShardsOf(JSON.stringify(large).length, FOUR_AND_TWO)
    expect(json).toMatchObject({ chunks_written: count, total_chunks: count })
    const fileId = (await door.version('k'))?.parts[0]?.fileId ?? ''
    const shards = await door.parts.client.shardsOf(fileId)
    expect([shards?.fileIds.length, count]).toEqual([count, expect.toSatisfy((n) => n >= 12)])
    expect((await door.read('k')).json).toEqual(large)
  })

  test('with field_hybrid has hot fields in copies and the others in shards', async () => {
    const puts = countPuts(door)
    const { json, status } = await door.write('k', ARTICLE, { strategy: 'field_hybrid' })
    expect(status).toBe(200)
    expect(json).toMatchObject({
      strategy: 'field_hybrid',
      operation_type: 'Cold Update',
      is_pure_hot_update: false,
      hot_nodes_written: 3,
      cold_chunks_written: 6,
      partial: false,
    })
    expect(puts).toEqual({ coded: 7, copied: 1 })
    expect((await door.read('k')).json).toEqual(ARTICLE)
    const version = await door.version('k')
    const cold = await door.parts.client.get(version?.parts[1]?.fileId ?? '')
    const hot = await door.parts.client.get(version?.parts[0]?.fileId ?? '')
    expect(hot.data.toString()).toBe('{"like_count":1500,"view_count":50000,')
    expect(cold.data.toString().startsWith('"content":"Hay')).toBe(true)
    const sha256 = createHash('sha256').update(cold.data).digest('hex')
    expect(version?.document).toEqual({ strategy: 'field_hybrid', coldSha256: sha256 })
    expect(await door.intents()).toBe(0)
  })

  test.each(['replication', 'ec', 'field_hybrid'])(
    'with %s leaves what S3 shows as the same value, with its sums',
    async (strategy) => {
      await door.write('k', ARTICLE, { strategy })
      const bytes = await bytesOf('k')
      expect(JSON.parse(bytes.toString())).toEqual(ARTICLE)
      const version = await door.version('k')
      const value = createHash('sha256').update(bytes).digest('base64')
      expect(version?.etag).toBe(createHash('md5').update(bytes).digest('hex'))
      expect(version?.checksum).toEqual({ algorithm: 'SHA256', type: 'FULL_OBJECT', value })
      expect(version?.contentType).toBe('application/json')
    },
  )

  test.each(['replication', 'ec'])('with %s keeps the text as it was sent', async (strategy) => {
    const text = ' {"b":1.0,\n"a":12345678901234567890}\t'
    await door.write('k', text, { strategy })
    const answer = await door.read('k')
    expect(answer.text).toBe(text)
    expect(answer.headers['content-type']).toBe('application/json')
  })

  test('with field_hybrid keeps numbers as they were written', async () => {
    const text = '{"z":12345678901234567890.10,"like_count":9007199254740993,"a":-0}'
    await door.write('k', text, { strategy: 'field_hybrid' })
    expect((await door.read('k')).text).toBe(
      '{"like_count":9007199254740993,"a":-0,"z":12345678901234567890.10}',
    )
  })

  test.each([
    ['{}', '{}', 1],
    ['{"like_count":1}', '{"like_count":1}', 1],
    ['{"a":1}', '{"a":1}', 2],
    ['{"a":1,"like_count":2,"a":3}', '{"like_count":2,"a":3}', 2],
    ['{"__proto__":{"x":1},"status_code":2}', '{"status_code":2,"__proto__":{"x":1}}', 2],
    ['{"\\u006cike_count":1,"":2}', '{"like_count":1,"":2}', 2],
  ])('with field_hybrid of %s is read as %s', async (sent, read, parts) => {
    expect((await door.write('k', sent, { strategy: 'field_hybrid' })).status).toBe(200)
    expect((await door.read('k')).text).toBe(read)
    expect((await door.version('k'))?.parts).toHaveLength(parts)
  })

  test('has the hot fields that it was told', async () => {
    const at = await door.addGateway({ hotFields: ['score', 'a"b'] })
    const body = { score: 1, 'a"b': 2, like_count: 3 }
    await door.write('k', body, { strategy: 'field_hybrid', at })
    const hot = (await door.version('k'))?.parts[0]?.fileId ?? ''
    const { data } = await door.parts.client.get(hot)
    expect(data.toString()).toBe('{"a\\"b":2,"score":1,')
    expect((await door.read('k')).json).toEqual(body)
  })

  test.each([
    ['replication', 'ec'],
    ['ec', 'field_hybrid'],
    ['field_hybrid', 'replication'],
    ['replication', 'field_hybrid'],
    ['field_hybrid', 'ec'],
  ])('may go from %s to %s, and leaves nothing of the former', async (before, after) => {
    await door.write('k', { ...ARTICLE, title: 'before' }, { strategy: before })
    const needles = [...door.cluster.liveNeedles().keys()]
    const { json } = await door.write('k', ARTICLE, { strategy: after })
    expect(json).toMatchObject({ strategy: after })
    expect((await door.read('k')).json).toEqual(ARTICLE)
    const old = await door.names.store.dropped()
    expect(old.length).toBeGreaterThan(0)
    const version = await door.version('k')
    for (const { fileId } of version?.parts ?? []) expect(old).not.toContain(fileId)
    expect(needles.length).toBeGreaterThan(0)
  })

  test('takes keys of all kinds, percent-encoded or not', async () => {
    const keys = ['a/b', 'a//b', 'ü %41?#&=+', '.', 'a/../b', 'a%2Fb', '/', 'x'.repeat(1024)]
    for (const [at, key] of keys.entries()) {
      expect((await door.write(key, { at })).json).toMatchObject({ key })
    }
    for (const [at, key] of keys.entries()) {
      expect((await door.read(key)).json).toEqual({ at })
    }
    expect((await door.ask('GET', '/read/a/b')).json).toEqual({ at: 0 })
    expect((await door.ask('GET', '/read/a//b')).json).toEqual({ at: 1 })
  })

  test('takes a body whose length is not announced', async () => {
    const headers = { 'content-type': 'application/json; charset=utf-8' }
    const sent = { headers, body: JSON.stringify(ARTICLE), isChunked: true }
    expect((await door.ask('POST', '/write?key=k', sent)).status).toBe(200)
    expect((await door.read('k')).json).toEqual(ARTICLE)
  })
})

describe('the bytes and shards of an erasure-coded file', () => {
  test.each([20, 256, 302, 1000, 100_000, 5_000_000, 10_000_000])('of %d bytes', async (size) => {
    const data = Buffer.alloc(size, 'x')
    const options = { collection: 'documents-coded', policy: 'ec:4+2' }
    const { fileId } = await door.parts.client.put(data, options)
    const needles = [...door.cluster.liveNeedles().values()]
    const shards = needles.filter(({ metadata }) => metadata.isChunkManifest !== true)
    const bytes = shards.reduce((sum, needle) => sum + needle.data.length, 0)
    expect(codedBytesOf(size, FOUR_AND_TWO)).toBe(bytes)
    const found = await door.parts.client.shardsOf(fileId)
    expect(found?.fileIds.length).toBe(shards.length)
    const count = fileShardsOf(size, FOUR_AND_TWO)
    expect(size >= 256 * 4 ? shards.length : 6).toBe(count)
  })
})

describe('a write that is refused', () => {
  const JSON_TYPE = { 'content-type': 'application/json' }

  test.each([
    ['/write', 422, 'key'],
    ['/write?key=', 422, 'key'],
    ['/write?key=a&key=b', 422, 'key'],
    [`/write?key=${'x'.repeat(1025)}`, 422, '1024'],
    ['/write?key=a%00b', 422, 'NUL'],
    ['/write?key=k&strategy=both', 422, 'strategy'],
    ['/write?key=k&strategy=', 422, 'strategy'],
    ['/write?key=k&strategy=ec&strategy=ec', 422, 'strategy'],
    ['/write?key=k&strategy=ec&hot_only=true', 422, 'hot'],
    ['/write?key=k&hot_only=perhaps', 422, 'hot_only'],
    ['/write?key=k&strategy=field_hybrid&hot_only=true', 404, "Key 'k' not found"],
  ])('%s: %d', async (path, status, detail) => {
    const answer = await door.ask('POST', path, { body: '{"like_count":1}', headers: JSON_TYPE })
    expect(answer.status).toBe(status)
    expect((answer.json as { detail: string }).detail).toContain(detail)
    await expectNothing()
  })

  test.each([
    [{}],
    [{ 'content-type': 'text/plain' }],
    [{ 'content-type': 'application/jsonx' }],
    [{ 'content-type': 'multipart/form-data; boundary=x' }],
    [{ 'content-type': 'application/json', 'content-encoding': 'gzip' }],
  ])('for the headers %j: 415', async (headers) => {
    const answer = await door.ask('POST', '/write?key=k', { body: '{"a":1}', headers })
    expect(answer.status).toBe(415)
    expect(answer.json).toMatchObject({ code: 'REQUEST_INVALID' })
    await expectNothing()
  })

  test.each(['', '[1]', '"a"', '{"a":1', '{"a":1}}', '{a:1}', 'This is not a JSON object'])(
    'for the body %j: 400',
    async (body) => {
      for (const strategy of ['replication', 'ec', 'field_hybrid']) {
        const answer = await door.write('k', body, { strategy })
        expect(answer.status).toBe(400)
        expect(answer.json).toMatchObject({ code: 'REQUEST_INVALID' })
      }
      await expectNothing()
    },
  )

  test('for a body that is no UTF-8: 400', async () => {
    const body = Buffer.from('{"a":"\xff"}', 'latin1')
    const answer = await door.ask('POST', '/write?key=k', { body, headers: JSON_TYPE })
    expect(answer.status).toBe(400)
    await expectNothing()
  })

  test.each([true, false])('for a body above the limit, chunked %s: 413', async (isChunked) => {
    const at = await door.addGateway({ documentBytesMax: 1000 })
    const text = (bytes: number) => `{"a":"${'x'.repeat(bytes - 8)}"}`
    const send = (body: string) => {
      return door.ask('POST', '/write?key=k', { body, headers: JSON_TYPE, isChunked }, at)
    }
    const answer = await send(text(1001))
    expect(answer.status).toBe(413)
    expect(answer.json).toMatchObject({ code: 'BODY_TOO_LARGE' })
    await expectNothing()
    expect((await send(text(1000))).status).toBe(200)
  })

  test('for want of memory: 429, and again when others have ended', async () => {
    const mib = 1024 * 1024
    const at = await door.addGateway({ documentBytesMax: mib, heldBytesMax: 0 })
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    let putCount = 0
    let onThree = () => {}
    const three = new Promise<void>((resolve) => {
      onThree = resolve
    })
    const client = door.gateways[at]?.parts.client ?? door.parts.client
    const put = client.put.bind(client)
    Object.assign(client, {
      put: async (...asked: Parameters<typeof put>) => {
        putCount++
        if (putCount === 3) onThree()
        await held
        return await put(...asked)
      },
    })
    const body = { text: 'x'.repeat(mib - 100) }
    const under = [1, 2, 3].map((n) => door.write(`k${n}`, body, { at }))
    await three
    const refused = await door.write('k4', body, { at })
    expect(refused.status).toBe(429)
    expect(refused.json).toMatchObject({ code: 'OVERLOADED' })
    release()
    expect((await Promise.all(under)).map(({ status }) => status)).toEqual([200, 200, 200])
    expect((await door.write('k4', body, { at })).status).toBe(200)
  })

  async function expectNothing(): Promise<void> {
    expect(door.cluster.liveNeedles().size).toBe(0)
    expect(await door.version('k')).toBeUndefined()
    expect(await door.intents()).toBe(0)
  }
})

describe('a delete', () => {
  test.each([
    ['replication', { hot_nodes_deleted: 3 }],
    ['ec', { cold_chunks_deleted: 6 }],
    ['field_hybrid', { hot_nodes_deleted: 3, cold_chunks_deleted: 6 }],
  ])('of %s says what went', async (strategy, figures) => {
    await door.write('a/k', ARTICLE, { strategy })
    const answer = await door.delete('a/k')
    expect([answer.status, answer.json]).toEqual([
      200,
      { status: 'ok', key: 'a/k', strategy, ...figures },
    ])
    expect((await door.read('a/k')).status).toBe(404)
    const again = await door.delete('a/k')
    expect(again.status).toBe(404)
    expect(again.json).toEqual({ detail: "Key 'a/k' not found", code: 'OBJECT_NOT_FOUND' })
  })

  test('of one document by many is done by one', async () => {
    await door.write('k', ARTICLE)
    const answers = await Promise.all(Array.from({ length: 8 }, () => door.delete('k')))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(404)])
  })
})

describe('a read', () => {
  test('of nothing is answered with 404', async () => {
    const answer = await door.read('no such')
    expect(answer.status).toBe(404)
    expect(answer.json).toEqual({ detail: "Key 'no such' not found", code: 'OBJECT_NOT_FOUND' })
    expect((await door.ask('GET', '/read/')).status).toBe(404)
  })

  test.each(['ec', 'field_hybrid'])('of %s survives the loss of two servers', async (strategy) => {
    await door.write('k', ARTICLE, { strategy })
    const urls = [...door.cluster.servers.keys()]
    for (let first = 0; first < urls.length; first++) {
      door.cluster.setDown([urls[first] ?? '', urls[(first + 1) % 6] ?? ''])
      const answer = await door.read('k')
      expect([first, answer.status, answer.json]).toEqual([first, 200, ARTICLE])
    }
  })

  test('of replication survives the loss of all copies but one', async () => {
    const { json } = await door.write('k', ARTICLE)
    const { nodes_written: urls } = json as { nodes_written: string[] }
    for (const left of urls) {
      door.cluster.setDown(urls.filter((url) => url !== left))
      expect((await door.read('k')).json).toEqual(ARTICLE)
    }
  })

  test('of what S3 wrote is answered if it is a document', async () => {
    const bucket = await door.parts.buckets.get('documents', never())
    const put = async (key: string, text: string) => {
      const { fileId } = await door.parts.client.put(text)
      await door.names.put(bucket, key, { fileIds: [fileId], sizeBytes: text.length })
    }
    await put('good', ' {"a":1} ')
    await put('bad', 'hello')
    expect((await door.read('good')).text).toBe(' {"a":1} ')
    const answer = await door.read('bad')
    expect(answer.status).toBe(422)
    expect((answer.json as { detail: string }).detail).toContain("'bad' is no document")
    expect((await door.delete('bad')).json).toMatchObject({ strategy: 'replication' })
  })

  test.each(['replication', 'field_hybrid'])(
    'of %s whose files go while it is read gives what took its place',
    async (strategy) => {
      const at = await door.addGateway()
      await door.write('k', ARTICLE, { strategy })
      const next = { ...ARTICLE, like_count: 7, title: 'next' }
      const { client } = door.parts
      const get = client.get.bind(client)
      let isFirst = true
      Object.assign(client, {
        get: async (...asked: Parameters<typeof get>) => {
          if (isFirst) {
            isFirst = false
            const old = [...door.cluster.liveNeedles().keys()]
            await door.write('k', next, { strategy, at })
            for (const { needles } of door.cluster.servers.values()) {
              for (const id of old) needles.delete(id)
            }
          }
          return await get(...asked)
        },
      })
      const answer = await door.read('k')
      expect([answer.status, answer.json]).toEqual([200, next])
      await door.delete('k')
      for (const server of door.cluster.servers.values()) server.needles.clear()
      expect((await door.read('k')).status).toBe(404)
    },
  )

  test('of a document whose files are lost is our fault, not a 404', async () => {
    await door.write('k', ARTICLE)
    for (const server of door.cluster.servers.values()) server.needles.clear()
    const answer = await door.read('k')
    expect(answer.status).toBe(500)
    expect(answer.json).toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
  })

  test('of a large document is streamed, and answers HEAD with its length', async () => {
    const large = { text: 'x'.repeat(3_000_000), like_count: 1 }
    await door.write('k', large, { strategy: 'field_hybrid' })
    const answer = await door.read('k')
    expect(answer.json).toEqual(large)
    const head = await door.ask('HEAD', '/read/k')
    expect([head.status, head.headers['content-length']]).toEqual([200, String(answer.body.length)])
    expect(head.body.length).toBe(0)
  })
})

describe('what is told of the servers', () => {
  test('the gateway is healthy', async () => {
    const { json } = await door.ask('GET', '/health')
    expect(json).toMatchObject({ status: 'healthy', service: 'api_gateway' })
    expect((json as { hostname: string }).hostname).not.toBe('')
  })

  test('each server, healthy or not', async () => {
    const [first = ''] = door.cluster.servers.keys()
    door.cluster.setDown([first])
    const { json } = await door.ask('GET', '/node_status')
    const states = json as Record<string, string>
    expect(Object.keys(states)).toEqual([...door.cluster.servers.keys()])
    expect(states[first]).toBe('unhealthy')
    expect(Object.values(states).filter((state) => state === 'healthy')).toHaveLength(5)
  })

  test('what is stored, in copies and shards, and nothing once it is deleted', async () => {
    const usage = async () =>
      (await door.ask('GET', '/storage_usage')).json as Record<string, number>
    expect(await usage()).toMatchObject({ total_system_size: 0, documents: 0 })
    const body = { like_count: 1, text: 'x'.repeat(100_000) }
    const { length } = JSON.stringify(body)
    await door.write('a', body)
    expect((await usage())['total_system_size']).toBe(3 * length)
    await door.write('b', body, { strategy: 'ec' })
    expect((await usage())['total_system_size']).toBe(
      3 * length + codedBytesOf(length, FOUR_AND_TWO),
    )
    expect(await usage()).toMatchObject({ documents: 2, document_bytes: 2 * length })
    await door.delete('a')
    expect((await usage())['total_system_size']).toBe(codedBytesOf(length, FOUR_AND_TWO))
    await door.delete('b')
    await door.write('c', body, { strategy: 'field_hybrid' })
    const ratio = ((await usage())['total_system_size'] ?? 0) / length
    expect(ratio).toBeCloseTo(1.5, 2)
    await door.delete('c')
    expect(await usage()).toMatchObject({ total_system_size: 0, documents: 0, document_bytes: 0 })
  })
})

describe('a small cluster', () => {
  test.each([
    [1, 1],
    [2, 2],
    [3, 3],
    [5, 3],
  ])('of %d servers keeps %d copies, of all strategies', async (servers, copies) => {
    await using small = await DocumentsDoor.open({ servers })
    const written = await small.write('a', ARTICLE)
    expect((written.json as { nodes_written: string[] }).nodes_written).toHaveLength(copies)
    const coded = await small.write('b', ARTICLE, { strategy: 'ec' })
    expect(coded.json).toMatchObject({ chunks_written: 0, total_chunks: 0, partial: false })
    expect((coded.json as { nodes_written: string[] }).nodes_written).toHaveLength(copies)
    const hybrid = await small.write('c', ARTICLE, { strategy: 'field_hybrid' })
    expect(hybrid.json).toMatchObject({ hot_nodes_written: copies, cold_chunks_written: 0 })
    for (const key of ['a', 'b', 'c']) expect((await small.read(key)).json).toEqual(ARTICLE)
    const again = { ...ARTICLE, like_count: 2 }
    const update = await small.write('c', again, { strategy: 'field_hybrid' })
    expect(update.json).toMatchObject({ is_pure_hot_update: true })
    expect((await small.read('c')).json).toEqual(again)
  })
})

function never(): AbortSignal {
  return new AbortController().signal
}
