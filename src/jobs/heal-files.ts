import { createHash } from 'node:crypto'
import { parseFileId } from '../base/file-id.ts'
import { formatReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { FileInfo, PutOptions } from '../client/client-api.ts'
import type { HayloftClient } from '../client/hayloft-client.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import {
  movedPairs,
  type NeedlePairs,
  ownerPairs,
  readMovedPairs,
  readOwnerPairs,
  readVersionPairs,
  toldParts,
  versionPairs,
} from '../namespace/needle-pairs.ts'
import {
  type ObjectVersion,
  publicVersionId,
  type StoredPart,
} from '../namespace/object-version.ts'
import type { JobsApi } from '../net/jobs-api.ts'
import type { NamedFile } from './heal-walk.ts'

export type HealClient = Pick<
  HayloftClient,
  'delete' | 'getStream' | 'put' | 'repairFile' | 'shardsOf' | 'stat'
>

export type HealNamespace = Pick<
  NamespaceApi,
  | 'changeObject'
  | 'findBucket'
  | 'findObject'
  | 'listBuckets'
  | 'listDirty'
  | 'listIntents'
  | 'listParts'
  | 'listUploads'
  | 'listVersions'
  | 'settleDirty'
  | 'undoIntent'
>

/** Objects, and the bytes behind them. */
export interface ObjectAccess {
  readonly namespace: HealNamespace
  readonly client: HealClient
}

export interface HealParts extends ObjectAccess {
  readonly jobs: Pick<JobsApi, 'volumeFacts'>
}

/** What came of one file. */
export type HealedFile =
  | {
      readonly outcome: 'healed'
      readonly shardsMade: number
      readonly corruptFound: number
      readonly isRewritten: boolean
    }
  /** No object has it any more. */
  | { readonly outcome: 'overtaken' }
  | { readonly outcome: 'failed'; readonly error: StoreError }

/** How a file is to be stored that takes the place of another. */
export type NewStorage = Pick<PutOptions, 'collection' | 'policy' | 'replication' | 'spread'>

/** What such a volume has can be read; what is to take its place is stored elsewhere. */
const TAKES_NO_WRITES = ['VOLUME_SEALED', 'VOLUME_FULL', 'VOLUME_FAILED'] as const

/** Whatever else a change fails with, it may have happened. */
const REFUSED = [
  'BUCKET_NOT_FOUND',
  'OBJECT_LOCKED',
  'OBJECT_NOT_FOUND',
  'PRECONDITION_FAILED',
  'QUOTA_EXCEEDED',
  'REQUEST_INVALID',
] as const

/** Somebody else changed the version, or it is gone. */
const OVERTAKEN = ['BUCKET_NOT_FOUND', 'OBJECT_NOT_FOUND', 'PRECONDITION_FAILED'] as const

/** Of two that repair the same file one is told so: what it finds then is whole. */
const TRIES = 3

/**
 * Makes every shard of the file whole: all are read and compared with their checksums, and those
 * that are gone or wrong are made anew. Where the list of its shards cannot be changed any more the
 * file is stored anew, and takes its own place in the object.
 *
 * @throws {StoreError} CANCELLED.
 */
export async function healFile(
  parts: HealParts,
  file: NamedFile,
  signal: AbortSignal,
): Promise<HealedFile> {
  for (let tries = 1; ; tries++) {
    try {
      const done = await parts.client.repairFile(file.fileId, { signal })
      const shardsMade = done.rebuiltCount + done.movedCount
      const corruptFound = done.corruptCount ?? 0
      return { outcome: 'healed', shardsMade, corruptFound, isRewritten: false }
    } catch (error) {
      if (!isStoreError(error) || error.code === 'CANCELLED') throw error
      if (error.code === 'VOLUME_CHANGED' && tries < TRIES) continue
      return await healOtherwise(parts, file, error, signal)
    }
  }
}

async function healOtherwise(
  parts: HealParts,
  file: NamedFile,
  error: StoreError,
  signal: AbortSignal,
): Promise<HealedFile> {
  try {
    const version = await versionNow(parts, file, signal)
    if (version === undefined && !(await isPartNow(parts, file, signal))) {
      return { outcome: 'overtaken' }
    }
    if (version === undefined || !isStoreError(error, ...TAKES_NO_WRITES)) {
      return { outcome: 'failed', error }
    }
    const shards = await parts.client.shardsOf(file.fileId, { signal })
    if (shards === undefined) return { outcome: 'failed', error }
    const storage = await storageOf(parts, file.fileId, signal)
    const moved = await rewriteFile(parts, { ...file, version }, storage, signal)
    if (moved === undefined) return { outcome: 'overtaken' }
    const shardsMade = shards.fileIds.length
    return { outcome: 'healed', shardsMade, corruptFound: 0, isRewritten: true }
  } catch (another) {
    if (!isStoreError(another) || another.code === 'CANCELLED') throw another
    return { outcome: 'failed', error: another }
  }
}

