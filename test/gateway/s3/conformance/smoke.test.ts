import {
  CreateBucketCommand,
  GetObjectCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

describe('a server with S3', () => {
  test('takes an object of one user and refuses it to another and to strangers', async () => {
    const Bucket = s3.newBucketName()
    await s3.owner.sdk.send(new CreateBucketCommand({ Bucket }))
    await s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'hello' }))
    const { Body } = await s3.owner.sdk.send(new GetObjectCommand({ Bucket, Key: 'a' }))
    expect(await Body?.transformToString()).toBe('hello')
    const path = `/${Bucket}/a`
    expect(await s3.raw({ path, as: s3.root })).toMatchObject({ status: 200, text: 'hello' })
    expect(await s3.raw({ path, as: s3.other })).toMatchObject({ code: 'AccessDenied' })
    expect(await s3.raw({ path })).toMatchObject({ status: 403, code: 'AccessDenied' })
  })
})

describe('tags in a body', () => {
  test('are judged by the conditions of policies, also those that deny', async () => {
    const Bucket = s3.newBucketName()
    await s3.owner.sdk.send(new CreateBucketCommand({ Bucket }))
    await s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'hello' }))
    const statement = {
      Principal: { CanonicalUser: s3.other.canonicalId },
      Action: 's3:PutObjectTagging',
      Resource: `arn:aws:s3:::${Bucket}/*`,
    }
    const is = (value: string) => ({ StringEquals: { 's3:RequestObjectTag/team': value } })
    const Policy = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        { ...statement, Effect: 'Allow', Condition: is('blue') },
        { ...statement, Effect: 'Deny', Condition: is('red') },
      ],
    })
    await s3.owner.sdk.send(new PutBucketPolicyCommand({ Bucket, Policy }))
    const tag = async (value: string, as = s3.other) => {
      const tags = `<TagSet><Tag><Key>team</Key><Value>${value}</Value></Tag></TagSet>`
      const body = `<Tagging>${tags}</Tagging>`
      return (await s3.raw({ method: 'PUT', path: `/${Bucket}/a?tagging`, as, body })).status
    }
    expect(await tag('blue')).toBe(200)
    expect(await tag('red')).toBe(403)
    expect(await tag('green')).toBe(403)
    const garbage = { method: 'PUT', path: `/${Bucket}/a?tagging`, body: '<Tagging>' }
    expect(await s3.raw({ ...garbage, as: s3.other })).toMatchObject({ code: 'AccessDenied' })
    expect(await s3.raw({ ...garbage, as: s3.owner })).toMatchObject({ code: 'MalformedXML' })
  })

  test('a part without its upload is InvalidArgument, and no object', async () => {
    const Bucket = s3.newBucketName()
    await s3.owner.sdk.send(new CreateBucketCommand({ Bucket }))
    const put = { method: 'PUT', path: `/${Bucket}/a?partNumber=1`, as: s3.owner, body: 'part' }
    expect(await s3.raw(put)).toMatchObject({ status: 400, code: 'InvalidArgument' })
    expect(await s3.raw({ path: `/${Bucket}/a`, as: s3.owner })).toMatchObject({ status: 404 })
  })
})
