import { PassThrough } from 'node:stream'
import { TextOutput } from '../../src/cli/context.ts'
import { runProgram } from '../../src/cli/program.ts'
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

/** Runs a command line within this process, its output collected. */
export async function runCli(
  args: readonly string[],
  disk: Disk = new NodeDisk(),
): Promise<CliRun> {
  const out = collect()
  const err = collect()
  const exitCode = await runProgram(args, {
    disk,
    clock: new SimClock(),
    random: new Prng(1),
    logger: silentLogger,
    out: new TextOutput(out.stream, false),
    err: new TextOutput(err.stream, false),
    signal: new AbortController().signal,
  })
  return { exitCode, out: out.text(), err: err.text() }
}

function collect(): { readonly stream: PassThrough; text(): string } {
  const stream = new PassThrough()
  const pieces: Buffer[] = []
  stream.on('data', (piece: Buffer) => pieces.push(piece))
  return { stream, text: () => Buffer.concat(pieces).toString('utf8') }
}
