import { describe, expect, test } from 'vitest'
import {
  type AccessRequest,
  authorize,
  isAuthorized,
} from '../../../../src/gateway/s3/access/authorize.ts'
import {
  ruleOfAction,
  S3_ACTIONS,
  type S3Action,
} from '../../../../src/gateway/s3/access/s3-actions.ts'
import type { Identity } from '../../../../src/gateway/s3/auth/identity.ts'
import {
  type Grantee,
  OBJECT_OWNERSHIPS,
  PERMISSIONS,
  type Permission,
} from '../../../../src/gateway/s3/bucket-settings.ts'
import {
  acl,
  BUCKET,
  bucket,
  bucketPolicy,
  contextOf,
  everyone,
  expectS3Error,
  friend,
  identity,
  logDelivery,
  OPEN,
  owner,
  request,
  root,
  signedUsers,
  statement,
  stranger,
  user,
  userPolicy,
} from './access-scenes.ts'

const ACTIONS = Object.keys(S3_ACTIONS).filter(
  (name): name is S3Action => ruleOfAction(name)?.level !== 'service',
)
const POLICY_ACTIONS = ['s3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy']

function allowed(fields: Partial<AccessRequest>): boolean {
  return isAuthorized(request(fields))
}

/** The actions that are allowed with nothing changed but the action. */
function allowedActions(fields: Partial<AccessRequest>): readonly S3Action[] {
  return ACTIONS.filter((action) => allowed({ ...fields, action }))
}

const PRINCIPALS: readonly (readonly [string, Identity | undefined])[] = [
  ['nobody', undefined],
  ['a stranger', stranger],
  ['a friend', friend],
]
const GRANTEES: readonly (readonly [string, Grantee, (who: Identity | undefined) => boolean])[] = [
  ['everyone', everyone, () => true],
  ['signed users', signedUsers, (who) => who !== undefined],
  ['the friend', user(friend), (who) => who === friend],
  ['the logs', logDelivery, () => false],
]

describe('a grant', () => {
  const rows = PRINCIPALS.flatMap(([whoName, who]) =>
    GRANTEES.flatMap(([granteeName, grantee, isFor]) =>
      PERMISSIONS.flatMap((permission) =>
        OBJECT_OWNERSHIPS.map(
          (ownership) =>
            [permission, granteeName, whoName, ownership, who, grantee, isFor(who)] as const,
        ),
      ),
    ),
  )

  function granted(of: 'bucket' | 'object', permission: Permission): readonly S3Action[] {
    return ACTIONS.filter((action) => {
      const rule = ruleOfAction(action)
      if (rule?.aclOf !== of) return false
      return permission === 'FULL_CONTROL' || rule.permission === permission
    })
  }

  test.each(rows)(
    'of %s to %s, for %s under %s',
    (permission, granteeName, _, ownership, principal, grantee, isFor) => {
      const list = acl(owner, [grantee, permission])
      const objectOf = (withAcl = acl(owner)) => ({
        ownerId: owner.canonicalId,
        acl: withAcl,
        tags: [],
      })
      const isPublic = granteeName === 'everyone' || granteeName === 'signed users'
      for (const isIgnored of [false, true]) {
        const block = { ...OPEN, ignorePublicAcls: isIgnored }
        const counts = isFor && ownership !== 'BucketOwnerEnforced' && !(isIgnored && isPublic)
        const settings = { ownership, publicAccessBlock: block }
        const ofBucket = { bucket: bucket({ ...settings, acl: list }), object: objectOf() }
        expect(allowedActions({ principal, ...ofBucket })).toEqual(
          counts ? granted('bucket', permission) : [],
        )
        const ofObject = { bucket: bucket(settings), object: objectOf(list) }
        expect(allowedActions({ principal, ...ofObject })).toEqual(
          counts ? granted('object', permission) : [],
        )
      }
    },
  )

  test('of WRITE to everyone lets nobody delete a version or go round a retention', () => {
    const open = bucket({ acl: acl(owner, [everyone, 'FULL_CONTROL']) })
    for (const principal of [undefined, stranger]) {
      const base = { principal, bucket: open }
      expect(allowed({ ...base, action: 's3:DeleteObject' })).toBe(true)
      expect(allowed({ ...base, action: 's3:DeleteObjectVersion' })).toBe(false)
      expect(allowed({ ...base, action: 's3:BypassGovernanceRetention' })).toBe(false)
    }
  })

  test('for an object does not count where the object is not known', () => {
    const open = bucket({ acl: acl(owner, [everyone, 'FULL_CONTROL']) })
    expect(allowed({ bucket: open, object: undefined })).toBe(false)
    expect(allowed({ bucket: open, object: { ownerId: owner.canonicalId, tags: [] } })).toBe(false)
  })
})

