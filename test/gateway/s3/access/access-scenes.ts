import { expect } from 'vitest'
import type { AccessRequest, BucketAccess } from '../../../../src/gateway/s3/access/authorize.ts'
import {
  type Policy,
  parseBucketPolicy,
} from '../../../../src/gateway/s3/access/policy-document.ts'
import type { Identity } from '../../../../src/gateway/s3/auth/identity.ts'
import type {
  AccessControlList,
  Grantee,
  Owner,
  Permission,
  PublicAccessBlock,
} from '../../../../src/gateway/s3/bucket-settings.ts'
import { isS3Error, type S3Error } from '../../../../src/gateway/s3/s3-error.ts'

export const BUCKET = 'photos'

export function identity(name: string, fields: Partial<Identity> = {}): Identity {
  const canonicalId = Buffer.from(name).toString('hex').padEnd(64, '0')
  return {
    canonicalId,
    name,
    displayName: `${name} of Hayloft`,
    email: `${name}@example.org`,
    isRoot: false,
    policy: undefined,
    ...fields,
  }
}

export const root = identity('root', { isRoot: true })
export const owner = identity('olga')
export const friend = identity('frida')
export const stranger = identity('sten')

export function ownerOf({ canonicalId, displayName }: Identity): Owner {
  return { id: canonicalId, displayName }
}

export function user({ canonicalId, displayName }: Identity): Grantee {
  return { kind: 'user', id: canonicalId, displayName }
}

export const everyone: Grantee = { kind: 'group', group: 'AllUsers' }
export const signedUsers: Grantee = { kind: 'group', group: 'AuthenticatedUsers' }
export const logDelivery: Grantee = { kind: 'group', group: 'LogDelivery' }

export function acl(
  of: Identity,
  ...grants: readonly (readonly [Grantee, Permission])[]
): AccessControlList {
  const own = { grantee: user(of), permission: 'FULL_CONTROL' as const }
  const given = grants.map(([grantee, permission]) => ({ grantee, permission }))
  return { owner: ownerOf(of), grants: [...given, own] }
}

export const OPEN: PublicAccessBlock = {
  blockPublicAcls: false,
  ignorePublicAcls: false,
  blockPublicPolicy: false,
  restrictPublicBuckets: false,
}

export function bucket(fields: Partial<BucketAccess> = {}): BucketAccess {
  return {
    name: BUCKET,
    ownerId: owner.canonicalId,
    acl: acl(owner),
    ownership: 'ObjectWriter',
    ...fields,
  }
}

export function request(fields: Partial<AccessRequest> = {}): AccessRequest {
  return {
    principal: stranger,
    action: 's3:GetObject',
    bucket: bucket(),
    object: { ownerId: owner.canonicalId, acl: acl(owner), tags: [] },
    key: 'a/b.jpg',
    context: () => undefined,
    ...fields,
  }
}

/** A statement with defaults that allow everyone everything in the bucket. */
export function statement(fields: Readonly<Record<string, unknown>> = {}) {
  return {
    Effect: 'Allow',
    Principal: '*',
    Action: 's3:*',
    Resource: [`arn:aws:s3:::${BUCKET}`, `arn:aws:s3:::${BUCKET}/*`],
    ...fields,
  }
}

export function document(...statements: readonly unknown[]): string {
  return JSON.stringify({ Version: '2012-10-17', Statement: statements })
}

export function bucketPolicy(...statements: readonly unknown[]): Policy {
  return parseBucketPolicy(document(...statements), BUCKET)
}

/** JSON of a policy of a user. */
export function userPolicy(effect: 'Allow' | 'Deny', action: unknown, resource: unknown = '*') {
  return document({ Effect: effect, Action: action, Resource: resource })
}

/** A context with these values, by the exact spelling of the key. */
export function contextOf(values: Readonly<Record<string, string | readonly string[]>>) {
  return (key: string): readonly string[] | undefined => {
    const value = Object.hasOwn(values, key) ? values[key] : undefined
    return typeof value === 'string' ? [value] : value
  }
}

export function expectS3Error(run: () => unknown): S3Error {
  let result: unknown
  try {
    result = run()
  } catch (error) {
    if (!isS3Error(error)) throw error
    return error
  }
  return expect.fail(`expected an S3Error, got ${JSON.stringify(result)}`)
}
