import { resolve, sep } from 'node:path'
import type { Command } from 'commander'
import { LIMITS } from '../../base/limits.ts'
import { quote, StoreError } from '../../base/store-error.ts'
import { formatBytes, MIB, parseBytes } from '../../base/units.ts'
import { parseCollection } from '../../format/file-names.ts'
import { DiskLocation } from '../../storage/disk-location.ts'
import type { Durability } from '../../storage/volume-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { readTree } from '../file-tree.ts'
import { packTree } from '../pack-tree.ts'
import { describeRate, showProgress } from '../progress.ts'

interface PackFlags {
  readonly to: string
  readonly collection: string
  readonly volumeSize: string
  readonly concurrency: string
  readonly durability: string
  readonly quiet?: boolean
}

interface PackConfig {
  readonly root: string
  readonly target: string
  readonly collection: string
  readonly volumeSizeMaxBytes: number
  readonly concurrency: number
  readonly durability: Durability
  readonly isQuiet: boolean
}

const CONCURRENCY_MAX = 1024
/** An offline tool may use the disk nearly to its end. */
const RESERVE_BYTES = 64 * MIB

export function registerPack(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  program
    .command('pack')
    .description(
      'Store a directory tree in new volumes: files, symbolic links and empty directories, with ' +
        'path, mode and time. All or nothing.',
    )
    .argument('<dir>', 'the tree')
    .requiredOption('--to <dir>', 'directory for the volumes; made if missing')
    .option('--collection <name>', 'collection of the new volumes', '')
    .option('--volume-size <size>', 'begin the next volume at this size', '1GiB')
    .option('--concurrency <count>', 'files under way at once', '64')
    .option('--durability <mode>', 'fsync (safe from a power cut) or none', 'fsync')
    .option('-q, --quiet', 'no progress')
    .action(async (root: string, flags: PackFlags) => {
      finish(await pack(context, readPackConfig(root, flags)))
    })
}

/** @throws {StoreError} CONFIG_INVALID: names the flag, its value and what it may be. */
export function readPackConfig(root: string, flags: PackFlags): PackConfig {
  if (flags.durability !== 'fsync' && flags.durability !== 'none') {
    throw invalid('--durability', flags.durability, 'it must be fsync or none')
  }
  const durability: Durability = { mode: flags.durability }
  const volumeSizeMaxBytes = parseBytes(flags.volumeSize)
  if (volumeSizeMaxBytes < MIB || volumeSizeMaxBytes > LIMITS.volumeSizeMax.value) {
    throw invalid('--volume-size', flags.volumeSize, 'it must be from 1MiB to 32GiB')
  }
  const concurrency = /^\d{1,4}$/.test(flags.concurrency) ? Number(flags.concurrency) : 0
  if (concurrency < 1 || concurrency > CONCURRENCY_MAX) {
    throw invalid('--concurrency', flags.concurrency, `it must be from 1 to ${CONCURRENCY_MAX}`)
  }
  const target = flags.to
  if (`${resolve(target)}${sep}`.startsWith(`${resolve(root)}${sep}`)) {
    throw invalid('--to', target, `it must not lie in ${root}, which is to be packed`)
  }
  return Object.freeze({
    root,
    target,
    collection: parseCollection(flags.collection),
    volumeSizeMaxBytes,
    concurrency,
    durability,
    isQuiet: flags.quiet === true,
  })
}

async function pack(context: CliContext, config: PackConfig): Promise<number> {
  const { clock, out, err, signal } = context
  const { root, target } = config
  const tree = await readTree(root, signal)
  for (const path of tree.skipped) {
    await err.line(`hayloft: skipped ${quote(path)}: no file, symbolic link or directory`)
  }
  const options = {
    durability: config.durability,
    volumeSizeMaxBytes: config.volumeSizeMaxBytes,
    space: { reserveBytes: RESERVE_BYTES, ballastBytes: 0 },
  }
  const startedMs = clock.monotonicMs()
  await using location = await DiskLocation.open(context, target, options, signal)
  const { totalBytes } = tree
  using progress = showProgress(context, {
    label: `packing ${root}`,
    totalBytes,
    isQuiet: config.isQuiet,
  })
  const onProgress = (doneBytes: number): void => progress.update(doneBytes)
  const packed = await packTree({ ...context, location }, tree, { ...config, onProgress }, signal)
  // The volumes are complete when they are closed.
  await location[Symbol.asyncDispose]()
  progress[Symbol.dispose]()
  const seconds = (clock.monotonicMs() - startedMs) / 1000
  const rate = describeRate(packed.needles, packed.bytes, seconds)
  const what = `packed ${packed.needles} entries, ${formatBytes(packed.bytes)}`
  await out.line(`${what} in ${seconds.toFixed(2)} s (${rate})`)
  for (const { volume } of packed.volumes) {
    const { liveNeedles, datBytes } = volume.stats
    await out.line(`  ${volume.paths.dat}: ${liveNeedles} needles, ${formatBytes(datBytes)}`)
  }
  await out.line(`next: hayloft check ${target}`)
  return EXIT.done
}

function invalid(flag: string, value: string, why: string): StoreError {
  return new StoreError('CONFIG_INVALID', `${flag} ${quote(value)}: ${why}`)
}
