import { StoreError } from '../base/store-error.ts'
import { isTexts } from './row-bytes.ts'

/**
 * What is set for a bucket as text that only gateways read; but for `notification`, which is for
 * `event-rules.ts`, and `search`, for `search-index.ts`.
 */
export const BUCKET_DOCUMENTS = [
  'acl',
  'cors',
  'encryption',
  'lifecycle',
  'notification',
  'objectLock',
  'ownership',
  'policy',
  'publicAccess',
  'search',
  'tagging',
] as const
export type BucketDocument = (typeof BUCKET_DOCUMENTS)[number]

/** `off`: it never was enabled; afterwards it can only be suspended. */
export const VERSIONINGS = ['off', 'enabled', 'suspended'] as const
export type Versioning = (typeof VERSIONINGS)[number]

export interface BucketQuota {
  /** Of all versions and parts. Undefined: no limit. */
  readonly bytesMax: number | undefined
  /** Versions, those that are hidden included. Undefined: no limit. */
  readonly objectsMax: number | undefined
}

export interface Bucket {
  readonly name: string
  /** Of a bucket made anew under the same name it is another. */
  readonly id: number
  /** Canonical id of a user. */
  readonly ownerId: string
  readonly createdAtMs: number
  readonly versioning: Versioning
  /** Versions can be locked; versioning stays enabled. */
  readonly isLockEnabled: boolean
  readonly documents: Readonly<Partial<Record<BucketDocument, string>>>
  readonly quota: BucketQuota
}

export const NO_QUOTA: BucketQuota = { bytesMax: undefined, objectsMax: undefined }

const VERSION = 1
const NAME_PATTERN = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/
const ADDRESS_PATTERN = /^\d+\.\d+\.\d+\.\d+$/

/**
 * 3 to 63 of small letters, digits, dots and hyphens; no IP address, no two dots together, not the
 * prefix `xn--` nor the suffix `-s3alias`, which mean something to clients. Source: the S3 user
 * guide, "Bucket naming rules"; what else it reserves has a meaning only at AWS.
 */
export function isBucketName(name: string): boolean {
  return (
    NAME_PATTERN.test(name) &&
    !name.includes('..') &&
    !ADDRESS_PATTERN.test(name) &&
    !name.startsWith('xn--') &&
    !name.endsWith('-s3alias')
  )
}

/** The row of a bucket: v u8, then JSON without the name, which is in the key. */
export function encodeBucket({ name: _, ...rest }: Bucket): Buffer {
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(JSON.stringify(rest))])
}

/** @throws {StoreError} METADATA_CORRUPT */
export function decodeBucket(name: string, bytes: Uint8Array): Bucket {
  try {
    if (bytes[0] !== VERSION) throw new Error(`version ${bytes[0]}`)
    const { quota, ...rest } = JSON.parse(Buffer.from(bytes.subarray(1)).toString('utf8')) as Bucket
    const bucket = { ...rest, name, quota: { ...NO_QUOTA, ...quota } }
    if (!isSound(bucket)) throw new Error('a value makes no sense')
    return bucket
  } catch (cause) {
    throw new StoreError('METADATA_CORRUPT', `the row of the bucket ${name} cannot be read`, {
      cause,
    })
  }
}

/** What was read may be anything: whoever uses a bucket relies on this much of it. */
function isSound({ createdAtMs, documents, id, isLockEnabled, ...rest }: Bucket): boolean {
  const { bytesMax, objectsMax } = rest.quota
  const isCount = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0
  return (
    isCount(id) &&
    id > 0 &&
    id < 2 ** 32 &&
    isCount(createdAtMs) &&
    typeof rest.ownerId === 'string' &&
    VERSIONINGS.includes(rest.versioning) &&
    typeof isLockEnabled === 'boolean' &&
    isTexts(documents) &&
    (bytesMax === undefined || isCount(bytesMax)) &&
    (objectsMax === undefined || isCount(objectsMax))
  )
}
