import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  CreateBucketCommand,
  GetObjectCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { DoorProcess } from '../support/door-processes.ts'
import { FilesCli } from '../support/files-cli.ts'
import {
  type HttpAnswer,
  type HttpCall,
  jsonOf,
  viaCurl,
  viaFetch,
} from '../support/http-clients.ts'
import { NginxProcess, nginxMissing } from '../support/nginx-process.ts'
import { S3_KEY, sdkOf } from '../support/s3-endpoint.ts'
import { freePorts } from '../support/server-process.ts'
import { openTempDirectory } from '../support/temp-directory.ts'

// Goal: with several gateways behind a load balancer one may die, and whoever repeats requests that
// failed notices nothing; nothing that was acknowledged is lost, and no document is ever half new.

const MISSING = nginxMissing()
const MIB = 2 ** 20
const WRITERS = 3
const ACKNOWLEDGED = 8
const RETRY_MS_MAX = 60_000

function sha256(data: Buffer | string): string {
  return createHash('sha256').update(data).digest('hex')
}

/** As clients do: what got no answer, or one of the balancer, is asked again. */
async function askUntilDone(url: string, call: HttpCall): Promise<HttpAnswer> {
  const deadlineMs = Date.now() + RETRY_MS_MAX
  for (;;) {
    const answer = await viaFetch(url, call).catch(() => undefined)
    if (answer !== undefined && answer.status < 500) return answer
    if (Date.now() > deadlineMs) throw new Error(`${url}: ${answer?.status} ${answer?.body}`)
    await sleep(50)
  }
}

/** All fields tell which write it is of. */
function documentOf(count: number): Record<string, unknown> {
  return { update_count: count, told: count, text: `${count},`.repeat(3000) }
}

