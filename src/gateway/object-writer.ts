import { createHash } from 'node:crypto'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import type { PutOptions, PutResult } from '../client/client-api.ts'
import type { BucketRef, NewVersion, WriteCondition } from '../namespace/namespace-api.ts'
import { ownerPairs, versionPairs } from '../namespace/needle-pairs.ts'
import { NO_ATTRIBUTES, type ObjectVersion } from '../namespace/object-version.ts'
import { parseObjectKey } from '../namespace/row-keys.ts'
import { newVersionId } from '../namespace/version-id.ts'
import type { DoorParts } from './door-parts.ts'
import type { IntentHandle } from './gateway-session.ts'
import { hashBytes } from './one-shot-hash.ts'
import { isRefused, STORE_MS_MAX } from './written-files.ts'

/** How the bytes of an object are kept; what is left out is the client's. */
export type StoragePlan = Required<Pick<PutOptions, 'collection'>> &
  Pick<PutOptions, 'policy' | 'spread' | 'replication' | 'chunkBytes' | 'writePolicy'>

export interface ObjectToWrite {
  readonly bucket: BucketRef
  readonly key: string
  readonly data: Uint8Array | AsyncIterable<Uint8Array>
  readonly storage: StoragePlan
  readonly contentType?: string | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
  /** Other headers to be sent with it, by lower-case name. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Canonical id; undefined: the owner of the bucket. */
  readonly ownerId?: string | undefined
  readonly condition?: WriteCondition | undefined
  readonly sizeBytesMax?: number | undefined
}

type WriterParts = Pick<
  DoorParts,
  'namespace' | 'client' | 'session' | 'clock' | 'random' | 'logger' | 'closing'
>

/** Read whole before it is stored; what is larger is stored as it comes. */
const HELD_BYTES_MAX = MIB

interface Sums {
  readonly md5: Buffer
  readonly sha256: Buffer
  readonly sizeBytes: number
}

/**
 * Stores bytes and gives them a name, in this order: an intent if they take more than one needle,
 * the needles, then one change that makes the object visible. When it fails nothing of it stays, at
 * the latest when the healer has been; unless the change may have happened (TIMEOUT, UNAVAILABLE,
 * PEER_FAILED): then the object may be there.
 *
 * @throws {StoreError} BODY_TOO_LARGE: above `sizeBytesMax`. Those of `HayloftClient.put` and of
 * `NamespaceApi.putObject`. What `data` throws.
 */
export async function writeObject(
  parts: WriterParts,
  object: ObjectToWrite,
  signal: AbortSignal,
): Promise<ObjectVersion> {
  const { bucket, condition, storage } = object
  const key = parseObjectKey(object.key)
  const startedAtMs = parts.clock.nowMs()
  const id = newVersionId(parts.random, startedAtMs)
  const source = await openSource(object)
  const intent = isManyNeedles(storage, source)
    ? parts.session.begin({ id, bucket: bucket.name, key })
    : undefined
  const plain = plainVersion(object, id)
  const pairs = ownerPairs({ bucket: bucket.name, key, version: id })
  const told = { ...plain, isNull: true, isRecord: false }
  const options: PutOptions = {
    ...storage,
    pairs,
    chunkPairs: pairs,
    pairsAtEnd: () => versionPairs({ ...told, ...factsOf(source.sums()) }),
    onPlanned: intent?.planned,
    signal,
  }
  const stored = await storeSource(parts, source, options, intent)
  if (parts.clock.nowMs() - startedAtMs > STORE_MS_MAX) {
    await giveUp(parts, stored, intent)
    throw new StoreError('TIMEOUT', 'the body took longer than anybody waits for it')
  }
  const { fileId, missingCount = 0, sizeBytes } = stored
  const version = { ...plain, ...factsOf(source.sums()), parts: [{ fileId, sizeBytes }] }
  const isDirty = missingCount > 0
  const intentId = intent?.isBegun === true ? id : undefined
  const request = { bucket, key, version, condition, intentId, isDirty }
  try {
    // Not `signal`: a caller who goes away now would leave nobody to say what became of it.
    return await parts.namespace.putObject(request, parts.closing)
  } catch (error) {
    if (isRefused(error)) await giveUp(parts, stored, intent)
    else intent?.leave()
    throw error
  }
}

