import { describe, expect, test } from 'vitest'
import { parseFileId } from '../../src/base/file-id.ts'
import { MIB } from '../../src/base/units.ts'
import { letPass } from '../support/client-cluster.ts'
import { CODED, CodedFiles, pairs } from '../support/coded-files.ts'
import { seeds } from '../support/prng.ts'

/** As if the server had never been: its needles are gone, and it does not come back. */
function lose(files: CodedFiles, url: string, down: readonly string[] = []): void {
  files.cluster.servers.get(url)?.needles.clear()
  files.cluster.setDown([...down, url])
}

function shardNeedle(files: CodedFiles, fileId: string, stripe: number, shard: number) {
  const found = files.manifest(fileId).erasure?.stripes[stripe]?.shards[shard]?.fileId
  if (found === undefined) return expect.fail(`no shard ${shard}`)
  const key = `${found.volumeId},${found.needleId.hi}:${found.needleId.lo}`
  const [url = ''] = files.cluster.volumes.get(found.volumeId)?.urls ?? []
  const needles = files.cluster.servers.get(url)?.needles
  return { key, url, needles, data: needles?.get(key)?.data ?? Buffer.alloc(0) }
}

async function expectAnyTwoMayGo(files: CodedFiles, fileId: string, data: Buffer): Promise<void> {
  const up = files.urls.filter((url) => !files.cluster.down.has(url))
  const gone = [...files.cluster.down]
  for (const away of pairs(up)) {
    files.cluster.setDown([...gone, ...away])
    expect([away, (await files.get(fileId)).equals(data)]).toEqual([away, true])
  }
  files.cluster.setDown(gone)
}

