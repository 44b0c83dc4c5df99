import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectLockConfigurationCommand,
  GetObjectRetentionCommand,
  HeadObjectCommand,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  PutObjectLockConfigurationCommand,
  PutObjectRetentionCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawAnswer, TestS3, type TestUser } from '../../../support/test-s3.ts'
import { BucketScene, textOf } from './s3-scene.ts'
import { ask, UploadScene } from './upload-scene.ts'

type Headers = Readonly<Record<string, string>>

const DAY_MS = 86_400_000
const BYPASS = { 'x-amz-bypass-governance-retention': 'true' }
const MODE = 'x-amz-object-lock-mode'
const UNTIL = 'x-amz-object-lock-retain-until-date'
const HOLD = 'x-amz-object-lock-legal-hold'
const DENIED = { status: 403, code: 'AccessDenied' }

let s3: TestS3
let locked: BucketScene
let open: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open()
  locked = await lockedBucket()
  open = await BucketScene.make(s3)
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

async function lockedBucket(): Promise<BucketScene> {
  const name = s3.newBucketName()
  const headers = { 'x-amz-bucket-object-lock-enabled': 'true' }
  const answer = await s3.raw({ method: 'PUT', path: `/${name}`, headers, as: s3.owner })
  expect(answer).toMatchObject({ status: 200 })
  return new BucketScene(s3, name, s3.owner)
}

/** Like `2026-11-22T00:00:00.000Z`. */
function inDays(days: number): string {
  return new Date(Date.now() + days * DAY_MS).toISOString()
}

function retention(mode: string, until: string): string {
  return `<Retention><Mode>${mode}</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`
}

function hold(status: string): string {
  return `<LegalHold><Status>${status}</Status></LegalHold>`
}

function configuration(rule: string, status = 'Enabled'): string {
  const enabled = `<ObjectLockEnabled>${status}</ObjectLockEnabled>`
  return `<ObjectLockConfiguration>${enabled}${rule}</ObjectLockConfiguration>`
}

function defaultRule(mode: string, period: string): string {
  return `<Rule><DefaultRetention><Mode>${mode}</Mode>${period}</DefaultRetention></Rule>`
}

/** A version of `key`, retained if `headers` say so. */
async function putLocked(key: string, headers: Headers = {}): Promise<string> {
  return (await locked.put(key, 'kept', headers)).headers['x-amz-version-id'] ?? ''
}

function retained(mode: string, days = 1): Headers {
  return { [MODE]: mode, [UNTIL]: inDays(days) }
}

function setRetention(
  key: string,
  id: string,
  body: string,
  more: { headers?: Headers; as?: TestUser } = {},
): Promise<RawAnswer> {
  return ask(locked, 'PUT', key, `?retention&versionId=${id}`, { body, ...more })
}

function setHold(key: string, id: string, body: string): Promise<RawAnswer> {
  return ask(locked, 'PUT', key, `?legal-hold&versionId=${id}`, { body })
}

function deleteVersion(key: string, id: string, headers: Headers = {}): Promise<RawAnswer> {
  return ask(locked, 'DELETE', key, `?versionId=${id}`, { headers })
}

