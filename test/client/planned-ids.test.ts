import { describe, expect, test } from 'vitest'
import { formatFileId } from '../../src/base/file-id.ts'
import { isStoreError, StoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
import type { PutOptions } from '../../src/client/client-api.ts'
import type { PutRequest } from '../../src/net/volume-api.ts'
import { letPass } from '../support/client-cluster.ts'
import { CODED, CodedFiles, inPieces } from '../support/coded-files.ts'
import { seeds } from '../support/prng.ts'

const PLAIN: PutOptions = { policy: 'replicated' }
const CHUNKED: PutOptions = { policy: 'replicated', chunkBytes: 1024 }

/** Notes what is told, and what is sent to servers without having been told. */
class Watch {
  readonly calls: string[][] = []
  readonly sent = new Set<string>()
  readonly untold: string[] = []
  readonly #told = new Set<string>()
  #running = 0
  /** Runs in the midst of a call, with its number from 1 on. */
  during: (call: number) => void | Promise<void> = () => undefined

  constructor({ cluster }: CodedFiles) {
    cluster.fault = (operation, _url, request) => {
      if (operation !== 'put') return undefined
      const fileId = formatFileId((request as PutRequest).fileId)
      this.sent.add(fileId)
      if (!this.#told.has(fileId)) this.untold.push(fileId)
      return undefined
    }
  }

  readonly onPlanned = async (fileIds: readonly string[]): Promise<void> => {
    this.calls.push([...fileIds])
    this.#running++
    expect(this.#running).toBe(1)
    try {
      await new Promise(setImmediate)
      await this.during(this.calls.length)
    } finally {
      this.#running--
    }
    for (const fileId of fileIds) this.#told.add(fileId)
  }

  get isRunning(): boolean {
    return this.#running > 0
  }
}

describe('who wants to know of needles before they are sent', () => {
  test.each([
    ['one needle', PLAIN, 500, 1],
    ['ten chunks', CHUNKED, 10_000, 11],
    ['one stripe', CODED, 5000, 7],
    ['one stripe of one byte', CODED, 1, 4],
    ['three stripes', CODED, 20 * MIB, 19],
  ])('is told of all of %s', async (_what, options, size, count) => {
    await using files = new CodedFiles()
    const data = files.prng.bytes(size)
    for (const source of [data, inPieces(data, 300_000)]) {
      const watch = new Watch(files)
      const fileId = await files.put(source, { ...options, onPlanned: watch.onPlanned })
      expect(watch.untold).toEqual([])
      expect(watch.calls.flat()).toHaveLength(count)
      expect(watch.sent).toEqual(new Set(watch.calls.flat()))
      expect(watch.sent).toContain(fileId)
      expect((await files.get(fileId)).equals(data)).toBe(true)
    }
  })

  test('hears of the shards and the manifest of one stripe together', async () => {
    await using files = new CodedFiles()
    for (const kind of ['bytes', 'stream']) {
      const data = files.prng.bytes(5000)
      const watch = new Watch(files)
      const source = kind === 'bytes' ? data : inPieces(data, 100)
      await files.put(source, { ...CODED, onPlanned: watch.onPlanned })
      expect(watch.calls.map((ids) => ids.length)).toEqual([7])
    }
  })

  test('hears of the shards of each further stripe together', async () => {
    await using files = new CodedFiles()
    const watch = new Watch(files)
    const source = inPieces(files.prng.bytes(20 * MIB), MIB)
    const fileId = await files.put(source, { ...CODED, onPlanned: watch.onPlanned })
    const counts = watch.calls.map((ids) => ids.length)
    // Two stripes may be told in one call when they are ready at the same time.
    expect(counts.length).toBeLessThanOrEqual(3)
    for (const count of counts) expect(count).toBeGreaterThanOrEqual(6)
    expect(watch.calls.flat()).toHaveLength(19)
    expect(watch.sent).toContain(fileId)
  })

  test('gets the manifest of a small file while shards are on their way, nobody else', async () => {
    await using files = new CodedFiles()
    const arrived: boolean[] = []
    for (const server of files.cluster.servers.values()) {
      const put = server.put.bind(server)
      server.put = async (request, signal) => {
        const isManifest = request.metadata.isChunkManifest === true
        if (!isManifest) await files.clock.sleep(100, signal)
        const answer = await put(request, signal)
        arrived.push(isManifest)
        return answer
      }
    }
    const watch = new Watch(files)
    await files.put(files.prng.bytes(5000), { ...CODED, onPlanned: watch.onPlanned })
    expect(arrived).toEqual([true, false, false, false, false, false, false])
    arrived.length = 0
    await files.put(files.prng.bytes(5000), CODED)
    expect(arrived).toEqual([false, false, false, false, false, false, true])
  })

  test.each([
    ['one needle', PLAIN, 500],
    ['chunks', CHUNKED, 10_000],
    ['a stripe', CODED, 5000],
    ['a stripe, with best effort', { ...CODED, writePolicy: 'best-effort' } as const, 5000],
  ])('can stop it: nothing of %s is sent', async (_what, options, size) => {
    await using files = new CodedFiles()
    const watch = new Watch(files)
    const why = new StoreError('UNAVAILABLE', 'could not be noted')
    watch.during = () => {
      throw why
    }
    const putting = files.put(files.prng.bytes(size), { ...options, onPlanned: watch.onPlanned })
    await expect(putting).rejects.toBe(why)
    expect(watch.calls).toHaveLength(1)
    expect(watch.sent.size).toBe(0)
  })

  test.each([
    ['chunks', CHUNKED, 10_000],
    ['stripes', CODED, 20 * MIB],
  ])('can stop %s half-way: what was stored is deleted', async (_what, options, size) => {
    await using files = new CodedFiles()
    const watch = new Watch(files)
    watch.during = (call) => {
      if (call === 2) throw new Error('no more')
    }
    const source = inPieces(files.prng.bytes(size), 1024)
    const putting = files.put(source, { ...options, onPlanned: watch.onPlanned })
    await expect(putting).rejects.toThrow('no more')
    expect(watch.sent.size).toBeGreaterThan(0)
    await letPass(files.clock, 5000)
    expect(files.cluster.liveNeedles().size).toBe(0)
  })

  test('is not in a call any more when the put was given up', async () => {
    await using files = new CodedFiles()
    for (const options of [PLAIN, CHUNKED, CODED]) {
      const watch = new Watch(files)
      const stopping = new AbortController()
      watch.during = async () => {
        stopping.abort()
        await new Promise(setImmediate)
      }
      const { onPlanned } = watch
      const given = { ...options, onPlanned, signal: stopping.signal }
      const putting = files.client.put(Buffer.alloc(5000), given).catch((error: unknown) => {
        expect(watch.isRunning).toBe(false)
        throw error
      })
      await expect(files.finish(putting)).rejects.toMatchObject({ code: 'CANCELLED' })
      expect(files.cluster.liveNeedles().size).toBe(0)
    }
  })

  test('waits for a lease that ran out meanwhile no longer than for a new id', async () => {
    await using files = new CodedFiles()
    const watch = new Watch(files)
    watch.during = async (call) => {
      if (call === 1) await files.clock.sleep(60_000, new AbortController().signal)
    }
    const data = Buffer.alloc(20 * MIB, 1)
    const source = inPieces(data, MIB)
    const fileId = await files.put(source, { ...CODED, onPlanned: watch.onPlanned })
    expect(watch.untold).toEqual([])
    // The manifest has another id than the one that was told with the first stripe.
    expect(watch.calls.flat()).toHaveLength(20)
    expect(watch.calls.at(-1)).toEqual([fileId])
    expect((await files.get(fileId)).equals(data)).toBe(true)
  })

  // Goal: no needle is ever sent under an id that was not told, and a put leaves nothing but its
  // file, whatever fails. Method: puts of all kinds while servers fail before and after the work.
  test.each(seeds(20))('is told of new ids amid failures (seed %d)', async (seed) => {
    await using files = new CodedFiles(8, seed)
    const { cluster, prng } = files
    const watch = new Watch(files)
    const note = cluster.fault
    cluster.fault = (operation, url, request) => {
      note(operation, url, request)
      if (operation !== 'put' || !prng.chance(0.2)) return undefined
      const code = prng.pick(['UNAVAILABLE', 'TIMEOUT', 'DISK_FULL', 'VOLUME_BUSY'] as const)
      const isLost = code === 'UNAVAILABLE' || code === 'TIMEOUT'
      return { when: isLost ? prng.pick(['before', 'after'] as const) : 'before', code }
    }
    const stored = new Map<string, Buffer>()
    for (let round = 0; round < 12; round++) {
      const data = prng.bytes(prng.pick([1, 1000, 5000]))
      const policy = prng.pick([PLAIN, CHUNKED, CODED, CODED])
      const source = prng.chance(0.5) ? data : inPieces(data, 900)
      try {
        stored.set(await files.put(source, { ...policy, onPlanned: watch.onPlanned }), data)
      } catch (error) {
        if (!isStoreError(error)) throw error
      }
    }
    cluster.fault = () => undefined
    await letPass(files.clock, 200_000)
    expect(watch.untold).toEqual([])
    expect(watch.sent.size).toBeGreaterThan(watch.calls[0]?.length ?? 0)
    for (const [fileId, data] of stored) expect((await files.get(fileId)).equals(data)).toBe(true)
    for (const fileId of stored.keys()) await files.finish(files.client.delete(fileId))
    expect(cluster.liveNeedles().size).toBe(0)
  })
})
