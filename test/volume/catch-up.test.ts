import { describe, expect, test, vi } from 'vitest'
import { cookie } from '../../src/base/ids.ts'
import { StoreError } from '../../src/base/store-error.ts'
import { parseTtl } from '../../src/base/ttl.ts'
import { MIB } from '../../src/base/units.ts'
import type {
  CatchUpAnswer,
  NeedleMetadata,
  TailRecord,
  VolumeApi,
  VolumeExtent,
} from '../../src/net/volume-api.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { changedPeer, collect, fid, LocalCluster, LocalNode, nodeAt } from './local-node.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

const command = { epoch: 1, volumeId: vid(3) }
const vacuumCommand = { ...command, dropsTombstones: true, skipsDamage: false, politeness: 0 }

async function openPair(seed = 2) {
  const cluster = new LocalCluster()
  const source = await LocalNode.open(cluster, 1)
  const target = await LocalNode.open(cluster, 2, { seed })
  await source.allocate(3)
  return { cluster, source, target }
}

async function copy(target: LocalNode): Promise<VolumeExtent> {
  const source = nodeAt(1)
  const options = { collection: '', source, politeness: 0, replacesBad: false }
  const reports = await collect(target.api.copyVolume({ ...command, ...options }, SIGNAL))
  const { sourceExtent } = reports.at(-1) ?? {}
  if (sourceExtent === undefined) throw new Error('the copy does not say how far it goes')
  return sourceExtent
}

function catchUp(target: LocalNode, sourceExtent: VolumeExtent): Promise<CatchUpAnswer> {
  return target.api.catchUpVolume({ ...command, source: nodeAt(1), sourceExtent }, SIGNAL)
}

/** The source, but its tail passes through `change`. */
function tailThrough(
  api: VolumeApi,
  change: (record: TailRecord, index: number) => TailRecord,
): VolumeApi {
  return changedPeer(api, {
    async *tailVolume(request, signal) {
      let index = 0
      for await (const record of api.tailVolume(request, signal)) yield change(record, index++)
    },
  })
}

const dying = (after: number) => (record: TailRecord, index: number) => {
  if (index < after) return record
  throw new StoreError('UNAVAILABLE', 'the source is gone')
}

