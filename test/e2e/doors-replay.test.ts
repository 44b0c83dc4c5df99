import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { DoorProcess } from '../support/door-processes.ts'
import {
  type FormFile,
  type HttpAnswer,
  type HttpCall,
  type HttpClient,
  jsonOf,
  runWithInput,
  viaCurl,
  viaFetch,
} from '../support/http-clients.ts'
import { toolMissing } from '../support/s3-tools.ts'
import { REPOSITORY } from '../support/source-files.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

// Goal: the requests of the founding systems of these APIs work as they are documented, with what
// their users have: curl, Node, and urllib of Python.

const SERVERS = 6
const OBJECT_BYTES_MAX = 2 ** 20
const DOCUMENT_BYTES_MAX = 2 ** 18
const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const JSON_TYPE = { 'content-type': 'application/json' }
const NODE = expect.stringMatching(/^127\.0\.0\.1:\d+$/)
const TEXT = expect.any(String)
const COUNT = expect.any(Number)

let owned: DisposeStack
let directory: string
let door: DoorProcess

beforeAll(async () => {
  await using opening = new DisposeStack()
  directory = opening.use(await openTempDirectory()).path
  const flags = [
    ...['--objects-max-size', `${OBJECT_BYTES_MAX}`],
    ...['--documents-max-size', `${DOCUMENT_BYTES_MAX}`],
    ...['--objects-metrics-file', join(directory, 'metrics.csv')],
  ]
  door = opening.use(await DoorProcess.ofServer(directory, { flags, volumeServers: SERVERS }))
  owned = opening.move()
})

afterAll(async () => {
  await owned?.[Symbol.asyncDispose]()
})

function fileOf(data: Buffer | string, more: Partial<FormFile> = {}): { form: FormFile } {
  return { form: { field: 'file', name: 'f.bin', type: 'application/octet-stream', data, ...more } }
}

function sha256(data: Buffer | string): string {
  return createHash('sha256').update(data).digest('hex')
}

/** Everything that is stored, as the program itself counts it. */
async function storedNow(): Promise<unknown> {
  const stats = jsonOf(await viaFetch(`${door.restUrl}/cluster/stats`)) as Record<string, unknown>
  const usage = jsonOf(await viaFetch(`${door.restUrl}/storage_usage`)) as Record<string, unknown>
  const { total_objects, total_size } = stats
  const { document_bytes, documents, total_system_size } = usage
  const { objects } = jsonOf(await viaFetch(`${door.restUrl}/objects`)) as { objects: string[] }
  return { total_objects, total_size, document_bytes, documents, total_system_size, objects }
}

interface Refusal {
  readonly title: string
  readonly path: string
  readonly call?: HttpCall
  readonly status: number
  readonly detail?: unknown
  readonly code: string
}

async function expectRefusal(ask: HttpClient, refusal: Refusal): Promise<void> {
  const before = await storedNow()
  const answer = await ask(door.restUrl + refusal.path, refusal.call)
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/)
  const { code, detail = TEXT, status } = refusal
  expect({ status: answer.status, body: jsonOf(answer) }).toEqual({
    status,
    body: { detail, code },
  })
  expect(await storedNow()).toEqual(before)
}

const OBJECT_404 = { status: 404, detail: 'Object not found', code: 'OBJECT_NOT_FOUND' } as const
const INVALID = { status: 422, code: 'REQUEST_INVALID' } as const

