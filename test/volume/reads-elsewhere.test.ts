import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { fid, LocalCluster, LocalNode, nodeAt, readText } from './local-node.ts'

async function openCopies(count: number) {
  const cluster = new LocalCluster()
  const nodes: LocalNode[] = []
  for (let port = 1; port <= count; port++) {
    const node = await LocalNode.open(cluster, port)
    await node.allocate(3, `00${count - 1}`)
    nodes.push(node)
  }
  cluster.master.known.set(
    vid(3),
    nodes.map(({ location }) => location),
  )
  const at = (port: number): LocalNode => {
    const node = nodes[port - 1]
    if (node === undefined) throw new Error(`no node ${port}`)
    return node
  }
  const flipped: [number, number][] = []
  const flip = (port: number, byte: number): void => {
    at(port).disk.flipBit('/a/3.dat', byte, 3)
    flipped.push([port, byte])
  }
  const close = async () => {
    // What is left of the volumes is checked.
    for (const [port, byte] of flipped.splice(0)) at(port).disk.flipBit('/a/3.dat', byte, 3)
    for (const node of nodes) await node[Symbol.asyncDispose]()
  }
  return { cluster, nodes, at, flip, [Symbol.asyncDispose]: close }
}

/** Somewhere in the data of the only needle. */
const IN_DATA = 8 + 16 + 4 + 2
const MIB = 1024 * 1024

describe('a read of a needle that is bad here', () => {
  test('is answered from another copy, and the master is told once', async () => {
    await using copies = await openCopies(3)
    const { cluster, at } = copies
    await at(1).put(3, 1, 'the right bytes')
    copies.flip(1, IN_DATA)
    for (let time = 0; time < 5; time++) {
      expect(await readText(at(1).api, 3, 1)).toBe('the right bytes')
    }
    expect(at(1).opened.counts.readsElsewhere.value).toBe(5)
    await cluster.clock.advance(20_000)
    const told = { volumeId: vid(3), kind: 'check', reportedBy: 'node:1', unreached: [] }
    expect(cluster.master.dirty).toEqual([{ ...told, needleId: fid(3, 1).needleId }])
    await readText(at(1).api, 3, 1)
    await cluster.clock.advance(20_000)
    expect(cluster.master.dirty).toHaveLength(1)
    await cluster.clock.advance(60_000)
    await readText(at(1).api, 3, 1)
    await cluster.clock.advance(20_000)
    expect(cluster.master.dirty).toHaveLength(2)
  })

  test('asks the next copy when the first one it asks is bad, down or slow', async () => {
    for (const how of ['bad', 'down', 'slow'] as const) {
      await using copies = await openCopies(3)
      const { cluster, at } = copies
      await at(1).put(3, 1, 'the right bytes')
      copies.flip(1, IN_DATA)
      if (how === 'bad') copies.flip(2, IN_DATA)
      if (how === 'down') cluster.nodes.delete('node:2')
      if (how === 'slow') {
        const { api } = at(2)
        const read = () => new Promise<never>(() => undefined)
        cluster.nodes.set('node:2', Object.assign(Object.create(api), { read }))
      }
      for (let time = 0; time < 8; time++) {
        const reading = readText(at(1).api, 3, 1)
        for (let turn = 0; turn < 20; turn++) await cluster.clock.advance(300)
        expect(await reading).toBe('the right bytes')
      }
    }
  })

  test('which is bad everywhere fails with what is wrong, and nobody asks in circles', async () => {
    await using copies = await openCopies(3)
    const { at, nodes, cluster } = copies
    await at(1).put(3, 1, 'the right bytes')
    for (const port of [1, 2, 3]) copies.flip(port, IN_DATA)
    let readCount = 0
    for (const [url, api] of cluster.nodes) {
      const read: typeof api.read = (request, signal) => {
        readCount++
        return api.read(request, signal)
      }
      cluster.nodes.set(url, Object.assign(Object.create(api), { read }))
    }
    for (const { api } of nodes) {
      await expect(readText(api, 3, 1)).rejects.toMatchObject({ code: 'NEEDLE_CORRUPT' })
    }
    expect(readCount).toBe(6)
  })

  test('does without the master, and tells it when it is back', async () => {
    await using copies = await openCopies(2)
    const { at, cluster } = copies
    await at(1).put(3, 1, 'the right bytes')
    copies.flip(1, IN_DATA)
    cluster.master.failure = new StoreError('UNAVAILABLE', 'away')
    await cluster.clock.advance(20_000)
    expect(await readText(at(1).api, 3, 1)).toBe('the right bytes')
    await cluster.clock.advance(20_000)
    cluster.master.failure = undefined
    await cluster.clock.advance(60_000)
    expect(cluster.master.dirty).toMatchObject([{ kind: 'check', reportedBy: 'node:1' }])
  })

  test('fails as before where there is no other copy, and is not told', async () => {
    await using copies = await openCopies(1)
    const { at, cluster } = copies
    await at(1).put(3, 1, 'the right bytes')
    copies.flip(1, IN_DATA)
    await expect(readText(at(1).api, 3, 1)).rejects.toMatchObject({ code: 'NEEDLE_CORRUPT' })
    await cluster.clock.advance(20_000)
    expect(cluster.master.dirty).toEqual([])
  })

  test('and large shows it at the end: the next read is right', async () => {
    await using copies = await openCopies(2)
    const { at } = copies
    const text = 'hayloft '.repeat(MIB / 2)
    await at(1).put(3, 1, text)
    copies.flip(1, 3 * MIB)
    await expect(readText(at(1).api, 3, 1)).rejects.toMatchObject({ code: 'NEEDLE_CORRUPT' })
    expect(await readText(at(1).api, 3, 1)).toBe(text)
    await copies.cluster.clock.advance(20_000)
    expect(copies.cluster.master.dirty).toMatchObject([{ kind: 'check' }])
  })

  test('on a disk that fails is answered from another copy, and is no matter of the needle', async () => {
    await using copies = await openCopies(2)
    const { at, cluster } = copies
    await at(1).put(3, 1, 'the right bytes')
    // Opened anew it is not known to be in memory.
    await at(1).close()
    await at(1).open()
    at(1).hooks.before = ({ kind, path }) => {
      if (kind === 'read' && path === '/a/3.dat') throw new StoreError('DISK_FAILED', 'EIO')
    }
    expect(await readText(at(1).api, 3, 1)).toBe('the right bytes')
    await cluster.clock.advance(20_000)
    expect(cluster.master.dirty).toEqual([])
    at(1).hooks.before = undefined
  })
})

