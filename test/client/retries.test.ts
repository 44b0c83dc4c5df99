import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import type { ErrorCode } from '../../src/base/store-error.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import type { PutRequest } from '../../src/net/volume-api.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { FakeCluster, finish, letPass } from '../support/client-cluster.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

function openClient(shape: ConstructorParameters<typeof FakeCluster>[0]) {
  const cluster = new FakeCluster(shape)
  const clock = new SimClock()
  const { connect, master } = cluster
  const parts = { master, connect, clock, random: new Prng(1), logger: silentLogger }
  return { client: HayloftClient.over(parts), clock, cluster }
}

/** Fails the first `count` puts, and keeps the ids of all. */
function failPuts(cluster: FakeCluster, count: number, when: 'before' | 'after', code: ErrorCode) {
  const fileIds: PutRequest['fileId'][] = []
  cluster.fault = (operation, _, request) => {
    if (operation !== 'put') return undefined
    fileIds.push((request as PutRequest).fileId)
    return fileIds.length <= count ? { when, code } : undefined
  }
  return fileIds
}

describe('a put', () => {
  test.each<ErrorCode>(['VOLUME_FULL', 'VOLUME_SEALED', 'DISK_FULL', 'UNAVAILABLE', 'TIMEOUT'])(
    'after %s has a new id on another volume, at once',
    async (code) => {
      const { client, cluster } = openClient({ servers: 2, volumes: 2 })
      await using _client = client
      const fileIds = failPuts(cluster, 1, 'before', code)
      const put = await client.put('x')
      expect(fileIds.map(({ volumeId }) => volumeId)).toEqual([1, 2])
      expect(fileIds[1]?.needleId).not.toEqual(fileIds[0]?.needleId)
      expect(parseFileId(put.fileId)).toEqual(fileIds[1])
    },
  )

  test('after OVERLOADED is sent again with its id, after a pause', async () => {
    const { client, clock, cluster } = openClient({ servers: 2, volumes: 2 })
    await using _client = client
    const fileIds = failPuts(cluster, 2, 'before', 'OVERLOADED')
    const put = client.put('x')
    await letPass(clock, 20)
    expect(fileIds.length).toBe(1)
    expect(parseFileId((await finish(clock, put)).fileId)).toEqual(fileIds[0])
    expect(fileIds).toEqual([fileIds[0], fileIds[0], fileIds[0]])
  })

  test('whose answers were lost leaves nothing behind for long', async () => {
    const { client, clock, cluster } = openClient({ servers: 3, volumes: 3 })
    await using _client = client
    failPuts(cluster, 2, 'after', 'TIMEOUT')
    const { fileId } = await finish(clock, client.put('x'))
    expect(cluster.liveNeedles().size).toBe(3)
    await letPass(clock, 5000)
    expect(cluster.liveNeedles().size).toBe(1)
    expect((await client.get(fileId)).data.toString()).toBe('x')
  })

  test.each<ErrorCode>(['NEEDLE_INVALID', 'TOKEN_INVALID', 'CANCELLED'])(
    'is not repeated after %s',
    async (code) => {
      const { client, cluster } = openClient({ servers: 2, volumes: 2 })
      await using _client = client
      const fileIds = failPuts(cluster, 9, 'before', code)
      await expect(client.put('x')).rejects.toMatchObject({ code })
      expect(fileIds.length).toBe(1)
    },
  )

  test('gives up within 30 s and 16 attempts, with the last error', async () => {
    const { client, clock, cluster } = openClient({ servers: 2, volumes: 2 })
    await using _client = client
    const fileIds = failPuts(cluster, Number.POSITIVE_INFINITY, 'before', 'UNAVAILABLE')
    await expect(finish(clock, client.put('x'))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/^gave up after 16 attempts: /),
    })
    expect(clock.monotonicMs()).toBeLessThan(30_000)
    expect(fileIds.length).toBe(16)
    expect(new Set(fileIds.map(({ needleId }) => needleId.lo)).size).toBe(16)
  })

  test('stored with another checksum does not count', async () => {
    const { client, clock, cluster } = openClient({ servers: 2, volumes: 2 })
    await using _client = client
    const server = cluster.servers.get('a:8080')
    const put = server?.put.bind(server)
    if (server !== undefined && put !== undefined) {
      server.put = async (...args) => ({ ...(await put(...args)), checksum: 5 })
    }
    const { fileId } = await finish(clock, client.put('x'))
    expect(parseFileId(fileId).volumeId).toBe(2)
    await letPass(clock, 5000)
    expect(cluster.liveNeedles().size).toBe(1)
  })
})

