import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'

/** The file of a form. Its data must be read to the end, or given up with the connection. */
export interface FormFile {
  /** Without directories; empty when the form gives none. */
  readonly fileName: string
  /** Empty when the form gives none. */
  readonly mime: string
  /** Ends only after the whole form was seen to be complete. */
  readonly data: AsyncIterable<Uint8Array>
}

interface PartHeaders {
  /** Of the field; empty when the form gives none. */
  readonly name: string
  readonly fileName: string | undefined
  readonly mime: string
}

/** @throws {StoreError} REQUEST_INVALID: the content type has no boundary a form can have. */
export function formBoundary(contentType: string): string {
  const match = /;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70}))/i.exec(contentType)
  const boundary = match?.[1] ?? match?.[2]
  if (boundary === undefined) throw invalid('the content type of the form names no boundary')
  return boundary
}

/**
 * The first part that has a file name or, in a form without any, the first part. What comes before
 * is held in memory within limits, what comes after is read and dropped.
 *
 * @throws {StoreError} REQUEST_INVALID: no form, or an incomplete one. BODY_TOO_LARGE: too much
 * before the file. The same from reading `data`.
 */
export async function readFormFile(
  source: AsyncIterable<Uint8Array>,
  boundary: string,
): Promise<FormFile> {
  const form = new FormReader(source, boundary)
  let first: FormFile | undefined
  while (await form.nextPart()) {
    const headers = await form.readHeaders()
    if (headers.fileName !== undefined) {
      return { fileName: headers.fileName, mime: headers.mime, data: form.readToEnd() }
    }
    const held = await form.holdPart()
    first ??= { fileName: '', mime: headers.mime, data: onePiece(held) }
  }
  if (first === undefined) throw invalid('the form has no parts')
  return first
}

/**
 * The part of this name, with a file name or without. What comes before is dropped, within limits,
 * and what comes after it likewise.
 *
 * @throws {StoreError} REQUEST_INVALID: no form, an incomplete one, or none with one such part.
 * BODY_TOO_LARGE: too much beside the file. The same from reading `data`.
 */
export async function readFormField(
  source: AsyncIterable<Uint8Array>,
  boundary: string,
  field: string,
): Promise<FormFile> {
  const form = new FormReader(source, boundary)
  while (await form.nextPart()) {
    const { fileName = '', mime, name } = await form.readHeaders()
    if (name === field) return { fileName, mime, data: form.readOnly(field) }
    await form.holdPart()
  }
  throw invalid(`the form has no field ${quote(field)}`)
}

const NEW_LINE = '\r\n'
const HEADERS_END = Buffer.from('\r\n\r\n')

/**
 * Walks through a form piece by piece, and never holds more than a piece and a delimiter of it.
 *
 *     --boundary CRLF headers CRLF CRLF data CRLF --boundary … CRLF --boundary--
 */
class FormReader {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #delimiter: Buffer
  /** A form begins with its delimiter, without the line end before the later ones. */
  #held: Buffer = Buffer.from(NEW_LINE)
  #isStarted = false

  constructor(source: AsyncIterable<Uint8Array>, boundary: string) {
    this.#source = source[Symbol.asyncIterator]()
    this.#delimiter = Buffer.from(`${NEW_LINE}--${boundary}`)
  }

