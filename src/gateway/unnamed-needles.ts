import { type FileId, formatFileId, parseFileId } from '../base/file-id.ts'
import { formatNeedleId, type NeedleId, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { NamespaceApi, VersionPage } from '../namespace/namespace-api.ts'
import { type NeedleOwner, type NeedlePairs, readOwnerPairs } from '../namespace/needle-pairs.ts'
import { PART_NUMBER_MAX } from '../namespace/upload-record.ts'
import { timeOfVersionId } from '../namespace/version-id.ts'
import type { Clock } from '../runtime/clock.ts'
import {
  type FoundFile,
  filesOf,
  type NamedFile,
  namedFiles,
  type ObjectVolumes,
} from './named-needles.ts'
import { readGeneration } from './orphan-ledger.ts'

/** A needle on a volume of objects that no row names, neither itself nor a file it belongs to. */
export interface UnnamedNeedle {
  readonly fileId: FileId
  readonly dataBytes: number
  /** CRC-32C. */
  readonly checksum: number
  /** Undefined: no gateway stored it, or it cannot be read. Nobody but people may judge it. */
  readonly owner: NeedleOwner | undefined
  /** It is a page of the ledger of orphans (see `OrphanLedger`), of this generation. */
  readonly generation: number | undefined
  /** The later of the times at which its version was begun and at which it was appended. */
  readonly bornAtMs: number
}

export interface UnnamedParts {
  readonly namespace: NamespaceApi
  readonly volumes: ObjectVolumes
  readonly clock: Clock
}

/** Of some needles of a volume, a bounded number: a volume may have many of these. */
export interface VolumeFinding {
  readonly volumeId: VolumeId
  /** All of the volume, in the first finding about it; 0 in the others. */
  readonly liveCount: number
  /** Not named, but too young to say that they will not be. */
  readonly youngCount: number
  /** Of the pages of the ledger among them, young ones too; 0: there is none. */
  readonly generationMax: number
  readonly unnamed: readonly UnnamedNeedle[]
}

/** Ids that are held at once: some 100 MB. What is more takes another walk of the rows. */
const NEEDLES_HELD_MAX = 1_000_000
const MS_NS = 1_000_000n
/** It went since it was listed, or nobody can say what it is. */
const UNREADABLE = [
  'NEEDLE_NOT_FOUND',
  'COOKIE_MISMATCH',
  'NEEDLE_CORRUPT',
  'RANGE_INVALID',
] as const
const FIRST_BYTE = { start: 0, end: 1 }
/** Most keys have few versions; after them come other keys. */
const KEY_PAGE_ROWS = 100

export interface FindUnnamedOptions {
  /** Younger ones may be named yet. */
  readonly minAgeMs: number
  /** Told of every file in the first walk of the rows. */
  readonly onFound: (found: FoundFile) => Promise<void>
  /** Runs after each bounded piece of work, for whoever wants to rest there. */
  readonly onPiece?: (() => Promise<void>) | undefined
}

/**
 * Needles that nothing names, volume by volume. Ids are listed first and rows are looked at after
 * that, so whatever was named in between is seen; what is left is looked up once more by what it
 * says of itself, since rows may change their place during a walk. Whoever takes no more findings
 * ends it.
 *
 * @throws {StoreError} Those of the namespace and of volume servers: nothing is said of a cluster
 * of which only a part can be seen.
 */
export async function* findUnnamed(
  parts: UnnamedParts,
  options: FindUnnamedOptions,
  signal: AbortSignal,
): AsyncGenerator<VolumeFinding, void, undefined> {
  const { namespace, volumes } = parts
  const { onPiece = noPause } = options
  const rest = [...volumes.volumeIds]
  let isFirst = true
  do {
    const held = await listSome(volumes, rest, signal)
    const counts = new Map([...held].map(([volumeId, ids]) => [volumeId, ids.size]))
    for await (const group of namedFiles(namespace, undefined, signal)) {
      for (const found of await volumes.find(group, signal)) {
        strike(held, found.file.fileId)
        for (const fileId of found.behind) strike(held, fileId)
        if (isFirst) await options.onFound(found)
      }
      await onPiece()
    }
    isFirst = false
    for (const [volumeId, ids] of held) {
      let liveCount = counts.get(volumeId) ?? 0
      for await (const judged of judge(parts, { volumeId, ids, ...options }, signal)) {
        yield { volumeId, liveCount, ...judged }
        liveCount = 0
        await onPiece()
      }
      held.delete(volumeId)
    }
  } while (rest.length > 0)
}

/** Takes volumes from the front of `rest` as long as there is room. */
async function listSome(
  volumes: ObjectVolumes,
  rest: VolumeId[],
  signal: AbortSignal,
): Promise<Map<VolumeId, Map<string, NeedleId>>> {
  const held = new Map<VolumeId, Map<string, NeedleId>>()
  let count = 0
  while (count < NEEDLES_HELD_MAX) {
    const volumeId = rest.shift()
    if (volumeId === undefined) break
    const ids = await volumes.listLive(volumeId, signal)
    held.set(volumeId, ids)
    count += ids.size
  }
  return held
}

function strike(held: Map<VolumeId, Map<string, NeedleId>>, { needleId, volumeId }: FileId): void {
  held.get(volumeId)?.delete(formatNeedleId(needleId))
}

interface Left {
  readonly volumeId: VolumeId
  readonly ids: ReadonlyMap<string, NeedleId>
  readonly minAgeMs: number
}

/** At least one: also of a volume of which nothing is left. */
async function* judge(
  parts: UnnamedParts,
  { ids, minAgeMs, volumeId }: Left,
  signal: AbortSignal,
): AsyncGenerator<
  Pick<VolumeFinding, 'youngCount' | 'generationMax' | 'unnamed'>,
  void,
  undefined
> {
  // What a write intent names is younger than that, or to be deleted: a gateway whose put takes
  // longer than 20 hours gives it up. So intents need not be looked at.
  const bornBefore = parts.clock.nowMs() - minAgeMs
  const all = [...ids.values()]
  const atOnce = LIMITS.healNeedlesMax.value
  let at = 0
  do {
    const some = all.slice(at, at + atOnce)
    const unnamed: UnnamedNeedle[] = []
    let youngCount = 0
    let generationMax = 0
    for (const needle of await describeNeedles(parts.volumes, volumeId, some, signal)) {
      generationMax = Math.max(generationMax, needle.generation ?? 0)
      if (needle.bornAtMs > bornBefore) youngCount++
      else if (!(await isNamed(parts, needle, signal))) unnamed.push(needle)
    }
    yield { youngCount, generationMax, unnamed }
    at += atOnce
  } while (at < all.length)
}

/** Those of them that live. */
async function describeNeedles(
  volumes: ObjectVolumes,
  volumeId: VolumeId,
  needleIds: readonly NeedleId[],
  signal: AbortSignal,
): Promise<readonly UnnamedNeedle[]> {
  const [holder] = volumes.holdersOf(volumeId)
  if (holder === undefined) return []
  const needles: UnnamedNeedle[] = []
  for (const stat of await holder.statNeedles(volumeId, needleIds, signal)) {
    if (stat.state !== 'live') continue
    const fileId = { volumeId, needleId: stat.needleId, cookie: stat.cookie }
    const pairs = await pairsOf(volumes, fileId, stat.dataBytes, signal)
    const owner = readOwnerPairs(pairs)
    const appendedAtMs = Number(stat.appendAtNs / MS_NS)
    const begunAtMs = owner === undefined ? 0 : timeOfVersionId(owner.version)
    // Of a needle whose time is not known nobody can say that it is old.
    const bornAtMs = appendedAtMs === 0 ? Number.MAX_SAFE_INTEGER : appendedAtMs
    needles.push({
      fileId,
      dataBytes: stat.dataBytes,
      checksum: stat.checksum,
      owner,
      generation: readGeneration(pairs),
      bornAtMs: Math.max(bornAtMs, begunAtMs),
    })
  }
  return needles
}

async function pairsOf(
  volumes: ObjectVolumes,
  fileId: FileId,
  dataBytes: number,
  signal: AbortSignal,
): Promise<NeedlePairs | undefined> {
  try {
    const range = dataBytes === 0 ? undefined : FIRST_BYTE
    await using content = await volumes.read(fileId, range, signal)
    return content.metadata.pairs
  } catch (error) {
    if (isStoreError(error, ...UNREADABLE)) return undefined
    throw error
  }
}

/**
 * Asks for the row that the needle says it belongs to, and for others of the same key, which may
 * have taken the file over: whatever a walk may have missed. When not all files of these rows can
 * be read, as while a server is away, nobody knows what is behind them, so the needle counts as
 * named.
 */
export async function isNamed(
  { namespace, volumes }: Pick<UnnamedParts, 'namespace' | 'volumes'>,
  { fileId, owner }: UnnamedNeedle,
  signal: AbortSignal,
): Promise<boolean> {
  if (owner === undefined) return false
  const wanted = formatFileId(fileId)
  if (await isAmong(volumes, await filesOfOwner(namespace, owner, signal), wanted, signal)) {
    return true
  }
  for await (const files of filesOfKey(namespace, owner, signal)) {
    if (files.some((file) => formatFileId(file.fileId) === wanted)) return true
    if (await isAmong(volumes, files.filter(mayBeShared), wanted, signal)) return true
  }
  return false
}

/** One of them, or behind one of them. */
async function isAmong(
  volumes: ObjectVolumes,
  files: readonly NamedFile[],
  wanted: string,
  signal: AbortSignal,
): Promise<boolean> {
  if (files.length === 0) return false
  if (files.some((file) => formatFileId(file.fileId) === wanted)) return true
  if (files.some(({ fileId: { volumeId } }) => volumes.codedVolumeIds.has(volumeId))) return true
  const found = await volumes.find(files, signal)
  return found.some(({ behind, problem }) => {
    return problem !== undefined || behind.some((id) => formatFileId(id) === wanted)
  })
}

async function filesOfOwner(
  namespace: NamespaceApi,
  owner: NeedleOwner,
  signal: AbortSignal,
): Promise<readonly NamedFile[]> {
  const { key, version: id } = owner
  const bucket = await namespace.findBucket(owner.bucket, signal)
  if (bucket === undefined) return []
  const upload = { bucket, key, uploadId: id }
  const files: NamedFile[] = []
  try {
    // First: when it becomes a version, its parts are found there.
    if ((await namespace.findUpload(upload, signal)) !== undefined) {
      const page = { after: 0, limit: PART_NUMBER_MAX }
      const parts = await namespace.listParts({ ...upload, ...page }, signal)
      for (const { fileId, partNumber, sizeBytes } of parts) {
        const row = { kind: 'part', bucket, key, uploadId: id, partNumber } as const
        files.push({ fileId: parseFileId(fileId), sizeBytes, row })
      }
    }
    for (const versionId of [id, 'null']) {
      const version = await namespace.findObject({ bucket, key, versionId }, signal)
      if (version?.id === id) files.push(...filesOf(bucket, key, version))
    }
  } catch (error) {
    if (!isStoreError(error, 'BUCKET_NOT_FOUND', 'UPLOAD_NOT_FOUND')) throw error
    return await filesOfOwner(namespace, owner, signal)
  }
  return files
}

/**
 * Files of all versions of the key that may be older than the version that names them: a document
 * keeps those of its fields that did not change, and they go on saying whose they were at first.
 */
async function* filesOfKey(
  namespace: NamespaceApi,
  owner: NeedleOwner,
  signal: AbortSignal,
): AsyncGenerator<readonly NamedFile[], void, undefined> {
  const { key } = owner
  const bucket = await namespace.findBucket(owner.bucket, signal)
  if (bucket === undefined) return
  const request = { bucket, prefix: key, delimiter: '', limit: KEY_PAGE_ROWS }
  let at: { readonly after: string; readonly afterVersionId: string | undefined } | undefined
  do {
    const cursor = at ?? { after: '', afterVersionId: undefined }
    const page = await namespace.listVersions({ ...request, ...cursor }, signal).catch(noneIfGone)
    // The key itself comes before those that begin with it.
    const own = page.versions.filter((listed) => listed.key === key)
    yield own.flatMap(({ version }) => filesOf(bucket, key, version))
    at = own.length === page.versions.length ? page.next : undefined
  } while (at !== undefined)
}

/** Parts of an upload, and what is all of an object, were stored for the version that has them. */
function mayBeShared({ row }: NamedFile): boolean {
  if (row.kind !== 'version') return false
  const { document, parts, recordFileId } = row.version
  return recordFileId === undefined && (parts.length > 1 || document !== undefined)
}

function noneIfGone(error: unknown): Pick<VersionPage, 'versions' | 'next'> {
  if (isStoreError(error, 'BUCKET_NOT_FOUND')) return { versions: [], next: undefined }
  throw error
}

async function noPause(): Promise<void> {}
