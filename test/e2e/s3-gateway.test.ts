import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  AbortMultipartUploadCommand,
  CreateBucketCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  NoSuchKey,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { GatewayProcess, sdkOf, startS3Cluster } from '../support/s3-endpoint.ts'
import type { ClusterProcesses } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

const MIB = 2 ** 20
const PART_BYTES = 5 * MIB
const WRITERS = 6
const Bucket = 'survivors'

/** Bytes that follow from a key, so that what is read can be checked without keeping it. */
function bodyOf(key: string): Buffer {
  const seed = createHash('sha256').update(key).digest()
  // One in sixteen is uploaded in three parts, of which the last is short.
  const isLarge = (seed[0] ?? 0) % 16 === 0
  const length = isLarge ? 2 * PART_BYTES + 1000 : 1 + seed.readUInt16BE(1) * 4
  return Buffer.alloc(length, seed)
}

/** Keys that were begun; true once the gateway has said that the object is there. */
type Ledger = Map<string, boolean>

async function putOne(sdk: S3Client, Key: string): Promise<void> {
  const Body = bodyOf(Key)
  if (Body.length <= PART_BYTES) await sdk.send(new PutObjectCommand({ Bucket, Key, Body }))
  else await new Upload({ client: sdk, params: { Bucket, Key, Body }, partSize: PART_BYTES }).done()
}

/** Puts objects at the gateway that `at` names until told to stop; failures are not repeated. */
async function writeUntil(at: () => S3Client, ledger: Ledger, stop: AbortSignal): Promise<void> {
  const write = async (writer: number): Promise<void> => {
    for (let count = 0; !stop.aborted; count++) {
      const key = `${writer}/${count}`
      ledger.set(key, false)
      try {
        await putOne(at(), key)
        ledger.set(key, true)
      } catch {
        await sleep(20)
      }
    }
  }
  await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)))
}

function acknowledged(ledger: Ledger): number {
  return [...ledger.values()].filter((isThere) => isThere).length
}

/** Everything acknowledged is there; what was not is there whole, or not at all. */
async function expectLedger(sdk: S3Client, ledger: Ledger): Promise<void> {
  const wrong: string[] = []
  for (const [Key, isAcknowledged] of ledger) {
    const found = await readOne(sdk, Key)
    if (found === undefined && !isAcknowledged) continue
    if (found?.equals(bodyOf(Key)) !== true) wrong.push(`${Key}: ${found?.length} bytes`)
  }
  expect(wrong).toEqual([])
}

async function readOne(sdk: S3Client, Key: string): Promise<Buffer | undefined> {
  try {
    const { Body } = await sdk.send(new GetObjectCommand({ Bucket, Key }))
    return Buffer.from((await Body?.transformToByteArray()) ?? [])
  } catch (error) {
    if (error instanceof NoSuchKey) return undefined
    throw error
  }
}

/** What a load balancer, which has no key, learns of a gateway. */
async function healthOf({ url }: GatewayProcess): Promise<number> {
  const answer = await fetch(`${url}/_hayloft/health`)
  await answer.arrayBuffer()
  return answer.status
}

async function waitFor(what: string, isDone: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 30_000
  while (!isDone() && Date.now() < deadlineMs) await sleep(20)
  expect(isDone(), what).toBe(true)
}

describe('two gateways before one cluster', () => {
  let owned: DisposeStack
  let cluster: ClusterProcesses
  let gateways: readonly [GatewayProcess, GatewayProcess]
  let clients: readonly [S3Client, S3Client]

  beforeAll(async () => {
    owned = new DisposeStack()
    const { path } = owned.use(await openTempDirectory())
    cluster = owned.use(await startS3Cluster(path))
    const start = () => GatewayProcess.start(cluster)
    gateways = [owned.use(await start()), owned.use(await start())]
    clients = [sdkOf(gateways[0].url), sdkOf(gateways[1].url)]
    await clients[0].send(new CreateBucketCommand({ Bucket }))
  })

  afterAll(async () => {
    for (const client of clients) client.destroy()
    await owned[Symbol.asyncDispose]()
  })

  test('show the same: what one has written, the other has at once, over a kill of the master', async () => {
    const [one, other] = clients
    for (let count = 0; count < 40; count++) {
      const [writer, reader] = count % 2 === 0 ? [one, other] : [other, one]
      // Always the same key: what a gateway remembered of it would be wrong.
      await writer.send(new PutObjectCommand({ Bucket, Key: 'same', Body: `${count}` }))
      expect((await readOne(reader, 'same'))?.toString()).toBe(`${count}`)
    }
    expect(await healthOf(gateways[0])).toBe(200)
    await cluster.master.kill()
    await expect.poll(() => healthOf(gateways[0]), { timeout: 10_000 }).toBe(503)
    await cluster.master.restart()
    await expect.poll(() => healthOf(gateways[0]), { timeout: 30_000 }).toBe(200)
    expect((await readOne(one, 'same'))?.toString()).toBe('39')
    expect((await readOne(other, 'same'))?.toString()).toBe('39')
  })

  test('lose nothing acknowledged when one is killed with -9 while six clients upload', async () => {
    const [first, second] = clients
    let current = first
    const ledger: Ledger = new Map()
    const stop = new AbortController()
    const writing = writeUntil(() => current, ledger, stop.signal)
    await waitFor('the first takes uploads', () => acknowledged(ledger) > 40)
    await gateways[0].kill()
    current = second
    const before = acknowledged(ledger)
    await waitFor('the second takes uploads', () => acknowledged(ledger) > before + 40)
    stop.abort()
    await writing
    expect([...ledger.values()], 'some were cut off').toContain(false)
    await expectLedger(second, ledger)
    const { Contents = [] } = await second.send(new ListObjectsV2Command({ Bucket }))
    for (const { Key = '' } of Contents) expect(Key === 'same' || ledger.has(Key), Key).toBe(true)
    // What it was in the middle of can be seen, and given up, at any other gateway.
    const { Uploads = [] } = await second.send(new ListMultipartUploadsCommand({ Bucket }))
    for (const { Key = '', UploadId } of Uploads) {
      expect(ledger.get(Key), Key).toBe(false)
      await second.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }))
    }
    expect(await gateways[1].stop()).toBe(0)
  })
})
