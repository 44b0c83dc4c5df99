import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawRequest, TestS3, type TestUser } from '../../../support/test-s3.ts'
import { makeBucket, put, setPolicy } from './access-cases.ts'

const never = new AbortController().signal

let s3: TestS3
let userCount = 0

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

interface Sketch {
  readonly Effect?: string
  readonly Action?: unknown
  readonly NotAction?: unknown
  readonly Resource?: unknown
  readonly Condition?: unknown
}

function policyOf(sketches: readonly Sketch[]): string {
  const Statement = sketches.map((sketch) => ({
    Effect: 'Allow',
    ...(sketch.NotAction === undefined && { Action: 's3:GetObject' }),
    Resource: '*',
    ...sketch,
  }))
  return JSON.stringify({ Version: '2012-10-17', Statement })
}

async function newUser(...sketches: readonly Sketch[]): Promise<TestUser> {
  userCount++
  return await s3.addUser(`user-${userCount}`, sketches.length > 0 ? policyOf(sketches) : undefined)
}

async function statusOf(
  as: TestUser,
  path: string,
  more: Partial<RawRequest> = {},
): Promise<number> {
  return (await s3.raw({ ...more, path, as })).status
}

const PUT = { method: 'PUT', body: 'x' }
const DELETE = { method: 'DELETE' }

describe('a user without a policy', () => {
  test('makes, sees and removes buckets of its own', async () => {
    const user = await newUser()
    const bucket = await makeBucket(s3, { as: user })
    expect((await s3.raw({ path: '/', as: user })).text).toContain(`<Name>${bucket}</Name>`)
    expect(await statusOf(user, `/${bucket}/k`, PUT)).toBe(200)
    expect(await statusOf(user, `/${bucket}/k`, DELETE)).toBe(204)
    expect(await statusOf(user, `/${bucket}`, DELETE)).toBe(204)
  })

  test('never sees those of another, and cannot touch them', async () => {
    const [one, two] = [await newUser(), await newUser()]
    const bucket = await makeBucket(s3, { as: one })
    await put(s3, `/${bucket}/k`, 'x', { as: one })
    expect((await s3.raw({ path: '/', as: two })).text).not.toContain(bucket)
    for (const parameter of ['prefix=bucket', `prefix=${bucket}`, 'max-buckets=1000']) {
      expect((await s3.raw({ path: `/?${parameter}`, as: two })).text).not.toContain(
        `<Name>${bucket}`,
      )
    }
    for (const path of [`/${bucket}`, `/${bucket}/k`, `/${bucket}/none`, `/${bucket}?policy`]) {
      for (const method of ['GET', 'HEAD', 'PUT', 'DELETE']) {
        // There is no such thing as the head of a document.
        if (method === 'HEAD' && path.includes('?')) continue
        const status = await statusOf(two, path, { method })
        expect([403, 409]).toContain(status)
        if (status === 409) expect([method, path]).toEqual(['PUT', `/${bucket}`])
      }
    }
    expect(await statusOf(one, `/${bucket}/k`)).toBe(200)
  })

  test('copies nothing from where it may not read, nor to where it may not write', async () => {
    const [one, two] = [await newUser(), await newUser()]
    const [from, to] = [await makeBucket(s3, { as: one }), await makeBucket(s3, { as: two })]
    await put(s3, `/${from}/secret`, 'secret', { as: one })
    await put(s3, `/${to}/own`, 'own', { as: two })
    const copy = (source: string) => ({ method: 'PUT', headers: { 'x-amz-copy-source': source } })
    const upload = await s3.raw({ method: 'POST', path: `/${to}/up?uploads`, as: two })
    const [, id] = /<UploadId>(.*)<\/UploadId>/.exec(upload.text) ?? []
    for (const source of [
      `/${from}/secret`,
      `${from}/secret`,
      `/${from}/secret?versionId=null`,
      `/${to}/../${from}/secret`,
      `/${to}/%2e%2e/${from}/secret`,
      `/${from}%2Fsecret`,
    ]) {
      const answers = [
        await s3.raw({ path: `/${to}/stolen`, ...copy(source), as: two }),
        await s3.raw({ path: `/${to}/up?partNumber=1&uploadId=${id}`, ...copy(source), as: two }),
      ]
      for (const { status } of answers) expect([400, 403, 404]).toContain(status)
    }
    expect(await statusOf(two, `/${to}/stolen`)).toBe(404)
    expect(await statusOf(two, `/${from}/planted`, copy(`/${to}/own`))).toBe(403)
    expect(await statusOf(two, `/${from}/planted`, { ...copy(`/${to}/own`) })).toBe(403)
  })

  test('names of buckets with dots and slashes lead nowhere', async () => {
    const user = await newUser()
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/secret`)
    const own = await makeBucket(s3, { as: user })
    for (const path of [
      `/${own}/../${bucket}/secret`,
      `/${own}/%2E%2E/${bucket}/secret`,
      `/${own}%2F..%2F${bucket}/secret`,
      `/./${bucket}/secret`,
      `//${bucket}/secret`,
    ]) {
      const { status, text } = await s3.raw({ path, as: user })
      expect([400, 403, 404]).toContain(status)
      expect(text).not.toBe('data')
    }
  })
})