/** The version as it is now, if it still has the file. */
export async function versionNow(
  { namespace }: ObjectAccess,
  { bucket, fileId, key, version }: NamedFile,
  signal: AbortSignal,
): Promise<ObjectVersion | undefined> {
  if (version === undefined) return undefined
  try {
    const place = { bucket, key, versionId: publicVersionId(version) }
    const now = await namespace.findObject(place, signal)
    if (now?.id !== version.id) return undefined
    const has = now.recordFileId === fileId || now.parts.some((part) => part.fileId === fileId)
    return has ? now : undefined
  } catch (error) {
    if (isStoreError(error, 'BUCKET_NOT_FOUND')) return undefined
    throw error
  }
}

/** A part of an upload is looked for again only in the next walk. */
async function isPartNow(
  { client }: Pick<ObjectAccess, 'client'>,
  { fileId, version }: NamedFile,
  signal: AbortSignal,
): Promise<boolean> {
  if (version !== undefined) return false
  try {
    await client.stat(fileId, { signal })
    return true
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_NOT_FOUND')) return false
    throw error
  }
}

/** As the file is stored now. @throws {StoreError} Those of the client and the master. */
export async function storageOf(
  { client, jobs }: Pick<HealParts, 'client' | 'jobs'>,
  fileId: string,
  signal: AbortSignal,
): Promise<NewStorage> {
  const { collection, replication } = await jobs.volumeFacts(parseFileId(fileId).volumeId, signal)
  const shards = await client.shardsOf(fileId, { signal })
  if (shards === undefined) return { collection, replication: formatReplicaPlacement(replication) }
  return { collection, policy: `ec:${shards.erasure}`, spread: shards.spread }
}

/**
 * Stores the bytes of one file of a version anew and puts it in the place of the old one, which the
 * namespace deletes; with it the file that tells of the others, if it is not that itself. Copies
 * are read back and compared first. Undefined: the version is gone, or lies elsewhere by now;
 * nothing is changed. A process that dies on the way leaves the version as it was, and files that
 * nothing names.
 *
 * @throws {StoreError} NEEDLE_CORRUPT: the bytes are not what was stored. Those of the client and
 * of `NamespaceApi.changeObject`.
 */
export async function rewriteFile(
  parts: HealParts,
  file: NamedFile & { readonly version: ObjectVersion },
  storage: NewStorage,
  signal: AbortSignal,
): Promise<ObjectVersion | undefined> {
  const { bucket, key, version } = file
  const { client, namespace } = parts
  const copyIds: string[] = []
  try {
    const moved = {
      parts: await rewrittenParts(parts, { file, storage, copyIds }, signal),
      storageClass: version.storageClass,
      from: version.parts.map((each) => each.fileId),
    }
    const place = { bucket, key, versionId: publicVersionId(version), id: version.id }
    return await change(() => namespace.changeObject({ ...place, change: { moved } }, signal))
  } catch (error) {
    // Whatever else it is, the change may have happened: then the copies are the object.
    if (error instanceof InDoubt) throw error.cause
    for (const copyId of copyIds) await client.delete(copyId).catch(() => 'an orphan now')
    if (isStoreError(error, ...OVERTAKEN)) return undefined
    throw error
  }
}

class InDoubt extends Error {}

async function change(run: () => Promise<ObjectVersion>): Promise<ObjectVersion> {
  try {
    return await run()
  } catch (cause) {
    if (isStoreError(cause, ...REFUSED)) throw cause
    throw new InDoubt('it may have happened', { cause })
  }
}

interface Rewrite {
  readonly file: NamedFile & { readonly version: ObjectVersion }
  readonly storage: NewStorage
  /** Of what was stored so far. */
  readonly copyIds: string[]
}

async function rewrittenParts(
  parts: HealParts,
  { copyIds, file, storage }: Rewrite,
  signal: AbortSignal,
): Promise<readonly StoredPart[]> {
  const { fileId, version } = file
  const { client } = parts
  const moved = [...version.parts]
  const index = moved.findIndex((part) => part.fileId === fileId)
  if (index < 0) {
    throw new StoreError('VOLUME_SEALED', `${fileId} is no part of a version, and cannot be moved`)
  }
  const move = async (at: number, plan: Omit<CopyPlan, 'sizeBytes'>): Promise<void> => {
    const part = moved[at]
    if (part === undefined) return
    const copyId = await copyFile(client, { ...plan, sizeBytes: part.sizeBytes }, signal)
    copyIds.push(copyId)
    moved[at] = { ...part, fileId: copyId }
  }
  const info = await client.stat(fileId, { signal })
  const teller = await findTeller(client, version, { index, info }, signal)
  if (teller?.index !== index) {
    await move(index, { info, storage, pairs: pairsOfPart(info, version) })
  }
  if (teller !== undefined) {
    const isIt = teller.index === index
    const where = isIt ? storage : await storageOf(parts, teller.info.fileId, signal)
    const pairs = pairsOfTeller(teller.info, version, moved)
    await move(teller.index, { info: teller.info, storage: where, pairs })
  }
  return moved
}

