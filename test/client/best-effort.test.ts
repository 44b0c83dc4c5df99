import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
import type { PutOptions } from '../../src/client/client-api.ts'
import type { PutRequest } from '../../src/net/volume-api.ts'
import { letPass } from '../support/client-cluster.ts'
import { CODED, CodedFiles, inPieces, pairs } from '../support/coded-files.ts'

const BEST: PutOptions = { ...CODED, writePolicy: 'best-effort' }

async function put(files: CodedFiles, data: Buffer | AsyncIterable<Buffer>, options = BEST) {
  return await files.finish(files.client.put(data, options))
}

/** Servers of shards that are not there. */
function missingShards(files: CodedFiles, fileId: string): number {
  const live = files.cluster.liveNeedles()
  const stripes = files.manifest(fileId).erasure?.stripes ?? []
  const shards = stripes.flatMap((stripe) => stripe.shards)
  return shards.filter(({ fileId: shard }) => {
    if (shard === undefined) return false
    return !live.has(`${shard.volumeId},${shard.needleId.hi}:${shard.needleId.lo}`)
  }).length
}

describe('a put with best effort', () => {
  test('is like any other where all servers are up', async () => {
    await using files = new CodedFiles()
    const result = await put(files, files.prng.bytes(9 * MIB))
    expect(result.missingCount).toBeUndefined()
    expect(missingShards(files, result.fileId)).toBe(0)
  })

  test.each([
    ['a', 100_000, 1],
    ['ab', 100_000, 2],
    ['ef', 100_000, 2],
    ['cd', 9 * MIB, 4],
    // One data shard and two of parity: that leaves enough servers.
    ['ab', 1, 0],
    ['abcd', 1, 1],
  ])('without the servers %s, of %d bytes, misses %d shards', async (names, size, missing) => {
    await using files = new CodedFiles()
    const away = [...names].map((name) => `${name}:8080`)
    files.cluster.setDown(away)
    const data = files.prng.bytes(size)
    const { fileId, missingCount, sizeBytes } = await put(files, inPieces(data, 70_000))
    const copies = [...files.copies(fileId)].length
    expect(sizeBytes).toBe(size)
    expect(missingShards(files, fileId)).toBe(missing)
    expect(missingCount ?? 0).toBe(missing + 3 - copies)
    expect((await files.get(fileId)).equals(data)).toBe(true)
    files.cluster.setDown([])
    expect((await files.get(fileId)).equals(data)).toBe(true)
    const repaired = await files.finish(files.client.repairFile(fileId))
    expect(repaired).toMatchObject({ rebuiltCount: missing, movedCount: 0, leftCount: 0 })
    expect(missingShards(files, fileId)).toBe(0)
    if (copies === 3) {
      for (const gone of pairs(files.urls)) {
        files.cluster.setDown(gone)
        expect((await files.get(fileId)).equals(data)).toBe(true)
      }
    }
    files.cluster.setDown([])
    await files.finish(files.client.delete(fileId))
    expect(files.cluster.liveNeedles().size).toBe(0)
  })

  test.each([1, 2])(
    'does not wait long for %d servers that are thought to be up',
    async (count) => {
      await using files = new CodedFiles()
      const bad = files.urls.slice(-count)
      files.cluster.fault = (operation, url) =>
        operation === 'put' && bad.includes(url)
          ? { when: 'before', code: 'UNAVAILABLE' }
          : undefined
      const data = files.prng.bytes(100_000)
      const startMs = files.clock.monotonicMs()
      const { fileId, missingCount } = await put(files, data)
      expect(files.clock.monotonicMs() - startMs).toBeLessThan(1000)
      expect(missingCount).toBe(count)
      expect((await files.get(fileId)).equals(data)).toBe(true)
    },
  )

  test.each(['DISK_FULL', 'OVERLOADED', 'VOLUME_BUSY'] as const)(
    'tries a server that says %s for three seconds',
    async (code) => {
      await using files = new CodedFiles()
      let isBad = true
      files.cluster.fault = (operation, url) =>
        operation === 'put' && url === 'f:8080' && isBad ? { when: 'before', code } : undefined
      files.clock.after(1000, () => {
        isBad = false
      })
      expect((await put(files, files.prng.bytes(1000))).missingCount).toBeUndefined()
      isBad = true
      const startMs = files.clock.monotonicMs()
      expect((await put(files, files.prng.bytes(1000))).missingCount).toBe(1)
      const tookMs = files.clock.monotonicMs() - startMs
      expect(tookMs).toBeGreaterThanOrEqual(3000)
      expect(tookMs).toBeLessThan(5000)
    },
  )

  test('waits for a server that hangs once, and then no more than a second', async () => {
    await using files = new CodedFiles()
    const server = files.cluster.servers.get('f:8080') ?? expect.fail('no server')
    server.put = () => new Promise(() => undefined)
    const times: number[] = []
    for (let round = 0; round < 3; round++) {
      const startMs = files.clock.monotonicMs()
      expect((await put(files, files.prng.bytes(1000))).missingCount).toBe(1)
      times.push(files.clock.monotonicMs() - startMs)
    }
    expect(times[0]).toBeLessThan(5000)
    for (const later of times.slice(1)) expect(later).toBeLessThan(2500)
  })

  test.each(['known', 'not known'])('fails with m + 1 servers down, %s', async (kind) => {
    await using files = new CodedFiles()
    const away = files.urls.slice(0, 3)
    if (kind === 'known') files.cluster.setDown(away)
    else {
      files.cluster.fault = (operation, url) =>
        operation === 'put' && away.includes(url)
          ? { when: 'before', code: 'UNAVAILABLE' }
          : undefined
    }
    const code = kind === 'known' ? 'PLACEMENT_IMPOSSIBLE' : 'UNAVAILABLE'
    await expect(put(files, files.prng.bytes(9 * MIB))).rejects.toMatchObject({ code })
    await letPass(files.clock, 5000)
    expect(files.cluster.liveNeedles().size).toBe(0)
  })

  test('of all fails where best effort does not', async () => {
    await using files = new CodedFiles()
    files.cluster.setDown(['a:8080'])
    const all: PutOptions = { ...CODED, writePolicy: 'all' }
    const putting = put(files, Buffer.alloc(1000), all)
    await expect(putting).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
  })

  test('counts the copies of the manifest that there is no server for', async () => {
    await using files = new CodedFiles(3)
    files.cluster.setDown(['a:8080', 'b:8080'])
    const data = files.prng.bytes(5000)
    const result = await put(files, data, { ...BEST, policy: 'ec:1+2' })
    expect(result.missingCount).toBe(4)
    expect([...files.copies(result.fileId)]).toHaveLength(1)
    expect((await files.get(result.fileId)).equals(data)).toBe(true)
    files.cluster.setDown([])
    const repaired = await files.finish(files.client.repairFile(result.fileId))
    expect(repaired.rebuiltCount).toBe(2)
  })

  test.each([false, true])(
    'makes do with fewer copies of the manifest (told: %s)',
    async (isTold) => {
      await using files = new CodedFiles()
      const { cluster } = files
      cluster.fault = (operation, _url, request) => {
        if (operation !== 'put') return undefined
        const { fileId, metadata } = request as PutRequest
        const copies = cluster.volumes.get(fileId.volumeId)?.urls.size ?? 0
        if (metadata.isChunkManifest !== true || copies < 3) return undefined
        return { when: 'before', code: 'REPLICATION_FAILED' }
      }
      const told: string[] = []
      const onPlanned = async (fileIds: readonly string[]) => void told.push(...fileIds)
      const data = files.prng.bytes(5000)
      const result = await put(files, data, isTold ? { ...BEST, onPlanned } : BEST)
      expect(result.missingCount).toBe(1)
      expect([...files.copies(result.fileId)]).toHaveLength(2)
      expect(told.includes(result.fileId)).toBe(isTold)
      expect((await files.get(result.fileId)).equals(data)).toBe(true)
    },
  )

  test('tries all copies of the manifest on another volume first', async () => {
    await using files = new CodedFiles()
    let failures = 0
    files.cluster.fault = (operation, _url, request) => {
      if (operation !== 'put') return undefined
      const isManifest = (request as PutRequest).metadata.isChunkManifest === true
      if (!isManifest || failures > 0) return undefined
      failures++
      // As one that waits for a copy on a server that hangs.
      files.clock.advance(10_000)
      return { when: 'before', code: 'REPLICATION_FAILED' }
    }
    const result = await put(files, files.prng.bytes(5000))
    expect(failures).toBe(1)
    expect(result.missingCount).toBeUndefined()
    expect([...files.copies(result.fileId)]).toHaveLength(3)
  })

  test('needs no id for the manifest before the shards are sent', async () => {
    await using files = new CodedFiles()
    const { master } = files.cluster
    await put(files, Buffer.alloc(5000))
    const assign = master.assign.bind(master)
    master.assign = (request, signal) => {
      if (request.replication?.otherServers !== 2) return assign(request, signal)
      return Promise.reject(new StoreError('PLACEMENT_IMPOSSIBLE', 'a server went away'))
    }
    await files.clock.advance(60_000) // No lease of before is left.
    const calls: number[] = []
    const onPlanned = async (fileIds: readonly string[]) => void calls.push(fileIds.length)
    const { fileId, missingCount } = await put(files, Buffer.alloc(5000), { ...BEST, onPlanned })
    expect(calls).toEqual([6, 1])
    expect(missingCount).toBe(1)
    expect((await files.get(fileId)).equals(Buffer.alloc(5000))).toBe(true)
    const all = put(files, Buffer.alloc(5000), { ...CODED, onPlanned })
    await expect(all).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
    expect(files.cluster.liveNeedles().size).toBe(14)
  })

  test('tells of no id that stands for a missing shard', async () => {
    await using files = new CodedFiles()
    files.cluster.setDown(['a:8080', 'b:8080'])
    const told: string[] = []
    const onPlanned = async (fileIds: readonly string[]) => void told.push(...fileIds)
    const { fileId, missingCount } = await put(files, Buffer.alloc(5000), { ...BEST, onPlanned })
    expect(missingCount).toBe(2)
    expect(told).toHaveLength(5)
    expect(told).toContain(fileId)
    expect(new Set(told.map((text) => parseFileId(text).needleId.lo)).size).toBe(5)
  })

  test('of a kind that is none is CONFIG_INVALID', async () => {
    await using files = new CodedFiles()
    const options = { writePolicy: 'some' } as unknown as PutOptions
    await expect(put(files, Buffer.alloc(1), options)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
  })
})
