import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { TopologyNode, VolumeReport } from '../../src/net/master-api.ts'
import { nodeLocation, volumeReport } from '../support/fake-master.ts'
import { EMPTY_SHARDS } from '../support/fake-volume-server.ts'
import { openMasterHttp } from '../support/master-http.ts'
import { copyAt, factsOf } from '../support/volume-facts.ts'

function node(port: number, rack: string, volumes: readonly VolumeReport[]): TopologyNode {
  const disk = {
    directoryId: 'd1',
    path: '/data',
    totalBytes: 10_000,
    freeBytes: 5500,
    reserveBytes: 500,
    quarantinedCount: 0,
    clusterId: '',
  }
  const location = nodeLocation(port, rack)
  return {
    location,
    state: 'up',
    lastHeardMs: 0,
    disks: [disk],
    volumes,
    inFlightCount: 0,
    downSinceMs: 0,
    isFlapping: false,
    isDraining: false,
  }
}

async function openWithNodes() {
  const http = await openMasterHttp()
  http.master.nodes = [
    node(8081, 'r2', [volumeReport(9), volumeReport(1), volumeReport(3), volumeReport(2)]),
    node(8080, 'r1', [{ ...volumeReport(1, 'photos'), state: 'sealed' }]),
    { ...node(8082, 'r1', [volumeReport(7)]), state: 'down' },
  ]
  return http
}

