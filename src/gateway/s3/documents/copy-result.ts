import type { ObjectChecksum } from '../bucket-settings.ts'
import { etagElement, iso8601, textElement, xmlDocument } from '../xml/xml-writer.ts'
import { type ChecksumValue, checksumElement, objectChecksumElements } from './checksum-elements.ts'

export interface CopiedObject {
  readonly modifiedAtMs: number
  /** Without quotes. */
  readonly etag: string
  readonly checksum: ObjectChecksum | undefined
}

export interface CopiedPart {
  readonly modifiedAtMs: number
  /** Without quotes. */
  readonly etag: string
  readonly checksum: ChecksumValue | undefined
}

/** `CopyObjectResult`. Begins with `XML_DECLARATION`, which can be sent ahead of it. */
export function writeCopyObjectResult(object: CopiedObject): string {
  const content = `${timeAndEtag(object)}${objectChecksumElements(object.checksum)}`
  return xmlDocument('CopyObjectResult', content)
}

/** `CopyPartResult`. Begins with `XML_DECLARATION`, which can be sent ahead of it. */
export function writeCopyPartResult(part: CopiedPart): string {
  return xmlDocument('CopyPartResult', `${timeAndEtag(part)}${checksumElement(part.checksum)}`)
}

function timeAndEtag(copied: { readonly modifiedAtMs: number; readonly etag: string }): string {
  return `${textElement('LastModified', iso8601(copied.modifiedAtMs))}${etagElement(copied.etag)}`
}