describe('a needle that is not here', () => {
  test('is looked for elsewhere only where it may be missing by policy', async () => {
    await using copies = await openCopies(2)
    const { at, cluster } = copies
    const { volume } = at(2).opened.store.get(vid(3))
    const { needleId: id, cookie } = fid(3, 1)
    await volume.put({ id, cookie, data: Buffer.from('only there'), attributes: {} }, SIGNAL)
    await expect(readText(at(1).api, 3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    cluster.master.writePolicy = 'best-effort'
    await cluster.clock.advance(10_000)
    expect(await readText(at(1).api, 3, 1)).toBe('only there')
    await expect(readText(at(1).api, 3, 2)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    // A tombstone is an answer.
    await at(1)
      .opened.store.get(vid(3))
      .volume.put({ id, cookie, data: Buffer.from('deleted here'), attributes: {} }, SIGNAL)
    await at(1).opened.store.get(vid(3)).volume.delete({ id, cookie }, SIGNAL)
    await expect(readText(at(1).api, 3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
  })

  test('of a volume that is not here is read where it is, and from there no further', async () => {
    await using copies = await openCopies(2)
    const { at, cluster } = copies
    await at(1).put(3, 1, 'the right bytes')
    await using stranger = await LocalNode.open(cluster, 9)
    copies.flip(1, IN_DATA)
    const request = { fileId: fid(3, 1), range: undefined, readDeleted: false, readToken: '' }
    for (let time = 0; time < 6; time++) {
      await using content = await stranger.opened.needles.fetch(request, SIGNAL)
      const pieces: string[] = []
      for await (const piece of content.data) pieces.push(String(piece))
      expect(pieces.join('')).toBe('the right bytes')
    }
    cluster.master.known.set(vid(4), [nodeAt(1)])
    const other = { ...request, fileId: fid(4, 1) }
    await expect(stranger.opened.needles.fetch(other, SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    })
  })
})
