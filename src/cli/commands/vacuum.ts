import { basename } from 'node:path'
import type { Command } from 'commander'
import { LIMITS } from '../../base/limits.ts'
import { isStoreError, StoreError } from '../../base/store-error.ts'
import { formatBytes } from '../../base/units.ts'
import type { VacuumResult } from '../../storage/vacuum.ts'
import { Volume } from '../../storage/volume.ts'
import { UNGUARDED_SPACE } from '../../storage/volume-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { showProgress } from '../progress.ts'
import { lockDirectories, resolveVolumes } from '../volume-arguments.ts'

interface VacuumFlags {
  readonly quiet?: boolean
}

export function registerVacuum(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  program
    .command('vacuum')
    .description(
      'Rewrite volumes without what was deleted and overwritten. The new files are read back and ' +
        'compared before they replace the old ones. Holds the directory exclusively.',
    )
    .argument('<path...>', 'a .dat file, its name without .dat, or a directory of volumes')
    .option('-q, --quiet', 'no progress')
    .action(async (paths: string[], flags: VacuumFlags) => {
      finish(await vacuum(context, paths, flags))
    })
}

async function vacuum(context: CliContext, args: string[], flags: VacuumFlags): Promise<number> {
  const { disk, out } = context
  const volumes = await resolveVolumes(disk, args)
  await using _locks = await lockDirectories(disk, volumes)
  const parts = { ...context, space: UNGUARDED_SPACE }
  const options = {
    durability: { mode: 'fsync' },
    sizeMaxBytes: LIMITS.volumeSizeMax.value,
  } as const
  for (const { paths } of volumes) {
    await using volume = await Volume.open(parts, paths, options)
    const { bytesBefore, bytesAfter, needles } = await vacuumNamed(context, volume, flags)
    const sizes = `${formatBytes(bytesBefore)} before, ${formatBytes(bytesAfter)} after`
    const freed = `${formatBytes(bytesBefore - bytesAfter)} freed`
    await out.line(`${paths.dat}: ${sizes}, ${freed}; ${needles} needles`)
  }
  return EXIT.done
}

/** With several volumes, an error must say which one it is about. */
async function vacuumNamed(
  context: CliContext,
  volume: Volume,
  flags: VacuumFlags,
): Promise<VacuumResult> {
  const label = `vacuuming ${basename(volume.paths.dat)}`
  const totalBytes = volume.stats.datBytes
  using progress = showProgress(context, { label, totalBytes, isQuiet: flags.quiet === true })
  try {
    const onProgress = (doneBytes: number): void => progress.update(doneBytes)
    return await volume.vacuum({ onProgress }, context.signal)
  } catch (error) {
    const { base, dat } = volume.paths
    if (!isStoreError(error) || error.message.includes(base)) throw error
    throw new StoreError(error.code, `${dat}: ${error.message}`, { cause: error })
  }
}
