import { describe, expect, test } from 'vitest'
import { StoreError } from '../../../src/base/store-error.ts'
import { openPlacements, placementOn } from '../../../src/gateway/documents/document-placement.ts'
import { readDocumentsConfig } from '../../../src/gateway/documents/documents-config.ts'
import { HeldBytes } from '../../../src/gateway/documents/held-bytes.ts'
import { FakeCluster } from '../../support/client-cluster.ts'
import { expectStoreError } from '../../support/expect-error.ts'
import { SimClock } from '../../support/sim-clock.ts'
import { never } from '../../support/test-namespace.ts'

type Node = Parameters<typeof placementOn>[0][number]

/** `dc1/r1 dc1/r1 dc2/r1`; with `!` it is down, with `-` draining. */
function nodesOf(places: string): Node[] {
  return places.split(' ').map((text, index) => {
    const [dataCenter = '', rack = ''] = text.replace(/[!-]/, '').split('/')
    const url = `s${index}:1`
    return {
      location: { url, publicUrl: url, grpcAddress: url, dataCenter, rack },
      state: text.includes('!') ? 'down' : 'up',
      isDraining: text.includes('-'),
    }
  })
}

const OPTIONS = readDocumentsConfig()

describe('copies of documents', () => {
  test.each([
    ['a/r a/r a/r', '002'],
    ['a/r a/r a/r a/r a/r a/r', '002'],
    ['a/1 a/1 a/2 a/2', '011'],
    ['a/1 a/2 a/3', '020'],
    ['a/1 a/1 b/1 b/1', '101'],
    ['a/1 a/2 b/1', '110'],
    ['a/1 b/1 c/1', '200'],
    ['a/1 a/1 a/1!', '002'],
    ['a/1 a/1 a/1-', '001'],
    ['a/1 a/2', '010'],
    ['a/1 b/1', '100'],
    ['a/1', '000'],
  ])('on %s are %s', (places, replication) => {
    expect(placementOn(nodesOf(places), OPTIONS).replication).toBe(replication)
  })

  test('are what they were told to be', () => {
    const options = readDocumentsConfig({ replication: '001' })
    const placement = placementOn(nodesOf('a/1 b/1'), options)
    expect(placement).toMatchObject({ replication: '001', copies: 2, isPossibleNow: false })
  })

  test('may be fewer on servers that are up', () => {
    const placement = placementOn(nodesOf('a/1! a/2 a/3 a/1-'), OPTIONS)
    expect(placement).toMatchObject({ replication: '020', copies: 3, isPossibleNow: false })
    expect(placement.fallbacks).toEqual([
      { replication: '010', copies: 2 },
      { replication: '000', copies: 1 },
    ])
  })

  test('need a server', () => {
    expectStoreError(() => placementOn([], OPTIONS), 'UNAVAILABLE')
  })
})

describe('shards of documents', () => {
  test.each([
    ['a/r a/r a/r a/r a/r a/r', 'ec:4+2'],
    ['a/r a/r a/r a/r a/r a/r!', 'ec:4+2'],
    ['a/r a/r a/r a/r a/r a/r-', undefined],
    ['a/r a/r a/r a/r a/r', undefined],
  ])('on %s: %s', (places, policy) => {
    expect(placementOn(nodesOf(places), OPTIONS).codedPolicy).toBe(policy)
  })
})

test('the servers are asked for every three seconds, and what was known is kept', async () => {
  const cluster = new FakeCluster({ servers: 6, volumes: 0 })
  const clock = new SimClock()
  let count = 0
  let isAway = true
  const topology = async () => {
    count++
    if (isAway) throw new StoreError('UNAVAILABLE', 'no master')
    return await cluster.master.topology()
  }
  const placements = openPlacements({ master: { topology }, clock }, OPTIONS)
  await expect(placements.current(never)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  isAway = false
  const some = await Promise.all([1, 2, 3].map(() => placements.current(never)))
  expect([some.map(({ copies }) => copies), count]).toEqual([[3, 3, 3], 2])
  await clock.advance(3000)
  isAway = true
  expect([(await placements.current(never)).copies, count]).toEqual([3, 3])
})

describe('what documents are told', () => {
  test.each([
    [{ codedPolicy: 'auto' }, 'CONFIG_INVALID'],
    [{ codedPolicy: 'ec:0+1' }, 'ERASURE_INVALID'],
    [{ replication: '3' }, 'REPLICA_PLACEMENT_INVALID'],
    [{ hotFields: ['a', ''] }, 'CONFIG_INVALID'],
    [{ documentBytesMax: 0 }, 'CONFIG_INVALID'],
    [{ documentBytesMax: 1.5 }, 'CONFIG_INVALID'],
    [{ documentBytesMax: 256 * 1024 ** 2 + 1 }, 'CONFIG_INVALID'],
    [{ writePolicy: 'some' as 'all' }, 'CONFIG_INVALID'],
  ] as const)('cannot be %j', (options, code) => {
    expectStoreError(() => readDocumentsConfig(options), code)
  })

  test('leaves room for the largest document in all its forms', () => {
    const config = readDocumentsConfig({ documentBytesMax: 256 * 1024 ** 2 })
    expect(config.heldBytesMax).toBe(3 * 256 * 1024 ** 2)
  })
})

test('bytes that are held are given back as a whole, and only once', () => {
  const bytes = new HeldBytes(100)
  const one = bytes.open()
  one.add(40)
  one.add(20)
  const two = bytes.open()
  two.add(40)
  expectStoreError(() => two.add(1), 'OVERLOADED')
  one[Symbol.dispose]()
  one[Symbol.dispose]()
  expect(bytes.heldBytes).toBe(40)
  two.add(60)
  two[Symbol.dispose]()
  expect(bytes.heldBytes).toBe(0)
})
