import type { HayloftClient } from '../../../client/hayloft-client.ts'
import {
  type NeedleOwner,
  type NeedlePairs,
  type ToldAttributes,
  versionPairs,
} from '../../../namespace/needle-pairs.ts'
import {
  isCodedClass,
  type StorageClass,
  type StoredPart,
} from '../../../namespace/object-version.ts'
import { putOptions } from '../../stored-bytes.ts'
import { isRefused, STORE_MS_MAX } from '../../written-files.ts'
import type { BodyPromise, BodySummary } from '../body/body-checks.ts'
import {
  announcedSize,
  type BodyTerms,
  type BodyWire,
  ObjectBody,
  readSmallBody,
} from '../body/object-body.ts'
import { S3Error } from '../s3-error.ts'
import type { ExchangeParts } from '../s3-exchange.ts'

/** Read whole before it is stored; what is larger is stored as it comes. */
const SMALL_BYTES_MAX = 1024 * 1024

/** Bytes that are on disk, and named by nothing yet. */
export interface StoredBody {
  readonly part: StoredPart
  readonly summary: BodySummary
}

/**
 * Stores what a client sends. When this fails, nothing of it stays.
 *
 * @throws {S3Error} As `ObjectBody`. The errors of `HayloftClient.put`.
 */
export async function storeBody(
  parts: ExchangeParts,
  wire: () => BodyWire,
  terms: BodyTerms,
  owner: NeedleOwner,
  storageClass: StorageClass,
  told?: ToldAttributes,
): Promise<StoredBody> {
  const sizeBytes = announcedSize(terms)
  const policy = await codedPolicyOf(parts, storageClass)
  const optionsFor = (summary: () => BodySummary) =>
    putOptions(owner, storageClass, policy, parts.closing, told && pairsOf(told, summary))
  const startedAtMs = parts.clock.nowMs()
  if (sizeBytes !== undefined && sizeBytes <= SMALL_BYTES_MAX) {
    const { data, summary } = await readSmallBody(wire(), terms)
    const { fileId } = await parts.client.put(
      data,
      optionsFor(() => summary),
    )
    return await inTime(parts, startedAtMs, { fileId, sizeBytes: data.length }, summary)
  }
  const { hashThreads } = parts
  const makeSums = hashThreads && ((promise: BodyPromise) => hashThreads.sums(promise))
  const body = new ObjectBody(wire(), terms, makeSums)
  const { fileId } = await parts.client.put(
    body,
    optionsFor(() => body.summary),
  )
  const { summary } = body
  return await inTime(parts, startedAtMs, { fileId, sizeBytes: summary.sizeBytes }, summary)
}

/** Stores bytes of ours, such as those of a copy. */
export async function storePieces(
  parts: ExchangeParts,
  pieces: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  owner: NeedleOwner,
  storageClass: StorageClass,
  told?: () => NeedlePairs,
): Promise<StoredPart> {
  const policy = await codedPolicyOf(parts, storageClass)
  const options = putOptions(owner, storageClass, policy, parts.closing, told)
  const startedAtMs = parts.clock.nowMs()
  const { fileId } = await parts.client.put(pieces, options)
  return (await inTime(parts, startedAtMs, { fileId, sizeBytes }, undefined)).part
}

/** The needle that tells of the parts of an upload, for when names are made anew. */
export async function storeRecord(
  parts: ExchangeParts,
  record: Buffer,
  owner: NeedleOwner,
  told: NeedlePairs,
): Promise<StoredPart> {
  const options = putOptions(owner, 'STANDARD', undefined, parts.closing, () => told)
  const { fileId } = await parts.client.put(record, options)
  return { fileId, sizeBytes: 0 }
}

/** Gives up bytes that came to nothing: what cannot be deleted now is collected as an orphan. */
export async function dropStored(
  parts: Pick<ExchangeParts, 'logger'> & { readonly client: Pick<HayloftClient, 'delete'> },
  part: StoredPart,
): Promise<void> {
  try {
    await parts.client.delete(part.fileId)
  } catch (error) {
    parts.logger.warn('s3.orphan_left', { fileId: part.fileId, error })
  }
}

/**
 * Runs a change that gives stored bytes a name, and gives them up if it surely did not happen. A
 * change that may have happened keeps them.
 */
export async function nameStored<Result>(
  parts: ExchangeParts,
  stored: StoredPart,
  change: () => Promise<Result>,
): Promise<Result> {
  try {
    return await change()
  } catch (error) {
    if (isRefused(error)) await dropStored(parts, stored)
    throw error
  }
}

function pairsOf(told: ToldAttributes, summary: () => BodySummary): () => NeedlePairs {
  return () => {
    const { checksum, md5, sizeBytes } = summary()
    const sums = { checksum, etag: md5.toString('hex'), sizeBytes }
    return versionPairs({ ...told, ...sums, isRecord: false })
  }
}

/** @throws {S3Error} RequestTimeout: it took too long, and nothing of it stays. */
async function inTime<Summary>(
  parts: ExchangeParts,
  startedAtMs: number,
  part: StoredPart,
  summary: Summary,
): Promise<{ readonly part: StoredPart; readonly summary: Summary }> {
  if (parts.clock.nowMs() - startedAtMs <= STORE_MS_MAX) return { part, summary }
  await dropStored(parts, part)
  throw new S3Error('RequestTimeout')
}

/** A cluster with fewer servers than shards keeps copies of every class. */
async function codedPolicyOf(
  parts: ExchangeParts,
  storageClass: StorageClass,
): Promise<string | undefined> {
  if (!isCodedClass(storageClass)) return undefined
  return await parts.codedPolicy()
}
