import * as aclDocument from '../../../../src/gateway/s3/documents/access-control-policy.ts'
import * as completion from '../../../../src/gateway/s3/documents/complete-multipart-upload.ts'
import { readCorsConfiguration } from '../../../../src/gateway/s3/documents/cors.ts'
import * as createBucket from '../../../../src/gateway/s3/documents/create-bucket.ts'
import { readDelete } from '../../../../src/gateway/s3/documents/delete-objects.ts'
import { readEncryptionConfiguration } from '../../../../src/gateway/s3/documents/encryption.ts'
import { readLegalHold } from '../../../../src/gateway/s3/documents/legal-hold.ts'
import { readLifecycleConfiguration } from '../../../../src/gateway/s3/documents/lifecycle.ts'
import { readNotificationConfiguration } from '../../../../src/gateway/s3/documents/notification.ts'
import { readObjectLockConfiguration } from '../../../../src/gateway/s3/documents/object-lock.ts'
import { readOwnershipControls } from '../../../../src/gateway/s3/documents/ownership-controls.ts'
import { readPublicAccessBlock } from '../../../../src/gateway/s3/documents/public-access-block.ts'
import { readRetention } from '../../../../src/gateway/s3/documents/retention.ts'
import { readTagging } from '../../../../src/gateway/s3/documents/tagging.ts'
import { readVersioningConfiguration } from '../../../../src/gateway/s3/documents/versioning.ts'
import type { S3ErrorCode } from '../../../../src/gateway/s3/s3-error.ts'
import { Prng } from '../../../support/prng.ts'

export const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'
export const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

export function documentOf(root: string, content: string): Buffer {
  return Buffer.from(`${DECLARATION}<${root} xmlns="${NAMESPACE}">${content}</${root}>`)
}

/** A whole example of a document that the gateway reads. */
export interface SampleDocument {
  readonly root: string
  readonly content: string
  readonly read: (body: Uint8Array) => unknown
  readonly value: unknown
  /** What a document that cannot be read is answered with. */
  readonly code: S3ErrorCode
}

const XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'

const DELETE = {
  root: 'Delete',
  content:
    '<Quiet>true</Quiet><Object><Key>00123</Key></Object><Object><Key> a&#13;&amp; </Key>' +
    '<VersionId>v1</VersionId><ETag>&quot;e1&quot;</ETag><Size>5</Size>' +
    '<LastModifiedTime>Sat, 21 Nov 2026 00:00:00 GMT</LastModifiedTime></Object>',
  read: readDelete,
  value: {
    isQuiet: true,
    objects: [
      {
        key: '00123',
        versionId: undefined,
        etag: undefined,
        modifiedAtMs: undefined,
        sizeBytes: undefined,
      },
      {
        key: ' a\r& ',
        versionId: 'v1',
        etag: 'e1',
        modifiedAtMs: Date.UTC(2026, 10, 21),
        sizeBytes: 5,
      },
    ],
  },
  code: 'MalformedXML',
} as const satisfies SampleDocument

const COMPLETE = {
  root: 'CompleteMultipartUpload',
  content:
    '<Part><PartNumber>1</PartNumber><ETag>"e1"</ETag></Part><Part><ETag>e7</ETag>' +
    '<ChecksumSHA256>c2hhMjU2</ChecksumSHA256><ChecksumCRC32>AAAAAA==</ChecksumCRC32>' +
    '<PartNumber>7</PartNumber></Part>',
  read: completion.readCompleteMultipartUpload,
  value: [
    { partNumber: 1, etag: 'e1', checksums: [] },
    {
      partNumber: 7,
      etag: 'e7',
      checksums: [
        { algorithm: 'CRC32', value: 'AAAAAA==' },
        { algorithm: 'SHA256', value: 'c2hhMjU2' },
      ],
    },
  ],
  code: 'MalformedXML',
} as const satisfies SampleDocument

