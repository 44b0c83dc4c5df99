import { describe, expect, test } from 'vitest'
import { NextMoves } from '../../src/master/next-moves.ts'
import { Prng } from '../support/prng.ts'
import {
  awayAt,
  codedFactsOf,
  copyAt,
  FakeRepairView,
  factsOf,
  lostAt,
} from '../support/volume-facts.ts'

const ANY = { replaces: '', excluded: [] }

function openBench(places: readonly string[]) {
  const view = new FakeRepairView()
  for (const place of places) view.addNode(place)
  const busy = new Set<number>()
  const busyTest = () => (id: number) => busy.has(id)
  const moves = new NextMoves({ view, random: new Prng(1), busyTest }, { spread: 0.1 })
  return { view, busy, moves }
}

const damaged = { report: { state: 'damaged' } } as const

describe('the target of a copy', () => {
  test('has none yet, and is not left out', () => {
    const { moves } = openBench(['a:1', 'b:1', 'c:1', 'd:1'])
    const facts = factsOf(7, [copyAt('a:1'), awayAt('b:1')], { replication: '002' })
    expect(moves.target(facts, { ...ANY, excluded: ['c:1'] }).url).toBe('d:1')
    expect(() => moves.target(facts, { ...ANY, excluded: ['c:1', 'd:1'] })).toThrow('copy')
  })

  test('may be the server that has lost its copy, but not one with a bad copy', () => {
    const { moves } = openBench(['a:1', 'b:1'])
    const wiped = lostAt('b:1', { isUp: true, report: 'none' })
    expect(moves.target(factsOf(7, [copyAt('a:1'), wiped]), ANY).url).toBe('b:1')
    const bad = factsOf(7, [copyAt('a:1'), copyAt('b:1', damaged)])
    expect(() => moves.target(bad, { ...ANY, replaces: 'disk-b:1' })).toThrow('left')
  })

  test('has a stray only if there is no other', () => {
    const { view, moves } = openBench(['a:1', 'b:1'])
    const facts = factsOf(7, [copyAt('a:1')], { strays: [copyAt('b:1')] })
    expect(moves.target(facts, ANY).url).toBe('b:1')
    view.addNode('c:1')
    for (let turn = 0; turn < 20; turn++) expect(moves.target(facts, ANY).url).toBe('c:1')
  })

  test('has room for all of it', () => {
    const { view, moves } = openBench(['a:1'])
    view.addNode('b:1', { roomBytes: 1199 })
    const facts = factsOf(7, [copyAt('a:1')])
    expect(() => moves.target(facts, ANY)).toThrow('room')
    view.addNode('b:1', { roomBytes: 1200 })
    expect(moves.target(facts, ANY).url).toBe('b:1')
  })

  test('stands where the placement needs it, beside what is kept', () => {
    const { moves } = openBench(['dc1/r1/a:1', 'dc1/r1/b:1', 'dc2/r1/c:1', 'dc1/r1/d:1'])
    const facts = factsOf(7, [copyAt('dc1/r1/a:1'), copyAt('dc1/r1/b:1')], { replication: '100' })
    expect(moves.target(facts, { ...ANY, replaces: 'disk-b:1' }).url).toBe('c:1')
  })
})

describe('an evacuation', () => {
  test('moves what is there, and ends when nothing is left', () => {
    const { view, busy, moves } = openBench(['a:1', 'b:1', 'c:1'])
    view.put(factsOf(1, [copyAt('a:1'), copyAt('b:1')]))
    view.put(factsOf(2, [copyAt('b:1'), copyAt('c:1')]))
    const move = () => moves.evacuate(view.allFacts(), 'a:1')
    expect(move()).toMatchObject({ volumeId: 1, from: { url: 'a:1' }, to: { url: 'c:1' } })
    busy.add(1)
    expect(move).toThrow('being worked on')
    view.put(factsOf(1, [lostAt('a:1'), copyAt('b:1')]))
    expect(move()).toBeUndefined()
  })

  test('leaves bad copies to their repair, and says what cannot go anywhere', () => {
    const { view, moves } = openBench(['a:1', 'b:1', 'c:1'])
    view.put(factsOf(1, [copyAt('a:1', damaged), copyAt('b:1')]))
    const move = () => moves.evacuate(view.allFacts(), 'a:1')
    expect(move).toThrow('being worked on')
    view.put(factsOf(1, [copyAt('a:1'), copyAt('b:1'), copyAt('c:1')], { replication: '002' }))
    expect(move).toThrow('left')
  })
})

