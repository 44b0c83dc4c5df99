import type { Owner } from '../bucket-settings.ts'
import { etagElement, iso8601, textElement, xmlDocument } from '../xml/xml-writer.ts'
import { checksumKindElements } from './checksum-elements.ts'
import {
  commonPrefixElements,
  encodingTypeElement,
  type KeyEncoding,
  keyElement,
} from './list-encoding.ts'
import type { ListedObject } from './list-objects.ts'
import { entryEnds, ownerElement } from './owner-element.ts'

export interface ListedVersion extends ListedObject {
  readonly kind: 'version'
  /** `null` for one that was written without versioning. */
  readonly versionId: string
  readonly isLatest: boolean
}

export interface ListedDeleteMarker {
  readonly kind: 'delete-marker'
  readonly key: string
  readonly versionId: string
  readonly isLatest: boolean
  readonly modifiedAtMs: number
  readonly owner: Owner | undefined
}

export interface VersionsPage {
  readonly bucket: string
  readonly prefix: string
  readonly delimiter: string | undefined
  readonly keyMarker: string
  readonly versionIdMarker: string
  readonly nextKeyMarker: string | undefined
  readonly nextVersionIdMarker: string | undefined
  readonly maxKeys: number
  readonly encoding: KeyEncoding
  readonly isTruncated: boolean
  /** By key, the newest first; delete markers stand among the versions. */
  readonly versions: readonly (ListedVersion | ListedDeleteMarker)[]
  readonly commonPrefixes: readonly string[]
}

/** `ListVersionsResult`. Version ids are never URL-encoded. */
export function writeListVersionsResult(page: VersionsPage): string {
  const { encoding } = page
  const endOf = entryEnds()
  return xmlDocument(
    'ListVersionsResult',
    [
      textElement('Name', page.bucket),
      keyElement('Prefix', page.prefix, encoding),
      keyElement('KeyMarker', page.keyMarker, encoding),
      textElement('VersionIdMarker', page.versionIdMarker),
      keyElement('NextKeyMarker', page.nextKeyMarker, encoding),
      textElement('NextVersionIdMarker', page.nextVersionIdMarker),
      textElement('MaxKeys', page.maxKeys),
      keyElement('Delimiter', page.delimiter, encoding),
      encodingTypeElement(encoding),
      textElement('IsTruncated', page.isTruncated),
      ...page.versions.map((version) => writeVersion(version, encoding, endOf)),
      commonPrefixElements(page.commonPrefixes, encoding),
    ].join(''),
  )
}

function writeVersion(
  version: ListedVersion | ListedDeleteMarker,
  encoding: KeyEncoding,
  endOf: ReturnType<typeof entryEnds>,
): string {
  const { key, versionId, isLatest, modifiedAtMs } = version
  const id = `${keyElement('Key', key, encoding)}${textElement('VersionId', versionId)}`
  const time = `<LastModified>${iso8601(modifiedAtMs)}</LastModified>`
  const head = `${id}<IsLatest>${isLatest}</IsLatest>${time}`
  if (version.kind === 'delete-marker') {
    return `<DeleteMarker>${head}${ownerElement(version.owner)}</DeleteMarker>`
  }
  const sums = `${etagElement(version.etag)}${checksumKindElements(version.checksum)}`
  const end = endOf(version.owner, version.storageClass)
  return `<Version>${head}${sums}<Size>${version.sizeBytes}</Size>${end}</Version>`
}
