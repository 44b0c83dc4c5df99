import { once } from 'node:events'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../src/base/limits.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { S3_KEY, S3_KEY_ENV, sdkOf } from '../support/s3-endpoint.ts'
import { freePorts, ServerProcess } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'
import { signedHeaders } from '../support/test-s3.ts'

// Goal: what a request holds is bounded by the size of a chunk, whatever its client does, and never
// by the size of the object.
// Method: the resident memory of a real server while many clients stall, and while one moves much.

const KIB = 1024
const MIB = 1024 * KIB
const STALLED = 64
const SENT_BYTES = 64 * KIB
const ANNOUNCED_BYTES = 16 * MIB
/** Four chunks: a reader that stalls has not been sent all of it by any buffer in between. */
const LARGE_BYTES = 4 * LIMITS.chunkBytes.value
const HUGE_BYTES = 256 * MIB
/** Of one request, beside its chunk. */
const REQUEST_BYTES_MAX = MIB
const Bucket = 'memory'

let owned: DisposeStack
let server: ServerProcess
let url: URL
let sdk: S3Client

beforeAll(async () => {
  owned = new DisposeStack()
  const { path } = owned.use(await openTempDirectory())
  const [master = 0, volume = 0, s3 = 0] = await freePorts(3)
  const ports = ['--port', `${master}`, '--volume-port', `${volume}`, '--s3-port', `${s3}`]
  server = owned.use(
    await ServerProcess.start({
      args: ['server', '--dir', join(path, 'data'), '--durability', 'none', ...ports],
      env: S3_KEY_ENV,
      readyUrl: `http://127.0.0.1:${volume}/readyz`,
    }),
  )
  url = new URL(`http://127.0.0.1:${s3}`)
  sdk = sdkOf(url.href)
  await sdk.send(new CreateBucketCommand({ Bucket }))
  await sdk.send(
    new PutObjectCommand({ Bucket, Key: 'large', Body: Buffer.alloc(LARGE_BYTES, 'large') }),
  )
})

afterAll(async () => {
  sdk.destroy()
  await owned[Symbol.asyncDispose]()
})

interface Sketch {
  readonly method: string
  /** With the query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Signed for a body that nobody knows yet, and begun. */
async function begin({ headers = {}, method, path }: Sketch): Promise<ClientRequest> {
  const signed = await signedHeaders(S3_KEY, {
    method,
    path,
    headers: { host: url.host, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', ...headers },
    bytes: Buffer.alloc(0),
  })
  const { hostname, port } = url
  const request = httpRequest({ hostname, port, method, path, headers: signed, agent: false })
  request.on('error', () => undefined) // Cut off by us.
  return request
}

const length = { 'content-length': String(ANNOUNCED_BYTES) }

function plainPut(index: number): Sketch {
  return { method: 'PUT', path: `/${Bucket}/plain-${index}`, headers: length }
}

function chunkedPut(index: number): Sketch {
  const headers = {
    'content-encoding': 'aws-chunked',
    'transfer-encoding': 'chunked',
    'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
    'x-amz-decoded-content-length': String(ANNOUNCED_BYTES),
    'x-amz-trailer': 'x-amz-checksum-crc32',
  }
  return { method: 'PUT', path: `/${Bucket}/chunked-${index}`, headers }
}

async function stallingPuts(of: (index: number) => Sketch, first: Buffer) {
  const requests = await Promise.all(Array.from({ length: STALLED }, (_, at) => begin(of(at))))
  await Promise.all(requests.map((request) => new Promise((sent) => request.write(first, sent))))
  return requests
}

/** Readers that have seen the headers and take nothing more than fits into their socket. */
async function stallingGets(): Promise<ClientRequest[]> {
  const sketch = { method: 'GET', path: `/${Bucket}/large` }
  const requests = await Promise.all(Array.from({ length: STALLED }, () => begin(sketch)))
  await Promise.all(
    requests.map((request) => {
      const answered = new Promise<IncomingMessage>((resolve) => request.once('response', resolve))
      request.end()
      return answered.then((res) => {
        expect(res.statusCode).toBe(200)
        res.on('error', () => undefined).pause()
      })
    }),
  )
  return requests
}

/** The highest of several looks, once everything has had time to arrive. */
async function settledBytes(): Promise<number> {
  let bytes = 0
  for (let look = 0; look < 8; look++) {
    await sleep(100)
    bytes = Math.max(bytes, server.rssBytes())
  }
  return bytes
}

/** What the server's memory has grown by at most while something is done. */
async function growthDuring(run: () => Promise<unknown>): Promise<number> {
  const before = server.rssBytes()
  let highest = before
  const looking = setInterval(() => {
    highest = Math.max(highest, server.rssBytes())
  }, 20)
  try {
    await run()
  } finally {
    clearInterval(looking)
  }
  return highest - before
}

async function answerTo(request: ClientRequest): Promise<IncomingMessage> {
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve).once('error', reject)
  })
  return await answered
}