describe('a bucket with locks', () => {
  test('has versioning from the start, and it cannot be suspended', async () => {
    const { text } = await locked.bucket('GET', '?versioning')
    expect(textOf(text, 'Status')).toBe('Enabled')
    for (const [status, answer] of [
      ['Suspended', { status: 409, code: 'InvalidBucketState' }],
      ['Enabled', { status: 200 }],
    ] as const) {
      const body = `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`
      expect(await locked.bucket('PUT', '?versioning', { body })).toMatchObject(answer)
    }
  })

  test('has a configuration without a rule, another bucket has none', async () => {
    const { status, text } = await locked.bucket('GET', '?object-lock')
    expect([status, textOf(text, 'ObjectLockEnabled')]).toEqual([200, 'Enabled'])
    expect(text).not.toContain('<Rule>')
    expect(await open.bucket('GET', '?object-lock')).toMatchObject({
      status: 404,
      code: 'ObjectLockConfigurationNotFoundError',
    })
  })

  test('can be made of one with versioning, and of no other', async () => {
    const scene = await BucketScene.make(s3)
    const body = configuration('')
    const set = () => scene.bucket('PUT', '?object-lock', { body })
    expect(await set()).toMatchObject({ status: 409, code: 'InvalidBucketState' })
    const versioning = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    await scene.bucket('PUT', '?versioning', { body: versioning })
    expect(await set()).toMatchObject({ status: 200 })
    expect(await scene.bucket('GET', '?object-lock')).toMatchObject({ status: 200 })
    await scene.put('k', 'x', retained('GOVERNANCE'))
  })

  test.each([
    ['GOVERNANCE', '<Days>1</Days>', 1],
    ['COMPLIANCE', '<Days>30</Days>', 30],
    ['GOVERNANCE', '<Years>1</Years>', 365],
    ['COMPLIANCE', '<Days>36500</Days>', 36_500],
  ])('may retain what is new: %s for %s', async (mode, period, days) => {
    const scene = await lockedBucket()
    const body = configuration(defaultRule(mode, period))
    expect(await scene.bucket('PUT', '?object-lock', { body })).toMatchObject({ status: 200 })
    const { text } = await scene.bucket('GET', '?object-lock')
    expect(text).toContain(`<Mode>${mode}</Mode>${period}`)
    await scene.put('k', 'x')
    const upload = await UploadScene.begin(scene, 'parts')
    await upload.complete([await upload.put(1, 'x')])
    const headers = { 'x-amz-copy-source': scene.path('k') }
    expect(await scene.request('PUT', 'copy', { headers })).toMatchObject({ status: 200 })
    for (const key of ['k', 'parts', 'copy']) {
      const head = await scene.head(key)
      expect([key, head.headers[MODE]]).toEqual([key, mode])
      const leftMs = Date.parse(head.headers[UNTIL] ?? '') - Date.now()
      expect(leftMs).toBeGreaterThan((days - 0.1) * DAY_MS)
      expect(leftMs).toBeLessThan((days + 1.1) * DAY_MS)
    }
    // What the writer says goes before what the bucket says.
    const own = retained('GOVERNANCE', 3)
    await scene.put('own', 'x', own)
    expect((await scene.head('own')).headers).toMatchObject(own)
  })

  test.each([
    ['no days', defaultRule('GOVERNANCE', ''), 'MalformedXML'],
    ['days and years', defaultRule('GOVERNANCE', '<Days>1</Days><Years>1</Years>'), 'MalformedXML'],
    ['0 days', defaultRule('GOVERNANCE', '<Days>0</Days>'), 'InvalidArgument'],
    ['-1 years', defaultRule('GOVERNANCE', '<Years>-1</Years>'), 'InvalidArgument'],
    ['36501 days', defaultRule('GOVERNANCE', '<Days>36501</Days>'), 'InvalidArgument'],
    ['101 years', defaultRule('GOVERNANCE', '<Years>101</Years>'), 'InvalidArgument'],
    ['half a day', defaultRule('GOVERNANCE', '<Days>0.5</Days>'), 'MalformedXML'],
    ['a mode nobody knows', defaultRule('governance', '<Days>1</Days>'), 'MalformedXML'],
    ['no mode', '<Rule><DefaultRetention><Days>1</Days></DefaultRetention></Rule>', 'MalformedXML'],
    ['an empty rule', '<Rule/>', 'MalformedXML'],
  ])('is refused a rule of %s', async (_, rule, code) => {
    const body = configuration(rule)
    const answer = await locked.bucket('PUT', '?object-lock', { body })
    expect(answer).toMatchObject({ status: 400, code })
  })

  test.each([
    ['Disabled', configuration('', 'Disabled')],
    ['nothing', ''],
    ['another document', '<Tagging/>'],
  ])('is refused %s as its configuration', async (_, body) => {
    const answer = await locked.bucket('PUT', '?object-lock', { body })
    expect(answer).toMatchObject({ status: 400, code: 'MalformedXML' })
  })

  test('may lose its rule, and then new objects are free', async () => {
    const scene = await lockedBucket()
    const set = (rule: string) => scene.bucket('PUT', '?object-lock', { body: configuration(rule) })
    await set(defaultRule('GOVERNANCE', '<Days>1</Days>'))
    expect(await set('')).toMatchObject({ status: 200 })
    await scene.put('k', 'x')
    expect((await scene.head('k')).headers[MODE]).toBeUndefined()
  })

  test('is told about to nobody else', async () => {
    for (const as of [s3.other, undefined]) {
      expect(await locked.bucket('GET', '?object-lock', { as })).toMatchObject(DENIED)
      const put = await locked.bucket('PUT', '?object-lock', { as, body: configuration('') })
      expect(put).toMatchObject(DENIED)
    }
  })
})

