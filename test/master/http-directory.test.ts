import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { openMasterHttp } from '../support/master-http.ts'

describe('/dir/assign', () => {
  test.each(['GET', 'POST', 'PUT'])(
    'gives a file id, a server and the count (%s)',
    async (method) => {
      await using http = await openMasterHttp()
      const reply = await http.ask('/dir/assign?count=5', { method })
      expect(reply.status).toBe(200)
      expect(reply.json).toEqual({
        fid: expect.stringMatching(/^1,01[0-9a-f]{8}$/),
        url: expect.stringMatching(/^127\.0\.0\.1:808[01]$/),
        publicUrl: expect.stringMatching(/^127\.0\.0\.1:808[01]$/),
        count: 5,
      })
      expect(reply.headers).not.toHaveProperty('authorization')
    },
  )

  test('passes on every option', async () => {
    await using http = await openMasterHttp()
    await http.ask(
      '/dir/assign?count=3&collection=photos&replication=110&ttl=3d&dataCenter=dc1&rack=r1' +
        '&dataNode=127.0.0.1:8080&disk=ssd&preallocate=1000&memoryMapMaxSizeMb=1' +
        '&writableVolumeCount=2&dataSize=4096',
    )
    expect(http.master.assigns).toEqual([
      {
        count: 3,
        collection: 'photos',
        replication: { otherDataCenters: 1, otherRacks: 1, otherServers: 0 },
        ttl: { count: 3, unit: 'day' },
        dataCenter: 'dc1',
        rack: 'r1',
        node: '127.0.0.1:8080',
        excludedVolumeIds: [],
        dataBytes: 4096,
        key: '',
      },
    ])
  })

  test('takes its options from a form too; the query goes first', async () => {
    await using http = await openMasterHttp()
    await http.ask('/dir/assign?count=2', {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: 'count=9&collection=photos',
    })
    expect(http.master.assigns[0]).toMatchObject({ count: 2, collection: 'photos' })
  })

  test('carries the write token of the lease in a header', async () => {
    await using http = await openMasterHttp()
    http.master.writeToken = 'abc'
    const reply = await http.ask('/dir/assign')
    expect(reply.headers).toHaveProperty('authorization', 'Bearer abc')
  })

  test.each([
    'count=0',
    'count=-1',
    'count=x',
    'count=1.5',
    'count=9999999999999999',
    'replication=9',
    'replication=abc',
    'replication=999',
    'ttl=5x',
    'ttl=-1d',
    'preallocate=much',
    'dataSize=1e3',
    'memoryMapMaxSizeMb=-1',
    'writableVolumeCount=%00',
  ])('a bad option is 406 with a code: %s', async (query) => {
    await using http = await openMasterHttp()
    const reply = await http.ask(`/dir/assign?${query}`)
    expect(reply.status).toBe(406)
    expect(reply.json).toEqual({
      error: expect.any(String),
      code: expect.stringMatching(/INVALID$/),
    })
    expect(http.master.assigns).toEqual([])
  })

  test.each([
    ['NO_WRITABLE_VOLUME', 406, false],
    ['PLACEMENT_IMPOSSIBLE', 406, false],
    ['NODE_NOT_FOUND', 400, false],
    ['WARMING_UP', 503, true],
    ['OVERLOADED', 503, true],
    ['NOT_LEADER', 503, true],
    ['TIMEOUT', 408, false],
  ] as const)('%s is %d', async (code, status, isRetryable) => {
    await using http = await openMasterHttp()
    http.master.failures.set('assign', new StoreError(code, 'why'))
    const reply = await http.ask('/dir/assign')
    expect(reply.status).toBe(status)
    expect(reply.json).toEqual({ error: 'why', code })
    expect('retry-after' in reply.headers).toBe(isRetryable)
  })

  test('a lease of a volume on no server is 406', async () => {
    await using http = await openMasterHttp()
    http.master.volumes = http.master.volumes.map((volume) => ({ ...volume, locations: [] }))
    const reply = await http.ask('/dir/assign')
    expect(reply.status).toBe(406)
    expect(reply.json).toMatchObject({ code: 'NO_WRITABLE_VOLUME' })
  })
})

