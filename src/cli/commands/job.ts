import type { Command } from 'commander'
import { StoreError } from '../../base/store-error.ts'
import { JOB_KINDS, type JobOrder, type JobsApi, type JobView } from '../../net/jobs-api.ts'
import type { Cluster } from '../cluster.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { openJobDisplay } from '../job-display.ts'
import { followAll, followToEnd } from '../job-follow.ts'
import { jobDocument, jobLine, jobTable } from '../job-report.ts'
import { type JobTargetFlags, readJobTargets } from '../job-target.ts'
import { invalidSetting, readChoice } from '../setting-values.ts'

interface JobFlags extends ClusterFlags {
  readonly json?: boolean
}

interface ListFlags extends JobFlags {
  readonly kind?: string
  readonly all?: boolean
}

interface RunFlags extends JobFlags, JobTargetFlags {
  readonly reason: string
  readonly watch?: boolean
}

const ORDERS: Readonly<Record<JobOrder, string>> = {
  pause: 'Stop jobs where they are; they stay queued until they are resumed or cancelled.',
  resume: 'Let paused jobs go on.',
  cancel: 'End jobs; what they have done so far stays as it is.',
}

export function registerJob(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const job = program.command('job').description('Repair, vacuum, scrub and other chores.')
  registerList(job, context, finish)
  registerRun(job, context, finish)
  for (const [order, description] of Object.entries(ORDERS) as [JobOrder, string][]) {
    const command = job.command(order).description(description)
    command.argument('<id...>', 'numbers of jobs').option('--json', 'one JSON object a line')
    addClusterOptions(command).action(async (ids: string[], flags: JobFlags) => {
      finish(await orderJobs(context, order, ids, flags))
    })
  }
  const watch = job
    .command('watch')
    .description('Show jobs while they change: until these end, or all of them until Ctrl-C.')
    .argument('[id...]', 'numbers of jobs')
    .option('--json', 'one JSON object for each change')
  addClusterOptions(watch).action(async (ids: string[], flags: JobFlags) => {
    finish(await watchJobs(context, ids, flags))
  })
}

function registerList(job: Command, context: CliContext, finish: (exitCode: number) => void): void {
  const command = job
    .command('list')
    .description('List the jobs that have not ended, the riskiest first.')
    .option('--kind <kind>', `only this: ${JOB_KINDS.join(', ')}`)
    .option('--all', 'also those that have ended lately')
    .option('--json', 'one JSON object a line')
  addClusterOptions(command).action(async (flags: ListFlags) => {
    finish(await listJobs(context, flags))
  })
}

function registerRun(job: Command, context: CliContext, finish: (exitCode: number) => void): void {
  const command = job
    .command('run')
    .description('Queue a job now. One that is queued for the same already is not queued twice.')
    .argument('<kind>', JOB_KINDS.join(', '))
    .option('--volume <ids>', 'volumes it is about, with commas between, or all')
    .option('--collection <name>', 'whose volumes: with --volume all, and for set-replication')
    .option(
      '--node <url>',
      'evacuate: the server to empty; move: the one with the copy; heal: the one that is lost',
    )
    .option('--to-node <url>', 'move: where to; the master chooses unless given')
    .option('--replication <digits>', 'set-replication: copies by distance, like 110')
    .option('--erasure <scheme>', 'ec-encode: shards, like 10+4; as set for it unless given')
    .option('--deep', 'replica-repair: compare the bytes of every file')
    .option(
      '--accept-node <url>',
      'replica-repair: let the copy there count, when no other is left',
    )
    .option('--reason <text>', 'why, for those who list jobs', 'asked for by an operator')
    .option('--watch', 'wait for its end and show how far it is')
    .option('--json', 'one JSON object for each job, and for each change with --watch')
  addClusterOptions(command).action(async (kind: string, flags: RunFlags) => {
    const isTyped = (name: string): boolean => command.getOptionValueSource(name) === 'cli'
    finish(await runJobs(context, kind, flags, isTyped))
  })
}