describe('a bucket without locks', () => {
  test.each([
    ['a retention', retained('GOVERNANCE')],
    ['a hold', { [HOLD]: 'ON' }],
    ['a hold that is off', { [HOLD]: 'OFF' }],
  ])('takes no object with %s', async (_, headers) => {
    const answer = await open.request('PUT', 'refused', { body: 'x', headers })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
    expect(await open.get('refused')).toMatchObject({ code: 'NoSuchKey' })
  })

  test.each([
    ['GET', 'retention', ''],
    ['PUT', 'retention', retention('GOVERNANCE', inDays(1))],
    ['GET', 'legal-hold', ''],
    ['PUT', 'legal-hold', hold('ON')],
  ])('refuses %s of %s', async (method, parameter, body) => {
    await open.put('free')
    const answer = await ask(open, method, 'free', `?${parameter}`, { body })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidRequest' })
  })
})

describe('a new object', () => {
  test.each(['GOVERNANCE', 'COMPLIANCE'])('may say that it is retained: %s', async (mode) => {
    const headers: Headers = { ...retained(mode, 2), [HOLD]: 'ON' }
    const id = await putLocked(`new/${mode}`, headers)
    for (const method of ['GET', 'HEAD']) {
      expect((await locked.request(method, `new/${mode}`)).headers).toMatchObject(headers)
    }
    const { text } = await ask(locked, 'GET', `new/${mode}`, `?retention&versionId=${id}`)
    expect([textOf(text, 'Mode'), textOf(text, 'RetainUntilDate')]).toEqual([mode, headers[UNTIL]])
    const held = await ask(locked, 'GET', `new/${mode}`, '?legal-hold')
    expect(textOf(held.text, 'Status')).toBe('ON')
  })

  const badLocks: readonly (readonly [string, Headers])[] = [
    ['a mode without a date', { [MODE]: 'GOVERNANCE' }],
    ['a date without a mode', { [UNTIL]: inDays(1) }],
    ['a mode nobody knows', { ...retained('FOREVER') }],
    ['a mode in small letters', { ...retained('governance') }],
    ['a date in the past', retained('GOVERNANCE', -1)],
    ['a date that is none', { [MODE]: 'GOVERNANCE', [UNTIL]: 'tomorrow' }],
    [
      'a date as headers have it',
      { [MODE]: 'GOVERNANCE', [UNTIL]: 'Fri, 01 Jan 2100 00:00:00 GMT' },
    ],
    ['a day that no month has', { [MODE]: 'GOVERNANCE', [UNTIL]: '2100-02-31T00:00:00Z' }],
    ['a hold that is neither on nor off', { [HOLD]: 'MAYBE' }],
    ['a hold in small letters', { [HOLD]: 'on' }],
  ]

  test.each(badLocks)('with %s is refused', async (_, headers) => {
    const refused = { status: 400, code: 'InvalidArgument' }
    expect(await locked.request('PUT', 'bad', { body: 'x', headers })).toMatchObject(refused)
    expect(await ask(locked, 'POST', 'bad', '?uploads', { headers })).toMatchObject(refused)
    const copied = { ...headers, 'x-amz-copy-source': locked.path('source') }
    await locked.put('source')
    expect(await locked.request('PUT', 'bad', { headers: copied })).toMatchObject(refused)
    expect(await locked.get('bad')).toMatchObject({ code: 'NoSuchKey' })
  })

  test('of parts has what was said when the upload began', async () => {
    const headers = { ...retained('GOVERNANCE', 2), [HOLD]: 'ON' }
    const upload = await UploadScene.begin(locked, 'parts', headers)
    const done = await upload.complete([await upload.put(1, 'x')])
    expect((await locked.head('parts')).headers).toMatchObject(headers)
    const id = done.headers['x-amz-version-id'] ?? ''
    expect(await deleteVersion('parts', id)).toMatchObject(DENIED)
  })

  test('that is a copy is not retained as its source is', async () => {
    await putLocked('source', { ...retained('COMPLIANCE'), [HOLD]: 'ON' })
    const copy = { 'x-amz-copy-source': locked.path('source') }
    await locked.request('PUT', 'copy', { headers: copy })
    expect((await locked.head('copy')).headers[MODE]).toBeUndefined()
    expect((await locked.head('copy')).headers[HOLD]).toBeUndefined()
    const own = { ...retained('GOVERNANCE'), [HOLD]: 'ON' }
    await locked.request('PUT', 'copy', { headers: { ...copy, ...own } })
    expect((await locked.head('copy')).headers).toMatchObject(own)
  })
})