/** As fast as it is taken. */
async function upload(key: string, sizeBytes: number): Promise<number | undefined> {
  const request = await begin({
    method: 'PUT',
    path: `/${Bucket}/${key}`,
    headers: { 'content-length': String(sizeBytes) },
  })
  const answered = answerTo(request)
  const piece = Buffer.alloc(256 * KIB, key)
  for (let at = 0; at < sizeBytes; at += piece.length) {
    if (!request.write(piece)) await once(request, 'drain')
  }
  request.end()
  const answer = await answered
  answer.resume()
  return answer.statusCode
}

async function download(key: string): Promise<number> {
  const request = await begin({ method: 'GET', path: `/${Bucket}/${key}` })
  const answered = answerTo(request)
  request.end()
  let bytes = 0
  for await (const piece of await answered) bytes += (piece as Buffer).length
  return bytes
}

test('an object of 256 MiB is stored and read in less than half its size', async () => {
  // The first time, buffers are made that are used again.
  await upload('first', LARGE_BYTES)
  await download('first')
  const storing = await growthDuring(async () => {
    expect(await upload('huge', HUGE_BYTES)).toBe(200)
  })
  expect(storing).toBeLessThan(HUGE_BYTES / 2)
  const reading = await growthDuring(async () => {
    expect(await download('huge')).toBe(HUGE_BYTES)
  })
  expect(reading).toBeLessThan(HUGE_BYTES / 2)
})

describe(`${STALLED} clients of each kind that stall`, () => {
  let stalled: ClientRequest[]

  beforeEach(() => {
    stalled = []
  })

  afterEach(async () => {
    for (const request of stalled) request.destroy()
  })

  test('in the middle of an upload hold no more than they have sent and 1 MiB', async () => {
    const { UploadId = '' } = await sdk.send(
      new CreateMultipartUploadCommand({ Bucket, Key: 'parts' }),
    )
    const partPut = (index: number): Sketch => ({
      method: 'PUT',
      path: `/${Bucket}/parts?partNumber=${index + 1}&uploadId=${UploadId}`,
      headers: length,
    })
    const piece = Buffer.alloc(SENT_BYTES)
    const chunkHead = Buffer.from(`${ANNOUNCED_BYTES.toString(16)}\r\n`)
    const base = await settledBytes()
    stalled.push(...(await stallingPuts(plainPut, piece)))
    stalled.push(...(await stallingPuts(chunkedPut, Buffer.concat([chunkHead, piece]))))
    stalled.push(...(await stallingPuts(partPut, piece)))
    const growth = (await settledBytes()) - base
    expect(growth).toBeLessThan(3 * STALLED * (SENT_BYTES + REQUEST_BYTES_MAX))
    await expectService()
    for (const request of stalled) request.destroy()
    // Nothing of an upload that breaks off stays.
    const { Contents = [] } = await sdk.send(new ListObjectsV2Command({ Bucket }))
    expect(Contents.filter(({ Key = '' }) => /^(?:plain|chunked|parts)/.test(Key))).toEqual([])
    const { Parts = [] } = await sdk.send(new ListPartsCommand({ Bucket, Key: 'parts', UploadId }))
    expect(Parts).toEqual([])
  })

  test('in the middle of a download hold a chunk and 1 MiB, and 128 MiB together; twice', async () => {
    const base = await settledBytes()
    for (const round of [1, 2]) {
      stalled = await stallingGets()
      const growth = (await settledBytes()) - base
      const heldMax = STALLED * (LIMITS.chunkBytes.value + REQUEST_BYTES_MAX)
      const aheadMax = LIMITS.readAheadSlots.value * LIMITS.chunkBytes.value
      expect(growth, `round ${round}`).toBeLessThan(heldMax + aheadMax)
      await expectService()
      for (const request of stalled) request.destroy()
    }
  })
})

/** Others are served, whoever else stalls. */
async function expectService(): Promise<void> {
  const sizeBytes = LIMITS.chunkBytes.value + MIB
  expect(await upload('other', sizeBytes)).toBe(200)
  expect(await download('other')).toBe(sizeBytes)
}
