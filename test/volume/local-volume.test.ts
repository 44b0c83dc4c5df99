import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { parseTtl, TTL_NONE } from '../../src/base/ttl.ts'
import { MIB } from '../../src/base/units.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { collect, fid, LocalCluster, LocalNode } from './local-node.ts'

async function openNode() {
  const cluster = new LocalCluster()
  const node = await LocalNode.open(cluster, 1)
  return { cluster, node }
}

const command = { epoch: 1, volumeId: vid(3) }

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

describe('vacuumVolume', () => {
  test('reports copying, then verifying, then done, and gives the space back', async () => {
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
    expect(new Set(phases)).toEqual(new Set(ORDER))
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

describe('deleteVolume', () => {
  test('removes it while a copy of it is being read and a vacuum runs', async () => {
    const { node } = await openNode()
    await using _node = node
    await node.allocate(3)
    for (let needle = 1; needle <= 3000; needle++) void node.put(3, needle, 'x')
    await node.put(3, 3001, 'x')
    const files = node.api.readVolumeFiles(vid(3), SIGNAL)
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