test('the SDK locks, holds and frees', async () => {
  const { sdk } = s3.owner
  const Bucket = s3.newBucketName()
  await sdk.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }))
  const Rule = { DefaultRetention: { Mode: 'GOVERNANCE', Days: 1 } } as const
  const ObjectLockConfiguration = { ObjectLockEnabled: 'Enabled', Rule } as const
  await sdk.send(new PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration }))
  const configured = await sdk.send(new GetObjectLockConfigurationCommand({ Bucket }))
  expect(configured).toMatchObject({ ObjectLockConfiguration })
  const target = { Bucket, Key: 'k' }
  const ObjectLockRetainUntilDate = new Date(Date.now() + 2 * DAY_MS)
  const lock = { ObjectLockMode: 'GOVERNANCE', ObjectLockRetainUntilDate } as const
  const put = await sdk.send(new PutObjectCommand({ ...target, Body: 'x', ...lock }))
  const version = { ...target, VersionId: put.VersionId }
  expect(await sdk.send(new HeadObjectCommand(target))).toMatchObject(lock)
  const Retention = { Mode: 'GOVERNANCE', RetainUntilDate: new Date(Date.now() + DAY_MS) } as const
  const shorten = { ...version, Retention }
  await expect(sdk.send(new PutObjectRetentionCommand(shorten))).rejects.toMatchObject({
    name: 'AccessDenied',
  })
  const bypass = { BypassGovernanceRetention: true }
  await sdk.send(new PutObjectRetentionCommand({ ...shorten, ...bypass }))
  expect(await sdk.send(new GetObjectRetentionCommand(version))).toMatchObject({ Retention })
  const holdTo = (Status: 'ON' | 'OFF') =>
    sdk.send(new PutObjectLegalHoldCommand({ ...version, LegalHold: { Status } }))
  const remove = () => sdk.send(new DeleteObjectCommand({ ...version, ...bypass }))
  await holdTo('ON')
  await expect(remove()).rejects.toMatchObject({ name: 'AccessDenied' })
  await holdTo('OFF')
  expect(await remove()).toMatchObject({ VersionId: put.VersionId })
})

