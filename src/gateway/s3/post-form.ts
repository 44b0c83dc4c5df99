import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { Busboy } from '@fastify/busboy'
import { PostFields } from './auth/post-fields.ts'
import { S3Error } from './s3-error.ts'
import type { S3Request } from './s3-request.ts'

/** All fields together, names included. Source: the S3 API reference, "POST Object". */
const FIELDS_BYTES_MAX = 20 * 1024
const FIELDS_MAX = 200

/** The parser's own types promise a name, and a part need not have one. */
type FieldEvent = [name: string | undefined, value: string, isNameCut: boolean, isValueCut: boolean]

/** A form, read as far as the beginning of its file. */
export interface PostForm extends AsyncDisposable {
  readonly fields: PostFields
  readonly fileName: string
  readonly file: AsyncIterable<Buffer>
}

/**
 * Reads the fields of a form, which come before its file. What follows the file is read and
 * ignored.
 *
 * @throws {S3Error} MalformedPOSTRequest, MaxPostPreDataLengthExceeded. InvalidArgument: there is
 * no file.
 */
export function readPostForm(
  message: IncomingMessage,
  request: S3Request,
  continueBody: (message: IncomingMessage) => void,
): Promise<PostForm> {
  const type = request.headers.get('content-type') ?? ''
  if (!/^multipart\/form-data\s*;/i.test(type)) {
    return Promise.reject(notAForm())
  }
  return new Promise((resolve, reject) => {
    const parser = openParser(type, reject)
    if (parser === undefined) return
    const pairs: [string, string][] = []
    let bytes = 0
    let isFound = false
    const fail = (error: S3Error): void => {
      message.unpipe(parser)
      reject(error)
    }
    parser.on('field', (...[name, value, isNameCut, isValueCut]: FieldEvent) => {
      if (isFound) return
      if (name === undefined) return fail(malformed('a part without a name'))
      bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
      if (isNameCut || isValueCut || bytes > FIELDS_BYTES_MAX) fail(tooLong())
      else pairs.push([name, value])
    })
    parser.on('file', (_name: unknown, stream: Readable, fileName: string | undefined) => {
      const file = fileOf(stream, parser)
      if (isFound) {
        stream.resume()
        return
      }
      isFound = true
      try {
        resolve(openForm(PostFields.of(pairs), fileName ?? '', file, message, parser))
      } catch (error) {
        stream.resume()
        message.unpipe(parser)
        reject(error)
      }
    })
    parser.on('fieldsLimit', () => fail(tooLong()))
    parser.on('error', (cause: Error) => fail(malformed(cause)))
    parser.on('finish', () => {
      if (isFound) return
      fail(new S3Error('InvalidArgument', 'POST requires exactly one file upload per request.'))
    })
    message.on('aborted', () => parser.destroy(new Error('the client went away')))
    continueBody(message)
    message.pipe(parser)
  })
}

/** Of a POST to a bucket that is nothing else. AWS has a code for it, and does not use it. */
export function notAForm(): S3Error {
  const fields = { Condition: 'Bucket POST must be of the enclosure-type multipart/form-data' }
  return new S3Error('PreconditionFailed', undefined, { fields })
}

function openParser(
  type: string,
  reject: (error: unknown) => void,
): ReturnType<typeof Busboy> | undefined {
  try {
    return new Busboy({
      headers: { 'content-type': type },
      // Some clients give every field the name of a file, and some give the file none.
      isPartAFile: (name) => name?.toLowerCase() === 'file',
      limits: { fieldSize: FIELDS_BYTES_MAX, fields: FIELDS_MAX, fieldNameSize: 1024 },
    })
  } catch (cause) {
    reject(malformed(cause))
    return undefined
  }
}

function openForm(
  fields: PostFields,
  fileName: string,
  file: FormFile,
  message: IncomingMessage,
  parser: ReturnType<typeof Busboy>,
): PostForm {
  return {
    fields,
    fileName,
    file: readFile(file),
    async [Symbol.asyncDispose]() {
      // What nobody wants any more is read and dropped by whoever answers.
      message.unpipe(parser)
      file.stream.resume()
    },
  }
}

interface FormFile {
  readonly stream: Readable
  /** Of a form that is cut off or was given up, perhaps before anybody reads the file. */
  readonly failure: () => unknown
}

/** Listens from the start: a stream that fails while nobody listens ends the process. */
function fileOf(stream: Readable, parser: ReturnType<typeof Busboy>): FormFile {
  let failure: unknown
  const fail = (error: unknown): void => {
    failure ??= error
  }
  stream.on('error', fail)
  parser.on('error', (error: unknown) => {
    fail(error)
    stream.destroy(malformed(error))
  })
  return { stream, failure: () => failure }
}

async function* readFile({ failure, stream }: FormFile): AsyncGenerator<Buffer, void, undefined> {
  if (failure() !== undefined) throw malformed(failure())
  try {
    for await (const piece of stream.iterator({ destroyOnReturn: false })) yield piece as Buffer
  } catch (error) {
    throw malformed(failure() ?? error)
  }
  if (failure() !== undefined) throw malformed(failure())
}

function tooLong(): S3Error {
  const message = 'Your POST request fields preceding the upload file were too large.'
  return new S3Error('MaxPostPreDataLengthExceeded', message)
}

function malformed(cause: unknown): S3Error {
  return new S3Error('MalformedPOSTRequest', undefined, { cause })
}
