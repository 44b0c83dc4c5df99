import { parseObjectKey } from '../../../namespace/row-keys.ts'
import { newVersionId } from '../../../namespace/version-id.ts'
import {
  type HeaderSource,
  readChecksumPlan,
  type UploadChecksum,
} from '../body/checksum-headers.ts'
import type { BodyTerms } from '../body/object-body.ts'
import { readBodyLengths } from '../body/object-body.ts'
import { causeOf } from '../events/event-cause.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { writtenHeaders } from '../object-headers.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { emptyReply, type S3Reply } from '../s3-reply.ts'
import { checkEarly } from './early-condition.ts'
import { nameStored, storeBody } from './store-body.ts'
import { readWriteAttributes, readWriteCondition } from './write-attributes.ts'

/** Of one upload, and of one part. Source: the S3 user guide, "Uploading objects". */
export const UPLOAD_BYTES_MAX = 5 * 1024 ** 3

export async function putObject(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  if (exchange.query('partNumber') !== undefined) {
    // Taken for an object, one part would take the place of the whole.
    exchange.authorize('s3:PutObject')
    throw invalidArgument('A part needs the uploadId it belongs to', 'uploadId', '')
  }
  const attributes = await readWriteAttributes(exchange, view)
  const key = parseObjectKey(exchange.key)
  const condition = readWriteCondition(exchange)
  const terms = readTerms(exchange)
  await checkEarly(exchange, view, condition)
  const { parts } = exchange
  const id = newVersionId(parts.random, parts.clock.nowMs())
  const owner = { bucket: view.bucket.name, key, version: id }
  const { storageClass } = attributes
  const told = { ...attributes, isNull: view.bucket.versioning !== 'enabled' }
  const wire = () => exchange.wire
  const { part, summary } = await storeBody(parts, wire, terms, owner, storageClass, told)
  const { checksum, md5, sizeBytes } = summary
  const version = {
    ...attributes,
    id,
    sizeBytes,
    checksum,
    etag: md5.toString('hex'),
    parts: [part],
  }
  const cause = causeOf(exchange, view, 'ObjectCreated:Put')
  const request = { bucket: view.ref, key, version, condition, cause }
  const put = () => parts.namespace.putObject(request, exchange.signal)
  const stored = await nameStored(parts, part, put)
  return emptyReply(200, writtenHeaders(stored, view))
}

/** @throws {S3Error} MissingContentLength: nothing says how long the body is. */
export function readTerms(exchange: S3Exchange, upload?: UploadChecksum): BodyTerms {
  const header: HeaderSource = (name) => exchange.header(name)
  const mode = exchange.authentication.payload
  const lengths = readBodyLengths(header)
  if (lengths.wireBytes === undefined && exchange.header('transfer-encoding') === undefined) {
    throw new S3Error('MissingContentLength')
  }
  const plan = readChecksumPlan(header, mode, upload)
  return { mode, plan, lengths, sizeBytesMax: UPLOAD_BYTES_MAX }
}
