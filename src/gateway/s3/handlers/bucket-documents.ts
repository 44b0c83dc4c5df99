import type { BucketDocument } from '../../../namespace/bucket-record.ts'
import { isPublicPolicy } from '../access/evaluate-policy.ts'
import { parseBucketPolicy } from '../access/policy-document.ts'
import { checkPutAcl, checkPutBucketPolicy } from '../access/put-acl-rules.ts'
import type { S3Action } from '../access/s3-actions.ts'
import type { Grant, ObjectOwnership } from '../bucket-settings.ts'
import type { BucketView, DocumentValues, JsonDocument } from '../bucket-view.ts'
import { writeAccessControlPolicy } from '../documents/access-control-policy.ts'
import { readCorsConfiguration, writeCorsConfiguration } from '../documents/cors.ts'
import {
  readEncryptionConfiguration,
  writeEncryptionConfiguration,
} from '../documents/encryption.ts'
import { readLifecycleConfiguration, writeLifecycleConfiguration } from '../documents/lifecycle.ts'
import {
  checkNotificationTargets,
  readNotificationConfiguration,
  writeNotificationConfiguration,
} from '../documents/notification.ts'
import {
  readObjectLockConfiguration,
  writeObjectLockConfiguration,
} from '../documents/object-lock.ts'
import { readOwnershipControls, writeOwnershipControls } from '../documents/ownership-controls.ts'
import { writePolicyStatus } from '../documents/policy-status.ts'
import { readPublicAccessBlock, writePublicAccessBlock } from '../documents/public-access-block.ts'
import { readTagging, writeTagging } from '../documents/tagging.ts'
import {
  readVersioningConfiguration,
  writeVersioningConfiguration,
} from '../documents/versioning.ts'
import { S3Error, type S3ErrorCode } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { emptyReply, type S3Reply, xmlReply } from '../s3-reply.ts'
import { grantsOf, readRequestedAcl } from './requested-acl.ts'

/** A document of a bucket that is read, written and removed as a whole. */
interface Setting<Kind extends JsonDocument> {
  readonly get: S3Action
  readonly put: S3Action
  /** When there is none. */
  readonly missing: S3ErrorCode
  readonly read: (body: Buffer, exchange: S3Exchange) => DocumentValues[Kind]
  readonly write: (value: DocumentValues[Kind]) => string
  /** @throws {S3Error} when this bucket cannot have it. */
  readonly check?: (view: BucketView, value: DocumentValues[Kind]) => void
}

type PlainSetting = Exclude<JsonDocument, 'acl'>

const SETTINGS: { readonly [Kind in PlainSetting]: Setting<Kind> } = {
  cors: {
    get: 's3:GetBucketCORS',
    put: 's3:PutBucketCORS',
    missing: 'NoSuchCORSConfiguration',
    read: readCorsConfiguration,
    write: writeCorsConfiguration,
  },
  encryption: {
    get: 's3:GetEncryptionConfiguration',
    put: 's3:PutEncryptionConfiguration',
    missing: 'ServerSideEncryptionConfigurationNotFoundError',
    read: readEncryptionConfiguration,
    write: writeEncryptionConfiguration,
  },
  lifecycle: {
    get: 's3:GetLifecycleConfiguration',
    put: 's3:PutLifecycleConfiguration',
    missing: 'NoSuchLifecycleConfiguration',
    read: (body, { parts }) => readLifecycleConfiguration(body, parts.random),
    write: writeLifecycleConfiguration,
  },
  notification: {
    get: 's3:GetBucketNotification',
    put: 's3:PutBucketNotification',
    missing: 'InternalError',
    read: (body, { parts }) => {
      const targets = readNotificationConfiguration(body, parts.random)
      checkNotificationTargets(targets, parts.config.webhooks ?? new Set())
      return targets
    },
    write: writeNotificationConfiguration,
  },
  objectLock: {
    get: 's3:GetBucketObjectLockConfiguration',
    put: 's3:PutBucketObjectLockConfiguration',
    missing: 'ObjectLockConfigurationNotFoundError',
    read: readObjectLockConfiguration,
    write: writeObjectLockConfiguration,
    check: ({ bucket }) => {
      if (bucket.isLockEnabled || bucket.versioning === 'enabled') return
      const message =
        "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
      throw new S3Error('InvalidBucketState', message)
    },
  },
  ownership: {
    get: 's3:GetBucketOwnershipControls',
    put: 's3:PutBucketOwnershipControls',
    missing: 'OwnershipControlsNotFoundError',
    read: readOwnershipControls,
    write: writeOwnershipControls,
    check: checkOwnership,
  },
  publicAccess: {
    get: 's3:GetBucketPublicAccessBlock',
    put: 's3:PutBucketPublicAccessBlock',
    missing: 'NoSuchPublicAccessBlockConfiguration',
    read: readPublicAccessBlock,
    write: writePublicAccessBlock,
  },
  tagging: {
    get: 's3:GetBucketTagging',
    put: 's3:PutBucketTagging',
    missing: 'NoSuchTagSet',
    read: (body) => readTagging(body, 'bucket'),
    write: writeTagging,
  },
}

/** Grants to others would sleep, and wake when the ownership is changed again. */
function checkOwnership(view: BucketView, ownership: ObjectOwnership): void {
  const { ownerId } = view.bucket
  const isOwners = ({ grantee }: Grant) => grantee.kind === 'user' && grantee.id === ownerId
  if (ownership !== 'BucketOwnerEnforced' || view.acl.grants.every(isOwners)) return
  throw new S3Error('InvalidBucketAclWithObjectOwnership')
}