const OBJECT_REFUSALS: readonly Refusal[] = [
  { title: 'reading what is not there', path: '/objects/nope', ...OBJECT_404 },
  { title: 'facts about what is not there', path: '/objects/nope/info', ...OBJECT_404 },
  {
    title: 'deleting what is not there',
    path: '/objects/nope',
    call: { method: 'DELETE' },
    ...OBJECT_404,
  },
  {
    title: 'a file one byte too long',
    path: '/objects/big',
    call: fileOf(Buffer.alloc(OBJECT_BYTES_MAX + 1)),
    status: 413,
    code: 'BODY_TOO_LARGE',
  },
  {
    title: 'a file that is announced to be far too long',
    path: '/objects/big',
    call: fileOf(Buffer.alloc(8 * OBJECT_BYTES_MAX)),
    status: 413,
    code: 'BODY_TOO_LARGE',
  },
  {
    title: 'a body that is no form',
    path: '/objects/plain',
    call: { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'text' },
    status: 415,
    code: 'REQUEST_INVALID',
  },
  {
    title: 'a form without the field',
    path: '/objects/other',
    call: fileOf('text', { field: 'data' }),
    ...INVALID,
  },
  {
    title: 'a key too long',
    path: `/objects/${'k'.repeat(1025)}`,
    call: fileOf('x'),
    status: 400,
    code: 'NAME_INVALID',
  },
  { title: 'a key that is no UTF-8', path: '/objects/%ff', status: 400, code: 'REQUEST_INVALID' },
  { title: 'a limit of 0', path: '/objects?limit=0', ...INVALID },
  { title: 'a limit below 0', path: '/objects?limit=-1', ...INVALID },
  { title: 'a limit that is no number', path: '/objects?limit=many', ...INVALID },
  {
    title: 'a method that is none here',
    path: '/objects/k',
    call: { method: 'PUT', body: 'x' },
    status: 405,
    code: 'METHOD_NOT_ALLOWED',
  },
  { title: 'a path where nothing is', path: '/nothing', status: 404, code: 'ROUTE_NOT_FOUND' },
  {
    title: 'the recovery of an unknown server',
    path: '/cluster/recovery/nobody:1',
    call: { method: 'POST' },
    status: 404,
    code: 'NODE_NOT_FOUND',
  },
]

function writeCall(body: Buffer | string, headers: HttpCall['headers'] = JSON_TYPE): HttpCall {
  return { method: 'POST', headers, body }
}

const DOCUMENT_404 = {
  status: 404,
  detail: "Key 'nope' not found",
  code: 'OBJECT_NOT_FOUND',
} as const
const BAD_JSON = { status: 400, code: 'REQUEST_INVALID' } as const

const DOCUMENT_REFUSALS: readonly Refusal[] = [
  { title: 'reading what is not there', path: '/read/nope', ...DOCUMENT_404 },
  {
    title: 'deleting what is not there',
    path: '/delete/nope',
    call: { method: 'DELETE' },
    ...DOCUMENT_404,
  },
  {
    title: 'hot fields of what is not there',
    path: '/write?key=nope&hot_only=true',
    call: writeCall('{"like_count":1}'),
    ...DOCUMENT_404,
  },
  {
    title: 'a body that is called a form',
    path: '/write?key=k',
    call: writeCall('{"a":1}', { 'content-type': 'application/x-www-form-urlencoded' }),
    status: 415,
    code: 'REQUEST_INVALID',
  },
  {
    title: 'a body that is called text',
    path: '/write?key=k&strategy=ec',
    call: writeCall('{"a":1}', { 'content-type': 'text/plain' }),
    status: 415,
    code: 'REQUEST_INVALID',
  },
  { title: 'no key', path: '/write', call: writeCall('{"a":1}'), ...INVALID },
  { title: 'an empty key', path: '/write?key=', call: writeCall('{"a":1}'), ...INVALID },
  {
    title: 'a key too long',
    path: `/write?key=${'k'.repeat(1025)}`,
    call: writeCall('{"a":1}'),
    ...INVALID,
  },
  {
    title: 'an unknown strategy',
    path: '/write?key=k&strategy=raid',
    call: writeCall('{"a":1}'),
    ...INVALID,
  },
  {
    title: 'hot_only that is neither true nor false',
    path: '/write?key=k&hot_only=maybe',
    call: writeCall('{"a":1}'),
    ...INVALID,
  },
  {
    title: 'hot_only with another strategy',
    path: '/write?key=k&strategy=ec&hot_only=true',
    call: writeCall('{"a":1}'),
    ...INVALID,
  },
  ...['{"a":1', '{bad}', '', '[1,2]', '"text"', '{"a":1}}', '\ufeff{"a":\u0001}'].map((body) => ({
    title: `the body ${JSON.stringify(body)}`,
    path: '/write?key=k&strategy=field_hybrid',
    call: writeCall(body),
    ...BAD_JSON,
  })),
  {
    title: 'a body too long',
    path: '/write?key=k',
    call: writeCall(JSON.stringify({ a: 'x'.repeat(DOCUMENT_BYTES_MAX) })),
    status: 413,
    code: 'BODY_TOO_LARGE',
  },
]

