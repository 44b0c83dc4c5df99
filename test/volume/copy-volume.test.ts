import { describe, expect, test, vi } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { MIB } from '../../src/base/units.ts'
import type { CopyProgress, VolumeApi, VolumeFilePiece } from '../../src/net/volume-api.ts'
import { PowerCut } from '../support/fault-plan.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { changedPeer, collect, fid, LocalCluster, LocalNode, nodeAt } from './local-node.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

const copyCommand = {
  epoch: 1,
  volumeId: vid(3),
  collection: '',
  source: nodeAt(1),
  politeness: 0,
  replacesBad: false,
}
const vacuumCommand = {
  epoch: 1,
  volumeId: vid(3),
  dropsTombstones: true,
  skipsDamage: false,
  politeness: 0,
}

async function openPair(seed = 2) {
  const cluster = new LocalCluster()
  const source = await LocalNode.open(cluster, 1)
  const target = await LocalNode.open(cluster, 2, { seed })
  await source.allocate(3)
  return { cluster, source, target }
}

function copy(target: LocalNode): Promise<CopyProgress[]> {
  return collect(target.api.copyVolume(copyCommand, SIGNAL))
}

async function filesOf(node: LocalNode): Promise<string[]> {
  return (await node.disk.list('/a')).map(({ name }) => name).filter((name) => /^3\./.test(name))
}

/** The source as it is, but its pieces pass through `change` first. */
function tampering(
  source: VolumeApi,
  change: (piece: VolumeFilePiece) => VolumeFilePiece | undefined,
): VolumeApi {
  return changedPeer(source, {
    async *readVolumeFiles(request, signal) {
      for await (const piece of source.readVolumeFiles(request, signal)) {
        const changed = change(piece)
        if (changed !== undefined) yield changed
      }
    },
  })
}

