import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { quote, StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import { decodeChunkManifest } from '../format/chunk-manifest.ts'
import { formBoundary } from '../net/multipart.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { compress, decompress, isCompressible } from './http-compression.ts'
import { parseDisposition, parseForm } from './http-form.ts'
import { extensionOf } from './http-headers.ts'
import { type FileTarget, isTrue } from './http-target.ts'

/** What a client sends to be stored, before anything is made of it. */
export interface Upload {
  /** Empty: none is known. */
  readonly name: string
  readonly mime: string
  readonly contentEncoding: string
  /** Empty: the client gave none. */
  readonly contentMd5: string
  readonly isForm: boolean
  /** A parameter of the query, or a field of the form. */
  readonly option: (name: string) => string | undefined
}

export interface WholeUpload extends Upload {
  readonly data: Buffer
}

/** Forms carry these beside the file. */
const OPTIONS = new Set(['ts', 'ttl', 'cm', 'fsync', 'type', 'jwt'])
const FORM_TYPE = /^multipart\/form-data\b/i

export function isForm(req: IncomingMessage): boolean {
  const type = req.headers['content-type']
  return req.method === 'POST' && type !== undefined && FORM_TYPE.test(type)
}

/** An upload whose body is the file. */
export function plainUpload(req: IncomingMessage, target: FileTarget): Upload {
  const { headers } = req
  const disposition = headers['content-disposition']
  const named = disposition === undefined ? undefined : parseDisposition(utf8Of(disposition), false)
  const { query } = target
  return {
    name: named === undefined ? lastElement(target.path) : (named.fileName ?? named.fieldName),
    mime: plainMime(headers['content-type']),
    contentEncoding: (headers['content-encoding'] ?? '').toLowerCase(),
    contentMd5: headerText(headers['content-md5']),
    isForm: false,
    option: (name) => query.get(name) ?? undefined,
  }
}

/**
 * The file of a form: its first part with a file name or, in a form without any, its first part
 * that is no option.
 *
 * @throws {StoreError} REQUEST_INVALID: no form, or no file in it.
 */
export function formUpload(req: IncomingMessage, target: FileTarget, body: Buffer): WholeUpload {
  const parts = parseForm(body, formBoundary(req.headers['content-type'] ?? ''))
  const file =
    parts.find((part) => part.fileName !== undefined && part.fileName !== '') ??
    parts.find((part) => part.fileName !== undefined || !OPTIONS.has(part.fieldName))
  if (file === undefined) throw new StoreError('REQUEST_INVALID', 'the form has no file')
  const { query } = target
  return {
    name: file.fileName ?? '',
    mime: file.contentType,
    contentEncoding: file.contentEncoding,
    contentMd5: file.contentMd5 || headerText(req.headers['content-md5']),
    isForm: true,
    option: (name) =>
      query.get(name) ??
      parts.find((part) => part !== file && part.fieldName === name)?.data.toString('utf8'),
    data: file.data,
  }
}

export interface StoredForm {
  readonly data: Buffer
  readonly isCompressed: boolean
  readonly isChunkManifest: boolean
  /** Of the file as its readers see it, not compressed. */
  readonly sizeBytes: number
  /** Base64; empty: neither asked for nor expected. */
  readonly contentMd5: string
}

/**
 * Checks what was sent, and brings it into the form in which it is stored.
 *
 * @throws {StoreError} REQUEST_INVALID: broken gzip, or another encoding. CHECKSUM_MISMATCH.
 * MANIFEST_CORRUPT.
 */
export async function prepareContent(upload: WholeUpload, isReplica: boolean): Promise<StoredForm> {
  const { data, contentEncoding } = upload
  checkEncoding(contentEncoding)
  const isSentZipped = contentEncoding === 'gzip'
  const plain = isSentZipped ? await decompress(data) : data
  const isAsked = upload.contentMd5 !== '' || upload.isForm
  const contentMd5 = isAsked ? await md5Of(plain) : ''
  if (upload.contentMd5 !== '') checkMd5(upload.contentMd5, contentMd5)
  const isChunkManifest = isTrue(upload.option('cm'))
  if (isChunkManifest) decodeChunkManifest(plain)
  const sizeBytes = plain.length
  const isKept = isSentZipped || isChunkManifest || isReplica
  const zipped = isKept || !isWorthwhile(upload) ? undefined : await compress(data)
  const isCompressed = isSentZipped || zipped !== undefined
  return { data: zipped ?? data, isCompressed, isChunkManifest, sizeBytes, contentMd5 }
}

/**
 * @throws {StoreError} REQUEST_INVALID: it would be stored without anybody knowing how to read it.
 */
export function checkEncoding(contentEncoding: string): void {
  if (['', 'identity', 'gzip'].includes(contentEncoding)) return
  const why = `the content encoding ${quote(contentEncoding)} is not known: gzip or none`
  throw new StoreError('REQUEST_INVALID', why)
}

/** @throws {StoreError} CHECKSUM_MISMATCH. */
export function checkMd5(expected: string, actual: string): void {
  if (expected === actual) return
  const why = `the data has the MD5 ${actual}, Content-MD5 says ${quote(expected)}`
  throw new StoreError('CHECKSUM_MISMATCH', why)
}

function isWorthwhile({ name, mime }: Upload): boolean {
  const extension = extensionOf(name)
  return (mime !== '' || extension !== '') && isCompressible(mime, extension)
}

/** A megabyte takes about a millisecond: others get their turn in between. */
async function md5Of(data: Buffer): Promise<string> {
  const hash = createHash('md5')
  for (let at = 0; at < data.length; at += MIB) {
    if (at > 0) await yieldTurn()
    hash.update(data.subarray(at, at + MIB))
  }
  return hash.digest('base64')
}

/** Clients that know no type say so in one of these ways; the second is what curl sends. */
function plainMime(type: string | undefined): string {
  if (type === undefined || /^application\/x-www-form-urlencoded\b/i.test(type)) return ''
  return FORM_TYPE.test(type) ? '' : type
}

/** Node reads headers as Latin-1; clients write UTF-8. */
export function utf8Of(header: string): string {
  const bytes = Buffer.from(header, 'latin1')
  const text = bytes.toString('utf8')
  return text.includes('\ufffd') ? header : text
}

function headerText(header: string | string[] | undefined): string {
  return typeof header === 'string' ? header.trim() : ''
}

function lastElement(path: string): string {
  const element = path.slice(path.lastIndexOf('/') + 1)
  // The path was parsed already: its escapes are whole.
  return element.includes('%') ? decodeURIComponent(element) : element
}
