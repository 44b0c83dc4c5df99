import type { Command } from 'commander'
import { quote, StoreError } from '../../base/store-error.ts'
import { formatBytes, MIB } from '../../base/units.ts'
import type { NamespaceReport } from '../../gateway/namespace-check.ts'
import type { OrphanReport } from '../../gateway/orphan-collector.ts'
import { isSeen, type SeenOrphans } from '../../gateway/orphan-ledger.ts'
import { readFile, replaceFile } from '../../runtime/disk.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import type { RebuildReport } from '../namespace-rebuild.ts'
import { readCount, readDurationMs } from '../setting-values.ts'

interface CheckFlags extends ClusterFlags {
  readonly bucket?: string
  readonly grace: string
  readonly problems: string
  readonly json?: boolean
}

interface OrphanFlags extends ClusterFlags {
  readonly state: string
  readonly minAge: string
  readonly dryRun?: boolean
  readonly force?: boolean
  readonly afterRestore?: boolean
  readonly json?: boolean
}

interface RebuildFlags {
  readonly into: string
  readonly volumes: readonly string[]
  readonly json?: boolean
}

const HOUR_MS = 3_600_000
const AGE_MS = { min: HOUR_MS, max: 365 * 24 * HOUR_MS }
const GRACE_MS = { min: 0, max: 365 * 24 * HOUR_MS }
const PROBLEMS = { min: 0, max: 1_000_000 }
/** A million orphans. */
const STATE_BYTES_MAX = 64 * MIB

export function registerNamespace(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const group = program
    .command('namespace')
    .description('Rows of buckets and objects, and the needles they stand for.')
  const check = group
    .command('check')
    .description('Compare every row with the needles it names, and needles with rows.')
    .option('--bucket <name>', 'only its rows; needles without a row are not looked for')
    .option('--grace <time>', 'a needle without a row may be so young', '1h')
    .option('--problems <count>', 'findings that are shown one by one', '100')
    .option('--json', 'one JSON object')
  addClusterOptions(check).action(async (flags: CheckFlags) => {
    finish(await checkAll(context, flags))
  })
  const collect = group
    .command('collect-orphans')
    .description(
      'Delete needles that no row names. The first run only writes down what it finds; a run an ' +
        'hour later or more deletes what it finds again.',
    )
    .requiredOption('--state <file>', 'what earlier runs found; made by the first')
    .option('--min-age <time>', 'younger ones stay; 1h at least', '24h')
    .option('--dry-run', 'say what would be deleted')
    .option('--force', 'however many there are, and however old the rows are')
    .option('--after-restore', 'the rows came from a backup and stay: nothing is deleted this time')
    .option('--json', 'one JSON object')
  addClusterOptions(collect).action(async (flags: OrphanFlags) => {
    finish(await collectAll(context, flags))
  })
  group
    .command('rebuild')
    .description('Make lost metadata anew from volumes, while no server of the cluster runs.')
    .requiredOption('--into <dir>', 'data directory of the master, without metadata')
    .requiredOption('--volumes <dirs...>', 'data directories of all volume servers')
    .option('--json', 'one JSON object')
    .action(async (flags: RebuildFlags) => {
      finish(await rebuild(context, flags))
    })
}

async function checkAll(context: CliContext, flags: CheckFlags): Promise<number> {
  const { out, signal } = context
  const options = {
    bucket: flags.bucket,
    graceMs: readDurationMs('--grace', flags.grace, GRACE_MS),
    problemsMax: readCount('--problems', flags.problems, PROBLEMS),
  }
  const { openNeedleAccess } = await import('../needle-access.ts')
  const { checkNamespace } = await import('../../gateway/namespace-check.ts')
  await using access = await openNeedleAccess(context, flags)
  const report = await checkNamespace(access, options, signal)
  if (flags.json === true) await out.line(JSON.stringify(report))
  else for (const line of checkLines(report, flags.bucket)) await out.line(line)
  return report.lostFiles === 0 ? EXIT.done : EXIT.findings
}

