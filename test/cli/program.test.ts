import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { makeProgram } from '../../src/cli/program.ts'
import { makeCliContext, runCli } from '../support/cli-run.ts'
import { golden } from '../support/golden.ts'
import { MemDisk } from '../support/mem-disk.ts'
import { Prng } from '../support/prng.ts'

const COMMANDS = [
  ...['server', 'master', 'volume', 'put', 'get', 'rm', 'lookup', 'names', 'import', 'status'],
  ...['bench', 'check', 'fix', 'dump', 'export', 'pack', 'vacuum'],
]

function makeDisk(): MemDisk {
  const disk = new MemDisk(new Prng(1))
  disk.put('/v/1.dat', golden('seaweedfs/1.dat'))
  disk.put('/v/1.idx', golden('seaweedfs/1.idx'))
  return disk
}

test.each([
  [['bogus'], "hayloft: CONFIG_INVALID: unknown command 'bogus'\n"],
  [['check'], "hayloft: CONFIG_INVALID: missing required argument 'path'\n"],
  [['check', '--loud'], "hayloft: CONFIG_INVALID: unknown option '--loud'\n"],
  [['pack', 'x'], "hayloft: CONFIG_INVALID: required option '--to <dir>' not specified\n"],
  [['export', '/v'], 'hayloft: CONFIG_INVALID: give either --to DIR or --tar FILE\n'],
  [['check', '/none'], 'hayloft: PATH_NOT_FOUND: /none does not exist\n'],
])('%j is one line on standard error and exit code 2', async (args, err) => {
  expect(await runCli(args, makeDisk())).toEqual({ exitCode: 2, out: '', err })
})

test('--help and --version are no errors', async () => {
  expect(await runCli(['--version'])).toMatchObject({ exitCode: 0, err: '' })
  const help = await runCli(['--help'])
  expect(help).toMatchObject({ exitCode: 0, err: '' })
  for (const command of COMMANDS) {
    expect(help.out).toContain(`\n  ${command} `)
  }
  expect((await runCli(['check', '--help'])).out).toMatch(/Takes\s+no\s+lock/)
})

test.each([
  ['--concurrency', '0', 'it must be from 1 to 1024'],
  ['--concurrency', '1025', 'it must be from 1 to 1024'],
  ['--concurrency', 'many', 'it must be from 1 to 1024'],
  ['--volume-size', '1023KiB', 'it must be from 1MiB to 32GiB'],
  ['--volume-size', '33GiB', 'it must be from 1MiB to 32GiB'],
  ['--durability', 'hope', 'it must be fsync or none'],
  ['--to', 'tree/inside', 'it must not lie in tree, which is to be packed'],
])('pack %s %s names flag, value and range', async (flag, value, why) => {
  const args = ['pack', 'tree', '--to', 'target', flag, value]
  const err = `hayloft: CONFIG_INVALID: ${flag} "${value}": ${why}\n`
  expect(await runCli(args)).toEqual({ exitCode: 2, out: '', err })
})

test('check prints a line a volume; progress goes to standard error', async () => {
  const disk = makeDisk()
  await runCli(['fix', '/v', '--quiet'], disk)
  const checked = await runCli(['check', '/v/1'], disk)
  expect(checked).toEqual({
    exitCode: 0,
    out: '/v/1.dat: ok; 298 needles, 298 live, 0 deleted; 2.5 MiB\n',
    err: 'checking 1.dat: 2.5 MiB\nchecking 1.dat: done\n',
  })
  expect(await runCli(['check', '/v', '--quiet'], disk)).toEqual({ exitCode: 0, out: '', err: '' })
})

test('check --json prints one document and nothing else', async () => {
  const disk = makeDisk()
  disk.put('/v/2.dat', Buffer.from([7]))
  const checked = await runCli(['check', '--json', '/v'], disk)
  expect(checked).toMatchObject({ exitCode: 1, err: '' })
  expect(JSON.parse(checked.out)).toMatchObject({
    ok: false,
    volumes: [
      { path: '/v/1.dat', ok: true, needles: 298, findings: [] },
      { path: '/v/2.dat', ok: false, bytes: 1, findings: [{ code: 'SUPER_BLOCK_CORRUPT' }] },
    ],
  })
})

test('dump lists all records, quotes names, and says what lives', async () => {
  const disk = makeDisk()
  const text = await runCli(['dump', '/v/1'], disk)
  expect(text.exitCode).toBe(0)
  expect(text.out.trim().split('\n')).toHaveLength(299)
  const lines = (await runCli(['dump', '/v/1', '--json'], disk)).out.trim().split('\n')
  expect(lines).toHaveLength(298)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ offset: 8, crc: 'ok', state: 'live' })

  disk.flipBit('/v/1.dat', 100, 1)
  const damaged = await runCli(['dump', '/v/1'], disk)
  expect(damaged.exitCode).toBe(1)
  expect(damaged.out.match(/ bad live /g)).toHaveLength(1)
})

test('vacuum says what it freed, and shows its progress unless told to be quiet', async () => {
  const vacuumed = await runCli(['vacuum', '/v/1'], makeDisk())
  expect(vacuumed.exitCode).toBe(0)
  expect(vacuumed.err).toMatch(/^vacuuming 1\.dat: 2\.5 MiB\n.*vacuuming 1\.dat: done\n$/s)
  const quiet = await runCli(['vacuum', '/v/1', '--quiet'], makeDisk())
  expect(quiet).toMatchObject({ exitCode: 0, err: '', out: vacuumed.out })
  expect(vacuumed.out).toMatch(/^\/v\/1\.dat: 2\.5 MiB before, .* after, .* freed; 298 needles\n$/)
})

test('options of one name are alike in all commands: they share an environment variable', () => {
  const kinds = new Map<string, boolean>()
  const program = makeProgram(makeCliContext(makeDisk()), () => undefined)
  const commands = program.commands.flatMap((command) => [command, ...command.commands])
  expect(commands.length).toBeGreaterThan(COMMANDS.length)
  for (const command of commands) {
    for (const option of command.options) {
      const takesValue = option.required || option.optional
      expect([option.name(), kinds.get(option.name()) ?? takesValue]).toEqual([
        option.name(),
        takesValue,
      ])
      kinds.set(option.name(), takesValue)
    }
  }
})

test('every command has a heading or a row in docs/CLI.md', () => {
  const page = readFileSync(new URL('../../docs/CLI.md', import.meta.url), 'utf8')
  for (const command of COMMANDS)
    expect(page).toMatch(new RegExp(`^\\| .hayloft ${command}\\b`, 'm'))
})
