import { join } from 'node:path'
import type { Command } from 'commander'
import { StoreError } from '../../base/store-error.ts'
import { formatBytes } from '../../base/units.ts'
import { VolumeSource } from '../../storage/volume-source.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { DirectoryTarget } from '../export-directory.ts'
import { type ExportNamesResult, exportNames } from '../export-names.ts'
import { TarTarget } from '../export-tar.ts'
import { type ExportTarget, exportVolumes } from '../export-volume.ts'
import { Journal } from '../journal.ts'
import { describeRate, showCount, showProgress } from '../progress.ts'
import { readCount } from '../setting-values.ts'
import { resolveVolumes } from '../volume-arguments.ts'

interface ExportFlags extends ClusterFlags {
  readonly names?: string
  readonly concurrency: string
  readonly to?: string
  readonly tar?: string
  readonly overwrite?: boolean
  readonly raw?: boolean
  readonly quiet?: boolean
}

export function registerExport(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('export')
    .description(
      'Copy the live needles of volumes to files or into a tar archive, each checked against its ' +
        'checksum. A needle that fails is told and left out. Changes no volume. Of two needles ' +
        'with the same path the later one stays; two with the same name only both stay. With ' +
        '--names it copies the named files of a running cluster into a directory instead.',
    )
    .argument('[path...]', 'a .dat file, its name without .dat, or a directory of volumes')
    .option('--to <dir>', 'directory for the files; made if missing')
    .option('--tar <file>', 'archive to write; - for standard output')
    .option('--overwrite', 'write into a directory that is not empty, or over an archive')
    .option('--raw', 'leave compressed needles compressed')
    .option('--names <prefix>', 'the files below PREFIX/ of the cluster; / for all of them')
    .option('--concurrency <count>', 'files of the cluster under way at once', '64')
    .option('-q, --quiet', 'no progress')
  addClusterOptions(command).action(async (paths: string[], flags: ExportFlags) => {
    if (flags.names === undefined) finish(await exportTo(context, paths, flags))
    else finish(await exportCluster(context, paths, flags))
  })
}

async function exportTo(context: CliContext, args: string[], flags: ExportFlags): Promise<number> {
  const { disk, out, err, signal } = context
  const isToOutput = flags.tar === '-'
  if (args.length === 0) throw new StoreError('CONFIG_INVALID', "missing required argument 'path'")
  checkTargets(context, flags)
  const volumes = await resolveVolumes(disk, args)
  let totalBytes = 0
  for (const { paths } of volumes) {
    // An unreadable volume is met before anything is written.
    await using source = await VolumeSource.open(disk, paths)
    totalBytes += source.datBytes
  }
  await using target = await openTarget(context, flags)
  using progress = showProgress(context, {
    label: `exporting ${args.join(' ')}`,
    totalBytes,
    isQuiet: flags.quiet === true,
  })
  const options = {
    isRaw: flags.raw === true,
    onProgress: (doneBytes: number) => progress.update(doneBytes),
    onFailure: (message: string) => err.line(`hayloft: not exported: ${message}`),
  }
  const result = await exportVolumes(context, volumes, target, options, signal)
  progress[Symbol.dispose]()
  const where = flags.to ?? flags.tar ?? ''
  const summary = `exported ${result.needles} needles, ${formatBytes(result.bytes)}`
  const failures = result.failures > 0 ? `; ${result.failures} could not be exported` : ''
  // Standard output carries the archive.
  await (isToOutput ? err : out).line(
    `${summary} to ${isToOutput ? 'standard output' : where}${failures}`,
  )
  return result.failures === 0 ? EXIT.done : EXIT.findings
}

function checkTargets({ out }: CliContext, flags: ExportFlags): void {
  if ((flags.to === undefined) === (flags.tar === undefined)) {
    throw new StoreError('CONFIG_INVALID', 'give either --to DIR or --tar FILE')
  }
  if (flags.tar === '-' && out.isTerminal) {
    throw new StoreError('CONFIG_INVALID', '--tar -: standard output is a terminal, not a file')
  }
}

async function openTarget(context: CliContext, flags: ExportFlags): Promise<ExportTarget> {
  const options = { mayOverwrite: flags.overwrite === true }
  if (flags.to !== undefined) return DirectoryTarget.open(flags.to, options)
  if (flags.tar === '-') return TarTarget.over(context.out.stream)
  return TarTarget.create(flags.tar ?? '', options)
}

/** Beside the files, while they are not all there: with it, an export goes on where it was. */
const JOURNAL_NAME = '.hayloft-export.journal'
const CONCURRENCY_MAX = 256

async function exportCluster(
  context: CliContext,
  args: string[],
  flags: ExportFlags,
): Promise<number> {
  const { disk, clock, out, err, signal } = context
  const { to: root = '', names = '' } = flags
  if (args.length > 0 || flags.tar !== undefined || flags.raw === true || root === '') {
    const why = '--names goes with --to DIR, and without paths of volumes, --tar and --raw'
    throw new StoreError('CONFIG_INVALID', why)
  }
  const bounds = { min: 1, max: CONCURRENCY_MAX }
  const concurrency = readCount('--concurrency', flags.concurrency, bounds)
  const prefix = names.replace(/^\/+|\/+$/g, '')
  const from = prefix === '' ? '' : `${prefix}/`
  const { namedStore, openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const { clusterId } = await cluster.master.status(signal)
  const journalPath = join(root, JOURNAL_NAME)
  const isResumed = (await disk.stat(journalPath)) !== undefined
  const mayOverwrite = flags.overwrite === true || isResumed
  await using target = await DirectoryTarget.open(root, { mayOverwrite })
  await using journal = await Journal.open(journalPath, `export of ${clusterId} from ${from}`)
  const startedMs = clock.monotonicMs()
  using progress = showCount(context, `exporting ${names}`, flags.quiet === true)
  const options = {
    root,
    prefix: from,
    concurrency,
    onProgress: (done: ExportNamesResult) =>
      progress.update(done.files + done.unchanged, done.bytes),
    onFailure: (message: string) => err.line(`hayloft: not exported: ${message}`),
  }
  const parts = { store: namedStore(cluster), journal, target }
  const { files, bytes, unchanged, failures } = await exportNames(parts, options, signal)
  progress[Symbol.dispose]()
  if (failures === 0) await journal.remove()
  const rate = describeRate(files, bytes, (clock.monotonicMs() - startedMs) / 1000)
  const rest = unchanged > 0 ? `; ${unchanged} were there already` : ''
  const failed = failures > 0 ? `; ${failures} could not be exported` : ''
  const what = `exported ${files} files, ${formatBytes(bytes)} to ${root} (${rate})`
  await out.line(`${what}${rest}${failed}`)
  return failures === 0 ? EXIT.done : EXIT.findings
}
