import { Readable } from 'node:stream'
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  DeleteObjectsCommand,
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketLocationCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyStatusCommand,
  GetBucketRequestPaymentCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectAttributesCommand,
  GetObjectLegalHoldCommand,
  GetObjectLockConfigurationCommand,
  GetObjectRetentionCommand,
  GetPublicAccessBlockCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  PutBucketAclCommand,
  PutBucketCorsCommand,
  PutBucketEncryptionCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketNotificationConfigurationCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketVersioningCommand,
  PutObjectLegalHoldCommand,
  PutObjectLockConfigurationCommand,
  PutObjectRetentionCommand,
  PutObjectTaggingCommand,
  PutPublicAccessBlockCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import * as completion from '../../../../src/gateway/s3/documents/complete-multipart-upload.ts'
import { writeDeleteResult } from '../../../../src/gateway/s3/documents/delete-objects.ts'
import { writeError } from '../../../../src/gateway/s3/documents/error-document.ts'
import { writeListBuckets } from '../../../../src/gateway/s3/documents/list-buckets.ts'
import {
  writeListObjects,
  writeListObjectsV2,
} from '../../../../src/gateway/s3/documents/list-objects.ts'
import { writeListPartsResult } from '../../../../src/gateway/s3/documents/list-parts.ts'
import * as uploadLists from '../../../../src/gateway/s3/documents/list-uploads.ts'
import { writeListVersionsResult } from '../../../../src/gateway/s3/documents/list-versions.ts'
import * as location from '../../../../src/gateway/s3/documents/location-constraint.ts'
import { writeObjectAttributes } from '../../../../src/gateway/s3/documents/object-attributes.ts'
import { writePolicyStatus } from '../../../../src/gateway/s3/documents/policy-status.ts'
import { writeTagging } from '../../../../src/gateway/s3/documents/tagging.ts'
import * as unsetSettings from '../../../../src/gateway/s3/documents/unset-settings.ts'
import { writeVersioningConfiguration } from '../../../../src/gateway/s3/documents/versioning.ts'
import { S3Error } from '../../../../src/gateway/s3/s3-error.ts'
import { DECLARATION, NAMESPACE, SAMPLES, type SampleDocument } from './sample-documents.ts'

interface SentRequest {
  readonly body: unknown
}

/** A client whose requests go nowhere: the last one is kept, and each is answered with `xml`. */
function fakeClient(xml: string, statusCode = 200) {
  const sent: string[] = []
  const client = new S3Client({
    region: 'us-east-1',
    endpoint: 'http://localhost:1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
    requestHandler: {
      handle: async (request: SentRequest) => {
        sent.push(String(request.body ?? ''))
        const headers = { 'content-type': 'application/xml' }
        return { response: { statusCode, headers, body: Readable.from([Buffer.from(xml)]) } }
      },
    },
  })
  return { client, sent }
}

type Command = Parameters<S3Client['send']>[0]

/** What the SDK makes of `xml` as the answer to `command`, without what it says of the request. */
async function receive(command: unknown, xml: string): Promise<unknown> {
  const { client } = fakeClient(xml)
  const { $metadata: _, ...output } = await client.send(command as Command)
  return output
}

async function bodyOf(command: unknown): Promise<Buffer> {
  // Some answers may not be empty, but what is in this one nobody looks for.
  const { client, sent } = fakeClient('<Any/>')
  await client.send(command as Command)
  return Buffer.from(sent[0] ?? '')
}

function sampleOf(root: string): SampleDocument {
  const sample = SAMPLES.find((candidate) => candidate.root === root)
  if (sample === undefined) throw new Error(`no sample of ${root}`)
  return sample
}

const Bucket = 'b'
const Key = 'k'
const AT = new Date('2026-11-21T01:02:03.004Z')
const OWNER = { id: 'o', displayName: 'O' }
const OWNED = { ID: 'o', DisplayName: 'O' }

