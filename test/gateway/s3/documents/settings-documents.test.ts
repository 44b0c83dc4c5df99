import { describe, expect, test } from 'vitest'
import * as aclDocument from '../../../../src/gateway/s3/documents/access-control-policy.ts'
import * as completion from '../../../../src/gateway/s3/documents/complete-multipart-upload.ts'
import { readCorsConfiguration } from '../../../../src/gateway/s3/documents/cors.ts'
import * as createBucket from '../../../../src/gateway/s3/documents/create-bucket.ts'
import { readDelete } from '../../../../src/gateway/s3/documents/delete-objects.ts'
import { readEncryptionConfiguration } from '../../../../src/gateway/s3/documents/encryption.ts'
import { readLegalHold } from '../../../../src/gateway/s3/documents/legal-hold.ts'
import { readNotificationConfiguration } from '../../../../src/gateway/s3/documents/notification.ts'
import { readObjectLockConfiguration } from '../../../../src/gateway/s3/documents/object-lock.ts'
import { readOwnershipControls } from '../../../../src/gateway/s3/documents/ownership-controls.ts'
import { readPublicAccessBlock } from '../../../../src/gateway/s3/documents/public-access-block.ts'
import { readRetention } from '../../../../src/gateway/s3/documents/retention.ts'
import { readVersioningConfiguration } from '../../../../src/gateway/s3/documents/versioning.ts'
import { Prng } from '../../../support/prng.ts'
import { documentOf } from './sample-documents.ts'

/** The code it is refused with; undefined: it is read. */
function codeOf(read: (body: Uint8Array) => unknown, body: Buffer): unknown {
  try {
    read(body)
    return undefined
  } catch (error) {
    return (error as { code?: unknown }).code ?? error
  }
}

describe('Delete', () => {
  const object = (key: string) => `<Object><Key>${key}</Key></Object>`
  const many = (count: number) =>
    Array.from({ length: count }, (_, at) => object(`k${at}`)).join('')

  test.each([
    [0, 'MalformedXML'],
    [1, undefined],
    [1000, undefined],
    [1001, 'MalformedXML'],
  ])('of %d objects: %s', (count, code) => {
    expect(codeOf(readDelete, documentOf('Delete', many(count)))).toBe(code)
  })

  test.each([
    ['<Object/>', 'MalformedXML'],
    ['<Object><Key/></Object>', 'MalformedXML'],
    ['<Object><VersionId>1</VersionId></Object>', 'MalformedXML'],
    ['<Object><Key>a</Key><Key>b</Key></Object>', 'MalformedXML'],
    ['<Object><Key>a</Key><Other/></Object>', 'MalformedXML'],
    ['<Object>x<Key>a</Key></Object>', 'MalformedXML'],
    ['<Object><Key><b/></Key></Object>', 'MalformedXML'],
    [`${object('a')}<Quiet>maybe</Quiet>`, 'MalformedXML'],
    [`${object('a')}<Quiet>FALSE</Quiet>`, undefined],
    ['<Object><Key>a</Key><Size>-1</Size></Object>', 'MalformedXML'],
    ['<Object><Key>a</Key><LastModifiedTime>now</LastModifiedTime></Object>', 'MalformedXML'],
    [
      '<Object><Key>a</Key><LastModifiedTime>Sat, 99 Foo 2026 00:00:00 GMT' +
        '</LastModifiedTime></Object>',
      'MalformedXML',
    ],
    [
      '<Object><Key>a</Key><LastModifiedTime>2026-11-21T00:00:00Z</LastModifiedTime></Object>',
      undefined,
    ],
  ])('of %s: %s', (content, code) => {
    expect(codeOf(readDelete, documentOf('Delete', content))).toBe(code)
  })

  test('of 1,000 keys is read in a few milliseconds, the keys as they came', () => {
    const body = documentOf('Delete', many(1000))
    let bestMs = Number.POSITIVE_INFINITY
    for (let round = 0; round < 20; round++) {
      const startedAt = performance.now()
      expect(readDelete(body).objects).toHaveLength(1000)
      bestMs = Math.min(bestMs, performance.now() - startedAt)
    }
    expect(readDelete(body).objects[999]?.key).toBe('k999')
    // About 1 ms; the rest is for slow machines.
    expect(bestMs).toBeLessThan(15)
  })
})

