import type { Command } from 'commander'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'

interface NamesFlags extends ClusterFlags {
  readonly json?: boolean
  readonly long?: boolean
}

export function registerNames(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const names = program.command('names').description('Work with the names of named files.')
  const command = names
    .command('ls')
    .description('List the names that start with a prefix, in the order of their bytes.')
    .argument('[prefix]', 'how they start; all when left out', '')
    .option('-l, --long', 'with file id, bytes and time')
    .option('--json', 'one JSON object a line')
  addClusterOptions(command).action(async (prefix: string, flags: NamesFlags) => {
    finish(await list(context, prefix, flags))
  })
}

async function list(context: CliContext, prefix: string, flags: NamesFlags): Promise<number> {
  const { out, signal } = context
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  for await (const entry of cluster.client.listNamed(prefix, { signal })) {
    if (out.isClosed) break
    const { name, fileId, sizeBytes, modifiedAtMs } = entry
    const time = new Date(modifiedAtMs).toISOString()
    if (flags.json === true) await out.line(JSON.stringify(entry))
    else await out.line(flags.long === true ? `${fileId} ${sizeBytes} ${time} ${name}` : name)
  }
  return EXIT.done
}
