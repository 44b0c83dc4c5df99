// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of policies look like this.
import { describe, expect, test } from 'vitest'
import {
  evaluatePolicy,
  isPublicPolicy,
} from '../../../../src/gateway/s3/access/evaluate-policy.ts'
import { parseUserPolicy } from '../../../../src/gateway/s3/access/policy-document.ts'
import type { Identity } from '../../../../src/gateway/s3/auth/identity.ts'
import {
  BUCKET,
  bucketPolicy,
  contextOf,
  document,
  friend,
  identity,
  owner,
  root,
  statement,
  stranger,
} from './access-scenes.ts'

const ARN = `arn:aws:s3:::${BUCKET}`

interface Question {
  readonly principal?: Identity | undefined
  readonly action?: string
  readonly resource?: string
  readonly values?: Readonly<Record<string, string | readonly string[]>>
}

function evaluate(statements: readonly unknown[], question: Question = {}) {
  const { action = 's3:GetObject', resource = `${ARN}/a`, values = {} } = question
  const principal = 'principal' in question ? question.principal : stranger
  const context = contextOf(values)
  return evaluatePolicy(bucketPolicy(...statements), { principal, action, resource, context })
}

const allow = statement()
const deny = statement({ Effect: 'Deny' })
const nothing = statement({ Action: 's3:GetBucketAcl' })

describe('statements', () => {
  test.each([
    [[allow], 'allow'],
    [[deny], 'deny'],
    [[nothing], 'none'],
    [[allow, deny], 'deny'],
    [[deny, allow], 'deny'],
    [[allow, nothing], 'allow'],
    [[nothing, allow, allow, deny], 'deny'],
    [[{ ...deny, Action: 's3:PutObject' }, allow], 'allow'],
    [[{ ...deny, Principal: { AWS: 'frida' } }, allow], 'allow'],
    [[{ ...deny, Resource: `${ARN}/b` }, allow], 'allow'],
    [[{ ...deny, Condition: { Bool: { 'aws:SecureTransport': false } } }, allow], 'allow'],
  ])('%# give %s', (statements, verdict) => {
    expect(evaluate(statements)).toBe(verdict)
  })

  test.each([
    ['s3:GetObject', 's3:GetObject', true],
    ['s3:getobject', 's3:GetObject', true],
    ['s3:Get*', 's3:GetObject', true],
    ['s3:Get*', 's3:PutObject', false],
    ['*', 's3:PutObject', true],
    [['s3:GetObject', 's3:PutObject'], 's3:PutObject', true],
    ['s3:GetObject', 's3:GetObjectAcl', false],
    ['s3:GetObject*', 's3:GetObjectVersion', true],
    ['s3:?etObject', 's3:GetObject', true],
  ])('with Action %o are about %s: %o; with NotAction the opposite', (list, action, isAbout) => {
    const { Action: _, ...rest } = allow
    expect(evaluate([{ ...rest, Action: list }], { action })).toBe(isAbout ? 'allow' : 'none')
    expect(evaluate([{ ...rest, NotAction: list }], { action })).toBe(isAbout ? 'none' : 'allow')
  })

  test.each([
    [ARN, ARN, true],
    [ARN, `${ARN}/a`, false],
    [`${ARN}/*`, ARN, false],
    [`${ARN}/*`, `${ARN}/`, true],
    [`${ARN}/*`, `${ARN}/a/b`, true],
    [`${ARN}/a/*`, `${ARN}/b/a`, false],
    [`${ARN}/a?`, `${ARN}/ab`, true],
    [`${ARN}/a?`, `${ARN}/a`, false],
    [`${ARN}/A`, `${ARN}/a`, false],
    [`${ARN}*`, ARN, true],
    [`${ARN}*`, `${ARN}/a`, true],
    ['arn:aws:s3:::*', `${ARN}/a`, true],
    ['arn:aws:s3:::*/*', ARN, false],
    [`arn:aws:s3::*:${BUCKET}/a`, `${ARN}/a`, true],
    [[ARN, `${ARN}/b`], `${ARN}/b`, true],
    [`${ARN}/home/\${aws:username}/*`, `${ARN}/home/sten/a`, true],
    [`${ARN}/home/\${aws:username}/*`, `${ARN}/home/olga/a`, false],
    [`${ARN}/\${aws:userid}`, `${ARN}/${stranger.canonicalId}`, true],
    [`${ARN}/a\${*}`, `${ARN}/ab`, false],
  ])(
    'with Resource %o are about %s: %o; with NotResource the opposite',
    (list, resource, isAbout) => {
      const { Resource: _, ...rest } = allow
      expect(evaluate([{ ...rest, Resource: list }], { resource })).toBe(isAbout ? 'allow' : 'none')
      expect(evaluate([{ ...rest, NotResource: list }], { resource })).toBe(
        isAbout ? 'none' : 'allow',
      )
    },
  )
})

