import { createHash } from 'node:crypto'
import { isStoreError, type StoreError } from '../../base/store-error.ts'
import type { Bucket } from '../../namespace/bucket-record.ts'
import type { NewVersion } from '../../namespace/namespace-api.ts'
import { type NeedlePairs, versionPairs } from '../../namespace/needle-pairs.ts'
import {
  type DocumentFacts,
  NO_ATTRIBUTES,
  type ObjectVersion,
  type StoredPart,
} from '../../namespace/object-version.ts'
import { hashBytes } from '../one-shot-hash.ts'
import { restError } from '../rest/rest-error.ts'

/** Both parts of a document by fields, as they are to be stored. */
export interface HybridParts {
  readonly hot: Buffer
  readonly cold: Buffer | undefined
  readonly coldSha256: string | undefined
}

/** What a version by fields takes from the one before. */
export interface KeptCold {
  readonly current: ObjectVersion
  readonly part: StoredPart
  readonly sha256: string
}

/** Of the bytes of a document. */
export type DocumentSums = Pick<NewVersion, 'sizeBytes' | 'etag' | 'checksum'>

export function isByFields(version: ObjectVersion | undefined): version is ObjectVersion {
  return version?.isMarker === false && version.document?.strategy === 'field_hybrid'
}

/** Undefined: the version has no cold fields, or others. */
export function keptCold(
  current: ObjectVersion | undefined,
  coldSha256: string | undefined,
): KeptCold | undefined {
  if (coldSha256 === undefined || !isByFields(current)) return undefined
  const [, part] = current.parts
  if (current.document?.coldSha256 !== coldSha256 || part === undefined) return undefined
  return { current, part, sha256: coldSha256 }
}

export function documentOf(coldSha256: string | undefined): DocumentFacts {
  return { strategy: 'field_hybrid', ...(coldSha256 !== undefined && { coldSha256 }) }
}

function toldOf({ versioning }: Bucket, facts: DocumentSums) {
  return {
    ...NO_ATTRIBUTES,
    ...facts,
    contentType: CONTENT_TYPE,
    ownerId: undefined,
    storageClass: 'STANDARD' as const,
    isNull: versioning !== 'enabled',
    isRecord: false,
  }
}

const CONTENT_TYPE = 'application/json'

/** What the needle of the hot fields tells: which other file the document goes on in. */
export function toldPairs(
  bucket: Bucket,
  facts: DocumentSums,
  document: DocumentFacts,
  others: readonly StoredPart[],
): NeedlePairs {
  const parts = others.map(({ fileId, sizeBytes }): readonly [string, number] => {
    return [fileId, sizeBytes]
  })
  return versionPairs({
    ...toldOf(bucket, facts),
    document,
    ...(parts.length > 0 && { parts: [null, ...parts] }),
  })
}

export function versionOf(
  facts: DocumentSums,
  document: DocumentFacts,
  parts: readonly StoredPart[],
): Omit<NewVersion, 'id'> {
  return {
    ...NO_ATTRIBUTES,
    ...facts,
    contentType: CONTENT_TYPE,
    storageClass: 'STANDARD',
    ownerId: undefined,
    document,
    parts,
  }
}

export function sumsOf(sizeBytes: number, md5: Buffer, sha256: Buffer): DocumentSums {
  const value = sha256.toString('base64')
  const checksum = { algorithm: 'SHA256', type: 'FULL_OBJECT', value } as const
  return { sizeBytes, etag: md5.toString('hex'), checksum }
}

export function sumsOfParts(hot: Buffer, cold: Buffer | undefined): DocumentSums {
  const md5 = createHash('md5').update(hot)
  const sha256 = createHash('sha256').update(hot)
  if (cold !== undefined) {
    md5.update(cold)
    sha256.update(cold)
  }
  return sumsOf(hot.length + (cold?.length ?? 0), md5.digest(), sha256.digest())
}

/** As S3 sums up two parts whose SHA-256 are known, and not their bytes. */
export function compositeSums(hot: Buffer, coldBytes: number, coldSha256: string): DocumentSums {
  const sums = Buffer.concat([hashBytes('sha256', hot), Buffer.from(coldSha256, 'hex')])
  const value = `${hashBytes('sha256', sums).toString('base64')}-2`
  return {
    sizeBytes: hot.length + coldBytes,
    etag: `${hashBytes('md5', sums).toString('hex')}-2`,
    checksum: { algorithm: 'SHA256', type: 'COMPOSITE', value },
  }
}

export function keyNotFound(key: string): StoreError {
  return restError(404, 'OBJECT_NOT_FOUND', `Key '${key}' not found`)
}

/** What is left of a document cannot be read: a fault of the store, whatever its code. */
export function documentLost(key: string, cause: unknown): StoreError {
  const code = isStoreError(cause) ? cause.code : 'NEEDLE_NOT_FOUND'
  return restError(500, code, `what was stored of '${key}' cannot be read`, { cause })
}

/** A file is not there, or not enough of it: it was replaced meanwhile, or it is lost. */
export function isGone(error: unknown): boolean {
  return isStoreError(error, 'NEEDLE_NOT_FOUND', 'SHARDS_LOST', 'VOLUME_NOT_FOUND')
}
