import { describe, expect, test } from 'vitest'
import {
  CANNED_ACLS,
  type CannedAcl,
  expandCannedAcl,
  isPublicAcl,
  parseCannedAcl,
  parseGrantees,
  permissionsOf,
  readAclHeaders,
  resolveGrants,
  type UserDirectory,
} from '../../../../src/gateway/s3/access/acl.ts'
import type { Identity } from '../../../../src/gateway/s3/auth/identity.ts'
import type { Grant, Grantee, Permission } from '../../../../src/gateway/s3/bucket-settings.ts'
import { GRANTS_MAX } from '../../../../src/gateway/s3/grantee-groups.ts'
import {
  acl,
  everyone,
  expectS3Error,
  friend,
  logDelivery,
  owner,
  ownerOf,
  root,
  signedUsers,
  stranger,
  user,
} from './access-scenes.ts'

const ALL_USERS = 'http://acs.amazonaws.com/groups/global/AllUsers'
const SIGNED_USERS = 'http://acs.amazonaws.com/groups/global/AuthenticatedUsers'
const LOG_DELIVERY = 'http://acs.amazonaws.com/groups/s3/LogDelivery'

function headers(values: Readonly<Record<string, string>>) {
  const map = new Map(Object.entries(values))
  return (name: string) => map.get(name)
}

function idGrantee(id: string): Grantee {
  return { kind: 'user', id, displayName: '' }
}

describe('a canned ACL', () => {
  type Row = readonly [Grantee, Permission]
  const mine: Row = [user(stranger), 'FULL_CONTROL']
  test.each<[CannedAcl, 'bucket' | 'object', readonly Row[]]>([
    ['private', 'bucket', [mine]],
    ['private', 'object', [mine]],
    ['public-read', 'bucket', [[everyone, 'READ'], mine]],
    ['public-read', 'object', [[everyone, 'READ'], mine]],
    ['public-read-write', 'bucket', [[everyone, 'READ'], [everyone, 'WRITE'], mine]],
    ['public-read-write', 'object', [[everyone, 'READ'], [everyone, 'WRITE'], mine]],
    ['authenticated-read', 'object', [[signedUsers, 'READ'], mine]],
    ['bucket-owner-read', 'object', [mine, [user(owner), 'READ']]],
    ['bucket-owner-full-control', 'object', [mine, [user(owner), 'FULL_CONTROL']]],
    ['log-delivery-write', 'bucket', [[logDelivery, 'WRITE'], [logDelivery, 'READ_ACP'], mine]],
  ])('%s for a %s', (canned, kind, rows) => {
    const target = { kind, owner: ownerOf(stranger), bucketOwner: ownerOf(owner) }
    expect(expandCannedAcl(canned, target)).toEqual({
      owner: ownerOf(stranger),
      grants: rows.map(([grantee, permission]) => ({ grantee, permission })),
    })
  })

  test.each<CannedAcl>(['bucket-owner-read', 'bucket-owner-full-control'])(
    '%s of the owner of the bucket is private',
    (canned) => {
      for (const kind of ['bucket', 'object'] as const) {
        const target = { kind, owner: ownerOf(owner), bucketOwner: ownerOf(owner) }
        expect(expandCannedAcl(canned, target)).toEqual(expandCannedAcl('private', target))
      }
    },
  )

  test('log-delivery-write is not for objects', () => {
    const target = { kind: 'object', owner: ownerOf(owner), bucketOwner: ownerOf(owner) } as const
    const error = expectS3Error(() => expandCannedAcl('log-delivery-write', target))
    expect(error).toMatchObject({ code: 'InvalidArgument' })
  })

  test.each(CANNED_ACLS)('%s is known by its name', (name) => {
    expect(parseCannedAcl(name)).toBe(name)
  })

  test.each(['', 'Private', 'public', 'aws-exec-read', 'public-read ', 'constructor'])(
    'is not %o',
    (name) => {
      expect(expectS3Error(() => parseCannedAcl(name))).toMatchObject({
        code: 'InvalidArgument',
        fields: { ArgumentName: 'x-amz-acl', ArgumentValue: name },
      })
    },
  )
})

