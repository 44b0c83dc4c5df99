import { CreateBucketCommand, PutBucketPolicyCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import { TestS3 } from '../../support/test-s3.ts'

const Bucket = 'guarded'
const OFFICE = '198.51.100.7'

/** Anybody may read from the office, over TLS. */
const POLICY = JSON.stringify({
  Version: '2012-10-17',
  Statement: [
    {
      Effect: 'Allow',
      Principal: '*',
      Action: 's3:GetObject',
      Resource: `arn:aws:s3:::${Bucket}/*`,
      Condition: {
        IpAddress: { 'aws:SourceIp': '198.51.100.0/24' },
        Bool: { 'aws:SecureTransport': 'true' },
      },
    },
  ],
})

/** A server whose clients, as it sees them, are all at 127.0.0.1 and without TLS. */
async function open(trustedProxies: readonly string[]): Promise<TestS3> {
  const s3 = await TestS3.open({ s3Options: { trustedProxies } })
  await s3.owner.sdk.send(new CreateBucketCommand({ Bucket }))
  await s3.owner.sdk.send(new PutObjectCommand({ Bucket, Key: 'k', Body: 'secret' }))
  await s3.owner.sdk.send(new PutBucketPolicyCommand({ Bucket, Policy: POLICY }))
  return s3
}

async function statusOf(s3: TestS3, headers: Readonly<Record<string, string>>): Promise<number> {
  return (await s3.raw({ path: `/${Bucket}/k`, headers })).status
}

const WELL_FORGED = { 'X-Forwarded-For': OFFICE, 'X-Forwarded-Proto': 'https' }

describe('a policy that names addresses and TLS', () => {
  test.each([
    ['nobody is trusted', []],
    ['others are trusted', ['10.0.0.0/8', '127.0.0.2', '::1']],
  ])('is not deceived by headers where %s', async (_what, trusted) => {
    await using s3 = await open(trusted)
    const forged = [
      WELL_FORGED,
      { ...WELL_FORGED, 'X-Forwarded-For': `${OFFICE}, 127.0.0.1` },
      { ...WELL_FORGED, 'X-Real-IP': OFFICE, Forwarded: `for=${OFFICE};proto=https` },
      { ...WELL_FORGED, 'X-Forwarded-Ssl': 'on', 'Front-End-Https': 'on' },
    ]
    for (const headers of forged) expect(await statusOf(s3, headers)).toBe(403)
  })

  test('judges by what a trusted proxy says, and by nothing before that', async () => {
    await using s3 = await open(['127.0.0.0/8', '10.0.0.5'])
    const cases: readonly (readonly [number, Readonly<Record<string, string>>])[] = [
      [200, WELL_FORGED],
      [200, { ...WELL_FORGED, 'X-Forwarded-For': `203.0.113.9, ${OFFICE}` }],
      [200, { ...WELL_FORGED, 'X-Forwarded-For': `${OFFICE}, 10.0.0.5` }],
      [403, { ...WELL_FORGED, 'X-Forwarded-For': `${OFFICE}, 203.0.113.9` }],
      [403, { ...WELL_FORGED, 'X-Forwarded-For': `${OFFICE}, 10.0.0.6` }],
      [403, { ...WELL_FORGED, 'X-Forwarded-For': `${OFFICE}, unknown` }],
      [403, { ...WELL_FORGED, 'X-Forwarded-Proto': 'http' }],
      [403, { ...WELL_FORGED, 'X-Forwarded-Proto': 'https, http' }],
      [403, { 'X-Forwarded-For': OFFICE }],
      [403, { 'X-Forwarded-Proto': 'https' }],
    ]
    for (const [status, headers] of cases) {
      expect([headers, await statusOf(s3, headers)]).toEqual([headers, status])
    }
  })
})

test('a trusted proxy that is neither an address nor a block is CONFIG_INVALID', async () => {
  await expect(TestS3.open({ s3Options: { trustedProxies: ['10.0.0.0/33'] } })).rejects.toThrow(
    'the trusted proxy "10.0.0.0/33" is neither an address nor a CIDR block',
  )
})
