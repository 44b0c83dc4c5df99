import type { Command } from 'commander'
import { StoreError } from '../../base/store-error.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { readFileAddress } from '../file-address.ts'
import { invalidSetting } from '../setting-values.ts'
import { writePiece, writeWhole } from '../whole-file.ts'

interface GetFlags extends ClusterFlags {
  readonly output?: string
  readonly range?: string
  readonly overwrite?: boolean
}

interface Range {
  readonly start: number
  readonly end?: number
}

export function registerGet(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('get')
    .description(
      'Write a stored file to standard output or to a file, which appears only when it is whole.',
    )
    .argument('<id-or-name>', 'file id, like 3,01637037d6, or the name of a named file')
    .option('-o, --output <file>', 'where to write it')
    .option('--overwrite', 'replace the output file')
    .option('--range <bytes>', 'bytes A-B, both included, or A- for the rest')
  addClusterOptions(command).action(async (address: string, flags: GetFlags) => {
    finish(await get(context, address, flags))
  })
}

async function get(context: CliContext, text: string, flags: GetFlags): Promise<number> {
  const { out, signal } = context
  const range = flags.range === undefined ? undefined : readRange(flags.range)
  const address = readFileAddress(text)
  if (flags.output === undefined && out.isTerminal && range === undefined) {
    // A picture on a terminal helps nobody, and may confuse it.
    throw new StoreError('CONFIG_INVALID', 'standard output is a terminal; give -o FILE, or | cat')
  }
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const { client } = cluster
  const options = { range, signal }
  const fileId =
    address.kind === 'id'
      ? address.fileId
      : (await client.resolveNamed(address.name, { signal })).fileId
  const data = client.getStream(fileId, options)
  const { output } = flags
  if (output === undefined) {
    for await (const piece of data) await writePiece(context, piece)
  } else await writeWhole(output, data, flags.overwrite === true)
  return EXIT.done
}

/** @throws {StoreError} CONFIG_INVALID */
export function readRange(text: string): Range {
  const [, first = '', last = ''] = /^(\d{1,15})-(\d{0,15})$/.exec(text) ?? []
  if (first === '' || (last !== '' && Number(last) < Number(first))) {
    throw invalidSetting('--range', text, 'it must be like 0-99, or 100- for the rest')
  }
  // People count the last byte in; the program does not.
  return last === '' ? { start: Number(first) } : { start: Number(first), end: Number(last) + 1 }
}
