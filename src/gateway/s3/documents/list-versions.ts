import type { Owner } from '../bucket-settings.ts'
import { etagElement, iso8601, textElement } from '../xml/xml-writer.ts'
import { checksumKindElements } from './checksum-elements.ts'
import { type CountedKeysPage, writeKeysPage } from './keys-page.ts'
import { type KeyEncoding, keyElement } from './list-encoding.ts'
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

export interface VersionsPage extends CountedKeysPage {
  readonly keyMarker: string
  readonly versionIdMarker: string
  readonly nextKeyMarker: string | undefined
  readonly nextVersionIdMarker: string | undefined
  /** By key, the newest first; delete markers stand among the versions. */
  readonly versions: readonly (ListedVersion | ListedDeleteMarker)[]
}

/** `ListVersionsResult`. Version ids are never URL-encoded. */
export function writeListVersionsResult(page: VersionsPage): string {
  const { encoding } = page
  const endOf = entryEnds()
  const place = [
    keyElement('KeyMarker', page.keyMarker, encoding),
    textElement('VersionIdMarker', page.versionIdMarker),
    keyElement('NextKeyMarker', page.nextKeyMarker, encoding),
    textElement('NextVersionIdMarker', page.nextVersionIdMarker),
  ]
  const entries = page.versions.map((version) => writeVersion(version, encoding, endOf))
  return writeKeysPage('ListVersionsResult', page, place, entries)
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
