import { describe, expect, test, vi } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { parseTtl, TTL_NONE } from '../../src/base/ttl.ts'
import { MIB } from '../../src/base/units.ts'
import { yieldTurn } from '../../src/runtime/yield-turn.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { collect, fid, LocalCluster, LocalNode } from './local-node.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

async function openNode() {
  const cluster = new LocalCluster()
  const node = await LocalNode.open(cluster, 1)
  return { cluster, node }
}

const command = {
  epoch: 1,
  volumeId: vid(3),
  dropsTombstones: true,
  skipsDamage: false,
  politeness: 0,
}

describe('allocateVolume', () => {
  test('gives the volume its collection, placement and time to live', async () => {
    const { node } = await openNode()
    await using _node = node
    const replication = parseReplicaPlacement('012')
    const ttl = parseTtl('3d')
    await node.api.allocateVolume({ ...command, collection: 'photos', replication, ttl }, SIGNAL)
    expect(await node.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({
      collection: 'photos',
      replication,
      ttl,
      state: 'writable',
      datBytes: 8,
    })
    expect(node.changedCount).toBe(1)
  })

  test('refuses a volume that is there, and a collection no file could be named after', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await expect(node.allocate(3)).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    const replication = parseReplicaPlacement('000')
    const bad = { ...command, volumeId: vid(4), collection: '../x', replication, ttl: TTL_NONE }
    await expect(node.api.allocateVolume(bad, SIGNAL)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
  })
})

describe('batchDelete', () => {
  test('answers each in order; one that fails does not stop the others', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'one')
    await node.put(3, 2, 'two')
    const request = (volume: number, needle: number, secret = 7) => ({
      fileId: fid(volume, needle, secret),
      writeToken: '',
      isReplica: false,
    })
    const requests = [request(3, 1), request(3, 2, 8), request(9, 1), request(3, 5)]
    expect(await node.api.batchDelete(requests, SIGNAL)).toMatchObject([
      { wasLive: true, error: undefined },
      { wasLive: false, error: { code: 'COOKIE_MISMATCH' } },
      { wasLive: false, error: { code: 'VOLUME_NOT_FOUND' } },
      { wasLive: false, error: undefined },
    ])
    expect(await node.read(3, 2)).toBe('two')
  })
})

describe('read', () => {
  test.each([
    [0, 0, ''],
    [0, 3, '012'],
    [3, 10, '3456789'],
    [10, 10, ''],
  ])('bytes %d to %d of ten', async (start, end, expected) => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, '0123456789')
    const request = { fileId: fid(3, 1), readDeleted: false, readToken: '' }
    await using content = await node.api.read({ ...request, range: { start, end } }, SIGNAL)
    expect(content.dataBytes).toBe(10)
    expect(Buffer.concat(await collect(content.data)).toString()).toBe(expected)
  })

  test.each([9 * MIB, 100])(
    'a range outside %d bytes is refused and leaves nothing open',
    async (dataBytes) => {
      const { node } = await openNode()
      await using _node = node
      await node.allocate(3)
      await node.put(3, 1, 'x'.repeat(dataBytes))
      const request = { fileId: fid(3, 1), readDeleted: false, readToken: '' }
      const range = { start: 1, end: dataBytes + 1 }
      await expect(node.api.read({ ...request, range }, SIGNAL)).rejects.toMatchObject({
        code: 'RANGE_INVALID',
      })
      await collect(node.api.vacuumVolume(command, SIGNAL))
    },
  )

  test('a large needle comes in pieces; giving it up halfway lets a vacuum finish', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'x'.repeat(9 * MIB))
    const request = { fileId: fid(3, 1), readDeleted: false, readToken: '', range: undefined }
    {
      await using content = await node.api.read(request, SIGNAL)
      for await (const piece of content.data) {
        expect(piece.length).toBe(MIB)
        break
      }
    }
    {
      await using unread = await node.api.read(request, SIGNAL)
      expect(unread.dataBytes).toBe(9 * MIB)
    }
    expect((await collect(node.api.vacuumVolume(command, SIGNAL))).at(-1)?.phase).toBe('done')
  })
})

