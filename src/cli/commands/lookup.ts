import type { Command } from 'commander'
import { formatFileId, parseFileId } from '../../base/file-id.ts'
import { parseVolumeId, type VolumeId } from '../../base/ids.ts'
import { StoreError } from '../../base/store-error.ts'
import type { Cluster } from '../cluster.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { copiesLines } from '../copies-report.ts'
import { EXIT } from '../exit.ts'
import { readFileAddress } from '../file-address.ts'

interface LookupFlags extends ClusterFlags {
  readonly copies?: boolean
  readonly json?: boolean
}

interface Found {
  readonly volumeId: VolumeId
  /** Undefined when a volume was asked for. */
  readonly fileId: string | undefined
}

export function registerLookup(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('lookup')
    .description('Tell which servers hold a volume, a file or a named file.')
    .argument('<what>', 'volume id, file id, or the name of a named file')
    .option('--copies', 'all copies of the volume, also those out of reach and those left out')
    .option('--json', 'print one JSON document')
  addClusterOptions(command).action(async (what: string, flags: LookupFlags) => {
    finish(await lookup(context, what, flags))
  })
}

async function lookup(context: CliContext, what: string, flags: LookupFlags): Promise<number> {
  const { out, signal } = context
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const { volumeId, fileId } = await find(cluster, what, signal)
  if (flags.copies === true) {
    const facts = await cluster.jobs.volumeFacts(volumeId, signal)
    if (flags.json === true) await out.line(JSON.stringify(facts))
    else for (const line of copiesLines(facts)) await out.line(line)
    return EXIT.done
  }
  const [volume] = await cluster.master.lookup([volumeId], signal)
  if (volume === undefined || volume.locations.length === 0) {
    throw new StoreError('VOLUME_NOT_FOUND', `no server holds volume ${volumeId} now`)
  }
  if (flags.json === true) {
    await out.line(JSON.stringify({ ...volume, ...(fileId !== undefined && { fileId }) }))
    return EXIT.done
  }
  for (const { publicUrl, dataCenter, rack } of volume.locations) {
    const where = fileId === undefined ? publicUrl : `http://${publicUrl}/${fileId}`
    await out.line(`${where}  ${dataCenter}/${rack}`)
  }
  return EXIT.done
}

async function find({ master }: Cluster, what: string, signal: AbortSignal): Promise<Found> {
  if (/^\d{1,10}$/.test(what)) {
    return { volumeId: parseVolumeId(what), fileId: undefined }
  }
  const address = readFileAddress(what)
  if (address.kind === 'id') {
    return { volumeId: parseFileId(address.fileId).volumeId, fileId: address.fileId }
  }
  const { fileId } = await master.resolveName(address.name, signal)
  return { volumeId: fileId.volumeId, fileId: formatFileId(fileId) }
}
