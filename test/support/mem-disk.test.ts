import { describe, expect, test } from 'vitest'
import { replaceFile, writeFully } from '../../src/runtime/disk.ts'
import { testDisk } from '../conformance/disk.ts'
import { PowerCut } from './fault-plan.ts'
import { MemDisk } from './mem-disk.ts'
import { Prng } from './prng.ts'

const RUNS = 400
const OLD = Buffer.alloc(2000, 'o')
const NEW = Buffer.alloc(2000, 'n')

testDisk('MemDisk', async () => {
  const disk = new MemDisk(new Prng(1))
  await disk.createDirectory('/data')
  return {
    disk,
    root: '/data',
    async [Symbol.asyncDispose]() {
      expect(disk.openFiles).toBe(0)
    },
  }
})

/** Runs a scenario from many seeds and collects what a restart left, once per different outcome. */
async function outcomes(run: (disk: MemDisk) => Promise<string>): Promise<Set<string>> {
  const seen = new Set<string>()
  for (let seed = 1; seed <= RUNS; seed++) seen.add(await run(new MemDisk(new Prng(seed))))
  return seen
}

describe('bytes and a power cut', () => {
  test('synced bytes are never lost, 400 seeds', async () => {
    for (let seed = 1; seed <= RUNS; seed++) {
      const disk = new MemDisk(new Prng(seed))
      const file = await disk.open('a', 'create')
      await file.writev([OLD], 0)
      await file.datasync()
      await disk.syncDirectory('.')
      await file.writev([NEW], 2000)
      disk.restart()
      expect(disk.contents('a').subarray(0, 2000).equals(OLD)).toBe(true)
    }
  })

  test('an unsynced write may be whole, gone, torn, out of order, or only its size', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('a', OLD)
      const file = await disk.open('a', 'write')
      await file.writev([NEW], 2000)
      disk.restart()
      const left = disk.contents('a')
      expect(left.subarray(0, 2000).equals(OLD)).toBe(true)
      return describeTail(left.subarray(2000))
    })
    expect([...seen].sort()).toEqual(['gone', 'only its size', 'out of order', 'torn', 'whole'])
  })

  test('an overwritten part shows old or new bytes, never others', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('a', OLD)
      const file = await disk.open('a', 'write')
      await file.writev([NEW.subarray(0, 1500)], 300)
      disk.restart()
      const left = disk.contents('a')
      expect(left.length).toBe(2000)
      expect(left.toString('latin1', 0, 300)).toBe('o'.repeat(300))
      expect(left.toString()).toMatch(/^[no]+$/)
      return left.includes('n') ? (left.includes('ono') ? 'mixed' : 'new first') : 'old'
    })
    expect(seen.size).toBeGreaterThan(1)
  })

  test('a write may be torn at a sector and at any other byte', async () => {
    const ends = new Set<number>()
    await outcomes(async (disk) => {
      disk.put('a', Buffer.alloc(0))
      const file = await disk.open('a', 'write')
      await file.writev([NEW], 0)
      disk.restart()
      ends.add(disk.contents('a').lastIndexOf('n') + 1)
      return ''
    })
    expect([512, 1024, 1536, 2000].every((end) => ends.has(end))).toBe(true)
    expect([...ends].some((end) => end % 512 !== 0 && end !== 2000)).toBe(true)
  })

  test('an unsynced truncate may be undone, a synced one may not', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('a', OLD)
      disk.put('b', OLD)
      for (const path of ['a', 'b']) {
        const file = await disk.open(path, 'write')
        await file.truncate(10)
        if (path === 'b') await file.datasync()
      }
      disk.restart()
      expect(disk.contents('b').length).toBe(10)
      return String(disk.contents('a').length)
    })
    expect([...seen].sort()).toEqual(['10', '2000'])
  })

  test('a sync covers what was written before it was called, not during it', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('a', Buffer.alloc(0))
      const file = await disk.open('a', 'write')
      await Promise.all([file.datasync(), file.writev([NEW], 0)])
      disk.restart()
      return describeTail(disk.contents('a'))
    })
    expect(seen).toContain('gone')
  })

  test('a sync cut short may have done its work or not', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('a', Buffer.alloc(0))
      const file = await disk.open('a', 'write')
      await file.writev([NEW], 0)
      disk.cutPowerAfter(1)
      await expect(file.datasync()).rejects.toThrow(PowerCut)
      disk.restart()
      return describeTail(disk.contents('a'))
    })
    expect(seen).toContain('whole')
    expect(seen).toContain('gone')
  })

  test('a buffer changed before its write settles is written changed', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('a', Buffer.alloc(0))
      const file = await disk.open('a', 'write')
      const bytes = Buffer.from('good')
      const writing = file.writev([bytes], 0)
      bytes.write('evil')
      await writing
      return disk.contents('a').toString()
    })
    expect(seen).toContain('evil')
  })
})