describe('CompleteMultipartUpload', () => {
  const part = (number: number | string, rest = '<ETag>e</ETag>') =>
    `<Part><PartNumber>${number}</PartNumber>${rest}</Part>`

  test.each([
    ['', 'MalformedXML'],
    [part(1), undefined],
    [part(10_000), undefined],
    [part(0), 'InvalidArgument'],
    [part(-1), 'InvalidArgument'],
    [part(10_001), 'InvalidArgument'],
    [part('x'), 'MalformedXML'],
    [part('1.5'), 'MalformedXML'],
    [part(''), 'MalformedXML'],
    [part(1, ''), 'MalformedXML'],
    ['<Part><ETag>e</ETag></Part>', 'MalformedXML'],
    [part(1, '<ETag>e</ETag><ETag>e</ETag>'), 'MalformedXML'],
    [part(1, '<ETag>e</ETag><ChecksumMD5>x</ChecksumMD5>'), 'MalformedXML'],
    [`${part(1)}${part(3)}${part(10_000)}`, undefined],
    [`${part(2)}${part(1)}`, 'InvalidPartOrder'],
    [`${part(1)}${part(1)}`, 'InvalidPartOrder'],
  ])('of %s: %s', (content, code) => {
    const body = documentOf('CompleteMultipartUpload', content)
    expect(codeOf(completion.readCompleteMultipartUpload, body)).toBe(code)
  })

  test.each(['e1', '"e1"', '&quot;e1&quot;', '&#34;e1&#34;', '&amp;quot;e1&amp;quot;', ' "e1" '])(
    'the entity tag %s is e1',
    (text) => {
      const body = documentOf('CompleteMultipartUpload', part(1, `<ETag>${text}</ETag>`))
      expect(completion.readCompleteMultipartUpload(body)[0]?.etag).toBe('e1')
    },
  )

  test.each(['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'])('a part may have a %s', (name) => {
    const rest = `<ETag>e</ETag><Checksum${name}>AAAA</Checksum${name}>`
    const body = documentOf('CompleteMultipartUpload', part(1, rest))
    const checksums = [{ algorithm: name, value: 'AAAA' }]
    expect(completion.readCompleteMultipartUpload(body)[0]?.checksums).toEqual(checksums)
  })

  test('of 10,000 parts is read', () => {
    const parts = Array.from({ length: 10_000 }, (_, at) => part(at + 1)).join('')
    const body = documentOf('CompleteMultipartUpload', parts)
    expect(completion.readCompleteMultipartUpload(body)).toHaveLength(10_000)
  })
})

describe('CreateBucketConfiguration', () => {
  test.each([
    ['', undefined],
    ['<LocationConstraint/>', undefined],
    ['<LocationConstraint> eu-1 </LocationConstraint>', 'eu-1'],
  ])('%j asks for the region %s', (content, region) => {
    const body = documentOf('CreateBucketConfiguration', content)
    expect(createBucket.readCreateBucketConfiguration(body)).toEqual({ region, tags: [] })
  })

  test.each([
    ['<Location><Name>a</Name></Location>', 'NotImplemented'],
    ['<Bucket><Type>Directory</Type></Bucket>', 'NotImplemented'],
    ['<Tags><Tag><Key>aws:a</Key><Value/></Tag></Tags>', 'InvalidTag'],
    ['<Tags><Other/></Tags>', 'MalformedXML'],
    ['<LocationConstraint><a/></LocationConstraint>', 'MalformedXML'],
  ])('%j: %s', (content, code) => {
    const body = documentOf('CreateBucketConfiguration', content)
    expect(codeOf(createBucket.readCreateBucketConfiguration, body)).toBe(code)
  })
})

