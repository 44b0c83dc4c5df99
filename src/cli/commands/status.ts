import type { Command } from 'commander'
import { isStoreError } from '../../base/store-error.ts'
import type { ClusterHealth, JobsApi } from '../../net/jobs-api.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { isHealthy, statusDocument, statusLines } from '../status-report.ts'

interface StatusFlags extends ClusterFlags {
  readonly json?: boolean
}

export function registerStatus(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('status')
    .description('Show the cluster: its health, its nodes, and what lies on them.')
    .option('--json', 'print one JSON document')
  addClusterOptions(command).action(async (flags: StatusFlags) => {
    finish(await status(context, flags))
  })
}

async function status(context: CliContext, flags: StatusFlags): Promise<number> {
  const { out, signal, clock } = context
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const { master, jobs } = cluster
  const [state, statistics, topology, health] = await Promise.all([
    master.status(signal),
    master.statistics(signal),
    master.topology(signal),
    healthOf(jobs, signal),
  ])
  const view = { status: state, statistics, topology, health, nowMs: clock.nowMs() }
  if (flags.json === true) await out.line(JSON.stringify(statusDocument(view), undefined, 2))
  else for (const line of statusLines(view)) await out.line(line)
  return isHealthy(view) ? EXIT.done : EXIT.findings
}

/** Undefined: masters answer, but none leads. */
async function healthOf(jobs: JobsApi, signal: AbortSignal): Promise<ClusterHealth | undefined> {
  try {
    return await jobs.health(signal)
  } catch (error) {
    if (isStoreError(error, 'NOT_LEADER')) return undefined
    throw error
  }
}
