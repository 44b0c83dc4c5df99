import type { ChangeObjectRequest, ObjectChange } from '../../../namespace/namespace-api.ts'
import { type ObjectVersion, publicVersionId } from '../../../namespace/object-version.ts'
import { expandCannedAcl } from '../access/acl.ts'
import { checkPutAcl } from '../access/put-acl-rules.ts'
import type { S3Action } from '../access/s3-actions.ts'
import type { AccessControlList } from '../bucket-settings.ts'
import type { BucketView } from '../bucket-view.ts'
import { writeAccessControlPolicy } from '../documents/access-control-policy.ts'
import { readLegalHold, writeLegalHold } from '../documents/legal-hold.ts'
import { writeObjectAttributes } from '../documents/object-attributes.ts'
import { readRetention, writeRetention } from '../documents/retention.ts'
import { readTagging, writeTagging } from '../documents/tagging.ts'
import { causeOf } from '../events/event-cause.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { httpDate } from '../object-headers.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { emptyReply, type S3Reply, xmlReply } from '../s3-reply.ts'
import { ownerOf } from './bucket-documents.ts'
import { findVersion } from './find-version.ts'
import { grantsOf, readRequestedAcl } from './requested-acl.ts'

interface Target {
  readonly view: BucketView
  readonly version: ObjectVersion
  /** As the client says it. */
  readonly versionId: string | undefined
}

export async function getObjectTagging(exchange: S3Exchange): Promise<S3Reply> {
  const { version, view } = await target(
    exchange,
    's3:GetObjectTagging',
    's3:GetObjectVersionTagging',
  )
  return xmlReply(writeTagging(version.tags), versionHeader(version, view))
}

export async function putObjectTagging(exchange: S3Exchange): Promise<S3Reply> {
  await exchange.bucket()
  const document = await exchange.document()
  const tags = attempt(() => readTagging(document, 'object'))
  // Policies may go by the tags: whoever is denied hears nothing of what is wrong with them.
  exchange.bodyTags = new Map(tags.value?.map(({ key, value }) => [key, value]))
  const found = await target(exchange, 's3:PutObjectTagging', 's3:PutObjectVersionTagging')
  if (tags.value === undefined) throw tags.error
  const cause = causeOf(exchange, found.view, 'ObjectTagging:Put')
  return emptyReply(200, await change(exchange, found, { tags: tags.value }, { cause }))
}

export async function deleteObjectTagging(exchange: S3Exchange): Promise<S3Reply> {
  const found = await target(exchange, 's3:DeleteObjectTagging', 's3:DeleteObjectVersionTagging')
  const cause = causeOf(exchange, found.view, 'ObjectTagging:Delete')
  return emptyReply(204, await change(exchange, found, { tags: [] }, { cause }))
}

export async function getObjectAcl(exchange: S3Exchange): Promise<S3Reply> {
  const { version, view } = await target(exchange, 's3:GetObjectAcl', 's3:GetObjectVersionAcl')
  const owner = await ownerOf(exchange, version.ownerId ?? view.bucket.ownerId)
  const stored =
    version.acl === undefined ? undefined : (JSON.parse(version.acl) as AccessControlList)
  const acl = stored ?? expandCannedAcl('private', { kind: 'object', owner, bucketOwner: owner })
  return xmlReply(writeAccessControlPolicy({ ...acl, owner }), versionHeader(version, view))
}

export async function putObjectAcl(exchange: S3Exchange): Promise<S3Reply> {
  const found = await target(exchange, 's3:PutObjectAcl', 's3:PutObjectVersionAcl')
  const { version, view } = found
  const owner = await ownerOf(exchange, version.ownerId ?? view.bucket.ownerId)
  const bucketOwner = await ownerOf(exchange, view.bucket.ownerId)
  const added = await readRequestedAcl(exchange, { kind: 'object', owner, bucketOwner })
  checkPutAcl(added, {
    ownerId: bucketOwner.id,
    ownership: view.ownership,
    publicAccessBlock: view.document('publicAccess'),
  })
  const grants = await grantsOf(exchange, added)
  const acl = JSON.stringify({ owner, grants })
  const cause = causeOf(exchange, view, 'ObjectAcl:Put')
  return emptyReply(200, await change(exchange, found, { acl }, { cause }))
}

export async function getRetention(exchange: S3Exchange): Promise<S3Reply> {
  const { version, view } = await target(exchange, 's3:GetObjectRetention', 's3:GetObjectRetention')
  requireLock(view)
  if (version.retention === undefined) throw new S3Error('NoSuchObjectLockConfiguration')
  return xmlReply(writeRetention(version.retention))
}

export async function putRetention(exchange: S3Exchange): Promise<S3Reply> {
  const found = await target(exchange, 's3:PutObjectRetention', 's3:PutObjectRetention')
  requireLock(found.view)
  const value = readRetention(await exchange.document())
  if (value !== undefined && value.untilMs <= exchange.parts.clock.nowMs()) {
    throw new S3Error('InvalidArgument', 'The retain until date must be in the future!')
  }
  const wants = exchange.header('x-amz-bypass-governance-retention')?.toLowerCase() === 'true'
  const bypassesGovernance = wants && exchange.isAuthorized('s3:BypassGovernanceRetention')
  const more = { bypassesGovernance }
  return emptyReply(200, await change(exchange, found, { retention: { value } }, more))
}

