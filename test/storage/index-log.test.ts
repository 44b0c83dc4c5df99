import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/base/crc32c.ts'
import { decodeIndexEntry, INDEX_ENTRY_BYTES } from '../../src/format/index-entry.ts'
import type { DiskFile } from '../../src/runtime/disk.ts'
import { IndexLog } from '../../src/storage/index-log.ts'
import { HookDisk } from '../support/hook-disk.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'
import { expectCode, toId } from '../support/test-volume.ts'

async function openLog() {
  const disk = new MemDisk(new Prng(1))
  const hooks = new HookDisk(disk)
  const file: DiskFile = await hooks.open('7.idx', 'create')
  const log = new IndexLog(file, { lengthBytes: 0, crc: 0 })
  /** Offsets of the rows in the file, and whether its length and checksum are as counted. */
  const written = () => {
    const bytes = disk.contents('7.idx').subarray(0, log.lengthBytes)
    expect([bytes.length, crc32c(bytes)]).toEqual([log.lengthBytes, log.crc])
    return Array.from({ length: bytes.length / INDEX_ENTRY_BYTES }, (_, index) => {
      const { id, offsetBytes } = decodeIndexEntry(bytes, index * INDEX_ENTRY_BYTES)
      expect(id.lo * 8).toBe(offsetBytes)
      return offsetBytes / 8
    })
  }
  const put = (from: number, to: number) => {
    for (let id = from; id <= to; id++) log.put(toId(id), id * 8, id)
  }
  return { disk, hooks, log, written, put }
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

describe('the index log', () => {
  test('is full at 1024 rows, takes more all the same, and writes all of them in order', async () => {
    const { log, put, written, hooks } = await openLog()
    put(1, 1023)
    expect(log.isFull).toBe(false)
    put(1024, 1024)
    expect(log.isFull).toBe(true)
    put(1025, 5000)
    await log.flush()
    expect(written()).toEqual(upTo(5000))
    expect([log.waitingBytes, hooks.count('writev')]).toEqual([0, 1])
    await log.flush()
    expect(hooks.count('writev')).toBe(1)
  })

  test('writes rows that come during a write after it, once', async () => {
    const { log, put, written, hooks } = await openLog()
    put(1, 10)
    hooks.before = ({ kind }) => {
      if (kind !== 'writev') return
      hooks.before = undefined
      put(11, 2000)
    }
    await log.flush()
    expect(written()).toEqual(upTo(10))
    await log.flush()
    expect(written()).toEqual(upTo(2000))
  })

  test.each(['EIO', 'ENOSPC'] as const)(
    'keeps its rows when a write fails with %s',
    async (code) => {
      const { disk, log, put, written, hooks } = await openLog()
      put(1, 700)
      await log.flush()
      for (let failure = 0; failure < 4; failure++) {
        put(701 + failure * 700, 700 + (failure + 1) * 700 - 300)
        hooks.before = ({ kind }) => {
          if (kind !== 'writev') return
          hooks.before = undefined
          put(701 + (failure + 1) * 700 - 300, 700 + (failure + 1) * 700)
        }
        disk.failCall(1, code, ['writev'])
        await expectCode(log.flush(), code === 'EIO' ? 'DISK_FAILED' : 'DISK_FULL')
        expect(written()).toEqual(upTo(700))
      }
      await log.flush()
      expect(written()).toEqual(upTo(3500))
    },
  )

  test('lets flushes asked for at once follow each other', async () => {
    const { disk, log, put, written } = await openLog()
    put(1, 100)
    disk.failCall(1, 'EIO', ['writev'])
    const outcomes = await Promise.allSettled([log.flush(), log.flush(), log.flush()])
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled'])
    expect(written()).toEqual(upTo(100))
  })
})
