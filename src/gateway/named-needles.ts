import { type FileId, formatFileId, parseFileId } from '../base/file-id.ts'
import { formatNeedleId, type NeedleId, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { needlesBehind } from '../client/file-needles.ts'
import type { ClientTokens } from '../client/file-tokens.ts'
import type { Bucket } from '../namespace/bucket-record.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import { type ObjectVersion, publicVersionId } from '../namespace/object-version.ts'
import { PART_NUMBER_MAX } from '../namespace/upload-record.ts'
import type { MasterApi } from '../net/master-api.ts'
import type { ByteRange, ConnectVolume, NeedleContent, VolumeApi } from '../net/volume-api.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { isCodedCollection, isObjectCollection } from './stored-bytes.ts'

/** A file that a row names. */
export interface NamedFile {
  readonly fileId: FileId
  /** Of the object's bytes; undefined: it is not known. */
  readonly sizeBytes: number | undefined
  /** Which row: a version, a part of an upload, or an intent to delete the file. */
  readonly row: NamedRow
}

export type NamedRow =
  | {
      readonly kind: 'version'
      readonly bucket: Bucket
      readonly key: string
      readonly version: ObjectVersion
    }
  | {
      readonly kind: 'part'
      readonly bucket: Bucket
      readonly key: string
      readonly uploadId: string
      readonly partNumber: number
    }
  | { readonly kind: 'dropped' }

/** Files at most that are in one group of a walk: their needles are asked for together. */
const GROUP_FILES = 1000
/** Servers asked at the same time. */
const VOLUMES_AT_ONCE = 8
const PAGE_ROWS = 1000

/**
 * All files that buckets name, in groups. Uploads come before versions, and intents last: what one
 * becomes while the walk is under way is still to come.
 */
export async function* namedFiles(
  namespace: NamespaceApi,
  only: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<readonly NamedFile[], void, undefined> {
  const buckets = await bucketsOf(namespace, only, signal)
  for (const bucket of buckets) yield* unlessGone(partFiles(namespace, bucket, signal))
  for (const bucket of buckets) yield* unlessGone(versionFiles(namespace, bucket, signal))
  if (only !== undefined) return
  for (let after: string | undefined = ''; after !== undefined; ) {
    const page: Awaited<ReturnType<NamespaceApi['listDropped']>> = await namespace.listDropped(
      { after, limit: PAGE_ROWS },
      signal,
    )
    const row = { kind: 'dropped' } as const
    yield page.fileIds.map((text) => ({ fileId: parseFileId(text), sizeBytes: undefined, row }))
    after = page.next
  }
}

/** @throws {StoreError} BUCKET_NOT_FOUND never: what is not there has nothing. */
async function bucketsOf(
  namespace: NamespaceApi,
  only: string | undefined,
  signal: AbortSignal,
): Promise<readonly Bucket[]> {
  if (only !== undefined) {
    const bucket = await namespace.findBucket(only, signal)
    return bucket === undefined ? [] : [bucket]
  }
  const buckets: Bucket[] = []
  for (;;) {
    const request = { ownerId: undefined, prefix: '', after: buckets.at(-1)?.name ?? '' }
    const page = await namespace.listBuckets({ ...request, limit: PAGE_ROWS }, signal)
    buckets.push(...page)
    if (page.length < PAGE_ROWS) return buckets
  }
}

async function* versionFiles(
  namespace: NamespaceApi,
  bucket: Bucket,
  signal: AbortSignal,
): AsyncGenerator<readonly NamedFile[], void, undefined> {
  const request = { bucket, prefix: '', delimiter: '', limit: PAGE_ROWS }
  let cursor: { readonly after: string; readonly afterVersionId: string | undefined } | undefined
  do {
    const page = await namespace.listVersions(
      { ...request, ...(cursor ?? { after: '', afterVersionId: undefined }) },
      signal,
    )
    yield* inGroups(page.versions.flatMap(({ key, version }) => filesOf(bucket, key, version)))
    cursor = page.next
  } while (cursor !== undefined)
}

export function filesOf(bucket: Bucket, key: string, version: ObjectVersion): NamedFile[] {
  const row = { kind: 'version', bucket, key, version } as const
  const files: NamedFile[] = version.parts.map(({ fileId, sizeBytes }) => {
    return { fileId: parseFileId(fileId), sizeBytes, row }
  })
  const { recordFileId } = version
  if (recordFileId !== undefined) {
    files.push({ fileId: parseFileId(recordFileId), sizeBytes: undefined, row })
  }
  return files
}

async function* partFiles(
  namespace: NamespaceApi,
  bucket: Bucket,
  signal: AbortSignal,
): AsyncGenerator<readonly NamedFile[], void, undefined> {
  const request = { bucket, prefix: '', delimiter: '', limit: PAGE_ROWS }
  let cursor: { readonly after: string; readonly afterUploadId: string | undefined } | undefined
  do {
    const page = await namespace.listUploads(
      { ...request, ...(cursor ?? { after: '', afterUploadId: undefined }) },
      signal,
    )
    for (const { key, uploadId } of page.uploads) {
      const ref = { bucket, key, uploadId, after: 0, limit: PART_NUMBER_MAX }
      // One that was completed since is among the versions, one that was aborted among intents.
      const parts = await namespace.listParts(ref, signal).catch(noneIfGone)
      yield* inGroups(
        parts.map(({ fileId, partNumber, sizeBytes }) => ({
          fileId: parseFileId(fileId),
          sizeBytes,
          row: { kind: 'part', bucket, key, uploadId, partNumber } as const,
        })),
      )
    }
    cursor = page.next
  } while (cursor !== undefined)
}

function noneIfGone(error: unknown): readonly never[] {
  if (isStoreError(error, 'UPLOAD_NOT_FOUND')) return []
  throw error
}

/** A bucket that is deleted meanwhile had nothing left. */
async function* unlessGone<Item>(
  items: AsyncGenerator<Item, void, undefined>,
): AsyncGenerator<Item, void, undefined> {
  try {
    yield* items
  } catch (error) {
    if (!isStoreError(error, 'BUCKET_NOT_FOUND')) throw error
  }
}

function* inGroups<Item>(items: readonly Item[]): Generator<readonly Item[], void, undefined> {
  for (let at = 0; at < items.length; at += GROUP_FILES) yield items.slice(at, at + GROUP_FILES)
}

/** What became of a file that was looked for. */
export interface FoundFile {
  readonly file: NamedFile
  /** Undefined: all of its bytes are there. */
  readonly problem: string | undefined
  /** Chunks, shards and copies of it, beside the needle that has its id. */
  readonly behind: readonly FileId[]
}

interface FoundVolumes {
  readonly holders: ReadonlyMap<VolumeId, readonly VolumeApi[]>
  readonly coded: ReadonlySet<VolumeId>
  readonly lists: ReadonlySet<VolumeId>
}

export interface NeedleFacts {
  readonly fileId: FileId
  readonly dataBytes: number
  /** CRC-32C. */
  readonly checksum: number
}

export interface NeedleAccess {
  readonly master: Pick<MasterApi, 'topology'>
  readonly connect: ConnectVolume
  readonly tokens: ClientTokens
}

/** The volumes of objects as they lay when this was opened. */
export class ObjectVolumes {
  readonly #holders: ReadonlyMap<VolumeId, readonly VolumeApi[]>
  readonly #tokens: ClientTokens
  /** A small file there may be as long as the list of its shards. */
  readonly #listVolumeIds: ReadonlySet<VolumeId>
  /** Whose needles cannot be listed: they are erasure-coded as a whole. */
  readonly codedVolumeIds: ReadonlySet<VolumeId>

  private constructor(found: FoundVolumes, tokens: ClientTokens) {
    this.#holders = found.holders
    this.#listVolumeIds = found.lists
    this.codedVolumeIds = found.coded
    this.#tokens = tokens
  }

  /** @throws {StoreError} Those of the master. */
  static async open(access: NeedleAccess, signal: AbortSignal): Promise<ObjectVolumes> {
    const { nodes } = await access.master.topology(signal)
    const holders = new Map<VolumeId, VolumeApi[]>()
    const coded = new Set<VolumeId>()
    const lists = new Set<VolumeId>()
    for (const { location, shards = [], state, volumes } of nodes) {
      if (state === 'down') continue
      const api = access.connect(location)
      for (const { collection, volumeId } of volumes) {
        if (!isObjectCollection(collection)) continue
        if (isCodedCollection(collection)) lists.add(volumeId)
        const known = holders.get(volumeId)
        if (known === undefined) holders.set(volumeId, [api])
        else known.push(api)
      }
      for (const { collection, volumeId } of shards) {
        if (isObjectCollection(collection)) coded.add(volumeId)
      }
    }
    for (const volumeId of holders.keys()) coded.delete(volumeId)
    return new ObjectVolumes({ holders, coded, lists }, access.tokens)
  }

  get volumeIds(): readonly VolumeId[] {
    return [...this.#holders.keys()].sort((a, b) => a - b)
  }

  holdersOf(volumeId: VolumeId): readonly VolumeApi[] {
    return this.#holders.get(volumeId) ?? []
  }

  /** Ids of needles that live on a copy, and are deleted on none. */
  async listLive(volumeId: VolumeId, signal: AbortSignal): Promise<Map<string, NeedleId>> {
    const live = new Map<string, NeedleId>()
    const deleted = new Set<string>()
    for (const holder of this.holdersOf(volumeId)) {
      for await (const page of holder.listNeedles(volumeId, signal)) {
        for (const { isDeleted, needleId } of page) {
          const id = formatNeedleId(needleId)
          if (isDeleted) deleted.add(id)
          else live.set(id, needleId)
        }
      }
    }
    for (const id of deleted) live.delete(id)
    return live
  }

  /** Looks at every file of a group, and at the needles behind it. */
  async find(group: readonly NamedFile[], signal: AbortSignal): Promise<readonly FoundFile[]> {
    const fileIds = group.map(({ fileId }) => fileId)
    const sizes = await this.#sizesOf(fileIds, signal)
    const look = (file: NamedFile) => this.#look(file, sizes, signal)
    const found = await mapBounded(group, VOLUMES_AT_ONCE, look, signal)
    const behind = found.flatMap((file) => file.behind)
    const isThere = await this.#sizesOf(behind, signal)
    return found.map((file) => {
      if (file.problem !== undefined) return file
      const lost = file.behind.filter((fileId) => isThere.get(formatFileId(fileId)) === undefined)
      const [first] = lost
      if (first === undefined) return file
      const problem = `${lost.length} of its needles, as ${formatFileId(first)}, are not there`
      return { ...file, problem }
    })
  }

  /** The first copy still has these bytes under this id and cookie. */
  async isUnchanged(needle: NeedleFacts, signal: AbortSignal): Promise<boolean> {
    const { checksum, dataBytes, fileId } = needle
    const [holder] = this.holdersOf(fileId.volumeId)
    if (holder === undefined) return false
    const [stat] = await holder.statNeedles(fileId.volumeId, [fileId.needleId], signal)
    if (stat?.state !== 'live' || stat.cookie !== fileId.cookie) return false
    return stat.checksum === checksum && stat.dataBytes === dataBytes
  }

  /** What a needle says of itself. @throws {StoreError} As `VolumeApi.read`. */
  async read(fileId: FileId, range: ByteRange | undefined, signal: AbortSignal) {
    let failure: unknown = new StoreError('VOLUME_NOT_FOUND', `no copy of ${fileId.volumeId}`)
    for (const holder of this.holdersOf(fileId.volumeId)) {
      try {
        return await holder.read(this.#request(fileId, range), signal)
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  async #look(
    file: NamedFile,
    sizes: ReadonlyMap<string, number | undefined>,
    signal: AbortSignal,
  ): Promise<FoundFile> {
    const { fileId, sizeBytes } = file
    if (this.codedVolumeIds.has(fileId.volumeId)) return { file, problem: undefined, behind: [] }
    const text = formatFileId(fileId)
    const dataBytes = sizes.get(text)
    if (dataBytes === undefined) return { file, problem: 'it is not there', behind: [] }
    const mayBeList = this.#listVolumeIds.has(fileId.volumeId)
    if (dataBytes === sizeBytes && !mayBeList) return { file, problem: undefined, behind: [] }
    const read = (range: ByteRange | undefined): Promise<NeedleContent> =>
      this.read(fileId, range, signal)
    const behind = await unlessDeleted(needlesBehind(read, text))
    if (behind === undefined) return { file, problem: 'it is not there', behind: [] }
    const isWrong = sizeBytes !== undefined && behind.length === 0 && dataBytes !== sizeBytes
    const problem = isWrong ? `it has ${dataBytes} bytes instead of ${sizeBytes}` : undefined
    return { file, problem, behind }
  }

  /** By file id; undefined: no copy has it, whole and under this cookie. */
  async #sizesOf(
    fileIds: readonly FileId[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, number | undefined>> {
    const byVolume = new Map<VolumeId, FileId[]>()
    for (const fileId of fileIds) {
      const known = byVolume.get(fileId.volumeId)
      if (known === undefined) byVolume.set(fileId.volumeId, [fileId])
      else known.push(fileId)
    }
    const sizes = new Map<string, number | undefined>()
    const look = async ([volumeId, wanted]: [VolumeId, FileId[]]): Promise<void> => {
      if (this.codedVolumeIds.has(volumeId)) {
        for (const fileId of wanted) sizes.set(formatFileId(fileId), 0)
        return
      }
      let open = wanted
      for (const holder of this.holdersOf(volumeId)) {
        if (open.length > 0) open = await statInto(sizes, { holder, volumeId, open }, signal)
      }
    }
    await mapBounded(byVolume, VOLUMES_AT_ONCE, look, signal)
    return sizes
  }

  #request(fileId: FileId, range: ByteRange | undefined) {
    return { fileId, range, readDeleted: false, readToken: this.#tokens.read(fileId) }
  }
}

/** Returns those that this copy does not have. */
async function statInto(
  sizes: Map<string, number | undefined>,
  from: { readonly holder: VolumeApi; readonly volumeId: VolumeId; readonly open: FileId[] },
  signal: AbortSignal,
): Promise<FileId[]> {
  const left: FileId[] = []
  const { holder, open, volumeId } = from
  const atOnce = LIMITS.healNeedlesMax.value
  for (let at = 0; at < open.length; at += atOnce) {
    const some = open.slice(at, at + atOnce)
    const ids = some.map(({ needleId }) => needleId)
    const stats = await holder.statNeedles(volumeId, ids, signal).catch(noneIfAway)
    for (const [index, fileId] of some.entries()) {
      const stat = stats[index]
      const isThere = stat?.state === 'live' && stat.cookie === fileId.cookie
      if (isThere) sizes.set(formatFileId(fileId), stat.dataBytes)
      else left.push(fileId)
    }
  }
  return left
}

/** A file that lost its name may be deleted between two looks at it; its chunks went before. */
async function unlessDeleted<Value>(reading: Promise<Value>): Promise<Value | undefined> {
  try {
    return await reading
  } catch (error) {
    if (isStoreError(error, 'NEEDLE_NOT_FOUND', 'COOKIE_MISMATCH')) return undefined
    throw error
  }
}

/** A copy that moved, or whose server is away, has nothing now: another may. */
function noneIfAway(error: unknown): readonly never[] {
  if (isStoreError(error, 'VOLUME_NOT_FOUND', 'UNAVAILABLE', 'TIMEOUT', 'CLOSED')) return []
  throw error
}

export function nameOfRow(row: NamedRow): string {
  if (row.kind === 'dropped') return 'a file to be deleted'
  const name = `${row.bucket.name}/${row.key}`
  if (row.kind === 'version') return `${name} (${publicVersionId(row.version)})`
  return `${name} (upload ${row.uploadId}, part ${row.partNumber})`
}