const CLIENTS = [
  { name: 'curl', ask: viaCurl },
  { name: 'fetch', ask: viaFetch },
] as const

describe.each(CLIENTS)('objects, asked for with $name', ({ ask, name }) => {
  const at = (path: string): string => `${door.restUrl}${path}`

  test('are uploaded, read in whole and in parts, described, listed and deleted', async () => {
    const key = `${name}/photos/a b.txt`
    const path = `/objects/${name}/photos/a%20b.txt`
    const uploaded = await ask(at(path), fileOf('hello world', { type: 'text/plain' }))
    expect(uploaded.status).toBe(200)
    expect(jsonOf(uploaded)).toEqual({ message: TEXT, size: 11 })
    const read = await ask(at(path))
    expect({ status: read.status, body: read.body.toString() }).toEqual({
      status: 200,
      body: 'hello world',
    })
    expect(read.headers.get('content-type')).toBe('text/plain')
    expect(read.headers.get('content-length')).toBe('11')
    expect(read.headers.get('content-disposition')).toBe('attachment; filename="a b.txt"')
    const head = await ask(at(path), { method: 'HEAD' })
    expect([head.status, head.headers.get('content-length'), head.body.length]).toEqual([
      200,
      '11',
      0,
    ])
    const part = await ask(at(path), { headers: { range: 'bytes=6-8' } })
    expect([part.status, part.body.toString()]).toEqual([206, 'wor'])
    expect(part.headers.get('content-range')).toBe('bytes 6-8/11')
    const beyond = await ask(at(path), { headers: { range: 'bytes=11-' } })
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, 'bytes */11'])
    const first = jsonOf(await ask(at(`${path}/info`))) as Record<string, string>
    expect(first).toEqual({
      key,
      size: 11,
      content_type: 'text/plain',
      created_at: expect.stringMatching(ISO_TIME),
      updated_at: expect.stringMatching(ISO_TIME),
      version: 1,
      checksum: sha256('hello world'),
    })
    expect(first['updated_at']).toBe(first['created_at'])
    await ask(at(`${path}?content_type=text%2Fx-new`), fileOf('again', { type: 'text/plain' }))
    const second = jsonOf(await ask(at(`${path}/info`))) as Record<string, string>
    const changed = { size: 5, content_type: 'text/x-new', version: 2, checksum: sha256('again') }
    expect(second).toEqual({ ...first, ...changed, updated_at: expect.stringMatching(ISO_TIME) })
    expect(Date.parse(second['updated_at'] ?? '')).toBeGreaterThan(
      Date.parse(first['updated_at'] ?? ''),
    )
    const listed = await ask(at(`/objects?prefix=${name}%2Fphotos`))
    expect(jsonOf(listed)).toEqual({ objects: [key], count: 1 })
    const deleted = await ask(at(path), { method: 'DELETE' })
    expect([deleted.status, jsonOf(deleted)]).toEqual([200, { message: TEXT }])
    expect(jsonOf(await ask(at(`/objects?prefix=${name}`)))).toEqual({ objects: [], count: 0 })
    expect((await ask(at(path))).status).toBe(404)
  })

  test('may be of 0 bytes, of the largest size, and called as one likes', async () => {
    const cases = [
      { key: `${name}/empty`, data: Buffer.alloc(0) },
      { key: `${name}/largest`, data: Buffer.alloc(OBJECT_BYTES_MAX, name) },
      { key: `${name}/größe €.txt`, data: Buffer.from('ü') },
      { key: `${name}/a/../b//c?d#e%20`, data: Buffer.from('odd') },
    ]
    for (const { data, key } of cases) {
      const path = `/objects/${encodeURIComponent(key)}`
      expect(jsonOf(await ask(at(path), fileOf(data)))).toEqual({
        message: TEXT,
        size: data.length,
      })
      const read = await ask(at(path))
      expect([read.status, sha256(read.body)]).toEqual([200, sha256(data)])
    }
    const umlauts = await ask(at(`/objects/${encodeURIComponent(`${name}/größe €.txt`)}`))
    expect(umlauts.headers.get('content-disposition')).toBe(
      `attachment; filename="gr??e ?.txt"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%E2%82%AC.txt`,
    )
    for (const { key } of cases) {
      await ask(at(`/objects/${encodeURIComponent(key)}`), { method: 'DELETE' })
    }
  })

  test('are listed in pages', async () => {
    const keys = ['1', '2', '3', '4', '5'].map((digit) => `${name}/page/${digit}`)
    for (const key of keys) await ask(at(`/objects/${key}`), fileOf(key))
    const [first, , third, , last] = keys
    const page = async (query: string): Promise<unknown> =>
      jsonOf(await ask(at(`/objects?prefix=${name}/page/&${query}`)))
    expect(await page('')).toEqual({ objects: keys, count: 5 })
    expect(await page('limit=1')).toEqual({ objects: [first], count: 1, next: first })
    const next = await page(`limit=2&after=${first}`)
    expect(next).toEqual({ objects: keys.slice(1, 3), count: 2, next: third })
    expect(await page(`limit=2&after=${third}`)).toEqual({ objects: keys.slice(3), count: 2 })
    expect(await page(`after=${last}`)).toEqual({ objects: [], count: 0 })
    for (const key of keys) await ask(at(`/objects/${key}`), { method: 'DELETE' })
  })

  test.each(OBJECT_REFUSALS)('$title is $status $code, and nothing is stored', async (refusal) => {
    await expectRefusal(ask, refusal)
  })

  test('come with the state of the cluster and what requests took', async () => {
    await ask(at('/metrics/clear'), { method: 'POST' })
    await ask(at(`/objects/${name}/measured`), fileOf('12345'))
    await ask(at(`/objects/${name}/measured`))
    await ask(at('/objects/nope'))
    const stats = jsonOf(await ask(at('/cluster/stats'))) as Record<string, unknown>
    expect(stats).toMatchObject({
      total_nodes: SERVERS,
      nodes_by_region: { dc1: SERVERS },
      total_objects: 1,
      total_size: 5,
    })
    const nodes = Object.keys(stats['node_stats'] as object)
    expect(nodes).toEqual(Array.from({ length: SERVERS }, () => NODE))
    expect(jsonOf(await ask(at('/cluster/health')))).toEqual({
      status: 'healthy',
      failed_nodes: [],
      message: TEXT,
    })
    const recovered = await ask(at(`/cluster/recovery/${nodes[0]}`), { method: 'POST' })
    expect([recovered.status, jsonOf(recovered)]).toEqual([
      200,
      {
        message: TEXT,
        node_id: nodes[0],
        objects: 0,
        shards: 0,
        replicas: 0,
        recovery_time_ms: COUNT,
      },
    ])
    const summary = jsonOf(await ask(at('/metrics/summary'))) as {
      operations: Record<string, unknown>
      recoveries: unknown
    }
    const latency_ms = {
      min: COUNT,
      mean: COUNT,
      median: COUNT,
      p95: COUNT,
      p99: COUNT,
      max: COUNT,
    }
    const measured = { latency_ms, bytes_per_second: COUNT }
    expect(summary.operations).toMatchObject({
      upload: { count: 1, success_rate: 1, bytes: 5, ...measured },
      download: { count: 2, success_rate: 0.5, bytes: 5, ...measured },
    })
    expect(summary.recoveries).toMatchObject({ count: 1, failed: 0 })
    const exported = jsonOf(await ask(at('/metrics/export'), { method: 'POST' }))
    const files = {
      file: join(directory, 'metrics.csv'),
      json_file: join(directory, 'metrics.json'),
    }
    expect(exported).toEqual({ message: TEXT, ...files })
    expect(await readFile(files.file, 'utf8')).toMatch(/^operation,count,.*\nupload,1,1,/)
    const kept = JSON.parse(await readFile(files.json_file, 'utf8'))
    expect(kept).toMatchObject({ operations: { upload: { count: 1 } } })
    expect(jsonOf(await ask(at('/metrics/clear'), { method: 'POST' }))).toEqual({ message: TEXT })
    await ask(at(`/objects/${name}/measured`), { method: 'DELETE' })
  })
})