describe('catchUpVolume', () => {
  test('carries over puts, overwrites and deletions, and says how far it came', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    for (let needle = 1; needle <= 5; needle++) await source.put(3, needle, `data ${needle}`)
    const copied = await copy(target)
    await source.put(3, 2, 'another')
    await source.put(3, 6, 'new')
    await source.put(3, 7, '')
    await source.delete(3, 1)
    const first = await catchUp(target, copied)
    expect(first).toEqual({
      sourceExtent: source.opened.store.get(vid(3)).volume.extent,
      recordCount: 4,
    })
    expect(await target.read(3, 2)).toBe('another')
    expect(await target.read(3, 6)).toBe('new')
    expect(await target.read(3, 7)).toBe('')
    await expect(target.read(3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    expect(await catchUp(target, first.sourceExtent)).toEqual({ ...first, recordCount: 0 })
    expect(await digestOf(target)).toBe(await digestOf(source))
  })

  test('keeps all that a needle knows', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    const copied = await copy(target)
    const metadata: NeedleMetadata = {
      name: 'straße.txt',
      mime: 'text/plain',
      lastModifiedS: 1_600_000_000,
      ttl: parseTtl('8y'),
      pairs: { b: '2', a: '1' },
      isCompressed: true,
      isChunkManifest: true,
    }
    const fileId = { ...fid(3, 9), cookie: cookie(0xfedc_ba98) }
    const request = { fileId, data: Buffer.from('x'), metadata, writeToken: '', isReplica: true }
    await source.api.put(request, SIGNAL)
    await catchUp(target, copied)
    const readRequest = { fileId, range: undefined, readDeleted: false, readToken: '' }
    await using content = await target.api.read(readRequest, SIGNAL)
    expect(content.metadata).toEqual(metadata)
    const [ours] = await target.api.statNeedles(vid(3), [fileId.needleId], SIGNAL)
    const [theirs] = await source.api.statNeedles(vid(3), [fileId.needleId], SIGNAL)
    expect({ ...ours, appendAtNs: 0n }).toEqual({ ...theirs, appendAtNs: 0n })
  })

  test('brings needles of more than 8 MiB, and skips one that was deleted since', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    const copied = await copy(target)
    await source.put(3, 1, 'a'.repeat(9 * MIB))
    await source.put(3, 2, 'b'.repeat(9 * MIB))
    await source.put(3, 3, 'small')
    await source.delete(3, 2)
    expect(await catchUp(target, copied)).toMatchObject({ recordCount: 4 })
    expect(await target.read(3, 1)).toBe('a'.repeat(9 * MIB))
    await expect(target.read(3, 2)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    expect(await target.read(3, 3)).toBe('small')
    expect(await digestOf(target)).toBe(await digestOf(source))
  })

  test.each([
    ['in one go', false],
    ['after the deletion came', true],
  ])('a needle that was put again after it was deleted lives: %s', async (_, isApart) => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'first')
    await source.put(3, 2, 'x'.repeat(9 * MIB))
    let extent = await copy(target)
    await source.delete(3, 1)
    await source.delete(3, 2)
    if (isApart) extent = (await catchUp(target, extent)).sourceExtent
    await source.put(3, 1, 'second')
    await source.put(3, 2, 'y'.repeat(9 * MIB))
    await catchUp(target, extent)
    expect(await target.read(3, 1)).toBe('second')
    expect(await target.read(3, 2)).toBe('y'.repeat(9 * MIB))
    expect(await digestOf(target)).toBe(await digestOf(source))
  })

  test('what was deleted here by somebody else does not come back', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'first')
    const copied = await copy(target)
    await target.delete(3, 1)
    await source.put(3, 1, 'second')
    await catchUp(target, copied)
    await expect(target.read(3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
  })

  test('after a vacuum of the source the needles have to be compared', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1, 'one')
    const copied = await copy(target)
    await collect(source.api.vacuumVolume(vacuumCommand, SIGNAL))
    await expect(catchUp(target, copied)).rejects.toMatchObject({ code: 'VOLUME_CHANGED' })
  })

  test('a source that is shorter than it was is another one', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    const copied = await copy(target)
    const longer = { ...copied, datBytes: copied.datBytes + 8 }
    await expect(catchUp(target, longer)).rejects.toMatchObject({ code: 'VOLUME_CHANGED' })
  })

  test('the copy of a sealed volume learns of deletions', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    for (let needle = 1; needle <= 5; needle++) await source.put(3, needle, `data ${needle}`)
    await source.api.sealVolume(command, SIGNAL)
    const copied = await copy(target)
    await source.delete(3, 4)
    await catchUp(target, copied)
    await expect(target.read(3, 4)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    expect(await target.api.volumeStatus(vid(3), SIGNAL)).toMatchObject({ state: 'sealed' })
  })

  test('a source that dies in the middle: what came stays, and the next time does the rest', async () => {
    const { cluster, source, target } = await openPair()
    await using _source = source
    await using _target = target
    await source.put(3, 1000, 'gone')
    const copied = await copy(target)
    await source.delete(3, 1000)
    for (let needle = 1; needle <= 700; needle++) void source.put(3, needle, `data ${needle}`)
    await source.put(3, 1000, 'again')
    const honest = source.api
    cluster.nodes.set('node:1', tailThrough(honest, dying(600)))
    await expect(catchUp(target, copied)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const { liveNeedles } = await target.api.volumeStatus(vid(3), SIGNAL)
    expect(liveNeedles).toBeGreaterThanOrEqual(256)
    cluster.nodes.set('node:1', honest)
    expect(await catchUp(target, copied)).toMatchObject({ recordCount: 702 })
    expect(await target.read(3, 1000)).toBe('again')
    expect(await digestOf(target)).toBe(await digestOf(source))
  })

  test('a record that was changed on its way is not stored', async () => {
    const { cluster, source, target } = await openPair()
    await using _source = source
    await using _target = target
    const copied = await copy(target)
    await source.put(3, 1, 'right')
    const honest = source.api
    const wrong = (record: TailRecord) => ({ ...record, data: Buffer.from('wrong') })
    cluster.nodes.set('node:1', tailThrough(honest, wrong))
    await expect(catchUp(target, copied)).rejects.toMatchObject({ code: 'PEER_FAILED' })
    await expect(target.read(3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
  })

  test('refuses the master of the past, itself as source, and a volume that is not here', async () => {
    const { source, target } = await openPair()
    await using _source = source
    await using _target = target
    const sourceExtent = { datBytes: 8, compactionRevision: 0 }
    await expect(catchUp(target, sourceExtent)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
    await target.allocate(3, '000', 5)
    await expect(catchUp(target, sourceExtent)).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    const own = { ...command, epoch: 5, source: nodeAt(2), sourceExtent }
    await expect(target.api.catchUpVolume(own, SIGNAL)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
  })

  test('closing the server ends it', async () => {
    const { cluster, source, target } = await openPair()
    await using _source = source
    const copied = await copy(target)
    await source.put(3, 1, 'one')
    const honest = source.api
    const stuck = changedPeer(honest, {
      async *tailVolume(request, signal) {
        yield* honest.tailVolume(request, signal)
        await cluster.clock.sleep(1_000_000, signal)
      },
    })
    cluster.nodes.set('node:1', stuck)
    const catchingUp = expect(catchUp(target, copied)).rejects.toMatchObject({ code: 'CANCELLED' })
    await cluster.clock.advance(10)
    await target.close()
    await catchingUp
  })

  // Goal: what was answered as carried over survives a power cut, and doing it again is harmless.
  test.each(seeds(60))('a power cut at any moment (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const { source, target } = await openPair(seed)
    await using _source = source
    await using _target = target
    for (let needle = 1; needle <= 20; needle++) await source.put(3, needle, `data ${needle}`)
    const copied = await copy(target)
    for (let needle = 10; needle <= 60; needle++) await source.put(3, needle, `new ${needle}`)
    for (let needle = 1; needle <= 60; needle += 7) await source.delete(3, needle)
    target.disk.cutPowerAfter(prng.between(1, 12))
    const isDone = await catchUp(target, copied).then(
      () => true,
      () => false,
    )
    await target.cutPower()
    if (!isDone) await catchUp(target, copied)
    expect(await digestOf(target)).toBe(await digestOf(source))
    for (let needle = 2; needle <= 60; needle++) {
      if (needle % 7 === 1) continue
      expect(await target.read(3, needle)).toBe(needle < 10 ? `data ${needle}` : `new ${needle}`)
    }
  })

  // Goal: a copy made while writes go on ends up with the same needles, byte by byte.
  // Method: a writer puts, overwrites, deletes and puts again; copy; catch up, with a source that
  // dies now and then; freeze; catch up for the last time; compare every needle ever written.
  test.each(seeds(60))('a copy under load becomes equal (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const { cluster, source, target } = await openPair(seed)
    await using _source = source
    await using _target = target
    const honest = source.api
    let isWriting = true
    let version = 0
    const write = async (): Promise<void> => {
      while (isWriting) {
        const needle = prng.between(1, 40)
        if (prng.chance(0.3)) await source.delete(3, needle)
        else await source.put(3, needle, `${needle} ${version++} ${'x'.repeat(prng.below(3000))}`)
      }
    }
    const writing = Promise.all([write(), write(), write()])
    let extent = await copy(target)
    for (let round = 0; round < 8; round++) {
      const isDying = prng.chance(0.3)
      if (isDying) cluster.nodes.set('node:1', tailThrough(honest, dying(prng.below(20))))
      extent = await catchUp(target, extent).then(
        ({ sourceExtent }) => sourceExtent,
        () => extent,
      )
      cluster.nodes.set('node:1', honest)
    }
    const frozen = await source.api.freezeVolume({ ...command, forMs: 5_000 }, SIGNAL)
    const last = await catchUp(target, extent)
    expect(last.sourceExtent).toEqual(frozen)
    expect(await source.api.digestVolume(vid(3), SIGNAL)).toMatchObject(frozen)
    expect(await digestOf(target)).toBe(await digestOf(source))
    const ids = Array.from({ length: 40 }, (_, index) => fid(3, index + 1).needleId)
    const ours = await target.api.statNeedles(vid(3), ids, SIGNAL)
    const theirs = await source.api.statNeedles(vid(3), ids, SIGNAL)
    const unstamped = (stats: typeof ours) => stats.map((stat) => ({ ...stat, appendAtNs: 0n }))
    const known = (stats: typeof ours) => unstamped(stats).filter(({ state }) => state === 'live')
    expect(known(ours)).toEqual(known(theirs))
    isWriting = false
    await source.api.freezeVolume({ ...command, forMs: 0 }, SIGNAL)
    await writing
  })
})

async function digestOf(node: LocalNode): Promise<string> {
  return (await node.api.digestVolume(vid(3), SIGNAL)).digest
}
