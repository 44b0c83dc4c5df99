import { describe, expect, test } from 'vitest'
import { StoreError } from '../../src/base/store-error.ts'
import type { PutRequest } from '../../src/net/volume-api.ts'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { collect, fid, LocalCluster, LocalNode, nodeAt, vacuumCommand } from './local-node.ts'

async function openCopies(count: 2 | 3) {
  const cluster = new LocalCluster()
  const ports = count === 2 ? [1, 2] : [1, 2, 3]
  const nodes = await Promise.all(ports.map((port) => LocalNode.open(cluster, port)))
  for (const node of nodes) await node.allocate(3, count === 2 ? '001' : '002')
  cluster.master.known.set(vid(3), ports.map(nodeAt))
  const close = async () => {
    for (const node of nodes) await node[Symbol.asyncDispose]()
  }
  return { cluster, nodes, [Symbol.asyncDispose]: close }
}

describe('a write to a volume with several copies', () => {
  test.each([2, 3] as const)(
    'is in all %d copies when it is answered, times included',
    async (count) => {
      await using copies = await openCopies(count)
      const [first] = copies.nodes
      expect(await first?.put(3, 1, 'one')).toMatchObject({ isDurable: true, isUnchanged: false })
      const found = copies.nodes.map(({ disk }) => disk.contents('/a/3.dat'))
      for (const node of copies.nodes) expect(await node.read(3, 1)).toBe('one')
      expect(new Set(found.map(String)).size).toBe(1)
    },
  )

  test('is not sent on by those who get it from another copy', async () => {
    await using copies = await openCopies(3)
    const seen: PutRequest[] = []
    for (const [url, api] of copies.cluster.nodes) {
      const put = api.put.bind(api)
      api.put = (request, signal) => {
        seen.push(request)
        return put(request, signal)
      }
      copies.cluster.nodes.set(url, api)
    }
    await copies.nodes[1]?.put(3, 1, 'one')
    expect(seen.filter(({ isReplica }) => isReplica)).toHaveLength(2)
    expect(seen).toHaveLength(3)
  })

  test('goes to the others while it is written here', async () => {
    await using copies = await openCopies(2)
    const [a, b] = copies.nodes
    if (a === undefined || b === undefined) throw new Error('two nodes')
    let release: () => void = () => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    a.hooks.before = ({ kind, path }) => (kind === 'datasync' && path === '/a/3.dat' ? held : 0)
    const putting = a.put(3, 1, 'one')
    await expect.poll(() => b.read(3, 1).catch(() => 'not yet')).toBe('one')
    await expect(a.read(3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    release()
    await putting
    expect(await a.read(3, 1)).toBe('one')
  })

  test('fails with REPLICATION_FAILED when one copy fails, and says why', async () => {
    await using copies = await openCopies(3)
    copies.nodes[2]?.disk.failCall(1, 'EIO', ['datasync'])
    await expect(copies.nodes[0]?.put(3, 1, 'one')).rejects.toMatchObject({
      code: 'REPLICATION_FAILED',
      message: expect.stringContaining('1 of 2 other copies failed'),
      cause: { code: 'VOLUME_FAILED' },
    })
    expect(await copies.nodes[1]?.read(3, 1)).toBe('one')
    const command = vacuumCommand(3)
    for (const { api } of copies.nodes) await collect(api.vacuumVolume(command, SIGNAL))
  })

  test('what fails here is told as what it is', async () => {
    await using copies = await openCopies(2)
    await copies.nodes[0]?.put(3, 1, 'one')
    const request = { fileId: fid(3, 1, 8), data: Buffer.from('x'), metadata: {}, writeToken: '' }
    await expect(
      copies.nodes[0]?.api.put({ ...request, isReplica: false }, SIGNAL),
    ).rejects.toMatchObject({ code: 'COOKIE_MISMATCH' })
  })

  test('is refused before anything is written when a copy is not known', async () => {
    await using copies = await openCopies(2)
    copies.cluster.master.known.set(vid(3), [nodeAt(1)])
    const [a] = copies.nodes
    const before = a?.disk.contents('/a/3.dat')
    await expect(a?.put(3, 1, 'one')).rejects.toMatchObject({ code: 'REPLICATION_FAILED' })
    expect(a?.disk.contents('/a/3.dat')).toEqual(before)
  })

  test('asks the master again when what it knows is one copy short', async () => {
    await using copies = await openCopies(2)
    const { master } = copies.cluster
    master.known.set(vid(3), [nodeAt(1)])
    await expect(copies.nodes[0]?.put(3, 1, 'one')).rejects.toThrow()
    master.known.set(vid(3), [nodeAt(1), nodeAt(2)])
    await copies.nodes[0]?.put(3, 1, 'one')
    const { lookupCount } = master
    await copies.nodes[0]?.put(3, 2, 'two')
    expect(master.lookupCount).toBe(lookupCount)
  })

  test('goes on with the copies known last while the master is away', async () => {
    await using copies = await openCopies(2)
    const { master, clock } = copies.cluster
    await copies.nodes[0]?.put(3, 1, 'one')
    master.failure = new StoreError('UNAVAILABLE', 'away')
    await clock.advance(60_000)
    await copies.nodes[0]?.put(3, 2, 'two')
    expect(await copies.nodes[1]?.read(3, 2)).toBe('two')
  })

  test('as a stream of 3 MB is in every copy, byte for byte', async () => {
    await using copies = await openCopies(3)
    const data = Buffer.alloc(3_000_000, 'hayloft ')
    const source = (async function* () {
      for (let at = 0; at < data.length; at += 100_000) yield data.subarray(at, at + 100_000)
    })()
    const request = { fileId: fid(3, 1), metadata: {}, writeToken: '', isReplica: false, source }
    await copies.nodes[0]?.api.putStream(request, SIGNAL)
    for (const node of copies.nodes) expect(await node.read(3, 1)).toBe(data.toString())
  })

  test('a deletion is in every copy', async () => {
    await using copies = await openCopies(2)
    await copies.nodes[0]?.put(3, 1, 'one')
    expect(await copies.nodes[1]?.delete(3, 1)).toMatchObject({ wasLive: true })
    for (const node of copies.nodes) {
      await expect(node.read(3, 1)).rejects.toMatchObject({ code: 'NEEDLE_NOT_FOUND' })
    }
  })
})

describe('a read of a volume that is elsewhere', () => {
  test('is fetched from a server that has it, from another when the first fails', async () => {
    await using copies = await openCopies(2)
    await using stranger = await LocalNode.open(copies.cluster, 9)
    await copies.nodes[0]?.put(3, 1, 'one')
    copies.cluster.nodes.delete('node:1')
    copies.cluster.nodes.set('node:1', stranger.api)
    for (let tries = 0; tries < 6; tries++) {
      const request = { fileId: fid(3, 1), range: undefined, readDeleted: false, readToken: '' }
      await using content = await stranger.opened.needles.fetch(request, SIGNAL)
      const pieces: string[] = []
      for await (const piece of content.data) pieces.push(String(piece))
      expect(pieces.join('')).toBe('one')
    }
  })

  test('says VOLUME_NOT_FOUND when nobody has it', async () => {
    await using stranger = await LocalNode.open(new LocalCluster(), 9)
    const request = { fileId: fid(3, 1), range: undefined, readDeleted: false, readToken: '' }
    await expect(stranger.opened.needles.fetch(request, SIGNAL)).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    })
  })
})
