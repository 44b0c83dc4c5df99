import type {
  ListObjectsRequest,
  ListUploadsRequest,
  ListVersionsRequest,
  ObjectPage,
  UploadPage,
  VersionPage,
} from '../../src/namespace/namespace-api.ts'
import type { ObjectVersion } from '../../src/namespace/object-version.ts'
import type { Upload } from '../../src/namespace/upload-record.ts'
import { type BucketState, current, publicId } from './namespace-model.ts'

/** What a page may show: an entry of its own, or one of many under a common prefix. */
interface Entry<Value> {
  readonly key: string
  readonly common: string | undefined
  readonly value: Value
}

interface Paged<Value> {
  readonly values: readonly Value[]
  readonly commonPrefixes: readonly string[]
  /** The last entry, if something follows it. */
  readonly last: Entry<Value> | undefined
}

export function objectsPage(bucket: BucketState, request: ListObjectsRequest): ObjectPage {
  const objects = sortedKeys(bucket.keys.keys()).flatMap((key) => {
    const version = current(bucket.keys.get(key) ?? [])
    return version === undefined ? [] : [{ key, value: { key, version } }]
  })
  const { values, commonPrefixes, last } = page(objects, request, () => false)
  return { objects: values, commonPrefixes, next: last && (last.common ?? last.key) }
}

export function versionsPage(bucket: BucketState, request: ListVersionsRequest): VersionPage {
  const versions = sortedKeys(bucket.keys.keys()).flatMap((key) =>
    (bucket.keys.get(key) ?? []).map((version, index, all) => {
      const becameNoncurrentAtMs = all[index - 1]?.modifiedAtMs
      return { key, value: { key, version, isLatest: index === 0, becameNoncurrentAtMs } }
    }),
  )
  const mark = request.afterVersionId
  const isBelowMark = ({ version }: { readonly version: ObjectVersion }) => {
    if (mark === undefined) return false
    const all = bucket.keys.get(request.after) ?? []
    const [, seq] = mark.split('.')
    const found = all.find((other) => publicId(other) === mark)
    return version.seq < (seq === undefined ? (found?.seq ?? Infinity) : Number(seq))
  }
  const { values, commonPrefixes, last } = page(versions, request, isBelowMark)
  if (last === undefined) return { versions: values, commonPrefixes, next: undefined }
  const { common, key, value } = last
  const next =
    common === undefined
      ? { after: key, afterVersionId: `${publicId(value.version)}.${value.version.seq}` }
      : { after: common, afterVersionId: undefined }
  return { versions: values, commonPrefixes, next }
}

export function uploadsPage(bucket: BucketState, request: ListUploadsRequest): UploadPage {
  const uploads = [...bucket.uploads.values()]
    .map(({ upload }) => upload)
    .sort((a, b) => compare(a.key, b.key) || compare(a.uploadId, b.uploadId))
    .map((upload) => ({ key: upload.key, value: upload }))
  const mark = request.afterUploadId
  const isAboveMark = ({ uploadId }: Upload) => mark !== undefined && uploadId > mark
  const { values, commonPrefixes, last } = page(uploads, request, isAboveMark)
  if (last === undefined) return { uploads: values, commonPrefixes, next: undefined }
  const { common, key, value } = last
  const next =
    common === undefined
      ? { after: key, afterUploadId: value.uploadId }
      : { after: common, afterUploadId: undefined }
  return { uploads: values, commonPrefixes, next }
}

/** `isBehindMark` tells whether an entry of the key `after` itself is still to come. */
function page<Value>(
  sorted: readonly { readonly key: string; readonly value: Value }[],
  request: ListObjectsRequest,
  isBehindMark: (value: Value) => boolean,
): Paged<Value> {
  const { after, delimiter, limit, prefix } = request
  const commonOf = (key: string) => {
    const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    return at < 0 ? undefined : key.slice(0, at + delimiter.length)
  }
  const isAfterCommon = after.startsWith(prefix) && commonOf(after) === after
  const entries: Entry<Value>[] = []
  for (const { key, value } of sorted) {
    if (!key.startsWith(prefix)) continue
    const common = commonOf(key)
    if (isAfterCommon && common === after) continue
    const isBehind = key === after ? isBehindMark(value) : compare(key, after) > 0
    if (!isBehind) continue
    if (common !== undefined && entries.at(-1)?.common === common) continue
    entries.push({ key, common, value })
  }
  const shown = entries.slice(0, limit)
  return {
    values: shown.filter(({ common }) => common === undefined).map(({ value }) => value),
    commonPrefixes: shown.flatMap(({ common }) => common ?? []),
    last: entries.length > limit ? shown.at(-1) : undefined,
  }
}

function sortedKeys(keys: Iterable<string>): string[] {
  return [...keys].sort(compare)
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
