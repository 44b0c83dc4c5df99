import {
  DeleteBucketEncryptionCommand,
  DeleteBucketLifecycleCommand,
  DeleteBucketTaggingCommand,
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  PutBucketEncryptionCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutObjectLockConfigurationCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../../support/test-s3.ts'
import { makeBucket, put } from './access-cases.ts'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

const LOCK_HEADERS = { 'x-amz-bucket-object-lock-enabled': 'true' }

async function get(bucket: string, parameter: string) {
  return await s3.raw({ path: `/${bucket}?${parameter}`, as: s3.owner })
}

/** A bucket of a kind that can have the document. */
async function bucketFor(parameter: string): Promise<string> {
  return await makeBucket(s3, parameter === 'object-lock' ? { headers: LOCK_HEADERS } : {})
}

const tagging = (...tags: readonly (readonly [string, string])[]) => {
  const elements = tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`)
  return `<Tagging><TagSet>${elements.join('')}</TagSet></Tagging>`
}
const encryption = (algorithm: string, more = '') =>
  '<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>' +
  `<SSEAlgorithm>${algorithm}</SSEAlgorithm>${more}</ApplyServerSideEncryptionByDefault></Rule>` +
  '</ServerSideEncryptionConfiguration>'
const lifecycle = (...rules: readonly string[]) =>
  element('LifecycleConfiguration', rules.map((rule) => element('Rule', rule)).join(''))
const ON = '<Status>Enabled</Status>'
const ONE_DAY = '<Expiration><Days>1</Days></Expiration>'
const TAG = '<Tag><Key>k</Key><Value>v</Value></Tag>'
const OLD = `${element('NoncurrentDays', '1')}${element('NewerNoncurrentVersions', '5')}`
const ABORT = element('AbortIncompleteMultipartUpload', element('DaysAfterInitiation', '1'))
const ownership = (value: string) =>
  `<OwnershipControls><Rule><ObjectOwnership>${value}</ObjectOwnership></Rule></OwnershipControls>`
const block = (inner: string) =>
  `<PublicAccessBlockConfiguration>${inner}</PublicAccessBlockConfiguration>`
const versioning = (inner: string) => `<VersioningConfiguration>${inner}</VersioningConfiguration>`
const lock = (inner: string, enabled = 'Enabled') =>
  element('ObjectLockConfiguration', `${element('ObjectLockEnabled', enabled)}${inner}`)
const retention = (inner: string) =>
  lock(`<Rule><DefaultRetention>${inner}</DefaultRetention></Rule>`)
const GOVERNANCE = '<Mode>GOVERNANCE</Mode>'

describe('a document that was never set', () => {
  test.each([
    ['cors', 'NoSuchCORSConfiguration'],
    ['encryption', 'ServerSideEncryptionConfigurationNotFoundError'],
    ['lifecycle', 'NoSuchLifecycleConfiguration'],
    ['object-lock', 'ObjectLockConfigurationNotFoundError'],
    ['policy', 'NoSuchBucketPolicy'],
    ['policyStatus', 'NoSuchBucketPolicy'],
    ['publicAccessBlock', 'NoSuchPublicAccessBlockConfiguration'],
    ['replication', 'ReplicationConfigurationNotFoundError'],
    ['tagging', 'NoSuchTagSet'],
    ['website', 'NoSuchWebsiteConfiguration'],
  ])('%s is not found: %s', async (parameter, code) => {
    const bucket = await makeBucket(s3)
    const answer = await get(bucket, parameter)
    expect(answer).toMatchObject({ status: 404, code })
    expect(answer.headers['content-type']).toBe('application/xml')
    expect(answer.text).toContain(`<BucketName>${bucket}</BucketName>`)
    expect(answer.text).toContain(`<RequestId>${answer.headers['x-amz-request-id']}</RequestId>`)
  })

  test.each([
    ['accelerate', /<AccelerateConfiguration[^>]*?(?:\/>|><\/AccelerateConfiguration>)/],
    ['logging', /<BucketLoggingStatus[^>]*?(?:\/>|><\/BucketLoggingStatus>)/],
    ['notification', /<NotificationConfiguration[^>]*?(?:\/>|><\/NotificationConfiguration>)/],
    ['requestPayment', /<Payer>BucketOwner<\/Payer>/],
    ['versioning', /<VersioningConfiguration[^>]*?(?:\/>|><\/VersioningConfiguration>)/],
    ['location', /<LocationConstraint[^>]*?(?:\/>|><\/LocationConstraint>)/],
  ])('%s is shown as S3 shows it', async (parameter, document) => {
    const answer = await get(await makeBucket(s3), parameter)
    expect(answer).toMatchObject({ status: 200 })
    expect(answer.headers['content-type']).toBe('application/xml')
    expect(answer.text).toMatch(document)
  })

  test.each([
    ['PUT', 'accelerate'],
    ['PUT', 'logging'],
    ['PUT', 'requestPayment'],
    ['PUT', 'website'],
    ['DELETE', 'website'],
    ['PUT', 'replication'],
    ['DELETE', 'replication'],
    ['GET', 'analytics'],
    ['PUT', 'inventory&id=a'],
    ['GET', 'metrics'],
    ['GET', 'intelligent-tiering'],
  ])('%s ?%s is not implemented', async (method, parameter) => {
    const bucket = await makeBucket(s3)
    const path = `/${bucket}?${parameter}`
    const answer = await s3.raw({
      method,
      path,
      body: method === 'PUT' ? '<X/>' : '',
      as: s3.owner,
    })
    expect(answer).toMatchObject({ status: 501, code: 'NotImplemented' })
    expect(await s3.raw({ path: `/${bucket}`, as: s3.owner })).toMatchObject({ status: 200 })
  })

  const parameters =
    'cors encryption lifecycle notification object-lock policy publicAccessBlock tagging ' +
    'versioning acl website'
  test.each(parameters.split(' '))('%s of a bucket that is not there', async (parameter) => {
    const path = `/no-such-bucket?${parameter}`
    for (const method of ['GET', 'PUT']) {
      const answer = await s3.raw({ method, path, as: s3.owner })
      expect(answer).toMatchObject({ status: 404, code: 'NoSuchBucket' })
    }
  })
})

describe('a document that is set', () => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['encryption', encryption('AES256'), '<SSEAlgorithm>AES256</SSEAlgorithm>'],
    ['tagging', tagging(['a', 'b'], ['c', '']), '<Key>c</Key><Value></Value>'],
    [
      'lifecycle',
      lifecycle(`<ID>one</ID><Filter>${element('Prefix', 'a')}</Filter>${ON}${ONE_DAY}`),
      '<ID>one</ID><Filter><Prefix>a</Prefix></Filter>',
    ],
    ['ownershipControls', ownership('BucketOwnerPreferred'), 'BucketOwnerPreferred'],
    [
      'publicAccessBlock',
      block('<BlockPublicAcls>true</BlockPublicAcls>'),
      '<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>false</IgnorePublicAcls>',
    ],
    ['versioning', versioning('<Status>Suspended</Status>'), '<Status>Suspended</Status>'],
    [
      'object-lock',
      retention(`${GOVERNANCE}<Days>3</Days>`),
      '<Mode>GOVERNANCE</Mode><Days>3</Days>',
    ],
  ]
  test.each(rows)('%s is shown, replaced and kept', async (parameter, body, shown) => {
    const bucket = await bucketFor(parameter)
    for (let round = 0; round < 2; round++) {
      await put(s3, `/${bucket}?${parameter}`, body)
      expect((await get(bucket, parameter)).text).toContain(shown)
    }
  })

  test.each(
    rows.filter(([parameter]) => parameter !== 'versioning' && parameter !== 'object-lock'),
  )('%s goes, and again', async (parameter, body) => {
    const bucket = await bucketFor(parameter)
    await put(s3, `/${bucket}?${parameter}`, body)
    for (let round = 0; round < 2; round++) {
      const path = `/${bucket}?${parameter}`
      expect(await s3.raw({ method: 'DELETE', path, as: s3.owner })).toMatchObject({ status: 204 })
      expect(await get(bucket, parameter)).toMatchObject({ status: 404 })
    }
  })

  test.each(rows)('%s needs the whole of its body', async (parameter, body) => {
    const bucket = await bucketFor(parameter)
    const path = `/${bucket}?${parameter}`
    const before = (await get(bucket, parameter)).status
    const md5 = { 'content-md5': 'AAAAAAAAAAAAAAAAAAAAAA==' }
    const wrong = await s3.raw({ method: 'PUT', path, body, headers: md5, as: s3.owner })
    expect(wrong).toMatchObject({ status: 400, code: 'BadDigest' })
    const crc = { 'x-amz-checksum-crc32': 'AAAAAA==' }
    const sum = await s3.raw({ method: 'PUT', path, body, headers: crc, as: s3.owner })
    expect(sum).toMatchObject({ status: 400, code: 'BadDigest' })
    for (const cut of [0, 1, Math.floor(body.length / 2), body.length - 1]) {
      const answer = await s3.raw({ method: 'PUT', path, body: body.slice(0, cut), as: s3.owner })
      expect(answer).toMatchObject({ status: 400, code: 'MalformedXML' })
    }
    const other = await s3.raw({ method: 'PUT', path, body: '<Other/>', as: s3.owner })
    expect(other).toMatchObject({ status: 400, code: 'MalformedXML' })
    expect((await get(bucket, parameter)).status).toBe(before)
  })

  test('of 5 MiB is too long', async () => {
    const body = `<Tagging><TagSet>${' '.repeat(5 * 1024 * 1024)}</TagSet></Tagging>`
    const path = `/${await makeBucket(s3)}?tagging`
    const answer = await s3.raw({ method: 'PUT', path, body, as: s3.owner })
    expect(answer).toMatchObject({ status: 400, code: 'MaxMessageLengthExceeded' })
  })
})

describe('a document that is wrong', () => {
  const tags = (count: number) =>
    tagging(...Array.from({ length: count }, (_, at) => [`k${at}`, 'v'] as const))
  const expiration = (inner: string) => `<Filter/>${ON}<Expiration>${inner}</Expiration>`
  const days = '<Expiration><Days>1</Days></Expiration>'
  const rows: readonly (readonly [string, string, string, number | string])[] = [
    ['tagging', '50 tags', tags(50), 204],
    ['tagging', '51 tags', tags(51), 'InvalidTag'],
    ['tagging', 'a key twice', tagging(['a', 'b'], ['a', 'c']), 'InvalidTag'],
    ['tagging', 'a key of 128', tagging(['k'.repeat(128), '']), 204],
    ['tagging', 'a key of 129', tagging(['k'.repeat(129), '']), 'InvalidTag'],
    ['tagging', 'a value of 256', tagging(['a', 'v'.repeat(256)]), 204],
    ['tagging', 'a value of 257', tagging(['a', 'v'.repeat(257)]), 'InvalidTag'],
    ['tagging', 'an empty key', tagging(['', 'a']), 'InvalidTag'],
    ['tagging', 'a key of the system', tagging(['aws:a', 'b']), 'InvalidTag'],
    ['tagging', 'a character that is not allowed', tagging(['a', 'b!']), 'InvalidTag'],
    ['tagging', 'no set', '<Tagging/>', 'MalformedXML'],
    ['encryption', 'KMS', encryption('aws:kms'), 'NotImplemented'],
    ['encryption', 'an unknown algorithm', encryption('ROT13'), 'MalformedXML'],
    [
      'encryption',
      'a key for AES256',
      encryption('AES256', '<KMSMasterKeyID>a</KMSMasterKeyID>'),
      'InvalidArgument',
    ],
    ['encryption', 'no rule', '<ServerSideEncryptionConfiguration/>', 'MalformedXML'],
    ['ownershipControls', 'an unknown ownership', ownership('Everybody'), 'MalformedXML'],
    ['ownershipControls', 'no rule', '<OwnershipControls/>', 'MalformedXML'],
    [
      'publicAccessBlock',
      'no boolean',
      block('<BlockPublicAcls>yes</BlockPublicAcls>'),
      'MalformedXML',
    ],
    ['publicAccessBlock', 'an unknown flag', block('<BlockAll>true</BlockAll>'), 'MalformedXML'],
    ['publicAccessBlock', 'nothing in it', block(''), 200],
    ['versioning', 'no status', versioning(''), 'IllegalVersioningConfigurationException'],
    ['versioning', 'an unknown status', versioning('<Status>On</Status>'), 'MalformedXML'],
    [
      'versioning',
      'a second factor',
      versioning(`${ON}<MfaDelete>Enabled</MfaDelete>`),
      'NotImplemented',
    ],
    ['object-lock', 'no rule', lock(''), 200],
    [
      'object-lock',
      'days and years',
      retention(`${GOVERNANCE}<Days>1</Days><Years>1</Years>`),
      'MalformedXML',
    ],
    ['object-lock', 'neither', retention(GOVERNANCE), 'MalformedXML'],
    ['object-lock', '0 days', retention(`${GOVERNANCE}<Days>0</Days>`), 'InvalidArgument'],
    ['object-lock', '-1 years', retention(`${GOVERNANCE}<Years>-1</Years>`), 'InvalidArgument'],
    ['object-lock', '36,501 days', retention(`${GOVERNANCE}<Days>36501</Days>`), 'InvalidArgument'],
    ['object-lock', '101 years', retention(`${GOVERNANCE}<Years>101</Years>`), 'InvalidArgument'],
    [
      'object-lock',
      'an unknown mode',
      retention('<Mode>LOOSE</Mode><Days>1</Days>'),
      'MalformedXML',
    ],
    ['object-lock', 'not enabled', lock('', 'Disabled'), 'MalformedXML'],
    ['lifecycle', 'no rule', lifecycle(), 'MalformedXML'],
    [
      'lifecycle',
      '1,000 rules',
      lifecycle(...Array.from({ length: 1000 }, () => `<Filter/>${ON}${days}`)),
      200,
    ],
    [
      'lifecycle',
      '1,001 rules',
      lifecycle(...Array.from({ length: 1001 }, () => `<Filter/>${ON}${days}`)),
      'InvalidRequest',
    ],
    [
      'lifecycle',
      'an id twice',
      lifecycle(`<ID>a</ID><Filter/>${ON}${days}`, `<ID>a</ID><Filter/>${ON}${days}`),
      'InvalidArgument',
    ],
    [
      'lifecycle',
      'an id of 255',
      lifecycle(`<ID>${'i'.repeat(255)}</ID><Filter/>${ON}${days}`),
      200,
    ],
    [
      'lifecycle',
      'an id of 256',
      lifecycle(`<ID>${'i'.repeat(256)}</ID><Filter/>${ON}${days}`),
      'InvalidArgument',
    ],
    ['lifecycle', 'no status', lifecycle(`<Filter/>${days}`), 'MalformedXML'],
    [
      'lifecycle',
      'a status in lower case',
      lifecycle(`<Filter/><Status>enabled</Status>${days}`),
      'MalformedXML',
    ],
    ['lifecycle', 'neither filter nor prefix', lifecycle(`${ON}${days}`), 'MalformedXML'],
    ['lifecycle', 'filter and prefix', lifecycle(`<Prefix/><Filter/>${ON}${days}`), 'MalformedXML'],
    ['lifecycle', 'a prefix of old', lifecycle(`<Prefix>a/</Prefix>${ON}${days}`), 200],
    ['lifecycle', 'nothing to do', lifecycle(`<Filter/>${ON}`), 'InvalidRequest'],
    ['lifecycle', '0 days', lifecycle(expiration('<Days>0</Days>')), 'InvalidArgument'],
    ['lifecycle', '-1 days', lifecycle(expiration('<Days>-1</Days>')), 'InvalidArgument'],
    [
      'lifecycle',
      'days and a date',
      lifecycle(expiration('<Days>1</Days><Date>2099-01-01T00:00:00Z</Date>')),
      'MalformedXML',
    ],
    ['lifecycle', 'a date', lifecycle(expiration('<Date>2099-01-01T00:00:00Z</Date>')), 200],
    [
      'lifecycle',
      'a date that is not midnight',
      lifecycle(expiration('<Date>2099-01-01T00:00:01Z</Date>')),
      'InvalidArgument',
    ],
    [
      'lifecycle',
      'a date that is none',
      lifecycle(expiration('<Date>20200101</Date>')),
      'MalformedXML',
    ],
    [
      'lifecycle',
      'two conditions without And',
      lifecycle(
        `<Filter><Prefix>a</Prefix><ObjectSizeLessThan>9</ObjectSizeLessThan></Filter>${ON}${days}`,
      ),
      'MalformedXML',
    ],
    [
      'lifecycle',
      'two conditions with And',
      lifecycle(`<Filter><And><Prefix>a</Prefix>${TAG}</And></Filter>${ON}${days}`),
      200,
    ],
    [
      'lifecycle',
      'an unknown class',
      lifecycle(
        `<Filter/>${ON}<Transition><Days>1</Days><StorageClass>PAPER</StorageClass></Transition>`,
      ),
      'InvalidStorageClass|MalformedXML',
    ],
    ['lifecycle', 'uploads', lifecycle(`<Filter/>${ON}${ABORT}`), 200],
    [
      'lifecycle',
      'uploads by tag',
      lifecycle(`<Filter>${TAG}</Filter>${ON}${ABORT}`),
      'InvalidRequest',
    ],
    [
      'lifecycle',
      'versions',
      lifecycle(`<Filter/>${ON}${element('NoncurrentVersionExpiration', OLD)}`),
      200,
    ],
    [
      'lifecycle',
      'markers',
      lifecycle(expiration('<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>')),
      200,
    ],
    ['notification', 'an unknown event', notification('s3:ObjectEaten:*'), 'InvalidArgument'],
    ['notification', 'no event', queue('<Queue>arn:aws:sqs:a:b:c</Queue>'), 'MalformedXML'],
    [
      'notification',
      'a queue that nobody serves',
      notification('s3:ObjectCreated:*'),
      'InvalidArgument',
    ],
    ['notification', 'no ARN', notification('s3:ObjectCreated:*', 'queue'), 'InvalidArgument'],
    [
      'notification',
      'EventBridge',
      '<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>',
      'NotImplemented',
    ],
    ['notification', 'nothing in it', '<NotificationConfiguration/>', 200],
  ]
  test.each(rows)('%s with %s', async (parameter, _title, body, outcome) => {
    const bucket = await bucketFor(parameter)
    const path = `/${bucket}?${parameter}`
    const answer = await s3.raw({ method: 'PUT', path, body, as: s3.owner })
    if (typeof outcome === 'number') return expect(answer).toMatchObject({ status: outcome })
    expect(outcome.split('|')).toContain(answer.code)
    expect(answer.status).toBe(answer.code === 'NotImplemented' ? 501 : 400)
  })
})

function element(name: string, content: string): string {
  return `<${name}>${content}</${name}>`
}

function queue(content: string): string {
  return element('NotificationConfiguration', element('QueueConfiguration', content))
}

function notification(event: string, arn = 'arn:aws:sqs:us-east-1:1:q'): string {
  const content = `<Queue>${arn}</Queue><Event>${event}</Event>`
  return queue(content)
}

describe('versioning and object lock', () => {
  test('a bucket with locks has versions, and cannot lose them', async () => {
    const bucket = await makeBucket(s3, { headers: LOCK_HEADERS })
    expect((await get(bucket, 'versioning')).text).toContain('<Status>Enabled</Status>')
    const body = versioning('<Status>Suspended</Status>')
    const answer = await s3.raw({
      method: 'PUT',
      path: `/${bucket}?versioning`,
      body,
      as: s3.owner,
    })
    expect(answer).toMatchObject({ status: 409, code: 'InvalidBucketState' })
    expect((await get(bucket, 'object-lock')).text).toContain('<ObjectLockEnabled>Enabled')
  })

  test('a bucket without versions cannot get locks', async () => {
    const bucket = await makeBucket(s3)
    const request = { method: 'PUT', path: `/${bucket}?object-lock`, body: lock(''), as: s3.owner }
    expect(await s3.raw(request)).toMatchObject({ status: 409, code: 'InvalidBucketState' })
    await put(s3, `/${bucket}?versioning`, versioning(ON))
    expect(await s3.raw(request)).toMatchObject({ status: 200 })
    await put(s3, `/${bucket}/k`, 'x', { headers: { 'x-amz-object-lock-legal-hold': 'ON' } })
  })
})

describe('documents of the SDK', () => {
  test('tags', async () => {
    const Bucket = await makeBucket(s3)
    const { sdk } = s3.owner
    const TagSet = [{ Key: 'team', Value: 'blau + grün' }]
    await sdk.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }))
    expect(await sdk.send(new GetBucketTaggingCommand({ Bucket }))).toMatchObject({ TagSet })
    await sdk.send(new DeleteBucketTaggingCommand({ Bucket }))
    const error = await sdk.send(new GetBucketTaggingCommand({ Bucket })).catch((e: unknown) => e)
    expect(error).toMatchObject({ name: 'NoSuchTagSet' })
  })

  test('encryption', async () => {
    const Bucket = await makeBucket(s3)
    const { sdk } = s3.owner
    const Rules = [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' as const } }]
    const ServerSideEncryptionConfiguration = { Rules }
    await sdk.send(new PutBucketEncryptionCommand({ Bucket, ServerSideEncryptionConfiguration }))
    const found = await sdk.send(new GetBucketEncryptionCommand({ Bucket }))
    expect(found.ServerSideEncryptionConfiguration?.Rules).toMatchObject(Rules)
    await sdk.send(new DeleteBucketEncryptionCommand({ Bucket }))
  })

  test('lifecycle', async () => {
    const Bucket = await makeBucket(s3)
    const { sdk } = s3.owner
    const Rules = [
      {
        ID: 'logs',
        Status: 'Enabled' as const,
        Filter: { And: { Prefix: 'logs/', Tags: [{ Key: 'a', Value: 'b' }] } },
        Expiration: { Days: 30 },
        NoncurrentVersionExpiration: { NoncurrentDays: 7, NewerNoncurrentVersions: 3 },
      },
      {
        ID: 'all',
        Status: 'Disabled' as const,
        Filter: { Prefix: '' },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 },
      },
    ]
    const LifecycleConfiguration = { Rules }
    const command = new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration })
    await sdk.send(command)
    const found = await sdk.send(new GetBucketLifecycleConfigurationCommand({ Bucket }))
    expect(found.Rules).toMatchObject(Rules)
    await sdk.send(new DeleteBucketLifecycleCommand({ Bucket }))
  })

  test('versioning and object lock', async () => {
    const Bucket = await makeBucket(s3)
    const { sdk } = s3.owner
    expect((await sdk.send(new GetBucketVersioningCommand({ Bucket }))).Status).toBeUndefined()
    const VersioningConfiguration = { Status: 'Enabled' as const }
    await sdk.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }))
    const found = await sdk.send(new GetBucketVersioningCommand({ Bucket }))
    expect(found.Status).toBe('Enabled')
    const ObjectLockConfiguration = {
      ObjectLockEnabled: 'Enabled' as const,
      Rule: { DefaultRetention: { Mode: 'COMPLIANCE' as const, Years: 1 } },
    }
    await sdk.send(new PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration }))
    const lockFound = await sdk.send(new GetObjectLockConfigurationCommand({ Bucket }))
    expect(lockFound).toMatchObject({ ObjectLockConfiguration })
  })

  test('notifications, of which there are none', async () => {
    const Bucket = await makeBucket(s3)
    const found = await s3.owner.sdk.send(new GetBucketNotificationConfigurationCommand({ Bucket }))
    expect(found.QueueConfigurations).toBeUndefined()
  })
})