describe('a principal', () => {
  const named = { AWS: ['arn:aws:iam::any:user/sten', 'frida'], CanonicalUser: owner.canonicalId }
  test.each<[unknown, Identity | undefined, boolean]>([
    ['*', undefined, true],
    ['*', stranger, true],
    [{ AWS: '*' }, undefined, true],
    [named, stranger, true],
    [named, friend, true],
    [named, owner, true],
    [named, root, false],
    [named, undefined, false],
    [{ AWS: 'Sten' }, stranger, false],
    [{ AWS: 'arn:aws:iam:::user/sten' }, stranger, true],
    [{ AWS: 'arn:aws:iam:::user/x/sten' }, stranger, false],
    [{ AWS: 'arn:aws:iam:::user/x/sten' }, identity('x/sten'), true],
    [{ AWS: stranger.canonicalId }, stranger, false],
  ])('%# is meant by Principal, and not by NotPrincipal', (principals, principal, isMeant) => {
    const { Principal: _, ...rest } = deny
    const plain = [{ ...rest, Principal: principals }]
    const negated = [{ ...rest, NotPrincipal: principals }]
    expect(evaluate(plain, { principal })).toBe(isMeant ? 'deny' : 'none')
    expect(evaluate(negated, { principal })).toBe(isMeant ? 'none' : 'deny')
    const allowed = [statement({ Principal: principals })]
    expect(evaluate(allowed, { principal })).toBe(isMeant ? 'allow' : 'none')
  })

  test.each<[string, Identity | undefined, readonly string[]]>([
    ['nobody', undefined, ['none', 'none', 'deny']],
    ['a user', stranger, ['none', 'deny', 'deny']],
    ['the root user', root, ['allow', 'deny', 'none']],
  ])('that is an account takes from all users, gives to the root user: %s', (_, principal, all) => {
    const account = { AWS: 'arn:aws:iam::1234:root' }
    const { Principal: __, ...rest } = deny
    const verdicts = [
      evaluate([statement({ Principal: account })], { principal }),
      evaluate([{ ...rest, Principal: account }], { principal }),
      evaluate([{ ...rest, NotPrincipal: account }], { principal }),
    ]
    expect(verdicts).toEqual(all)
  })

  test('is not needed in the policy of a user, which is about whoever has it', () => {
    const policy = parseUserPolicy(document({ Effect: 'Allow', Action: 's3:*', Resource: '*' }))
    const question = { action: 's3:GetObject', resource: `${ARN}/a`, context: contextOf({}) }
    expect(evaluatePolicy(policy, { ...question, principal: stranger })).toBe('allow')
  })
})

describe('who asks', () => {
  test.each<[string, string, Identity | undefined, boolean]>([
    ['aws:username', 'sten', stranger, true],
    ['aws:username', 'olga', stranger, false],
    ['aws:userid', stranger.canonicalId, stranger, true],
    ['aws:PrincipalType', 'User', stranger, true],
    ['aws:PrincipalType', 'Account', root, true],
    ['aws:PrincipalType', 'Anonymous', undefined, true],
    ['aws:PrincipalType', 'User', undefined, false],
    ['aws:username', 'sten', undefined, false],
  ])(
    '%s %s of %# is taken from the signature, whatever the request says',
    (key, value, principal, is) => {
      const statements = [statement({ Condition: { StringEquals: { [key]: value } } })]
      const lie = { 'aws:username': 'sten', 'aws:userid': 'x', 'aws:PrincipalType': 'x' }
      expect(evaluate(statements, { principal, values: lie })).toBe(is ? 'allow' : 'none')
    },
  )

  const condition = { StringNotEquals: { 's3:prefix': '${aws:username}' } }
  test.each<[string, Record<string, unknown>, string, string]>([
    ['a condition that is negated', { Condition: condition }, 'none', 'deny'],
    [
      'resources that are negated',
      { Resource: undefined, NotResource: `${ARN}/\${aws:username}` },
      'none',
      'deny',
    ],
    ['a resource', { Resource: `${ARN}/\${aws:username}` }, 'none', 'none'],
  ])('is nobody: with its name in %s an Allow gives nothing', (_, fields, allowed, denied) => {
    const question = { principal: undefined, values: { 's3:prefix': 'x' } }
    expect(evaluate([{ ...allow, ...fields }], question)).toBe(allowed)
    expect(evaluate([{ ...deny, ...fields }], question)).toBe(denied)
  })
})

