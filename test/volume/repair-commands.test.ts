import { describe, expect, test, vi } from 'vitest'
import { needleIdFromNumber } from '../../src/base/ids.ts'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { MIB } from '../../src/base/units.ts'
import type { HealAnswer, NeedleStat, ScrubProgress, VolumeApi } from '../../src/net/volume-api.ts'
import { Prng, seeds } from '../support/prng.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { changedPeer, collect, fid, LocalCluster, LocalNode, nodeAt } from './local-node.ts'

vi.mock(import('lru-cache'), async (importOriginal) =>
  (await import('../support/small-caches.ts')).smallCaches(importOriginal),
)

const command = { epoch: 1, volumeId: vid(3) }
const vacuumCommand = { ...command, dropsTombstones: false, skipsDamage: true, politeness: 0 }
const scrubCommand = {
  volumeId: vid(3),
  from: { datBytes: 0, compactionRevision: 0 },
  politeness: 0,
}

const id = needleIdFromNumber

/** Two members of one volume; what is put with `both` is on both, with `put` on one only. */
async function openPair(seed = 2) {
  const cluster = new LocalCluster()
  const a = await LocalNode.open(cluster, 1)
  const b = await LocalNode.open(cluster, 2, { seed })
  await a.allocate(3)
  await b.allocate(3)
  const both = async (needle: number, text: string): Promise<void> => {
    await a.put(3, needle, text)
    await b.put(3, needle, text)
  }
  return { cluster, a, b, both }
}

function heal(target: LocalNode, port: number, needles: readonly number[]) {
  const needleIds = needles.map(id)
  return target.api.healNeedles({ ...command, source: nodeAt(port), needleIds }, SIGNAL)
}

const outcomes = (answers: readonly HealAnswer[]) => answers.map(({ outcome }) => outcome)

function stat(node: LocalNode, ...needles: number[]): Promise<readonly NeedleStat[]> {
  return node.api.statNeedles(vid(3), needles.map(id), SIGNAL)
}

function digest(node: LocalNode) {
  return node.api.digestVolume(vid(3), SIGNAL)
}

/** Turns one bit of the data of a needle; `text` is what it holds. */
function damage(node: LocalNode, text: string, byte = 0): void {
  const at = node.disk.contents('/a/3.dat').lastIndexOf(text)
  expect(at).toBeGreaterThan(0)
  node.disk.flipBit('/a/3.dat', at + byte, 1)
}

/** What is left of a volume that a test has damaged is not to be checked when the test ends. */
async function dropVolume(node: LocalNode): Promise<void> {
  await node.api.deleteVolume(command, SIGNAL)
}

describe('digestVolume', () => {
  test('is the same for the same needles, and says what it is of', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    await both(1, 'one')
    await both(2, 'two')
    await a.put(3, 1, 'eins')
    await b.put(3, 1, 'eins')
    await a.delete(3, 2)
    expect((await digest(a)).digest).not.toBe((await digest(b)).digest)
    await b.delete(3, 2)
    await b.put(3, 3, 'three')
    await b.delete(3, 3)
    const ours = await digest(a)
    const theirs = await digest(b)
    expect(ours.digest).toMatch(/^[0-9a-f]{16}$/)
    expect(ours.digest).toBe(theirs.digest)
    expect(ours.liveNeedles).toBe(1)
    expect(ours.datBytes).toBe((await a.api.volumeStatus(vid(3), SIGNAL)).datBytes)
    expect(theirs.datBytes).toBeGreaterThan(ours.datBytes)
  })

  test('of a volume that is written to all the time is VOLUME_BUSY', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    let isWriting = true
    const writing = (async () => {
      for (let needle = 1; isWriting; needle++) await a.put(3, needle, 'x')
    })()
    // So many that a write comes in between.
    const puts = Array.from({ length: 9000 }, (_, index) => a.put(3, 10_000 + index, 'x'))
    await Promise.all(puts)
    await expect(digest(a)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    isWriting = false
    await writing
    expect(await digest(a)).toMatchObject({ liveNeedles: expect.any(Number) })
  })
})

