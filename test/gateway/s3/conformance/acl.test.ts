import { GetBucketAclCommand, PutBucketAclCommand, PutObjectAclCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { KEY, makeBucket, put, USES, userOf, type Who } from './access-cases.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const ALL_USERS = 'http://acs.amazonaws.com/groups/global/AllUsers'
const SIGNED_USERS = 'http://acs.amazonaws.com/groups/global/AuthenticatedUsers'

/** What a canned list lets others do, apart from the owner. */
const CANNED: readonly (readonly [string, Partial<Record<Who, readonly string[]>>])[] = [
  ['private', {}],
  ['public-read', { other: ['READ'], anonymous: ['READ'] }],
  ['public-read-write', { other: ['READ', 'WRITE'], anonymous: ['READ', 'WRITE'] }],
  ['authenticated-read', { other: ['READ'] }],
  ['bucket-owner-read', {}],
  ['bucket-owner-full-control', {}],
]

const PERMISSIONS = ['READ', 'WRITE', 'READ_ACP', 'WRITE_ACP', 'FULL_CONTROL'] as const

const HEADERS: Readonly<Record<string, string>> = {
  READ: 'x-amz-grant-read',
  WRITE: 'x-amz-grant-write',
  READ_ACP: 'x-amz-grant-read-acp',
  WRITE_ACP: 'x-amz-grant-write-acp',
  FULL_CONTROL: 'x-amz-grant-full-control',
}

/** The uses that succeed, of those of a bucket or an object. */
async function allowedUses(of: 'bucket' | 'object', who: Who, bucket: string): Promise<string[]> {
  const allowed: string[] = []
  // Writing the list comes last: it takes the others away.
  for (const { name, permission, run } of USES.filter((each) => each.of === of)) {
    const { status } = await run(s3, who, bucket)
    if (status < 300) allowed.push(`${permission} ${name}`)
    else expect(status).toBe(403)
  }
  return allowed
}

function usesOf(of: 'bucket' | 'object', permissions: readonly string[]): string[] {
  const has = (permission: string) =>
    permissions.includes(permission) || permissions.includes('FULL_CONTROL')
  return USES.filter((each) => each.of === of && has(each.permission)).map(
    ({ name, permission }) => `${permission} ${name}`,
  )
}

describe('canned lists', () => {
  for (const who of ['other', 'anonymous'] as const) {
    test.each(CANNED)(`of a bucket: %s for ${who}`, async (acl, rights) => {
      const bucket = await makeBucket(s3, { acl })
      expect(await allowedUses('bucket', who, bucket)).toEqual(usesOf('bucket', rights[who] ?? []))
    })

    test.each(CANNED)(`of an object: %s for ${who}`, async (acl, rights) => {
      const bucket = await makeBucket(s3)
      await put(s3, `/${bucket}/${KEY}`, 'data', { headers: { 'x-amz-acl': acl } })
      const given = (rights[who] ?? []).filter((permission) => permission !== 'WRITE')
      expect(await allowedUses('object', who, bucket)).toEqual(usesOf('object', given))
    })
  }

  test.each(CANNED)('%s leaves the owner everything', async (acl) => {
    const bucket = await makeBucket(s3, { acl })
    await put(s3, `/${bucket}/${KEY}`, 'data', { headers: { 'x-amz-acl': acl } })
    expect(await allowedUses('object', 'owner', bucket)).toEqual(usesOf('object', PERMISSIONS))
    expect(await allowedUses('bucket', 'owner', bucket)).toEqual(usesOf('bucket', PERMISSIONS))
  })

  test('of a bucket say nothing of its objects', async () => {
    const bucket = await makeBucket(s3, { acl: 'public-read-write' })
    await put(s3, `/${bucket}/${KEY}`)
    for (const who of ['other', 'anonymous'] as const) {
      expect(await allowedUses('object', who, bucket)).toEqual([])
    }
  })

  test.each([
    ['bucket-owner-read', ['READ']],
    ['bucket-owner-full-control', ['READ', 'READ_ACP', 'WRITE_ACP']],
  ])('%s of an object of somebody else names the owner of the bucket', async (acl, expected) => {
    const bucket = await makeBucket(s3, { acl: 'public-read-write' })
    const headers = { 'x-amz-acl': acl }
    await put(s3, `/${bucket}/${KEY}`, 'data', { as: s3.other, headers })
    const { text } = await s3.raw({ path: `/${bucket}/${KEY}?acl`, as: s3.other })
    expect(text).toContain(`<Owner><ID>${s3.other.canonicalId}</ID>`)
    const grant = new RegExp(`<ID>${s3.owner.canonicalId}</ID>.*?<Permission>(\\w+)</Permission>`)
    expect(grant.exec(text)?.[1]).toBe(expected.length > 1 ? 'FULL_CONTROL' : 'READ')
  })

  test('log-delivery-write is for buckets only', async () => {
    const bucket = await makeBucket(s3, { acl: 'log-delivery-write' })
    const { text } = await s3.raw({ path: `/${bucket}?acl`, as: s3.owner })
    expect(text).toContain('http://acs.amazonaws.com/groups/s3/LogDelivery')
    const headers = { 'x-amz-acl': 'log-delivery-write' }
    const request = { method: 'PUT', path: `/${bucket}/${KEY}`, headers, as: s3.owner }
    expect(await s3.raw(request)).toMatchObject({ code: 'InvalidArgument' })
  })
})

describe('grants', () => {
  const grantees = [
    ['id', (id: string) => `id="${id}"`],
    ['id without quotes', (id: string) => `id=${id}`],
    ['e-mail', () => 'emailAddress="OTHER@example.com"'],
  ] as const

  for (const of of ['bucket', 'object'] as const) {
    test.each(PERMISSIONS)(`of %s on a ${of}, in a header, by id`, async (permission) => {
      const bucket = await makeBucket(s3)
      await put(s3, `/${bucket}/${KEY}`)
      const path = of === 'bucket' ? `/${bucket}` : `/${bucket}/${KEY}`
      const headers = { [HEADERS[permission] ?? '']: `id="${s3.other.canonicalId}"` }
      await put(s3, `${path}?acl`, '', { headers })
      expect(await allowedUses(of, 'anonymous', bucket)).toEqual([])
      const expected = usesOf(of, [permission])
      expect(await allowedUses(of, 'other', bucket)).toEqual(expected)
    })

    test.each(PERMISSIONS)(`of %s on a ${of}, in a document, to a group`, async (permission) => {
      const bucket = await makeBucket(s3)
      await put(s3, `/${bucket}/${KEY}`)
      const path = of === 'bucket' ? `/${bucket}` : `/${bucket}/${KEY}`
      const group = `<Grantee ${XSI} xsi:type="Group"><URI>${ALL_USERS}</URI></Grantee>`
      const body = listOf(s3.owner.canonicalId, group, permission)
      await put(s3, `${path}?acl`, body)
      expect(await allowedUses(of, 'anonymous', bucket)).toEqual(usesOf(of, [permission]))
    })
  }

  test.each(grantees)('to a user by %s', async (_title, grantee) => {
    const bucket = await makeBucket(s3)
    const headers = { 'x-amz-grant-read': grantee(s3.other.canonicalId) }
    await put(s3, `/${bucket}?acl`, '', { headers })
    expect(await allowedUses('bucket', 'other', bucket)).toEqual(usesOf('bucket', ['READ']))
    const { text } = await s3.raw({ path: `/${bucket}?acl`, as: s3.owner })
    expect(text).toContain(`<ID>${s3.other.canonicalId}</ID><DisplayName>other</DisplayName>`)
    expect(text.toLowerCase()).not.toContain('example.com')
  })

  test('to all who sign', async () => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}?acl`, '', {
      headers: { 'x-amz-grant-read': `uri="${SIGNED_USERS}"` },
    })
    expect(await allowedUses('bucket', 'other', bucket)).toEqual(usesOf('bucket', ['READ']))
    expect(await allowedUses('bucket', 'anonymous', bucket)).toEqual([])
  })

  test('several at once, in several headers', async () => {
    const bucket = await makeBucket(s3, {
      headers: {
        'x-amz-grant-read': `uri="${ALL_USERS}", id="${s3.root.canonicalId}"`,
        'x-amz-grant-write': 'emailAddress=other@example.com',
      },
    })
    expect(await allowedUses('bucket', 'other', bucket)).toEqual(
      usesOf('bucket', ['READ', 'WRITE']),
    )
    expect(await allowedUses('bucket', 'anonymous', bucket)).toEqual(usesOf('bucket', ['READ']))
  })

  test('with an object as it is written', async () => {
    const bucket = await makeBucket(s3)
    const headers = { 'x-amz-grant-read-acp': `id=${s3.other.canonicalId}` }
    await put(s3, `/${bucket}/${KEY}`, 'data', { headers })
    expect(await allowedUses('object', 'other', bucket)).toEqual(usesOf('object', ['READ_ACP']))
  })

  const long = Array.from({ length: 101 }, () => `uri="${ALL_USERS}"`).join(', ')
  const refused: readonly (readonly [string, Readonly<Record<string, string>>, string])[] = [
    [
      'an unknown e-mail',
      { 'x-amz-grant-read': 'emailAddress=no@x.y' },
      'UnresolvableGrantByEmailAddress',
    ],
    ['an unknown id', { 'x-amz-grant-read': `id=${'0'.repeat(64)}` }, 'InvalidArgument'],
    ['an unknown group', { 'x-amz-grant-read': 'uri=http://a/b' }, 'InvalidArgument'],
    ['an unknown kind', { 'x-amz-grant-read': 'name=other' }, 'InvalidArgument'],
    ['an empty value', { 'x-amz-grant-read': '' }, 'InvalidArgument'],
    ['no value', { 'x-amz-grant-read': 'id=' }, 'InvalidArgument'],
    ['101 grants', { 'x-amz-grant-read': long }, 'MalformedACLError'],
    ['an unknown canned list', { 'x-amz-acl': 'public' }, 'InvalidArgument'],
    ['an empty canned list', { 'x-amz-acl': '' }, 'InvalidArgument'],
    [
      'both',
      { 'x-amz-acl': 'private', 'x-amz-grant-read': `uri="${ALL_USERS}"` },
      'InvalidRequest',
    ],
  ]
  test.each(refused)('by headers with %s are refused', async (_title, headers, code) => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/${KEY}`)
    for (const path of [`/${bucket}?acl`, `/${bucket}/${KEY}?acl`, `/${bucket}/new`]) {
      const answer = await s3.raw({ method: 'PUT', path, headers, as: s3.owner })
      expect(answer).toMatchObject({ status: 400, code })
    }
    expect(await allowedUses('bucket', 'other', bucket)).toEqual([])
    expect(await s3.raw({ path: `/${bucket}/new`, as: s3.owner })).toMatchObject({ status: 404 })
  })
})

const XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'

function listOf(ownerId: string, grantee: string, permission: string): string {
  const grant = `<Grant>${grantee}<Permission>${permission}</Permission></Grant>`
  const list = `<AccessControlList>${grant}</AccessControlList>`
  return `<AccessControlPolicy><Owner><ID>${ownerId}</ID></Owner>${list}</AccessControlPolicy>`
}

describe('lists as documents', () => {
  const user = (id: string) => `<Grantee ${XSI} xsi:type="CanonicalUser"><ID>${id}</ID></Grantee>`
  const rows: readonly (readonly [string, (own: string) => string, string])[] = [
    ['no document', () => 'x', 'MalformedACLError'],
    ['another root', () => '<Other/>', 'MalformedACLError'],
    ['an empty root', () => '<AccessControlPolicy/>', 'MalformedACLError'],
    ['an unknown permission', (own) => listOf(own, user(own), 'EAT'), 'MalformedACLError'],
    [
      'a grantee without a type',
      (own) => listOf(own, '<Grantee><ID>x</ID></Grantee>', 'READ'),
      'MalformedACLError',
    ],
    ['an unknown user', (own) => listOf(own, user('0'.repeat(64)), 'READ'), 'InvalidArgument'],
    ['an empty id', (own) => listOf(own, user(''), 'READ'), 'InvalidArgument'],
    ['another owner', () => listOf('f'.repeat(64), user('f'.repeat(64)), 'READ'), 'AccessDenied'],
    [
      'an entity',
      (own) => `<!DOCTYPE a [<!ENTITY b "c">]>${listOf(own, user(own), 'READ')}`,
      'MalformedACLError',
    ],
  ]
  test.each(rows)('with %s are refused', async (_title, document, code) => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/${KEY}`)
    const body = document(s3.owner.canonicalId)
    for (const path of [`/${bucket}?acl`, `/${bucket}/${KEY}?acl`]) {
      expect(await s3.raw({ method: 'PUT', path, body, as: s3.owner })).toMatchObject({ code })
    }
  })

  test('and headers at once are refused', async () => {
    const bucket = await makeBucket(s3)
    const body = listOf(s3.owner.canonicalId, user(s3.owner.canonicalId), 'READ')
    const headers = { 'x-amz-acl': 'public-read' }
    const answer = await s3.raw({
      method: 'PUT',
      path: `/${bucket}?acl`,
      body,
      headers,
      as: s3.owner,
    })
    expect(answer).toMatchObject({ status: 400, code: 'UnexpectedContent' })
  })

  test('neither of them is refused', async () => {
    const bucket = await makeBucket(s3)
    const answer = await s3.raw({ method: 'PUT', path: `/${bucket}?acl`, as: s3.owner })
    expect(answer).toMatchObject({ status: 400, code: 'MissingSecurityHeader' })
  })

  test('an owner without a grant may still read and write the list', async () => {
    const bucket = await makeBucket(s3)
    await put(
      s3,
      `/${bucket}?acl`,
      listOf(s3.owner.canonicalId, user(s3.other.canonicalId), 'READ'),
    )
    const { text } = await s3.raw({ path: `/${bucket}?acl`, as: s3.owner })
    expect(text.match(/<Grant>/g)).toHaveLength(1)
    await put(s3, `/${bucket}?acl`, '', { headers: { 'x-amz-acl': 'private' } })
    expect(await allowedUses('bucket', 'other', bucket)).toEqual([])
  })

  test('of the SDK come back as they were', async () => {
    const Bucket = await makeBucket(s3)
    const owner = { ID: s3.owner.canonicalId, DisplayName: s3.owner.name }
    const Grants = [
      {
        Grantee: { Type: 'CanonicalUser' as const, ...owner },
        Permission: 'FULL_CONTROL' as const,
      },
      { Grantee: { Type: 'Group' as const, URI: ALL_USERS }, Permission: 'READ_ACP' as const },
    ]
    const AccessControlPolicy = { Owner: owner, Grants }
    await s3.owner.sdk.send(new PutBucketAclCommand({ Bucket, AccessControlPolicy }))
    const found = await s3.owner.sdk.send(new GetBucketAclCommand({ Bucket }))
    expect(found).toMatchObject({ Owner: owner, Grants })
    await put(s3, `/${Bucket}/${KEY}`)
    await s3.owner.sdk.send(new PutObjectAclCommand({ Bucket, Key: KEY, AccessControlPolicy }))
    expect(await allowedUses('object', 'anonymous', Bucket)).toEqual(usesOf('object', ['READ_ACP']))
  })

  test('of versions are each its own', async () => {
    const bucket = await makeBucket(s3)
    const versioning = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    await put(s3, `/${bucket}?versioning`, versioning)
    const { headers: first } = await put(s3, `/${bucket}/${KEY}`, 'one')
    const { headers: second } = await put(s3, `/${bucket}/${KEY}`, 'two')
    const firstPath = `/${bucket}/${KEY}?versionId=${first['x-amz-version-id']}`
    const publicRead = { headers: { 'x-amz-acl': 'public-read' } }
    await put(s3, firstPath.replace('?', '?acl&'), '', publicRead)
    expect(await s3.raw({ path: firstPath })).toMatchObject({ text: 'one' })
    expect(await s3.raw({ path: `/${bucket}/${KEY}` })).toMatchObject({ code: 'AccessDenied' })
    const secondPath = `/${bucket}/${KEY}?versionId=${second['x-amz-version-id']}`
    expect(await s3.raw({ path: secondPath })).toMatchObject({ code: 'AccessDenied' })
  })
})

describe('a user who may write somewhere', () => {
  test('owns what it writes there, and the owner of the bucket may still delete it', async () => {
    const bucket = await makeBucket(s3, { acl: 'public-read-write' })
    await put(s3, `/${bucket}/${KEY}`, 'theirs', { as: s3.other })
    const path = `/${bucket}/${KEY}`
    expect(await s3.raw({ path, as: s3.other })).toMatchObject({ text: 'theirs' })
    expect(await s3.raw({ path: `${path}?tagging`, as: s3.other })).toMatchObject({ status: 200 })
    expect(await s3.raw({ path })).toMatchObject({ code: 'AccessDenied' })
    expect(await s3.raw({ method: 'DELETE', path, as: s3.owner })).toMatchObject({ status: 204 })
  })

  test('may see and end uploads of its own, and not those of others', async () => {
    const bucket = await makeBucket(s3, { acl: 'public-read-write' })
    const ids: Record<string, string> = {}
    for (const who of ['owner', 'other'] as const) {
      const { text } = await s3.raw({
        method: 'POST',
        path: `/${bucket}/${who}?uploads`,
        as: userOf(s3, who),
      })
      ids[who] = /<UploadId>(.*)<\/UploadId>/.exec(text)?.[1] ?? ''
    }
    const list = (key: string, as: Who) =>
      s3.raw({ path: `/${bucket}/${key}?uploadId=${ids[key]}`, as: userOf(s3, as) })
    expect(await list('other', 'other')).toMatchObject({ status: 200 })
    expect(await list('owner', 'other')).toMatchObject({ code: 'AccessDenied' })
    expect(await list('other', 'owner')).toMatchObject({ status: 200 })
    expect(await list('other', 'anonymous')).toMatchObject({ code: 'AccessDenied' })
    const abort = (key: string) =>
      s3.raw({ method: 'DELETE', path: `/${bucket}/${key}?uploadId=${ids[key]}`, as: s3.other })
    expect(await abort('owner')).toMatchObject({ code: 'AccessDenied' })
    expect(await abort('other')).toMatchObject({ status: 204 })
  })

  test('may delete what it sees only by name, not version by version', async () => {
    const bucket = await makeBucket(s3, { acl: 'public-read-write' })
    await put(s3, `/${bucket}/${KEY}`)
    const path = `/${bucket}/${KEY}`
    const version = { method: 'DELETE', path: `${path}?versionId=null`, as: s3.other }
    expect(await s3.raw(version)).toMatchObject({ code: 'AccessDenied' })
    expect(await s3.raw({ method: 'DELETE', path, as: s3.other })).toMatchObject({ status: 204 })
  })
})
