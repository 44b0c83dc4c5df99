import type { Command } from 'commander'
import type { RepairResult } from '../../client/client-api.ts'
import type { Cluster } from '../cluster.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { readFileAddress } from '../file-address.ts'

interface RepairFlags extends ClusterFlags {
  readonly json?: boolean
}

export function registerRepair(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('repair')
    .description(
      'Check every shard of files that were put with --policy ec, and make anew what is gone or ' +
        'wrong. Files that are replicated need none: the master keeps their copies whole.',
    )
    .argument('<id-or-name...>', 'file ids, like 3,01637037d6, or names of named files')
    .option('--json', 'print one JSON document for each file')
  addClusterOptions(command).action(async (addresses: string[], flags: RepairFlags) => {
    finish(await repair(context, addresses, flags))
  })
}

async function repair(context: CliContext, texts: string[], flags: RepairFlags): Promise<number> {
  const { out, signal } = context
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  for (const text of texts) {
    const result = await repairOne(cluster, text, signal)
    await out.line(flags.json === true ? JSON.stringify(result) : lineOf(text, result))
  }
  return EXIT.done
}

async function repairOne(
  { client }: Cluster,
  text: string,
  signal: AbortSignal,
): Promise<RepairResult> {
  const address = readFileAddress(text)
  const fileId =
    address.kind === 'id'
      ? address.fileId
      : (await client.resolveNamed(address.name, { signal })).fileId
  return await client.repairFile(fileId, { signal })
}

function lineOf(text: string, result: RepairResult): string {
  const { leftCount, movedCount, rebuiltCount, shardCount, stripeCount } = result
  if (stripeCount === 0) return `${text}  replicated: its copies are kept whole by the master`
  const done = [
    `${shardCount} shards checked`,
    ...(rebuiltCount > 0 ? [`${rebuiltCount} made anew`] : []),
    ...(movedCount > 0 ? [`${movedCount} moved`] : []),
    ...(leftCount > 0 ? [`${leftCount} old ones out of reach`] : []),
  ]
  return `${text}  ${rebuiltCount + movedCount > 0 ? done.join(', ') : `whole: ${done[0]}`}`
}