async function listJobs(context: CliContext, flags: ListFlags): Promise<number> {
  const { out, signal, clock } = context
  const { kind: kindText } = flags
  const kind = kindText === undefined ? undefined : readChoice('--kind', kindText, JOB_KINDS)
  await using cluster = await open(context, flags)
  const withEnded = flags.all === true
  const jobs = [...(await cluster.jobs.listJobs({ kind, withEnded }, signal))].sort(byUrgency)
  if (flags.json === true) for (const job of jobs) await out.line(jobDocument(job))
  else for (const line of jobTable(jobs, clock.nowMs())) await out.line(line)
  return EXIT.done
}

/** Running ones first, then by risk; those that have ended last, the latest of them first. */
function byUrgency(a: JobView, b: JobView): number {
  const rank = ({ state, endedAtMs }: JobView): number =>
    endedAtMs > 0 ? 2 : state === 'running' ? 0 : 1
  return rank(a) - rank(b) || b.endedAtMs - a.endedAtMs || b.risk - a.risk || a.id - b.id
}

async function runJobs(
  context: CliContext,
  kindText: string,
  flags: RunFlags,
  isTyped: (name: string) => boolean,
): Promise<number> {
  const { out, signal } = context
  const kind = readChoice('kind', kindText, JOB_KINDS)
  // Judged once before anything is asked of the cluster, and then with the volumes it has.
  await readJobTargets(kind, flags, isTyped, async () => [])
  await using cluster = await open(context, flags)
  const { jobs } = cluster
  const targets = await readJobTargets(kind, flags, isTyped, (collection) =>
    jobs.listVolumes(collection, signal),
  )
  const ids: number[] = []
  for (const target of targets) {
    const job = await jobs.runJob({ kind, target, reason: flags.reason }, signal)
    ids.push(job.id)
    // Watching begins with the same.
    if (flags.watch === true) continue
    await out.line(flags.json === true ? jobDocument(job) : jobLine(job))
  }
  if (flags.watch !== true || ids.length === 0) return EXIT.done
  return await follow(context, jobs, ids, flags)
}

async function orderJobs(
  context: CliContext,
  order: JobOrder,
  texts: readonly string[],
  flags: JobFlags,
): Promise<number> {
  const { out, signal } = context
  const ids = readJobIds(texts)
  await using cluster = await open(context, flags)
  for (const id of ids) {
    const job = await cluster.jobs.orderJob(id, order, signal)
    await out.line(flags.json === true ? jobDocument(job) : jobLine(job))
  }
  return EXIT.done
}

async function watchJobs(
  context: CliContext,
  texts: readonly string[],
  flags: JobFlags,
): Promise<number> {
  const { clock, signal } = context
  const ids = readJobIds(texts)
  await using cluster = await open(context, flags)
  const { jobs } = cluster
  if (ids.length > 0) return await follow(context, jobs, ids, flags)
  using display = openJobDisplay(context, flags.json === true)
  await followAll({ jobs, clock }, (job) => display.show(job), signal)
  return EXIT.done
}

/** Until all of them have ended. One that failed or was cancelled makes the exit code 1. */
async function follow(
  context: CliContext,
  jobs: JobsApi,
  ids: readonly number[],
  flags: JobFlags,
): Promise<number> {
  const { clock, signal } = context
  using display = openJobDisplay(context, flags.json === true)
  const ended = await followToEnd({ jobs, clock }, ids, (job) => display.show(job), signal)
  return ended.every(({ state }) => state === 'done') ? EXIT.done : EXIT.findings
}

async function open(context: CliContext, flags: ClusterFlags): Promise<Cluster> {
  const { openCluster } = await import('../cluster.ts')
  return await openCluster(context, flags)
}

/** @throws {StoreError} CONFIG_INVALID */
function readJobIds(texts: readonly string[]): readonly number[] {
  const ids = texts.map((text) => {
    const id = /^\d{1,15}$/.test(text) ? Number(text) : 0
    if (id > 0) return id
    throw invalidSetting('job', text, 'it must be the number of a job; see hayloft job list')
  })
  if (new Set(ids).size === ids.length) return ids
  throw new StoreError('CONFIG_INVALID', 'a job is named twice')
}
