import { createHash } from 'node:crypto'
import { expect } from 'vitest'
import type { RawAnswer, TestS3 } from '../../../support/test-s3.ts'
import type { PlainRequest } from './signed-requests.ts'

/** A bucket in which every operation has something to be done to. */
export interface Scene {
  readonly bucket: string
  readonly key: string
  readonly uploadId: string
}

export interface OperationCase {
  readonly path: (scene: Scene) => string
  readonly headers?: (scene: Scene) => Readonly<Record<string, string>>
  readonly body?: string
  /** What the owner of the scene is answered: a status, or the code of an error. */
  readonly answer: number | string
}

const NS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
const bucketPath = (parameter?: string) => (scene: Scene) =>
  `/${scene.bucket}${parameter === undefined ? '' : `?${parameter}`}`
const objectPath = (parameter?: string) => (scene: Scene) =>
  `/${scene.bucket}/${scene.key}${parameter === undefined ? '' : `?${parameter}`}`
const uploadPath =
  (more = '') =>
  (scene: Scene) =>
    `/${scene.bucket}/${scene.key}?${more}uploadId=${scene.uploadId}`
const copyHeader = ({ bucket, key }: Scene) => ({ 'x-amz-copy-source': `/${bucket}/${key}` })
const rule = (inner: string) =>
  `<CORSConfiguration><CORSRule>${inner}</CORSRule></CORSConfiguration>`

const CORS = rule('<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>')
const ENCRYPTION =
  `<ServerSideEncryptionConfiguration ${NS}><Rule><ApplyServerSideEncryptionByDefault>` +
  '<SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>' +
  '</ServerSideEncryptionConfiguration>'
const LIFECYCLE =
  `<LifecycleConfiguration ${NS}><Rule><Filter/><Status>Enabled</Status>` +
  '<Expiration><Days>5</Days></Expiration></Rule></LifecycleConfiguration>'
const TAGGING = '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>'
const OWNERSHIP =
  '<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>' +
  '</OwnershipControls>'
const BLOCK =
  '<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>' +
  '</PublicAccessBlockConfiguration>'
const LOCK =
  '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>' +
  '</ObjectLockConfiguration>'
