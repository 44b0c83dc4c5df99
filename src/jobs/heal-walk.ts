import { parseFileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import { isStoreError } from '../base/store-error.ts'
import type { BucketRef, NamespaceApi } from '../namespace/namespace-api.ts'
import type { ObjectVersion } from '../namespace/object-version.ts'
import { asFields, asText } from './job-cursor.ts'

/** A file of an object, or of an upload that may become one. */
export interface NamedFile {
  readonly bucket: BucketRef
  readonly key: string
  readonly fileId: string
  readonly sizeBytes: number
  /** Undefined: it is a part of an upload. */
  readonly version: ObjectVersion | undefined
}

const STAGES = ['versions', 'uploads', 'end'] as const

/** Where a walk over all files goes on. */
export interface WalkPlace {
  readonly bucket: string
  readonly stage: (typeof STAGES)[number]
  readonly after: string
  /** Of the key `after`: the version or upload that was last. */
  readonly afterId: string | undefined
}

export interface WalkPage {
  /** Those on the volumes that were asked for. */
  readonly files: readonly NamedFile[]
  /** Undefined: that was all. */
  readonly next: WalkPlace | undefined
}

export type WalkNamespace = Pick<
  NamespaceApi,
  'findBucket' | 'listBuckets' | 'listVersions' | 'listUploads' | 'listParts'
>

const UPLOADS_AT_ONCE = 20
const PARTS_AT_ONCE = 1000

/** What cannot be read is walked again from the start. */
export function readPlace(value: unknown): WalkPlace | undefined {
  const fields = asFields(value)
  const bucket = asText(fields?.['bucket'])
  const after = asText(fields?.['after'])
  const stage = STAGES.find((known) => known === fields?.['stage'])
  if (bucket === undefined || after === undefined || stage === undefined) return undefined
  return { bucket, stage, after, afterId: asText(fields?.['afterId']) }
}

/**
 * The next files of all buckets, about `limit` versions of objects at a time, in one fixed order:
 * whoever goes on from `next` leaves nothing out that was there all the time.
 */
export async function nextFiles(
  namespace: WalkNamespace,
  options: {
    readonly place: WalkPlace | undefined
    readonly limit: number
    readonly isWanted: (volumeId: VolumeId) => boolean
  },
  signal: AbortSignal,
): Promise<WalkPage> {
  const { isWanted, limit, place } = options
  const found = await placeIn(namespace, place, signal)
  if (found === undefined) return { files: [], next: undefined }
  try {
    const page =
      found.place.stage === 'versions'
        ? await versionFiles(namespace, found, limit, signal)
        : await uploadFiles(namespace, found, signal)
    const files = page.files.filter(({ fileId }) => isWanted(parseFileId(fileId).volumeId))
    return { files, next: page.next }
  } catch (error) {
    if (!isStoreError(error, 'BUCKET_NOT_FOUND')) throw error
    return { files: [], next: { ...found.place, stage: 'end' } }
  }
}

interface Found {
  readonly bucket: BucketRef
  readonly place: WalkPlace
}

/** The bucket it is in, or if that is gone or done with the next one; undefined: there is none. */
async function placeIn(
  namespace: WalkNamespace,
  place: WalkPlace | undefined,
  signal: AbortSignal,
): Promise<Found | undefined> {
  if (place !== undefined && place.stage !== 'end') {
    const bucket = await namespace.findBucket(place.bucket, signal)
    if (bucket !== undefined) return { bucket, place }
  }
  const request = { ownerId: undefined, prefix: '', after: place?.bucket ?? '', limit: 1 }
  const [bucket] = await namespace.listBuckets(request, signal)
  if (bucket === undefined) return undefined
  const { name } = bucket
  return { bucket, place: { bucket: name, stage: 'versions', after: '', afterId: undefined } }
}

async function versionFiles(
  namespace: WalkNamespace,
  { bucket, place }: Found,
  limit: number,
  signal: AbortSignal,
): Promise<WalkPage> {
  const { after, afterId: afterVersionId } = place
  const request = { bucket, prefix: '', delimiter: '', after, afterVersionId, limit }
  const { next, versions } = await namespace.listVersions(request, signal)
  const files = versions.flatMap(({ key, version }) => {
    const record = version.recordFileId
    const records = record === undefined ? [] : [{ fileId: record, sizeBytes: 0 }]
    return [...version.parts, ...records].map((file) => ({ bucket, key, version, ...pick(file) }))
  })
  if (next === undefined) {
    return { files, next: { ...place, stage: 'uploads', after: '', afterId: undefined } }
  }
  return { files, next: { ...place, after: next.after, afterId: next.afterVersionId } }
}

async function uploadFiles(
  namespace: WalkNamespace,
  { bucket, place }: Found,
  signal: AbortSignal,
): Promise<WalkPage> {
  const { after, afterId: afterUploadId } = place
  const all = { bucket, prefix: '', delimiter: '', limit: UPLOADS_AT_ONCE }
  const page = await namespace.listUploads({ ...all, after, afterUploadId }, signal)
  const files: NamedFile[] = []
  for (const { key, uploadId } of page.uploads) {
    const upload = { bucket, key, uploadId }
    for await (const part of partsOf(namespace, upload, signal)) {
      files.push({ bucket, key, version: undefined, ...pick(part) })
    }
  }
  const { next } = page
  if (next === undefined) return { files, next: { ...place, stage: 'end' } }
  return { files, next: { ...place, after: next.after, afterId: next.afterUploadId } }
}

async function* partsOf(
  namespace: WalkNamespace,
  upload: { readonly bucket: BucketRef; readonly key: string; readonly uploadId: string },
  signal: AbortSignal,
) {
  for (let after = 0; ; ) {
    const parts = await partsAfter(namespace, { ...upload, after }, signal)
    yield* parts
    const last = parts.at(-1)
    if (last === undefined || parts.length < PARTS_AT_ONCE) return
    after = last.partNumber
  }
}

async function partsAfter(
  namespace: WalkNamespace,
  request: Omit<Parameters<NamespaceApi['listParts']>[0], 'limit'>,
  signal: AbortSignal,
) {
  try {
    return await namespace.listParts({ ...request, limit: PARTS_AT_ONCE }, signal)
  } catch (error) {
    // It was completed or given up meanwhile: what it became is a version, or nothing.
    if (isStoreError(error, 'UPLOAD_NOT_FOUND')) return []
    throw error
  }
}

function pick({ fileId, sizeBytes }: { readonly fileId: string; readonly sizeBytes: number }) {
  return { fileId, sizeBytes }
}
