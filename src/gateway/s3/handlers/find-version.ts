import { type ObjectVersion, publicVersionId } from '../../../namespace/object-version.ts'
import type { ObjectAccess } from '../access/authorize.ts'
import type { S3Action } from '../access/s3-actions.ts'
import type { AccessControlList } from '../bucket-settings.ts'
import type { BucketView } from '../bucket-view.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'

export interface VersionRequest {
  readonly view: BucketView
  readonly key: string
  /** As the client says it; undefined: the newest one. */
  readonly versionId: string | undefined
}

/**
 * The version a request is about, once it is known that the sender may do this to it. Who may not
 * list the bucket is not told whether there is such a key.
 *
 * @throws {S3Error} AccessDenied, NoSuchKey, NoSuchVersion, InvalidArgument; MethodNotAllowed: it
 * is a delete marker.
 */
export async function findVersion(
  exchange: S3Exchange,
  action: S3Action,
  request: VersionRequest,
): Promise<ObjectVersion> {
  const { key, versionId, view } = request
  checkVersionId(versionId)
  const { namespace } = exchange.parts
  const wanted = { bucket: view.ref, key, versionId }
  const version = await namespace.findObject(wanted, exchange.signal)
  const object = version === undefined || version.isMarker ? undefined : accessOf(version, view)
  const about = { bucket: view.access, key, object }
  if (!exchange.isAuthorized(action, about)) throw new S3Error('AccessDenied')
  if (version !== undefined && !version.isMarker) return version
  const mayList = exchange.isAuthorized('s3:ListBucket', { bucket: view.access, key: undefined })
  if (!mayList) throw new S3Error('AccessDenied')
  if (version?.isMarker === true) throw markerError(version, request)
  if (versionId === undefined) throw new S3Error('NoSuchKey', undefined, { fields: { Key: key } })
  throw new S3Error('NoSuchVersion', undefined, { fields: { Key: key, VersionId: versionId } })
}

/** What decides about a version beside its bucket. */
export function accessOf(version: ObjectVersion, view: BucketView): ObjectAccess {
  const ownerId = version.ownerId ?? view.bucket.ownerId
  const acl = version.acl === undefined ? undefined : (JSON.parse(version.acl) as AccessControlList)
  return { ownerId, acl, tags: version.tags }
}

/** @throws {S3Error} InvalidArgument: what no version can be called. */
export function checkVersionId(versionId: string | undefined): void {
  if (versionId === undefined || versionId === 'null' || /^[0-9a-f]{32}$/.test(versionId)) return
  throw invalidArgument('Invalid version id specified', 'versionId', versionId)
}

function markerError(version: ObjectVersion, { key, versionId }: VersionRequest): S3Error {
  const headers = {
    'x-amz-delete-marker': 'true',
    'x-amz-version-id': publicVersionId(version),
  }
  if (versionId === undefined) {
    return new S3Error('NoSuchKey', undefined, { fields: { Key: key }, headers })
  }
  const fields = { Method: 'GET', ResourceType: 'DeleteMarker' }
  const more = { 'Last-Modified': new Date(version.modifiedAtMs).toUTCString(), Allow: 'DELETE' }
  return new S3Error('MethodNotAllowed', undefined, { fields, headers: { ...headers, ...more } })
}