describe('listNeedles', () => {
  test('shows ids ascending, deleted ones too', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    for (const needle of [5, 900_000_000_000, 3, 77]) await a.put(3, needle, 'x'.repeat(needle % 7))
    await a.delete(3, 5)
    const pages = await collect(a.api.listNeedles(vid(3), SIGNAL))
    const all = pages.flat()
    expect(all.map(({ needleId }) => needleId)).toEqual([3, 5, 77, 900_000_000_000].map(id))
    expect(all.map(({ isDeleted }) => isDeleted)).toEqual([false, true, false, false])
    expect(await collect(b.api.listNeedles(vid(3), SIGNAL))).toEqual(
      (await collect(b.api.listNeedles(vid(3), SIGNAL))).filter((page) => page.length === 0),
    )
  })

  test('of a volume that is not here is an error of the first page', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    const pages = a.api.listNeedles(vid(9), SIGNAL)
    await expect(collect(pages)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' })
  })
})

describe('statNeedles', () => {
  test('tells live, deleted, absent and corrupt, in the order that was asked for', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    await both(1, 'one')
    await both(2, 'something to be damaged')
    await both(3, 'gone')
    await both(4, 'y'.repeat(9 * MIB))
    await a.delete(3, 3)
    damage(a, 'something to be damaged')
    const stats = await stat(a, 4, 2, 9, 3, 1)
    expect(stats.map(({ state }) => state)).toEqual([
      'live',
      'corrupt',
      'absent',
      'deleted',
      'live',
    ])
    expect(stats[0]).toMatchObject({ cookie: 7, dataBytes: 9 * MIB })
    expect(stats[1]).toMatchObject({ cookie: 0, checksum: 0, dataBytes: 0, attributesHash: 0 })
    const other = await stat(b, 4)
    expect({ ...stats[0], appendAtNs: 0n }).toEqual({ ...other[0], appendAtNs: 0n })
    expect(other[0]?.appendAtNs).toBeGreaterThan(0n)
    await dropVolume(a)
  })

  test('says the same of copies that were written at different times', async () => {
    const { cluster, a, b } = await openPair()
    await using _a = a
    await using _b = b
    await a.put(3, 1, 'one')
    await cluster.clock.advance(5_000)
    await b.put(3, 1, 'one')
    const [ours] = await stat(a, 1)
    const [theirs] = await stat(b, 1)
    expect(theirs?.attributesHash).toBe(ours?.attributesHash)
    expect(theirs?.appendAtNs).toBeGreaterThan(ours?.appendAtNs ?? 0n)
  })

  // The checksum of a needle covers its data alone; the one of its block covers the rest.
  test('a cookie that was altered on the disk does not pass for the newest', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    await both(1, 'one')
    // The cookie lies 20 bytes before the data: header and length of the data.
    damage(a, 'one', -20)
    const [ours] = await stat(a, 1)
    const [theirs] = await stat(b, 1)
    expect(ours).toMatchObject({ state: 'live', appendAtNs: 0n })
    expect(ours?.cookie).not.toBe(theirs?.cookie)
    expect(outcomes(await heal(a, 2, [1]))).toEqual(['healed'])
    expect(await a.read(3, 1)).toBe('one')
    await dropVolume(a)
  })

  test('refuses more than a thousand at once', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    const needles = Array.from({ length: 1001 }, (_, index) => index + 1)
    await expect(stat(a, ...needles)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    await expect(heal(a, 2, needles)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
    const needleIds = needles.map(id)
    await expect(a.api.deleteNeedles({ ...command, needleIds }, SIGNAL)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
    expect(await stat(a, ...needles.slice(1))).toHaveLength(1000)
  })
})