interface IndexedFile {
  readonly index: number
  readonly info: FileInfo
}

/** The file by which the version exists; undefined: the record of its upload tells of it. */
async function findTeller(
  client: HealClient,
  version: ObjectVersion,
  first: IndexedFile,
  signal: AbortSignal,
): Promise<IndexedFile | undefined> {
  if (readVersionPairs(first.info.pairs) !== undefined) return first
  if (version.recordFileId !== undefined || version.etag.includes('-')) return undefined
  for (const [index, { fileId }] of version.parts.entries()) {
    if (index === first.index) continue
    const info = await client.stat(fileId, { signal })
    if (readVersionPairs(info.pairs) !== undefined) return { index, info }
  }
  return undefined
}

interface CopyPlan {
  readonly info: FileInfo
  readonly storage: NewStorage
  readonly sizeBytes: number
  readonly pairs: CopyPairs
}

/** What the needles of a copy are to tell of their object, so that its row can be made anew. */
interface CopyPairs {
  readonly pairs: NeedlePairs
  readonly chunkPairs: NeedlePairs | undefined
}

/** The id of a file with the same bytes. When this fails, nothing of it stays. */
async function copyFile(
  client: HealClient,
  { info, pairs, sizeBytes, storage }: CopyPlan,
  signal: AbortSignal,
): Promise<string> {
  const { fileId, lastModifiedMs, mime, name } = info
  const original = newSum()
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of client.getStream(fileId, { signal })) {
      original.add(piece)
      yield piece
    }
    // Before the last piece is stored: a put whose source fails takes itself back.
    if (original.sizeBytes !== sizeBytes) throw notWhatWasStored(fileId)
  }
  const about = { lastModifiedMs, mime, name, ...pairs }
  const copy = await client.put(pieces(), { ...about, ...storage, signal })
  try {
    const copied = newSum()
    for await (const piece of client.getStream(copy.fileId, { signal })) copied.add(piece)
    if (copied.end() !== original.end()) throw notWhatWasStored(copy.fileId)
    return copy.fileId
  } catch (error) {
    await client.delete(copy.fileId).catch(() => 'it is an orphan, and collected later')
    throw error
  }
}

function pairsOfTeller(
  { fileId, pairs: before }: FileInfo,
  version: ObjectVersion,
  moved: readonly StoredPart[],
): CopyPairs {
  const { modifiedAtMs, seq } = version
  const owner = readOwnerPairs(before)
  const own = owner === undefined ? {} : ownerPairs(owner)
  const parts = toldParts(moved, fileId)
  const made = { modifiedAtMs, seq }
  const text = versionPairs({ ...version, parts, made, isRecord: false })
  return { pairs: { ...own, ...text }, chunkPairs: own }
}

function pairsOfPart({ fileId, pairs: before }: FileInfo, version: ObjectVersion): CopyPairs {
  const owner = readOwnerPairs(before)
  if (owner === undefined) return { pairs: before, chunkPairs: undefined }
  const own = ownerPairs(owner)
  if (owner.partNumber === undefined) return { pairs: before, chunkPairs: own }
  // The record of the upload goes on naming the file that was first.
  const fromFileId = readMovedPairs(before)?.fromFileId ?? fileId
  const { storageClass } = version
  return { pairs: { ...own, ...movedPairs({ fromFileId, storageClass }) }, chunkPairs: own }
}

interface Sum {
  readonly sizeBytes: number
  add(piece: Uint8Array): void
  /** The same text each time. */
  end(): string
}

function newSum(): Sum {
  const hash = createHash('sha256')
  let sizeBytes = 0
  let text: string | undefined
  return {
    get sizeBytes() {
      return sizeBytes
    },
    add(piece) {
      sizeBytes += piece.length
      hash.update(piece)
    },
    end() {
      text ??= hash.digest('hex')
      return text
    },
  }
}

function notWhatWasStored(fileId: string): StoreError {
  return new StoreError('NEEDLE_CORRUPT', `${fileId} is not what was stored`)
}
