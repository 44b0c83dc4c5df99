import type { Command } from 'commander'
import { formatErasureScheme } from '../../base/erasure-scheme.ts'
import {
  formatReplicaPlacement,
  parseReplicaPlacement,
  type ReplicaPlacement,
} from '../../base/replica-placement.ts'
import { isStoreError, StoreError } from '../../base/store-error.ts'
import { formatBytes } from '../../base/units.ts'
import type { JobsApi, JobView } from '../../net/jobs-api.ts'
import type { CollectionReport, WritePolicy } from '../../net/master-api.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { readErasure } from '../erasure-options.ts'
import { EXIT } from '../exit.ts'
import { jobLine } from '../job-report.ts'
import { readChoice } from '../setting-values.ts'
import { table } from '../status-report.ts'

interface ListFlags extends ClusterFlags {
  readonly json?: boolean
}

interface SetFlags extends ClusterFlags {
  readonly replication?: string
  readonly writePolicy?: string
  readonly erasure?: string
  readonly existing?: boolean
}

const HEADINGS = [
  'COLLECTION',
  'COPIES',
  'WRITES',
  'ERASURE',
  'VOLUMES',
  'FILES',
  'LIVE',
  'ON DISK',
] as const
const RIGHT_FROM = 4
const POLICIES: readonly WritePolicy[] = ['all', 'best-effort']

export function registerCollection(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const group = program.command('collection').description('How the files of a collection are kept.')
  const list = group
    .command('ls')
    .description('List the collections, with how many copies and what lies in them.')
    .option('--json', 'one JSON object a line')
  addClusterOptions(list).action(async (flags: ListFlags) => {
    finish(await listCollections(context, flags))
  })
  const set = group
    .command('set')
    .description('Say how files of a collection are stored from now on; makes it if there is none.')
    .argument('<name>', 'the collection')
    .option('--replication <digits>', 'copies by distance, like 110')
    .option(
      '--write-policy <name>',
      'all copies before a write counts, or best-effort: one will do',
    )
    .option('--erasure <scheme>', 'shards of volumes once they are full, like 10+4; or off')
    .option('--existing', 'bring the volumes there are to --replication too, by a job')
  addClusterOptions(set).action(async (name: string, flags: SetFlags) => {
    finish(await setCollection(context, name, flags))
  })
}

async function listCollections(context: CliContext, flags: ListFlags): Promise<number> {
  const { out, signal } = context
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const collections = await cluster.master.collections(signal)
  if (flags.json === true) for (const report of collections) await out.line(documentOf(report))
  else
    for (const line of table([HEADINGS, ...collections.map(row)], RIGHT_FROM)) await out.line(line)
  return EXIT.done
}

function row(report: CollectionReport): readonly string[] {
  const { collection, replication, writePolicy, erasure, volumeCount, liveNeedles } = report
  return [
    collection === '' ? '(none)' : collection,
    replication === undefined ? "the cluster's" : formatReplicaPlacement(replication),
    writePolicy,
    erasure === undefined ? 'off' : formatErasureScheme(erasure),
    String(volumeCount),
    String(liveNeedles),
    formatBytes(report.liveBytes),
    formatBytes(report.datBytes),
  ]
}

function documentOf({ replication, erasure, ...report }: CollectionReport): string {
  const digits = replication === undefined ? undefined : formatReplicaPlacement(replication)
  const scheme = erasure === undefined ? undefined : formatErasureScheme(erasure)
  return JSON.stringify({ ...report, replication: digits, erasure: scheme })
}

async function setCollection(context: CliContext, name: string, flags: SetFlags): Promise<number> {
  const { out, signal } = context
  const { replication: digits, writePolicy: policy, erasure: scheme, existing } = flags
  if (existing === true && digits === undefined) {
    throw new StoreError('CONFIG_INVALID', '--existing needs --replication')
  }
  if (digits === undefined && policy === undefined && scheme === undefined) {
    const why = 'say what to set: --replication, --write-policy, --erasure'
    throw new StoreError('CONFIG_INVALID', why)
  }
  const replication = digits === undefined ? undefined : parseReplicaPlacement(digits)
  const writePolicy =
    policy === undefined ? undefined : readChoice('--write-policy', policy, POLICIES)
  const erasure = scheme === undefined ? undefined : readErasure(scheme)
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const { master, jobs } = cluster
  // First: what is refused for the volumes there are shall not hold for new ones either.
  const isForExisting = existing === true && replication !== undefined
  const job = isForExisting ? await convert(jobs, name, replication, signal) : undefined
  const settings = { collection: name, replication, writePolicy, erasure }
  await master.configureCollection(settings, signal)
  const said = [
    replication === undefined ? '' : `replication ${formatReplicaPlacement(replication)}`,
    writePolicy === undefined ? '' : `write policy ${writePolicy}`,
    scheme === undefined ? '' : `erasure ${scheme}`,
  ].filter((part) => part !== '')
  await out.line(`${name}: ${said.join(', ')} from now on`)
  if (job !== undefined) await out.line(jobLine(job))
  return EXIT.done
}

/** Undefined: there is no such collection yet, so there is nothing to convert. */
async function convert(
  jobs: JobsApi,
  collection: string,
  replication: ReplicaPlacement,
  signal: AbortSignal,
): Promise<JobView | undefined> {
  const target = { collection, replication }
  const reason = 'the replication of the collection was changed'
  try {
    return await jobs.runJob({ kind: 'set-replication', target, reason }, signal)
  } catch (error) {
    if (isStoreError(error, 'COLLECTION_NOT_FOUND')) return undefined
    throw error
  }
}