  /** Goes behind the next delimiter's boundary; false: it was the last one. */
  async nextPart(): Promise<boolean> {
    if (!this.#isStarted) {
      this.#isStarted = true
      let skippedBytes = 0
      for await (const piece of this.readPart()) {
        skippedBytes += piece.length
        checkFieldBytes(skippedBytes)
      }
    }
    while (this.#held.length < 2) await this.#fill()
    return this.#held.toString('latin1', 0, 2) !== '--'
  }

  async readHeaders(): Promise<PartHeaders> {
    // The line end of the delimiter belongs to the search: a part may have no headers at all.
    let end = this.#held.indexOf(HEADERS_END)
    while (end < 0) {
      if (this.#held.length > LIMITS.formHeaderBytesMax.value) {
        throw invalid('the headers of a part of the form are too long')
      }
      await this.#fill()
      end = this.#held.indexOf(HEADERS_END)
    }
    const text = this.#held.toString('utf8', 0, end)
    this.#held = this.#held.subarray(end + HEADERS_END.length)
    return parseHeaders(text)
  }

  /** The data of this part; then the reader stands behind the next delimiter. */
  async *readPart(): AsyncIterable<Buffer> {
    for (;;) {
      const end = this.#held.indexOf(this.#delimiter)
      // Without a whole delimiter, the last bytes may be the beginning of one.
      const until = end < 0 ? this.#held.length - this.#delimiter.length + 1 : end
      const piece = this.#held.subarray(0, Math.max(until, 0))
      this.#held = this.#held.subarray(piece.length + (end < 0 ? 0 : this.#delimiter.length))
      if (piece.length > 0) yield piece
      if (end >= 0) return
      await this.#fill()
    }
  }

  async holdPart(): Promise<Buffer> {
    const pieces: Buffer[] = []
    let bytes = 0
    for await (const piece of this.readPart()) {
      bytes += piece.length
      checkFieldBytes(bytes)
      pieces.push(piece)
    }
    return Buffer.concat(pieces)
  }

  /** This part, and then the form to its end, of which nothing is kept. */
  async *readToEnd(): AsyncIterable<Buffer> {
    yield* this.readPart()
    while (await this.nextPart()) {
      for await (const _piece of this.readPart());
    }
    await this.#readRest()
  }

  /** As `readToEnd`, of a form in which no other part has the name of this one. */
  async *readOnly(field: string): AsyncIterable<Buffer> {
    yield* this.readPart()
    while (await this.nextPart()) {
      const { name } = await this.readHeaders()
      if (name === field) throw invalid(`the form has more than one field ${quote(field)}`)
      await this.holdPart()
    }
    await this.#readRest()
  }

  async #readRest(): Promise<void> {
    for (;;) {
      const next = await this.#source.next()
      if (next.done === true) return
    }
  }

  async #fill(): Promise<void> {
    const next = await this.#source.next()
    if (next.done === true) throw invalid('the form ends before its last boundary')
    const { value } = next
    const piece = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    this.#held = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece])
  }
}

function parseHeaders(text: string): PartHeaders {
  let fileName: string | undefined
  let mime = ''
  let field = ''
  for (const line of text.split(NEW_LINE)) {
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(colon, 0)).trim().toLowerCase()
    const value = line.slice(colon + 1).trim()
    if (name === 'content-type') mime = value
    if (name !== 'content-disposition') continue
    fileName = parseFileName(value)
    field = parseFieldName(value)
  }
  return { name: field, fileName, mime }
}

function parseFieldName(disposition: string): string {
  const match = /;\s*name=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(disposition)
  return match?.[1]?.replace(/\\(["\\])/g, '$1').replaceAll('%22', '"') ?? match?.[2] ?? ''
}

/** As browsers and curl write it: quoted, with `"` as `%22` or behind a backslash; or RFC 5987. */
function parseFileName(disposition: string): string | undefined {
  const extended = /;\s*filename\*=utf-8'[^']*'([^\s;]+)/i.exec(disposition)?.[1]
  if (extended !== undefined) return lastSegment(decode(extended))
  const match = /;\s*filename=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(disposition)
  if (match === null) return undefined
  const quoted = match[1]?.replace(/\\(["\\])/g, '$1').replaceAll('%22', '"')
  return lastSegment(quoted ?? match[2] ?? '')
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new StoreError('REQUEST_INVALID', `${quote(text)} is a broken file name`, { cause })
  }
}

function lastSegment(path: string): string {
  return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1)
}

async function* onePiece(data: Buffer): AsyncIterable<Buffer> {
  if (data.length > 0) yield data
}

function checkFieldBytes(bytes: number): void {
  const bytesMax = LIMITS.formFieldBytesMax.value
  if (bytes <= bytesMax) return
  throw new StoreError('BODY_TOO_LARGE', `more than ${bytesMax} bytes beside the file of the form`)
}

function invalid(why: string): StoreError {
  return new StoreError('REQUEST_INVALID', why)
}