/** What the SDK writes of a sample's value, and what it makes of the sample as an answer. */
const SETTINGS: readonly (readonly [root: string, put: unknown, get: unknown, shown: unknown])[] = [
  (() => {
    const CORSRules = [
      {
        ID: 'one',
        AllowedMethods: ['GET', 'PUT'],
        AllowedOrigins: ['https://*.example.org'],
        AllowedHeaders: ['x-*'],
        ExposeHeaders: ['ETag'],
        MaxAgeSeconds: 3000,
      },
      { AllowedMethods: ['HEAD'], AllowedOrigins: ['*'] },
    ]
    const put = new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } })
    return ['CORSConfiguration', put, new GetBucketCorsCommand({ Bucket }), { CORSRules }] as const
  })(),
  (() => {
    const Owner = { ID: 'o1', DisplayName: 'Owner' }
    const Grants = [
      {
        Grantee: { Type: 'CanonicalUser', ID: 'u1', DisplayName: 'User' },
        Permission: 'FULL_CONTROL',
      },
      {
        Grantee: { Type: 'AmazonCustomerByEmail', EmailAddress: 'a@b.org' },
        Permission: 'WRITE_ACP',
      },
      {
        Grantee: { Type: 'Group', URI: 'http://acs.amazonaws.com/groups/global/AllUsers' },
        Permission: 'READ',
      },
    ] as const
    const AccessControlPolicy = { Owner, Grants: [...Grants] }
    const put = new PutBucketAclCommand({ Bucket, AccessControlPolicy })
    const get = new GetBucketAclCommand({ Bucket })
    return ['AccessControlPolicy', put, get, { Owner, Grants }] as const
  })(),
  (() => {
    const And = {
      Prefix: 'logs/',
      Tags: [{ Key: 'k', Value: 'v' }],
      ObjectSizeGreaterThan: 0,
      ObjectSizeLessThan: 9,
    }
    const Rules = [
      {
        ID: 'r1',
        Status: 'Enabled',
        Filter: { And },
        Expiration: { Days: 30 },
        Transitions: [{ Days: 0, StorageClass: 'STANDARD_IA' }],
        NoncurrentVersionTransitions: [
          { NoncurrentDays: 3, NewerNoncurrentVersions: 2, StorageClass: 'GLACIER_IR' },
        ],
        NoncurrentVersionExpiration: { NoncurrentDays: 4 },
      },
      {
        ID: 'r2',
        Status: 'Disabled',
        Prefix: 'tmp/',
        Expiration: { Date: new Date('2027-01-01T00:00:00Z') },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
      },
    ] as const
    const put = new PutBucketLifecycleConfigurationCommand({
      Bucket,
      // The SDK takes arrays that can be written only.
      LifecycleConfiguration: { Rules: structuredClone(Rules) as never },
    })
    const get = new GetBucketLifecycleConfigurationCommand({ Bucket })
    return ['LifecycleConfiguration', put, get, { Rules }] as const
  })(),
  (() => {
    const FilterRules = [
      { Name: 'prefix', Value: 'in/' },
      { Name: 'suffix', Value: '.jpg' },
    ] as const
    const shown = {
      QueueConfigurations: [
        {
          Id: 'q1',
          QueueArn: 'arn:hayloft:webhook:::hook',
          Events: ['s3:ObjectCreated:*', 's3:ObjectRemoved:Delete'],
          Filter: { Key: { FilterRules } },
        },
      ],
      TopicConfigurations: [
        { Id: 't1', TopicArn: 'arn:aws:sns:us-east-1:1:t', Events: ['s3:ObjectTagging:Put'] },
      ],
    } as const
    const put = new PutBucketNotificationConfigurationCommand({
      Bucket,
      NotificationConfiguration: structuredClone(shown) as never,
    })
    const get = new GetBucketNotificationConfigurationCommand({ Bucket })
    return ['NotificationConfiguration', put, get, shown] as const
  })(),
  (() => {
    const ObjectLockConfiguration = {
      ObjectLockEnabled: 'Enabled',
      Rule: { DefaultRetention: { Mode: 'GOVERNANCE', Days: 30 } },
    } as const
    const put = new PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration })
    const get = new GetObjectLockConfigurationCommand({ Bucket })
    return ['ObjectLockConfiguration', put, get, { ObjectLockConfiguration }] as const
  })(),
  (() => {
    const LegalHold = { Status: 'ON' } as const
    const put = new PutObjectLegalHoldCommand({ Bucket, Key, LegalHold })
    const get = new GetObjectLegalHoldCommand({ Bucket, Key })
    return ['LegalHold', put, get, { LegalHold }] as const
  })(),
  (() => {
    const PublicAccessBlockConfiguration = {
      BlockPublicAcls: true,
      IgnorePublicAcls: false,
      BlockPublicPolicy: true,
    }
    const put = new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration })
    const get = new GetPublicAccessBlockCommand({ Bucket })
    const shown = { PublicAccessBlockConfiguration }
    return ['PublicAccessBlockConfiguration', put, get, shown] as const
  })(),
  (() => {
    const Rules = [{ ObjectOwnership: 'BucketOwnerPreferred' } as const]
    const put = new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls: { Rules } })
    const get = new GetBucketOwnershipControlsCommand({ Bucket })
    return ['OwnershipControls', put, get, { OwnershipControls: { Rules } }] as const
  })(),
  (() => {
    const byDefault = { SSEAlgorithm: 'AES256' } as const
    const Rules = [{ ApplyServerSideEncryptionByDefault: byDefault, BucketKeyEnabled: true }]
    const ServerSideEncryptionConfiguration = { Rules }
    const put = new PutBucketEncryptionCommand({ Bucket, ServerSideEncryptionConfiguration })
    const get = new GetBucketEncryptionCommand({ Bucket })
    const shown = { ServerSideEncryptionConfiguration }
    return ['ServerSideEncryptionConfiguration', put, get, shown] as const
  })(),
]

