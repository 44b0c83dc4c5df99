import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  type Disk,
  type DiskFile,
  readFile,
  readFully,
  replaceFile,
  writeFully,
} from '../../src/runtime/disk.ts'

export interface DiskFixture extends AsyncDisposable {
  readonly disk: Disk
  /** An empty directory of the test's own. */
  readonly root: string
}

const HELLO = Buffer.from('hello')

/** What every `Disk` must do, power cuts aside. */
export function testDisk(name: string, openFixture: () => Promise<DiskFixture>): void {
  describe(`${name} as a Disk`, () => {
    testOpening(openFixture)
    testReadsAndWrites(openFixture)
    testClosing(openFixture)
    testNames(openFixture)
    testDirectories(openFixture)
    testLocks(openFixture)
    testWholeFiles(openFixture)
  })
}

function testOpening(openFixture: () => Promise<DiskFixture>): void {
  test.each(['read', 'write'] as const)('open for %s needs the file', async (mode) => {
    await using fixture = await openFixture()
    await expect(fixture.disk.open(join(fixture.root, 'none'), mode)).rejects.toMatchObject({
      name: 'StoreError',
      code: 'PATH_NOT_FOUND',
    })
    expect(await fixture.disk.list(fixture.root)).toEqual([])
  })

  test.each(['create', 'create-new'] as const)('%s makes an empty file', async (mode) => {
    await using fixture = await openFixture()
    const path = join(fixture.root, 'a')
    await using file = await fixture.disk.open(path, mode)
    expect(file.path).toBe(path)
    expect(await file.sizeBytes()).toBe(0)
    expect(await fixture.disk.stat(path)).toEqual({ sizeBytes: 0, isDirectory: false })
  })

  test('create keeps the bytes of a file that is there, create-new refuses it', async () => {
    await using fixture = await openFixture()
    const path = join(fixture.root, 'a')
    await put(fixture.disk, path, HELLO)
    await using file = await fixture.disk.open(path, 'create')
    expect(await readFully(file, 10, 0)).toEqual(HELLO)
    await expect(fixture.disk.open(path, 'create-new')).rejects.toMatchObject({
      code: 'TARGET_EXISTS',
    })
  })

  test('a file opened for reading cannot be written or cut', async () => {
    await using fixture = await openFixture()
    const path = join(fixture.root, 'a')
    await put(fixture.disk, path, HELLO)
    await using file = await fixture.disk.open(path, 'read')
    await expect(file.writev([HELLO], 0)).rejects.toMatchObject({ name: 'StoreError' })
    expect(() => file.writevSync([HELLO], 0)).toThrow(
      expect.objectContaining({ name: 'StoreError' }),
    )
    await expect(file.truncate(1)).rejects.toMatchObject({ name: 'StoreError' })
    expect(await readFully(file, 5, 0)).toEqual(HELLO)
  })

  test('a path through a file or a missing directory says which of the two', async () => {
    await using fixture = await openFixture()
    await put(fixture.disk, join(fixture.root, 'a'), HELLO)
    const throughFile = join(fixture.root, 'a', 'b')
    await expect(fixture.disk.open(throughFile, 'create')).rejects.toMatchObject({
      code: 'DIRECTORY_UNUSABLE',
    })
    await expect(
      fixture.disk.open(join(fixture.root, 'none', 'b'), 'create'),
    ).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' })
  })
}

function testReadsAndWrites(openFixture: () => Promise<DiskFixture>): void {
  test('several buffers are written behind one another, both forms alike', async () => {
    await using fixture = await openFixture()
    await using file = await fixture.disk.open(join(fixture.root, 'a'), 'create')
    expect(await file.writev([Buffer.from('ab'), Buffer.from(''), Buffer.from('cde')], 0)).toBe(5)
    expect(file.writevSync([Buffer.from('XY'), Buffer.from('Z')], 1)).toBe(3)
    expect((await readFully(file, 5, 0)).toString()).toBe('aXYZe')
  })

  test.each([
    { position: 0, length: 5, text: 'hello' },
    { position: 0, length: 0, text: '' },
    { position: 4, length: 1, text: 'o' },
    { position: 3, length: 9, text: 'lo' },
    { position: 5, length: 1, text: '' },
    { position: 900, length: 4, text: '' },
  ])('reading $length bytes at $position of "hello" gives "$text"', async (sample) => {
    await using fixture = await openFixture()
    await put(fixture.disk, join(fixture.root, 'a'), HELLO)
    await using file = await fixture.disk.open(join(fixture.root, 'a'), 'read')
    const target = Buffer.from('.............')
    const { position, length, text } = sample
    expect(await file.read(target, 1, length, position)).toBe(text.length)
    expect(target.toString()).toBe(`.${text}`.padEnd(13, '.'))
    target.fill('.')
    expect(file.readSync(target, 1, length, position)).toBe(text.length)
    expect(target.toString()).toBe(`.${text}`.padEnd(13, '.'))
  })

  test('what is written past the end leaves zeros in between', async () => {
    await using fixture = await openFixture()
    await using file = await fixture.disk.open(join(fixture.root, 'a'), 'create')
    await writeFully(file, [HELLO], 3)
    expect(await readFully(file, 100, 0)).toEqual(Buffer.from('\0\0\0hello'))
  })

  test('truncate cuts, and grows with zeros instead of what was cut', async () => {
    await using fixture = await openFixture()
    await using file = await fixture.disk.open(join(fixture.root, 'a'), 'create')
    await writeFully(file, [HELLO], 0)
    await file.truncate(2)
    expect(await file.sizeBytes()).toBe(2)
    await file.truncate(4)
    expect(await readFully(file, 100, 0)).toEqual(Buffer.from('he\0\0'))
    await file.datasync()
    expect(await readFully(file, 100, 0)).toEqual(Buffer.from('he\0\0'))
  })

  test('writeFully writes 2,500 buffers, more than one call takes', async () => {
    await using fixture = await openFixture()
    await using file = await fixture.disk.open(join(fixture.root, 'a'), 'create')
    const buffers = Array.from({ length: 2500 }, (_, index) => Buffer.from(`${index},`))
    await writeFully(file, buffers, 7)
    const whole = Buffer.concat(buffers)
    expect(await readFully(file, whole.length + 1, 7)).toEqual(whole)
  })

  test('two handles of one file see the same bytes', async () => {
    await using fixture = await openFixture()
    const path = join(fixture.root, 'a')
    await using writer = await fixture.disk.open(path, 'create')
    await using reader = await fixture.disk.open(path, 'read')
    await writeFully(writer, [HELLO], 0)
    expect(await readFully(reader, 5, 0)).toEqual(HELLO)
  })
}