describe.skipIf(MISSING !== undefined)(
  `two gateways behind nginx${MISSING ? `, ${MISSING}` : ''}`,
  () => {
    let owned: DisposeStack
    let gateways: readonly [DoorProcess, DoorProcess]
    let restUrl: string
    let s3: S3Client
    let files: FilesCli

    beforeAll(async () => {
      await using opening = new DisposeStack()
      const directory = opening.use(await openTempDirectory()).path
      const cluster = opening.use(await DoorProcess.ofServer(directory, { volumeServers: 6 }))
      const secretFile = join(directory, 'data', 'master', 'cluster.secret')
      const { masterAddress, ports } = cluster
      const at = { masterAddress, masterPort: ports.master, secretFile }
      const start = () => DoorProcess.ofGateway(at)
      gateways = [opening.use(await start()), opening.use(await start())]
      const [s3Port = 0, restPort = 0, filesPort = 0] = await freePorts(3)
      const both = (of: (gateway: DoorProcess) => number) => gateways.map(of)
      opening.use(
        await NginxProcess.start(join(directory, 'nginx'), [
          { documented: 8333, listen: s3Port, gateways: both((gateway) => gateway.ports.s3) },
          { documented: 8000, listen: restPort, gateways: both((gateway) => gateway.ports.rest) },
          {
            documented: 18333,
            listen: filesPort,
            gateways: both((gateway) => gateway.ports.files),
          },
        ]),
      )
      restUrl = `http://127.0.0.1:${restPort}`
      s3 = sdkOf(`http://127.0.0.1:${s3Port}`)
      opening.defer(async () => s3.destroy())
      files = new FilesCli(`127.0.0.1:${filesPort}`, S3_KEY)
      await s3.send(new CreateBucketCommand({ Bucket: 'proxied' }))
      owned = opening.move()
    })

    afterAll(async () => {
      await owned?.[Symbol.asyncDispose]()
    })

    async function readS3(Key: string): Promise<Buffer> {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket: 'proxied', Key }))
      return Buffer.from((await Body?.transformToByteArray()) ?? [])
    }

    test('S3: signatures, odd keys, metadata, and bodies of many parts', async () => {
      const Key = 'a//b c/größe+%20.txt'
      const Metadata = { 'with-dash': '1', under_score: '2' }
      await s3.send(new PutObjectCommand({ Bucket: 'proxied', Key, Body: 'odd', Metadata }))
      const found = await s3.send(new GetObjectCommand({ Bucket: 'proxied', Key }))
      expect(await found.Body?.transformToString()).toBe('odd')
      expect(found.Metadata).toEqual(Metadata)
      const Body = Buffer.alloc(32 * MIB, 'through the balancer ')
      await s3.send(new PutObjectCommand({ Bucket: 'proxied', Key: 'long', Body }))
      expect(sha256(await readS3('long'))).toBe(sha256(Body))
      const params = { Bucket: 'proxied', Key: 'parts', Body: Body.subarray(0, 11 * MIB) }
      await new Upload({ client: s3, params, partSize: 5 * MIB }).done()
      expect(sha256(await readS3('parts'))).toBe(sha256(params.Body))
    })

    test('objects and documents: bodies, errors and what is for operators only', async () => {
      const data = Buffer.alloc(20 * MIB, 'an object ')
      const form = { field: 'file', name: 'f', type: 'image/png', data }
      for (const ask of [viaFetch, viaCurl]) {
        const uploaded = await ask(`${restUrl}/objects/a//b%2Fc%20d`, { form })
        expect(jsonOf(uploaded)).toMatchObject({ size: data.length })
        const read = await ask(`${restUrl}/objects/a//b%2Fc%20d`)
        expect([read.status, sha256(read.body)]).toEqual([200, sha256(data)])
      }
      const large = { ...form, data: Buffer.alloc(100 * MIB + 1) }
      const refused = await viaCurl(`${restUrl}/objects/large`, { form: large })
      expect([refused.status, jsonOf(refused)]).toMatchObject([413, { code: 'BODY_TOO_LARGE' }])
      const missing = await viaFetch(`${restUrl}/objects/large`)
      expect([missing.status, jsonOf(missing)]).toMatchObject([404, { detail: 'Object not found' }])
      expect((await viaFetch(`${restUrl}/metrics/summary`)).status).toBe(404)
      const recovery = await viaFetch(`${restUrl}/cluster/recovery/nobody`, { method: 'POST' })
      expect([recovery.status, jsonOf(recovery)]).toMatchObject([404, { code: 'NODE_NOT_FOUND' }])
    })

    test('files: long streams in both directions, and errors with their codes', async () => {
      const data = Buffer.alloc(20 * MIB, 'a file ')
      await files.done(['upload', '-', '--name', 'long.bin'], data)
      const read = await files.done(['download', 'long.bin', '-o', '-'])
      expect(sha256(read)).toBe(sha256(data))
      const { err, exitCode } = await files.run(['info', 'nope'])
      expect([exitCode, err]).toEqual([2, expect.stringContaining('OBJECT_NOT_FOUND')])
    })

    /** Writes one document, one object and one S3 object again and again; all are read back. */
    async function writeOn(
      writer: number,
      acknowledged: number[],
      stop: AbortSignal,
    ): Promise<void> {
      const key = `doc-${writer}`
      const headers = { 'content-type': 'application/json' }
      for (let count = 1; !stop.aborted; count++) {
        const body = JSON.stringify(documentOf(count))
        const url = `${restUrl}/write?key=${key}&strategy=field_hybrid`
        expect((await askUntilDone(url, { headers, body })).status).toBe(200)
        const form = { field: 'file', name: 'f', type: 'text/plain', data: body }
        const object = `${restUrl}/objects/${key}`
        expect((await askUntilDone(object, { method: 'POST', form })).status).toBe(200)
        await s3.send(new PutObjectCommand({ Bucket: 'proxied', Key: key, Body: body }))
        const read = await askUntilDone(`${restUrl}/read/${key}`, {})
        expect([read.status, jsonOf(read)]).toEqual([200, documentOf(count)])
        expect((await askUntilDone(object, {})).body.toString()).toBe(body)
        expect((await readS3(key)).toString()).toBe(body)
        acknowledged[writer] = count
      }
    }

    /** Of documents that others write: always one of them, whole. */
    async function readOn(stop: AbortSignal): Promise<number> {
      let reads = 0
      for (; !stop.aborted; reads++) {
        const read = await askUntilDone(`${restUrl}/read/doc-${reads % WRITERS}`, {})
        if (read.status === 404) continue
        const { update_count } = jsonOf(read) as { update_count: number }
        expect(jsonOf(read)).toEqual(documentOf(update_count))
      }
      return reads
    }

    test('one dies while clients write: who repeats sees no error, and documents stay whole', async () => {
      const acknowledged = Array.from({ length: WRITERS }, () => 0)
      const stop = new AbortController()
      const writing = acknowledged.map((_, writer) => writeOn(writer, acknowledged, stop.signal))
      const working = Promise.all([...writing, readOn(stop.signal)])
      const allReach = async (count: number): Promise<void> => {
        const isReached = () => Math.min(...acknowledged) >= count
        // A worker that fails ends the waiting.
        while (!isReached()) await Promise.race([working, sleep(20)])
      }
      try {
        await allReach(ACKNOWLEDGED)
        await gateways[0].kill()
        await allReach(2 * ACKNOWLEDGED)
      } finally {
        stop.abort()
      }
      await working
      for (const [writer, count] of acknowledged.entries()) {
        const read = await viaFetch(`${restUrl}/read/doc-${writer}`)
        expect(jsonOf(read)).toEqual(documentOf(count))
      }
      const read = await files.done(['download', 'long.bin', '-o', '-'])
      expect(read.length).toBe(20 * MIB)
    })
  },
)
