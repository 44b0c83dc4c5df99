import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Prng } from '../../support/prng.ts'
import { TestS3 } from '../../support/test-s3.ts'

const SEED = Number(process.env['SEED'] ?? 1)
const ARTICLE = {
  like_count: 1500,
  view_count: 50_000,
  inventory_count: 100,
  update_count: 25,
  content: 'This is article content with much text. '.repeat(10),
  specifications: { size: 'L', color: 'blue' },
}

const OBJECTS = { policy: 'replicated', spread: 'auto', maxFileBytes: 1_000_000 } as const

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open({
    volumeServers: 6,
    doors: {
      rest: { host: '127.0.0.1', port: 0, objects: OBJECTS, documents: {} },
    },
  })
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

async function ask(method: string, path: string, body?: unknown) {
  const url = `${s3.server.restUrl}${path}`
  const headers = { 'content-type': 'application/json' }
  const sent = body === undefined ? { method } : { method, headers, body: JSON.stringify(body) }
  const answer = await fetch(url, sent)
  return { status: answer.status, json: (await answer.json()) as Record<string, unknown> }
}

// The requests of the program that this API comes from, in its order.
describe('the founding requests', () => {
  test('replication', async () => {
    const written = await ask('POST', '/write?key=r&strategy=replication', { data: 'Hello' })
    expect(written.json['nodes_written']).toHaveLength(3)
    expect((await ask('GET', '/read/r')).json).toEqual({ data: 'Hello' })
    expect((await ask('DELETE', '/delete/r')).json).toMatchObject({ hot_nodes_deleted: 3 })
    expect((await ask('GET', '/read/r')).status).toBe(404)
  })

  test('ec', async () => {
    const written = await ask('POST', '/write?key=e&strategy=ec', { data: 'EC '.repeat(100) })
    expect(written.json).toMatchObject({ chunks_written: 6, total_chunks: 6 })
    expect((await ask('GET', '/read/e')).json).toEqual({ data: 'EC '.repeat(100) })
    expect((await ask('DELETE', '/delete/e')).json).toMatchObject({ cold_chunks_deleted: 6 })
  })

  test('field_hybrid', async () => {
    const path = '/write?key=h&strategy=field_hybrid'
    expect((await ask('POST', path, ARTICLE)).status).toBe(200)
    expect((await ask('GET', '/read/h')).json).toEqual(ARTICLE)
    const hot = { ...ARTICLE, like_count: 2000, view_count: 60_000 }
    const update = await ask('POST', `${path}&hot_only=True`, hot)
    expect(update.json).toMatchObject({ is_pure_hot_update: true, cold_chunks_written: 0 })
    expect((await ask('GET', '/read/h')).json).toEqual(hot)
    const mixed = { ...hot, like_count: 2500, content: 'another' }
    const changed = await ask('POST', path, mixed)
    expect(changed.json).toMatchObject({ is_pure_hot_update: false, cold_chunks_written: 6 })
    expect((await ask('GET', '/read/h')).json).toEqual(mixed)
    expect((await ask('DELETE', '/delete/h')).json).toMatchObject({
      hot_nodes_deleted: 3,
      cold_chunks_deleted: 6,
    })
  })

  test('six healthy servers, and nothing stored at once when all is deleted', async () => {
    const { json: nodes } = await ask('GET', '/node_status')
    expect(Object.values(nodes)).toEqual(Array(6).fill('healthy'))
    expect((await ask('GET', '/storage_usage')).json).toMatchObject({ total_system_size: 0 })
  })
})

describe('the bytes of ten documents with six small fields and one of 800 kB', () => {
  test.each([
    ['replication', 3],
    ['ec', 1.5],
    ['field_hybrid', 1.5],
  ])('with %s take %d times as many', async (strategy, factor) => {
    const body = { ...ARTICLE, status_code: 1, content: 'x'.repeat(800_000) }
    const keys = Array.from({ length: 10 }, (_, at) => `${strategy}-${at}`)
    for (const key of keys) await ask('POST', `/write?key=${key}&strategy=${strategy}`, body)
    const { json } = await ask('GET', '/storage_usage')
    const bytes = 10 * JSON.stringify(body).length
    expect(Number(json['total_system_size']) / bytes).toBeCloseTo(factor, 2)
    for (const key of keys) expect((await ask('DELETE', `/delete/${key}`)).status).toBe(200)
    const { json: after } = await ask('GET', '/storage_usage')
    expect(after).toMatchObject({ total_system_size: 0, documents: 0 })
  })
})

describe('S3 beside it', () => {
  test('reads what was written here, and writes what is read here', async () => {
    await ask('POST', '/write?key=shared/h&strategy=field_hybrid', ARTICLE)
    await ask('POST', '/write?key=shared/h&hot_only=true', { like_count: 7 })
    const { sdk } = s3.root
    const got = await sdk.send(new GetObjectCommand({ Bucket: 'documents', Key: 'shared/h' }))
    expect(got.ContentType).toBe('application/json')
    expect(JSON.parse((await got.Body?.transformToString()) ?? '')).toEqual({
      ...ARTICLE,
      like_count: 7,
    })
    const put = { Bucket: 'documents', Key: 'shared/s', Body: '{"from":"s3"}' }
    await sdk.send(new PutObjectCommand(put))
    expect((await ask('GET', '/read/shared/s')).json).toEqual({ from: 's3' })
    await sdk.send(new PutObjectCommand({ ...put, Body: 'no JSON' }))
    expect((await ask('GET', '/read/shared/s')).status).toBe(422)
  })
})

// Goal: over HTTP, on real volumes, a reader sees one write of a document, never parts of two.
// Method: full and hot-only writers, each write with one generation in hot and cold fields; readers
// compare. Replay: SEED=17 npx vitest run <this file>.
test(`readers see old or new while writers write (seed ${SEED})`, async () => {
  const prng = new Prng(SEED)
  let generation = 0
  const next = () => {
    generation++
    return { like_count: generation, generation, text: `${generation}:`.repeat(prng.below(9000)) }
  }
  const write = async () => {
    const strategy = ['field_hybrid', 'ec', 'replication'][prng.below(3)] ?? ''
    const { status } = await ask('POST', `/write?key=busy&strategy=${strategy}`, next())
    expect(status).toBe(200)
  }
  await write()
  let isWriting = true
  const writers = [1, 2, 3].map(async () => {
    for (let turn = 0; turn < 20; turn++) await write()
  })
  const readers = [1, 2, 3].map(async () => {
    while (isWriting) {
      const { json, status } = await ask('GET', '/read/busy')
      expect([status, json['like_count']]).toEqual([200, json['generation']])
      expect(String(json['text']).split(':').slice(0, -1)).toSatisfy((texts: string[]) => {
        return texts.every((text) => text === String(json['generation']))
      })
    }
  })
  await Promise.all(writers).finally(() => {
    isWriting = false
  })
  await Promise.all(readers)
})