describe('AccessControlPolicy', () => {
  const xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
  const owner = '<Owner><ID>o</ID></Owner>'
  const grantee = (type: string, content: string) =>
    `<Grantee ${xsi} xsi:type="${type}">${content}</Grantee>`
  const policy = (who: string, permission = '<Permission>READ</Permission>') =>
    `${owner}<AccessControlList><Grant>${who}${permission}</Grant></AccessControlList>`
  const user = grantee('CanonicalUser', '<ID>u</ID>')
  const groups = 'http://acs.amazonaws.com/groups'

  test.each([
    [policy(user), undefined],
    [`${owner}<AccessControlList/>`, undefined],
    [owner, 'MalformedACLError'],
    ['<AccessControlList/>', 'MalformedACLError'],
    ['<Owner/><AccessControlList/>', 'MalformedACLError'],
    ['<Owner><ID/></Owner><AccessControlList/>', 'InvalidArgument'],
    [policy(grantee('CanonicalUser', '<ID/>')), 'InvalidArgument'],
    [policy(grantee('CanonicalUser', '')), 'MalformedACLError'],
    [policy(grantee('CanonicalUser', '<URI>u</URI>')), 'MalformedACLError'],
    [policy(grantee('Other', '<ID>u</ID>')), 'MalformedACLError'],
    [policy(grantee('', '<ID>u</ID>')), 'MalformedACLError'],
    [policy('<Grantee><ID>u</ID></Grantee>'), 'MalformedACLError'],
    [policy('<Grantee type="CanonicalUser"><ID>u</ID></Grantee>'), 'MalformedACLError'],
    [policy('<Grantee xsi:type="CanonicalUser"><ID>u</ID></Grantee>'), 'MalformedACLError'],
    [policy(''), 'MalformedACLError'],
    [policy(user, ''), 'MalformedACLError'],
    [policy(user, '<Permission>read</Permission>'), 'MalformedACLError'],
    [policy(user, '<Permission/>'), 'MalformedACLError'],
    [policy(grantee('AmazonCustomerByEmail', '')), 'MalformedACLError'],
    [policy(grantee('AmazonCustomerByEmail', '<EmailAddress>a@b</EmailAddress>')), undefined],
    [policy(grantee('Group', '<URI>http://example.org/</URI>')), 'InvalidArgument'],
    [policy(grantee('Group', `<URI>${groups}/global/AuthenticatedUsers</URI>`)), undefined],
    [policy(grantee('Group', `<URI>${groups}/s3/LogDelivery</URI>`)), undefined],
    [policy(grantee('Group', `<URI>${groups}/global/constructor</URI>`)), 'InvalidArgument'],
  ])('%s: %s', (content, code) => {
    expect(
      codeOf(aclDocument.readAccessControlPolicy, documentOf('AccessControlPolicy', content)),
    ).toBe(code)
  })

  test.each([
    [100, undefined],
    [101, 'MalformedACLError'],
  ])('of %d grants: %s', (count, code) => {
    const grants = `<Grant>${user}<Permission>READ</Permission></Grant>`.repeat(count)
    const content = `${owner}<AccessControlList>${grants}</AccessControlList>`
    expect(
      codeOf(aclDocument.readAccessControlPolicy, documentOf('AccessControlPolicy', content)),
    ).toBe(code)
  })

  test('a type may have a prefix of its own, as the encoder of Go gives it', () => {
    const xml = 'XMLSchema-instance'
    const attributes = `xmlns:${xml}="http://www.w3.org/2001/XMLSchema-instance" ${xml}:type`
    const who = `<Grantee ${attributes}="CanonicalUser"><ID>u</ID></Grantee>`
    const { grants } = aclDocument.readAccessControlPolicy(
      documentOf('AccessControlPolicy', policy(who)),
    )
    expect(grants[0]?.grantee).toEqual({ kind: 'user', id: 'u', displayName: '' })
  })
})