const VERSIONING = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
const POLICY = JSON.stringify({
  Version: '2012-10-17',
  Statement: [
    { Effect: 'Deny', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::*/secret/*' },
  ],
})
const RETENTION =
  '<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate>' +
  '</Retention>'
const DELETE = '<Delete><Object><Key>k</Key></Object></Delete>'

/** By the names of the table of operations; each of them must be here. */
export const OPERATION_CASES: Readonly<Record<string, OperationCase>> = {
  GetBucketCors: { path: bucketPath('cors'), answer: 'NoSuchCORSConfiguration' },
  PutBucketCors: { path: bucketPath('cors'), body: CORS, answer: 200 },
  DeleteBucketCors: { path: bucketPath('cors'), answer: 204 },
  GetBucketEncryption: {
    path: bucketPath('encryption'),
    answer: 'ServerSideEncryptionConfigurationNotFoundError',
  },
  PutBucketEncryption: { path: bucketPath('encryption'), body: ENCRYPTION, answer: 200 },
  DeleteBucketEncryption: { path: bucketPath('encryption'), answer: 204 },
  GetBucketLifecycleConfiguration: {
    path: bucketPath('lifecycle'),
    answer: 'NoSuchLifecycleConfiguration',
  },
  PutBucketLifecycleConfiguration: { path: bucketPath('lifecycle'), body: LIFECYCLE, answer: 200 },
  DeleteBucketLifecycle: { path: bucketPath('lifecycle'), answer: 204 },
  GetBucketNotificationConfiguration: { path: bucketPath('notification'), answer: 200 },
  PutBucketNotificationConfiguration: {
    path: bucketPath('notification'),
    body: '<NotificationConfiguration/>',
    answer: 200,
  },
  GetObjectLockConfiguration: { path: bucketPath('object-lock'), answer: 200 },
  PutObjectLockConfiguration: { path: bucketPath('object-lock'), body: LOCK, answer: 200 },
  GetBucketOwnershipControls: { path: bucketPath('ownershipControls'), answer: 200 },
  PutBucketOwnershipControls: {
    path: bucketPath('ownershipControls'),
    body: OWNERSHIP,
    answer: 200,
  },
  DeleteBucketOwnershipControls: { path: bucketPath('ownershipControls'), answer: 204 },
  GetPublicAccessBlock: {
    path: bucketPath('publicAccessBlock'),
    answer: 'NoSuchPublicAccessBlockConfiguration',
  },
  PutPublicAccessBlock: { path: bucketPath('publicAccessBlock'), body: BLOCK, answer: 200 },
  DeletePublicAccessBlock: { path: bucketPath('publicAccessBlock'), answer: 204 },
  GetBucketTagging: { path: bucketPath('tagging'), answer: 'NoSuchTagSet' },
  PutBucketTagging: { path: bucketPath('tagging'), body: TAGGING, answer: 204 },
  DeleteBucketTagging: { path: bucketPath('tagging'), answer: 204 },
  GetBucketVersioning: { path: bucketPath('versioning'), answer: 200 },
  PutBucketVersioning: { path: bucketPath('versioning'), body: VERSIONING, answer: 200 },
  GetBucketPolicy: { path: bucketPath('policy'), answer: 'NoSuchBucketPolicy' },
  PutBucketPolicy: { path: bucketPath('policy'), body: POLICY, answer: 204 },
  DeleteBucketPolicy: { path: bucketPath('policy'), answer: 204 },
  GetBucketPolicyStatus: { path: bucketPath('policyStatus'), answer: 'NoSuchBucketPolicy' },
  GetBucketAcl: { path: bucketPath('acl'), answer: 200 },
  PutBucketAcl: {
    path: bucketPath('acl'),
    headers: () => ({ 'x-amz-acl': 'private' }),
    answer: 200,
  },
  GetBucketLocation: { path: bucketPath('location'), answer: 200 },
  ListMultipartUploads: { path: bucketPath('uploads'), answer: 200 },
  ListObjectVersions: { path: bucketPath('versions'), answer: 200 },
  DeleteObjects: {
    path: bucketPath('delete'),
    headers: () => ({ 'content-md5': createHash('md5').update(DELETE).digest('base64') }),
    body: DELETE,
    answer: 200,
  },
  GetBucketAccelerateConfiguration: { path: bucketPath('accelerate'), answer: 200 },
  PutBucketAccelerateConfiguration: {
    path: bucketPath('accelerate'),
    body: '<AccelerateConfiguration/>',
    answer: 'NotImplemented',
  },
  GetBucketLogging: { path: bucketPath('logging'), answer: 200 },
  PutBucketLogging: {
    path: bucketPath('logging'),
    body: '<BucketLoggingStatus/>',
    answer: 'NotImplemented',
  },
  GetBucketRequestPayment: { path: bucketPath('requestPayment'), answer: 200 },
  PutBucketRequestPayment: {
    path: bucketPath('requestPayment'),
    body: '<RequestPaymentConfiguration/>',
    answer: 'NotImplemented',
  },
  GetBucketWebsite: { path: bucketPath('website'), answer: 'NoSuchWebsiteConfiguration' },
  PutBucketWebsite: {
    path: bucketPath('website'),
    body: '<WebsiteConfiguration/>',
    answer: 'NotImplemented',
  },
  DeleteBucketWebsite: { path: bucketPath('website'), answer: 'NotImplemented' },
  GetBucketReplication: {
    path: bucketPath('replication'),
    answer: 'ReplicationConfigurationNotFoundError',
  },
  PutBucketReplication: {
    path: bucketPath('replication'),
    body: '<ReplicationConfiguration/>',
    answer: 'NotImplemented',
  },
  ListObjectsV2: { path: bucketPath('list-type=2'), answer: 200 },
  ListObjects: { path: bucketPath(), answer: 200 },
  CreateBucket: {
    path: bucketPath(),
    headers: () => ({ 'x-amz-bucket-object-lock-enabled': 'true' }),
    answer: 200,
  },
  HeadBucket: { path: bucketPath(), answer: 200 },
  DeleteBucket: { path: bucketPath(), answer: 'BucketNotEmpty' },
  UploadPartCopy: { path: uploadPath('partNumber=2&'), headers: copyHeader, answer: 200 },
  UploadPart: { path: uploadPath('partNumber=2&'), body: 'part', answer: 200 },
  CompleteMultipartUpload: {
    path: uploadPath(),
    body:
      '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>' +
      '<ETag>"92cfceb39d57d914ed8b14d0e37643de"</ETag></Part></CompleteMultipartUpload>',
    answer: 'InvalidPart',
  },
  CreateMultipartUpload: { path: objectPath('uploads'), answer: 200 },
  AbortMultipartUpload: { path: uploadPath(), answer: 204 },
  ListParts: { path: uploadPath(), answer: 200 },
  GetObjectTagging: { path: objectPath('tagging'), answer: 200 },
  PutObjectTagging: { path: objectPath('tagging'), body: TAGGING, answer: 200 },
  DeleteObjectTagging: { path: objectPath('tagging'), answer: 204 },
  GetObjectAcl: { path: objectPath('acl'), answer: 200 },
  PutObjectAcl: {
    path: objectPath('acl'),
    headers: () => ({ 'x-amz-acl': 'private' }),
    answer: 200,
  },
  GetObjectRetention: { path: objectPath('retention'), answer: 'NoSuchObjectLockConfiguration' },
  PutObjectRetention: { path: objectPath('retention'), body: RETENTION, answer: 200 },
  GetObjectLegalHold: { path: objectPath('legal-hold'), answer: 200 },
  PutObjectLegalHold: {
    path: objectPath('legal-hold'),
    body: '<LegalHold><Status>OFF</Status></LegalHold>',
    answer: 200,
  },
  GetObjectAttributes: {
    path: objectPath('attributes'),
    headers: () => ({ 'x-amz-object-attributes': 'ETag' }),
    answer: 200,
  },
  GetObjectTorrent: { path: objectPath('torrent'), answer: 'NotImplemented' },
  RestoreObject: {
    path: objectPath('restore'),
    body: '<RestoreRequest/>',
    answer: 'NotImplemented',
  },
  SelectObjectContent: {
    path: objectPath('select&select-type=2'),
    body: '<SelectObjectContentRequest/>',
    answer: 'NotImplemented',
  },
  CopyObject: {
    path: ({ bucket, key }) => `/${bucket}/${key}-copy`,
    headers: copyHeader,
    answer: 200,
  },
  PutObject: { path: objectPath(), body: 'replaced', answer: 200 },
  GetObject: { path: objectPath(), answer: 200 },
  HeadObject: { path: objectPath(), answer: 200 },
  DeleteObject: { path: objectPath(), answer: 204 },
  ListBuckets: { path: () => '/', answer: 200 },
}

export function requestOf(name: string, method: string, scene: Scene): PlainRequest {
  const found = OPERATION_CASES[name]
  if (found === undefined) throw new Error(`no case for ${name}`)
  const headers = found.headers?.(scene) ?? {}
  return { method, path: found.path(scene), headers, ...(found.body && { body: found.body }) }
}

export async function openScene(s3: TestS3): Promise<Scene> {
  const bucket = s3.newBucketName()
  const as = s3.owner
  const headers = { 'x-amz-bucket-object-lock-enabled': 'true' }
  expect(await s3.raw({ method: 'PUT', path: `/${bucket}`, headers, as })).toMatchObject({
    status: 200,
  })
  const key = 'k'
  const path = `/${bucket}/${key}`
  expect(await s3.raw({ method: 'PUT', path, body: 'as it was', as })).toMatchObject({
    status: 200,
  })
  const { text } = await s3.raw({ method: 'POST', path: `${path}?uploads`, as })
  const [, uploadId = ''] = /<UploadId>(.*)<\/UploadId>/.exec(text) ?? []
  expect(uploadId).not.toBe('')
  return { bucket, key, uploadId }
}

const signal = new AbortController().signal

/** Everything that is kept of a bucket, and which buckets there are. */
export async function stateOf(s3: TestS3, { bucket }: Scene): Promise<unknown> {
  const { namespace } = s3.server
  const found = await namespace.findBucket(bucket, signal)
  if (found === undefined) return 'gone'
  const ref = { name: found.name, id: found.id }
  const listing = { bucket: ref, prefix: '', delimiter: '', after: '', limit: 100 }
  return {
    found,
    versions: await namespace.listVersions({ ...listing, afterVersionId: undefined }, signal),
    uploads: await namespace.listUploads({ ...listing, afterUploadId: undefined }, signal),
  }
}

/** The code of an error; of an answer to HEAD, which has none, its status. */
export function outcomeOf({ code, status }: RawAnswer): number | string {
  return code ?? status
}