describe('without any policy', () => {
  test.each<[string, Identity | undefined, boolean]>([
    ['the root user', root, true],
    ['the owner of the bucket', owner, true],
    ['a user', stranger, false],
    ['nobody', undefined, false],
  ])('%s may do all or nothing', (_, principal, isAll) => {
    for (const ownership of OBJECT_OWNERSHIPS) {
      const object = { ownerId: friend.canonicalId, acl: acl(friend), tags: [] }
      const fields = { principal, bucket: bucket({ ownership }), object }
      expect(allowedActions(fields)).toEqual(isAll ? ACTIONS : [])
    }
  })

  test('the owner keeps its rights when its own grant is gone', () => {
    const bare = bucket({ acl: { owner: { id: owner.canonicalId, displayName: '' }, grants: [] } })
    expect(allowedActions({ principal: owner, bucket: bare })).toEqual(ACTIONS)
  })

  test('the owner of an object may read it and set its tags and list, but not replace it', () => {
    const object = { ownerId: friend.canonicalId, tags: [] }
    const actions = [
      's3:GetObject',
      's3:GetObjectVersion',
      's3:GetObjectAcl',
      's3:GetObjectVersionAcl',
      's3:GetObjectAttributes',
      's3:GetObjectVersionAttributes',
      's3:GetObjectTorrent',
      's3:GetObjectVersionTorrent',
      's3:PutObjectAcl',
      's3:PutObjectVersionAcl',
      's3:GetObjectTagging',
      's3:GetObjectVersionTagging',
      's3:PutObjectTagging',
      's3:PutObjectVersionTagging',
      's3:DeleteObjectTagging',
      's3:DeleteObjectVersionTagging',
      's3:ListMultipartUploadParts',
      's3:AbortMultipartUpload',
    ]
    for (const ownership of ['ObjectWriter', 'BucketOwnerPreferred'] as const) {
      const fields = { principal: friend, bucket: bucket({ ownership }), object }
      expect([...allowedActions(fields)].sort()).toEqual(actions.sort())
    }
    const enforced = bucket({ ownership: 'BucketOwnerEnforced' })
    expect([...allowedActions({ principal: friend, bucket: enforced, object })].sort()).toEqual([
      's3:AbortMultipartUpload',
      's3:ListMultipartUploadParts',
    ])
  })

  test('an owner is not nobody: no id is equal to no signature', () => {
    const object = { ownerId: '', acl: acl(owner), tags: [] }
    expect(
      allowedActions({ principal: undefined, bucket: bucket({ ownerId: '' }), object }),
    ).toEqual([])
  })
})

