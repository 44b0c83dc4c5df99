import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { crc32 } from 'node:zlib'
import { createPresignedPost } from '@aws-sdk/s3-presigned-post'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RawAnswer, TestS3, type TestUser } from '../../../support/test-s3.ts'
import {
  BOUNDARY,
  type FormField,
  type FormFile,
  formRequest,
  type SigningOptions,
  v2FormFields,
  v4FormFields,
  writeForm,
} from './signed-requests.ts'

let s3: TestS3
let bucket: string
let publicBucket: string

beforeAll(async () => {
  s3 = await TestS3.open({ s3Options: { isV2Allowed: true } })
  bucket = await newBucket()
  publicBucket = await newBucket('ObjectWriter', 'public-read-write')
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

async function newBucket(ownership = 'BucketOwnerEnforced', acl = 'private'): Promise<string> {
  const name = s3.newBucketName()
  const headers = { 'x-amz-object-ownership': ownership, 'x-amz-acl': acl }
  const answer = await s3.raw({ method: 'PUT', path: `/${name}`, headers, as: s3.owner })
  expect(answer.status).toBe(200)
  return name
}

const MINUTE_MS = 60_000
/** What stands in a key for the name of the file. */
const FILE_NAME = ['$', '{filename}'].join('')
const expiration = (minutes: number) => new Date(Date.now() + minutes * MINUTE_MS).toISOString()

interface Form {
  readonly fields: readonly FormField[]
  readonly conditions?: readonly unknown[]
  readonly file?: FormFile | undefined
  readonly after?: readonly FormField[]
  readonly version?: 'v4' | 'v2'
  readonly as?: TestUser
  readonly to?: string
  readonly expiration?: string
  readonly signing?: SigningOptions
}

/** Without conditions, each field must be what it is. */
function formOf(form: Form): Buffer {
  const { as = s3.owner, fields, to = bucket, version = 'v4' } = form
  const own = fields.map(([name, value]) => ['eq', `$${name}`, value])
  const signer =
    version === 'v4'
      ? [
          ['starts-with', '$x-amz-algorithm', ''],
          ['starts-with', '$x-amz-credential', ''],
          ['starts-with', '$x-amz-date', ''],
        ]
      : []
  const conditions = [{ bucket: to }, ...(form.conditions ?? own), ...signer]
  const policy = { expiration: form.expiration ?? expiration(10), conditions }
  const signature =
    version === 'v4' ? v4FormFields(as, policy, form.signing) : v2FormFields(as, policy)
  const file = 'file' in form ? form.file : { data: 'a file' }
  return writeForm([...fields, ...signature], file, form.after)
}

async function post(form: Form): Promise<RawAnswer> {
  return await s3.raw(formRequest(form.to ?? bucket, formOf(form)))
}

async function get(key: string, from = bucket): Promise<RawAnswer> {
  return await s3.raw({ path: `/${from}/${key}`, as: s3.root })
}

describe.each(['v4', 'v2'] as const)('a form signed by %s', (version) => {
  test('stores its file', async () => {
    const key = `${version}/plain`
    const answer = await post({ version, fields: [['key', key]] })
    expect(answer).toMatchObject({ status: 204, text: '' })
    const md5 = createHash('md5').update('a file').digest('hex')
    expect(answer.headers['etag']).toBe(`"${md5}"`)
    expect(answer.headers['location']).toBe(`${s3.url}/${bucket}/${key}`)
    expect(await get(key)).toMatchObject({ status: 200, text: 'a file' })
  })

  test.each([
    ['a wrong secret', { secretAccessKey: 'x' }, 'SignatureDoesNotMatch'],
    ['an unknown key', { accessKeyId: 'NOBODYSKEY0000000000' }, 'InvalidAccessKeyId'],
  ])('with %s is refused and stores nothing', async (title, wrong, code) => {
    const key = `${version}/${title}`.replaceAll(' ', '-')
    const as = { ...s3.owner, ...wrong }
    expect(await post({ version, as, fields: [['key', key]] })).toMatchObject({ status: 403, code })
    expect(await get(key)).toMatchObject({ code: 'NoSuchKey' })
  })

  test('by a user who may not write there is refused', async () => {
    const key = `${version}/other`
    const answer = await post({ version, as: s3.other, fields: [['key', key]] })
    expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    expect(await get(key)).toMatchObject({ code: 'NoSuchKey' })
  })

  test('for another bucket is refused', async () => {
    const body = formOf({ version, fields: [['key', 'x']] })
    const answer = await s3.raw(formRequest(publicBucket, body))
    expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    expect(await get('x', publicBucket)).toMatchObject({ code: 'NoSuchKey' })
  })

  test('that has expired is refused', async () => {
    const fields: FormField[] = [['key', `${version}/expired`]]
    const answer = await post({ version, fields, expiration: expiration(-1) })
    expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
  })

  test.each(
    version === 'v4'
      ? ['x-amz-credential', 'x-amz-date', 'x-amz-algorithm', 'x-amz-signature', 'policy']
      : ['AWSAccessKeyId', 'signature', 'policy'],
  )('without the field %s is refused', async (name) => {
    const text = formOf({ version, fields: [['key', 'k']] }).toString('latin1')
    const part = new RegExp(`--${BOUNDARY}\r\n[^\r]*name="${name}"\r\n\r\n[^\r]*\r\n`)
    expect(text).toMatch(part)
    const body = Buffer.from(text.replace(part, ''), 'latin1')
    const answer = await s3.raw(formRequest(bucket, body))
    expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
  })
})

describe('conditions of a policy', () => {
  const rows: readonly [string, FormField[], readonly unknown[], number][] = [
    ['eq that holds', [['key', 'c1']], [['eq', '$key', 'c1']], 204],
    ['eq that does not hold', [['key', 'c2']], [['eq', '$key', 'other']], 403],
    ['eq with other capitals in the value', [['key', 'C3']], [['eq', '$key', 'c3']], 403],
    ['eq as an object', [['key', 'c4']], [{ key: 'c4' }], 204],
    ['an object that does not hold', [['key', 'c5']], [{ key: 'c' }], 403],
    ['starts-with that holds', [['key', 'c6']], [['starts-with', '$key', 'c']], 204],
    ['starts-with that does not hold', [['key', 'd6']], [['starts-with', '$key', 'c']], 403],
    ['starts-with anything', [['key', 'c7']], [['starts-with', '$key', '']], 204],
    ['an operator in other capitals', [['key', 'c8']], [['StArTs-WiTh', '$key', 'c']], 204],
    ['a field in other capitals', [['kEy', 'c9']], [['eq', '$KeY', 'c9']], 204],
    [
      'a condition of a field that is not there',
      [['key', 'c10']],
      [{ key: 'c10' }, { acl: 'x' }],
      403,
    ],
    [
      'a field that no condition covers',
      [
        ['key', 'c11'],
        ['x-amz-meta-a', 'b'],
      ],
      [{ key: 'c11' }],
      403,
    ],
    ['no condition for the key', [['key', 'c12']], [], 403],
    [
      'a field to be ignored',
      [
        ['key', 'c13'],
        ['x-ignore-this', 'b'],
      ],
      [{ key: 'c13' }],
      204,
    ],
    [
      'two conditions that both hold',
      [['key', 'c14']],
      [{ key: 'c14' }, ['starts-with', '$key', 'c']],
      204,
    ],
    [
      'two conditions of which one fails',
      [['key', 'c15']],
      [{ key: 'c15' }, ['starts-with', '$key', 'd']],
      403,
    ],
    [
      'a field twice',
      [
        ['key', 'c16'],
        ['Key', 'c16'],
      ],
      [{ key: 'c16' }],
      400,
    ],
    [
      'bucket as a field',
      [
        ['key', 'c17'],
        ['bucket', 'elsewhere'],
      ],
      [{ key: 'c17' }, { bucket: 'elsewhere' }],
      403,
    ],
    [
      'content types that all begin so',
      [
        ['key', 'c18'],
        ['Content-Type', 'image/a, image/b'],
      ],
      [{ key: 'c18' }, ['starts-with', '$Content-Type', 'image/']],
      204,
    ],
    [
      'content types that do not all begin so',
      [
        ['key', 'c19'],
        ['Content-Type', 'image/a, text/b'],
      ],
      [{ key: 'c19' }, ['starts-with', '$Content-Type', 'image/']],
      403,
    ],
    ['an unknown operator', [['key', 'c20']], [['ends-with', '$key', 'c20']], 400],
    ['an eq of two elements', [['key', 'c21']], [['eq', '$key']], 400],
    ['an eq of four elements', [['key', 'c22']], [['eq', '$key', 'a', 'b']], 400],
    ['a field without a dollar', [['key', 'c23']], [['eq', 'key', 'c23']], 400],
    ['a condition that is text', [['key', 'c24']], ['key'], 400],
    ['a condition that is null', [['key', 'c25']], [null], 400],
    ['an object of two fields', [['key', 'c26']], [{ key: 'c26', acl: 'private' }], 400],
    ['a value that is a number', [['key', '27']], [{ key: 27 }], 400],
    [
      'a range that the size is in',
      [['key', 'c28']],
      [{ key: 'c28' }, ['content-length-range', 6, 6]],
      204,
    ],
    [
      'a range as texts',
      [['key', 'c29']],
      [{ key: 'c29' }, ['content-length-range', '0', '10']],
      204,
    ],
    [
      'a range that is empty',
      [['key', 'c30']],
      [{ key: 'c30' }, ['content-length-range', 6, 5]],
      400,
    ],
    ['a negative range', [['key', 'c31']], [{ key: 'c31' }, ['content-length-range', -1, 10]], 400],
    ['a range with one end', [['key', 'c32']], [{ key: 'c32' }, ['content-length-range', 1]], 400],
    [
      'a range of words',
      [['key', 'c33']],
      [{ key: 'c33' }, ['content-length-range', 'a', 'b']],
      400,
    ],
    [
      'the file is not a field',
      [['key', 'c34']],
      [{ key: 'c34' }, ['starts-with', '$file', 'x']],
      403,
    ],
  ]
  test.each(rows)('%s', async (_title, fields, conditions, status) => {
    for (const version of ['v4', 'v2'] as const) {
      const answer = await post({ version, fields, conditions })
      expect(answer.status).toBe(status)
      const key = fields[0]?.[1] ?? ''
      const found = status === 204 ? { text: 'a file' } : { code: 'NoSuchKey' }
      expect(await get(key)).toMatchObject(found)
    }
  })

  test.each([
    [0, 'EntityTooSmall'],
    [4, 'EntityTooSmall'],
    [5, undefined],
    [10, undefined],
    [11, 'EntityTooLarge'],
    [3_000_000, 'EntityTooLarge'],
  ])('a file of %d bytes, of which 5 to 10 are allowed: %s', async (sizeBytes, code) => {
    const key = `range-${sizeBytes}`
    const answer = await post({
      fields: [['key', key]],
      conditions: [{ key }, ['content-length-range', 5, 10]],
      file: { data: Buffer.alloc(sizeBytes, 'x') },
    })
    expect(answer).toMatchObject({ status: code === undefined ? 204 : 400, code })
    expect((await get(key)).status).toBe(code === undefined ? 200 : 404)
  })

  test.each([
    ['no JSON', '{'],
    ['a list', '[]'],
    ['null', 'null'],
    ['without an expiration', '{"conditions":[]}'],
    ['without conditions', '{"expiration":"2099-01-01T00:00:00Z"}'],
    ['with an empty expiration', '{"expiration":"","conditions":[]}'],
    ['with a local expiration', '{"expiration":"2099-01-01","conditions":[]}'],
    ['with conditions that are an object', '{"expiration":"2099-01-01T00:00:00Z","conditions":{}}'],
    [
      'with an element it does not know',
      '{"expiration":"2099-01-01T00:00:00Z","conditions":[],"a":1}',
    ],
    ['of nothing', ''],
  ])('a policy that is %s is malformed', async (_title, policy) => {
    for (const signed of [v4FormFields(s3.owner, policy), v2FormFields(s3.owner, policy)]) {
      const answer = await s3.raw(
        formRequest(bucket, writeForm([['key', 'p'], ...signed], { data: 'x' })),
      )
      expect(answer).toMatchObject({ status: 400, code: 'InvalidPolicyDocument' })
    }
  })
})

describe('fields of a form', () => {
  test.each([
    [`folder/${FILE_NAME}`, 'a b.txt', 'folder/a%20b.txt'],
    [FILE_NAME, 'plain.txt', 'plain.txt'],
    [`${FILE_NAME}-${FILE_NAME}`, 'x', 'x-x'],
    [`no/${FILE_NAME.replace('name', '')}`, 'x', 'no/%24%7Bfile%7D'],
    [`win/${FILE_NAME}`, 'C:\\docs\\w.txt', 'win/w.txt'],
    [`unix/${FILE_NAME}`, '/etc/passwd', 'unix/passwd'],
    [`up/${FILE_NAME}`, '../../other', 'up/other'],
  ])('the key %s with the file name %s', async (key, fileName, path) => {
    const file = { data: 'named', fileName }
    const answer = await post({
      fields: [['key', key]],
      conditions: [['starts-with', '$key', '']],
      file,
    })
    expect(answer.status).toBe(204)
    expect(await get(path)).toMatchObject({ status: 200, text: 'named' })
  })

  test('a policy is judged by the key with the name of the file in it', async () => {
    const fields: FormField[] = [['key', FILE_NAME]]
    const conditions = [['starts-with', '$key', 'user/']]
    const answer = await post({ fields, conditions, file: { data: 'x', fileName: 'user/a' } })
    expect(answer).toMatchObject({ code: 'AccessDenied' })
  })

  test.each([
    ['200', 200],
    ['201', 201],
    ['204', 204],
    ['404', 204],
    ['', 204],
    ['two hundred', 204],
    ['302', 204],
  ])('success_action_status %s answers %d', async (text, status) => {
    const key = `status/${text === '' ? 'none' : status}`
    const answer = await post({
      fields: [
        ['key', key],
        ['success_action_status', text],
      ],
    })
    expect(answer.status).toBe(status)
    if (status !== 201) expect(answer.text).toBe('')
    else {
      expect(answer.text).toContain(`<Bucket>${bucket}</Bucket>`)
      expect(answer.text).toContain(`<Key>${key}</Key>`)
      expect(answer.text).toContain(`<Location>${s3.url}/${bucket}/${key}</Location>`)
      expect(answer.text).toMatch(/<ETag>(?:"|&quot;)[0-9a-f]{32}(?:"|&quot;)<\/ETag>/)
    }
  })

  test.each(['success_action_redirect', 'redirect'])(
    '%s is where the browser goes next',
    async (name) => {
      const target = 'http://example.com/done?from=form'
      const fields: FormField[] = [
        ['key', 'redirected'],
        [name, target],
        ['success_action_status', '200'],
      ]
      const { headers, status } = await post({ fields })
      expect(status).toBe(303)
      const url = new URL(headers['location'] ?? '')
      expect(`${url.origin}${url.pathname}`).toBe('http://example.com/done')
      expect(Object.fromEntries(url.searchParams)).toMatchObject({
        from: 'form',
        bucket,
        key: 'redirected',
        etag: headers['etag'],
      })
    },
  )

  test.each(['javascript:alert(1)', 'no address', '//example.com', 'ftp://example.com/'])(
    'to be sent to %s is ignored',
    async (target) => {
      const fields: FormField[] = [
        ['key', 'not-redirected'],
        ['success_action_redirect', target],
      ]
      const { headers, status } = await post({ fields })
      expect(status).toBe(204)
      expect(headers['location']).toBe(`${s3.url}/${bucket}/not-redirected`)
    },
  )

  test('content headers and metadata are kept, in any capitals', async () => {
    const fields: FormField[] = [
      ['key', 'headers'],
      ['Content-Type', 'text/x-form'],
      ['cache-control', 'no-store'],
      ['Content-Disposition', 'attachment; filename=é.txt'],
      ['X-AMZ-Meta-Color', 'grün'],
      ['x-amz-storage-class', 'STANDARD'],
    ]
    expect((await post({ fields })).status).toBe(204)
    const { headers } = await get('headers')
    expect(headers).toMatchObject({ 'content-type': 'text/x-form', 'cache-control': 'no-store' })
    expect(Buffer.from(headers['x-amz-meta-color'] ?? '', 'latin1').toString()).toBe('grün')
  })

  test.each([
    ['x-amz-meta-a', 'one\r\nSet-Cookie: two'],
    ['x-amz-meta-a', 'one\ntwo'],
    ['x-amz-meta-a', 'one\0two'],
    ['x-amz-meta-a b', 'one'],
    ['x-amz-meta-é', 'one'],
    ['Content-Type', 'text/plain\r\nX-Evil: 1'],
    ['Cache-Control', '\u0001'],
  ])('what no header can be is refused: %j = %j', async (name, value) => {
    const fields: FormField[] = [
      ['key', 'evil'],
      [name, value],
    ]
    expect(await post({ fields })).toMatchObject({ status: 400, code: 'InvalidArgument' })
    expect(await get('evil')).toMatchObject({ code: 'NoSuchKey' })
  })

  test('tagging is a document', async () => {
    const tagging = '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>'
    const fields: FormField[] = [
      ['key', 'tagged'],
      ['tagging', tagging],
    ]
    expect((await post({ fields })).status).toBe(204)
    const { text } = await s3.raw({ path: `/${bucket}/tagged?tagging`, as: s3.owner })
    expect(text).toContain('<Key>a</Key><Value>b</Value>')
  })

  test.each([
    ['tagging', 'a=b', 'MalformedXML'],
    ['acl', 'public', 'InvalidArgument'],
    ['acl', 'public-read', 'AccessControlListNotSupported'],
    ['x-amz-storage-class', 'PAPER', 'InvalidStorageClass'],
    ['x-amz-website-redirect-location', 'there', 'InvalidRedirectLocation'],
    ['x-amz-checksum-crc32', 'AAAAAA==', 'BadDigest'],
    ['x-amz-checksum-sha256', 'AAAAAA==', 'InvalidRequest'],
    ['x-amz-object-lock-legal-hold', 'ON', 'InvalidRequest'],
    ['x-amz-server-side-encryption', 'aws:kms', 'NotImplemented'],
    ['key', '', 'InvalidArgument'],
  ])('%s = %s is refused: %s', async (name, value, code) => {
    const fields: FormField[] =
      name === 'key'
        ? [['key', value]]
        : [
            ['key', 'bad'],
            [name, value],
          ]
    const answer = await post({ fields })
    expect(answer.code).toBe(code)
    expect(await get('bad')).toMatchObject({ code: 'NoSuchKey' })
  })

  test.each([
    ['x-amz-checksum-crc32', base64OfCrc32('a file')],
    ['x-amz-checksum-sha256', createHash('sha256').update('a file').digest('base64')],
    ['x-amz-checksum-sha1', createHash('sha1').update('a file').digest('base64')],
  ])('%s is checked and kept', async (name, value) => {
    const fields: FormField[] = [
      ['key', name],
      [name, value],
    ]
    const answer = await post({ fields })
    expect(answer.status).toBe(204)
    const head = await s3.raw({
      path: `/${bucket}/${name}`,
      headers: { 'x-amz-checksum-mode': 'ENABLED' },
      as: s3.owner,
    })
    expect(head.headers[name]).toBe(value)
  })

  test.each([
    ['1024 bytes', 'k'.repeat(1024), 204],
    ['1025 bytes', 'k'.repeat(1025), 'KeyTooLongError'],
    ['a NUL', 'a\0b', 'InvalidArgument'],
    ['dots', 'a/../b', 204],
    ['an umlaut', 'schön', 204],
  ])('a key of %s answers %s', async (_title, key, expected) => {
    const { code, status } = await post({ fields: [['key', key]] })
    expect([status, code ?? status]).toEqual([expected === 204 ? 204 : 400, expected])
    if (status === 204) {
      const path = key.split('/').map(encodeURIComponent).join('/')
      expect(await get(path)).toMatchObject({ text: 'a file' })
    }
  })

  test('fields after the file are ignored', async () => {
    const fields: FormField[] = [['key', 'after']]
    const after: FormField[] = [
      ['x-amz-meta-late', 'x'],
      ['key', 'elsewhere'],
    ]
    expect((await post({ fields, after })).status).toBe(204)
    expect((await get('after')).headers['x-amz-meta-late']).toBeUndefined()
    expect(await get('elsewhere')).toMatchObject({ code: 'NoSuchKey' })
  })

  test('a form without a file is refused', async () => {
    const answer = await post({ fields: [['key', 'nothing']], file: undefined })
    expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
  })

  test('a form without a key is refused', async () => {
    expect(await post({ fields: [] })).toMatchObject({ status: 400, code: 'InvalidArgument' })
  })

  test('clients give every field a file name, or the file none', async () => {
    const text = formOf({ fields: [['key', 'python']] }).toString('latin1')
    const named = text
      .replaceAll(/name="([^"]+)"\r\n/g, 'name="$1"; filename="$1"\r\n')
      .replace('name="file"; filename="file.txt"', 'name="file"')
    expect(named).toContain('name="key"; filename="key"')
    const answer = await s3.raw(formRequest(bucket, Buffer.from(named, 'latin1')))
    expect(answer).toMatchObject({ status: 204 })
    expect(await get('python')).toMatchObject({ text: 'a file' })
  })

  test('fields of 20 KiB are too long', async () => {
    const fields: FormField[] = [
      ['key', 'long'],
      ['x-ignore-a', 'a'.repeat(10_000)],
      ['x-ignore-b', 'b'.repeat(11_000)],
    ]
    const answer = await post({ fields })
    expect(answer).toMatchObject({ status: 400, code: 'MaxPostPreDataLengthExceeded' })
  })

  test('200 fields are enough', async () => {
    const many = Array.from({ length: 250 }, (_, at): FormField => [`x-ignore-${at}`, 'a'])
    const answer = await post({ fields: [['key', 'many'], ...many], conditions: [{ key: 'many' }] })
    expect(answer).toMatchObject({ status: 400, code: 'MaxPostPreDataLengthExceeded' })
  })
})

describe('who posts a form', () => {
  const anonymous = (to: string, more: readonly FormField[] = []) =>
    s3.raw(formRequest(to, writeForm([['key', 'anonymous'], ...more], { data: 'nobody' })))

  test('nobody may, where nobody was allowed to', async () => {
    expect(await anonymous(bucket)).toMatchObject({ status: 403, code: 'AccessDenied' })
    expect(await get('anonymous')).toMatchObject({ code: 'NoSuchKey' })
  })

  test('anybody may, where anybody may write', async () => {
    expect(await anonymous(publicBucket)).toMatchObject({ status: 204 })
    expect(await get('anonymous', publicBucket)).toMatchObject({ text: 'nobody' })
    const shared = await anonymous(publicBucket, [
      ['acl', 'public-read'],
      ['Content-Type', 'text/plain'],
    ])
    expect(shared).toMatchObject({ status: 204 })
    const { text } = await s3.raw({ path: `/${publicBucket}/anonymous` })
    expect(text).toBe('nobody')
  })

  test('a signature of a form that is not whole is not taken for none', async () => {
    for (const name of ['x-amz-signature', 'signature', 'AWSAccessKeyId', 'x-amz-credential']) {
      const answer = await anonymous(publicBucket, [[name, 'x']])
      expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
    }
  })

  test('a policy without a signature is refused', async () => {
    const answer = await anonymous(publicBucket, [['policy', 'e30=']])
    expect(answer).toMatchObject({ status: 400, code: 'InvalidArgument' })
  })

  test.each(STRANGE_HEADERS)('%s in a header does not help', async (name, value) => {
    const request = formRequest(bucket, writeForm([['key', 'header']], { data: 'x' }))
    const headers = { ...request.headers, [name]: value }
    const answer = await s3.raw({ ...request, headers })
    expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
  })

  test('a policy of the bucket can ask for forms', async () => {
    const to = await newBucket()
    const Statement = [
      {
        Effect: 'Deny',
        Principal: '*',
        Action: 's3:PutObject',
        Resource: `arn:aws:s3:::${to}/*`,
        Condition: { StringNotEquals: { 's3:authType': 'POST' } },
      },
    ]
    const body = JSON.stringify({ Version: '2012-10-17', Statement })
    const path = `/${to}`
    await s3.raw({ method: 'PUT', path: `${path}?policy`, body, as: s3.owner })
    const put = { method: 'PUT', path: `${path}/k`, body: 'x', as: s3.owner }
    expect(await s3.raw(put)).toMatchObject({ code: 'AccessDenied' })
    for (const version of ['v4', 'v2'] as const) {
      expect(await post({ to, version, fields: [['key', 'k']] })).toMatchObject({ status: 204 })
    }
  })

  test('tags need a permission of their own, and are judged by it', async () => {
    const to = await newBucket()
    const allow = { Effect: 'Allow', Principal: { AWS: 'other' }, Resource: `arn:aws:s3:::${to}/*` }
    const Condition = { StringEquals: { 's3:RequestObjectTag/team': 'blue' } }
    const Statement = [
      { ...allow, Action: 's3:PutObject' },
      { ...allow, Action: 's3:PutObjectTagging', Condition },
    ]
    const body = JSON.stringify({ Version: '2012-10-17', Statement })
    await s3.raw({ method: 'PUT', path: `/${to}?policy`, body, as: s3.owner })
    for (const [team, status] of [
      ['red', 403],
      ['blue', 204],
    ] as const) {
      const tag = `<Tag><Key>team</Key><Value>${team}</Value></Tag>`
      const fields: FormField[] = [
        ['key', team],
        ['tagging', `<Tagging><TagSet>${tag}</TagSet></Tagging>`],
      ]
      expect((await post({ to, as: s3.other, fields })).status).toBe(status)
    }
  })

  test('an access list and the owner are those of the one who signed', async () => {
    const fields: FormField[] = [
      ['key', 'listed'],
      ['acl', 'public-read'],
    ]
    const answer = await post({ to: publicBucket, as: s3.other, fields })
    expect(answer).toMatchObject({ status: 204 })
    expect(await s3.raw({ path: `/${publicBucket}/listed` })).toMatchObject({ text: 'a file' })
    const acl = await s3.raw({ path: `/${publicBucket}/listed?acl`, as: s3.other })
    expect(acl.text).toContain(`<Owner><ID>${s3.other.canonicalId}</ID>`)
  })

  test('a bucket that is not there', async () => {
    const answer = await post({ to: 'no-such-bucket', fields: [['key', 'x']] })
    expect(answer).toMatchObject({ status: 404, code: 'NoSuchBucket' })
  })
})

const STRANGE_HEADERS = [
  ['x-amz-acl', 'public-read-write'],
  ['x-amz-content-sha256', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'],
  ['x-amz-content-sha256', 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'],
  ['authorization', 'AWS4-HMAC-SHA256 x'],
] as const

describe('the body of a form', () => {
  test('a file of 20 MiB is stored as it comes', async () => {
    const data = Buffer.alloc(20 * 1024 * 1024, 'twenty')
    expect(await post({ fields: [['key', 'big']], file: { data } })).toMatchObject({ status: 204 })
    const { body } = await get('big')
    expect(body.equals(data)).toBe(true)
  })

  test('a file may hold what looks like a boundary, and be empty', async () => {
    for (const data of ['', `\r\n--${BOUNDARY.slice(1)}\r\n`, '\r\n\r\n--', '\r\n']) {
      const file = { data }
      expect(await post({ fields: [['key', 'tricky']], file })).toMatchObject({ status: 204 })
      expect((await get('tricky')).text).toBe(data)
    }
  })

  test('cut at any byte it is refused, and stores nothing', async () => {
    const whole = formOf({ fields: [['key', 'cut']] })
    const end = whole.lastIndexOf(`--${BOUNDARY}--`)
    const step = 7
    for (let at = 0; at < end; at += at < end - 40 ? step : 1) {
      const answer = await s3.raw(formRequest(bucket, whole.subarray(0, at)))
      expect([400, 403]).toContain(answer.status)
    }
    expect(await get('cut')).toMatchObject({ code: 'NoSuchKey' })
  })

  test('cut at any byte of its file, a form that is refused anyway does no harm', async () => {
    const as = { ...s3.owner, secretAccessKey: 'x' }
    const whole = formOf({ as, fields: [['key', 'cut']], file: { data: Buffer.alloc(300, 'x') } })
    for (let at = whole.length - 330; at < whole.length; at += 5) {
      const answer = await s3.raw(formRequest(bucket, whole.subarray(0, at)))
      expect([400, 403]).toContain(answer.status)
    }
  })

  test('a client that goes away in the middle leaves nothing behind', async () => {
    const whole = formOf({ fields: [['key', 'gone']], file: { data: Buffer.alloc(200_000, 'g') } })
    for (const at of [10, 400, 1200, 2000, 60_000, 199_000]) {
      await sendAndLeave(whole, at)
    }
    expect(await get('gone')).toMatchObject({ code: 'NoSuchKey' })
  })

  test.each([
    ['without a boundary', 'multipart/form-data'],
    ['with an empty boundary', 'multipart/form-data; boundary='],
    ['with another boundary', 'multipart/form-data; boundary=other'],
  ])('%s it is refused', async (_title, type) => {
    const request = formRequest(bucket, formOf({ fields: [['key', 'x']] }))
    const answer = await s3.raw({ ...request, headers: { 'content-type': type } })
    expect([400, 412]).toContain(answer.status)
  })

  test.each([
    ['a part without a name', 'Content-Disposition: form-data'],
    ['a part without a disposition', 'X-Other: 1'],
    ['a part of another disposition', 'Content-Disposition: attachment; name="key"'],
    ['a part with an empty name', 'Content-Disposition: form-data; name=""'],
  ])('%s does no harm', async (_title, header) => {
    const whole = formOf({ fields: [['key', 'odd']] }).toString('latin1')
    const odd = `--${BOUNDARY}\r\n${header}\r\n\r\nodd\r\n${whole}`
    const answer = await s3.raw(formRequest(bucket, Buffer.from(odd, 'latin1')))
    expect(answer.status).toBeLessThan(500)
    expect((await s3.raw({ path: '/', as: s3.owner })).status).toBe(200)
  })

  test.each(['x-www-form-urlencoded', 'application/xml', ''])('%s is no form', async (type) => {
    const headers = { 'content-type': type }
    const answer = await s3.raw({ method: 'POST', path: `/${bucket}`, headers, body: 'key=a' })
    expect([405, 412]).toContain(answer.status)
  })
})

function base64OfCrc32(text: string): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(text))
  return bytes.toString('base64')
}

/** Sends so many bytes of a form, and closes the connection. */
async function sendAndLeave(whole: Buffer, bytes: number): Promise<void> {
  const { hostname, port, host } = new URL(s3.url)
  const head = [
    `POST /${bucket} HTTP/1.1`,
    `Host: ${host}`,
    `Content-Type: multipart/form-data; boundary=${BOUNDARY}`,
    `Content-Length: ${whole.length}`,
  ]
  await new Promise<void>((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(`${head.join('\r\n')}\r\n\r\n`)
      socket.write(whole.subarray(0, bytes), () => setTimeout(() => socket.destroy(), 20))
    })
    socket.on('error', reject)
    socket.on('close', () => resolve())
  })
}

