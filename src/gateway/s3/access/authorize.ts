import type { Identity } from '../auth/identity.ts'
import type {
  AccessControlList,
  ObjectOwnership,
  PublicAccessBlock,
  Tag,
} from '../bucket-settings.ts'
import { isS3Error, S3Error } from '../s3-error.ts'
import { permissionsOf } from './acl.ts'
import { EXISTING_TAG_PREFIX } from './condition-keys.ts'
import { evaluatePolicy, isPublicPolicy, type PolicyVerdict } from './evaluate-policy.ts'
import type { ConditionContext } from './policy-conditions.ts'
import { BUCKET_ARN_PREFIX, type Policy, parseUserPolicy } from './policy-document.ts'
import { type ActionRule, ruleOfAction, type S3Action } from './s3-actions.ts'

export interface BucketAccess {
  readonly name: string
  readonly ownerId: string
  readonly policy?: Policy | undefined
  readonly acl: AccessControlList
  readonly publicAccessBlock?: PublicAccessBlock | undefined
  readonly ownership: ObjectOwnership
}

export interface ObjectAccess {
  /** Of an upload that is not complete: who began it. */
  readonly ownerId: string
  readonly acl?: AccessControlList | undefined
  readonly tags: readonly Tag[]
}

/** One question: may this one do this to that? */
export interface AccessRequest {
  /** Undefined: the request is not signed. */
  readonly principal: Identity | undefined
  readonly action: S3Action
  /** Undefined: the action is not about a bucket that exists. */
  readonly bucket?: BucketAccess | undefined
  /** The name of the bucket to be made, for `s3:CreateBucket`. */
  readonly newBucket?: string | undefined
  /** Undefined: there is no such object, or it is not known whether there is. */
  readonly object?: ObjectAccess | undefined
  readonly key?: string | undefined
  readonly context: ConditionContext
}

/** The root user keeps these whatever a policy says, or a bucket could be locked for ever. */
const POLICY_ACTIONS: readonly S3Action[] = [
  's3:GetBucketPolicy',
  's3:PutBucketPolicy',
  's3:DeleteBucketPolicy',
]

/** Who owns an object may do these to it, beside what a grant for its list could give. */
const OBJECT_OWNER_ACTIONS: readonly S3Action[] = [
  's3:GetObjectTagging',
  's3:GetObjectVersionTagging',
  's3:PutObjectTagging',
  's3:PutObjectVersionTagging',
  's3:DeleteObjectTagging',
  's3:DeleteObjectVersionTagging',
]

/** Who began an upload may look at it and give it up. */
const UPLOADER_ACTIONS: readonly S3Action[] = [
  's3:ListMultipartUploadParts',
  's3:AbortMultipartUpload',
]

/** Service-wide calls of a user without a policy: they show and make buckets of its own only. */
const PLAIN_USER_ACTIONS: readonly S3Action[] = ['s3:ListAllMyBuckets', 's3:CreateBucket']

/** @throws {S3Error} AccessDenied */
export function authorize(request: AccessRequest): void {
  if (!isAuthorized(request)) throw new S3Error('AccessDenied')
}

/**
 * The one place where access is decided. What is not allowed here is denied:
 *
 * 1. A policy that denies wins over everything, for the root user only a bucket's policy.
 * 2. The root user may do the rest.
 * 3. A policy that allows is enough, be it the user's or the bucket's. All users are of one
 *    account: the two need not agree.
 * 4. A bucket's owner may do everything in it; it could make all objects its own anyway.
 * 5. The owner of an object may read it and its tags, and write its list and tags.
 * 6. A grant of the object's or the bucket's list allows what it stands for.
 *
 * Where a bucket's owner owns all its objects, 5 and 6 do not apply. The public access block takes
 * public grants out of 6, and a public policy's permissions for others than the owner out of 3.
 */
