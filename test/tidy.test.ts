import { describe, expect, test } from 'vitest'
import { readSourceFiles, type SourceFile } from './support/source-files.ts'

const COLUMNS_MAX = 100
const FUNCTION_LINES_MAX = 70
const FILE_LINES_MAX = 500
const MAIN_LINES_MAX = 20

interface Ban {
  readonly pattern: RegExp
  readonly instead: string
  /** Files, or folders with a slash at the end, that may. */
  readonly exempt: readonly string[]
}

const CLOCK = ['src/runtime/clock.ts', 'src/cli/']
const CONSOLE = ['src/runtime/logger.ts', 'src/cli/']

/** What src/ may not say: the outside world comes in through interfaces, and nothing is hidden. */
const BANS: readonly Ban[] = [
  { pattern: /\bMath\.random\(/, instead: 'Random', exempt: ['src/runtime/random.ts'] },
  { pattern: /\bDate\.now\(|\bnew Date\(\)/, instead: 'Clock.nowMs', exempt: CLOCK },
  { pattern: /\bperformance\.now\(|\bhrtime\b/, instead: 'Clock.monotonicMs', exempt: CLOCK },
  { pattern: /\bsetTimeout\(/, instead: 'Clock.sleep or Clock.after', exempt: CLOCK },
  { pattern: /\bsetInterval\(/, instead: 'Clock.after', exempt: CLOCK },
  { pattern: /\bconsole\./, instead: 'Logger', exempt: CONSOLE },
  { pattern: /\bprocess\.exit\(/, instead: 'an error', exempt: CONSOLE },
  { pattern: /\bprocess\.env\b/, instead: 'a config object', exempt: ['src/cli/'] },
  {
    pattern: /['"](?:node:)?fs(?:\/promises)?['"]/,
    instead: 'Disk',
    exempt: ['src/runtime/node-disk.ts', 'src/cli/'],
  },
  { pattern: /\bas any\b|:\s*any\b|<any\b|\bany\[\]/, instead: 'unknown', exempt: [] },
  { pattern: /\bexport default\b/, instead: 'a named export', exempt: [] },
]

/** These hide in comments, so comments are searched too. */
const BANS_IN_COMMENTS: readonly Ban[] = [
  { pattern: /@ts-ignore|@ts-nocheck/, instead: 'the right type', exempt: [] },
  { pattern: /\bFIXME\b/, instead: 'the fix', exempt: [] },
]

const NAME = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test|\.d)?\.(?:ts|mjs)$/
const EMPTY_WORDS = ['util', 'utils', 'helper', 'helpers', 'common', 'manager', 'types']

function bannedWords(file: SourceFile): string[] {
  const code = withoutComments(file.text).split('\n')
  const all = file.text.split('\n')
  return [
    ...BANS.flatMap((ban) => offences(file.path, code, ban)),
    ...BANS_IN_COMMENTS.flatMap((ban) => offences(file.path, all, ban)),
  ]
}

function offences(path: string, lines: readonly string[], ban: Ban): string[] {
  const isExempt = ban.exempt.some((place) =>
    place.endsWith('/') ? path.startsWith(place) : path === place,
  )
  if (isExempt) return []
  return lines.flatMap((line, index) => {
    const found = ban.pattern.exec(line)?.[0]
    return found === undefined ? [] : [`${path}:${index + 1}: ${found} (use ${ban.instead})`]
  })
}

/** Keeps the line breaks, so that line numbers stay right. */
function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ''))
    .replace(/(^|\s)\/\/.*$/gm, '$1')
}

/** The formatter never breaks the line that a test's title stands on. */
const TEST_TITLE = /^\s*(?:test|describe)(?:\.\w+)*(?:\([^)]*\))?\(.*(?:\{|=>)$/

function longLines(file: SourceFile): string[] {
  return file.text.split('\n').flatMap((line, index) => {
    const isTitle = file.path.startsWith('test/') && TEST_TITLE.test(line)
    const columns = isTitle ? 0 : [...line].length
    return columns > COLUMNS_MAX ? [`${file.path}:${index + 1}: ${columns} columns`] : []
  })
}

const FUNCTION_START =
  /^( *)(?!(?:if|for|while|switch|else|try|do|return)\b)(?:\S.*)?\)(?:: .+)? (?:=> )?\{$/

/** Finds functions by their indentation, which the formatter guarantees. */
function longFunctions(file: SourceFile): string[] {
  const lines = file.text.split('\n')
  return lines.flatMap((line, start) => {
    const indent = FUNCTION_START.exec(line)?.[1]
    if (indent === undefined) return []
    const length = lines.slice(start).findIndex((later) => later.startsWith(`${indent}}`)) + 1
    if (length <= FUNCTION_LINES_MAX) return []
    return [`${file.path}:${start + 1}: a function of ${length} lines`]
  })
}

function longFiles(file: SourceFile): string[] {
  const lines = file.text.trimEnd().split('\n').length
  const max = file.path === 'src/cli/main.ts' ? MAIN_LINES_MAX : FILE_LINES_MAX
  return lines > max ? [`${file.path}: ${lines} lines, ${max} at most`] : []
}

function badNames(path: string): string[] {
  const parts = path.split('/')
  const name = parts.at(-1) ?? ''
  const words = parts.flatMap((part) => part.split(/[-.]/))
  const isBad = !NAME.test(name) || words.some((word) => EMPTY_WORDS.includes(word))
  return isBad ? [path] : []
}

const sources = readSourceFiles('src', '.ts')
const others = [
  ...readSourceFiles('test', '.ts', '.mjs'),
  ...readSourceFiles('bench', '.ts', '.mjs'),
  ...readSourceFiles('scripts', '.ts', '.mjs'),
]
const all = [...sources, ...others]

describe('the source', () => {
  test('goes to the outside world through interfaces only, and hides nothing', () => {
    expect(sources.flatMap(bannedWords)).toEqual([])
  })

  test(`has lines of at most ${COLUMNS_MAX} columns`, () => {
    expect(all.flatMap(longLines)).toEqual([])
  })

  test(`has functions of at most ${FUNCTION_LINES_MAX} lines`, () => {
    expect(sources.flatMap(longFunctions)).toEqual([])
  })

  test(`has files of at most ${FILE_LINES_MAX} lines, and a main of ${MAIN_LINES_MAX}`, () => {
    expect(sources.flatMap(longFiles)).toEqual([])
  })

  test('has names in kebab-case that say what is inside', () => {
    expect(all.flatMap((file) => badNames(file.path))).toEqual([])
  })

  test('leaves no test alone with .only', () => {
    const alone = others.filter((file) => /\b(?:test|describe|it)\.only\(/.test(file.text))
    // This file names it in the line above.
    expect(alone.map((file) => file.path).filter((path) => path !== 'test/tidy.test.ts')).toEqual(
      [],
    )
  })
})

describe('the check itself', () => {
  const path = 'src/storage/a.ts'

  test.each([
    'const x = Math.random()',
    'const x = Date.now()',
    'const x = new Date()',
    'const x = performance.now()',
    'setTimeout(run, 5)',
    'setInterval(run, 5)',
    "console.log('x')",
    'process.exit(1)',
    "const x = process.env['X']",
    "import { readFileSync } from 'node:fs'",
    "import { open } from 'node:fs/promises'",
    "import fs from 'fs'",
    'const x = y as any',
    'function f(x: any) {}',
    'const x: any[] = []',
    'const x = new Map<any, string>()',
    '// @ts-ignore',
    'export default 5',
    'const x = 5 // FIXME later',
    ' * FIXME',
  ])('catches %o', (line) => {
    expect(bannedWords({ path, text: `const ok = 1\n${line}\n` })).toHaveLength(1)
  })

  test.each([
    '// Date.now() would be wrong here.',
    '/** Not setTimeout(): see Clock. */',
    'const x = 5 // console.log is for the cli',
    'const url = "http://example.org"',
    'type Many = readonly string[]',
    'const company: Company = many',
    'const x = clock.setTimeoutMs',
  ])('lets %o pass', (text) => {
    expect(bannedWords({ path, text })).toEqual([])
  })

  test('knows who is exempt, and from what', () => {
    const exempt = [
      { path: 'src/runtime/clock.ts', text: 'Date.now()\nsetTimeout(run, 1)' },
      { path: 'src/runtime/random.ts', text: 'Math.random()' },
      { path: 'src/runtime/node-disk.ts', text: "import { open } from 'node:fs'" },
      { path: 'src/runtime/logger.ts', text: 'console.error(1)' },
      { path: 'src/cli/commands/a.ts', text: 'console.log(1)\nprocess.exit(1)\nprocess.env' },
    ]
    expect(exempt.flatMap(bannedWords)).toEqual([])
    const wrongPlace = { path: 'src/runtime/clock.ts', text: 'Math.random()\nconsole.log(1)' }
    expect(bannedWords(wrongPlace)).toHaveLength(2)
    expect(bannedWords({ path: 'src/cli/a.ts', text: 'const x: any = 1' })).toHaveLength(1)
  })

  test('names the line of what it finds, also behind comments', () => {
    const text = '/**\n * One.\n */\n// Two.\nDate.now()\n'
    expect(bannedWords({ path, text })).toEqual([`${path}:5: Date.now( (use Clock.nowMs)`])
  })

  test('catches a line of 101 columns and lets one of 100 pass', () => {
    const lines = ['x'.repeat(100), 'ä'.repeat(100), 'x'.repeat(101)]
    expect(longLines({ path, text: lines.join('\n') })).toEqual([`${path}:3: 101 columns`])
  })

  test.each([
    ['export function f(x: number): number {', '}'],
    ['  async #f(): Promise<void> {', '  }'],
    ['const f = (x: number) => {', '}'],
    ['): Promise<void> {', '}'],
    ['  static async open(disk: Disk): Promise<Volume> {', '  }'],
  ])('catches %o with 71 lines and lets 70 pass', (start, end) => {
    const body = (lines: number): string => `${'    x()\n'.repeat(lines - 2)}`
    expect(longFunctions({ path, text: `${start}\n${body(70)}${end}\n` })).toEqual([])
    expect(longFunctions({ path, text: `${start}\n${body(71)}${end}\n` })).toHaveLength(1)
  })

  test('catches a file of 501 lines and a main of 21', () => {
    expect(longFiles({ path, text: 'x\n'.repeat(500) })).toEqual([])
    expect(longFiles({ path, text: 'x\n'.repeat(501) })).toHaveLength(1)
    expect(longFiles({ path: 'src/cli/main.ts', text: 'x\n'.repeat(20) })).toEqual([])
    expect(longFiles({ path: 'src/cli/main.ts', text: 'x\n'.repeat(21) })).toHaveLength(1)
  })

  test.each([
    'src/base/fileId.ts',
    'src/base/File.ts',
    'src/base/file_id.ts',
    'src/base/utils.ts',
    'src/storage/volume-manager.ts',
    'src/types.ts',
    'src/common/ids.ts',
    'src/helpers/a.ts',
    'src/net/types.d.ts',
    'src/a.b.ts',
    'test/support/test-helper.ts',
    'src/base/-a.ts',
  ])('catches the name %s', (name) => {
    expect(badNames(name)).toHaveLength(1)
  })

  test.each([
    'src/base/file-id.ts',
    'src/index.ts',
    'src/runtime/fs-native-extensions.d.ts',
    'test/gf256-codec.test.ts',
    'bench/run.mjs',
    'src/commonplace.ts',
  ])('lets %s pass', (name) => {
    expect(badNames(name)).toEqual([])
  })
})
