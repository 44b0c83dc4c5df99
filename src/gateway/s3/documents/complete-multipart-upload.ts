import { PART_NUMBER_MAX } from '../../../namespace/upload-record.ts'
import type { ObjectChecksum } from '../bucket-settings.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { S3Error } from '../s3-error.ts'
import { malformed, parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { etagElement, textElement, xmlDocument } from '../xml/xml-writer.ts'
import {
  CHECKSUM_ELEMENTS,
  type ChecksumValue,
  objectChecksumElements,
  readChecksums,
} from './checksum-elements.ts'
import { unquoteEtag } from './etag-text.ts'

export interface CompletedPart {
  readonly partNumber: number
  /** Without quotes. */
  readonly etag: string
  /** What the client says they are; to be compared with those of the parts. */
  readonly checksums: readonly ChecksumValue[]
}

export interface CompletedUpload {
  readonly location: string
  readonly bucket: string
  readonly key: string
  /** Without quotes. */
  readonly etag: string
  readonly checksum: ObjectChecksum | undefined
}

/**
 * `CompleteMultipartUpload`: at least one part, in ascending order.
 *
 * @throws {S3Error} MalformedXML. InvalidArgument: a part number outside 1 … 10,000.
 * InvalidPartOrder.
 */
export function readCompleteMultipartUpload(body: Uint8Array): readonly CompletedPart[] {
  const root = parseXml(body, 'CompleteMultipartUpload')
  root.only('Part')
  if (root.elements.length === 0) throw malformed('no Part')
  const parts = root.elements.map(readPart)
  let previous = 0
  for (const { partNumber } of parts) {
    if (partNumber <= previous) throw new S3Error('InvalidPartOrder')
    previous = partNumber
  }
  return parts
}

const PART_ELEMENTS = ['PartNumber', 'ETag', ...CHECKSUM_ELEMENTS]

function readPart(element: XmlElement): CompletedPart {
  element.only(...PART_ELEMENTS)
  const limit = Number.MAX_SAFE_INTEGER
  const partNumber = element.requiredInteger('PartNumber', { min: -limit, max: limit })
  if (partNumber < 1 || partNumber > PART_NUMBER_MAX) {
    const message = `PartNumber must be an integer between 1 and ${PART_NUMBER_MAX}`
    throw invalidArgument(message, 'PartNumber', String(partNumber))
  }
  const etag = unquoteEtag(element.requiredText('ETag'))
  const checksums = element.elements.length === 2 ? [] : readChecksums(element)
  return { partNumber, etag, checksums }
}

/** `CompleteMultipartUploadResult`. Begins with `XML_DECLARATION`, which can be sent ahead. */
export function writeCompleteMultipartUploadResult(upload: CompletedUpload): string {
  const where = [
    textElement('Location', upload.location),
    textElement('Bucket', upload.bucket),
    textElement('Key', upload.key),
  ].join('')
  const what = `${etagElement(upload.etag)}${objectChecksumElements(upload.checksum)}`
  return xmlDocument('CompleteMultipartUploadResult', `${where}${what}`)
}
