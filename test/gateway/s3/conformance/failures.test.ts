import { CreateBucketCommand, GetBucketLocationCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ErrorCode, StoreError } from '../../../../src/base/store-error.ts'
import type { HayloftClient } from '../../../../src/client/hayloft-client.ts'
import { S3Gateway } from '../../../../src/gateway/s3/s3-gateway.ts'
import type { S3Parts } from '../../../../src/gateway/s3/s3-parts.ts'
import { systemClock } from '../../../../src/runtime/clock.ts'
import { type Logger, silentLogger } from '../../../../src/runtime/logger.ts'
import { cryptoRandom } from '../../../../src/runtime/random.ts'
import { signedHeaders, TestS3 } from '../../../support/test-s3.ts'
import { BucketScene, patternBytes, textOf } from './s3-scene.ts'

const MIB = 1024 * 1024
const SECRET = 'volume 7 on 10.0.0.1:8080 at /var/lib/hayloft/7.dat'

let s3: TestS3
let bucket: BucketScene

beforeAll(async () => {
  s3 = await TestS3.open({ s3Options: { region: 'us-east-1' } })
  bucket = await BucketScene.make(s3)
  await bucket.put('small', 'hello')
  await bucket.put('large', patternBytes(9 * MIB))
})

afterAll(async () => {
  await s3[Symbol.asyncDispose]()
})

interface Asked {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** A gateway on the buckets of the server, with other parts where they are given. */
async function openGateway(parts: Partial<S3Parts>): Promise<S3Gateway> {
  const { accessKeyId, canonicalId, name, secretAccessKey } = s3.owner
  const user = {
    canonicalId,
    name,
    displayName: name,
    email: undefined,
    isRoot: false,
    policy: undefined,
  }
  const none = async () => undefined
  return await S3Gateway.open(
    {
      namespace: s3.server.namespace,
      client: s3.server.client,
      keys: { findKey: () => ({ accessKeyId, secret: secretAccessKey, user }) },
      users: { findById: none, findByEmail: none },
      clock: systemClock,
      random: cryptoRandom,
      logger: silentLogger,
      codedPolicy: none,
      closing: new AbortController().signal,
      ...parts,
    },
    { host: '127.0.0.1', port: 0, region: undefined, domains: [], isV2Allowed: false, dayMs: 1 },
  )
}

async function ask(gateway: S3Gateway, method: string, path: string): Promise<Asked> {
  const { host, port } = gateway.address
  const { host: _, ...headers } = await signedHeaders(s3.owner, {
    method,
    path,
    headers: { host: `${host}:${port}` },
    bytes: Buffer.alloc(0),
  })
  const answer = await fetch(`http://${host}:${port}${path}`, { method, headers })
  return { status: answer.status, headers: answer.headers, text: await answer.text() }
}

function failing(error: unknown): HayloftClient {
  const fail = () => {
    throw error
  }
  return {
    get: async () => fail(),
    getNow: () => undefined,
    getStream: async function* () {
      yield* []
      fail()
    },
  } as unknown as HayloftClient
}

describe('what fails below the gateway', () => {
  const CASES: readonly (readonly [ErrorCode, number, string])[] = [
    ['DISK_FAILED', 500, 'InternalError'],
    ['NEEDLE_CORRUPT', 500, 'InternalError'],
    ['NEEDLE_NOT_FOUND', 500, 'InternalError'],
    ['VOLUME_NOT_FOUND', 500, 'InternalError'],
    ['OVERLOADED', 503, 'SlowDown'],
    ['UNAVAILABLE', 503, 'ServiceUnavailable'],
    ['TIMEOUT', 503, 'ServiceUnavailable'],
  ]

  test.each(CASES)(
    '%s while reading is %d %s, and says nothing more',
    async (code, status, name) => {
      const logged: string[] = []
      const log = (event: string) => logged.push(event)
      const logger: Logger = { debug: log, info: log, warn: log, error: log }
      const client = failing(new StoreError(code, SECRET))
      await using gateway = await openGateway({ client, logger })
      for (const key of ['small', 'large']) {
        const answer = await ask(gateway, 'GET', bucket.path(key))
        expect([key, answer.status]).toEqual([key, status])
        expect(textOf(answer.text, 'Code')).toBe(name)
        expect(answer.text).not.toMatch(/10\.0\.0|hayloft\/|volume|needle/i)
        expect(answer.headers.get('x-amz-request-id')).toBe(textOf(answer.text, 'RequestId'))
      }
      expect(logged).toEqual(['s3.request_failed', 's3.request_failed'])
    },
  )

  test('an error that nobody knows is 500 InternalError as well', async () => {
    const namespace = new Proxy(s3.server.namespace, {
      get: () => async () => {
        throw new TypeError(SECRET)
      },
    })
    await using gateway = await openGateway({ namespace })
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', `/${bucket.name}`],
      ['PUT', bucket.path('a')],
      ['DELETE', bucket.path('a')],
      ['POST', `/${bucket.name}?delete`],
      ['OPTIONS', bucket.path('a')],
    ] as const) {
      const answer = await ask(gateway, method, path)
      expect([method, answer.status]).toEqual([method, 500])
      expect(textOf(answer.text, 'Code')).toBe('InternalError')
      expect(answer.text).not.toContain('10.0.0')
    }
  })

