import { request } from 'node:http'
import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { volumeId } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { HttpServer } from '../../src/net/http-server.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { nodeLocation } from '../support/fake-master.ts'
import { openMasterHttp } from '../support/master-http.ts'
import { SimClock } from '../support/sim-clock.ts'

const MIB = 2 ** 20

function onlyStored(volumes: { readonly stored: ReadonlyMap<string, unknown> }): string {
  expect([...volumes.stored.keys()]).toHaveLength(1)
  return [...volumes.stored.keys()][0] ?? ''
}

describe('PUT /{name}', () => {
  test('stores the bytes, links the name, and answers with it', async () => {
    await using http = await openMasterHttp()
    const reply = await http.ask('/albums/caf%C3%A9%20%231.txt', {
      method: 'PUT',
      headers: { 'Content-Type': 'text/css' },
      body: 'hello',
    })
    const name = 'albums/café #1.txt'
    expect(reply.status).toBe(201)
    expect(reply.text).toBe(name)
    expect(reply.headers['content-type']).toBe('text/plain; charset=utf-8')
    const fid = onlyStored(http.volumes)
    expect(http.volumes.stored.get(fid)).toMatchObject({
      data: Buffer.from('hello'),
      wasStreamed: false,
      request: {
        isReplica: false,
        metadata: {
          name: 'café #1.txt',
          mime: 'text/css',
          lastModifiedS: 1_704_067_200,
          pairs: { 'Hayloft-Bucket': 'names', 'Hayloft-Key': 'albums%2Fcaf%C3%A9%20%231.txt' },
        },
      },
    })
    expect(http.master.names.get(name)).toMatchObject({ fileId: parseFileId(fid), dataBytes: 5 })
    expect(http.master.assigns).toMatchObject([{ key: name, count: 1, dataBytes: 5 }])
  })

  test.each(['application/x-www-form-urlencoded', 'application/octet-stream', undefined])(
    'a content type of %s is not kept, and the body is stored as it is',
    async (type) => {
      await using http = await openMasterHttp()
      const headers = type === undefined ? {} : { 'Content-Type': type }
      await http.ask('/a', { method: 'PUT', headers, body: 'x=1&y=%32' })
      const stored = http.volumes.stored.get(onlyStored(http.volumes))
      expect(stored?.data.toString()).toBe('x=1&y=%32')
      expect(stored?.request.metadata).not.toHaveProperty('mime')
    },
  )

  test.each([
    [0, false],
    [1, false],
    [MIB, false],
    [MIB + 1, true],
    [4 * MIB, true],
  ])('%d bytes arrive whole; streamed: %s', async (length, mayStream) => {
    await using http = await openMasterHttp()
    const body = Buffer.alloc(length).map((_, index) => index * 31)
    expect((await http.ask('/a', { method: 'PUT', body })).status).toBe(201)
    const stored = http.volumes.stored.get(onlyStored(http.volumes))
    expect(stored?.data.equals(body)).toBe(true)
    if (!mayStream) expect(stored?.wasStreamed).toBe(false)
    if (length > 2 * MIB) expect(stored?.wasStreamed).toBe(true)
  })

  test('too long a body is 413, announced or not, and nothing is linked', async () => {
    await using http = await openMasterHttp({ nameBytesMax: 1000 })
    const body = Buffer.alloc(1001)
    const announced = await http.ask('/a', { method: 'PUT', body })
    const chunked = { method: 'PUT', headers: { 'Transfer-Encoding': 'chunked' }, body }
    const unannounced = await http.ask('/a', chunked)
    for (const reply of [announced, unannounced]) {
      expect(reply.status).toBe(413)
      expect(reply.json).toMatchObject({ code: 'BODY_TOO_LARGE' })
    }
    expect(http.master.names.size).toBe(0)
    expect(http.volumes.stored.size).toBe(0)
  })

  test.each([
    'UNAVAILABLE',
    'VOLUME_FULL',
    'REPLICATION_FAILED',
    'OVERLOADED',
    'DISK_FULL',
  ] as const)(
    'a volume that fails with %s is excluded, and another takes the bytes',
    async (code) => {
      await using http = await openMasterHttp()
      const error = new StoreError(code, 'no')
      http.volumes.failures.set(1, { error }).set(2, { error })
      const reply = await http.ask('/a', { method: 'PUT', body: 'hello' })
      expect(reply.status).toBe(201)
      expect(onlyStored(http.volumes)).toMatch(/^3,/)
      const excluded = http.master.assigns.map(({ excludedVolumeIds }) => [...excludedVolumeIds])
      expect(excluded).toEqual([[], [1], [1, 2]])
    },
  )

  test('after three volumes have failed, so does the put, and nothing is linked', async () => {
    await using http = await openMasterHttp()
    const error = new StoreError('UNAVAILABLE', 'away')
    http.volumes.failures.set(1, { error }).set(2, { error }).set(3, { error })
    http.master.volumes = [
      ...http.master.volumes,
      {
        volumeId: volumeId(4),
        collection: '',
        writePolicy: 'all',
        locations: [nodeLocation(8080)],
      },
    ]
    const reply = await http.ask('/a', { method: 'PUT', body: 'hello' })
    expect(reply.status).toBe(503)
    expect(reply.json).toMatchObject({ code: 'UNAVAILABLE' })
    expect(http.master.assigns).toHaveLength(3)
    expect(http.master.names.size).toBe(0)
  })

  test('what is wrong with the bytes themselves is tried once', async () => {
    await using http = await openMasterHttp()
    http.volumes.failures.set(1, { error: new StoreError('NEEDLE_INVALID', 'bad mime') })
    const reply = await http.ask('/a', { method: 'PUT', body: 'hello' })
    expect(reply.status).toBe(400)
    expect(http.master.assigns).toHaveLength(1)
  })

  test('a streamed body is tried again when nothing of it was read, and not afterwards', async () => {
    const body = Buffer.alloc(3 * MIB, 1)
    const error = new StoreError('UNAVAILABLE', 'away')
    {
      await using http = await openMasterHttp()
      http.volumes.failures.set(1, { error })
      expect((await http.ask('/a', { method: 'PUT', body })).status).toBe(201)
      expect(http.volumes.stored.get(onlyStored(http.volumes))?.data.equals(body)).toBe(true)
    }
    await using http = await openMasterHttp()
    http.volumes.failures.set(1, { error, isLate: true })
    expect((await http.ask('/a', { method: 'PUT', body })).status).toBe(503)
    expect(http.master.assigns).toHaveLength(1)
  })

  test('a client that goes away leaves no name behind', async () => {
    await using http = await openMasterHttp()
    const options = { port: http.port, method: 'PUT', path: '/a', headers: { 'Content-Length': 9 } }
    await new Promise<void>((resolve) => {
      const sending = request(options)
      sending.on('error', () => resolve())
      sending.write('half', () => sending.destroy(new Error('gone')))
    })
    await http.ask('/healthz')
    expect(http.master.names.size).toBe(0)
    expect(http.volumes.stored.size).toBe(0)
    expect(http.errors).toEqual([])
  })

  test('the write token of the lease goes along', async () => {
    await using http = await openMasterHttp()
    http.master.writeToken = 'abc'
    await http.ask('/a', { method: 'PUT', body: 'hello' })
    expect(http.volumes.stored.get(onlyStored(http.volumes))?.request.writeToken).toBe('abc')
  })

  test('a link that fails is an error, not a 201', async () => {
    await using http = await openMasterHttp()
    http.master.failures.set('linkName', new StoreError('NOT_LEADER', 'no'))
    expect((await http.ask('/a', { method: 'PUT', body: 'x' })).status).toBe(503)
  })
})

