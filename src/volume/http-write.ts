import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { assert } from '../base/assert.ts'
import type { FileId } from '../base/file-id.ts'
import { hex8 } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { parseTtl } from '../base/ttl.ts'
import { KIB, MIB } from '../base/units.ts'
import { continueBody, readBody, readBodyInto } from '../net/http-reply.ts'
import type { NeedleMetadata, PutAnswer } from '../net/volume-api.ts'
import { BufferShelf } from '../runtime/buffer-shelf.ts'
import type { ByteBudget } from './http-byte-budget.ts'
import { etagOf } from './http-conditions.ts'
import type { VolumeHttpConfig, VolumeHttpParts } from './http-context.ts'
import { extensionOf, isImpliedBy } from './http-headers.ts'
import { signalOf } from './http-send.ts'
import { type FileTarget, isTrue, parseFileTarget, tokenOf } from './http-target.ts'
import {
  checkEncoding,
  checkMd5,
  formUpload,
  isForm,
  plainUpload,
  prepareContent,
  type Upload,
  utf8Of,
  type WholeUpload,
} from './http-upload-content.ts'

const PAIR_PREFIX = 'seaweed-'
/** What boundaries, headers and fields may add to the file of a form. */
const FORM_FRAME_BYTES = 64 * KIB
/** Smaller bodies come in one or two pieces, and cost little. */
const POOLED_BODY_MIN = 64 * KIB
const LAST_MODIFIED_MAX_S = 2 ** 40

interface UploadResult {
  readonly answer: PutAnswer
  /** Of the file as its readers see it. */
  readonly sizeBytes: number
  readonly contentMd5: string
}

/** How a body is taken in: decided before the first byte of it is asked for. */
interface BodyPlan {
  /** From a server of the cluster, which its signature shows: looked at once. */
  readonly isReplica: boolean
  readonly bytesMax: number
  /** Undefined: the client does not say. */
  readonly announcedBytes: number | undefined
  /** What of it is in memory at once. */
  readonly heldBytes: number
}

/** POST and PUT of files. */
export class FileWrites {
  readonly #parts: VolumeHttpParts
  readonly #config: VolumeHttpConfig
  readonly #uploads: ByteBudget
  /** What bodies of up to a mebibyte are collected in, and larger ones. */
  readonly #shelves: readonly BufferShelf[]