  test('in the middle of an answer cuts it off: no client takes it for whole', async () => {
    const client = {
      getNow: () => undefined,
      getStream: async function* () {
        yield Buffer.alloc(MIB)
        throw new StoreError('UNAVAILABLE', SECRET)
      },
    } as unknown as HayloftClient
    await using gateway = await openGateway({ client })
    await expect(ask(gateway, 'GET', bucket.path('large'))).rejects.toThrow()
  })
})

describe('what no answer can be made of', () => {
  test('a stored value that can be no header ends the connection, and nobody waits', async () => {
    const { namespace } = s3.server
    const findObject: typeof namespace.findObject = async (request, signal) => {
      const found = await namespace.findObject(request, signal)
      return found && { ...found, headers: { 'cache-control': 'a\nb: c' } }
    }
    const spoilt = new Proxy(namespace, {
      get: (target, name) => {
        if (name === 'findObject') return findObject
        const member: unknown = Reflect.get(target, name)
        return typeof member === 'function' ? member.bind(target) : member
      },
    })
    await using gateway = await openGateway({ namespace: spoilt })
    await expect(ask(gateway, 'GET', bucket.path('small'))).rejects.toThrow('fetch failed')
  })
})

describe('a region that is not the first of S3', () => {
  let far: TestS3
  let sdk: S3Client

  beforeAll(async () => {
    far = await TestS3.open({ s3Options: { region: 'eu-central-1' } })
    sdk = new S3Client({
      endpoint: far.url,
      region: 'eu-central-1',
      forcePathStyle: true,
      credentials: far.owner,
      maxAttempts: 1,
    })
  })

  afterAll(async () => {
    sdk.destroy()
    await far[Symbol.asyncDispose]()
  })

  const create = (Bucket: string, LocationConstraint?: string) =>
    sdk.send(
      new CreateBucketCommand({
        Bucket,
        ...(LocationConstraint !== undefined && {
          CreateBucketConfiguration: { LocationConstraint: LocationConstraint as 'EU' },
        }),
      }),
    )

  test('is where buckets are, and another is refused', async () => {
    await create('here', 'eu-central-1')
    const { LocationConstraint } = await sdk.send(new GetBucketLocationCommand({ Bucket: 'here' }))
    expect(LocationConstraint).toBe('eu-central-1')
    await expect(create('there', 'eu-west-1')).rejects.toMatchObject({
      name: 'IllegalLocationConstraintException',
    })
  })

  test('makes no bucket twice, not even for its owner', async () => {
    await create('twice')
    await expect(create('twice')).rejects.toMatchObject({
      name: 'BucketAlreadyOwnedByYou',
      $metadata: { httpStatusCode: 409 },
    })
  })

  test('is the one that requests are signed for', async () => {
    const answer = await far.raw({ path: '/', as: far.owner })
    expect(answer).toMatchObject({ status: 400, code: 'AuthorizationHeaderMalformed' })
    expect(textOf(answer.text, 'Region')).toBe('eu-central-1')
  })
})