function checkLines(report: NamespaceReport, bucket: string | undefined): readonly string[] {
  const { lostFiles, namedFiles, problems, unnamedNeedles, unseenFiles } = report
  const shown = problems.map(({ fileId, kind, message }) => `${kind} ${fileId} ${message}`)
  const more = lostFiles + unnamedNeedles - problems.length
  const lines = [...shown, ...(more > 0 ? [`and ${more} more`] : [])]
  lines.push(`files    ${namedFiles}, of them ${lostFiles} not all there`)
  if (unseenFiles > 0) lines.push(`         ${unseenFiles} not looked at: on coded volumes`)
  if (bucket !== undefined) return lines
  const bytes = formatBytes(report.unnamedBytes)
  const young = `${report.youngNeedles} too young to tell`
  lines.push(
    `needles  ${report.needles}, of them ${unnamedNeedles} without a row (${bytes}), ${young}`,
  )
  return lines
}

async function collectAll(context: CliContext, flags: OrphanFlags): Promise<number> {
  const { disk, out, signal } = context
  const minAgeMs = readDurationMs('--min-age', flags.minAge, AGE_MS)
  const isDryRun = flags.dryRun === true
  const seen = await readSeen(context, flags.state)
  const { openNeedleAccess } = await import('../needle-access.ts')
  const { collectOrphans } = await import('../../gateway/orphan-collector.ts')
  await using access = await openNeedleAccess(context, flags)
  const [isForced, isRestored] = [flags.force === true, flags.afterRestore === true]
  const options = { minAgeMs, seen, isDryRun, isForced, isRestored }
  const report = await collectOrphans(access, options, signal)
  if (!isDryRun) {
    await replaceFile(disk, flags.state, Buffer.from(`${JSON.stringify(report.seen)}\n`))
  }
  const { seen: left, ...counts } = report
  if (flags.json === true) await out.line(JSON.stringify(counts))
  else for (const line of orphanLines(report, left, isDryRun)) await out.line(line)
  return report.refusal === undefined ? EXIT.done : EXIT.findings
}

function orphanLines(report: OrphanReport, left: SeenOrphans, isDryRun: boolean): string[] {
  const { deleted, deletedBytes, foreignNeedles, orphanBytes, orphans, refusal } = report
  const waiting = Object.keys(left).length - (isDryRun ? deleted : 0)
  const done = isDryRun ? 'would be deleted' : 'deleted'
  return [
    `needles  ${report.needles}, ${report.youngNeedles} of those without a row too young to tell`,
    `orphans  ${orphans} (${formatBytes(orphanBytes)}), ${foreignNeedles} more of no gateway stay`,
    refusal === undefined
      ? `${done}  ${deleted} (${formatBytes(deletedBytes)}); ${waiting} wait for a later run`
      : `nothing was deleted: ${refusal}`,
  ]
}

/** @throws {StoreError} CONFIG_INVALID: the file holds something else. */
async function readSeen({ disk }: CliContext, path: string): Promise<SeenOrphans> {
  if ((await disk.stat(path)) === undefined) return {}
  let value: unknown
  try {
    value = JSON.parse((await readFile(disk, path, STATE_BYTES_MAX)).toString('utf8'))
  } catch (cause) {
    throw new StoreError('CONFIG_INVALID', `--state ${quote(path)} is no JSON`, { cause })
  }
  if (isSeen(value)) return value
  throw new StoreError('CONFIG_INVALID', `--state ${quote(path)} is no list of orphans`)
}

async function rebuild(context: CliContext, flags: RebuildFlags): Promise<number> {
  const { err, out } = context
  const { rebuildNamespace } = await import('../namespace-rebuild.ts')
  const options = {
    into: flags.into,
    directories: flags.volumes,
    onVolume: async (path: string) => {
      if (flags.json !== true) await err.line(`reading ${path}`)
    },
  }
  const report = await rebuildNamespace(context, options)
  if (flags.json === true) await out.line(JSON.stringify(report))
  else for (const line of rebuildLines(report)) await out.line(line)
  return report.unreadable === 0 && report.codedFiles === 0 ? EXIT.done : EXIT.findings
}

function rebuildLines(report: RebuildReport): readonly string[] {
  const { buckets, codedFiles, found, unreadable, volumes } = report
  const lines = buckets.map(({ cut, name, superseded, versioning, versions }) => {
    const lost = cut === 0 ? '' : `, ${cut} of them without metadata`
    const old = superseded === 0 ? '' : `; ${superseded} superseded ones left out`
    return `${name}: ${versions} versions${lost}, versioning ${versioning}${old}`
  })
  lines.push(`${volumes} volumes, ${found} objects found, ${unreadable} needles not readable`)
  if (codedFiles > 0) {
    lines.push(`${codedFiles} erasure-coded volumes were passed over: their objects are missing`)
  }
  return lines
}
