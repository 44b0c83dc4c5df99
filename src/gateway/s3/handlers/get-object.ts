import type { ObjectVersion } from '../../../namespace/object-version.ts'
import type { ByteRange } from '../../byte-range.ts'
import { begun, readHeld, readVersion } from '../../stored-bytes.ts'
import { expirationHeader } from '../access/lifecycle.ts'
import { checkReadConditions, parseHttpDate } from '../access/preconditions.ts'
import { checksumHeaderName } from '../body/checksum.ts'
import type { BucketView } from '../bucket-view.ts'
import { parseRange } from '../byte-range.ts'
import { checksumHeaders, overriddenHeaders, versionHeaders } from '../object-headers.ts'
import { parsePartNumber } from '../part-number.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import type { ReplyHeaders, S3Reply } from '../s3-reply.ts'
import { findVersion } from './find-version.ts'

/** Read in one go; what is larger is sent as it is read. */
const HELD_BYTES_MAX = 1024 * 1024

interface Selection {
  readonly range: ByteRange
  readonly status: 200 | 206
  readonly headers: ReplyHeaders
}

export async function getObject(exchange: S3Exchange): Promise<S3Reply> {
  const { selection, version, headers } = await select(exchange)
  const { client } = exchange.parts
  const { range, status } = selection
  const { signal } = exchange
  const held = readHeld(client, version, range, HELD_BYTES_MAX, signal)
  const body = held instanceof Promise ? await held : held
  if (body !== undefined) return { status, headers, body }
  const pieces = await begun(readVersion(client, version, range, signal))
  return { status, headers, body: { pieces, sizeBytes: range.end - range.start } }
}

export async function headObject(exchange: S3Exchange): Promise<S3Reply> {
  const { selection, headers } = await select(exchange)
  const { end, start } = selection.range
  return { status: selection.status, headers: { ...headers, 'Content-Length': end - start } }
}

async function select(exchange: S3Exchange) {
  const view = await exchange.bucket()
  const versionId = exchange.query('versionId')
  const action = versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion'
  const version = await findVersion(exchange, action, { view, key: exchange.key, versionId })
  const header = (name: string) => exchange.header(name)
  checkReadConditions(header, { etag: version.etag, lastModifiedMs: version.modifiedAtMs })
  const selection = selectionOf(exchange, version)
  const headers = Object.assign(
    versionHeaders(version, view),
    expirationOf(exchange, version, view, versionId),
    selection.headers,
    overriddenHeaders(exchange),
  )
  return { selection, version, headers }
}

function selectionOf(exchange: S3Exchange, version: ObjectVersion): Selection {
  const { sizeBytes } = version
  const rangeHeader = exchange.header('range')
  const partText = exchange.query('partNumber')
  const isChecked = exchange.header('x-amz-checksum-mode')?.toUpperCase() === 'ENABLED'
  if (partText !== undefined) {
    if (rangeHeader !== undefined) {
      const message = 'Cannot specify both Range header and partNumber query parameter'
      throw new S3Error('InvalidRequest', message)
    }
    return partSelection(version, partText, isChecked)
  }
  const range = isSameAsBefore(exchange, version) ? parseRange(rangeHeader, sizeBytes) : undefined
  if (range === undefined) {
    const headers = isChecked ? checksumHeaders(version) : {}
    return { range: { start: 0, end: sizeBytes }, status: 200, headers }
  }
  // The checksum is of the whole: clients would compare it with the range.
  return { range, status: 206, headers: { 'Content-Range': contentRange(range, sizeBytes) } }
}

/**
 * `If-Range`: who goes on with a download wants the rest of what it has the beginning of, or else
 * all of what there is now. Source: RFC 9110, section 13.1.5.
 */
function isSameAsBefore(exchange: S3Exchange, version: ObjectVersion): boolean {
  const before = exchange.header('if-range')?.trim()
  if (before === undefined || before === `"${version.etag}"`) return true
  return parseHttpDate(before) === Math.floor(version.modifiedAtMs / 1000) * 1000
}

/** The needle that tells of an upload's parts, if there is one, has no bytes of the object. */
function partSelection(version: ObjectVersion, text: string, isChecked: boolean): Selection {
  const number = parsePartNumber(text)
  const isMultipart = version.etag.includes('-')
  const count = isMultipart ? version.parts.length : 1
  if (number > count) throw new S3Error('InvalidPartNumber')
  const { sizeBytes } = version
  if (!isMultipart) {
    const range = { start: 0, end: sizeBytes }
    const shown = sizeBytes === 0 ? {} : { 'Content-Range': contentRange(range, sizeBytes) }
    const headers = { ...shown, ...(isChecked && checksumHeaders(version)) }
    return { range, status: 206, headers }
  }
  const before = version.parts.slice(0, number - 1)
  const start = before.reduce((sum, part) => sum + part.sizeBytes, 0)
  const part = version.parts[number - 1]
  const range = { start, end: start + (part?.sizeBytes ?? 0) }
  const { checksum } = version
  const sum =
    isChecked && checksum !== undefined && part?.checksum !== undefined
      ? { [checksumHeaderName(checksum.algorithm)]: part.checksum }
      : {}
  return {
    range,
    status: 206,
    headers: {
      'Content-Range': contentRange(range, sizeBytes),
      'x-amz-mp-parts-count': count,
      ...sum,
    },
  }
}

function contentRange({ end, start }: ByteRange, sizeBytes: number): string {
  return `bytes ${start}-${end - 1}/${sizeBytes}`
}

function expirationOf(
  exchange: S3Exchange,
  version: ObjectVersion,
  view: BucketView,
  versionId: string | undefined,
): ReplyHeaders {
  const rules = view.document('lifecycle')
  if (rules === undefined || versionId !== undefined) return {}
  const { modifiedAtMs, sizeBytes, storageClass, tags } = version
  const facts = { key: exchange.key, tags, sizeBytes, storageClass, createdAtMs: modifiedAtMs }
  const { dayMs } = exchange.parts.config
  const value = expirationHeader(rules, { kind: 'current', ...facts }, dayMs)
  return value === undefined ? {} : { 'x-amz-expiration': value }
}
