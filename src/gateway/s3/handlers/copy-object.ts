import { versionPairs } from '../../../namespace/needle-pairs.ts'
import type { ObjectVersion, StorageClass } from '../../../namespace/object-version.ts'
import { publicVersionId } from '../../../namespace/object-version.ts'
import { parseObjectKey } from '../../../namespace/row-keys.ts'
import { newVersionId } from '../../../namespace/version-id.ts'
import type { ByteRange } from '../../byte-range.ts'
import { readVersion } from '../../stored-bytes.ts'
import { checkCopyConditions } from '../access/preconditions.ts'
import { type Checksum, createChecksum } from '../body/checksum.ts'
import { readAskedAlgorithm } from '../body/checksum-headers.ts'
import type { ObjectChecksum } from '../bucket-settings.ts'
import type { BucketView } from '../bucket-view.ts'
import { type CopySource, parseCopySource } from '../copy-source.ts'
import { writeCopyObjectResult } from '../documents/copy-result.ts'
import { causeOf } from '../events/event-cause.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { type MessageDigest, newMd5 } from '../message-digest.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { type S3Reply, xmlReply } from '../s3-reply.ts'
import { checkEarly } from './early-condition.ts'
import { accessOf, findVersion } from './find-version.ts'
import { UPLOAD_BYTES_MAX } from './put-object.ts'
import { nameStored, storePieces } from './store-body.ts'
import {
  readWriteAttributes,
  readWriteCondition,
  type WriteAttributes,
} from './write-attributes.ts'

export interface FoundSource {
  readonly source: CopySource
  readonly view: BucketView
  readonly version: ObjectVersion
}

export async function copyObject(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  const key = parseObjectKey(exchange.key)
  const asked = await readWriteAttributes(exchange, view)
  const condition = readWriteCondition(exchange)
  const found = await findSource(exchange)
  const { version: original } = found
  checkSourceSize(original.sizeBytes)
  const attributes = copiedAttributes(exchange, asked, found)
  checkSelfCopy(exchange, found, view, attributes.storageClass)
  await checkEarly(exchange, view, condition)
  const { parts } = exchange
  const id = newVersionId(parts.random, parts.clock.nowMs())
  const owner = { bucket: view.bucket.name, key, version: id }
  const range = { start: 0, end: original.sizeBytes }
  const copy = new CopiedBytes(exchange, original, range)
  const { sizeBytes } = original
  const isNull = view.bucket.versioning !== 'enabled'
  const told = () =>
    versionPairs({ ...attributes, ...copy.sums, sizeBytes, isNull, isRecord: false })
  const { storageClass } = attributes
  const part = await storePieces(parts, copy, sizeBytes, owner, storageClass, told)
  const version = {
    ...attributes,
    id,
    sizeBytes,
    ...copy.sums,
    parts: [part],
  }
  const cause = causeOf(exchange, view, 'ObjectCreated:Copy')
  const request = { bucket: view.ref, key, version, condition, cause }
  const stored = await nameStored(parts, part, () =>
    parts.namespace.putObject(request, exchange.signal),
  )
  const { checksum, etag, modifiedAtMs } = stored
  return xmlReply(writeCopyObjectResult({ modifiedAtMs, etag, checksum }), {
    ...(view.bucket.versioning !== 'off' && { 'x-amz-version-id': publicVersionId(stored) }),
    ...sourceVersionHeader(found),
  })
}

/** The source of a copy, which the sender may read. @throws {S3Error} as `findVersion`. */
export async function findSource(exchange: S3Exchange): Promise<FoundSource> {
  const source = parseCopySource(exchange.header('x-amz-copy-source') ?? '')
  const view = await exchange.bucketNamed(source.bucket)
  const expected = exchange.header('x-amz-source-expected-bucket-owner')
  if (expected !== undefined && expected !== view.bucket.ownerId) throw new S3Error('AccessDenied')
  const { key, versionId } = source
  const action = versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion'
  const version = await findVersion(exchange, action, { view, key, versionId }).catch(markerSource)
  const header = (name: string) => exchange.header(name)
  checkCopyConditions(header, { etag: version.etag, lastModifiedMs: version.modifiedAtMs })
  return { source, view, version }
}

/** @throws {S3Error} InvalidRequest: more than is copied at once. */
export function checkSourceSize(sizeBytes: number): void {
  if (sizeBytes <= UPLOAD_BYTES_MAX) return
  const message = 'The specified copy source is larger than the maximum allowable size for a copy'
  throw new S3Error('InvalidRequest', `${message} source: ${UPLOAD_BYTES_MAX}`)
}

