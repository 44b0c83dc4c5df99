import { isStoreError } from '../../../base/store-error.ts'
import { type Bucket, isBucketName } from '../../../namespace/bucket-record.ts'
import type { CreateBucketRequest } from '../../../namespace/namespace-api.ts'
import { resolveGrants } from '../access/acl.ts'
import { checkPutAcl, type NewAcl } from '../access/put-acl-rules.ts'
import { OBJECT_OWNERSHIPS, type ObjectOwnership } from '../bucket-settings.ts'
import { readCreateBucketConfiguration } from '../documents/create-bucket.ts'
import { writeListBuckets } from '../documents/list-buckets.ts'
import { writeLocationConstraint } from '../documents/location-constraint.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { isS3Error, S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { DEFAULT_REGION } from '../s3-parts.ts'
import { emptyReply, type S3Reply, xmlReply } from '../s3-reply.ts'
import { readCount } from './list-parameters.ts'
import { readHeaderAcl } from './requested-acl.ts'

const BUCKETS_MAX = 10_000

export async function listBuckets(exchange: S3Exchange): Promise<S3Reply> {
  exchange.authorize('s3:ListAllMyBuckets')
  const { principal } = exchange
  if (principal === undefined) throw new S3Error('AccessDenied')
  const limit = readCount(exchange, 'max-buckets', { min: 1, max: BUCKETS_MAX, usual: BUCKETS_MAX })
  const prefix = exchange.query('prefix')
  const request = {
    // The root user sees what there is.
    ownerId: principal.isRoot ? undefined : principal.canonicalId,
    prefix: prefix ?? '',
    after: exchange.query('continuation-token') ?? '',
    // One more shows whether anything follows; a full page can only be taken to go on.
    limit: Math.min(limit + 1, BUCKETS_MAX),
  }
  const found = await exchange.parts.namespace.listBuckets(request, exchange.signal)
  const buckets = found.slice(0, limit)
  const goesOn = found.length > limit || found.length === BUCKETS_MAX
  const isPaged = exchange.query('max-buckets') !== undefined
  const page = {
    owner: { id: principal.canonicalId, displayName: principal.displayName },
    buckets: buckets.map(({ createdAtMs, name }) => {
      return { name, createdAtMs, region: isPaged ? regionOf(exchange) : undefined }
    }),
    continuationToken: goesOn ? buckets.at(-1)?.name : undefined,
    prefix,
  }
  return xmlReply(writeListBuckets(page))
}

export async function createBucket(exchange: S3Exchange): Promise<S3Reply> {
  const { namespace, users } = exchange.parts
  const name = exchange.bucketName
  exchange.authorize('s3:CreateBucket', { newBucket: name })
  const { principal } = exchange
  if (principal === undefined) throw new S3Error('AccessDenied')
  if (!isBucketName(name)) {
    throw new S3Error('InvalidBucketName', undefined, { fields: { BucketName: name } })
  }
  const body = await exchange.document()
  const settings = body.length === 0 ? undefined : readCreateBucketConfiguration(body)
  checkRegion(exchange, settings?.region)
  const owner = { id: principal.canonicalId, displayName: principal.displayName }
  const ownership = readOwnership(exchange)
  const added = readHeaderAcl(exchange, { kind: 'bucket', owner, bucketOwner: owner })
  if (added !== undefined) checkNewAcl(added, owner.id, ownership)
  const grants = added && (await resolveGrants(added.acl.grants, users))
  const tags = settings?.tags ?? []
  const request = {
    name,
    ownerId: owner.id,
    isLockEnabled: exchange.header('x-amz-bucket-object-lock-enabled')?.toLowerCase() === 'true',
    documents: {
      ...(grants !== undefined && { acl: JSON.stringify({ owner, grants }) }),
      ownership: JSON.stringify(ownership),
      ...(tags.length > 0 && { tagging: JSON.stringify(tags) }),
    },
  }
  const headers = { Location: `/${name}` }
  try {
    await namespace.createBucket(request, exchange.signal)
    return emptyReply(200, headers)
  } catch (error) {
    if (!isStoreError(error, 'BUCKET_EXISTS')) throw error
    const there = await namespace.findBucket(name, exchange.signal)
    const isOwn = there?.ownerId === owner.id
    const isDefaultRegion = regionOf(exchange) === DEFAULT_REGION
    if (isOwn && isDefaultRegion && isSameBucket(there, request)) return emptyReply(200, headers)
    const code = isOwn && !isDefaultRegion ? 'BucketAlreadyOwnedByYou' : 'BucketAlreadyExists'
    throw new S3Error(code, undefined, { fields: { BucketName: name } })
  }
}

/**
 * To make a bucket again is no error in the first region of S3, and programs that begin so rely on
 * it. What is there stays as it is, so it must be what was asked for.
 */
function isSameBucket(there: Bucket, asked: CreateBucketRequest): boolean {
  return there.isLockEnabled === asked.isLockEnabled && there.documents.acl === asked.documents.acl
}

export async function headBucket(exchange: S3Exchange): Promise<S3Reply> {
  await exchange.bucket()
  exchange.authorize('s3:ListBucket')
  return emptyReply(200, { 'x-amz-bucket-region': regionOf(exchange) })
}

export async function deleteBucket(exchange: S3Exchange): Promise<S3Reply> {
  const { ref } = await exchange.bucket()
  exchange.authorize('s3:DeleteBucket')
  await exchange.parts.namespace.deleteBucket(ref, exchange.signal)
  return emptyReply(204)
}

export async function getBucketLocation(exchange: S3Exchange): Promise<S3Reply> {
  await exchange.bucket()
  exchange.authorize('s3:GetBucketLocation')
  const region = regionOf(exchange)
  return xmlReply(writeLocationConstraint(region === DEFAULT_REGION ? '' : region))
}

function regionOf({ parts }: S3Exchange): string {
  return parts.config.region ?? DEFAULT_REGION
}

/** Lists that have no effect in a new bucket are refused with another code than in an old one. */
function checkNewAcl(added: NewAcl, ownerId: string, ownership: ObjectOwnership): void {
  try {
    checkPutAcl(added, { ownerId, ownership })
  } catch (cause) {
    if (!isS3Error(cause, 'AccessControlListNotSupported')) throw cause
    throw new S3Error('InvalidBucketAclWithObjectOwnership', undefined, { cause })
  }
}

function checkRegion(exchange: S3Exchange, wanted: string | undefined): void {
  const { region } = exchange.parts.config
  if (wanted === undefined || wanted === '' || region === undefined || wanted === region) return
  const message = `The ${wanted} location constraint is incompatible for the region ${region}.`
  throw new S3Error('IllegalLocationConstraintException', message)
}

function readOwnership(exchange: S3Exchange): ObjectOwnership {
  const text = exchange.header('x-amz-object-ownership')
  if (text === undefined) return 'BucketOwnerEnforced'
  const found = OBJECT_OWNERSHIPS.find((known) => known === text)
  if (found !== undefined) return found
  throw invalidArgument(`${text} is no object ownership`, 'x-amz-object-ownership', text)
}
