import type { Command } from 'commander'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { durabilityLines } from '../durability-report.ts'
import { EXIT } from '../exit.ts'

interface DurabilityFlags extends ClusterFlags {
  readonly json?: boolean
}

export function registerDurability(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('durability')
    .description('Estimate how safe files are, by what was measured here and what is assumed.')
    .option('--json', 'print one JSON document')
  addClusterOptions(command).action(async (flags: DurabilityFlags) => {
    finish(await durability(context, flags))
  })
}

async function durability(context: CliContext, flags: DurabilityFlags): Promise<number> {
  const { out, signal } = context
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const report = await cluster.jobs.durability(signal)
  if (flags.json === true) await out.line(JSON.stringify(report, undefined, 2))
  else for (const line of durabilityLines(report)) await out.line(line)
  return EXIT.done
}