describe('settings', () => {
  test.each(SETTINGS)('%s is read as the SDK writes it', async (root, put) => {
    const { read, value } = sampleOf(root)
    expect(read(await bodyOf(put))).toEqual(value)
  })

  test.each(SETTINGS)('%s is shown to the SDK as it was written', async (root, _, get, shown) => {
    const { content } = sampleOf(root)
    const xml = `${DECLARATION}<${root} xmlns="${NAMESPACE}">${content}</${root}>`
    expect(await receive(get, xml)).toEqual(shown)
  })

  test('tags, versioning, retention and the region go both ways', async () => {
    const TagSet = [
      { Key: 'a b', Value: '' },
      { Key: 'ä', Value: '1' },
    ]
    const put = new PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet } })
    const tags = sampleOf('Tagging').read(await bodyOf(put))
    expect(tags).toEqual(sampleOf('Tagging').value)
    const written = writeTagging(TagSet.map((tag) => ({ key: tag.Key, value: tag.Value })))
    expect(await receive(new GetBucketTaggingCommand({ Bucket }), written)).toEqual({ TagSet })

    const VersioningConfiguration = { Status: 'Enabled' } as const
    const versioning = new PutBucketVersioningCommand({ Bucket, VersioningConfiguration })
    expect(sampleOf('VersioningConfiguration').read(await bodyOf(versioning))).toBe('Enabled')
    const get = new GetBucketVersioningCommand({ Bucket })
    expect(await receive(get, writeVersioningConfiguration('Suspended'))).toEqual({
      Status: 'Suspended',
    })

    const Retention = {
      Mode: 'COMPLIANCE',
      RetainUntilDate: new Date('2030-01-02T03:04:05Z'),
    } as const
    const retain = new PutObjectRetentionCommand({ Bucket, Key, Retention })
    expect(sampleOf('Retention').read(await bodyOf(retain))).toEqual({
      mode: 'COMPLIANCE',
      untilMs: Date.UTC(2030, 0, 2, 3, 4, 5),
    })
    const { content } = sampleOf('Retention')
    const shown = await receive(
      new GetObjectRetentionCommand({ Bucket, Key }),
      `<Retention xmlns="${NAMESPACE}">${content}</Retention>`,
    )
    const RetainUntilDate = new Date('2030-01-02T03:04:05.678Z')
    expect(shown).toEqual({ Retention: { Mode: 'COMPLIANCE', RetainUntilDate } })

    const CreateBucketConfiguration = {
      LocationConstraint: 'eu-west-1',
      Tags: [{ Key: 'a', Value: 'b' }],
    } as const
    const create = new CreateBucketCommand({
      Bucket,
      CreateBucketConfiguration: structuredClone(CreateBucketConfiguration) as never,
    })
    const sample = sampleOf('CreateBucketConfiguration')
    expect(sample.read(await bodyOf(create))).toEqual(sample.value)
    const located = location.writeLocationConstraint('eu-west-1')
    expect(await receive(new GetBucketLocationCommand({ Bucket }), located)).toEqual({
      LocationConstraint: 'eu-west-1',
    })
  })

  test('DeleteObjects and CompleteMultipartUpload are read as the SDK writes them', async () => {
    const Objects = [
      { Key: '00123' },
      {
        Key: ' a\r& ',
        VersionId: 'v1',
        ETag: '"e1"',
        Size: 5,
        LastModifiedTime: new Date('2026-11-21T00:00:00Z'),
      },
    ]
    const remove = new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } })
    expect(sampleOf('Delete').read(await bodyOf(remove))).toEqual(sampleOf('Delete').value)
    const Parts = [
      { PartNumber: 1, ETag: '"e1"' },
      { PartNumber: 7, ETag: 'e7', ChecksumCRC32: 'AAAAAA==', ChecksumSHA256: 'c2hhMjU2' },
    ]
    const complete = new CompleteMultipartUploadCommand({
      Bucket,
      Key,
      UploadId: 'u',
      MultipartUpload: { Parts },
    })
    const sample = sampleOf('CompleteMultipartUpload')
    expect(sample.read(await bodyOf(complete))).toEqual(sample.value)
  })
})

