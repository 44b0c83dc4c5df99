import type { Command } from 'commander'
import { formatFileId } from '../../base/file-id.ts'
import { cookie } from '../../base/ids.ts'
import { isStoreError } from '../../base/store-error.ts'
import type { NeedleAttributes } from '../../format/needle-attributes.ts'
import { findLiveNeedles, isLiveRecord } from '../../storage/live-needles.ts'
import { readRecordContent } from '../../storage/record-content.ts'
import { type Unreadable, type WalkedRecord, walkRecords } from '../../storage/record-walk.ts'
import { VolumeSource } from '../../storage/volume-source.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { resolveVolumes, type VolumeArgument } from '../volume-arguments.ts'

interface DumpFlags {
  readonly json?: boolean
  readonly live?: boolean
}

const TEXT_FIELDS = 'offset bytes fileId kind size dataSize crc state lastModified name mime'

export function registerDump(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  program
    .command('dump')
    .description('List the records of volumes in the order they were appended. Changes nothing.')
    .argument('<path...>', 'a .dat file, its name without .dat, or a directory of volumes')
    .option('--json', 'one JSON object a line')
    .option('--live', 'only needles that were not deleted or overwritten')
    .action(async (paths: string[], flags: DumpFlags) => {
      finish(await dump(context, paths, flags))
    })
}

async function dump(context: CliContext, args: string[], flags: DumpFlags): Promise<number> {
  const volumes = await resolveVolumes(context.disk, args)
  let isIntact = true
  for (const volume of volumes) {
    const isVolumeIntact = await dumpVolume(context, volume, flags)
    isIntact &&= isVolumeIntact
  }
  return isIntact ? EXIT.done : EXIT.findings
}

/** False when records are corrupt or bytes belong to none. */
async function dumpVolume(
  context: CliContext,
  volume: VolumeArgument,
  flags: DumpFlags,
): Promise<boolean> {
  const { disk, out, err, signal } = context
  await using source = await VolumeSource.open(disk, volume.paths)
  if (flags.json !== true) await out.line(`# ${volume.paths.dat}: ${TEXT_FIELDS}`)
  const live = await findLiveNeedles(source, signal)
  let isIntact = true
  for await (const step of walkRecords(source, {}, signal)) {
    if (out.isClosed) return isIntact
    if (step.kind === 'bad-row') continue
    if (step.kind !== 'record') {
      isIntact = false
      await err.line(`hayloft: ${volume.paths.dat}: ${describeUnreadable(step)}`)
      continue
    }
    const isLive = isLiveRecord(live, step)
    if (flags.live === true && !isLive) continue
    const line = await describeRecord(source, volume, step, isLive)
    isIntact &&= line.crc === 'ok'
    await out.line(flags.json === true ? JSON.stringify(line) : toText(line))
  }
  return isIntact
}

interface RecordLine {
  readonly volume: string
  readonly offset: number
  readonly recordBytes: number
  readonly fileId: string
  readonly kind: 'put' | 'empty' | 'delete'
  readonly size: number
  readonly dataSize: number
  readonly crc: 'ok' | 'bad'
  readonly state: 'live' | 'superseded' | 'tombstone'
  readonly lastModified: string | undefined
  readonly name: string | undefined
  readonly mime: string | undefined
  readonly pairs: Readonly<Record<string, string>> | undefined
  readonly compressed: boolean
}

async function describeRecord(
  source: VolumeSource,
  { paths, volumeId }: VolumeArgument,
  step: WalkedRecord,
  isLive: boolean,
): Promise<RecordLine> {
  const { record, meaning } = step
  const { header, offsetBytes, recordBytes } = record
  let isIntact = record.isIntact
  let dataSize = 0
  let attributes: NeedleAttributes = {}
  try {
    const content = await readRecordContent(source.dat, record, source.version)
    dataSize = content.dataBytes
    attributes = content.attributes
  } catch (error) {
    if (!isStoreError(error, 'NEEDLE_CORRUPT')) throw error
    isIntact = false
  }
  const fileId = { volumeId, needleId: header.id, cookie: cookie(header.cookie) }
  const { lastModifiedS } = attributes
  return {
    volume: paths.dat,
    offset: offsetBytes,
    recordBytes,
    fileId: formatFileId(fileId),
    kind: meaning,
    size: header.sizeBytes,
    dataSize,
    crc: isIntact ? 'ok' : 'bad',
    state: meaning === 'delete' ? 'tombstone' : isLive ? 'live' : 'superseded',
    lastModified: lastModifiedS === undefined ? undefined : toIso(lastModifiedS),
    name: attributes.name,
    mime: attributes.mime,
    pairs: attributes.pairs,
    compressed: attributes.isCompressed === true,
  }
}

/** Names come quoted, so that spaces and control characters do no harm. */
function toText(line: RecordLine): string {
  const { offset, recordBytes, fileId, kind, size, dataSize, crc, state } = line
  const quoted = [line.name, line.mime].map((text) =>
    text === undefined ? '-' : JSON.stringify(text),
  )
  const facts = [offset, recordBytes, fileId, kind, size, dataSize, crc, state]
  return [...facts, line.lastModified ?? '-', ...quoted].join(' ')
}

/** 40 bits of seconds reach further than a JavaScript date, and than ISO years of four digits. */
function toIso(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? `${seconds}s` : date.toISOString()
}

function describeUnreadable(step: Unreadable): string {
  const { fromBytes, toBytes, why, kind } = step
  const what = kind === 'gap' ? 'unreadable' : 'unfinished append'
  return `bytes ${fromBytes} to ${toBytes}: ${why}, ${what}`
}
