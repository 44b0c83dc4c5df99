import { createHash } from 'node:crypto'
import { formatFileId } from '../../../src/base/file-id.ts'
import { cookie, needleIdFromNumber, volumeId } from '../../../src/base/ids.ts'
import { StoreError } from '../../../src/base/store-error.ts'
import type { PutData, PutOptions, PutResult } from '../../../src/client/client-api.ts'
import { checksumOf } from '../../../src/gateway/s3/body/checksum.ts'
import type { LifecycleRule } from '../../../src/gateway/s3/bucket-settings.ts'
import { type LifecycleCounts, LifecycleRunner } from '../../../src/gateway/s3/lifecycle-runner.ts'
import type { MoveClient } from '../../../src/gateway/s3/move-version.ts'
import { MemoryStore } from '../../../src/metadata/memory/memory-store.ts'
import type { Bucket } from '../../../src/namespace/bucket-record.ts'
import { Namespace } from '../../../src/namespace/namespace.ts'
import type { BucketChange, NamespaceApi } from '../../../src/namespace/namespace-api.ts'
import { NO_ATTRIBUTES, type ObjectVersion } from '../../../src/namespace/object-version.ts'
import { newVersionId } from '../../../src/namespace/version-id.ts'
import { type Logger, silentLogger } from '../../../src/runtime/logger.ts'
import { Prng } from '../../support/prng.ts'
import { SimClock } from '../../support/sim-clock.ts'

export const NEVER = new AbortController().signal
/** Not the length of a day: nothing is rounded. */
export const DAY = 1000
const DELETE_DELAY_MS = 10_000
const COPIED_VOLUME = volumeId(3)
const CODED_VOLUME = volumeId(4)

/** Files in memory, each under an id of its own. */
export class FakeFiles implements MoveClient {
  readonly files = new Map<string, Buffer>()
  readonly options = new Map<string, PutOptions>()
  /** Runs when a file has been stored. */
  onPut: (fileId: string) => void | Promise<void> = () => undefined
  #count = 0

  async put(data: PutData, options: PutOptions = {}): Promise<PutResult> {
    const pieces: Buffer[] = []
    if (typeof data === 'string' || data instanceof Uint8Array) pieces.push(Buffer.from(data))
    else for await (const piece of data) pieces.push(Buffer.from(piece))
    const fileId = formatFileId({
      volumeId: options.collection === 's3-coded' ? CODED_VOLUME : COPIED_VOLUME,
      needleId: needleIdFromNumber(++this.#count),
      cookie: cookie(7),
    })
    const bytes = Buffer.concat(pieces)
    this.files.set(fileId, bytes)
    this.options.set(fileId, options)
    await this.onPut(fileId)
    return { fileId, sizeBytes: bytes.length, eTag: '00000000' }
  }

  async *getStream(fileId: string): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = this.files.get(fileId)
    if (bytes === undefined) throw new StoreError('NEEDLE_NOT_FOUND', fileId)
    for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7)
  }

  async delete(fileId: string) {
    return { wasLive: this.files.delete(fileId) }
  }
}

export interface PutFields extends Partial<ObjectVersion> {
  readonly data?: string
}

type Hooks = Partial<Record<keyof NamespaceApi, ((request: unknown) => Promise<void>) | undefined>>

/** A namespace in memory, a client beside it, and runners of lifecycles over both. */
export class LifecycleScene {
  readonly clock = new SimClock()
  readonly prng = new Prng(1)
  readonly files = new FakeFiles()
  readonly namespace: Namespace
  /** Run before a method of the namespace that the runner calls. */
  readonly hooks: Hooks = {}
  readonly events: { readonly event: string; readonly fields: Record<string, unknown> }[] = []
  policy: string | undefined = 'ec:4+2'

  constructor() {
    const parts = { store: new MemoryStore(), clock: this.clock, random: this.prng }
    this.namespace = new Namespace(parts, { deleteDelayMs: DELETE_DELAY_MS })
  }

  newRunner(dayMs = DAY): LifecycleRunner {
    const note = (event: string, fields: Record<string, unknown> = {}) => {
      this.events.push({ event, fields })
    }
    const logger: Logger = { ...silentLogger, info: note, warn: note }
    const { clock, files: client, prng: random } = this
    const codedPolicy = async () => this.policy
    const namespace = hooked(this.namespace, this.hooks)
    const copiedVolumes = async () => new Set([COPIED_VOLUME])
    const parts = { namespace, client, codedPolicy, copiedVolumes, clock, random, logger }
    return new LifecycleRunner(parts, { dayMs })
  }