describe('a header that grants', () => {
  test.each<[string, Grantee[]]>([
    ['id="abc"', [idGrantee('abc')]],
    ['id=abc', [idGrantee('abc')]],
    ['ID="abc"', [idGrantee('abc')]],
    [' id = "abc" ', [idGrantee('abc')]],
    ['id="a", id="b"', [idGrantee('a'), idGrantee('b')]],
    ['id=a,id=b', [idGrantee('a'), idGrantee('b')]],
    ['emailAddress="a@b.c"', [{ kind: 'email', email: 'a@b.c' }]],
    ['emailaddress=a@b.c', [{ kind: 'email', email: 'a@b.c' }]],
    [`uri="${ALL_USERS}"`, [everyone]],
    [`uri=${SIGNED_USERS}`, [signedUsers]],
    [`uri="${LOG_DELIVERY}"`, [logDelivery]],
    [`uri="${ALL_USERS}", id="a"`, [everyone, idGrantee('a')]],
    ['id="a, b"', [idGrantee('a, b')]],
    ['id="a=b"', [idGrantee('a=b')]],
  ])('%s is read', (text, grantees) => {
    expect(parseGrantees(text, 'x-amz-grant-read')).toEqual(grantees)
  })

  test.each([
    '',
    ' ',
    ',',
    'id',
    'id=',
    'id=""',
    'abc',
    '"abc"',
    'id="abc',
    'id=abc"',
    'id="a" id="b"',
    'id="a",',
    ',id="a"',
    'id="a",,id="b"',
    'name="a"',
    'uri="http://example.org"',
    `uri="${ALL_USERS}/"`,
    'uri="http://acs.amazonaws.com/groups/global/allusers"',
    '__proto__="a"',
  ])('%o is refused', (text) => {
    const error = expectS3Error(() => parseGrantees(text, 'x-amz-grant-read'))
    expect(error).toMatchObject({
      code: 'InvalidArgument',
      fields: { ArgumentName: 'x-amz-grant-read' },
    })
  })

  test('gives one permission by its name, and grants come in the order of the permissions', () => {
    const requested = readAclHeaders(
      headers({
        'x-amz-grant-full-control': 'id=e',
        'x-amz-grant-write-acp': 'id=d',
        'x-amz-grant-read-acp': 'id=c',
        'x-amz-grant-write': 'id=b',
        'x-amz-grant-read': 'id=a, id=x',
      }),
    )
    const row = (id: string, permission: Permission): Grant => ({
      grantee: idGrantee(id),
      permission,
    })
    expect(requested).toEqual({
      kind: 'grants',
      grants: [
        row('a', 'READ'),
        row('x', 'READ'),
        row('b', 'WRITE'),
        row('c', 'READ_ACP'),
        row('d', 'WRITE_ACP'),
        row('e', 'FULL_CONTROL'),
      ],
    })
  })

  test('is not needed: there may be a canned ACL, or nothing', () => {
    expect(readAclHeaders(headers({}))).toBeUndefined()
    expect(readAclHeaders(headers({ 'x-amz-acl': 'public-read' }))).toEqual({
      kind: 'canned',
      canned: 'public-read',
    })
  })

  test.each([
    [{ 'x-amz-acl': 'private', 'x-amz-grant-read': 'id=a' }, 'InvalidRequest'],
    [{ 'x-amz-acl': 'nonsense', 'x-amz-grant-read': 'id=a' }, 'InvalidRequest'],
    [{ 'x-amz-acl': 'nonsense' }, 'InvalidArgument'],
    [{ 'x-amz-acl': '' }, 'InvalidArgument'],
    [{ 'x-amz-grant-write': '' }, 'InvalidArgument'],
  ])('%o is %s', (values, code) => {
    expect(expectS3Error(() => readAclHeaders(headers(values)))).toMatchObject({ code })
  })

  test('may give 100 grants in all and not one more', () => {
    const list = (count: number) => Array.from({ length: count }, (_, id) => `id=${id}`).join(',')
    const values = { 'x-amz-grant-read': list(60), 'x-amz-grant-write': list(40) }
    expect(readAclHeaders(headers(values))).toMatchObject({ kind: 'grants' })
    const more = { ...values, 'x-amz-grant-write': list(41) }
    expect(expectS3Error(() => readAclHeaders(headers(more)))).toMatchObject({
      code: 'MalformedACLError',
    })
  })
})

