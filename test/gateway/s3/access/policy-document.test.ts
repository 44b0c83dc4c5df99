// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of policies look like this.
import { describe, expect, test } from 'vitest'
import {
  POLICY_BYTES_MAX,
  parseBucketPolicy,
  parseUserPolicy,
} from '../../../../src/gateway/s3/access/policy-document.ts'
import { isS3Error } from '../../../../src/gateway/s3/s3-error.ts'
import { Prng, seeds } from '../../../support/prng.ts'
import { BUCKET, document, expectS3Error, owner, statement } from './access-scenes.ts'

const ARN = `arn:aws:s3:::${BUCKET}`

function parseStatement(fields: Readonly<Record<string, unknown>>) {
  const [first] = parseBucketPolicy(document(statement(fields)), BUCKET).statements
  return first ?? expect.fail('no statement')
}

function expectMalformed(run: () => unknown, ...words: readonly string[]): void {
  const error = expectS3Error(run)
  expect(error).toMatchObject({ code: 'MalformedPolicy' })
  for (const word of words) expect(error.message).toContain(word)
}

describe('the policy of a bucket', () => {
  test('is read with all its parts', () => {
    const json = JSON.stringify({
      Version: '2012-10-17',
      Id: 'an id',
      Statement: [
        {
          Sid: 'one',
          Effect: 'Deny',
          Principal: { AWS: ['*', 'olga'], CanonicalUser: owner.canonicalId },
          Action: ['s3:GetObject', 'S3:Put*'],
          NotResource: `${ARN}/home/\${aws:username}/*`,
          Condition: { StringLike: { 'S3:Prefix': ['a*', '${aws:userid}'] } },
        },
      ],
    })
    const policy = parseBucketPolicy(json, BUCKET)
    expect(policy).toMatchObject({
      id: 'an id',
      statements: [
        {
          sid: 'one',
          effect: 'Deny',
          principals: {
            isNegated: false,
            items: [
              { kind: 'everyone' },
              { kind: 'user-name', name: 'olga' },
              { kind: 'canonical-id', id: owner.canonicalId },
            ],
          },
          actions: { isNegated: false },
          resources: { isNegated: true },
          conditions: [
            { key: 's3:prefix', operator: 'StringLike', values: ['a*', '${aws:userid}'] },
          ],
          variables: ['aws:username', 'aws:userid'],
        },
      ],
    })
  })

  test.each([
    ['no Version', { Statement: [statement()] }],
    ['the old Version', { Version: '2008-10-17', Statement: [statement()] }],
    ['the new Version', { Version: '2012-10-17', Statement: [statement()] }],
    ['a single statement', { Statement: statement() }],
    ['two empty Sids', { Statement: [statement({ Sid: '' }), statement({ Sid: '' })] }],
    ['an unknown variable that is none', { Statement: [statement({ Resource: `${ARN}/\${x}` })] }],
  ])('may have %s', (_, value) => {
    expect(parseBucketPolicy(JSON.stringify(value), BUCKET).statements).not.toHaveLength(0)
  })

  test.each([
    ['nothing', ''],
    ['half a document', '{"Statement":['],
    ['null', 'null'],
    ['a number', '5'],
    ['a list', '[]'],
    ['a string', '"x"'],
    ['an empty object', '{}'],
    ['no statement', '{"Version":"2012-10-17","Statement":[]}'],
    ['a statement that is null', '{"Statement":[null]}'],
    ['a statement that is a list', '{"Statement":[[]]}'],
    ['another Version', '{"Version":"2020-01-01","Statement":[]}'],
    ['a Version that is a number', '{"Version":2012,"Statement":[]}'],
    ['an Id that is a number', JSON.stringify({ Id: 5, Statement: [statement()] })],
    ['an unknown field', JSON.stringify({ Statement: [statement()], Extra: 1 })],
    ['a field in lower case', JSON.stringify({ statement: [statement()] })],
    ['__proto__', `{"__proto__":{"Effect":"Allow"},"Statement":[{}]}`],
    ['constructor', '{"constructor":{},"Statement":[{}]}'],
    ['a deep list', '['.repeat(8000)],
  ])('may not be %s', (_, json) => {
    expectMalformed(() => parseBucketPolicy(json, BUCKET))
  })

  test('may have 20480 bytes and not one more', () => {
    const short = document(statement({ Sid: '' }))
    const rest = POLICY_BYTES_MAX - Buffer.byteLength(short)
    expect(parseBucketPolicy(`${short}${' '.repeat(rest)}`, BUCKET).statements).toHaveLength(1)
    expectMalformed(() => parseBucketPolicy(`${short}${' '.repeat(rest + 1)}`, BUCKET), '20480')
    const wide = `${short.slice(0, -1)},"Id":"${'é'.repeat(rest / 2)}"}`
    expectMalformed(() => parseBucketPolicy(wide, BUCKET), '20480')
  })

  test.each<[string, Record<string, unknown>, string]>([
    ['without Effect', { Effect: undefined }, 'Statement[0].Effect'],
    ['with another Effect', { Effect: 'allow' }, 'Statement[0].Effect'],
    ['with an unknown field', { Efect: 'Deny' }, '"Efect"'],
    ['with a Sid that is a list', { Sid: ['a'] }, 'Statement[0].Sid'],
    ['without Principal', { Principal: undefined }, 'no Principal'],
    ['with both principals', { NotPrincipal: '*' }, 'NotPrincipal'],
    ['with NotPrincipal and Allow', { Principal: undefined, NotPrincipal: '*' }, 'Deny'],
    ['with an empty Principal', { Principal: {} }, 'Principal'],
    ['with Principal null', { Principal: null }, 'Principal'],
    ['with a Principal that is a name', { Principal: 'olga' }, 'Principal'],
    ['with a Principal that is a list', { Principal: ['*'] }, 'Principal'],
    ['with a service', { Principal: { Service: 'x.amazonaws.com' } }, '"Service"'],
    ['with no AWS principals', { Principal: { AWS: [] } }, 'Principal.AWS'],
    ['with an empty name', { Principal: { AWS: '' } }, 'Principal.AWS'],
    ['with a number as principal', { Principal: { AWS: 5 } }, 'Principal.AWS'],
    ['with a star in a name', { Principal: { AWS: 'ol*' } }, '"ol*"'],
    ['with a question mark', { Principal: { AWS: 'arn:aws:iam:::user/?' } }, 'user/?'],
    ['with a role', { Principal: { AWS: 'arn:aws:iam::1:role/x' } }, 'role/x'],
    ['with an unnamed user', { Principal: { AWS: 'arn:aws:iam::1:user/' } }, 'user/'],
    ['with an ARN cut short', { Principal: { AWS: 'arn:aws:iam' } }, 'arn:aws:iam'],
    ['with a short canonical id', { Principal: { CanonicalUser: 'ab' } }, '64 hex'],
    ['without Action', { Action: undefined }, 'Action'],
    ['with both actions', { NotAction: 's3:*' }, 'NotAction'],
    ['with no action', { Action: [] }, 'Action'],
    ['with an unknown action', { Action: 's3:GetNothing' }, '"s3:GetNothing"'],
    ['with an action without s3:', { Action: 'GetObject' }, '"GetObject"'],
    ['with an action of IAM', { Action: 'iam:CreateUser' }, 'iam:CreateUser'],
    ['with a pattern of no action', { Action: 's3:X*' }, 's3:X*'],
    ['with a pattern before s3', { Action: '*:GetObject' }, '*:GetObject'],
    ['with one good action of two', { Action: ['s3:GetObject', 's3:No'] }, 's3:No'],
    ['with an action that is an object', { Action: {} }, 'Action'],
    ['without Resource', { Resource: undefined }, 'Resource'],
    ['with both resources', { NotResource: ARN }, 'NotResource'],
    ['with no resource', { Resource: [] }, 'Resource'],
    ['with another bucket', { Resource: 'arn:aws:s3:::other/*' }, 'other'],
    ['with one resource elsewhere', { Resource: [ARN, 'arn:aws:s3:::other'] }, 'other'],
    ['with a bucket it begins', { Resource: `${ARN}x/*` }, 'photosx'],
    ['with a bucket that begins it', { Resource: 'arn:aws:s3:::photo/*' }, 'photo/'],
    ['with a pattern of other buckets', { Resource: 'arn:aws:s3:::x*' }, 'x*'],
    ['with NotResource elsewhere', { Resource: undefined, NotResource: 'arn:aws:s3:::o' }, ':o'],
    ['with a star alone', { Resource: '*' }, '"*"'],
    ['with a path', { Resource: `${BUCKET}/*` }, 'photos/*'],
    ['with an empty ARN', { Resource: 'arn:aws:s3:::' }, 'arn:aws:s3:::'],
    ['with an ARN of EC2', { Resource: 'arn:aws:ec2:::x' }, 'ec2'],
    ['with an account', { Resource: `arn:aws:s3:::1:${BUCKET}` }, '1:photos'],
    ['with a variable as bucket', { Resource: 'arn:aws:s3:::${aws:username}/*' }, 'username'],
    ['with an unknown variable', { Resource: `${ARN}/\${aws:Nope}` }, 'aws:Nope'],
    ['with an open variable', { Resource: `${ARN}/\${aws:username` }, 'variable'],
    ['with Condition null', { Condition: null }, 'Condition'],
    ['with a list as Condition', { Condition: [] }, 'Condition'],
    ['with an empty operator', { Condition: { StringEquals: {} } }, '"StringEquals"'],
    ['with an unknown operator', { Condition: { StringIs: { 's3:prefix': 'a' } } }, '"StringIs"'],
    ['with an unknown key', { Condition: { StringEquals: { 'aws:Nope': 'a' } } }, '"aws:Nope"'],
    ['with no values', { Condition: { StringEquals: { 's3:prefix': [] } } }, 's3:prefix'],
    ['with a null value', { Condition: { StringEquals: { 's3:prefix': null } } }, 's3:prefix'],
    ['with an object value', { Condition: { StringEquals: { 's3:prefix': {} } } }, 's3:prefix'],
  ])('has no statement %s', (_, fields, word) => {
    expectMalformed(() => parseStatement(fields), 'Statement[0]', word)
  })

  test('names the second statement where that one is wrong', () => {
    const json = document(statement(), statement({ Effect: 'Maybe' }))
    expectMalformed(() => parseBucketPolicy(json, BUCKET), 'Statement[1].Effect')
  })

  test('has no Sid twice', () => {
    const json = document(statement({ Sid: 'a' }), statement(), statement({ Sid: 'a' }))
    expectMalformed(() => parseBucketPolicy(json, BUCKET), 'Statement[2].Sid', '"a"')
  })

  test.each([
    ['*', 'everyone'],
    [{ AWS: '*' }, 'everyone'],
    [{ AWS: ['*'] }, 'everyone'],
    [{ AWS: 'arn:aws:iam::1234:root' }, 'account'],
    [{ AWS: 'arn:aws:iam:::user/olga' }, 'user-name'],
    [{ AWS: 'arn:aws:iam::any-thing:user/olga' }, 'user-name'],
    [{ AWS: 'arn:aws:iam::1:user/team/olga' }, 'user-name'],
    [{ AWS: 'olga' }, 'user-name'],
    [{ CanonicalUser: owner.canonicalId.toUpperCase() }, 'canonical-id'],
  ])('may name %o: %s', (principal, kind) => {
    expect(parseStatement({ Principal: principal }).principals?.items).toMatchObject([{ kind }])
  })

  test.each([
    ARN,
    `${ARN}/*`,
    `${ARN}/a/?`,
    `${ARN}*`,
    'arn:aws:s3:::*',
    'arn:aws:s3:::*/*',
    'arn:aws:s3:::phot?s/x',
    `arn:aws:s3::*:${BUCKET}/x`,
    `arn:aws:s3:*:*:${BUCKET}`,
    `${ARN}/\${aws:userid}`,
  ])('may be about %s', (resource) => {
    expect(parseStatement({ Resource: resource }).resources.items).toHaveLength(1)
  })

  test.each(['*', 's3:*', 'S3:*', 's3:Get*', 's3:GetObject', 's3:getobject', 's3:?etObject'])(
    'may be about action %s',
    (action) => {
      expect(parseStatement({ Action: action }).actions.items).toHaveLength(1)
    },
  )
})

