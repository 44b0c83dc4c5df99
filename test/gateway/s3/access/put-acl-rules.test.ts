import { describe, expect, test } from 'vitest'
import {
  CANNED_ACLS,
  type CannedAcl,
  expandCannedAcl,
} from '../../../../src/gateway/s3/access/acl.ts'
import {
  checkPutAcl,
  checkPutBucketPolicy,
  type NewAcl,
  ownerOfNewObject,
} from '../../../../src/gateway/s3/access/put-acl-rules.ts'
import {
  type AccessControlList,
  OBJECT_OWNERSHIPS,
  type ObjectOwnership,
} from '../../../../src/gateway/s3/bucket-settings.ts'
import {
  acl,
  bucketPolicy,
  everyone,
  expectS3Error,
  friend,
  logDelivery,
  OPEN,
  owner,
  ownerOf,
  signedUsers,
  statement,
  stranger,
  user,
} from './access-scenes.ts'

function codeOf(run: () => void): string {
  try {
    run()
  } catch {
    return expectS3Error(run).code
  }
  return 'good'
}

function check(added: NewAcl, ownership: ObjectOwnership, isBlocked: boolean): string {
  const publicAccessBlock = isBlocked ? { ...OPEN, blockPublicAcls: true } : undefined
  const rules = { ownerId: owner.canonicalId, ownership, publicAccessBlock }
  return codeOf(() => checkPutAcl(added, rules))
}

const PUBLIC: readonly CannedAcl[] = ['public-read', 'public-read-write', 'authenticated-read']
const HARMLESS: readonly CannedAcl[] = ['private', 'bucket-owner-full-control']

describe('a canned ACL', () => {
  const matrix = CANNED_ACLS.flatMap((canned) =>
    OBJECT_OWNERSHIPS.flatMap((ownership) =>
      [false, true].map((isBlocked) => {
        const isOff = ownership === 'BucketOwnerEnforced' && !HARMLESS.includes(canned)
        const isRefused = isBlocked && PUBLIC.includes(canned)
        const code = isRefused ? 'AccessDenied' : 'good'
        return [
          canned,
          ownership,
          isBlocked,
          isOff ? 'AccessControlListNotSupported' : code,
        ] as const
      }),
    ),
  )
  test.each(matrix)(
    '%s under %s, public ones blocked %o: %s',
    (canned, ownership, isBlocked, code) => {
      for (const writer of [owner, stranger]) {
        const target = {
          kind: 'bucket',
          owner: ownerOf(writer),
          bucketOwner: ownerOf(owner),
        } as const
        const added = { canned, acl: expandCannedAcl(canned, target) }
        expect(check(added, ownership, isBlocked)).toBe(code)
      }
    },
  )
})

describe('grants', () => {
  const off = 'AccessControlListNotSupported'
  test.each<[string, AccessControlList, string, string]>([
    ['of full control to the owner', acl(owner), 'good', 'good'],
    ['of nothing', { owner: ownerOf(owner), grants: [] }, off, 'good'],
    ['of full control to another', acl(friend), off, 'good'],
    ['to a user', acl(owner, [user(friend), 'READ']), off, 'good'],
    ['of less to the owner', acl(owner, [user(owner), 'READ']), off, 'good'],
    ['to everyone', acl(owner, [everyone, 'READ']), off, 'AccessDenied'],
    ['to signed users', acl(owner, [signedUsers, 'READ_ACP']), off, 'AccessDenied'],
    ['to the logs', acl(owner, [logDelivery, 'WRITE']), off, 'good'],
  ])('%s: with lists off %s, with public ones blocked %s', (_, list, whenOff, whenBlocked) => {
    const added = { canned: undefined, acl: list }
    expect(check(added, 'BucketOwnerEnforced', true)).toBe(whenOff)
    expect(check(added, 'BucketOwnerEnforced', false)).toBe(whenOff)
    expect(check(added, 'ObjectWriter', true)).toBe(whenBlocked)
    expect(check(added, 'BucketOwnerPreferred', true)).toBe(whenBlocked)
    expect(check(added, 'ObjectWriter', false)).toBe('good')
  })

  test('are blocked by blockPublicAcls only', () => {
    const publicAccessBlock = {
      blockPublicAcls: false,
      ignorePublicAcls: true,
      blockPublicPolicy: true,
      restrictPublicBuckets: true,
    }
    const rules = {
      ownerId: owner.canonicalId,
      ownership: 'ObjectWriter',
      publicAccessBlock,
    } as const
    const added = { canned: undefined, acl: acl(owner, [everyone, 'READ']) }
    expect(codeOf(() => checkPutAcl(added, rules))).toBe('good')
  })
})

describe('a bucket policy', () => {
  const open = bucketPolicy(statement())
  const narrow = bucketPolicy(statement({ Principal: { AWS: 'frida' } }))
  test.each([
    ['public', open, { ...OPEN, blockPublicPolicy: true }, 'AccessDenied'],
    ['not public', narrow, { ...OPEN, blockPublicPolicy: true }, 'good'],
    ['public', open, OPEN, 'good'],
    ['public', open, undefined, 'good'],
    ['public', open, { ...OPEN, restrictPublicBuckets: true, blockPublicAcls: true }, 'good'],
  ])('that is %s, %#: %s', (_, policy, block, code) => {
    expect(codeOf(() => checkPutBucketPolicy(policy, block))).toBe(code)
  })
})

describe('a new object', () => {
  test.each<[ObjectOwnership, CannedAcl | undefined, 'owner' | 'writer']>([
    ['BucketOwnerEnforced', undefined, 'owner'],
    ['BucketOwnerEnforced', 'private', 'owner'],
    ['BucketOwnerPreferred', undefined, 'writer'],
    ['BucketOwnerPreferred', 'private', 'writer'],
    ['BucketOwnerPreferred', 'bucket-owner-read', 'writer'],
    ['BucketOwnerPreferred', 'bucket-owner-full-control', 'owner'],
    ['ObjectWriter', undefined, 'writer'],
    ['ObjectWriter', 'bucket-owner-full-control', 'writer'],
  ])('under %s with canned ACL %s belongs to the %s', (ownership, canned, who) => {
    const owners = { writer: ownerOf(stranger), bucketOwner: ownerOf(owner) }
    const wanted = who === 'owner' ? owners.bucketOwner : owners.writer
    expect(ownerOfNewObject(ownership, owners, canned)).toEqual(wanted)
  })
})