  constructor(parts: VolumeHttpParts, config: VolumeHttpConfig, uploads: ByteBudget) {
    this.#parts = parts
    const keptBytes = LIMITS.httpBodiesKeptBytes.value
    this.#shelves = [MIB, LIMITS.httpCollectedMax.value].map((sizeBytes) => {
      return new BufferShelf(parts, { sizeBytes, keptMax: keptBytes / sizeBytes })
    })
    this.#config = config
    this.#uploads = uploads
  }

  async serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const target = parseFileTarget(req.url ?? '')
    if (!this.#parts.access.isLocal(target.fileId.volumeId)) {
      throw new StoreError('VOLUME_NOT_FOUND', `volume ${target.fileId.volumeId} is not here`)
    }
    const isReplica = this.#isReplica(req, target.query.get('type'))
    if (!isReplica && !isForm(req)) this.#authorize(tokenOf(req, target.query), target.fileId)
    const plan = { ...this.#planBody(req), isReplica }
    // Copies are let through: whoever sends them holds their bytes already, and waits.
    const isCounted = !isReplica
    if (isCounted && !this.#uploads.tryTake(plan.heldBytes)) {
      await this.#uploads.take(plan.heldBytes, signalOf(res, this.#parts.signal))
    }
    try {
      if (isForm(req)) await this.#putForm(req, res, target, plan)
      else await this.#putPlain(req, res, target, plan)
    } finally {
      if (isCounted) this.#uploads.release(plan.heldBytes)
    }
  }

  /** @throws {StoreError} BODY_TOO_LARGE. */
  #planBody(req: IncomingMessage): Omit<BodyPlan, 'isReplica'> {
    const { fileSizeLimitBytes } = this.#config
    const bytesMax = isForm(req)
      ? Math.min(LIMITS.httpFormBytesMax.value, fileSizeLimitBytes + FORM_FRAME_BYTES)
      : fileSizeLimitBytes
    const announced = req.headers['content-length']
    const announcedBytes = announced === undefined ? undefined : Number(announced)
    if (announcedBytes !== undefined && announcedBytes > bytesMax) throw tooLarge(bytesMax)
    const collectedMax = isForm(req) ? bytesMax : LIMITS.httpCollectedMax.value
    const heldBytes = Math.min(announcedBytes ?? bytesMax, collectedMax)
    return { bytesMax, announcedBytes, heldBytes }
  }

  async #putForm(
    req: IncomingMessage,
    res: ServerResponse,
    target: FileTarget,
    plan: BodyPlan,
  ): Promise<void> {
    const body = await readBody(req, plan.bytesMax, this.#parts.signal)
    const upload = formUpload(req, target, body)
    const { fileSizeLimitBytes } = this.#config
    if (upload.data.length > fileSizeLimitBytes) throw tooLarge(fileSizeLimitBytes)
    await this.#putWhole(req, res, target, upload, plan)
  }

  async #putPlain(
    req: IncomingMessage,
    res: ServerResponse,
    target: FileTarget,
    plan: BodyPlan,
  ): Promise<void> {
    const upload = plainUpload(req, target)
    const collectedMax = LIMITS.httpCollectedMax.value
    if (plan.announcedBytes !== undefined && plan.announcedBytes <= collectedMax) {
      if (plan.announcedBytes > POOLED_BODY_MIN) {
        await this.#putPooled(req, res, target, upload, plan)
        return
      }
      const data = await readBody(req, plan.announcedBytes, this.#parts.signal)
      await this.#putWhole(req, res, target, { ...upload, data }, plan)
      return
    }
    continueBody(req)
    const pieces = bodyPieces(req, plan.bytesMax)
    if (plan.announcedBytes === undefined) {
      const head = await readHead(pieces, collectedMax)
      if (head.isAll) await this.#putWhole(req, res, target, { ...upload, data: head.data }, plan)
      else await this.#putStream(req, res, target, upload, plan, prepend(head.data, pieces))
      return
    }
    await this.#putStream(req, res, target, upload, plan, pieces)
  }

  /** Collects the body in memory that is used again. */
  async #putPooled(
    req: IncomingMessage,
    res: ServerResponse,
    target: FileTarget,
    upload: Upload,
    plan: BodyPlan,
  ): Promise<void> {
    const { announcedBytes = 0 } = plan
    const shelf = this.#shelves.find(({ sizeBytes }) => announcedBytes <= sizeBytes)
    assert(shelf !== undefined, `no memory is kept for a body of ${announcedBytes} bytes`)
    const body = shelf.take(announcedBytes)
    const data = body.bytes
    const checksum = await readBodyInto(req, data, this.#parts.signal)
    await this.#putWhole(req, res, target, { ...upload, data }, plan, checksum)
    // Only now: after a failure somebody, such as a peer, may still be about to send from it.
    body.release()
  }

  async #putWhole(
    req: IncomingMessage,
    res: ServerResponse,
    target: FileTarget,
    upload: WholeUpload,
    plan: BodyPlan,
    sentChecksum?: number,
  ): Promise<void> {
    const isReplica = plan.isReplica || this.#isReplica(req, upload.option('type'))
    const content = await prepareContent(upload, isReplica)
    const { isCompressed, isChunkManifest, sizeBytes, contentMd5 } = content
    const metadata = { ...this.#metadata(req, upload), isCompressed, isChunkManifest }
    const { fileId } = target
    const writeToken = upload.option('jwt') || tokenOf(req, target.query)
    const { access, signal } = this.#parts
    const { data } = content
    const checksum = data === upload.data ? sentChecksum : undefined // Otherwise it was compressed.
    const request = { fileId, data, checksum, metadata, writeToken, isReplica }
    // Not cancelled when the client leaves: half of the copies would be worth nothing.
    const answer = await access.put(request, signal)
    reply(res, upload, { answer, sizeBytes, contentMd5 })
  }

  async #putStream(
    req: IncomingMessage,
    res: ServerResponse,
    target: FileTarget,
    upload: Upload,
    { isReplica }: BodyPlan,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    checkEncoding(upload.contentEncoding)
    const what = upload.contentEncoding === 'gzip' ? 'compressed body' : 'chunk manifest'
    if (upload.contentEncoding === 'gzip' || isTrue(upload.option('cm'))) {
      const bytesMax = LIMITS.httpCollectedMax.value
      throw new StoreError('BODY_TOO_LARGE', `a ${what} may have ${bytesMax} bytes`)
    }
    const counted = new CountedPieces(pieces, upload.contentMd5)
    const answer = await this.#parts.access.putStream(
      {
        fileId: target.fileId,
        source: counted.read(),
        metadata: this.#metadata(req, upload),
        writeToken: tokenOf(req, target.query),
        isReplica,
      },
      signalOf(res, this.#parts.signal),
    )
    reply(res, upload, { answer, sizeBytes: counted.bytes, contentMd5: upload.contentMd5 })
  }

  #metadata(req: IncomingMessage, upload: Upload): NeedleMetadata {
    const { name, mime } = upload
    const ttl = upload.option('ttl')
    return {
      name: name === '' ? undefined : name,
      mime: isImpliedBy(mime, extensionOf(name)) ? undefined : mime,
      lastModifiedS: parseTime(upload.option('ts')) ?? Math.floor(this.#parts.clock.nowMs() / 1000),
      ttl: ttl === undefined || ttl === '' ? undefined : parseTtl(ttl),
      pairs: pairsOf(req),
    }
  }

  /** @throws {StoreError} TOKEN_INVALID. */
  #authorize(token: string, fileId: FileId): void {
    if (this.#config.needsWriteToken !== true) return
    const { tokens } = this.#parts
    if (tokens === undefined) throw new StoreError('TOKEN_INVALID', 'no token can be checked')
    tokens.verifyWrite(token, fileId)
  }

  /** @throws {StoreError} UNAUTHENTICATED: it says so, but is not from a server of the cluster. */
  #isReplica(req: IncomingMessage, type: string | null | undefined): boolean {
    if (type !== 'replicate') return false
    if (this.#parts.verifyReplica?.(req) === true) return true
    throw new StoreError('UNAUTHENTICATED', 'only servers of the cluster send copies')
  }
}