export async function getLegalHold(exchange: S3Exchange): Promise<S3Reply> {
  const { version, view } = await target(exchange, 's3:GetObjectLegalHold', 's3:GetObjectLegalHold')
  requireLock(view)
  return xmlReply(writeLegalHold(version.isLegalHold))
}

export async function putLegalHold(exchange: S3Exchange): Promise<S3Reply> {
  const found = await target(exchange, 's3:PutObjectLegalHold', 's3:PutObjectLegalHold')
  requireLock(found.view)
  const isLegalHold = readLegalHold(await exchange.document())
  return emptyReply(200, await change(exchange, found, { isLegalHold }))
}

const ATTRIBUTES = ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'] as const
/** Of one page. */
const PARTS_MAX = 1000

export async function getObjectAttributes(exchange: S3Exchange): Promise<S3Reply> {
  const { version, view } = await target(
    exchange,
    's3:GetObjectAttributes',
    's3:GetObjectVersionAttributes',
  )
  const wanted = readWantedAttributes(exchange)
  const has = (name: (typeof ATTRIBUTES)[number]) => wanted.has(name)
  const isMultipart = version.etag.includes('-')
  const body = writeObjectAttributes({
    etag: has('ETag') ? version.etag : undefined,
    checksum: has('Checksum') ? version.checksum : undefined,
    parts: has('ObjectParts') && isMultipart ? partsOf(exchange, version) : undefined,
    storageClass: has('StorageClass') ? version.storageClass : undefined,
    sizeBytes: has('ObjectSize') ? version.sizeBytes : undefined,
  })
  const headers = { 'Last-Modified': httpDate(version.modifiedAtMs) }
  return xmlReply(body, { ...headers, ...versionHeader(version, view) })
}

function readWantedAttributes(exchange: S3Exchange): ReadonlySet<string> {
  const header = exchange.header('x-amz-object-attributes')
  const names = (header ?? '').split(',').map((name) => name.trim())
  const known = (name: string) => ATTRIBUTES.some((attribute) => attribute === name)
  if (header !== undefined && names.every(known)) return new Set(names)
  const message = 'Invalid attribute name specified.'
  throw invalidArgument(message, 'x-amz-object-attributes', header ?? '')
}

function partsOf(exchange: S3Exchange, version: ObjectVersion) {
  const maxParts = Math.min(readNumberHeader(exchange, 'x-amz-max-parts') ?? PARTS_MAX, PARTS_MAX)
  const marker = readNumberHeader(exchange, 'x-amz-part-number-marker') ?? 0
  const { checksum, parts } = version
  const shown = parts.slice(marker, marker + maxParts)
  const end = marker + shown.length
  return {
    partsCount: parts.length,
    partNumberMarker: marker,
    nextPartNumberMarker: end,
    maxParts,
    // A page of nothing has no place to go on from.
    isTruncated: maxParts > 0 && end < parts.length,
    parts: shown.map((part, index) => ({
      partNumber: marker + index + 1,
      sizeBytes: part.sizeBytes,
      checksum:
        checksum === undefined || part.checksum === undefined
          ? undefined
          : { algorithm: checksum.algorithm, value: part.checksum },
    })),
  }
}

function readNumberHeader(exchange: S3Exchange, name: string): number | undefined {
  const text = exchange.header(name)
  if (text === undefined) return undefined
  if (/^\d{1,6}$/.test(text)) return Number(text)
  throw invalidArgument(`${name} must be a whole number`, name, text)
}

function attempt<Value>(read: () => Value): { readonly value?: Value; readonly error?: unknown } {
  try {
    return { value: read() }
  } catch (error) {
    return { error }
  }
}

async function target(
  exchange: S3Exchange,
  action: S3Action,
  versionAction: S3Action,
): Promise<Target> {
  const view = await exchange.bucket()
  const versionId = exchange.query('versionId')
  const asked = versionId === undefined ? action : versionAction
  const version = await findVersion(exchange, asked, { view, key: exchange.key, versionId })
  return { view, version, versionId }
}

async function change(
  exchange: S3Exchange,
  { version, versionId, view }: Target,
  wanted: ObjectChange,
  more: Pick<ChangeObjectRequest, 'bypassesGovernance' | 'cause'> = {},
) {
  const request = { bucket: view.ref, key: exchange.key, versionId, id: version.id, change: wanted }
  await exchange.parts.namespace.changeObject({ ...request, ...more }, exchange.signal)
  return versionHeader(version, view)
}

function versionHeader(version: ObjectVersion, view: BucketView): Record<string, string> {
  if (view.bucket.versioning === 'off') return {}
  return { 'x-amz-version-id': publicVersionId(version) }
}

function requireLock({ bucket }: BucketView): void {
  if (bucket.isLockEnabled) return
  throw new S3Error('InvalidRequest', 'Bucket is missing Object Lock Configuration')
}