describe('readNow', () => {
  const asked = (volume: number, needle: number, secret = 7) => ({
    fileId: fid(volume, needle, secret),
    range: undefined,
    readDeleted: false,
    readToken: '',
  })

  test('gives the whole data of a needle that was just written, and again after others', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    const texts = Array.from({ length: 40 }, (_, index) => String(index).repeat(1000))
    for (const [index, text] of texts.entries()) await node.put(3, index + 1, text)
    const found = texts.map((_, index) => node.api.readNow(asked(3, index + 1)))
    // What was given stays as it is, however many reads follow.
    expect(found.map((data) => data?.toString())).toEqual(texts)
  })

  test.each([
    ['is not there', asked(3, 9)],
    ['was deleted', asked(3, 2)],
    ['has another cookie', asked(3, 1, 8)],
    ['is on no volume of this server', asked(4, 1)],
  ])('gives nothing of one that %s: read says why', async (_, request) => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'one')
    await node.put(3, 2, 'two')
    await node.api.delete({ fileId: fid(3, 2), writeToken: '', isReplica: false }, SIGNAL)
    expect(node.api.readNow(request)).toBeUndefined()
    await expect(node.api.read(request, SIGNAL)).rejects.toThrow()
  })

  test.each(['isCompressed', 'isChunkManifest'])(
    'gives nothing of one that has other data than was put: %s',
    async (flag) => {
      const { node } = await openNode()
      await using _node = node
      await node.allocate(3)
      const request = { fileId: fid(3, 1), writeToken: '', isReplica: false, checksum: undefined }
      const data = Buffer.from(flag === 'isCompressed' ? [0x1f, 0x8b, 8, 0] : '{}')
      await node.api.put({ ...request, data, metadata: { [flag]: true } }, SIGNAL)
      expect(node.api.readNow(asked(3, 1))).toBeUndefined()
    },
  )

  test('gives nothing of a large needle, which would hold up the thread', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'x'.repeat(2 * MIB))
    expect(node.api.readNow(asked(3, 1))).toBeUndefined()
  })
})

describe('vacuumVolume', () => {
  test('reports copying first and done last, and gives the space back', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    const puts = Array.from({ length: 4000 }, (_, index) => node.put(3, index + 1, 'x'.repeat(100)))
    await Promise.all(puts)
    for (let needle = 1; needle <= 1000; needle++) await node.delete(3, needle)
    expect(await node.api.vacuumCheck(vid(3), SIGNAL)).toBeGreaterThan(0.2)
    const reports = await collect(node.api.vacuumVolume(command, SIGNAL))
    const phases = reports.map(({ phase }) => phase)
    expect(phases).toEqual([...phases].sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b)))
    expect([phases[0], phases.at(-1)]).toEqual([ORDER[0], ORDER.at(-1)])
    for (const { copiedBytes, totalBytes } of reports) {
      expect(copiedBytes).toBeGreaterThan(0)
      expect(copiedBytes).toBeLessThanOrEqual(totalBytes)
    }
    const { datBytes } = await node.api.volumeStatus(vid(3), SIGNAL)
    expect(reports.at(-1)).toEqual({ phase: 'done', copiedBytes: datBytes, totalBytes: datBytes })
    expect(await node.api.vacuumCheck(vid(3), SIGNAL)).toBe(0)
  })

  test('whoever stops listening stops the vacuum; the volume is what it was', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    for (let needle = 1; needle <= 2000; needle++) void node.put(3, needle, 'x')
    await node.put(3, 2001, 'x')
    for await (const report of node.api.vacuumVolume(command, SIGNAL)) {
      expect(report.phase).toBe('copying')
      break
    }
    expect(await node.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({ compactionRevision: 0 })
    expect((await collect(node.api.vacuumVolume(command, SIGNAL))).at(-1)?.phase).toBe('done')
  })

  test('of a volume that is not here fails before anything is reported', async () => {
    const { node } = await openNode()
    await using _node = node
    await expect(collect(node.api.vacuumVolume(command, SIGNAL))).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    })
  })
})