describe('names and a power cut', () => {
  test('a new file may vanish, synced bytes and all, until its directory is synced', async () => {
    const seen = await outcomes(async (disk) => {
      for (const path of ['kept', 'new']) {
        const file = await disk.open(path, 'create')
        await file.writev([NEW], 0)
        await file.datasync()
        if (path === 'kept') await disk.syncDirectory('.')
      }
      disk.restart()
      expect(disk.contents('kept').equals(NEW)).toBe(true)
      const names = (await disk.list('.')).map((entry) => entry.name)
      if (names.includes('new')) expect(disk.contents('new').equals(NEW)).toBe(true)
      return names.join()
    })
    expect([...seen].sort()).toEqual(['kept', 'kept,new'])
  })

  test('an unsynced rename may be undone, an unsynced removal may come back', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('draft', NEW)
      disk.put('final', OLD)
      disk.put('trash', OLD)
      await disk.rename('draft', 'final')
      await disk.unlink('trash')
      disk.restart()
      const names = (await disk.list('.')).map((entry) => entry.name)
      return `${names.join()} ${disk.contents('final').toString('latin1', 0, 1)}`
    })
    // Each change is kept or not, whatever became of the one before it.
    const outcomesSeen = ['draft,final o', 'draft,final,trash o', 'final n', 'final,trash n']
    expect([...seen].sort()).toEqual(outcomesSeen)
  })

  test('a file renamed over another before its bytes were synced may be empty', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('final', OLD)
      const file = await disk.open('draft', 'create')
      await file.writev([NEW], 0)
      await disk.rename('draft', 'final')
      await disk.syncDirectory('.')
      disk.restart()
      return describeTail(disk.contents('final'))
    })
    expect(seen).toContain('gone')
  })

  test('syncing one directory does not sync another', async () => {
    const seen = await outcomes(async (disk) => {
      await disk.createDirectory('/x')
      await disk.createDirectory('/y')
      await disk.open('/x/a', 'create')
      await disk.open('/y/b', 'create')
      await disk.syncDirectory('/x')
      disk.restart()
      expect(await disk.stat('/x/a')).toBeDefined()
      return (await disk.stat('/y/b')) === undefined ? 'gone' : 'there'
    })
    expect([...seen].sort()).toEqual(['gone', 'there'])
  })

  test('a removed directory may come back with its files until its parent is synced', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('/x/a', NEW)
      disk.put('/y/a', NEW)
      for (const directory of ['/x', '/y']) {
        await disk.unlink(`${directory}/a`)
        await disk.removeDirectory(directory)
        if (directory === '/x') await disk.syncDirectory('/')
      }
      disk.restart()
      expect([await disk.stat('/x'), await disk.stat('/x/a')]).toEqual([undefined, undefined])
      if ((await disk.stat('/y')) === undefined) return 'gone'
      return (await disk.list('/y')).length === 0 ? 'empty' : 'there'
    })
    expect([...seen].sort()).toEqual(['empty', 'gone', 'there'])
  })

  test('a directory made anew has nothing of the one that was removed', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('/x/a', NEW)
      await disk.unlink('/x/a')
      await disk.removeDirectory('/x')
      await disk.createDirectory('/x')
      await disk.open('/x/b', 'create')
      disk.restart()
      return (await disk.list('/x')).map(({ name }) => name).join()
    })
    expect([...seen].sort()).toEqual(['', 'b'])
  })

  test('replaceFile leaves the old or the new file, whole, wherever the power goes', async () => {
    // Its calls: create the draft, truncate, write, sync, rename, sync the directory.
    for (let seed = 1; seed <= RUNS; seed++) {
      const prng = new Prng(seed)
      const disk = new MemDisk(prng)
      disk.put('a', OLD)
      disk.cutPowerAfter(prng.between(1, 6))
      await expect(replaceFile(disk, 'a', NEW)).rejects.toThrow(PowerCut)
      disk.restart()
      const left = disk.contents('a')
      expect(left.equals(OLD) || left.equals(NEW)).toBe(true)
    }
  })
})

