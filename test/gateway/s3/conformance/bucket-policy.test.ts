import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawRequest, TestS3 } from '../../../support/test-s3.ts'
import { bucketArn, makeBucket, put, setPolicy, userOf, type Who } from './access-cases.ts'
import { signV4Query } from './signed-requests.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

/** What a statement needs to be one; the bucket is filled in. */
interface Sketch {
  readonly Effect?: string
  readonly Principal?: unknown
  readonly NotPrincipal?: unknown
  readonly Action?: unknown
  readonly NotAction?: unknown
  readonly Resource?: unknown
  readonly NotResource?: unknown
  readonly Condition?: unknown
}

/** Everybody may read all objects, apart from what the sketch says. */
function statementOf(bucket: string, sketch: Sketch): Record<string, unknown> {
  const usual = {
    Effect: 'Allow',
    ...(sketch.NotPrincipal === undefined && { Principal: '*' }),
    ...(sketch.NotAction === undefined && { Action: 's3:GetObject' }),
    ...(sketch.NotResource === undefined && { Resource: `${bucketArn('BUCKET')}/*` }),
  }
  const text = JSON.stringify({ ...usual, ...sketch })
  const filled = text
    .replaceAll('BUCKET', bucket)
    .replaceAll('OTHERID', s3.other.canonicalId)
    .replaceAll('OWNERID', s3.owner.canonicalId)
  return JSON.parse(filled) as Record<string, unknown>
}

async function bucketWith(...sketches: readonly Sketch[]): Promise<string> {
  const bucket = await makeBucket(s3, { ownership: 'BucketOwnerEnforced' })
  await put(s3, `/${bucket}/a/1`)
  await put(s3, `/${bucket}/b/1`)
  await setPolicy(s3, bucket, ...sketches.map((sketch) => statementOf(bucket, sketch)))
  return bucket
}

async function statusOf(who: Who, request: RawRequest): Promise<number> {
  return (await s3.raw({ ...request, as: userOf(s3, who) })).status
}

describe('principals', () => {
  const rows: readonly (readonly [string, Sketch, Partial<Record<Who, number>>])[] = [
    ['*', { Principal: '*' }, { other: 200, anonymous: 200 }],
    ['AWS *', { Principal: { AWS: '*' } }, { other: 200, anonymous: 200 }],
    ['AWS list with *', { Principal: { AWS: ['*'] } }, { other: 200, anonymous: 200 }],
    [
      'a user by ARN',
      { Principal: { AWS: 'arn:aws:iam:::user/other' } },
      { other: 200, anonymous: 403 },
    ],
    [
      'a user by ARN with an account',
      { Principal: { AWS: 'arn:aws:iam::123456789012:user/other' } },
      { other: 200, anonymous: 403 },
    ],
    ['a user by name', { Principal: { AWS: 'other' } }, { other: 200, anonymous: 403 }],
    [
      'a user by canonical id',
      { Principal: { CanonicalUser: 'OTHERID' } },
      { other: 200, anonymous: 403 },
    ],
    [
      'somebody else',
      { Principal: { AWS: 'arn:aws:iam:::user/nobody' } },
      { other: 403, anonymous: 403 },
    ],
    ['several', { Principal: { AWS: ['nobody', 'other'] } }, { other: 200, anonymous: 403 }],
    ['a name with other capitals', { Principal: { AWS: 'Other' } }, { other: 403, anonymous: 403 }],
    [
      'the account',
      { Principal: { AWS: 'arn:aws:iam::123456789012:root' } },
      { other: 403, anonymous: 403 },
    ],
    ['a denied user', { Effect: 'Deny', Principal: { AWS: 'other' } }, { other: 403, owner: 200 }],
    ['a denied owner', { Effect: 'Deny', Principal: { AWS: 'owner' } }, { owner: 403, root: 200 }],
    ['all denied', { Effect: 'Deny' }, { owner: 403, other: 403, anonymous: 403, root: 403 }],
    [
      'all denied but one',
      { Effect: 'Deny', NotPrincipal: { AWS: 'owner' } },
      { owner: 200, other: 403, root: 403 },
    ],
    [
      'a denied account',
      { Effect: 'Deny', Principal: { AWS: 'arn:aws:iam::1:root' } },
      { owner: 403, root: 403 },
    ],
  ]
  test.each(rows)('%s', async (_title, sketch, expected) => {
    const bucket = await bucketWith(sketch)
    for (const [who, status] of Object.entries(expected)) {
      expect([who, await statusOf(who as Who, { path: `/${bucket}/a/1` })]).toEqual([who, status])
    }
  })
})