describe('the state of the cluster', () => {
  test('/dir/status: the tree of servers, with volumes that still fit', async () => {
    await using http = await openWithNodes()
    const reply = await http.ask('/dir/status')
    expect(reply.status).toBe(200)
    expect(reply.json).toEqual({
      Topology: {
        Max: 15,
        Free: 10,
        DataCenters: [
          {
            Id: 'dc1',
            Racks: [
              {
                Id: 'r1',
                DataNodes: [
                  {
                    Url: '127.0.0.1:8080',
                    PublicUrl: '127.0.0.1:8080',
                    Volumes: 1,
                    EcShards: 0,
                    Max: 6,
                    VolumeIds: ' 1',
                  },
                ],
              },
              {
                Id: 'r2',
                DataNodes: [
                  {
                    Url: '127.0.0.1:8081',
                    PublicUrl: '127.0.0.1:8081',
                    Volumes: 4,
                    EcShards: 0,
                    Max: 9,
                    VolumeIds: ' 1-3 9',
                  },
                ],
              },
            ],
          },
        ],
        Layouts: [{ replication: '001', ttl: '', writables: [1], collection: '', diskType: '' }],
      },
      TopologyId: 'c1',
      Version: '1.2.3',
    })
  })

  test('/dir/status and the page count shards; ten of them take the place of a volume', async () => {
    await using http = await openWithNodes()
    const [first, ...others] = http.master.nodes
    if (first === undefined) throw new Error('there are nodes')
    const shards = [
      { ...EMPTY_SHARDS, shards: [0, 1, 2, 3, 4, 5, 6, 7] },
      { ...EMPTY_SHARDS, runId: '5', shards: [0, 1, 2] },
    ]
    http.master.nodes = [{ ...first, shards }, ...others]
    const { json } = await http.ask('/dir/status')
    expect(json).toMatchObject({ Topology: { Max: 17, Free: 10 } })
    expect(JSON.stringify(json)).toContain('"Volumes":4,"EcShards":11,"Max":11,')
    expect((await http.ask('/')).text).toContain('<td class="n">4</td><td class="n">11</td>')
  })

  test('/vol/status: every volume of every server', async () => {
    await using http = await openWithNodes()
    const reply = await http.ask('/vol/status')
    expect(reply.json).toMatchObject({
      Version: '1.2.3',
      Volumes: { Max: 15, Free: 10, DataCenters: { dc1: { r1: {}, r2: {} } } },
    })
    expect(reply.json).toHaveProperty(
      ['Volumes', 'DataCenters', 'dc1', 'r1', '127.0.0.1:8080'],
      [
        {
          Collection: 'photos',
          DiskType: '',
          RemoteStorageName: '',
          ReplicaPlacement: { node: 1 },
          Ttl: { Count: 0, Unit: 0 },
          Size: 1300,
          DeletedByteCount: 200,
          ModifiedAtSecond: 1_704_067_200,
          Id: 1,
          DiskId: 0,
          CompactRevision: 2,
          FileCount: 10,
          DeleteCount: 0,
          Version: 3,
          ReadOnly: true,
        },
      ],
    )
  })

  test('/collection/info: sums, or layouts with detail; unknown ones are 400', async () => {
    await using http = await openWithNodes()
    expect((await http.ask('/collection/info?collection=photos')).json).toEqual({
      Version: '1.2.3',
      Collection: 'photos',
      TotalSize: 2600,
      FileCount: 20,
      UsedSize: 2000,
      VolumeCount: 2,
    })
    // Volume 1 is there twice, as far as ids go, and counts once; its bytes on disk count twice.
    expect((await http.ask('/collection/info?detail=true')).json).toEqual([
      {
        Version: '1.2.3',
        Collection: '',
        Replication: '001',
        Ttl: '',
        TotalSize: 3900,
        FileCount: 20,
        UsedSize: 2000,
      },
    ])
    const unknown = await http.ask('/collection/info?collection=x')
    expect(unknown.status).toBe(400)
    expect(unknown.json).toMatchObject({ code: 'COLLECTION_NOT_FOUND' })
  })

  test('/cluster/status: what is false or empty is left out', async () => {
    await using http = await openMasterHttp()
    expect((await http.ask('/cluster/status')).json).toEqual({
      IsLeader: true,
      Leader: '127.0.0.1:9333.19333',
      MaxVolumeId: 12,
    })
    http.master.leader = ''
    expect((await http.ask('/cluster/status')).json).toEqual({ MaxVolumeId: 12 })
  })

  test.each([
    ['/healthz', 200, 200, 200],
    ['/readyz', 200, 503, 503],
    ['/cluster/healthz', 200, 200, 503],
  ])('%s: %d when all is well, %d warming up, %d without a leader', async (path, ...statuses) => {
    await using http = await openMasterHttp()
    const seen = [(await http.ask(path)).status]
    http.master.isWarming = true
    seen.push((await http.ask(path, { method: 'HEAD' })).status)
    http.master.isWarming = false
    http.master.leader = ''
    seen.push((await http.ask(path)).status)
    expect(seen).toEqual(statuses)
  })

  test.each(['/', '/ui/index.html'])('%s is a page that runs no script', async (path) => {
    await using http = await openWithNodes()
    const evil = '<script>alert("x")</script>'
    http.master.nodes = http.master.nodes.map((one) => ({
      ...one,
      location: { ...one.location, rack: evil },
    }))
    const reply = await http.ask(path)
    expect(reply.status).toBe(200)
    expect(reply.headers['content-type']).toBe('text/html; charset=utf-8')
    expect(reply.headers['content-security-policy']).toContain("default-src 'none'")
    expect(reply.text).toContain('127.0.0.1:8081')
    expect(reply.text).not.toContain('<script')
  })

  test('/metrics counts what was answered', async () => {
    await using http = await openMasterHttp()
    await http.ask('/dir/assign')
    await http.ask('/dir/assign?count=x')
    const reply = await http.ask('/metrics')
    expect(reply.status).toBe(200)
    expect(reply.headers['content-type']).toContain('text/plain')
    expect(reply.text).toContain('master_http_requests_total{route="assign",status="200"} 1')
    expect(reply.text).toContain('master_http_requests_total{route="assign",status="406"} 1')
    expect(reply.text).toContain('master_http_request_seconds_count{route="assign"} 2')
  })

  test('a failure that is nobody’s fault is 500 without its text, and is logged', async () => {
    await using http = await openMasterHttp()
    http.master.failures.set('topology', new Error('secret detail') as StoreError)
    const reply = await http.ask('/dir/status')
    expect(reply.status).toBe(500)
    expect(reply.text).not.toContain('secret')
    expect(http.errors).toHaveLength(1)
  })
})