describe('copyVolume', () => {
  test('brings needles, deletions and overwrites, and reports up to the last byte', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    for (let needle = 1; needle <= 50; needle++) await source.put(3, needle, `data ${needle}`)
    await source.put(3, 5, 'another')
    await source.delete(3, 7)
    const reports = await copy(target)
    const { datBytes } = await source.api.volumeStatus(vid(3), SIGNAL)
    expect(reports.at(-1)).toEqual({
      copiedBytes: datBytes,
      totalBytes: datBytes,
      isDone: true,
      sourceExtent: { datBytes, compactionRevision: 0 },
      directoryId: target.opened.store.locations[0]?.directoryId,
    })
    for (const report of reports.slice(0, -1)) {
      expect(report).toMatchObject({ isDone: false, sourceExtent: undefined, directoryId: '' })
    }
    expect(await target.read(3, 5)).toBe('another')
    await expect(target.read(3, 7)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    expect(await target.read(3, 50)).toBe('data 50')
    expect(target.disk.contents('/a/3.dat')).toEqual(source.disk.contents('/a/3.dat'))
  })

  test('an empty volume can be copied', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    expect((await copy(target)).at(-1)).toMatchObject({ copiedBytes: 8, isDone: true })
    await target.put(3, 1, 'first')
    expect(await target.read(3, 1)).toBe('first')
  })

  test('the copy of a sealed volume is sealed', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'one')
    await source.api.sealVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    await copy(target)
    expect(await target.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({ state: 'sealed' })
    await expect(target.put(3, 2, 'two')).rejects.toMatchObject({ code: 'VOLUME_SEALED' })
  })

  test('needs no scan of .dat when it is opened: .idx and .sum come with it', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    for (let needle = 1; needle <= 20; needle++) await source.put(3, needle, 'x')
    await copy(target)
    const { recovery } = target.opened.store.get(vid(3)).volume
    expect(recovery).toMatchObject({ hadSidecar: true, indexRebuilt: undefined, tailNeedles: 0 })
  })

  // Goal: a copy holds a prefix of the volume, as of one moment, whatever goes on meanwhile.
  // Method: writers put and delete ascending ids, one vacuum at a random moment; the copy must hold
  // needles 1 … n without a gap, n at least what was acknowledged before, and verify.
  test.each(seeds(30))('while writes and a vacuum go on (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    const before = prng.between(1, 40)
    for (let needle = 1; needle <= before; needle++) await source.put(3, needle, `data ${needle}`)
    await source.delete(3, 1)
    let isCopying = true
    const writing = (async () => {
      let needle = before
      while (isCopying && needle < 2000) {
        needle++
        await source.put(3, needle, `data ${needle}`)
        if (prng.chance(0.05)) {
          await collect(source.api.vacuumVolume(vacuumCommand, SIGNAL))
        }
      }
    })()
    await copy(target)
    isCopying = false
    await writing
    const { liveNeedles } = await target.api.volumeStatus(vid(3), SIGNAL)
    expect(liveNeedles).toBeGreaterThanOrEqual(before - 1)
    for (let needle = 2; needle <= liveNeedles + 1; needle++) {
      expect(await target.read(3, needle)).toBe(`data ${needle}`)
    }
  })

  test('what is read after a vacuum is what was there before it: nothing is mixed', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    const large = 'x'.repeat(1_000_000)
    for (let needle = 1; needle <= 4; needle++) await source.put(3, needle, `${needle}${large}`)
    await source.delete(3, 1)
    const before = source.disk.contents('/a/3.dat')
    const pieces: VolumeFilePiece[] = []
    let vacuuming: Promise<unknown> | undefined
    for await (const piece of source.api.readVolumeFiles({ volumeId: vid(3) }, SIGNAL)) {
      pieces.push(piece)
      if (vacuuming !== undefined) continue
      vacuuming = collect(source.api.vacuumVolume(vacuumCommand, SIGNAL))
      const revision = async () =>
        (await source.api.volumeStatus(vid(3), SIGNAL)).compactionRevision
      await expect.poll(revision).toBe(1)
    }
    await vacuuming
    const dat = pieces.filter(({ extension }) => extension === 'dat').map(({ data }) => data)
    expect(Buffer.concat(dat).equals(before)).toBe(true)
  })

  test('a volume that is here is not overwritten', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    await target.allocate(3)
    await target.put(3, 9, 'mine')
    await expect(copy(target)).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    expect(await target.read(3, 9)).toBe('mine')
  })

  test.each(['dat', 'idx', 'sum'] as const)(
    'one wrong bit in .%s and nothing is kept',
    async (extension) => {
      const { cluster, source, target } = await openPair()
      await using _source = source
      await using _target = target
      for (let needle = 1; needle <= 20; needle++) await source.put(3, needle, `data ${needle}`)
      const flip = (piece: VolumeFilePiece): VolumeFilePiece => {
        if (piece.extension !== extension) return piece
        const data = Buffer.from(piece.data)
        const at = Math.floor(data.length / 2)
        data[at] = (data[at] ?? 0) ^ 4
        return { ...piece, data }
      }
      const honest = source.api
      cluster.nodes.set('node:1', tampering(honest, flip))
      await expect(copy(target)).rejects.toMatchObject({
        code: expect.stringMatching(/^(PEER_FAILED|SIDECAR_CORRUPT)$/),
      })
      expect(await filesOf(target)).toEqual([])
      cluster.nodes.set('node:1', honest)
      await copy(target)
      expect(await target.read(3, 20)).toBe('data 20')
    },
  )

  test('pieces that leave something out are refused', async () => {
    const { cluster, source, target } = await openPair()
    await using _source = source
    await using _target = target
    const none = (piece: VolumeFilePiece) => (piece.extension === 'dat' ? undefined : piece)
    cluster.nodes.set('node:1', tampering(source.api, none))
    await expect(copy(target)).rejects.toMatchObject({ code: 'PEER_FAILED' })
    const shifted = (piece: VolumeFilePiece) => ({ ...piece, offsetBytes: piece.offsetBytes + 8 })
    cluster.nodes.set('node:1', tampering(source.api, shifted))
    await expect(copy(target)).rejects.toMatchObject({ code: 'PEER_FAILED' })
    expect(await filesOf(target)).toEqual([])
  })

  test('whoever stops listening stops the copy, and nothing of it stays', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'one')
    for await (const report of target.api.copyVolume(copyCommand, SIGNAL)) {
      expect(report.isDone).toBe(false)
      break
    }
    expect(await filesOf(target)).toEqual([])
  })

  test('closing the source ends a copy that nobody goes on with', async () => {
    const { source, target } = await openPair()
    await using _target = target
    await source.put(3, 1, 'x'.repeat(3_000_000))
    const files = source.api.readVolumeFiles({ volumeId: vid(3) }, SIGNAL)[Symbol.asyncIterator]()
    await files.next()
    await source.close()
    await expect(files.next()).rejects.toMatchObject({ code: 'CLOSED' })
  })

  // Goal: a power cut at any moment leaves the volume whole or not served, and a second copy works.
  test.each(seeds(150))('survives a power cut at any moment (seed %d)', async (seed) => {
    const { source, target } = await openPair(seed)
    await using _source = source
    await using _target = target
    const needles = Array.from({ length: 30 }, (_, index) => index + 1)
    await Promise.all(needles.map((needle) => source.put(3, needle, `data ${needle}`)))
    await source.api.sealVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    // Every other time around the end, where the copy begins to count.
    target.disk.cutPowerAfter(new Prng(seed).between(seed % 2 === 0 ? 1 : 23, 30))
    let isAcknowledged = false
    try {
      await copy(target)
      isAcknowledged = true
    } catch (error) {
      expect(error).toBeInstanceOf(PowerCut)
    }
    await target.cutPower()
    const isServed = target.opened.store.find(vid(3)) !== undefined
    if (isAcknowledged) expect(isServed).toBe(true)
    if (!isServed) await copy(target)
    for (const needle of needles) expect(await target.read(3, needle)).toBe(`data ${needle}`)
    expect(await target.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({ state: 'sealed' })
    expect(target.opened.store.quarantine).toEqual([])
  })
})

