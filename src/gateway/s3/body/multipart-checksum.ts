import { assert } from '../../../base/assert.ts'
import { hashHex } from '../../one-shot-hash.ts'
import type { ChecksumAlgorithm, ChecksumType, ObjectChecksum } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { badChecksum } from './body-checks.ts'
import { checksumOf, parseChecksumValue } from './checksum.ts'
import {
  algorithmMismatch,
  DEFAULT_ALGORITHM,
  findChecksumHeader,
  type HeaderSource,
  readAskedAlgorithm,
  readChecksumType,
  type UploadChecksum,
} from './checksum-headers.ts'
import { CrcCombiner, isCrc } from './crc-combine.ts'

/** Types an algorithm can have for an upload in parts; the first is what it gets unasked. */
const TYPES = {
  CRC32: ['COMPOSITE', 'FULL_OBJECT'],
  CRC32C: ['COMPOSITE', 'FULL_OBJECT'],
  CRC64NVME: ['FULL_OBJECT'],
  SHA1: ['COMPOSITE'],
  SHA256: ['COMPOSITE'],
} as const satisfies Record<ChecksumAlgorithm, readonly [ChecksumType, ...ChecksumType[]]>

/** One part of an upload, of its algorithm. */
export interface PartChecksum {
  readonly value: Buffer
  readonly sizeBytes: number
}

/** What CompleteMultipartUpload says of the object that it makes. */
export interface CompletionClaim {
  readonly checksum: Pick<ObjectChecksum, 'algorithm' | 'value'> | undefined
  readonly type: ChecksumType | undefined
  readonly sizeBytes: number | undefined
}

/**
 * The checksum that a CreateMultipartUpload asks for; CRC64NVME of the whole object if it does not.
 *
 * @throws {S3Error} InvalidRequest: an unknown algorithm or type, a type without an algorithm, or
 * one that the algorithm cannot have.
 */
export function readUploadChecksum(header: HeaderSource): UploadChecksum {
  const algorithm = readAskedAlgorithm(header)
  const asked = readChecksumType(header)
  if (algorithm !== undefined) {
    return { algorithm, type: resolveChecksumType(algorithm, asked), isChosen: true }
  }
  if (asked !== undefined) {
    throw invalid(
      'The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.',
    )
  }
  const type = resolveChecksumType(DEFAULT_ALGORITHM, undefined)
  return { algorithm: DEFAULT_ALGORITHM, type, isChosen: false }
}

/** @throws {S3Error} InvalidRequest: the algorithm cannot have the type that was asked for. */
export function resolveChecksumType(
  algorithm: ChecksumAlgorithm,
  asked: ChecksumType | undefined,
): ChecksumType {
  const types: readonly ChecksumType[] = TYPES[algorithm]
  if (asked === undefined) return TYPES[algorithm][0]
  if (types.includes(asked)) return asked
  throw invalid(
    `The ${asked} checksum type cannot be used with the ${algorithm.toLowerCase()} ` +
      'checksum algorithm.',
  )
}

/**
 * The checksum of an object made of parts, in their order, without reading them again.
 *
 * @param parts at least one; their values have the length of the algorithm's sums.
 */
export function checksumOfParts(
  upload: Pick<UploadChecksum, 'algorithm' | 'type'>,
  parts: readonly PartChecksum[],
): ObjectChecksum {
  const { algorithm, type } = upload
  assert(parts.length > 0, 'an object has a part')
  return { algorithm, type, value: valueOfParts(upload, parts) }
}

/** The ETag, without quotes, of an object made of parts with these MD5 sums. */
export function multipartEtag(md5s: readonly Buffer[]): string {
  assert(md5s.length > 0, 'an object has a part')
  return `${hashHex('md5', Buffer.concat(md5s))}-${md5s.length}`
}

/**
 * @throws {S3Error} InvalidRequest: more than one checksum, an unknown type, or a value that is not
 * base64 of the right length or of a size.
 */
export function readCompletionClaim(header: HeaderSource): CompletionClaim {
  const found = findChecksumHeader(header)
  const sizeText = header('x-amz-mp-object-size')?.trim()
  if (sizeText !== undefined && !/^\d{1,15}$/.test(sizeText)) {
    throw invalid('Value for x-amz-mp-object-size header is invalid.')
  }
  if (found !== undefined) checkCompletionValue(found.algorithm, found.text)
  return {
    checksum: found && { algorithm: found.algorithm, value: found.text },
    type: readChecksumType(header),
    sizeBytes: sizeText === undefined ? undefined : Number(sizeText),
  }
}

/**
 * Compares what the client says of the whole with what its parts give.
 *
 * @throws {S3Error} BadDigest. InvalidRequest: of another algorithm, type or size than the object.
 */
export function checkCompletion(
  claim: CompletionClaim,
  checksum: ObjectChecksum,
  sizeBytes: number,
): void {
  const { algorithm, type } = checksum
  if (claim.sizeBytes !== undefined && claim.sizeBytes !== sizeBytes) {
    throw invalid(
      `The value of x-amz-mp-object-size is ${claim.sizeBytes}, but the parts have ` +
        `${sizeBytes} bytes.`,
    )
  }
  if (claim.type !== undefined && claim.type !== type) {
    throw invalid(
      `The upload was created using the ${type} checksum mode. ` +
        'The complete request must use the same checksum mode.',
    )
  }
  if (claim.checksum === undefined) return
  if (claim.checksum.algorithm !== algorithm) {
    throw algorithmMismatch(algorithm, claim.checksum.algorithm)
  }
  if (!isSameValue(claim.checksum.value, checksum)) throw badChecksum(algorithm)
}

function valueOfParts(
  { algorithm, type }: Pick<UploadChecksum, 'algorithm' | 'type'>,
  parts: readonly PartChecksum[],
): string {
  if (type === 'COMPOSITE') {
    const sums = Buffer.concat(parts.map((part) => part.value))
    return `${checksumOf(algorithm, sums).toString('base64')}-${parts.length}`
  }
  assert(isCrc(algorithm), `a ${algorithm} of the whole cannot be had from the parts`)
  const combiner = new CrcCombiner(algorithm)
  for (const part of parts) combiner.append(part.value, part.sizeBytes)
  return combiner.digest().toString('base64')
}

/** With or without `-` and the number of parts. */
function checkCompletionValue(algorithm: ChecksumAlgorithm, text: string): void {
  const [, base64 = text] = /^(.*)-\d{1,5}$/.exec(text) ?? []
  parseChecksumValue(algorithm, base64)
}

/** Clients may leave out the number of parts of a composite one. */
function isSameValue(claimed: string, { type, value }: ObjectChecksum): boolean {
  if (claimed === value) return true
  return type === 'COMPOSITE' && claimed === value.slice(0, value.lastIndexOf('-'))
}

function invalid(message: string): S3Error {
  return new S3Error('InvalidRequest', message)
}
