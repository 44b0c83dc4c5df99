/**
 * What can be set for a bucket or an object, as values: read from and written to XML or JSON by
 * `documents/`, judged by `access/` and by the lifecycle, and stored as JSON by the namespace.
 */

import type { EventRule } from '../../namespace/event-rules.ts'
import type { RetentionMode, Tag } from '../../namespace/object-version.ts'

export {
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
  type ChecksumType,
  type ObjectChecksum,
  RETENTION_MODES,
  type Retention,
  type RetentionMode,
  STORAGE_CLASSES,
  type StorageClass,
  type Tag,
} from '../../namespace/object-version.ts'

export interface Owner {
  /** The canonical user id. */
  readonly id: string
  readonly displayName: string
}

/** Groups that S3 defines, by the last part of their URI. */
export type GranteeGroup = 'AllUsers' | 'AuthenticatedUsers' | 'LogDelivery'

export type Grantee =
  | { readonly kind: 'user'; readonly id: string; readonly displayName: string }
  /** Only in requests: it is turned into a user before it is stored. */
  | { readonly kind: 'email'; readonly email: string }
  | { readonly kind: 'group'; readonly group: GranteeGroup }

export const PERMISSIONS = ['FULL_CONTROL', 'READ', 'WRITE', 'READ_ACP', 'WRITE_ACP'] as const
export type Permission = (typeof PERMISSIONS)[number]

export interface Grant {
  readonly grantee: Grantee
  readonly permission: Permission
}

export interface AccessControlList {
  readonly owner: Owner
  readonly grants: readonly Grant[]
}

export const OBJECT_OWNERSHIPS = [
  'BucketOwnerEnforced',
  'BucketOwnerPreferred',
  'ObjectWriter',
] as const
export type ObjectOwnership = (typeof OBJECT_OWNERSHIPS)[number]

export interface PublicAccessBlock {
  readonly blockPublicAcls: boolean
  readonly ignorePublicAcls: boolean
  readonly blockPublicPolicy: boolean
  readonly restrictPublicBuckets: boolean
}

export interface CorsRule {
  readonly id: string | undefined
  readonly allowedOrigins: readonly string[]
  readonly allowedMethods: readonly string[]
  readonly allowedHeaders: readonly string[]
  readonly exposeHeaders: readonly string[]
  readonly maxAgeSeconds: number | undefined
}

export type VersioningStatus = 'Enabled' | 'Suspended'

/** Exactly one of days and years. */
export interface DefaultRetention {
  readonly mode: RetentionMode
  readonly days: number | undefined
  readonly years: number | undefined
}

export interface ObjectLockSettings {
  /** Undefined: object lock is on, but new objects are not retained unless the writer says so. */
  readonly defaultRetention: DefaultRetention | undefined
}

export interface LifecycleFilter {
  readonly prefix: string | undefined
  readonly tags: readonly Tag[]
  /** Objects must be larger than this. */
  readonly sizeAboveBytes: number | undefined
  readonly sizeBelowBytes: number | undefined
}

export interface LifecycleTransition {
  /** Exactly one of days and date. */
  readonly days: number | undefined
  readonly dateMs: number | undefined
  readonly storageClass: string
}

export interface LifecycleExpiration {
  /** At most one of these three is given. */
  readonly days: number | undefined
  readonly dateMs: number | undefined
  readonly isExpiredMarkerDeleted: boolean
}

export interface NoncurrentExpiration {
  readonly noncurrentDays: number
  /** So many of the newest noncurrent versions are kept whatever their age. */
  readonly newerVersionsKept: number | undefined
}

export interface NoncurrentTransition extends NoncurrentExpiration {
  readonly storageClass: string
}

export interface LifecycleRule {
  readonly id: string
  readonly isEnabled: boolean
  readonly filter: LifecycleFilter
  /** It was given as `Prefix` below the rule, as old clients do, and is shown the same way. */
  readonly isOldStyle: boolean
  readonly expiration: LifecycleExpiration | undefined
  readonly transitions: readonly LifecycleTransition[]
  readonly noncurrentExpiration: NoncurrentExpiration | undefined
  readonly noncurrentTransitions: readonly NoncurrentTransition[]
  readonly abortUploadsAfterDays: number | undefined
}

export const NOTIFICATION_KINDS = [
  'TopicConfiguration',
  'QueueConfiguration',
  'CloudFunctionConfiguration',
] as const
/** The elements of targets; to us they mean the same. */
export type NotificationKind = (typeof NOTIFICATION_KINDS)[number]

/** `arn` is like `arn:hayloft:sqs::name:webhook`; its URL is a setting of the gateway. */
export interface NotificationTarget extends EventRule {
  /** Undefined: the kind that the ARN is of. */
  readonly kind?: NotificationKind | undefined
}