describe('a retained version', () => {
  test.each([
    ['GOVERNANCE', {}, 403],
    ['GOVERNANCE', BYPASS, 204],
    ['GOVERNANCE', { 'x-amz-bypass-governance-retention': 'false' }, 403],
    ['COMPLIANCE', {}, 403],
    ['COMPLIANCE', BYPASS, 403],
  ])('by %s with %o: its deletion gives %d', async (mode, headers, status) => {
    const id = await putLocked('kept', retained(mode))
    const answer = await deleteVersion('kept', id, headers)
    expect(answer).toMatchObject({ status, code: status === 403 ? 'AccessDenied' : undefined })
    const there = await ask(locked, 'GET', 'kept', `?versionId=${id}`)
    expect(there.status).toBe(status === 403 ? 200 : 404)
  })

  test('is hidden by a delete and by a put, and stays', async () => {
    const id = await putLocked('hidden', retained('COMPLIANCE'))
    expect(await locked.request('DELETE', 'hidden')).toMatchObject({ status: 204 })
    expect(await locked.get('hidden')).toMatchObject({ status: 404 })
    await putLocked('hidden')
    const found = await ask(locked, 'GET', 'hidden', `?versionId=${id}`)
    expect(found).toMatchObject({ status: 200, text: 'kept', headers: { [MODE]: 'COMPLIANCE' } })
  })

  test('is refused to DeleteObjects one by one', async () => {
    const kept = await putLocked('many', retained('GOVERNANCE'))
    const free = await putLocked('many')
    const object = (id: string) => `<Object><Key>many</Key><VersionId>${id}</VersionId></Object>`
    const body = `<Delete>${object(kept)}${object(free)}</Delete>`
    const first = await locked.bucket('POST', '?delete', { body })
    expect(first).toMatchObject({ status: 200 })
    expect(textOf(first.text, 'Code')).toBe('AccessDenied')
    expect(first.text).toContain(`<Deleted><Key>many</Key><VersionId>${free}</VersionId></Deleted>`)
    const second = await locked.bucket('POST', '?delete', { body, headers: BYPASS })
    expect(second.text).not.toContain('<Error>')
    expect(await ask(locked, 'GET', 'many', `?versionId=${kept}`)).toMatchObject({ status: 404 })
  })

  test('can go when its time is over', async () => {
    const untilMs = Date.now() + 2500
    const until = new Date(untilMs).toISOString()
    const id = await putLocked('short', { [MODE]: 'COMPLIANCE', [UNTIL]: until })
    let status = 403
    while (status === 403 && Date.now() < untilMs + 10_000) {
      const beganMs = Date.now()
      status = (await deleteVersion('short', id)).status
      // Before its time nothing else can be answered; soon after it must be gone.
      if (Date.now() < untilMs) expect(status).toBe(403)
      if (beganMs > untilMs) expect(status).toBe(204)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(status).toBe(204)
  })
})

describe('a retention', () => {
  const empty = '<Retention/>'

  test.each([
    ['nothing', 'GOVERNANCE', 1, false, 200],
    ['nothing', 'COMPLIANCE', 1, false, 200],
    ['GOVERNANCE', 'GOVERNANCE', 3, false, 200],
    ['GOVERNANCE', 'GOVERNANCE', 1, false, 403],
    ['GOVERNANCE', 'GOVERNANCE', 1, true, 200],
    ['GOVERNANCE', 'COMPLIANCE', 3, false, 403],
    ['GOVERNANCE', 'COMPLIANCE', 3, true, 200],
    ['GOVERNANCE', 'COMPLIANCE', 1, true, 200],
    ['GOVERNANCE', 'none', 0, false, 403],
    ['GOVERNANCE', 'none', 0, true, 200],
    ['COMPLIANCE', 'COMPLIANCE', 3, false, 200],
    ['COMPLIANCE', 'COMPLIANCE', 1, false, 403],
    ['COMPLIANCE', 'COMPLIANCE', 1, true, 403],
    ['COMPLIANCE', 'GOVERNANCE', 3, false, 403],
    ['COMPLIANCE', 'GOVERNANCE', 3, true, 403],
    ['COMPLIANCE', 'none', 0, true, 403],
    ['nothing', 'none', 0, false, 200],
  ] as const)(
    'of %s for 2 days, made %s for %d, bypassing %s: %d',
    async (before, after, days, bypasses, status) => {
      const id = await putLocked('changed', before === 'nothing' ? {} : retained(before, 2))
      const until = inDays(days)
      const body = after === 'none' ? empty : retention(after, until)
      const headers = bypasses ? BYPASS : {}
      const answer = await setRetention('changed', id, body, { headers })
      expect(answer).toMatchObject({ status, code: status === 403 ? 'AccessDenied' : undefined })
      const shown = await ask(locked, 'GET', 'changed', `?retention&versionId=${id}`)
      const expected = status === 200 ? after : before
      if (expected === 'none') {
        expect(shown).toMatchObject({ status: 404, code: 'NoSuchObjectLockConfiguration' })
      } else {
        expect(textOf(shown.text, 'Mode')).toBe(expected)
        const isChanged = textOf(shown.text, 'RetainUntilDate') === until
        expect(isChanged).toBe(status === 200)
      }
    },
  )

  test('of the newest version needs no version id', async () => {
    await putLocked('newest')
    const body = retention('GOVERNANCE', inDays(1))
    expect(await ask(locked, 'PUT', 'newest', '?retention', { body })).toMatchObject({
      status: 200,
    })
    expect(await ask(locked, 'GET', 'newest', '?retention')).toMatchObject({ status: 200 })
  })

  test.each([
    ['a date in the past', retention('GOVERNANCE', inDays(-1)), 'InvalidArgument'],
    ['a mode nobody knows', retention('FOREVER', inDays(1)), 'MalformedXML'],
    ['a mode in small letters', retention('governance', inDays(1)), 'MalformedXML'],
    ['a date that is none', retention('GOVERNANCE', 'tomorrow'), 'MalformedXML'],
    ['a mode alone', '<Retention><Mode>GOVERNANCE</Mode></Retention>', 'MalformedXML'],
    [
      'a date alone',
      `<Retention><RetainUntilDate>${inDays(1)}</RetainUntilDate></Retention>`,
      'MalformedXML',
    ],
    ['no body', '', 'MalformedXML'],
    ['a hold', hold('ON'), 'MalformedXML'],
  ])('with %s is refused', async (_, body, code) => {
    const id = await putLocked('bad')
    expect(await setRetention('bad', id, body)).toMatchObject({ status: 400, code })
  })

  test('of a version that nobody set is none', async () => {
    await putLocked('unset')
    expect(await ask(locked, 'GET', 'unset', '?retention')).toMatchObject({
      status: 404,
      code: 'NoSuchObjectLockConfiguration',
    })
  })

  test.each([
    ['a key that is not there', 'absent', '', 404, 'NoSuchKey'],
    ['a version that is not there', 'absent', `&versionId=${'0'.repeat(32)}`, 404, 'NoSuchVersion'],
  ])('of %s is refused', async (_, key, query, status, code) => {
    const body = retention('GOVERNANCE', inDays(1))
    for (const [method, sent] of [
      ['GET', ''],
      ['PUT', body],
    ] as const) {
      const answer = await ask(locked, method, key, `?retention${query}`, { body: sent })
      expect(answer).toMatchObject({ status, code })
    }
  })

  test('of a delete marker is refused', async () => {
    const id = (await locked.request('DELETE', 'marker')).headers['x-amz-version-id'] ?? ''
    const answer = await setRetention('marker', id, retention('GOVERNANCE', inDays(1)))
    expect(answer).toMatchObject({ status: 405, code: 'MethodNotAllowed' })
    expect(await deleteVersion('marker', id)).toMatchObject({ status: 204 })
  })

  test('stays when another version is retained', async () => {
    const first = await putLocked('two')
    const second = await putLocked('two', retained('GOVERNANCE'))
    expect(await deleteVersion('two', second)).toMatchObject(DENIED)
    expect(await deleteVersion('two', first)).toMatchObject({ status: 204 })
  })
})

describe('a legal hold', () => {
  test('keeps its version, whatever is bypassed, until it is taken away', async () => {
    const id = await putLocked('held')
    expect(await setHold('held', id, hold('ON'))).toMatchObject({ status: 200 })
    expect((await locked.head('held')).headers[HOLD]).toBe('ON')
    for (const headers of [{}, BYPASS]) {
      expect(await deleteVersion('held', id, headers)).toMatchObject(DENIED)
    }
    expect(await setHold('held', id, hold('OFF'))).toMatchObject({ status: 200 })
    const { text } = await ask(locked, 'GET', 'held', '?legal-hold')
    expect(textOf(text, 'Status')).toBe('OFF')
    expect(await deleteVersion('held', id)).toMatchObject({ status: 204 })
  })

  test('of a version that nobody held is off', async () => {
    await putLocked('never-held')
    const { status, text } = await ask(locked, 'GET', 'never-held', '?legal-hold')
    expect([status, textOf(text, 'Status')]).toEqual([200, 'OFF'])
    expect((await locked.head('never-held')).headers[HOLD]).toBeUndefined()
  })

  test('and a retention keep a version each for itself', async () => {
    const id = await putLocked('both', { ...retained('GOVERNANCE'), [HOLD]: 'ON' })
    expect(await deleteVersion('both', id, BYPASS)).toMatchObject(DENIED)
    await setHold('both', id, hold('OFF'))
    expect(await deleteVersion('both', id)).toMatchObject(DENIED)
    expect(await deleteVersion('both', id, BYPASS)).toMatchObject({ status: 204 })
  })

  test.each([
    ['a status nobody knows', hold('MAYBE')],
    ['a status in small letters', hold('on')],
    ['no status', '<LegalHold/>'],
    ['no body', ''],
    ['a retention', '<Retention/>'],
  ])('with %s is refused', async (_, body) => {
    const id = await putLocked('bad-hold')
    const answer = await setHold('bad-hold', id, body)
    expect(answer).toMatchObject({ status: 400, code: 'MalformedXML' })
  })
})

describe('who may lock', () => {
  let id: string
  const lockActions = ['s3:PutObjectRetention', 's3:PutObjectLegalHold', 's3:DeleteObjectVersion']

  beforeAll(async () => {
    id = await putLocked('theirs', retained('GOVERNANCE', 2))
  })

  async function allow(actions: readonly string[], denied: readonly string[] = []) {
    const Resource = `arn:aws:s3:::${locked.name}/*`
    const statement = (Effect: string, Action: readonly string[]) => {
      return { Effect, Principal: '*', Action, Resource }
    }
    const statements = [
      statement('Allow', actions),
      ...(denied.length ? [statement('Deny', denied)] : []),
    ]
    const body = JSON.stringify({ Version: '2012-10-17', Statement: statements })
    expect(await locked.bucket('PUT', '?policy', { body })).toMatchObject({ status: 204 })
  }

  test.each(['retention', 'legal-hold'])('%s is for nobody else', async (parameter) => {
    for (const as of [s3.other, undefined]) {
      const body = parameter === 'retention' ? retention('GOVERNANCE', inDays(3)) : hold('ON')
      const put = await ask(locked, 'PUT', 'theirs', `?${parameter}`, { as, body })
      expect(put).toMatchObject(DENIED)
      expect(await ask(locked, 'GET', 'theirs', `?${parameter}`, { as })).toMatchObject(DENIED)
    }
  })

  test('needs a right of its own to go round governance', async () => {
    const as = s3.other
    const shorter = retention('GOVERNANCE', inDays(1))
    await allow(lockActions)
    expect(await setRetention('theirs', id, shorter, { as, headers: BYPASS })).toMatchObject(DENIED)
    const remove = () =>
      ask(locked, 'DELETE', 'theirs', `?versionId=${id}`, { as, headers: BYPASS })
    expect(await remove()).toMatchObject(DENIED)
    await allow([...lockActions, 's3:BypassGovernanceRetention'])
    expect(await setRetention('theirs', id, shorter, { as })).toMatchObject(DENIED)
    expect(await setRetention('theirs', id, shorter, { as, headers: BYPASS })).toMatchObject({
      status: 200,
    })
    await allow(lockActions, ['s3:BypassGovernanceRetention'])
    expect(await remove()).toMatchObject(DENIED)
    // Not even the owner, when it is denied to everybody.
    expect(await deleteVersion('theirs', id, BYPASS)).toMatchObject(DENIED)
    await allow([...lockActions, 's3:BypassGovernanceRetention'])
    expect(await remove()).toMatchObject({ status: 204 })
    await locked.bucket('DELETE', '?policy')
  })

  test('needs rights of its own to put an object that is retained or held', async () => {
    const as = s3.other
    const put = (headers: Headers) => locked.request('PUT', 'put', { as, body: 'x', headers })
    await allow(['s3:PutObject'])
    expect(await put({})).toMatchObject({ status: 200 })
    expect(await put(retained('GOVERNANCE'))).toMatchObject(DENIED)
    expect(await put({ [HOLD]: 'ON' })).toMatchObject(DENIED)
    await allow(['s3:PutObject', 's3:PutObjectRetention', 's3:PutObjectLegalHold'])
    expect(await put({ ...retained('GOVERNANCE'), [HOLD]: 'ON' })).toMatchObject({ status: 200 })
    await locked.bucket('DELETE', '?policy')
  })
})
