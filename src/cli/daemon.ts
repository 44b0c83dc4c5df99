import type { Command } from 'commander'
import { onAbort } from '../runtime/abort.ts'
import type { Logger, LogLevel } from '../runtime/logger.ts'
import type { CliContext } from './context.ts'
import { EXIT } from './exit.ts'
import { readChoice } from './setting-values.ts'

export interface DaemonFlags {
  readonly logLevel: string
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

export function addDaemonOptions(command: Command): Command {
  return command.option('--log-level <level>', `${LEVELS.join(', ')}; JSON on stderr`, 'info')
}

/** @throws {StoreError} CONFIG_INVALID: no such level. */
export function openDaemonLogger(context: CliContext, flags: DaemonFlags): Logger {
  return context.openLogger(readChoice('--log-level', flags.logLevel, LEVELS))
}

/**
 * Starts something, says on standard output that it is ready, and closes it when the process is
 * told to end. A signal while it starts ends the start.
 */
export async function runDaemon<Running extends AsyncDisposable>(
  context: CliContext,
  logger: Logger,
  start: (signal: AbortSignal) => Promise<Running>,
  banner: (running: Running) => readonly string[],
): Promise<number> {
  const { out, signal } = context
  await using running = await start(signal)
  for (const line of banner(running)) await out.line(line)
  logger.info('process.ready')
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else onAbort(signal, resolve)
  })
  logger.info('process.stopping')
  await running[Symbol.asyncDispose]()
  logger.info('process.stopped')
  return EXIT.done
}