describe('actions and resources', () => {
  const get = (path: string): RawRequest => ({ path })
  const rows: readonly (readonly [string, Sketch, Readonly<Record<string, number>>])[] = [
    [
      'one action',
      { Action: 's3:GetObject' },
      { '/a/1': 200, '/a/1?acl': 403, '': 403, '/a/1?tagging': 403 },
    ],
    ['an action in other capitals', { Action: 'S3:getobject' }, { '/a/1': 200 }],
    [
      'a star',
      { Action: 's3:Get*' },
      { '/a/1': 200, '/a/1?tagging': 200, '/a/1?acl': 200, '': 403 },
    ],
    ['a question mark', { Action: 's3:GetObjec?' }, { '/a/1': 200 }],
    ['every action on objects', { Action: 's3:*' }, { '/a/1': 200, '': 403, '?acl': 403 }],
    [
      'a list of the bucket',
      { Action: 's3:ListBucket', Resource: bucketArn('BUCKET') },
      { '': 200, '?list-type=2': 200, '?versions': 403, '/a/1': 403 },
    ],
    [
      'versions of the bucket',
      { Action: 's3:ListBucketVersions', Resource: bucketArn('BUCKET') },
      { '?versions': 200, '': 403 },
    ],
    [
      'all of everything',
      { Action: '*', Resource: [bucketArn('BUCKET'), bucketArn('BUCKET', '/*')] },
      { '': 200, '/a/1': 200, '?policy': 200, '?cors': 404 },
    ],
    ['the bucket is not its objects', { Resource: bucketArn('BUCKET') }, { '/a/1': 403 }],
    ['a folder', { Resource: bucketArn('BUCKET', '/a/*') }, { '/a/1': 200, '/b/1': 403 }],
    ['one object', { Resource: bucketArn('BUCKET', '/a/1') }, { '/a/1': 200, '/a/2': 403 }],
    [
      'a question mark in a key',
      { Resource: bucketArn('BUCKET', '/?/1') },
      { '/a/1': 200, '/b/1': 200 },
    ],
    ['other capitals in a key', { Resource: bucketArn('BUCKET', '/A/*') }, { '/a/1': 403 }],
    [
      'two resources',
      { Resource: [bucketArn('BUCKET', '/a/*'), bucketArn('BUCKET', '/b/*')] },
      { '/a/1': 200, '/b/1': 200 },
    ],
    [
      'all but a folder',
      { NotResource: bucketArn('BUCKET', '/a/*') },
      { '/a/1': 403, '/b/1': 200 },
    ],
    [
      'all but an action',
      { NotAction: 's3:GetObject', Resource: [bucketArn('BUCKET'), bucketArn('BUCKET', '/*')] },
      { '/a/1': 403, '': 200, '/a/1?tagging': 200 },
    ],
    [
      'dots are part of a key',
      { Resource: bucketArn('BUCKET', '/a/*') },
      { '/a/../b/1': 404, '/a/%2e%2e/b/1': 404, '/%61/1': 200, '/%62/1': 403 },
    ],
  ]
  test.each(rows)('%s', async (_title, sketch, expected) => {
    const list = { Action: 's3:ListBucket', Resource: bucketArn('BUCKET') }
    const needsList = Object.values(expected).includes(404)
    const bucket = await bucketWith(sketch, ...(needsList ? [list] : []))
    for (const [path, status] of Object.entries(expected)) {
      const found = await statusOf('anonymous', get(`/${bucket}${path}`))
      expect([path, found]).toEqual([path, status])
    }
  })

  test('a policy that allows is enough for each write it names', async () => {
    const Action = ['s3:PutObject', 's3:DeleteObject']
    const bucket = await bucketWith({ Action, Resource: bucketArn('BUCKET', '/in/*') })
    const path = `/${bucket}/in/k`
    expect(await statusOf('other', { method: 'PUT', path, body: 'x' })).toBe(200)
    expect(await statusOf('anonymous', { method: 'PUT', path, body: 'y' })).toBe(200)
    expect(await statusOf('other', { path })).toBe(403)
    expect(await statusOf('other', { method: 'DELETE', path })).toBe(204)
    expect(await statusOf('other', { method: 'PUT', path: `/${bucket}/out`, body: 'x' })).toBe(403)
    const copy = { 'x-amz-copy-source': `/${bucket}/a/1` }
    expect(await statusOf('other', { method: 'PUT', path, headers: copy })).toBe(403)
    const tagged = { 'x-amz-tagging': 'a=b' }
    expect(await statusOf('other', { method: 'PUT', path, headers: tagged, body: 'x' })).toBe(403)
  })

  test('a deny wins over an allow, wherever it stands', async () => {
    const deny = { Effect: 'Deny', Resource: bucketArn('BUCKET', '/b/*') }
    for (const sketches of [
      [{}, deny],
      [deny, {}],
    ]) {
      const bucket = await bucketWith(...sketches)
      expect(await statusOf('other', { path: `/${bucket}/a/1` })).toBe(200)
      expect(await statusOf('other', { path: `/${bucket}/b/1` })).toBe(403)
      expect(await statusOf('owner', { path: `/${bucket}/b/1` })).toBe(403)
    }
  })

  test('a deny is kept in DeleteObjects, key by key', async () => {
    const bucket = await bucketWith({
      Effect: 'Deny',
      Action: 's3:DeleteObject',
      Resource: bucketArn('BUCKET', '/b/*'),
    })
    const body = '<Delete><Object><Key>a/1</Key></Object><Object><Key>b/1</Key></Object></Delete>'
    const { text } = await s3.raw({ method: 'POST', path: `/${bucket}?delete`, body, as: s3.owner })
    expect(text).toContain('<Deleted><Key>a/1</Key></Deleted>')
    expect(text).toContain('<Error><Key>b/1</Key><Code>AccessDenied</Code>')
    expect(await statusOf('owner', { path: `/${bucket}/b/1` })).toBe(200)
  })
})

