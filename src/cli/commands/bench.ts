import type { Command } from 'commander'
import { StoreError } from '../../base/store-error.ts'
import { formatBytes, GIB } from '../../base/units.ts'
import {
  type BenchOptions,
  type BenchParts,
  type BenchResult,
  type BenchTarget,
  benchMixed,
  benchReads,
  benchWrites,
} from '../bench-run.ts'
import { addClusterOptions, type ClusterFlags, masterAddresses } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { showCount } from '../progress.ts'
import { readChoice, readCount, readSize } from '../setting-values.ts'

interface BenchFlags extends ClusterFlags {
  readonly count: string
  readonly concurrency: string
  readonly size: string
  readonly write?: boolean
  readonly read?: boolean
  readonly mixed?: boolean
  readonly via: string
  readonly collection: string
  readonly replication?: string
  readonly json?: boolean
  readonly quiet?: boolean
}

interface BenchConfig extends Omit<BenchOptions, 'onProgress'> {
  readonly via: 'sdk' | 'http'
  readonly phases: readonly BenchResult['operation'][]
}

const COUNT_MAX = 1e9
const CONCURRENCY_MAX = 4096
const SIZE_MAX_BYTES = GIB

export function registerBench(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('bench')
    .description(
      'Measure a cluster: store files of one size, then read them at random. What it stores ' +
        'stays there, in a collection of its own unless --collection names another.',
    )
    .option('-n, --count <count>', 'files to write, and reads', '10000')
    .option('-c, --concurrency <count>', 'requests under way at once', '16')
    .option('--size <size>', 'of each file', '1KiB')
    .option('--write', 'only write')
    .option('--read', 'only read, after writing what there is to read')
    .option('--mixed', 'four reads to each write')
    .option('--via <way>', 'sdk, like applications, or http, like any client of the dialect', 'sdk')
    .option('--collection <name>', 'where the files go', 'benchmark')
    .option('--replication <digits>', "copies by distance, like 001; otherwise the cluster's")
    .option('--json', 'print one JSON document')
    .option('-q, --quiet', 'no progress')
  addClusterOptions(command).action(async (flags: BenchFlags) => {
    finish(await bench(context, flags))
  })
}

async function bench(context: CliContext, flags: BenchFlags): Promise<number> {
  const { out, err } = context
  const config = readBenchConfig(flags)
  await using target = await openTarget(context, config, flags)
  const results = await runPhases(context, config, target, flags.quiet === true)
  if (flags.json === true) {
    const { concurrency, sizeBytes, via } = config
    await out.line(JSON.stringify({ via, concurrency, sizeBytes, results }, undefined, 2))
  } else {
    const what = `${formatBytes(config.sizeBytes)} files, ${config.concurrency} at once`
    await out.line(`${what}, via ${config.via}`)
    for (const result of results) for (const line of resultLines(result)) await out.line(line)
  }
  const failures = results.reduce((total, result) => total + result.failures, 0)
  const [first] = results.filter((result) => result.failures > 0)
  if (first !== undefined) await err.line(`hayloft: ${failures} failed, like ${first.firstFailure}`)
  return failures === 0 ? EXIT.done : EXIT.findings
}

/** @throws {StoreError} CONFIG_INVALID: names the flag, its value and what it may be. */
export function readBenchConfig(flags: BenchFlags): BenchConfig {
  const chosen = [flags.write, flags.read, flags.mixed].filter((flag) => flag === true)
  if (chosen.length > 1) {
    throw new StoreError('CONFIG_INVALID', 'give one of --write, --read and --mixed, or none')
  }
  return Object.freeze({
    count: readCount('--count', flags.count, { min: 1, max: COUNT_MAX }),
    concurrency: readCount('--concurrency', flags.concurrency, { min: 1, max: CONCURRENCY_MAX }),
    sizeBytes: readSize('--size', flags.size, { min: 0, max: SIZE_MAX_BYTES }),
    via: readChoice('--via', flags.via, ['sdk', 'http']),
    phases: readPhases(flags),
  })
}

function readPhases({ write, read, mixed }: BenchFlags): BenchConfig['phases'] {
  if (write === true) return ['write']
  if (read === true) return ['read']
  return mixed === true ? ['mixed'] : ['write', 'read']
}

async function openTarget(
  context: CliContext,
  { via, concurrency }: BenchConfig,
  flags: BenchFlags,
): Promise<BenchTarget> {
  const { collection, replication } = flags
  if (via === 'http') {
    const query = new URLSearchParams({ collection, ...(replication && { replication }) })
    const { HttpBenchTarget } = await import('../bench-http.ts')
    const [master] = masterAddresses(flags)
    return new HttpBenchTarget(master?.http ?? '', { concurrency, query: query.toString() })
  }
  const { openCluster } = await import('../cluster.ts')
  const cluster = await openCluster(context, flags)
  const { client } = cluster
  return {
    write: async (data, signal) => {
      return (await client.put(data, { collection, replication, signal })).fileId
    },
    read: async (fileId, signal) => (await client.get(fileId, { signal })).data.length,
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  }
}

async function runPhases(
  context: CliContext,
  config: BenchConfig,
  target: BenchTarget,
  isQuiet: boolean,
): Promise<BenchResult[]> {
  const { signal } = context
  const parts: BenchParts = { ...context, target }
  const phase = async <Result>(
    label: string,
    run: (options: BenchOptions) => Promise<Result>,
  ): Promise<Result> => {
    using count = showCount(context, label, isQuiet)
    const onProgress = (done: number): void => count.update(done, done * config.sizeBytes)
    return await run({ ...config, onProgress })
  }
  const results: BenchResult[] = []
  const written = await phase('writing', (options) => benchWrites(parts, options, signal))
  const { fileIds } = written
  if (config.phases.includes('write') || fileIds.length === 0) results.push(written.result)
  if (fileIds.length === 0) return results
  if (config.phases.includes('read')) {
    results.push(await phase('reading', (options) => benchReads(parts, fileIds, options, signal)))
  }
  if (config.phases.includes('mixed')) {
    results.push(await phase('both', (options) => benchMixed(parts, fileIds, options, signal)))
  }
  return results
}

function resultLines(result: BenchResult): readonly string[] {
  const { operation, count, seconds, perSecond, megabytesPerSecond, latencyMs } = result
  const ms = (value: number): string => `${value.toFixed(2)} ms`
  const { mean, p50, p90, p99, max } = latencyMs
  const rate = `${Math.round(perSecond)} files/s, ${megabytesPerSecond.toFixed(1)} MB/s`
  return [
    `${operation}: ${count} in ${seconds.toFixed(2)} s, ${rate}`,
    `  mean ${ms(mean)}  p50 ${ms(p50)}  p90 ${ms(p90)}  p99 ${ms(p99)}  max ${ms(max)}`,
  ]
}