describe('shards', () => {
  const specs = ['a:1', 'b:1', 'c:1']

  test('keep an evacuation from its end until they are gone, and say when they cannot go', () => {
    const { view, moves } = openBench(['b:1', 'c:1'])
    view.addNode('a:1', { isDraining: true })
    view.put(codedFactsOf(1, '2+1', specs))
    const move = () => moves.evacuate(view.allFacts(), 'a:1')
    expect(move).toThrow('being worked on')
    view.put(factsOf(2, [copyAt('a:1')], { replication: '000' }))
    expect(move()).toMatchObject({ volumeId: 2 })
    view.volumes.delete(2)
    for (const url of ['b:1', 'c:1']) view.addNode(url, { roomBytes: 999 })
    expect(move).toThrow('no other server has room for the shards of volume 1')
    // Those that are to be repaired first are no reason to give up.
    view.put(codedFactsOf(1, '2+1', ['a:1', 'b:1', ['c:1', { isBad: true }]]))
    expect(move).toThrow('being worked on')
    view.put(codedFactsOf(1, '2+1', [['a:1', { isLost: true }], 'b:1', 'c:1']))
    expect(move()).toBeUndefined()
  })

  test('go to other servers than those that are left out, are spared, or hold some', () => {
    const { view, moves } = openBench(['a:1', 'b:1', 'c:1', 'd:1'])
    view.addNode('e:1', { isSpared: true, roomBytes: 9e9 })
    view.addNode('f:1', { isUp: false, roomBytes: 9e9 })
    const facts = codedFactsOf(1, '2+1', specs)
    const request = {
      volumeId: facts.volumeId,
      dataShards: 2,
      parityShards: 1,
      kept: [
        { shard: 0, url: 'a:1' },
        { shard: 1, url: 'f:1' },
      ],
      wanted: [2],
      shardBytes: 1000,
      excluded: ['b:1'],
    }
    const urls = new Set<string>()
    for (let turn = 0; turn < 20; turn++) {
      urls.add(
        moves
          .shards(request)
          .map(({ location }) => location.url)
          .join(),
      )
    }
    expect([...urls].sort()).toEqual(['c:1', 'd:1'])
    // Better on one that comes and goes than nowhere.
    const [large] = moves.shards({ ...request, shardBytes: 2_000_000 })
    expect(large?.location.url).toBe('e:1')
    expect(() => moves.shards({ ...request, shardBytes: 1e10 })).toThrow('room')
  })

  test('move to where fewer are; a volume with copies has none to move', () => {
    const { view, moves } = openBench([...specs, 'd:1'])
    view.cuts.add('d:1 a:1')
    const facts = codedFactsOf(1, '2+1', ['a:1', 'a:1', 'b:1'])
    expect(moves.shardMove(facts)).toMatchObject({ from: { url: 'a:1' }, to: { url: 'c:1' } })
    expect(moves.shardMove(factsOf(2, [copyAt('a:1')]))).toBeUndefined()
  })

  test('that become a whole copy need room for all of it', () => {
    const { view, moves } = openBench([])
    view.addNode('b:1', { roomBytes: 3999 })
    const facts = codedFactsOf(1, '2+1', specs)
    expect(() => moves.target(facts, ANY)).toThrow('room')
    view.addNode('c:1', { roomBytes: 9e9, isSpared: true })
    expect(moves.target(facts, ANY).url).toBe('c:1')
    view.addNode('b:1', { roomBytes: 4000 })
    expect(moves.target(facts, ANY).url).toBe('b:1')
  })
})

describe('rebalancing', () => {
  test('moves from full to empty, but nothing that is being worked on or not whole', () => {
    const { view, busy, moves } = openBench([])
    view.addNode('a:1', { usedBytes: 8000, roomBytes: 2000 })
    view.addNode('b:1', { usedBytes: 0, roomBytes: 10_000 })
    view.addNode('c:1', { usedBytes: 0, roomBytes: 10_000, isSpared: true })
    for (const id of [1, 2, 3]) view.put(factsOf(id, [copyAt('a:1')], { replication: '000' }))
    view.put(factsOf(4, [copyAt('a:1'), awayAt('d:1')]))
    const move = () => moves.rebalance(view.allFacts())
    expect(move()).toMatchObject({ from: { url: 'a:1' }, to: { url: 'b:1' } })
    for (const id of [1, 2]) busy.add(id)
    expect(move()).toMatchObject({ volumeId: 3 })
    busy.add(3)
    expect(move()).toBeUndefined()
  })
})

test('rebalancing leaves shards of files where they are, apart from each other', () => {
  const { view, moves } = openBench([])
  view.addNode('a:1', { usedBytes: 8000, roomBytes: 2000 })
  view.addNode('b:1', { usedBytes: 0, roomBytes: 10_000 })
  const collection = 'documents-coded'
  view.put(factsOf(1, [copyAt('a:1')], { replication: '000', collection }))
  expect(moves.rebalance(view.allFacts())).toBeUndefined()
  view.put(factsOf(2, [copyAt('a:1'), copyAt('c:1')], { collection }))
  expect(moves.rebalance(view.allFacts())).toMatchObject({ volumeId: 2, to: { url: 'b:1' } })
})

describe('a volume in the wrong places', () => {
  test('is moved only where that makes the placement whole', () => {
    const { view, moves } = openBench(['dc1/r1/a:1', 'dc1/r1/b:1', 'dc1/r1/c:1'])
    const copies = [copyAt('dc1/r1/a:1'), copyAt('dc1/r1/b:1')]
    const facts = factsOf(7, copies, { replication: '100' })
    expect(moves.placement(facts)).toBeUndefined()
    view.addNode('dc2/r1/e:1', { isSpared: true })
    expect(moves.placement(facts)).toBeUndefined()
    view.addNode('dc2/r1/d:1')
    expect(moves.placement(facts)).toMatchObject({ volumeId: 7, to: { url: 'd:1' } })
    const away = factsOf(7, [copyAt('dc1/r1/a:1'), awayAt('dc1/r1/b:1')], { replication: '100' })
    expect(moves.placement(away)).toBeUndefined()
  })
})
