import type { IncomingMessage } from 'node:http'
import { parseObjectKey } from '../../../namespace/row-keys.ts'
import { newVersionId } from '../../../namespace/version-id.ts'
import { checkHeaderText } from '../auth/hoisted-headers.ts'
import type { PostFields } from '../auth/post-fields.ts'
import type { PostAuthentication } from '../auth/post-policy.ts'
import { verifyPostForm } from '../auth/post-policy.ts'
import { readChecksumPlan } from '../body/checksum-headers.ts'
import { writePostResponse } from '../documents/post-response.ts'
import { readTagging } from '../documents/tagging.ts'
import { causeOf } from '../events/event-cause.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { writtenHeaders } from '../object-headers.ts'
import { checkKey } from '../object-key.ts'
import { readPostForm } from '../post-form.ts'
import { S3Error } from '../s3-error.ts'
import type { ExchangeParts } from '../s3-exchange.ts'
import { S3Exchange } from '../s3-exchange.ts'
import { emptyReply, type S3Reply, xmlReply } from '../s3-reply.ts'
import type { S3Request } from '../s3-request.ts'
import { QueryParameters, RequestHeaders } from '../s3-request.ts'
import { UPLOAD_BYTES_MAX } from './put-object.ts'
import { dropStored, nameStored, storeBody } from './store-body.ts'
import { readWriteAttributes } from './write-attributes.ts'

export interface PostRequest {
  readonly parts: ExchangeParts
  readonly request: S3Request
  readonly message: IncomingMessage
  readonly continueBody: (message: IncomingMessage) => void
}

/** A form that a browser sends: who it is from stands in its fields. */
export async function postObject(post: PostRequest): Promise<S3Reply> {
  const { parts, request } = post
  const bucketName = request.bucket ?? ''
  await using form = await readPostForm(post.message, request, post.continueBody)
  const fields = form.fields.withFileName(form.fileName)
  const config = parts.config
  const verified = await verifyPostForm(fields, bucketName, parts, config)
  const exchange = exchangeOf(post, fields, verified)
  const view = await exchange.bucket()
  if (verified.kind === 'user') verified.policy.checkFields(fields)
  const attributes = await readWriteAttributes(exchange, view)
  const key = parseObjectKey(exchange.key)
  const range = verified.kind === 'user' ? verified.policy.contentLengthRange : undefined
  const sizeBytesMax = Math.min(range?.maxBytes ?? UPLOAD_BYTES_MAX, UPLOAD_BYTES_MAX)
  const mode = { kind: 'unsigned' } as const
  const header = (name: string) => exchange.header(name)
  const plan = readChecksumPlan(header, mode)
  const lengths = { wireBytes: undefined, decodedBytes: undefined }
  const terms = { mode, plan, lengths, sizeBytesMax }
  const id = newVersionId(parts.random, parts.clock.nowMs())
  const owner = { bucket: bucketName, key, version: id }
  const { storageClass } = attributes
  const told = { ...attributes, isNull: view.bucket.versioning !== 'enabled' }
  const file = () => form.file
  const { part, summary } = await storeBody(parts, file, terms, owner, storageClass, told)
  const { checksum, md5, sizeBytes } = summary
  const etag = md5.toString('hex')
  const version = { ...attributes, id, sizeBytes, checksum, etag, parts: [part] }
  if (range !== undefined && sizeBytes < range.minBytes) {
    await dropStored(parts, part)
    throw tooSmall(sizeBytes, range.minBytes)
  }
  const cause = causeOf(exchange, view, 'ObjectCreated:Post')
  const put = { bucket: view.ref, key, version, cause }
  const stored = await nameStored(parts, part, () =>
    parts.namespace.putObject(put, exchange.signal),
  )
  return answer(exchange, fields, key, {
    ...writtenHeaders(stored, view),
    Location: locationOf(exchange, key),
  })
}

/** The fields of the form mean what headers of the same names do. */
function exchangeOf(
  { continueBody, message, parts, request }: PostRequest,
  fields: PostFields,
  verified: PostAuthentication,
): S3Exchange {
  const headers: string[] = []
  for (const name of fields.names()) {
    const value = fields.get(name) ?? ''
    if (!isHeaderField(name)) continue
    checkHeaderText(name, value)
    headers.push(name, Buffer.from(value, 'utf8').toString('latin1'))
  }
  const acl = fields.get('acl')
  if (acl !== undefined) headers.push('x-amz-acl', acl)
  const tagging = fields.get('tagging')
  if (tagging !== undefined) headers.push('x-amz-tagging', taggingHeader(tagging))
  const host = request.headers.get('host')
  if (host !== undefined) headers.push('host', host)
  const key = fields.get('key')
  if (key === undefined || key === '') {
    throw invalidArgument('Bucket POST must contain a field named "key".', 'key', '')
  }
  checkKey(key)
  const asHeaders = {
    ...request,
    headers: new RequestHeaders(headers),
    query: new QueryParameters([]),
    key,
  }
  const payload = { kind: 'unsigned' } as const
  const authentication =
    verified.kind === 'anonymous'
      ? ({ kind: 'anonymous', payload } as const)
      : ({ kind: 'user', key: verified.key, form: verified.form, payload } as const)
  return new S3Exchange(parts, asHeaders, authentication, message, continueBody)
}

const CONTENT_FIELDS: ReadonlySet<string> = new Set([
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-type',
  'expires',
])

function isHeaderField(name: string): boolean {
  return name.startsWith('x-amz-') || CONTENT_FIELDS.has(name)
}

/** Tags of a form are a document; as a header they are judged by policies like any others. */
function taggingHeader(document: string): string {
  const tags = readTagging(Buffer.from(document), 'object')
  return new URLSearchParams(
    tags.map(({ key, value }): [string, string] => [key, value]),
  ).toString()
}

function answer(
  exchange: S3Exchange,
  fields: PostFields,
  key: string,
  headers: ReturnType<typeof writtenHeaders>,
): S3Reply {
  const etag = String(headers['ETag'] ?? '').replaceAll('"', '')
  const redirect = fields.get('success_action_redirect') ?? fields.get('redirect')
  const target = redirect === undefined ? undefined : redirectTarget(redirect, exchange, key, etag)
  if (target !== undefined) return emptyReply(303, { ...headers, Location: target })
  const status = fields.get('success_action_status')
  if (status !== '201') return emptyReply(status === '200' ? 200 : 204, headers)
  const location = String(headers['Location'])
  const body = writePostResponse({ location, bucket: exchange.bucketName, key, etag })
  return xmlReply(body, headers, 201)
}

/** What is no address of the web is left alone, as S3 does. */
function redirectTarget(
  text: string,
  exchange: S3Exchange,
  key: string,
  etag: string,
): string | undefined {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return undefined
  const target = new URL(text)
  target.searchParams.append('bucket', exchange.bucketName)
  target.searchParams.append('key', key)
  target.searchParams.append('etag', `"${etag}"`)
  return target.href
}

function locationOf(exchange: S3Exchange, key: string): string {
  const { request } = exchange
  const scheme = request.isTls ? 'https' : 'http'
  const host = request.headers.get('host') ?? ''
  const path = `${exchange.bucketName}/${key}`.split('/').map(encodeURIComponent).join('/')
  return `${scheme}://${host}/${path}`
}

function tooSmall(sizeBytes: number, minBytes: number): S3Error {
  const fields = { ProposedSize: String(sizeBytes), MinSizeAllowed: String(minBytes) }
  return new S3Error('EntityTooSmall', undefined, { fields })
}
