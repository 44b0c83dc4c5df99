import type { Owner } from '../bucket-settings.ts'
import { etagElement, iso8601, textElement, xmlDocument } from '../xml/xml-writer.ts'
import {
  type ChecksumKind,
  type ChecksumValue,
  checksumElement,
  checksumKindElements,
} from './checksum-elements.ts'
import { ownerElement } from './owner-element.ts'

export interface ListedPart {
  readonly partNumber: number
  readonly modifiedAtMs: number
  /** Without quotes. */
  readonly etag: string
  readonly sizeBytes: number
  readonly checksum: ChecksumValue | undefined
}

export interface PartsPage {
  readonly bucket: string
  readonly key: string
  readonly uploadId: string
  readonly initiator: Owner
  readonly owner: Owner
  readonly storageClass: string
  /** As the upload was started with it. */
  readonly checksum: ChecksumKind | undefined
  readonly partNumberMarker: number
  readonly nextPartNumberMarker: number | undefined
  readonly maxParts: number
  readonly isTruncated: boolean
  readonly parts: readonly ListedPart[]
}

/** `ListPartsResult`. */
export function writeListPartsResult(page: PartsPage): string {
  return xmlDocument(
    'ListPartsResult',
    [
      textElement('Bucket', page.bucket),
      textElement('Key', page.key),
      textElement('UploadId', page.uploadId),
      ownerElement(page.initiator, 'Initiator'),
      ownerElement(page.owner),
      textElement('StorageClass', page.storageClass),
      textElement('PartNumberMarker', page.partNumberMarker),
      textElement('NextPartNumberMarker', page.nextPartNumberMarker),
      textElement('MaxParts', page.maxParts),
      textElement('IsTruncated', page.isTruncated),
      checksumKindElements(page.checksum),
      ...page.parts.map(writePart),
    ].join(''),
  )
}

function writePart(part: ListedPart): string {
  const head = `<PartNumber>${part.partNumber}</PartNumber>`
  const time = `<LastModified>${iso8601(part.modifiedAtMs)}</LastModified>`
  const sums = `<Size>${part.sizeBytes}</Size>${checksumElement(part.checksum)}`
  return `<Part>${head}${time}${etagElement(part.etag)}${sums}</Part>`
}