describe('healNeedles', () => {
  test('brings what is missing, other or corrupt, and tells what it did', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    await both(1, 'the same')
    await both(2, 'to be damaged')
    await both(3, 'deleted here')
    await both(4, 'deleted there')
    await both(5, 'overwritten')
    await a.put(3, 5, 'the newer one')
    await a.put(3, 6, 'missed')
    await a.put(3, 7, 'z'.repeat(9 * MIB))
    await b.delete(3, 3)
    await a.delete(3, 4)
    damage(b, 'to be damaged')
    await expect(b.read(3, 2)).rejects.toMatchObject({ code: 'NEEDLE_CORRUPT' })
    const answers = await heal(b, 1, [1, 2, 3, 4, 5, 6, 7, 8])
    expect(answers.map(({ needleId }) => needleId)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map(id))
    expect(outcomes(answers)).toEqual([
      'unchanged',
      'healed',
      'deleted',
      'unavailable',
      'healed',
      'healed',
      'healed',
      'unavailable',
    ])
    expect(await b.read(3, 2)).toBe('to be damaged')
    expect(await b.read(3, 5)).toBe('the newer one')
    expect(await b.read(3, 7)).toBe('z'.repeat(9 * MIB))
    await expect(b.read(3, 3)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    expect(await b.read(3, 4)).toBe('deleted there')
    await dropVolume(b)
  })

  test('keeps what a needle knows, its time too', async () => {
    const { cluster, a, b } = await openPair()
    await using _a = a
    await using _b = b
    const metadata = {
      name: 'a.txt',
      mime: 'text/x',
      lastModifiedS: 1_500_000_000,
      pairs: { k: 'v' },
    }
    const request = { fileId: fid(3, 1, 99), data: Buffer.from('x'), metadata, writeToken: '' }
    await a.api.put({ ...request, isReplica: true }, SIGNAL)
    await cluster.clock.advance(60_000)
    await heal(b, 1, [1])
    const readRequest = { range: undefined, readDeleted: false, readToken: '' }
    await using content = await b.api.read({ fileId: fid(3, 1, 99), ...readRequest }, SIGNAL)
    expect(content.metadata).toMatchObject(metadata)
  })

  test('over a needle with another cookie', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    await b.put(3, 1, 'another')
    const request = {
      fileId: fid(3, 1, 8),
      data: Buffer.from('right'),
      metadata: {},
      writeToken: '',
    }
    await a.api.put({ ...request, isReplica: true }, SIGNAL)
    expect(outcomes(await heal(b, 1, [1]))).toEqual(['healed'])
    expect(await stat(b, 1)).toMatchObject([{ cookie: 8, dataBytes: 5 }])
  })

  test('a sealed volume, and one that is full, can be healed', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    await both(1, 'to be damaged')
    await a.put(3, 2, 'missed')
    await b.api.sealVolume(command, SIGNAL)
    damage(b, 'to be damaged')
    expect(outcomes(await heal(b, 1, [1, 2]))).toEqual(['healed', 'healed'])
    expect(await b.read(3, 1)).toBe('to be damaged')
    expect(await b.read(3, 2)).toBe('missed')
    await expect(b.put(3, 3, 'x')).rejects.toMatchObject({ code: 'VOLUME_SEALED' })
    await dropVolume(b)
  })

  test('what is corrupt there does not come here', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    await a.put(3, 1, 'to be damaged')
    await both(2, 'bad on both')
    damage(a, 'to be damaged')
    damage(a, 'bad on both')
    damage(b, 'bad on both', 3)
    expect(outcomes(await heal(b, 1, [1, 2]))).toEqual(['unavailable', 'unavailable'])
    expect(await stat(b, 1, 2)).toMatchObject([{ state: 'absent' }, { state: 'corrupt' }])
    await dropVolume(a)
    await dropVolume(b)
  })

  test('bytes that were changed on their way are not stored', async () => {
    const { cluster, a, b } = await openPair()
    await using _a = a
    await using _b = b
    await a.put(3, 1, 'right')
    await a.put(3, 2, 'x'.repeat(9 * MIB))
    const honest = a.api
    const lying: VolumeApi = changedPeer(honest, {
      async read(request, signal) {
        const content = await honest.read(request, signal)
        const data = flipFirst(content.data)
        return { ...content, data, [Symbol.asyncDispose]: () => content[Symbol.asyncDispose]() }
      },
    })
    cluster.nodes.set('node:1', lying)
    await expect(heal(b, 1, [1])).rejects.toMatchObject({ code: 'PEER_FAILED' })
    await expect(heal(b, 1, [2])).rejects.toMatchObject({ code: 'PEER_FAILED' })
    expect(await stat(b, 1, 2)).toMatchObject([{ state: 'absent' }, { state: 'absent' }])
    cluster.nodes.set('node:1', honest)
    expect(outcomes(await heal(b, 1, [1, 2]))).toEqual(['healed', 'healed'])
  })

  // A delete finds nothing here yet, and leaves nothing; the needle comes after it.
  test('a delete that overtakes the needle wins', async () => {
    const { cluster, a, b } = await openPair()
    await using _a = a
    await using _b = b
    await a.put(3, 1, 'one')
    await a.put(3, 2, 'two')
    const honest = a.api
    const overtaken = changedPeer(honest, {
      async read(request, signal) {
        const content = await honest.read(request, signal)
        if (request.fileId.needleId.lo === 1) {
          await b.delete(3, 1)
          await a.delete(3, 1)
        }
        return content
      },
    })
    cluster.nodes.set('node:1', overtaken)
    expect(outcomes(await heal(b, 1, [1, 2]))).toEqual(['deleted', 'healed'])
    await expect(b.read(3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    expect(await b.read(3, 2)).toBe('two')
  })

  test('refuses the master of the past', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    await b.api.sealVolume({ epoch: 7, volumeId: vid(3) }, SIGNAL)
    await expect(heal(b, 1, [1])).rejects.toMatchObject({ code: 'EPOCH_STALE' })
    const deleting = b.api.deleteNeedles({ ...command, needleIds: [id(1)] }, SIGNAL)
    await expect(deleting).rejects.toMatchObject({ code: 'EPOCH_STALE' })
  })

  // Goal: needles answered as healed are there after a power cut; nothing that was there is lost.
  test.each(seeds(60))('a power cut at any moment (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const { a, b, both } = await openPair(seed)
    await using _a = a
    await using _b = b
    for (let needle = 1; needle <= 10; needle++) await both(needle, `data ${needle}`)
    for (let needle = 5; needle <= 30; needle++) await a.put(3, needle, `new ${needle}`)
    const needles = Array.from({ length: 30 }, (_, index) => index + 1)
    b.disk.cutPowerAfter(prng.between(1, 60))
    const answers = await heal(b, 1, needles).catch(() => [])
    await b.cutPower()
    for (let needle = 1; needle <= 30; needle++) {
      const isHealed = answers[needle - 1]?.outcome === 'healed'
      const text = await b.read(3, needle).catch(() => '')
      const old = needle <= 10 ? `data ${needle}` : ''
      const right = needle < 5 ? old : `new ${needle}`
      expect(isHealed ? [right] : [old, right]).toContain(text)
    }
    await heal(b, 1, needles)
    expect((await digest(b)).digest).toBe((await digest(a)).digest)
  })
})