describe('small documents', () => {
  test.each([
    ['<Status>Enabled</Status>', undefined],
    ['<Status>Suspended</Status>', undefined],
    ['', 'IllegalVersioningConfigurationException'],
    ['<Status/>', 'MalformedXML'],
    ['<Status>enabled</Status>', 'MalformedXML'],
    ['<Status>Disabled</Status>', 'MalformedXML'],
    ['<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>', 'NotImplemented'],
    ['<Status>Enabled</Status><MfaDelete>Disabled</MfaDelete>', undefined],
    ['<Status>Enabled</Status><MfaDelete>x</MfaDelete>', 'MalformedXML'],
    ['<Status>Enabled</Status><Status>Enabled</Status>', 'MalformedXML'],
  ])('VersioningConfiguration %s: %s', (content, code) => {
    const body = documentOf('VersioningConfiguration', content)
    expect(codeOf(readVersioningConfiguration, body)).toBe(code)
  })

  const lock = (rule: string) => `<ObjectLockEnabled>Enabled</ObjectLockEnabled>${rule}`
  const retain = (content: string) =>
    lock(`<Rule><DefaultRetention>${content}</DefaultRetention></Rule>`)
  const mode = '<Mode>COMPLIANCE</Mode>'

  test.each([
    [lock(''), undefined],
    ['', 'MalformedXML'],
    ['<ObjectLockEnabled>Disabled</ObjectLockEnabled>', 'MalformedXML'],
    [lock('<Rule/>'), 'MalformedXML'],
    [retain(mode), 'MalformedXML'],
    [retain('<Days>1</Days>'), 'MalformedXML'],
    [retain(`${mode}<Days>1</Days><Years>1</Years>`), 'MalformedXML'],
    [retain('<Mode>governance</Mode><Days>1</Days>'), 'MalformedXML'],
    [retain(`${mode}<Days>x</Days>`), 'MalformedXML'],
    [retain(`${mode}<Days>1</Days>`), undefined],
    [retain(`${mode}<Days>0</Days>`), 'InvalidArgument'],
    [retain(`${mode}<Days>-1</Days>`), 'InvalidArgument'],
    [retain(`${mode}<Days>36500</Days>`), undefined],
    [retain(`${mode}<Days>36501</Days>`), 'InvalidArgument'],
    [retain(`${mode}<Years>1</Years>`), undefined],
    [retain(`${mode}<Years>0</Years>`), 'InvalidArgument'],
    [retain(`${mode}<Years>100</Years>`), undefined],
    [retain(`${mode}<Years>101</Years>`), 'InvalidArgument'],
  ])('ObjectLockConfiguration %s: %s', (content, code) => {
    const body = documentOf('ObjectLockConfiguration', content)
    expect(codeOf(readObjectLockConfiguration, body)).toBe(code)
  })

  const until = '<RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>'

  test.each([
    [`${mode}${until}`, undefined],
    [mode, 'MalformedXML'],
    [until, 'MalformedXML'],
    [`<Mode>abc</Mode>${until}`, 'MalformedXML'],
    [`${mode}<RetainUntilDate/>`, 'MalformedXML'],
    [`${mode}<RetainUntilDate>2030-02-30</RetainUntilDate>`, 'MalformedXML'],
  ])('Retention %s: %s', (content, code) => {
    expect(codeOf(readRetention, documentOf('Retention', content))).toBe(code)
  })

  test('an empty Retention asks to take it away', () => {
    expect(readRetention(documentOf('Retention', ''))).toBeUndefined()
  })

  test.each([
    ['<Status>ON</Status>', undefined],
    ['<Status>OFF</Status>', undefined],
    ['<Status>on</Status>', 'MalformedXML'],
    ['<Status>abc</Status>', 'MalformedXML'],
    ['', 'MalformedXML'],
  ])('LegalHold %s: %s', (content, code) => {
    expect(codeOf(readLegalHold, documentOf('LegalHold', content))).toBe(code)
  })

  test('a PublicAccessBlockConfiguration that is empty blocks nothing', () => {
    expect(readPublicAccessBlock(documentOf('PublicAccessBlockConfiguration', ''))).toEqual({
      blockPublicAcls: false,
      ignorePublicAcls: false,
      blockPublicPolicy: false,
      restrictPublicBuckets: false,
    })
  })

  const owned = (content: string) => `<Rule><ObjectOwnership>${content}</ObjectOwnership></Rule>`

  test.each([
    [owned('BucketOwnerEnforced'), undefined],
    [owned('ObjectWriter'), undefined],
    [owned('objectwriter'), 'MalformedXML'],
    [owned(''), 'MalformedXML'],
    ['<Rule/>', 'MalformedXML'],
    ['', 'MalformedXML'],
    [owned('ObjectWriter').repeat(2), 'MalformedXML'],
  ])('OwnershipControls %s: %s', (content, code) => {
    expect(codeOf(readOwnershipControls, documentOf('OwnershipControls', content))).toBe(code)
  })

  const encrypt = (content: string, rest = '') =>
    `<Rule><ApplyServerSideEncryptionByDefault>${content}` +
    `</ApplyServerSideEncryptionByDefault>${rest}</Rule>`
  const aes = '<SSEAlgorithm>AES256</SSEAlgorithm>'

  test.each([
    [encrypt(aes), undefined],
    [encrypt(aes, '<BucketKeyEnabled>false</BucketKeyEnabled>'), undefined],
    [encrypt('<SSEAlgorithm>aws:kms</SSEAlgorithm>'), 'NotImplemented'],
    [encrypt('<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>'), 'NotImplemented'],
    [encrypt('<SSEAlgorithm>aes256</SSEAlgorithm>'), 'MalformedXML'],
    [encrypt(''), 'MalformedXML'],
    [encrypt(`${aes}<KMSMasterKeyID>k</KMSMasterKeyID>`), 'InvalidArgument'],
    [encrypt(aes, '<BlockedEncryptionTypes/>'), 'NotImplemented'],
    [encrypt(aes).repeat(2), 'MalformedXML'],
    ['<Rule/>', 'MalformedXML'],
    ['', 'MalformedXML'],
  ])('ServerSideEncryptionConfiguration %s: %s', (content, code) => {
    const body = documentOf('ServerSideEncryptionConfiguration', content)
    expect(codeOf(readEncryptionConfiguration, body)).toBe(code)
  })
})