describe('what is not there', () => {
  test.each([
    [[], 403],
    [['s3:ListBucket'], 404],
  ])('is shown to who may %j with %d', async (actions, status) => {
    const more = actions.map((Action) => ({ Action, Resource: bucketArn('BUCKET') }))
    const bucket = await bucketWith({ Action: 's3:*' }, ...more)
    for (const method of ['GET', 'HEAD']) {
      for (const parameter of [
        '',
        '?tagging',
        '?acl',
        '?versionId=null',
        `?versionId=${'0'.repeat(32)}`,
      ]) {
        if (method === 'HEAD' && /tagging|acl/.test(parameter)) continue
        const found = await statusOf('other', { method, path: `/${bucket}/none${parameter}` })
        expect([method, parameter, found]).toEqual([method, parameter, status])
      }
    }
    const copy = { 'x-amz-copy-source': `/${bucket}/none` }
    const request = { method: 'PUT', path: `/${bucket}/to`, headers: copy }
    expect(await statusOf('other', request)).toBe(status)
  })

  test('looks to who may do nothing like what is there', async () => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/there`)
    const parameters = [
      '',
      '?tagging',
      '?acl',
      '?attributes',
      '?retention',
      '?legal-hold',
      '?uploadId=x',
    ]
    for (const who of ['other', 'anonymous'] as const) {
      for (const parameter of parameters) {
        const shown = async (key: string) => {
          const answer = await s3.raw({
            path: `/${bucket}/${key}${parameter}`,
            as: userOf(s3, who),
          })
          return `${answer.status} ${answer.code} ${/<Message>(.*?)</.exec(answer.text)?.[1]}`
        }
        expect(await shown('there')).toBe(await shown('none'))
        expect(await shown('there')).toContain('403 AccessDenied')
      }
    }
  })
})

describe('conditions', () => {
  const allow = (Condition: unknown, more: Sketch = {}): Sketch => ({ Condition, ...more })
  const list = { Action: 's3:ListBucket', Resource: bucketArn('BUCKET') }
  const write = { Action: ['s3:PutObject', 's3:PutObjectAcl', 's3:PutObjectTagging'] }
  const a1 = { path: '/a/1' }
  const newObject = (headers: Readonly<Record<string, string>>) => {
    return { method: 'PUT', path: '/new', body: 'x', headers }
  }
  const rows: readonly (readonly [string, Sketch, RawRequest, number])[] = [
    ['an address that fits', allow({ IpAddress: { 'aws:SourceIp': '127.0.0.0/8' } }), a1, 200],
    ['an address that does not', allow({ IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }), a1, 403],
    [
      'one of two addresses',
      allow({ IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '127.0.0.1/32'] } }),
      a1,
      200,
    ],
    ['no such address', allow({ NotIpAddress: { 'aws:SourceIp': '127.0.0.1' } }), a1, 403],
    ['TLS', allow({ Bool: { 'aws:SecureTransport': 'true' } }), a1, 403],
    ['no TLS', allow({ Bool: { 'aws:SecureTransport': 'false' } }), a1, 200],
    [
      'TLS that a header claims',
      allow({ Bool: { 'aws:SecureTransport': true } }),
      { ...a1, headers: { 'x-forwarded-proto': 'https' } },
      403,
    ],
    [
      'an address that a header claims',
      allow({ IpAddress: { 'aws:SourceIp': '10.0.0.1' } }),
      { ...a1, headers: { 'x-forwarded-for': '10.0.0.1' } },
      403,
    ],
    [
      'a referer that fits',
      allow({ StringLike: { 'aws:Referer': 'http://a.b/*' } }),
      { ...a1, headers: { referer: 'http://a.b/c' } },
      200,
    ],
    ['no referer', allow({ StringLike: { 'aws:Referer': 'http://a.b/*' } }), a1, 403],
    [
      'a user agent',
      allow({ StringEquals: { 'aws:UserAgent': 'x' } }),
      { ...a1, headers: { 'user-agent': 'x' } },
      200,
    ],
    [
      'a date to come',
      allow({ DateLessThan: { 'aws:CurrentTime': '2099-01-01T00:00:00Z' } }),
      a1,
      200,
    ],
    [
      'a date that is past',
      allow({ DateLessThan: { 'aws:CurrentTime': '2001-01-01T00:00:00Z' } }),
      a1,
      403,
    ],
    ['a user name', allow({ StringEquals: { 'aws:username': 'other' } }), a1, 200],
    ['another user name', allow({ StringEquals: { 'aws:username': 'nobody' } }), a1, 403],
    ['a user id', allow({ StringEquals: { 'aws:userid': 'OTHERID' } }), a1, 200],
    ['a kind of principal', allow({ StringEquals: { 'aws:PrincipalType': 'User' } }), a1, 200],
    ['a signature in a header', allow({ StringEquals: { 's3:authType': 'REST-HEADER' } }), a1, 200],
    [
      'a signature in a query',
      allow({ StringEquals: { 's3:authType': 'REST-QUERY-STRING' } }),
      a1,
      403,
    ],
    ['Version 4', allow({ StringEquals: { 's3:signatureversion': 'AWS4-HMAC-SHA256' } }), a1, 200],
    ['a prefix', allow({ StringEquals: { 's3:prefix': 'a/' } }, list), { path: '?prefix=a/' }, 200],
    [
      'another prefix',
      allow({ StringEquals: { 's3:prefix': 'a/' } }, list),
      { path: '?prefix=b/' },
      403,
    ],
    ['no prefix', allow({ StringEquals: { 's3:prefix': 'a/' } }, list), { path: '' }, 403],
    [
      'a longer prefix',
      allow({ StringLike: { 's3:prefix': 'a/*' } }, list),
      { path: '?prefix=a/b&list-type=2' },
      200,
    ],
    [
      'a delimiter',
      allow({ StringEquals: { 's3:delimiter': '/' } }, list),
      { path: '?delimiter=/' },
      200,
    ],
    [
      'few keys',
      allow({ NumericLessThanEquals: { 's3:max-keys': '10' } }, list),
      { path: '?max-keys=10' },
      200,
    ],
    [
      'more keys',
      allow({ NumericLessThanEquals: { 's3:max-keys': '10' } }, list),
      { path: '?max-keys=11' },
      403,
    ],
    [
      'an acl',
      allow({ StringEquals: { 's3:x-amz-acl': 'private' } }, write),
      newObject({ 'x-amz-acl': 'private' }),
      200,
    ],
    [
      'another acl',
      allow({ StringEquals: { 's3:x-amz-acl': 'private' } }, write),
      newObject({ 'x-amz-acl': 'bucket-owner-full-control' }),
      403,
    ],
    ['no acl', allow({ StringEquals: { 's3:x-amz-acl': 'private' } }, write), newObject({}), 403],
    [
      'an acl, if any',
      allow({ StringEqualsIfExists: { 's3:x-amz-acl': 'private' } }, write),
      newObject({}),
      200,
    ],
    ['no acl at all', allow({ Null: { 's3:x-amz-acl': 'true' } }, write), newObject({}), 200],
    [
      'a storage class',
      allow({ StringEquals: { 's3:x-amz-storage-class': 'STANDARD' } }, write),
      newObject({ 'x-amz-storage-class': 'STANDARD' }),
      200,
    ],
    [
      'a tag to be set',
      allow({ StringEquals: { 's3:RequestObjectTag/team': 'blue' } }, write),
      newObject({ 'x-amz-tagging': 'team=blue' }),
      200,
    ],
    [
      'another tag to be set',
      allow({ StringEquals: { 's3:RequestObjectTag/team': 'blue' } }, write),
      newObject({ 'x-amz-tagging': 'team=red' }),
      403,
    ],
    [
      'a key of a tag',
      allow({ 'ForAllValues:StringEquals': { 's3:RequestObjectTagKeys': ['team', 'x'] } }, write),
      newObject({ 'x-amz-tagging': 'team=a&x=b' }),
      200,
    ],
    [
      'another key of a tag',
      allow({ 'ForAllValues:StringEquals': { 's3:RequestObjectTagKeys': ['team'] } }, write),
      newObject({ 'x-amz-tagging': 'team=a&y=b' }),
      403,
    ],
    [
      'a header of a copy',
      allow({ StringLike: { 's3:x-amz-copy-source': 'x/*' } }, write),
      newObject({}),
      403,
    ],
    [
      'conditions of two kinds',
      allow({
        Bool: { 'aws:SecureTransport': 'false' },
        IpAddress: { 'aws:SourceIp': '127.0.0.1' },
      }),
      a1,
      200,
    ],
    [
      'conditions of which one fails',
      allow({
        Bool: { 'aws:SecureTransport': 'true' },
        IpAddress: { 'aws:SourceIp': '127.0.0.1' },
      }),
      a1,
      403,
    ],
    [
      'a variable in a resource',
      { Resource: `${bucketArn('BUCKET')}/\${aws:username}/*` },
      { method: 'GET', path: '/a/1' },
      403,
    ],
  ]
  test.each(rows)('%s', async (_title, sketch, request, status) => {
    const bucket = await bucketWith(sketch)
    const path = `/${bucket}${request.path}`
    expect(await statusOf('other', { ...request, path })).toBe(status)
  })

  test('the tags that an object has', async () => {
    const Condition = { StringEquals: { 's3:ExistingObjectTag/team': 'blue' } }
    const bucket = await bucketWith({ Condition, Action: 's3:GetObject*' })
    for (const [key, tagging] of [
      ['blue', 'team=blue'],
      ['red', 'team=red'],
    ]) {
      await put(s3, `/${bucket}/${key}`, 'x', { headers: { 'x-amz-tagging': tagging ?? '' } })
    }
    expect(await statusOf('other', { path: `/${bucket}/blue` })).toBe(200)
    expect(await statusOf('other', { path: `/${bucket}/blue?tagging` })).toBe(200)
    expect(await statusOf('other', { path: `/${bucket}/red` })).toBe(403)
    expect(await statusOf('other', { path: `/${bucket}/none` })).toBe(403)
    const claimed = { 'x-amz-tagging': 'team=blue' }
    expect(await statusOf('other', { path: `/${bucket}/red`, headers: claimed })).toBe(403)
  })

  test('a prefix that is given twice is judged and used as the same one', async () => {
    const bucket = await bucketWith(allow({ StringEquals: { 's3:prefix': 'a/' } }, list))
    const answer = await s3.raw({ path: `/${bucket}?prefix=a/&prefix=b/` })
    expect(answer.text).toContain('<Prefix>a/</Prefix>')
    expect(answer.text).not.toContain('b/1')
    const other = await s3.raw({ path: `/${bucket}?prefix=b/&prefix=a/` })
    expect(other).toMatchObject({ code: 'AccessDenied' })
  })

  test('one version and no other', async () => {
    const bucket = await makeBucket(s3)
    const on = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    await put(s3, `/${bucket}?versioning`, on)
    const ids: string[] = []
    for (const body of ['one', 'two']) {
      ids.push((await put(s3, `/${bucket}/k`, body)).headers['x-amz-version-id'] ?? '')
    }
    const Condition = { StringEquals: { 's3:VersionId': ids[0] } }
    await setPolicy(s3, bucket, statementOf(bucket, { Condition, Action: 's3:GetObjectVersion' }))
    expect(await statusOf('other', { path: `/${bucket}/k?versionId=${ids[0]}` })).toBe(200)
    expect(await statusOf('other', { path: `/${bucket}/k?versionId=${ids[1]}` })).toBe(403)
    expect(await statusOf('other', { path: `/${bucket}/k` })).toBe(403)
  })

  test('the age of a presigned request', async () => {
    const Condition = { NumericGreaterThan: { 's3:signatureAge': '60000' } }
    const bucket = await bucketWith({}, { Effect: 'Deny', Condition })
    const host = new URL(s3.url).host
    for (const [seconds, status] of [
      [10, 200],
      [120, 403],
    ] as const) {
      const at = new Date(Date.now() - seconds * 1000)
      const request = { method: 'GET', path: `/${bucket}/a/1` }
      const { path } = signV4Query(host, s3.other, request, { at })
      expect((await s3.raw({ path })).status).toBe(status)
    }
  })

  test('an object that must be locked', async () => {
    const headers = { 'x-amz-bucket-object-lock-enabled': 'true' }
    const bucket = await makeBucket(s3, { headers })
    const Condition = { Null: { 's3:object-lock-mode': 'true' } }
    const deny = { Effect: 'Deny', Action: 's3:PutObject', Condition }
    const far = {
      Effect: 'Deny',
      Action: ['s3:PutObject', 's3:PutObjectRetention'],
      Condition: { NumericGreaterThan: { 's3:object-lock-remaining-retention-days': '10' } },
    }
    await setPolicy(s3, bucket, statementOf(bucket, deny), statementOf(bucket, far))
    const locked = (days: number) => ({
      'x-amz-object-lock-mode': 'GOVERNANCE',
      'x-amz-object-lock-retain-until-date': new Date(Date.now() + days * 86_400_000).toISOString(),
    })
    const path = `/${bucket}/k`
    const body = 'x'
    expect(await statusOf('owner', { method: 'PUT', path, body })).toBe(403)
    expect(await statusOf('owner', { method: 'PUT', path, body, headers: locked(5) })).toBe(200)
    expect(await statusOf('owner', { method: 'PUT', path, body, headers: locked(20) })).toBe(403)
  })
})

describe('a deny of what only owners can do', () => {
  async function lockedVersion(sketch: Sketch): Promise<string> {
    const headers = { 'x-amz-bucket-object-lock-enabled': 'true' }
    const bucket = await makeBucket(s3, { headers })
    const lock = {
      'x-amz-object-lock-mode': 'GOVERNANCE',
      'x-amz-object-lock-retain-until-date': new Date(Date.now() + 86_400_000).toISOString(),
    }
    const { headers: answered } = await put(s3, `/${bucket}/k`, 'x', { headers: lock })
    await setPolicy(s3, bucket, statementOf(bucket, { Effect: 'Deny', ...sketch }))
    return `/${bucket}/k?versionId=${answered['x-amz-version-id']}`
  }
  const bypass = { 'x-amz-bypass-governance-retention': 'true' }

  test.each([
    ['s3:BypassGovernanceRetention', 403],
    ['s3:DeleteObjectVersion', 403],
    ['s3:DeleteObject', 204],
    ['s3:Bypass*', 403],
    ['s3:*', 403],
  ])('%s: to delete a governed version with the bypass answers %d', async (Action, status) => {
    const path = await lockedVersion({ Action })
    for (const who of ['owner', 'root'] as const) {
      const request = { method: 'DELETE', path, headers: bypass }
      expect(await statusOf(who, request)).toBe(status)
      if (status === 204) break
    }
    const [bucket] = path.split('/k')
    const request = { path: `${bucket}?versions`, as: s3.owner }
    if (Action !== 's3:*' && status === 403) {
      expect((await s3.raw(request)).text).toContain('<VersionId>')
    }
  })

  test('without the bypass nobody deletes it', async () => {
    const path = await lockedVersion({ Action: 's3:GetBucketCORS', Resource: bucketArn('BUCKET') })
    for (const who of ['owner', 'root', 'other', 'anonymous'] as const) {
      expect(await statusOf(who, { method: 'DELETE', path })).toBe(403)
    }
    expect(await statusOf('other', { method: 'DELETE', path, headers: bypass })).toBe(403)
    expect(await statusOf('owner', { method: 'DELETE', path, headers: bypass })).toBe(204)
  })

  test('in DeleteObjects as well', async () => {
    const path = await lockedVersion({ Action: 's3:BypassGovernanceRetention' })
    const [bucket, version] = path.split('/k?versionId=')
    const body = `<Delete><Object><Key>k</Key><VersionId>${version}</VersionId></Object></Delete>`
    const request = { method: 'POST', path: `${bucket}?delete`, body, headers: bypass }
    const { text } = await s3.raw({ ...request, as: s3.owner })
    expect(text).toContain('<Code>AccessDenied</Code>')
  })

  test('to shorten a retention', async () => {
    const path = await lockedVersion({ Action: 's3:BypassGovernanceRetention' })
    const until = new Date(Date.now() + 60_000).toISOString()
    const date = `<RetainUntilDate>${until}</RetainUntilDate>`
    const body = `<Retention><Mode>GOVERNANCE</Mode>${date}</Retention>`
    const request = { method: 'PUT', path: path.replace('?', '?retention&'), body, headers: bypass }
    expect(await statusOf('owner', request)).toBe(403)
  })
})

describe('the document', () => {
  const ok = (bucket: string) =>
    JSON.stringify({ Version: '2012-10-17', Statement: [statementOf(bucket, {})] })

  test('comes back as it was, and goes', async () => {
    const bucket = await makeBucket(s3)
    const path = `/${bucket}?policy`
    expect(await s3.raw({ path, as: s3.owner })).toMatchObject({
      status: 404,
      code: 'NoSuchBucketPolicy',
    })
    const text = ` ${ok(bucket)}\n`
    await put(s3, path, text)
    const found = await s3.raw({ path, as: s3.owner })
    expect(found.text).toBe(text)
    expect(found.headers['content-type']).toBe('application/json')
    expect(await statusOf('owner', { method: 'DELETE', path })).toBe(204)
    expect(await statusOf('owner', { method: 'DELETE', path })).toBe(204)
    expect(await s3.raw({ path, as: s3.owner })).toMatchObject({ code: 'NoSuchBucketPolicy' })
    await put(s3, `/${bucket}/k`)
    expect(await statusOf('anonymous', { path: `/${bucket}/k` })).toBe(403)
  })

  const malformed: readonly (readonly [string, (bucket: string) => unknown])[] = [
    ['nothing', () => ''],
    ['no JSON', () => '{'],
    ['a list', () => '[]'],
    ['no statement', () => ({ Version: '2012-10-17' })],
    ['an empty list', () => ({ Version: '2012-10-17', Statement: [] })],
    ['another version', (b) => ({ Version: '2024-01-01', Statement: [statementOf(b, {})] })],
    [
      'an unknown element',
      (b) => ({ Version: '2012-10-17', Statement: [statementOf(b, {})], x: 1 }),
    ],
    ['an unknown element in a statement', (b) => [{ ...statementOf(b, {}), x: 1 }]],
    ['no principal', (b) => [{ ...statementOf(b, {}), Principal: undefined }]],
    ['no action', (b) => [{ ...statementOf(b, {}), Action: undefined }]],
    ['no resource', (b) => [{ ...statementOf(b, {}), Resource: undefined }]],
    ['no effect', (b) => [{ ...statementOf(b, {}), Effect: undefined }]],
    ['an effect in other capitals', (b) => [statementOf(b, { Effect: 'allow' })]],
    ['Action and NotAction', (b) => [{ ...statementOf(b, {}), NotAction: 's3:GetObject' }]],
    ['an action of another service', (b) => [statementOf(b, { Action: 'ec2:Run' })]],
    ['an unknown action', (b) => [statementOf(b, { Action: 's3:EatObject' })]],
    ['another bucket', (b) => [statementOf(b, { Resource: 'arn:aws:s3:::other-bucket/*' })]],
    [
      'a bucket of which this is a prefix',
      (b) => [statementOf(b, { Resource: `arn:aws:s3:::${b}x/*` })],
    ],
    ['no ARN', (b) => [statementOf(b, { Resource: `${b}/*` })]],
    [
      'an unknown principal',
      (b) => [statementOf(b, { Principal: { AWS: 'arn:aws:iam::1:group/x' } })],
    ],
    [
      'an unknown kind of principal',
      (b) => [statementOf(b, { Principal: { Service: 'x.amazonaws.com' } })],
    ],
    ['an empty principal', (b) => [statementOf(b, { Principal: {} })]],
    ['NotPrincipal with Allow', (b) => [statementOf(b, { NotPrincipal: { AWS: 'other' } })]],
    [
      'an unknown operator',
      (b) => [statementOf(b, { Condition: { Is: { 'aws:SourceIp': '1.1.1.1' } } })],
    ],
    [
      'an unknown key',
      (b) => [statementOf(b, { Condition: { StringEquals: { 'aws:Color': 'red' } } })],
    ],
    [
      'an address that is none',
      (b) => [statementOf(b, { Condition: { IpAddress: { 'aws:SourceIp': 'home' } } })],
    ],
    [
      'a date that is none',
      (b) => [statementOf(b, { Condition: { DateLessThan: { 'aws:CurrentTime': 'now' } } })],
    ],
    [
      'the same Sid twice',
      (b) => [
        { ...statementOf(b, {}), Sid: 'a' },
        { ...statementOf(b, {}), Sid: 'a' },
      ],
    ],
    ['a prototype', () => '{"__proto__":{"Statement":[]}}'],
    ['20 KiB and a byte', (b) => ok(b).padEnd(20 * 1024 + 1)],
  ]
  test.each(malformed)('%s is malformed', async (_title, make) => {
    const bucket = await makeBucket(s3)
    const made = make(bucket)
    const value =
      Array.isArray(made) && made.length > 0 ? { Version: '2012-10-17', Statement: made } : made
    const body = typeof value === 'string' ? value : JSON.stringify(value)
    const request = { method: 'PUT', path: `/${bucket}?policy`, body, as: s3.owner }
    const answer = await s3.raw(request)
    expect(answer).toMatchObject({ status: 400, code: 'MalformedPolicy' })
    const there = await s3.raw({ path: `/${bucket}?policy`, as: s3.owner })
    expect(there.code).toBe('NoSuchBucketPolicy')
  })

  test('20 KiB are allowed', async () => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}?policy`, ok(bucket).padEnd(20 * 1024))
  })

  test('nobody but who may reads or writes it', async () => {
    const bucket = await bucketWith({ Action: ['s3:GetObject', 's3:PutObject'] })
    for (const who of ['other', 'anonymous'] as const) {
      const path = `/${bucket}?policy`
      expect(await statusOf(who, { path })).toBe(403)
      expect(await statusOf(who, { method: 'PUT', path, body: ok(bucket) })).toBe(403)
      expect(await statusOf(who, { method: 'DELETE', path })).toBe(403)
      expect(await statusOf(who, { path: `/${bucket}?policyStatus` })).toBe(403)
    }
  })

  test('the root user cannot be locked out of it', async () => {
    const Resource = [bucketArn('BUCKET'), bucketArn('BUCKET', '/*')]
    const bucket = await bucketWith({ Effect: 'Deny', Action: 's3:*', Resource })
    for (const who of ['owner', 'root'] as const) {
      expect(await statusOf(who, { path: `/${bucket}` })).toBe(403)
      expect(await statusOf(who, { method: 'DELETE', path: `/${bucket}` })).toBe(403)
    }
    expect(await statusOf('owner', { path: `/${bucket}?policy` })).toBe(403)
    expect(await statusOf('root', { path: `/${bucket}?policy` })).toBe(200)
    expect(await statusOf('root', { method: 'DELETE', path: `/${bucket}?policy` })).toBe(204)
    expect(await statusOf('owner', { path: `/${bucket}/a/1` })).toBe(200)
  })

  const statuses: readonly (readonly [string, Sketch, boolean])[] = [
    ['everybody', {}, true],
    ['one user', { Principal: { AWS: 'other' } }, false],
    ['a deny of everybody', { Effect: 'Deny' }, false],
    [
      'everybody from one address',
      { Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/32' } } },
      false,
    ],
    [
      'everybody from everywhere',
      { Condition: { IpAddress: { 'aws:SourceIp': '0.0.0.0/0' } } },
      true,
    ],
    ['everybody with TLS', { Condition: { Bool: { 'aws:SecureTransport': 'true' } } }, true],
    ['everybody named so', { Condition: { StringEquals: { 'aws:username': 'other' } } }, false],
    [
      'everybody not from there',
      { Condition: { NotIpAddress: { 'aws:SourceIp': '10.0.0.0/32' } } },
      true,
    ],
  ]
  test.each(statuses)('for %s has a status that says so', async (_title, sketch, isPublic) => {
    const bucket = await bucketWith(sketch)
    const { text } = await s3.raw({ path: `/${bucket}?policyStatus`, as: s3.owner })
    expect(text.toLowerCase()).toContain(`<ispublic>${isPublic}</ispublic>`)
  })
})
