import { createHash } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { NO_TOKENS } from '../../src/client/file-tokens.ts'
import { checkNamespace } from '../../src/gateway/namespace-check.ts'
import {
  collectOrphans,
  type OrphanOptions,
  type OrphanParts,
  type OrphanReport,
} from '../../src/gateway/orphan-collector.ts'
import { putOptions } from '../../src/gateway/stored-bytes.ts'
import { newVersionId } from '../../src/namespace/version-id.ts'
import { RemoteMaster } from '../../src/net/remote-master.ts'
import { VolumeConnections } from '../../src/net/volume-connections.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { DisposeStack } from '../../src/runtime/dispose-stack.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { cryptoRandom } from '../../src/runtime/random.ts'
import { Prng } from '../support/prng.ts'
import { TestS3 } from '../support/test-s3.ts'

const MIB = 1024 * 1024
const SIGNAL = new AbortController().signal
const SEED = Number(process.env['SEED'] ?? 1)
const WRITERS = 4
const KEYS_EACH = 8
const LOAD_MS = 12_000
const BUCKETS = ['plain', 'versioned']
/**
 * The shortest grace that is right for any load is the longest put; here that is a second or two.
 * A needle that is older may still be one that nobody names yet, if a put took longer: then it is
 * the second pass that tells, which must be as much later.
 */
const GRACE_MS = 2500
const TIMES = { minAgeMs: GRACE_MS, minAgeFloorMs: 0, passGapMs: GRACE_MS }
const PASS: OrphanOptions = { ...TIMES, seen: undefined, isDryRun: false, isForced: true }

let s3: TestS3
let parts: OrphanParts
const owned = new DisposeStack()

beforeAll(async () => {
  s3 = owned.use(await TestS3.open())
  const { readFile } = await import('node:fs/promises')
  const secret = Buffer.from((await readFile(s3.server.secretFile, 'utf8')).trim(), 'hex')
  const base = { clock: systemClock, random: cryptoRandom, logger: silentLogger }
  const addresses = [s3.server.masterGrpcAddress]
  const config = { addresses, secret, tls: undefined, timeoutMs: 10_000 }
  const master = owned.use(await RemoteMaster.open(base, config))
  const { connect } = owned.use(await VolumeConnections.open(base, { secret, tls: undefined }))
  const { client, namespace } = s3.server
  parts = { namespace, client, master, connect, tokens: NO_TOKENS, clock: systemClock }
  for (const Bucket of BUCKETS) await s3.root.sdk.send(new CreateBucketCommand({ Bucket }))
  const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
  const path = '/versioned?versioning='
  expect((await s3.raw({ method: 'PUT', path, body, as: s3.root })).status).toBe(200)
}, 60_000)

afterAll(async () => {
  await owned[Symbol.asyncDispose]()
})

type Content = string | undefined

/** The only one to write some keys: what was acknowledged last is what they must hold. */
class Writer {
  readonly holds = new Map<string, Content>()
  /** Every version that was acknowledged: none is ever deleted. */
  readonly versions: { readonly key: string; readonly id: string; readonly digest: string }[] = []
  changeCount = 0
  readonly #sdk: S3Client
  readonly #prng: Prng
  readonly #name: number

  constructor(sdk: S3Client, prng: Prng, name: number) {
    this.#sdk = sdk
    this.#prng = prng
    this.#name = name
  }

  async run(untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      await this.#change()
      this.changeCount++
    }
  }

  async #change(): Promise<void> {
    const prng = this.#prng
    const Bucket = BUCKETS[prng.below(BUCKETS.length)] ?? ''
    const Key = `w${this.#name}/k${prng.below(KEYS_EACH)}`
    const path = `${Bucket} ${Key}`
    const what = prng.below(10)
    if (what < 6) {
      // Now and then one of several chunks.
      const Body = prng.bytes(prng.chance(0.05) ? 9 * MIB : prng.between(0, 20_000))
      const done = await this.#sdk.send(new PutObjectCommand({ Bucket, Key, Body }))
      this.#acknowledged(path, Body, done.VersionId)
    } else if (what < 8) {
      await this.#sdk.send(new DeleteObjectCommand({ Bucket, Key }))
      this.holds.set(path, undefined)
    } else {
      await this.#upload({ Bucket, Key }, prng.chance(0.5))
    }
  }

  /** A part is put twice; an upload that is not aborted is completed with the second. */
  async #upload(to: { Bucket: string; Key: string }, isAborted: boolean): Promise<void> {
    const sdk = this.#sdk
    const { UploadId } = await sdk.send(new CreateMultipartUploadCommand(to))
    const upload = { ...to, UploadId }
    let Body: Buffer = Buffer.alloc(0)
    let ETag: string | undefined
    for (let turn = 0; turn < 2; turn++) {
      Body = this.#prng.bytes(this.#prng.between(1, 50_000))
      const part = { ...upload, PartNumber: 1, Body }
      ETag = (await sdk.send(new UploadPartCommand(part))).ETag
    }
    if (isAborted) {
      await sdk.send(new AbortMultipartUploadCommand(upload))
      return
    }
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    const complete = new CompleteMultipartUploadCommand({ ...upload, MultipartUpload })
    this.#acknowledged(`${to.Bucket} ${to.Key}`, Body, (await sdk.send(complete)).VersionId)
  }

  #acknowledged(key: string, body: Buffer, versionId: string | undefined): void {
    const digest = digestOf(body)
    this.holds.set(key, digest)
    if (versionId !== undefined) this.versions.push({ key, id: versionId, digest })
  }
}