describe('what changes volumes', () => {
  test('/vol/grow counts the copies that were made', async () => {
    await using http = await openMasterHttp()
    const reply = await http.ask('/vol/grow?count=3&replication=001&ttl=1h&collection=c')
    expect(reply.json).toEqual({ count: 4 })
    expect(http.master.grows).toMatchObject([
      { count: 3, collection: 'c', ttl: { count: 1, unit: 'hour' } },
    ])
  })

  test.each(['', 'count=0', 'count=x', 'count=1&replication=x', 'count=1&ttl=x'])(
    '/vol/grow?%s is 406',
    async (query) => {
      await using http = await openMasterHttp()
      expect((await http.ask(`/vol/grow?${query}`)).status).toBe(406)
      expect(http.master.grows).toEqual([])
    },
  )

  test('/vol/grow that cannot be placed is 406', async () => {
    await using http = await openMasterHttp()
    http.master.failures.set('grow', new StoreError('PLACEMENT_IMPOSSIBLE', 'no'))
    expect((await http.ask('/vol/grow?count=1')).json).toMatchObject({
      code: 'PLACEMENT_IMPOSSIBLE',
    })
  })

  test('/vol/vacuum rewrites every copy above the threshold, with the epoch', async () => {
    await using http = await openWithNodes()
    http.volumes.garbageShares.set(1, 0.31).set(2, 0.3).set(9, 0.9)
    const reply = await http.ask('/vol/vacuum')
    expect(reply.status).toBe(200)
    expect(reply.json).toHaveProperty('Topology')
    const done = http.volumes.vacuumed.map(({ url, volumeId }) => `${url} ${volumeId}`).sort()
    expect(done).toEqual(['127.0.0.1:8080 1', '127.0.0.1:8081 1', '127.0.0.1:8081 9'])
    expect(http.volumes.vacuumed.every(({ epoch }) => epoch === 7)).toBe(true)
  })

  test('/vol/vacuum with a threshold of its own; a damaged volume is left alone', async () => {
    await using http = await openMasterHttp()
    http.master.nodes = [
      node(8080, 'r1', [volumeReport(1), { ...volumeReport(2), state: 'damaged' }]),
    ]
    http.volumes.garbageShares.set(1, 0.05).set(2, 1)
    await http.ask('/vol/vacuum?garbageThreshold=0.04')
    expect(http.volumes.vacuumed.map(({ volumeId }) => volumeId)).toEqual([1])
  })

  test.each([
    ['the same', { digest: '0123456789abcdef' }, true],
    ['not known to be the same', { digest: '' }, false],
  ])('/vol/vacuum drops tombstones when the copies are %s', async (_, report, isDropped) => {
    await using http = await openWithNodes()
    http.volumes.garbageShares.set(1, 0.9)
    http.jobs.volumeFacts = async (id) => {
      return factsOf(id, [
        copyAt('127.0.0.1:8080', { report }),
        copyAt('127.0.0.1:8081', { report }),
      ])
    }
    expect((await http.ask('/vol/vacuum')).status).toBe(200)
    expect(http.volumes.vacuumed).toHaveLength(2)
    for (const command of http.volumes.vacuumed) {
      expect(command).toMatchObject({ dropsTombstones: isDropped, skipsDamage: false })
    }
    const note = { volumeId: 1, directoryId: 'd1', compactionRevision: 2 }
    const notes = http.jobs.calls.filter((name) => name === 'noteVacuum')
    expect(notes).toHaveLength(isDropped ? 2 : 0)
    if (isDropped) expect(http.jobs.requests).toContainEqual(note)
  })

  test('/vol/vacuum keeps the tombstones of a volume that the master does not know', async () => {
    await using http = await openWithNodes()
    http.volumes.garbageShares.set(1, 0.9)
    http.jobs.volumeFacts = async () => {
      throw new StoreError('VOLUME_NOT_FOUND', 'not known')
    }
    expect((await http.ask('/vol/vacuum')).status).toBe(200)
    expect(http.volumes.vacuumed[0]).toMatchObject({ dropsTombstones: false })
  })

  test.each(['x', '-1', '1.1', '1e-1', 'NaN'])('a threshold of %s is 406', async (text) => {
    await using http = await openWithNodes()
    expect((await http.ask(`/vol/vacuum?garbageThreshold=${text}`)).status).toBe(406)
  })

  test('a vacuum that fails is said, one that runs already is not', async () => {
    await using http = await openWithNodes()
    http.volumes.garbageShares.set(1, 1)
    http.volumes.vacuumFailure = new StoreError('VOLUME_BUSY', 'busy')
    expect((await http.ask('/vol/vacuum')).status).toBe(200)
    http.volumes.vacuumFailure = new StoreError('DISK_FULL', 'no room')
    const reply = await http.ask('/vol/vacuum')
    expect(reply.status).toBe(507)
    expect(reply.json).toMatchObject({
      code: 'DISK_FULL',
      error: expect.stringContaining('2 volumes'),
    })
  })

  test('/col/delete: 204; unknown or no collection is 400', async () => {
    await using http = await openMasterHttp()
    expect((await http.ask('/col/delete?collection=photos')).status).toBe(204)
    expect((await http.ask('/col/delete?collection=x')).json).toMatchObject({
      code: 'COLLECTION_NOT_FOUND',
    })
    expect((await http.ask('/col/delete')).status).toBe(400)
    expect(http.master.deletedCollections).toEqual(['photos'])
  })
})