const ACCESS = {
  root: 'AccessControlPolicy',
  content:
    '<Owner><ID>o1</ID><DisplayName>Owner</DisplayName></Owner><AccessControlList>' +
    `<Grant><Grantee ${XSI} xsi:type="CanonicalUser"><ID>u1</ID><DisplayName>User</DisplayName>` +
    '</Grantee><Permission>FULL_CONTROL</Permission></Grant>' +
    `<Grant><Grantee ${XSI} xsi:type="AmazonCustomerByEmail"><EmailAddress>a@b.org` +
    '</EmailAddress></Grantee><Permission>WRITE_ACP</Permission></Grant>' +
    `<Grant><Grantee ${XSI} xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers` +
    '</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList>',
  read: aclDocument.readAccessControlPolicy,
  value: {
    owner: { id: 'o1', displayName: 'Owner' },
    grants: [
      {
        grantee: { kind: 'user', id: 'u1', displayName: 'User' },
        permission: 'FULL_CONTROL',
      },
      { grantee: { kind: 'email', email: 'a@b.org' }, permission: 'WRITE_ACP' },
      { grantee: { kind: 'group', group: 'AllUsers' }, permission: 'READ' },
    ],
  },
  code: 'MalformedACLError',
} as const satisfies SampleDocument

const CORS = {
  root: 'CORSConfiguration',
  content:
    '<CORSRule><ID>one</ID><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>' +
    '<AllowedOrigin>https://*.example.org</AllowedOrigin><AllowedHeader>x-*</AllowedHeader>' +
    '<MaxAgeSeconds>3000</MaxAgeSeconds><ExposeHeader>ETag</ExposeHeader></CORSRule>' +
    '<CORSRule><AllowedMethod>HEAD</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>',
  read: readCorsConfiguration,
  value: [
    {
      id: 'one',
      allowedOrigins: ['https://*.example.org'],
      allowedMethods: ['GET', 'PUT'],
      allowedHeaders: ['x-*'],
      exposeHeaders: ['ETag'],
      maxAgeSeconds: 3000,
    },
    {
      id: undefined,
      allowedOrigins: ['*'],
      allowedMethods: ['HEAD'],
      allowedHeaders: [],
      exposeHeaders: [],
      maxAgeSeconds: undefined,
    },
  ],
  code: 'MalformedXML',
} as const satisfies SampleDocument

const LIFECYCLE = {
  root: 'LifecycleConfiguration',
  content:
    '<Rule><ID>r1</ID><Filter><And><Prefix>logs/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag>' +
    '<ObjectSizeGreaterThan>0</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan>' +
    '</And></Filter><Status>Enabled</Status><Expiration><Days>30</Days></Expiration><Transition>' +
    '<Days>0</Days><StorageClass>STANDARD_IA</StorageClass></Transition>' +
    '<NoncurrentVersionTransition><NoncurrentDays>3</NoncurrentDays><NewerNoncurrentVersions>2' +
    '</NewerNoncurrentVersions><StorageClass>GLACIER_IR</StorageClass>' +
    '</NoncurrentVersionTransition><NoncurrentVersionExpiration><NoncurrentDays>4' +
    '</NoncurrentDays></NoncurrentVersionExpiration></Rule>' +
    '<Rule><ID>r2</ID><Prefix>tmp/</Prefix><Status>Disabled</Status><Expiration>' +
    '<Date>2027-01-01T00:00:00.000Z</Date></Expiration><AbortIncompleteMultipartUpload>' +
    '<DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>',
  read: (body: Uint8Array) => readLifecycleConfiguration(body, new Prng(1)),
  value: [
    {
      id: 'r1',
      isEnabled: true,
      isOldStyle: false,
      filter: {
        prefix: 'logs/',
        tags: [{ key: 'k', value: 'v' }],
        sizeAboveBytes: 0,
        sizeBelowBytes: 9,
      },
      expiration: { days: 30, dateMs: undefined, isExpiredMarkerDeleted: false },
      transitions: [{ days: 0, dateMs: undefined, storageClass: 'STANDARD_IA' }],
      noncurrentExpiration: { noncurrentDays: 4, newerVersionsKept: undefined },
      noncurrentTransitions: [
        { noncurrentDays: 3, newerVersionsKept: 2, storageClass: 'GLACIER_IR' },
      ],
      abortUploadsAfterDays: undefined,
    },
    {
      id: 'r2',
      isEnabled: false,
      isOldStyle: true,
      filter: { prefix: 'tmp/', tags: [], sizeAboveBytes: undefined, sizeBelowBytes: undefined },
      expiration: { days: undefined, dateMs: Date.UTC(2027, 0, 1), isExpiredMarkerDeleted: false },
      transitions: [],
      noncurrentExpiration: undefined,
      noncurrentTransitions: [],
      abortUploadsAfterDays: 7,
    },
  ],
  code: 'MalformedXML',
} as const satisfies SampleDocument