const OBJECT = {
  key: ' a&\r ',
  modifiedAtMs: AT.getTime(),
  etag: 'e1',
  sizeBytes: 5_000_000_000,
  storageClass: 'STANDARD',
  owner: OWNER,
  checksum: { algorithm: 'CRC32', type: 'FULL_OBJECT' },
} as const

const SHOWN_OBJECT = {
  Key: ' a&\r ',
  LastModified: AT,
  ETag: '"e1"',
  Size: 5_000_000_000,
  StorageClass: 'STANDARD',
  Owner: OWNED,
}
const SHOWN_SUM = { ChecksumAlgorithm: ['CRC32'], ChecksumType: 'FULL_OBJECT' }

const PAGE = {
  bucket: 'b',
  prefix: 'p',
  delimiter: '/',
  maxKeys: 7,
  encoding: undefined,
  isTruncated: true,
  objects: [OBJECT],
  commonPrefixes: ['c/'],
}
const SHOWN_PAGE = {
  Name: 'b',
  Prefix: 'p',
  Delimiter: '/',
  MaxKeys: 7,
  IsTruncated: true,
  CommonPrefixes: [{ Prefix: 'c/' }],
}

describe('answers', () => {
  test('lists of objects', async () => {
    const first = writeListObjects({ ...PAGE, marker: 'm', nextMarker: 'n' })
    expect(await receive(new ListObjectsCommand({ Bucket }), first)).toEqual({
      ...SHOWN_PAGE,
      Marker: 'm',
      NextMarker: 'n',
      Contents: [{ ...SHOWN_OBJECT, ...SHOWN_SUM }],
    })
    const second = writeListObjectsV2({
      ...PAGE,
      startAfter: 's',
      continuationToken: 't',
      nextContinuationToken: 'u',
    })
    expect(await receive(new ListObjectsV2Command({ Bucket }), second)).toEqual({
      ...SHOWN_PAGE,
      StartAfter: 's',
      ContinuationToken: 't',
      NextContinuationToken: 'u',
      KeyCount: 2,
      Contents: [{ ...SHOWN_OBJECT, ...SHOWN_SUM }],
    })
  })

  test('lists of versions', async () => {
    const id = { key: 'k', versionId: 'v', isLatest: true, modifiedAtMs: AT.getTime() }
    const xml = writeListVersionsResult({
      ...PAGE,
      keyMarker: 'a',
      versionIdMarker: 'b',
      nextKeyMarker: 'c',
      nextVersionIdMarker: 'd',
      versions: [
        { ...OBJECT, kind: 'version', versionId: 'w', isLatest: false },
        { ...id, kind: 'delete-marker', owner: OWNER },
      ],
    })
    expect(await receive(new ListObjectVersionsCommand({ Bucket }), xml)).toEqual({
      ...SHOWN_PAGE,
      KeyMarker: 'a',
      VersionIdMarker: 'b',
      NextKeyMarker: 'c',
      NextVersionIdMarker: 'd',
      Versions: [{ ...SHOWN_OBJECT, ...SHOWN_SUM, VersionId: 'w', IsLatest: false }],
      DeleteMarkers: [{ Key: 'k', VersionId: 'v', IsLatest: true, LastModified: AT, Owner: OWNED }],
    })
  })

  test('lists of uploads and of parts', async () => {
    const kind = { algorithm: 'CRC32C', type: 'COMPOSITE' } as const
    const people = { initiator: OWNER, owner: OWNER, storageClass: 'STANDARD', checksum: kind }
    const uploads = uploadLists.writeListMultipartUploadsResult({
      bucket: 'b',
      prefix: 'p',
      delimiter: '/',
      keyMarker: 'a',
      uploadIdMarker: 'b',
      nextKeyMarker: 'c',
      nextUploadIdMarker: 'd',
      maxUploads: 7,
      encoding: undefined,
      isTruncated: true,
      uploads: [{ ...people, key: 'k', uploadId: 'u', initiatedAtMs: AT.getTime() }],
      commonPrefixes: ['c/'],
    })
    const shownPeople = { Initiator: OWNED, Owner: OWNED, StorageClass: 'STANDARD' }
    const sums = { ChecksumAlgorithm: 'CRC32C', ChecksumType: 'COMPOSITE' }
    expect(await receive(new ListMultipartUploadsCommand({ Bucket }), uploads)).toEqual({
      Bucket: 'b',
      Prefix: 'p',
      Delimiter: '/',
      KeyMarker: 'a',
      UploadIdMarker: 'b',
      NextKeyMarker: 'c',
      NextUploadIdMarker: 'd',
      MaxUploads: 7,
      IsTruncated: true,
      Uploads: [{ Key: 'k', UploadId: 'u', Initiated: AT, ...shownPeople, ...sums }],
      CommonPrefixes: [{ Prefix: 'c/' }],
    })
    const sum = { algorithm: 'CRC32C', value: 'AAAA' } as const
    const part = { partNumber: 2, modifiedAtMs: AT.getTime(), etag: 'e', sizeBytes: 5 }
    const parts = writeListPartsResult({
      ...people,
      bucket: 'b',
      key: 'k',
      uploadId: 'u',
      partNumberMarker: 1,
      nextPartNumberMarker: 2,
      maxParts: 1,
      isTruncated: true,
      parts: [{ ...part, checksum: sum }],
    })
    expect(await receive(new ListPartsCommand({ Bucket, Key, UploadId: 'u' }), parts)).toEqual({
      Bucket: 'b',
      Key: 'k',
      UploadId: 'u',
      PartNumberMarker: '1',
      NextPartNumberMarker: '2',
      MaxParts: 1,
      IsTruncated: true,
      Parts: [{ PartNumber: 2, LastModified: AT, ETag: '"e"', Size: 5, ChecksumCRC32C: 'AAAA' }],
      ...shownPeople,
      ...sums,
    })
  })

  test('lists of buckets', async () => {
    const xml = writeListBuckets({
      owner: OWNER,
      buckets: [
        { name: 'b1', createdAtMs: AT.getTime(), region: 'eu-1' },
        { name: 'b2', createdAtMs: AT.getTime(), region: undefined },
      ],
      continuationToken: 't',
      prefix: 'b',
    })
    expect(await receive(new ListBucketsCommand({}), xml)).toEqual({
      Owner: OWNED,
      Buckets: [
        { Name: 'b1', CreationDate: AT, BucketRegion: 'eu-1' },
        { Name: 'b2', CreationDate: AT },
      ],
      ContinuationToken: 't',
      Prefix: 'b',
    })
  })

  test('attributes of objects', async () => {
    const checksum = { algorithm: 'SHA256', type: 'COMPOSITE', value: 'c2hh-2' } as const
    const sum = { algorithm: 'SHA256', value: 'c2hh' } as const
    const xml = writeObjectAttributes({
      etag: 'e-2',
      checksum,
      parts: {
        partsCount: 2,
        partNumberMarker: 0,
        nextPartNumberMarker: 1,
        maxParts: 1,
        isTruncated: true,
        parts: [{ partNumber: 1, sizeBytes: 5, checksum: sum }],
      },
      storageClass: 'STANDARD',
      sizeBytes: 10,
    })
    const ObjectAttributes = ['ETag' as const]
    const command = new GetObjectAttributesCommand({ Bucket, Key, ObjectAttributes })
    expect(await receive(command, xml)).toEqual({
      ETag: 'e-2',
      Checksum: { ChecksumSHA256: 'c2hh-2', ChecksumType: 'COMPOSITE' },
      ObjectParts: {
        TotalPartsCount: 2,
        PartNumberMarker: '0',
        NextPartNumberMarker: '1',
        MaxParts: 1,
        IsTruncated: true,
        Parts: [{ PartNumber: 1, Size: 5, ChecksumSHA256: 'c2hh' }],
      },
      StorageClass: 'STANDARD',
      ObjectSize: 10,
    })
  })

  test('results of deletes and of uploads', async () => {
    const deletion = writeDeleteResult({
      deleted: [{ key: 'a\r', versionId: undefined, markerVersionId: 'm' }],
      failed: [{ key: 'b', versionId: 'v', code: 'AccessDenied', message: 'No' }],
    })
    const remove = new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key }] } })
    expect(await receive(remove, deletion)).toEqual({
      Deleted: [{ Key: 'a\r', DeleteMarker: true, DeleteMarkerVersionId: 'm' }],
      Errors: [{ Key: 'b', VersionId: 'v', Code: 'AccessDenied', Message: 'No' }],
    })
    const completed = completion.writeCompleteMultipartUploadResult({
      location: 'http://h/b/k',
      bucket: 'b',
      key: 'k',
      etag: 'e-2',
      checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'AAAA' },
    })
    const complete = new CompleteMultipartUploadCommand({ Bucket, Key, UploadId: 'u' })
    expect(await receive(complete, completed)).toEqual({
      Location: 'http://h/b/k',
      Bucket: 'b',
      Key: 'k',
      ETag: '"e-2"',
      ChecksumCRC64NVME: 'AAAA',
      ChecksumType: 'FULL_OBJECT',
    })
  })

  test('the status of a policy, and who pays', async () => {
    const status = new GetBucketPolicyStatusCommand({ Bucket })
    expect(await receive(status, writePolicyStatus(true))).toEqual({
      PolicyStatus: { IsPublic: true },
    })
    const payment = new GetBucketRequestPaymentCommand({ Bucket })
    expect(await receive(payment, unsetSettings.writeRequestPaymentConfiguration())).toEqual({
      Payer: 'BucketOwner',
    })
  })

  test('errors, with their code, message and request id', async () => {
    const error = new S3Error('NoSuchBucket', 'gone & lost', { fields: { BucketName: 'b' } })
    const xml = writeError(error, { resource: '/b', requestId: 'r1', hostId: 'h1' })
    const { client } = fakeClient(xml, error.status)
    await expect(client.send(new ListObjectsV2Command({ Bucket }))).rejects.toMatchObject({
      name: 'NoSuchBucket',
      message: 'gone & lost',
      BucketName: 'b',
      $metadata: { httpStatusCode: 404 },
    })
  })
})
