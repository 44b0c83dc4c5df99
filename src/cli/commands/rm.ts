import type { Command } from 'commander'
import type { Cluster } from '../cluster.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { readFileAddress } from '../file-address.ts'

export function registerRm(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('rm')
    .description('Delete stored files. The exit code is 1 when one of them was not there.')
    .argument('<id-or-name...>', 'file ids, like 3,01637037d6, or names of named files')
  addClusterOptions(command).action(async (addresses: string[], flags: ClusterFlags) => {
    finish(await remove(context, addresses, flags))
  })
}

async function remove(context: CliContext, texts: string[], flags: ClusterFlags): Promise<number> {
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  let isAllThere = true
  for (const text of texts) {
    const wasLive = await removeOne(cluster, text, context.signal)
    isAllThere &&= wasLive
    if (wasLive) await context.out.line(`deleted ${text}`)
    else await context.err.line(`hayloft: ${text} was not there`)
  }
  return isAllThere ? EXIT.done : EXIT.findings
}

async function removeOne({ client }: Cluster, text: string, signal: AbortSignal): Promise<boolean> {
  const address = readFileAddress(text)
  const deleted =
    address.kind === 'id'
      ? await client.delete(address.fileId, { signal })
      : await client.deleteNamed(address.name, { signal })
  return deleted.wasLive
}
