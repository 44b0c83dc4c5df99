import type { IncomingMessage } from 'node:http'

export interface Validators {
  /** With its quotes. */
  readonly etag: string
  readonly lastModifiedS: number | undefined
}

const HEX_BYTES = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Eight hex digits in quotes. From a table: padding a number costs five times as much. */
export function etagOf(checksum: number): string {
  const high = `${HEX_BYTES[checksum >>> 24]}${HEX_BYTES[(checksum >>> 16) & 0xff]}`
  return `"${high}${HEX_BYTES[(checksum >>> 8) & 0xff]}${HEX_BYTES[checksum & 0xff]}"`
}

/** Whether the client has this already: 304. With If-None-Match the time does not count. */
export function isNotModified(req: IncomingMessage, file: Validators): boolean {
  const tags = req.headers['if-none-match']
  if (tags !== undefined) return namesEtag(tags, file.etag)
  const since = parseHttpDate(req.headers['if-modified-since'])
  if (since === undefined || file.lastModifiedS === undefined) return false
  return file.lastModifiedS * 1000 <= since
}

/** Whether a `Range` may be honoured: false when If-Range names another version of the file. */
export function isRangeCurrent(req: IncomingMessage, file: Validators): boolean {
  const version = req.headers['if-range']
  if (typeof version !== 'string') return true
  if (version.includes('"')) return version.trim() === file.etag
  const date = parseHttpDate(version)
  return file.lastModifiedS !== undefined && date === file.lastModifiedS * 1000
}

/** A list of tags, weak ones included, or `*`. */
function namesEtag(list: string, etag: string): boolean {
  if (list.trim() === '*') return true
  return list.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag)
}

function parseHttpDate(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}
