import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../src/base/assert.ts'
import {
  copyCount,
  formatReplicaPlacement,
  parseReplicaPlacement,
  replicaPlacementFromByte,
  replicaPlacementToByte,
} from '../../src/base/replica-placement.ts'
import { expectStoreError } from '../support/expect-error.ts'

describe('a replica placement', () => {
  test.each([
    ['000', 0, 0, 0, 0, 1],
    ['001', 0, 0, 1, 1, 2],
    ['010', 0, 1, 0, 10, 2],
    ['100', 1, 0, 0, 100, 2],
    ['110', 1, 1, 0, 110, 3],
    ['099', 0, 9, 9, 99, 19],
    ['255', 2, 5, 5, 255, 13],
  ])(
    '%s: %i data centers, %i racks, %i servers, byte %i, %i copies',
    (text, dc, rack, server, byte, copies) => {
      const placement = { otherDataCenters: dc, otherRacks: rack, otherServers: server }
      expect(parseReplicaPlacement(text)).toEqual(placement)
      expect(formatReplicaPlacement(placement)).toBe(text)
      expect(replicaPlacementToByte(placement)).toBe(byte)
      expect(replicaPlacementFromByte(byte)).toEqual(placement)
      expect(copyCount(placement)).toBe(copies)
    },
  )

  test('every byte is one and comes back', () => {
    for (let byte = 0; byte <= 255; byte++) {
      const placement = replicaPlacementFromByte(byte)
      expect(replicaPlacementToByte(placement)).toBe(byte)
      expect(parseReplicaPlacement(formatReplicaPlacement(placement))).toEqual(placement)
    }
  })

  test.each(['', '0', '00', '0000', '256', '999', '-01', '0x1', ' 01', '01 ', '1.0', 'abc'])(
    'text %o is refused',
    (text) => {
      expectStoreError(() => parseReplicaPlacement(text), 'REPLICA_PLACEMENT_INVALID')
    },
  )

  test('digits above 9 and sums above 255 are bugs', () => {
    const none = { otherDataCenters: 0, otherRacks: 0, otherServers: 0 }
    const bugs = [
      () => replicaPlacementToByte({ ...none, otherServers: 10 }),
      () => replicaPlacementToByte({ ...none, otherRacks: -1 }),
      () => replicaPlacementToByte({ ...none, otherDataCenters: 3 }),
      () => replicaPlacementToByte({ ...none, otherServers: 0.5 }),
      () => replicaPlacementFromByte(256),
      () => replicaPlacementFromByte(-1),
    ]
    for (const bug of bugs) expect(bug).toThrow(AssertionFailure)
  })
})