describe('vacuumVolume as it is told to', () => {
  test('tombstones stay until every copy is said to know of them', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    for (let needle = 1; needle <= 10; needle++) await node.put(3, needle, 'x'.repeat(100))
    await node.delete(3, 4)
    const state = async () => {
      const [stat] = await node.api.statNeedles(vid(3), [fid(3, 4).needleId], SIGNAL)
      return stat?.state
    }
    await collect(node.api.vacuumVolume({ ...command, dropsTombstones: false }, SIGNAL))
    expect(await state()).toBe('deleted')
    await collect(node.api.vacuumVolume(command, SIGNAL))
    expect(await state()).toBe('absent')
  })

  test('damage that no live needle needs is left out only when asked for', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'overwritten one')
    await node.put(3, 1, 'the newer one')
    const at = node.disk.contents('/a/3.dat').indexOf('overwritten one')
    // In the length of the record: nothing behind it can be found by going from one to the next.
    node.disk.flipBit('/a/3.dat', at - 6, 6)
    await expect(collect(node.api.vacuumVolume(command, SIGNAL))).rejects.toMatchObject({
      code: expect.stringMatching(/^(VOLUME_DAMAGED|NEEDLE_CORRUPT)$/),
    })
    await collect(node.api.vacuumVolume({ ...command, skipsDamage: true }, SIGNAL))
    expect(await node.read(3, 1)).toBe('the newer one')
  })
})

describe('freezeVolume', () => {
  const freeze = (node: LocalNode, forMs: number) =>
    node.api.freezeVolume({ epoch: 1, volumeId: vid(3), forMs }, SIGNAL)

  test('holds back writes until it is thawed; what was answered is in the extent', async () => {
    const { cluster, node } = await openNode()
    await using _node = node
    await node.allocate(3)
    const before = Array.from({ length: 50 }, (_, index) => node.put(3, index + 1, 'x'))
    const extent = await freeze(node, 5_000)
    await Promise.all(before)
    expect(extent).toEqual(node.opened.store.get(vid(3)).volume.extent)
    expect(await node.api.digestVolume(vid(3), SIGNAL)).toMatchObject({
      ...extent,
      liveNeedles: 50,
    })
    let doneCount = 0
    const count = () => doneCount++
    const writing = [node.put(3, 100, 'later').then(count), node.delete(3, 1).then(count)]
    await cluster.clock.advance(4_000)
    expect(doneCount).toBe(0)
    expect(await node.read(3, 1)).toBe('x')
    expect(await freeze(node, 5_000)).toEqual(extent)
    await cluster.clock.advance(4_000)
    expect(doneCount).toBe(0)
    expect(await freeze(node, 0)).toEqual(extent)
    await Promise.all(writing)
    expect(await node.read(3, 100)).toBe('later')
  })

  test('ends by itself', async () => {
    const { cluster, node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await freeze(node, 2_000)
    const writing = node.put(3, 1, 'one')
    await cluster.clock.advance(2_000)
    await writing
    expect(await node.read(3, 1)).toBe('one')
  })

  test('repairs go on meanwhile', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'one')
    await freeze(node, 5_000)
    const needleIds = [fid(3, 1).needleId]
    await node.api.deleteNeedles({ epoch: 1, volumeId: vid(3), needleIds }, SIGNAL)
    await freeze(node, 0)
    await expect(node.read(3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
  })

  test('of a volume that is then removed tells the writes so', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    const expected = await freeze(node, 5_000)
    const writing = expect(node.put(3, 1, 'one')).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    })
    await node.api.deleteVolume({ epoch: 1, volumeId: vid(3), expected }, SIGNAL)
    await writing
  })

  test('refuses the master of the past, a volume that is not here, and less than no time', async () => {
    const { node } = await openNode()
    await using _node = node
    await expect(freeze(node, 1_000)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    await node.allocate(3, '000', 4)
    await expect(freeze(node, 1_000)).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    const command = { epoch: 4, volumeId: vid(3), forMs: -1 }
    await expect(node.api.freezeVolume(command, SIGNAL)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
  })
})

