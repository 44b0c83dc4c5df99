import { quote } from '../../../base/store-error.ts'
import type { Identity } from '../auth/identity.ts'
import type {
  AccessControlList,
  Grant,
  Grantee,
  GranteeGroup,
  Owner,
  Permission,
} from '../bucket-settings.ts'
import { GRANTS_MAX, groupOfUri } from '../grantee-groups.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { S3Error } from '../s3-error.ts'

export const CANNED_ACLS = [
  'private',
  'public-read',
  'public-read-write',
  'authenticated-read',
  'bucket-owner-read',
  'bucket-owner-full-control',
  'log-delivery-write',
] as const
export type CannedAcl = (typeof CANNED_ACLS)[number]

/** In the order in which their grants are listed. */
const GRANT_HEADERS: readonly (readonly [name: string, permission: Permission])[] = [
  ['x-amz-grant-read', 'READ'],
  ['x-amz-grant-write', 'WRITE'],
  ['x-amz-grant-read-acp', 'READ_ACP'],
  ['x-amz-grant-write-acp', 'WRITE_ACP'],
  ['x-amz-grant-full-control', 'FULL_CONTROL'],
]

/** What the headers of a request say about access. */
export type RequestedAcl =
  | { readonly kind: 'canned'; readonly canned: CannedAcl }
  /** Names of users are not yet looked up. */
  | { readonly kind: 'grants'; readonly grants: readonly Grant[] }

/**
 * Of `x-amz-acl` and the `x-amz-grant-…` headers; undefined: there is none of them.
 *
 * @param header by name in lower case.
 * @throws {S3Error} InvalidArgument: a canned list, grantee or group that is not known.
 * InvalidRequest: both a canned list and grants. MalformedACLError: more than 100 grants.
 */
export function readAclHeaders(
  header: (name: string) => string | undefined,
): RequestedAcl | undefined {
  const cannedText = header('x-amz-acl')
  const grants: Grant[] = []
  for (const [name, permission] of GRANT_HEADERS) {
    const text = header(name)
    if (text === undefined) continue
    for (const grantee of parseGrantees(text, name)) grants.push({ grantee, permission })
  }
  if (cannedText === undefined) {
    if (grants.length === 0) return undefined
    checkGrantCount(grants)
    return { kind: 'grants', grants }
  }
  if (grants.length > 0) {
    throw new S3Error('InvalidRequest', 'Give a canned ACL or grants in headers, not both')
  }
  return { kind: 'canned', canned: parseCannedAcl(cannedText) }
}

/** @throws {S3Error} InvalidArgument */
export function parseCannedAcl(text: string): CannedAcl {
  const canned = CANNED_ACLS.find((known) => known === text)
  if (canned !== undefined) return canned
  throw invalidArgument(`${quote(text)} is not a canned ACL`, 'x-amz-acl', text)
}

function checkGrantCount(grants: readonly Grant[]): void {
  if (grants.length <= GRANTS_MAX) return
  throw new S3Error('MalformedACLError', `${grants.length} grants, ${GRANTS_MAX} at most`)
}

