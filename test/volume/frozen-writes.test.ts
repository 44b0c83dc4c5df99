import { describe, expect, test } from 'vitest'
import { vid } from '../support/test-store.ts'
import { SIGNAL } from '../support/volume-model.ts'
import { Copies, stream } from './copies.ts'
import { holdLookup, LocalNode, nodeAt } from './local-node.ts'

describe('a frozen volume', () => {
  test('takes writes when it has thawed, and refuses none', async () => {
    await using copies = await Copies.open(2)
    const [a, b] = [copies.at(1), copies.at(2)]
    await Promise.all([a, b].map((node) => node.opened.gate.freeze(vid(3), 10_000)))
    const before = a.disk.contents('/a/3.dat')
    const writes = [
      a.put(3, 1, 'one'),
      b.put(3, 2, 'two'),
      stream(a, 3, 'three'),
      b.delete(3, 1000),
    ]
    const settled = Promise.all(writes.map((write) => copies.settle<unknown>(write)))
    await copies.cluster.clock.advance(1000)
    expect(a.disk.contents('/a/3.dat')).toEqual(before)
    for (const node of [a, b]) node.opened.gate.thaw(vid(3))
    expect((await settled).map(({ code }) => code)).toEqual(['done', 'done', 'done', 'done'])
    expect(copies.dirty).toEqual([])
    expect(await copies.textAt(2, 1)).toBe('one')
    expect(await copies.textAt(1, 2)).toBe('two')
    expect(await copies.textAt(2, 3)).toBe('three')
  })

  test('is waited for no longer than ten seconds', async () => {
    await using copies = await Copies.open(1)
    const { gate } = copies.at(1).opened
    await gate.freeze(vid(3), 10_000)
    const write = copies.settle(copies.at(1).put(3, 1, 'one'))
    await copies.cluster.clock.advance(5000)
    await gate.freeze(vid(3), 10_000)
    expect(await write).toMatchObject({ code: 'VOLUME_BUSY', ms: 10_000 })
  })

  test('has new copies for a write that waited at another one', async () => {
    await using copies = await Copies.open(2)
    const { cluster } = copies
    const third = await LocalNode.open(cluster, 3)
    await using _third = third
    await third.allocate(3, '001')
    // The first one does not know: the write is half done when the second one freezes.
    await copies.at(2).opened.gate.freeze(vid(3), 10_000)
    const write = copies.settle(copies.at(1).put(3, 1, 'one'))
    await cluster.clock.advance(1000)
    expect(await copies.textAt(1, 1)).toBe('one')
    cluster.master.known.set(vid(3), [nodeAt(1), nodeAt(2), nodeAt(3)])
    copies.at(2).opened.gate.thaw(vid(3))
    expect((await write).code).toBe('done')
    expect(await copies.textAt(2, 1)).toBe('one')
    expect(await third.read(3, 1)).toBe('one')
    expect(copies.dirty).toEqual([])
  })

  test('that moved away while a write waited is found at its new place', async () => {
    await using copies = await Copies.open(2)
    const { cluster } = copies
    await using third = await LocalNode.open(cluster, 3)
    await third.allocate(3, '001')
    const second = copies.at(2)
    await second.opened.gate.freeze(vid(3), 10_000)
    const write = copies.settle(copies.at(1).put(3, 1, 'one'))
    await cluster.clock.advance(1000)
    cluster.master.known.set(vid(3), [nodeAt(1), nodeAt(3)])
    await second.api.deleteVolume({ epoch: 1, volumeId: vid(3) }, SIGNAL)
    second.opened.gate.thaw(vid(3))
    expect((await write).code).toBe('done')
    expect(await third.read(3, 1)).toBe('one')
    expect(copies.dirty).toEqual([])
  })

  test('was held still and went on while the master was asked: its copies are those it has then', async () => {
    await using copies = await Copies.open(2)
    const { cluster } = copies
    await using third = await LocalNode.open(cluster, 3)
    await third.allocate(3, '001')
    const [first, second] = [copies.at(1), copies.at(2)]
    const answer = holdLookup(cluster.master)
    first.opened.locations.expire(vid(3))
    const write = copies.settle(first.put(3, 1, 'one'))
    await cluster.clock.advance(0)
    const gates = [first, second].map((node) => node.opened.gate)
    await Promise.all(gates.map((gate) => gate.freeze(vid(3), 10_000)))
    // The second one takes writes still: nobody has removed its copy.
    cluster.master.known.set(vid(3), [nodeAt(1), nodeAt(3)])
    for (const gate of gates) gate.thaw(vid(3))
    answer()
    expect((await write).code).toBe('done')
    expect(await third.read(3, 1)).toBe('one')
    expect(copies.dirty).toEqual([])
  })

  test('is quiet when freezing has returned, whatever was under way', async () => {
    await using copies = await Copies.open(1)
    const node = copies.at(1)
    let release: () => void = () => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    node.hooks.before = ({ kind, path }) => (kind === 'datasync' && path === '/a/3.dat' ? held : 0)
    const writes = [node.put(3, 1, 'one'), node.put(3, 2, 'two')]
    await copies.cluster.clock.advance(0)
    let isFrozen = false
    const freezing = node.opened.gate.freeze(vid(3), 10_000).then(() => {
      isFrozen = true
    })
    for (let turn = 0; turn < 50; turn++) await copies.cluster.clock.advance(1)
    expect(isFrozen).toBe(false)
    release()
    await freezing
    const { datBytes } = node.opened.store.get(vid(3)).volume.stats
    const late = copies.settle(node.put(3, 3, 'three'))
    await Promise.all(writes)
    await copies.cluster.clock.advance(1000)
    expect(node.opened.store.get(vid(3)).volume.stats.datBytes).toBe(datBytes)
    node.opened.gate.thaw(vid(3))
    expect((await late).code).toBe('done')
  })

  test('keeps what a failed write left, and has it recorded', async () => {
    await using copies = await Copies.open(2)
    copies.break(2, 'hangs')
    const write = copies.settle(copies.at(1).put(3, 1, 'one'))
    await copies.cluster.clock.advance(1000)
    await copies.at(1).opened.gate.freeze(vid(3), 10_000)
    expect((await write).code).toBe('REPLICATION_FAILED')
    expect(await copies.textAt(1, 1)).toBe('one')
    expect(copies.dirty).toEqual([{ needle: 1, kind: 'put', unreached: ['node:2'] }])
  })
})
