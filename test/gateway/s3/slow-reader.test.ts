import { get, type IncomingMessage } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DELETE_DELAY_MS } from '../../../src/namespace/delete-delay.ts'
import { systemClock } from '../../../src/runtime/clock.ts'
import { Prng } from '../../support/prng.ts'
import { signedHeaders, TestS3 } from '../../support/test-s3.ts'

const KIB = 1024
const MIB = 1024 * KIB
const SIGNAL = new AbortController().signal
const BUCKET = 'overwritten'

let s3: TestS3

beforeAll(async () => {
  s3 = await TestS3.open()
  await s3.raw({ method: 'PUT', path: `/${BUCKET}`, as: s3.root })
})

afterAll(async () => {
  await s3?.[Symbol.asyncDispose]()
})

async function put(key: string, body: Buffer): Promise<void> {
  const path = `/${BUCKET}/${key}`
  expect((await s3.raw({ method: 'PUT', path, body, as: s3.root })).status).toBe(200)
}

async function fileOf(key: string): Promise<string> {
  const bucket = await s3.server.namespace.findBucket(BUCKET, SIGNAL)
  if (bucket === undefined) throw new Error('no bucket')
  const version = await s3.server.namespace.findObject({ bucket, key }, SIGNAL)
  return version?.parts[0]?.fileId ?? ''
}

async function isThere(fileId: string): Promise<boolean> {
  return await s3.server.client.stat(fileId).then(
    () => true,
    () => false,
  )
}

/** Answers when the head has come, and reads no byte of the body. */
async function begin(key: string): Promise<IncomingMessage> {
  const { hostname, port } = new URL(s3.url)
  const path = `/${BUCKET}/${key}`
  const signing = { method: 'GET', path, headers: { host: `${hostname}:${port}` } }
  const headers = await signedHeaders(s3.root, { ...signing, bytes: Buffer.alloc(0) })
  return await new Promise((resolve, reject) => {
    get({ hostname, port, path, headers, agent: false }, (answer) => {
      answer.pause()
      resolve(answer)
    }).on('error', reject)
  })
}

async function readAll(answer: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of answer) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

describe('a reader that takes its time', () => {
  test('gets all of 3 and of 48 MiB that are overwritten or deleted meanwhile', async () => {
    const prng = new Prng(1)
    const [middle, large] = [prng.bytes(3 * MIB), prng.bytes(48 * MIB)]
    await put('middle', middle)
    await put('large', large)
    await put('small', prng.bytes(64 * KIB))
    const files = [await fileOf('middle'), await fileOf('large'), await fileOf('small')]
    const [middleFile = '', largeFile = '', smallFile = ''] = files
    const answers = [await begin('middle'), await begin('large')]
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 200])
    await put('middle', Buffer.from('new'))
    expect((await s3.raw({ method: 'DELETE', path: `/${BUCKET}/large`, as: s3.root })).status).toBe(
      204,
    )
    await put('small', Buffer.from('new'))
    const changedMs = performance.now()
    // A small one is not read slowly: its room is free after 10 s, and some for the deletes.
    while (await isThere(smallFile)) {
      expect(performance.now() - changedMs).toBeLessThan(40_000)
      await systemClock.sleep(100, SIGNAL)
    }
    expect(performance.now() - changedMs).toBeGreaterThan(DELETE_DELAY_MS - 500)
    await systemClock.sleep(1500, SIGNAL)
    expect([await isThere(middleFile), await isThere(largeFile)]).toEqual([true, true])
    const [readMiddle, readLarge] = await Promise.all(answers.map(readAll))
    expect(readMiddle?.equals(middle)).toBe(true)
    expect(readLarge?.equals(large)).toBe(true)
    const now = await s3.raw({ path: `/${BUCKET}/middle`, as: s3.root })
    expect(now.text).toBe('new')
    expect((await s3.raw({ path: `/${BUCKET}/large`, as: s3.root })).status).toBe(404)
  })
})
