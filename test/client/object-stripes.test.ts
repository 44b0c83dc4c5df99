import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { isStoreError } from '../../src/base/store-error.ts'
import { KIB, MIB } from '../../src/base/units.ts'
import { HayloftClient } from '../../src/client/hayloft-client.ts'
import { readPolicy } from '../../src/client/storage-policy.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { letPass } from '../support/client-cluster.ts'
import { CODED, CodedFiles, inPieces, pairs } from '../support/coded-files.ts'
import { expectStoreError } from '../support/expect-error.ts'
import { seeds } from '../support/prng.ts'

describe('the policy of a put', () => {
  test.each([
    [{}, undefined],
    [{ policy: 'replicated' }, undefined],
    [{ policy: 'ec:4+2' }, ['4+2', 'servers', 0]],
    [{ policy: 'ec:10+4', spread: 'racks' }, ['10+4', 'racks', 0]],
    [{ policy: 'auto' }, ['4+2', 'servers', MIB]],
    [{ policy: 'auto:6+3', spread: 'data-centers' }, ['6+3', 'data-centers', MIB]],
    [{ policy: 'auto', erasureMinBytes: 5 }, ['4+2', 'servers', 5]],
  ])('%o is %o', (options, expected) => {
    const found = readPolicy(options)
    const { minBytes, scheme, spread } = found ?? {}
    const shown = scheme && [`${scheme.dataShards}+${scheme.parityShards}`, spread, minBytes]
    expect(shown).toEqual(expected)
  })

  test.each([
    [{ policy: 'raid' }, 'CONFIG_INVALID'],
    [{ policy: '' }, 'CONFIG_INVALID'],
    [{ policy: 'ec:' }, 'ERASURE_INVALID'],
    [{ policy: 'ec:4+7' }, 'ERASURE_INVALID'],
    [{ policy: 'ec:4+2', spread: 'rack' }, 'CONFIG_INVALID'],
    [{ policy: 'auto', erasureMinBytes: -1 }, 'CONFIG_INVALID'],
    [{ policy: 'auto', erasureMinBytes: 8 * MIB + 1 }, 'CONFIG_INVALID'],
  ] as const)('%o is %s', (options, code) => {
    expectStoreError(() => readPolicy(options), code)
  })

  test('that always codes has no replication', async () => {
    await using setting = new CodedFiles()
    const options = { ...CODED, replication: '001' }
    await expect(setting.put(Buffer.alloc(5), options)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
    await setting.put(Buffer.alloc(5), { replication: '001', policy: 'auto' })
  })

  test.each([
    ['bytes below the threshold', 999, 'bytes', undefined],
    ['bytes of the threshold', 1000, 'bytes', '4+2'],
    ['a stream below the threshold', 999, 'stream', undefined],
    ['a stream of the threshold', 1000, 'stream', '4+2'],
    ['an empty stream', 0, 'stream', undefined],
    ['no bytes at all', 0, 'bytes', undefined],
  ] as const)('auto: %s', async (_what, size, kind, expected) => {
    await using setting = new CodedFiles()
    const data = setting.prng.bytes(size)
    const source = kind === 'bytes' ? data : inPieces(data, 70)
    const fileId = await setting.put(source, { policy: 'auto', erasureMinBytes: 1000 })
    expect((await setting.client.stat(fileId)).erasure).toBe(expected)
    expect((await setting.get(fileId)).equals(data)).toBe(true)
  })

  test('may be the default of a client', async () => {
    await using setting = new CodedFiles()
    const { clock, cluster, prng: random } = setting
    const parts = { ...cluster, master: cluster.master, clock, random, logger: silentLogger }
    const client = HayloftClient.over({ ...parts, connect: cluster.connect }, CODED)
    const coded = await setting.finish(client.put('hello'))
    const plain = await setting.finish(client.put('hello', { policy: 'replicated' }))
    expect((await setting.finish(client.stat(coded.fileId))).erasure).toBe('4+2')
    expect((await setting.finish(client.stat(plain.fileId))).erasure).toBeUndefined()
    await setting.finish(client[Symbol.asyncDispose]())
  })
})

describe('an erasure-coded file', () => {
  test('is six shards on six servers, and a manifest in three copies', async () => {
    await using setting = new CodedFiles(9)
    const data = setting.prng.bytes(100_000)
    const options = { ...CODED, name: 'a.bin', mime: 'x/y', pairs: { Owner: 'me' } }
    const fileId = await setting.put(data, options)
    const [urls = []] = setting.shardUrls(fileId)
    expect(new Set(urls).size).toBe(6)
    expect([...setting.copies(fileId)]).toHaveLength(3)
    expect(setting.cluster.liveNeedles().size).toBe(7)
    const info = { sizeBytes: 100_000, name: 'a.bin', mime: 'x/y', pairs: { Owner: 'me' } }
    expect(await setting.client.stat(fileId)).toMatchObject({ ...info, erasure: '4+2' })
    const got = await setting.finish(setting.client.get(fileId))
    expect(got).toMatchObject({ ...info, isChunked: true, erasure: '4+2' })
    expect(got.data.equals(data)).toBe(true)
  })

  test('is read by whoever knows chunks only, as long as it is whole', async () => {
    await using setting = new CodedFiles()
    const data = setting.prng.bytes(9 * MIB)
    const { chunks } = setting.manifest(await setting.put(data))
    const live = setting.cluster.liveNeedles()
    const parts = chunks.map(({ fileId: { needleId, volumeId } }) => {
      return live.get(`${volumeId},${needleId.hi}:${needleId.lo}`)?.data ?? Buffer.alloc(0)
    })
    expect(Buffer.concat(parts).equals(data)).toBe(true)
  })

  // Goal: whatever two servers are away, nothing is missing. Method: every pair of six, whole files
  // and ranges around borders of shards and stripes, of one stripe and of two.
  test('is all there without any two of six servers', async () => {
    await using setting = new CodedFiles()
    const small = setting.prng.bytes(100_003)
    const large = setting.prng.bytes(9 * MIB + 5)
    const smallId = await setting.put(small)
    const largeId = await setting.put(inPieces(large, 300_000))
    const quarter = 25_024
    for (const away of pairs(setting.urls)) {
      setting.cluster.setDown(away)
      const expectRange = async (fileId: string, data: Buffer, start: number, end: number) => {
        const expected = data.subarray(start, end)
        const got = (await setting.get(fileId, start, end)).equals(expected)
        const streamed = (await setting.stream(fileId, start, end)).equals(expected)
        expect([away, start, end, got, streamed]).toEqual([away, start, end, true, true])
      }
      expect((await setting.get(smallId)).equals(small)).toBe(true)
      expect((await setting.stream(largeId)).equals(large)).toBe(true)
      await expectRange(smallId, small, 0, 1)
      await expectRange(smallId, small, quarter - 1, quarter + 1)
      await expectRange(smallId, small, quarter, 3 * quarter)
      await expectRange(smallId, small, 100_002, 100_003)
      await expectRange(largeId, large, 8 * MIB - 5, 8 * MIB + 5)
      await expectRange(largeId, large, 5 * MIB, 5 * MIB + 1000)
      await expectRange(largeId, large, 9 * MIB, 9 * MIB + 5)
    }
  })

  test('is SHARDS_LOST with three servers away, and back with one of them', async () => {
    await using setting = new CodedFiles()
    const data = setting.prng.bytes(100_000)
    const fileId = await setting.put(data)
    // The manifest has three copies: one of them has to be left.
    const held = setting.cluster.volumes.get(parseFileId(fileId).volumeId)?.urls
    const away = setting.urls.filter((url) => held?.has(url) !== true)
    setting.cluster.setDown(away)
    const reading = setting.get(fileId)
    await expect(reading).rejects.toMatchObject({ code: 'SHARDS_LOST' })
    setting.cluster.setDown(away.slice(1))
    expect((await setting.get(fileId)).equals(data)).toBe(true)
  })

  test('is right although needles of two shards are not what was stored', async () => {
    await using setting = new CodedFiles()
    const data = setting.prng.bytes(200_000)
    for (const lost of pairs([0, 1, 2, 3, 4, 5])) {
      const fileId = await setting.put(data)
      const [stripe] = setting.manifest(fileId).erasure?.stripes ?? []
      const live = setting.cluster.liveNeedles()
      for (const index of lost) {
        const { needleId, volumeId } = stripe?.shards[index]?.fileId ?? expect.fail('no shard')
        const bytes = live.get(`${volumeId},${needleId.hi}:${needleId.lo}`)?.data
        const at = setting.prng.below(bytes?.length ?? 0)
        bytes?.writeUInt8((bytes.readUInt8(at) ^ (1 << setting.prng.below(8))) & 0xff, at)
      }
      expect((await setting.get(fileId)).equals(data)).toBe(true)
      expect(
        (await setting.get(fileId, 49_000, 51_000)).equals(data.subarray(49_000, 51_000)),
      ).toBe(true)
    }
  })

  test('is read around a server that hangs, after a second, then at once', async () => {
    await using setting = new CodedFiles()
    const data = setting.prng.bytes(100_000)
    const fileId = await setting.put(data)
    const hanging = setting.shardUrls(fileId)[0]?.[1]
    const server = setting.cluster.servers.get(hanging ?? '') ?? expect.fail('no server')
    const read = server.read.bind(server)
    server.read = (request, signal) =>
      // The manifest may be there too.
      request.fileId.volumeId === parseFileId(fileId).volumeId
        ? read(request, signal)
        : new Promise(() => undefined)
    const startMs = setting.clock.monotonicMs()
    expect((await setting.get(fileId)).equals(data)).toBe(true)
    const firstMs = setting.clock.monotonicMs() - startMs
    expect(firstMs).toBeGreaterThanOrEqual(1000)
    expect(firstMs).toBeLessThan(1200)
    expect((await setting.get(fileId)).equals(data)).toBe(true)
    expect(setting.clock.monotonicMs() - startMs - firstMs).toBeLessThan(200)
  })

  test.each([
    ['one stripe', 100_000],
    ['three stripes', 20 * MIB],
    ['one byte', 1],
  ])('of %s leaves nothing behind when it is deleted', async (_what, size) => {
    await using setting = new CodedFiles()
    const fileId = await setting.put(setting.prng.bytes(size))
    const other = await setting.put(Buffer.from('stays'))
    const { size: needleCount } = setting.cluster.liveNeedles()
    expect(needleCount).toBeGreaterThan(4)
    expect(await setting.finish(setting.client.delete(fileId))).toEqual({ wasLive: true })
    expect(await setting.finish(setting.client.delete(fileId))).toEqual({ wasLive: false })
    expect(setting.cluster.liveNeedles().size).toBe(4)
    const deleted = await setting.finish(setting.client.deleteMany([other]).next())
    expect(deleted.value).toMatchObject({ value: { wasLive: true } })
    expect(setting.cluster.liveNeedles().size).toBe(0)
  })

  test('can be deleted after one of its volumes was given up for ever', async () => {
    await using setting = new CodedFiles()
    const fileId = await setting.put(setting.prng.bytes(100_000))
    const [stripe] = setting.manifest(fileId).erasure?.stripes ?? []
    const lost = stripe?.shards[5]?.fileId?.volumeId ?? expect.fail('no shard')
    setting.cluster.volumes.delete(lost)
    const removed = { isSnapshot: false, volumes: [], removedVolumeIds: [lost] }
    setting.cluster.master.tell(removed)
    await setting.finish(setting.client.delete(fileId))
    expect(setting.cluster.liveNeedles().size).toBe(1) // The one in that volume.
  })

  test('of 0 bytes is a needle like any other', async () => {
    await using setting = new CodedFiles()
    const fileId = await setting.put(Buffer.alloc(0))
    expect((await setting.client.stat(fileId)).isChunked).toBe(false)
  })

  test('can have a name, and is read by it', async () => {
    await using setting = new CodedFiles()
    const data = setting.prng.bytes(50_000)
    await setting.finish(setting.client.putNamed('photos/a', data, CODED))
    const got = await setting.finish(setting.client.getNamed('photos/a'))
    expect(got.data.equals(data)).toBe(true)
    expect(got.erasure).toBe('4+2')
  })
})

describe('storing it', () => {
  test.each([5, 3, 0])('needs six servers: with %d it is PLACEMENT_IMPOSSIBLE', async (count) => {
    await using setting = new CodedFiles(count)
    const putting = setting.put(Buffer.alloc(1000))
    await expect(putting).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
    await expect(putting).rejects.toThrow(`4+2 needs 6 servers`)
    await expect(putting).rejects.toThrow(`${count} can be used`)
    expect(setting.cluster.liveNeedles().size).toBe(0)
  })

  test('keeps no more than m shards in a rack where that is asked for', async () => {
    await using setting = new CodedFiles(8)
    for (const [index, url] of setting.urls.entries()) {
      setting.cluster.places.set(url, ['dc', `r${index % 4}`])
    }
    const fileId = await setting.put(setting.prng.bytes(1000), { ...CODED, spread: 'racks' })
    const racks = setting
      .shardUrls(fileId)
      .flatMap((urls) => urls.map((url) => setting.cluster.places.get(url)?.[1]))
    for (const rack of racks) {
      expect(racks.filter((each) => each === rack).length).toBeLessThanOrEqual(2)
    }
    expect(setting.manifest(fileId).erasure?.spread).toBe('racks')
    const apart = { ...CODED, spread: 'data-centers' }
    await expect(setting.put(Buffer.alloc(9), apart)).rejects.toThrow('in 1 data centres')
  })

  test('goes to another server when one fails, and never leaves two shards on one', async () => {
    await using setting = new CodedFiles(8)
    const bad = new Set(setting.urls.slice(0, 2))
    setting.cluster.fault = (operation, url) =>
      operation === 'put' && bad.has(url) ? { when: 'before', code: 'DISK_FULL' } : undefined
    for (let round = 0; round < 10; round++) {
      const data = setting.prng.bytes(30_000)
      const fileId = await setting.put(data)
      const [urls = []] = setting.shardUrls(fileId)
      expect(new Set(urls).size).toBe(6)
      for (const url of urls) expect(bad.has(url)).toBe(false)
      expect((await setting.get(fileId)).equals(data)).toBe(true)
    }
  })

  test('tries the same server again where there is no other', async () => {
    await using setting = new CodedFiles(6)
    let failures = 3
    setting.cluster.fault = (operation) =>
      operation === 'put' && failures-- > 0 ? { when: 'before', code: 'OVERLOADED' } : undefined
    const data = setting.prng.bytes(30_000)
    const fileId = await setting.put(data)
    expect(new Set(setting.shardUrls(fileId)[0]).size).toBe(6)
    expect((await setting.get(fileId)).equals(data)).toBe(true)
  })

  test('does not wait for a server that hangs', async () => {
    await using setting = new CodedFiles(7)
    const server = setting.cluster.servers.get('c:8080') ?? expect.fail('no server')
    server.put = () => new Promise(() => undefined)
    const data = setting.prng.bytes(30_000)
    const startMs = setting.clock.monotonicMs()
    for (let round = 0; round < 4; round++) {
      const fileId = await setting.put(data)
      expect(setting.shardUrls(fileId)[0]).not.toContain('c:8080')
    }
    // The first one waits five seconds and a second for the MiB; the others know.
    expect(setting.clock.monotonicMs() - startMs).toBeLessThan(7000)
  })

  test('that is given up leaves nothing behind', async () => {
    await using setting = new CodedFiles(6)
    setting.cluster.fault = (operation, url) =>
      operation === 'put' && url === 'd:8080' ? { when: 'before', code: 'DISK_FULL' } : undefined
    await expect(setting.put(setting.prng.bytes(20 * MIB))).rejects.toMatchObject({
      code: 'DISK_FULL',
    })
    expect(setting.cluster.liveNeedles().size).toBe(0)
  })

  test('ends with what its source ends with, and leaves nothing behind', async () => {
    await using setting = new CodedFiles(6)
    const data = setting.prng.bytes(10 * MIB)
    const source = async function* (): AsyncGenerator<Buffer> {
      yield data
      throw new Error('the source broke')
    }
    await expect(setting.put(source())).rejects.toThrow('the source broke')
    expect(setting.cluster.liveNeedles().size).toBe(0)
  })

  test('ends when the caller gives up, and leaves nothing behind', async () => {
    await using setting = new CodedFiles(6)
    const stopping = new AbortController()
    let isEnded = false
    const source = async function* (): AsyncGenerator<Buffer> {
      try {
        for (;;) {
          yield Buffer.alloc(MIB)
          if (setting.cluster.count('put') > 8) stopping.abort()
        }
      } finally {
        isEnded = true
      }
    }
    const putting = setting.put(source(), { ...CODED, signal: stopping.signal })
    await expect(putting).rejects.toMatchObject({ code: 'CANCELLED' })
    await letPass(setting.clock, 200_000)
    expect(isEnded).toBe(true)
    expect(setting.cluster.liveNeedles().size).toBe(0)
  })

  test('gives up its source also when there are too few servers', async () => {
    await using setting = new CodedFiles(3)
    let isEnded = false
    const source = async function* (): AsyncGenerator<Buffer> {
      try {
        for (;;) yield Buffer.alloc(KIB)
      } finally {
        isEnded = true
      }
    }
    await expect(setting.put(source())).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
    expect(isEnded).toBe(true)
  })

  // Goal: what was acknowledged is there with any two servers away, and what was not leaves nothing
  // once its servers are back. Method: puts while servers fail before and after the work.
  test.each(seeds(15))('amid failures keeps what it acknowledged (seed %d)', async (seed) => {
    await using setting = new CodedFiles(8, seed)
    const { cluster, prng } = setting
    const rate = prng.pick([0.05, 0.2, 0.4])
    cluster.fault = (operation) => {
      if (operation === 'assign' && prng.chance(rate / 4)) {
        return { when: 'before', code: prng.pick(['WARMING_UP', 'UNAVAILABLE']) }
      }
      if (operation !== 'put' || !prng.chance(rate)) return undefined
      const code = prng.pick(['UNAVAILABLE', 'TIMEOUT', 'DISK_FULL', 'VOLUME_BUSY'] as const)
      const isLost = code === 'UNAVAILABLE' || code === 'TIMEOUT'
      return { when: isLost ? prng.pick(['before', 'after'] as const) : 'before', code }
    }
    const stored = new Map<string, Buffer>()
    for (let round = 0; round < 10; round++) {
      const data = prng.bytes(prng.pick([1, 1000, 70_000, 90_000, 9 * MIB]))
      try {
        stored.set(await setting.put(prng.chance(0.5) ? data : inPieces(data, 50_000)), data)
      } catch (error) {
        if (!isStoreError(error)) throw error
      }
    }
    cluster.fault = () => undefined
    await letPass(setting.clock, 200_000)
    const away = prng.pick([...pairs(setting.urls)])
    const needles = [...stored.keys()].reduce((sum, fileId) => {
      const shards = setting.manifest(fileId).erasure?.stripes.flatMap((stripe) => stripe.shards)
      return sum + 1 + (shards?.filter((shard) => shard.fileId !== undefined).length ?? 0)
    }, 0)
    expect(cluster.liveNeedles().size).toBe(needles)
    cluster.setDown(away)
    for (const [fileId, data] of stored) {
      for (const urls of setting.shardUrls(fileId)) {
        const used = urls.filter((url) => url !== '')
        expect(new Set(used).size).toBe(used.length)
      }
      expect((await setting.get(fileId)).equals(data)).toBe(true)
    }
  })
})

describe('memory of a long stream', () => {
  test('of 200 MB is bounded: three stripes are held, with the parity of two', async () => {
    await using setting = new CodedFiles()
    const pieceBytes = 256 * KIB
    const pieces = 800
    let given = 0
    let mostHeld = 0
    // What servers have got has left the client.
    const received = (): number =>
      [...setting.cluster.servers.values()].reduce(
        (sum, { needles }) =>
          [...needles.values()].reduce((all, { data }) => all + data.length, sum),
        0,
      )
    const memory = Buffer.alloc(pieceBytes, 7)
    const source = async function* (): AsyncGenerator<Buffer> {
      for (let piece = 0; piece < pieces; piece++) {
        given += pieceBytes
        mostHeld = Math.max(mostHeld, given - received() / 1.5)
        yield memory
      }
    }
    const { fileId } = await setting.finish(setting.client.put(source(), CODED))
    expect((await setting.client.stat(fileId)).sizeBytes).toBe(pieces * pieceBytes)
    expect(setting.manifest(fileId).erasure?.stripes).toHaveLength(25)
    expect(mostHeld).toBeGreaterThan(8 * MIB)
    expect(mostHeld).toBeLessThanOrEqual(24 * MIB + pieceBytes)
  })
})