describe('repairing an erasure-coded file', () => {
  test('that is whole changes nothing', async () => {
    await using files = new CodedFiles(7)
    const fileId = await files.put(files.prng.bytes(9 * MIB))
    const { size } = files.cluster.liveNeedles()
    const before = files.needle(fileId).data
    const result = await files.finish(files.client.repairFile(fileId))
    const nothing = { rebuiltCount: 0, movedCount: 0, leftCount: 0 }
    expect(result).toEqual({ fileId, stripeCount: 2, shardCount: 12, ...nothing })
    expect(files.needle(fileId).data).toBe(before)
    expect(files.cluster.liveNeedles().size).toBe(size)
  })

  test.each([
    ['one needle', { policy: 'replicated' }, 100],
    ['chunks', { policy: 'replicated', chunkBytes: 1024 }, 3000],
  ])('that is %s is nothing to do', async (_what, options, size) => {
    await using files = new CodedFiles(6)
    const fileId = await files.put(files.prng.bytes(size), options)
    const result = await files.finish(files.client.repairFile(fileId))
    expect(result).toMatchObject({ stripeCount: 0, shardCount: 0, rebuiltCount: 0 })
  })

  test('after a server is lost lets any two others be lost again', async () => {
    await using files = new CodedFiles(8)
    const data = files.prng.bytes(9 * MIB + 11)
    const fileId = await files.put(data, { ...CODED, name: 'a', pairs: { Owner: 'me' } })
    // One that has no copy of the manifest: the master would have to make another one first.
    const held = files.cluster.volumes.get(parseFileId(fileId).volumeId)?.urls
    const urls = files.shardUrls(fileId).flat()
    const lost = urls.find((url) => held?.has(url) !== true) ?? expect.fail('all have it')
    lose(files, lost)
    const result = await files.finish(files.client.repairFile(fileId))
    const lostCount = urls.filter((url) => url === lost).length
    expect(lostCount).toBeGreaterThan(0)
    expect(result).toMatchObject({ stripeCount: 2, shardCount: 12, rebuiltCount: lostCount })
    for (const stripe of files.shardUrls(fileId)) {
      expect(new Set(stripe).size).toBe(6)
      expect(stripe).not.toContain(lost)
    }
    await expectAnyTwoMayGo(files, fileId, data)
    const info = await files.finish(files.client.stat(fileId))
    expect(info).toMatchObject({ name: 'a', pairs: { Owner: 'me' }, erasure: '4+2' })
    const again = await files.finish(files.client.repairFile(fileId))
    expect(again.rebuiltCount).toBe(0)
  })

  test('makes shards anew that are not what was stored, and deletes the bad ones', async () => {
    await using files = new CodedFiles(8)
    const data = files.prng.bytes(100_000)
    for (const bad of pairs([0, 1, 2, 3, 4, 5])) {
      const fileId = await files.put(data)
      const { size } = files.cluster.liveNeedles()
      const needles = bad.map((shard) => shardNeedle(files, fileId, 0, shard))
      for (const needle of needles) needle.data.writeUInt8(needle.data.readUInt8(50) ^ 1, 50)
      const result = await files.finish(files.client.repairFile(fileId))
      expect(result).toMatchObject({ shardCount: 6, rebuiltCount: 2, leftCount: 0 })
      for (const { key, needles: there } of needles) expect(there?.has(key)).toBe(false)
      expect(files.cluster.liveNeedles().size).toBe(size)
      expect((await files.get(fileId)).equals(data)).toBe(true)
    }
  })

  test('moves shards apart that have come together on one server', async () => {
    await using files = new CodedFiles(6)
    const data = files.prng.bytes(100_000)
    const fileId = await files.put(data)
    const stripe = files.manifest(fileId).erasure?.stripes[0]
    const moved = stripe?.shards[1]?.fileId ?? expect.fail('no shard')
    const [from = '', to = ''] = [1, 4].map((shard) => shardNeedle(files, fileId, 0, shard).url)
    files.cluster.move(moved.volumeId, from, to)
    expect(new Set(files.shardUrls(fileId)[0]).size).toBe(5)
    const result = await files.finish(files.client.repairFile(fileId))
    expect(result).toMatchObject({ rebuiltCount: 0, movedCount: 1, leftCount: 0 })
    expect(new Set(files.shardUrls(fileId)[0]).size).toBe(6)
    expect((await files.get(fileId)).equals(data)).toBe(true)
  })

  test('leaves together what has no other place', async () => {
    await using files = new CodedFiles(6)
    const data = files.prng.bytes(100_000)
    const fileId = await files.put(data)
    const held = files.cluster.volumes.get(parseFileId(fileId).volumeId)?.urls
    const [urls = []] = files.shardUrls(fileId)
    const index = urls.findIndex((url) => held?.has(url) !== true)
    const moved = files.manifest(fileId).erasure?.stripes[0]?.shards[index]?.fileId
    const [from = '', to = ''] = [urls[index], urls[(index + 1) % 6]]
    files.cluster.move(moved?.volumeId ?? expect.fail('no shard'), from, to)
    files.cluster.setDown([from])
    const result = await files.finish(files.client.repairFile(fileId))
    expect(result).toMatchObject({ rebuiltCount: 0, movedCount: 0 })
    expect((await files.get(fileId)).equals(data)).toBe(true)
  })

  test('is PLACEMENT_IMPOSSIBLE while there are too few servers, and leaves it as it was', async () => {
    await using files = new CodedFiles(6)
    const data = files.prng.bytes(100_000)
    const fileId = await files.put(data)
    const held = files.cluster.volumes.get(parseFileId(fileId).volumeId)?.urls
    lose(files, files.urls.find((url) => held?.has(url) !== true) ?? '')
    const { size } = files.cluster.liveNeedles()
    const repairing = files.finish(files.client.repairFile(fileId))
    await expect(repairing).rejects.toMatchObject({ code: 'PLACEMENT_IMPOSSIBLE' })
    expect(files.cluster.liveNeedles().size).toBe(size)
    expect((await files.get(fileId)).equals(data)).toBe(true)
  })

  test('is SHARDS_LOST when three are gone', async () => {
    await using files = new CodedFiles(9)
    const fileId = await files.put(files.prng.bytes(100_000))
    for (const shard of [0, 1, 5]) {
      const { key, needles } = shardNeedle(files, fileId, 0, shard)
      needles?.delete(key)
    }
    const repairing = files.finish(files.client.repairFile(fileId))
    await expect(repairing).rejects.toMatchObject({ code: 'SHARDS_LOST' })
  })

  test('waits for the copies of its manifest, since all have to be replaced', async () => {
    await using files = new CodedFiles(9)
    const fileId = await files.put(files.prng.bytes(100_000))
    const { key, needles } = shardNeedle(files, fileId, 0, 0)
    needles?.delete(key)
    const { size } = files.cluster.liveNeedles()
    const [one = ''] = files.cluster.volumes.get(parseFileId(fileId).volumeId)?.urls ?? []
    files.cluster.setDown([one])
    const repairing = files.finish(files.client.repairFile(fileId))
    await expect(repairing).rejects.toMatchObject({ code: 'REPLICATION_FAILED' })
    await expect(repairing).rejects.toThrow('2 of 3 copies')
    expect(files.cluster.liveNeedles().size).toBe(size)
  })

  test('that is deleted meanwhile stays deleted, and nothing is left of it', async () => {
    await using files = new CodedFiles(9)
    const fileId = await files.put(files.prng.bytes(100_000))
    const { key, needles } = shardNeedle(files, fileId, 0, 0)
    needles?.delete(key)
    let hasBegun = false
    files.cluster.fault = (operation, _url, request) => {
      const { metadata } = request as { readonly metadata?: { readonly isChunkManifest?: boolean } }
      if (operation !== 'put' || metadata?.isChunkManifest !== true || hasBegun) return undefined
      hasBegun = true
      // Everything at once, just before the new manifest is written.
      for (const server of files.cluster.servers.values()) {
        for (const [id, needle] of server.needles) {
          if (needle.metadata.lastModifiedS !== undefined) server.needles.delete(id)
        }
      }
      return undefined
    }
    const repairing = files.finish(files.client.repairFile(fileId))
    await expect(repairing).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    await letPass(files.clock, 200_000)
    expect(hasBegun).toBe(true)
    expect(files.cluster.liveNeedles().size).toBe(0)
  })

  test('two at the same time: one succeeds, the other changes nothing or is told', async () => {
    await using files = new CodedFiles(9)
    const data = files.prng.bytes(100_000)
    const fileId = await files.put(data)
    const { key, needles } = shardNeedle(files, fileId, 0, 0)
    needles?.delete(key)
    const both = await files.finish(
      Promise.allSettled([files.client.repairFile(fileId), files.client.repairFile(fileId)]),
    )
    expect(both.some(({ status }) => status === 'fulfilled')).toBe(true)
    expect((await files.get(fileId)).equals(data)).toBe(true)
  })

  test('is read right by whoever began before it', async () => {
    await using files = new CodedFiles(9)
    const data = files.prng.bytes(25 * MIB)
    const fileId = await files.put(data)
    const reading = files.client.getStream(fileId)
    const pieces: Uint8Array[] = []
    const first = await files.finish(reading.next())
    if (first.done !== true) pieces.push(first.value)
    for (const shard of [0, 1]) {
      const needle = shardNeedle(files, fileId, 2, shard)
      needle.needles?.delete(needle.key)
    }
    await files.finish(files.client.repairFile(fileId))
    const moved = shardNeedle(files, fileId, 2, 4)
    moved.needles?.delete(moved.key)
    const rest = async (): Promise<void> => {
      for await (const piece of reading) pieces.push(piece)
    }
    await files.finish(rest())
    expect(Buffer.concat(pieces).equals(data)).toBe(true)
  })

  // Goal: a repair that fails anywhere leaves a file that can be read, and one that succeeds lets
  // any two servers go. Method: lose up to two shards of every stripe, fail by chance, try again.
  test.each(seeds(15))('amid failures keeps the file (seed %d)', async (seed) => {
    await using files = new CodedFiles(9, seed)
    const { cluster, prng } = files
    const data = prng.bytes(prng.pick([1000, 100_000, 9 * MIB]))
    const fileId = await files.put(data)
    const stripes = files.manifest(fileId).erasure?.stripes.length ?? 0
    for (let stripe = 0; stripe < stripes; stripe++) {
      for (const shard of prng.pick([...pairs([0, 1, 2, 3, 4, 5])])) {
        const { key, needles } = shardNeedle(files, fileId, stripe, shard)
        needles?.delete(key)
      }
    }
    cluster.fault = (operation) => {
      if (operation !== 'put' || !prng.chance(0.3)) return undefined
      const when = prng.pick(['before', 'after'] as const)
      return { when, code: prng.pick(['UNAVAILABLE', 'TIMEOUT', 'REPLICATION_FAILED'] as const) }
    }
    let isRepaired = false
    for (let round = 0; round < 20 && !isRepaired; round++) {
      const repairing = files.finish(files.client.repairFile(fileId))
      isRepaired = await repairing.then(
        () => true,
        () => false,
      )
      if (!isRepaired) expect((await files.get(fileId)).equals(data)).toBe(true)
    }
    cluster.fault = () => undefined
    expect(isRepaired).toBe(true)
    await letPass(files.clock, 200_000)
    expect((await files.get(fileId)).equals(data)).toBe(true)
    for (const urls of files.shardUrls(fileId)) {
      const used = urls.filter((url) => url !== '')
      expect(new Set(used).size).toBe(used.length)
    }
    const again = await files.finish(files.client.repairFile(fileId))
    expect(again.rebuiltCount).toBe(0)
  })
})

