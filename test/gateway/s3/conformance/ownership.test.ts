import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { bucketArn, makeBucket, put, setPolicy, userOf, type Who } from './access-cases.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const ALL_USERS = 'http://acs.amazonaws.com/groups/global/AllUsers'
const ownership = (value: string) =>
  `<OwnershipControls><Rule><ObjectOwnership>${value}</ObjectOwnership></Rule></OwnershipControls>`

async function statusOf(who: Who, path: string, method = 'GET'): Promise<number> {
  return (await s3.raw({ method, path, as: userOf(s3, who) })).status
}

async function allowWrites(bucket: string): Promise<void> {
  const Action = ['s3:PutObject', 's3:PutObjectAcl']
  const Resource = bucketArn(bucket, '/*')
  await setPolicy(s3, bucket, { Effect: 'Allow', Principal: { AWS: 'other' }, Action, Resource })
}

describe('BucketOwnerEnforced, as buckets are unless they say otherwise', () => {
  test('is what a new bucket has', async () => {
    const bucket = s3.newBucketName()
    await put(s3, `/${bucket}`, '')
    const { text } = await s3.raw({ path: `/${bucket}?ownershipControls`, as: s3.owner })
    expect(text).toContain('<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>')
  })

  const refused: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
    ['public-read', { 'x-amz-acl': 'public-read' }],
    ['authenticated-read', { 'x-amz-acl': 'authenticated-read' }],
    ['bucket-owner-read', { 'x-amz-acl': 'bucket-owner-read' }],
    ['a grant', { 'x-amz-grant-read': `uri="${ALL_USERS}"` }],
  ]
  test.each(refused)('refuses %s everywhere', async (_title, headers) => {
    const bucket = await makeBucket(s3, { ownership: 'BucketOwnerEnforced' })
    await put(s3, `/${bucket}/k`)
    const answers = [
      await s3.raw({ method: 'PUT', path: `/${bucket}?acl`, headers, as: s3.owner }),
      await s3.raw({ method: 'PUT', path: `/${bucket}/k?acl`, headers, as: s3.owner }),
      await s3.raw({ method: 'PUT', path: `/${bucket}/new`, headers, body: 'x', as: s3.owner }),
      await s3.raw({ method: 'POST', path: `/${bucket}/new?uploads`, headers, as: s3.owner }),
      await s3.raw({
        method: 'PUT',
        path: `/${bucket}/new`,
        headers: { ...headers, 'x-amz-copy-source': `/${bucket}/k` },
        as: s3.owner,
      }),
    ]
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 400, code: 'AccessControlListNotSupported' })
    }
    expect(await statusOf('owner', `/${bucket}/new`)).toBe(404)
    expect(await statusOf('anonymous', `/${bucket}/k`)).toBe(403)
  })

  test.each<readonly [string, Readonly<Record<string, string>>]>([
    ...refused.filter(([title]) => title !== 'bucket-owner-read'),
    ['log-delivery-write', { 'x-amz-acl': 'log-delivery-write' }],
  ])('makes no bucket with %s, and has a code for that', async (_title, headers) => {
    for (const ownership of [{}, { 'x-amz-object-ownership': 'BucketOwnerEnforced' }]) {
      const path = `/${s3.newBucketName()}`
      const all = { ...headers, ...ownership }
      const answer = await s3.raw({ method: 'PUT', path, headers: all, as: s3.owner })
      const code = 'InvalidBucketAclWithObjectOwnership'
      expect(answer).toMatchObject({ status: 400, code })
      expect(await statusOf('owner', path)).toBe(404)
    }
  })

  test('makes a bucket with the list private', async () => {
    const path = `/${s3.newBucketName()}`
    const headers = { 'x-amz-acl': 'private' }
    const answer = await s3.raw({ method: 'PUT', path, headers, as: s3.owner })
    expect(answer).toMatchObject({ status: 200 })
  })

  test.each(['private', 'bucket-owner-full-control'])(
    'takes %s, which changes nothing',
    async (acl) => {
      const bucket = await makeBucket(s3, { ownership: 'BucketOwnerEnforced' })
      const headers = { 'x-amz-acl': acl }
      await put(s3, `/${bucket}/k`, 'x', { headers })
      await put(s3, `/${bucket}/k?acl`, '', { headers })
      await put(s3, `/${bucket}?acl`, '', { headers })
      const { text } = await s3.raw({ path: `/${bucket}/k?acl`, as: s3.owner })
      expect(text.match(/<Grant>/g)).toHaveLength(1)
      expect(text).toContain('<Permission>FULL_CONTROL</Permission>')
    },
  )

  test('gives the owner of the bucket what others write', async () => {
    const bucket = await makeBucket(s3, { ownership: 'BucketOwnerEnforced' })
    await allowWrites(bucket)
    await put(s3, `/${bucket}/k`, 'theirs', { as: s3.other })
    expect(await statusOf('owner', `/${bucket}/k`)).toBe(200)
    expect(await statusOf('other', `/${bucket}/k`)).toBe(403)
    expect(await statusOf('other', `/${bucket}/k?tagging`)).toBe(403)
    const { text } = await s3.raw({ path: `/${bucket}/k?acl`, as: s3.owner })
    expect(text).toContain(`<Owner><ID>${s3.owner.canonicalId}</ID>`)
  })

  test('puts lists to sleep that objects have already', async () => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`, 'x', { headers: { 'x-amz-acl': 'public-read' } })
    expect(await statusOf('anonymous', `/${bucket}/k`)).toBe(200)
    await put(s3, `/${bucket}?ownershipControls`, ownership('BucketOwnerEnforced'))
    expect(await statusOf('anonymous', `/${bucket}/k`)).toBe(403)
  })

  test('cannot be set while the bucket is shared with others', async () => {
    const bucket = await makeBucket(s3, { acl: 'public-read' })
    const path = `/${bucket}?ownershipControls`
    const request = { method: 'PUT', path, body: ownership('BucketOwnerEnforced'), as: s3.owner }
    const code = 'InvalidBucketAclWithObjectOwnership'
    expect(await s3.raw(request)).toMatchObject({ status: 400, code })
    await put(s3, `/${bucket}?acl`, '', { headers: { 'x-amz-acl': 'private' } })
    expect(await s3.raw(request)).toMatchObject({ status: 200 })
  })
})

describe('who owns what another user writes', () => {
  const rows = [
    ['BucketOwnerPreferred', 'bucket-owner-full-control', 'owner'],
    ['BucketOwnerPreferred', 'private', 'other'],
    ['BucketOwnerPreferred', undefined, 'other'],
    ['ObjectWriter', 'bucket-owner-full-control', 'other'],
    ['ObjectWriter', undefined, 'other'],
  ] as const
  test.each(rows)('with %s and %s it is the %s', async (mode, acl, who) => {
    const bucket = await makeBucket(s3, { ownership: mode })
    await allowWrites(bucket)
    const headers: Record<string, string> = acl === undefined ? {} : { 'x-amz-acl': acl }
    await put(s3, `/${bucket}/k`, 'x', { as: s3.other, headers })
    const { text } = await s3.raw({ path: `/${bucket}/k?acl`, as: s3.root })
    expect(text).toContain(`<Owner><ID>${s3[who].canonicalId}</ID>`)
    expect(await statusOf('other', `/${bucket}/k`)).toBe(who === 'other' ? 200 : 403)
    const list = await s3.raw({ path: `/${bucket}?list-type=2&fetch-owner=true`, as: s3.owner })
    expect(list.text).toContain(`<Owner><ID>${s3[who].canonicalId}</ID>`)
  })

  test('a writer may share what it writes, whoever it is', async () => {
    const bucket = await makeBucket(s3, { acl: 'public-read-write' })
    for (const who of ['other', 'anonymous'] as const) {
      const headers = { 'x-amz-acl': 'public-read' }
      const request = { method: 'PUT', path: `/${bucket}/${who}`, body: 'x', headers }
      expect(await s3.raw({ ...request, as: userOf(s3, who) })).toMatchObject({ status: 200 })
      expect(await statusOf('anonymous', `/${bucket}/${who}`)).toBe(200)
    }
    const Action = 's3:PutObjectAcl'
    const Resource = bucketArn(bucket, '/*')
    await setPolicy(s3, bucket, { Effect: 'Deny', Principal: '*', Action, Resource })
    for (const who of ['owner', 'other', 'anonymous'] as const) {
      const headers = { 'x-amz-acl': 'public-read' }
      const request = { method: 'PUT', path: `/${bucket}/${who}-denied`, body: 'x', headers }
      expect(await s3.raw({ ...request, as: userOf(s3, who) })).toMatchObject({ status: 403 })
    }
  })

  test('a preferred owner is given things by who may only write', async () => {
    const bucket = await makeBucket(s3, {
      ownership: 'BucketOwnerPreferred',
      acl: 'public-read-write',
    })
    const headers = { 'x-amz-acl': 'bucket-owner-full-control' }
    await put(s3, `/${bucket}/k`, 'given', { as: s3.other, headers })
    expect(await statusOf('owner', `/${bucket}/k`)).toBe(200)
    expect(await statusOf('other', `/${bucket}/k`)).toBe(403)
  })

  test('nobody, where nobody signed', async () => {
    const bucket = await makeBucket(s3, { acl: 'public-read-write' })
    const answer = await s3.raw({ method: 'PUT', path: `/${bucket}/k`, body: 'x' })
    expect(answer).toMatchObject({ status: 200 })
    expect(await statusOf('anonymous', `/${bucket}/k`)).toBe(403)
    expect(await statusOf('other', `/${bucket}/k`)).toBe(403)
    expect(await statusOf('owner', `/${bucket}/k`)).toBe(200)
  })
})

describe('the public access block', () => {
  const block = (...flags: readonly string[]) =>
    [
      '<PublicAccessBlockConfiguration>',
      ...flags.map((flag) => `<${flag}>true</${flag}>`),
      '</PublicAccessBlockConfiguration>',
    ].join('')
  const publicPolicy = (bucket: string) => ({
    Effect: 'Allow',
    Principal: '*',
    Action: 's3:GetObject',
    Resource: bucketArn(bucket, '/*'),
  })

  test.each([
    ['x-amz-acl', 'public-read', 403],
    ['x-amz-acl', 'public-read-write', 403],
    ['x-amz-acl', 'authenticated-read', 403],
    ['x-amz-grant-read', `uri="${ALL_USERS}"`, 403],
    [
      'x-amz-grant-write-acp',
      'uri="http://acs.amazonaws.com/groups/global/AuthenticatedUsers"',
      403,
    ],
    ['x-amz-acl', 'private', 200],
    ['x-amz-acl', 'bucket-owner-full-control', 200],
    ['x-amz-grant-read', 'emailAddress="other@example.com"', 200],
  ])('BlockPublicAcls: %s: %s answers %d', async (name, value, status) => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`)
    await put(s3, `/${bucket}?publicAccessBlock`, block('BlockPublicAcls'))
    for (const path of [`/${bucket}?acl`, `/${bucket}/k?acl`, `/${bucket}/new`]) {
      const answer = await s3.raw({ method: 'PUT', path, headers: { [name]: value }, as: s3.owner })
      expect(answer.status).toBe(status)
      if (status === 403) expect(answer.code).toBe('AccessDenied')
    }
  })

  test('BlockPublicAcls leaves lists alone that are there', async () => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`, 'x', { headers: { 'x-amz-acl': 'public-read' } })
    await put(s3, `/${bucket}?publicAccessBlock`, block('BlockPublicAcls'))
    expect(await statusOf('anonymous', `/${bucket}/k`)).toBe(200)
  })

  test('IgnorePublicAcls takes them no notice, and lets them be written', async () => {
    const bucket = await makeBucket(s3, { acl: 'public-read' })
    const headers = { 'x-amz-acl': 'public-read' }
    await put(s3, `/${bucket}/k`, 'x', { headers })
    await put(s3, `/${bucket}?publicAccessBlock`, block('IgnorePublicAcls'))
    for (const who of ['anonymous', 'other'] as const) {
      expect(await statusOf(who, `/${bucket}/k`)).toBe(403)
      expect(await statusOf(who, `/${bucket}`)).toBe(403)
    }
    await put(s3, `/${bucket}/k?acl`, '', { headers })
    const byName = { 'x-amz-grant-read': `id=${s3.other.canonicalId}` }
    await put(s3, `/${bucket}/k?acl`, '', { headers: byName })
    expect(await statusOf('other', `/${bucket}/k`)).toBe(200)
    await s3.raw({ method: 'DELETE', path: `/${bucket}?publicAccessBlock`, as: s3.owner })
    expect(await statusOf('anonymous', `/${bucket}`)).toBe(200)
  })

  test('BlockPublicPolicy refuses a public policy, and takes any other', async () => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`)
    await put(s3, `/${bucket}?publicAccessBlock`, block('BlockPublicPolicy'))
    const body = JSON.stringify({ Version: '2012-10-17', Statement: [publicPolicy(bucket)] })
    const request = { method: 'PUT', path: `/${bucket}?policy`, body, as: s3.owner }
    expect(await s3.raw(request)).toMatchObject({ status: 403, code: 'AccessDenied' })
    expect(await statusOf('owner', `/${bucket}?policy`)).toBe(404)
    await setPolicy(s3, bucket, { ...publicPolicy(bucket), Principal: { AWS: 'other' } })
    expect(await statusOf('other', `/${bucket}/k`)).toBe(200)
  })

  test('RestrictPublicBuckets leaves a public policy to the owner', async () => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`)
    await setPolicy(s3, bucket, publicPolicy(bucket))
    expect(await statusOf('anonymous', `/${bucket}/k`)).toBe(200)
    await put(s3, `/${bucket}?publicAccessBlock`, block('RestrictPublicBuckets'))
    expect(await statusOf('anonymous', `/${bucket}/k`)).toBe(403)
    expect(await statusOf('owner', `/${bucket}/k`)).toBe(200)
    await put(s3, `/${bucket}?publicAccessBlock`, block())
    expect(await statusOf('anonymous', `/${bucket}/k`)).toBe(200)
  })

  test('is for its bucket only', async () => {
    const blocked = await makeBucket(s3)
    await put(s3, `/${blocked}?publicAccessBlock`, block('BlockPublicAcls', 'IgnorePublicAcls'))
    const free = await makeBucket(s3)
    await put(s3, `/${free}/k`, 'x', { headers: { 'x-amz-acl': 'public-read' } })
    expect(await statusOf('anonymous', `/${free}/k`)).toBe(200)
  })
})
