import { createHash } from 'node:crypto'
import {
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Prng } from './prng.ts'

const NAME_PARTS = [
  'plain',
  'two words',
  ' leading and trailing ',
  'ünïcödé',
  '日本語',
  '🦆',
  'é', // Not the same bytes as é, and it must stay so.
  'quote"\'`$(x)',
  'line\nbreak',
  'back\\slash',
  '-dash',
  '.hidden',
  'a,b;c&d',
  '%41',
] as const

/** Makes about `fileCount` files, with links, empty directories, and one file of 20 MB. */
export async function makeTree(root: string, fileCount: number, prng: Prng): Promise<void> {
  const directories = ['.', 'deep/er/and/deeper', ...NAME_PARTS.map((part) => `d ${part}`)]
  for (const directory of directories) await mkdir(join(root, directory), { recursive: true })
  for (let count = 0; count < fileCount; count++) {
    const path = join(root, prng.pick(directories), `${prng.pick(NAME_PARTS)}${count}`)
    const size = prng.chance(0.1) ? 0 : prng.below(prng.chance(0.05) ? 2_000_000 : 20_000)
    await writeFile(path, prng.bytes(size), { mode: prng.pick([0o644, 0o600, 0o755, 0o444]) })
    const seconds = 1_000_000_000 + prng.below(700_000_000)
    await utimes(path, seconds, seconds)
  }
  await writeFile(join(root, 'x'.repeat(255)), 'a name as long as names get')
  await writeFile(join(root, 'large'), prng.bytes(20_000_000))
  await mkdir(join(root, 'empty/also empty'), { recursive: true })
  await mkdir(join(root, 'private'), { mode: 0o700 })
  await symlink('large', join(root, 'link'))
  await symlink('../does/not/exist', join(root, 'deep/dangling'))
  await symlink('/etc', join(root, 'deep/to a directory'))
}

/** Every entry below a directory with all that should survive a copy, by path. */
export async function describeTree(root: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  const names = await readdir(root, { recursive: true })
  for (const name of names.sort()) {
    const path = join(root, name)
    const stat = await lstat(path)
    const mode = (stat.mode & 0o777).toString(8)
    if (stat.isSymbolicLink()) found.set(name, `link to ${await readlink(path)}`)
    else if (stat.isDirectory()) {
      // Modes and times of directories that hold something are not packed.
      const isEmpty = (await readdir(path)).length === 0
      found.set(name, isEmpty ? `directory ${mode} ${Math.trunc(stat.mtimeMs)}` : 'directory')
    } else {
      const hash = createHash('sha256')
        .update(await readFile(path))
        .digest('hex')
      found.set(name, `file ${mode} ${Math.trunc(stat.mtimeMs)} ${hash}`)
    }
  }
  return found
}

/** Name, size and content of each file: equal before and after means unchanged, byte for byte. */
export async function hashFiles(root: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const name of (await readdir(root, { recursive: true })).sort()) {
    const stat = await lstat(join(root, name))
    const isFile = stat.isFile()
    const content = isFile ? await readFile(join(root, name)) : Buffer.alloc(0)
    const hash = createHash('sha256').update(content).digest('hex')
    found.set(name, `${stat.mode} ${stat.mtimeMs} ${isFile ? hash : dirname(name)}`)
  }
  return found
}
