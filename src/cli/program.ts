import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { isStoreError } from '../base/store-error.ts'
import { registerCheck } from './commands/check.ts'
import { registerDump } from './commands/dump.ts'
import { registerExport } from './commands/export.ts'
import { registerFix } from './commands/fix.ts'
import { registerPack } from './commands/pack.ts'
import { registerVacuum } from './commands/vacuum.ts'
import type { CliContext } from './context.ts'
import { EXIT } from './exit.ts'

/** Adds one command; its outcome goes to `finish` as an exit code. */
type Register = (program: Command, context: CliContext, finish: (exitCode: number) => void) => void

const COMMANDS: readonly Register[] = [
  registerCheck,
  registerFix,
  registerDump,
  registerExport,
  registerPack,
  registerVacuum,
]

/** Runs one command line, program name left out; returns the exit code. Never throws. */
export async function runProgram(args: readonly string[], context: CliContext): Promise<number> {
  let exitCode: number = EXIT.done
  const program = new Command('hayloft')
    .description('A small-file object store: tools for volume files.')
    .version(readVersion())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.out.stream.write(text),
      writeErr: (text) => context.err.stream.write(text),
      // Usage errors are thrown too, and told in our own form.
      outputError: () => undefined,
    })
  for (const register of COMMANDS) {
    register(program, context, (code) => {
      exitCode = code
    })
  }
  try {
    await program.parseAsync([...args], { from: 'user' })
    return exitCode
  } catch (error) {
    return await explain(error, context)
  }
}

async function explain(error: unknown, { err }: CliContext): Promise<number> {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.done
    // Help was shown because no command was named.
    if (error.code === 'commander.help') return EXIT.error
    await err.line(`hayloft: CONFIG_INVALID: ${oneLine(error.message.replace(/^error: /, ''))}`)
    return EXIT.error
  }
  if (isStoreError(error)) {
    await err.line(`hayloft: ${error.code}: ${oneLine(error.message)}`)
    return EXIT.error
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  await err.line(`hayloft: a bug in hayloft: ${text}`)
  return EXIT.bug
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ')
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const parsed: unknown = JSON.parse(text)
  const hasVersion = typeof parsed === 'object' && parsed !== null && 'version' in parsed
  return hasVersion ? String(parsed.version) : 'unknown'
}
