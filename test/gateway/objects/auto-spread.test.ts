import { describe, expect, test } from 'vitest'
import { parseErasureScheme } from '../../../src/base/erasure-scheme.ts'
import { StoreError } from '../../../src/base/store-error.ts'
import { autoSpread, widestSpread } from '../../../src/gateway/objects/auto-spread.ts'
import { readObjectPolicy } from '../../../src/gateway/objects/objects-config.ts'
import { FakeCluster } from '../../support/client-cluster.ts'
import { expectStoreError } from '../../support/expect-error.ts'
import { SimClock } from '../../support/sim-clock.ts'
import { never } from '../../support/test-namespace.ts'

type Node = Parameters<typeof widestSpread>[0][number]

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

describe('the widest spread', () => {
  test.each([
    ['2+1', 'a/r b/r c/r', 'data-centers'],
    ['2+1', 'a/r b/r c/r!', 'servers'],
    ['2+1', 'a/r b/r c/r-', 'servers'],
    ['2+1', 'a/1 a/2 b/1', 'racks'],
    ['2+1', 'a/1 a/1 a/1', 'servers'],
    ['2+1', 'a/1', 'servers'],
    ['4+2', 'a/1 a/1 b/1 b/1 c/1 c/1', 'data-centers'],
    ['4+2', 'a/1 a/1 a/1 b/1 b/1 c/1', 'servers'],
    ['4+2', 'a/1 a/1 a/2 a/2 a/3 a/3', 'racks'],
    ['4+2', 'a/1 a/1 a/2 a/2 b/1 b/1', 'racks'],
    ['1+2', 'a/1 a/1 b/1', 'data-centers'],
  ])('of %s over %s is by %s', (scheme, places, spread) => {
    expect(widestSpread(nodesOf(places), parseErasureScheme(scheme))).toBe(spread)
  })
})

describe('the spread of the moment', () => {
  test('is asked for once in ten seconds, and kept when the master does not answer', async () => {
    const cluster = new FakeCluster({ servers: 3, volumes: 0 })
    const clock = new SimClock()
    let count = 0
    let isAway = true
    const topology = async () => {
      count++
      if (isAway) throw new StoreError('UNAVAILABLE', 'no master')
      return await cluster.master.topology()
    }
    const auto = autoSpread({ master: { topology }, clock }, parseErasureScheme('2+1'))
    await expect(auto.current(never)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    isAway = false
    for (const place of ['x', 'y', 'z'])
      cluster.places.set(`${'abc'['xyz'.indexOf(place)]}:8080`, [place, 'r'])
    const several = await Promise.all([1, 2, 3].map(() => auto.current(never)))
    expect(several).toEqual(['data-centers', 'data-centers', 'data-centers'])
    await clock.advance(9999)
    cluster.setDown(['a:8080'])
    expect([await auto.current(never), count]).toEqual(['data-centers', 2])
    await clock.advance(1)
    isAway = true
    expect([await auto.current(never), count]).toEqual(['data-centers', 3])
    isAway = false
    expect([await auto.current(never), count]).toEqual(['servers', 4])
  })
})

describe('the policy of objects', () => {
  test.each([
    ['replicated', 'auto', undefined],
    ['ec:2+1', 'auto', '2+1'],
    ['ec:4+2', 'racks', '4+2'],
  ] as const)('can be %s with the spread %s', (policy, spread, scheme) => {
    const { erasure } = readObjectPolicy({ policy, spread })
    expect(erasure?.scheme).toEqual(scheme && parseErasureScheme(scheme))
  })

  test.each([
    ['auto', 'auto', 'CONFIG_INVALID'],
    ['', 'auto', 'CONFIG_INVALID'],
    ['ec:', 'auto', 'ERASURE_INVALID'],
    ['ec:0+1', 'auto', 'ERASURE_INVALID'],
    ['ec:2+1', 'regions', 'CONFIG_INVALID'],
  ] as const)('cannot be %o with the spread %s', (policy, spread, code) => {
    expectStoreError(() => readObjectPolicy({ policy, spread: spread as 'auto' }), code)
  })
})
