import type { Dirent } from 'node:fs'
import { copyFile, lstat, mkdir, readdir, readlink, symlink, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { REPOSITORY } from './source-files.ts'

const BYTES_MAX = 512 * 1024
const SOURCES = [`${REPOSITORY}node_modules`, '/usr/include', '/usr/share', '/usr/lib']

/**
 * Copies files, links and directories that people really have until there are `count` files: where
 * the machine has fewer, the same again, each time below another directory.
 */
export async function copyRealTree(target: string, count: number): Promise<number> {
  let copied = 0
  for (let round = 1; ; round++) {
    const before = copied
    copied += await copyOnce(join(target, `round-${round}`), count - copied)
    if (copied === count || copied === before) return copied
  }
}

async function copyOnce(target: string, count: number): Promise<number> {
  let copied = 0
  for (const source of SOURCES) {
    for await (const [path, entry] of walk(source)) {
      if (copied === count) return copied
      const copy = join(target, path)
      if (entry.isDirectory()) await mkdir(copy, { recursive: true })
      else {
        await mkdir(dirname(copy), { recursive: true })
        copied += await copyEntry(path, copy)
      }
    }
  }
  return copied
}

async function copyEntry(path: string, copy: string): Promise<number> {
  const stat = await lstat(path)
  if (stat.isSymbolicLink()) {
    await symlink(await readlink(path), copy)
    return 0
  }
  if (!stat.isFile() || stat.size > BYTES_MAX) return 0
  await copyFile(path, copy)
  await utimes(copy, stat.atime, stat.mtime)
  return 1
}

async function* walk(directory: string): AsyncGenerator<[path: string, entry: Dirent]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => [])
  for (const entry of entries) {
    const path = join(directory, entry.name)
    yield [path, entry]
    if (entry.isDirectory()) yield* walk(path)
  }
}
