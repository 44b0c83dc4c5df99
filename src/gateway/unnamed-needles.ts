import { type FileId, formatFileId, parseFileId } from '../base/file-id.ts'
import { formatNeedleId, type NeedleId, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError } from '../base/store-error.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import { type NeedleOwner, readOwnerPairs } from '../namespace/needle-pairs.ts'
import { timeOfVersionId } from '../namespace/version-id.ts'
import type { Clock } from '../runtime/clock.ts'
import {
  type FoundFile,
  filesOf,
  type NamedFile,
  namedFiles,
  type ObjectVolumes,
} from './named-needles.ts'

/** A needle on a volume of objects that no row names, neither itself nor a file it belongs to. */
export interface UnnamedNeedle {
  readonly fileId: FileId
  readonly dataBytes: number
  /** Undefined: no gateway stored it, or it cannot be read. Nobody but people may judge it. */
  readonly owner: NeedleOwner | undefined
  /** The later of the times at which its version was begun and at which it was appended. */
  readonly bornAtMs: number
}

export interface UnnamedParts {
  readonly namespace: NamespaceApi
  readonly volumes: ObjectVolumes
  readonly clock: Clock
}

export interface VolumeFinding {
  readonly volumeId: VolumeId
  readonly liveCount: number
  /** Not named, but too young to say that they will not be. */
  readonly youngCount: number
  readonly unnamed: readonly UnnamedNeedle[]
}

/** Ids that are held at once: some 100 MB. What is more takes another walk of the rows. */
const NEEDLES_HELD_MAX = 1_000_000
const MS_NS = 1_000_000n
const FIRST_BYTE = { start: 0, end: 1 }

export interface FindUnnamedOptions {
  /** Younger ones may be named yet. */
  readonly minAgeMs: number
  /** Told of every file in the first walk of the rows. */
  readonly onFound: (found: FoundFile) => Promise<void>
}

/**
 * Needles that nothing names, volume by volume. Ids are listed first and rows are looked at after
 * that, so whatever was named in between is seen; what is left is looked up once more by what it
 * says of itself, since rows may change their place during a walk.
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
    }
    isFirst = false
    for (const [volumeId, ids] of held) {
      const judged = await judge(parts, { volumeId, ids, ...options }, signal)
      yield { volumeId, liveCount: counts.get(volumeId) ?? 0, ...judged }
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

async function judge(
  parts: UnnamedParts,
  { ids, minAgeMs, volumeId }: Left,
  signal: AbortSignal,
): Promise<Pick<VolumeFinding, 'youngCount' | 'unnamed'>> {
  const unnamed: UnnamedNeedle[] = []
  let youngCount = 0
  const bornBefore = parts.clock.nowMs() - minAgeMs
  const all = [...ids.values()]
  const atOnce = LIMITS.healNeedlesMax.value
  for (let at = 0; at < all.length; at += atOnce) {
    const some = all.slice(at, at + atOnce)
    for (const needle of await describeNeedles(parts.volumes, volumeId, some, signal)) {
      if (needle.bornAtMs > bornBefore) youngCount++
      else if (!(await isNamed(parts, needle, signal))) unnamed.push(needle)
    }
  }
  return { youngCount, unnamed }
}

/** Those of them that live. */
export async function describeNeedles(
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
    const owner = await ownerOf(volumes, fileId, stat.dataBytes, signal)
    const appendedAtMs = Number(stat.appendAtNs / MS_NS)
    const begunAtMs = owner === undefined ? 0 : timeOfVersionId(owner.version)
    // Of a needle whose time is not known nobody can say that it is old.
    const bornAtMs = appendedAtMs === 0 ? Number.MAX_SAFE_INTEGER : appendedAtMs
    needles.push({
      fileId,
      dataBytes: stat.dataBytes,
      owner,
      bornAtMs: Math.max(bornAtMs, begunAtMs),
    })
  }
  return needles
}

async function ownerOf(
  volumes: ObjectVolumes,
  fileId: FileId,
  dataBytes: number,
  signal: AbortSignal,
): Promise<NeedleOwner | undefined> {
  try {
    const range = dataBytes === 0 ? undefined : FIRST_BYTE
    await using content = await volumes.read(fileId, range, signal)
    return readOwnerPairs(content.metadata.pairs)
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_NOT_FOUND', 'NEEDLE_CORRUPT', 'RANGE_INVALID')) return undefined
    throw error
  }
}

/**
 * Asks for the row that the needle says it belongs to: whatever a walk may have missed. When not
 * all files of that row can be read, as while a server is away, nobody knows what is behind them,
 * so the needle counts as named.
 */
export async function isNamed(
  { namespace, volumes }: Pick<UnnamedParts, 'namespace' | 'volumes'>,
  { fileId, owner }: UnnamedNeedle,
  signal: AbortSignal,
): Promise<boolean> {
  if (owner === undefined) return false
  const wanted = formatFileId(fileId)
  const files = await filesOfOwner(namespace, owner, signal)
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
      const parts = await namespace.listParts({ ...upload, after: 0, limit: 10_000 }, signal)
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