describe('the policy of a user', () => {
  test.each(['*', 'arn:aws:s3:::*', 'arn:aws:s3:::any/*', 'arn:aws:s3:::${aws:username}/*'])(
    'may be about %s',
    (resource) => {
      const json = document({ Effect: 'Allow', Action: 's3:*', Resource: resource })
      expect(parseUserPolicy(json).statements[0]?.principals).toBeUndefined()
    },
  )

  test.each(['Principal', 'NotPrincipal'])('has no %s', (field) => {
    const json = document({ Effect: 'Deny', Action: '*', Resource: '*', [field]: '*' })
    expectMalformed(() => parseUserPolicy(json), field, 'policy of a user')
  })

  test('is no policy of a bucket, and the other way round', () => {
    const json = document({ Effect: 'Allow', Action: 's3:*', Resource: ARN })
    expectMalformed(() => parseBucketPolicy(json, BUCKET), 'Principal')
    expectMalformed(() => parseUserPolicy(document(statement())), 'Principal')
  })
})

const NAMES = [
  'Version',
  'Id',
  'Statement',
  'Sid',
  'Effect',
  'Principal',
  'NotPrincipal',
  'Action',
  'NotAction',
  'Resource',
  'NotResource',
  'Condition',
  'AWS',
  'CanonicalUser',
  'StringEquals',
  'ForAnyValue:StringLikeIfExists',
  'IpAddress',
  'DateLessThan',
  'ArnLike',
  'Null',
  's3:prefix',
  'aws:SourceIp',
  '__proto__',
  'constructor',
  'toString',
  '',
]
const VALUES = ['2012-10-17', 'Allow', 'Deny', '*', 's3:*', `${ARN}/*`, '10.0.0.0/8', '${', '']