function testClosing(openFixture: () => Promise<DiskFixture>): void {
  test('a closed file refuses every call with CLOSED, and closing again is harmless', async () => {
    await using fixture = await openFixture()
    await using file = await fixture.disk.open(join(fixture.root, 'a'), 'create')
    await file.close()
    await file.close()
    const closed = { name: 'StoreError', code: 'CLOSED' }
    const target = Buffer.alloc(1)
    await expect(file.read(target, 0, 1, 0)).rejects.toMatchObject(closed)
    await expect(file.writev([HELLO], 0)).rejects.toMatchObject(closed)
    await expect(file.datasync()).rejects.toMatchObject(closed)
    await expect(file.truncate(0)).rejects.toMatchObject(closed)
    await expect(file.sizeBytes()).rejects.toMatchObject(closed)
    expect(() => file.readSync(target, 0, 1, 0)).toThrow(expect.objectContaining(closed))
    expect(() => file.writevSync([HELLO], 0)).toThrow(expect.objectContaining(closed))
  })

  test('calls under way when the file is closed still finish', async () => {
    await using fixture = await openFixture()
    const path = join(fixture.root, 'a')
    const file = await fixture.disk.open(path, 'create')
    const writes = [file.writev([HELLO], 0), file.writev([HELLO], 5)]
    await Promise.all([...writes, file.close()])
    expect(await readFile(fixture.disk, path, 100)).toEqual(Buffer.from('hellohello'))
  })
}

function testNames(openFixture: () => Promise<DiskFixture>): void {
  test('rename replaces the target; an open file goes along', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    await put(disk, join(root, 'old'), Buffer.from('old'))
    await put(disk, join(root, 'new'), Buffer.from('new'))
    await using file = await disk.open(join(root, 'new'), 'write')
    await disk.rename(join(root, 'new'), join(root, 'old'))
    await disk.syncDirectory(root)
    await writeFully(file, [Buffer.from('N')], 0)
    expect((await readFile(disk, join(root, 'old'), 10)).toString()).toBe('New')
    expect((await disk.list(root)).map((entry) => entry.name)).toEqual(['old'])
  })

  test('rename and unlink of nothing say PATH_NOT_FOUND', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    const missing = { code: 'PATH_NOT_FOUND' }
    await expect(disk.rename(join(root, 'a'), join(root, 'b'))).rejects.toMatchObject(missing)
    await expect(disk.unlink(join(root, 'a'))).rejects.toMatchObject(missing)
  })

  test('an unlinked file is gone by name but works for who has it open', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    await put(disk, join(root, 'a'), HELLO)
    await using file = await disk.open(join(root, 'a'), 'read')
    await disk.unlink(join(root, 'a'))
    expect(await disk.stat(join(root, 'a'))).toBeUndefined()
    expect(await readFully(file, 5, 0)).toEqual(HELLO)
  })
}