describe('createPresignedPost of the SDK', () => {
  test('makes a form that is taken', async () => {
    const { fields, url } = await createPresignedPost(s3.owner.sdk, {
      Bucket: bucket,
      Key: `sdk/${FILE_NAME}`,
      Conditions: [
        ['content-length-range', 1, 100],
        ['starts-with', '$x-amz-meta-who', ''],
      ],
      Fields: { 'x-amz-meta-who': 'sdk', success_action_status: '201' },
      Expires: 60,
    })
    expect(url).toContain(bucket)
    const body = writeForm(Object.entries(fields), { data: 'from the sdk', fileName: 'f.txt' })
    const answer = await s3.raw(formRequest(bucket, body))
    expect(answer).toMatchObject({ status: 201 })
    const found = await get('sdk/f.txt')
    expect(found).toMatchObject({ text: 'from the sdk' })
    expect(found.headers['x-amz-meta-who']).toBe('sdk')
  })

  test('makes one that nobody can change', async () => {
    const { fields } = await createPresignedPost(s3.owner.sdk, { Bucket: bucket, Key: 'fixed' })
    const changed = Object.entries({ ...fields, key: 'changed' })
    const answer = await s3.raw(formRequest(bucket, writeForm(changed, { data: 'x' })))
    expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' })
    expect(await get('changed')).toMatchObject({ code: 'NoSuchKey' })
  })
})
