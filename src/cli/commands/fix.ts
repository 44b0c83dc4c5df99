import { basename } from 'node:path'
import type { Command } from 'commander'
import { LIMITS } from '../../base/limits.ts'
import { type FixResult, fixVolume } from '../../storage/fix-volume.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { showProgress } from '../progress.ts'
import { lockDirectories, resolveVolumes, type VolumeArgument } from '../volume-arguments.ts'

interface FixFlags {
  readonly acceptDamage?: boolean
  readonly quiet?: boolean
}

export function registerFix(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  program
    .command('fix')
    .description(
      'Make .idx and .sum anew where they are missing or do not match .dat. Holds the directory ' +
        'exclusively: no server may use it.',
    )
    .argument('<path...>', 'a .dat file, its name without .dat, or a directory of volumes')
    .option(
      '--accept-damage',
      'go on when data in .dat does not match its checksum; reads of these needles go on failing',
    )
    .option('-q, --quiet', 'no progress')
    .action(async (paths: string[], flags: FixFlags) => {
      finish(await fix(context, paths, flags))
    })
}

async function fix(context: CliContext, args: string[], flags: FixFlags): Promise<number> {
  const { disk } = context
  const volumes = await resolveVolumes(disk, args)
  await using _locks = await lockDirectories(disk, volumes)
  let isAllFixed = true
  for (const volume of volumes) {
    const result = await fixOne(context, volume, flags)
    await print(context, volume, result)
    isAllFixed &&= result.outcome !== 'refused' && (result.after?.ok ?? true)
  }
  return isAllFixed ? EXIT.done : EXIT.findings
}

async function fixOne(
  context: CliContext,
  { paths }: VolumeArgument,
  flags: FixFlags,
): Promise<FixResult> {
  const totalBytes = (await context.disk.stat(paths.dat))?.sizeBytes ?? 0
  const label = `reading ${basename(paths.dat)}`
  using progress = showProgress(context, { label, totalBytes, isQuiet: flags.quiet === true })
  const options = {
    acceptDamage: flags.acceptDamage === true,
    onProgress: (doneBytes: number) => progress.update(doneBytes),
    volume: {
      durability: { mode: 'fsync' },
      sizeMaxBytes: LIMITS.volumeSizeMax.value,
    },
  } as const
  return await fixVolume(context, paths, options, context.signal)
}

async function print(
  { out }: CliContext,
  { paths }: VolumeArgument,
  result: FixResult,
): Promise<void> {
  const { before, after, recovery, outcome } = result
  if (outcome === 'nothing-to-do') {
    await out.line(`${paths.dat}: nothing to fix, ${before.liveNeedles} live needles`)
    return
  }
  const damaged = before.findings.filter(
    ({ code }) => code === 'NEEDLE_CORRUPT' || code === 'VOLUME_DAMAGED',
  )
  if (outcome === 'refused') {
    await out.line(`${paths.dat}: not changed, because data in it is damaged`)
  } else {
    const why = recovery?.indexRebuilt === undefined ? '' : ` (${recovery.indexRebuilt})`
    const verb = recovery?.indexRebuilt === undefined ? 'kept and completed' : 'made anew'
    const live = after?.liveNeedles ?? 0
    await out.line(`${paths.dat}: .idx ${verb}${why}, .sum written, ${live} live needles`)
  }
  for (const { code, offsetBytes, needleId, message } of damaged) {
    const needle = needleId === undefined ? '' : ` needle ${needleId}`
    await out.line(`  ${code} at byte ${offsetBytes ?? 0}${needle}: ${message}`)
  }
  if (outcome === 'refused') {
    await out.line('  restore it from another copy, or run again with --accept-damage')
    return
  }
  const cutBytes = recovery?.cutBytes ?? 0
  if (cutBytes > 0) await out.line(`  cut ${cutBytes} bytes of an unfinished append`)
  const empty = before.details.unexplainedEmpty
  if (empty > 0 && recovery?.indexRebuilt !== undefined) {
    const why = 'no index row says that they are empty files'
    await out.line(`  note: ${empty} records of size 0 count as deletions, as ${why}`)
  }
}