describe('copyVolume in place of a bad copy', () => {
  const replacing = { ...copyCommand, replacesBad: true }

  /** A sync fails: the copy at the target takes no more writes. */
  async function openWithFailed(seed = 2) {
    const { cluster, source, target } = await openPair(seed)
    await source.put(3, 1, 'one')
    await copy(target)
    await source.put(3, 2, 'two')
    target.disk.failCall(1, 'EIO', ['datasync'])
    await expect(target.put(3, 9, 'lost')).rejects.toMatchObject({ code: 'VOLUME_FAILED' })
    return { cluster, source, target }
  }

  test('is refused unless asked for, and when the copy here is good', async () => {
    const { source, target } = await openWithFailed()
    await using _source = source
    await using _target = target
    await expect(copy(target)).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    await collect(target.api.copyVolume(replacing, SIGNAL))
    expect(await target.read(3, 2)).toBe('two')
    await expect(target.read(3, 9)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    expect(await target.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({ state: 'writable' })
    await target.put(3, 3, 'three')
    const again = collect(target.api.copyVolume(replacing, SIGNAL))
    await expect(again).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    expect(await target.read(3, 3)).toBe('three')
  })

  test('a source that dies in the middle leaves the bad copy as it was', async () => {
    const { cluster, source, target } = await openWithFailed()
    await using _source = source
    await using _target = target
    const honest = source.api
    const dying = tampering(honest, (piece) => {
      if (piece.extension === 'dat') return piece
      throw new StoreError('UNAVAILABLE', 'the source is gone')
    })
    cluster.nodes.set('node:1', dying)
    const copying = collect(target.api.copyVolume(replacing, SIGNAL))
    await expect(copying).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(await target.read(3, 1)).toBe('one')
    expect(await target.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({ state: 'failed' })
    cluster.nodes.set('node:1', honest)
    await collect(target.api.copyVolume(replacing, SIGNAL))
    expect(await target.read(3, 2)).toBe('two')
  })

  test('also when it could not even be opened', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'one')
    await copy(target)
    await target.close()
    target.disk.flipBit('/a/3.dat', 0, 7)
    await target.open()
    expect(target.opened.store.find(vid(3))).toBeUndefined()
    expect(target.opened.store.quarantine).toHaveLength(1)
    await collect(target.api.copyVolume(replacing, SIGNAL))
    expect(await target.read(3, 1)).toBe('one')
    expect(target.opened.store.quarantine).toEqual([])
  })

  // Goal: after a power cut there is the old copy or the new one, never none and never a mix.
  test.each(seeds(100))('a power cut at any moment (seed %d)', async (seed) => {
    const { source, target } = await openWithFailed(seed)
    await using _source = source
    await using _target = target
    target.disk.cutPowerAfter(new Prng(seed).between(1, 40))
    let isAcknowledged = false
    try {
      await collect(target.api.copyVolume(replacing, SIGNAL))
      isAcknowledged = true
    } catch (error) {
      expect(error).toBeDefined()
    }
    await target.cutPower()
    expect(await target.read(3, 1)).toBe('one')
    const { state } = await target.api.volumeStatus(vid(3), SIGNAL)
    if (isAcknowledged) expect(state).toBe('writable')
    if (state === 'failed') await collect(target.api.copyVolume(replacing, SIGNAL))
    const copied = await target.api.digestVolume(vid(3), SIGNAL)
    const right = await source.api.digestVolume(vid(3), SIGNAL)
    // The failed sync may have come through after all: then the old copy opens as a good one.
    if (await hasNeedle(target, 2)) expect(copied.digest).toBe(right.digest)
    else expect(isAcknowledged).toBe(false)
  })
})

async function hasNeedle(node: LocalNode, needle: number): Promise<boolean> {
  return await node.read(3, needle).then(
    () => true,
    () => false,
  )
}

describe('a polite copy', () => {
  test('rests for as long as it is told to after each piece, for both servers', async () => {
    const { cluster, source, target } = await openPair()
    await using _source = source
    await using _target = target
    for (let needle = 1; needle <= 4; needle++) await source.put(3, needle, 'x'.repeat(1_000_000))
    const honest = source.api
    const slow = changedPeer(honest, {
      async *readVolumeFiles(request, signal) {
        for await (const piece of honest.readVolumeFiles(request, signal)) {
          await cluster.clock.sleep(10, signal)
          yield piece
        }
      },
    })
    cluster.nodes.set('node:1', slow)
    let isDone = false
    const beganMs = cluster.clock.monotonicMs()
    const polite = { ...copyCommand, politeness: 3 }
    const copying = collect(target.api.copyVolume(polite, SIGNAL)).then(() => {
      isDone = true
    })
    while (!isDone) await cluster.clock.advance(10)
    await copying
    const files = await collect(honest.readVolumeFiles({ volumeId: vid(3) }, SIGNAL))
    const tookMs = cluster.clock.monotonicMs() - beganMs
    expect(tookMs).toBeGreaterThanOrEqual(files.length * 70 - 10)
    expect(tookMs).toBeLessThan(files.length * 70 + 200)
  })

  test('a politeness that makes no sense is refused', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    const wild = collect(target.api.copyVolume({ ...copyCommand, politeness: -2 }, SIGNAL))
    await expect(wild).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })
})