describe('a copy of the manifest that is behind', () => {
  /** As left by a copy of the volume that was being made during a repair. */
  async function leaveBehind(files: CodedFiles) {
    const data = files.prng.bytes(100_000)
    const fileId = await files.put(data)
    const before = files.needle(fileId).data
    const holders = manifestHolders(files, fileId)
    const lost = files.urls.find((url) => !holders.some((holder) => holder.url === url)) ?? ''
    lose(files, lost)
    await files.finish(files.client.repairFile(fileId))
    const [behind] = manifestHolders(files, fileId)
    if (behind === undefined) return expect.fail('no copy of the manifest')
    const { needles, key } = behind
    const needle = needles.get(key)
    if (needle === undefined) return expect.fail('no needle')
    needles.set(key, { ...needle, data: before })
    return { data, fileId, before, lost }
  }

  function manifestHolders(files: CodedFiles, fileId: string) {
    const { needleId, volumeId } = parseFileId(fileId)
    const key = `${volumeId},${needleId.hi}:${needleId.lo}`
    return [...files.cluster.servers].flatMap(([url, { needles }]) =>
      needles.has(key) ? [{ url, needles, key }] : [],
    )
  }

  test('is shorter, is not believed, and is brought up to date', async () => {
    await using files = new CodedFiles(9)
    const { before, data, fileId, lost } = await leaveBehind(files)
    const newest = Math.max(
      ...manifestHolders(files, fileId).map(
        ({ key, needles }) => needles.get(key)?.data.length ?? 0,
      ),
    )
    expect(newest).toBeGreaterThan(before.length)
    const result = await files.finish(files.client.repairFile(fileId))
    expect(result).toMatchObject({ rebuiltCount: 0, movedCount: 0 })
    const copies = manifestHolders(files, fileId).map(({ key, needles }) => needles.get(key)?.data)
    for (const copy of copies) expect(copy?.equals(copies[0] ?? Buffer.alloc(0))).toBe(true)
    expect(copies[0]?.length).toBeGreaterThan(newest)
    expect(files.cluster.down.has(lost)).toBe(true)
    expect((await files.get(fileId)).equals(data)).toBe(true)
  })
})
