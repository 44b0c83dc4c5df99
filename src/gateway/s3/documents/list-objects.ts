import type { Owner } from '../bucket-settings.ts'
import { escapeXml, iso8601, textElement } from '../xml/xml-writer.ts'
import { type ChecksumKind, checksumKindElements } from './checksum-elements.ts'
import { type CountedKeysPage, writeKeysPage } from './keys-page.ts'
import { encodeKey, type KeyEncoding, keyElement } from './list-encoding.ts'
import { entryEnds } from './owner-element.ts'

export interface ListedObject {
  readonly key: string
  readonly modifiedAtMs: number
  /** Without quotes. */
  readonly etag: string
  readonly sizeBytes: number
  readonly storageClass: string
  /** Undefined: it was not asked for. */
  readonly owner: Owner | undefined
  readonly checksum: ChecksumKind | undefined
}

interface ObjectsPage extends CountedKeysPage {
  readonly objects: readonly ListedObject[]
}

/** Of the first version of the list. */
export interface MarkedObjectsPage extends ObjectsPage {
  readonly marker: string
  /** S3 gives it with a delimiter only: without, it is the last key. */
  readonly nextMarker: string | undefined
}

/** Of the second version of the list. */
export interface ContinuedObjectsPage extends ObjectsPage {
  readonly startAfter: string | undefined
  /** Tokens are never URL-encoded. */
  readonly continuationToken: string | undefined
  readonly nextContinuationToken: string | undefined
}

/** `ListBucketResult` of ListObjects. */
export function writeListObjects(page: MarkedObjectsPage): string {
  const { encoding } = page
  return writePage(page, [
    keyElement('Marker', page.marker, encoding),
    keyElement('NextMarker', page.nextMarker, encoding),
  ])
}

/** `ListBucketResult` of ListObjectsV2. */
export function writeListObjectsV2(page: ContinuedObjectsPage): string {
  return writePage(page, [
    keyElement('StartAfter', page.startAfter, page.encoding),
    textElement('ContinuationToken', page.continuationToken),
    textElement('NextContinuationToken', page.nextContinuationToken),
    textElement('KeyCount', page.objects.length + page.commonPrefixes.length),
  ])
}

function writePage(page: ObjectsPage, place: readonly string[]): string {
  const endOf = entryEnds()
  const entries = page.objects.map((object) => writeObject(object, page.encoding, endOf))
  return writeKeysPage('ListBucketResult', page, place, entries)
}

function writeObject(
  object: ListedObject,
  encoding: KeyEncoding,
  endOf: ReturnType<typeof entryEnds>,
): string {
  const { modifiedAtMs, etag, sizeBytes, checksum } = object
  const key = escapeXml(encodeKey(object.key, encoding))
  const time = iso8601(modifiedAtMs)
  const kind = checksumKindElements(checksum)
  const end = endOf(object.owner, object.storageClass)
  // A page has a thousand of these: each piece that is put together counts.
  return (
    `<Contents><Key>${key}</Key><LastModified>${time}</LastModified><ETag>&quot;` +
    `${escapeXml(etag)}&quot;</ETag>${kind}<Size>${sizeBytes}</Size>${end}</Contents>`
  )
}
