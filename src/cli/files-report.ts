import type { StoredFile } from '../net/files-api.ts'
import { table } from './status-report.ts'

/** As a listing shows it. */
export function fileLine(file: StoredFile, isLong: boolean, hasUser: boolean): string {
  const { modifiedAtMs, name, sizeBytes, user, version } = file
  const shown = hasUser ? `${user}/${name}` : name
  return isLong ? `${sizeBytes} ${timeOf(modifiedAtMs)} v${version} ${shown}` : shown
}

/** All there is to know of a file. */
export function fileLines(file: StoredFile): readonly string[] {
  const facts = [
    ['user', file.user],
    ['name', file.name],
    ['size', `${file.sizeBytes} bytes`],
    ['type', file.contentType ?? '-'],
    ['created', timeOf(file.createdAtMs)],
    ['modified', timeOf(file.modifiedAtMs)],
    ['version', String(file.version)],
    ['sha256', file.sha256 ?? '-'],
    ['etag', file.etag],
    ['chunks', String(file.chunkCount)],
  ]
  return table(facts, Number.POSITIVE_INFINITY)
}

/** For programs: times as text, everything there is. */
export function fileJson(file: StoredFile): string {
  const { createdAtMs, modifiedAtMs, ...rest } = file
  const times = { createdAt: timeOf(createdAtMs), modifiedAt: timeOf(modifiedAtMs) }
  return JSON.stringify({ ...rest, ...times })
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}