/** Long enough for every data shard to have bytes. */
const COLD = { title: 'Größe €', tags: ['a', 'b'], body: 'x'.repeat(1000), price: 1.5, none: null }
const HOT = { like_count: 1, view_count: 2 }
const WRITTEN = { status: 'ok', latency_ms: COUNT, partial: false }

describe.each(CLIENTS)('documents, asked for with $name', ({ ask, name }) => {
  const at = (path: string): string => `${door.restUrl}${path}`
  const write = async (query: string, value: object): Promise<HttpAnswer> =>
    await ask(at(`/write?${query}`), writeCall(JSON.stringify(value)))

  const expectDocument = async (key: string, value: object): Promise<void> => {
    const read = await ask(at(`/read/${key}`))
    expect(read.status).toBe(200)
    expect(read.headers.get('content-type')).toMatch(/^application\/json/)
    expect(jsonOf(read)).toEqual(value)
  }

  const expectRemoved = async (key: string, figures: object): Promise<void> => {
    const removed = await ask(at(`/delete/${key}`), { method: 'DELETE' })
    expect(jsonOf(removed)).toEqual({ status: 'ok', key, ...figures })
    expect(removed.status).toBe(200)
    const missing = await ask(at(`/read/${key}`))
    expect(missing.status).toBe(404)
    expect(jsonOf(missing)).toMatchObject({ detail: `Key '${key}' not found` })
  }

  test('in copies: written to three servers, read and deleted there', async () => {
    const key = `${name}-copies`
    for (const query of [`key=${key}`, `key=${key}&strategy=replication`]) {
      const answer = await write(query, { ...COLD, query })
      expect(answer.status).toBe(200)
      const strategy = 'replication'
      expect(jsonOf(answer)).toEqual({
        ...WRITTEN,
        key,
        strategy,
        nodes_written: [NODE, NODE, NODE],
      })
      await expectDocument(key, { ...COLD, query })
    }
    await expectRemoved(key, { strategy: 'replication', hot_nodes_deleted: 3 })
  })

  test('erasure-coded: six chunks', async () => {
    const key = `${name}/coded/1`
    const answer = await write(`key=${key}&strategy=ec`, COLD)
    expect(answer.status).toBe(200)
    const chunks = { chunks_written: 6, total_chunks: 6 }
    expect(jsonOf(answer)).toEqual({ ...WRITTEN, key, strategy: 'ec', ...chunks })
    await expectDocument(key, COLD)
    await expectRemoved(key, { strategy: 'ec', cold_chunks_deleted: 6 })
  })

  test('by fields: an update of hot fields alone writes no chunk', async () => {
    const key = `${name}-hybrid`
    const query = `key=${key}&strategy=field_hybrid`
    const told = { ...WRITTEN, key, strategy: 'field_hybrid', hot_nodes_written: 3 }
    const cold = {
      operation_type: 'Cold Update',
      is_pure_hot_update: false,
      cold_chunks_written: 6,
    }
    const hot = {
      operation_type: 'Pure Hot Update',
      is_pure_hot_update: true,
      cold_chunks_written: 0,
    }
    expect(jsonOf(await write(query, { ...COLD, ...HOT }))).toEqual({ ...told, ...cold })
    await expectDocument(key, { ...COLD, ...HOT })
    // The same cold fields in another order.
    const turned = Object.fromEntries(Object.entries(COLD).reverse())
    expect(jsonOf(await write(query, { like_count: 7, ...turned }))).toEqual({ ...told, ...hot })
    await expectDocument(key, { ...COLD, like_count: 7 })
    const forced = await write(`key=${key}&hot_only=true`, { view_count: 9, title: 'ignored' })
    expect(jsonOf(forced)).toEqual({ ...told, ...hot, cold_fields_ignored: ['title'] })
    const read = jsonOf(await ask(at(`/read/${key}`)))
    expect(read).toMatchObject({ ...COLD, view_count: 9 })
    expect(jsonOf(await write(query, { ...COLD, ...HOT, price: 2 }))).toEqual({ ...told, ...cold })
    await expectDocument(key, { ...COLD, ...HOT, price: 2 })
    const gone = { strategy: 'field_hybrid', hot_nodes_deleted: 3, cold_chunks_deleted: 6 }
    await expectRemoved(key, gone)
  })

  test.each(DOCUMENT_REFUSALS)(
    '$title is $status $code, and nothing is stored',
    async (refusal) => {
      await expectRefusal(ask, refusal)
    },
  )

  test('a write that is refused leaves the document as it was', async () => {
    const key = `${name}-kept`
    await write(`key=${key}&strategy=field_hybrid`, { ...COLD, ...HOT })
    for (const body of ['{"like_count":', '[]']) {
      const answer = await ask(at(`/write?key=${key}&strategy=field_hybrid`), writeCall(body))
      expect(answer.status).toBe(400)
    }
    const typed = writeCall('{}', { 'content-type': 'text/plain' })
    expect((await ask(at(`/write?key=${key}`), typed)).status).toBe(415)
    await expectDocument(key, { ...COLD, ...HOT })
    await ask(at(`/delete/${key}`), { method: 'DELETE' })
  })

  test('come with the state of gateway and servers', async () => {
    const health = await ask(at('/health'))
    expect([health.status, jsonOf(health)]).toEqual([
      200,
      { status: 'healthy', service: 'api_gateway', hostname: hostname() },
    ])
    const states = jsonOf(await ask(at('/node_status'))) as object
    expect(Object.keys(states)).toEqual(Array.from({ length: SERVERS }, () => NODE))
    expect(new Set(Object.values(states))).toEqual(new Set(['healthy']))
    const usage = jsonOf(await ask(at('/storage_usage'))) as { nodes: object }
    expect(usage).toMatchObject({ total_system_size: 0, documents: 0, document_bytes: 0 })
    expect(Object.keys(usage.nodes)).toEqual(Object.keys(states))
    await write(`key=${name}-one`, COLD)
    const sizeBytes = Buffer.byteLength(JSON.stringify(COLD))
    expect(jsonOf(await ask(at('/storage_usage')))).toMatchObject({
      total_system_size: 3 * sizeBytes,
      documents: 1,
      document_bytes: sizeBytes,
    })
    await ask(at(`/delete/${name}-one`), { method: 'DELETE' })
    expect(jsonOf(await ask(at('/storage_usage')))).toMatchObject({ total_system_size: 0 })
  })
})

const PYTHON = toolMissing('python3')

describe.skipIf(PYTHON !== undefined)(`urllib of Python${PYTHON ? `, ${PYTHON}` : ''}`, () => {
  test.each(['objects', 'documents'])('gets the documented answers for %s', async (api) => {
    const script = `${REPOSITORY}test/support/replay_doors.py`
    const said = await runWithInput('python3', [script, door.restUrl, api])
    expect(said.toString()).toMatch(/^\d\d checks passed\n$/)
  })
})
