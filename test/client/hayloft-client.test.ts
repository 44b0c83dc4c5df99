import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { formatFileId, parseFileId } from '../../src/base/file-id.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { KIB } from '../../src/base/units.ts'
import type { Settled } from '../../src/client/client-api.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { FakeCluster, finish } from '../support/client-cluster.ts'
import { Prng } from '../support/prng.ts'
import { SimClock } from '../support/sim-clock.ts'

const CHUNK_BYTES = KIB

interface Setting {
  readonly cluster: FakeCluster
  readonly client: HayloftClient
  readonly clock: SimClock
  readonly prng: Prng
}

function openClient(cluster: FakeCluster, seed = 1): Setting {
  const clock = new SimClock()
  const prng = new Prng(seed)
  const { connect, master } = cluster
  const parts = { master, connect, clock, random: prng, logger: silentLogger }
  return { cluster, client: HayloftClient.over(parts), clock, prng }
}

async function gather<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const gathered: Item[] = []
  for await (const item of items) gathered.push(item)
  return gathered
}

async function* inPieces(data: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += pieceBytes) yield data.subarray(at, at + pieceBytes)
}

describe('small files', () => {
  test('come back with all that was said about them', async () => {
    const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const put = await client.put('hello', {
      name: 'a.txt',
      mime: 'text/plain',
      pairs: { Owner: 'me' },
      ttl: '3m',
      lastModifiedMs: 5000,
    })
    expect(put).toEqual({ fileId: expect.stringMatching(/^1,01/), sizeBytes: 5, eTag: '9a71bb4c' })
    const got = await client.get(put.fileId)
    expect(got.data.toString()).toBe('hello')
    const info = {
      fileId: put.fileId,
      sizeBytes: 5,
      eTag: '9a71bb4c',
      name: 'a.txt',
      mime: 'text/plain',
      lastModifiedMs: 5000,
      ttl: '3m',
      pairs: { Owner: 'me' },
      isCompressed: false,
      isChunked: false,
    }
    expect(got).toEqual({ ...info, data: got.data })
    expect(await client.stat(put.fileId)).toEqual(info)
  })

  test.each([
    ['text', 'häy'],
    ['bytes', Buffer.from('häy')],
    [
      'a stream of text and bytes',
      (async function* () {
        yield 'h'
        yield Buffer.from('äy')
      })(),
    ],
  ])('may be %s', async (_, data) => {
    const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const { fileId } = await client.put(data)
    expect((await client.get(fileId)).data.toString()).toBe('häy')
  })

  test.each([0, 1, 1000, 1024])('of %d bytes as bytes and as a stream', async (size) => {
    const { client, cluster, prng } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const data = prng.bytes(size)
    for (const source of [data, inPieces(data, 100)]) {
      const { fileId, sizeBytes } = await client.put(source, { chunkBytes: CHUNK_BYTES })
      expect(sizeBytes).toBe(size)
      expect((await client.get(fileId)).data.equals(data)).toBe(true)
      expect(Buffer.concat(await gather(client.getStream(fileId))).equals(data)).toBe(true)
    }
    expect(cluster.liveNeedles().size).toBe(2)
  })

  test('have cookies that differ and ids that go up', async () => {
    const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const puts = await Promise.all(Array.from({ length: 1000 }, (_, i) => client.put(`${i}`)))
    const fileIds = puts.map(({ fileId }) => parseFileId(fileId))
    expect(new Set(fileIds.map(({ needleId }) => needleId.lo)).size).toBe(1000)
    expect(new Set(fileIds.map(({ cookie }) => cookie)).size).toBe(1000)
  })

  test('are unpacked when they are stored as gzip, and so are ranges of them', async () => {
    const { client, cluster, prng } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const data = prng.bytes(5000)
    const fileId = parseFileId('1,ff00000001')
    const metadata = { isCompressed: true }
    cluster.servers.get('a:8080')?.keep(fileId, { cookie: 1, data: gzipSync(data), metadata })
    const text = formatFileId(fileId)
    expect((await client.get(text)).data.equals(data)).toBe(true)
    const range = { start: 100, end: 4900 }
    const part = data.subarray(100, 4900)
    expect((await client.get(text, { range })).data.equals(part)).toBe(true)
    expect(Buffer.concat(await gather(client.getStream(text, { range }))).equals(part)).toBe(true)
  })

  test.each([
    [{ start: 0 }, 0, 10],
    [{ start: 3, end: 7 }, 3, 7],
    [{ start: 9, end: 10 }, 9, 10],
    [{ start: 10 }, 10, 10],
    [{ start: 4, end: 4 }, 4, 4],
  ])('range %o', async (range, start, end) => {
    const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const { fileId } = await client.put('0123456789')
    const wanted = '0123456789'.slice(start, end)
    expect((await client.get(fileId, { range })).data.toString()).toBe(wanted)
    expect(Buffer.concat(await gather(client.getStream(fileId, { range }))).toString()).toBe(wanted)
  })

  test.each([{ start: 11 }, { start: 5, end: 11 }, { start: 5, end: 4 }, { start: -1 }])(
    'range %o of 10 bytes is RANGE_INVALID',
    async (range) => {
      const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
      await using _client = client
      const { fileId } = await client.put('0123456789')
      await expect(client.get(fileId, { range })).rejects.toMatchObject({ code: 'RANGE_INVALID' })
      const stream = gather(client.getStream(fileId, { range }))
      await expect(stream).rejects.toMatchObject({ code: 'RANGE_INVALID' })
    },
  )

  test('that are deleted are gone, and deleting them again is no error', async () => {
    const { client, cluster } = openClient(new FakeCluster({ servers: 2, volumes: 1, copies: 2 }))
    await using _client = client
    const { fileId } = await client.put('x')
    expect(await client.delete(fileId)).toEqual({ wasLive: true })
    expect(await client.delete(fileId)).toEqual({ wasLive: false })
    expect(await client.delete(fileId, { isSingleNeedle: true })).toEqual({ wasLive: false })
    expect(cluster.liveNeedles().size).toBe(0)
    await expect(client.get(fileId)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
  })
})

describe('bad input', () => {
  test.each([
    [{ ttl: 'soon' }, 'TTL_INVALID'],
    [{ replication: '9' }, 'REPLICA_PLACEMENT_INVALID'],
    [{ collection: 'x'.repeat(64) }, 'CONFIG_INVALID'],
    [{ chunkBytes: 1023 }, 'CONFIG_INVALID'],
    [{ chunkBytes: LIMITS.chunkBytesMax.value + 1 }, 'CONFIG_INVALID'],
  ])('%o is %s and stores nothing', async (options, code) => {
    const { client, cluster } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    await expect(client.put('x', options)).rejects.toMatchObject({ code })
    expect(cluster.liveNeedles().size).toBe(0)
  })

  test.each([5, null, {}, ['x']])('%o is no data', async (data) => {
    const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const put = client.put(data as unknown as string)
    await expect(put).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })

  test('is found in ids, streams and concurrency', async () => {
    const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    await expect(client.get('nonsense')).rejects.toMatchObject({ code: 'FILE_ID_INVALID' })
    await expect(client.get('9,0100000000')).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    const stream = (async function* () {
      yield 5 as unknown as string
    })()
    await expect(client.put(stream)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    const batch = gather(client.getMany([], { concurrency: 0 }))
    await expect(batch).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })
})

describe('files in chunks', () => {
  test.each([1025, 2048, 5000, 20_000])(
    'of %d bytes come back whole and in parts',
    async (size) => {
      const { client, cluster, prng } = openClient(new FakeCluster({ servers: 3, volumes: 6 }))
      cluster.choose = (volumes) => prng.pick(volumes)
      await using _client = client
      const data = prng.bytes(size)
      for (const source of [data, inPieces(data, 300)]) {
        const options = { chunkBytes: CHUNK_BYTES, name: 'big.bin', mime: 'image/png' }
        const { fileId, sizeBytes } = await client.put(source, options)
        expect(sizeBytes).toBe(size)
        const got = await client.get(fileId)
        expect(got.data.equals(data)).toBe(true)
        expect(got).toMatchObject({ isChunked: true, sizeBytes: size, name: 'big.bin' })
        expect(await client.stat(fileId)).toMatchObject({ isChunked: true, sizeBytes: size })
        expect(Buffer.concat(await gather(client.getStream(fileId))).equals(data)).toBe(true)
        for (let round = 0; round < 10; round++) {
          const start = prng.between(0, size)
          const range = { start, end: prng.between(start, size) }
          const part = data.subarray(range.start, range.end)
          expect((await client.get(fileId, { range })).data.equals(part)).toBe(true)
          const stream = Buffer.concat(await gather(client.getStream(fileId, { range })))
          expect(stream.equals(part)).toBe(true)
        }
        await expect(
          client.get(fileId, { range: { start: 0, end: size + 1 } }),
        ).rejects.toMatchObject({ code: 'RANGE_INVALID' })
        expect(await client.delete(fileId)).toEqual({ wasLive: true })
      }
      expect(cluster.liveNeedles().size).toBe(0)
    },
  )

  test('are spread over volumes and sent 3 at a time', async () => {
    const { client, cluster } = openClient(new FakeCluster({ servers: 4, volumes: 4 }))
    await using _client = client
    let turn = 0
    cluster.choose = (volumes) => volumes[turn++ % volumes.length] as (typeof volumes)[0]
    let atOnce = 0
    let atOnceMax = 0
    const { run } = cluster
    cluster.run = (async <R>(...args: Parameters<typeof run>): Promise<R> => {
      if (args[0] === 'put') atOnceMax = Math.max(atOnceMax, ++atOnce)
      try {
        return (await run.apply(cluster, args)) as R
      } finally {
        if (args[0] === 'put') atOnce--
      }
    }) as typeof run
    const { fileId } = await client.put(Buffer.alloc(16 * KIB), { chunkBytes: CHUNK_BYTES })
    expect(atOnceMax).toBe(3)
    const volumes = [...cluster.liveNeedles().keys()].map((key) => key.split(',')[0])
    expect(new Set(volumes).size).toBe(4)
    expect((await client.get(fileId)).data.length).toBe(16 * KIB)
  })

  test('leave no chunks when the manifest fails', async () => {
    const { client, clock, cluster } = openClient(new FakeCluster({ servers: 2, volumes: 2 }))
    await using _client = client
    cluster.fault = (operation, _, request) => {
      const isManifest =
        operation === 'put' &&
        (request as { metadata: { isChunkManifest?: boolean } }).metadata.isChunkManifest === true
      return isManifest ? { when: 'before', code: 'NEEDLE_INVALID' } : undefined
    }
    for (const source of [Buffer.alloc(9000), inPieces(Buffer.alloc(9000), 700)]) {
      const put = finish(clock, client.put(source, { chunkBytes: CHUNK_BYTES }))
      await expect(put).rejects.toMatchObject({ code: 'NEEDLE_INVALID' })
      expect(cluster.count('put')).toBeGreaterThan(9)
      expect(cluster.liveNeedles().size).toBe(0)
    }
  })

  test('keep the memory of a failed attempt as it was: somebody may still send it', async () => {
    const { client, clock, cluster, prng } = openClient(new FakeCluster({ servers: 4, volumes: 4 }))
    await using _client = client
    const failed: { readonly sent: Uint8Array; readonly copy: Buffer }[] = []
    cluster.fault = (operation, _, request) => {
      if (operation !== 'put' || failed.length === 3) return undefined
      const { data } = request as { data: Uint8Array }
      failed.push({ sent: data, copy: Buffer.from(data) })
      return { when: 'before', code: 'TIMEOUT' }
    }
    const source = inPieces(prng.bytes(40 * CHUNK_BYTES), 700)
    await finish(clock, client.put(source, { chunkBytes: CHUNK_BYTES }))
    expect(failed.length).toBe(3)
    for (const { copy, sent } of failed) expect(copy.equals(sent)).toBe(true)
  })

  test('leave no chunks when the source fails, and its error comes out', async () => {
    const { client, cluster } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    async function* failing() {
      yield Buffer.alloc(9000)
      throw new Error('out of paper')
    }
    const put = client.put(failing(), { chunkBytes: CHUNK_BYTES })
    await expect(put).rejects.toThrow('out of paper')
    expect(cluster.liveNeedles().size).toBe(0)
  })

  test('fail with what the source threw, not with what chunks under way were told', async () => {
    const { client, clock, cluster } = openClient(new FakeCluster({ servers: 2, volumes: 4 }))
    await using _client = client
    const source = async function* () {
      // They wait for their ids when it breaks.
      yield Buffer.alloc(2 * CHUNK_BYTES)
      throw new Error('the source broke')
    }
    const put = finish(clock, client.put(source(), { chunkBytes: CHUNK_BYTES }))
    await expect(put).rejects.toThrow('the source broke')
    expect(cluster.liveNeedles().size).toBe(0)
  })

  test('end at once when the caller aborts, although the source stands still', async () => {
    const { client, clock, cluster } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const caller = new AbortController()
    async function* stalled() {
      yield Buffer.alloc(9000)
      await new Promise(() => {})
    }
    const put = client.put(stalled(), { chunkBytes: CHUNK_BYTES, signal: caller.signal })
    for (let turn = 0; turn < 30; turn++) await clock.advance(1)
    expect(cluster.liveNeedles().size).toBeGreaterThan(3)
    caller.abort()
    await expect(put).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(cluster.liveNeedles().size).toBe(0)
  })

  test('hold a bounded number of chunks, however fast the source is', async () => {
    const { client, clock, cluster } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    let pulled = 0
    async function* endless() {
      for (;;) {
        pulled++
        yield Buffer.alloc(CHUNK_BYTES)
      }
    }
    const { run } = cluster
    cluster.run = ((...args: Parameters<typeof run>) =>
      args[0] === 'put' ? new Promise(() => {}) : run.apply(cluster, args)) as typeof run
    const caller = new AbortController()
    void client
      .put(endless(), { chunkBytes: CHUNK_BYTES, signal: caller.signal })
      .catch(() => undefined)
    for (let turn = 0; turn < 50; turn++) await clock.advance(1)
    expect(pulled).toBeLessThanOrEqual(6)
  })
})

describe('batches', () => {
  test('put, get and delete in order, each item with its own outcome', async () => {
    const { client, cluster } = openClient(new FakeCluster({ servers: 3, volumes: 6 }))
    await using _client = client
    const big = Buffer.alloc(5000, 7)
    const items = Array.from({ length: 200 }, (_, i) => ({
      data: i === 50 ? big : `file ${i}`,
      ...(i === 60 ? { ttl: 'never' } : {}),
      chunkBytes: CHUNK_BYTES,
    }))
    const puts = await gather(client.putMany(items))
    expect(puts.map(codeOf)).toEqual(items.map((_, i) => (i === 60 ? 'TTL_INVALID' : undefined)))
    const fileIds = puts.map((put) => put.value?.fileId ?? 'none')
    const gets = await gather(client.getMany(fileIds))
    expect(gets.map((get) => get.value?.data.toString())).toEqual(
      items.map((item, i) => (i === 60 ? undefined : item.data.toString())),
    )
    const deletes = await gather(client.deleteMany([...fileIds, '1,ffffffffff00000000']))
    expect(deletes.map((outcome) => codeOf(outcome) ?? outcome.value?.wasLive)).toEqual([
      ...items.map((_, i) => (i === 60 ? 'FILE_ID_INVALID' : true)),
      false,
    ])
    expect(cluster.liveNeedles().size).toBe(0)
    expect(cluster.count('batchDelete')).toBeLessThanOrEqual(3)
  })

  test.each(['an item', 'the whole request'])('delete one by one where %s failed', async (what) => {
    const { client, cluster } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    const server = cluster.servers.get('a:8080')
    const puts = await gather(client.putMany(Array.from({ length: 9 }, () => ({ data: 'x' }))))
    const fileIds = puts.map((put) => put.value?.fileId ?? 'none')
    const batchDelete = server?.batchDelete.bind(server)
    if (server === undefined || batchDelete === undefined) throw new Error('no server')
    server.batchDelete = async (requests, signal) => {
      if (what !== 'an item') throw new StoreError('UNAVAILABLE', 'the connection broke')
      const [first, ...rest] = requests
      if (first === undefined) return []
      const error = { code: 'OVERLOADED', message: 'not now' } as const
      const failed = { fileId: first.fileId, wasLive: false, error }
      return [failed, ...(await batchDelete(rest, signal))]
    }
    const outcomes = await gather(client.deleteMany(fileIds))
    expect(outcomes.map((outcome) => outcome.value?.wasLive)).toEqual(Array(9).fill(true))
    expect(cluster.liveNeedles().size).toBe(0)
  })

  test('stop what is under way when the consumer leaves', async () => {
    const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    let pulled = 0
    function* endless() {
      for (;;) yield { data: `${pulled++}` }
    }
    for await (const put of client.putMany(endless(), { concurrency: 8 })) {
      expect(put.error).toBeUndefined()
      break
    }
    expect(pulled).toBeLessThanOrEqual(10)
  })
})

describe('named files', () => {
  test('are put, read, listed and deleted by name', async () => {
    const { client } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    for (const name of ['b/2', 'a/1', 'b/1']) await client.putNamed(name, `at ${name}`)
    expect((await client.getNamed('b/1')).data.toString()).toBe('at b/1')
    expect(Buffer.concat(await gather(client.getNamedStream('b/2'))).toString()).toBe('at b/2')
    const listed = await gather(client.listNamed('b/'))
    expect(listed.map(({ name }) => name)).toEqual(['b/1', 'b/2'])
    expect(await client.deleteNamed('b/1')).toEqual({ wasLive: true })
    expect(await client.deleteNamed('b/1')).toEqual({ wasLive: false })
    await expect(client.getNamed('b/1')).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  })

  test('that get no name are deleted again', async () => {
    const { client, cluster } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    await expect(client.putNamed('', 'x')).rejects.toMatchObject({ code: 'NAME_INVALID' })
    expect(cluster.liveNeedles().size).toBe(0)
  })

  test('whose link answer was lost are linked once and kept', async () => {
    const { client, clock, cluster } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    cluster.fault = (operation) =>
      operation === 'linkName' ? { when: 'after', code: 'TIMEOUT' } : undefined
    const { fileId } = await finish(clock, client.putNamed('x', 'y'))
    expect(cluster.count('linkName')).toBe(1)
    expect((await client.resolveNamed('x')).fileId).toBe(fileId)
  })
})

describe('aborts and the end', () => {
  test('an abort ends a put that waits for a master', async () => {
    const { client, cluster } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    await using _client = client
    cluster.fault = (operation) =>
      operation === 'assign' ? { when: 'before', code: 'WARMING_UP' } : undefined
    const caller = new AbortController()
    const put = client.put('x', { signal: caller.signal })
    await new Promise(setImmediate)
    caller.abort()
    await expect(put).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  test('after disposal everything is CLOSED, and no timer is left', async () => {
    const { client, clock } = openClient(new FakeCluster({ servers: 1, volumes: 1 }))
    const { fileId } = await client.put('x')
    await client[Symbol.asyncDispose]()
    await client[Symbol.asyncDispose]()
    await expect(client.put('x')).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(client.get(fileId)).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(gather(client.getStream(fileId))).rejects.toMatchObject({ code: 'CLOSED' })
    expect(clock.timerCount).toBe(0)
  })
})

function codeOf(outcome: Settled<unknown>): string | undefined {
  return outcome.error?.code
}
