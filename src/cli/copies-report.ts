import { formatErasureScheme } from '../base/erasure-scheme.ts'
import { formatReplicaPlacement } from '../base/replica-placement.ts'
import { formatBytes } from '../base/units.ts'
import type { VolumeCopyFacts, VolumeFacts } from '../net/jobs-api.ts'
import { table } from './status-report.ts'

const HEADINGS = ['NODE', 'PLACE', 'COPY', 'STATE', 'DIRECTORY', 'FILES', 'BYTES', 'REVISION']
const RIGHT_FROM = 5

/** All copies of a volume that are known, those that do not count included. */
export function copiesLines(facts: VolumeFacts): readonly string[] {
  const { volumeId, replication, writePolicy, dirtyCount, isDeleted, members, strays } = facts
  const { stripe } = facts
  const dirty = dirtyCount === 0 ? '' : `, ${dirtyCount} files to be made equal`
  const kept =
    stripe === undefined
      ? `replication ${formatReplicaPlacement(replication)}, writes ${writePolicy}${dirty}`
      : `erasure-coded ${formatErasureScheme(stripe)}${dirty}, see hayloft ec status`
  const rows = [
    ...members.map((copy) => row(copy, copy.isLost ? 'lost' : 'counts')),
    ...strays.map((copy) => row(copy, 'stray')),
  ]
  return [
    `volume ${volumeId}: ${isDeleted ? 'deleted' : kept}`,
    ...table([HEADINGS, ...rows], RIGHT_FROM),
  ]
}

function row({ location, report, isUp, directoryId }: VolumeCopyFacts, copy: string): string[] {
  const { url, dataCenter, rack } = location
  const state = isUp ? (report?.state ?? 'not there') : 'down'
  const directory = directoryId === '' ? '-' : directoryId
  const start = [url, `${dataCenter}/${rack}`, copy, state, directory]
  if (report === undefined) return [...start, '-', '-', '-']
  const { liveNeedles, datBytes, compactionRevision } = report
  return [...start, String(liveNeedles), formatBytes(datBytes), String(compactionRevision)]
}