describe('CORSConfiguration', () => {
  const base = '<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>'
  const rule = (content: string) => `<CORSRule>${content}</CORSRule>`
  const origin = (text: string) =>
    rule(`<AllowedMethod>GET</AllowedMethod><AllowedOrigin>${text}</AllowedOrigin>`)
  const method = (text: string) =>
    rule(`<AllowedOrigin>*</AllowedOrigin><AllowedMethod>${text}</AllowedMethod>`)

  test.each([
    ['', 'MalformedXML'],
    ['<CORSRule/>', 'MalformedXML'],
    [rule('<AllowedMethod>GET</AllowedMethod>'), 'MalformedXML'],
    [rule('<AllowedOrigin>*</AllowedOrigin>'), 'MalformedXML'],
    [rule(base), undefined],
    [method('PUT'), undefined],
    [method('POST'), undefined],
    [method('DELETE'), undefined],
    [method('HEAD'), undefined],
    [method('PATCH'), 'InvalidRequest'],
    [method('OPTIONS'), 'InvalidRequest'],
    [method('get'), 'InvalidRequest'],
    [method('*'), 'InvalidRequest'],
    [method(''), 'InvalidRequest'],
    [origin('https://*.example.org'), undefined],
    [origin('*.*'), 'InvalidRequest'],
    [origin('**'), 'InvalidRequest'],
    [rule(`${base}<AllowedHeader>x-*</AllowedHeader>`), undefined],
    [rule(`${base}<AllowedHeader>*-*</AllowedHeader>`), 'InvalidRequest'],
    [rule(`${base}<ExposeHeader>*</ExposeHeader>`), 'InvalidRequest'],
    [rule(`${base}<ExposeHeader>x-a</ExposeHeader>`), undefined],
    [rule(`${base}<MaxAgeSeconds>0</MaxAgeSeconds>`), undefined],
    [rule(`${base}<MaxAgeSeconds>2147483647</MaxAgeSeconds>`), undefined],
    [rule(`${base}<MaxAgeSeconds>2147483648</MaxAgeSeconds>`), 'MalformedXML'],
    [rule(`${base}<MaxAgeSeconds>-1</MaxAgeSeconds>`), 'MalformedXML'],
    [
      rule(`${base}<MaxAgeSeconds>1</MaxAgeSeconds><MaxAgeSeconds>1</MaxAgeSeconds>`),
      'MalformedXML',
    ],
    [rule(`${base}<ID>${'x'.repeat(255)}</ID>`), undefined],
    [rule(`${base}<ID>${'x'.repeat(256)}</ID>`), 'InvalidRequest'],
    [rule(base).repeat(100), undefined],
    [rule(base).repeat(101), 'InvalidRequest'],
  ])('%s: %s', (content, code) => {
    expect(codeOf(readCorsConfiguration, documentOf('CORSConfiguration', content))).toBe(code)
  })
})

