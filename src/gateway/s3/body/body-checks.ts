import { createHash } from 'node:crypto'
import { assert } from '../../../base/assert.ts'
import { hashBytes } from '../../one-shot-hash.ts'
import type { PayloadMode } from '../auth/payload.ts'
import type { ChecksumAlgorithm, ObjectChecksum } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import {
  type Checksum,
  checksumHeaderName,
  checksumOf,
  createChecksum,
  parseChecksumValue,
} from './checksum.ts'
import type { ChecksumClaim, ChecksumPlan } from './checksum-headers.ts'

/** What is known of a body when all of it was seen and nothing contradicts its request. */
export interface BodySummary {
  readonly sizeBytes: number
  /** The ETag of an object that was put in one piece. */
  readonly md5: Buffer
  readonly checksum: ObjectChecksum
}

/** The sums of one body, each of them once, however many reasons there are for it. */
export interface BodySums {
  readonly sizeBytes: number
  readonly md5: Buffer
  readonly sums: ReadonlyMap<ChecksumAlgorithm, Buffer>
}

export interface BodyPromise {
  readonly mode: PayloadMode
  readonly plan: ChecksumPlan
}

/** The sums of a body that comes in pieces, wherever they are computed. */
export interface StreamedSums extends Disposable {
  readonly sizeBytes: number
  /** `bytes` may be used again at once. No more before what is returned has settled. */
  update(bytes: Buffer): Promise<void> | undefined
  /** To be called once, and last. */
  digest(): BodySums | Promise<BodySums>
}

/** The sums of a body that comes in pieces, computed in this thread. */
export class RunningSums implements StreamedSums {
  readonly #md5 = createHash('md5')
  readonly #sums: ReadonlyMap<ChecksumAlgorithm, Checksum>
  #sizeBytes = 0

  constructor(algorithms: readonly ChecksumAlgorithm[]) {
    this.#sums = new Map(algorithms.map((name) => [name, createChecksum(name)]))
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  update(bytes: Buffer): undefined {
    this.#sizeBytes += bytes.length
    this.#md5.update(bytes)
    for (const sum of this.#sums.values()) sum.update(bytes)
  }

  digest(): BodySums {
    const sums = new Map(Array.from(this.#sums, ([name, sum]) => [name, sum.digest()]))
    return { sizeBytes: this.#sizeBytes, md5: this.#md5.digest(), sums }
  }

  [Symbol.dispose](): void {
    // Nothing is held but memory.
  }
}

/** Every sum that is to be compared or kept, beside the MD5. */
export function algorithmsOf({ mode, plan }: BodyPromise): readonly ChecksumAlgorithm[] {
  const algorithms = [plan.algorithm]
  if (plan.claim !== undefined) algorithms.push(plan.claim.algorithm)
  if (mode.kind === 'signed') algorithms.push('SHA256')
  return algorithms.length === 1 ? algorithms : [...new Set(algorithms)]
}

export function sumsOf(promise: BodyPromise, data: Buffer): BodySums {
  const sums = new Map(algorithmsOf(promise).map((name) => [name, checksumOf(name, data)]))
  return { sizeBytes: data.length, md5: hashBytes('md5', data), sums }
}

/**
 * @throws {S3Error} XAmzContentSHA256Mismatch. BadDigest: Content-MD5 or the checksum.
 * InvalidRequest: the trailer holds no checksum. MalformedTrailerError: it did not come.
 */
export function checkBody(
  promise: BodyPromise,
  found: BodySums,
  trailers: ReadonlyMap<string, string>,
): BodySummary {
  const { mode, plan } = promise
  if (mode.kind === 'signed') checkPayloadHash(mode.sha256, sumIn(found, 'SHA256'))
  if (plan.contentMd5 !== undefined) checkContentMd5(plan.contentMd5, found.md5)
  if (plan.claim !== undefined) checkClaim(plan.claim, found, trailers)
  const { algorithm } = plan
  const value = sumIn(found, algorithm).toString('base64')
  const { sizeBytes, md5 } = found
  return { sizeBytes, md5, checksum: { algorithm, type: 'FULL_OBJECT', value } }
}

/** The sum that the client gave is another one. */
export function badChecksum(algorithm: ChecksumAlgorithm): S3Error {
  const message = `The ${algorithm} you specified did not match the calculated checksum.`
  return new S3Error('BadDigest', message)
}

function sumIn(found: BodySums, algorithm: ChecksumAlgorithm): Buffer {
  const sum = found.sums.get(algorithm)
  assert(sum !== undefined, `the body's ${algorithm} was computed`)
  return sum
}

function checkPayloadHash(promised: string, found: Buffer): void {
  const computed = found.toString('hex')
  if (computed === promised) return
  const fields = { ClientComputedContentSHA256: promised, S3ComputedContentSHA256: computed }
  throw new S3Error('XAmzContentSHA256Mismatch', undefined, { fields })
}

function checkContentMd5(promised: Buffer, found: Buffer): void {
  if (found.equals(promised)) return
  const fields = {
    ExpectedDigest: promised.toString('base64'),
    CalculatedDigest: found.toString('base64'),
  }
  const message = 'The Content-MD5 you specified did not match what we received.'
  throw new S3Error('BadDigest', message, { fields })
}

function checkClaim(
  claim: ChecksumClaim,
  found: BodySums,
  trailers: ReadonlyMap<string, string>,
): void {
  const { algorithm } = claim
  const promised = claim.place === 'header' ? claim.value : trailedValue(algorithm, trailers)
  if (sumIn(found, algorithm).equals(promised)) return
  throw badChecksum(algorithm)
}

function trailedValue(algorithm: ChecksumAlgorithm, trailers: ReadonlyMap<string, string>): Buffer {
  const value = trailers.get(checksumHeaderName(algorithm))
  if (value === undefined) throw new S3Error('MalformedTrailerError')
  return parseChecksumValue(algorithm, value, 'trailing header')
}