describe('deleteVolume of what is expected', () => {
  test('removes it only if nothing was written since', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'one')
    const { volume } = node.opened.store.get(vid(3))
    const expected = volume.extent
    await node.put(3, 2, 'two')
    const remove = () => node.api.deleteVolume({ epoch: 1, volumeId: vid(3), expected }, SIGNAL)
    await expect(remove()).rejects.toMatchObject({ code: 'VOLUME_CHANGED' })
    expect(await node.read(3, 2)).toBe('two')
    await node.put(3, 3, 'three')
    await collect(node.api.vacuumVolume(command, SIGNAL))
    const other = { ...volume.extent, compactionRevision: 0 }
    const removing = node.api.deleteVolume({ epoch: 1, volumeId: vid(3), expected: other }, SIGNAL)
    await expect(removing).rejects.toMatchObject({ code: 'VOLUME_CHANGED' })
    await node.api.deleteVolume({ epoch: 1, volumeId: vid(3), expected: volume.extent }, SIGNAL)
    await expect(node.read(3, 1)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
  })

  // Goal: a put is acknowledged, or the volume is removed; never both.
  test.each(seeds(40))('a write at the same moment (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'one')
    const expected = node.opened.store.get(vid(3)).volume.extent
    const writing = (async () => {
      for (let turn = prng.below(6); turn > 0; turn--) await yieldTurn()
      await node.put(3, 2, 'two')
    })()
    for (let turn = prng.below(6); turn > 0; turn--) await yieldTurn()
    const removing = node.api.deleteVolume({ epoch: 1, volumeId: vid(3), expected }, SIGNAL)
    const [written, removed] = await Promise.allSettled([writing, removing])
    expect(written.status === 'fulfilled').toBe(removed.status === 'rejected')
    if (written.status === 'fulfilled') expect(await node.read(3, 2)).toBe('two')
  })

  test.each(seeds(40))('a power cut: it is there, whole, or gone (seed %d)', async (seed) => {
    const cluster = new LocalCluster()
    await using node = await LocalNode.open(cluster, 1, { seed })
    await node.allocate(3)
    await node.put(3, 1, 'one')
    const expected = node.opened.store.get(vid(3)).volume.extent
    node.disk.cutPowerAfter(new Prng(seed).between(1, 8))
    const isDone = await node.api
      .deleteVolume({ epoch: 1, volumeId: vid(3), expected }, SIGNAL)
      .then(
        () => true,
        () => false,
      )
    await node.cutPower()
    const isThere = node.opened.store.find(vid(3)) !== undefined
    if (isDone) expect(isThere).toBe(false)
    if (isThere) expect(await node.read(3, 1)).toBe('one')
    expect(node.opened.store.quarantine).toEqual([])
  })
})

describe('reports', () => {
  test('say how often a volume is asked, and whose its directory is', async () => {
    const { cluster, node } = await openNode()
    await using _node = node
    await node.allocate(3)
    await node.put(3, 1, 'one')
    expect(await node.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({ requestsPerS: 0 })
    for (let second = 0; second < 120; second++) {
      for (let count = 0; count < 10; count++) await node.read(3, 1)
      await cluster.clock.advance(1_000)
    }
    const { requestsPerS } = await node.api.volumeStatus(vid(3), SIGNAL)
    expect(requestsPerS).toBeGreaterThan(5)
    expect(requestsPerS).toBeLessThan(12)
    expect((await node.api.serverStatus(SIGNAL)).disks).toMatchObject([{ clusterId: '' }])
    await node.opened.store.claim('0f0e0d0c-1111-4222-8333-444455556666')
    expect((await node.api.serverStatus(SIGNAL)).disks).toMatchObject([
      { clusterId: '0f0e0d0c-1111-4222-8333-444455556666' },
    ])
  })
})

describe('deleteVolume', () => {
  test('removes it while a copy of it is being read and a vacuum runs', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    for (let needle = 1; needle <= 3000; needle++) void node.put(3, needle, 'x')
    await node.put(3, 3001, 'x')
    const files = node.api.readVolumeFiles({ volumeId: vid(3) }, SIGNAL)
    await files[Symbol.asyncIterator]().next()
    const vacuuming = collect(node.api.vacuumVolume(command, SIGNAL))
    const cancelled = expect(vacuuming).rejects.toMatchObject({ code: 'CANCELLED' })
    await node.api.deleteVolume(command, SIGNAL)
    await cancelled
    await expect(node.read(3, 1)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    expect((await node.disk.list('/a')).filter(({ name }) => name.startsWith('3.'))).toEqual([])
  })
})

const ORDER = ['copying', 'verifying', 'done']
