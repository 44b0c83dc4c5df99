import { describe, expect, test } from 'vitest'
import { KIB, MIB } from '../../src/base/units.ts'
import { encodeTombstone } from '../../src/format/needle.ts'
import { BlockChecksums } from '../../src/storage/block-checksums.ts'
import { RecordScanner } from '../../src/storage/record-scanner.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { encodeNeedle, halvesOf } from '../support/needle-bytes.ts'
import { Prng } from '../support/prng.ts'
import { flipped } from '../support/small-volume.ts'
import { toId } from '../support/test-volume.ts'

const prng = new Prng(1)
const HEAD = Buffer.from('super bl')

function record(id: number, data: Buffer): Buffer {
  return encodeNeedle({ id: toId(id), cookie: id, data, attributes: {} }, BigInt(id))
}

function tombstone(id: number): Buffer {
  const target = Buffer.alloc(32)
  encodeTombstone({ id: toId(id), cookie: id, checksum: 5 }, halvesOf(BigInt(id)), target, 0)
  return target
}

async function scan(bytes: Buffer) {
  const disk = new MemDisk(new Prng(1))
  disk.put('7.dat', bytes)
  const checksums = new BlockChecksums(4096)
  checksums.extend(HEAD)
  const file = await disk.open('7.dat', 'read')
  const options = { version: 3, fromBytes: 8, toBytes: bytes.length, checksums } as const
  const scanner = new RecordScanner(file, options)
  const found: (readonly [id: number, offset: number, isIntact: boolean, stamp: bigint])[] = []
  for (let next = await scanner.next(); next !== undefined; next = await scanner.next()) {
    found.push([next.header.id.lo, next.offsetBytes, next.isIntact, next.appendAtNs])
    const whole = bytes.subarray(next.offsetBytes, next.offsetBytes + next.recordBytes)
    if (next.bytes !== undefined) expect(next.bytes.equals(whole)).toBe(true)
    else expect(next.recordBytes).toBeGreaterThan(4 * MIB)
  }
  const whole = new BlockChecksums(4096)
  whole.extend(bytes.subarray(0, scanner.positionBytes))
  expect(checksums.toArray()).toEqual(whole.toArray())
  return { found, end: scanner.end, position: scanner.positionBytes, scanner }
}

describe('a scan', () => {
  test('finds records of 0 bytes to 9 MiB and tombstones, whatever windows they cross', async () => {
    const sizes = [0, 1, 4 * MIB - 100, 4 * MIB - 36, 4 * MIB, 9 * MIB, 3 * MIB, 511, 2 * MIB, 7]
    const records = sizes.map((size, index) => record(index + 1, prng.bytes(size)))
    const bytes = Buffer.concat([HEAD, ...records, tombstone(99)])
    const { found, end, position } = await scan(bytes)
    expect([end, position]).toEqual(['end', bytes.length])
    let at = 8
    const expected = records.map((one, index) => {
      at += one.length
      return [index + 1, at - one.length, true, BigInt(index + 1)]
    })
    expect(found).toEqual([...expected, [99, at, true, 99n]])
  })

  test.each([100, 5 * MIB])(
    'says of %d bytes with a flipped bit that they are not intact',
    async (size) => {
      const one = record(1, prng.bytes(size))
      for (const at of [20, 20 + size / 2, 20 + size - 1, 20 + size + 8]) {
        const bytes = Buffer.concat([
          HEAD,
          flipped(one, Math.floor(at), 1),
          record(2, prng.bytes(3)),
        ])
        const { found, end } = await scan(bytes)
        expect(found.map(([id, , isIntact]) => [id, isIntact])).toEqual([
          [1, false],
          [2, true],
        ])
        expect(end).toBe('end')
      }
    },
  )

  test('ends at zeros, at a negative size, and at a record that is cut short at any byte', async () => {
    const whole = Buffer.concat([HEAD, record(1, prng.bytes(50))])
    for (const zeros of [16, 17, 1000]) {
      const { end, position } = await scan(Buffer.concat([whole, Buffer.alloc(zeros)]))
      expect([end, position]).toEqual(['zeros', whole.length])
    }
    const next = record(2, prng.bytes(30))
    const { end, position } = await scan(Buffer.concat([whole, flipped(next, 12, 0x80)]))
    expect([end, position]).toEqual(['bad-header', whole.length])
    for (let length = 1; length < next.length; length++) {
      const cut = await scan(Buffer.concat([whole, next.subarray(0, length)]))
      expect([cut.end, cut.position, cut.found.length]).toEqual(['cut-short', whole.length, 1])
    }
  })

  test('goes on where it is told to', async () => {
    const whole = Buffer.concat([HEAD, record(1, prng.bytes(50)), record(2, prng.bytes(50))])
    const { scanner } = await scan(Buffer.concat([whole, Buffer.alloc(8)]))
    expect(scanner.end).toBe('cut-short')
    scanner.seek(8)
    expect((await scanner.next())?.header.id.lo).toBe(1)
  })

  test('of random bytes ends, and never claims more than there is', async () => {
    for (let seed = 1; seed <= 200; seed++) {
      const bytes = Buffer.concat([HEAD, new Prng(seed).bytes(seed * 10)])
      const { position } = await scan(bytes)
      expect(position).toBeLessThanOrEqual(bytes.length)
    }
  })

  test('reads a file of many small records in windows, not record by record', async () => {
    const disk = new MemDisk(new Prng(1))
    const records = Array.from({ length: 5000 }, (_, index) => record(index + 1, Buffer.alloc(KIB)))
    const bytes = Buffer.concat([HEAD, ...records])
    disk.put('7.dat', bytes)
    const file = await disk.open('7.dat', 'read')
    const scanner = new RecordScanner(file, { version: 3, fromBytes: 8, toBytes: bytes.length })
    let count = 0
    while ((await scanner.next()) !== undefined) count++
    expect([count, disk.calls.read]).toEqual([5000, 2])
  })
})