describe('/dir/lookup', () => {
  const SECOND = {
    url: '127.0.0.1:8081',
    publicUrl: '127.0.0.1:8081',
    dataCenter: 'dc1',
    grpcPort: 18_081,
  }

  test.each([
    'volumeId=2',
    'volumeId=2,01637037d6',
    'fileId=2,01637037d6',
    'fileId=2%2C01637037d6&volumeId=9',
    'volumeId=2&collection=',
    'volumeId=2&read=yes',
  ])('names the servers of a volume: %s', async (query) => {
    await using http = await openMasterHttp()
    const reply = await http.ask(`/dir/lookup?${query}`)
    expect(reply.status).toBe(200)
    expect(reply.json).toEqual({ volumeOrFileId: '2', locations: [SECOND] })
  })

  test.each([
    ['volumeId=9', '9', 404, 'VOLUME_NOT_FOUND'],
    ['volumeId=3&collection=other', '3', 404, 'VOLUME_NOT_FOUND'],
    ['volumeId=x', 'x', 400, 'FILE_ID_INVALID'],
    ['volumeId=0', '0', 400, 'FILE_ID_INVALID'],
    ['volumeId=4294967296', '4294967296', 400, 'FILE_ID_INVALID'],
    ['', '', 400, 'FILE_ID_INVALID'],
  ])('%s is not found, with what was asked', async (query, asked, status, code) => {
    await using http = await openMasterHttp()
    const reply = await http.ask(`/dir/lookup?${query}`)
    expect(reply.status).toBe(status)
    expect(reply.json).toEqual({ volumeOrFileId: asked, error: expect.any(String), code })
  })

  test('the text for an unknown volume is the one clients look for', async () => {
    await using http = await openMasterHttp()
    const reply = await http.ask('/dir/lookup?volumeId=9')
    expect(reply.json).toMatchObject({ error: 'volume id 9 not found' })
  })

  test('while the master warms up, an unknown volume is 503, a known one is answered', async () => {
    await using http = await openMasterHttp()
    http.master.isWarming = true
    const reply = await http.ask('/dir/lookup?volumeId=9')
    expect(reply.status).toBe(503)
    expect(reply.headers).toHaveProperty('retry-after', '1')
    expect(reply.json).toEqual({
      volumeOrFileId: '9',
      error: 'service warming up, please retry',
      code: 'WARMING_UP',
    })
    expect((await http.ask('/dir/lookup?volumeId=2')).status).toBe(200)
  })

  test('a volume on no server now is 404', async () => {
    await using http = await openMasterHttp()
    http.master.volumes = http.master.volumes.map((volume) => ({ ...volume, locations: [] }))
    const reply = await http.ask('/dir/lookup?volumeId=2')
    expect(reply.status).toBe(404)
  })

  test('with tokens on, a file id gets one to write with, and read=yes one to read with', async () => {
    await using http = await openMasterHttp({ usesWriteTokens: true, usesReadTokens: true })
    const fileId = parseFileId('2,01637037d6')
    const token = async (query: string) => {
      const reply = await http.ask(`/dir/lookup?${query}`)
      const header: unknown = reply.headers.authorization
      return typeof header === 'string' ? header.replace('Bearer ', '') : ''
    }
    http.tokens.verifyWrite(await token('fileId=2,01637037d6'), fileId)
    http.tokens.verifyRead(await token('fileId=2,01637037d6&read=yes'), fileId)
    expect(await token('volumeId=2')).toBe('')
    expect(await token('volumeId=2&read=yes')).toBe('')
  })

  test('with tokens off, none is given', async () => {
    await using http = await openMasterHttp()
    const reply = await http.ask('/dir/lookup?fileId=2,01637037d6&read=yes')
    expect(reply.headers).not.toHaveProperty('authorization')
  })
})

describe('/{file id}', () => {
  test.each([
    ['GET', '/2,01637037d6'],
    ['HEAD', '/2,01637037d6'],
    ['PUT', '/2,01637037d6.jpg'],
    ['DELETE', '/2,01637037d6_3'],
    ['GET', '/2,01637037d6.jpg?width=10&x=%2f'],
    ['POST', '/2%2C01637037d6'],
  ])('%s %s is sent on with 308, path and query as they are', async (method, path) => {
    await using http = await openMasterHttp()
    const body = method === 'PUT' ? 'abc' : undefined
    const reply = await http.ask(path, { method, ...(body === undefined ? {} : { body }) })
    expect(reply.status).toBe(308)
    expect(reply.headers.location).toBe(`http://127.0.0.1:8081${path}`)
    expect(reply.body).toHaveLength(0)
  })

  test('spreads over the servers of a volume', async () => {
    await using http = await openMasterHttp()
    const targets = new Set<string | undefined>()
    for (let count = 0; count < 30; count++) {
      targets.add((await http.ask('/1,01637037d6')).headers.location)
    }
    expect(targets.size).toBe(2)
  })

  test('an unknown volume, or one of another collection, is 404', async () => {
    await using http = await openMasterHttp()
    expect((await http.ask('/9,01637037d6')).status).toBe(404)
    expect((await http.ask('/3,01637037d6?collection=other')).status).toBe(404)
    expect((await http.ask('/3,01637037d6?collection=photos')).status).toBe(308)
  })
})
