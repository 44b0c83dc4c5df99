import { createHash, randomBytes } from 'node:crypto'
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import type { Prng } from './prng.ts'

/** What a key may hold: the digest of the bytes, or nothing. */
type Content = string | undefined

interface KeyModel {
  /** All that it may hold: more than one after an answer was lost. */
  readonly possible: Set<Content>
  /** Versions that were acknowledged, and not deleted since; by id. */
  readonly versions: Map<string, string>
  /** What was sent and not answered: it may have happened, or may happen yet. */
  readonly unsure: Set<Content>
  /** Versions whose delete was sent and not answered. */
  readonly maybeGone: Map<string, string>
}

const PART_BYTES = 5 * 1024 * 1024

/**
 * A client of S3 that is the only one to write some keys, and knows what they must hold: what was
 * acknowledged, or what was on its way when the server went.
 */
export class S3ModelClient {
  readonly faults: string[] = []
  readonly keys: readonly string[]
  readonly #models = new Map<string, KeyModel>()
  readonly #sdk: S3Client
  readonly #bucket: string
  readonly #prng: Prng
  readonly #isVersioned: boolean
  doneCount = 0
  lostCount = 0

  constructor(
    sdk: S3Client,
    prng: Prng,
    options: {
      readonly bucket: string
      readonly keys: readonly string[]
      readonly isVersioned: boolean
    },
  ) {
    this.#sdk = sdk
    this.#prng = prng
    this.#bucket = options.bucket
    this.#isVersioned = options.isVersioned
    this.keys = options.keys
    for (const key of this.keys) {
      this.#models.set(key, {
        possible: new Set([undefined]),
        versions: new Map(),
        unsure: new Set(),
        maybeGone: new Map(),
      })
    }
  }

  /** False: nobody answered, or it could not be done now. */
  async step(): Promise<boolean> {
    const key = this.keys[this.#prng.below(this.keys.length)] ?? ''
    const choice = this.#prng.below(100)
    try {
      if (choice < 45) await this.#put(key)
      else if (choice < 50) await this.#upload(key)
      else if (choice < 60) await this.#copy(key)
      else if (choice < 75) await this.#delete(key)
      else if (choice < 80 && this.#isVersioned) await this.#deleteVersion(key)
      else await this.check(key)
      this.doneCount++
      return true
    } catch (error) {
      if (!isOutage(error)) throw error
      this.lostCount++
      return false
    }
  }

  /** Reads a key and compares; what was unsure is known then. */
  async check(key: string): Promise<void> {
    const found = await this.#read(key)
    const { possible, unsure } = this.#modelOf(key)
    if (!possible.has(found) && !unsure.has(found)) {
      this.faults.push(`${key} holds ${found}, not one of ${[...possible].join(', ')}`)
    }
    possible.clear()
    possible.add(found)
  }

  /** All keys at the end, one by one, by list and by list of versions. */
  async checkAll(): Promise<void> {
    for (const key of this.keys) await this.check(key)
    const { Contents = [] } = await this.#sdk.send(
      new ListObjectsV2Command({ Bucket: this.#bucket }),
    )
    const listed = new Set(Contents.map(({ Key }) => Key))
    for (const key of this.keys) {
      const [content] = this.#modelOf(key).possible
      const isListed = listed.has(key)
      if (isListed !== (content !== undefined)) this.faults.push(`${key} is listed: ${isListed}`)
    }
    if (this.#isVersioned) await this.#checkVersions()
  }

  async #checkVersions(): Promise<void> {
    const command = new ListObjectVersionsCommand({ Bucket: this.#bucket })
    const { Versions = [] } = await this.#sdk.send(command)
    for (const key of this.keys) {
      const model = this.#modelOf(key)
      const found = Versions.filter(({ Key }) => Key === key).map(({ VersionId = '' }) => VersionId)
      for (const id of model.versions.keys()) {
        if (!found.includes(id)) this.faults.push(`${key}: version ${id} is gone`)
      }
      for (const id of found) {
        const digest = await this.#read(key, id)
        const known = model.versions.get(id)
        const isRight = known === undefined ? model.unsure.has(digest) : known === digest
        if (!isRight && model.maybeGone.get(id) !== digest) {
          this.faults.push(`${key}: version ${id} holds ${digest}`)
        }
      }
    }
  }

  async #put(key: string): Promise<void> {
    const size = this.#prng.below(10) === 0 ? 1_500_000 : this.#prng.below(20_000)
    const body = randomBytes(size)
    await this.#write(key, digestOf(body), async () => {
      const input = { Bucket: this.#bucket, Key: key, Body: body }
      return (await this.#sdk.send(new PutObjectCommand(input))).VersionId
    })
  }

  async #upload(key: string): Promise<void> {
    const body = randomBytes(PART_BYTES + 1000)
    await this.#write(key, digestOf(body), async () => {
      const params = { Bucket: this.#bucket, Key: key, Body: body }
      const done = await new Upload({ client: this.#sdk, params, partSize: PART_BYTES }).done()
      return done.VersionId
    })
  }

  async #copy(key: string): Promise<void> {
    const from = this.keys[this.#prng.below(this.keys.length)] ?? ''
    const [content, other] = this.#modelOf(from).possible
    // A copy of what is not known would make two keys of it.
    if (from === key || content === undefined || other !== undefined) return
    await this.#write(key, content, async () => {
      const CopySource = `${this.#bucket}/${encodeURIComponent(from)}`
      const input = { Bucket: this.#bucket, Key: key, CopySource }
      return (await this.#sdk.send(new CopyObjectCommand(input))).VersionId
    })
  }

  async #write(
    key: string,
    digest: string,
    send: () => Promise<string | undefined>,
  ): Promise<void> {
    const { possible, unsure, versions } = this.#modelOf(key)
    try {
      const versionId = await send()
      possible.clear()
      possible.add(digest)
      if (versionId !== undefined) versions.set(versionId, digest)
    } catch (error) {
      unsure.add(digest)
      throw error
    }
  }

  async #delete(key: string): Promise<void> {
    const { possible, unsure } = this.#modelOf(key)
    try {
      await this.#sdk.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: key }))
      possible.clear()
      possible.add(undefined)
    } catch (error) {
      unsure.add(undefined)
      throw error
    }
  }

  async #deleteVersion(key: string): Promise<void> {
    const model = this.#modelOf(key)
    const ids = [...model.versions.keys()]
    const id = ids[this.#prng.below(Math.max(1, ids.length))]
    if (id === undefined) return
    const input = { Bucket: this.#bucket, Key: key, VersionId: id }
    model.maybeGone.set(id, model.versions.get(id) ?? '')
    model.versions.delete(id)
    // Which version is seen then is asked afterwards; until then any may be.
    for (const digest of [...model.versions.values(), ...model.maybeGone.values()]) {
      model.possible.add(digest)
    }
    model.possible.add(undefined)
    await this.#sdk.send(new DeleteObjectCommand(input))
    model.maybeGone.delete(id)
    await this.check(key)
  }

  async #read(key: string, versionId?: string): Promise<Content> {
    const input = { Bucket: this.#bucket, Key: key, VersionId: versionId }
    try {
      const { Body } = await this.#sdk.send(new GetObjectCommand(input))
      return digestOf((await Body?.transformToByteArray()) ?? new Uint8Array())
    } catch (error) {
      if (error instanceof Error && error.name === 'NoSuchKey') return undefined
      throw error
    }
  }

  #modelOf(key: string): KeyModel {
    const model = this.#models.get(key)
    if (model === undefined) throw new Error(`${key} is not of this client`)
    return model
  }
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16)
}

/** Nobody answered, or nobody could do it now: the client does not know what became of it. */
function isOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { $metadata, code } = error as { $metadata?: { httpStatusCode?: number }; code?: string }
  const status = $metadata?.httpStatusCode
  if (status !== undefined) return status >= 500
  const isCut = ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'].includes(
    code ?? '',
  )
  return isCut || error.name === 'TimeoutError' || /aborted|socket hang up/.test(error.message)
}
