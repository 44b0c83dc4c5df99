import type { Owner } from '../bucket-settings.ts'
import { iso8601, textElement, xmlDocument } from '../xml/xml-writer.ts'
import { type ChecksumKind, checksumKindElements } from './checksum-elements.ts'
import type { KeysPage } from './keys-page.ts'
import {
  commonPrefixElements,
  encodingTypeElement,
  type KeyEncoding,
  keyElement,
} from './list-encoding.ts'
import { ownerElement } from './owner-element.ts'

export interface ListedUpload {
  readonly key: string
  readonly uploadId: string
  readonly initiator: Owner
  readonly owner: Owner
  readonly storageClass: string
  readonly initiatedAtMs: number
  readonly checksum: ChecksumKind | undefined
}

export interface UploadsPage extends KeysPage {
  readonly keyMarker: string
  readonly uploadIdMarker: string
  readonly nextKeyMarker: string | undefined
  readonly nextUploadIdMarker: string | undefined
  readonly maxUploads: number
  readonly uploads: readonly ListedUpload[]
}

/** `ListMultipartUploadsResult`. Upload ids are never URL-encoded. */
export function writeListMultipartUploadsResult(page: UploadsPage): string {
  const { encoding } = page
  return xmlDocument(
    'ListMultipartUploadsResult',
    [
      textElement('Bucket', page.bucket),
      keyElement('KeyMarker', page.keyMarker, encoding),
      textElement('UploadIdMarker', page.uploadIdMarker),
      keyElement('NextKeyMarker', page.nextKeyMarker, encoding),
      textElement('NextUploadIdMarker', page.nextUploadIdMarker),
      keyElement('Prefix', page.prefix, encoding),
      keyElement('Delimiter', page.delimiter, encoding),
      textElement('MaxUploads', page.maxUploads),
      encodingTypeElement(encoding),
      textElement('IsTruncated', page.isTruncated),
      ...page.uploads.map((upload) => writeUpload(upload, encoding)),
      commonPrefixElements(page.commonPrefixes, encoding),
    ].join(''),
  )
}

function writeUpload(upload: ListedUpload, encoding: KeyEncoding): string {
  const { key, uploadId, initiator, owner, storageClass, initiatedAtMs, checksum } = upload
  const names = `${keyElement('Key', key, encoding)}${textElement('UploadId', uploadId)}`
  const people = `${ownerElement(initiator, 'Initiator')}${ownerElement(owner)}`
  const rest = `${textElement('StorageClass', storageClass)}${checksumKindElements(checksum)}`
  const time = `<Initiated>${iso8601(initiatedAtMs)}</Initiated>`
  return `<Upload>${names}${people}${time}${rest}</Upload>`
}
