import { describe, expect, test } from 'vitest'
import { parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { leastNeeded, unmetCount } from '../../src/jobs/placement-fit.ts'

function at(text: string) {
  const [dataCenter = '', rack = '', url = ''] = text.split('/')
  return { url, publicUrl: url, grpcAddress: url, dataCenter, rack }
}

describe('copies over servers, racks and data centres', () => {
  test.each([
    ['000', ['x/1/a'], 0],
    ['000', [], 1],
    ['001', ['x/1/a', 'x/1/b'], 0],
    ['001', ['x/1/a', 'x/2/b'], 1],
    ['010', ['x/1/a', 'x/2/b'], 0],
    ['010', ['x/1/a', 'x/1/b'], 1],
    ['100', ['x/1/a', 'y/1/b'], 0],
    ['100', ['x/1/a', 'x/2/b'], 1],
    ['110', ['x/1/a', 'x/2/b', 'y/1/c'], 0],
    ['110', ['x/1/a', 'y/1/b', 'z/1/c'], 1],
    ['002', ['x/1/a', 'x/1/b'], 1],
    ['111', ['x/1/a', 'x/1/b', 'x/2/c', 'y/1/d'], 0],
    ['200', ['x/1/a', 'y/1/b', 'y/2/c'], 1],
  ])('%s is met by %o except for %d', (placement, places, unmet) => {
    expect(unmetCount(places.map(at), parseReplicaPlacement(placement))).toBe(unmet)
  })

  test.each([
    ['010', ['x/1/a', 'x/1/b', 'x/2/c'], 'b'],
    ['100', ['x/1/a', 'y/1/b', 'x/1/c'], 'c'],
    ['110', ['x/1/a', 'x/2/b', 'y/1/c', 'y/2/d'], 'd'],
    ['000', ['x/1/a', 'x/1/b'], 'b'],
    ['001', ['x/1/a', 'x/1/b', 'y/1/c'], 'c'],
  ])('of %s on %o, %s is needed least', (placement, places, url) => {
    const copies = places.map((place) => ({ location: at(place) }))
    expect(leastNeeded(copies, parseReplicaPlacement(placement))?.location.url).toBe(url)
  })
})
