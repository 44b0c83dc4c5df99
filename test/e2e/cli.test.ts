import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeTree, hashFiles, makeTree } from '../support/file-tree.ts'
import { run as runTool, skipLoudly } from '../support/mounts.ts'
import { Prng } from '../support/prng.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { Tmpfs } from '../support/tmpfs.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const GOLDEN = fileURLToPath(new URL('../golden/seaweedfs/', import.meta.url))
const HOLD_LOCK = fileURLToPath(new URL('../support/hold-lock.mjs', import.meta.url))

interface Run {
  readonly exitCode: number
  readonly out: string
  readonly err: string
}

/** Runs the compiled program, as a user would. */
function hayloft(...args: string[]): Promise<Run> {
  return new Promise((resolve) => {
    const options = { maxBuffer: 64 * 1024 * 1024 }
    execFile(process.execPath, [MAIN, ...args], options, (error, out, err) => {
      resolve({ exitCode: error === null ? 0 : Number(error.code), out, err })
    })
  })
}

/** A directory with the foreign volume, given a `.sum` by `fix`. */
async function makeFixture(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  for (const name of ['1.dat', '1.idx']) await copyFile(join(GOLDEN, name), join(directory, name))
  expect(await hayloft('fix', directory, '-q')).toMatchObject({ exitCode: 0, err: '' })
}

let temp: Awaited<ReturnType<typeof openTempDirectory>>
let tree: string
let volumes: string

beforeAll(async () => {
  temp = await openTempDirectory()
  tree = join(temp.path, 'tree')
  volumes = join(temp.path, 'volumes')
  await makeTree(tree, 300, new Prng(1))
})

afterAll(async () => {
  await temp[Symbol.asyncDispose]()
})