describe('GET /cluster/health', () => {
  test('is 200 with all there is to say, whatever the colour', async () => {
    await using http = await openMasterHttp()
    const health = await http.jobs.health(new AbortController().signal)
    http.jobs.health = async () => ({ ...health, color: 'red' })
    const reply = await http.ask('/cluster/health')
    expect(reply.status).toBe(200)
    expect(reply.headers['content-type']).toContain('application/json')
    expect(reply.json).toEqual({ ...health, color: 'red' })
    expect((await http.ask('/cluster/health', { method: 'HEAD' })).text).toBe('')
    expect((await http.ask('/cluster/health', { method: 'POST' })).status).toBe(405)
  })

  test('says who leads instead when it is not this master', async () => {
    await using http = await openMasterHttp()
    http.jobs.health = async () => {
      throw new StoreError('NOT_LEADER', 'the leader is b:9333')
    }
    const reply = await http.ask('/cluster/health')
    expect(reply.status).toBeGreaterThanOrEqual(500)
    expect(reply.json).toMatchObject({ code: 'NOT_LEADER' })
  })
})

describe('paths and methods', () => {
  test.each([
    '/stats/health',
    '/stats/counter',
    '/stats',
    '/raft/stats',
    '/dir/x',
    '/dir',
    '/ui/x',
  ])('GET %s is 404 JSON', async (path) => {
    await using http = await openMasterHttp()
    const reply = await http.ask(path)
    expect(reply.status).toBe(404)
    expect(reply.json).toMatchObject({ code: 'ROUTE_NOT_FOUND' })
  })

  test.each([
    ['POST', '/healthz', 'GET, HEAD'],
    ['DELETE', '/metrics', 'GET, HEAD'],
    ['PUT', '/', 'GET, HEAD'],
    ['GET', '/submit', 'POST'],
    ['PUT', '/submit', 'POST'],
    ['POST', '/a-name', 'GET, HEAD, PUT, DELETE'],
    ['OPTIONS', '/a-name', 'GET, HEAD, PUT, DELETE'],
    ['PATCH', '/a-name', 'GET, HEAD, PUT, DELETE'],
  ])('%s %s is 405 and says what is allowed', async (method, path, allowed) => {
    await using http = await openMasterHttp()
    const reply = await http.ask(path, { method })
    expect(reply.status).toBe(405)
    expect(reply.headers.allow).toBe(allowed)
    expect(reply.json).toMatchObject({ code: 'METHOD_NOT_ALLOWED' })
  })

  test('a whole URL in the request line means its path', async () => {
    await using http = await openMasterHttp()
    expect((await http.ask('http://elsewhere:1/healthz')).status).toBe(200)
    expect((await http.ask('http://elsewhere')).headers['content-type']).toContain('text/html')
  })
})