export function sourceVersionHeader({ version, view }: FoundSource) {
  if (view.bucket.versioning === 'off') return {}
  return { 'x-amz-copy-source-version-id': publicVersionId(version) }
}

export interface CopiedSums {
  /** MD5 in hex. */
  readonly etag: string
  readonly checksum: ObjectChecksum
}

/** The bytes of a copy on their way, with the sums of what passed. */
export class CopiedBytes implements AsyncIterable<Uint8Array> {
  readonly #md5: MessageDigest = newMd5()
  readonly #exchange: S3Exchange
  readonly #original: ObjectVersion
  readonly #range: ByteRange
  readonly #sum: Checksum
  readonly #algorithm: ObjectChecksum['algorithm']
  #sums: CopiedSums | undefined

  constructor(
    exchange: S3Exchange,
    original: ObjectVersion,
    range: ByteRange,
    algorithm = readAskedAlgorithm((name) => exchange.header(name)),
  ) {
    this.#exchange = exchange
    this.#original = original
    this.#range = range
    this.#algorithm = algorithm ?? original.checksum?.algorithm ?? 'CRC64NVME'
    this.#sum = createChecksum(this.#algorithm)
  }

  /** Of the copy, once all of it has passed. */
  get sums(): CopiedSums {
    this.#sums ??= {
      etag: this.#md5.digest('hex'),
      checksum: {
        algorithm: this.#algorithm,
        type: 'FULL_OBJECT',
        value: this.#sum.digest().toString('base64'),
      },
    }
    return this.#sums
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const { parts, signal } = this.#exchange
    for await (const piece of readVersion(parts.client, this.#original, this.#range, signal)) {
      this.#md5.update(piece)
      this.#sum.update(piece)
      yield piece
    }
  }
}

/** A redirect is of one key: it is not copied along. */
const REDIRECT = 'x-amz-website-redirect-location'

/** @throws {S3Error} AccessDenied: the tags would come along, and the sender may not read them. */
function copiedAttributes(
  exchange: S3Exchange,
  asked: WriteAttributes,
  found: FoundSource,
): WriteAttributes {
  const { contentType, headers, metadata } = found.version
  const isReplaced = readDirective(exchange, 'x-amz-metadata-directive') === 'REPLACE'
  const areTagsReplaced = readDirective(exchange, 'x-amz-tagging-directive') === 'REPLACE'
  const tags = areTagsReplaced ? asked.tags : readableTags(exchange, found)
  if (isReplaced) return { ...asked, tags }
  const { [REDIRECT]: _, ...copied } = headers
  const { [REDIRECT]: redirect } = asked.headers
  const own = redirect === undefined ? copied : { ...copied, [REDIRECT]: redirect }
  return { ...asked, contentType, headers: own, metadata, tags }
}

function readableTags(exchange: S3Exchange, { source, version, view }: FoundSource) {
  if (version.tags.length === 0) return []
  const { key, versionId } = source
  const action = versionId === undefined ? 's3:GetObjectTagging' : 's3:GetObjectVersionTagging'
  exchange.authorize(action, { bucket: view.access, key, object: accessOf(version, view) })
  exchange.authorize('s3:PutObjectTagging')
  return version.tags
}

function readDirective(exchange: S3Exchange, name: string): 'COPY' | 'REPLACE' {
  const text = exchange.header(name)
  if (text === undefined || text === 'COPY') return 'COPY'
  if (text === 'REPLACE') return text
  throw invalidArgument(`Unknown value of ${name}`, name, text)
}

/** @throws {S3Error} InvalidRequest: the copy would be what is there already. */
function checkSelfCopy(
  exchange: S3Exchange,
  { source, version, view: from }: FoundSource,
  view: BucketView,
  storageClass: StorageClass,
): void {
  const isSame = from.bucket.id === view.bucket.id && source.key === exchange.key
  if (!isSame || source.versionId !== undefined) return
  const directive = readDirective(exchange, 'x-amz-metadata-directive')
  if (directive === 'REPLACE' || storageClass !== version.storageClass) return
  if (exchange.header(REDIRECT) !== undefined) return
  const algorithm = readAskedAlgorithm((name) => exchange.header(name))
  if (algorithm !== undefined && algorithm !== version.checksum?.algorithm) return
  throw new S3Error(
    'InvalidRequest',
    'This copy request is illegal because it is trying to copy an object to itself without ' +
      "changing the object's metadata, storage class, website redirect location or encryption " +
      'attributes.',
  )
}

/** A marker as a source is no object; named by its id it is a request that makes no sense. */
function markerSource(error: unknown): never {
  if (error instanceof S3Error && error.code === 'MethodNotAllowed') {
    throw new S3Error('InvalidRequest', 'The source of a copy request may not be a delete marker')
  }
  throw error
}