/** `id="…"`, with or without quotes, then a comma or the end. */
const GRANTEE = /\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|([^",\s]*))\s*(?:,|$)/y

/**
 * The value of one `x-amz-grant-…` header, such as `id="…", uri="…"`.
 *
 * @throws {S3Error} InvalidArgument
 */
export function parseGrantees(text: string, header: string): readonly Grantee[] {
  const grantees: Grantee[] = []
  GRANTEE.lastIndex = 0
  let isOpen = true
  while (isOpen) {
    const match = GRANTEE.exec(text)
    const [whole, kind = '', quoted, bare = ''] = match ?? []
    const grantee = parseGrantee(kind.toLowerCase(), quoted ?? bare)
    if (whole === undefined || grantee === undefined) {
      throw invalidArgument(`${quote(text)} is not a list of grantees`, header, text)
    }
    grantees.push(grantee)
    isOpen = whole.endsWith(',')
  }
  return grantees
}

function parseGrantee(kind: string, value: string): Grantee | undefined {
  if (value === '') return undefined
  switch (kind) {
    case 'id':
      return { kind: 'user', id: value, displayName: '' }
    case 'emailaddress':
      return { kind: 'email', email: value }
    case 'uri': {
      const group = groupOfUri(value)
      return group === undefined ? undefined : { kind: 'group', group }
    }
    default:
      return undefined
  }
}

/** Finds users. Both may be asked up to 100 times for one request. */
export interface UserDirectory {
  findById(id: string): Promise<Owner | undefined> | Owner | undefined
  findByEmail(email: string): Promise<Owner | undefined> | Owner | undefined
}

/**
 * The grants with the ids and names of users as they are known, whatever the request said of them;
 * no grantee is an e-mail address any more.
 *
 * @throws {S3Error} UnresolvableGrantByEmailAddress. InvalidArgument: no user has this id.
 * MalformedACLError: more than 100 grants.
 */
export async function resolveGrants(
  grants: readonly Grant[],
  users: UserDirectory,
): Promise<readonly Grant[]> {
  checkGrantCount(grants)
  const resolved: Grant[] = []
  for (const { grantee, permission } of grants) {
    resolved.push({ grantee: await resolveGrantee(grantee, users), permission })
  }
  return resolved
}

async function resolveGrantee(grantee: Grantee, users: UserDirectory): Promise<Grantee> {
  switch (grantee.kind) {
    case 'group':
      return grantee
    case 'email': {
      const user = await users.findByEmail(grantee.email)
      if (user !== undefined) return userGrantee(user)
      throw new S3Error('UnresolvableGrantByEmailAddress', undefined, {
        fields: { EmailAddress: grantee.email },
      })
    }
    case 'user': {
      const user = await users.findById(grantee.id)
      if (user !== undefined) return userGrantee(user)
      throw invalidArgument(`no user ${quote(grantee.id)}`, 'CanonicalUser/ID', grantee.id)
    }
  }
}

function userGrantee(user: Owner): Grantee {
  return { kind: 'user', id: user.id, displayName: user.displayName }
}

export interface AclTarget {
  readonly kind: 'bucket' | 'object'
  readonly owner: Owner
  /** The owner itself, where the target is a bucket. */
  readonly bucketOwner: Owner
}

/**
 * What a canned list stands for. Groups come first: that is the order clients are known to expect.
 * The two for bucket owners mean nothing more than `private` for a bucket.
 *
 * @throws {S3Error} InvalidArgument: `log-delivery-write` for an object.
 */
export function expandCannedAcl(canned: CannedAcl, target: AclTarget): AccessControlList {
  if (canned === 'log-delivery-write' && target.kind === 'object') {
    throw invalidArgument(`${canned} is for buckets only`, 'x-amz-acl', canned)
  }
  const { owner, bucketOwner } = target
  const forOwner: Grant = { grantee: userGrantee(owner), permission: 'FULL_CONTROL' }
  const isOwnBucket = owner.id === bucketOwner.id
  const forBucketOwner = bucketOwnerPermission(canned)
  const grants = [
    ...groupGrants(canned),
    forOwner,
    ...(forBucketOwner === undefined || isOwnBucket
      ? []
      : [{ grantee: userGrantee(bucketOwner), permission: forBucketOwner }]),
  ]
  return { owner, grants }
}

function bucketOwnerPermission(canned: CannedAcl): Permission | undefined {
  if (canned === 'bucket-owner-read') return 'READ'
  return canned === 'bucket-owner-full-control' ? 'FULL_CONTROL' : undefined
}

function groupGrants(canned: CannedAcl): readonly Grant[] {
  const to = (group: GranteeGroup, ...permissions: Permission[]): readonly Grant[] =>
    permissions.map((permission) => ({ grantee: { kind: 'group', group }, permission }))
  switch (canned) {
    case 'public-read':
      return to('AllUsers', 'READ')
    case 'public-read-write':
      return to('AllUsers', 'READ', 'WRITE')
    case 'authenticated-read':
      return to('AuthenticatedUsers', 'READ')
    case 'log-delivery-write':
      return to('LogDelivery', 'WRITE', 'READ_ACP')
    case 'private':
    case 'bucket-owner-read':
    case 'bucket-owner-full-control':
      return []
  }
}

/** Everything but FULL_CONTROL, which is all of these. */
const SINGLE_PERMISSIONS: readonly Permission[] = ['READ', 'WRITE', 'READ_ACP', 'WRITE_ACP']

/**
 * What the grants give somebody, FULL_CONTROL taken apart; that owners may read and write the list
 * whatever it says is not in here.
 *
 * @param isPublicIgnored grants to everybody and to all signed users do not count.
 */
export function permissionsOf(
  acl: AccessControlList,
  principal: Identity | undefined,
  isPublicIgnored = false,
): ReadonlySet<Permission> {
  const permissions = new Set<Permission>()
  for (const grant of acl.grants) {
    if (isPublicIgnored && isPublicGrant(grant)) continue
    if (!isGrantedTo(grant.grantee, principal)) continue
    const given = grant.permission === 'FULL_CONTROL' ? SINGLE_PERMISSIONS : [grant.permission]
    for (const permission of given) permissions.add(permission)
  }
  return permissions
}

function isGrantedTo(grantee: Grantee, principal: Identity | undefined): boolean {
  switch (grantee.kind) {
    case 'user':
      return principal !== undefined && grantee.id === principal.canonicalId
    case 'group':
      if (grantee.group === 'AllUsers') return true
      return grantee.group === 'AuthenticatedUsers' && principal !== undefined
    case 'email':
      // Never stored: a list that holds one has not been resolved, and nobody is known by it.
      return false
  }
}

/** Whether anybody who signs, or needs not even sign, is granted something. */
export function isPublicAcl(acl: AccessControlList): boolean {
  return acl.grants.some(isPublicGrant)
}

function isPublicGrant({ grantee }: Grant): boolean {
  return grantee.kind === 'group' && grantee.group !== 'LogDelivery'
}