interface Source {
  readonly data: Uint8Array | AsyncIterable<Uint8Array>
  /** Undefined: it is not known yet. */
  readonly sizeBytes: number | undefined
  /** Once all of it was read. */
  readonly sums: () => Sums
}

async function openSource({ data, sizeBytesMax = Number.MAX_SAFE_INTEGER }: ObjectToWrite) {
  if (data instanceof Uint8Array) return heldSource(data, sizeBytesMax)
  const iterator = data[Symbol.asyncIterator]()
  const head: Uint8Array[] = []
  let sizeBytes = 0
  for (;;) {
    const next = await iterator.next()
    if (next.done === true) return heldSource(Buffer.concat(head), sizeBytesMax)
    // The memory of a piece may be used again for the next one.
    head.push(Buffer.from(next.value))
    sizeBytes += next.value.length
    if (sizeBytes > HELD_BYTES_MAX || sizeBytes > sizeBytesMax) break
  }
  return streamSource(head, iterator, sizeBytesMax)
}

function heldSource(data: Uint8Array, sizeBytesMax: number): Source {
  const sizeBytes = data.length
  if (sizeBytes > sizeBytesMax) throw tooLarge(sizeBytesMax)
  const made = { md5: hashBytes('md5', data), sha256: hashBytes('sha256', data), sizeBytes }
  return { data, sizeBytes, sums: () => made }
}

function streamSource(
  head: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
  sizeBytesMax: number,
): Source {
  const md5 = createHash('md5')
  const sha256 = createHash('sha256')
  let sizeBytes = 0
  let made: Sums | undefined
  const take = (piece: Uint8Array): Uint8Array => {
    sizeBytes += piece.length
    if (sizeBytes > sizeBytesMax) throw tooLarge(sizeBytesMax)
    md5.update(piece)
    sha256.update(piece)
    return piece
  }
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (const piece of head) yield take(piece)
      for (let next = await rest.next(); next.done !== true; next = await rest.next()) {
        yield take(next.value)
      }
    } finally {
      await rest.return?.()
    }
  }
  const sums = () => (made ??= { md5: md5.digest(), sha256: sha256.digest(), sizeBytes })
  return { data: pieces(), sizeBytes: undefined, sums }
}

/** Of a stream it is not known, and an intent too many does no harm. */
function isManyNeedles(
  { chunkBytes = LIMITS.chunkBytes.value, policy = 'replicated' }: StoragePlan,
  { sizeBytes }: Source,
): boolean {
  if (sizeBytes === 0) return false
  return policy !== 'replicated' || sizeBytes === undefined || sizeBytes > chunkBytes
}

async function storeSource(
  parts: WriterParts,
  { data }: Source,
  options: PutOptions,
  intent: IntentHandle | undefined,
): Promise<PutResult> {
  try {
    return await parts.client.put(data, options)
  } catch (error) {
    if (intent?.isBegun === true) await intent.undo()
    throw error
  }
}

async function giveUp(
  { client, logger }: WriterParts,
  { fileId }: PutResult,
  intent: IntentHandle | undefined,
): Promise<void> {
  if (intent?.isBegun === true) return await intent.undo()
  try {
    await client.delete(fileId)
  } catch (error) {
    logger.warn('gateway.orphan_left', { fileId, error })
  }
}

/** All of a version but what its bytes say. */
function plainVersion(object: ObjectToWrite, id: string) {
  return {
    ...NO_ATTRIBUTES,
    id,
    storageClass: 'STANDARD' as const,
    contentType: object.contentType,
    metadata: object.metadata ?? {},
    headers: object.headers ?? {},
    ownerId: object.ownerId,
  } satisfies Partial<NewVersion>
}

function factsOf({ md5, sha256, sizeBytes }: Sums) {
  const value = sha256.toString('base64')
  const checksum = { algorithm: 'SHA256', type: 'FULL_OBJECT', value } as const
  return { etag: md5.toString('hex'), checksum, sizeBytes }
}

function tooLarge(sizeBytesMax: number): StoreError {
  return new StoreError('BODY_TOO_LARGE', `the body is longer than ${sizeBytesMax} bytes`)
}
