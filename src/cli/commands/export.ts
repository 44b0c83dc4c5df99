import type { Command } from 'commander'
import { StoreError } from '../../base/store-error.ts'
import { formatBytes } from '../../base/units.ts'
import { VolumeSource } from '../../storage/volume-source.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { DirectoryTarget } from '../export-directory.ts'
import { TarTarget } from '../export-tar.ts'
import { type ExportTarget, exportVolumes } from '../export-volume.ts'
import { showProgress } from '../progress.ts'
import { resolveVolumes } from '../volume-arguments.ts'

interface ExportFlags {
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
  program
    .command('export')
    .description(
      'Copy the live needles of volumes to files or into a tar archive, each checked against its ' +
        'checksum. A needle that fails is told and left out. Changes no volume. Of two needles ' +
        'with the same path the later one stays; two with the same name only both stay.',
    )
    .argument('<path...>', 'a .dat file, its name without .dat, or a directory of volumes')
    .option('--to <dir>', 'directory for the files; made if missing')
    .option('--tar <file>', 'archive to write; - for standard output')
    .option('--overwrite', 'write into a directory that is not empty, or over an archive')
    .option('--raw', 'leave compressed needles compressed')
    .option('-q, --quiet', 'no progress')
    .action(async (paths: string[], flags: ExportFlags) => {
      finish(await exportTo(context, paths, flags))
    })
}

async function exportTo(context: CliContext, args: string[], flags: ExportFlags): Promise<number> {
  const { disk, out, err, signal } = context
  const isToOutput = flags.tar === '-'
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