describe('tailVolume', () => {
  test('shows puts and deletions since a moment, in the order they were made', async () => {
    const { source, target, cluster } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'one')
    await cluster.clock.advance(1000)
    const sinceNs = BigInt(cluster.clock.nowMs()) * 1_000_000n
    await source.put(3, 2, 'two')
    await source.delete(3, 1)
    const request = { volumeId: vid(3), sinceNs }
    const records = await collect(source.api.tailVolume(request, SIGNAL))
    expect(
      records.map(({ fileId, isTombstone, data }) => [fileId, isTombstone, String(data)]),
    ).toEqual([
      [fid(3, 2), false, 'two'],
      [fid(3, 1), true, ''],
    ])
    const all = await collect(source.api.tailVolume({ volumeId: vid(3), sinceNs: 0n }, SIGNAL))
    expect(all).toHaveLength(3)
    expect(all[0]?.metadata.lastModifiedS).toBe(Date.UTC(2024, 0, 1) / 1000)
  })

  test('stops where the volume ended when it began, and keeps its data while writes go on', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    for (let needle = 1; needle <= 10; needle++) await source.put(3, needle, `data ${needle}`)
    const tail = source.api.tailVolume({ volumeId: vid(3), sinceNs: 0n }, SIGNAL)
    const records = []
    for await (const record of tail) {
      await source.put(3, 100 + records.length, 'later')
      records.push(record)
    }
    expect(records.map(({ data }) => String(data))).toEqual(
      Array.from({ length: 10 }, (_, index) => `data ${index + 1}`),
    )
  })

  test('only what lies behind an extent; large ones without their data', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'one')
    const after = source.opened.store.get(vid(3)).volume.extent
    await source.put(3, 2, 'two')
    await source.put(3, 3, 'x'.repeat(9 * MIB))
    await source.delete(3, 1)
    const request = { volumeId: vid(3), sinceNs: 0n, after }
    const records = await collect(source.api.tailVolume(request, SIGNAL))
    expect(
      records.map(({ fileId, data, dataBytes }) => [fileId.needleId.lo, data.length, dataBytes]),
    ).toEqual([
      [2, 3, 3],
      [3, 0, 9 * MIB],
      [1, 0, 0],
    ])
    expect(records[0]?.checksum).toBe(crc32c(Buffer.from('two')))
    expect(records.at(-1)?.endBytes).toBe(source.opened.store.get(vid(3)).volume.extent.datBytes)
    const all = source.api.tailVolume({ volumeId: vid(3), sinceNs: 0n }, SIGNAL)
    await expect(collect(all)).rejects.toMatchObject({ code: 'NEEDLE_TOO_LARGE' })
    const end = records.at(-1)?.endBytes ?? 0
    const nothing = { ...request, after: { ...after, datBytes: end } }
    expect(await collect(source.api.tailVolume(nothing, SIGNAL))).toEqual([])
  })
})