describe('a tree of 300 odd files', () => {
  test('is packed into several volumes, and every one passes the check', async () => {
    const packed = await hayloft('pack', tree, '--to', volumes, '--volume-size', '8MiB', '-q')
    expect(packed).toMatchObject({ exitCode: 0, err: '' })
    expect(packed.out).toMatch(/^packed \d+ entries, .* files\/s, .* MB\/s\)\n/)
    expect(packed.out).toContain(`  ${join(volumes, '2.dat')}: `)
    expect(packed.out).toContain(`next: hayloft check ${volumes}\n`)
    const checked = await hayloft('check', volumes, '--json')
    expect(checked).toMatchObject({ exitCode: 0, err: '' })
    const report = JSON.parse(checked.out)
    expect(report.ok).toBe(true)
    const live = report.volumes.map((volume: { liveNeedles: number }) => volume.liveNeedles)
    const packedCount = Number(/^packed (\d+) /.exec(packed.out)?.[1])
    expect(live.reduce((sum: number, count: number) => sum + count, 0)).toBe(packedCount)
  })

  test('comes back from the volumes as it was: bytes, names, links, modes, times', async () => {
    const copy = join(temp.path, 'copy')
    expect(await hayloft('export', volumes, '--to', copy, '-q')).toMatchObject({ exitCode: 0 })
    expect(await describeTree(copy)).toEqual(await describeTree(tree))
  })

  test('comes back from a tar archive, to a file and to standard output', async () => {
    const archive = join(temp.path, 'tree.tar')
    expect(await hayloft('export', volumes, '--tar', archive, '-q')).toMatchObject({ exitCode: 0 })
    const unpacked = join(temp.path, 'unpacked')
    await mkdir(unpacked)
    await runTool('tar', '-x', '-p', '-f', archive, '-C', unpacked)
    // Archives keep whole seconds here.
    const cut = (entries: Map<string, string>) =>
      [...entries].map(([name, entry]) => [name, entry.replace(/ (\d+)\d{3}(?= |$)/, ' $1')])
    expect(cut(await describeTree(unpacked))).toEqual(cut(await describeTree(tree)))

    const piped = spawn(process.execPath, [MAIN, 'export', volumes, '--tar', '-', '-q'])
    const pieces: Buffer[] = []
    piped.stdout.on('data', (piece: Buffer) => pieces.push(piece))
    const [exitCode] = await once(piped, 'close')
    expect(exitCode).toBe(0)
    expect(Buffer.concat(pieces).equals(await readFile(archive))).toBe(true)
  })

  test('packed again goes into new volumes with new needle ids', async () => {
    const before = await hashFiles(volumes)
    const dump = async (): Promise<string[]> => {
      const { out } = await hayloft('dump', volumes, '--json')
      const lines = out.trim().split('\n')
      return lines.map((line) => JSON.parse(line).fileId.replace(/^\d+,|.{8}$/g, ''))
    }
    const firstIds = await dump()
    await hayloft('pack', join(tree, 'deep'), '--to', volumes, '-q')
    const after = await hashFiles(volumes)
    for (const [name, hash] of before) {
      if (name.endsWith('.dat')) expect([name, after.get(name)]).toEqual([name, hash])
    }
    const ids = await dump()
    expect(ids.length).toBeGreaterThan(firstIds.length)
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('dump ends quietly when its reader has seen enough', async () => {
    const command = `"${process.execPath}" "${MAIN}" dump "${volumes}" | head -n 2`
    const shell = spawn('sh', ['-c', command])
    const pieces: Buffer[] = []
    shell.stderr.on('data', (piece: Buffer) => pieces.push(piece))
    await once(shell, 'close')
    expect(Buffer.concat(pieces).toString()).toBe('')
  })
})

// Each case has directories of its own, and mostly waits for programs to start.
describe.concurrent('a foreign volume', () => {
  test('without its index is fixed to answer the same 298 needles', async () => {
    const directory = join(temp.path, 'foreign')
    await makeFixture(directory)
    const { out: before } = await hayloft('dump', directory, '--live')
    await runTool('rm', join(directory, '1.idx'), join(directory, '1.sum'))
    expect((await hayloft('check', directory, '-q')).exitCode).toBe(1)
    const fixed = await hayloft('fix', directory, '-q')
    expect(fixed).toMatchObject({ exitCode: 0, err: '' })
    expect(fixed.out).toContain('298 live needles')
    expect((await hayloft('dump', directory, '--live')).out).toBe(before)
    expect(before.trim().split('\n')).toHaveLength(299)
  })

  test.each([
    ['.dat', 2],
    ['.dat', 100],
    ['.dat', 2_590_911],
    ['.idx', 4000],
    ['.sum', 20],
  ])('with a wrong byte in %s at %d is found out, and fix blesses no rot', async (file, at) => {
    const directory = join(temp.path, `flip${file}${at}`)
    await makeFixture(directory)
    const path = join(directory, `1${file}`)
    const bytes = await readFile(path)
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at)
    await writeFile(path, bytes)
    const checked = await hayloft('check', directory, '--json')
    expect(checked.exitCode).toBe(1)
    expect(JSON.parse(checked.out)).toMatchObject({ ok: false, volumes: [{ ok: false }] })
    const before = await hashFiles(directory)
    const fixed = await hayloft('fix', directory, '-q')
    if (file !== '.dat') {
      expect(fixed.exitCode).toBe(0)
      expect((await hayloft('check', directory, '-q')).exitCode).toBe(0)
      return
    }
    expect(fixed.exitCode).toBe(1)
    expect(await hashFiles(directory)).toEqual(before)
  })
})