describe('a get', () => {
  test.each<ErrorCode>([
    'UNAVAILABLE',
    'TIMEOUT',
    'NEEDLE_NOT_FOUND',
    'NEEDLE_CORRUPT',
    'DISK_FAILED',
  ])('goes to another copy after %s, at once', async (code) => {
    const { client, clock, cluster } = openClient({ servers: 2, volumes: 1, copies: 2 })
    await using _client = client
    await clock.advance(0)
    const { fileId } = await client.put('x')
    cluster.fault = (operation, url) =>
      operation === 'read' && url === 'a:8080' ? { when: 'before', code } : undefined
    for (let round = 0; round < 20; round++) {
      expect((await client.get(fileId)).data.toString()).toBe('x')
    }
  })

  test('of a needle that no copy has fails without a pause', async () => {
    const { client, cluster } = openClient({ servers: 2, volumes: 1, copies: 2 })
    await using _client = client
    await client.put('x')
    const missing = client.get('1,ff00000000')
    await expect(missing).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    expect(cluster.count('read')).toBeLessThanOrEqual(3)
  })

  test('does not take a needle for deleted while a copy is out of reach', async () => {
    const { client, clock, cluster } = openClient({ servers: 2, volumes: 1, copies: 2 })
    await using _client = client
    await client.put('x')
    cluster.fault = (operation, url) =>
      operation === 'read' && url === 'a:8080' ? { when: 'before', code: 'UNAVAILABLE' } : undefined
    const get = finish(clock, client.get('1,ff00000000'))
    await expect(get).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('finds a volume that moved, without the stream of changes', async () => {
    const { client, clock, cluster } = openClient({ servers: 2, volumes: 1 })
    await using _client = client
    const { fileId } = await client.put('x')
    await client.get(fileId)
    cluster.master.tell = () => {}
    cluster.move(parseFileId(fileId).volumeId, 'a:8080', 'b:8080')
    const get = finish(clock, client.get(fileId))
    expect((await get).data.toString()).toBe('x')
  })

  test('asks a server that was down last, for 5 s', async () => {
    const { client, clock, cluster } = openClient({ servers: 2, volumes: 1, copies: 2 })
    await using _client = client
    await clock.advance(0)
    const { fileId } = await client.put('x')
    let isDown = true
    let asked = 0
    cluster.fault = (operation, url) => {
      if (operation !== 'read' || url !== 'a:8080') return undefined
      asked++
      return isDown ? { when: 'before', code: 'UNAVAILABLE' } : undefined
    }
    for (let round = 0; round < 20; round++) await client.get(fileId)
    expect(asked).toBe(1)
    isDown = false
    await clock.advance(5000)
    for (let round = 0; round < 20; round++) await client.get(fileId)
    expect(asked).toBeGreaterThan(3)
  })

  test('reads on while the master is gone', async () => {
    const { client, clock, cluster } = openClient({ servers: 2, volumes: 1, copies: 2 })
    await using _client = client
    await clock.advance(0)
    const { fileId } = await client.put('x')
    cluster.master.isWatchDown = true
    cluster.master.breakWatches()
    cluster.fault = (operation, url) =>
      operation === 'lookup' || url === 'a:8080'
        ? { when: 'before', code: 'UNAVAILABLE' }
        : undefined
    await clock.advance(3_600_000)
    const get = finish(clock, client.get(fileId))
    expect((await get).data.toString()).toBe('x')
  })
})

test('a stream goes on from another copy where the first one broke off', async () => {
  const { client, clock, cluster } = openClient({ servers: 2, volumes: 1, copies: 2 })
  await using _client = client
  const data = new Prng(3).bytes(20_000)
  const { fileId } = await client.put(data)
  let breaks = 3
  for (const server of cluster.servers.values()) {
    const read = server.read.bind(server)
    server.read = async (...args) => {
      const content = await read(...args)
      return { ...content, data: broken(content.data) }
    }
  }
  async function* broken(pieces: AsyncIterable<Uint8Array>) {
    let count = 0
    for await (const piece of pieces) {
      yield piece
      if (++count < 4 || breaks === 0) continue
      breaks--
      const { StoreError } = await import('../../src/base/store-error.ts')
      throw new StoreError('UNAVAILABLE', 'the connection broke')
    }
  }
  const pieces: Uint8Array[] = []
  const reading = (async () => {
    for await (const piece of client.getStream(fileId)) pieces.push(piece)
  })()
  await finish(clock, reading)
  expect(breaks).toBe(0)
  expect(Buffer.concat(pieces).equals(data)).toBe(true)
})

test('a stream never ends as if it were whole when a byte is wrong', async () => {
  const { client, cluster } = openClient({ servers: 1, volumes: 1 })
  await using _client = client
  const { fileId } = await client.put(Buffer.alloc(5000, 1))
  const server = cluster.servers.get('a:8080')
  for (const needle of server?.needles.values() ?? []) {
    const read = server?.read.bind(server)
    if (server === undefined || read === undefined) continue
    server.read = async (...args) => {
      const content = await read(...args)
      needle.data[2500] = 9
      return content
    }
  }
  let received = 0
  const reading = (async () => {
    for await (const piece of client.getStream(fileId)) received += piece.length
  })()
  await expect(reading).rejects.toMatchObject({ code: 'NEEDLE_CORRUPT' })
  expect(received).toBeLessThan(5000)
})
