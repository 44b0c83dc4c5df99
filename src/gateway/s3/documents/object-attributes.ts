import type { ObjectChecksum } from '../bucket-settings.ts'
import { textElement, xmlDocument, xmlElement } from '../xml/xml-writer.ts'
import { type ChecksumValue, checksumElement, objectChecksumElements } from './checksum-elements.ts'

export interface AttributesPart {
  readonly partNumber: number
  readonly sizeBytes: number
  readonly checksum: ChecksumValue | undefined
}

export interface AttributesParts {
  /** Of the whole object. */
  readonly partsCount: number
  readonly partNumberMarker: number
  readonly nextPartNumberMarker: number | undefined
  readonly maxParts: number
  readonly isTruncated: boolean
  /** Empty for parts that have no checksums: S3 only counts those. */
  readonly parts: readonly AttributesPart[]
}

/** Undefined: it was not asked for, or the object has none. */
export interface ObjectAttributes {
  readonly etag: string | undefined
  readonly checksum: ObjectChecksum | undefined
  readonly parts: AttributesParts | undefined
  readonly storageClass: string | undefined
  readonly sizeBytes: number | undefined
}

/** `GetObjectAttributesResponse`: the one document in which S3 writes the entity tag unquoted. */
export function writeObjectAttributes(attributes: ObjectAttributes): string {
  const { checksum, parts } = attributes
  return xmlDocument(
    'GetObjectAttributesResponse',
    [
      textElement('ETag', attributes.etag),
      checksum === undefined ? '' : xmlElement('Checksum', objectChecksumElements(checksum)),
      parts === undefined ? '' : writeParts(parts),
      textElement('StorageClass', attributes.storageClass),
      textElement('ObjectSize', attributes.sizeBytes),
    ].join(''),
  )
}

function writeParts(parts: AttributesParts): string {
  const content = [
    textElement('PartsCount', parts.partsCount),
    textElement('PartNumberMarker', parts.partNumberMarker),
    textElement('NextPartNumberMarker', parts.nextPartNumberMarker),
    textElement('MaxParts', parts.maxParts),
    textElement('IsTruncated', parts.isTruncated),
    ...parts.parts.map(writePart),
  ]
  return xmlElement('ObjectParts', content.join(''))
}

function writePart(part: AttributesPart): string {
  const number = textElement('PartNumber', part.partNumber)
  const size = textElement('Size', part.sizeBytes)
  return xmlElement('Part', `${number}${size}${checksumElement(part.checksum)}`)
}
