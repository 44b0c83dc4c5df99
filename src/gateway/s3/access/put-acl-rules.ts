import type {
  AccessControlList,
  ObjectOwnership,
  Owner,
  PublicAccessBlock,
} from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { type CannedAcl, isPublicAcl } from './acl.ts'
import { isPublicPolicy } from './evaluate-policy.ts'
import type { Policy } from './policy-document.ts'

/** What a bucket lets be written about access. */
export interface PutAclRules {
  readonly ownerId: string
  readonly ownership: ObjectOwnership
  readonly publicAccessBlock?: PublicAccessBlock | undefined
}

/** An access control list that a request brings. */
export interface NewAcl {
  /** Undefined: it was given as grants, in headers or as XML. */
  readonly canned: CannedAcl | undefined
  readonly acl: AccessControlList
}

/**
 * Whether a bucket or one of its objects may get this list; not to be asked when a request says
 * nothing about access.
 *
 * @throws {S3Error} AccessControlListNotSupported: the bucket's owner owns everything in it, so
 * lists are off, and this one is not merely the owner's full control. AccessDenied: the list is
 * public and public ones are blocked.
 */
export function checkPutAcl(added: NewAcl, rules: PutAclRules): void {
  if (rules.ownership === 'BucketOwnerEnforced' && !isWithoutEffect(added, rules.ownerId)) {
    throw new S3Error('AccessControlListNotSupported')
  }
  if (rules.publicAccessBlock?.blockPublicAcls === true && isPublicAcl(added.acl)) {
    throw new S3Error('AccessDenied', 'Public access control lists are blocked for this bucket')
  }
}

/** Clients that cannot be told otherwise send these two with everything they write. */
function isWithoutEffect({ canned, acl }: NewAcl, bucketOwnerId: string): boolean {
  if (canned !== undefined) return canned === 'private' || canned === 'bucket-owner-full-control'
  return (
    acl.grants.length > 0 &&
    acl.grants.every(
      ({ grantee, permission }) =>
        permission === 'FULL_CONTROL' && grantee.kind === 'user' && grantee.id === bucketOwnerId,
    )
  )
}

/** @throws {S3Error} AccessDenied: the policy is public and public ones are blocked. */
export function checkPutBucketPolicy(
  policy: Policy,
  publicAccessBlock: PublicAccessBlock | undefined,
): void {
  if (publicAccessBlock?.blockPublicPolicy === true && isPublicPolicy(policy)) {
    throw new S3Error('AccessDenied', 'Public policies are blocked for this bucket')
  }
}

/** Who owns an object from the moment it is written. `canned`: of the request, if it had one. */
export function ownerOfNewObject(
  ownership: ObjectOwnership,
  owners: { readonly writer: Owner; readonly bucketOwner: Owner },
  canned: CannedAcl | undefined,
): Owner {
  switch (ownership) {
    case 'BucketOwnerEnforced':
      return owners.bucketOwner
    case 'BucketOwnerPreferred':
      return canned === 'bucket-owner-full-control' ? owners.bucketOwner : owners.writer
    case 'ObjectWriter':
      return owners.writer
  }
}
