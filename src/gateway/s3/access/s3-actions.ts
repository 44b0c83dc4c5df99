import type { Permission } from '../bucket-settings.ts'

export interface ActionRule {
  /** What an action is done to, and so which resource a policy has to name. */
  readonly level: 'service' | 'bucket' | 'object'
  /** Whose list of grants can allow it; undefined: no grant can, only policies and ownership. */
  readonly aclOf?: 'bucket' | 'object'
  readonly permission?: Permission
}

/**
 * Every action that a policy may name, and the permission of an access control list that stands for
 * it. Some are of calls that this gateway refuses: policies written elsewhere name them too.
 *
 * WRITE lets nobody delete a version for good, nor go round a retention: on AWS it does so only for
 * the owner of the bucket, who needs no grant.
 * Source: the S3 user guide, "Access control list (ACL) overview", and the service authorization
 * reference, "Actions, resources, and condition keys for Amazon S3".
 */
export const S3_ACTIONS = {
  's3:ListAllMyBuckets': { level: 'service' },
  's3:CreateBucket': { level: 'service' },
  's3:GetAccountPublicAccessBlock': { level: 'service' },
  's3:PutAccountPublicAccessBlock': { level: 'service' },
  's3:DeleteBucket': { level: 'bucket' },
  's3:DeleteBucketPolicy': { level: 'bucket' },
  's3:DeleteBucketWebsite': { level: 'bucket' },
  's3:GetAccelerateConfiguration': { level: 'bucket' },
  's3:GetAnalyticsConfiguration': { level: 'bucket' },
  's3:GetBucketAcl': { level: 'bucket', aclOf: 'bucket', permission: 'READ_ACP' },
  's3:GetBucketCORS': { level: 'bucket' },
  's3:GetBucketLocation': { level: 'bucket' },
  's3:GetBucketLogging': { level: 'bucket' },
  's3:GetBucketNotification': { level: 'bucket' },
  's3:GetBucketObjectLockConfiguration': { level: 'bucket' },
  's3:GetBucketOwnershipControls': { level: 'bucket' },
  's3:GetBucketPolicy': { level: 'bucket' },
  's3:GetBucketPolicyStatus': { level: 'bucket' },
  's3:GetBucketPublicAccessBlock': { level: 'bucket' },
  's3:GetBucketRequestPayment': { level: 'bucket' },
  's3:GetBucketTagging': { level: 'bucket' },
  's3:GetBucketVersioning': { level: 'bucket' },
  's3:GetBucketWebsite': { level: 'bucket' },
  's3:GetEncryptionConfiguration': { level: 'bucket' },
  's3:GetIntelligentTieringConfiguration': { level: 'bucket' },
  's3:GetInventoryConfiguration': { level: 'bucket' },
  's3:GetLifecycleConfiguration': { level: 'bucket' },
  's3:GetMetricsConfiguration': { level: 'bucket' },
  's3:GetReplicationConfiguration': { level: 'bucket' },
  's3:ListBucket': { level: 'bucket', aclOf: 'bucket', permission: 'READ' },
  's3:ListBucketMultipartUploads': { level: 'bucket', aclOf: 'bucket', permission: 'READ' },
  's3:ListBucketVersions': { level: 'bucket', aclOf: 'bucket', permission: 'READ' },
  's3:PutAccelerateConfiguration': { level: 'bucket' },
  's3:PutAnalyticsConfiguration': { level: 'bucket' },
  's3:PutBucketAcl': { level: 'bucket', aclOf: 'bucket', permission: 'WRITE_ACP' },
  's3:PutBucketCORS': { level: 'bucket' },
  's3:PutBucketLogging': { level: 'bucket' },
  's3:PutBucketNotification': { level: 'bucket' },
  's3:PutBucketObjectLockConfiguration': { level: 'bucket' },
  's3:PutBucketOwnershipControls': { level: 'bucket' },
  's3:PutBucketPolicy': { level: 'bucket' },
  's3:PutBucketPublicAccessBlock': { level: 'bucket' },
  's3:PutBucketRequestPayment': { level: 'bucket' },
  's3:PutBucketTagging': { level: 'bucket' },
  's3:PutBucketVersioning': { level: 'bucket' },
  's3:PutBucketWebsite': { level: 'bucket' },
  's3:PutEncryptionConfiguration': { level: 'bucket' },
  's3:PutIntelligentTieringConfiguration': { level: 'bucket' },
  's3:PutInventoryConfiguration': { level: 'bucket' },
  's3:PutLifecycleConfiguration': { level: 'bucket' },
  's3:PutMetricsConfiguration': { level: 'bucket' },
  's3:PutReplicationConfiguration': { level: 'bucket' },
  's3:AbortMultipartUpload': { level: 'object' },
  's3:BypassGovernanceRetention': { level: 'object' },
  's3:DeleteObject': { level: 'object', aclOf: 'bucket', permission: 'WRITE' },
  's3:DeleteObjectTagging': { level: 'object' },
  's3:DeleteObjectVersion': { level: 'object' },
  's3:DeleteObjectVersionTagging': { level: 'object' },
  's3:GetObject': { level: 'object', aclOf: 'object', permission: 'READ' },
  's3:GetObjectAcl': { level: 'object', aclOf: 'object', permission: 'READ_ACP' },
  's3:GetObjectAttributes': { level: 'object', aclOf: 'object', permission: 'READ' },
  's3:GetObjectLegalHold': { level: 'object' },
  's3:GetObjectRetention': { level: 'object' },
  's3:GetObjectTagging': { level: 'object' },
  's3:GetObjectTorrent': { level: 'object', aclOf: 'object', permission: 'READ' },
  's3:GetObjectVersion': { level: 'object', aclOf: 'object', permission: 'READ' },
  's3:GetObjectVersionAcl': { level: 'object', aclOf: 'object', permission: 'READ_ACP' },
  's3:GetObjectVersionAttributes': { level: 'object', aclOf: 'object', permission: 'READ' },
  's3:GetObjectVersionForReplication': { level: 'object' },
  's3:GetObjectVersionTagging': { level: 'object' },
  's3:GetObjectVersionTorrent': { level: 'object', aclOf: 'object', permission: 'READ' },
  's3:InitiateReplication': { level: 'object' },
  's3:ListMultipartUploadParts': { level: 'object' },
  's3:ObjectOwnerOverrideToBucketOwner': { level: 'object' },
  's3:PutObject': { level: 'object', aclOf: 'bucket', permission: 'WRITE' },
  's3:PutObjectAcl': { level: 'object', aclOf: 'object', permission: 'WRITE_ACP' },
  's3:PutObjectLegalHold': { level: 'object' },
  's3:PutObjectRetention': { level: 'object' },
  's3:PutObjectTagging': { level: 'object' },
  's3:PutObjectVersionAcl': { level: 'object', aclOf: 'object', permission: 'WRITE_ACP' },
  's3:PutObjectVersionTagging': { level: 'object' },
  's3:ReplicateDelete': { level: 'object' },
  's3:ReplicateObject': { level: 'object' },
  's3:ReplicateTags': { level: 'object' },
  's3:RestoreObject': { level: 'object' },
} as const satisfies Record<string, ActionRule>

export type S3Action = keyof typeof S3_ACTIONS

const NAMES_IN_LOWER_CASE = Object.keys(S3_ACTIONS).map((name) => name.toLowerCase())

/** Undefined: there is no such action, and whoever asks for it is to be refused. */
export function ruleOfAction(action: string): ActionRule | undefined {
  return Object.hasOwn(S3_ACTIONS, action) ? S3_ACTIONS[action as S3Action] : undefined
}

/** `fits` is asked with names in lower case: policies write actions in any case. */
export function isSomeAction(fits: (action: string) => boolean): boolean {
  return NAMES_IN_LOWER_CASE.some(fits)
}