describe('power', () => {
  test('the n-th change and everything after it throws PowerCut until the restart', async () => {
    const disk = new MemDisk(new Prng(3))
    disk.put('a', OLD)
    await using file = await disk.open('a', 'write')
    disk.cutPowerAfter(2)
    await file.writev([NEW], 0)
    await file.sizeBytes() // Reads nothing anew: does not count.
    await expect(file.datasync()).rejects.toThrow(PowerCut)
    expect(disk.isPowerOff).toBe(true)
    await expect(file.sizeBytes()).rejects.toThrow(PowerCut)
    await expect(disk.list('.')).rejects.toThrow(PowerCut)
    expect(() => file.readSync(Buffer.alloc(1), 0, 1, 0)).toThrow(PowerCut)
    disk.restart()
    expect(disk.isPowerOff).toBe(false)
    await disk.list('.')
  })

  test('files left open show before the restart and are gone after it', async () => {
    const disk = new MemDisk(new Prng(3))
    const file = await disk.open('a', 'create')
    await using _lock = await disk.lock('LOCK')
    expect(disk.openFiles).toBe(2)
    disk.cutPowerAfter(0)
    expect(disk.openFiles).toBe(2)
    disk.restart()
    expect(disk.openFiles).toBe(0)
    await expect(file.writev([NEW], 0)).rejects.toThrow(PowerCut)
    await file.close()
    await using _again = await disk.lock('LOCK')
    expect(disk.openFiles).toBe(1)
  })

  test('a process that dies loses its files and locks, but nothing it wrote', async () => {
    const disk = new MemDisk(new Prng(3))
    const file = await disk.open('a', 'create')
    await file.writev([NEW], 0)
    await disk.lock('LOCK')
    disk.killProcess()
    expect(disk.openFiles).toBe(0)
    expect(disk.contents('a')).toEqual(NEW)
    await using _lock = await disk.lock('LOCK')
    expect(disk.durableFiles().size).toBe(0)
  })
})