async function* flipFirst(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let isFirst = true
  for await (const piece of pieces) {
    const changed = Buffer.from(piece)
    if (isFirst) changed[0] = (changed[0] ?? 0) ^ 1
    isFirst = false
    yield changed
  }
}

describe('deleteNeedles', () => {
  test('deletes here alone, whatever the cookies; durable', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    await both(1, 'one')
    await both(2, 'two')
    const needleIds = [1, 99].map(id)
    await b.api.deleteNeedles({ ...command, needleIds }, SIGNAL)
    await b.cutPower()
    const states = (await stat(b, 1, 2, 99)).map(({ state }) => state)
    expect(states).toEqual(['deleted', 'live', 'absent'])
    expect(await a.read(3, 1)).toBe('one')
  })

  test('deletes what is corrupt', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    await both(1, 'to be damaged')
    damage(b, 'to be damaged')
    await b.api.deleteNeedles({ ...command, needleIds: [id(1)] }, SIGNAL)
    expect(await stat(b, 1)).toMatchObject([{ state: 'deleted' }])
    await dropVolume(b)
  })
})

describe('scrubVolume', () => {
  async function scrub(node: LocalNode): Promise<{ last: ScrubProgress; findings: string[] }> {
    const steps = await collect(node.api.scrubVolume(scrubCommand, SIGNAL))
    const last = steps.at(-1)
    if (last === undefined) throw new Error('scrub said nothing')
    return { last, findings: steps.flatMap(({ findings }) => findings.map(({ kind }) => kind)) }
  }

  test('finds nothing in sound copies, and the same content in equal ones', async () => {
    const { a, b, both } = await openPair()
    await using _a = a
    await using _b = b
    for (let needle = 1; needle <= 50; needle++) await both(needle, `data ${needle}`)
    await b.put(3, 51, 'more')
    await b.delete(3, 51)
    const ours = await scrub(a)
    const theirs = await scrub(b)
    expect(ours.findings).toEqual([])
    expect(ours.last).toMatchObject({ isDone: true, at: a.opened.store.get(vid(3)).volume.extent })
    expect(ours.last.contentDigest).toMatch(/^[0-9a-f]{16}$/)
    expect(theirs.last.contentDigest).toBe(ours.last.contentDigest)
    await b.put(3, 7, 'DATA 7')
    expect((await scrub(b)).last.contentDigest).not.toBe(ours.last.contentDigest)
  })

  // Goal: a wrong bit anywhere is found, healed from the other copy, and gone after a vacuum.
  test.each(seeds(60))('one flipped bit: found, healed, renewed (seed %d)', async (seed) => {
    const prng = new Prng(seed)
    const { a, b, both } = await openPair(seed)
    await using _a = a
    await using _b = b
    for (let needle = 1; needle <= 30; needle++) await both(needle, `${needle} ${'x'.repeat(200)}`)
    for (let needle = 1; needle <= 30; needle += 4) {
      await a.delete(3, needle)
      await b.delete(3, needle)
    }
    const { datBytes } = b.opened.store.get(vid(3)).volume.extent
    b.disk.flipBit('/a/3.dat', prng.between(8, datBytes - 1), prng.below(8))
    const before = await scrub(b)
    expect(before.findings.length).toBeGreaterThan(0)
    const all = Array.from({ length: 30 }, (_, index) => index + 1)
    expect(outcomes(await heal(b, 1, all))).not.toContain('unavailable')
    await collect(b.api.vacuumVolume(vacuumCommand, SIGNAL))
    const after = await scrub(b)
    expect(after.findings).toEqual([])
    expect(after.last.contentDigest).toBe((await scrub(a)).last.contentDigest)
    for (const needle of all) {
      if (needle % 4 === 1) {
        await expect(b.read(3, needle)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
      } else expect(await b.read(3, needle)).toBe(`${needle} ${'x'.repeat(200)}`)
    }
  })

  test('goes on where it was told to, and then gives no digest of the whole', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    for (let needle = 1; needle <= 6; needle++) await a.put(3, needle, `${needle}`.repeat(2 * MIB))
    const steps = await collect(a.api.scrubVolume(scrubCommand, SIGNAL))
    const middle = steps[Math.floor(steps.length / 2)]
    if (middle === undefined) throw new Error('scrub said nothing')
    expect(middle.isDone).toBe(false)
    const from = middle.at
    const rest = await collect(a.api.scrubVolume({ ...scrubCommand, from }, SIGNAL))
    expect(rest.length).toBeLessThan(steps.length)
    expect(rest.at(-1)).toMatchObject({ isDone: true, contentDigest: '', at: steps.at(-1)?.at })
  })

  test('closing the server ends it', async () => {
    const { a, b } = await openPair()
    await using _b = b
    for (let needle = 1; needle <= 6; needle++) await a.put(3, needle, `${needle}`.repeat(2 * MIB))
    const steps = a.api.scrubVolume(scrubCommand, SIGNAL)[Symbol.asyncIterator]()
    await steps.next()
    const closing = a.close()
    const goOn = async (): Promise<void> => {
      while ((await steps.next()).done !== true);
    }
    await expect(goOn()).rejects.toMatchObject({ code: expect.stringMatching(/CANCELLED|CLOSED/) })
    await closing
    expect(a.disk.openFiles).toBe(0)
  })

  test('refuses a politeness that makes no sense', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    const wild = { ...scrubCommand, politeness: -1 }
    await expect(collect(a.api.scrubVolume(wild, SIGNAL))).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
  })
})

