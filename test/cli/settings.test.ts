import { Command } from 'commander'
import { expect, test } from 'vitest'
import { prepareSettings } from '../../src/cli/settings.ts'
import { runCli } from '../support/cli-run.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'

interface Outcome {
  readonly values: Readonly<Record<string, unknown>>
}

function makeProgram(done: (outcome: Outcome) => void): Command {
  const program = new Command('hayloft').exitOverride().configureOutput({
    writeErr: () => undefined,
    outputError: () => undefined,
  })
  program
    .command('serve')
    .requiredOption('--dir <dir>', 'where the data goes')
    .option('--size <size>', 'how much', '1GiB')
    .option('--racks <names>', 'labels')
    .option('-q, --quiet', 'say nothing')
    .action((values) => done({ values }))
  program
    .command('names')
    .command('ls')
    .option('--limit <count>', 'how many', '100')
    .action((values) => done({ values }))
  return program
}

interface Given {
  readonly file?: string
  readonly env?: Readonly<Record<string, string>>
}

async function parse(args: readonly string[], { file, env = {} }: Given = {}): Promise<unknown> {
  const disk = new MemDisk(new Prng(1))
  if (file !== undefined) disk.put('/c.yaml', Buffer.from(file))
  let found: Outcome | undefined
  const program = makeProgram((outcome) => {
    found = outcome
  })
  prepareSettings(program, { disk, env })
  const config = file === undefined ? [] : ['--config', '/c.yaml']
  await program.parseAsync([...args, ...config], { from: 'user' })
  return found?.values
}

const FILE = 'serve:\n  dir: file-dir\n  size: 2GiB\n'
const ENV = { HAYLOFT_DIR: 'env-dir', HAYLOFT_SIZE: '3GiB' }

test('a flag goes before the environment, that before the file, that before the default', async () => {
  const all = { file: FILE, env: ENV }
  const flags = ['--dir', 'flag-dir', '--size', '4GiB']
  expect(await parse(['serve', ...flags], all)).toEqual({ dir: 'flag-dir', size: '4GiB' })
  expect(await parse(['serve'], all)).toEqual({ dir: 'env-dir', size: '3GiB' })
  expect(await parse(['serve'], { file: FILE })).toEqual({ dir: 'file-dir', size: '2GiB' })
  expect(await parse(['serve', '--dir', 'd'])).toEqual({ dir: 'd', size: '1GiB' })
})

test('a required option may come from the environment or the file', async () => {
  expect(await parse(['serve'], { env: { HAYLOFT_DIR: 'x' } })).toMatchObject({ dir: 'x' })
  await expect(parse(['serve'])).rejects.toThrow("required option '--dir <dir>' not specified")
})

test('the file is named by --config before or after the command, or by HAYLOFT_CONFIG', async () => {
  const disk = new MemDisk(new Prng(1))
  disk.put('/c.yaml', Buffer.from(FILE))
  for (const [args, env] of [
    [['--config', '/c.yaml', 'serve'], {}],
    [['serve', '--config', '/c.yaml'], {}],
    [['serve'], { HAYLOFT_CONFIG: '/c.yaml' }],
  ] as const) {
    let found: Outcome | undefined
    const program = makeProgram((outcome) => {
      found = outcome
    })
    prepareSettings(program, { disk, env })
    await program.parseAsync([...args], { from: 'user' })
    expect(found?.values).toMatchObject({ dir: 'file-dir' })
  }
})

test("a command's own section goes before `common`", async () => {
  const file = 'common:\n  dir: shared\n  size: 5GiB\n  limit: 7\nserve:\n  dir: own\n'
  expect(await parse(['serve'], { file })).toEqual({ dir: 'own', size: '5GiB' })
  expect(await parse(['names', 'ls'], { file })).toEqual({ limit: '7' })
})

test('values stay the text they are written as; a list is joined with commas', async () => {
  const file = 'serve:\n  dir: 001\n  size: 1e3\n  racks: [a, "b"]\n'
  expect(await parse(['serve'], { file })).toEqual({ dir: '001', size: '1e3', racks: 'a,b' })
})

test('a subcommand of a subcommand has a section with a hyphen', async () => {
  expect(await parse(['names', 'ls'], { file: 'names-ls:\n  limit: 3\n' })).toEqual({ limit: '3' })
})

test.each([
  ['true', true],
  ['1', true],
  ['false', undefined],
  ['0', undefined],
])('a switch set to %s is %s', async (text, quiet) => {
  const dir = ['--dir', 'd']
  const expected = { dir: 'd', size: '1GiB', quiet }
  expect(await parse(['serve', ...dir], { env: { HAYLOFT_QUIET: text } })).toEqual(expected)
  expect(await parse(['serve', ...dir], { file: `serve:\n  quiet: ${text}` })).toEqual(expected)
})

test.each([
  ['serve:\n  dirr: x\n', '/c.yaml: serve has no setting "dirr"'],
  [
    'serv:\n  dir: x\n',
    '/c.yaml: there is no section "serv"; sections are common, serve, names-ls',
  ],
  ['names:\n  limit: 3\n', '/c.yaml: there is no section "names"; sections are'],
  ['common:\n  hat: x\n', '/c.yaml: common has no setting "hat"'],
  // A mistake in the section of another command is told too.
  ['serve:\n  dir: x\nnames-ls:\n  limt: 3\n', '/c.yaml: names-ls has no setting "limt"'],
  ['serve:\n  dir: {a: b}\n', '/c.yaml: serve: dir must be a single value or a list of values'],
  ['serve:\n  dir: [[a]]\n', '/c.yaml: serve: dir must be a single value or a list of values'],
  ['serve: 7\n', '/c.yaml: section serve must be a mapping, with lines like "key: value"'],
  ['- serve\n', '/c.yaml: it must be a mapping, with lines like "key: value"'],
  ['serve:\n  dir: "x\n', '/c.yaml is not YAML, line '],
  ['serve:\n  dir: x\n  dir: y\n', '/c.yaml is not YAML, line 3: Map keys must be unique'],
  ['serve:\n  dir: d\n  quiet: yes\n', 'quiet in /c.yaml "yes": it must be true or false'],
])('the file %j is refused: %s', async (file, why) => {
  await expect(parse(['serve'], { file })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(why),
  })
})

test.each(['', 'serve:\n', '# nothing\n'])('the file %j sets nothing', async (file) => {
  expect(await parse(['serve', '--dir', 'd'], { file })).toEqual({ dir: 'd', size: '1GiB' })
})

test('a file that is not there, or that is too large to be one, is an error', async () => {
  const disk = new MemDisk(new Prng(1))
  disk.put('/large', Buffer.alloc(256 * 1024 + 1, 0x20))
  const run = await runCli(['check', '/v', '--config', '/none'], disk)
  expect(run).toMatchObject({ exitCode: 2, err: expect.stringMatching(/^hayloft: PATH_NOT_FOUND/) })
  const large = await runCli(['check', '/v', '--config', '/large'], disk)
  expect(large).toMatchObject({ exitCode: 2, err: expect.stringContaining('/large has 262145') })
})

test('--help names the environment variable and default of each option, and a section', async () => {
  const { out } = await runCli(['pack', '--help'])
  const text = out.replace(/\s+/g, ' ')
  expect(text).toContain('(env: HAYLOFT_VOLUME_SIZE) (default: "1GiB")')
  expect(out).toMatch(/\n {2}pack:\n {4}to: dir\n/)
  expect((await runCli(['--help'])).out).toContain('HAYLOFT_CONFIG')
})
