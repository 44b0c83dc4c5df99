import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import { describe, expect, test } from 'vitest'
import { REPOSITORY, readSourceFiles, type SourceFile } from './support/source-files.ts'

/**
 * Which folder of src/ may import from which, itself apart. Read downwards it is the order in which
 * the program can be understood, built and tested. A row is a decision: change one in a commit of
 * its own that gives the reason.
 */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  base: [],
  runtime: ['base'],
  format: ['base'],
  erasure: ['base', 'runtime', 'format'],
  storage: ['base', 'runtime', 'format', 'erasure'],
  metadata: ['base', 'runtime'],
  namespace: ['base', 'runtime', 'metadata'],
  net: ['base', 'runtime'],
  client: ['base', 'runtime', 'format', 'erasure', 'net'],
  volume: ['base', 'runtime', 'format', 'erasure', 'storage', 'net'],
  jobs: ['base', 'runtime', 'namespace', 'net', 'client'],
  master: ['base', 'runtime', 'metadata', 'namespace', 'net', 'jobs'],
  gateway: ['base', 'runtime', 'namespace', 'net', 'client'],
  // The composition of all of the above in one process, for the command line and for applications.
  server: [
    'base',
    'runtime',
    'format',
    'storage',
    'metadata',
    'namespace',
    'net',
    'client',
    'volume',
    'jobs',
    'master',
    'gateway',
  ],
}

/** Pure code: what it does depends on its arguments alone. */
const WITHOUT_SYSTEM = ['base', 'format']

const ROOT_FILE = 'src/index.ts'

