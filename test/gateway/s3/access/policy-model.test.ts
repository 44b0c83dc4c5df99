import { expect, test } from 'vitest'
import { isAuthorized } from '../../../../src/gateway/s3/access/authorize.ts'
import { evaluatePolicy } from '../../../../src/gateway/s3/access/evaluate-policy.ts'
import { parseBucketPolicy } from '../../../../src/gateway/s3/access/policy-document.ts'
import type { S3Action } from '../../../../src/gateway/s3/access/s3-actions.ts'
import type { Identity } from '../../../../src/gateway/s3/auth/identity.ts'
import { Prng, seeds } from '../../../support/prng.ts'
import {
  BUCKET,
  bucket,
  contextOf,
  document,
  friend,
  identity,
  owner,
  request,
  root,
  stranger,
} from './access-scenes.ts'

const ARN = `arn:aws:s3:::${BUCKET}`
const ACTIONS: readonly S3Action[] = [
  's3:GetObject',
  's3:GetObjectVersion',
  's3:PutObject',
  's3:DeleteObject',
  's3:DeleteObjectVersion',
  's3:BypassGovernanceRetention',
]
const ACTION_PATTERNS = [
  ...ACTIONS,
  '*',
  's3:*',
  's3:Get*',
  's3:*Version',
  's3:Delete??????',
  's3:p*',
]
const KEYS = ['a', 'ab', 'a/b', 'b', 'home/sten/x']
const KEY_PATTERNS = ['*', 'a', 'a*', '?', 'a/*', '*b', 'home/*/x', 'c']
const PREFIXES = ['', 'a', 'ab', 'x']
const NAMES = ['sten', 'frida', 'olga']

interface Draft {
  readonly Effect: 'Allow' | 'Deny'
  readonly principals: readonly string[]
  readonly isPrincipalNegated: boolean
  readonly actions: readonly string[]
  readonly isActionNegated: boolean
  readonly keys: readonly string[]
  readonly isKeyNegated: boolean
  readonly prefixes: readonly string[] | undefined
  readonly isPrefixNegated: boolean
}

function several(prng: Prng, items: readonly string[]): readonly string[] {
  return Array.from({ length: prng.between(1, 2) }, () => prng.pick(items))
}

function draft(prng: Prng): Draft {
  const effect = prng.chance(0.6) ? 'Allow' : 'Deny'
  return {
    Effect: effect,
    principals: several(prng, ['*', ...NAMES]),
    isPrincipalNegated: effect === 'Deny' && prng.chance(0.3),
    actions: several(prng, ACTION_PATTERNS),
    isActionNegated: prng.chance(0.2),
    keys: several(prng, KEY_PATTERNS),
    isKeyNegated: prng.chance(0.2),
    prefixes: prng.chance(0.4) ? several(prng, PREFIXES) : undefined,
    isPrefixNegated: prng.chance(0.5),
  }
}

function written(one: Draft, isOfUser: boolean): unknown {
  const principals = {
    [one.isPrincipalNegated ? 'NotPrincipal' : 'Principal']: { AWS: one.principals },
  }
  return {
    Effect: one.Effect,
    ...(isOfUser ? {} : principals),
    [one.isActionNegated ? 'NotAction' : 'Action']: one.actions,
    [one.isKeyNegated ? 'NotResource' : 'Resource']: one.keys.map((key) => `${ARN}/${key}`),
    ...(one.prefixes === undefined
      ? {}
      : {
          Condition: {
            [one.isPrefixNegated ? 'StringNotEquals' : 'StringEquals']: {
              's3:prefix': one.prefixes,
            },
          },
        }),
  }
}