describe('bad names', () => {
  const BAD = [
    '/..',
    '/%2e%2e',
    '/a/../b',
    '/a/%2E%2E/b',
    '/a/./b',
    '/a//b',
    '//a',
    '/a/',
    '/a%2F',
    '/%2Fa',
    '/a%00b',
    '/%',
    '/%zz',
    '/%c3%28',
    '/%ed%a0%80',
    `/${'x'.repeat(1025)}`,
    `/${'%C3%A9'.repeat(513)}`,
  ]

  test.each(
    BAD.flatMap((path) => ['PUT', 'GET', 'HEAD', 'DELETE'].map((method) => [method, path])),
  )('%s %s is 400', async (method, path) => {
    await using http = await openMasterHttp()
    const body = method === 'PUT' ? 'x' : undefined
    const reply = await http.ask(path ?? '', {
      method: method ?? '',
      ...(body === undefined ? {} : { body }),
    })
    expect(reply.status).toBe(400)
    if (method !== 'HEAD') {
      expect(reply.json).toEqual({ error: expect.any(String), code: 'NAME_INVALID' })
    }
    expect(http.volumes.stored.size).toBe(0)
    expect(http.errors).toEqual([])
  })

  test.each(['/dir/x', '/stats/health', '/%64ir/assign', '/raft'])(
    'PUT %s is 400',
    async (path) => {
      await using http = await openMasterHttp()
      const reply = await http.ask(path, { method: 'PUT', body: 'x' })
      expect(reply.status).toBe(400)
      expect(reply.json).toMatchObject({ code: 'NAME_INVALID' })
    },
  )

  test.each([
    ['/%252e%252e', '%2e%2e'],
    ['/a%2Fb', 'a/b'],
    ['/a+b', 'a+b'],
    ['/a%3Fb', 'a?b'],
    ['/a\\b', 'a\\b'],
    ['/...', '...'],
    [`/${'x'.repeat(1024)}`, 'x'.repeat(1024)],
    ['/3,01637037d6/x', '3,01637037d6/x'],
    ['/3/01637037d6', '3/01637037d6'],
    ['/a,b', 'a,b'],
  ])('PUT %s is decoded once', async (path, name) => {
    await using http = await openMasterHttp()
    const reply = await http.ask(path, { method: 'PUT', body: 'x' })
    expect(reply.status).toBe(201)
    expect(reply.text).toBe(name)
    expect([...http.master.names.keys()]).toEqual([name])
  })
})