describe('policies of the user and of the bucket', () => {
  const ofUser = { none: undefined, allow: 'Allow', deny: 'Deny' } as const
  const verdicts = ['none', 'allow', 'deny'] as const
  const matrix = verdicts.flatMap((userVerdict) =>
    verdicts.flatMap((bucketVerdict) =>
      (['stranger', 'owner', 'root', 'granted'] as const).map((who) => {
        const isDenied = bucketVerdict === 'deny' || (userVerdict === 'deny' && who !== 'root')
        const isAllowed = userVerdict === 'allow' || bucketVerdict === 'allow' || who !== 'stranger'
        return [userVerdict, bucketVerdict, who, !isDenied && isAllowed] as const
      }),
    ),
  )
  test.each(matrix)('%s and %s for %s: %o', (userVerdict, bucketVerdict, who, isAllowed) => {
    const effect = ofUser[userVerdict]
    const policy = effect === undefined ? undefined : userPolicy(effect, 's3:GetObject')
    const bases = { stranger, owner, root, granted: friend }
    const principal = { ...bases[who], policy }
    const bucketEffect = ofUser[bucketVerdict]
    const statements = bucketEffect === undefined ? [] : [statement({ Effect: bucketEffect })]
    const scene = bucket({
      policy: statements.length === 0 ? undefined : bucketPolicy(...statements),
    })
    const object = {
      ownerId: owner.canonicalId,
      acl: acl(owner, [user(friend), 'READ']),
      tags: [],
    }
    expect(allowed({ principal, bucket: scene, object })).toBe(isAllowed)
  })

  test.each<[string, S3Action]>([
    ['CVE-2023-25812', 's3:BypassGovernanceRetention'],
    ['CVE-2023-25812', 's3:DeleteObjectVersion'],
    ['deletes', 's3:DeleteObject'],
  ])('%s: a deny of %s holds for users, owner and root', (_, action) => {
    const denied = bucketPolicy(statement(), statement({ Effect: 'Deny', Action: action }))
    const guarded = bucket({ policy: denied, acl: acl(owner, [everyone, 'FULL_CONTROL']) })
    const mayAll = identity('admin', { policy: userPolicy('Allow', 's3:*') })
    for (const principal of [root, owner, mayAll, stranger, undefined]) {
      const fields = { principal, bucket: guarded }
      expect(allowed({ ...fields, action })).toBe(false)
      expect(allowed({ ...fields, action: 's3:GetObject' })).toBe(true)
    }
    const everything = JSON.parse(userPolicy('Allow', 's3:*'))
    everything.Statement.push({ Effect: 'Deny', Action: action, Resource: '*' })
    const policy = JSON.stringify(everything)
    for (const principal of [identity('admin', { policy }), { ...owner, policy }]) {
      expect(allowed({ principal, action })).toBe(false)
      expect(allowed({ principal, action: 's3:GetObject' })).toBe(true)
    }
  })

  test('a deny of everything leaves the root user the policy, and nobody anything', () => {
    const locked = bucket({ policy: bucketPolicy(statement({ Effect: 'Deny' })) })
    expect([...allowedActions({ principal: root, bucket: locked })].sort()).toEqual(
      [...POLICY_ACTIONS].sort(),
    )
    expect(allowedActions({ principal: owner, bucket: locked })).toEqual([])
    expect(allowedActions({ principal: stranger, bucket: locked })).toEqual([])
  })

  test('a user policy that cannot be read denies, even to an owner; root needs none', () => {
    for (const policy of ['', '{}', 'x', userPolicy('Allow', 's3:Unknown')]) {
      const open = bucket({ policy: bucketPolicy(statement()) })
      expect(allowed({ principal: identity('x', { policy }), bucket: open })).toBe(false)
      expect(allowed({ principal: { ...owner, policy } })).toBe(false)
      expect(allowed({ principal: { ...root, policy } })).toBe(true)
    }
  })

  test('a user policy reaches the buckets it names only', () => {
    const policy = userPolicy('Allow', 's3:Get*', `arn:aws:s3:::${BUCKET}/a/*`)
    const principal = identity('x', { policy })
    expect(allowed({ principal, key: 'a/b' })).toBe(true)
    expect(allowed({ principal, key: 'b/a' })).toBe(false)
    expect(allowed({ principal, key: 'a/b', bucket: bucket({ name: 'other' }) })).toBe(false)
    expect(allowed({ principal, key: 'a/b', action: 's3:PutObject' })).toBe(false)
  })

  test('a policy on the bucket is not one on its objects, nor the other way round', () => {
    const arn = `arn:aws:s3:::${BUCKET}`
    const onBucket = bucket({ policy: bucketPolicy(statement({ Resource: arn })) })
    const onObjects = bucket({ policy: bucketPolicy(statement({ Resource: `${arn}/*` })) })
    const listing = { action: 's3:ListBucket', key: undefined } as const
    expect(allowed({ ...listing, bucket: onBucket })).toBe(true)
    expect(allowed({ ...listing, bucket: onObjects })).toBe(false)
    expect(allowed({ bucket: onBucket })).toBe(false)
    expect(allowed({ bucket: onObjects })).toBe(true)
  })

  test('a condition on the tags of the object is answered from the object alone', () => {
    const condition = { StringEquals: { 's3:ExistingObjectTag/level': 'public' } }
    const tagged = bucket({ policy: bucketPolicy(statement({ Condition: condition })) })
    const tags = (value: string) => ({
      ownerId: owner.canonicalId,
      tags: [
        { key: 'other', value: 'public' },
        { key: 'level', value },
      ],
    })
    const context = contextOf({ 's3:ExistingObjectTag/level': 'public' })
    expect(allowed({ bucket: tagged, object: tags('public') })).toBe(true)
    expect(allowed({ bucket: tagged, object: tags('secret'), context })).toBe(false)
    expect(allowed({ bucket: tagged, object: undefined, context })).toBe(false)
  })

  test('other conditions are answered from the request', () => {
    const condition = { IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }
    const inside = bucket({ policy: bucketPolicy(statement({ Condition: condition })) })
    const from = (address: string) => contextOf({ 'aws:SourceIp': address })
    expect(allowed({ bucket: inside, principal: undefined, context: from('10.0.0.1') })).toBe(true)
    expect(allowed({ bucket: inside, principal: undefined, context: from('8.8.8.8') })).toBe(false)
  })
})

