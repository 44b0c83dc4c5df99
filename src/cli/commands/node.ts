import type { Command } from 'commander'
import { formatBytes } from '../../base/units.ts'
import type { TopologyNode } from '../../net/master-api.ts'
import type { Cluster } from '../cluster.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { formatDuration } from '../durations.ts'
import { EXIT } from '../exit.ts'
import { openJobDisplay } from '../job-display.ts'
import { followToEnd } from '../job-follow.ts'
import { jobLine } from '../job-report.ts'
import { nodeState, shardCountOf, table } from '../status-report.ts'

interface ListFlags extends ClusterFlags {
  readonly json?: boolean
}

interface DrainFlags extends ClusterFlags {
  readonly watch?: boolean
}

const HEADINGS = [
  'NODE',
  'PLACE',
  'STATE',
  'HEARD',
  'DISK',
  'QUARANTINED',
  'VOLUMES',
  'FREE',
  'SHARDS',
]
const COLUMNS = HEADINGS.length
const RIGHT_FROM = 5

export function registerNode(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const node = program.command('node').description('Volume servers: look at them, give them up.')
  const list = node
    .command('ls')
    .description('List the volume servers with their disks.')
    .option('--json', 'one JSON object a line')
  addClusterOptions(list).action(async (flags: ListFlags) => {
    finish(await listNodes(context, flags))
  })
  const forget = node
    .command('forget')
    .description('Say that a server will not come back: its copies are made elsewhere now.')
    .argument('<url>', 'the server, as node ls names it; it must be down')
  addClusterOptions(forget).action(async (url: string, flags: ClusterFlags) => {
    finish(await forgetNode(context, url, flags))
  })
  const drain = node
    .command('drain')
    .description('Move all copies off a server, and give it nothing new: the same as evacuate.')
    .argument('<url>', 'the server, as node ls names it')
    .option('--watch', 'wait until it is empty and show how far it is')
  addClusterOptions(drain).action(async (url: string, flags: DrainFlags) => {
    finish(await drainNode(context, url, flags))
  })
}

async function listNodes(context: CliContext, flags: ListFlags): Promise<number> {
  const { out, signal, clock } = context
  await using cluster = await open(context, flags)
  const { nodes } = await cluster.master.topology(signal)
  if (flags.json === true) {
    for (const node of nodes) {
      const { volumes, shards: _, ...rest } = node
      const counts = { volumeCount: volumes.length, shardCount: shardCountOf(node) }
      await out.line(JSON.stringify({ ...rest, ...counts }))
    }
    return EXIT.done
  }
  const rows = nodes.flatMap((node) => diskRows(node, clock.nowMs()))
  // Nobody without erasure-coded volumes has to read of them.
  const columns = nodes.some((node) => shardCountOf(node) > 0) ? COLUMNS : COLUMNS - 1
  const shown = [HEADINGS, ...rows].map((row) => row.slice(0, columns))
  for (const line of table(shown, RIGHT_FROM)) await out.line(line)
  return EXIT.done
}

/** One for each disk; a server of which no disk is known has one too. */
function diskRows(node: TopologyNode, nowMs: number): readonly (readonly string[])[] {
  const { url, dataCenter, rack } = node.location
  const heard = `${formatDuration(nowMs - node.lastHeardMs)} ago`
  const start = [url, `${dataCenter}/${rack}`, nodeState(node, nowMs), heard]
  if (node.disks.length === 0) return [[...start, '-', '-', '-', '-', '-']]
  return node.disks.map(({ directoryId, path, quarantinedCount, freeBytes }) => {
    const volumes = node.volumes.filter((volume) => volume.directoryId === directoryId).length
    const shards = (node.shards ?? []).filter((report) => report.directoryId === directoryId)
    const shardCount = shards.reduce((count, report) => count + report.shards.length, 0)
    const [quarantined, free] = [`${quarantinedCount}`, formatBytes(freeBytes)]
    return [...start, path, quarantined, `${volumes}`, free, `${shardCount}`]
  })
}

async function forgetNode(context: CliContext, url: string, flags: ClusterFlags): Promise<number> {
  await using cluster = await open(context, flags)
  await cluster.jobs.forgetNode(url, context.signal)
  await context.out.line(`${url} is given up: its copies count as lost from now on`)
  return EXIT.done
}

async function drainNode(context: CliContext, url: string, flags: DrainFlags): Promise<number> {
  const { out, signal, clock } = context
  await using cluster = await open(context, flags)
  const { jobs } = cluster
  const reason = 'asked for by an operator'
  const job = await jobs.runJob({ kind: 'evacuate', target: { node: url }, reason }, signal)
  if (flags.watch !== true) {
    await out.line(jobLine(job))
    return EXIT.done
  }
  using display = openJobDisplay(context, false)
  const ended = await followToEnd({ jobs, clock }, [job.id], (next) => display.show(next), signal)
  return ended.every(({ state }) => state === 'done') ? EXIT.done : EXIT.findings
}

async function open(context: CliContext, flags: ClusterFlags): Promise<Cluster> {
  const { openCluster } = await import('../cluster.ts')
  return await openCluster(context, flags)
}