describe('setVolumeReplication', () => {
  test('survives a power cut, a seal and a vacuum', async () => {
    const { a, b } = await openPair()
    await using _a = a
    await using _b = b
    await a.put(3, 1, 'one')
    const replication = parseReplicaPlacement('012')
    await a.api.setVolumeReplication({ ...command, replication }, SIGNAL)
    const said = async () => (await a.api.volumeStatus(vid(3), SIGNAL)).replication
    expect(await said()).toEqual(replication)
    await a.cutPower()
    expect(await said()).toEqual(replication)
    await collect(a.api.vacuumVolume(vacuumCommand, SIGNAL))
    await a.api.sealVolume(command, SIGNAL)
    await a.cutPower()
    expect(await said()).toEqual(replication)
  })

  test.each(seeds(40))('is the old or the new one after a power cut (seed %d)', async (seed) => {
    const { a, b } = await openPair(seed)
    await using _a = a
    await using _b = b
    const replication = parseReplicaPlacement('100')
    b.disk.cutPowerAfter(new Prng(seed).between(1, 6))
    const isDone = await b.api.setVolumeReplication({ ...command, replication }, SIGNAL).then(
      () => true,
      () => false,
    )
    await b.cutPower()
    const { replication: found } = await b.api.volumeStatus(vid(3), SIGNAL)
    const allowed = isDone ? [replication] : [replication, parseReplicaPlacement('000')]
    expect(allowed).toContainEqual(found)
  })
})
