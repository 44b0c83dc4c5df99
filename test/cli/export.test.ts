import {
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { isSafePath } from '../../src/cli/export-path.ts'
import type { NeedleAttributes } from '../../src/format/needle-attributes.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { runCli } from '../support/cli-run.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { TestVolume } from '../support/test-volume.ts'

interface Stored {
  readonly data: string | Buffer
  readonly attributes: NeedleAttributes
}

/** A volume on the real disk with these needles, ids from 1. */
async function store(directory: string, needles: readonly Stored[]): Promise<void> {
  await using made = await TestVolume.create()
  let id = 1
  for (const { data, attributes } of needles) await made.put(id++, data, attributes)
  await made.close()
  const disk = new NodeDisk()
  await disk.createDirectory(directory)
  for (const extension of ['dat', 'idx', 'sum']) {
    await writeFile(join(directory, `7.${extension}`), made.file(extension))
  }
}

function at(path: string, data = path, kind = 'file'): Stored {
  return { data, attributes: { pairs: { path, kind } } }
}

test.each([
  ['a', true],
  ['a/b c/ü', true],
  ['..a/b..', true],
  ['', false],
  ['/a', false],
  ['a/', false],
  ['a//b', false],
  ['.', false],
  ['a/./b', false],
  ['..', false],
  ['a/../b', false],
  ['a\0b', false],
  ['a'.repeat(4097), false],
])('path %j is safe: %s', (path, expected) => {
  expect(isSafePath(path)).toBe(expected)
})

describe('a volume made to break out of the target', () => {
  test.each(['../evil', '/tmp/hayloft-evil', 'a/../../evil', '..'])(
    'path %j is told and left out, the rest exported',
    async (path) => {
      await using temp = await openTempDirectory()
      await store(join(temp.path, 'v'), [at(path), at('good')])
      const target = join(temp.path, 'deep', 'target')
      const run = await runCli(['export', join(temp.path, 'v'), '--to', target, '-q'])
      expect(run.exitCode).toBe(1)
      expect(run.err).toContain('not exported: NEEDLE_INVALID')
      expect(await readdir(target)).toEqual(['good'])
      expect((await readdir(temp.path)).sort()).toEqual(['deep', 'v'])
      expect(await readdir(join(temp.path, 'deep'))).toEqual(['target'])
    },
  )

  test('a link that a later file should go through is not followed', async () => {
    await using temp = await openTempDirectory()
    const outside = join(temp.path, 'outside')
    await mkdir(outside)
    await store(join(temp.path, 'v'), [at('a', outside, 'symlink'), at('a/evil'), at('b')])
    const target = join(temp.path, 'target')
    const run = await runCli(['export', join(temp.path, 'v'), '--to', target, '-q'])
    expect(run.exitCode).toBe(1)
    expect(await readdir(outside)).toEqual([])
    expect((await readdir(target)).sort()).toEqual(['a', 'b'])
  })

  test('a link that stands in the target already is not followed', async () => {
    await using temp = await openTempDirectory()
    const outside = join(temp.path, 'outside')
    const target = join(temp.path, 'target')
    await mkdir(outside)
    await mkdir(target)
    await writeFile(join(outside, 'precious'), 'mine')
    await symlink(outside, join(target, 'a'))
    await symlink(join(outside, 'precious'), join(target, 'b'))
    await store(join(temp.path, 'v'), [at('a/evil'), at('b', 'new')])
    const run = await runCli(['export', join(temp.path, 'v'), '--to', target, '-q', '--overwrite'])
    expect(run.err).toContain('TARGET_EXISTS')
    expect(await readdir(outside)).toEqual(['precious'])
    expect(await readFile(join(outside, 'precious'), 'utf8')).toBe('mine')
    expect(await readFile(join(target, 'b'), 'utf8')).toBe('new')
  })
})

test('of two needles with one path the later stays, also when one is a link', async () => {
  await using temp = await openTempDirectory()
  await store(join(temp.path, 'v'), [
    at('a', 'old'),
    at('a', 'new'),
    at('b', 'nowhere', 'symlink'),
    at('b', 'file'),
    at('c', 'file'),
    at('c', 'nowhere', 'symlink'),
  ])
  const target = join(temp.path, 'target')
  expect(await runCli(['export', join(temp.path, 'v'), '--to', target, '-q'])).toMatchObject({
    exitCode: 0,
  })
  expect(await readFile(join(target, 'a'), 'utf8')).toBe('new')
  expect(await readFile(join(target, 'b'), 'utf8')).toBe('file')
  expect(await readlink(join(target, 'c'))).toBe('nowhere')
})

test('without a path the name is used, the file id when it is taken or unsafe', async () => {
  await using temp = await openTempDirectory()
  const named = (name: string): Stored => ({ data: name, attributes: { name } })
  await store(join(temp.path, 'v'), [named('x.jpg'), named('x.jpg'), named('../y'), named('')])
  const target = join(temp.path, 'target')
  await runCli(['export', join(temp.path, 'v'), '--to', target, '-q'])
  const names = (await readdir(target)).sort()
  expect(names).toHaveLength(4)
  expect(names.filter((name) => name === 'x.jpg')).toHaveLength(1)
  expect(names.filter((name) => /^7,02[0-9a-f]{8}-x\.jpg$/.test(name))).toHaveLength(1)
  expect(names.filter((name) => /^7,0[34][0-9a-f]{8}$/.test(name))).toHaveLength(2)
})

test('compressed needles are unpacked, or left alone with --raw', async () => {
  await using temp = await openTempDirectory()
  const packed = gzipSync('hello '.repeat(100_000))
  await store(join(temp.path, 'v'), [
    { data: packed, attributes: { isCompressed: true, name: 'a.txt' } },
    { data: 'not gzip', attributes: { isCompressed: true, name: 'b.txt' } },
  ])
  const run = await runCli(['export', join(temp.path, 'v'), '--to', join(temp.path, 't'), '-q'])
  expect(run.exitCode).toBe(1)
  expect(run.err).toContain('not exported: NEEDLE_CORRUPT')
  expect((await readFile(join(temp.path, 't', 'a.txt'))).length).toBe(600_000)
  expect(await readdir(join(temp.path, 't'))).toEqual(['a.txt'])

  const raw = join(temp.path, 'raw')
  const rawRun = await runCli(['export', join(temp.path, 'v'), '--to', raw, '-q', '--raw'])
  expect(rawRun.exitCode).toBe(0)
  expect((await readFile(join(raw, 'a.txt.gz'))).equals(packed)).toBe(true)
})

test('a corrupt needle is told, leaves no file, and does not keep the others back', async () => {
  await using temp = await openTempDirectory()
  await store(join(temp.path, 'v'), [at('a', 'aaaa'), at('b', 'bbbb')])
  const path = join(temp.path, 'v', '7.dat')
  const dat = await readFile(path)
  dat.writeUInt8(0, dat.indexOf('aaaa'))
  await writeFile(path, dat)
  for (const flags of [
    ['--to', join(temp.path, 't')],
    ['--tar', join(temp.path, 't.tar')],
  ]) {
    const run = await runCli(['export', join(temp.path, 'v'), ...flags, '-q'])
    expect(run.exitCode).toBe(1)
    expect(run.err).toMatch(/not exported: NEEDLE_CORRUPT: .* at byte 8, needle 7,01/)
    expect(run.out).toContain('exported 1 needles')
  }
  expect(await readdir(join(temp.path, 't'))).toEqual(['b'])
})

test('a target that is not empty, and an archive that is there, are left alone', async () => {
  await using temp = await openTempDirectory()
  await store(join(temp.path, 'v'), [at('a')])
  const target = join(temp.path, 't')
  await mkdir(target)
  await writeFile(join(target, 'mine'), 'x')
  const args = ['export', join(temp.path, 'v'), '-q']
  const toDirectory = await runCli([...args, '--to', target])
  expect(toDirectory).toMatchObject({ exitCode: 2 })
  expect(toDirectory.err).toMatch(/^hayloft: TARGET_EXISTS: .* is not empty/)
  const toArchive = await runCli([...args, '--tar', join(target, 'mine')])
  expect(toArchive).toMatchObject({ exitCode: 2 })
  expect(toArchive.err).toMatch(/^hayloft: TARGET_EXISTS: /)
  expect(await readFile(join(target, 'mine'), 'utf8')).toBe('x')
  expect((await stat(join(target, 'mine'))).size).toBe(1)
})

test('a link that --tar writes through stays when writing fails', async (context) => {
  // A link to the device that is always full: the archive fails, and nobody's device may go.
  const device = await stat('/dev/full').catch(() => undefined)
  if (device?.isCharacterDevice() !== true) return context.skip('there is no /dev/full')
  await using temp = await openTempDirectory()
  await store(join(temp.path, 'v'), [at('a')])
  const link = join(temp.path, 'link.tar')
  await symlink('/dev/full', link)
  const run = await runCli(['export', join(temp.path, 'v'), '--tar', link, '--overwrite', '-q'])
  expect(run).toMatchObject({ exitCode: 2, out: '' })
  expect(run.err).toContain('ENOSPC')
  expect((await lstat(link)).isSymbolicLink()).toBe(true)
})