/** Modules named by import and export statements, `import()` and `require()`, types included. */
function importsOf(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
  const patterns = [
    /^\s*(?:import|export)\s[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\b(?:import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g,
  ]
  return patterns.flatMap((pattern) => Array.from(code.matchAll(pattern), ([, name = '']) => name))
}

/** `src/storage/volume.ts` is in `storage`; files right below src/ are in no folder. */
function folderOf(path: string): string | undefined {
  return /^src\/([^/]+)\//.exec(path)?.[1]
}

function forbiddenImports(file: SourceFile): string[] {
  return importsOf(file.text).flatMap((name) => {
    const why = name.startsWith('.') ? whyNotOurs(file.path, name) : whyNotForeign(file.path, name)
    return why === undefined ? [] : [`${file.path} imports ${name}: ${why}`]
  })
}

function whyNotOurs(path: string, name: string): string | undefined {
  const target = join(dirname(path), name)
  if (!target.startsWith('src/')) return 'outside src'
  if (target === ROOT_FILE) return 'nothing of ours imports the public face'
  const source = folderOf(path)
  const folder = folderOf(target)
  // cli/ puts everything together; so does src/index.ts, for applications, which have no argv.
  if (source === 'cli') return undefined
  if (source === undefined) return folder === 'cli' ? 'only the command line uses cli/' : undefined
  const allowed = ALLOWED[source]
  if (allowed === undefined) return `src/${source} has no row in the import table`
  if (folder === source || (folder !== undefined && allowed.includes(folder))) return undefined
  return `${source} may import ${allowed.join(', ') || 'nothing of ours'}`
}

function whyNotForeign(path: string, name: string): string | undefined {
  const source = folderOf(path)
  if (!name.startsWith('node:') || source === undefined) return undefined
  return WITHOUT_SYSTEM.includes(source) ? `${source} is pure code` : undefined
}

function isBarrel(file: SourceFile): boolean {
  if (file.path === ROOT_FILE) return false
  return file.path.endsWith('/index.ts') || /^\s*export\s*(?:type\s*)?\*/m.test(file.text)
}

const sources = readSourceFiles('src', '.ts')
const tests = readSourceFiles('test', '.ts')

describe('the import table', () => {
  test('is kept by every file of src/', () => {
    expect(sources.length).toBeGreaterThan(10)
    expect(sources.flatMap(forbiddenImports)).toEqual([])
  })

  test('has a row for every folder of src/ but cli', () => {
    const folders = new Set(sources.map((file) => folderOf(file.path)))
    for (const folder of folders) {
      if (folder === undefined || folder === 'cli') continue
      expect(Object.keys(ALLOWED)).toContain(folder)
    }
  })

  test('names only folders above each row: there is no circle', () => {
    const rows = Object.keys(ALLOWED)
    for (const [index, row] of rows.entries()) {
      for (const folder of ALLOWED[row] ?? []) expect(rows.slice(0, index)).toContain(folder)
    }
  })

  test('is about files that exist, named with their .ts', () => {
    for (const file of sources) {
      for (const name of importsOf(file.text).filter((name) => name.startsWith('.'))) {
        const target = join(dirname(file.path), name)
        expect(existsSync(`${REPOSITORY}${target}`), `${file.path} imports ${name}`).toBe(true)
      }
    }
  })
})

describe('the shape of the tree', () => {
  test('tests import nothing from dist: they run what is in src', () => {
    const found = tests.flatMap((file) =>
      importsOf(file.text).filter((name) => /(?:^|\/)dist(?:\/|$)/.test(name)),
    )
    expect(found).toEqual([])
  })

  test('nothing in src imports from test', () => {
    const found = sources.flatMap((file) =>
      importsOf(file.text).filter((name) => /(?:^|\/)test\//.test(name)),
    )
    expect(found).toEqual([])
  })

  test('src/index.ts is the only file that collects exports of others', () => {
    expect([...sources, ...tests].filter(isBarrel).map((file) => file.path)).toEqual([])
  })
})

describe('the check itself', () => {
  test.each([
    ['src/base/a.ts', "import { b } from '../runtime/b.ts'"],
    ['src/base/a.ts', "import type { B } from '../storage/b.ts'"],
    ['src/base/a.ts', "import { readFileSync } from 'node:fs'"],
    ['src/format/a.ts', "import {\n  one,\n  two,\n} from '../runtime/b.ts'"],
    ['src/format/a.ts', "export { b } from '../storage/b.ts'"],
    ['src/format/a.ts', "import '../storage/b.ts'"],
    ['src/runtime/a.ts', "const b = await import('../format/b.ts')"],
    ['src/runtime/a.ts', "const b = require('../format/b.ts')"],
    ['src/storage/a.ts', "import { b } from '../net/b.ts'"],
    ['src/storage/a.ts', "import { b } from '../../test/support/b.ts'"],
    ['src/volume/a.ts', "import { b } from '../master/b.ts'"],
    ['src/master/a.ts', "import { b } from '../volume/b.ts'"],
    ['src/gateway/s3/a.ts', "import { b } from '../../storage/b.ts'"],
    ['src/storage/a.ts', "import { b } from '../cli/b.ts'"],
    ['src/storage/a.ts', "import { b } from '../index.ts'"],
    ['src/cli/a.ts', "import { b } from '../index.ts'"],
    ['src/index.ts', "import { b } from './cli/b.ts'"],
    ['src/unheard-of/a.ts', "import { b } from '../base/b.ts'"],
  ])('catches %s with %o', (path, text) => {
    expect(forbiddenImports({ path, text })).toHaveLength(1)
  })

  test.each([
    ['src/base/a.ts', "import { b } from './b.ts'\nimport { crc32c } from '@node-rs/crc32'"],
    [
      'src/runtime/a.ts',
      "import { readFileSync } from 'node:fs'\nimport { b } from '../base/b.ts'",
    ],
    ['src/storage/a.ts', "import { b } from '../format/b.ts'\nimport { c } from '../runtime/c.ts'"],
    ['src/gateway/s3/a.ts', "import { b } from '../objects/b.ts'"],
    ['src/cli/commands/a.ts', "import { b } from '../../storage/b.ts'"],
    ['src/index.ts', "export { Store } from './storage/store.ts'"],
    ['src/base/a.ts', "/** import { b } from '../storage/b.ts' */\n// import '../storage/b.ts'"],
  ])('lets %s pass with %o', (path, text) => {
    expect(forbiddenImports({ path, text })).toEqual([])
  })

  test('knows a barrel by its name and by its star', () => {
    expect(isBarrel({ path: 'src/storage/index.ts', text: '' })).toBe(true)
    expect(isBarrel({ path: 'src/storage/all.ts', text: "export * from './b.ts'" })).toBe(true)
    expect(isBarrel({ path: 'src/storage/all.ts', text: "export type * from './b.ts'" })).toBe(true)
    expect(isBarrel({ path: ROOT_FILE, text: "export * from './storage/b.ts'" })).toBe(false)
    expect(isBarrel({ path: 'src/index-entry.ts', text: 'export const a = 1' })).toBe(false)
  })
})