describe('a grantee', () => {
  const people = [owner, friend]
  const users: UserDirectory = {
    findById: (id) => people.filter((one) => one.canonicalId === id).map(ownerOf)[0],
    findByEmail: async (email) => people.filter((one) => one.email === email).map(ownerOf)[0],
  }
  const grant = (grantee: Grantee): Grant => ({ grantee, permission: 'READ' })

  test('becomes the user that is known by its id or e-mail; groups stay', async () => {
    const named: Grantee = { kind: 'user', id: owner.canonicalId, displayName: 'a lie' }
    const mailed: Grantee = { kind: 'email', email: 'frida@example.org' }
    const resolved = await resolveGrants([grant(named), grant(mailed), grant(everyone)], users)
    expect(resolved).toEqual([grant(user(owner)), grant(user(friend)), grant(everyone)])
  })

  test('must be somebody', async () => {
    await expect(
      resolveGrants([grant({ kind: 'email', email: 'no@example.org' })], users),
    ).rejects.toMatchObject({
      code: 'UnresolvableGrantByEmailAddress',
      fields: { EmailAddress: 'no@example.org' },
    })
    await expect(resolveGrants([grant(user(stranger))], users)).rejects.toMatchObject({
      code: 'InvalidArgument',
      fields: { ArgumentValue: stranger.canonicalId },
    })
  })

  test('may be one of 100 and not of 101', async () => {
    const many = Array.from({ length: GRANTS_MAX }, () => grant(everyone))
    expect(await resolveGrants(many, users)).toHaveLength(GRANTS_MAX)
    await expect(resolveGrants([...many, grant(everyone)], users)).rejects.toMatchObject({
      code: 'MalformedACLError',
    })
  })
})

describe('a list of grants', () => {
  const all: Permission[] = ['READ', 'WRITE', 'READ_ACP', 'WRITE_ACP']
  test.each<[string, Grantee, Permission, Identity | undefined, Permission[], Permission[]]>([
    ['a user its own', user(stranger), 'READ', stranger, ['READ'], ['READ']],
    ['a user not what is for another', user(friend), 'READ', stranger, [], []],
    ['nobody what is for a user', user(friend), 'READ', undefined, [], []],
    ['the root user no more than others', user(friend), 'READ', root, [], []],
    ['everything for full control', user(stranger), 'FULL_CONTROL', stranger, all, all],
    ['nobody what is for everyone', everyone, 'READ', undefined, ['READ'], []],
    ['a user what is for everyone', everyone, 'WRITE_ACP', stranger, ['WRITE_ACP'], []],
    ['everyone full control', everyone, 'FULL_CONTROL', undefined, all, []],
    ['a user what is for signed ones', signedUsers, 'READ', stranger, ['READ'], []],
    ['nobody what is for signed users', signedUsers, 'READ', undefined, [], []],
    ['nobody what is for logs', logDelivery, 'WRITE', undefined, [], []],
    ['a user not what is for logs', logDelivery, 'WRITE', stranger, [], []],
    ['nobody by an e-mail', { kind: 'email', email: 'x' }, 'READ', stranger, [], []],
  ])('gives %s', (_, grantee, permission, principal, open, ignoring) => {
    const list = acl(owner, [grantee, permission])
    expect([...permissionsOf(list, principal)].sort()).toEqual([...open].sort())
    expect([...permissionsOf(list, principal, true)].sort()).toEqual([...ignoring].sort())
  })

  test('adds up what several grants give', () => {
    const list = acl(owner, [everyone, 'READ'], [user(friend), 'WRITE'], [signedUsers, 'READ_ACP'])
    expect([...permissionsOf(list, friend)].sort()).toEqual(['READ', 'READ_ACP', 'WRITE'])
    expect([...permissionsOf(list, friend, true)]).toEqual(['WRITE'])
    expect([...permissionsOf(list, undefined)]).toEqual(['READ'])
  })

  test.each<[Grantee, boolean]>([
    [everyone, true],
    [signedUsers, true],
    [logDelivery, false],
    [user(friend), false],
  ])('with %o is public: %o', (grantee, isPublic) => {
    expect(isPublicAcl(acl(owner, [grantee, 'READ_ACP']))).toBe(isPublic)
    expect(isPublicAcl({ owner: ownerOf(owner), grants: [] })).toBe(false)
  })
})
