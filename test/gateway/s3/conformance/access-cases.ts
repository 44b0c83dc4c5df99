import { expect } from 'vitest'
import type { RawAnswer, TestS3, TestUser } from '../../../support/test-s3.ts'

/** Who may ask: the owner of the bucket, another user, or somebody who does not sign. */
export type Who = 'owner' | 'other' | 'anonymous' | 'root'

export function userOf(s3: TestS3, who: Who): TestUser | undefined {
  return who === 'anonymous' ? undefined : s3[who]
}

export interface NewBucket {
  readonly ownership?: 'BucketOwnerEnforced' | 'BucketOwnerPreferred' | 'ObjectWriter'
  readonly acl?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly as?: TestUser
}

export async function makeBucket(s3: TestS3, options: NewBucket = {}): Promise<string> {
  const { acl, as = s3.owner, headers = {}, ownership = 'ObjectWriter' } = options
  const name = s3.newBucketName()
  const all = {
    'x-amz-object-ownership': ownership,
    ...(acl !== undefined && { 'x-amz-acl': acl }),
    ...headers,
  }
  const answer = await s3.raw({ method: 'PUT', path: `/${name}`, headers: all, as })
  expect(answer).toMatchObject({ status: 200 })
  return name
}

/** Puts something as `as`, the owner unless said, and wants it done. */
export async function put(
  s3: TestS3,
  path: string,
  body = 'data',
  options: { readonly as?: TestUser; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<RawAnswer> {
  const { as = s3.owner, headers = {} } = options
  const answer = await s3.raw({ method: 'PUT', path, body, headers, as })
  expect([200, 204]).toContain(answer.status)
  return answer
}

/** One way to use a bucket or an object, and the permission of a list that stands for it. */
export interface Use {
  readonly name: string
  readonly permission: 'READ' | 'WRITE' | 'READ_ACP' | 'WRITE_ACP'
  readonly of: 'bucket' | 'object'
  readonly run: (s3: TestS3, who: Who, bucket: string) => Promise<RawAnswer>
}

export const KEY = 'k'

function use(
  of: Use['of'],
  permission: Use['permission'],
  name: string,
  request: (bucket: string) => {
    readonly method?: string
    readonly path: string
    readonly body?: string
    readonly headers?: Readonly<Record<string, string>>
  },
): Use {
  return {
    of,
    permission,
    name,
    run: (s3, who, bucket) => s3.raw({ ...request(bucket), as: userOf(s3, who) }),
  }
}

export const USES: readonly Use[] = [
  use('bucket', 'READ', 'list', (bucket) => ({ path: `/${bucket}` })),
  use('bucket', 'READ', 'list v2', (bucket) => ({ path: `/${bucket}?list-type=2` })),
  use('bucket', 'READ', 'list versions', (bucket) => ({ path: `/${bucket}?versions` })),
  use('bucket', 'READ', 'list uploads', (bucket) => ({ path: `/${bucket}?uploads` })),
  use('bucket', 'READ', 'head', (bucket) => ({ method: 'HEAD', path: `/${bucket}` })),
  use('bucket', 'WRITE', 'put', (bucket) => ({
    method: 'PUT',
    path: `/${bucket}/new`,
    body: 'x',
  })),
  use('bucket', 'WRITE', 'begin an upload', (bucket) => ({
    method: 'POST',
    path: `/${bucket}/new?uploads`,
  })),
  use('bucket', 'WRITE', 'delete', (bucket) => ({ method: 'DELETE', path: `/${bucket}/none` })),
  use('bucket', 'READ_ACP', 'read the list', (bucket) => ({ path: `/${bucket}?acl` })),
  use('bucket', 'WRITE_ACP', 'write the list', (bucket) => ({
    method: 'PUT',
    path: `/${bucket}?acl`,
    headers: { 'x-amz-acl': 'private' },
  })),
  use('object', 'READ', 'get', (bucket) => ({ path: `/${bucket}/${KEY}` })),
  use('object', 'READ', 'head', (bucket) => ({ method: 'HEAD', path: `/${bucket}/${KEY}` })),
  use('object', 'READ_ACP', 'read the list', (bucket) => ({ path: `/${bucket}/${KEY}?acl` })),
  use('object', 'WRITE_ACP', 'write the list', (bucket) => ({
    method: 'PUT',
    path: `/${bucket}/${KEY}?acl`,
    headers: { 'x-amz-acl': 'private' },
  })),
]

export async function setPolicy(
  s3: TestS3,
  bucket: string,
  ...statements: readonly unknown[]
): Promise<void> {
  const body = JSON.stringify({ Version: '2012-10-17', Statement: statements })
  await put(s3, `/${bucket}?policy`, body)
}

export function bucketArn(bucket: string, rest = ''): string {
  return `arn:aws:s3:::${bucket}${rest}`
}
