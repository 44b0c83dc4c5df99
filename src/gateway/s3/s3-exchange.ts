import type { IncomingMessage } from 'node:http'
import { readBody } from '../../net/http-reply.ts'
import { type AccessRequest, isAuthorized, type ObjectAccess } from './access/authorize.ts'
import type { S3Action } from './access/s3-actions.ts'
import type { Authentication } from './auth/authenticate.ts'
import { requireNotChunked } from './auth/content-sha256.ts'
import { effectiveHeader, isPlaceholderChecksum } from './auth/hoisted-headers.ts'
import type { Identity } from './auth/identity.ts'
import { readChecksumPlan } from './body/checksum-headers.ts'
import { type BodyWire, ObjectBody, readBodyLengths } from './body/object-body.ts'
import { BucketView } from './bucket-view.ts'
import { requestContext } from './request-context.ts'
import { S3Error } from './s3-error.ts'
import type { S3Config, S3Parts } from './s3-parts.ts'
import type { S3Request } from './s3-request.ts'

/** Larger documents than S3 takes: a policy has 20 KiB, a list of 10,000 parts about 2 MiB. */
export const DOCUMENT_BYTES_MAX = 4 * 1024 * 1024

export interface ExchangeParts extends S3Parts {
  readonly config: S3Config
}

/** One request whose sender is known, while it is being answered. */
export class S3Exchange {
  readonly parts: ExchangeParts
  readonly request: S3Request
  readonly authentication: Authentication
  readonly #message: IncomingMessage
  readonly #continueBody: (message: IncomingMessage) => void
  #view: BucketView | undefined
  /** Tags that the body gives the object, for policies to judge; undefined: the headers say. */
  bodyTags: ReadonlyMap<string, string> | undefined
  /** Whether anybody has asked if this is allowed: without, no answer leaves the gateway. */
  isDecided = false

  constructor(
    parts: ExchangeParts,
    request: S3Request,
    authentication: Authentication,
    message: IncomingMessage,
    continueBody: (message: IncomingMessage) => void,
  ) {
    this.parts = parts
    this.request = request
    this.authentication = authentication
    this.#message = message
    this.#continueBody = continueBody
  }

  get signal(): AbortSignal {
    return this.parts.closing
  }

  /** Undefined: the request is not signed. */
  get principal(): Identity | undefined {
    const { authentication } = this
    return authentication.kind === 'user' ? authentication.key.user : undefined
  }

  /** By lower-case name; of a presigned request also what its query has instead. */
  header(name: string): string | undefined {
    if (name === 'x-amz-checksum-crc32' && isPlaceholderChecksum(this.request)) return undefined
    return effectiveHeader(this.request, name)
  }

  query(name: string): string | undefined {
    return this.request.query.get(name)
  }

  get bucketName(): string {
    const { bucket } = this.request
    if (bucket === undefined) throw new S3Error('InvalidURI')
    return bucket
  }

  get key(): string {
    const { key } = this.request
    if (key === undefined) throw new S3Error('InvalidURI')
    return key
  }

  /** @throws {S3Error} NoSuchBucket; AccessDenied: it is not whose the request expects. */
  async bucket(): Promise<BucketView> {
    this.#view ??= await this.bucketNamed(this.bucketName)
    const expected = this.header('x-amz-expected-bucket-owner')
    if (expected !== undefined && expected !== this.#view.bucket.ownerId) {
      throw new S3Error('AccessDenied')
    }
    return this.#view
  }

  /** @throws {S3Error} NoSuchBucket */
  async bucketNamed(name: string): Promise<BucketView> {
    const bucket = await this.parts.namespace.findBucket(name, this.signal)
    if (bucket !== undefined) return BucketView.of(bucket)
    this.isDecided = true // Nothing is there to be protected.
    throw new S3Error('NoSuchBucket', undefined, { fields: { BucketName: name } })
  }

  /** @throws {S3Error} AccessDenied */
  authorize(action: S3Action, about: Partial<AccessRequest> = {}): void {
    if (!this.isAuthorized(action, about)) throw new S3Error('AccessDenied')
  }

  isAuthorized(action: S3Action, about: Partial<AccessRequest> = {}): boolean {
    this.isDecided = true
    return isAuthorized({
      principal: this.principal,
      action,
      bucket: this.#view?.access,
      key: this.request.key,
      context: requestContext(this),
      ...about,
    })
  }

  /** For actions on an object of the request's bucket. */
  authorizeObject(action: S3Action, object: ObjectAccess | undefined): void {
    this.authorize(action, { object })
  }

  /** The body's bytes as they come; asks the client for them if it waits to be asked. */
  get wire(): BodyWire {
    const message = this.#message
    this.#continueBody(message)
    return {
      whole: (bytesMax) => readBody(message, bytesMax, this.signal),
      // An error is answered on the same connection: it must outlive the iteration.
      [Symbol.asyncIterator]: () => message.iterator({ destroyOnReturn: false }),
    }
  }

  /**
   * A body that is a document, checked against every sum the request gives for it.
   *
   * @param options `hasObjectChecksum`: checksum headers are about an object, not about the body.
   * @throws {S3Error} MaxMessageLengthExceeded and what `ObjectBody` throws.
   */
  async document(options: { readonly hasObjectChecksum?: boolean } = {}): Promise<Buffer> {
    const { payload } = this.authentication
    requireNotChunked(payload)
    const isOfObject = (name: string) =>
      name.startsWith('x-amz-checksum-') || name === 'x-amz-sdk-checksum-algorithm'
    const header = (name: string) =>
      options.hasObjectChecksum === true && isOfObject(name) ? undefined : this.header(name)
    const terms = {
      mode: payload,
      plan: readChecksumPlan(header, payload),
      lengths: readBodyLengths(header),
      sizeBytesMax: DOCUMENT_BYTES_MAX,
    }
    const pieces: Buffer[] = []
    try {
      for await (const piece of new ObjectBody(this.wire, terms)) pieces.push(piece)
    } catch (cause) {
      if (!(cause instanceof S3Error) || cause.code !== 'EntityTooLarge') throw cause
      throw new S3Error('MaxMessageLengthExceeded', undefined, { cause })
    }
    return Buffer.concat(pieces)
  }
}
