import type { ObjectPage } from '../../../namespace/namespace-api.ts'
import { type ObjectVersion, publicVersionId } from '../../../namespace/object-version.ts'
import type { Owner } from '../bucket-settings.ts'
import type { BucketView } from '../bucket-view.ts'
import { writeListObjects, writeListObjectsV2 } from '../documents/list-objects.ts'
import { writeListVersionsResult } from '../documents/list-versions.ts'
import { invalidArgument } from '../invalid-argument.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { type S3Reply, xmlReply } from '../s3-reply.ts'
import { keysPage, type ListRequest, readListRequest } from './list-parameters.ts'

/** The id of a version, or what an earlier page said: that and where it was. */
const VERSION_MARKER = /^(?:null|[0-9a-f]{32})(?:\.\d{1,16})?$/

export async function listObjects(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:ListBucket', { key: undefined })
  const request = readListRequest(exchange, view, 'max-keys')
  const marker = exchange.query('marker') ?? ''
  const page = await pageOf(exchange, { ...request, after: marker })
  const names = ownerNames(exchange, view)
  const body = writeListObjects({
    ...keysPage(view, request, page),
    maxKeys: request.limit,
    objects: await listed(page, names),
    marker,
    nextMarker: request.delimiter === '' ? undefined : page.next,
  })
  return xmlReply(body)
}

export async function listObjectsV2(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:ListBucket', { key: undefined })
  const type = exchange.query('list-type') ?? ''
  if (type !== '2') throw invalidArgument('There is no such type of list', 'list-type', type)
  const request = readListRequest(exchange, view, 'max-keys')
  const token = exchange.query('continuation-token')
  const startAfter = exchange.query('start-after')
  const after = token === undefined ? (startAfter ?? '') : decodeToken(token)
  const page = await pageOf(exchange, { ...request, after })
  const isOwnerWanted = exchange.query('fetch-owner')?.toLowerCase() === 'true'
  const names = isOwnerWanted ? ownerNames(exchange, view) : undefined
  const body = writeListObjectsV2({
    ...keysPage(view, request, page),
    maxKeys: request.limit,
    objects: await listed(page, names),
    startAfter,
    continuationToken: token,
    nextContinuationToken: page.next && encodeToken(page.next),
  })
  return xmlReply(body)
}

export async function listVersions(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:ListBucketVersions', { key: undefined })
  const request = readListRequest(exchange, view, 'max-keys')
  const keyMarker = exchange.query('key-marker') ?? ''
  const versionIdMarker = exchange.query('version-id-marker') ?? ''
  if (versionIdMarker !== '' && keyMarker === '') {
    const message = 'A version-id marker cannot be specified without a key marker.'
    throw invalidArgument(message, 'version-id-marker', versionIdMarker)
  }
  if (versionIdMarker !== '' && !VERSION_MARKER.test(versionIdMarker)) {
    throw invalidArgument('Invalid version id specified', 'version-id-marker', versionIdMarker)
  }
  const { namespace } = exchange.parts
  const afterVersionId = versionIdMarker === '' ? undefined : versionIdMarker
  const page =
    request.limit === 0
      ? { versions: [], commonPrefixes: [], next: undefined }
      : await namespace.listVersions(
          { ...request, after: keyMarker, afterVersionId },
          exchange.signal,
        )
  const names = ownerNames(exchange, view)
  const versions = []
  for (const { isLatest, key, version } of page.versions) {
    const owner = await names(version)
    const versionId = publicVersionId(version)
    const { checksum, etag, modifiedAtMs, sizeBytes, storageClass } = version
    const shared = { key, versionId, isLatest, modifiedAtMs, owner }
    versions.push(
      version.isMarker
        ? ({ kind: 'delete-marker', ...shared } as const)
        : ({ kind: 'version', ...shared, etag, sizeBytes, storageClass, checksum } as const),
    )
  }
  const body = writeListVersionsResult({
    ...keysPage(view, request, page),
    maxKeys: request.limit,
    keyMarker,
    versionIdMarker,
    nextKeyMarker: page.next?.after,
    nextVersionIdMarker: page.next?.afterVersionId,
    versions,
  })
  return xmlReply(body)
}

async function pageOf(
  exchange: S3Exchange,
  request: ListRequest & { readonly after: string },
): Promise<ObjectPage> {
  if (request.limit === 0) return { objects: [], commonPrefixes: [], next: undefined }
  return await exchange.parts.namespace.listObjects(request, exchange.signal)
}

/** Without `names` nobody asked for owners. */
async function listed(page: ObjectPage, names: OwnerNames | undefined) {
  const objects = []
  for (const { key, version } of page.objects) {
    const { checksum, etag, modifiedAtMs, sizeBytes, storageClass } = version
    const owner = names && (await names(version))
    objects.push({ key, modifiedAtMs, etag, sizeBytes, storageClass, owner, checksum })
  }
  return objects
}

type OwnerNames = (version: ObjectVersion) => Owner | Promise<Owner>

/** A page has few owners: each is looked up once. */
function ownerNames({ parts }: S3Exchange, view: BucketView): OwnerNames {
  const known = new Map<string, Owner>()
  return ({ ownerId = view.bucket.ownerId }) => {
    const owner = known.get(ownerId)
    if (owner !== undefined) return owner
    return lookUp(ownerId)
  }

  async function lookUp(id: string): Promise<Owner> {
    const owner = (await parts.users.findById(id)) ?? { id, displayName: '' }
    known.set(id, owner)
    return owner
  }
}

/** Tokens say nothing to clients; they may have any character in them. */
function encodeToken(after: string): string {
  return Buffer.from(after).toString('base64url')
}

/** @throws {S3Error} InvalidArgument: it is none of ours. */
function decodeToken(token: string): string {
  const bytes = Buffer.from(token, 'base64url')
  const after = bytes.toString('utf8')
  const isOurs = token !== '' && encodeToken(after) === token.replace(/=+$/, '')
  if (isOurs && !after.includes('\0')) return after
  const message = 'The continuation token provided is incorrect'
  throw invalidArgument(message, 'continuation-token', token)
}