async function openWithName(options = {}) {
  const http = await openMasterHttp(options)
  const fileId = parseFileId('1,01637037d6')
  http.master.names.set('a', { name: 'a', fileId, dataBytes: 5, modifiedAtMs: 0 })
  return { ...http, fileId }
}

describe('GET and HEAD /{name}', () => {
  test.each(['GET', 'HEAD'])('%s: 302 to a server, another one each time', async (method) => {
    await using http = await openWithName()
    const targets: (string | undefined)[] = []
    for (let count = 0; count < 4; count++) {
      const reply = await http.ask('/a', { method })
      expect(reply.status).toBe(302)
      expect(reply.body).toHaveLength(0)
      targets.push(reply.headers.location)
    }
    expect(targets.toSorted()).toEqual([
      'http://127.0.0.1:8080/1,01637037d6',
      'http://127.0.0.1:8080/1,01637037d6',
      'http://127.0.0.1:8081/1,01637037d6',
      'http://127.0.0.1:8081/1,01637037d6',
    ])
    expect(targets[0]).toBe(targets[2])
  })

  test('carries a read token when they are on, beside the query there is', async () => {
    await using http = await openWithName({ usesReadTokens: true })
    const { location = '' } = (await http.ask('/a?dl=true')).headers
    const url = new URL(location)
    expect(url.searchParams.get('dl')).toBe('true')
    http.tokens.verifyRead(url.searchParams.get('jwt') ?? '', http.fileId)
  })

  test('an unknown name is 404', async () => {
    await using http = await openWithName()
    const reply = await http.ask('/b')
    expect(reply.status).toBe(404)
    expect(reply.json).toMatchObject({ code: 'NAME_NOT_FOUND' })
  })

  test('a name whose servers are away is 503, with a time to come again', async () => {
    await using http = await openWithName()
    http.master.volumes = []
    const reply = await http.ask('/a')
    expect(reply.status).toBe(503)
    expect(reply.headers).toHaveProperty('retry-after')
    expect(reply.json).toMatchObject({ code: 'UNAVAILABLE' })
  })
})

