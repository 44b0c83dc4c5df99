import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { isStoreError } from '../base/store-error.ts'
import { registerBench } from './commands/bench.ts'
import { registerBucket } from './commands/bucket.ts'
import { registerCheck } from './commands/check.ts'
import { registerCollection } from './commands/collection.ts'
import { registerDump } from './commands/dump.ts'
import { registerDurability } from './commands/durability.ts'
import { registerEc } from './commands/ec.ts'
import { registerExport } from './commands/export.ts'
import { registerFiles } from './commands/files.ts'
import { registerFix } from './commands/fix.ts'
import { registerGateway } from './commands/gateway.ts'
import { registerGet } from './commands/get.ts'
import { registerImport } from './commands/import.ts'
import { registerJob } from './commands/job.ts'
import { registerLookup } from './commands/lookup.ts'
import { registerMaster } from './commands/master.ts'
import { registerNames } from './commands/names.ts'
import { registerNamespace } from './commands/namespace.ts'
import { registerNode } from './commands/node.ts'
import { registerPack } from './commands/pack.ts'
import { registerPut } from './commands/put.ts'
import { registerRepair } from './commands/repair.ts'
import { registerRm } from './commands/rm.ts'
import { registerServer } from './commands/server.ts'
import { registerStatus } from './commands/status.ts'
import { registerUser } from './commands/user.ts'
import { registerVacuum } from './commands/vacuum.ts'
import { registerVolume } from './commands/volume.ts'
import { registerWorker } from './commands/worker.ts'
import type { CliContext } from './context.ts'
import { EXIT } from './exit.ts'
import { prepareSettings } from './settings.ts'

/** Adds one command; its outcome goes to `finish` as an exit code. */
type Register = (program: Command, context: CliContext, finish: (exitCode: number) => void) => void

/**
 * What talks over the net is imported by each command when it runs: loading it takes longer than
 * most tools for volume files need in all.
 */
const COMMANDS: readonly Register[] = [
  registerServer,
  registerMaster,
  registerVolume,
  registerGateway,
  registerWorker,
  registerPut,
  registerGet,
  registerRm,
  registerRepair,
  registerLookup,
  registerNames,
  registerImport,
  registerStatus,
  registerDurability,
  registerJob,
  registerNode,
  registerCollection,
  registerUser,
  registerBucket,
  registerFiles,
  registerNamespace,
  registerEc,
  registerBench,
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
  const program = makeProgram(context, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync([...args], { from: 'user' })
    return exitCode
  } catch (error) {
    return await explain(error, context)
  }
}

/** Every command with its options; the outcome of the one that runs goes to `finish`. */
export function makeProgram(context: CliContext, finish: (exitCode: number) => void): Command {
  const program = new Command('hayloft')
    .description('A small-file object store: servers, clients, and tools for volume files.')
    .version(readVersion())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.out.stream.write(text),
      writeErr: (text) => context.err.stream.write(text),
      // Usage errors are thrown too, and told in our own form.
      outputError: () => undefined,
    })
  for (const register of COMMANDS) register(program, context, finish)
  prepareSettings(program, context)
  return program
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
