import type { Readable, Writable } from 'node:stream'
import { type Clock, systemClock } from '../runtime/clock.ts'
import type { Disk } from '../runtime/disk.ts'
import { type Logger, type LogLevel, pinoLogger, silentLogger } from '../runtime/logger.ts'
import { NodeDisk } from '../runtime/node-disk.ts'
import { cryptoRandom, type Random } from '../runtime/random.ts'
import type { Environment } from './settings.ts'

/** Where a command writes. Results go to one, everything about the run to the other. */
export class TextOutput {
  readonly stream: Writable
  readonly isTerminal: boolean
  #isClosed = false

  constructor(stream: Writable, isTerminal: boolean) {
    this.stream = stream
    this.isTerminal = isTerminal
    // `hayloft dump … | head` closes the pipe early; that is no failure.
    stream.on('error', () => {
      this.#isClosed = true
    })
  }

  /** Nobody reads any more. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Waits while the reader is slower than we are. */
  async line(text: string): Promise<void> {
    if (this.#isClosed || this.stream.write(`${text}\n`)) return
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        this.stream.off('drain', settle)
        this.stream.off('error', settle)
        this.stream.off('close', settle)
        resolve()
      }
      this.stream.once('drain', settle)
      this.stream.once('error', settle)
      this.stream.once('close', settle)
    })
  }
}

/** Everything a command gets from outside. */
export interface CliContext {
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** For daemons, which log where others report. */
  readonly openLogger: (level: LogLevel) => Logger
  readonly env: Environment
  readonly input: Readable
  /** Results: what a pipe should carry. */
  readonly out: TextOutput
  /** Messages, progress, errors. */
  readonly err: TextOutput
  /** Aborted when the user presses Ctrl-C, or the process is told to end. */
  readonly signal: AbortSignal
}

export function processContext(): CliContext {
  const stop = new AbortController()
  const onSignal = (): void => {
    // The second signal, whichever it is, ends the process at once, as without us.
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
    stop.abort()
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    disk: new NodeDisk(),
    clock: systemClock,
    random: cryptoRandom,
    // What opening a volume mends is part of the commands' own reports.
    logger: silentLogger,
    openLogger: (level) => pinoLogger(level),
    env: process.env,
    input: process.stdin,
    out: new TextOutput(process.stdout, process.stdout.isTTY === true),
    err: new TextOutput(process.stderr, process.stderr.isTTY === true),
    signal: stop.signal,
  }
}