describe('a policy of a user', () => {
  test('that allows reading lets it read everywhere, and no more', async () => {
    const user = await newUser({ Action: ['s3:GetObject', 's3:ListBucket'] })
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`)
    expect(await statusOf(user, `/${bucket}/k`)).toBe(200)
    expect(await statusOf(user, `/${bucket}`)).toBe(200)
    expect(await statusOf(user, `/${bucket}/none`)).toBe(404)
    expect(await statusOf(user, `/${bucket}/k`, PUT)).toBe(403)
    expect(await statusOf(user, `/${bucket}/k`, DELETE)).toBe(403)
    expect(await statusOf(user, `/${bucket}?acl`)).toBe(403)
    expect(await statusOf(user, '/')).toBe(403)
    expect(await statusOf(user, `/${s3.newBucketName()}`, { method: 'PUT' })).toBe(403)
  })

  test('with names in it gives each its own folder', async () => {
    const bucket = await makeBucket(s3)
    const variable = ['$', '{aws:username}'].join('')
    const Resource = `arn:aws:s3:::${bucket}/home/${variable}/*`
    const sketch = { Action: ['s3:GetObject', 's3:PutObject'], Resource }
    const [one, two] = [await newUser(sketch), await newUser(sketch)]
    expect(await statusOf(one, `/${bucket}/home/${one.name}/k`, PUT)).toBe(200)
    expect(await statusOf(one, `/${bucket}/home/${one.name}/k`)).toBe(200)
    expect(await statusOf(two, `/${bucket}/home/${one.name}/k`)).toBe(403)
    expect(await statusOf(two, `/${bucket}/home/${one.name}/k`, PUT)).toBe(403)
    expect(await statusOf(two, `/${bucket}/home/${one.name}/../${two.name}/k`, PUT)).toBe(403)
  })

  test('that denies wins over its own buckets and over what a bucket allows', async () => {
    const deny = { Effect: 'Deny', Action: 's3:DeleteObject' }
    const user = await newUser({ Action: 's3:*' }, deny)
    const bucket = await makeBucket(s3, { as: user })
    await put(s3, `/${bucket}/k`, 'x', { as: user })
    expect(await statusOf(user, `/${bucket}/k`, DELETE)).toBe(403)
    const shared = await makeBucket(s3)
    await put(s3, `/${shared}/k`)
    await setPolicy(s3, shared, {
      Effect: 'Allow',
      Principal: '*',
      Action: 's3:*',
      Resource: `arn:aws:s3:::${shared}/*`,
    })
    expect(await statusOf(user, `/${shared}/k`, DELETE)).toBe(403)
    expect(await statusOf(s3.other, `/${shared}/k`, DELETE)).toBe(204)
  })

  test('that allows everything yields to a bucket that denies', async () => {
    const user = await newUser({ Action: '*' })
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`)
    expect(await statusOf(user, `/${bucket}/k`)).toBe(200)
    expect(await statusOf(user, `/${bucket}?cors`)).toBe(404)
    await setPolicy(s3, bucket, {
      Effect: 'Deny',
      Principal: { AWS: user.name },
      Action: 's3:GetObject',
      Resource: `arn:aws:s3:::${bucket}/*`,
    })
    expect(await statusOf(user, `/${bucket}/k`)).toBe(403)
  })

  test.each([
    ['s3:CreateBucket', 'PUT', 200],
    ['s3:ListAllMyBuckets', 'PUT', 403],
  ])('that allows %s: %s of a new bucket answers %d', async (Action, method, status) => {
    const user = await newUser({ Action })
    expect(await statusOf(user, `/${s3.newBucketName()}`, { method })).toBe(status)
    expect(await statusOf(user, '/')).toBe(Action === 's3:ListAllMyBuckets' ? 200 : 403)
  })

  test('may name the buckets that can be made', async () => {
    const user = await newUser({ Action: 's3:CreateBucket', Resource: 'arn:aws:s3:::team-*' })
    expect(await statusOf(user, '/team-a', { method: 'PUT' })).toBe(200)
    expect(await statusOf(user, '/other-a', { method: 'PUT' })).toBe(403)
  })

  test('has conditions', async () => {
    const Condition = { IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }
    const user = await newUser({ Condition })
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`)
    expect(await statusOf(user, `/${bucket}/k`)).toBe(403)
    const here = { IpAddress: { 'aws:SourceIp': '127.0.0.1' } }
    await s3.server.users.setPolicy(user.name, policyOf([{ Condition: here }]), never)
    expect(await statusOf(user, `/${bucket}/k`)).toBe(200)
  })

  test('counts at once when it is changed or taken away', async () => {
    const user = await newUser({ Action: 's3:GetObject' })
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`)
    expect(await statusOf(user, `/${bucket}/k`)).toBe(200)
    const deny = policyOf([{ Effect: 'Deny', Action: 's3:*' }])
    await s3.server.users.setPolicy(user.name, deny, never)
    expect(await statusOf(user, `/${bucket}/k`)).toBe(403)
    expect(await statusOf(user, '/')).toBe(403)
    await s3.server.users.setPolicy(user.name, undefined, never)
    expect(await statusOf(user, `/${bucket}/k`)).toBe(403)
    expect(await statusOf(user, '/')).toBe(200)
  })

  test.each([
    ['no JSON', '{'],
    ['a principal', policyOf([{ Principal: '*' } as Sketch])],
    ['an unknown action', policyOf([{ Action: 's3:Eat' }])],
    ['20 KiB and a byte', policyOf([{}]).padEnd(20 * 1024 + 1)],
  ])('with %s is not taken', async (_title, policy) => {
    const user = await newUser()
    const setting = s3.server.users.setPolicy(user.name, policy, never)
    await expect(setting).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })
})

describe('access keys', () => {
  test('are good or not from one request to the next', async () => {
    const { users } = s3.server
    const user = await newUser()
    expect(await statusOf(user, '/')).toBe(200)
    const answer = async () => (await s3.raw({ path: '/', as: user })).code
    await users.setKeyEnabled(user.accessKeyId, false, never)
    expect(await answer()).toBe('InvalidAccessKeyId')
    await users.setKeyEnabled(user.accessKeyId, true, never)
    expect(await answer()).toBeUndefined()
    await users.removeKey(user.accessKeyId, never)
    expect(await answer()).toBe('InvalidAccessKeyId')
  })

  test('of one user are apart from each other', async () => {
    const { users } = s3.server
    const user = await newUser()
    const { accessKeyId, secret } = await users.addKey({ userName: user.name }, never)
    const second = { ...user, accessKeyId, secretAccessKey: secret }
    const bucket = await makeBucket(s3, { as: user })
    expect(await statusOf(second, `/${bucket}/k`, PUT)).toBe(200)
    const mixed = { ...second, secretAccessKey: user.secretAccessKey }
    expect(await s3.raw({ path: '/', as: mixed })).toMatchObject({ code: 'SignatureDoesNotMatch' })
    await users.removeKey(user.accessKeyId, never)
    expect(await statusOf(second, `/${bucket}/k`)).toBe(200)
    expect(await statusOf(user, `/${bucket}/k`)).toBe(403)
  })

  test('go with their user; the buckets stay, and the root user has them', async () => {
    const user = await newUser()
    const bucket = await makeBucket(s3, { as: user })
    await put(s3, `/${bucket}/k`, 'kept', { as: user })
    await s3.server.users.remove(user.name, never)
    expect(await s3.raw({ path: '/', as: user })).toMatchObject({ code: 'InvalidAccessKeyId' })
    expect(await s3.raw({ path: `/${bucket}/k`, as: s3.root })).toMatchObject({ text: 'kept' })
    const { text } = await s3.raw({ path: `/${bucket}?acl`, as: s3.root })
    expect(text).toContain(`<Owner><ID>${user.canonicalId}</ID>`)
    const again = await s3.addUser(user.name)
    expect(await statusOf(again, `/${bucket}/k`)).toBe(403)
  })

  test('say nothing in answers of a secret', async () => {
    const request = { path: '/', as: { ...s3.owner, secretAccessKey: 'x' } }
    const { text } = await s3.raw(request)
    expect(text).not.toContain(s3.owner.secretAccessKey)
    expect(text).toContain(s3.owner.accessKeyId)
  })
})

describe('the root user', () => {
  test('sees and may do everything', async () => {
    const bucket = await makeBucket(s3)
    await put(s3, `/${bucket}/k`)
    expect((await s3.raw({ path: '/', as: s3.root })).text).toContain(`<Name>${bucket}</Name>`)
    expect(await statusOf(s3.root, `/${bucket}/k`)).toBe(200)
    expect(await statusOf(s3.root, `/${bucket}/k`, DELETE)).toBe(204)
    expect(await statusOf(s3.root, `/${bucket}`, DELETE)).toBe(204)
  })
})
