import { PassThrough, Readable, type Writable } from 'node:stream'
import { type CliContext, TextOutput } from '../../src/cli/context.ts'
import { runProgram } from '../../src/cli/program.ts'
import type { Environment } from '../../src/cli/settings.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import type { Disk } from '../../src/runtime/disk.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { NodeDisk } from '../../src/runtime/node-disk.ts'
import { Prng } from './prng.ts'
import { SimClock } from './sim-clock.ts'

export interface CliRun {
  readonly exitCode: number
  readonly out: string
  readonly err: string
}

export interface CliRunOptions {
  readonly env?: Environment
  readonly signal?: AbortSignal
  /** Standard input. */
  readonly input?: string | Buffer
  /** For commands that talk to servers, whose time is the system's. */
  readonly isRealTime?: boolean
  /** Of chance; servers of one cluster need one each. */
  readonly seed?: number
  /** Told all that is written to standard output so far, each time there is more. */
  readonly onOutput?: (bytes: Buffer) => void
}

/** Runs a command line within this process, its output collected. */
export async function runCli(
  args: readonly string[],
  disk: Disk = new NodeDisk(),
  options: CliRunOptions = {},
): Promise<CliRun> {
  const out = collect()
  const err = collect()
  out.stream.on('data', () => options.onOutput?.(out.bytes()))
  const streams = { out: out.stream, err: err.stream }
  const exitCode = await runProgram(args, makeCliContext(disk, options, streams))
  return { exitCode, out: out.bytes().toString('utf8'), err: err.bytes().toString('utf8') }
}

export function makeCliContext(
  disk: Disk,
  { env = {}, input, isRealTime, seed = 1, signal }: CliRunOptions = {},
  streams: { readonly out: Writable; readonly err: Writable } = {
    out: new PassThrough(),
    err: new PassThrough(),
  },
): CliContext {
  return {
    disk,
    clock: isRealTime === true ? systemClock : new SimClock(),
    random: new Prng(seed),
    logger: silentLogger,
    openLogger: () => silentLogger,
    env,
    input: Readable.from(input === undefined ? [] : [Buffer.from(input)]),
    out: new TextOutput(streams.out, false),
    err: new TextOutput(streams.err, false),
    signal: signal ?? new AbortController().signal,
  }
}

function collect(): { readonly stream: PassThrough; bytes(): Buffer } {
  const stream = new PassThrough()
  const pieces: Buffer[] = []
  stream.on('data', (piece: Buffer) => pieces.push(piece))
  return { stream, bytes: () => Buffer.concat(pieces) }
}