function reply(res: ServerResponse, upload: Upload, result: UploadResult): void {
  const { answer, sizeBytes, contentMd5 } = result
  const headers = ['ETag', etagOf(answer.checksum)]
  if (contentMd5 !== '') headers.push('Content-MD5', contentMd5)
  if (answer.isUnchanged) {
    res.writeHead(204, headers)
    res.end()
    return
  }
  const { name, mime } = upload
  const body = JSON.stringify({
    name: name === '' ? undefined : name,
    size: sizeBytes,
    eTag: hex8(answer.checksum),
    mime: mime === '' || mime === 'application/octet-stream' ? undefined : mime,
    contentMd5: contentMd5 === '' ? undefined : contentMd5,
    durable: answer.isDurable,
  })
  const length = String(Buffer.byteLength(body))
  headers.push('Content-Type', 'application/json; charset=utf-8', 'Content-Length', length)
  res.writeHead(201, headers)
  res.end(body)
}

/** `Seaweed-color: red` becomes the pair `Color: red`. */
function pairsOf(req: IncomingMessage): Readonly<Record<string, string>> | undefined {
  let pairs: Record<string, string> | undefined
  for (const name in req.headers) {
    if (!name.startsWith(PAIR_PREFIX) || name.length === PAIR_PREFIX.length) continue
    const value = req.headers[name]
    if (typeof value !== 'string') continue
    pairs ??= Object.create(null) as Record<string, string>
    pairs[canonicalName(name.slice(PAIR_PREFIX.length))] = utf8Of(value)
  }
  return pairs
}

/** `x-my-name` is `X-My-Name`: as the format's own server writes names. */
function canonicalName(name: string): string {
  return name.replace(/(^|-)([a-z])/g, (_all, dash: string, letter: string) => {
    return dash + letter.toUpperCase()
  })
}

function parseTime(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  const seconds = /^\d{1,13}$/.test(text) ? Number(text) : Number.NaN
  if (seconds < LAST_MODIFIED_MAX_S) return seconds
  throw new StoreError('REQUEST_INVALID', `${quote(text)} is not a time in seconds since 1970`)
}

/** @throws {StoreError} BODY_TOO_LARGE; CANCELLED: the client went away. */
async function* bodyPieces(
  req: IncomingMessage,
  bytesMax: number,
): AsyncGenerator<Buffer, void, undefined> {
  let bytes = 0
  // Whoever stops early still answers the client, so the connection must stay.
  const pieces: AsyncIterable<Buffer> = req.iterator({ destroyOnReturn: false })
  try {
    for await (const piece of pieces) {
      bytes += piece.length
      if (bytes > bytesMax) break
      yield piece
    }
  } catch (cause) {
    throw new StoreError('CANCELLED', 'the client went away', { cause })
  }
  if (bytes > bytesMax) throw tooLarge(bytesMax)
}

interface BodyHead {
  readonly data: Buffer
  readonly isAll: boolean
}

/** The body up to its end, or to the piece that goes beyond `bytesMax`. */
async function readHead(pieces: AsyncGenerator<Buffer>, bytesMax: number): Promise<BodyHead> {
  const held: Buffer[] = []
  let bytes = 0
  while (bytes <= bytesMax) {
    const next = await pieces.next()
    if (next.done === true) return { data: Buffer.concat(held, bytes), isAll: true }
    held.push(next.value)
    bytes += next.value.length
  }
  return { data: Buffer.concat(held, bytes), isAll: false }
}

async function* prepend(
  head: Buffer,
  rest: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  yield head
  yield* rest
}

/** Fails at the end, before the store takes the file for whole, when the checksum is wrong. */
class CountedPieces {
  bytes = 0
  readonly #source: AsyncIterable<Uint8Array>
  readonly #expectedMd5: string

  constructor(source: AsyncIterable<Uint8Array>, expectedMd5: string) {
    this.#source = source
    this.#expectedMd5 = expectedMd5
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    const hash = this.#expectedMd5 === '' ? undefined : createHash('md5')
    for await (const piece of this.#source) {
      this.bytes += piece.length
      hash?.update(piece)
      yield piece
    }
    if (hash !== undefined) checkMd5(this.#expectedMd5, hash.digest('base64'))
  }
}

function tooLarge(bytesMax: number): StoreError {
  return new StoreError('BODY_TOO_LARGE', `the body may have ${bytesMax} bytes`)
}
