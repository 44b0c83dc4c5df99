import { basename } from 'node:path'
import type { Command } from 'commander'
import { formatBytes } from '../../base/units.ts'
import type { VolumeCheck } from '../../storage/check-report.ts'
import { checkVolume } from '../../storage/check-volume.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { showProgress } from '../progress.ts'
import { resolveVolumes } from '../volume-arguments.ts'

interface CheckFlags {
  readonly json?: boolean
  readonly quiet?: boolean
}

export function registerCheck(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  program
    .command('check')
    .description(
      'Read everything in volumes and compare it with every checksum there is. Changes nothing. ' +
        'Takes no lock, so it also works beside a running server; then a finding at the very end ' +
        'of a volume may be a write in flight.',
    )
    .argument('<path...>', 'a .dat file, its name without .dat, or a directory of volumes')
    .option('--json', 'one JSON document instead of text')
    .option('-q, --quiet', 'no progress, and nothing about volumes without findings')
    .action(async (paths: string[], flags: CheckFlags) => {
      finish(await check(context, paths, flags))
    })
}

async function check(context: CliContext, args: string[], flags: CheckFlags): Promise<number> {
  const { disk, out, signal } = context
  const isQuiet = flags.quiet === true || flags.json === true
  const volumes: VolumeCheck[] = []
  for (const { paths } of await resolveVolumes(disk, args)) {
    const totalBytes = (await disk.stat(paths.dat))?.sizeBytes ?? 0
    const label = `checking ${basename(paths.dat)}`
    using progress = showProgress(context, { label, totalBytes, isQuiet })
    const onProgress = (doneBytes: number): void => progress.update(doneBytes)
    const report = await checkVolume(disk, paths, { onProgress }, signal)
    progress[Symbol.dispose]()
    volumes.push(report)
    if (flags.json !== true && !(flags.quiet === true && report.ok)) await print(context, report)
  }
  const ok = volumes.every((volume) => volume.ok)
  if (flags.json === true) {
    await out.line(JSON.stringify({ volumes: volumes.map(toJson), ok }, undefined, 2))
  } else if (volumes.length > 1 && flags.quiet !== true) {
    const bad = volumes.filter((volume) => !volume.ok).length
    await out.line(`${volumes.length} volumes: ${volumes.length - bad} ok, ${bad} with findings`)
  }
  return ok ? EXIT.done : EXIT.findings
}

async function print({ out }: CliContext, report: VolumeCheck): Promise<void> {
  const { path, ok, needles, liveNeedles, deleted, bytes, findings, findingCount } = report
  const verdict = ok ? 'ok' : countOf(findingCount, 'finding')
  const counts = `${countOf(needles, 'needle')}, ${liveNeedles} live, ${deleted} deleted`
  await out.line(`${path}: ${verdict}; ${counts}; ${formatBytes(bytes)}`)
  for (const { code, offsetBytes, needleId, message } of findings) {
    const place = offsetBytes === undefined ? '' : ` at byte ${offsetBytes}`
    const needle = needleId === undefined ? '' : ` needle ${needleId}`
    await out.line(`  ${code}${place}${needle}: ${message}`)
  }
  if (findingCount > findings.length) {
    await out.line(`  and ${findingCount - findings.length} more findings`)
  }
  for (const note of report.notes) await out.line(`  note: ${note}`)
}

function toJson(report: VolumeCheck): Omit<VolumeCheck, 'details'> {
  const { details: _internal, ...shown } = report
  return shown
}

function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