function randomJson(prng: Prng, depth: number): unknown {
  const kind = prng.below(depth > 0 ? 8 : 5)
  if (kind === 0) return prng.pick(VALUES)
  if (kind === 1) return prng.below(100)
  if (kind === 2) return prng.chance(0.5)
  if (kind === 3) return prng.chance(0.2) ? null : prng.pick(VALUES)
  if (kind === 4) return prng.bytes(prng.below(12)).toString('latin1')
  const count = prng.below(5)
  const items = Array.from({ length: count }, () => randomJson(prng, depth - 1))
  if (kind === 5) return items
  return Object.fromEntries(items.map((item) => [prng.pick(NAMES), item]))
}

/** A good statement in which some fields are chance. */
function damaged(prng: Prng): unknown {
  const fields: Record<string, unknown> = statement()
  for (let times = prng.below(3); times >= 0; times--) {
    Object.defineProperty(fields, prng.pick(NAMES), {
      value: randomJson(prng, 3),
      enumerable: true,
      configurable: true,
      writable: true,
    })
  }
  return { Version: '2012-10-17', Statement: [fields] }
}

// Goal: whatever JSON comes, a policy or MalformedPolicy comes out, and no other object changes.
// Method: random values made of the words of policies. Replay: SEED=17.
test.each(seeds(100))('nothing but MalformedPolicy escapes from random JSON (seed %d)', (seed) => {
  const prng = new Prng(seed)
  for (let round = 0; round < 50; round++) {
    const json = JSON.stringify(round % 2 === 0 ? damaged(prng) : randomJson(prng, 6))
    const cut = prng.chance(0.2) ? json.slice(0, prng.below(json.length + 1)) : json
    for (const parse of [(text: string) => parseBucketPolicy(text, BUCKET), parseUserPolicy]) {
      try {
        expect(parse(cut).statements.length).toBeGreaterThan(0)
      } catch (error) {
        if (!isS3Error(error, 'MalformedPolicy')) throw error
      }
    }
  }
  expect(Object.keys(Object.prototype)).toEqual([])
})