describe('failures', () => {
  test('a failed sync loses bytes for good, though reads and later syncs look fine', async () => {
    const disk = new MemDisk(new Prng(5))
    disk.put('a', OLD)
    const file = await disk.open('a', 'write')
    await file.writev([NEW], 0)
    disk.failCall(1, 'EIO', ['datasync'])
    await expect(file.datasync()).rejects.toMatchObject({
      name: 'StoreError',
      code: 'DISK_FAILED',
      cause: { code: 'EIO' },
    })
    await file.datasync()
    expect(disk.contents('a')).toEqual(NEW)
    await file.writev([NEW.subarray(0, 1)], 2000)
    await file.datasync()
    expect(disk.durableFiles().get('a')).toEqual(Buffer.concat([OLD, Buffer.from('n')]))
    disk.evictCaches()
    expect(disk.contents('a').subarray(0, 2000)).toEqual(OLD)
  })

  test('a failing write may have written a first part', async () => {
    const lengths = new Set<number>()
    for (let seed = 1; seed <= 50; seed++) {
      const disk = new MemDisk(new Prng(seed))
      const file = await disk.open('a', 'create')
      disk.failCall(1, 'ENOSPC')
      await expect(file.writev([NEW], 0)).rejects.toMatchObject({ code: 'DISK_FULL' })
      lengths.add(await file.sizeBytes())
    }
    expect(lengths.size).toBeGreaterThan(10)
  })

  test('only the n-th call of the kinds named fails, once', async () => {
    const disk = new MemDisk(new Prng(5))
    const file = await disk.open('a', 'create')
    disk.failCall(2, 'EIO', ['writev', 'truncate'])
    await file.writev([OLD], 0)
    await file.datasync()
    expect(disk.armedFaults).toBe(1)
    await expect(file.truncate(0)).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect(disk.armedFaults).toBe(0)
    expect(await file.sizeBytes()).toBe(2000)
    await file.truncate(0)
    expect(disk.calls).toMatchObject({ create: 1, writev: 1, truncate: 2, datasync: 1 })
  })

  test('a disk that fills up writes short, then DISK_FULL, and heals on truncate', async () => {
    const disk = new MemDisk(new Prng(5))
    disk.capacityBytes = 3000
    disk.put('a', OLD)
    await using file = await disk.open('b', 'create')
    expect(await file.writev([NEW], 0)).toBe(1000)
    await expect(file.writev([NEW], 1000)).rejects.toMatchObject({ code: 'DISK_FULL' })
    await expect(writeFully(file, [NEW], 0)).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(await disk.space('.')).toEqual({ totalBytes: 3000, freeBytes: 0 })
    expect(await file.writev([OLD.subarray(0, 1000)], 0)).toBe(1000)
    await file.truncate(400)
    expect(await disk.space('.')).toEqual({ totalBytes: 3000, freeBytes: 600 })
    await disk.unlink('a')
    expect((await disk.space('.')).freeBytes).toBe(2600)
    await writeFully(file, [NEW], 400)
  })

  test('a removed file takes room until it is closed', async () => {
    const disk = new MemDisk(new Prng(5))
    disk.capacityBytes = 3000
    disk.put('a', OLD)
    const file = await disk.open('a', 'read')
    await disk.unlink('a')
    expect((await disk.space('.')).freeBytes).toBe(1000)
    await file.close()
    expect((await disk.space('.')).freeBytes).toBe(3000)
  })

  test('a flipped bit is seen, and survives a restart', () => {
    const disk = new MemDisk(new Prng(5))
    disk.put('a', Buffer.from([0, 0, 0]))
    disk.flipBit('a', 1, 7)
    expect(disk.contents('a')).toEqual(Buffer.from([0, 0x80, 0]))
    disk.restart()
    expect(disk.contents('a')).toEqual(Buffer.from([0, 0x80, 0]))
  })
})

test('the same seed does the same', async () => {
  const run = async () => {
    const disk = new MemDisk(new Prng(77))
    const file = await disk.open('a', 'create')
    for (let at = 0; at < 20_000; at += 1000) await file.writev([NEW.subarray(0, 1000)], at)
    await disk.syncDirectory('.')
    disk.restart()
    return disk.contents('a').toString('hex')
  }
  expect(await run()).toBe(await run())
})

test('1,000 runs of 30 writes, syncs and a restart take under 5 s', async () => {
  const startMs = performance.now()
  for (let seed = 1; seed <= 1000; seed++) {
    const disk = new MemDisk(new Prng(seed))
    await using file = await disk.open('a', 'create')
    for (let index = 0; index < 30; index++) {
      await file.writev([NEW], index * 2000)
      await file.datasync()
    }
    disk.restart()
  }
  expect(performance.now() - startMs).toBeLessThan(5000)
})

function describeTail(tail: Buffer): string {
  if (tail.length === 0) return 'gone'
  const newBytes = tail.filter((byte) => byte === NEW[0]).length
  if (newBytes === NEW.length) return 'whole'
  if (newBytes === 0) return 'only its size'
  const firstLost = tail.findIndex((byte) => byte !== NEW[0])
  return firstLost === -1 || newBytes === firstLost ? 'torn' : 'out of order'
}