describe('NotificationConfiguration', () => {
  const read = (body: Uint8Array) => readNotificationConfiguration(body, new Prng(1))
  const arn = 'arn:hayloft:webhook:::a'
  const event = '<Event>s3:ObjectCreated:*</Event>'
  const queue = (content: string) => `<QueueConfiguration>${content}</QueueConfiguration>`
  const plain = (extra = '') => queue(`<Queue>${arn}</Queue>${event}${extra}`)
  const filter = (...rules: readonly (readonly [string, string])[]) => {
    const all = rules.map(([name, value]) => {
      return `<FilterRule><Name>${name}</Name><Value>${value}</Value></FilterRule>`
    })
    return `<Filter><S3Key>${all.join('')}</S3Key></Filter>`
  }

  test.each([
    ['', undefined],
    [plain(), undefined],
    [queue(event), 'MalformedXML'],
    [queue(`<Topic>${arn}</Topic>${event}`), 'MalformedXML'],
    [queue(`<Queue>${arn}</Queue>`), 'MalformedXML'],
    [queue(`<Queue>not an arn</Queue>${event}`), 'InvalidArgument'],
    [queue(`<Queue>arn:a:b::</Queue>${event}`), 'InvalidArgument'],
    [queue(`<Queue>${arn}</Queue><Event>s3:Nothing</Event>`), 'InvalidArgument'],
    [queue(`<Queue>${arn}</Queue><Event/>`), 'InvalidArgument'],
    [queue(`<Queue>${arn}</Queue><Event>ObjectCreated:*</Event>`), 'InvalidArgument'],
    [plain(filter(['prefix', 'a'])), undefined],
    [plain(filter(['Prefix', 'a'], ['SUFFIX', 'b'])), undefined],
    [plain(filter()), undefined],
    [plain('<Filter/>'), undefined],
    [plain(filter(['prefix', 'a'], ['prefix', 'b'])), 'InvalidArgument'],
    [plain(filter(['infix', 'a'])), 'InvalidArgument'],
    [plain(filter(['prefix', 'x'.repeat(1024)])), undefined],
    [plain(filter(['prefix', 'x'.repeat(1025)])), 'InvalidArgument'],
    [plain('<Id>a</Id>').repeat(2), 'InvalidArgument'],
    [plain(`<Id>${'x'.repeat(255)}</Id>`), undefined],
    [plain(`<Id>${'x'.repeat(256)}</Id>`), 'InvalidArgument'],
    ['<EventBridgeConfiguration/>', 'NotImplemented'],
    [plain().repeat(100), undefined],
    [plain().repeat(101), 'InvalidArgument'],
  ])('%s: %s', (content, code) => {
    expect(codeOf(read, documentOf('NotificationConfiguration', content))).toBe(code)
  })

  test('topics, queues and functions are targets alike, and those without id get one each', () => {
    const content =
      `<TopicConfiguration><Topic>${arn}</Topic>${event}</TopicConfiguration>${plain()}` +
      `<CloudFunctionConfiguration><Id/><CloudFunction>${arn}</CloudFunction>${event}` +
      '</CloudFunctionConfiguration>'
    const targets = read(documentOf('NotificationConfiguration', content))
    expect(targets.map((target) => target.arn)).toEqual([arn, arn, arn])
    expect(new Set(targets.map((target) => target.id)).size).toBe(3)
    for (const target of targets) expect(target.id).toMatch(/^[0-9a-f]{32}$/)
  })
})