const NOTIFICATION = {
  root: 'NotificationConfiguration',
  content:
    '<TopicConfiguration><Id>t1</Id><Topic>arn:aws:sns:us-east-1:1:t</Topic>' +
    '<Event>s3:ObjectTagging:Put</Event></TopicConfiguration>' +
    '<QueueConfiguration><Id>q1</Id><Queue>arn:hayloft:webhook:::hook</Queue>' +
    '<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:Delete</Event><Filter><S3Key>' +
    '<FilterRule><Name>prefix</Name><Value>in/</Value></FilterRule>' +
    '<FilterRule><Name>suffix</Name><Value>.jpg</Value></FilterRule></S3Key></Filter>' +
    '</QueueConfiguration>',
  read: (body: Uint8Array) => readNotificationConfiguration(body, new Prng(1)),
  value: [
    {
      id: 't1',
      arn: 'arn:aws:sns:us-east-1:1:t',
      events: ['s3:ObjectTagging:Put'],
      prefix: '',
      suffix: '',
    },
    {
      id: 'q1',
      arn: 'arn:hayloft:webhook:::hook',
      events: ['s3:ObjectCreated:*', 's3:ObjectRemoved:Delete'],
      prefix: 'in/',
      suffix: '.jpg',
    },
  ],
  code: 'MalformedXML',
} as const satisfies SampleDocument

export const SAMPLES: readonly SampleDocument[] = [
  DELETE,
  COMPLETE,
  ACCESS,
  CORS,
  LIFECYCLE,
  NOTIFICATION,
  {
    root: 'CreateBucketConfiguration',
    content:
      '<LocationConstraint>eu-west-1</LocationConstraint>' +
      '<Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags>',
    read: createBucket.readCreateBucketConfiguration,
    value: { region: 'eu-west-1', tags: [{ key: 'a', value: 'b' }] },
    code: 'MalformedXML',
  },
  {
    root: 'Tagging',
    content:
      '<TagSet><Tag><Key>a b</Key><Value/></Tag><Tag><Key>ä</Key><Value>1</Value></Tag></TagSet>',
    read: (body) => readTagging(body, 'object'),
    value: [
      { key: 'a b', value: '' },
      { key: 'ä', value: '1' },
    ],
    code: 'MalformedXML',
  },
  {
    root: 'VersioningConfiguration',
    content: '<Status>Enabled</Status><MfaDelete>Disabled</MfaDelete>',
    read: readVersioningConfiguration,
    value: 'Enabled',
    code: 'MalformedXML',
  },
  {
    root: 'ObjectLockConfiguration',
    content:
      '<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>' +
      '<Mode>GOVERNANCE</Mode><Days>30</Days></DefaultRetention></Rule>',
    read: readObjectLockConfiguration,
    value: { defaultRetention: { mode: 'GOVERNANCE', days: 30, years: undefined } },
    code: 'MalformedXML',
  },
  {
    root: 'Retention',
    content: '<Mode>COMPLIANCE</Mode><RetainUntilDate>2030-01-02T03:04:05.678Z</RetainUntilDate>',
    read: readRetention,
    value: { mode: 'COMPLIANCE', untilMs: Date.UTC(2030, 0, 2, 3, 4, 5, 678) },
    code: 'MalformedXML',
  },
  {
    root: 'LegalHold',
    content: '<Status>ON</Status>',
    read: readLegalHold,
    value: true,
    code: 'MalformedXML',
  },
  {
    root: 'PublicAccessBlockConfiguration',
    content:
      '<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>false</IgnorePublicAcls>' +
      '<BlockPublicPolicy>TRUE</BlockPublicPolicy>',
    read: readPublicAccessBlock,
    value: {
      blockPublicAcls: true,
      ignorePublicAcls: false,
      blockPublicPolicy: true,
      restrictPublicBuckets: false,
    },
    code: 'MalformedXML',
  },
  {
    root: 'OwnershipControls',
    content: '<Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule>',
    read: readOwnershipControls,
    value: 'BucketOwnerPreferred',
    code: 'MalformedXML',
  },
  {
    root: 'ServerSideEncryptionConfiguration',
    content:
      '<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>' +
      '</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule>',
    read: readEncryptionConfiguration,
    value: { algorithm: 'AES256', isBucketKeyEnabled: true },
    code: 'MalformedXML',
  },
]