/** As a regular expression: nothing of the code under test is used. */
function fits(pattern: string, text: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\/]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${source}$`).test(text)
}

interface Question {
  readonly principal: Identity | undefined
  readonly action: S3Action
  readonly key: string
  readonly prefix: string | undefined
}

function isAboutIt(one: Draft, question: Question, isOfUser: boolean): boolean {
  const { principal, action, key, prefix } = question
  const isNamed = one.principals.some((name) => name === '*' || name === principal?.name)
  const isAction = one.actions.some((item) => fits(item.toLowerCase(), action.toLowerCase()))
  const isKey = one.keys.some((item) => fits(item, key))
  const isPrefix = prefix !== undefined && one.prefixes?.includes(prefix) === true
  return (
    (isOfUser || isNamed !== one.isPrincipalNegated) &&
    isAction !== one.isActionNegated &&
    isKey !== one.isKeyNegated &&
    (one.prefixes === undefined || isPrefix !== one.isPrefixNegated)
  )
}

function expected(drafts: readonly Draft[], question: Question, isOfUser = false) {
  const effects = drafts
    .filter((one) => isAboutIt(one, question, isOfUser))
    .map((one) => one.Effect)
  if (effects.includes('Deny')) return 'deny'
  return effects.includes('Allow') ? 'allow' : 'none'
}

function drafts(prng: Prng): readonly Draft[] {
  return Array.from({ length: prng.between(1, 5) }, () => draft(prng))
}

function question(prng: Prng, principals: readonly (Identity | undefined)[]): Question {
  return {
    principal: prng.pick(principals),
    action: prng.pick(ACTIONS),
    key: prng.pick(KEYS),
    prefix: prng.chance(0.7) ? prng.pick(PREFIXES) : undefined,
  }
}

function contextFor({ prefix }: Question) {
  return contextOf(prefix === undefined ? {} : { 's3:prefix': prefix })
}

// Goal: an explicit deny wins, wherever it stands; otherwise an allow is enough.
// Method: random policies against a second, naive implementation. Replay: SEED=17.
test.each(seeds(40))('random policies are judged as the simple model does (seed %d)', (seed) => {
  const prng = new Prng(seed)
  const seen = new Set<string>()
  for (let round = 0; round < 20; round++) {
    const rules = drafts(prng)
    const json = document(...rules.map((one) => written(one, false)))
    const policy = parseBucketPolicy(json, BUCKET)
    for (let asked = 0; asked < 20; asked++) {
      const one = question(prng, [stranger, friend, owner, undefined])
      const { principal, action, key } = one
      const context = contextFor(one)
      const verdict = evaluatePolicy(policy, {
        principal,
        action,
        resource: `${ARN}/${key}`,
        context,
      })
      const wanted = expected(rules, one)
      if (verdict !== wanted) expect.fail(`${verdict}: ${json} ${JSON.stringify(one)}`)
      seen.add(verdict)
    }
  }
  expect([...seen].sort()).toEqual(['allow', 'deny', 'none'])
})

// Goal: policies of users and of buckets are put together, and a deny in either wins over owners.
// Method: as above, without grants. Replay: SEED=17.
test.each(seeds(40))('two random policies together decide as the model does (seed %d)', (seed) => {
  const prng = new Prng(seed)
  const seen = new Set<boolean>()
  for (let round = 0; round < 20; round++) {
    const forBucket = drafts(prng)
    const forUser = drafts(prng)
    const userJson = document(...forUser.map((one) => written(one, true)))
    const bucketJson = document(...forBucket.map((one) => written(one, false)))
    const policy = parseBucketPolicy(bucketJson, BUCKET)
    const people = [
      identity('sten', { policy: userJson }),
      identity('olga', { policy: userJson }),
      stranger,
      owner,
      root,
      undefined,
    ]
    for (let asked = 0; asked < 20; asked++) {
      const one = question(prng, people)
      const { principal, action, key } = one
      const isAllowed = isAuthorized(
        request({ principal, action, key, bucket: bucket({ policy }), context: contextFor(one) }),
      )
      const ofBucket = expected(forBucket, one)
      const ofUser = principal?.policy === undefined ? 'none' : expected(forUser, one, true)
      const isFree = principal === root || principal?.name === 'olga'
      const isWanted =
        ofBucket !== 'deny' &&
        ofUser !== 'deny' &&
        (ofBucket === 'allow' || ofUser === 'allow' || isFree)
      const story = () => `${isAllowed}: ${userJson} ${bucketJson} ${JSON.stringify(one)}`
      if (isAllowed !== isWanted) expect.fail(story())
      seen.add(isAllowed)
    }
  }
  expect([...seen].sort()).toEqual([false, true])
})