  /** One pass to its end, time passing as it needs. */
  async pass(runner = this.newRunner()): Promise<LifecycleCounts> {
    let isDone = false
    const work = runner.pass(NEVER).finally(() => {
      isDone = true
    })
    work.catch(() => undefined)
    // Between two pages it rests; otherwise no time passes.
    for (;;) {
      await this.clock.advance(0)
      for (let turn = 0; turn < 100 && !isDone; turn++) await undefined
      if (isDone) return await work
      if (this.clock.timerCount > 0) await this.clock.advance(10)
    }
  }

  async bucket(
    name: string,
    rules: readonly LifecycleRule[],
    change: BucketChange = {},
  ): Promise<Bucket> {
    const documents = { lifecycle: JSON.stringify(rules) }
    const request = { name, ownerId: 'ab'.repeat(32), isLockEnabled: false, documents }
    const made = await this.namespace.createBucket(request, NEVER)
    return await this.namespace.changeBucket(made, change, NEVER)
  }

  async put(bucket: Bucket, key: string, fields: PutFields = {}): Promise<ObjectVersion> {
    const { data = `data of ${key}`, ...rest } = fields
    const { fileId, sizeBytes } = await this.files.put(data)
    const version = {
      ...NO_ATTRIBUTES,
      id: newVersionId(this.prng, this.clock.nowMs()),
      sizeBytes,
      etag: createHash('md5').update(data).digest('hex'),
      storageClass: 'STANDARD' as const,
      checksum: {
        algorithm: 'CRC64NVME' as const,
        type: 'FULL_OBJECT' as const,
        value: checksumOf('CRC64NVME', Buffer.from(data)).toString('base64'),
      },
      parts: [{ fileId, sizeBytes }],
      ownerId: undefined,
      ...rest,
    }
    return await this.namespace.putObject({ bucket, key, version }, NEVER)
  }

  find(bucket: Bucket, key: string, versionId?: string): Promise<ObjectVersion | undefined> {
    return this.namespace.findObject({ bucket, key, versionId }, NEVER)
  }

  /** Keys with the ids of their versions, newest first; a marker is `marker`. */
  async versions(bucket: Bucket): Promise<readonly string[]> {
    const where = { bucket, prefix: '', delimiter: '', after: '', afterVersionId: undefined }
    const page = await this.namespace.listVersions({ ...where, limit: 1000 }, NEVER)
    return page.versions.map(
      ({ key, version }) => `${key} ${version.isMarker ? 'marker' : version.id}`,
    )
  }

  /** What a reader gets. */
  async read(version: ObjectVersion | undefined): Promise<string> {
    const pieces: Uint8Array[] = []
    for (const { fileId } of version?.parts ?? []) {
      for await (const piece of this.files.getStream(fileId)) pieces.push(piece)
    }
    return Buffer.concat(pieces).toString()
  }
}

export function rule(fields: Partial<LifecycleRule> & { readonly prefix?: string }): LifecycleRule {
  const { prefix, ...rest } = fields
  return {
    id: 'rule',
    isEnabled: true,
    filter: { prefix, tags: [], sizeAboveBytes: undefined, sizeBelowBytes: undefined },
    isOldStyle: false,
    expiration: undefined,
    transitions: [],
    noncurrentExpiration: undefined,
    noncurrentTransitions: [],
    abortUploadsAfterDays: undefined,
    ...rest,
  }
}

export const expiring = (days: number, prefix = '') =>
  rule({ prefix, expiration: { days, dateMs: undefined, isExpiredMarkerDeleted: false } })

export const moving = (days: number, storageClass: string) =>
  rule({ transitions: [{ days, dateMs: undefined, storageClass }] })

export const forgetting = (noncurrentDays: number, newerVersionsKept?: number) =>
  rule({ noncurrentExpiration: { noncurrentDays, newerVersionsKept } })

function hooked(namespace: Namespace, hooks: Hooks): NamespaceApi {
  return new Proxy<NamespaceApi>(namespace, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name, target)
      if (typeof method !== 'function') return method
      return async (...args: readonly unknown[]) => {
        await hooks[name as keyof NamespaceApi]?.(args[0])
        return await Reflect.apply(method, target, args)
      }
    },
  })
}