/** A server that answers for files as a volume server does. */
async function openFileServer(status: number, body: string, seen: string[] = []) {
  const server = await HttpServer.open(
    {
      handler: (req, res) => {
        seen.push(`${req.method} ${req.url} ${req.headers.range ?? ''}`.trim())
        res.writeHead(status, {
          'Content-Type': 'image/png',
          'Content-Length': body.length,
          ETag: '"0000abcd"',
        })
        res.end(body)
      },
      logger: silentLogger,
      clock: new SimClock(),
    },
    { host: '127.0.0.1', port: 0 },
  )
  return server
}

/** Nobody listens there. A port that was just closed may be another server's the next moment. */
const AWAY_PORT = 1

describe('GET /{name}?proxy=true', () => {
  async function openProxied(ports: readonly number[]) {
    const http = await openWithName()
    const locations = ports.map((port) => nodeLocation(port))
    const first = { volumeId: volumeId(1), collection: '', writePolicy: 'all' as const }
    http.master.volumes = [{ ...first, locations }]
    return http
  }

  test('passes on bytes, type, length and ETag; HEAD without the bytes', async () => {
    const seen: string[] = []
    await using server = await openFileServer(200, 'hello', seen)
    await using http = await openProxied([server.address.port])
    for (const method of ['GET', 'HEAD']) {
      const reply = await http.ask('/a?proxy=true', { method, headers: { Range: 'bytes=0-9' } })
      expect(reply.status).toBe(200)
      expect(reply.text).toBe(method === 'GET' ? 'hello' : '')
      expect(reply.headers).toMatchObject({
        'content-type': 'image/png',
        'content-length': '5',
        etag: '"0000abcd"',
      })
    }
    expect(seen).toEqual([
      'GET /1,01637037d6?proxy=true bytes=0-9',
      'HEAD /1,01637037d6?proxy=true bytes=0-9',
    ])
  })

  test('a server that lacks the file or is away is passed over', async () => {
    await using faulty = await openFileServer(404, 'lost')
    await using good = await openFileServer(200, 'hello')
    await using http = await openProxied([faulty.address.port, AWAY_PORT, good.address.port])
    for (let count = 0; count < 3; count++) {
      const reply = await http.ask('/a?proxy=true')
      expect([reply.status, reply.text]).toEqual([200, 'hello'])
    }
  })

  test('when all lack it, the last answer is passed on; when all are away, it is 503', async () => {
    await using faulty = await openFileServer(404, 'lost')
    {
      await using http = await openProxied([faulty.address.port])
      expect((await http.ask('/a?proxy=true')).status).toBe(404)
    }
    await using http = await openProxied([AWAY_PORT])
    expect((await http.ask('/a?proxy=true')).json).toMatchObject({ code: 'UNAVAILABLE' })
  })
})

describe('DELETE /{name}', () => {
  test('204, and then 404', async () => {
    await using http = await openWithName()
    const reply = await http.ask('/a', { method: 'DELETE' })
    expect(reply.status).toBe(204)
    expect(reply.body).toHaveLength(0)
    expect((await http.ask('/a', { method: 'DELETE' })).status).toBe(404)
    expect((await http.ask('/a')).status).toBe(404)
  })
})