export async function getSetting<Kind extends PlainSetting>(
  exchange: S3Exchange,
  kind: Kind,
): Promise<S3Reply> {
  const view = await exchange.bucket()
  const setting: Setting<Kind> = SETTINGS[kind]
  exchange.authorize(setting.get)
  const value = view.document(kind) ?? (kind === 'notification' ? [] : undefined)
  if (value !== undefined) return xmlReply(setting.write(value as DocumentValues[Kind]))
  if (kind === 'objectLock' && view.bucket.isLockEnabled) {
    return xmlReply(writeObjectLockConfiguration({ defaultRetention: undefined }))
  }
  const fields = { BucketName: view.bucket.name }
  throw new S3Error(setting.missing, undefined, { fields })
}

export async function putSetting<Kind extends PlainSetting>(
  exchange: S3Exchange,
  kind: Kind,
): Promise<S3Reply> {
  const view = await exchange.bucket()
  const setting: Setting<Kind> = SETTINGS[kind]
  exchange.authorize(setting.put)
  const value = setting.read(await exchange.document(), exchange)
  setting.check?.(view, value)
  await changeDocument(exchange, view, kind, JSON.stringify(value))
  // Source: the S3 API reference, "PutBucketTagging": the only one of these without content.
  return emptyReply(kind === 'tagging' ? 204 : 200)
}

export async function deleteSetting(exchange: S3Exchange, kind: PlainSetting): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize(SETTINGS[kind].put)
  await changeDocument(exchange, view, kind, '')
  return emptyReply(204)
}

export async function getVersioning(exchange: S3Exchange): Promise<S3Reply> {
  const { bucket } = await exchange.bucket()
  exchange.authorize('s3:GetBucketVersioning')
  const { versioning } = bucket
  const status = { off: undefined, enabled: 'Enabled', suspended: 'Suspended' } as const
  return xmlReply(writeVersioningConfiguration(status[versioning]))
}

export async function putVersioning(exchange: S3Exchange): Promise<S3Reply> {
  const { bucket, ref } = await exchange.bucket()
  exchange.authorize('s3:PutBucketVersioning')
  const status = readVersioningConfiguration(await exchange.document())
  if (status === 'Suspended' && bucket.isLockEnabled) {
    const message =
      'An Object Lock configuration is present on this bucket, so the versioning ' +
      'state cannot be changed.'
    throw new S3Error('InvalidBucketState', message)
  }
  const versioning = status === 'Enabled' ? 'enabled' : 'suspended'
  await exchange.parts.namespace.changeBucket(ref, { versioning }, exchange.signal)
  return emptyReply(200)
}

export async function getPolicy(exchange: S3Exchange): Promise<S3Reply> {
  const { bucket } = await exchange.bucket()
  exchange.authorize('s3:GetBucketPolicy')
  const body = bucket.documents.policy
  if (body === undefined) {
    throw new S3Error('NoSuchBucketPolicy', undefined, { fields: { BucketName: bucket.name } })
  }
  return { status: 200, headers: { 'Content-Type': 'application/json' }, body }
}

export async function putPolicy(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:PutBucketPolicy')
  const text = (await exchange.document()).toString('utf8')
  const policy = parseBucketPolicy(text, view.bucket.name)
  checkPutBucketPolicy(policy, view.document('publicAccess'))
  await changeDocument(exchange, view, 'policy', text)
  return emptyReply(204)
}

export async function deletePolicy(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:DeleteBucketPolicy')
  await changeDocument(exchange, view, 'policy', '')
  return emptyReply(204)
}

export async function getPolicyStatus(exchange: S3Exchange): Promise<S3Reply> {
  const { bucket, policy } = await exchange.bucket()
  exchange.authorize('s3:GetBucketPolicyStatus')
  if (policy === undefined) {
    throw new S3Error('NoSuchBucketPolicy', undefined, { fields: { BucketName: bucket.name } })
  }
  return xmlReply(writePolicyStatus(isPublicPolicy(policy)))
}

export async function getBucketAcl(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:GetBucketAcl')
  const { displayName = '' } = (await exchange.parts.users.findById(view.bucket.ownerId)) ?? {}
  const owner = { id: view.bucket.ownerId, displayName }
  const { acl } = view
  // The list that nobody has set has no name of the owner in it.
  const grants = acl.grants.map((grant) =>
    grant.grantee.kind === 'user' && grant.grantee.id === owner.id
      ? { ...grant, grantee: { ...grant.grantee, displayName } }
      : grant,
  )
  return xmlReply(writeAccessControlPolicy({ owner, grants }))
}

export async function putBucketAcl(exchange: S3Exchange): Promise<S3Reply> {
  const view = await exchange.bucket()
  exchange.authorize('s3:PutBucketAcl')
  const owner = await ownerOf(exchange, view.bucket.ownerId)
  const added = await readRequestedAcl(exchange, { kind: 'bucket', owner, bucketOwner: owner })
  const rules = {
    ownerId: owner.id,
    ownership: view.ownership,
    publicAccessBlock: view.document('publicAccess'),
  }
  checkPutAcl(added, rules)
  const grants = await grantsOf(exchange, added)
  await changeDocument(exchange, view, 'acl', JSON.stringify({ owner, grants }))
  return emptyReply(200)
}

/** A user that is gone is still named by its id. */
export async function ownerOf(exchange: S3Exchange, id: string) {
  return (await exchange.parts.users.findById(id)) ?? { id, displayName: '' }
}

async function changeDocument(
  exchange: S3Exchange,
  view: BucketView,
  kind: BucketDocument,
  text: string,
): Promise<void> {
  const { namespace } = exchange.parts
  const isLock = kind === 'objectLock'
  const change = { documents: { [kind]: text }, ...(isLock && { isLockEnabled: true as const }) }
  await namespace.changeBucket(view.ref, change, exchange.signal)
}
