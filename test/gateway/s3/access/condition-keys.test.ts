import { describe, expect, test } from 'vitest'
import { parseConditionKey } from '../../../../src/gateway/s3/access/condition-keys.ts'

const ASKED_FOR = [
  'aws:SourceIp',
  'aws:SecureTransport',
  'aws:CurrentTime',
  'aws:EpochTime',
  'aws:username',
  'aws:userid',
  'aws:PrincipalType',
  'aws:UserAgent',
  'aws:Referer',
  's3:prefix',
  's3:delimiter',
  's3:max-keys',
  's3:x-amz-acl',
  's3:x-amz-copy-source',
  's3:x-amz-metadata-directive',
  's3:x-amz-server-side-encryption',
  's3:x-amz-storage-class',
  's3:VersionId',
  's3:LocationConstraint',
  's3:signatureversion',
  's3:authType',
  's3:signatureAge',
  's3:x-amz-content-sha256',
  's3:RequestObjectTag/Team',
  's3:RequestObjectTagKeys',
  's3:ExistingObjectTag/Team',
  's3:object-lock-mode',
  's3:object-lock-retain-until-date',
  's3:object-lock-remaining-retention-days',
  's3:object-lock-legal-hold',
  's3:x-amz-grant-read',
  's3:x-amz-grant-write',
  's3:x-amz-grant-read-acp',
  's3:x-amz-grant-write-acp',
  's3:x-amz-grant-full-control',
  's3:if-match',
  's3:if-none-match',
]

describe('a condition key', () => {
  test.each(ASKED_FOR)('may be %s, in any case', (key) => {
    expect(parseConditionKey(key)).toBe(key)
    const tag = key.indexOf('/') + 1
    const isTag = tag > 0
    const other = isTag ? key.slice(0, tag).toUpperCase() + key.slice(tag) : key.toUpperCase()
    expect(parseConditionKey(other)).toBe(key)
  })

  test('keeps the case of the key of a tag, and anything that is in it', () => {
    expect(parseConditionKey('S3:existingobjecttag/TeaM/x')).toBe('s3:ExistingObjectTag/TeaM/x')
    expect(parseConditionKey('s3:ExistingObjectTag/__proto__')).toBe(
      's3:ExistingObjectTag/__proto__',
    )
  })

  test.each([
    '',
    'aws:',
    'aws:Nothing',
    's3:ExistingObjectTag',
    's3:ExistingObjectTag/',
    's3:RequestObjectTag/',
    's3:x-amz-grant-all',
    'constructor',
    '__proto__',
    'prefix',
    ' s3:prefix',
  ])('may not be %o', (key) => {
    expect(parseConditionKey(key)).toBeUndefined()
  })
})
