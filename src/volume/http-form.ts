import { parse } from 'content-disposition'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'

export interface FormPart {
  /** Empty when the part has none. */
  readonly fieldName: string
  /** Undefined: a plain field. Without directories. */
  readonly fileName: string | undefined
  readonly contentType: string
  readonly contentEncoding: string
  readonly contentMd5: string
  /** A view of the body. */
  readonly data: Buffer
}

const PART_HEADERS_MAX = 16 * KIB
const NEW_LINE = '\r\n'
const HEADERS_END = '\r\n\r\n'

/**
 * The parts of a multipart/form-data body that is in memory. Scanned for its boundary by hand: the
 * search of a Buffer runs many times faster than a parser that sees every byte.
 *
 * @throws {StoreError} REQUEST_INVALID: no parts, too many, broken headers, or no closing boundary.
 */
export function parseForm(body: Buffer, boundary: string): readonly FormPart[] {
  const delimiter = `${NEW_LINE}--${boundary}`
  const parts: FormPart[] = []
  let at = firstPartAt(body, boundary)
  while (!isLast(body, at)) {
    if (parts.length >= LIMITS.httpFormPartsMax.value) throw invalid('the form has too many parts')
    const lineEnd = body.indexOf(NEW_LINE, at)
    const isBlank = lineEnd >= 0 && body.toString('latin1', at, lineEnd).trim() === ''
    if (!isBlank) throw invalid('the form has a boundary with something behind it')
    const headersEnd = body.indexOf(HEADERS_END, lineEnd)
    if (headersEnd < 0 || headersEnd - lineEnd > PART_HEADERS_MAX) {
      throw invalid('the headers of a part of the form do not end')
    }
    const dataAt = headersEnd + HEADERS_END.length
    // The delimiter may begin with the line end of an empty part's headers.
    const end = body.indexOf(delimiter, dataAt - NEW_LINE.length)
    if (end < 0) throw invalid('the form ends before its last boundary')
    const headers = body.toString('utf8', lineEnd, headersEnd)
    parts.push(partOf(headers, body.subarray(dataAt, Math.max(end, dataAt))))
    at = end + delimiter.length
  }
  if (parts.length === 0) throw invalid('the form has no parts')
  return parts
}

function firstPartAt(body: Buffer, boundary: string): number {
  const opening = `--${boundary}`
  if (body.length >= opening.length && body.indexOf(opening) === 0) return opening.length
  const at = body.indexOf(NEW_LINE + opening)
  if (at < 0) throw invalid('the form does not contain its boundary')
  return at + NEW_LINE.length + opening.length
}

const DASH = 0x2d

function isLast(body: Buffer, at: number): boolean {
  return body[at] === DASH && body[at + 1] === DASH
}

function partOf(headers: string, data: Buffer): FormPart {
  let disposition = ''
  let contentType = ''
  let contentEncoding = ''
  let contentMd5 = ''
  for (const line of headers.split(NEW_LINE)) {
    const colon = line.indexOf(':')
    if (colon < 0) continue
    const value = line.slice(colon + 1).trim()
    const name = line.slice(0, colon).trim().toLowerCase()
    if (name === 'content-disposition') disposition = value
    else if (name === 'content-type') contentType = value
    else if (name === 'content-encoding') contentEncoding = value.toLowerCase()
    else if (name === 'content-md5') contentMd5 = value
  }
  const { fieldName, fileName } = parseDisposition(disposition, true)
  return { fieldName, fileName, contentType, contentEncoding, contentMd5, data }
}

export interface DispositionNames {
  readonly fieldName: string
  /** Without directories. */
  readonly fileName: string | undefined
}

/** Never fails: what cannot be read is not there. */
export function parseDisposition(header: string, isForm: boolean): DispositionNames {
  const { name = '', filename } = parse(header, { multipart: isForm }).parameters
  return { fieldName: name, fileName: filename === undefined ? undefined : baseName(filename) }
}

/** Some browsers send the whole path of the file on the user's disk. */
function baseName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1)
}

function invalid(why: string): StoreError {
  return new StoreError('REQUEST_INVALID', why)
}
