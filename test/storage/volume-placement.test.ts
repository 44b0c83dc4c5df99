import { describe, expect, test } from 'vitest'
import { formatReplicaPlacement, parseReplicaPlacement } from '../../src/base/replica-placement.ts'
import { decodeVolumeInfo } from '../../src/format/volume-info.ts'
import { expectCode, SIGNAL, settle, TestVolume } from '../support/test-volume.ts'

const TWO_RACKS = parseReplicaPlacement('010')

function placement(test: TestVolume): string {
  return formatReplicaPlacement(test.volume.replicaPlacement)
}

describe('a volume told how it shall be replicated', () => {
  test('says so from then on, over restarts, seals, vacuums and in its copies', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.volume.setReplication(TWO_RACKS)
    expect(placement(test)).toBe('010')
    await test.killAndOpen()
    expect(placement(test)).toBe('010')
    await test.volume.seal()
    await test.volume.vacuum({}, SIGNAL)
    expect([placement(test), test.volume.state]).toEqual(['010', 'sealed'])
    await test.reopen()
    expect([placement(test), test.volume.state]).toEqual(['010', 'sealed'])
    await test.volume.setReplication(parseReplicaPlacement('200'))
    using snapshot = await test.volume.snapshot()
    const info = decodeVolumeInfo(snapshot.info?.toString() ?? '')
    expect(info).toMatchObject({ replication: '200', readOnly: true })
    // The super block is never rewritten.
    expect(test.volume.superBlock.replicaPlacement).toEqual(parseReplicaPlacement('000'))
  })

  test('with the power lost at any call says the old or the new one, the new when told so', async () => {
    for (let call = 1; ; call++) {
      await using test = await TestVolume.create({ seed: call })
      await test.volume.setReplication(parseReplicaPlacement('001'))
      test.disk.cutPowerAfter(call)
      const outcome = await test.volume.setReplication(TWO_RACKS).then(
        () => 'done',
        () => 'cut',
      )
      await settle()
      const isThrough = !test.disk.isPowerOff
      test.disk.restart()
      await test.open()
      expect(outcome === 'done' ? ['010'] : ['001', '010']).toContain(placement(test))
      if (isThrough) {
        expect(call).toBeGreaterThan(3)
        return
      }
    }
  })

  test('keeps what it said when the disk is full; may be told when it is failed', async () => {
    await using test = await TestVolume.create({ findings: ['VOLUME_FAILED'] })
    await test.put(1, 'one')
    const { totalBytes, freeBytes } = await test.disk.space('/v')
    test.disk.capacityBytes = totalBytes - freeBytes
    await expectCode(test.volume.setReplication(TWO_RACKS), 'DISK_FULL')
    expect(placement(test)).toBe('000')
    test.disk.capacityBytes = 2 ** 30
    test.disk.failCall(1, 'EIO', ['datasync'])
    await expectCode(test.put(2, 'two'), 'VOLUME_FAILED')
    await settle()
    await test.volume.setReplication(TWO_RACKS)
    await test.reopen()
    expect([placement(test), test.volume.state]).toEqual(['010', 'failed'])
  })

  test('and sealed at the same time is both', async () => {
    await using test = await TestVolume.create()
    await Promise.all([test.volume.seal(), test.volume.setReplication(TWO_RACKS)])
    await test.reopen()
    expect([placement(test), test.volume.state]).toEqual(['010', 'sealed'])
  })
})

describe('a snapshot', () => {
  test('scans on from where an earlier one ended, and refuses a place behind its end', async () => {
    await using test = await TestVolume.create()
    await test.put(1, 'one')
    await test.put(2, 'two')
    using first = await test.volume.snapshot()
    await test.put(3, 'three')
    await test.delete(1)
    using second = await test.volume.snapshot()
    expect(second.compactionRevision).toBe(first.compactionRevision)
    const scanner = second.scan(first.datBytes)
    const found: [number, number][] = []
    for (let next = await scanner.next(); next !== undefined; next = await scanner.next()) {
      found.push([next.header.id.lo, next.header.sizeBytes])
    }
    expect([found, scanner.end]).toEqual([
      [
        [3, 17],
        [1, 0],
      ],
      'end',
    ])
    const nothing = second.scan(second.datBytes)
    expect([await nothing.next(), nothing.end]).toEqual([undefined, 'end'])
    expect(() => first.scan(second.datBytes)).toThrow(
      expect.objectContaining({ code: 'VOLUME_CHANGED' }),
    )
  })
})
