import { resolve } from 'node:path'
import type { Command } from 'commander'
import { crc32c } from '../../base/crc32c.ts'
import { hex8 } from '../../base/ids.ts'
import { quote } from '../../base/store-error.ts'
import { formatBytes } from '../../base/units.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { readTree } from '../file-tree.ts'
import { type ImportResult, importTree } from '../import-tree.ts'
import { Journal } from '../journal.ts'
import { describeRate, showProgress } from '../progress.ts'
import { readCount } from '../setting-values.ts'

interface ImportFlags extends ClusterFlags {
  readonly as: string
  readonly state?: string
  readonly concurrency: string
  readonly quiet?: boolean
}

const CONCURRENCY_MAX = 256

export function registerImport(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('import')
    .description(
      'Make each file of a directory tree a named file, PREFIX/path. Run again it goes on where ' +
        'it was, and stores only what changed (size or time).',
    )
    .argument('<dir>', 'the tree: files, symbolic links and empty directories')
    .requiredOption('--as <prefix>', 'first part of the names; empty for none')
    .option('--state <file>', 'what was done; DIR.ID.hayloft-import beside the tree unless given')
    .option('--concurrency <count>', 'files under way at once', '64')
    .option('-q, --quiet', 'no progress')
  addClusterOptions(command).action(async (root: string, flags: ImportFlags) => {
    finish(await importDirectory(context, root, flags))
  })
}

async function importDirectory(
  context: CliContext,
  root: string,
  flags: ImportFlags,
): Promise<number> {
  const { clock, out, err, signal } = context
  const bounds = { min: 1, max: CONCURRENCY_MAX }
  const concurrency = readCount('--concurrency', flags.concurrency, bounds)
  const prefix = flags.as.replace(/^\/+|\/+$/g, '')
  const tree = await readTree(root, signal, Number.MAX_SAFE_INTEGER)
  for (const path of tree.skipped) {
    await err.line(`hayloft: skipped ${quote(path)}: no file, symbolic link or directory`)
  }
  const { namedStore, openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const { clusterId } = await cluster.master.status(signal)
  const subject = `import into ${clusterId} as ${prefix}`
  // One for each cluster and prefix that the tree goes to.
  const mark = hex8(crc32c(Buffer.from(subject)))
  const statePath = flags.state ?? `${resolve(root)}.${mark}.hayloft-import`
  await using journal = await Journal.open(statePath, subject)
  const startedMs = clock.monotonicMs()
  using progress = showProgress(context, {
    label: `importing ${root}`,
    totalBytes: tree.totalBytes,
    totalFiles: tree.entries.length,
    isQuiet: flags.quiet === true,
  })
  const options = {
    root,
    prefix,
    concurrency,
    onProgress: (done: ImportResult) => {
      progress.update(done.bytes, done.files + done.unchanged + done.failures)
    },
    onFailure: (message: string) => err.line(`hayloft: not imported: ${message}`),
  }
  const parts = { store: namedStore(cluster), journal }
  const { files, bytes, unchanged, failures } = await importTree(parts, tree, options, signal)
  progress[Symbol.dispose]()
  const seconds = (clock.monotonicMs() - startedMs) / 1000
  const rate = describeRate(files, bytes, seconds)
  const amount = `${files} entries, ${formatBytes(bytes)}`
  const what = `imported ${amount} in ${seconds.toFixed(2)} s (${rate})`
  const rest = unchanged > 0 ? `; ${unchanged} were there already` : ''
  const failed = failures > 0 ? `; ${failures} could not be imported` : ''
  await out.line(`${what}${rest}${failed}`)
  return failures === 0 ? EXIT.done : EXIT.findings
}
