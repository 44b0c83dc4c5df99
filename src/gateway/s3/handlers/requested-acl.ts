import { type AclTarget, expandCannedAcl, readAclHeaders, resolveGrants } from '../access/acl.ts'
import type { NewAcl } from '../access/put-acl-rules.ts'
import type { Grant } from '../bucket-settings.ts'
import { readAccessControlPolicy } from '../documents/access-control-policy.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'

/** The list that the headers of a request give; undefined: they say nothing of access. */
export function readHeaderAcl(exchange: S3Exchange, target: AclTarget): NewAcl | undefined {
  const requested = readAclHeaders((name) => exchange.header(name))
  if (requested === undefined) return undefined
  if (requested.kind === 'canned') {
    return { canned: requested.canned, acl: expandCannedAcl(requested.canned, target) }
  }
  return { canned: undefined, acl: { owner: target.owner, grants: requested.grants } }
}

/**
 * The list that a request to set one gives, in its headers or its body.
 *
 * @throws {S3Error} InvalidArgument, InvalidRequest, MalformedXML, MalformedACLError, AccessDenied:
 * the owner cannot be changed.
 */
export async function readRequestedAcl(exchange: S3Exchange, target: AclTarget): Promise<NewAcl> {
  const body = await exchange.document()
  const fromHeaders = readHeaderAcl(exchange, target)
  if (fromHeaders !== undefined) {
    if (body.length === 0) return fromHeaders
    throw new S3Error('UnexpectedContent')
  }
  if (body.length === 0) throw new S3Error('MissingSecurityHeader', undefined)
  const list = readAccessControlPolicy(body)
  if (list.owner.id !== target.owner.id) throw new S3Error('AccessDenied')
  return { canned: undefined, acl: { owner: target.owner, grants: list.grants } }
}

/**
 * The grants as they are stored. A canned list names only owners, who are known by their ids even
 * when they are no users (any more).
 *
 * @throws {S3Error} as `resolveGrants`.
 */
export async function grantsOf(
  exchange: S3Exchange,
  { acl, canned }: NewAcl,
): Promise<readonly Grant[]> {
  return canned === undefined ? await resolveGrants(acl.grants, exchange.parts.users) : acl.grants
}
