import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { readFully, writeFully } from '../../src/runtime/disk.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { testDisk } from '../conformance/disk.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const HOLD_LOCK = fileURLToPath(new URL('../support/hold-lock.mjs', import.meta.url))

testDisk('NodeDisk', async () => {
  const directory = await openTempDirectory()
  return {
    disk: new NodeDisk(),
    root: directory.path,
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
})

describe('a lock and other processes', () => {
  test('one held elsewhere is refused, and free once its holder is killed with -9', async () => {
    await using directory = await openTempDirectory()
    const path = join(directory.path, 'LOCK')
    const disk = new NodeDisk()
    await using holder = holdLock(path)
    expect(await firstLine(holder.child)).toBe('locked')
    await expect(disk.lock(path)).rejects.toMatchObject({ code: 'DIRECTORY_LOCKED' })
    await holder[Symbol.asyncDispose]()
    await using _lock = await disk.lock(path)
  })

  test('one held here is refused elsewhere, also after we read the file', async () => {
    await using directory = await openTempDirectory()
    const path = join(directory.path, 'LOCK')
    const disk = new NodeDisk()
    await using _lock = await disk.lock(path)
    // With the older kind of lock, closing any descriptor of the file would let go of it.
    await using reader = await disk.open(path, 'read')
    await reader.close()
    await using other = holdLock(path)
    expect(await firstLine(other.child)).toBe('refused')
  })
})

describe('failures of the system', () => {
  test('name the call, the path and the errno, and keep the cause', async () => {
    await using directory = await openTempDirectory()
    const path = join(directory.path, 'none')
    await expect(new NodeDisk().open(path, 'read')).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
      message: `open of ${path} failed: ENOENT`,
      cause: { code: 'ENOENT', syscall: 'open' },
    })
  })

  test('reading a directory as if it were a file is DISK_FAILED', async () => {
    await using directory = await openTempDirectory()
    await using file = await new NodeDisk().open(directory.path, 'read')
    await expect(file.read(Buffer.alloc(1), 0, 1, 0)).rejects.toMatchObject({
      code: 'DISK_FAILED',
      cause: { code: 'EISDIR' },
    })
  })

  // A user without rights gets EACCES, which maps the same way; but tests may run as root, whom
  // rights do not stop. A file where a directory should be stops root as well.
  test.each(['/etc/hostname/x', '/dev/null/x'])('%s is DIRECTORY_UNUSABLE', async (path) => {
    const disk = new NodeDisk()
    await expect(disk.open(path, 'create')).rejects.toMatchObject({ code: 'DIRECTORY_UNUSABLE' })
    await expect(disk.stat(path)).rejects.toMatchObject({ code: 'DIRECTORY_UNUSABLE' })
    await expect(disk.lock(path)).rejects.toMatchObject({ code: 'DIRECTORY_UNUSABLE' })
  })

  test('a device that is always full is DISK_FULL, in both forms of writing', async () => {
    await using file = await new NodeDisk().open('/dev/full', 'write')
    const full = { code: 'DISK_FULL', cause: expect.objectContaining({ code: 'ENOSPC' }) }
    await expect(file.writev([Buffer.from('x')], 0)).rejects.toMatchObject(full)
    await expect(writeFully(file, [Buffer.from('x')], 0)).rejects.toMatchObject(full)
    expect(() => file.writevSync([Buffer.from('x')], 0)).toThrow(expect.objectContaining(full))
  })
})

test('positions past 4 GiB work (sparse file)', async () => {
  await using directory = await openTempDirectory()
  await using file = await new NodeDisk().open(join(directory.path, 'large'), 'create')
  const at = 2 ** 32 + 12_345
  await writeFully(file, [Buffer.from('far out')], at)
  expect((await readFully(file, 7, at)).toString()).toBe('far out')
  expect(await file.sizeBytes()).toBe(at + 7)
})

function holdLock(path: string): AsyncDisposable & { readonly child: ChildProcess } {
  const child = spawn(process.execPath, [HOLD_LOCK, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  return {
    child,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk)
    if (text.includes('\n')) break
  }
  return text.trim()
}