function digestOf(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

async function read(path: string, VersionId?: string): Promise<Content> {
  const [Bucket, Key] = path.split(' ')
  const get = new GetObjectCommand({ Bucket, Key, VersionId })
  try {
    const { Body } = await s3.root.sdk.send(get)
    return digestOf((await Body?.transformToByteArray()) ?? new Uint8Array())
  } catch (error) {
    if (error instanceof Error && error.name === 'NoSuchKey') return undefined
    throw error
  }
}

/** What gateways leave behind that die between the last byte and the row, of all sizes. */
async function leaveOrphans(prng: Prng, untilMs: number): Promise<string[]> {
  const left: string[] = []
  while (performance.now() < untilMs) {
    const version = newVersionId(cryptoRandom, systemClock.nowMs())
    const owner = { bucket: 'plain', key: `w0/k${prng.below(KEYS_EACH)}`, version }
    const size = prng.chance(0.1) ? 9 * MIB : prng.between(1, 20_000)
    const options = putOptions(owner, 'STANDARD', undefined, SIGNAL)
    left.push((await s3.server.client.put(prng.bytes(size), options)).fileId)
    await systemClock.sleep(200, SIGNAL)
  }
  return left
}

async function collectUntil(untilMs: number): Promise<OrphanReport[]> {
  const reports: OrphanReport[] = []
  while (performance.now() < untilMs) reports.push(await collectOrphans(parts, PASS, SIGNAL))
  return reports
}

async function isThere(fileId: string): Promise<boolean> {
  return await s3.server.client.stat(fileId).then(
    () => true,
    () => false,
  )
}

describe('a cluster under load', () => {
  // Goal: whatever is alive is never collected, whatever is not always is.
  // Method: writers with keys of their own, an orphan now and then, passes one after the other;
  // then every key and version is read. Replay: SEED=17 npm test.
  test(`loses nothing to collections that never stop (seed ${SEED})`, async () => {
    const prng = new Prng(SEED)
    const untilMs = performance.now() + LOAD_MS
    const writers = Array.from(
      { length: WRITERS },
      (_, name) => new Writer(s3.root.sdk, new Prng(SEED * 100 + name), name),
    )
    const [left, reports, checks] = await Promise.all([
      leaveOrphans(prng, untilMs - 2000),
      collectUntil(untilMs),
      checkUntil(untilMs),
      ...writers.map((writer) => writer.run(untilMs)),
    ])
    for (const { lostFiles, problems } of checks) {
      expect([lostFiles, problems.filter(({ kind }) => kind === 'lost')]).toEqual([0, []])
    }
    for (const writer of writers) {
      expect(writer.changeCount).toBeGreaterThan(10)
      for (const [path, digest] of writer.holds) expect(await read(path), path).toBe(digest)
      for (const { digest, id, key } of writer.versions) {
        expect(await read(key, id), `${key} ${id}`).toBe(digest)
      }
    }
    for (const { refusal } of reports) expect(refusal).toBeUndefined()
    // Passes did delete meanwhile, so the above says something.
    expect(reports.length).toBeGreaterThan(2)
    expect(reports.reduce((sum, { deleted }) => sum + deleted, 0)).toBeGreaterThan(0)
    await systemClock.sleep(GRACE_MS, SIGNAL)
    await collectOrphans(parts, PASS, SIGNAL)
    await systemClock.sleep(GRACE_MS, SIGNAL)
    await collectOrphans(parts, PASS, SIGNAL)
    const last = await collectOrphans(parts, PASS, SIGNAL)
    expect(last).toMatchObject({ orphans: 0, foreignNeedles: 0, seen: {}, refusal: undefined })
    for (const fileId of left) expect([fileId, await isThere(fileId)]).toEqual([fileId, false])
    const check = await checkNamespace(parts, { ...CHECK, graceMs: 0 }, SIGNAL)
    expect(check).toMatchObject({ lostFiles: 0, unnamedNeedles: 0 })
  }, 120_000)
})

const CHECK = { bucket: undefined, graceMs: GRACE_MS, problemsMax: 100 }

async function checkUntil(untilMs: number) {
  const reports = []
  while (performance.now() < untilMs) {
    reports.push(await checkNamespace(parts, CHECK, SIGNAL))
    await systemClock.sleep(500, SIGNAL)
  }
  return reports
}