describe('a public policy that is restricted', () => {
  const open = bucketPolicy(statement(), statement({ Effect: 'Deny', Action: 's3:DeleteObject' }))
  const named = bucketPolicy(statement({ Principal: { AWS: ['sten', 'olga'] } }))
  const withPolicy = identity('x', { policy: userPolicy('Allow', 's3:GetObject') })
  test.each<[string, Identity | undefined, boolean, boolean]>([
    ['nobody', undefined, false, false],
    ['a user', stranger, false, true],
    ['a user with a policy of its own', withPolicy, true, true],
    ['the owner', owner, true, true],
    ['the root user', root, true, true],
  ])('lets %s in: %o; one that is not public: %o', (_, principal, isPublicIn, isNamedIn) => {
    const publicAccessBlock = { ...OPEN, restrictPublicBuckets: true }
    const restricted = bucket({ policy: open, publicAccessBlock })
    expect(allowed({ principal, bucket: bucket({ policy: open }) })).toBe(true)
    expect(allowed({ principal, bucket: restricted })).toBe(isPublicIn)
    expect(allowed({ principal, bucket: restricted, action: 's3:DeleteObject' })).toBe(false)
    const notPublic = bucket({ policy: named, publicAccessBlock })
    expect(allowed({ principal, bucket: notPublic })).toBe(isNamedIn)
  })

  test.each(['blockPublicAcls', 'ignorePublicAcls', 'blockPublicPolicy'] as const)(
    'is not the same as %s',
    (setting) => {
      const publicAccessBlock = { ...OPEN, [setting]: true }
      expect(
        allowed({ principal: undefined, bucket: bucket({ policy: open, publicAccessBlock }) }),
      ).toBe(true)
    },
  )
})

describe('the service itself', () => {
  const all = identity('x', { policy: userPolicy('Allow', 's3:*') })
  const reader = identity('x', { policy: userPolicy('Allow', 's3:GetObject') })
  const denied = identity('x', { policy: userPolicy('Deny', 's3:*') })
  const maker = identity('x', {
    policy: userPolicy('Allow', 's3:CreateBucket', 'arn:aws:s3:::x-*'),
  })
  test.each<[string, Identity | undefined, boolean, boolean, boolean]>([
    ['nobody', undefined, false, false, false],
    ['the root user', root, true, true, true],
    ['a user without a policy', stranger, true, true, false],
    ['a user whose policy allows all', all, true, true, true],
    ['a user whose policy is for objects', reader, false, false, false],
    ['a user whose policy denies', denied, false, false, false],
    ['a user who may make some', maker, false, true, false],
  ])('%s: list buckets %o, make one %o, settings of all %o', (_, principal, list, make, block) => {
    const base = { principal, bucket: undefined, object: undefined, key: undefined }
    const newBucket = 'x-1'
    expect(allowed({ ...base, action: 's3:ListAllMyBuckets' })).toBe(list)
    expect(allowed({ ...base, action: 's3:CreateBucket', newBucket })).toBe(make)
    expect(allowed({ ...base, action: 's3:PutAccountPublicAccessBlock' })).toBe(block)
  })

  test('makes no bucket without a name, nor with one that the policy does not allow', () => {
    const base = { bucket: undefined, action: 's3:CreateBucket' as const }
    expect(allowed({ ...base, principal: root })).toBe(false)
    expect(allowed({ ...base, principal: maker, newBucket: 'y' })).toBe(false)
  })

  test('does not ask an open bucket', () => {
    const open = bucket({ policy: bucketPolicy(statement()), acl: acl(owner, [everyone, 'WRITE']) })
    const fields = { principal: undefined, bucket: open, newBucket: 'x' }
    expect(allowed({ ...fields, action: 's3:CreateBucket' })).toBe(false)
    expect(allowed({ ...fields, action: 's3:ListAllMyBuckets' })).toBe(false)
  })
})

describe('what is not known', () => {
  test.each(['', 's3:Nothing', 's3:getobject', '*', 's3:*', 'constructor', '__proto__'])(
    'action %o is denied to all',
    (action) => {
      const open = bucket({ policy: bucketPolicy(statement()) })
      for (const principal of [root, owner, stranger, undefined]) {
        expect(allowed({ principal, bucket: open, action: action as S3Action })).toBe(false)
      }
    },
  )

  test('an action on no bucket, or on no key, is denied to all', () => {
    for (const principal of [root, owner]) {
      expect(allowed({ principal, bucket: undefined })).toBe(false)
      expect(allowed({ principal, bucket: undefined, action: 's3:ListBucket' })).toBe(false)
      expect(allowed({ principal, key: undefined })).toBe(false)
    }
  })

  test('is told as AccessDenied', () => {
    expect(expectS3Error(() => authorize(request()))).toMatchObject({ code: 'AccessDenied' })
    expect(authorize(request({ principal: owner }))).toBeUndefined()
  })
})