describe.concurrent('bad input is one clear line with its code, and changes nothing', () => {
  const COMMANDS = ['check', 'fix', 'dump', 'vacuum', 'export'] as const

  async function expectRefusal(directory: string, args: string[], line: string): Promise<void> {
    const before = await hashFiles(directory)
    const run = await hayloft(...args)
    expect([args, run.err]).toEqual([args, `hayloft: ${line}\n`])
    expect(run).toMatchObject({ exitCode: 2, out: '' })
    expect(await hashFiles(directory)).toEqual(before)
  }

  function argsFor(command: string, path: string): string[] {
    return command === 'export' ? [command, path, '--to', `${temp.path}/never`] : [command, path]
  }

  test.each(COMMANDS)('%s: a path that is no volume, or nothing at all', async (command) => {
    const directory = join(temp.path, `none-${command}`)
    await mkdir(directory)
    const path = join(directory, 'notes.txt')
    await writeFile(path, 'not a volume')
    const why = 'is not named like a volume; name a file like 7.dat or photos_7.dat'
    await expectRefusal(directory, argsFor(command, path), `NOT_A_VOLUME: ${path} ${why}`)
    const empty = `NOT_A_VOLUME: there is no volume in ${directory}`
    await expectRefusal(directory, argsFor(command, directory), empty)
    const missing = join(directory, '7')
    const line = `PATH_NOT_FOUND: ${missing} does not exist`
    await expectRefusal(directory, argsFor(command, missing), line)
  })

  const BROKEN = [
    ['a truncated super block', [3, 0, 0], 'SUPER_BLOCK_CORRUPT', 'super block of 3 bytes'],
    ['no byte at all', [], 'SUPER_BLOCK_CORRUPT', 'super block of 0 bytes'],
    [
      'an unknown version',
      [9, 0, 0, 0, 0, 0, 0, 0],
      'VERSION_UNSUPPORTED',
      'volume format version 9',
    ],
  ] as const

  test.each(BROKEN)('%s', async (_what, bytes, code, why) => {
    const directory = join(temp.path, `broken-${bytes.length}`)
    await mkdir(directory)
    const path = join(directory, '7.dat')
    await writeFile(path, Buffer.from(bytes))
    for (const command of COMMANDS) {
      // For check a volume it cannot read is a finding: the others are still checked.
      if (command === 'check') continue
      await expectRefusal(directory, argsFor(command, path), `${code}: ${path}: ${why}`)
    }
    const before = await hashFiles(directory)
    const checked = await hayloft('check', path, '-q')
    expect(checked).toMatchObject({ exitCode: 1, err: '' })
    expect(checked.out).toContain(`  ${code}: ${path}: ${why}\n`)
    expect(await hashFiles(directory)).toEqual(before)
  })

  test('a file larger than a needle can be, before anything is packed', async () => {
    const large = join(temp.path, 'large-tree')
    await mkdir(large)
    await writeFile(join(large, 'a'), 'small')
    await writeFile(join(large, 'z'), '')
    await truncate(join(large, 'z'), 2 ** 31)
    const path = join(large, 'z')
    const why = `${path} has 2 GiB, a needle holds at most 2147352576 bytes`
    const target = join(temp.path, 'large-target')
    await mkdir(target)
    const args = ['pack', large, '--to', target]
    await expectRefusal(target, args, `NEEDLE_TOO_LARGE: ${why}`)
  })

  test('a directory that another process holds', async () => {
    const directory = join(temp.path, 'locked')
    await makeFixture(directory)
    const lock = join(directory, 'hayloft.lock')
    const holder = spawn(process.execPath, [HOLD_LOCK, lock])
    try {
      await once(holder.stdout, 'data')
      const line = `DIRECTORY_LOCKED: ${lock} is locked by another Hayloft`
      for (const command of ['fix', 'vacuum']) {
        await expectRefusal(directory, [command, directory], line)
      }
      await expectRefusal(directory, ['pack', join(tree, 'deep'), '--to', directory, '-q'], line)
      // What only reads goes on.
      expect((await hayloft('check', directory, '-q')).exitCode).toBe(0)
    } finally {
      holder.kill('SIGKILL')
      await once(holder, 'close')
    }
  })

  test('a directory that cannot be written', async () => {
    const isRoot = process.getuid?.() === 0
    // Root may write into any directory, but not on a file system mounted read-only.
    if (isRoot && skipLoudly('read-only directory', Tmpfs.supported())) return
    await using mounted = isRoot ? await Tmpfs.create({ sizeMiB: 32 }) : undefined
    const directory = join(mounted?.mountPoint ?? temp.path, 'read-only')
    await makeFixture(directory)
    await runTool('rm', join(directory, '1.sum'), join(directory, 'hayloft.lock'))
    if (mounted === undefined) await chmod(directory, 0o555)
    else await runTool('mount', '-o', 'remount,ro', mounted.mountPoint)
    try {
      const errno = isRoot ? 'EROFS' : 'EACCES'
      const line = `DIRECTORY_UNUSABLE: open of ${join(directory, 'hayloft.lock')} failed: ${errno}`
      for (const command of ['fix', 'vacuum']) {
        await expectRefusal(directory, [command, directory], line)
      }
      await expectRefusal(directory, ['pack', join(tree, 'deep'), '--to', directory, '-q'], line)
      expect((await hayloft('check', directory, '-q')).exitCode).toBe(0)
    } finally {
      if (mounted === undefined) await chmod(directory, 0o755)
    }
  })

  test('a tree to pack that is not there, or is a file', async () => {
    const target = join(temp.path, 'pack-target')
    await mkdir(target)
    const missing = join(temp.path, 'missing')
    const args = (root: string): string[] => ['pack', root, '--to', target]
    const notFound = `PATH_NOT_FOUND: readdir of ${missing} failed: ENOENT`
    await expectRefusal(target, args(missing), notFound)
    const file = join(temp.path, 'tree', 'large')
    const noDirectory = `DIRECTORY_UNUSABLE: readdir of ${file} failed: ENOTDIR`
    await expectRefusal(target, args(file), noDirectory)
  })
})