function testDirectories(openFixture: () => Promise<DiskFixture>): void {
  test('list sorts by name and shows what is directly below', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    for (const name of ['b', 'a_10', 'a_9', 'B']) await put(disk, join(root, name), HELLO)
    await disk.createDirectory(join(root, 'c', 'd'))
    await put(disk, join(root, 'c', 'x'), HELLO)
    const entries = await disk.list(root)
    expect(entries.map((entry) => entry.name)).toEqual(['B', 'a_10', 'a_9', 'b', 'c'])
    expect(entries.map((entry) => entry.isDirectory)).toEqual([false, false, false, false, true])
    expect(entries[0]?.sizeBytes).toBe(5)
    expect((await disk.list(join(root, 'c'))).map((entry) => entry.name)).toEqual(['d', 'x'])
  })

  test('createDirectory makes parents, and does not mind being too late', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    await disk.createDirectory(join(root, 'x', 'y', 'z'))
    await disk.createDirectory(join(root, 'x', 'y', 'z'))
    expect(await disk.stat(join(root, 'x', 'y', 'z'))).toMatchObject({ isDirectory: true })
    await put(disk, join(root, 'file'), HELLO)
    await expect(disk.createDirectory(join(root, 'file'))).rejects.toMatchObject({
      code: 'TARGET_EXISTS',
    })
    await expect(disk.createDirectory(join(root, 'file', 'x'))).rejects.toMatchObject({
      code: 'DIRECTORY_UNUSABLE',
    })
  })

  test('removeDirectory takes an empty one, and no other', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    const directory = join(root, 'a')
    await disk.createDirectory(join(directory, 'b'))
    await put(disk, join(directory, 'c'), HELLO)
    const refused = { name: 'StoreError', code: 'TARGET_EXISTS' }
    await expect(disk.removeDirectory(directory)).rejects.toMatchObject(refused)
    await disk.unlink(join(directory, 'c'))
    await expect(disk.removeDirectory(directory)).rejects.toMatchObject(refused)
    await disk.removeDirectory(join(directory, 'b'))
    await disk.removeDirectory(directory)
    await disk.syncDirectory(root)
    expect(await disk.list(root)).toEqual([])
    await disk.createDirectory(directory)
    expect(await disk.list(directory)).toEqual([])
  })

  test('removeDirectory names a missing one and a file in its place', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    await put(disk, join(root, 'a'), HELLO)
    await expect(disk.removeDirectory(join(root, 'none'))).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
    })
    await expect(disk.removeDirectory(join(root, 'a'))).rejects.toMatchObject({
      code: 'DIRECTORY_UNUSABLE',
    })
  })

  test('list and syncDirectory name a missing directory and a file in its place', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    await put(disk, join(root, 'a'), HELLO)
    for (const call of ['list', 'syncDirectory'] as const) {
      await expect(disk[call](join(root, 'none'))).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' })
      await expect(disk[call](join(root, 'a'))).rejects.toMatchObject({
        code: 'DIRECTORY_UNUSABLE',
      })
    }
  })

  test('space reports more in total than is free', async () => {
    await using fixture = await openFixture()
    const space = await fixture.disk.space(fixture.root)
    expect(space.freeBytes).toBeGreaterThan(0)
    expect(space.totalBytes).toBeGreaterThanOrEqual(space.freeBytes)
    await expect(fixture.disk.space(join(fixture.root, 'none'))).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
    })
  })
}

function testLocks(openFixture: () => Promise<DiskFixture>): void {
  test('a lock is refused to everybody else until it is disposed', async () => {
    await using fixture = await openFixture()
    const path = join(fixture.root, 'LOCK')
    const locked = { name: 'StoreError', code: 'DIRECTORY_LOCKED' }
    {
      await using _lock = await fixture.disk.lock(path)
      await expect(fixture.disk.lock(path)).rejects.toMatchObject(locked)
      await expect(fixture.disk.lock(path)).rejects.toMatchObject(locked)
      await using _other = await fixture.disk.lock(join(fixture.root, 'OTHER'))
    }
    await using again = await fixture.disk.lock(path)
    await again[Symbol.asyncDispose]()
    await using _third = await fixture.disk.lock(path)
    expect(await fixture.disk.stat(path)).toMatchObject({ isDirectory: false })
  })

  test('a lock in a missing directory says PATH_NOT_FOUND', async () => {
    await using fixture = await openFixture()
    await expect(fixture.disk.lock(join(fixture.root, 'none', 'LOCK'))).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
    })
  })
}

function testWholeFiles(openFixture: () => Promise<DiskFixture>): void {
  test('replaceFile makes, then replaces, and leaves no draft behind', async () => {
    await using fixture = await openFixture()
    const { disk, root } = fixture
    const path = join(root, 'settings')
    await put(disk, `${path}.tmp`, Buffer.from('a longer leftover of an earlier try'))
    for (const text of ['a longer text', 'short', '']) {
      await replaceFile(disk, path, Buffer.from(text))
      expect((await readFile(disk, path, 100)).toString()).toBe(text)
    }
    expect((await disk.list(root)).map((entry) => entry.name)).toEqual(['settings'])
  })

  test.each([
    { bytesMax: 5, isRead: true },
    { bytesMax: 4, isRead: false },
  ])('readFile of 5 bytes with at most $bytesMax: read $isRead', async (sample) => {
    await using fixture = await openFixture()
    const path = join(fixture.root, 'a')
    await put(fixture.disk, path, HELLO)
    const reading = readFile(fixture.disk, path, sample.bytesMax)
    if (sample.isRead) expect(await reading).toEqual(HELLO)
    else await expect(reading).rejects.toMatchObject({ code: 'DISK_FAILED' })
  })
}

async function put(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  await using file: DiskFile = await disk.open(path, 'create')
  await writeFully(file, [bytes], 0)
}
