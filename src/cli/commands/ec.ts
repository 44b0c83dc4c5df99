import type { Command } from 'commander'
import type { VolumeId } from '../../base/ids.ts'
import { isStoreError } from '../../base/store-error.ts'
import type { JobsApi, VolumeFacts } from '../../net/jobs-api.ts'
import { mapBounded } from '../../runtime/map-bounded.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EC_LEGEND, ecDocument, ecLines, isStripeWhole } from '../ec-report.ts'
import { EXIT } from '../exit.ts'
import { readVolumeIds } from '../job-target.ts'

interface StatusFlags extends ClusterFlags {
  readonly volume: string
  readonly collection?: string
  readonly json?: boolean
}

/** Volumes that are asked for at once. */
const ASKED_MAX = 8

export function registerEc(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const group = program.command('ec').description('Erasure-coded volumes: look at them.')
  const status = group
    .command('status')
    .description('Show where the shards of volumes lie, and how much may still fail.')
    .option('--volume <ids>', 'numbers of volumes with commas between, or all', 'all')
    .option('--collection <name>', 'with all: only volumes of this one')
    .option('--json', 'one JSON object for each volume')
  addClusterOptions(status).action(async (flags: StatusFlags) => {
    finish(await showStripes(context, flags))
  })
}

async function showStripes(context: CliContext, flags: StatusFlags): Promise<number> {
  const { out, signal } = context
  // Judged before anything is asked of the cluster, and then with the volumes it has.
  const named = await readVolumeIds(flags, async () => [])
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const { jobs } = cluster
  const ids = await readVolumeIds(flags, (collection) => jobs.listVolumes(collection, signal))
  let codedCount = 0
  let isWhole = true
  // Said as they come: what is known of thousands of volumes is never all in memory.
  for (let at = 0; at < ids.length; at += ASKED_MAX) {
    const asked = ids.slice(at, at + ASKED_MAX)
    const ask = (id: VolumeId) => factsOf(jobs, id, named.length > 0, signal)
    for (const facts of await mapBounded(asked, ASKED_MAX, ask, signal)) {
      const lines = facts === undefined ? [] : linesOf(facts, named.length > 0, flags)
      for (const line of lines) await out.line(line)
      if (facts?.stripe === undefined) continue
      codedCount++
      isWhole &&= isStripeWhole(facts.stripe)
    }
  }
  const isForPeople = flags.json !== true
  if (isForPeople && codedCount > 0) await out.line(EC_LEGEND)
  if (isForPeople && codedCount === 0 && named.length === 0) {
    await out.line('no volume is erasure-coded')
  }
  return isWhole ? EXIT.done : EXIT.findings
}

/** Undefined: it was deleted since the volumes were listed. */
async function factsOf(
  jobs: JobsApi,
  id: VolumeId,
  isNamed: boolean,
  signal: AbortSignal,
): Promise<VolumeFacts | undefined> {
  try {
    return await jobs.volumeFacts(id, signal)
  } catch (error) {
    if (!isNamed && isStoreError(error, 'VOLUME_NOT_FOUND')) return undefined
    throw error
  }
}

/** Of a volume that is not coded only something if it was asked for. */
function linesOf(facts: VolumeFacts, isNamed: boolean, { json }: StatusFlags): readonly string[] {
  if (json === true) {
    const document = ecDocument(facts)
    return document === undefined ? [] : [JSON.stringify(document)]
  }
  const lines = ecLines(facts)
  if (lines !== undefined) return [...lines, '']
  return isNamed ? [`volume ${facts.volumeId}: not erasure-coded`] : []
}