describe('a policy is public', () => {
  const fixed = (operator: string, key: string, value: unknown) => ({
    Condition: { [operator]: { [key]: value } },
  })
  test.each<[string, Record<string, unknown>]>([
    ['for everyone', {}],
    ['for every AWS user', { Principal: { AWS: '*' } }],
    ['for everyone beside a user', { Principal: { AWS: ['olga', '*'] } }],
    ['for one action', { Action: 's3:GetBucketAcl' }],
    ['from all addresses', fixed('IpAddress', 'aws:SourceIp', '0.0.0.0/0')],
    ['from /7 of IPv4', fixed('IpAddress', 'aws:SourceIp', '10.0.0.0/7')],
    ['from /31 of IPv6', fixed('IpAddress', 'aws:SourceIp', '2001:db8::/31')],
    ['from a mapped /103', fixed('IpAddress', 'aws:SourceIp', '::ffff:10.0.0.0/103')],
    ['from one wide range of two', fixed('IpAddress', 'aws:SourceIp', ['1.2.3.4', '::/0'])],
    ['not from somewhere', fixed('NotIpAddress', 'aws:SourceIp', '10.0.0.0/8')],
    ['from there if it is known', fixed('IpAddressIfExists', 'aws:SourceIp', '10.0.0.0/8')],
    ['from there, for all', fixed('ForAllValues:IpAddress', 'aws:SourceIp', '10.0.0.0/8')],
    ['with an address as text', fixed('StringLike', 'aws:SourceIp', '10.0.0.1')],
    ['over TLS', fixed('Bool', 'aws:SecureTransport', 'true')],
    ['from a page', fixed('StringLike', 'aws:Referer', 'http://example.org/*')],
    ['for some names', fixed('StringLike', 'aws:username', 'st*')],
    ['for a variable', fixed('StringEquals', 'aws:userid', '${aws:userid}')],
    ['for all but one', fixed('StringNotEquals', 'aws:username', 'sten')],
    ['for one if it is known', fixed('StringEqualsIfExists', 'aws:username', 'sten')],
    ['for all of some', fixed('ForAllValues:StringEquals', 'aws:username', 'sten')],
    ['where there is a name', fixed('Null', 'aws:username', 'false')],
    ['below a prefix', fixed('StringEquals', 's3:prefix', 'a')],
  ])('%s', (_, fields) => {
    expect(isPublicPolicy(bucketPolicy(statement(fields)))).toBe(true)
    expect(isPublicPolicy(bucketPolicy(deny, statement(fields)))).toBe(true)
  })

  test.each<[string, Record<string, unknown>]>([
    ['denied to everyone', { Effect: 'Deny' }],
    ['for a user', { Principal: { AWS: 'olga' } }],
    ['for an account', { Principal: { AWS: 'arn:aws:iam::1:root' } }],
    ['for a canonical id', { Principal: { CanonicalUser: owner.canonicalId } }],
    ['from one address', fixed('IpAddress', 'aws:SourceIp', '10.0.0.0/32')],
    ['from /8 of IPv4', fixed('IpAddress', 'aws:SourceIp', '10.0.0.0/8')],
    ['from /32 of IPv6', fixed('IpAddress', 'aws:SourceIp', '2001:db8::/32')],
    ['from two ranges', fixed('IpAddress', 'aws:SourceIp', ['1.2.3.0/24', '2001:db8::/48'])],
    ['for a user id', fixed('StringEquals', 'aws:userid', owner.canonicalId)],
    ['for a name', fixed('StringLike', 'aws:username', 'olga')],
    ['for a name in any case', fixed('StringEqualsIgnoreCase', 'aws:username', 'olga')],
    ['for any of names', fixed('ForAnyValue:StringEquals', 'aws:username', ['olga', 'x'])],
  ])('but not %s', (_, fields) => {
    expect(isPublicPolicy(bucketPolicy(statement(fields)))).toBe(false)
  })

  test('because of one statement among others', () => {
    const narrow = statement({ Principal: { AWS: 'olga' } })
    expect(isPublicPolicy(bucketPolicy(narrow, deny))).toBe(false)
    expect(isPublicPolicy(bucketPolicy(narrow, deny, allow))).toBe(true)
  })
})