export function isAuthorized(request: AccessRequest): boolean {
  const { principal, action, bucket } = request
  const rule = ruleOfAction(action)
  if (rule === undefined) return false
  const resource = resourceOf(rule, request)
  if (resource === undefined) return false
  const context = contextOf(request)
  const question = { principal, action, resource, context }
  const userVerdict = verdictOfUser(question)
  if (bucket === undefined || rule.level === 'service') {
    return isServiceAllowed(request, userVerdict)
  }
  const bucketVerdict = bucket.policy ? evaluatePolicy(bucket.policy, question) : 'none'
  if (principal?.isRoot === true) {
    return bucketVerdict !== 'deny' || POLICY_ACTIONS.includes(action)
  }
  if (userVerdict === 'deny' || bucketVerdict === 'deny') return false
  if (userVerdict === 'allow') return true
  if (isSame(principal, bucket.ownerId)) return true
  if (bucketVerdict === 'allow' && !isPolicyRestricted(bucket)) return true
  if (UPLOADER_ACTIONS.includes(action)) return isSame(principal, request.object?.ownerId)
  return isOwnerOfObject(request, rule, bucket) || isGranted(request, rule, bucket)
}

/** Undefined: the request does not name what the action is about. */
function resourceOf(rule: ActionRule, request: AccessRequest): string | undefined {
  const { action, bucket, key, newBucket } = request
  switch (rule.level) {
    case 'service':
      if (action !== 's3:CreateBucket') return `${BUCKET_ARN_PREFIX}*`
      return newBucket === undefined ? undefined : `${BUCKET_ARN_PREFIX}${newBucket}`
    case 'bucket':
      return bucket === undefined ? undefined : `${BUCKET_ARN_PREFIX}${bucket.name}`
    case 'object':
      if (bucket === undefined || key === undefined) return undefined
      return `${BUCKET_ARN_PREFIX}${bucket.name}/${key}`
  }
}

/** The tags an object has are known here; for everything else the request is asked. */
function contextOf({ object, context }: AccessRequest): ConditionContext {
  return (name) => {
    if (!name.startsWith(EXISTING_TAG_PREFIX)) return context(name)
    const tagKey = name.slice(EXISTING_TAG_PREFIX.length)
    const tag = object?.tags.find((candidate) => candidate.key === tagKey)
    return tag === undefined ? undefined : [tag.value]
  }
}

/** A key ring gives the same identity again and again: its policy is read once. */
const userPolicies = new WeakMap<Identity, Policy | 'unreadable'>()

function verdictOfUser(question: Parameters<typeof evaluatePolicy>[1]): PolicyVerdict {
  const { principal } = question
  if (principal?.policy === undefined || principal.isRoot) return 'none'
  const policy = userPolicies.get(principal) ?? readUserPolicy(principal.policy)
  userPolicies.set(principal, policy)
  // What it forbids cannot be known any more.
  return policy === 'unreadable' ? 'deny' : evaluatePolicy(policy, question)
}

function readUserPolicy(json: string): Policy | 'unreadable' {
  try {
    return parseUserPolicy(json)
  } catch (error) {
    if (isS3Error(error, 'MalformedPolicy')) return 'unreadable'
    throw error
  }
}

function isServiceAllowed(request: AccessRequest, userVerdict: PolicyVerdict): boolean {
  const { principal, action } = request
  if (principal === undefined) return false
  if (principal.isRoot || userVerdict === 'allow') return true
  return principal.policy === undefined && PLAIN_USER_ACTIONS.includes(action)
}

function isSame(principal: Identity | undefined, ownerId: string | undefined): boolean {
  return principal !== undefined && ownerId !== undefined && principal.canonicalId === ownerId
}

function isPolicyRestricted(bucket: BucketAccess): boolean {
  if (bucket.publicAccessBlock?.restrictPublicBuckets !== true) return false
  return bucket.policy !== undefined && isPublicPolicy(bucket.policy)
}

function isOwnerOfObject(request: AccessRequest, rule: ActionRule, bucket: BucketAccess): boolean {
  if (bucket.ownership === 'BucketOwnerEnforced') return false
  if (!isSame(request.principal, request.object?.ownerId)) return false
  return rule.aclOf === 'object' || OBJECT_OWNER_ACTIONS.includes(request.action)
}

function isGranted(request: AccessRequest, rule: ActionRule, bucket: BucketAccess): boolean {
  if (bucket.ownership === 'BucketOwnerEnforced' || rule.permission === undefined) return false
  const acl = rule.aclOf === 'bucket' ? bucket.acl : request.object?.acl
  if (acl === undefined) return false
  const isPublicIgnored = bucket.publicAccessBlock?.ignorePublicAcls === true
  return permissionsOf(acl, request.principal, isPublicIgnored).has(rule.permission)
}
